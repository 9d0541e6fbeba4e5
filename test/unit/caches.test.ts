/**
 * A unit's set-associative IOTLBs, paging-structure caches and nested translations, access by access as the simulator of
 * assembly/access/ has them, whose walks are written by themselves; tables change without the invalidations they need.
 */
import { describe, expect, test } from "vitest";
import * as layout from "../../assembly/layout.js";
import { AccessBatch } from "../../src/access/batch.js";
import { type CachesGeometry, type Selection, TranslationSimulator } from "../../src/access/simulator.js";
import { smmuv3Tags, smmuv3TlbSelection } from "../../src/cache/smmuv3.js";
import { vtdIotlbSelection, vtdPasidIotlbSelection, vtdTags } from "../../src/cache/vtd.js";
import type { Engine } from "../../src/engine/engine.js";
import { IommuError } from "../../src/engine/errors.js";
import type { PageTable } from "../../src/engine/page-table.js";
import { type Stage, Translation, UnitBatch } from "../../src/unit/translation.js";
import { newEngine } from "../support/engine.js";
import { Random } from "../support/random.js";
import { iovaOf, physicalOf, READ_WRITE } from "../support/tables.js";

const PAGE = 0x1000n;
const LARGE = 0x20_0000n;
const REGIONS = [0n, 1n, 2n, 512n, 513n, 1024n].map((region) => region * LARGE);
const PAGES = [0n, 1n, 2n, 0x1ffn].map((page) => page * PAGE);
const DOMAIN = 7;
const PASID = 5;
const ASID = 3;

const GEOMETRIES: readonly (readonly [string, CachesGeometry])[] = [
  [
    "LRU everywhere",
    {
      iotlb: [{ sets: 4, ways: 2, replacement: "lru" }],
      firstStage: { 2: { sets: 2, ways: 2, replacement: "lru" }, 3: { sets: 1, ways: 2, replacement: "lru" } },
      secondStage: { 2: { sets: 2, ways: 2, replacement: "lru" }, 4: { sets: 1, ways: 1, replacement: "lru" } },
      nested: { sets: 2, ways: 4, replacement: "lru" },
    },
  ],
  [
    "IOTLBs split by size, other policies",
    {
      iotlb: [
        { sets: 1, ways: 4, replacement: "tree-plru", pageSizes: PAGE },
        { sets: 2, ways: 2, replacement: "round-robin", pageSizes: LARGE },
      ],
      firstStage: { 3: { sets: 1, ways: 3, replacement: "random", seed: 5 } },
      secondStage: { 2: { sets: 4, ways: 4, replacement: "random", seed: 6 } },
    },
  ],
];

function attempt(change: () => void): void {
  try {
    change();
  } catch (error) {
    if (!(error instanceof IommuError)) throw error;
  }
}

function change(table: PageTable, random: Random): void {
  const large = random.chance(0.3);
  const length = large ? LARGE : PAGE;
  const iova = random.pick(REGIONS) + (large ? 0n : random.pick(PAGES));
  attempt(() => table.unmap(iovaOf(iova), length));
  if (random.chance(0.7)) {
    attempt(() => table.map(iovaOf(iova), physicalOf(BigInt(1 + random.below(60)) * LARGE), length, READ_WRITE));
  }
}

interface Setup {
  readonly first?: PageTable;
  readonly second?: PageTable;
}

function stage(engine: Engine, table: PageTable, isSecond: boolean): Stage {
  const { name, inputBits, outputBits, pageSizes } = engine.format(table.format.name);
  const flags = isSecond ? layout.TABLE_IS_SECOND_STAGE : 0;
  const { levels, root } = table;
  return { format: name, levels, root, inputBits: inputBits(levels), outputBits, pageSizes, flags };
}

/** A second stage over everything that the tables of the first and its outputs lie in, in pages of both sizes. */
function identity(engine: Engine, format: string): PageTable {
  const table = engine.createTable(format, { levels: 4 });
  table.map(iovaOf(0n), physicalOf(0n), 64n * LARGE, READ_WRITE);
  const { arenaBase } = engine.memory;
  table.map(iovaOf(arenaBase), physicalOf(arenaBase), LARGE, READ_WRITE);
  table.map(iovaOf(arenaBase + LARGE), physicalOf(arenaBase + LARGE), 3n * PAGE, READ_WRITE);
  return table;
}

const vtd = vtdTags({ sid: 0x10, domain: DOMAIN, pasid: PASID, firstStage: true });
const smmu = smmuv3Tags({ sid: 1, ssid: null, streamWorld: "NS-EL1", vmid: 0, asid: ASID, firstStage: true });

