/**
 * Translation requests and translated requests: Intel VT-d Architecture Specification Rev. 5.10, chapter 4 and Table 30 with
 * its columns of completions.
 */
import { describe, expect, test } from "vitest";
import type { DmaRequest, TranslationCompletion } from "../../src/unit/request.js";
import { refused } from "../support/errors.js";
import { iovaOf } from "../support/tables.js";
import {
  type Changes,
  clear,
  DTE,
  type Edit,
  FPD,
  FRCD_F,
  FS_A,
  FS_D,
  FSTS,
  GCMD,
  type Machine,
  type MachineOptions,
  NOWHERE,
  openMachine,
  P,
  PASIDE,
  PGTT_MASK,
  PS,
  PWSNP,
  point,
  put,
  R,
  RID_PRIV,
  RTADDR,
  RW,
  SRE,
  SRTP,
  SS_A,
  SS_D,
  SSADE,
  set,
  TE,
  TT_MASK,
  US,
  W,
  WPE,
} from "./machine.js";

const PASID = 0x41;
const KIB_4 = 1n << 12n;
const MIB_2 = 1n << 21n;
const INTERRUPTS = 0xfee0_0000n;
const BEHIND_INTERRUPTS = 0xfef0_0000n;

const LEGACY: MachineOptions = { translator: "legacy" };
const LEGACY_PASS: MachineOptions = { translator: "legacy pass-through" };
const SECOND: MachineOptions = { translator: "second" };
const SECOND_PASID: MachineOptions = { translator: "second", pasid: PASID };
const FIRST: MachineOptions = { translator: "first" };
const FIRST_PASID: MachineOptions = { translator: "first", pasid: PASID };
const NESTED: MachineOptions = { translator: "nested" };
const PASS: MachineOptions = { translator: "pass-through" };
const PASS_PASID: MachineOptions = { translator: "pass-through", pasid: PASID };

interface More extends Omit<Changes, "edits"> {
  readonly request?: Partial<Omit<DmaRequest, "iova">> & { readonly iova?: bigint };
  readonly noWrite?: boolean;
}

function requestOf({ request }: Machine, { iova, ...changes }: NonNullable<More["request"]> = {}): DmaRequest {
  return { ...request, ...changes, iova: iovaOf(iova ?? request.iova) };
}

/** The unit reported exactly this, or nothing; what it reported is cleared. */
function expectRecord({ unit }: Machine, expected: object | null): void {
  const { records } = unit.faults;
  if (expected === null) {
    expect(records).toEqual([]);
    expect(unit.read32(FSTS)).toBe(0);
    return;
  }
  expect(records).toHaveLength(1);
  expect(records[0]).toMatchObject(expected);
  unit.write64(unit.capabilities.faultRecordOffset + 16 * records[0].index + 8, FRCD_F);
}

/** A completion with the permissions of the mapping; the translation is of the whole page, so its offset does not count. */
function expectCompletion(machine: Machine, result: object, expected: Partial<TranslationCompletion>): void {
  const { physical, pageSize } = machine;
  const { read = true, write = true, untranslatedOnly = false, size = pageSize ?? KIB_4 } = expected;
  const page = { ...result, physical: (result as TranslationCompletion).physical & ~(KIB_4 - 1n) };
  const from = (expected.physical ?? physical) & ~(KIB_4 - 1n);
  expect(page).toEqual({ ok: true, physical: from, read, write, untranslatedOnly, size });
  expectRecord(machine, null);
}

const NOTHING = { read: false, write: false, untranslatedOnly: false } as const;

