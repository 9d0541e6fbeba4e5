/** Linux's IOVA allocator, rule by rule, with the pathologies that it is known for. */
import { describe, expect, test } from "vitest";
import {
  alignmentBounds,
  dmaLimitPfn,
  type LinuxIova,
  type LinuxIovaDomain,
  type LinuxIovaOptions,
} from "../../src/engine/linux-iova.js";
import { newEngine } from "../support/engine.js";
import { refused } from "../support/errors.js";
import { SlowLinuxIova } from "../support/slow-linux-iova.js";

const engine = await newEngine();
/** Last page below 4 GiB. */
const LAST32 = 0xf_ffff;
const LAST48 = 0xf_ffff_ffff;
const MAGAZINE = 127;
const MILLISECOND = 1e6;

function newDomain(options: Partial<LinuxIovaOptions> = {}): LinuxIovaDomain {
  return engine.createLinuxIovaDomain({ cpus: 2, ...options });
}

function allocateMany(domain: LinuxIovaDomain, count: number, pages = 1, cpu = 0): number[] {
  return Array.from({ length: count }, () => domain.allocate(pages, LAST32, cpu, false));
}

describe("searching the tree", () => {
  test("from the top down; sizes below 32 pages are rounded up, above they are only aligned", () => {
    const domain = newDomain();
    const sizes = [1, 3, 1, 33, 1, 32];
    const found = sizes.map((pages) => LAST32 + 1 - domain.allocate(pages, LAST32, 0, false));
    expect(found).toEqual([1, 8, 9, 64, 65, 128]);
    domain.release();
  });

  test.each([
    ["33 pages begin on a multiple of 64", 33, 64],
    ["257 pages begin on a multiple of 512", 257, 512],
    ["513 pages begin on a multiple of 1024", 513, 1024],
    ["64 MiB and a page begin on a multiple of 128 MiB", 16_385, 32_768],
  ])("%s", (_name, pages, alignment) => {
    const domain = newDomain();
    expect(domain.allocate(pages, LAST32, 0, false)).toBe(LAST32 + 1 - alignment);
    expect(domain.allocate(pages, LAST32, 0, false)).toBe(LAST32 + 1 - 2 * alignment);
    domain.release();
  });

  test("two mappings of 1.5 GiB do not fit below 4 GiB, although half of it is free", () => {
    const domain = newDomain();
    const pages = 3 << 17;
    expect(domain.allocate(pages, LAST32, 0, false)).toBe(2 << 18);
    expect(domain.allocate(pages, LAST32, 0, false)).toBe(0);
    domain.release();
  });

  test("a hole above the last find is not seen until something above is freed", () => {
    const domain = newDomain();
    const [first, second] = allocateMany(domain, 2, 64);
    // 128 pages are free above the third, where the next search begins.
    const third = domain.allocate(256, LAST32, 0, false);
    expect([first, second, third].map((pfn) => LAST32 + 1 - pfn)).toEqual([64, 128, 512]);
    const fourth = domain.allocate(128, LAST32, 0, false);
    expect(LAST32 + 1 - fourth).toBe(640);
    expect(domain.counters().retries).toBe(0);
    domain.free(second, 64, 0);
    expect(LAST32 + 1 - domain.allocate(128, LAST32, 0, false)).toBe(256);
    domain.release();
  });

  test("a search that reaches the bottom begins once more at the limit, down to where it had begun", () => {
    const domain = newDomain();
    const low = domain.allocate(64, 1023, 0, false);
    expect(low).toBe(960);
    domain.reserve(1, 959);
    expect(domain.allocate(64, 2047, 0, false)).toBe(1984);
    expect(domain.counters()).toMatchObject({ retries: 1, treeSearches: 2 });
    domain.release();
  });

  test("a failure refuses everything as large below 4 GiB, unseen, until something there is freed", () => {
    const domain = newDomain();
    domain.reserve(1, 0xf_ff00 - 1);
    const taken = domain.allocate(64, LAST32, 0, false);
    expect(domain.allocate(512, LAST32, 0, false)).toBe(0);
    const { treeSearches } = domain.counters();
    expect(domain.allocate(512, LAST32, 0, false)).toBe(0);
    expect(domain.counters()).toMatchObject({ treeSearches, refusals: 1 });
    expect(domain.allocate(256, LAST48, 0, false)).toBe(LAST48 + 1 - 256);
    domain.free(taken, 64, 0);
    expect(domain.allocate(512, LAST32, 0, false)).toBe(0);
    expect(domain.counters()).toMatchObject({ refusals: 1 });
    domain.release();
  });

  test("what is live above 128 KiB is walked past by every search that begins above it", () => {
    const domain = newDomain();
    const live = allocateMany(domain, 500, 64);
    // Frees at the top move the pointer up: the next search from there has all of them in its way.
    domain.free(live[0], 64, 0);
    const before = domain.counters().nodesVisited;
    expect(domain.allocate(128, LAST32, 0, false)).toBe(live[499] - 128);
    expect(domain.counters().nodesVisited - before).toBe(500);
    domain.release();
  });
});

