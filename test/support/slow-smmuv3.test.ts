/** The slow model against Arm IHI 0070, and its random machines. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type EventFields, type SlowOutcome, type SlowRequest, slowTranslate } from "./slow-smmuv3.js";
import { EVENTS } from "./smmuv3/faults.js";
import { featuresOf } from "./smmuv3/features.js";
import { randomMachine, randomMachines } from "./smmuv3/random-machine.js";
import { AT, HOLE, request, type Setting, SID, smallMachine } from "./smmuv3/small-machine.js";
import { SparseMemory } from "./vtd/sparse-memory.js";

interface Case extends Setting {
  readonly name: string;
  readonly ask?: Partial<SlowRequest>;
  readonly expected: SlowOutcome;
}

function translated(pa: bigint, pageSize = 0x1000n): SlowOutcome {
  return { kind: "translated", pa, pageSize };
}

/** An abort that is recorded. */
function fault(code: number, fields: EventFields = {}): Extract<SlowOutcome, { kind: "fault" }> {
  return { kind: "fault", code, recorded: true, stall: false, abort: true, fields };
}

const SILENT: SlowOutcome = { kind: "fault", code: null, recorded: false, stall: false, abort: true, fields: {} };

/** What events 10h to 13h of stage 1 say of an unprivileged read of 1000h. */
const INPUT = { addr: 0x1000n, type: "r", pnu: false, ind: false, s2: false, class: "IN" } as const;
const STAGE_2 = { ...INPUT, s2: true } as const;

const WRITE = { access: "write" } as const;
const FETCH = { instruction: true } as const;
const PRIVILEGED = { privileged: true } as const;
const IPA = 0x4000_1000n;
const S2 = { sid: SID.stage2, iova: IPA } as const;
const NESTED = { sid: SID.nested } as const;

/** OAS of 52 bits with DS and VAX. */
const LARGE = { IDR5: 0x4f6n };
const bits = (...indices: readonly number[]) => indices.reduce((value, index) => value | (1n << BigInt(index)), 0n);

const PAGE = 0x4000_1f43n;
const S2_PAGE = 0x5000_14ffn;

function run({ name: _name, ask, expected, ...setting }: Case): void {
  expect(slowTranslate(smallMachine(setting).unit, request(ask))).toEqual(expected);
}

