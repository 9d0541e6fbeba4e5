/** Accesses through caches over real tables, event by event as the slow simulator has them. */
import { describe, expect, it, test } from "vitest";
import { AccessBatch, type DeviceAccess } from "../../src/access/batch.js";
import { smmuv3Names, vtdNames, walkReads } from "../../src/access/counters.js";
import {
  type CachesGeometry,
  type DeviceTags,
  type Selection,
  type StructureCaches,
  TranslationSimulator,
} from "../../src/access/simulator.js";
import { AccessStream } from "../../src/access/streams.js";
import type { CacheGeometry } from "../../src/cache/geometry.js";
import { vtdTags } from "../../src/cache/vtd.js";
import { newEngine } from "../support/engine.js";
import { refused } from "../support/errors.js";
import { type Configuration, FULL_CONFIGURATIONS, UNUSUAL_CONFIGURATIONS } from "../support/geometries.js";
import { Random } from "../support/random.js";
import { coverage } from "../support/slow-format.js";
import { SlowSimulator } from "../support/slow-simulator.js";
import { createTable, iovaOf, physicalOf, READ_WRITE } from "../support/tables.js";

const engine = await newEngine();
const CAPACITY = 64;
const batch = new AccessBatch(engine, CAPACITY);
const ENOUGH: CacheGeometry = { sets: 1, ways: 64, replacement: "lru" };
const TAGS = vtdTags({ sid: 0x10, domain: 3, pasid: null, firstStage: true });
const HIT_LEVEL = 0;

/** Runs accesses and says of each what came: whether the IOTLB had it, and the physical address or null. */
function run(simulator: TranslationSimulator, accesses: readonly DeviceAccess[]) {
  for (const [i, access] of accesses.entries()) batch.set(i, access);
  simulator.run(batch, accesses.length);
  return accesses.map((_, i) => {
    const faulted = (batch.status[i] & 0x3f) !== 0;
    return {
      hit: !faulted && ((batch.status[i] >>> 8) & 0xf) === HIT_LEVEL,
      physical: faulted ? null : batch.physical[i],
    };
  });
}

function read(iova: bigint, device = 0): DeviceAccess {
  return { iova, bytes: 64, write: false, device };
}

const SMALL: CacheGeometry = { sets: 1, ways: 2, replacement: "lru" };
const STRUCTURES: StructureCaches = {
  2: { sets: 2, ways: 2, replacement: "lru" },
  3: SMALL,
  4: { sets: 1, ways: 1, replacement: "round-robin" },
  5: SMALL,
};
const IOTLBS: readonly (readonly [string, CachesGeometry["iotlb"]])[] = [
  ["unified", [{ sets: 2, ways: 4, replacement: "lru" }]],
  [
    "split",
    [
      { sets: 1, ways: 4, replacement: "round-robin", pageSizes: 0xff_ffffn & ((1n << 20n) - 1n) },
      { sets: 1, ways: 3, replacement: "random", pageSizes: ~((1n << 20n) - 1n) & ((1n << 64n) - 1n) },
    ],
  ],
  ["of the smallest page only", [{ sets: 1, ways: 8, replacement: "tree-plru", pageSizes: 0x1_5000n }]],
];

