/** What each invalidation must drop and must leave, seen by what goes on being used: Arm IHI 0070 G.b, 4.3 and 4.4. */
import { describe, expect, test } from "vitest";
import type { DmaRequest } from "../../src/unit/request.js";
import type { SlowRegisters } from "../support/slow-smmuv3.js";
import { type Machine, openMachine, requestOf, SID, TABLES } from "./machine.js";

const VMID = 5n;
const CD = { V: 1, AA64: 1, A: 1, R: 1, IPS: 4, T0SZ: 25, TTB0: 0x20000n, EPD1: 1 } as const;
const NESTED = {
  V: 1,
  S1ContextPtr: TABLES.contexts,
  S1CDMax: 2,
  S1DSS: 2,
  S2AA64: 1,
  S2T0SZ: 25,
  S2SL0: 1,
  S2PS: 4,
  S2R: 1,
  S2TTB: 0x30000n,
  S2VMID: VMID,
} as const;

/** RIL, besides what the small machine has. */
const WITH_RANGES = 0x0002_2314n | (1n << 10n);
/** VMW, besides what the small machine has. */
const WITH_VMID_WILDCARDS = 0x084c_168bn | (1n << 17n);
/** ASIDs of the three contexts, so chosen that no TLB entry takes the place of another. */
const ASIDS = [0x10, 0x20, 0x30] as const;

/** One transaction for each kind of cached entry. */
const TRANSACTIONS = {
  page: requestOf(SID.stage1),
  nextPage: requestOf(SID.stage1, { iova: 0x2000n }),
  otherAsid: requestOf(SID.stage1, { pasid: 1 }),
  stage2: requestOf(SID.stage2, { iova: 0x4000_1000n }),
  nested: requestOf(SID.nested, { pasid: 2 }),
} as const satisfies Record<string, DmaRequest>;

type Name = keyof typeof TRANSACTIONS;
const ALL = Object.keys(TRANSACTIONS) as Name[];
const STAGE_1: readonly Name[] = ["page", "nextPage", "otherAsid"];

async function warm(registers: Partial<SlowRegisters> = {}, cr0 = 0): Promise<Machine> {
  const machine = await openMachine({ registers: { IDR3: WITH_RANGES, ...registers }, cr0 });
  machine.writeSte(SID.stage2, { ...NESTED, Config: 0b110 });
  machine.writeSte(SID.nested, { ...NESTED, Config: 0b111 });
  for (const index of [0, 1, 2]) machine.writeCd(index, { ...CD, ASID: ASIDS[index] });
  expect(translated(machine)).toEqual(ALL);
  return machine;
}

function translated({ unit }: Machine): readonly Name[] {
  return ALL.filter((name) => unit.translate(TRANSACTIONS[name]).ok);
}

/** What was dropped, in the order of `ALL`. */
function expectDropped(machine: Machine, dropped: readonly Name[]): void {
  expect(ALL.filter((name) => !translated(machine).includes(name))).toEqual(
    ALL.filter((name) => dropped.includes(name)),
  );
}

const vmid = (value: bigint) => value << 32n;
const asid = (value: bigint) => value << 48n;
const sid = (value: number) => BigInt(value) << 32n;
const ssid = (value: number) => (1n << 11n) | (BigInt(value) << 12n);
/** NUM and SCALE, and in the second word TG and TTL: (NUM + 1) << SCALE granules. */
const range = (num: bigint, scale: bigint) => (num << 12n) | (scale << 20n);
const TG_4K = 1n << 10n;
const ttl = (level: bigint) => level << 8n;
const LEAF = 1n;

type Row = readonly [name: string, first: bigint, second: bigint, dropped: readonly Name[]];

describe("TLB entries", () => {
  const rows: readonly Row[] = [
    ["NH_ALL", 0x10n, 0n, STAGE_1],
    ["NH_ALL of the other VMID", 0x10n | vmid(VMID), 0n, ["nested"]],
    ["NH_ALL of a third VMID", 0x10n | vmid(6n), 0n, []],
    ["NH_ASID", 0x11n | asid(0x10n), 0n, ["page", "nextPage"]],
    ["NH_ASID of the other VMID", 0x11n | asid(0x30n) | vmid(VMID), 0n, ["nested"]],
    ["NH_ASID of no context", 0x11n | asid(9n), 0n, []],
    ["NH_VA", 0x12n | asid(0x10n), 0x1000n, ["page"]],
    ["NH_VA of the other ASID", 0x12n | asid(0x20n), 0x1000n, ["otherAsid"]],
    ["NH_VA of the other VMID", 0x12n | asid(0x30n) | vmid(VMID), 0x1000n, ["nested"]],
    ["NH_VA of the leaf", 0x12n | asid(0x10n), 0x1000n | LEAF, ["page"]],
    ["NH_VA of another page", 0x12n | asid(0x10n), 0x3000n, []],
    ["NH_VA of a range", 0x12n | asid(0x10n) | range(1n, 0n), 0x1000n | TG_4K, ["page", "nextPage"]],
    ["NH_VA of a range by its scale", 0x12n | asid(0x10n) | range(0n, 4n), TG_4K, ["page", "nextPage"]],
    ["NH_VA of a range behind", 0x12n | asid(0x10n) | range(7n, 1n), 0x2000n | TG_4K, ["nextPage"]],
    ["NH_VA of a range of one page", 0x12n | asid(0x10n), 0x1000n | TG_4K | ttl(3n), ["page"]],
    ["NH_VA whose range counts without TG", 0x12n | asid(0x10n) | range(1n, 0n), 0x1000n, ["page"]],
    ["NH_VAA", 0x13n, 0x1000n, ["page", "otherAsid"]],
    ["NH_VAA of the other VMID", 0x13n | vmid(VMID), 0x1000n, ["nested"]],
    ["NH_VAA of a range", 0x13n | range(3n, 0n), 0x1000n | TG_4K, STAGE_1],
    ["S12_VMALL", 0x28n | vmid(VMID), 0n, ["stage2", "nested"]],
    ["S12_VMALL of a third VMID", 0x28n | vmid(6n), 0n, []],
    ["S2_IPA", 0x2an | vmid(VMID), 0x4000_1000n, ["stage2"]],
    ["S2_IPA of another page", 0x2an | vmid(VMID), 0x4000_2000n, []],
    ["S2_IPA of a range", 0x2an | vmid(VMID) | range(7n, 0n), 0x4000_0000n | TG_4K, ["stage2"]],
    ["S2_IPA of a third VMID", 0x2an | vmid(6n), 0x4000_1000n, []],
    ["NSNH_ALL", 0x30n, 0n, ALL],
    ["CFGI_ALL", 0x04n, 31n, []],
    ["CFGI_CD_ALL", 0x06n | sid(SID.stage1), 0n, []],
    ["ATC_INV", 0x40n | sid(SID.stage1), 52n, []],
    ["SYNC", 0x46n, 0n, []],
  ];
  test.each(rows)("%s", async (_name, first, second, dropped) => {
    const machine = await warm();
    for (const leaf of [TABLES.s1[2], TABLES.s1[2] + 8n, TABLES.s2[2]]) machine.write(leaf, 0n);
    expect(translated(machine)).toEqual(ALL);
    machine.command(first, second);
    expect(machine.unit.read32(0x9c)).toBe(1);
    expectDropped(machine, dropped);
  });
});