describe("a translation request for what is mapped", () => {
  type Row = readonly [
    name: string,
    base: MachineOptions,
    completion: Partial<Pick<TranslationCompletion, "read" | "write" | "size">>,
    edits?: readonly Edit[],
    more?: More & { readonly written?: Readonly<Record<string, bigint>> },
  ];
  const privileged = { request: { privileged: true } };
  const rows: readonly Row[] = [
    ["legacy", LEGACY, { size: KIB_4 }],
    ["legacy, 2 MiB", { ...LEGACY, secondLeaf: 2 }, { size: MIB_2 }],
    ["legacy, read-only", LEGACY, { write: false }, [clear("SS1", W)]],
    ["legacy, write-only", LEGACY, { read: false }, [clear("SS3", R)]],
    ["legacy, no write asked for", LEGACY, { write: false }, [], { noWrite: true }],
    ["second stage", SECOND, {}],
    ["second stage, 1 GiB", { ...SECOND, secondLeaf: 3 }, { size: 1n << 30n }],
    ["second stage, read-only", SECOND, { write: false }, [clear("SS2", W)]],
    ["second stage, write-only", SECOND, { read: false }, [clear("SS1", R)]],
    ["second stage, with PASID", SECOND_PASID, {}],
    ["first stage", FIRST, {}],
    ["first stage, 2 MiB", { ...FIRST, firstLeaf: 2 }, { size: MIB_2 }],
    ["first stage, read-only", FIRST_PASID, { write: false }, [clear("FS2", RW)]],
    ["nested, the smaller page", { ...NESTED, firstLeaf: 3, secondLeaf: 2 }, { size: MIB_2 }],
    ["nested, read-only before", NESTED, { write: false }, [clear("FS1", RW)]],
    ["nested, read-only behind", NESTED, { write: false }, [clear("SS1", W)]],
    ["nested, write-only behind", NESTED, { read: false }, [clear("SS1", R)]],
    ["pass-through", PASS, {}],
    ["privileged, user page", FIRST_PASID, {}, [set("pasid 2", SRE)], privileged],
    ["privileged, supervisor page", FIRST_PASID, {}, [set("pasid 2", SRE), clear("FS1", US)], privileged],
    ["privileged, read-only, WPE clear", FIRST_PASID, {}, [set("pasid 2", SRE), clear("FS1", RW)], privileged],
    [
      "privileged, read-only, WPE set",
      FIRST_PASID,
      { write: false },
      [set("pasid 2", SRE | WPE), clear("FS1", RW)],
      privileged,
    ],
    ["RID_PRIV, supervisor page", FIRST, {}, [set("context 1", RID_PRIV), set("pasid 2", SRE), clear("FS1", US)]],
    ["first stage, D is set", FIRST, {}, [clear("FS1", FS_D)], { written: { FS1: FS_D } }],
    [
      "first stage, D is not set without a write",
      FIRST,
      { write: false },
      [clear("FS1", FS_A | FS_D)],
      { noWrite: true, written: { FS1: FS_A } },
    ],
    ["first stage, D of a read-only page", FIRST, { write: false }, [clear("FS1", RW | FS_D)]],
    [
      "SSADE",
      { ...SECOND, secondLevels: 3 },
      {},
      [set("pasid 0", SSADE)],
      { written: { SS3: SS_A, SS2: SS_A, SS1: SS_A | SS_D } },
    ],
    [
      "with PASID the interrupt range is as any other",
      { ...SECOND_PASID, iova: INTERRUPTS + 0x2000n },
      { write: false },
      [clear("SS1", W)],
    ],
  ];

  test.each(rows.map((row) => [row[0], row] as const))("%s", async (_name, row) => {
    const [, base, completion, edits = [], { request, noWrite = false, written = {}, ...changes } = {}] = row;
    const machine = await openMachine(base, { edits, ...changes });
    expectCompletion(machine, machine.unit.requestTranslation(requestOf(machine, request), noWrite), completion);
    expect(machine.written()).toEqual(written);
  });
});

