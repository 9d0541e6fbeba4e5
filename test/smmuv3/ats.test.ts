/** Translation requests and translated transactions: Arm IHI 0070 G.b, sections 3.9.1, 3.13.7, 5.2 (EATS), 13.6 and 13.7. */
import { describe, expect, test } from "vitest";
import type { SmmuCompletion } from "../../src/smmuv3/ats.js";
import { EVENT } from "../../src/smmuv3/events.js";
import type { DmaRequest } from "../../src/unit/request.js";
import { refused } from "../support/errors.js";
import { HOLE } from "../support/smmuv3/small-machine.js";
import { CR0, CR2, type MachineOptions, openMachine, requestOf, SID, TABLES } from "./machine.js";

const KIB_4 = 1n << 12n;
const MIB_2 = 1n << 21n;
const FULL: MachineOptions = { ste: { EATS: 1 } };
const RECORDING = { cr2: CR2.REC_CFG_ATS | CR2.RECINVSID };
/** A stage 1 page: AF, SH, AP[1], nG; AP[2] read-only, DBM, UXN. */
const PAGE = 0x4000_1000n | 0xf43n;
const AF = 1n << 10n;
const READ_ONLY = 1n << 7n;
const DBM = 1n << 51n;
const UXN = 1n << 54n;
const S2_PAGE = 0x5000_1000n | 0x4ffn;
const S2_WRITE = 1n << 7n;

type Request = Parameters<typeof requestOf>[1];
interface Row extends MachineOptions {
  readonly name: string;
  readonly sid: number;
  readonly request?: Request;
  readonly noWrite?: boolean;
}

const IDENTITY = { ste: { EATS: 1, S1DSS: 1 } };
const NOTHING: Partial<SmmuCompletion> = { physical: 0n as never, read: false, write: false };

describe("a successful completion", () => {
  const rows: readonly (Row & {
    readonly expected: Partial<Omit<SmmuCompletion, "physical">> & { physical: bigint };
  })[] = [
    { name: "stage 1", sid: SID.stage1, expected: { physical: 0x4000_1000n } },
    {
      name: "stage 1, no write asked for",
      sid: SID.stage1,
      noWrite: true,
      expected: { physical: 0x4000_1000n, write: false },
    },
    {
      name: "stage 1, read-only",
      sid: SID.stage1,
      request: { iova: 0x2000n },
      expected: { physical: 0x4000_2000n, write: false },
    },
    {
      name: "stage 1, 2 MiB",
      sid: SID.stage1,
      request: { iova: 0x20_0000n },
      expected: { physical: 0x4020_0000n, size: MIB_2 },
    },
    { name: "stage 1, with PASID", sid: SID.stage1, request: { pasid: 1 }, expected: { physical: 0x4000_1000n } },
    {
      name: "stage 1, execution asked for",
      sid: SID.stage1,
      request: { pasid: 1, execute: true, iova: 0x2000n },
      expected: { physical: 0x4000_2000n, write: false, execute: true },
    },
    {
      name: "execution asked for and never granted",
      sid: SID.stage1,
      request: { pasid: 1, execute: true },
      words: [[TABLES.s1[2], PAGE | UXN]],
      expected: { physical: 0x4000_1000n, execute: false },
    },
    {
      name: "execution without PASID is data",
      sid: SID.stage1,
      request: { execute: true },
      expected: { physical: 0x4000_1000n, execute: false },
    },
    {
      name: "privileged pages for privileged PASIDs",
      sid: SID.stage1,
      request: { pasid: 1, privileged: true, iova: 0x3000n },
      expected: { physical: 0x4000_1000n },
    },
    { name: "stage 2", sid: SID.stage2, request: { iova: 0x4000_1000n }, expected: { physical: 0x5000_1000n } },
    {
      name: "stage 2, write-only",
      sid: SID.stage2,
      request: { iova: 0x4000_3000n },
      expected: { physical: 0x5000_3000n, read: false },
    },
    { name: "nested", sid: SID.nested, expected: { physical: 0x5000_1000n } },
    {
      name: "nested, read-only below",
      sid: SID.nested,
      request: { iova: 0x2000n },
      expected: { physical: 0x5000_2000n, write: false },
    },
    {
      name: "nested, block",
      sid: SID.nested,
      request: { iova: 0x20_0000n },
      expected: { physical: 0x6000_0000n, size: MIB_2 },
    },
    { name: "stage 1 bypassed by S1DSS", sid: SID.stage1, ...IDENTITY, expected: { physical: 0x1000n } },
    {
      name: "stage 1 of two bypassed by S1DSS",
      sid: SID.nested,
      ...IDENTITY,
      request: { iova: 0x4000_1000n },
      expected: { physical: 0x5000_1000n },
    },
  ];
  test.each(rows)("$name", async ({ sid, request, noWrite, expected, ...options }) => {
    const machine = await openMachine({ ...FULL, ...options });
    const completion = { ok: true, read: true, write: true, execute: false, untranslatedOnly: false, size: KIB_4 };
    // Once with empty caches and once with what the first left in them.
    for (let time = 0; time < 2; time++) {
      const result = machine.unit.requestTranslation(requestOf(sid, request), noWrite);
      expect(result).toEqual({ ...completion, ...expected });
    }
    expect(machine.events()).toEqual([]);
    expect(machine.unit.counters.iommuRequests).toBe(2);
  });
});

