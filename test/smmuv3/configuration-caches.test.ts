/**
 * The caches of STEs and CDs and the TLB of any geometry, transaction by transaction, against lists of entries, while
 * software changes STEs and CDs with and without the commands that they need.
 */
import { describe, expect, test } from "vitest";
import { NO_PASID } from "../../assembly/layout.js";
import { REPLACEMENTS } from "../../src/cache/geometry.js";
import { Random } from "../support/random.js";
import {
  type SlowCd,
  SlowSmmuCaches,
  type SlowSmmuCommand,
  type SlowSte,
  type SlowTransaction,
} from "../support/slow-smmuv3-caches.js";
import { encodeCd, writeEntry } from "../support/smmuv3/encode.js";
import { openMachine } from "./machine.js";

const SIDS = [1, 2, 3, 4, 5, 6, 7] as const;
const SSIDS = [1, 2, 3] as const;
const ASIDS = [1, 2, 3] as const;
const VMIDS = [5, 6] as const;
const PAGES = [1, 2, 3, 4, 5] as const;
const UNMAPPED = 5;
const LEVELS = 3;
const CD_TABLES = [0x5_0000n, 0x5_1000n, 0x5_2000n] as const;
const CONFIGS = { abort: 0b000, bypass: 0b100, "stage-1": 0b101, "stage-2": 0b110 } as const;
/** Leaves that anybody may read, not global: AF, SH, AP[1], nG; AF, S2AP, Normal memory. */
const LEAVES = { 1: 0xf43n, 2: 0x4ffn } as const;

interface Tables {
  readonly stage: 1 | 2;
  readonly root: bigint;
  readonly target: (page: number) => bigint | null;
}

const ALL_TABLES: readonly Tables[] = ([1, 1, 1, 2, 2] as const).map((stage, index) => ({
  stage,
  root: 0x10_0000n + BigInt(index) * 0x1_0000n,
  target: (page) => (page === UNMAPPED ? null : BigInt(index + 1) * 0x1000_0000n + BigInt(page) * 0x1000n),
}));
const STAGE_1 = ALL_TABLES.filter(({ stage }) => stage === 1);
const STAGE_2 = ALL_TABLES.filter(({ stage }) => stage === 2);

function words(command: SlowSmmuCommand): readonly [first: bigint, second: bigint] {
  const sid = "sid" in command ? BigInt(command.sid) << 32n : 0n;
  const vmid = "vmid" in command ? BigInt(command.vmid) << 32n : 0n;
  const asid = "asid" in command ? BigInt(command.asid) << 48n : 0n;
  const address = "page" in command ? BigInt(command.page) << 12n : 0n;
  switch (command.command) {
    case "CFGI_STE":
      return [0x03n | sid, 0n];
    case "CFGI_STE_RANGE":
      return [0x04n | sid, BigInt(command.range)];
    case "CFGI_ALL":
      return [0x04n, 31n];
    case "CFGI_CD":
      return [0x05n | sid | (1n << 11n) | (BigInt(command.ssid) << 12n), 0n];
    case "CFGI_CD_ALL":
      return [0x06n | sid, 0n];
    case "NH_ALL":
      return [0x10n, 0n];
    case "NH_ASID":
      return [0x11n | asid, 0n];
    case "NH_VA":
      return [0x12n | asid, address];
    case "NH_VAA":
      return [0x13n, address];
    case "S12_VMALL":
      return [0x28n | vmid, 0n];
    case "S2_IPA":
      return [0x2an | vmid, address];
    case "NSNH_ALL":
      return [0x30n, 0n];
  }
}

function randomCommand(random: Random): SlowSmmuCommand {
  const sid = random.pick(SIDS);
  const asid = random.pick(ASIDS);
  const vmid = random.pick(VMIDS);
  const page = random.pick(PAGES);
  return random.pick<SlowSmmuCommand>([
    { command: "CFGI_STE", sid },
    { command: "CFGI_STE", sid },
    { command: "CFGI_STE_RANGE", sid, range: random.below(2) },
    { command: "CFGI_CD", sid, ssid: random.below(4) },
    { command: "CFGI_CD", sid, ssid: random.below(4) },
    { command: "CFGI_CD_ALL", sid },
    { command: "NH_ASID", asid },
    { command: "NH_VA", asid, page },
    { command: "NH_VAA", page },
    { command: "S12_VMALL", vmid },
    { command: "S2_IPA", vmid, page },
    { command: random.pick(["CFGI_ALL", "NSNH_ALL", "NH_ALL"]) },
  ]);
}