describe("a translation request that is not granted", () => {
  /** `success`: a completion without permission. The others are recorded. */
  type Outcome = "UR" | "CA" | "success";
  type Row = readonly [
    code: number,
    outcome: Outcome,
    base: MachineOptions,
    edits?: readonly Edit[],
    more?: More & { readonly rootTable?: bigint },
  ];
  const unmapped = [put("SS1", 0n)];
  const rows: readonly Row[] = [
    [0x1, "UR", LEGACY, [clear("root 0", P)]],
    [0x2, "UR", LEGACY, [clear("context 0", P)]],
    [0x3, "CA", LEGACY, [set("context 0", TT_MASK)]],
    [0x3, "CA", LEGACY, [point("context 0", NOWHERE)]],
    [0x4, "success", LEGACY, [], { request: { iova: 1n << 48n } }],
    [0x5, "success", LEGACY, unmapped],
    [0x6, "success", LEGACY, [clear("SS1", R)], { noWrite: true }],
    [0x7, "CA", LEGACY, [point("SS2", NOWHERE)]],
    [0x8, "CA", LEGACY, [], { rootTable: NOWHERE }],
    [0x9, "CA", LEGACY, [point("root 0", NOWHERE)]],
    [0xa, "CA", LEGACY, [set("root 0", 1n << 1n)]],
    [0xb, "CA", LEGACY, [set("context 0", 1n << 4n)]],
    [0xc, "CA", LEGACY, [set("SS4", PS)]],
    [0xd, "UR", LEGACY, [clear("context 0", TT_MASK)]],
    [0xd, "UR", LEGACY_PASS],
    [0xe, "CA", LEGACY, [point("SS1", INTERRUPTS)]],
    [0x30, "CA", SECOND, [], { ttm: 2 }],
    [0x31, "UR", LEGACY, [], { request: { pasid: PASID } }],
    [0x33, "UR", SECOND, [], { ttm: 3 }],
    [0x34, "UR", FIRST_PASID, [], { options: { version: { major: 8, minor: 0 } }, request: { execute: true } }],
    [0x38, "CA", SECOND, [], { rootTable: NOWHERE }],
    [0x39, "UR", SECOND, [clear("root 0", P)]],
    [0x3a, "CA", SECOND, [set("root 0", 1n << 1n)]],
    [0x40, "CA", SECOND, [point("root 0", NOWHERE)]],
    [0x41, "UR", SECOND, [clear("context 0", P)]],
    [0x42, "CA", SECOND, [set("context 2", 1n)]],
    [0x43, "CA", SECOND, [put("context 1", 8192n)]],
    [0x44, "UR", SECOND, [clear("context 0", DTE)]],
    [0x45, "UR", SECOND_PASID, [clear("context 0", PASIDE)]],
    [0x46, "UR", SECOND_PASID, [], { request: { pasid: 8192 } }],
    [0x48, "UR", SECOND_PASID, [], { request: { pasid: 0 } }],
    [0x50, "CA", SECOND, [point("context 0", NOWHERE)]],
    [0x51, "success", SECOND, [clear("directory", P)]],
    [0x52, "CA", SECOND, [set("directory", 1n << 2n)]],
    [0x58, "CA", SECOND, [point("directory", NOWHERE)]],
    [0x59, "success", SECOND, [clear("pasid 0", P)]],
    [0x5a, "CA", SECOND, [set("pasid 3", 1n)]],
    [0x5b, "CA", SECOND, [set("pasid 0", PGTT_MASK)]],
    [0x5c, "success", FIRST_PASID, [], { request: { execute: true } }],
    [0x5d, "success", FIRST_PASID, [], { request: { privileged: true } }],
    [0x70, "success", FIRST, [point("FS2", NOWHERE)]],
    [0x71, "success", FIRST, [clear("FS1", P)]],
    [0x72, "success", FIRST, [set("FS4", PS)]],
    [0x73, "success", FIRST, [point("pasid 2", NOWHERE)]],
    [0x74, "success", NESTED, [point("FS1", 1n << 48n)]],
    [0x75, "success", NESTED, [clear("SS1 of FS4", R)]],
    [0x76, "success", NESTED, [clear("SS1 of FS3", R)]],
    [0x77, "success", NESTED, [clear("SS1 of FS3", W), clear("FS3", FS_A)]],
    [0x78, "CA", SECOND, [point("SS2", NOWHERE)]],
    [0x79, "success", SECOND, unmapped],
    [0x79, "success", NESTED, unmapped],
    [0x7a, "CA", SECOND, [set("SS4", PS)]],
    [0x7b, "CA", SECOND, [point("pasid 0", NOWHERE)]],
    [0x7c, "CA", SECOND, [set("pasid 0", SSADE), clear("pasid 1", PWSNP)]],
    [0x80, "success", FIRST, [], { request: { iova: 1n << 47n } }],
    [0x81, "success", FIRST_PASID, [clear("FS1", US)]],
    [0x83, "success", PASS, [], { options: { haw: 39 }, request: { iova: 1n << 39n } }],
    [0x84, "success", SECOND, [], { request: { iova: 1n << 48n } }],
    [0x86, "success", SECOND, [clear("SS1", R)], { noWrite: true }],
    [0x87, "CA", SECOND, [point("SS1", INTERRUPTS)]],
    [0x87, "CA", NESTED, [point("SS1", INTERRUPTS)]],
    [0x87, "CA", PASS_PASID, [], { request: { iova: INTERRUPTS } }],
    [0x89, "UR", SECOND_PASID, [], { options: { ecap: { PSS: 5 } } }],
    [0x90, "success", FIRST, [clear("FS4", FS_A), clear("pasid 1", PWSNP)]],
  ];
  const named = rows.map((row) => [`${row[0].toString(16)}h`, row[1], row[2].translator, row] as const);

  test.each(named)("%s: %s, %s", async (_code, _outcome, _translator, row) => {
    const [code, outcome, base, edits = [], { request, noWrite = false, rootTable, ...changes } = {}] = row;
    expectCompletion(...(await good(base)));
    const machine = await openMachine(base, { edits, ...changes });
    const { unit } = machine;
    if (rootTable !== undefined) {
      unit.write64(RTADDR, rootTable | (unit.read64(RTADDR) & 0xfffn));
      unit.write32(GCMD, SRTP + TE);
    }
    const asked = requestOf(machine, request);
    const result = unit.requestTranslation(asked, noWrite);
    if (outcome === "success") {
      expect(result).toMatchObject({ ok: true, ...NOTHING });
      expectRecord(machine, null);
    } else {
      expect(result).toMatchObject({ ok: false, code, completion: outcome, reported: true });
      expectRecord(machine, { reason: code, sid: asked.sid, type: "translation" });
    }
    expect(machine.written()).toEqual({});
  });

  /** The machine as it is built grants everything; a legacy pass-through context alone grants no translation request. */
  async function good(base: MachineOptions): Promise<[Machine, object, Partial<TranslationCompletion>]> {
    const machine = await openMachine(base === LEGACY_PASS ? LEGACY : base);
    return [machine, machine.unit.requestTranslation(machine.request), {}];
  }

  test.each([
    ["legacy", LEGACY, 0xc, [set("SS4", PS), set("context 0", FPD)]],
    ["scalable mode, context", SECOND, 0x7a, [set("SS4", PS), set("context 0", FPD)]],
    ["scalable mode, PASID entry", SECOND, 0x87, [point("SS1", INTERRUPTS), set("pasid 0", FPD)]],
  ] as const)("%s: FPD keeps it from being recorded, not from being answered", async (_name, base, code, edits) => {
    const machine = await openMachine(base, { edits });
    const result = machine.unit.requestTranslation(machine.request);
    expect(result).toMatchObject({ ok: false, code, completion: "CA", reported: false });
    expectRecord(machine, null);
  });

  test("while translation is not enabled: UR, not recorded", async () => {
    const machine = await openMachine(SECOND);
    machine.unit.write32(GCMD, 0);
    const result = machine.unit.requestTranslation(machine.request);
    expect(result).toMatchObject({ ok: false, completion: "UR", reported: false });
    expectRecord(machine, null);
  });
});