describe("a completion that permits nothing, without an event", () => {
  const rows: readonly Row[] = [
    { name: "not mapped", sid: SID.stage1, request: { iova: 0x7000n } },
    { name: "outside the input range", sid: SID.stage1, request: { iova: 1n << 45n } },
    { name: "output beyond the address size", sid: SID.stage1, words: [[TABLES.s1[2], PAGE | (1n << 46n)]] },
    { name: "access flag clear", sid: SID.stage1, words: [[TABLES.s1[2], PAGE & ~AF]] },
    { name: "privileged page", sid: SID.stage1, request: { iova: 0x3000n } },
    { name: "privileged without PASID is unprivileged", sid: SID.stage1, request: { iova: 0x3000n, privileged: true } },
    { name: "not mapped in stage 2", sid: SID.stage2, request: { iova: 0x4000_9000n } },
    { name: "stage 2 of the output", sid: SID.nested, words: [[TABLES.s2[2], 0n]] },
    { name: "stage 2 of a descriptor", sid: SID.nested, words: [[TABLES.s2OfS1[1], 0n]] },
    {
      name: "stage 2 of a descriptor may not be read",
      sid: SID.nested,
      words: [[TABLES.s2OfS1[2], 0x2_2000n | 0x4bfn]],
    },
    { name: "stage 2 of a context descriptor", sid: SID.nested, words: [[TABLES.s2OfContexts, 0n]] },
    { name: "bypass beyond what exists", sid: SID.stage1, ...IDENTITY, request: { iova: 1n << 50n } },
  ];
  test.each(rows)("$name", async ({ sid, request, noWrite, ...options }) => {
    const machine = await openMachine({ ...FULL, ...RECORDING, ...options });
    const result = machine.unit.requestTranslation(requestOf(sid, request), noWrite);
    expect(result).toEqual({ ok: true, ...NOTHING, execute: false, untranslatedOnly: false, size: KIB_4 });
    expect(machine.events()).toEqual([]);
  });
});

