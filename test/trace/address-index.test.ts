import { describe, expect, it } from "vitest";
import { AddressIndex } from "../../src/trace/address-index.js";

/** The same with nothing clever. */
class SlowIndex {
  readonly ranges: { start: number; end: number; id: number }[] = [];

  firstOverlap(start: number, end: number): number {
    const found = this.ranges
      .filter((range) => range.start < end && start < range.end)
      .sort((one, other) => one.start - other.start);
    return found.length > 0 ? found[0].id : -1;
  }
}

function generator(seed: number) {
  let state = seed;
  return (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 0x100000000) * below);
  };
}

describe("the index of live ranges", () => {
  const spaces = {
    "side by side": { bases: [0], pages: 600, longest: 3 },
    "as long as a block of pages": { bases: [0xfffff000], pages: 4000, longest: 33 },
    "of very different length": { bases: [2 ** 36 - 2048], pages: 6000, longest: 700 },
    "far apart": { bases: [0, 2 ** 20, 2 ** 32, 2 ** 33 + 5, 2 ** 47 - 7, 2 ** 52 - 3000], pages: 1500, longest: 40 },
  };
  for (const [name, { bases, pages, longest }] of Object.entries(spaces)) {
    it(`finds what a plain search finds, ranges ${name}`, () => {
      const random = generator(pages);
      const index = new AddressIndex();
      const slow = new SlowIndex();
      for (let step = 0; step < 6000; step++) {
        const start = bases[random(bases.length)] + random(pages);
        const end = start + 1 + (random(4) === 0 ? random(longest) : random(3));
        const found = slow.firstOverlap(start, end);
        expect(index.firstOverlap(start, end)).toBe(found);
        if (found < 0) {
          index.insert(start, end, step);
          slow.ranges.push({ start, end, id: step });
        } else if (random(3) > 0) {
          const at = slow.ranges.findIndex(({ id }) => id === found);
          index.remove(slow.ranges[at].start, slow.ranges[at].end);
          slow.ranges.splice(at, 1);
        }
        if (step % 50 === 0) {
          // Far more pages than have ever had a range, up to the whole address space.
          const from = Math.max(0, start - random(2 ** 20));
          const to = random(2) === 0 ? 2 ** 52 : end + random(2 ** 20);
          expect(index.firstOverlap(from, to)).toBe(slow.firstOverlap(from, to));
        }
      }
      expect(slow.ranges.length).toBeGreaterThan(100);
    });
  }

  it("forgets blocks of pages that have no ranges any more", () => {
    const index = new AddressIndex();
    for (let page = 0; page < 2 ** 26; page += 1024) {
      index.insert(page, page + 1, 1);
      expect(index.firstOverlap(0, 2 ** 26)).toBe(1);
      index.remove(page, page + 1);
    }
    expect(index.firstOverlap(0, 2 ** 26)).toBe(-1);
  });
});