describe("alignment modes", () => {
  test.each([
    ["none", "none", 33, 33],
    ["pmd: 2 MiB", "pmd", 1, 512],
    ["pud: 1 GiB", "pud", 1, 1 << 18],
    ["at most 2^9 pages: below", { maxShift: 9 }, 33, 64],
    ["at most 2^9 pages: above", { maxShift: 9 }, 16_385, 16_896],
  ] as const)("%s", (_name, alignment, pages, below) => {
    const domain = newDomain({ alignment });
    expect(LAST32 + 1 - domain.allocate(pages, LAST32, 0, false)).toBe(below);
    domain.release();
  });

  test("an entry of the next tables covers more pages where pages are larger", () => {
    expect(alignmentBounds("pmd", 16)).toEqual([13, 13]);
    expect(alignmentBounds("pud", 14)).toEqual([22, 22]);
  });
});

describe("magazines", () => {
  test("last in, first out, and the tree is not searched", () => {
    const domain = newDomain();
    const pfns = allocateMany(domain, 5);
    const { treeSearches } = domain.counters();
    for (const pfn of pfns) domain.free(pfn, 1, 0);
    expect(allocateMany(domain, 5)).toEqual([...pfns].reverse());
    expect(domain.counters()).toMatchObject({ treeSearches, magazineHits: 5 });
    domain.release();
  });

  test.each([
    [32, 1],
    [33, 2],
  ])("%i pages, freed and allocated again: %i searches", (pages, treeSearches) => {
    const domain = newDomain();
    domain.free(domain.allocate(pages, LAST32, 0, false), pages, 0);
    domain.allocate(pages, LAST32, 0, false);
    expect(domain.counters()).toMatchObject({ treeSearches, magazineHits: 2 - treeSearches });
    domain.release();
  });

  test("belong to a CPU and a size", () => {
    const domain = newDomain();
    const pfn = domain.allocate(4, LAST32, 0, false);
    domain.free(pfn, 4, 1);
    expect(domain.allocate(4, LAST32, 0, false)).toBe(pfn - 4);
    expect(domain.allocate(2, LAST32, 1, false)).not.toBe(pfn);
    // 3 pages take 4.
    expect(domain.allocate(3, LAST32, 1, false)).toBe(pfn);
    domain.release();
  });

  test("an entry above the limit is passed over, and the last fills its place", () => {
    const domain = newDomain();
    const high = domain.allocate(1, LAST48, 0, false);
    const [low, lower] = allocateMany(domain, 2);
    for (const pfn of [low, high, lower]) domain.free(pfn, 1, 0);
    expect(allocateMany(domain, 1)).toEqual([lower]);
    expect(allocateMany(domain, 1)).toEqual([low]);
    expect(allocateMany(domain, 1)).toEqual([lower - 1]);
    expect(domain.allocate(1, LAST48, 0, false)).toBe(high);
    domain.release();
  });

  test("loaded, prev, depot: the order in which ranges come back", () => {
    const domain = newDomain();
    const pfns = allocateMany(domain, 3 * MAGAZINE + 1);
    for (const pfn of pfns) domain.free(pfn, 1, 0);
    expect(domain.counters()).toMatchObject({ depotPushes: 2, depotPops: 0 });
    // The first magazine is prev: full, it was swapped for the empty one. The second and the third are in the depot.
    const part = (from: number, count: number): number[] => pfns.slice(from, from + count).reverse();
    const expected = [
      ...part(3 * MAGAZINE, 1),
      ...part(0, MAGAZINE),
      ...part(2 * MAGAZINE, MAGAZINE),
      ...part(MAGAZINE, MAGAZINE),
    ];
    expect(allocateMany(domain, pfns.length)).toEqual(expected);
    expect(domain.counters()).toMatchObject({ depotPops: 2, treeSearches: pfns.length });
    domain.release();
  });

  test("the depot is for every CPU", () => {
    const domain = newDomain();
    const pfns = allocateMany(domain, 3 * MAGAZINE);
    for (const pfn of pfns) domain.free(pfn, 1, 0);
    expect(allocateMany(domain, 1, 1, 1)).toEqual([pfns[2 * MAGAZINE - 1]]);
    domain.release();
  });

  test("a depot of more magazines than CPUs loses one at a time to the delayed work", () => {
    const domain = newDomain({ hz: 1000 });
    const pfns = allocateMany(domain, 7 * MAGAZINE);
    for (const pfn of pfns) domain.free(pfn, 1, 0);
    expect(domain.counters().depotPushes).toBe(5);
    // 100 jiffies, up to the next multiple of 8: the second level of the timer wheel.
    const steps: readonly (readonly [milliseconds: number, trims: number])[] = [
      [103, 0],
      [104, 1],
      [207, 1],
      [208, 2],
      [1000, 3],
      [1e6, 3],
    ];
    for (const [milliseconds, depotTrims] of steps) {
      domain.advance(milliseconds * MILLISECOND);
      expect(domain.counters().depotTrims, `after ${milliseconds} ms`).toBe(depotTrims);
    }
    domain.release();
  });

  test("a failed search with flush empties the magazines of all CPUs and the depot, and tries again", () => {
    const domain = newDomain();
    const first = 0xf_fc00;
    domain.reserve(1, first - 1);
    const pfns = allocateMany(domain, 1024);
    for (const [i, pfn] of pfns.entries()) domain.free(pfn, 1, i & 1);
    expect(domain.allocate(1024, LAST32, 0, false)).toBe(0);
    expect(domain.counters().cacheFlushes).toBe(0);
    expect(domain.allocate(1024, LAST32, 0, true)).toBe(first);
    expect(domain.counters().cacheFlushes).toBe(1);
    domain.release();
  });
});