describe("configuration", () => {
  const notRecorded = { ...fault(0x02), recorded: false };
  test.each<Case>(
    [
      { name: "disabled", registers: { CR0: 0n }, ask: { iova: 0x1234n }, expected: translated(0x1234n) },
      { name: "disabled, beyond OAS", registers: { CR0: 0n }, ask: { iova: 1n << 44n }, expected: SILENT },
      { name: "disabled, GBPA.ABORT", registers: { CR0: 0n, GBPA: bits(20) }, expected: SILENT },
      { name: "C_BAD_STREAMID", ask: { sid: 16 }, expected: fault(0x02) },
      { name: "C_BAD_STREAMID without RECINVSID", registers: { CR2: 0n }, ask: { sid: 16 }, expected: notRecorded },
      {
        name: "C_BAD_STREAMID beyond SIDSIZE",
        registers: { IDR1: 0x0400_0502n, STRTAB_BASE_CFG: 5n },
        ask: { sid: 5 },
        expected: fault(0x02),
      },
      { name: "base aligned", registers: { STRTAB_BASE: AT.streamTable + 0x3c0n }, expected: translated(IPA) },
      {
        name: "F_STE_FETCH",
        registers: { STRTAB_BASE: HOLE },
        expected: fault(0x03, { fetchAddr: HOLE + 64n }),
      },
      { name: "FMT reserved", registers: { STRTAB_BASE_CFG: 0x2_0004n }, expected: translated(IPA) },
      { name: "C_BAD_STE", ask: { sid: 9 }, expected: fault(0x04) },
      { name: "Config = 000", ask: { sid: SID.abort }, expected: SILENT },
      { name: "Config = 000 before substreams", ask: { sid: SID.abort, ssid: 1 }, expected: SILENT },
      { name: "Config = 100", ask: { sid: SID.bypass, iova: 0x1234n }, expected: translated(0x1234n) },
      {
        name: "Config = 100, beyond OAS",
        ask: { sid: SID.bypass, iova: 1n << 44n },
        expected: fault(0x11, { ...INPUT, addr: 1n << 44n }),
      },
      { name: "Config = 100 with SubstreamID", ask: { sid: SID.bypass, ssid: 0 }, expected: fault(0x08) },
      { name: "no stage 1", registers: { IDR0: 0x084c_1689n }, expected: fault(0x04) },
      { name: "no stage 2", registers: { IDR0: 0x084c_168an }, ask: NESTED, expected: fault(0x04) },
      { name: "S1CDMax beyond SSIDSIZE", registers: { IDR1: 0x0400_0050n }, expected: fault(0x04) },
      { name: "S1CDMax without substreams", registers: { IDR1: 0x0400_0010n }, expected: translated(IPA) },
      { name: "S1Fmt = 11 is linear", ste: { S1Fmt: 3 }, ask: { ssid: 1 }, expected: translated(IPA) },
      { name: "S1ContextPtr beyond OAS", ste: { S1ContextPtr: 1n << 44n }, expected: fault(0x04) },
      { name: "STRW reserved", ste: { STRW: 1 }, expected: fault(0x04) },
      { name: "STRW ignored in nested translation", ste: { STRW: 1 }, ask: NESTED, expected: translated(0x5000_1000n) },
      { name: "S1STALLD", ste: { S1STALLD: 1 }, registers: { IDR0: 0x094c_168bn }, expected: fault(0x04) },
      { name: "EATS = 10 of stage 1", ste: { EATS: 2 }, expected: fault(0x04) },
      {
        name: "S2VMID beyond 8 bits",
        ste: { S2VMID: 0x100 },
        registers: { IDR0: 0x0848_168bn },
        expected: fault(0x04),
      },
      { name: "S1DSS = 00", ste: { S1DSS: 0 }, expected: fault(0x04) },
    ].filter(({ name }) => name !== "S1DSS = 00"),
  )("$name", run);

  const l1std = (span: bigint, l2Pointer: bigint = AT.streamTable) => ({
    words: [[0x18000n, l2Pointer | span]] as const,
    registers: { STRTAB_BASE: 0x18000n, STRTAB_BASE_CFG: 0x1_0186n },
  });
  test.each<Case>([
    { name: "two levels", ...l1std(5n), expected: translated(IPA) },
    { name: "L2Ptr aligned", ...l1std(5n, AT.streamTable + 0x3c0n), expected: translated(IPA) },
    {
      name: "SPLIT reserved",
      ...l1std(5n),
      registers: { STRTAB_BASE: 0x18000n, STRTAB_BASE_CFG: 0x1_0046n },
      expected: translated(IPA),
    },
    { name: "Span = 0", ...l1std(0n), expected: fault(0x02) },
    { name: "Span = SPLIT + 2", ...l1std(8n), expected: fault(0x02) },
    { name: "Span = 12", ...l1std(12n), expected: fault(0x02) },
    { name: "beyond Span", ...l1std(1n), expected: fault(0x02) },
    {
      name: "F_STE_FETCH of a L1STD",
      registers: { STRTAB_BASE: HOLE, STRTAB_BASE_CFG: 0x1_0186n },
      expected: fault(0x03, { fetchAddr: HOLE }),
    },
  ])("stream table: $name", run);

  const twoLevelCds = (format: number, l1cd: bigint) => ({
    ste: { S1Fmt: format, S1ContextPtr: 0x19000n, S1CDMax: 12 },
    words: [[0x19000n, l1cd]] as const,
  });
  test.each<Case>([
    { name: "SubstreamID", ask: { ssid: 1 }, expected: translated(IPA) },
    { name: "SubstreamID 0 with S1DSS = 10", ask: { ssid: 0 }, expected: fault(0x06) },
    { name: "SubstreamID 0 with S1DSS = 00", ste: { S1DSS: 0 }, ask: { ssid: 0 }, expected: translated(IPA) },
    { name: "SubstreamID beyond S1CDMax", ask: { ssid: 4 }, expected: fault(0x08) },
    { name: "SubstreamID with S1CDMax = 0", ste: { S1CDMax: 0 }, ask: { ssid: 0 }, expected: fault(0x08) },
    { name: "S1DSS = 00", ste: { S1DSS: 0 }, expected: fault(0x06) },
    { name: "S1DSS = 11", ste: { S1DSS: 3 }, expected: fault(0x06) },
    { name: "S1DSS = 01", ste: { S1DSS: 1 }, ask: { iova: 0x1234n }, expected: translated(0x1234n) },
    {
      name: "S1DSS = 01, nested",
      ste: { S1DSS: 1 },
      ask: { ...NESTED, iova: IPA },
      expected: translated(0x5000_1000n),
    },
    { name: "S1DSS with S1CDMax = 0", ste: { S1CDMax: 0, S1DSS: 0 }, expected: translated(IPA) },
    { name: "4-KByte leaves", ...twoLevelCds(1, AT.contexts | 1n), expected: translated(IPA) },
    { name: "L1CD.V = 0", ...twoLevelCds(1, AT.contexts), expected: fault(0x08) },
    { name: "L2Ptr beyond OAS", ...twoLevelCds(1, bits(44, 0)), expected: fault(0x08) },
    { name: "64-KByte leaves, aligned", ...twoLevelCds(2, 0x12001n), ask: { ssid: 0x81 }, expected: translated(IPA) },
    {
      name: "no two-level tables",
      ...twoLevelCds(1, AT.contexts | 1n),
      registers: { IDR0: 0x0844_168bn },
      expected: fault(0x04),
    },
    { name: "F_CD_FETCH", ste: { S1ContextPtr: HOLE }, expected: fault(0x09, { fetchAddr: HOLE }) },
    { name: "C_BAD_CD", ask: { ssid: 3 }, expected: fault(0x0a) },
    { name: "C_BAD_CD, TERM_MODEL", cd: { A: 0 }, registers: { IDR0: 0x0c4c_168bn }, expected: fault(0x0a) },
    { name: "C_BAD_CD, S", cd: { S: 1 }, registers: { IDR0: 0x094c_168bn }, expected: fault(0x0a) },
    { name: "C_BAD_CD, S = 0 where stalls are forced", registers: { IDR0: 0x0a4c_168bn }, expected: fault(0x0a) },
    { name: "C_BAD_CD, S1STALLD", cd: { S: 1 }, ste: { S1STALLD: 1 }, expected: fault(0x0a) },
    { name: "C_BAD_CD, ENDI", cd: { ENDI: 1 }, expected: fault(0x0a) },
    { name: "C_BAD_CD, AA64", cd: { AA64: 0 }, expected: fault(0x0a) },
    { name: "C_BAD_CD, HA", cd: { HA: 1 }, registers: { IDR0: 0x084c_160bn }, expected: fault(0x0a) },
    { name: "C_BAD_CD, HD", cd: { HD: 1 }, registers: { IDR0: 0x084c_164bn }, expected: fault(0x0a) },
    { name: "C_BAD_CD, ASID", cd: { ASID: 0x100 }, registers: { IDR0: 0x084c_068bn }, expected: fault(0x0a) },
    { name: "C_BAD_CD, T0SZ", cd: { T0SZ: 15 }, expected: fault(0x0a) },
    { name: "C_BAD_CD, T1SZ", cd: { T1SZ: 49 }, expected: fault(0x0a) },
    { name: "C_BAD_CD, T1SZ without STT", cd: { T1SZ: 40 }, registers: { IDR3: 0x2_2114n }, expected: fault(0x0a) },
    { name: "T1SZ is ignored with EPD1", cd: { T1SZ: 0, TG1: 0, TTB1: 1n << 46n, EPD1: 1 }, expected: translated(IPA) },
    { name: "C_BAD_CD, TG0", cd: { TG0: 3 }, expected: fault(0x0a) },
    { name: "C_BAD_CD, TG1", cd: { TG1: 0 }, expected: fault(0x0a) },
    { name: "C_BAD_CD, TTB0 beyond IPS", cd: { IPS: 0, TTB0: 1n << 32n }, expected: fault(0x0a) },
    { name: "C_BAD_CD, TTB1 beyond OAS", cd: { IPS: 6, TTB1: 1n << 44n }, expected: fault(0x0a) },
    { name: "C_BAD_CD, TTB0 beyond 48 bits", registers: LARGE, cd: { IPS: 6, TTB0: 1n << 48n }, expected: fault(0x0a) },
  ])("contexts: $name", run);

  test.each<Case>(
    [
      { name: "S2TG = 3", ste: { S2TG: 3 }, expected: fault(0x04) },
      { name: "granule not there", registers: { IDR5: 0x64n }, expected: fault(0x04) },
      { name: "S2T0SZ below 64 - IAS", ste: { S2T0SZ: 19, S2SL0: 2 }, expected: fault(0x04) },
      {
        name: "S2T0SZ = 20",
        ste: { S2T0SZ: 20, S2SL0: 2, S2TTB: 0x35000n },
        expected: fault(0x10, { ...STAGE_2, addr: IPA, ipa: IPA }),
      },
      { name: "17 tables", ste: { S2T0SZ: 20 }, expected: fault(0x04) },
      {
        name: "level 0 with an OAS of 42",
        registers: { IDR5: 0x73n },
        ste: { S2T0SZ: 24, S2SL0: 2 },
        expected: fault(0x04),
      },
      { name: "S2SL0 too high", ste: { S2SL0: 2 }, expected: fault(0x04) },
      { name: "S2TTB beyond S2PS", ste: { S2PS: 0, S2TTB: 1n << 32n }, expected: fault(0x04) },
      { name: "S2ENDI", ste: { S2ENDI: 1 }, expected: fault(0x04) },
      { name: "S2AA64 = 0", ste: { S2AA64: 0 }, expected: fault(0x04) },
      { name: "S2S", ste: { S2S: 1 }, registers: { IDR0: 0x094c_168bn }, expected: fault(0x04) },
      { name: "S2S = 0", registers: { IDR0: 0x0a4c_168bn }, expected: fault(0x04) },
      { name: "S2HA", ste: { S2HA: 1 }, registers: { IDR0: 0x084c_160bn }, expected: fault(0x04) },
      { name: "EATS = 01 with S2S", ste: { EATS: 1, S2S: 1 }, expected: fault(0x04) },
      {
        name: "EATS without ATS",
        ste: { EATS: 1, S2S: 1 },
        registers: { IDR0: 0x084c_128bn },
        expected: translated(0x5000_1000n),
      },
    ].map((each) => ({ ...each, ask: S2 })),
  )("stage 2: $name", run);
});