/** Ranges at several levels of the table that are mapped, unmapped with their invalidation, and accessed. */
function compare(configuration: Configuration, iotlb: CachesGeometry["iotlb"], structures: StructureCaches): number {
  const { format, levels } = configuration;
  const random = new Random(levels * 7 + iotlb.length);
  const table = createTable(engine, configuration);
  const simulator = new TranslationSimulator(engine, { iotlb, firstStage: structures });
  simulator.addDevice({ firstStage: table, tags: TAGS });
  const slow = new SlowSimulator(table, { iotlb }, structures, TAGS);
  const page = coverage(1, format);
  const large = coverage(2, format);
  const places = Array.from({ length: 12 }, (_, i) => {
    const region = levels > 2 ? BigInt(i % 3) * coverage(3, format) : 0n;
    return region + (levels > 1 ? BigInt(i % 5) * large : 0n) + BigInt(i % 2) * page;
  });
  const drop = (selection: Selection): void => {
    expect(simulator.invalidate(selection)).toBe(slow.invalidate(selection));
  };
  const live = new Map<bigint, bigint>();
  let hits = 0;
  for (let step = 0; step < 60; step++) {
    const at = random.pick(places);
    const length = live.get(at);
    if (length === undefined) {
      const wanted = random.chance(0.4) && levels > 1 && at % large === 0n ? large : page;
      const physical = physicalOf(large * BigInt(1 + random.below(5)) + (random.chance(0.3) ? page : 0n));
      const permissions = random.chance(0.8) ? READ_WRITE : { read: true };
      if (![...live].some(([other, had]) => at < other + had && other < at + wanted)) {
        const replaced = table.map(iovaOf(at), physical, wanted, permissions);
        live.set(at, wanted);
        // An empty table page that gave way to a large leaf.
        if (replaced > 0) drop({ firstStage: [{ first: at, last: at + wanted - 1n }] });
      }
    } else if (random.chance(0.3)) {
      const { freedPages } = table.unmap(iovaOf(at), length);
      live.delete(at);
      const range = { first: at, last: at + length - 1n };
      drop({ iotlb: [range], ...(freedPages.length > 0 ? { firstStage: [range] } : {}) });
    }
    const accesses = Array.from({ length: 1 + random.below(CAPACITY) }, () => ({
      iova: random.pick(places) + BigInt(random.below(64)) * (page / 64n),
      bytes: 64,
      write: random.chance(0.3),
      device: 0,
    }));
    // A write to what the IOTLB knows as read-only is the one case that the slow simulator leaves out.
    const allowed = accesses.filter(({ iova }) => {
      const write = table.walk(iovaOf(iova), { write: true });
      return write.ok || write.check !== "no-write";
    });
    const expected = allowed.map((access) => slow.access(access));
    expect(run(simulator, allowed)).toEqual(expected);
    hits += expected.filter(({ hit }) => hit).length;
  }
  const { firstStage, faults, requests, iotlbHits } = simulator.counters;
  for (const { level, lookups, hits, reads } of firstStage.levels) {
    expect([level, lookups, hits, reads]).toEqual([level, slow.lookups[level], slow.hits[level], slow.reads[level]]);
  }
  expect({ faults, iotlbHits }).toEqual({ faults: slow.faults, iotlbHits: hits });
  expect(requests).toBeGreaterThan(hits);
  simulator.release();
  table.release();
  return hits;
}

describe.each([...FULL_CONFIGURATIONS, ...UNUSUAL_CONFIGURATIONS])("$title", (configuration) => {
  test.each(IOTLBS)("%s IOTLB", (_, iotlb) => {
    expect(compare(configuration, iotlb, STRUCTURES)).toBeGreaterThan(50);
  });
  test("no paging-structure cache but one", () => {
    expect(compare(configuration, [{ ...SMALL, ways: 16 }], { 3: SMALL })).toBeGreaterThan(50);
  });
});