function vtdSelection(random: Random): Selection {
  const address = random.pick(REGIONS) + random.pick(PAGES);
  const addressMask = random.pick([0, 1, 9]);
  const leafOnly = random.chance(0.5);
  const domain = random.pick([DOMAIN, DOMAIN, DOMAIN + 1]);
  const common = { domain, address, addressMask, leafOnly };
  if (random.chance(0.5)) {
    return vtdIotlbSelection({ ...common, granularity: random.pick(["page", "page", "domain", "global"] as const) });
  }
  const pasid = random.pick([PASID, PASID, PASID + 1]);
  return vtdPasidIotlbSelection({ ...common, pasid, granularity: random.pick(["page", "page", "pasid"] as const) });
}

function smmuSelection(random: Random): Selection {
  const first = random.pick(REGIONS) + random.pick(PAGES);
  const last = first + random.pick([PAGE, 2n * PAGE, LARGE]) - 1n;
  return smmuv3TlbSelection({
    stages: random.pick(["stage-1", "stage-2", "both"] as const),
    streamWorlds: ["NS-EL1"],
    vmid: random.chance(0.5) ? { vmid: 0, ignoredBits: 0 } : null,
    asid: random.pick([null, ASID, ASID + 1]),
    global: random.chance(0.5),
    range: random.chance(0.7) ? { first, last, granule: null, level: null } : null,
    leafOnly: random.chance(0.5),
  });
}

const SETUPS: readonly (readonly [string, (engine: Engine) => Setup, typeof vtd, (random: Random) => Selection])[] = [
  ["VT-d second stage", (engine) => ({ second: engine.createTable("vtdss", { levels: 4 }) }), vtd, vtdSelection],
  ["VT-d first stage", (engine) => ({ first: engine.createTable("x86_64", { levels: 4 }) }), vtd, vtdSelection],
  [
    "VT-d nested",
    (engine) => ({ first: engine.createTable("x86_64", { levels: 4 }), second: identity(engine, "vtdss") }),
    vtd,
    vtdSelection,
  ],
  ["SMMUv3 stage 1", (engine) => ({ first: engine.createTable("vmsav8-4k", { levels: 4 }) }), smmu, smmuSelection],
  [
    "SMMUv3 nested",
    (engine) => ({ first: engine.createTable("vmsav8-4k", { levels: 4 }), second: identity(engine, "vmsav8-4k-s2") }),
    smmu,
    smmuSelection,
  ],
];

describe.each(GEOMETRIES)("%s", (_geometry, geometry) => {
  test.each(SETUPS)("%s", async (_name, make, tags, selection) => {
    for (let seed = 0; seed < 4; seed++) {
      const engine = await newEngine();
      const random = new Random(seed);
      const { first, second } = make(engine);
      const changing = first ?? second;
      if (!changing) throw new Error("a setup without a table");
      for (let i = 0; i < 12; i++) change(changing, random);
      const simulator = new TranslationSimulator(engine, geometry);
      simulator.addDevice({
        ...(first ? { firstStage: first } : {}),
        ...(second ? { secondStage: second } : {}),
        tags,
      });
      const translation = new Translation(engine, { caches: geometry });
      const { iotlb, ...walkTags } = tags;
      translation.setRegime(1, null, {
        first: stage(engine, changing, !first),
        ...(first && second ? { second: stage(engine, second, true) } : {}),
        last: 0n,
        ...iotlb,
        walkTags,
      });
      const batch = new UnitBatch(engine, 32);
      const accesses = new AccessBatch(engine, 32);
      const handler = { resolve: () => false, intercepted: () => {}, faulted: () => {} };
      for (let round = 0; round < 60; round++) {
        const iovas = Array.from({ length: 32 }, () => random.pick(REGIONS) + random.pick(PAGES) + 8n);
        batch.source.fill(1);
        iovas.forEach((iova, i) => {
          batch.iova[i] = iova;
          accesses.set(i, { iova, bytes: 64, write: false, device: 0 });
        });
        simulator.run(accesses, 32);
        translation.translate(batch, 32, {}, false, handler);
        const outcomes = Array.from(batch.status, (status) => status & layout.WALK_OUTCOME_MASK);
        expect(outcomes).toEqual(Array.from(accesses.status, (status) => status & layout.WALK_OUTCOME_MASK));
        outcomes.forEach((outcome, i) => {
          if (outcome === layout.WALK_OK) expect(batch.physical[i]).toBe(accesses.physical[i]);
        });
        for (let i = random.below(3); i > 0; i--) change(changing, random);
        if (random.chance(0.5)) {
          const those = selection(random);
          expect(translation.invalidate(those)).toBe(simulator.invalidate(those));
        }
      }
      const { firstStage, secondStage, nestedHits, nestedLookups, iotlbHits, iotlbLookups } = simulator.counters;
      const expected = { firstStage, secondStage, nestedHits, nestedLookups, iotlbHits, iotlbLookups };
      expect(translation.detailedCounters).toMatchObject(expected);
      expect(iotlbHits).toBeGreaterThan(100);
      expect(firstStage.nonleafHits + secondStage.nonleafHits).toBeGreaterThan(20);
    }
  });
});
