/**
 * The context cache, the PASID cache and the IOTLB of any geometry, request by request, against lists of entries, while
 * software changes entries with and without the invalidations that they need.
 */
import { describe, expect, test } from "vitest";
import { NO_PASID } from "../../assembly/layout.js";
import { REPLACEMENTS } from "../../src/cache/geometry.js";
import { newEngine } from "../support/engine.js";
import { Random } from "../support/random.js";
import {
  type SlowEntry,
  SlowVtdCaches,
  type SlowVtdInvalidation,
  type SlowVtdRequest,
} from "../support/slow-vtd-caches.js";
import { iovaOf, physicalOf, READ_WRITE } from "../support/tables.js";
import { contextCache, type Descriptor, Driver, iotlb, type Mode, PGTT, pasidCache, pasidIotlb } from "./machine.js";

/** Functions of two devices. */
const SIDS = [0x108, 0x109, 0x10c, 0x10f, 0x110, 0x118] as const;
const PASIDS = [0, 5, 6] as const;
const DOMAINS = [1, 2, 3] as const;
const PAGES = [0, 1, 2, 3, 4] as const;
const UNMAPPED = 4;
/** Two second-stage and two first-stage tables; their pages lead to megabytes of their own. */
const FORMATS = ["vtdss", "vtdss", "x86_64", "x86_64"] as const;
const LEVELS = 4;

function descriptor(request: SlowVtdInvalidation): Descriptor {
  const address = "page" in request ? BigInt(request.page) << 12n : 0n;
  switch (request.cache) {
    case "context":
      return contextCache(request.by, request.by === "global" ? {} : request);
    case "pasid":
      return pasidCache(request.by, request.by === "global" ? {} : request);
    case "iotlb":
      return iotlb(request.by, request.by === "global" ? {} : { domain: request.domain, address });
    case "pasid iotlb":
      return pasidIotlb(request.by, { domain: request.domain, pasid: request.pasid, address });
  }
}

function randomInvalidation(random: Random, mode: Mode): SlowVtdInvalidation {
  const domain = random.pick(DOMAINS);
  const pasid = random.pick(PASIDS);
  const page = random.pick(PAGES);
  const sid = random.pick(SIDS);
  const inBoth: SlowVtdInvalidation[] = [
    { cache: "context", by: "domain", domain },
    { cache: "context", by: "device", domain, sid, functionMask: random.below(4) },
    { cache: "context", by: "device", domain, sid, functionMask: 0 },
    { cache: "iotlb", by: "domain", domain },
    { cache: "iotlb", by: "page", domain, page },
    random.chance(0.5) ? { cache: "context", by: "global" } : { cache: "iotlb", by: "global" },
  ];
  const scalable: SlowVtdInvalidation[] = [
    { cache: "pasid", by: "domain", domain },
    { cache: "pasid", by: "pasid", domain, pasid },
    { cache: "pasid", by: "global" },
    { cache: "pasid iotlb", by: "pasid", domain, pasid },
    { cache: "pasid iotlb", by: "page", domain, pasid, page },
  ];
  return random.pick(mode === "legacy" ? inBoth : [...inBoth, ...scalable]);
}

