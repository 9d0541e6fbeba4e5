/** The slow model against the tables of the Intel VT-d Architecture Specification Rev. 5.10, and its random machines. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { type CapabilityOptions, makeCapabilities } from "../../src/vtd/capabilities.js";
import { type SlowOutcome, type SlowRequest, slowTranslate } from "./slow-vtd.js";
import { FAULT_CODES } from "./vtd/faults.js";
import { randomUnit, randomUnits } from "./vtd/random-unit.js";
import { AT, HOLE, PASID, request, type Setting, smallMachine } from "./vtd/small-machine.js";
import { SparseMemory } from "./vtd/sparse-memory.js";

type Words = NonNullable<Setting["words"]>;

function fault(
  code: number,
  completion: "UR" | "CA" | "success" = "UR",
  recorded = completion !== "success",
): SlowOutcome {
  return { kind: "fault", code, recorded, completion };
}

function translated(pa: bigint, pageSize = 0x1000n): SlowOutcome {
  return { kind: "translated", pa, pageSize };
}

function completion(pa: bigint, read: boolean, write: boolean, size = 0x1000n): SlowOutcome {
  return { kind: "completion", read, write, untranslatedOnly: false, size, pa };
}

interface Case {
  readonly name: string;
  readonly words?: Words;
  readonly capabilities?: CapabilityOptions;
  readonly ttm?: bigint;
  readonly ask?: Partial<SlowRequest>;
  readonly expected: SlowOutcome;
}

function run(mode: "legacy" | "scalable", { name: _name, ask, expected, ...setting }: Case): void {
  const { unit } = smallMachine({ mode, ...setting });
  expect(slowTranslate(unit, request(ask))).toEqual(expected);
}

const WRITE = { access: "write" } as const;
const ATOMIC = { access: "atomic" } as const;
const EMPTY_READ = { access: "zero-length-read" } as const;
const ASK = { type: "translation" } as const;
const ASK_WRITE = { type: "translation", access: "write" } as const;
const DONE = { type: "translated" } as const;

describe("legacy mode", () => {
  const context = AT.legacyContext;
  test.each<Case>([
    { name: "4-KByte page", ask: { iova: 0x1abcn }, expected: translated(0x5000_0abcn) },
    { name: "2-MByte page", ask: { iova: 0x21_2345n }, expected: translated(0x6001_2345n, 1n << 21n) },
    { name: "1-GByte page", ask: { iova: 0x5234_5678n }, expected: translated(0x1_5234_5678n, 1n << 30n) },
    {
      name: "3 levels",
      words: [
        [context, 0x11005n],
        [context + 8n, 0x501n],
      ],
      expected: translated(0x5000_0000n),
    },
    { name: "30h TTM=10", ttm: 2n, expected: fault(0x30) },
    { name: "33h abort-DMA", ttm: 3n, expected: fault(0x33) },
    { name: "30h abort-DMA without ADMS", ttm: 3n, capabilities: { ecap: { ADMS: 0 } }, expected: fault(0x30) },
    { name: "31h PASID", ask: { pasid: 1 }, expected: fault(0x31) },
    { name: "1h of a bus without functions", ask: { sid: 0xff08 }, expected: fault(0x01) },
    { name: "1h", words: [[AT.root, 0x2000n]], expected: fault(0x01) },
    { name: "Ah low", words: [[AT.root, 0x2003n]], expected: fault(0x0a) },
    { name: "Ah above HAW", words: [[AT.root, (1n << 46n) | 0x2001n]], expected: fault(0x0a) },
    { name: "Ah high", words: [[AT.root + 8n, 1n]], expected: fault(0x0a) },
    { name: "9h", words: [[AT.root, HOLE | 1n]], expected: fault(0x09) },
    { name: "2h", words: [[context, 0x10004n]], expected: fault(0x02) },
    { name: "2h with FPD", words: [[context, 0x10006n]], expected: fault(0x02, "UR", false) },
    { name: "Bh low", words: [[context, 0x10015n]], expected: fault(0x0b) },
    { name: "Bh bit 71", words: [[context + 8n, 0x582n]], expected: fault(0x0b) },
    {
      name: "Bh domain beyond ND",
      words: [[context + 8n, 0x1_0002n]],
      capabilities: { cap: { ND: 2 } },
      expected: fault(0x0b),
    },
    { name: "ignored bits 70:67", words: [[context + 8n, 0x57an]], expected: translated(0x5000_0000n) },
    { name: "3h TT=11", words: [[context, 0x1000dn]], expected: fault(0x03) },
    { name: "3h TT=01 without DT", capabilities: { ecap: { DT: 0 } }, expected: fault(0x03) },
    { name: "3h TT=10 without PT", words: [[context, 0x9n]], capabilities: { ecap: { PT: 0 } }, expected: fault(0x03) },
    { name: "3h AW=0", words: [[context + 8n, 0x500n]], expected: fault(0x03) },
    { name: "3h AW not in SAGAW", capabilities: { cap: { SAGAW: 0b1010 } }, expected: fault(0x03) },
    { name: "3h SSPTPTR", words: [[context, HOLE | 5n]], expected: fault(0x03) },
    { name: "Dh TT=00, translation", words: [[context, 0x10001n]], ask: ASK, expected: fault(0x0d) },
    { name: "Dh TT=10, translated", words: [[context, 0x9n]], ask: DONE, expected: fault(0x0d) },
    { name: "TT=10", words: [[context, 0x9n]], ask: { iova: 0x1234n }, expected: translated(0x1234n) },
    { name: "TT=10, 4h", words: [[context, 0x9n]], ask: { iova: 1n << 46n }, expected: fault(0x04) },
    {
      name: "TT=10, 4h beyond AGAW",
      words: [
        [context, 0x9n],
        [context + 8n, 0x501n],
      ],
      ask: { iova: 1n << 39n },
      expected: fault(0x04),
    },
    { name: "TT=10, Eh", words: [[context, 0x9n]], ask: { iova: 0xfee0_0000n }, expected: fault(0x0e) },
    { name: "4h beyond AGAW", ask: { iova: 1n << 48n }, expected: fault(0x04) },
    { name: "4h beyond MGAW", capabilities: { cap: { MGAW: 38 } }, ask: { iova: 1n << 39n }, expected: fault(0x04) },
    { name: "4h to a translation request", ask: { ...ASK, iova: 1n << 48n }, expected: fault(0x04, "success") },
    { name: "6h R=W=0", words: [[AT.ss[1], 0x12000n]], expected: fault(0x06) },
    { name: "5h R=W=0", words: [[AT.ss[1], 0x12000n]], ask: WRITE, expected: fault(0x05) },
    { name: "5h read-only page", ask: { ...WRITE, iova: 0x2000n }, expected: fault(0x05) },
    { name: "5h atomic, read-only page", ask: { ...ATOMIC, iova: 0x2000n }, expected: fault(0x05) },
    { name: "6h atomic, write-only page", ask: { ...ATOMIC, iova: 0x3000n }, expected: fault(0x06) },
    { name: "6h write-only page", ask: { iova: 0x3000n }, expected: fault(0x06) },
    { name: "ZLR", ask: { ...EMPTY_READ, iova: 0x3000n }, expected: translated(0x5000_2000n) },
    {
      name: "ZLR not supported",
      capabilities: { cap: { ZLR: 0 } },
      ask: { ...EMPTY_READ, iova: 0x3000n },
      expected: fault(0x06),
    },
    {
      name: "5h at an upper entry before Ch below",
      words: [
        [AT.ss[0], 0x11001n],
        [AT.ss[3], (1n << 46n) | 3n],
      ],
      ask: WRITE,
      expected: fault(0x05),
    },
    {
      name: "6h where rights of levels cancel out",
      words: [
        [AT.ss[0], 0x11001n],
        [AT.ss[1], 0x12002n],
      ],
      ask: EMPTY_READ,
      expected: fault(0x06),
    },
    { name: "7h", words: [[AT.ss[2], HOLE | 3n]], expected: fault(0x07) },
    { name: "Ch above HAW", words: [[AT.ss[3], (1n << 46n) | 3n]], expected: fault(0x0c) },
    { name: "Ch PS in a PML4E", words: [[AT.ss[0], 0x11083n]], expected: fault(0x0c) },
    { name: "Ch bit 11 of a table", words: [[AT.ss[1], 0x12803n]], expected: fault(0x0c) },
    {
      name: "Ch SNP without SC",
      words: [[AT.ss[3], 0x5000_0803n]],
      capabilities: { ecap: { SC: 0 } },
      expected: fault(0x0c),
    },
    { name: "SNP", words: [[AT.ss[3], 0x5000_0803n]], expected: translated(0x5000_0000n) },
    { name: "Ch bit 62", words: [[AT.ss[2], (1n << 62n) | 0x13003n]], expected: fault(0x0c) },
    { name: "Ch size not in SSLPS", capabilities: { cap: { SSLPS: 1 } }, ask: { iova: HOLE }, expected: fault(0x0c) },
    { name: "Ch 2-MByte leaf", words: [[0x12008n, 0x6000_1083n]], ask: { iova: 0x20_0000n }, expected: fault(0x0c) },
    { name: "reserved bits are not looked at where R=W=0", words: [[AT.ss[0], 0x11080n]], expected: fault(0x06) },
    { name: "ignored bits", words: [[AT.ss[2], 0xbff0_0000_0001_3703n]], expected: translated(0x5000_0000n) },
    { name: "Eh", ask: { iova: 0x4000n }, expected: fault(0x0e) },
    { name: "Eh to a translation request", ask: { ...ASK, iova: 0x4000n }, expected: fault(0x0e, "CA") },
    {
      name: "translation request",
      ask: { ...ASK, iova: 0x21_2345n },
      expected: completion(0x6001_2345n, true, true, 1n << 21n),
    },
    {
      name: "translation request, read-only page",
      ask: { ...ASK_WRITE, iova: 0x2000n },
      expected: completion(0x5000_1000n, true, false),
    },
    { name: "translation request, R=W=0", words: [[AT.ss[1], 0x12000n]], ask: ASK, expected: fault(0x06, "success") },
    {
      name: "S.1",
      ask: { ...ASK_WRITE, iova: 0xfeef_ffffn },
      expected: {
        kind: "completion",
        read: false,
        write: true,
        untranslatedOnly: true,
        size: 0x1000n,
        pa: 0xfeef_ffffn,
      },
    },
    { name: "S.2", ask: { ...ASK, iova: 0xfee0_0000n }, expected: completion(0xfee0_0000n, false, false) },
    { name: "translated request", ask: { ...DONE, iova: 0x9_9999_9999n }, expected: translated(0x9_9999_9999n) },
    { name: "translated request, 4h", ask: { ...DONE, iova: 1n << 46n }, expected: fault(0x04) },
    { name: "translated request, Eh", ask: { ...DONE, iova: 0xfee0_0000n }, expected: fault(0x0e) },
  ])("$name", (each) => run("legacy", each));

  test("8h where RTADDR points outside RAM", () => {
    const { unit } = smallMachine({ mode: "legacy" });
    expect(slowTranslate({ ...unit, rtaddr: HOLE }, request())).toEqual(fault(0x08));
    expect(slowTranslate({ ...unit, rtaddr: HOLE }, request(ASK))).toEqual(fault(0x08, "CA"));
  });
});

describe("scalable mode, root to PASID table", () => {
  const { context, directory, secondStageEntry: entry } = AT;
  const ss = { pasid: PASID.secondStage };
  const fs = { pasid: PASID.firstStage };
  test.each<Case>([
    { name: "with PASID", ask: ss, expected: translated(0x5000_0000n) },
    { name: "without PASID: RID_PASID", expected: translated(0x5000_0000n) },
    { name: "30h without SMTS", capabilities: { ecap: { SMTS: 0 } }, expected: fault(0x30) },
    {
      name: "33h before 34h",
      ttm: 3n,
      capabilities: { version: { major: 8, minor: 0 } },
      ask: { ...ss, execute: true },
      expected: fault(0x33),
    },
    {
      name: "34h",
      capabilities: { version: { major: 8, minor: 0 } },
      ask: { ...ss, execute: true },
      expected: fault(0x34),
    },
    { name: "39h LP", words: [[AT.root, 0x3000n]], expected: fault(0x39) },
    { name: "39h UP", ask: { sid: 0x88 }, expected: fault(0x39) },
    { name: "UP", words: [[AT.root + 8n, 0x3001n]], ask: { sid: 0x88 }, expected: translated(0x5000_0000n) },
    { name: "3Ah", words: [[AT.root, 0x3003n]], expected: fault(0x3a) },
    { name: "3Ah of the other half", words: [[AT.root + 8n, 0x3003n]], expected: fault(0x3a) },
    { name: "the other half is not present", words: [[AT.root + 8n, 0x3002n]], expected: translated(0x5000_0000n) },
    { name: "40h", words: [[AT.root, HOLE | 1n]], expected: fault(0x40) },
    { name: "41h", words: [[context, 0x400cn]], expected: fault(0x41) },
    { name: "41h with FPD", words: [[context, 0x400en]], expected: fault(0x41, "UR", false) },
    { name: "42h bits 8:7", words: [[context, 0x408dn]], expected: fault(0x42) },
    { name: "42h DTE without DT", capabilities: { ecap: { DT: 0 } }, expected: fault(0x42) },
    { name: "42h PRE without PRS", words: [[context, 0x401dn]], expected: fault(0x42) },
    { name: "42h word 3", words: [[context + 24n, 1n]], expected: fault(0x42) },
    {
      name: "42h RID_PRIV without RPRIVS",
      words: [[context + 8n, 0x10_003fn]],
      capabilities: { ecap: { RPRIVS: 0 } },
      expected: fault(0x42),
    },
    {
      name: "43h PRE without DTE",
      words: [[context, 0x4019n]],
      capabilities: { ecap: { PRS: 1 } },
      expected: fault(0x43),
    },
    { name: "43h RID_PASID beyond PDTS", words: [[context + 8n, 0x2000n]], expected: fault(0x43) },
    { name: "44h translation", words: [[context, 0x4009n]], ask: ASK, expected: fault(0x44) },
    { name: "44h translated", words: [[context, 0x4009n]], ask: DONE, expected: fault(0x44) },
    { name: "45h", words: [[context, 0x4005n]], ask: ss, expected: fault(0x45) },
    { name: "46h", ask: { pasid: 0x2000 }, expected: fault(0x46) },
    { name: "89h", capabilities: { ecap: { PSS: 9 } }, ask: { pasid: 0x400 }, expected: fault(0x89) },
    { name: "48h", ask: { pasid: PASID.rid }, expected: fault(0x48) },
    {
      name: "48h RID_PASID is 0 without RPS",
      capabilities: { ecap: { RPS: 0 } },
      ask: { pasid: 0 },
      expected: fault(0x48),
    },
    { name: "49h", ask: { ...DONE, ...ss }, expected: fault(0x49) },
    { name: "50h", words: [[context, HOLE | 0xdn]], expected: fault(0x50) },
    { name: "50h is recorded in spite of FPD", words: [[context, HOLE | 0xfn]], expected: fault(0x50) },
    { name: "51h", ask: { pasid: 0x80 }, expected: fault(0x51) },
    { name: "51h with FPD", words: [[directory, 0x5002n]], ask: ss, expected: fault(0x51, "UR", false) },
    { name: "51h to a translation request", ask: { ...ASK, pasid: 0x80 }, expected: fault(0x51, "success") },
    { name: "52h", words: [[directory, 0x5005n]], ask: ss, expected: fault(0x52) },
    { name: "58h", words: [[directory, HOLE | 1n]], ask: ss, expected: fault(0x58) },
    { name: "59h", ask: { pasid: 9 }, expected: fault(0x59) },
    { name: "59h with FPD", words: [[entry, 2n]], ask: ss, expected: fault(0x59, "UR", false) },
    { name: "5Ah bit 5", words: [[entry, 0x100a9n]], ask: ss, expected: fault(0x5a) },
    {
      name: "5Ah SSADE without SSADS",
      words: [[entry, 0x10289n]],
      capabilities: { ecap: { SSADS: 0 } },
      ask: ss,
      expected: fault(0x5a),
    },
    { name: "5Ah PWSNP without SMPWC", capabilities: { ecap: { SMPWCS: 0 } }, ask: ss, expected: fault(0x5a) },
    { name: "5Ah PAT without MTS", words: [[entry + 8n, 1n << 32n]], ask: ss, expected: fault(0x5a) },
    { name: "5Ah SRE without SRS", capabilities: { ecap: { SRS: 0 } }, ask: ss, expected: fault(0x5a) },
    {
      name: "5Ah EAFE without EAFS",
      words: [[entry + 16n, 0x81n]],
      capabilities: { ecap: { EAFS: 0 } },
      ask: ss,
      expected: fault(0x5a),
    },
    { name: "5Ah HPTSZ", words: [[entry + 32n, 1n]], ask: ss, expected: fault(0x5a) },
    { name: "5Bh PGTT=000", words: [[entry, 0x10009n]], ask: ss, expected: fault(0x5b) },
    { name: "5Bh PGTT without SSTS", capabilities: { ecap: { SSTS: 0 } }, ask: ss, expected: fault(0x5b) },
    { name: "5Bh PGTT without FSTS", capabilities: { ecap: { FSTS: 0 } }, ask: fs, expected: fault(0x5b) },
    {
      name: "5Bh PGTT without NEST",
      capabilities: { ecap: { NEST: 0 } },
      ask: { pasid: PASID.nested },
      expected: fault(0x5b),
    },
    {
      name: "5Bh PGTT without PT",
      capabilities: { ecap: { PT: 0 } },
      ask: { pasid: PASID.passThrough },
      expected: fault(0x5b),
    },
    { name: "5Bh AW", words: [[entry, 0x10091n]], ask: ss, expected: fault(0x5b) },
    {
      name: "AW is ignored for the first stage",
      words: [[AT.firstStageEntry, 0x5dn]],
      ask: fs,
      expected: translated(0x7000_0000n),
    },
    { name: "5Bh FSPM=10", words: [[AT.firstStageEntry + 16n, 0x20009n]], ask: fs, expected: fault(0x5b) },
    {
      name: "5Bh FSPM=01 without FS5LP",
      words: [[AT.firstStageEntry + 16n, 0x20005n]],
      capabilities: { cap: { FS5LP: 0 } },
      ask: fs,
      expected: fault(0x5b),
    },
    {
      name: "5Bh FSPTPTR beyond AW",
      words: [
        [AT.nestedEntry, 0x110c5n],
        [AT.nestedEntry + 16n, (1n << 39n) | 1n],
      ],
      ask: { pasid: PASID.nested },
      expected: fault(0x5b),
    },
    {
      name: "5Bh to a translation request",
      words: [[entry, 0x10009n]],
      ask: { ...ASK, ...ss },
      expected: fault(0x5b, "CA"),
    },
    { name: "5Bh to a translated request", words: [[AT.ridEntry, 0x10009n]], ask: DONE, expected: fault(0x5b, "CA") },
    { name: "5Ch", ask: { ...ss, execute: true }, expected: fault(0x5c) },
    {
      name: "ERS",
      capabilities: { ecap: { ERS: 1 } },
      ask: { ...ss, execute: true },
      expected: translated(0x5000_0000n),
    },
    { name: "5Dh", words: [[entry + 16n, 0n]], ask: { ...ss, privileged: true }, expected: fault(0x5d) },
    {
      name: "5Dh of RID_PRIV",
      words: [
        [context + 8n, 0x10_003fn],
        [AT.ridEntry + 16n, 0n],
      ],
      expected: fault(0x5d),
    },
    {
      name: "translated request",
      words: [[AT.ridEntry + 16n, 0n]],
      ask: { ...DONE, iova: 0x1234n },
      expected: translated(0x1234n),
    },
    { name: "translated request, 83h", ask: { ...DONE, iova: 1n << 46n }, expected: fault(0x83) },
    { name: "translated request, 87h", ask: { ...DONE, iova: 0xfee0_0000n }, expected: fault(0x87) },
    { name: "PGTT=PT", ask: { pasid: PASID.passThrough }, expected: translated(0x1000n) },
    { name: "PGTT=PT, 83h", ask: { pasid: PASID.passThrough, iova: 1n << 46n }, expected: fault(0x83) },
    { name: "PGTT=PT, 87h", ask: { pasid: PASID.passThrough, iova: 0xfee0_0000n }, expected: fault(0x87) },
    {
      name: "PGTT=PT, translation request",
      ask: { ...ASK, pasid: PASID.passThrough },
      expected: completion(0x1000n, true, true),
    },
    {
      name: "FEEx with PASID is no S.2",
      ask: { ...ASK, pasid: PASID.passThrough, iova: 0xfee0_0000n },
      expected: fault(0x87, "CA"),
    },
  ])("$name", (each) => run("scalable", each));

  test("38h where RTADDR points outside RAM", () => {
    const { unit } = smallMachine({ mode: "scalable" });
    expect(slowTranslate({ ...unit, rtaddr: HOLE | 0x400n }, request())).toEqual(fault(0x38));
  });
});

describe("scalable mode, second stage", () => {
  const entry = AT.secondStageEntry;
  const withFlags: Words = [[entry, 0x10289n]];
  const noSnoop: Words = [
    [entry, 0x10289n],
    [entry + 8n, 0n],
  ];
  test.each<Case>([
    { name: "84h beyond AGAW", ask: { iova: 1n << 48n }, expected: fault(0x84) },
    { name: "84h beyond MGAW", capabilities: { cap: { MGAW: 38 } }, ask: { iova: 1n << 39n }, expected: fault(0x84) },
    { name: "7Bh", words: [[entry, HOLE | 0x89n]], expected: fault(0x7b) },
    { name: "78h", words: [[AT.ss[0], HOLE | 3n]], expected: fault(0x78) },
    { name: "79h R=W=0", words: [[AT.ss[2], 0x13000n]], ask: WRITE, expected: fault(0x79) },
    {
      name: "79h rights of levels cancel out",
      words: [
        [AT.ss[0], 0x11001n],
        [AT.ss[1], 0x12002n],
      ],
      expected: fault(0x79),
    },
    { name: "7Ah", words: [[AT.ss[2], 0x13803n]], expected: fault(0x7a) },
    {
      name: "SNP is not reserved",
      words: [[AT.ss[3], 0x5000_0803n]],
      capabilities: { ecap: { SC: 0 } },
      expected: translated(0x5000_0000n),
    },
    {
      name: "85h above before 7Ah below",
      words: [
        [AT.ss[0], 0x11001n],
        [AT.ss[3], (1n << 46n) | 3n],
      ],
      ask: WRITE,
      expected: fault(0x85),
    },
    { name: "85h", ask: { ...WRITE, iova: 0x2000n }, expected: fault(0x85) },
    { name: "85h before 86h", words: [[AT.ss[0], 0x11001n]], ask: ATOMIC, expected: fault(0x85) },
    { name: "86h", ask: { iova: 0x3000n }, expected: fault(0x86) },
    { name: "87h", ask: { iova: 0x4000n }, expected: fault(0x87) },
    { name: "7Ch at an upper entry", words: noSnoop, expected: fault(0x7c) },
    {
      name: "7Ch at the leaf",
      words: [...noSnoop, [AT.ss[0], 0x11103n], [AT.ss[1], 0x12103n], [AT.ss[2], 0x13103n]],
      expected: fault(0x7c),
    },
    {
      name: "no update needed",
      words: [...noSnoop, [AT.ss[0], 0x11103n], [AT.ss[1], 0x12103n], [AT.ss[2], 0x13103n], [AT.ss[3], 0x5000_0103n]],
      expected: translated(0x5000_0000n),
    },
    {
      name: "7Ch for D",
      words: [...noSnoop, [AT.ss[0], 0x11103n], [AT.ss[1], 0x12103n], [AT.ss[2], 0x13103n], [AT.ss[3], 0x5000_0103n]],
      ask: WRITE,
      expected: fault(0x7c),
    },
    {
      name: "7Ch not without SMPWC",
      words: noSnoop,
      capabilities: { ecap: { SMPWCS: 0 } },
      expected: translated(0x5000_0000n),
    },
    { name: "79h to a translation request", words: [[AT.ss[2], 0n]], ask: ASK, expected: fault(0x79, "success") },
    {
      name: "translation request, write-only page",
      ask: { ...ASK, iova: 0x3000n },
      expected: completion(0x5000_2000n, false, true),
    },
  ])("$name", ({ ask, ...each }) => {
    run("scalable", { ...each, ask: { pasid: PASID.secondStage, ...ask } });
  });

  test.each<{ name: string; ask: Partial<SlowRequest>; words?: Words; flags: readonly bigint[] }>([
    { name: "read", ask: {}, flags: [0x100n, 0x100n, 0x100n, 0x100n] },
    { name: "write", ask: WRITE, flags: [0x100n, 0x100n, 0x100n, 0x300n] },
    { name: "atomic", ask: ATOMIC, flags: [0x100n, 0x100n, 0x100n, 0x300n] },
    { name: "refused", ask: WRITE, words: [[AT.ss[3], 0x5000_0001n]], flags: [0x100n, 0x100n, 0x100n, 0n] },
    { name: "interrupt range", ask: {}, words: [[AT.ss[3], 0xfee0_0003n]], flags: [0x100n, 0x100n, 0x100n, 0n] },
    { name: "not present", ask: {}, words: [[AT.ss[2], 0n]], flags: [0x100n, 0x100n, 0n, 0n] },
    { name: "translation request", ask: ASK, flags: [0x100n, 0x100n, 0x100n, 0x100n] },
    { name: "translation request, NW=0", ask: ASK_WRITE, flags: [0x100n, 0x100n, 0x100n, 0x300n] },
    {
      name: "translation request, NW=0, read-only page",
      ask: ASK_WRITE,
      words: [[AT.ss[3], 0x5000_0001n]],
      flags: [0x100n, 0x100n, 0x100n, 0x100n],
    },
  ])("A and D: $name", ({ ask, words = [], flags }) => {
    const { unit, memory } = smallMachine({ mode: "scalable", words: [...withFlags, ...words] });
    slowTranslate(unit, request({ pasid: PASID.secondStage, ...ask }));
    expect(AT.ss.map((address) => (memory.read(address) ?? 0n) & 0x300n)).toEqual(flags);
  });

  test("without SSADE nothing is written", () => {
    const { unit, memory } = smallMachine({ mode: "scalable" });
    slowTranslate(unit, request({ pasid: PASID.secondStage, ...WRITE }));
    expect(AT.ss.map((address) => (memory.read(address) ?? 0n) & 0x300n)).toEqual([0n, 0n, 0n, 0n]);
  });
});

describe("first stage", () => {
  const entry = AT.firstStageEntry;
  const supervisor = { privileged: true } as const;
  const writeProtect: Words = [[entry + 16n, 0x20011n]];
  test.each<Case>([
    { name: "4-KByte page", ask: { iova: 0x1abcn, ...WRITE }, expected: translated(0x7000_0abcn) },
    { name: "2-MByte page", ask: { iova: 0x21_2345n }, expected: translated(0x6021_2345n, 1n << 21n) },
    {
      name: "2-MByte page with PAT",
      words: [[0x22008n, 0x6020_1087n]],
      ask: { iova: 0x20_0000n },
      expected: translated(0x6020_0000n, 1n << 21n),
    },
    { name: "1-GByte page", ask: { iova: 0x5234_5678n }, expected: translated(0x1_5234_5678n, 1n << 30n) },
    {
      name: "upper half",
      words: [[0x20ff8n, 0x21007n]],
      ask: { iova: 0xffff_ff80_0000_1000n },
      expected: translated(0x7000_0000n),
    },
    { name: "80h", ask: { iova: 0x8000_0000_1000n }, expected: fault(0x80) },
    {
      name: "5 levels",
      words: [
        [entry + 16n, 0x24005n],
        [0x24000n, 0x20007n],
        [0x20800n, 0x21007n],
      ],
      ask: { iova: 0x8000_0000_1000n },
      expected: translated(0x7000_0000n),
    },
    { name: "73h", words: [[entry + 16n, HOLE | 1n]], expected: fault(0x73) },
    { name: "70h", words: [[AT.fs[1], HOLE | 7n]], expected: fault(0x70) },
    { name: "71h", words: [[AT.fs[2], 0x23006n]], expected: fault(0x71) },
    { name: "72h above HAW", words: [[AT.fs[2], (1n << 46n) | 0x23007n]], expected: fault(0x72) },
    { name: "72h PS in a PML4E", words: [[AT.fs[0], 0x21087n]], expected: fault(0x72) },
    {
      name: "72h 1-GByte leaf without FS1GP",
      capabilities: { cap: { FS1GP: 0 } },
      ask: { iova: HOLE },
      expected: fault(0x72),
    },
    { name: "72h 2-MByte leaf", words: [[0x22008n, 0x6020_2087n]], ask: { iova: 0x20_0000n }, expected: fault(0x72) },
    { name: "ignored bits", words: [[AT.fs[3], 0xfff0_0000_7000_0e1fn]], expected: translated(0x7000_0000n) },
    { name: "81h", ask: { iova: 0x3000n }, expected: fault(0x81) },
    { name: "81h before 85h", ask: { iova: 0x4000n, ...WRITE }, expected: fault(0x81) },
    { name: "81h of an upper entry", words: [[AT.fs[1], 0x22003n]], expected: fault(0x81) },
    {
      name: "71h below before 81h above",
      words: [
        [AT.fs[1], 0x22003n],
        [AT.fs[3], 0n],
      ],
      expected: fault(0x71),
    },
    { name: "supervisor", ask: { ...supervisor, iova: 0x3000n }, expected: translated(0x7000_2000n) },
    { name: "85h", ask: { iova: 0x2000n, ...WRITE }, expected: fault(0x85) },
    { name: "85h of an upper entry", words: [[AT.fs[0], 0x21005n]], ask: ATOMIC, expected: fault(0x85) },
    {
      name: "supervisor writes without WPE",
      ask: { ...supervisor, ...WRITE, iova: 0x4000n },
      expected: translated(0x7000_3000n),
    },
    {
      name: "85h supervisor with WPE",
      words: writeProtect,
      ask: { ...supervisor, ...WRITE, iova: 0x4000n },
      expected: fault(0x85),
    },
    {
      name: "WPE leaves reads alone",
      words: writeProtect,
      ask: { ...supervisor, iova: 0x4000n },
      expected: translated(0x7000_3000n),
    },
    { name: "87h", ask: { iova: 0x5000n }, expected: fault(0x87) },
    { name: "90h", words: [[entry + 8n, 5n]], expected: fault(0x90) },
    {
      name: "90h not without SMPWC",
      words: [[entry + 8n, 5n]],
      capabilities: { ecap: { SMPWCS: 0 } },
      expected: translated(0x7000_0000n),
    },
    { name: "71h to a translation request", words: [[AT.fs[2], 0n]], ask: ASK, expected: fault(0x71, "success") },
    { name: "translation request", ask: ASK, expected: completion(0x7000_0000n, true, true) },
    {
      name: "translation request, read-only page",
      ask: { ...ASK_WRITE, iova: 0x2000n },
      expected: completion(0x7000_1000n, true, false),
    },
  ])("$name", ({ ask, ...each }) => {
    run("scalable", { ...each, ask: { pasid: PASID.firstStage, ...ask } });
  });

  test.each<{ name: string; ask: Partial<SlowRequest>; words?: Words; flags: readonly bigint[] }>([
    { name: "read", ask: {}, flags: [0x20n, 0x20n, 0x20n, 0x20n] },
    { name: "write", ask: WRITE, flags: [0x20n, 0x20n, 0x20n, 0x60n] },
    { name: "EAFE", ask: {}, words: [[entry + 16n, 0x20081n]], flags: [0x420n, 0x420n, 0x420n, 0x420n] },
    { name: "refused", ask: WRITE, words: [[AT.fs[3], 0x7000_0005n]], flags: [0x20n, 0x20n, 0x20n, 0n] },
    { name: "not present", ask: {}, words: [[AT.fs[1], 0n]], flags: [0x20n, 0n, 0n, 0n] },
  ])("A, D and EA: $name", ({ ask, words = [], flags }) => {
    const { unit, memory } = smallMachine({ mode: "scalable", words });
    slowTranslate(unit, request({ pasid: PASID.firstStage, ...ask }));
    expect(AT.fs.map((address) => (memory.read(address) ?? 0n) & 0x460n)).toEqual(flags);
  });
});

describe("nested", () => {
  const entry = AT.nestedEntry;
  const used = (table: bigint) => table | 0x27n;
  const allUsed: Words = [
    [AT.fs[0], used(0x21000n)],
    [AT.fs[1], used(0x22000n)],
    [AT.fs[2], used(0x23000n)],
    [AT.fs[3], used(0x7000_0000n)],
  ];
  test.each<Case>([
    { name: "4 KBytes over 1 GByte", ask: { iova: 0x1abcn }, expected: translated(0x1_7000_0abcn) },
    { name: "2 MBytes over 1 GByte", ask: { iova: 0x21_2345n }, expected: translated(0x1_6021_2345n, 1n << 21n) },
    {
      name: "a read-only page of tables that needs no update",
      words: [...allUsed, [AT.ssOfFs[0], 0x20001n]],
      expected: translated(0x1_7000_0000n),
    },
    { name: "75h", words: [[AT.ssOfFs[0], 0x20002n]], expected: fault(0x75) },
    { name: "76h", words: [[AT.ssOfFs[2], 0x22002n]], expected: fault(0x76) },
    {
      name: "75h with SSADE: W is missing",
      words: [...allUsed, [entry, 0x102c9n], [AT.ssOfFs[0], 0x20001n]],
      expected: fault(0x75),
    },
    { name: "77h of an upper entry", words: [[AT.ssOfFs[1], 0x21001n]], expected: fault(0x77) },
    { name: "77h of the leaf", words: [[AT.ssOfFs[3], 0x23001n]], expected: fault(0x77) },
    { name: "77h for D", words: [...allUsed, [AT.ssOfFs[3], 0x23001n]], ask: WRITE, expected: fault(0x77) },
    {
      name: "85h of the first stage before 77h",
      words: [[AT.ssOfFs[3], 0x23001n]],
      ask: { ...WRITE, iova: 0x2000n },
      expected: fault(0x85),
    },
    {
      name: "77h before the final address",
      words: [
        [AT.ssOfFs[3], 0x23001n],
        [AT.ssLarge, 0n],
      ],
      expected: fault(0x77),
    },
    {
      name: "74h of a table",
      words: [[AT.fs[1], (1n << 45n) | 7n]],
      capabilities: { cap: { MGAW: 44 } },
      expected: fault(0x74),
    },
    {
      name: "74h of the page",
      words: [[AT.fs[3], (1n << 45n) | 7n]],
      capabilities: { cap: { MGAW: 44 } },
      expected: fault(0x74),
    },
    {
      name: "74h of FSPTPTR beyond MGAW",
      words: [[entry + 16n, (1n << 45n) | 1n]],
      capabilities: { cap: { MGAW: 44 } },
      expected: fault(0x74),
    },
    { name: "73h", words: [[AT.ssOfFs[0], HOLE | 3n]], expected: fault(0x73) },
    { name: "70h", words: [[AT.ssOfFs[1], HOLE | 3n]], expected: fault(0x70) },
    { name: "7Bh", words: [[entry, HOLE | 0xc9n]], expected: fault(0x7b) },
    { name: "79h of a table", words: [[AT.ssOfFs[1], 0n]], expected: fault(0x79) },
    { name: "79h of the page", words: [[AT.ssLarge, 0n]], expected: fault(0x79) },
    { name: "7Ah of a table", words: [[AT.ssOfFs[1], (1n << 62n) | 0x21003n]], expected: fault(0x7a) },
    {
      name: "7Ch of a table",
      words: [
        [entry, 0x102c9n],
        [entry + 8n, 5n],
      ],
      expected: fault(0x7c),
    },
    { name: "90h", words: [[entry + 8n, 5n]], expected: fault(0x90) },
    { name: "85h of the second stage", words: [[AT.ssLarge, 0x1_4000_0081n]], ask: WRITE, expected: fault(0x85) },
    { name: "86h", words: [[AT.ssLarge, 0x1_4000_0082n]], expected: fault(0x86) },
    { name: "ZLR", words: [[AT.ssLarge, 0x1_4000_0082n]], ask: EMPTY_READ, expected: translated(0x1_7000_0000n) },
    {
      name: "86h ZLR without any right",
      words: [[AT.ssLarge, 0x1_4000_0082n]],
      ask: { ...EMPTY_READ, iova: 0x2000n },
      expected: fault(0x86),
    },
    { name: "87h", words: [[AT.fs[3], 0x4007n]], expected: fault(0x87) },
    {
      name: "an FEEx guest address may lead elsewhere",
      words: [
        [0x11018n, 0x1_4000_0083n],
        [AT.fs[3], 0xfee0_0007n],
      ],
      expected: translated(0x1_7ee0_0000n),
    },
    { name: "translation request", ask: ASK, expected: completion(0x1_7000_0000n, true, true) },
    {
      name: "translation request without any right",
      words: [[AT.ssLarge, 0x1_4000_0082n]],
      ask: { ...ASK, iova: 0x2000n },
      expected: completion(0x1_7000_1000n, false, false),
    },
    { name: "79h to a translation request", words: [[AT.ssLarge, 0n]], ask: ASK, expected: fault(0x79, "success") },
  ])("$name", ({ ask, ...each }) => {
    run("scalable", { ...each, ask: { pasid: PASID.nested, ...ask } });
  });

  test.each<{ name: string; ask: Partial<SlowRequest>; words?: Words; flags: Readonly<Record<string, bigint>> }>([
    { name: "read", ask: {}, flags: { fs: 0x20n, table: 0x300n, page: 0x100n } },
    { name: "write", ask: WRITE, flags: { fs: 0x60n, table: 0x300n, page: 0x300n } },
    {
      name: "refused by the second stage",
      ask: WRITE,
      words: [[AT.ssLarge, 0x1_4000_0081n]],
      flags: { fs: 0n, table: 0x300n, page: 0n },
    },
    {
      name: "translation request without the second stage's W",
      ask: ASK_WRITE,
      words: [[AT.ssLarge, 0x1_4000_0081n]],
      flags: { fs: 0x20n, table: 0x300n, page: 0x100n },
    },
    {
      name: "translation request without any right",
      ask: { ...ASK_WRITE, iova: 0x2000n },
      words: [[AT.ssLarge, 0x1_4000_0082n]],
      flags: { fs: 0n, table: 0x300n, page: 0n },
    },
  ])("A and D: $name", ({ ask, words = [], flags }) => {
    const { unit, memory } = smallMachine({ mode: "scalable", words: [[entry, 0x102c9n], ...words] });
    slowTranslate(unit, request({ pasid: PASID.nested, ...ask }));
    const bits = (address: bigint, mask: bigint) => (memory.read(address) ?? 0n) & mask;
    expect({
      fs: bits(AT.fs[3], 0x60n),
      table: bits(AT.ssOfFs[3], 0x300n),
      page: bits(AT.ssLarge, 0x300n),
    }).toEqual(flags);
  });
});

describe("random units", () => {
  const UNITS = 1000;
  const REQUESTS = 20;

  test("are the same for the same seed", () => {
    for (let seed = 0; seed < 20; seed++) expect(randomUnit(seed)).toEqual(randomUnit(seed));
    expect(randomUnit(1)).not.toEqual(randomUnit(2));
  });

  test("hold aligned words in RAM", () => {
    fc.assert(
      fc.property(randomUnits, ({ words, ram }) => {
        const memory = new SparseMemory(ram, words);
        for (const [address, word] of words) expect([address % 8n, memory.read(address)]).toEqual([0n, word]);
      }),
    );
  });

  test("translate over a third of the requests, and reach every fault", () => {
    const seen = new Map<string | number, number>();
    for (let seed = 0; seed < UNITS; seed++) {
      const { capabilities, rtaddr, words, ram, requests } = randomUnit(seed, REQUESTS);
      const unit = { capabilities: makeCapabilities(capabilities), rtaddr, memory: new SparseMemory(ram, words) };
      for (const each of requests) {
        const outcome = slowTranslate(unit, each);
        const key = outcome.kind === "fault" ? outcome.code : outcome.kind;
        seen.set(key, (seen.get(key) ?? 0) + 1);
      }
    }
    expect(FAULT_CODES.filter((code) => !seen.has(code))).toEqual([]);
    const successful = (seen.get("translated") ?? 0) + (seen.get("completion") ?? 0);
    expect(successful / (UNITS * REQUESTS)).toBeGreaterThan(1 / 3);
  });
});