describe("a translation request for the interrupt range, without PASID", () => {
  test.each([
    ["legacy", LEGACY],
    ["second", SECOND],
    ["pass-through", PASS],
  ] as const)("%s: write permission for untranslated use, or without a write none", async (_name, base) => {
    const machine = await openMachine(base);
    for (const iova of [INTERRUPTS, BEHIND_INTERRUPTS - KIB_4]) {
      const request = requestOf(machine, { iova });
      const granted = { ok: true, read: false, write: true, untranslatedOnly: true };
      expect(machine.unit.requestTranslation(request)).toMatchObject(granted);
      expect(machine.unit.requestTranslation(request, true)).toMatchObject({ ok: true, ...NOTHING });
    }
    expectRecord(machine, null);
  });
});

describe("a translated request", () => {
  const LAST_39 = (1n << 39n) - 1n;
  const haw39 = { options: { haw: 39 } };
  type Row = readonly [
    name: string,
    base: MachineOptions,
    code: number | null,
    completion: "UR" | "CA" | null,
    edits?: readonly Edit[],
    more?: More,
  ];
  const rows: readonly Row[] = [
    ["TT 01 passes", LEGACY, null, null],
    ["TT 01 passes, whatever the table maps", LEGACY, null, null, [point("context 0", NOWHERE)]],
    ["TT 00", LEGACY, 0xd, "UR", [clear("context 0", TT_MASK)]],
    ["TT 10", LEGACY_PASS, 0xd, "UR"],
    ["legacy, root entry not present", LEGACY, 0x1, "UR", [clear("root 0", P)]],
    ["legacy, context entry not present", LEGACY, 0x2, "UR", [clear("context 0", P)]],
    ["legacy, with PASID", LEGACY, 0x31, "UR", [], { request: { pasid: PASID } }],
    ["legacy, last address of the host", LEGACY, null, null, [], { ...haw39, request: { iova: LAST_39 } }],
    ["legacy, beyond the host", LEGACY, 0x4, "UR", [], { ...haw39, request: { iova: LAST_39 + 1n } }],
    ["legacy, interrupt range", LEGACY, 0xe, "UR", [], { request: { iova: INTERRUPTS } }],
    ["legacy, interrupt range, write", LEGACY, 0xe, "UR", [], { request: { iova: INTERRUPTS, access: "write" } }],
    ["legacy, last of the interrupt range", LEGACY, 0xe, "UR", [], { request: { iova: BEHIND_INTERRUPTS - 4n } }],
    ["legacy, behind the interrupt range", LEGACY, null, null, [], { request: { iova: BEHIND_INTERRUPTS } }],
    ["DTE passes", SECOND, null, null],
    ["DTE passes, whatever the table maps", NESTED, null, null, [point("pasid 0", NOWHERE)]],
    ["DTE clear", SECOND, 0x44, "UR", [clear("context 0", DTE)]],
    ["abort-DMA", SECOND, 0x33, "UR", [], { ttm: 3 }],
    ["scalable, root entry not present", SECOND, 0x39, "UR", [clear("root 0", P)]],
    ["scalable, reserved bit of the context entry", SECOND, 0x42, "UR", [set("context 2", 1n)]],
    ["directory entry cannot be read", SECOND, 0x50, "CA", [point("context 0", NOWHERE)]],
    ["directory entry not present", SECOND, 0x51, "UR", [clear("directory", P)]],
    ["PASID entry not present", SECOND, 0x59, "UR", [clear("pasid 0", P)]],
    ["reserved bit of the PASID entry", SECOND, 0x5a, "CA", [set("pasid 3", 1n)]],
    ["PGTT unsupported", SECOND, 0x5b, "CA", [set("pasid 0", PGTT_MASK)]],
    ["with PASID", SECOND_PASID, 0x49, "UR"],
    ["scalable, last address of the host", PASS, null, null, [], { ...haw39, request: { iova: LAST_39 } }],
    ["scalable, beyond the host", SECOND, 0x83, "UR", [], { ...haw39, request: { iova: LAST_39 + 1n } }],
    ["scalable, interrupt range", FIRST, 0x87, "UR", [], { request: { iova: INTERRUPTS, access: "write" } }],
    ["scalable, behind the interrupt range", FIRST, null, null, [], { request: { iova: BEHIND_INTERRUPTS } }],
  ];

  test.each(rows.map((row) => [row[0], row] as const))("%s", async (_name, row) => {
    const [, base, code, completion, edits = [], { request, ...changes } = {}] = row;
    const machine = await openMachine(base, { edits, ...changes });
    const translated: DmaRequest = { ...requestOf(machine, request), type: "translated" };
    const result = machine.unit.translate(translated);
    if (code === null) {
      expect(result).toEqual({ ok: true, physical: translated.iova, pageSize: null, interrupt: false });
      expectRecord(machine, null);
    } else {
      expect(result).toMatchObject({ ok: false, code, completion, reported: true });
      const { sid, access = "read" } = translated;
      expectRecord(machine, { reason: code, sid, access, type: "translated", address: translated.iova & ~0xfffn });
    }
    expect(machine.written()).toEqual({});
  });

  test("FPD keeps its fault from being recorded", async () => {
    const machine = await openMachine(SECOND, { edits: [set("context 0", FPD), clear("context 0", DTE)] });
    const result = machine.unit.translate({ ...machine.request, type: "translated" });
    expect(result).toMatchObject({ ok: false, code: 0x44, reported: false });
    expectRecord(machine, null);
  });
});

