/**
 * Requests through a unit, from a small good machine with one thing changed: Intel VT-d Architecture Specification Rev. 5.10,
 * sections 3.4 to 3.14 and Table 30.
 */
import { describe, expect, test } from "vitest";
import type { DmaRequest } from "../../src/unit/request.js";
import type { VtdTranslation } from "../../src/vtd/unit.js";
import { iovaOf } from "../support/tables.js";
import {
  AW_MASK,
  type Changes,
  clear,
  DTE,
  EA,
  EAFE,
  type Edit,
  FPD,
  FRCD_F,
  FS_A,
  FS_D,
  FSPM_SHIFT,
  FSTS,
  GCMD,
  type Machine,
  type MachineOptions,
  NOWHERE,
  openMachine,
  P,
  PASIDE,
  PFO,
  PGTT,
  PGTT_MASK,
  PPF,
  PS,
  PWSNP,
  point,
  put,
  R,
  RID_PRIV,
  RTADDR,
  RW,
  SID,
  SNP,
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

/** What else is different from a read of the mapped address on the machine as it is built. */
interface More extends Omit<Changes, "edits"> {
  /** PASID null: without one. */
  readonly request?: Partial<Omit<DmaRequest, "iova" | "pasid">> & { iova?: bigint; pasid?: number | null };
  /** Bits that the walk set, by place. Default: none. */
  readonly written?: Readonly<Record<string, bigint>>;
}

/** The request translated, where it is not as the machine says. */
type Translated = Partial<Omit<VtdTranslation, "ok" | "physical">> & { readonly physical?: bigint };

/** The result is a fault reason, or a translation. */
type Row = readonly [
  name: string,
  base: MachineOptions,
  result: number | Translated,
  edits?: readonly Edit[],
  more?: More,
];

const AS_MAPPED: Translated = {};

const PASID = 0x41;
const KIB_4 = 1n << 12n;
const MIB_2 = 1n << 21n;
const GIB_1 = 1n << 30n;

const LEGACY: MachineOptions = { translator: "legacy" };
const LEGACY_PASS: MachineOptions = { translator: "legacy pass-through" };
const SECOND: MachineOptions = { translator: "second" };
const SECOND_PASID: MachineOptions = { translator: "second", pasid: PASID };
const FIRST: MachineOptions = { translator: "first" };
const FIRST_PASID: MachineOptions = { translator: "first", pasid: PASID };
const NESTED: MachineOptions = { translator: "nested" };
const NESTED_PASID: MachineOptions = { translator: "nested", pasid: PASID };
const PASS: MachineOptions = { translator: "pass-through" };
const PASS_PASID: MachineOptions = { translator: "pass-through", pasid: PASID };

const LEGACY_5: MachineOptions = { ...LEGACY, secondLevels: 5 };
const LEGACY_2M: MachineOptions = { ...LEGACY, secondLeaf: 2 };
const LEGACY_1G: MachineOptions = { ...LEGACY, secondLeaf: 3 };
const SECOND_5: MachineOptions = { ...SECOND, secondLevels: 5 };
const SECOND_2M: MachineOptions = { ...SECOND, secondLeaf: 2 };
const SECOND_1G: MachineOptions = { ...SECOND, secondLeaf: 3 };
const FIRST_5: MachineOptions = { ...FIRST, firstLevels: 5 };
const FIRST_2M: MachineOptions = { ...FIRST, firstLeaf: 2 };
const FIRST_1G: MachineOptions = { ...FIRST, firstLeaf: 3 };
const NESTED_5: MachineOptions = { ...NESTED, firstLevels: 5 };

const write = { access: "write" } as const;
const atomic = { access: "atomic" } as const;
const zeroLengthRead = { access: "zero-length-read" } as const;

/** An address of the interrupt range, its page aligned to 2 MiB, and the address behind the range. */
const INTERRUPTS = 0xfee0_0000n;
const BEHIND_INTERRUPTS = 0xfef0_0000n;
const NOT_AN_INTERRUPT = 0x29;
const ROOT_ACCESS = 0x8;

function requestOf(machine: Machine, changes: NonNullable<More["request"]>): DmaRequest {
  const { iova = machine.request.iova, pasid = machine.request.pasid ?? null, ...rest } = changes;
  const { sid } = machine.request;
  return { sid, ...rest, iova: iovaOf(iova), ...(pasid === null ? {} : { pasid }) };
}

function expectTranslated(machine: Machine, request = machine.request, translated = AS_MAPPED): void {
  const { physical, pageSize } = machine;
  expect(machine.unit.translate(request)).toEqual({ ok: true, physical, pageSize, interrupt: false, ...translated });
  expect(machine.unit.read32(FSTS)).toBe(0);
}

/** The request faults; what the unit reports of it is read and cleared by register. */
function expectFault({ unit }: Machine, request: DmaRequest, code: number, reported = true): void {
  expect(unit.translate(request)).toMatchObject({ ok: false, code, reported, completion: "UR" });
  const { access = "read", sid, pasid, iova } = request;
  if (!reported) {
    expect(unit.faults.records).toEqual([]);
    expect(unit.read32(FSTS)).toBe(0);
    return;
  }
  const [record, ...more] = unit.faults.records;
  expect(more).toEqual([]);
  expect(record).toMatchObject({
    reason: code,
    sid,
    // The Fault Info of 29h is undefined (section 11.4.7.6).
    ...(code === NOT_AN_INTERRUPT ? {} : { address: iova & ~0xfffn }),
    access: access === "zero-length-read" ? "read" : access,
    type: "untranslated",
  });
  expect(record.pasid).toBe(pasid);
  expect(unit.read32(FSTS)).toBe(PPF | (record.index << 8));
  unit.write64(unit.capabilities.faultRecordOffset + 16 * record.index + 8, FRCD_F);
  expect(unit.read32(FSTS) & PPF).toBe(0);
}

async function check([, base, result, edits = [], more = {}]: Row): Promise<void> {
  const { request = {}, written = {}, ...changes } = more;
  expectTranslated(await openMachine(base));
  const machine = await openMachine(base, { edits, ...changes });
  const changed = requestOf(machine, request);
  if (typeof result === "number") expectFault(machine, changed, result);
  else expectTranslated(machine, changed, result);
  expect(machine.written()).toEqual(written);
}

/** Bits set at several places. */
function everywhere(bits: bigint, ...places: readonly string[]): Record<string, bigint> {
  return Object.fromEntries(places.map((place) => [place, bits]));
}

/** Levels of a first-stage and a second-stage leaf, and the size that the IOTLB may keep. */
const LEAVES = [
  [1, 1, KIB_4],
  [1, 2, KIB_4],
  [1, 3, KIB_4],
  [2, 1, KIB_4],
  [2, 2, MIB_2],
  [2, 3, MIB_2],
  [3, 1, KIB_4],
  [3, 2, MIB_2],
  [3, 3, GIB_1],
] as const;

const rows: Readonly<Record<string, readonly Row[]>> = {
  "translation table mode": [
    ["scalable without SMTS", SECOND, 0x30, [], { options: { ecap: { SMTS: 0 } } }],
    ["10b is reserved", SECOND, 0x30, [], { ttm: 2 }],
    ["abort-DMA", SECOND, 0x33, [], { ttm: 3 }],
    ["abort-DMA, with PASID", SECOND_PASID, 0x33, [], { ttm: 3 }],
    ["abort-DMA without ADMS", LEGACY, 0x30, [], { ttm: 3, options: { ecap: { ADMS: 0 } } }],
    ["legacy, with PASID", LEGACY, 0x31, [], { request: { pasid: 0 } }],
    [
      "execute-requested, major version 8",
      FIRST_PASID,
      0x34,
      [],
      { options: { version: { major: 8, minor: 0 } }, request: { execute: true } },
    ],
    ["execute-requested without ERS", FIRST_PASID, 0x5c, [], { request: { execute: true } }],
    ["execute-requested, pass-through", PASS_PASID, 0x5c, [], { request: { execute: true } }],
  ],

  "legacy context entry": [
    ["TT 01 without DT", LEGACY, 0x3, [], { options: { ecap: { DT: 0 } } }],
    ["TT 11", LEGACY, 0x3, [set("context 0", TT_MASK)]],
    ["TT 00", LEGACY, AS_MAPPED, [clear("context 0", TT_MASK)]],
    ["TT 10 without PT", LEGACY_PASS, 0x3, [], { options: { ecap: { PT: 0 } } }],
    ["AW unsupported", LEGACY, 0x3, [], { options: { cap: { SAGAW: 0b00010 } } }],
    ["pass-through ignores its table", LEGACY_PASS, AS_MAPPED, [point("context 0", NOWHERE)]],
    ["pass-through, write", LEGACY_PASS, AS_MAPPED, [], { request: write }],
    [
      "pass-through, last address of HAW 39",
      LEGACY_PASS,
      { physical: (1n << 39n) - 1n },
      [],
      { options: { haw: 39 }, request: { iova: (1n << 39n) - 1n } },
    ],
    ["pass-through beyond HAW 39", LEGACY_PASS, 0x4, [], { options: { haw: 39 }, request: { iova: 1n << 39n } }],
    ["first table cannot be read", LEGACY, 0x3, [point("context 0", NOWHERE)]],
  ],

  "second stage, legacy mode": [
    ["beyond AGAW", LEGACY, 0x4, [], { request: { iova: 1n << 48n } }],
    ["3 levels, beyond AGAW", { ...LEGACY, secondLevels: 3 }, 0x4, [], { request: { iova: 1n << 39n } }],
    ["beyond MGAW", LEGACY, 0x4, [], { options: { cap: { MGAW: 43 } }, request: { iova: 1n << 44n } }],
    ["5 levels, write", LEGACY_5, AS_MAPPED, [], { request: write }],
    ["5 levels, beyond AGAW", LEGACY_5, 0x4, [], { request: { iova: 1n << 57n } }],
    ["PML5E grants nothing", LEGACY_5, 0x6, [clear("SS5", R | W)]],
    ["PML5E cannot be written through", LEGACY_5, 0x5, [clear("SS5", W)], { request: write }],
    ["PML4E table cannot be read", LEGACY_5, 0x7, [point("SS5", NOWHERE)]],
    ["PS in PML5E", LEGACY_5, 0xc, [set("SS5", PS)]],
    ["2 MiB leaf", LEGACY_2M, AS_MAPPED],
    ["2 MiB leaf without SSLPS", LEGACY_2M, 0xc, [], { options: { cap: { SSLPS: 0 } } }],
    ["1 GiB leaf", LEGACY_1G, AS_MAPPED],
    ["1 GiB leaf, SSLPS has 2 MiB only", LEGACY_1G, 0xc, [], { options: { cap: { SSLPS: 1 } } }],
    ["2 MiB leaf, address bit 12", LEGACY_2M, 0xc, [set("SS2", 1n << 12n)]],
    ["1 GiB leaf, address bit 29", LEGACY_1G, 0xc, [set("SS3", 1n << 29n)]],
    ["SNP of a leaf", LEGACY, AS_MAPPED, [set("SS1", SNP)]],
    ["SNP of a leaf without SC", LEGACY, 0xc, [set("SS1", SNP)], { options: { ecap: { SC: 0 } } }],
    ["SNP of a table entry", LEGACY, 0xc, [set("SS2", SNP)]],
    ["leaf beyond HAW", LEGACY, 0xc, [point("SS1", 1n << 39n)], { options: { haw: 39 } }],
    [
      "reserved bits of an entry that grants nothing",
      LEGACY,
      0x6,
      [put("SS1", SNP | PS | (1n << 62n))],
      { options: { ecap: { SC: 0 } } },
    ],
    ["write of nothing", LEGACY, 0x5, [put("SS1", 0n)], { request: write }],
    ["rights that no two levels share", LEGACY, 0x6, [clear("SS3", R), clear("SS1", W)]],
    ["A and D stay, whatever they are", LEGACY, AS_MAPPED, [set("SS1", SS_A)], { request: write }],
  ],

  "zero-length reads": [
    ["legacy, write-only", LEGACY, AS_MAPPED, [clear("SS1", R)], { request: zeroLengthRead }],
    [
      "legacy, write-only, without ZLR",
      LEGACY,
      0x6,
      [clear("SS1", R)],
      { options: { cap: { ZLR: 0 } }, request: zeroLengthRead },
    ],
    ["legacy, nothing", LEGACY, 0x6, [put("SS1", 0n)], { request: zeroLengthRead }],
    ["second stage, write-only", SECOND, AS_MAPPED, [clear("SS1", R)], { request: zeroLengthRead }],
    [
      "second stage, write-only, without ZLR",
      SECOND,
      0x86,
      [clear("SS1", R)],
      { options: { cap: { ZLR: 0 } }, request: zeroLengthRead },
    ],
    ["second stage, nothing", SECOND, 0x79, [put("SS1", 0n)], { request: zeroLengthRead }],
    ["first stage, not present", FIRST, 0x71, [clear("FS1", P)], { request: zeroLengthRead }],
  ],

  "atomic operations": [
    ["legacy", LEGACY, AS_MAPPED, [], { request: atomic }],
    ["legacy, read-only", LEGACY, 0x5, [clear("SS1", W)], { request: atomic }],
    ["legacy, write-only", LEGACY, 0x6, [clear("SS1", R)], { request: atomic }],
    ["second stage, read-only", SECOND, 0x85, [clear("SS2", W)], { request: atomic }],
    ["second stage, write-only", SECOND, 0x86, [clear("SS2", R)], { request: atomic }],
    ["first stage, read-only", FIRST, 0x85, [clear("FS1", RW)], { request: atomic }],
    ["first stage sets D", FIRST, AS_MAPPED, [clear("FS1", FS_D)], { request: atomic, written: { FS1: FS_D } }],
    ["nested, write-only behind", NESTED, 0x86, [clear("SS1", R)], { request: atomic }],
    ["nested, read-only behind", NESTED, 0x85, [clear("SS1", W)], { request: atomic }],
  ],

  "scalable context entry": [
    ["without PASID, PASIDE clear", SECOND, AS_MAPPED, [clear("context 0", PASIDE)]],
    ["with PASID, PASIDE clear", SECOND_PASID, 0x45, [clear("context 0", PASIDE)]],
    ["PASIDE without ECAP.PASID", SECOND, 0x42, [], { options: { ecap: { PASID: 0 } } }],
    ["DTE clear", SECOND, AS_MAPPED, [clear("context 0", DTE)]],
    ["DTE without DT", SECOND, 0x42, [], { options: { ecap: { DT: 0 } } }],
    ["last PASID of the directory", SECOND_PASID, 0x51, [], { request: { pasid: 8191 } }],
    ["PASID beyond the directory", SECOND_PASID, 0x46, [], { request: { pasid: 8192 } }],
    ["the same, PDTS 1", SECOND_PASID, 0x51, [set("context 0", 1n << 9n)], { request: { pasid: 8192 } }],
    ["last PASID of PSS", SECOND_PASID, 0x59, [], { options: { ecap: { PSS: 6 } }, request: { pasid: 127 } }],
    ["PASID beyond PSS", SECOND_PASID, 0x89, [], { options: { ecap: { PSS: 6 } }, request: { pasid: 128 } }],
    ["PASID equal to RID_PASID", SECOND_PASID, 0x48, [put("context 1", BigInt(PASID))]],
    ["PASID equal to RID_PASID 0", SECOND_PASID, 0x48, [], { request: { pasid: 0 } }],
    ["RID_PASID", SECOND_PASID, AS_MAPPED, [put("context 1", BigInt(PASID))], { request: { pasid: null } }],
    [
      "RID_PASID without RPS counts as 0",
      SECOND,
      AS_MAPPED,
      [put("context 1", BigInt(PASID))],
      { options: { ecap: { RPS: 0 } } },
    ],
    ["RID_PASID with RPS", SECOND, 0x51, [put("context 1", BigInt(PASID))]],
    [
      "without RPS a request may carry that PASID",
      SECOND_PASID,
      AS_MAPPED,
      [put("context 1", BigInt(PASID))],
      { options: { ecap: { RPS: 0 } } },
    ],
    ["RID_PASID beyond the directory", SECOND, 0x43, [put("context 1", 8192n)]],
    ["RID_PRIV without RPRIVS", SECOND, 0x42, [set("context 1", RID_PRIV)], { options: { ecap: { RPRIVS: 0 } } }],
    ["RID_PRIV without SRE", FIRST, 0x5d, [set("context 1", RID_PRIV)]],
    [
      "RID_PRIV reaches supervisor pages",
      FIRST,
      AS_MAPPED,
      [set("context 1", RID_PRIV), set("pasid 2", SRE), clear("FS1", US)],
    ],
    [
      "RID_PRIV does not concern requests with PASID",
      FIRST_PASID,
      0x81,
      [set("context 1", RID_PRIV), set("pasid 2", SRE), clear("FS1", US)],
    ],
    [
      "privileged counts only with a PASID",
      FIRST,
      0x81,
      [set("pasid 2", SRE), clear("FS1", US)],
      { request: { privileged: true } },
    ],
  ],

  "PASID directory and table entries": [
    ["directory entry cannot be read", SECOND, 0x50, [point("context 0", NOWHERE)]],
    ["directory entry not present", SECOND_PASID, 0x51, [clear("directory", P)]],
    ["reserved bit of the directory entry", SECOND_PASID, 0x52, [set("directory", 1n << 2n)]],
    ["PASID entry cannot be read", SECOND, 0x58, [point("directory", NOWHERE)]],
    ["PASID entry not present", NESTED, 0x59, [clear("pasid 0", P)]],
    ["reserved bit of word 0", SECOND, 0x5a, [set("pasid 0", 1n << 5n)]],
    ["reserved bit of word 3", SECOND, 0x5a, [set("pasid 3", 1n)]],
    ["SSADE without SSADS", SECOND, 0x5a, [set("pasid 0", SSADE)], { options: { ecap: { SSADS: 0 } } }],
    ["PWSNP without SMPWCS", SECOND, 0x5a, [], { options: { ecap: { SMPWCS: 0 } } }],
    ["EAFE without EAFS", FIRST, 0x5a, [set("pasid 2", EAFE)], { options: { ecap: { EAFS: 0 } } }],
    ["PGTT 000", SECOND, 0x5b, [clear("pasid 0", PGTT_MASK)]],
    ["PGTT 101", SECOND, 0x5b, [clear("pasid 0", PGTT_MASK), set("pasid 0", 5n << 6n)]],
    ["first stage without FSTS", FIRST, 0x5b, [], { options: { ecap: { FSTS: 0 } } }],
    [
      "second stage without SSTS",
      SECOND,
      0x5b,
      [put("pasid 0", P | (PGTT.second << 6n))],
      { options: { ecap: { SSTS: 0 } } },
    ],
    ["nested without NEST", NESTED, 0x5b, [], { options: { ecap: { NEST: 0 } } }],
    ["pass-through without PT", PASS, 0x5b, [], { options: { ecap: { PT: 0 } } }],
    ["AW unsupported", SECOND, 0x5b, [], { options: { cap: { SAGAW: 0b01010 } } }],
    ["AW unsupported, nested", NESTED, 0x5b, [clear("pasid 0", AW_MASK)]],
    ["AW does not count for a first stage", FIRST, AS_MAPPED, [clear("pasid 0", AW_MASK)]],
    ["FSPM 01 without FS5LP", FIRST_5, 0x5b, [], { options: { cap: { FS5LP: 0 } } }],
    ["FSPM 10", FIRST, 0x5b, [set("pasid 2", 2n << FSPM_SHIFT)]],
    ["FSPM does not count for a second stage", SECOND, AS_MAPPED, [set("pasid 2", 2n << FSPM_SHIFT)]],
    ["nested, FSPTPTR beyond AW", NESTED, 0x5b, [point("pasid 2", 1n << 48n)]],
    ["privileged without SRE, first stage", FIRST_PASID, 0x5d, [], { request: { privileged: true } }],
    ["privileged without SRE, second stage", SECOND_PASID, 0x5d, [], { request: { privileged: true } }],
    ["privileged without SRE, pass-through", PASS_PASID, 0x5d, [], { request: { privileged: true } }],
    [
      "privileged with SRE, second stage",
      SECOND_PASID,
      AS_MAPPED,
      [set("pasid 2", SRE)],
      { request: { privileged: true, ...write } },
    ],
  ],

  "pass-through, scalable mode": [
    ["write", PASS, AS_MAPPED, [], { request: write }],
    ["with PASID", PASS_PASID, AS_MAPPED, [], { request: atomic }],
    [
      "last address of HAW 39",
      PASS,
      { physical: (1n << 39n) - 1n },
      [],
      { options: { haw: 39 }, request: { iova: (1n << 39n) - 1n } },
    ],
    ["beyond HAW 39", PASS, 0x83, [], { options: { haw: 39 }, request: { iova: 1n << 39n } }],
    ["tables do not count", PASS, AS_MAPPED, [point("pasid 0", NOWHERE)]],
  ],

  "second stage, scalable mode": [
    ["beyond AGAW", SECOND, 0x84, [], { request: { iova: 1n << 48n } }],
    ["beyond MGAW", SECOND, 0x84, [], { options: { cap: { MGAW: 43 } }, request: { iova: 1n << 44n } }],
    ["3 levels, beyond AGAW", { ...SECOND, secondLevels: 3 }, 0x84, [], { request: { iova: 1n << 39n } }],
    ["5 levels, write", SECOND_5, AS_MAPPED, [], { request: write }],
    ["5 levels, beyond AGAW", SECOND_5, 0x84, [], { request: { iova: 1n << 57n } }],
    ["5 levels, PML5E grants nothing", SECOND_5, 0x79, [clear("SS5", R | W)]],
    ["5 levels, PML4E table cannot be read", SECOND_5, 0x78, [point("SS5", NOWHERE)]],
    ["first table cannot be read", SECOND, 0x7b, [point("pasid 0", NOWHERE)]],
    ["last table cannot be read", SECOND, 0x78, [point("SS2", NOWHERE)]],
    ["rights that no two levels share", SECOND, 0x79, [clear("SS3", R), clear("SS1", W)]],
    ["read of write-only", SECOND, 0x86, [clear("SS4", R)]],
    ["write of read-only", SECOND, 0x85, [clear("SS4", W)], { request: write }],
    ["PS in PML4E", SECOND, 0x7a, [set("SS4", PS)]],
    ["PS in PML5E", SECOND_5, 0x7a, [set("SS5", PS)]],
    ["2 MiB leaf", SECOND_2M, AS_MAPPED],
    ["2 MiB leaf without SSLPS", SECOND_2M, 0x7a, [], { options: { cap: { SSLPS: 0 } } }],
    ["1 GiB leaf", SECOND_1G, AS_MAPPED],
    ["1 GiB leaf, SSLPS has 2 MiB only", SECOND_1G, 0x7a, [], { options: { cap: { SSLPS: 1 } } }],
    ["SSADE clear, nothing is written", SECOND, AS_MAPPED, [], { request: write }],
    [
      "SSADE, read",
      SECOND,
      AS_MAPPED,
      [set("pasid 0", SSADE)],
      { written: everywhere(SS_A, "SS4", "SS3", "SS2", "SS1") },
    ],
    [
      "SSADE, write",
      SECOND,
      AS_MAPPED,
      [set("pasid 0", SSADE)],
      { request: write, written: { ...everywhere(SS_A, "SS4", "SS3", "SS2"), SS1: SS_A | SS_D } },
    ],
    [
      "SSADE, write, 1 GiB leaf",
      SECOND_1G,
      AS_MAPPED,
      [set("pasid 0", SSADE)],
      { request: write, written: { SS4: SS_A, SS3: SS_A | SS_D } },
    ],
    [
      "SSADE, some flags set before",
      SECOND,
      AS_MAPPED,
      [set("pasid 0", SSADE), set("SS4", SS_A), set("SS1", SS_A)],
      { request: write, written: { ...everywhere(SS_A, "SS3", "SS2"), SS1: SS_D } },
    ],
    [
      "SSADE, 5 levels, zero-length read",
      SECOND_5,
      AS_MAPPED,
      [set("pasid 0", SSADE)],
      { request: zeroLengthRead, written: everywhere(SS_A, "SS5", "SS4", "SS3", "SS2", "SS1") },
    ],
    ["SSADE, not snooped", SECOND, 0x7c, [set("pasid 0", SSADE), clear("pasid 1", PWSNP)]],
    [
      "SSADE, not snooped, D missing",
      SECOND,
      0x7c,
      [
        set("pasid 0", SSADE),
        clear("pasid 1", PWSNP),
        ...["SS4", "SS3", "SS2", "SS1"].map((place) => set(place, SS_A)),
      ],
      { request: write },
    ],
    [
      "SSADE, not snooped, nothing missing",
      SECOND,
      AS_MAPPED,
      [
        set("pasid 0", SSADE),
        clear("pasid 1", PWSNP),
        ...["SS4", "SS3", "SS2", "SS1"].map((place) => set(place, SS_A)),
      ],
    ],
    [
      "SSADE, not snooped, no PWSNP to clear",
      SECOND,
      AS_MAPPED,
      [set("pasid 0", SSADE), clear("pasid 1", PWSNP)],
      { options: { ecap: { SMPWCS: 0 } }, written: everywhere(SS_A, "SS4", "SS3", "SS2", "SS1") },
    ],
  ],

  "first stage": [
    ["not canonical", FIRST, 0x80, [], { request: { iova: 1n << 47n } }],
    ["not canonical, upper half", FIRST, 0x80, [], { request: { iova: 0xffff_0000_0000_0000n } }],
    ["upper half", { ...FIRST, iova: 0xffff_8123_4567_8123n }, AS_MAPPED],
    ["5 levels", FIRST_5, AS_MAPPED, [], { request: write }],
    ["5 levels, not canonical", FIRST_5, 0x80, [], { request: { iova: 1n << 56n } }],
    ["5 levels, upper half", { ...FIRST, firstLevels: 5, iova: 0xff12_3456_789a_b123n }, AS_MAPPED],
    ["5 levels, PML5E not present", FIRST_5, 0x71, [clear("FS5", P)]],
    ["5 levels, PS in PML5E", FIRST_5, 0x72, [set("FS5", PS)]],
    ["first table cannot be read", FIRST, 0x73, [point("pasid 2", NOWHERE)]],
    ["last table cannot be read", FIRST, 0x70, [point("FS2", NOWHERE)]],
    ["PTE not present", FIRST, 0x71, [clear("FS1", P)]],
    ["reserved bits of an entry that is not present", FIRST, 0x71, [put("FS4", PS)]],
    ["PS in PML4E", FIRST, 0x72, [set("FS4", PS)]],
    ["leaf beyond HAW", FIRST, 0x72, [point("FS1", 1n << 39n)], { options: { haw: 39 } }],
    ["bit 63 is ignored", FIRST, AS_MAPPED, [set("FS1", 1n << 63n)]],
    ["2 MiB leaf", FIRST_2M, AS_MAPPED],
    ["2 MiB leaf, PAT", FIRST_2M, AS_MAPPED, [set("FS2", 1n << 12n)]],
    ["2 MiB leaf, address bit 13", FIRST_2M, 0x72, [set("FS2", 1n << 13n)]],
    ["1 GiB leaf", FIRST_1G, AS_MAPPED],
    ["1 GiB leaf without FS1GP", FIRST_1G, 0x72, [], { options: { cap: { FS1GP: 0 } } }],
    ["1 GiB leaf, address bit 29", FIRST_1G, 0x72, [set("FS3", 1n << 29n)]],
    ...["FS4", "FS3", "FS2", "FS1"].map(
      (place): Row => [`user, U/S clear in ${place}`, FIRST_PASID, 0x81, [clear(place, US)]],
    ),
    ["U/S comes before R/W", FIRST_PASID, 0x81, [clear("FS1", US | RW)], { request: write }],
    [
      "privileged, U/S clear",
      FIRST_PASID,
      AS_MAPPED,
      [set("pasid 2", SRE), clear("FS1", US)],
      { request: { privileged: true } },
    ],
    [
      "privileged write, U/S clear",
      FIRST_PASID,
      AS_MAPPED,
      [set("pasid 2", SRE), clear("FS3", US)],
      { request: { privileged: true, ...write } },
    ],
    ...["FS4", "FS3", "FS2", "FS1"].map(
      (place): Row => [`user write, R/W clear in ${place}`, FIRST_PASID, 0x85, [clear(place, RW)], { request: write }],
    ),
    ["user write, WPE does not count", FIRST_PASID, AS_MAPPED, [set("pasid 2", WPE)], { request: write }],
    [
      "privileged write, R/W clear, WPE clear",
      FIRST_PASID,
      AS_MAPPED,
      [set("pasid 2", SRE), clear("FS2", RW)],
      { request: { privileged: true, ...write } },
    ],
    [
      "privileged write, R/W clear, WPE set",
      FIRST_PASID,
      0x85,
      [set("pasid 2", SRE | WPE), clear("FS2", RW)],
      { request: { privileged: true, ...write } },
    ],
    [
      "privileged read, R/W clear, WPE set",
      FIRST_PASID,
      AS_MAPPED,
      [set("pasid 2", SRE | WPE), clear("FS2", RW)],
      { request: { privileged: true } },
    ],
    [
      "A, read",
      FIRST,
      AS_MAPPED,
      ["FS4", "FS3", "FS2", "FS1"].map((place) => clear(place, FS_A)),
      { written: everywhere(FS_A, "FS4", "FS3", "FS2", "FS1") },
    ],
    ["A of one entry", FIRST, AS_MAPPED, [clear("FS3", FS_A)], { written: { FS3: FS_A } }],
    [
      "A, 5 levels, 2 MiB leaf",
      { ...FIRST, firstLevels: 5, firstLeaf: 2 },
      AS_MAPPED,
      [clear("FS5", FS_A), clear("FS2", FS_A)],
      { written: everywhere(FS_A, "FS5", "FS2") },
    ],
    ["D, read", FIRST, AS_MAPPED, [clear("FS1", FS_D)]],
    ["D, write", FIRST, AS_MAPPED, [clear("FS1", FS_D)], { request: write, written: { FS1: FS_D } }],
    [
      "A and D, write",
      FIRST,
      AS_MAPPED,
      [clear("FS1", FS_A | FS_D)],
      { request: write, written: { FS1: FS_A | FS_D } },
    ],
    ["D of a write that has no right", FIRST, 0x85, [clear("FS1", RW | FS_D)], { request: write }],
    ["EAFE", FIRST, AS_MAPPED, [set("pasid 2", EAFE)], { written: everywhere(EA, "FS4", "FS3", "FS2", "FS1") }],
    [
      "EAFE with A, write",
      FIRST,
      AS_MAPPED,
      [set("pasid 2", EAFE), clear("FS2", FS_A), clear("FS1", FS_D), set("FS4", EA)],
      { request: write, written: { FS3: EA, FS2: EA | FS_A, FS1: EA | FS_D } },
    ],
    ["EAFE clear, EA is ignored", FIRST, AS_MAPPED, [clear("FS2", FS_A)], { written: { FS2: FS_A } }],
    ["A missing, not snooped", FIRST, 0x90, [clear("pasid 1", PWSNP), clear("FS4", FS_A)]],
    ["D missing, not snooped, write", FIRST, 0x90, [clear("pasid 1", PWSNP), clear("FS1", FS_D)], { request: write }],
    ["D missing, not snooped, read", FIRST, AS_MAPPED, [clear("pasid 1", PWSNP), clear("FS1", FS_D)]],
    ["EA missing, not snooped", FIRST, 0x90, [clear("pasid 1", PWSNP), set("pasid 2", EAFE)]],
  ],

  nested: [
    ["write", NESTED, AS_MAPPED, [], { request: write }],
    ["with PASID", NESTED_PASID, AS_MAPPED],
    ["5 and 5 levels", { ...NESTED, firstLevels: 5, secondLevels: 5 }, AS_MAPPED],
    ["4 and 3 levels", { ...NESTED, secondLevels: 3 }, AS_MAPPED],
    ...LEAVES.map(
      ([firstLeaf, secondLeaf, pageSize]): Row => [
        `the smaller page, levels ${firstLeaf} and ${secondLeaf}`,
        { ...NESTED, firstLeaf, secondLeaf },
        { pageSize },
      ],
    ),
    ["not canonical", NESTED, 0x80, [], { request: { iova: 1n << 47n } }],
    ["first table beyond what is backed", NESTED, 0x73, [point("SS1 of FS4", NOWHERE)]],
    ["last table beyond what is backed", NESTED, 0x70, [point("SS1 of FS1", NOWHERE)]],
    ["not present", NESTED, 0x71, [clear("FS2", P)]],
    ["reserved bit", NESTED, 0x72, [set("FS4", PS)]],
    ["table beyond AGAW", NESTED, 0x74, [point("FS3", 1n << 48n)]],
    ["page beyond AGAW", NESTED, 0x74, [point("FS1", 1n << 48n)]],
    ["table beyond MGAW", NESTED, 0x74, [point("FS3", 1n << 44n)], { options: { haw: 48, cap: { MGAW: 43 } } }],
    ["no reading of the first table", NESTED, 0x75, [clear("SS1 of FS4", R)]],
    ["no reading of the first of 5 tables", NESTED_5, 0x75, [clear("SS1 of FS5", R)]],
    ["no reading of the second of 5 tables", NESTED_5, 0x76, [clear("SS1 of FS4", R)]],
    ["no reading of any table", NESTED, 0x75, [clear("SS4", R)]],
    ...["FS3", "FS2", "FS1"].map(
      (place): Row => [`no reading of ${place}`, NESTED, 0x76, [clear(`SS1 of ${place}`, R)]],
    ),
    ["nothing of the first table", NESTED, 0x79, [clear("SS1 of FS4", R | W)]],
    ["nothing of the last table", NESTED, 0x79, [clear("SS1 of FS1", R | W)]],
    ["A without writing", NESTED, 0x77, [clear("FS3", FS_A), clear("SS1 of FS3", W)]],
    ["A of the first table without writing", NESTED, 0x77, [clear("FS4", FS_A), clear("SS1 of FS4", W)]],
    ["D without writing", NESTED, 0x77, [clear("FS1", FS_D), clear("SS1 of FS1", W)], { request: write }],
    ["EA without writing", NESTED, 0x77, [set("pasid 2", EAFE), clear("SS1 of FS4", W)]],
    [
      "nothing to write",
      NESTED,
      AS_MAPPED,
      ["FS4", "FS3", "FS2", "FS1"].map((place) => clear(`SS1 of ${place}`, W)),
      { request: write },
    ],
    [
      "A and D",
      NESTED,
      AS_MAPPED,
      [clear("FS3", FS_A), clear("FS1", FS_D)],
      { request: write, written: { FS3: FS_A, FS1: FS_D } },
    ],
    ["A, not snooped", NESTED, 0x90, [clear("pasid 1", PWSNP), clear("FS3", FS_A)]],
    ["second-stage table of the first table", NESTED, 0x78, [point("SS2 of FS4", NOWHERE)]],
    ["first second-stage table", NESTED, 0x7b, [point("pasid 0", NOWHERE)]],
    ["second-stage reserved bit, first table", NESTED, 0x7a, [set("SS1 of FS4", 1n << 62n)]],
    ["second-stage reserved bit, page", NESTED, 0x7a, [set("SS1", 1n << 62n)]],
    ["page not mapped behind", NESTED, 0x79, [put("SS1", 0n)]],
    ["page read-only behind", NESTED, 0x85, [clear("SS1", W)], { request: write }],
    ["page write-only behind", NESTED, 0x86, [clear("SS1", R)]],
    ["page write-only behind, zero-length read", NESTED, AS_MAPPED, [clear("SS1", R)], { request: zeroLengthRead }],
    ["page read-only before", NESTED, 0x85, [clear("FS1", RW)], { request: write }],
    [
      "privileged write, read-only behind",
      NESTED_PASID,
      0x85,
      [set("pasid 2", SRE), clear("SS1", W)],
      { request: { privileged: true, ...write } },
    ],
    ["D of a page that is read-only behind", NESTED, 0x85, [clear("FS1", FS_D), clear("SS1", W)], { request: write }],
    ["SSADE, not snooped", NESTED, 0x7c, [set("pasid 0", SSADE), clear("pasid 1", PWSNP)]],
  ],

  "output in the interrupt range": [
    ["legacy", LEGACY, 0xe, [point("SS1", INTERRUPTS)]],
    ["legacy, write", LEGACY, 0xe, [point("SS1", INTERRUPTS)], { request: write }],
    ["legacy, last page", LEGACY, 0xe, [point("SS1", BEHIND_INTERRUPTS - KIB_4)]],
    ["legacy, page behind", LEGACY, { physical: BEHIND_INTERRUPTS + 0x123n }, [point("SS1", BEHIND_INTERRUPTS)]],
    ["legacy, page in front", LEGACY, { physical: INTERRUPTS - KIB_4 + 0x123n }, [point("SS1", INTERRUPTS - KIB_4)]],
    ["legacy, 2 MiB leaf", LEGACY_2M, 0xe, [point("SS2", INTERRUPTS)]],
    [
      "legacy, the other half of a 2 MiB leaf",
      { ...LEGACY, secondLeaf: 2, iova: 0x1234_5670_0123n },
      { physical: BEHIND_INTERRUPTS + 0x123n },
      [point("SS2", INTERRUPTS)],
    ],
    ["second stage", SECOND, 0x87, [point("SS1", INTERRUPTS)]],
    ["first stage", FIRST, 0x87, [point("FS1", INTERRUPTS)]],
    [
      "first stage, D is not set",
      FIRST_PASID,
      0x87,
      [point("FS1", INTERRUPTS), clear("FS1", FS_D)],
      { request: write },
    ],
    ["nested", NESTED, 0x87, [point("SS1", INTERRUPTS)]],
    ["pass-through", PASS_PASID, 0x87, [], { request: { iova: INTERRUPTS } }],
    ["pass-through, behind", PASS_PASID, { physical: BEHIND_INTERRUPTS }, [], { request: { iova: BEHIND_INTERRUPTS } }],
  ],

  "input in the interrupt range": [
    [
      "write",
      LEGACY,
      { physical: INTERRUPTS, pageSize: null, interrupt: true },
      [],
      { request: { iova: INTERRUPTS, ...write } },
    ],
    [
      "write, last word, scalable mode",
      SECOND,
      { physical: BEHIND_INTERRUPTS - 4n, pageSize: null, interrupt: true },
      [],
      { request: { iova: BEHIND_INTERRUPTS - 4n, ...write } },
    ],
    [
      "write of a source without entries",
      LEGACY,
      { physical: INTERRUPTS, pageSize: null, interrupt: true },
      [clear("root 0", P)],
      { request: { iova: INTERRUPTS, ...write } },
    ],
    ["read", LEGACY, 0x29, [], { request: { iova: INTERRUPTS } }],
    [
      "read, although mapped",
      { ...FIRST, iova: 0xfee1_2123n, pasid: PASID },
      0x29,
      [put("context 1", BigInt(PASID))],
      { request: { pasid: null } },
    ],
    ["atomic", SECOND, 0x29, [], { request: { iova: BEHIND_INTERRUPTS - 8n, ...atomic } }],
    ["zero-length read", PASS, 0x29, [], { request: { iova: INTERRUPTS, ...zeroLengthRead } }],
    ["in front of it", LEGACY, 0x6, [], { request: { iova: INTERRUPTS - 1n } }],
    ["behind it", SECOND, 0x79, [], { request: { iova: BEHIND_INTERRUPTS } }],
    [
      "with PASID it is an address like any other",
      { ...SECOND_PASID, iova: 0xfee1_2123n },
      AS_MAPPED,
      [],
      { request: write },
    ],
    ["with PASID, first stage", { ...FIRST_PASID, iova: 0xfee1_2123n }, AS_MAPPED],
  ],
};

describe.each(Object.entries(rows))("%s", (_group, group) => {
  test.each(group.map((row) => [row[0], row] as const))("%s", (_name, row) => check(row));
});

describe("nested with SSADE, where tables of the first stage are read as if written", () => {
  const SS_OF = ["SS1 of FS4", "SS1 of FS3", "SS1 of FS2", "SS1 of FS1"];
  const tables = ["", ...["FS4", "FS3", "FS2", "FS1"].map((place) => ` of ${place}`)].flatMap((suffix) =>
    ["SS4", "SS3", "SS2"].map((place) => `${place}${suffix}`),
  );

  test.each([
    ["read", SS_A],
    ["write", SS_A | SS_D],
  ] as const)(
    "a %s sets A everywhere, D where those tables are and for a write where the page is",
    async (access, page) => {
      const machine = await openMachine(NESTED, { edits: [set("pasid 0", SSADE)] });
      expectTranslated(machine, { ...machine.request, access });
      expect(machine.written()).toEqual({
        ...everywhere(SS_A, ...tables),
        ...everywhere(SS_A | SS_D, ...SS_OF),
        SS1: page,
      });
    },
  );

  test.each(SS_OF)("%s must allow writing", async (place) => {
    const machine = await openMachine(NESTED, { edits: [set("pasid 0", SSADE), clear(place, W)] });
    expectFault(machine, machine.request, place === SS_OF[0] ? 0x75 : 0x76);
  });
});

describe("fault processing disabled", () => {
  const anywhere = ["", "context 0", "directory", "pasid 0"] as const;
  type Place = (typeof anywhere)[number];
  /** The fault, how it comes about, and where FPD keeps it from being reported. */
  const faults: readonly [code: number, base: MachineOptions, edits: readonly Edit[], silencers: readonly Place[]][] = [
    [0x1, LEGACY, [clear("root 0", P)], []],
    [ROOT_ACCESS, LEGACY, [], []],
    [0x9, LEGACY, [point("root 0", NOWHERE)], []],
    [0x2, LEGACY, [clear("context 0", P)], ["context 0"]],
    [0xb, LEGACY, [set("context 0", 1n << 4n)], ["context 0"]],
    [0x3, LEGACY, [set("context 0", TT_MASK)], ["context 0"]],
    [0x6, LEGACY, [put("SS1", 0n)], ["context 0"]],
    [0xe, LEGACY, [point("SS1", INTERRUPTS)], ["context 0"]],
    [0x39, SECOND, [clear("root 0", P)], []],
    [0x3a, SECOND, [set("root 0", 1n << 1n)], []],
    [0x40, SECOND, [point("root 0", NOWHERE)], []],
    [0x41, SECOND, [clear("context 0", P)], ["context 0"]],
    [0x42, SECOND, [set("context 2", 1n)], ["context 0"]],
    [0x45, SECOND_PASID, [clear("context 0", PASIDE)], ["context 0"]],
    [0x50, SECOND, [point("context 0", NOWHERE)], []],
    [0x51, SECOND, [clear("directory", P)], ["context 0", "directory"]],
    [0x52, SECOND, [set("directory", 1n << 2n)], ["context 0", "directory"]],
    [0x58, SECOND, [point("directory", NOWHERE)], []],
    [0x59, SECOND, [clear("pasid 0", P)], ["context 0", "directory", "pasid 0"]],
    [0x5a, SECOND, [set("pasid 3", 1n)], ["context 0", "directory", "pasid 0"]],
    [0x5b, SECOND, [set("pasid 0", PGTT_MASK)], ["context 0", "directory", "pasid 0"]],
    [0x79, SECOND, [put("SS1", 0n)], ["context 0", "directory", "pasid 0"]],
    [0x7b, SECOND, [point("pasid 0", NOWHERE)], ["context 0", "directory", "pasid 0"]],
    [0x71, FIRST_PASID, [clear("FS1", P)], ["context 0", "directory", "pasid 0"]],
    [0x81, FIRST_PASID, [clear("FS1", US)], ["context 0", "directory", "pasid 0"]],
    [0x75, NESTED, [clear("SS1 of FS4", R)], ["context 0", "directory", "pasid 0"]],
    [0x87, NESTED, [point("SS1", INTERRUPTS)], ["context 0", "directory", "pasid 0"]],
  ];
  const cases = faults.flatMap(([code, base, edits, silencers]) => {
    const places = anywhere.filter((place) => base.translator !== "legacy" || place === "" || place === "context 0");
    return places.map((place) => {
      const name = `${code.toString(16)}h, FPD ${place === "" ? "nowhere" : `in ${place}`}`;
      return { name, code, base, edits, place, reported: place === "" || !silencers.includes(place) };
    });
  });

  test.each(cases)("$name: reported $reported", async ({ code, base, edits, place, reported }) => {
    expectTranslated(await openMachine(base));
    const machine = await openMachine(base, { edits: [...edits, ...(place === "" ? [] : [set(place, FPD)])] });
    if (code === ROOT_ACCESS) {
      machine.unit.write64(RTADDR, NOWHERE);
      machine.unit.write32(GCMD, SRTP + TE);
    }
    expectFault(machine, machine.request, code, reported);
  });

  test.each(["context 0", "directory", "pasid 0"])("29h is reported with FPD in %s", async (place) => {
    const machine = await openMachine(SECOND, { edits: [set(place, FPD)] });
    expectFault(machine, { ...machine.request, iova: iovaOf(INTERRUPTS) }, 0x29);
  });

  test.each(["context 0", "directory", "pasid 0"])("FPD in %s does not concern good requests", async (place) => {
    expectTranslated(await openMachine(SECOND, { edits: [set(place, FPD)] }));
  });
});

describe("more faults than registers", () => {
  test.each([
    { registers: 1, NFR: 0 },
    { registers: 3, NFR: 2 },
  ])(
    "$registers: the first ones are kept, the overflow is shown until both are cleared",
    async ({ registers, NFR }) => {
      const { unit } = await openMachine(LEGACY, { options: { cap: { NFR } } });
      const fault = (page: number): void => {
        expect(unit.translate({ sid: SID, iova: iovaOf(BigInt(page) * KIB_4) })).toMatchObject({ code: 0x6 });
      };
      const pages = (): Set<number> => new Set(unit.faults.records.map(({ address }) => Number(address / KIB_4)));
      const kept = Array.from({ length: registers }, (_, i) => i + 1);
      for (const page of kept) fault(page);
      expect(unit.read32(FSTS)).toBe(PPF);
      fault(100);
      expect(unit.read32(FSTS)).toBe(PPF | PFO);
      expect(pages()).toEqual(new Set(kept));

      unit.write64(unit.capabilities.faultRecordOffset + 8, FRCD_F);
      fault(101);
      expect(pages()).toEqual(new Set(kept.slice(1)));

      unit.write32(FSTS, PFO);
      expect(unit.read32(FSTS) & PFO).toBe(0);
      fault(102);
      expect(pages()).toEqual(new Set([...kept.slice(1), 102]));
    },
  );
});
