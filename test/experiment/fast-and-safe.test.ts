/** The workload of Fast & Safe under allocators whose IOVAs are known, so that misses can be told beforehand. */
import { describe, expect, it, test } from "vitest";
import { fastAndSafe } from "../../src/experiment/fast-and-safe/experiment.js";
import { PUBLISHED_CASES, modelledGbps } from "../../src/experiment/fast-and-safe/published.js";
import { runCase, type Setup, solveCase } from "../../src/experiment/fast-and-safe/run.js";
import { FAST_AND_SAFE, type PageAllocator, STRICT } from "../../src/experiment/fast-and-safe/workload.js";
import { newEngine } from "../support/engine.js";
import { refused } from "../support/errors.js";

const LENGTH = { aging: 640, warmUp: 3200, pages: 3200 };
const REGION_PAGES = 512;
/** The last page of a region. */
const TOP = 0xf_f1ff;

/** CPUs that receive. */
const CORES = 5;

/**
 * Takes the page freed last, or the next one of `regions` regions of 2 MiB in turn; ranges, and what CPUs take that never
 * receive, from below all of these.
 */
class Recycling implements PageAllocator {
  readonly #freed = new Map<number, number[]>();
  readonly #live = new Set<number>();
  #pages = 0;
  #bottom = 1;

  constructor(private readonly regions: number) {}

  allocate(pages: number, limitPfn: number, cpu: number): number {
    const pfn = this.#freed.get(pages)?.pop() ?? this.#fresh(pages, cpu);
    if (cpu >= 32 || pfn + pages - 1 > limitPfn) throw new Error(`${pages} pages at ${pfn} on CPU ${cpu}`);
    for (let page = pfn; page < pfn + pages; page++) this.#live.add(page);
    return pfn;
  }

  #fresh(pages: number, cpu: number): number {
    if (pages > 1 || cpu >= CORES) {
      this.#bottom += pages;
      return this.#bottom - pages;
    }
    const n = this.#pages++;
    return TOP - (n % this.regions) * REGION_PAGES - Math.floor(n / this.regions);
  }

  free(pfn: number, pages: number): void {
    for (let page = pfn; page < pfn + pages; page++) {
      if (!this.#live.delete(page)) throw new Error(`page ${page} is freed, but not allocated`);
    }
    const freed = this.#freed.get(pages);
    if (freed) freed.push(pfn);
    else this.#freed.set(pages, [pfn]);
  }
}

function recycling(regions: number): Setup {
  return async () => ({ engine: await newEngine(), allocator: new Recycling(regions) });
}

describe("strict", () => {
  test.each([8, 16, 32])(
    "one core without ACKs, descriptors over %i regions: an L3 miss a region, one of L1 and L2",
    async (regions) => {
      const { misses, rings } = await runCase(recycling(regions), 1, STRICT, 0, LENGTH);
      // Only what is unmapped between two walks is missed: at most once a descriptor of 64 pages.
      expect(misses.l1).toBeCloseTo(1 / 64, 3);
      expect(misses.l2).toBeCloseTo(1 / 64, 3);
      expect(misses.l3).toBeCloseTo(regions / 64, 3);
      // Every page once; of rings, the descriptors' pages, which the core comes back to after 64 others.
      expect(misses.iotlb).toBeGreaterThan(1);
      expect(misses.iotlb).toBeLessThan(1.04);
      expect(misses.reads).toBeCloseTo(misses.l1 + misses.l2 + misses.l3 + misses.iotlb, 10);
      expect(rings.completionWrites).toBe(1);
      expect(Math.abs(rings.descriptorReads - 1 / 64)).toBeLessThan(0.001);
    },
  );

  it("wipes L1 and L2 once more for every ACK", async () => {
    const { misses, rings } = await runCase(recycling(8), 1, STRICT, 0.5, LENGTH);
    // The next page comes after the ACK is unmapped; at the end of a descriptor both are one gap between walks.
    expect(Math.abs(misses.l1 - 0.5)).toBeLessThan(1 / 64);
    expect(misses.l3).toBeGreaterThan(misses.l1);
    expect(misses.iotlb).toBeGreaterThan(1.5);
    expect(rings.completionWrites).toBeCloseTo(1.5, 2);
  });

  it("gives the same figures every time", async () => {
    const runs = [1, 2].map(() => runCase(recycling(8), 40, STRICT, 0.3, LENGTH));
    expect(await runs[0]).toEqual(await runs[1]);
  });
});

it("misses nothing but the IOTLB with a range a descriptor and IOTLB-only invalidation", async () => {
  const { misses } = await runCase(recycling(4), 40, FAST_AND_SAFE, 0.6, LENGTH);
  expect(misses).toMatchObject({ l1: 0, l2: 0, l3: 0 });
  expect(misses.reads).toBe(misses.iotlb);
});

test.each(PUBLISHED_CASES)(
  "$name: ACKs per page are solved from the L1 misses",
  async (published) => {
    const { acksPerPage, misses } = await solveCase(recycling(8), published, { aging: 0, warmUp: 640, pages: 1600 });
    expect(Math.abs(misses.l1 - published.misses.l1)).toBeLessThan(0.01);
    expect(acksPerPage).toBeGreaterThan(0);
    expect(acksPerPage).toBeLessThan(2);
  },
  60_000,
);

it("judges every figure by its bound, under Linux's own allocator", async () => {
  const shares: number[] = [];
  const length = { aging: 1000, warmUp: 640, pages: 1600 };
  const cases = await fastAndSafe(newEngine, length, (share) => shares.push(share));
  expect(shares).toEqual([...shares].sort((a, b) => a - b));
  expect(shares.slice(0, 1)).toEqual([0]);
  expect(shares.at(-1)).toBeLessThanOrEqual(1);
  expect(cases.map(({ name }) => name)).toEqual([
    "5 flows, strict",
    "5 flows, contiguous, IOTLB-only",
    "40 flows, strict",
    "40 flows, contiguous, IOTLB-only",
  ]);
  for (const { judgements } of cases) {
    for (const { bound, met, ours, published } of judgements) {
      if (bound === null) expect(met).toBeNull();
      else if (bound === "at most") expect(met).toBe(ours <= published);
      else expect(met).toBe(ours >= published * (1 - bound.relative) && ours <= published * (1 + bound.relative));
    }
  }
  const [, contiguous] = cases;
  expect(contiguous.judgements.map(({ figure, met }) => [figure, met])).toEqual([
    ["l1", true],
    ["l2", true],
    ["l3", true],
  ]);
}, 60_000);

it("says when no number of ACKs gives the L1 misses", async () => {
  const impossible = { ...PUBLISHED_CASES[0], misses: { ...PUBLISHED_CASES[0].misses, l1: 3 } };
  const error = await solveCase(recycling(8), impossible, { aging: 0, warmUp: 0, pages: 640 }).catch(
    (reason: unknown) => reason,
  );
  expect(
    refused("invalid", () => {
      throw error;
    }).message,
  ).toMatch(/solve 5 flows: invalid: L1 misses are from .* not 3/);
});

it("says when there is no IOVA", async () => {
  const full: Setup = async () => ({ engine: await newEngine(), allocator: { allocate: () => 0, free: () => {} } });
  const error = await runCase(full, 5, STRICT, 0, LENGTH).catch((reason: unknown) => reason);
  refused("space-exhausted", () => {
    throw error;
  });
});

it("models throughput as the paper does", () => {
  expect(PUBLISHED_CASES.map(({ misses }) => modelledGbps(misses.reads).toFixed(1))).toEqual(["79.6", "35.5"]);
});