describe("a PCI device", () => {
  test("goes above 4 GiB for good after the first failure below", () => {
    const domain = newDomain();
    const device = domain.attach({ limitPfn: LAST48 });
    const other = domain.attach({ limitPfn: LAST48 });
    expect(domain.allocateFor(device, 1, 0)).toBe(LAST32);
    expect(device.pci32BitWorkaround).toBe(true);
    const huge = domain.allocateFor(device, 1 << 20, 0);
    expect(huge).toBe(LAST48 + 1 - (1 << 20));
    expect(device.pci32BitWorkaround).toBe(false);
    domain.free(huge, 1 << 20, 0);
    expect(domain.allocateFor(device, 1, 0)).toBe(LAST48);
    // Only the device itself.
    expect(domain.allocateFor(other, 1, 0)).toBe(LAST32 - 1);
    domain.release();
  });

  test("without the workaround, or with a mask of 32 bits, there is one try", () => {
    const domain = newDomain();
    const forced = domain.attach({ limitPfn: LAST48, pci32BitWorkaround: false });
    expect(domain.allocateFor(forced, 1, 0)).toBe(LAST48);
    const narrow = domain.attach({ limitPfn: LAST32 });
    expect(domain.allocateFor(narrow, 1 << 20, 0)).toBe(0);
    expect(narrow.pci32BitWorkaround).toBe(true);
    expect(domain.counters().cacheFlushes).toBe(1);
    domain.release();
  });

  test("reaches the least of its mask, its bus's limit and the aperture", () => {
    expect(dmaLimitPfn(0xffff_ffffn)).toBe(LAST32);
    expect(dmaLimitPfn(2n ** 64n - 1n, 0n, 2n ** 48n - 1n)).toBe(LAST48);
    expect(dmaLimitPfn(2n ** 64n - 1n, 0xffff_ffffn, 2n ** 48n - 1n)).toBe(LAST32);
    expect(dmaLimitPfn(2n ** 48n - 1n, 0n, undefined, 16)).toBe(0xffff_ffff);
  });
});