describe("stage 1", () => {
  const [, table2, page] = AT.s1;
  const failure = (code: number, changes: Partial<EventFields> = {}) => fault(code, { ...INPUT, ...changes });
  const out = { iova: 0xffff_ffff_ffff_f000n };
  test.each<Case>([
    { name: "page", ask: { iova: 0x1abcn }, expected: translated(0x4000_1abcn) },
    { name: "block", ask: { iova: 0x21_2345n }, expected: translated(0x4021_2345n, 1n << 21n) },
    { name: "TTB1", ask: out, expected: translated(IPA) },
    { name: "beyond T0SZ", ask: { iova: bits(39) }, expected: failure(0x10, { addr: bits(39) }) },
    { name: "top byte", ask: { iova: bits(60, 12) }, expected: failure(0x10, { addr: bits(60, 12) }) },
    { name: "TBI0", cd: { TBI0: 1 }, ask: { iova: bits(60, 12) }, expected: translated(IPA) },
    { name: "TBI1", cd: { TBI1: 1 }, ask: { iova: 0xff_ffff_ffff_f000n }, expected: translated(IPA) },
    { name: "EPD0", cd: { EPD0: 1 }, expected: failure(0x10) },
    { name: "EPD1", cd: { EPD1: 1 }, ask: out, expected: failure(0x10, { addr: out.iova }) },
    { name: "E0PD0", cd: { E0PD0: 1 }, expected: failure(0x10) },
    { name: "E0PD0, privileged", cd: { E0PD0: 1 }, ask: PRIVILEGED, expected: translated(IPA) },
    { name: "E0PD0 without E0PD", cd: { E0PD0: 1 }, registers: { IDR3: 0x2_0314n }, expected: translated(IPA) },
    { name: "invalid", words: [[table2, 0x22002n]], expected: failure(0x10) },
    { name: "reserved at level 3", words: [[page, PAGE & ~2n]], expected: failure(0x10) },
    {
      name: "block of 512 GBytes without DS",
      cd: { T0SZ: 16 },
      words: [[AT.s1[0], PAGE & ~2n]],
      expected: failure(0x10),
    },
    { name: "table beyond IPS", cd: { IPS: 0 }, words: [[table2, bits(32) | 3n]], expected: failure(0x11) },
    { name: "page beyond OAS", words: [[page, PAGE | bits(44)]], expected: failure(0x11) },
    {
      name: "F_WALK_EABT",
      words: [[table2, HOLE | 3n]],
      expected: failure(0x0b, { class: "TT", fetchAddr: HOLE + 8n }),
    },
    { name: "AF = 0", words: [[page, PAGE & ~bits(10)]], expected: failure(0x12) },
    { name: "AF = 0, AFFD", cd: { AFFD: 1 }, words: [[page, PAGE & ~bits(10)]], expected: translated(IPA) },
    { name: "address size before AF", words: [[page, (PAGE | bits(44)) & ~bits(10)]], expected: failure(0x11) },
    { name: "AF before permission", words: [[page, PAGE & ~bits(10, 6)]], expected: failure(0x12) },
    { name: "contiguous", words: [[page, PAGE | bits(52)]], expected: translated(IPA) },
    {
      name: "R = 0",
      cd: { R: 0 },
      ask: { iova: 0x3000n },
      expected: { ...failure(0x13, { addr: 0x3000n }), recorded: false },
    },
    {
      name: "A = 0",
      cd: { A: 0 },
      ask: { iova: 0x3000n },
      expected: { ...failure(0x13, { addr: 0x3000n }), abort: false },
    },
    {
      name: "S",
      cd: { S: 1, R: 0 },
      ask: { iova: 0x3000n },
      expected: { ...failure(0x13, { addr: 0x3000n }), stall: true, abort: false },
    },
    {
      name: "R does not keep F_WALK_EABT",
      cd: { R: 0 },
      words: [[table2, HOLE | 3n]],
      expected: failure(0x0b, { class: "TT", fetchAddr: HOLE + 8n }),
    },
    {
      name: "big-endian tables",
      cd: { ENDI: 1, TTB0: 0x28000n, T0SZ: 34 },
      registers: { IDR0: 0x080c_168bn },
      words: [
        [0x28000n, 0x0390_0200_0000_0000n],
        [0x29008n, 0x431f_0040_0000_0000n],
      ],
      expected: translated(IPA),
    },
  ])("$name", run);

  const denied = (changes: Partial<EventFields> = {}) => failure(0x13, changes);
  const written = { type: "w" } as const;
  test.each<Case>([
    { name: "write", ask: WRITE, expected: translated(IPA) },
    {
      name: "write to a read-only page",
      ask: { ...WRITE, iova: 0x2000n },
      expected: denied({ ...written, addr: 0x2000n }),
    },
    { name: "privileged page", ask: { ...PRIVILEGED, iova: 0x3000n }, expected: translated(IPA) },
    { name: "PRIVCFG", ste: { PRIVCFG: 3 }, ask: { iova: 0x3000n }, expected: translated(IPA) },
    {
      name: "PRIVCFG without overrides",
      ste: { PRIVCFG: 3 },
      registers: { IDR1: 0x510n },
      ask: { iova: 0x3000n },
      expected: denied({ addr: 0x3000n }),
    },
    { name: "APTable[0]", words: [[table2, 0x22003n | bits(61)]], expected: denied() },
    { name: "APTable[0], HAD", cd: { HAD0: 1 }, words: [[table2, 0x22003n | bits(61)]], expected: translated(IPA) },
    { name: "APTable[1]", words: [[table2, 0x22003n | bits(62)]], ask: WRITE, expected: denied(written) },
    {
      name: "APTable after a fault below",
      words: [
        [table2, 0x22003n | bits(61)],
        [page, 0n],
      ],
      expected: failure(0x10),
    },
    { name: "instruction", ask: FETCH, expected: translated(IPA) },
    { name: "UXN", words: [[page, PAGE | bits(54)]], ask: FETCH, expected: denied({ ind: true }) },
    { name: "UXNTable", words: [[table2, 0x22003n | bits(60)]], ask: FETCH, expected: denied({ ind: true }) },
    { name: "execute-only", words: [[page, PAGE & ~bits(6)]], ask: FETCH, expected: translated(IPA) },
    {
      name: "PXN",
      words: [[page, (PAGE & ~bits(6)) | bits(53)]],
      ask: { ...FETCH, ...PRIVILEGED },
      expected: denied({ ind: true, pnu: true }),
    },
    {
      name: "privileged instruction of a user-writable page",
      ask: { ...FETCH, ...PRIVILEGED },
      expected: denied({ ind: true, pnu: true }),
    },
    { name: "WXN", cd: { WXN: 1 }, ask: FETCH, expected: denied({ ind: true }) },
    {
      name: "WXN, read-only page",
      cd: { WXN: 1 },
      ask: { ...FETCH, iova: 0x2000n },
      expected: translated(0x4000_2000n),
    },
    {
      name: "writes are data",
      words: [[page, PAGE | bits(54)]],
      ask: { ...FETCH, ...WRITE },
      expected: translated(IPA),
    },
    { name: "PAN", cd: { PAN: 1 }, ask: PRIVILEGED, expected: denied({ pnu: true }) },
    { name: "PAN, privileged page", cd: { PAN: 1 }, ask: { ...PRIVILEGED, iova: 0x3000n }, expected: translated(IPA) },
    {
      name: "EPAN",
      cd: { PAN: 1, EPAN: 1 },
      ask: { ...PRIVILEGED, iova: 0x3000n },
      expected: denied({ pnu: true, addr: 0x3000n }),
    },
    { name: "EL2 has one privilege", ste: { STRW: 2 }, ask: { iova: 0x3000n }, expected: translated(IPA) },
    {
      name: "EL2 has one range",
      ste: { STRW: 2 },
      cd: { TG1: 0 },
      ask: out,
      expected: failure(0x10, { addr: out.iova }),
    },
    { name: "EL2-E2H has two", ste: { STRW: 2 }, registers: { CR2: 3n }, ask: out, expected: translated(IPA) },
  ])("permissions: $name", run);

  const clean = (PAGE & ~bits(10)) | bits(7, 51);
  const update = { cd: { HA: 1, HD: 1 }, words: [[page, clean]] } as const;
  test.each<Case & { readonly after: bigint }>([
    { name: "AF", ...update, expected: translated(IPA), after: clean | bits(10) },
    { name: "dirty", ...update, ask: WRITE, expected: translated(IPA), after: (clean | bits(10)) & ~bits(7) },
    { name: "HA without HD", ...update, cd: { HA: 1 }, ask: WRITE, expected: denied(written), after: clean },
    { name: "HD without HA", ...update, cd: { HD: 1 }, expected: failure(0x12), after: clean },
    {
      name: "APTable keeps it clean",
      cd: update.cd,
      words: [...update.words, [table2, 0x22003n | bits(62)]],
      ask: WRITE,
      expected: denied(written),
      after: clean,
    },
  ])("updates: $name", ({ after, expected, ask, ...setting }) => {
    const { unit, memory } = smallMachine(setting);
    expect(slowTranslate(unit, request(ask))).toEqual(expected);
    expect(memory.read(page)).toBe(after);
  });

  const elsewhere = { TTB0: 0x40000n, EPD1: 1, IPS: 6 } as const;
  test.each<Case>([
    {
      name: "16 KBytes",
      cd: { ...elsewhere, TG0: 2, T0SZ: 28 },
      words: [
        [0x40000n, 0x44003n],
        [0x44000n, 0x4000_0f43n],
      ],
      ask: { iova: 0x1abcn },
      expected: translated(0x4000_1abcn, 0x4000n),
    },
    {
      name: "64 KBytes",
      cd: { ...elsewhere, TG0: 1, T0SZ: 35 },
      words: [[0x40000n, 0x4001_0f43n]],
      ask: { iova: 0x1abcn },
      expected: translated(0x4001_1abcn, 0x10000n),
    },
    {
      name: "64 KBytes, 52-bit output",
      registers: LARGE,
      cd: { ...elsewhere, TG0: 1, T0SZ: 35 },
      words: [[0x40000n, 0x4001_af43n]],
      ask: { iova: 0x1abcn },
      expected: translated(0xa_0000_4001_1abcn, 0x10000n),
    },
    {
      name: "64 KBytes, bits 15:12 beyond IPS",
      registers: LARGE,
      cd: { ...elsewhere, IPS: 5, TG0: 1, T0SZ: 35 },
      words: [[0x40000n, 0x4001_1f43n]],
      expected: failure(0x11),
    },
    {
      name: "64 KBytes, bits 15:12 with an OAS of 44",
      cd: { ...elsewhere, TG0: 1, T0SZ: 35 },
      words: [[0x40000n, 0x4001_ff43n]],
      expected: translated(0x4001_1000n, 0x10000n),
    },
    {
      name: "DS: 52 bits from level -1",
      registers: LARGE,
      cd: { ...elsewhere, DS: 1, T0SZ: 12 },
      words: [
        [0x40008n, 0x41003n],
        [0x41000n, 0x0003_8080_0000_0f41n],
      ],
      ask: { iova: bits(48) | 0x1234n },
      expected: translated(0xf_8080_0000_1234n, 1n << 39n),
    },
    {
      name: "STT: a table of 16 entries",
      cd: { ...elsewhere, TTB0: 0x40080n, T0SZ: 48 },
      words: [[0x40088n, PAGE]],
      expected: translated(IPA),
    },
    { name: "T0SZ = 12 without DS", registers: LARGE, cd: { T0SZ: 12 }, expected: fault(0x0a) },
  ])("granules: $name", run);
});