async function compare(mode: Mode, replacement: (typeof REPLACEMENTS)[number], CM: number, seed: number) {
  const random = new Random(seed);
  const ways = replacement === "lru" ? 3 : 2;
  const geometry = {
    iotlb: { sets: 4, ways: 2, replacement, seed: 3 },
    context: { sets: random.pick([1, 2]), ways, replacement, seed: 4 },
    pasid: { sets: 2, ways, replacement, seed: 5 },
  };
  const driver = new Driver(await newEngine(), mode, {
    caches: { ...geometry, iotlb: [geometry.iotlb] },
    cap: { CM },
  });
  driver.start();
  const { engine, unit } = driver;
  const target = (table: number, page: number): bigint => BigInt(table + 1) * 0x10_0000n + BigInt(page) * 0x1000n;
  const tables = FORMATS.map((format, index) => {
    const table = engine.createTable(format, { levels: LEVELS });
    for (const page of PAGES) {
      if (page === UNMAPPED) continue;
      table.map(iovaOf(BigInt(page) * 0x1000n), physicalOf(target(index, page)), 0x1000n, READ_WRITE);
    }
    return table;
  });

  const contexts = new Map<number, SlowEntry>();
  const pasids = new Map<number, Map<number, SlowEntry>>(SIDS.map((sid) => [sid, new Map()]));
  const changeContext = (sid: number): void => {
    const entry = {
      present: random.chance(0.8),
      domain: random.pick(DOMAINS),
      table: random.below(2),
      firstStage: false,
    };
    contexts.set(sid, entry);
    if (mode === "legacy") driver.setLegacyContext(sid, { domain: entry.domain, table: tables[entry.table].root });
    else driver.setScalableContext(sid);
    if (!entry.present) driver.clearPresent(driver.contextAt(sid));
  };
  const changePasid = (sid: number, pasid: number): void => {
    const table = random.below(FORMATS.length);
    const firstStage = FORMATS[table] === "x86_64";
    const entry = { present: random.chance(0.8), domain: random.pick(DOMAINS), table, firstStage };
    pasids.get(sid)?.set(pasid, entry);
    const { root } = tables[table];
    const where = firstStage ? { firstTable: root } : { secondTable: root };
    driver.setPasid(sid, pasid, { type: firstStage ? PGTT.first : PGTT.second, domain: entry.domain, ...where });
    if (!entry.present) driver.clearPresent(driver.pasidAt(sid, pasid));
  };
  for (const sid of SIDS) {
    changeContext(sid);
    if (mode === "scalable") for (const pasid of PASIDS) changePasid(sid, pasid);
  }

  const memory = {
    contexts,
    pasids: mode === "scalable" ? pasids : null,
    tables: FORMATS.map((_, index) => (page: number) => (page === UNMAPPED ? null : target(index, page))),
    levels: LEVELS,
  };
  const slow = new SlowVtdCaches(memory, geometry, CM === 1);
  const batch = unit.createBatch(16);
  for (let round = 0; round < 150; round++) {
    const requests = Array.from({ length: 1 + random.below(16) }, (): SlowVtdRequest => {
      const pasid = mode === "legacy" || random.chance(0.4) ? null : random.pick([5, 6]);
      return { sid: random.pick(SIDS), pasid, page: random.pick(PAGES) };
    });
    requests.forEach(({ sid, pasid, page }, i) => {
      batch.source[i] = sid;
      batch.pasid[i] = pasid ?? NO_PASID;
      batch.iova[i] = BigInt(page) << 12n;
    });
    unit.translateBatch(batch, requests.length, {}, mode === "scalable");
    const found = requests.map((_, i) => (batch.code[i] === 0 ? batch.physical[i] : null));
    expect(found).toEqual(requests.map((request) => slow.request(request)));
    expect({ ...unit.detailedCounters, tableReads: unit.counters.iommuMrds }).toMatchObject({
      requests: slow.requests,
      iotlbLookups: slow.iotlbLookups,
      iotlbHits: slow.iotlb.hits,
      contextLookups: slow.contexts.lookups,
      contextHits: slow.contexts.hits,
      pasidLookups: slow.pasids.lookups,
      pasidHits: slow.pasids.hits,
      configurationReads: slow.configurationReads,
      tableReads: slow.tableReads,
    });
    if (random.chance(0.4)) changeContext(random.pick(SIDS));
    if (random.chance(0.4) && mode === "scalable") changePasid(random.pick(SIDS), random.pick(PASIDS));
    if (random.chance(0.5)) {
      const invalidation = randomInvalidation(random, mode);
      driver.invalidate(descriptor(invalidation));
      slow.invalidate(invalidation);
    }
  }
  const names = unit.performanceCounters;
  expect(names).toMatchObject({
    iommu_requests: slow.requests,
    iotlb_lookup: slow.iotlbLookups,
    iotlb_hit: slow.iotlb.hits,
    ctxt_cache_lookup: slow.contexts.lookups,
    ctxt_cache_hit: slow.contexts.hits,
    pasid_cache_lookup: slow.pasids.lookups,
    pasid_cache_hit: slow.pasids.hits,
    iommu_mrds: slow.configurationReads + slow.tableReads,
  });
  for (const { lookups, hits } of [slow.iotlb, slow.contexts, ...(mode === "scalable" ? [slow.pasids] : [])]) {
    expect(hits).toBeGreaterThan(40);
    expect(lookups - hits).toBeGreaterThan(40);
  }
  unit.release();
}

describe.each(REPLACEMENTS)("%s", (replacement) => {
  describe.each(["legacy", "scalable"] as const)("%s mode", (mode) => {
    test.each([0, 1])("CAP.CM %i", async (CM) => {
      for (let seed = 0; seed < 3; seed++) await compare(mode, replacement, CM, seed);
    });
  });
});