describe("requests that no bus carries are refused, and nothing happens", () => {
  const iova = iovaOf(0x1000n);
  const wrong: readonly (readonly [name: string, request: DmaRequest])[] = [
    ["requester ID of 17 bits", { sid: 0x1_0000, iova }],
    ["negative requester ID", { sid: -1, iova }],
    ["PASID of 21 bits", { sid: 0, iova, pasid: 1 << 20 }],
    ["PASID that is no number", { sid: 0, iova, pasid: Number.NaN }],
  ];

  test.each(wrong)("%s", async (_name, request) => {
    const machine = await openMachine(SECOND);
    expect(refused("invalid", () => machine.unit.translate(request)).at).toBe(iova);
    expect(refused("invalid", () => machine.unit.requestTranslation(request)).at).toBe(iova);
    expectRecord(machine, null);
    expect(machine.unit.counters.iommuRequests).toBe(0);
  });

  test("a translation request by the wrong door", async () => {
    const { unit, request } = await openMachine(SECOND);
    refused("invalid", () => unit.translate({ ...request, type: "translation" }));
  });
});

describe("a translation request counts as one request", () => {
  const rows: readonly (readonly [
    name: string,
    edits: readonly Edit[],
    iova: bigint | null,
    counted: readonly number[],
  ])[] = [
    ["that grants write", [], null, [1, 1]],
    ["that grants no write", [clear("SS1", W)], null, [1, 1]],
    ["that finds nothing", [clear("SS1", R | W)], null, [1, 1]],
    ["for interrupts", [], INTERRUPTS, [1, 0]],
  ];
  test.each(rows)("%s", async (_name, edits, iova, counted) => {
    const machine = await openMachine(SECOND, { edits });
    machine.unit.requestTranslation({ ...machine.request, ...(iova === null ? {} : { iova: iovaOf(iova) }) });
    const { iommuRequests, iotlbLookup } = machine.unit.counters;
    expect([iommuRequests, iotlbLookup]).toEqual(counted);
  });
});