describe("a nested walk of four levels and four", () => {
  const IDENTITY = 1n << 38n;
  const GIB = 1n << 30n;
  const iova = 0x1234_5000n;

  /** Guest tables lie in the arena, which the second stage maps to itself by 4 KiB pages. */
  function nested(geometry: Omit<CachesGeometry, "iotlb">) {
    const second = engine.createTable("vtdss", { levels: 4, pageSizes: 4096n });
    second.map(iovaOf(IDENTITY), physicalOf(IDENTITY), 1n << 27n, READ_WRITE);
    second.map(iovaOf(4n * GIB), physicalOf(8n * GIB), 1n << 24n, READ_WRITE);
    const first = engine.createTable("x86_64", { levels: 4, secondStage: second });
    first.map(iovaOf(iova), physicalOf(4n * GIB + 0x3000n), 0x4000n, READ_WRITE);
    const simulator = new TranslationSimulator(engine, { iotlb: [ENOUGH], ...geometry });
    simulator.addDevice({ firstStage: first, secondStage: second, tags: TAGS });
    return { simulator, first, second };
  }

  const LEVELS: StructureCaches = { 2: ENOUGH, 3: ENOUGH, 4: ENOUGH };

  test.each<[string, Omit<CachesGeometry, "iotlb">, number, number]>([
    // 4 * (4 + 1) + 4, every time.
    ["without caches", {}, 24, 24],
    // A whole walk for the first of the guest's tables, one entry for the others, all but the top one for the output.
    ["with caches of the second stage", { secondStage: LEVELS }, 4 + 4 + 3 + 3, 4 + 5],
    // Behind the first stage's caches there is one entry to read, and the output.
    ["with caches of both stages", { firstStage: LEVELS, secondStage: LEVELS }, 4 + 4 + 3 + 3, 1 + 1],
    ["with nested translations", { firstStage: LEVELS, nested: ENOUGH }, 24, 1 + 4],
  ])("%s", (_, geometry, cold, warm) => {
    const { simulator, first } = nested(geometry);
    const reads = (offset: bigint): number => {
      simulator.clearCounters();
      expect(run(simulator, [read(iova + offset)])).toEqual([{ hit: false, physical: 8n * GIB + 0x3000n + offset }]);
      const walk = first.walk(iovaOf(iova + offset));
      expect(walk).toMatchObject({ ok: true, physical: 8n * GIB + 0x3000n + offset, entriesRead: 24 });
      return walkReads(simulator.counters);
    };
    expect(reads(0n)).toBe(cold);
    expect(reads(0x1008n)).toBe(warm);
  });

  it("faults as the table's own walk does", () => {
    const { simulator, first, second } = nested({ firstStage: LEVELS, secondStage: LEVELS });
    first.map(iovaOf(0x2000_0000n), physicalOf(0x9_0000_0000n), 0x1000n, READ_WRITE);
    const firstTable = first.root;
    const checks = [0x2000_0000n, 0x3000_0000n, 1n << 50n].map((address) => {
      const walk = first.walk(iovaOf(address));
      batch.set(0, read(address));
      simulator.run(batch, 1);
      return [walk.ok, walk.level, batch.status[0] & 0xff, (batch.status[0] >>> 8) & 0xf];
    });
    // Not present behind the second stage; not present; not canonical.
    expect(checks).toEqual([
      [false, 1, 0x44, 1],
      [false, 2, 0x04, 2],
      [false, 0, 0x01, 0],
    ]);
    second.unmap(iovaOf(firstTable), 4096n);
    simulator.invalidate({ iotlb: [{}], firstStage: [{}], secondStage: [{}] });
    batch.set(0, read(iova));
    simulator.run(batch, 1);
    expect([batch.status[0] & 0xff, (batch.status[0] >>> 8) & 0xf]).toEqual([0x84, 4]);
    expect(first.walk(iovaOf(iova))).toMatchObject({
      ok: false,
      stage: "second-table",
      check: "not-present",
      level: 4,
    });
    expect(simulator.counters.faults).toBe(4);
  });
});

describe("what was not invalidated stays and is used", () => {
  const GEOMETRY: CachesGeometry = { iotlb: [ENOUGH], secondStage: { 2: ENOUGH, 3: ENOUGH, 4: ENOUGH } };
  const LARGE = 1n << 21n;
  const range = { first: 0n, last: LARGE - 1n };

  function mapped() {
    const table = engine.createTable("vtdss", { levels: 4, pageSizes: 4096n });
    table.map(iovaOf(0n), physicalOf(0x40_0000n), LARGE, READ_WRITE);
    const simulator = new TranslationSimulator(engine, GEOMETRY);
    simulator.addDevice({ secondStage: table, tags: TAGS });
    return { table, simulator };
  }

  it("an IOTLB entry of an unmapped page", () => {
    const { table, simulator } = mapped();
    expect(run(simulator, [read(0x1000n)])).toEqual([{ hit: false, physical: 0x40_1000n }]);
    table.unmap(iovaOf(0x1000n), 0x1000n);
    expect(run(simulator, [read(0x1040n)])).toEqual([{ hit: true, physical: 0x40_1040n }]);
    expect(simulator.invalidate({ iotlb: [{ first: 0x1000n, last: 0x1fffn }] })).toBe(1);
    expect(run(simulator, [read(0x1040n)])).toEqual([{ hit: false, physical: null }]);
  });

  it("a paging-structure entry for a table page that was freed and is another table now", () => {
    const { table, simulator } = mapped();
    run(simulator, [read(0x1000n)]);
    const { freedPages } = table.unmap(iovaOf(0n), LARGE);
    expect(freedPages.map(({ level }) => level)).toEqual([1]);
    // Another address space gets the page for a table of its own.
    const other = engine.createTable("vtdss", { levels: 3, pageSizes: 4096n, root: freedPages[0].address });
    engine.memory.write64(physicalOf(freedPages[0].address + 16n), 0x7_0000_0003n);
    // IOTLB-only, as with the invalidation hint: the stale entry leads into the other's table.
    simulator.invalidate({ iotlb: [range] });
    expect(run(simulator, [read(0x2000n)])).toEqual([{ hit: false, physical: 0x7_0000_0000n }]);
    simulator.invalidate({ iotlb: [range], secondStage: [range] });
    expect(run(simulator, [read(0x2000n)])).toEqual([{ hit: false, physical: null }]);
    expect(other.root).toBe(freedPages[0].address);
  });
});

