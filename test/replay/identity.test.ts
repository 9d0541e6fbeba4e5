/** identity against a count of uses per page, and its figures against a look at every page after every operation. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { PageTable } from "../../src/engine/page-table.js";
import { findStrategy } from "../../src/strategies/strategies.js";
import { encode, GIB, KIB, MIB, map, newReplay, type Operation, type Piece, unmap } from "./support.js";

const PAGE = 4n * KIB;
/** Pages of a 2 MiB leaf. */
const BLOCK = 512;
/** Where buffers lie: a few blocks side by side, and as many far away, in one and in many levels of a radix tree. */
const REGIONS = [0, 60 * BLOCK, 2 ** 24, 2 ** 35];
const REGION_PAGES = 4 * BLOCK;

/** Which of the pages that a test can touch the table maps, in ascending order. */
function mappedPages(table: PageTable | null): number[] {
  if (!table) return [];
  const batch = table.createWalkBatch(REGION_PAGES);
  const { iova, physical } = batch;
  const found: number[] = [];
  for (const region of REGIONS) {
    for (let i = 0; i < REGION_PAGES; i++) iova[i] = BigInt(region + i) * PAGE;
    table.iovaToPhysBatch(batch, REGION_PAGES);
    for (let i = 0; i < REGION_PAGES; i++) if (physical[i] === iova[i]) found.push(region + i);
  }
  batch.release();
  return found;
}

/** Span and fragmentation of a set of pages in ascending order. */
function spread(pages: readonly number[]): { span: number; fragmentation: number } {
  if (pages.length === 0) return { span: 0, fragmentation: 0 };
  const span = pages[pages.length - 1] - pages[0] + 1;
  const free = span - pages.length;
  let longest = 0;
  for (let i = 1; i < pages.length; i++) longest = Math.max(longest, pages[i] - pages[i - 1] - 1);
  return { span, fragmentation: free === 0 ? 0 : 1 - longest / free };
}

interface Step {
  readonly pieces: Piece[];
  /** Which of the live mappings to unmap afterwards, and in how many parts; null: none. */
  readonly unmap: { readonly which: number; readonly parts: number } | null;
}

const length = fc.oneof(
  { weight: 6, arbitrary: fc.constant(1) },
  { weight: 3, arbitrary: fc.integer({ min: 2, max: 80 }) },
  { weight: 1, arbitrary: fc.constantFrom(BLOCK, BLOCK + 1, 2 * BLOCK) },
);
const start = fc
  .tuple(fc.constantFrom(...REGIONS), fc.integer({ min: 0, max: 2 * BLOCK - 1 }), fc.boolean())
  .map(([region, offset, aligned]) => region + (aligned ? offset & -BLOCK : offset));
/** A list of pieces; `down`: a piece that ends where the one before it begins, as the kernel often hands out pages. */
const list = fc
  .array(fc.record({ start, length, down: fc.boolean() }), { minLength: 1, maxLength: 12 })
  .map((parts) => {
    const pieces: Piece[] = [];
    let before = 0;
    for (const part of parts) {
      const below = before - part.length;
      const page =
        part.down && REGIONS.some((region) => below >= region && before < region + REGION_PAGES) ? below : part.start;
      before = page;
      pieces.push({ physical: BigInt(page) * PAGE, length: BigInt(part.length) * PAGE });
    }
    return pieces;
  });
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    pieces: list,
    unmap: fc.option(fc.record({ which: fc.nat(), parts: fc.integer({ min: 1, max: 3 }) }), { freq: 4 }),
  }),
  { minLength: 1, maxLength: 30 },
);