describe("Unsupported Request", () => {
  const asked = {
    sid: SID.stage1,
    read: true,
    write: true,
    privileged: false,
    execute: false,
    span: 1,
    inputAddr: 0x1000n,
  };
  const bad = { code: EVENT.F_BAD_ATS_TREQ, ...asked };
  const rows: readonly (Row & { readonly event: object | null })[] = [
    { name: "SMMUEN is 0", sid: SID.stage1, without: CR0.SMMUEN, event: bad },
    { name: "Config aborts", sid: SID.abort, event: null },
    { name: "Config bypasses", sid: SID.bypass, event: { ...bad, sid: SID.bypass } },
    { name: "EATS 00", sid: SID.stage1, ste: {}, event: bad },
    { name: "EATS 11 without DPT", sid: SID.stage1, ste: { EATS: 3 }, event: bad },
    { name: "no write asked for", sid: SID.stage1, ste: {}, noWrite: true, event: { ...bad, write: false } },
    {
      name: "with PASID",
      sid: SID.stage1,
      ste: {},
      request: { pasid: 2, privileged: true, execute: true },
      event: { ...bad, ssid: 2, privileged: true, execute: true },
    },
  ];
  test.each(rows)("$name", async ({ sid, request, noWrite, event, ...options }) => {
    const machine = await openMachine({ ...FULL, ...options });
    const code = event === null ? null : EVENT.F_BAD_ATS_TREQ;
    // With SMMUEN 0 nothing is looked up; otherwise the second request finds the configuration cached.
    if (sid === SID.stage1) machine.unit.translate(requestOf(sid));
    for (let time = 0; time < 2; time++) {
      const result = machine.unit.requestTranslation(requestOf(sid, request), noWrite);
      expect(result).toMatchObject({ ok: false, completion: "UR", code });
    }
    const events = machine.events();
    expect(events).toEqual(event === null ? [] : [event, event]);
  });

  test("split-stage while translated transactions are not checked", async () => {
    const machine = await openMachine();
    machine.writeSte(SID.nested, splitStage);
    expect(machine.unit.requestTranslation(requestOf(SID.nested))).toMatchObject({ ok: false, completion: "UR" });
    expect(machine.events()).toMatchObject([{ code: EVENT.F_BAD_ATS_TREQ, sid: SID.nested }]);
  });
});

describe("Completer Abort, and an event only with REC_CFG_ATS", () => {
  const rows: readonly (Row & { readonly code: number; readonly onlyWithRecInvSid?: boolean })[] = [
    { name: "StreamID out of range", sid: 99, code: EVENT.C_BAD_STREAMID, onlyWithRecInvSid: true },
    { name: "stream table not backed", sid: SID.stage1, registers: { STRTAB_BASE: HOLE }, code: EVENT.F_STE_FETCH },
    { name: "STE not valid", sid: 7, code: EVENT.C_BAD_STE },
    { name: "SubstreamID out of range", sid: SID.stage1, request: { pasid: 4 }, code: EVENT.C_BAD_SUBSTREAMID },
    { name: "no context without PASID", sid: SID.stage1, ste: { EATS: 1, S1DSS: 0 }, code: EVENT.F_STREAM_DISABLED },
    { name: "CD not backed", sid: SID.stage1, ste: { EATS: 1, S1ContextPtr: HOLE }, code: EVENT.F_CD_FETCH },
    { name: "CD not valid", sid: SID.stage1, cd: { V: 0 }, code: EVENT.C_BAD_CD },
    { name: "descriptor not backed", sid: SID.stage1, words: [[TABLES.s1[0], HOLE | 3n]], code: EVENT.F_WALK_EABT },
  ];
  const settings = rows.flatMap((row) =>
    [0, CR2.RECINVSID, CR2.REC_CFG_ATS, CR2.RECINVSID | CR2.REC_CFG_ATS].map((cr2) => ({ ...row, cr2 })),
  );
  test.each(settings)("$name, CR2 $cr2", async ({ sid, request, code, onlyWithRecInvSid, ...options }) => {
    const machine = await openMachine({ ...FULL, ...options });
    const needed = CR2.REC_CFG_ATS | (onlyWithRecInvSid ? CR2.RECINVSID : 0);
    const recorded = (options.cr2 & needed) === needed;
    const result = machine.unit.requestTranslation(requestOf(sid, request));
    expect(result).toMatchObject({ ok: false, completion: "CA", code: recorded ? code : null });
    expect(machine.events().map((event) => event.code)).toEqual(recorded ? [code] : []);
  });
});

