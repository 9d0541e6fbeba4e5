/** Counters by the hardware's names, of units with paging-structure caches. */
import { expect, test } from "vitest";
import { SmmuDriver } from "../../src/domain/smmuv3-driver.js";
import { VtdDriver } from "../../src/domain/vtd-driver.js";
import { newEngine } from "../support/engine.js";
import { iovaOf, physicalOf, READ_WRITE } from "../support/tables.js";

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