test.each([
  // VMIDs 0 (of the streams with stage 1 alone) and 5.
  [0, 4n, []],
  [0, 5n, ["stage2", "nested"]],
  [1, 4n, ["stage2", "nested"]],
  [1, 7n, []],
  [1, 1n, STAGE_1],
  [2, 7n, ["stage2", "nested"]],
  [2, 3n, STAGE_1],
  [2, 8n, []],
  [3, 2n, ALL],
  [3, 13n, []],
  [4, 13n, ALL],
  [4, 16n, []],
  // Reserved: behaves as none.
  [5, 4n, []],
] as const)("with %i bits of VMIDs ignored, S12_VMALL of VMID %d", async (vmw, value, dropped) => {
  const machine = await warm({ IDR0: WITH_VMID_WILDCARDS }, vmw << 6);
  for (const leaf of [TABLES.s1[2], TABLES.s1[2] + 8n, TABLES.s2[2]]) machine.write(leaf, 0n);
  machine.command(0x28n | vmid(value));
  expectDropped(machine, dropped);
});

describe("STEs", () => {
  const stage1: readonly Name[] = STAGE_1;
  const rows: readonly Row[] = [
    ["CFGI_STE", 0x03n | sid(SID.stage1), 0n, stage1],
    ["CFGI_STE of the leaf", 0x03n | sid(SID.nested), LEAF, ["nested"]],
    ["CFGI_STE of another stream", 0x03n | sid(9), 0n, []],
    ["CFGI_STE_RANGE of two", 0x04n | sid(2), 0n, ["stage2", "nested"]],
    ["CFGI_STE_RANGE from its aligned beginning", 0x04n | sid(3), 0n, ["stage2", "nested"]],
    ["CFGI_STE_RANGE of four", 0x04n | sid(1), 1n, ALL],
    ["CFGI_STE_RANGE behind", 0x04n | sid(4), 1n, []],
    ["CFGI_ALL", 0x04n, 31n, ALL],
    ["NSNH_ALL", 0x30n, 0n, []],
  ];
  test.each(rows)("%s", async (_name, first, second, dropped) => {
    const machine = await warm();
    for (const stream of [SID.stage1, SID.stage2, SID.nested]) machine.writeSte(stream, {});
    expect(translated(machine)).toEqual(ALL);
    machine.command(first, second);
    expectDropped(machine, dropped);
  });
});

describe("CDs", () => {
  const rows: readonly Row[] = [
    ["CFGI_CD of CD 0", 0x05n | sid(SID.stage1) | ssid(0), 0n, ["page", "nextPage"]],
    ["CFGI_CD", 0x05n | sid(SID.stage1) | ssid(1), 0n, ["otherAsid"]],
    ["CFGI_CD of the leaf", 0x05n | sid(SID.stage1) | ssid(1), LEAF, ["otherAsid"]],
    ["CFGI_CD of one stream of those that share it", 0x05n | sid(SID.nested) | ssid(2), 0n, ["nested"]],
    ["CFGI_CD of another stream of those that share it", 0x05n | sid(SID.stage1) | ssid(2), 0n, []],
    ["CFGI_CD_ALL", 0x06n | sid(SID.stage1), 0n, STAGE_1],
    ["CFGI_STE", 0x03n | sid(SID.stage1), 0n, STAGE_1],
    ["CFGI_STE of the leaf", 0x03n | sid(SID.stage1), LEAF, STAGE_1],
    ["CFGI_STE_RANGE", 0x04n | sid(2), 0n, ["nested"]],
    ["CFGI_ALL", 0x04n, 31n, [...STAGE_1, "nested"]],
    ["NSNH_ALL", 0x30n, 0n, []],
  ];
  test.each(rows)("%s", async (_name, first, second, dropped) => {
    const machine = await warm();
    for (const index of [0, 1, 2]) machine.writeCd(index, {});
    expect(translated(machine)).toEqual(ALL);
    machine.command(first, second);
    expectDropped(machine, dropped);
  });
});