describe("stage 2", () => {
  const [, table2, page] = AT.s2;
  const failure = (code: number, changes: Partial<EventFields> = {}) =>
    fault(code, { ...STAGE_2, addr: IPA, ipa: IPA, ...changes });
  test.each<Case>([
    { name: "page", ask: { iova: IPA + 0xabcn }, expected: translated(0x5000_1abcn) },
    { name: "block", ask: { iova: 0x4021_2345n }, expected: translated(0x6001_2345n, 1n << 21n) },
    { name: "SubstreamID", ask: { ssid: 0 }, expected: fault(0x08) },
    { name: "beyond IAS", ask: { iova: bits(44) }, expected: fault(0x11, { ...INPUT, addr: bits(44) }) },
    {
      name: "beyond IAS, S2R = 0",
      ste: { S2R: 0 },
      ask: { iova: bits(44) },
      expected: fault(0x11, { ...INPUT, addr: bits(44) }),
    },
    { name: "beyond S2T0SZ", ask: { iova: bits(39) }, expected: failure(0x10, { addr: bits(39), ipa: bits(39) }) },
    { name: "invalid", words: [[page, 0n]], expected: failure(0x10) },
    {
      name: "IPA has no offset",
      words: [[page, 0n]],
      ask: { iova: IPA + 0x123n },
      expected: failure(0x10, { addr: IPA + 0x123n }),
    },
    {
      name: "F_WALK_EABT",
      words: [[table2, HOLE | 3n]],
      expected: fault(0x0b, { ...STAGE_2, addr: IPA, fetchAddr: HOLE + 8n }),
    },
    { name: "beyond S2PS", ste: { S2PS: 0 }, words: [[page, S2_PAGE | bits(32)]], expected: failure(0x11) },
    { name: "AF = 0", words: [[page, S2_PAGE & ~bits(10)]], expected: failure(0x12) },
    { name: "S2AFFD", ste: { S2AFFD: 1 }, words: [[page, S2_PAGE & ~bits(10)]], expected: translated(0x5000_1000n) },
    { name: "write", ask: WRITE, expected: translated(0x5000_1000n) },
    { name: "S2AP write", words: [[page, S2_PAGE & ~bits(7)]], ask: WRITE, expected: failure(0x13, { type: "w" }) },
    { name: "S2AP read", words: [[page, S2_PAGE & ~bits(6)]], expected: failure(0x13) },
    { name: "execute-only", words: [[page, S2_PAGE & ~bits(6)]], ask: FETCH, expected: translated(0x5000_1000n) },
    { name: "XN = 10", words: [[page, S2_PAGE | bits(54)]], ask: FETCH, expected: failure(0x13, { ind: true }) },
    {
      name: "XN = 11, unprivileged",
      words: [[page, S2_PAGE | bits(53, 54)]],
      ask: FETCH,
      expected: failure(0x13, { ind: true }),
    },
    {
      name: "XN = 11, privileged",
      words: [[page, S2_PAGE | bits(53, 54)]],
      ask: { ...FETCH, ...PRIVILEGED },
      expected: translated(0x5000_1000n),
    },
    {
      name: "XN = 01, unprivileged",
      words: [[page, S2_PAGE | bits(53)]],
      ask: FETCH,
      expected: translated(0x5000_1000n),
    },
    {
      name: "XN = 01, privileged",
      words: [[page, S2_PAGE | bits(53)]],
      ask: { ...FETCH, ...PRIVILEGED },
      expected: failure(0x13, { ind: true, pnu: true }),
    },
    {
      name: "XN = 01 without XNX",
      registers: { IDR3: 0x2_2304n },
      words: [[page, S2_PAGE | bits(53)]],
      ask: { ...FETCH, ...PRIVILEGED },
      expected: translated(0x5000_1000n),
    },
    { name: "S2R = 0", ste: { S2R: 0 }, words: [[page, 0n]], expected: { ...failure(0x10), recorded: false } },
    {
      name: "S2S",
      ste: { S2S: 1, S2R: 0 },
      words: [[page, 0n]],
      expected: { ...failure(0x10), stall: true, abort: false },
    },
    {
      name: "concatenation",
      ste: { S2T0SZ: 24, S2TTB: 0x40000n },
      words: [
        [0x41000n, 0x42003n],
        [0x42000n, 0x7000_04fdn],
      ],
      ask: { iova: bits(39) | 0x1234n },
      expected: translated(0x7000_1234n, 1n << 21n),
    },
  ])("$name", ({ ask, ...each }) => run({ ...each, ask: { ...S2, ...ask } }));

  const clean = S2_PAGE & ~bits(10, 7);
  const dbm = clean | bits(51);
  test.each<Case & { readonly after: bigint }>([
    {
      name: "AF",
      ste: { S2HA: 1 },
      words: [[page, clean]],
      expected: translated(0x5000_1000n),
      after: clean | bits(10),
    },
    {
      name: "dirty",
      ste: { S2HA: 1, S2HD: 1 },
      words: [[page, dbm]],
      ask: WRITE,
      expected: translated(0x5000_1000n),
      after: dbm | bits(7, 10),
    },
    {
      name: "no DBM",
      ste: { S2HA: 1, S2HD: 1 },
      words: [[page, clean]],
      ask: WRITE,
      expected: failure(0x13, { type: "w" }),
      after: clean,
    },
  ])("updates: $name", ({ after, expected, ask, ...setting }) => {
    const { unit, memory } = smallMachine(setting);
    expect(slowTranslate(unit, request({ ...S2, ...ask }))).toEqual(expected);
    expect(memory.read(page)).toBe(after);
  });
});