describe("flush queues", () => {
  test("a ring of 256 holds 255: one more flushes, and gives all back", () => {
    const domain = newDomain({ flush: "lazy" });
    const pfns = allocateMany(domain, 300);
    for (const pfn of pfns.slice(0, 255)) domain.queue(pfn, 1, 0, 0);
    expect(domain.counters().iotlbFlushes).toBe(0);
    expect(allocateMany(domain, 1)).toEqual([LAST32 - 300]);
    domain.queue(pfns[255], 1, 0, 0);
    expect(domain.counters().iotlbFlushes).toBe(1);
    expect(allocateMany(domain, 1)).toEqual([pfns[254]]);
    domain.release();
  });

  test("what another CPU's flush has flushed is free at the next call of its own CPU", () => {
    const domain = newDomain({ flush: "lazy" });
    const [first, second] = allocateMany(domain, 2, 2);
    domain.queue(first, 2, 1, 0);
    for (const pfn of allocateMany(domain, 256)) domain.queue(pfn, 1, 0, 0);
    expect(domain.counters().iotlbFlushes).toBe(1);
    expect(allocateMany(domain, 1, 2, 1)).not.toEqual([first]);
    domain.queue(second, 2, 1, 0);
    expect(allocateMany(domain, 1, 2, 1)).toEqual([first]);
    domain.release();
  });

  test.each([
    // 10 ms are 3 jiffies of 4 ms, and the timer waits for the end of a jiffy.
    ["lazy", 250, 0, 16],
    ["lazy", 250, 3.9, 16],
    ["lazy", 250, 4, 20],
    ["lazy", 1000, 0, 11],
    ["lazy", 100, 0, 20],
    // 250 jiffies: up to the next multiple of 8.
    ["lazy-single", 250, 0, 1024],
  ] as const)("%s at HZ=%i, queued at %f ms: the timer fires at %i ms", (flush, hz, queued, fires) => {
    const domain = newDomain({ flush, hz });
    const pfn = domain.allocate(1, LAST32, 0, false);
    domain.queue(pfn, 1, 0, queued * MILLISECOND);
    domain.advance(fires * MILLISECOND - 1);
    expect(domain.counters().iotlbFlushes).toBe(0);
    domain.advance(fires * MILLISECOND);
    expect(domain.counters().iotlbFlushes).toBe(1);
    expect(domain.allocate(1, LAST32, 0, false)).toBe(pfn);
    domain.advance(1e12);
    expect(domain.counters().iotlbFlushes).toBe(1);
    domain.release();
  });

  test("the timer frees all rings, CPU 0's first, into the magazines of the CPU that it runs on", () => {
    const domain = newDomain({ flush: "lazy" });
    const [a, b] = allocateMany(domain, 2);
    domain.queue(b, 1, 1, 0);
    domain.queue(a, 1, 0, 0);
    domain.fireFlushTimer(1, MILLISECOND);
    expect(allocateMany(domain, 1, 1, 0)).toEqual([b - 1]);
    expect(allocateMany(domain, 2, 1, 1)).toEqual([b, a]);
    domain.fireFlushTimer(1, MILLISECOND);
    expect(domain.counters().iotlbFlushes).toBe(1);
    domain.release();
  });

  test("lazy runs march down: nothing is allocated twice before a flush", () => {
    const [strict, lazy] = [newDomain(), newDomain({ flush: "lazy" })];
    let lowest = LAST32;
    for (let i = 0; i < 200; i++) {
      const pfn = lazy.allocate(1, LAST32, 0, false);
      lazy.queue(pfn, 1, 0, 0);
      lowest = Math.min(lowest, pfn);
      const again = strict.allocate(1, LAST32, 0, false);
      expect(again).toBe(LAST32);
      strict.free(again, 1, 0);
    }
    expect(lowest).toBe(LAST32 - 199);
    strict.release();
    lazy.release();
  });

  test("one ring for all holds 32,767", () => {
    const domain = newDomain({ flush: "lazy-single" });
    const pfns = allocateMany(domain, 32_768);
    for (const [i, pfn] of pfns.slice(0, -1).entries()) domain.queue(pfn, 1, i & 1, 0);
    expect(domain.counters().iotlbFlushes).toBe(0);
    domain.queue(pfns[32_767], 1, 0, 0);
    expect(domain.counters().iotlbFlushes).toBe(1);
    domain.release();
  });
});

