/** Counters by the hardware's names, of units with caches of every kind. */
import { describe, expect, test } from "vitest";
import type { UnitCachesGeometry } from "../../src/access/caches.js";
import { SmmuDriver } from "../../src/domain/smmuv3-driver.js";
import { VtdDriver } from "../../src/domain/vtd-driver.js";
import type { Engine } from "../../src/engine/engine.js";
import { SmmuUnit } from "../../src/smmuv3/unit.js";
import { VtdUnit } from "../../src/vtd/unit.js";
import { openMachine as openSmmu, requestOf, SID as STREAM } from "../smmuv3/machine.js";
import { newEngine } from "../support/engine.js";
import { refused } from "../support/errors.js";
import { iovaOf, physicalOf, READ_WRITE } from "../support/tables.js";
import { openMachine as openVtd } from "../vtd/machine.js";

const SID = 0x100;
const CACHE = { sets: 1, ways: 4, replacement: "lru" } as const;
const CACHES = { caches: { iotlb: [CACHE], firstStage: { 2: CACHE }, secondStage: { 2: CACHE } } };

/** Two pages of one last table, the first of them twice: a walk of 4 entries, a hit, a walk of 1. */
function accessThree(driver: VtdDriver | SmmuDriver): void {
  const table = driver.createTable();
  driver.attach(SID, { kind: "paging", table, id: 1 });
  table.map(iovaOf(0x40_0000n), physicalOf(0x1000_0000n), 0x2000n, READ_WRITE);
  for (const address of [0x40_0000n, 0x40_0008n, 0x40_1000n]) expect(driver.access(SID, address, false).ok).toBe(true);
}

test("VT-d", async () => {
  const driver = new VtdDriver(await newEngine(), CACHES);
  accessThree(driver);
  expect(driver.unit.performanceCounters).toMatchObject({
    iommu_requests: 3,
    iotlb_lookup: 3,
    iotlb_hit: 1,
    ss_nonleaf_lookup: 2,
    ss_nonleaf_hit: 1,
    fs_nonleaf_lookup: 0,
    // Root, context, PASID directory and PASID table.
    iommu_mrds: 4 + 5,
  });
});

test("SMMUv3", async () => {
  const driver = new SmmuDriver(await newEngine(), CACHES);
  accessThree(driver);
  const expected = { transaction: 3, tlb_miss: 2, trans_table_walk_access: 5 };
  expect(driver.unit.performanceCounters).toMatchObject(expected);
});

const CONFIGURATION = { caches: { ...CACHES.caches, context: CACHE, pasid: CACHE } };

describe("look-ups of configuration", () => {
  test("VT-d: requests that the IOTLB answers need none, those with ATS always", async () => {
    const { unit, request } = await openVtd({ translator: "second", pasid: 5 }, { options: CONFIGURATION });
    const counted = (work: () => { readonly ok: boolean }): readonly number[] => {
      const before = unit.performanceCounters;
      expect(work().ok).toBe(true);
      const after = unit.performanceCounters;
      const names = ["iommu_requests", "ctxt_cache_lookup", "ctxt_cache_hit", "pasid_cache_lookup", "pasid_cache_hit"];
      return [...names, "iotlb_lookup", "iotlb_hit"].map((name) => after[name] - before[name]);
    };
    const { iova } = request;
    expect(counted(() => unit.translate(request))).toEqual([1, 1, 0, 1, 0, 1, 0]);
    expect(counted(() => unit.translate(request))).toEqual([1, 0, 0, 0, 0, 1, 1]);
    expect(counted(() => unit.requestTranslation(request))).toEqual([1, 1, 1, 1, 1, 1, 1]);
    const other = { ...request, iova: iovaOf(iova ^ 1n) };
    expect(counted(() => unit.translate(other))).toEqual([1, 0, 0, 0, 0, 1, 1]);
    unit.invalidateCaches();
    expect(counted(() => unit.requestTranslation(request))).toEqual([1, 1, 0, 1, 0, 1, 0]);
    expect(counted(() => unit.requestTranslation(request))).toEqual([1, 1, 1, 1, 1, 1, 1]);
  });

  test("SMMUv3: of every transaction", async () => {
    const { unit } = await openSmmu({ ste: { EATS: 1 }, ...CONFIGURATION });
    const counted = (work: () => { readonly ok: boolean }, ok = true): readonly number[] => {
      const figures = (): number[] => {
        const { requests, contextLookups, contextHits, pasidLookups, pasidHits, iotlbHits } = unit.detailedCounters;
        const { pcie_ats_trans_rq, pcie_ats_trans_passed, config_cache_miss } = unit.performanceCounters;
        const ats = [pcie_ats_trans_rq, pcie_ats_trans_passed];
        return [requests, contextLookups, contextHits, pasidLookups, pasidHits, iotlbHits, config_cache_miss, ...ats];
      };
      const before = figures();
      expect(work().ok).toBe(ok);
      return figures().map((figure, i) => figure - before[i]);
    };
    const request = requestOf(STREAM.stage1);
    expect(counted(() => unit.translate(request))).toEqual([1, 1, 0, 1, 0, 0, 1, 0, 0]);
    expect(counted(() => unit.translate(request))).toEqual([1, 1, 1, 1, 1, 1, 0, 0, 0]);
    // The page is looked for in the tables: see `AtsRequests`.
    expect(counted(() => unit.requestTranslation(request))).toEqual([1, 1, 1, 1, 1, 0, 0, 1, 0]);
    const bypass = requestOf(STREAM.bypass);
    expect(counted(() => unit.translate(bypass))).toEqual([1, 1, 0, 0, 0, 0, 1, 0, 0]);
    expect(counted(() => unit.requestTranslation(bypass), false)).toEqual([1, 1, 1, 0, 0, 0, 0, 1, 0]);
    expect(counted(() => unit.translate({ ...request, type: "translated" }))).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 1]);
  });
});

test.each([
  ["context", (engine: Engine, caches: UnitCachesGeometry) => new VtdUnit(engine, { caches })],
  ["pasid", (engine: Engine, caches: UnitCachesGeometry) => new SmmuUnit(engine, { caches })],
] as const)("a %s cache that cannot be is refused", async (name, make) => {
  const engine = await newEngine();
  const caches = { ...CACHES.caches, [name]: { ...CACHE, sets: 3 } };
  expect(refused("invalid", () => make(engine, caches)).message).toContain("3 sets");
});

test.each([
  ["context", (engine: Engine) => new VtdUnit(engine, { contextCacheEntries: 0 })],
  ["pasid", (engine: Engine) => new VtdUnit(engine, { pasidCacheEntries: 1.5 })],
  ["context", (engine: Engine) => new SmmuUnit(engine, { configurationCacheEntries: -1 })],
] as const)("a %s cache of an impossible size is refused", async (name, make) => {
  const engine = await newEngine();
  expect(refused("invalid", () => make(engine)).message).toContain(`${name} cache`);
});