describe("flags that hardware keeps", () => {
  const rows: readonly (Row & { readonly from: bigint; readonly to: bigint; readonly write: boolean })[] = [
    { name: "accessed", sid: SID.stage1, cd: { HA: 1 }, from: PAGE & ~AF, to: PAGE, write: true },
    {
      name: "writable-clean",
      sid: SID.stage1,
      cd: { HA: 1, HD: 1 },
      from: PAGE | DBM | READ_ONLY,
      to: PAGE | DBM,
      write: true,
    },
    {
      name: "writable-clean, no write asked for",
      sid: SID.stage1,
      noWrite: true,
      cd: { HA: 1, HD: 1 },
      from: PAGE | DBM | READ_ONLY,
      to: PAGE | DBM | READ_ONLY,
      write: false,
    },
    {
      name: "writable-clean without HD",
      sid: SID.stage1,
      cd: { HA: 1 },
      from: PAGE | DBM | READ_ONLY,
      to: PAGE | DBM | READ_ONLY,
      write: false,
    },
  ];
  test.each(rows)("$name", async ({ sid, request, noWrite, from, to, write, ...options }) => {
    const machine = await openMachine({ ...FULL, ...options, words: [[TABLES.s1[2], from]] });
    const result = machine.unit.requestTranslation(requestOf(sid, request), noWrite);
    expect(result).toMatchObject({ ok: true, read: true, write });
    expect(machine.read(TABLES.s1[2])).toBe(to);
  });

  test("a read-only page of stage 1 leaves stage 2 clean", async () => {
    const clean = (S2_PAGE & ~S2_WRITE) | DBM;
    const machine = await openMachine({
      ste: { EATS: 1, S2HA: 1, S2HD: 1 },
      words: [
        [TABLES.s1[2], PAGE | READ_ONLY],
        [TABLES.s2[2], clean],
      ],
    });
    const result = machine.unit.requestTranslation(requestOf(SID.nested));
    expect(result).toMatchObject({ ok: true, read: true, write: false, physical: 0x5000_1000n });
    expect(machine.read(TABLES.s2[2])).toBe(clean);
  });
});

const splitStage = {
  V: 1,
  Config: 0b111,
  S1ContextPtr: TABLES.contexts,
  S1CDMax: 2,
  S1DSS: 2,
  S2AA64: 1,
  S2T0SZ: 25,
  S2SL0: 1,
  S2PS: 4,
  S2R: 1,
  S2TTB: 0x30000n,
  EATS: 2,
};

