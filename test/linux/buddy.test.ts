import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BuddyAllocator, MAX_PAGE_ORDER } from "../../src/linux/buddy.js";
import { refused } from "../support/errors.js";
import { SlowBuddy } from "../support/slow-buddy.js";

function freeBlocks(memory: BuddyAllocator): number[] {
  return Array.from({ length: memory.maxOrder + 1 }, (_, order) => memory.freeBlocks(order));
}

describe("buddy allocator", () => {
  it("gives the pages that the slow model gives, merges what it merges and counts what the bitmap shows", () => {
    const steps = fc.array(
      fc.oneof(fc.record({ allocate: fc.integer({ min: 0, max: 5 }) }), fc.record({ release: fc.nat({ max: 1000 }) })),
      { maxLength: 150 },
    );
    fc.assert(
      fc.property(
        fc.nat(200),
        fc.integer({ min: 1, max: 200 }),
        fc.nat(5),
        steps,
        (firstPage, pages, maxOrder, todo) => {
          const memory = new BuddyAllocator({ firstPage, pages, maxOrder });
          const model = new SlowBuddy(firstPage, pages, maxOrder);
          const live: number[] = [];
          for (const step of todo) {
            if ("allocate" in step) {
              const order = Math.min(step.allocate, maxOrder);
              const before = [...model.free];
              const page = memory.allocate(order);
              expect(page).toBe(model.allocate(order));
              if (page === null) continue;
              const at = page - firstPage;
              expect(page % 2 ** order).toBe(0);
              expect(before.slice(at, at + 2 ** order)).toEqual(new Array(2 ** order).fill(true));
              live.push(page);
            } else if (live.length > 0) {
              const [page] = live.splice(step.release % live.length, 1);
              memory.free(page);
              model.release(page);
            }
            expect(freeBlocks(memory)).toEqual(model.blocksByBitmap());
            expect(memory.freePages).toBe(model.free.filter(Boolean).length);
          }
          for (const page of live) memory.free(page);
          expect(freeBlocks(memory)).toEqual(freeBlocks(new BuddyAllocator({ firstPage, pages, maxOrder })));
        },
      ),
      { numRuns: 200 },
    );
  });

  it("splits the lowest half off first and keeps the rest for the next", () => {
    const memory = new BuddyAllocator({ firstPage: 0, pages: 1024 });
    expect([0, 0, 1, 0, 9].map((order) => memory.allocate(order))).toEqual([0, 1, 2, 4, 512]);
    expect(freeBlocks(memory)).toEqual([1, 1, 0, 1, 1, 1, 1, 1, 1, 0, 0]);
  });

  it("uses what was freed last first, but what will soon merge last", () => {
    const memory = new BuddyAllocator({ firstPage: 0, pages: 32, maxOrder: 4 });
    for (let page = 0; page < 32; page++) memory.allocate(0);
    memory.free(20);
    memory.free(28);
    expect(memory.allocate(0)).toBe(28);
    // 2-3 are free as one block, so that freeing 1 beside 0 would make four pages: 0 goes to the end of the list.
    for (const page of [2, 3, 0]) memory.free(page);
    expect([memory.allocate(0), memory.allocate(0)]).toEqual([20, 0]);
  });

  it("counts the pages that an order can use", () => {
    const memory = new BuddyAllocator({ firstPage: 1024, pages: 3 * 1024 + 17 });
    expect(freeBlocks(memory)).toEqual([1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 3]);
    expect([0, 1, 4, 5, MAX_PAGE_ORDER].map((order) => memory.usablePages(order))).toEqual([
      3089, 3088, 3088, 3072, 3072,
    ]);
  });

  it.each([
    ["a negative first page", { firstPage: -1024, pages: 1024 }],
    ["no pages", { firstPage: 0, pages: 0 }],
    ["a fraction of a page", { firstPage: 0, pages: 1.5 }],
    ["a negative order", { firstPage: 0, pages: 1, maxOrder: -1 }],
  ])("refuses %s", (_, options) => {
    refused("invalid", () => new BuddyAllocator(options));
  });

  it("refuses to free twice, within a block, or what it does not manage, and changes nothing", () => {
    const memory = new BuddyAllocator({ firstPage: 1024, pages: 1024 });
    const page = memory.allocate(2) as number;
    for (const wrong of [page + 1, page + 4, 0, 4096]) refused("not-allocated", () => memory.free(wrong));
    expect(memory.freePages).toBe(1020);
    memory.free(page);
    expect(refused("not-allocated", () => memory.free(page)).message).toContain("0x400000");
    refused("invalid", () => memory.allocate(11));
    expect(memory.freePages).toBe(1024);
  });
});