describe.each([
  ["pages only", { pageSizes: PAGE }],
  ["leaves of 2 MiB, too", { pageSizes: PAGE | (2n * MIB) }],
  ["leaves of 2 MiB, too, empty tables freed", { pageSizes: PAGE | (2n * MIB), reclaim: "empty" }],
] as const)("%s", (_name, options) => {
  it("maps what is in use, and counts span and fragmentation of what is mapped", async () => {
    await fc.assert(
      fc.asyncProperty(steps, async (plan) => {
        const replay = await newReplay({ strategy: findStrategy("identity"), ...options });
        const uses = new Map<number, number>();
        const live: { slot: number; pieces: Piece[]; bytes: bigint }[] = [];
        let operations = 0;
        let spanPeak = 0;
        const samples: number[] = [];
        const count = (pieces: readonly Piece[], from: bigint, to: bigint, by: number): void => {
          let at = 0n;
          for (const { physical, length: bytes } of pieces) {
            for (let offset = 0n; offset < bytes; offset += PAGE, at += PAGE) {
              const page = Number((physical + offset) / PAGE);
              if (at >= from && at < to) uses.set(page, (uses.get(page) ?? 0) + by);
            }
          }
        };
        const run = (operation: Operation): void => {
          replay.run(encode([operation]));
          const mapped = mappedPages(replay.table(0));
          const used = [...uses].filter(([, n]) => n > 0).map(([page]) => page);
          const blocks = new Set(used.map((page) => Math.floor(page / BLOCK)));
          const isMapped = new Set(mapped);
          expect(used.filter((page) => !isMapped.has(page))).toEqual([]);
          const idle = mapped.filter((page) => !uses.get(page));
          // Only a larger leaf may have pages that nobody uses, and then somebody uses another of its pages.
          if (options.pageSizes === PAGE) expect(idle).toEqual([]);
          else expect(idle.filter((page) => !blocks.has(Math.floor(page / BLOCK)))).toEqual([]);
          const { span, fragmentation } = spread(mapped);
          if (operation.kind === "map") spanPeak = Math.max(spanPeak, span);
          if (++operations % 16 === 0) samples.push(fragmentation);
        };
        for (const [slot, step] of plan.entries()) {
          const operation = map(slot, step.pieces);
          count(step.pieces, 0n, operation.length, 1);
          run(operation);
          live.push({ slot, pieces: step.pieces, bytes: operation.length });
          if (!step.unmap) continue;
          const [gone] = live.splice(step.unmap.which % live.length, 1);
          const pages = gone.bytes / PAGE;
          for (let part = 0n; part < step.unmap.parts; part++) {
            const from = ((pages * part) / BigInt(step.unmap.parts)) * PAGE;
            const to = ((pages * (part + 1n)) / BigInt(step.unmap.parts)) * PAGE;
            if (from === to) continue;
            count(gone.pieces, from, to, -1);
            run(unmap(gone.slot, from, to - from));
          }
        }
        if (operations < 16) samples.push(spread(mappedPages(replay.table(0))).fragmentation);
        const figures = replay.finish();
        expect(figures.failed).toBe(0);
        expect(figures.spanPeak).toBe(spanPeak * Number(PAGE));
        expect(figures.fragmentationPeak).toBe(Math.max(...samples));
        const sum = samples.reduce((total, each) => total + each, 0);
        expect(figures.fragmentationMean).toBeCloseTo(sum / samples.length, 12);
      }),
      { numRuns: 12, seed: 31 },
    );
  });
});

describe("a leaf of 2 MiB and a mapping of one page of it", () => {
  const block = { physical: GIB, length: 2n * MIB };
  it.each([0n, 5n, 511n])("page %i: the leaf goes with the last of both", async (index) => {
    for (const pageFirst of [true, false]) {
      const replay = await newReplay({ strategy: findStrategy("identity") });
      const leaves = (): (number | undefined)[] =>
        [2n * MIB, PAGE].map((size) => replay.table(0)?.counters.leaves.get(size));
      replay.run(encode([map(0, [block]), map(1, [{ physical: GIB + index * PAGE, length: PAGE }])]));
      expect(leaves()).toEqual([1, 0]);
      const unmaps = [unmap(0, 0n, block.length), unmap(1, 0n, PAGE)];
      if (pageFirst) unmaps.reverse();
      replay.run(encode([unmaps[0]]));
      expect(leaves()).toEqual([1, 0]);
      replay.run(encode([unmaps[1]]));
      expect(leaves()).toEqual([0, 0]);
      expect(replay.finish()).toMatchObject({ spanPeak: 2 ** 21 });
    }
  });
});

describe("a mapping of which a part is out of reach", () => {
  it.each([
    ["above the input range of three levels", 3, 1n << 39n, []],
    ["across its end, mapped in part", 3, (1n << 39n) - 2n * PAGE, [(1n << 39n) - 2n * PAGE]],
    ["above every physical address", 4, 1n << 52n, []],
  ] as const)("%s: fails, and leaves what others use", async (_name, levels, physical, shared) => {
    const replay = await newReplay({ strategy: findStrategy("identity"), levels });
    const others = [0x5000n, ...shared];
    others.forEach((at, slot) => {
      replay.run(encode([map(slot, [{ physical: at, length: PAGE }])]));
    });
    const slot = others.length;
    const pieces = [
      { physical: 0x4000n, length: 3n * PAGE },
      { physical, length: 4n * PAGE },
    ];
    replay.run(encode([map(slot, pieces), unmap(slot, 0n, 7n * PAGE)]));
    expect(replay.iova(slot)).toBeNull();
    expect(replay.table(0)?.counters.leaves.get(PAGE)).toBe(others.length);
    replay.run(encode(others.map((_, each) => unmap(each, 0n, PAGE))));
    expect(replay.table(0)?.counters.leaves.get(PAGE)).toBe(0);
    expect(replay.finish()).toMatchObject({ mappings: others.length + 1, failed: 1, failedBytes: 7 * 4096 });
  });
});

it("a page used by very many mappings goes with the last of them", async () => {
  const replay = await newReplay({ strategy: findStrategy("identity") });
  const slots = Array.from({ length: 70_000 }, (_, slot) => slot);
  const piece = { physical: GIB, length: PAGE };
  replay.run(encode(slots.map((slot) => map(slot, [piece]))));
  replay.run(encode(slots.slice(1).map((slot) => unmap(slot, 0n, PAGE))));
  expect(replay.table(0)?.counters.leaves.get(PAGE)).toBe(1);
  replay.run(encode([unmap(0, 0n, PAGE)]));
  expect(replay.table(0)?.counters.leaves.get(PAGE)).toBe(0);
});
