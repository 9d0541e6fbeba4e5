import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BuddyAllocator } from "../../src/linux/buddy.js";
import type { BufferMemory } from "../../src/workloads/buffer.js";
import { Vram } from "../../src/workloads/device-memory.js";
import { pageCacheFolios, singlePages, systemHeapBuffer, userMemory } from "../../src/workloads/host-memory.js";
import { PageRuns } from "../../src/workloads/page-runs.js";
import { refused } from "../support/errors.js";

type Run = [page: number, pages: number];

function runsOf(runs: PageRuns): Run[] {
  return Array.from({ length: runs.count }, (_, run) => [runs.start(run), runs.length(run)]);
}

/** Memory in which only these blocks, [page, order], are free. */
function memoryWith(pages: number, free: readonly Run[]): BuddyAllocator {
  const memory = new BuddyAllocator({ firstPage: 0, pages });
  const inFree = (page: number) => free.some(([from, order]) => page >= from && page < from + 2 ** order);
  for (let page = 0; page < pages; page++) memory.allocate(0);
  for (let page = pages - 1; page >= 0; page--) if (inFree(page)) memory.free(page);
  return memory;
}

describe("page runs", () => {
  it("merges neighbours, and a slice has exactly the pages of its range", () => {
    const length = fc.integer({ min: 1, max: 5 });
    const parts = fc.array(fc.tuple(fc.integer({ min: 0, max: 40 }), length), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(parts, fc.nat(), fc.nat(), (appended, from, size) => {
        const runs = new PageRuns();
        const pages: number[] = [];
        for (const [page, count] of appended) {
          runs.append(page, count);
          for (let i = 0; i < count; i++) pages.push(page + i);
        }
        const breaks = pages.filter((page, index) => index > 0 && page !== pages[index - 1] + 1).length;
        expect([runs.pages, runs.count]).toEqual([pages.length, breaks + 1]);
        const first = from % pages.length;
        const count = 1 + (size % (pages.length - first));
        const slice = runsOf(runs.slice(first, count));
        const listed = slice.flatMap(([page, length]) => Array.from({ length }, (_, index) => page + index));
        expect(listed).toEqual(pages.slice(first, first + count));
      }),
    );
  });
});

describe("buffers of host memory", () => {
  const pristine = () => new BuddyAllocator({ firstPage: 0, pages: 4096 });

  it.each<[string, () => BufferMemory, Run[]]>([
    // The system heap: 256, 16, 1 pages.
    ["system heap: one block", () => systemHeapBuffer(pristine(), 256), [[0, 256]]],
    ["system heap: 1 MiB, 64 KiB and the tail", () => systemHeapBuffer(pristine(), 275), [[0, 275]]],
    [
      "system heap: without 1 MiB blocks",
      () =>
        systemHeapBuffer(
          memoryWith(1024, [
            [0, 7],
            [512, 4],
          ]),
          144,
        ),
      [
        [512, 16],
        [0, 128],
      ],
    ],
    [
      "system heap: nothing between the three orders",
      () =>
        systemHeapBuffer(
          memoryWith(1024, [
            [64, 3],
            [256, 3],
          ]),
          16,
        ),
      [
        [64, 8],
        [256, 8],
      ],
    ],
    // Huge pages: only where 512 pages of virtual addresses are covered.
    [
      "process: aligned 2 MiB",
      () =>
        userMemory(
          memoryWith(4096, [
            [1024, 9],
            [2050, 1],
          ]),
          512,
          512,
        ),
      [[1024, 512]],
    ],
    [
      "process: the ends are single pages",
      () =>
        userMemory(
          memoryWith(4096, [
            [1024, 9],
            [2050, 1],
          ]),
          511,
          514,
        ),
      [
        [2050, 1],
        [1024, 512],
        [2051, 1],
      ],
    ],
    [
      "process: 2 MiB that nothing aligned lies in",
      () => userMemory(memoryWith(4096, [[1024, 9]]), 1, 512),
      [[1024, 512]],
    ],
    [
      "process: no huge page left",
      () =>
        userMemory(
          memoryWith(4096, [
            [1024, 8],
            [3072, 8],
          ]),
          0,
          512,
        ),
      [
        [1024, 256],
        [3072, 256],
      ],
    ],
    [
      "page cache: folios of at most 32 pages",
      () =>
        pageCacheFolios(
          memoryWith(1024, [
            [0, 6],
            [128, 2],
          ]),
          36,
        ),
      [
        [0, 32],
        [128, 4],
      ],
    ],
    [
      "single pages",
      () =>
        singlePages(
          memoryWith(64, [
            [8, 0],
            [10, 0],
            [11, 0],
          ]),
          3,
        ),
      [
        [8, 1],
        [10, 2],
      ],
    ],
  ])("%s", (_, allocate, expected) => {
    expect(runsOf(allocate().runs)).toEqual(expected);
  });

  it.each([
    ["system heap", systemHeapBuffer],
    ["page cache", pageCacheFolios],
    ["single pages", singlePages],
    ["process", (memory: BuddyAllocator, pages: number) => userMemory(memory, 0, pages)],
  ])("%s: release gives all back, and what does not fit takes nothing", (_, allocate) => {
    const memory = pristine();
    const buffer = allocate(memory, 1000);
    expect([buffer.runs.pages, memory.freePages]).toEqual([1000, 3096]);
    const message = refused("memory-exhausted", () => allocate(memory, 3097)).message;
    expect(message).toMatch(/4096 pages/);
    expect(memory.freePages).toBe(3096);
    buffer.release();
    expect(memory.freeBlocks(10)).toBe(4);
  });
});

describe("VRAM", () => {
  const PAGES = 2 ** 18;

  it("lies in its BAR beyond the carve-out, rounded up to 64 KiB, in blocks as large as the length permits", () => {
    const vram = new Vram(PAGES * 4, PAGES);
    expect(runsOf(vram.allocate(2 ** 16).runs)).toEqual([[PAGES * 4 + 2 ** 16, 2 ** 16]]);
    expect(runsOf(vram.allocate(17).runs)).toEqual([[PAGES * 4 + PAGES / 64, 32]]);
    expect(runsOf(vram.allocate(1).runs)).toEqual([[PAGES * 4 + PAGES / 64 + 32, 16]]);
  });

  it("ends", () => {
    const vram = new Vram(0, PAGES);
    refused("memory-exhausted", () => vram.allocate(PAGES));
    vram.allocate(PAGES - PAGES / 64).release();
  });
});