async function compare(replacement: (typeof REPLACEMENTS)[number], seed: number) {
  const random = new Random(seed);
  const ways = replacement === "lru" ? 3 : 2;
  const geometry = {
    iotlb: { sets: 4, ways: 2, replacement, seed: 3 },
    context: { sets: random.pick([1, 2]), ways, replacement, seed: 4 },
    pasid: { sets: 2, ways, replacement, seed: 5 },
  };
  const machine = await openMachine({ caches: { ...geometry, iotlb: [geometry.iotlb] } });
  const { unit } = machine;
  for (const { stage, root, target } of ALL_TABLES) {
    machine.write(root, (root + 0x1000n) | 3n);
    machine.write(root + 0x1000n, (root + 0x2000n) | 3n);
    for (const page of PAGES) {
      machine.write(root + 0x2000n + BigInt(8 * page), (target(page) ?? 0n) | (target(page) ? LEAVES[stage] : 0n));
    }
  }

  const entries = new Map<number, SlowSte>();
  const contexts: SlowCd[][] = CD_TABLES.map(() => []);
  const changeEntry = (sid: number): void => {
    const config = random.pick(["abort", "bypass", "stage-1", "stage-1", "stage-1", "stage-2", "stage-2"] as const);
    const table = config === "stage-2" ? random.below(STAGE_2.length) : random.below(CD_TABLES.length);
    const vmid = config === "stage-2" ? random.pick(VMIDS) : 0;
    const entry = { valid: random.chance(0.9), config, table, vmid };
    entries.set(sid, entry);
    const fields =
      config === "stage-2"
        ? { S2AA64: 1, S2T0SZ: 25, S2SL0: 1, S2PS: 4, S2R: 1, S2VMID: vmid, S2TTB: STAGE_2[table].root }
        : { S1ContextPtr: CD_TABLES[table], S1CDMax: 2, S1DSS: 2 };
    machine.writeSte(sid, { V: entry.valid, Config: CONFIGS[config], ...(config === "abort" ? {} : fields) });
  };
  const changeContext = (cds: number, index: number): void => {
    const context = { valid: random.chance(0.9), asid: random.pick(ASIDS), table: random.below(STAGE_1.length) };
    contexts[cds][index] = context;
    const { valid: V, asid: ASID } = context;
    const TTB0 = STAGE_1[context.table].root;
    const fields = { V, AA64: 1, A: 1, R: 1, IPS: 4, T0SZ: 25, EPD1: 1, ASID, TTB0 };
    writeEntry(encodeCd(fields), CD_TABLES[cds] + BigInt(64 * index), (at, word) => machine.write(at, word));
  };
  for (const sid of SIDS) changeEntry(sid);
  for (const cds of CD_TABLES.keys()) for (const index of [0, ...SSIDS]) changeContext(cds, index);

  const targets = (tables: readonly Tables[]) => tables.map(({ target }) => target);
  const memory = { entries, contexts, stage1: targets(STAGE_1), stage2: targets(STAGE_2), levels: LEVELS };
  const slow = new SlowSmmuCaches(memory, geometry);
  const batch = unit.createBatch(16);
  let dropped = 0;
  for (let round = 0; round < 200; round++) {
    const transactions = Array.from({ length: 1 + random.below(16) }, (): SlowTransaction => {
      return { sid: random.pick(SIDS), ssid: random.chance(0.5) ? null : random.pick(SSIDS), page: random.pick(PAGES) };
    });
    transactions.forEach(({ sid, ssid, page }, i) => {
      batch.source[i] = sid;
      batch.pasid[i] = ssid ?? NO_PASID;
      batch.iova[i] = BigInt(page) << 12n;
    });
    unit.translateBatch(batch, transactions.length, {}, true);
    const found = transactions.map((_, i) => (batch.code[i] === 0 ? batch.physical[i] : null));
    expect(found).toEqual(transactions.map((transaction) => slow.transaction(transaction)));
    expect(unit.detailedCounters).toMatchObject({
      requests: slow.transactions,
      iotlbLookups: slow.tlb.lookups,
      iotlbHits: slow.tlb.hits,
      contextLookups: slow.entries.lookups,
      contextHits: slow.entries.hits,
      pasidLookups: slow.contexts.lookups,
      pasidHits: slow.contexts.hits,
    });
    expect(unit.performanceCounters).toEqual({
      transaction: slow.transactions,
      tlb_miss: slow.tlb.lookups - slow.tlb.hits,
      config_cache_miss: slow.configurationMisses,
      trans_table_walk_access: slow.tableReads,
      config_struct_access: slow.configurationReads,
      pcie_ats_trans_rq: 0,
      pcie_ats_trans_passed: 0,
    });
    machine.events();
    if (random.chance(0.4)) changeEntry(random.pick(SIDS));
    if (random.chance(0.5)) changeContext(random.below(CD_TABLES.length), random.below(4));
    if (random.chance(0.6)) {
      const command = randomCommand(random);
      machine.command(...words(command));
      dropped += slow.obey(command);
    }
  }
  for (const { lookups, hits } of [slow.tlb, slow.entries, slow.contexts]) {
    expect(hits).toBeGreaterThan(60);
    expect(lookups - hits).toBeGreaterThan(60);
  }
  expect(dropped).toBeGreaterThan(60);
  unit.release();
}

describe.each(REPLACEMENTS)("%s", (replacement) => {
  test.each([0, 1, 2, 3])("seed %i", async (seed) => {
    await compare(replacement, seed);
  });
});