it("walks again where the IOTLB allows less than is asked, and keeps what it finds in the same entry", () => {
  const table = engine.createTable("vtdss");
  table.map(iovaOf(0x1000n), physicalOf(0x5000n), 0x1000n, { read: true });
  const simulator = new TranslationSimulator(engine, { iotlb: [{ sets: 1, ways: 2, replacement: "lru" }] });
  simulator.addDevice({ secondStage: table, tags: TAGS });
  const write = { ...read(0x1000n), write: true };
  expect(run(simulator, [read(0x1000n), write])).toEqual([
    { hit: false, physical: 0x5000n },
    { hit: false, physical: null },
  ]);
  table.unmap(iovaOf(0x1000n), 0x1000n);
  table.map(iovaOf(0x1000n), physicalOf(0x5000n), 0x1000n, READ_WRITE);
  expect(run(simulator, [write, write, read(0x1000n)]).map(({ hit }) => hit)).toEqual([false, true, true]);
  expect(simulator.invalidate({ iotlb: [{}] })).toBe(1);
});

it("keeps a contiguous run as one entry, and fractures it where the IOTLB does not take its size", () => {
  // VMSAv8-64, 4 KiB granule: bit 52 of 16 adjacent leaves (DDI 0487, D8.7.1).
  const contiguous = {
    bit: 1n << 52n,
    run: new Map([
      [1, 4],
      [2, 4],
    ]),
  };
  const table = engine.createTable("vmsav8-4k", { pageSizes: 4096n });
  table.map(iovaOf(0x10_0000n), physicalOf(0x20_0000n), 0x1_0000n, READ_WRITE);
  let at = table.root;
  for (const level of [4, 3, 2]) {
    const index = (0x10_0000n >> BigInt(12 + 9 * (level - 1))) & 0x1ffn;
    at = physicalOf(engine.memory.read64(physicalOf(at + index * 8n)) & 0xffff_ffff_f000n);
  }
  for (let page = 0x100n; page < 0x110n; page++) {
    const entry = physicalOf(at + page * 8n);
    engine.memory.write64(entry, engine.memory.read64(entry) | contiguous.bit);
  }
  const stream = new AccessStream(engine, { kind: "sequential", base: 0x10_0000n, length: 0x1_0000n, bytes: 4096 });
  const misses = [{}, { pageSizes: 4096n }].map((sizes) => {
    const simulator = new TranslationSimulator(engine, { iotlb: [{ ...ENOUGH, ...sizes }] });
    simulator.addDevice({ firstStage: table, tags: TAGS, contiguous });
    simulator.runStream(stream, batch, 16);
    expect(Array.from(batch.physical.slice(0, 16))).toEqual(
      Array.from({ length: 16 }, (_, i) => 0x20_0000n + 4096n * BigInt(i)),
    );
    return simulator.counters.iotlbLookups - simulator.counters.iotlbHits;
  });
  expect(misses).toEqual([1, 16]);
});