describe("split-stage ATS", () => {
  const open = async (changes = {}) => {
    const machine = await openMachine({ cr0: CR0.ATSCHK });
    machine.writeSte(SID.nested, { ...splitStage, ...changes });
    return machine;
  };

  test("answers with the IPA and the permissions of both stages, whatever is in the TLB", async () => {
    const machine = await open();
    const { unit } = machine;
    const completion = { ok: true, physical: 0x4000_1000n, read: true, write: true, size: KIB_4 };
    expect(unit.requestTranslation(requestOf(SID.nested))).toMatchObject(completion);
    expect(unit.translate(requestOf(SID.nested))).toMatchObject({ ok: true, physical: 0x5000_1000n });
    expect(unit.requestTranslation(requestOf(SID.nested))).toMatchObject(completion);
    const readOnly = { ok: true, physical: 0x4000_2000n, read: true, write: false };
    expect(unit.requestTranslation(requestOf(SID.nested, { iova: 0x2000n }))).toMatchObject(readOnly);
    const identity = await open({ S1DSS: 1 });
    const bypassing = identity.unit.requestTranslation(requestOf(SID.nested, { iova: 0x4000_2000n }));
    expect(bypassing).toMatchObject(readOnly);
  });

  test("takes what translated transactions say through stage 2, with its events", async () => {
    const machine = await open();
    const translated = (iova: bigint, access: DmaRequest["access"] = "read") =>
      machine.unit.translate({ ...requestOf(SID.nested, { iova }), access, type: "translated" as const });
    expect(translated(0x4000_1000n)).toEqual({ ok: true, physical: 0x5000_1000n, pageSize: KIB_4 });
    expect(machine.events()).toEqual([]);
    const common = { sid: SID.nested, s2: true, class: "IN", pnu: false, ind: false };
    expect(translated(0x4000_2000n, "write")).toMatchObject({
      ok: false,
      code: EVENT.F_PERMISSION,
      completion: "abort",
    });
    expect(translated(0x4000_9000n)).toMatchObject({ ok: false, code: EVENT.F_TRANSLATION });
    expect(translated(1n << 50n)).toMatchObject({ ok: false, code: EVENT.F_ADDR_SIZE });
    expect(machine.events()).toMatchObject([
      { ...common, code: EVENT.F_PERMISSION, rnw: false, inputAddr: 0x4000_2000n, ipa: 0x4000_2000n },
      { ...common, code: EVENT.F_TRANSLATION, rnw: true, inputAddr: 0x4000_9000n },
      { ...common, code: EVENT.F_ADDR_SIZE, s2: false },
    ]);
    // TLB entries of stage 2 alone, which an invalidation by IPA reaches.
    machine.write(TABLES.s2[2], 0n);
    expect(translated(0x4000_1000n)).toMatchObject({ ok: true });
    machine.command(0x2an, 0x4000_1000n);
    expect(translated(0x4000_1000n)).toMatchObject({ ok: false, code: EVENT.F_TRANSLATION });
  });

  test("is illegal with NS1ATS, and for anything but two stages", async () => {
    const codeOf = async (options: MachineOptions, sid: number) =>
      (await openMachine({ cr0: CR0.ATSCHK, ...options })).unit.translate(requestOf(sid));
    const illegal = { ok: false, code: EVENT.C_BAD_STE };
    expect(await codeOf({ ste: { EATS: 2 } }, SID.stage1)).toMatchObject(illegal);
    expect(await codeOf({ ste: { EATS: 2 } }, SID.stage2)).toMatchObject(illegal);
    expect(await codeOf({ ste: { EATS: 2 } }, SID.nested)).toMatchObject({ ok: true });
    expect(await codeOf({ ste: { EATS: 2, S2S: 1 } }, SID.nested)).toMatchObject(illegal);
    const NS1ATS = 0x084c_1e8bn;
    expect(await codeOf({ ste: { EATS: 2 }, registers: { IDR0: NS1ATS } }, SID.nested)).toMatchObject(illegal);
  });
});