describe("nested", () => {
  const [leafOfTable1, , leafOfTable3] = AT.s2OfS1;
  const ofCd = { ...STAGE_2, class: "CD", ipa: AT.contexts } as const;
  const ofTable = { ...STAGE_2, class: "TT", ipa: 0x20000n } as const;
  const ofPage = { ...STAGE_2, class: "TT", ipa: 0x22000n } as const;
  const tablePage = 0x2_04ffn;
  test.each<Case>([
    { name: "pages", ask: { iova: 0x1abcn }, expected: translated(0x5000_1abcn) },
    { name: "blocks", ask: { iova: 0x21_2345n }, expected: translated(0x6001_2345n, 1n << 21n) },
    { name: "CD, no mapping", words: [[AT.s2OfContexts, 0n]], expected: fault(0x10, ofCd) },
    { name: "CD, write", words: [[AT.s2OfContexts, 0n]], ask: WRITE, expected: fault(0x10, ofCd) },
    { name: "CD, not readable", words: [[AT.s2OfContexts, 0x124bfn]], expected: fault(0x13, ofCd) },
    {
      name: "CD, abort on fetch",
      words: [[AT.s2OfContexts, HOLE | 0x4ffn]],
      expected: fault(0x09, { fetchAddr: HOLE }),
    },
    { name: "CD, S2PTW", ste: { S2PTW: 1 }, words: [[AT.s2OfContexts, 0x124c3n]], expected: fault(0x13, ofCd) },
    { name: "table, no mapping", words: [[leafOfTable1, 0n]], expected: fault(0x10, ofTable) },
    {
      name: "table, not readable",
      words: [[leafOfTable1, tablePage & ~bits(6)]],
      expected: fault(0x13, { ...ofTable, ttRnW: true }),
    },
    {
      name: "table, abort",
      words: [[leafOfTable1, HOLE | 0x4ffn]],
      expected: fault(0x0b, { ...INPUT, class: "TT", fetchAddr: HOLE }),
    },
    {
      name: "table, S2PTW",
      ste: { S2PTW: 1 },
      words: [[leafOfTable1, tablePage & ~bits(4, 5)]],
      expected: fault(0x13, { ...ofTable, ttRnW: true }),
    },
    {
      name: "table, S2R = 0",
      ste: { S2R: 0 },
      words: [[leafOfTable1, 0n]],
      expected: { ...fault(0x10, ofTable), recorded: false },
    },
    {
      name: "stage 1 permission before stage 2",
      words: [[AT.s2[2], 0n]],
      ask: { iova: 0x3000n },
      expected: fault(0x13, { ...INPUT, addr: 0x3000n }),
    },
    {
      name: "stage 2 of the output",
      ask: { ...WRITE, ...PRIVILEGED, iova: 0x2000n },
      words: [[AT.s1[2] + 8n, 0x4000_2f43n]],
      expected: fault(0x13, { ...STAGE_2, type: "w", pnu: true, addr: 0x2000n, ipa: 0x4000_2000n }),
    },
    {
      name: "update of a stage 1 descriptor that stage 2 forbids",
      cd: { HA: 1 },
      words: [
        [AT.s1[2], PAGE & ~bits(10)],
        [leafOfTable3, 0x2247fn],
      ],
      expected: fault(0x13, { ...ofPage, ttRnW: false }),
    },
    {
      name: "no update, no write",
      cd: { HA: 1 },
      words: [[leafOfTable3, 0x2247fn]],
      expected: translated(0x5000_1000n),
    },
  ])("$name", ({ ask, ...each }) => run({ ...each, ask: { ...NESTED, ...ask } }));

  test("an update makes the stage 2 leaf of the table dirty", () => {
    const writableClean = 0x2247fn | bits(51);
    const { unit, memory } = smallMachine({
      cd: { HA: 1 },
      ste: { S2HA: 1, S2HD: 1 },
      words: [
        [AT.s1[2], PAGE & ~bits(10)],
        [leafOfTable3, writableClean],
      ],
    });
    expect(slowTranslate(unit, request(NESTED))).toEqual(translated(0x5000_1000n));
    expect(memory.read(AT.s1[2])).toBe(PAGE);
    expect(memory.read(leafOfTable3)).toBe(writableClean | bits(7));
  });
});

