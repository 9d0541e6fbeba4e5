import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { findStrategy } from "../../src/strategies/strategies.js";
import { KIB, MIB, GIB, encode, map, newReplay, type Piece } from "./support.js";

/** Leaves of one range by the greedy rule, largest first, step by step. */
function greedyLeaves(iova: bigint, physical: bigint, length: bigint, sizes: readonly bigint[]): number {
  let leaves = 0;
  let at = 0n;
  while (at < length) {
    const size = sizes.find((s) => (iova + at) % s === 0n && (physical + at) % s === 0n && length - at >= s);
    if (size === undefined) throw new Error("the smallest leaf fits everywhere");
    at += size;
    leaves++;
  }
  return leaves;
}

function leavesAt(start: bigint, pieces: readonly Piece[], sizes: readonly bigint[]): number {
  let at = start;
  let leaves = 0;
  for (const { physical, length } of pieces) {
    leaves += greedyLeaves(at, physical, length, sizes);
    at += length;
  }
  return leaves;
}

async function figuresOf(pieces: readonly Piece[], pageSizes: bigint, strategy = "pa-congruent") {
  const replay = await newReplay({ strategy: findStrategy(strategy), pageSizes });
  replay.run(encode([map(0, pieces)]));
  return { figures: replay.finish(), iova: replay.iova(0) };
}

describe("pa-congruent", () => {
  it("maps 64 MiB that begin a page past a 2 MiB boundary with 543 leaves", async () => {
    const pieces = [{ physical: 0x1_0020_1000n, length: 64n * MIB }];
    const { figures, iova } = await figuresOf(pieces, (1n << 12n) | (1n << 21n) | (1n << 30n));
    expect(iova === null ? null : (iova ^ 0x1_0020_1000n) % (2n * MIB)).toBe(0n);
    expect(figures).toMatchObject({ leavesUsed: 543, leavesAttainable: 543, leavesFewest: 32 });
    const aligned = await figuresOf(pieces, (1n << 12n) | (1n << 21n) | (1n << 30n), "size-aligned");
    expect(aligned.figures).toMatchObject({ leavesUsed: 16384, leavesAttainable: 543 });
  });

  it("shifts a page and 31 scattered blocks so that 32 leaves are enough", async () => {
    const pieces = [
      { physical: 0x1000n, length: 4n * KIB },
      ...Array.from({ length: 31 }, (_, i) => ({ physical: BigInt(i + 1) * 4n * MIB, length: 2n * MIB })),
    ];
    const { figures } = await figuresOf(pieces, (1n << 12n) | (1n << 21n));
    expect(figures).toMatchObject({ leavesUsed: 32, leavesAttainable: 32 });
    const aligned = await figuresOf(pieces, (1n << 12n) | (1n << 21n), "size-aligned");
    expect(aligned.figures.leavesUsed).toBe(15873);
  });

  it("takes the majority's wish when the pieces disagree", async () => {
    const pieces = [
      { physical: 0x4000_0000n, length: 2n * MIB },
      { physical: 0x8000_1000n, length: 4n * MIB },
      { physical: 0xa000_1000n, length: 4n * MIB },
    ];
    const { figures } = await figuresOf(pieces, (1n << 12n) | (1n << 21n));
    // One block of the first piece against one in each of the others.
    expect(figures.leavesUsed).toBe(512 + 2 * (1 + 512));
  });

  it("prefers a 1 GiB leaf where one fits", async () => {
    const pieces = [
      { physical: 0x1_0000_0000n, length: 2n * MIB },
      { physical: 0x2_4000_0000n, length: GIB },
    ];
    const { figures, iova } = await figuresOf(pieces, (1n << 12n) | (1n << 21n) | (1n << 30n));
    expect(figures.leavesUsed).toBe(2);
    expect(iova === null ? null : (iova + 2n * MIB) % GIB).toBe(0n);
  });

  it("finds the attainable minimum: no start does better, and its own start does as well", async () => {
    const sizes = [2n * MIB, 4n * KIB];
    const piece = fc.record({
      physical: fc.bigInt({ min: 0n, max: 4096n }).map((page) => page * 64n * KIB),
      length: fc.oneof(
        fc.bigInt({ min: 1n, max: 4n }).map((pages) => pages * 4n * KIB),
        fc.bigInt({ min: 1n, max: 3n }).map((blocks) => blocks * MIB),
        fc.bigInt({ min: 60n, max: 90n }).map((parts) => parts * 64n * KIB),
      ),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { minLength: 1, maxLength: 5 }), async (pieces) => {
        const { figures, iova } = await figuresOf(pieces, (1n << 12n) | (1n << 21n));
        let best = Number.POSITIVE_INFINITY;
        for (let start = 0n; start < 2n * MIB; start += 64n * KIB)
          best = Math.min(best, leavesAt(start, pieces, sizes));
        for (let start = 0n; start < 64n * KIB; start += 4n * KIB)
          best = Math.min(best, leavesAt(start, pieces, sizes));
        // Starts that only some piece wishes for: pieces may begin at any page behind short ones.
        let offset = 0n;
        for (const { physical, length } of pieces) {
          const wish = (((physical - offset) % (2n * MIB)) + 2n * MIB) % (2n * MIB);
          best = Math.min(best, leavesAt(wish, pieces, sizes));
          offset += length;
        }
        expect(figures.leavesAttainable).toBe(best);
        expect(figures.leavesUsed).toBe(best);
        expect(iova === null ? -1 : leavesAt(iova, pieces, sizes)).toBe(best);
      }),
      { numRuns: 60 },
    );
  });
});