describe("a translated transaction", () => {
  const forbidden = { code: EVENT.F_TRANSL_FORBIDDEN, rnw: true, inputAddr: 0x1000n };
  const CHECKED = { cr0: CR0.ATSCHK };
  const rows: readonly (Row & { readonly passes: boolean; readonly event?: object })[] = [
    {
      name: "SMMUEN is 0",
      sid: SID.stage1,
      without: CR0.SMMUEN,
      passes: false,
      event: { ...forbidden, sid: SID.stage1 },
    },
    { name: "not checked, EATS 01", sid: SID.stage1, ...FULL, passes: true },
    { name: "not checked, EATS 00", sid: SID.stage1, passes: true },
    { name: "not checked, Config aborts", sid: SID.abort, passes: true },
    { name: "not checked, StreamID out of range", sid: 99, passes: true },
    { name: "not checked, beyond what exists", sid: SID.stage1, request: { iova: 1n << 50n }, passes: false },
    { name: "checked, EATS 01", sid: SID.stage1, ...FULL, ...CHECKED, passes: true },
    { name: "checked, EATS 01, two stages", sid: SID.nested, ...FULL, ...CHECKED, passes: true },
    { name: "checked, PASID of no context", sid: SID.stage1, ...FULL, ...CHECKED, request: { pasid: 9 }, passes: true },
    {
      name: "checked, beyond what exists",
      sid: SID.nested,
      ...FULL,
      ...CHECKED,
      request: { iova: 1n << 50n },
      passes: false,
    },
    { name: "checked, EATS 00", sid: SID.stage1, ...CHECKED, passes: false, event: { ...forbidden, sid: SID.stage1 } },
    {
      name: "checked, Config bypasses",
      sid: SID.bypass,
      ...CHECKED,
      passes: false,
      event: { ...forbidden, sid: SID.bypass },
    },
    { name: "checked, Config aborts", sid: SID.abort, ...CHECKED, passes: false },
    {
      name: "checked, written",
      sid: SID.stage1,
      ...CHECKED,
      request: { access: "write" },
      passes: false,
      event: { ...forbidden, sid: SID.stage1, rnw: false },
    },
    { name: "checked, STE not valid", sid: 7, ...CHECKED, passes: false },
    {
      name: "checked, STE not valid, recorded",
      sid: 7,
      ...CHECKED,
      ...RECORDING,
      passes: false,
      event: { code: EVENT.C_BAD_STE, sid: 7 },
    },
    {
      name: "checked, StreamID out of range, recorded without RECINVSID",
      sid: 99,
      ...CHECKED,
      cr2: CR2.REC_CFG_ATS,
      passes: false,
      event: { code: EVENT.C_BAD_STREAMID, sid: 99 },
    },
  ];
  test.each(rows)("$name", async ({ sid, request, passes, event, ...options }) => {
    const machine = await openMachine(options);
    const transaction = { ...requestOf(sid, request), type: "translated" as const };
    for (let time = 0; time < 2; time++) {
      const result = machine.unit.translate(transaction);
      if (passes) expect(result).toEqual({ ok: true, physical: transaction.iova, pageSize: null });
      else expect(result).toMatchObject({ ok: false, completion: "abort", stalled: false });
    }
    expect(machine.events()).toEqual(event ? [event, event] : []);
  });
});

describe("invalidation of a device's cache", () => {
  test("CMD_ATC_INV reaches the device, while the SMMU is enabled", async () => {
    const machine = await openMachine(FULL);
    machine.command(0x40n | (BigInt(SID.stage1) << 32n), 0x1000n | 3n);
    const reached = [{ sid: SID.stage1, ssid: null, global: false, address: 0n, size: 0x8000n }];
    expect(machine.atc).toEqual(reached);
    machine.unit.write32(0x20, CR0.CMDQEN);
    machine.command(0x40n | (BigInt(SID.stage1) << 32n), 0x1000n);
    expect(machine.atc).toEqual(reached);
  });
});

describe("what no bus carries to an SMMU is refused, and nothing happens", () => {
  test("requests by the wrong door, and to an SMMU without ATS", async () => {
    const machine = await openMachine(FULL);
    refused("invalid", () => machine.unit.translate({ ...requestOf(SID.stage1), type: "translation" }));
    refused("invalid", () => machine.unit.requestTranslation(requestOf(-1)));
    refused("invalid", () => machine.unit.requestTranslation(requestOf(1, { pasid: 1 << 20 })));
    const without = await openMachine({ registers: { IDR0: 0x084c_128bn } });
    refused("invalid", () => without.unit.requestTranslation(requestOf(SID.stage1)));
    refused("invalid", () => without.unit.translate({ ...requestOf(SID.stage1), type: "translated" }));
    expect([...machine.events(), ...without.events()]).toEqual([]);
    expect(machine.unit.counters.iommuRequests + without.unit.counters.iommuRequests).toBe(0);
  });
});