describe("random machines", () => {
  const outcomesOf = (seed: number) => {
    const machine = randomMachine(seed);
    const memory = new SparseMemory(machine.ram, machine.words);
    return machine.requests.map((each) => slowTranslate({ registers: machine.registers, memory }, each));
  };

  test("every event comes up, and much is translated", () => {
    const outcomes = Array.from({ length: 150 }, (_, seed) => outcomesOf(seed)).flat();
    const codes = new Set(outcomes.map((outcome) => (outcome.kind === "fault" ? outcome.code : "translated")));
    expect(codes).toEqual(new Set([...EVENTS, null, "translated"]));
    const translations = outcomes.filter(({ kind }) => kind === "translated").length;
    expect(translations).toBeGreaterThan(outcomes.length / 4);
  });

  test("a seed makes one machine", () => {
    expect(outcomesOf(7)).toEqual(outcomesOf(7));
  });

  test("a translation keeps the offset in its page and stays within the OAS", () => {
    fc.assert(
      fc.property(randomMachines, ({ registers, ram, words, requests }) => {
        const memory = new SparseMemory(ram, words);
        const { oas } = featuresOf(registers);
        for (const each of requests) {
          const outcome = slowTranslate({ registers, memory }, each);
          if (outcome.kind === "fault") continue;
          expect(outcome.pa % outcome.pageSize).toBe(each.iova % outcome.pageSize);
          expect(outcome.pa).toBeLessThan(1n << BigInt(oas));
        }
      }),
      { numRuns: 30 },
    );
  });

  test("without hardware updates memory is left alone", () => {
    for (let seed = 0; seed < 60; seed++) {
      const { registers, ram, words, requests } = randomMachine(seed);
      if ((registers.IDR0 & 0xc0n) !== 0n) continue;
      const memory = new SparseMemory(ram, words);
      for (const each of requests) slowTranslate({ registers, memory }, each);
      for (const [address, word] of words) expect(memory.read(address)).toBe(word);
    }
  });
});