describe("several devices", () => {
  const table = engine.createTable("vtdss");
  table.map(iovaOf(0x1000n), physicalOf(0x5000n), 0x1000n, READ_WRITE);
  const tags = (sid: number): DeviceTags => vtdTags({ sid, domain: 1, pasid: 7, firstStage: false });
  const add = (simulator: TranslationSimulator, count: number): void => {
    for (let sid = 0; sid < count; sid++) {
      simulator.addDevice({ secondStage: table, tags: tags(sid), contextReads: 2, pasidReads: 2 });
    }
  };
  const round = (count: number): DeviceAccess[] => Array.from({ length: count }, (_, i) => read(0x1000n, i));
  const caches = { context: { ...ENOUGH, ways: 4 }, pasid: { ...ENOUGH, ways: 2 } };

  it("share paging-structure caches and have IOTLB entries of their own; contexts after an IOTLB miss", () => {
    const simulator = new TranslationSimulator(engine, { iotlb: [ENOUGH], secondStage: { 2: ENOUGH }, ...caches });
    add(simulator, 6);
    run(simulator, [...round(6), ...round(6)]);
    const { counters } = simulator;
    expect(vtdNames(counters)).toEqual({
      iommu_requests: 12,
      iotlb_lookup: 12,
      iotlb_hit: 6,
      fs_nonleaf_lookup: 0,
      fs_nonleaf_hit: 0,
      ss_nonleaf_lookup: 6,
      ss_nonleaf_hit: 5,
      ctxt_cache_lookup: 6,
      ctxt_cache_hit: 0,
      pasid_cache_lookup: 6,
      pasid_cache_hit: 0,
      iommu_mrds: 4 + 5 + 24,
    });
  });

  it("have their configuration looked up first where the tags come from there", () => {
    const simulator = new TranslationSimulator(engine, { iotlb: [ENOUGH], configurationFirst: true, ...caches });
    add(simulator, 3);
    // Four STEs stay, two CDs do not: the first of a row of accesses misses.
    run(simulator, [...round(3), ...round(3), read(0x1000n, 2), read(0x1000n, 1)]);
    expect(smmuv3Names(simulator.counters)).toEqual({
      transaction: 8,
      tlb_miss: 3,
      config_cache_miss: 6,
      trans_table_walk_access: 12,
      config_struct_access: 18,
    });
    expect(simulator.counters).toMatchObject({ contextLookups: 8, contextHits: 5, pasidLookups: 8, pasidHits: 2 });
  });

  it("must exist", () => {
    const simulator = new TranslationSimulator(engine, { iotlb: [ENOUGH] });
    add(simulator, 2);
    batch.set(0, read(0x1000n, 1));
    batch.set(1, read(0x1000n, 2));
    refused("invalid", () => simulator.run(batch, 2));
    expect(simulator.counters.requests).toBe(0);
  });
});

describe("refuses", () => {
  const table = engine.createTable("vtdss");
  const simulator = new TranslationSimulator(engine, { iotlb: [ENOUGH] });

  it("impossible caches, naming them", () => {
    const bad = { sets: 3, ways: 1, replacement: "lru" } as const;
    const message = (geometry: CachesGeometry): string =>
      refused("invalid", () => new TranslationSimulator(engine, geometry)).message;
    expect(message({ iotlb: [] })).toContain("0 IOTLBs");
    expect(message({ iotlb: [{ ...ENOUGH, pageSizes: 4096n }, ENOUGH] })).toContain("IOTLB 1 takes a size of page");
    expect(message({ iotlb: [bad] })).toContain("make an IOTLB: invalid: 3 sets");
    expect(message({ iotlb: [ENOUGH], secondStage: { 3: bad } })).toContain("a paging-structure cache of level 3");
    expect(message({ iotlb: [ENOUGH], pasid: bad })).toContain("a PASID cache");
  });

  it("devices that it cannot walk for", () => {
    refused("invalid", () => simulator.addDevice({ tags: TAGS }));
    const flagged = engine.createTable("vtdss", { flags: 1 << 28 });
    expect(refused("invalid", () => simulator.addDevice({ secondStage: flagged, tags: TAGS })).message).toContain(
      "vtdss table has flags",
    );
    const wide = engine.createTable("vmsav8-64k");
    refused("invalid", () => simulator.addDevice({ firstStage: wide, secondStage: table, tags: TAGS }));
  });
});