describe("reserving", () => {
  test("what overlaps joins, what is left above becomes a range of its own", () => {
    const domain = newDomain();
    domain.reserve(100, 199);
    domain.reserve(300, 399);
    domain.reserve(50, 449);
    expect(domain.allocate(32, 511, 0, false)).toBe(480);
    // 50 to 449 are taken without a gap.
    expect(domain.allocate(40, 449, 0, false)).toBe(0);
    expect(domain.allocate(49, 449, 0, true)).toBe(0);
    expect(domain.allocate(33, 63, 0, false)).toBe(0);
    expect(domain.allocate(32, 49, 0, false)).toBe(0);
    expect(domain.allocate(16, 49, 0, false)).toBe(32);
    domain.release();
  });

  test("a live range that a reservation joins is freed with it", () => {
    const domain = newDomain();
    const pfn = domain.allocate(64, LAST32, 0, false);
    domain.reserve(pfn - 100, pfn + 3);
    expect(domain.allocate(64, LAST32, 0, false)).toBe(pfn - 192);
    domain.free(pfn, 64, 0);
    expect(domain.allocate(128, LAST32, 0, false)).toBe(pfn - 64);
    domain.release();
  });
});

describe("adopting", () => {
  test.each(["a hole", "a magazine", "the depot", "the flush queue"])("out of %s", (place) => {
    const domain = newDomain({ flush: "lazy" });
    const pfns = allocateMany(domain, 3 * MAGAZINE);
    const pfn =
      { "a hole": LAST32 - 1000, "a magazine": pfns[5], "the depot": pfns[2 * MAGAZINE - 9] }[place] ?? pfns[0];
    if (place === "the flush queue") domain.queue(pfn, 1, 1, 0);
    else if (place !== "a hole") for (const each of pfns) domain.free(each, 1, 0);
    expect(domain.adopt(pfn, 1)).toBe(true);
    expect(domain.adopt(pfn, 1)).toBe(false);
    domain.advance(1e9);
    const found = allocateMany(domain, 4 * MAGAZINE);
    expect(found).not.toContain(pfn);
    expect(new Set(found).size).toBe(found.length);
    domain.free(pfn, 1, 0);
    expect(allocateMany(domain, 1)).toEqual([pfn]);
    domain.release();
  });

  test("not what is in use, reserved, or part of something else", () => {
    const domain = newDomain();
    const [live, cached] = allocateMany(domain, 2, 4);
    domain.free(cached, 4, 0);
    domain.reserve(10, 20);
    for (const [pfn, pages] of [
      [live, 4],
      [live + 1, 1],
      [cached, 2],
      [cached + 2, 2],
      [cached - 4, 8],
      [12, 1],
    ]) {
      expect(domain.adopt(pfn, pages), `${pfn}+${pages}`).toBe(false);
    }
    expect(domain.adopt(cached, 3)).toBe(true);
    domain.release();
  });
});

