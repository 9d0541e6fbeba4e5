import { describe, expect, it } from "vitest";
import { Random } from "../../src/random.js";
import { agedMemory, findMemoryState, HUGE_PAGE_ORDER, memoryStates } from "../../src/workloads/ageing.js";
import { refused } from "../support/errors.js";

const PAGES = 2 ** 16;

describe("aged memory", () => {
  it.each(memoryStates)("$name: as much in use and as fragmented as it says", (state) => {
    for (const seed of [0, 1, 77]) {
      const memory = agedMemory(PAGES, state, new Random(seed));
      const used = 1 - memory.freePages / PAGES;
      expect(Math.abs(used - state.occupied)).toBeLessThan(1 / 64);
      expect(memory.usablePages(HUGE_PAGE_ORDER) / memory.freePages).toBeLessThanOrEqual(state.usableAtMost);
    }
  });

  it("the states differ: what each is at most, the one before exceeds", () => {
    const usable = memoryStates.map((state) => {
      const memory = agedMemory(PAGES, state, new Random(5));
      return memory.usablePages(HUGE_PAGE_ORDER) / memory.freePages;
    });
    expect(usable[0]).toBeGreaterThan(0.9);
    expect(usable[1]).toBeGreaterThan(memoryStates[2].usableAtMost);
  });

  it("memory without a free huge page can be reached", () => {
    const state = { name: "none", summary: "", occupied: 3 / 4, usableAtMost: 0 };
    expect(agedMemory(PAGES, state, new Random(1)).usablePages(HUGE_PAGE_ORDER)).toBe(0);
  });

  it("is the same for the same seed", () => {
    const orders = (seed: number): number[] => {
      const memory = agedMemory(PAGES, findMemoryState("aged"), new Random(seed));
      return Array.from({ length: 1000 }, () => memory.allocate(0) ?? -1);
    };
    expect(orders(3)).toEqual(orders(3));
    expect(orders(3)).not.toEqual(orders(4));
  });

  it("an unknown state is refused with the names there are", () => {
    expect(refused("invalid", () => findMemoryState("old")).message).toMatch(/fresh, aged, fragmented/);
  });
});