test.each([
  ["out of the tree", 1024, 512],
  ["into a magazine of shorter ranges", 1024, 8],
  ["out of a magazine's reach into one", 32, 3],
])("a range that is freed as a shorter one goes whole, %s", (_where, pages, told) => {
  const [domain, slow] = [newDomain(), new SlowLinuxIova({ cpus: 2 })];
  const sequence = (iova: LinuxIova): number[] => {
    const allocate = (count: number) => iova.allocate(count, LAST32, 0, true);
    const first = allocate(pages);
    iova.free(first, told, 0);
    const again = [allocate(told), allocate(pages), allocate(told)];
    for (const pfn of [again[0], again[2]]) iova.free(pfn, told, 0);
    return [first, ...again, allocate(pages), allocate(told)];
  };
  expect(sequence(domain)).toEqual(sequence(slow));
  domain.release();
});

describe("refused, and nothing changes", () => {
  const options: readonly (readonly [string, Partial<LinuxIovaOptions>])[] = [
    ["no CPU", { cpus: 0 }],
    ["half a CPU", { cpus: 1.5 }],
    ["granule below a page", { granuleShift: 11 }],
    ["HZ 0", { hz: 0 }],
    ["page 0 to be allocated", { startPfn: 0 }],
    ["negative alignment", { alignment: { maxShift: -1 } }],
  ];
  test.each(options)("a domain with %s", (_name, wrong) => {
    expect(refused("invalid", () => newDomain(wrong)).message).toContain("make a Linux IOVA domain");
  });

  const calls: readonly (readonly [string, "invalid" | "not-allocated", (domain: LinuxIovaDomain) => unknown])[] = [
    ["no pages", "invalid", (domain) => domain.allocate(0, LAST32, 0, false)],
    ["half a page", "invalid", (domain) => domain.allocate(0.5, LAST32, 0, false)],
    ["a CPU that there is not", "invalid", (domain) => domain.allocate(1, LAST32, 2, false)],
    ["a limit above 64 bits", "invalid", (domain) => domain.allocate(1, 2 ** 52, 0, false)],
    ["reserving backwards", "invalid", (domain) => domain.reserve(5, 4)],
    ["queueing in a strict domain", "invalid", (domain) => domain.queue(LAST32, 1, 0, 0)],
    ["a time before all", "invalid", (domain) => domain.advance(-1)],
    ["restoring what was not saved", "invalid", (domain) => domain.restore()],
    ["freeing what is free", "not-allocated", (domain) => domain.free(77, 1, 0)],
    ["freeing the end of a range", "not-allocated", (domain) => domain.free(LAST32 - 1, 2, 0)],
    ["freeing more than a range", "not-allocated", (domain) => domain.free(LAST32 - 3, 5, 0)],
    ["freeing twice", "not-allocated", (domain) => [0, 1].map(() => domain.free(LAST32 - 3, 4, 0))],
  ];
  test.each(calls)("%s", (_name, code, call) => {
    const domain = newDomain();
    expect(domain.allocate(4, LAST32, 0, false)).toBe(LAST32 - 3);
    refused(code, () => call(domain));
    expect(domain.allocate(8, LAST32, 0, false)).toBe(LAST32 - 15);
    domain.release();
  });
});

test("batches do the same as single calls, in bytes", () => {
  const domain = newDomain();
  const single = newDomain();
  const device = domain.attach({ limitPfn: LAST48 });
  const other = single.attach({ limitPfn: LAST48 });
  const batch = domain.createBatch(6);
  const pages = [1, 40, 3, 0, 1 << 21, 2];
  batch.length.set(pages.map((count) => BigInt(count) * 4096n));
  expect(domain.allocateBatch(batch, 6, device, 0)).toBe(1);
  expect(batch.code(3)).toBe("misaligned");
  const expected = pages.map((count) =>
    count === 0 ? 2n ** 64n - 1n : BigInt(single.allocateFor(other, count, 0)) << 12n,
  );
  expect([...batch.iova]).toEqual(expected);
  expect(device.pci32BitWorkaround).toBe(false);
  expect(domain.freeBatch(batch, 6, 1)).toBe(1);
  expect(domain.freeBatch(batch, 6, 1)).toBe(6);
  expect(batch.code(0)).toBe("not-allocated");
  expect(domain.allocateFor(device, 1, 1)).toBe(Number(expected[0] >> 12n));
  batch.release();
  domain.release();
  single.release();
});
