/**
 * The fields of translation structures in memory: stream tables and context descriptors by Arm IHI 0070 G.b, sections 5.1
 * to 5.4, descriptors of VMSAv8-64 tables by Arm DDI 0487. Every bit of a structure is in its table. Fields that an SMMU
 * does not use keep their names.
 */
import { IommuError } from "../engine/errors.js";
import { bit, bits, type DecodedField, decode, type Field, ignored, named, reserved } from "../unit/fields.js";
import { type Granule, levelBits } from "./entries.js";

/** The granules of the tables that descriptors stand in. */
export interface Granules {
  readonly stage1: Granule;
  readonly stage2: Granule;
}

const DEFAULT_GRANULES: Granules = { stage1: 12, stage2: 12 };

const VALID = bit("V", 0, { always: true, meaning: named({ 0: "not valid", 1: "valid" }) });

/** Encodings of IPS and S2PS. */
const ADDRESS_SIZES = named({
  0: "32 bits",
  1: "36 bits",
  2: "40 bits",
  3: "42 bits",
  4: "44 bits",
  5: "48 bits",
  6: "52 bits",
  7: "56 bits",
});
/** TG0 and S2TG; TG1 is encoded otherwise. */
const GRANULE_0 = named({ 0: "4-KByte granule", 1: "64-KByte granule", 2: "16-KByte granule", 3: "reserved" });
const GRANULE_1 = named({ 0: "reserved", 1: "16-KByte granule", 2: "4-KByte granule", 3: "64-KByte granule" });

function inputSize(value: bigint): string {
  return `${64n - value} input bits`;
}

/** Section 5.1. */
const L1_STREAM_TABLE_DESCRIPTOR: readonly Field[] = [
  bits("Span", 4, 0, {
    always: true,
    meaning: (value) =>
      value === 0n ? "not valid" : value > 11n ? "reserved" : `${1n << (value - 1n)} stream table entries`,
  }),
  ...reserved(5),
  bits("L2Ptr", 55, 6, { address: true, always: true }),
  ...reserved(63, 56),
];

/** Section 5.2. */
const STREAM_TABLE_ENTRY: readonly Field[] = [
  VALID,
  bits("Config", 3, 1, {
    always: true,
    meaning: (value) => {
      if (value < 4n) return "abort, no event";
      return named({ 4: "bypass", 5: "stage 1", 6: "stage 2", 7: "stage 1 and stage 2" })(value);
    },
  }),
  bits("S1Fmt", 5, 4, {
    meaning: named({ 1: "two levels, 64 descriptors a leaf", 2: "two levels, 1024 descriptors a leaf", 3: "reserved" }),
  }),
  bits("S1ContextPtr", 55, 6, { address: true }),
  ...reserved(58, 56),
  bits("S1CDMax", 63, 59, { meaning: (value) => `${1n << value} context descriptors` }),
  bits("S1DSS", 65, 64, {
    meaning: named({
      1: "without substream: stage 1 bypassed",
      2: "without substream: context descriptor 0",
      3: "reserved",
    }),
  }),
  bits("S1CIR", 67, 66),
  bits("S1COR", 69, 68),
  bits("S1CSH", 71, 70),
  bits("S2HWU", 75, 72),
  bit("DRE", 76),
  bits("CONT", 80, 77),
  bit("DCP", 81),
  bit("PPAR", 82),
  bit("MEV", 83, { meaning: named({ 1: "events may be merged" }) }),
  ignored(87, 84),
  bit("S1PIE", 88),
  bit("S2FWB", 89),
  bit("S1MPAM", 90),
  bit("S1STALLD", 91, { meaning: named({ 1: "stage 1 must not stall" }) }),
  bits("EATS", 93, 92, { meaning: named({ 1: "ATS", 2: "split-stage ATS", 3: "ATS, checked by a DPT" }) }),
  bits("STRW", 95, 94, { meaning: named({ 1: "reserved", 2: "EL2", 3: "reserved" }) }),
  bits("MemAttr", 99, 96),
  bit("MTCFG", 100),
  bits("ALLOCCFG", 104, 101),
  ...reserved(107, 105),
  bits("SHCFG", 109, 108),
  bits("NSCFG", 111, 110),
  bits("PRIVCFG", 113, 112, { meaning: named({ 2: "unprivileged", 3: "privileged" }) }),
  bits("INSTCFG", 115, 114, { meaning: named({ 2: "data", 3: "instruction" }) }),
  bits("IMPDEF", 127, 116),
  bits("S2VMID", 143, 128),
  ...reserved(159, 144),
  bits("S2T0SZ", 165, 160, { meaning: inputSize }),
  bits("S2SL0", 167, 166),
  bits("S2IR0", 169, 168),
  bits("S2OR0", 171, 170),
  bits("S2SH0", 173, 172),
  bits("S2TG", 175, 174, { meaning: GRANULE_0 }),
  bits("S2PS", 178, 176, { meaning: ADDRESS_SIZES }),
  bit("S2AA64", 179, { meaning: named({ 1: "VMSAv8-64" }) }),
  bit("S2ENDI", 180, { meaning: named({ 1: "big-endian tables" }) }),
  bit("S2AFFD", 181, { meaning: named({ 1: "a clear access flag does not fault" }) }),
  bit("S2PTW", 182),
  bit("S2HD", 183),
  bit("S2HA", 184),
  bit("S2S", 185, { meaning: named({ 1: "faults stall" }) }),
  bit("S2R", 186, { meaning: named({ 1: "faults are recorded" }) }),
  bit("S2HAFT", 187),
  bit("S2PIE", 188),
  bit("S2POE", 189),
  bits("DPT_VMATCH", 191, 190),
  bit("S2NSW", 192),
  bit("S2NSA", 193),
  bit("S2SL0_2", 194),
  bit("S2DS", 195),
  bits("S2TTB", 247, 196, { address: true }),
  ...reserved(252, 248),
  bits("S2SKL", 254, 253),
  ...reserved(255),
  bits("IMPDEF", 271, 256),
  bits("PARTID", 287, 272),
  bits("S_S2T0SZ", 293, 288),
  bits("S_S2SL0", 295, 294),
  ...reserved(301, 296),
  bits("S_S2TG", 303, 302),
  bits("MECID", 319, 304),
  bits("PMG", 327, 320),
  bit("MPAM_NS", 328),
  bit("AssuredOnly", 329),
  bit("TL0", 330),
  bit("TL1", 331),
  bits("VMSPtr", 375, 332, { address: true }),
  ...reserved(383, 376),
  bit("S2SW", 384),
  bit("S2SA", 385),
  bit("S_S2SL0_2", 386),
  ...reserved(387),
  bits("S_S2TTB", 439, 388, { address: true }),
  ...reserved(444, 440),
  bits("S_S2SKL", 446, 445),
  ...reserved(447),
  bits("S2POI", 511, 448),
];

/** Section 5.3. */
const L1_CONTEXT_DESCRIPTOR: readonly Field[] = [
  VALID,
  ...reserved(11, 1),
  bits("L2Ptr", 55, 12, { address: true }),
  ...reserved(63, 56),
];

/** Section 5.4: what a context says of TTB0 or TTB1, in its first word. */
function half(index: 0 | 1): readonly Field[] {
  const low = 16 * index;
  return [
    bits(`T${index}SZ`, low + 5, low, { always: true, meaning: inputSize }),
    bits(`TG${index}`, low + 7, low + 6, { always: true, meaning: index === 0 ? GRANULE_0 : GRANULE_1 }),
    bits(`IR${index}`, low + 9, low + 8),
    bits(`OR${index}`, low + 11, low + 10),
    bits(`SH${index}`, low + 13, low + 12),
    bit(`EPD${index}`, low + 14, { meaning: named({ 1: `no walks through TTB${index}` }) }),
  ];
}

/** Permission indirections of 3 bits each: PIIU and PIIP. */
function indirections(name: string, low: number): readonly Field[] {
  return [bits(name, low + 47, low), ...reserved(low + 63, low + 48)];
}

/** Section 5.4. */
const CONTEXT_DESCRIPTOR: readonly Field[] = [
  ...half(0),
  bit("ENDI", 15, { meaning: named({ 1: "big-endian tables" }) }),
  ...half(1),
  bit("V", 31, { always: true, meaning: named({ 0: "not valid", 1: "valid" }) }),
  bits("IPS", 34, 32, { always: true, meaning: ADDRESS_SIZES }),
  bit("AFFD", 35, { meaning: named({ 1: "a clear access flag does not fault" }) }),
  bit("WXN", 36),
  bit("UWXN", 37),
  bit("TBI0", 38, { meaning: named({ 1: "top byte ignored" }) }),
  bit("TBI1", 39, { meaning: named({ 1: "top byte ignored" }) }),
  bit("PAN", 40),
  bit("AA64", 41, { meaning: named({ 1: "VMSAv8-64" }) }),
  bit("HD", 42),
  bit("HA", 43),
  bit("S", 44, { meaning: named({ 1: "faults stall" }) }),
  bit("R", 45, { always: true, meaning: named({ 0: "faults are not recorded", 1: "faults are recorded" }) }),
  bit("A", 46, { meaning: named({ 1: "faults abort" }) }),
  bit("ASET", 47),
  bits("ASID", 63, 48, { always: true }),
  bit("NSCFG0", 64),
  bit("HAD0", 65, { meaning: named({ 1: "permissions of table descriptors ignored" }) }),
  bit("E0PD0", 66),
  bit("HAFT", 67),
  bits("TTB0", 119, 68, { address: true }),
  ...reserved(121, 120),
  bit("PnCH", 122),
  bit("EPAN", 123),
  bits("HWU0", 127, 124),
  bit("NSCFG1", 128),
  bit("HAD1", 129, { meaning: named({ 1: "permissions of table descriptors ignored" }) }),
  bit("E0PD1", 130),
  bit("AIE", 131),
  bits("TTB1", 179, 132, { address: true }),
  ...reserved(185, 180),
  bit("DS", 186),
  bit("PIE", 187),
  bits("HWU1", 191, 188),
  bits("MAIR0", 223, 192),
  bits("MAIR1", 255, 224),
  bits("AMAIR0", 287, 256),
  bits("AMAIR1", 319, 288),
  ...reserved(351, 320),
  bits("PARTID", 367, 352),
  bits("PMG", 375, 368),
  ...reserved(383, 376),
  ...indirections("PIIU", 384),
  ...indirections("PIIP", 448),
];

const LAST_LEVEL = 3;
const BLOCK = 1n;
const TABLE_OR_PAGE = 3n;
/** The first level that has blocks. */
const FIRST_BLOCK_LEVEL: Readonly<Record<Granule, number>> = { 12: 1, 14: 2, 16: 2 };

type Kind = "invalid" | "reserved" | "table" | "block" | "page";

function kindOf(level: number, granule: Granule, descriptor: bigint): Kind {
  const type = descriptor & 3n;
  if (type === TABLE_OR_PAGE) return level === LAST_LEVEL ? "page" : "table";
  if (type !== BLOCK) return "invalid";
  return level < LAST_LEVEL && level >= FIRST_BLOCK_LEVEL[granule] ? "block" : "reserved";
}

/** Bits 50:12: the address, which of 64-KByte granules has its bits 51:48 in bits 15:12. */
function address(kind: Kind, level: number, granule: Granule): readonly Field[] {
  const low = kind === "block" ? granule + levelBits(granule) * (LAST_LEVEL - level) : granule;
  const upper = granule === 16 ? [bits("address[51:48]", 15, 12)] : reserved(Math.min(low, 16) - 1, 12);
  return [
    ...upper,
    ...(kind === "block" ? [bit("nT", 16), ...reserved(low - 1, 17)] : []),
    bits("address", 47, low, { address: true, always: true }),
  ];
}

const AF = bit("AF", 10, { always: true, meaning: named({ 0: "not accessed", 1: "accessed" }) });
const DBM = bit("DBM", 51, { meaning: named({ 1: "dirty state kept by hardware" }) });
const CONTIGUOUS = bit("Contiguous", 52);
const PBHA = bits("PBHA", 62, 59);

/** Lower and upper attributes of blocks and pages, and the upper ones of tables. */
interface Attributes {
  readonly lower: readonly Field[];
  readonly upper: readonly Field[];
  readonly table: readonly Field[];
}

const STAGE_1: Attributes = {
  lower: [
    bits("AttrIndx", 4, 2),
    bit("NS", 5),
    bit("AP[1]", 6, { always: true, meaning: named({ 0: "privileged accesses only" }) }),
    bit("AP[2]", 7, { always: true, meaning: named({ 1: "read-only" }) }),
    bits("SH", 9, 8),
    AF,
    bit("nG", 11, { meaning: named({ 1: "not global" }) }),
  ],
  upper: [
    ...reserved(49, 48),
    bit("GP", 50),
    DBM,
    CONTIGUOUS,
    bit("PXN", 53),
    bit("UXN", 54),
    ignored(58, 55),
    PBHA,
    ignored(63),
  ],
  table: [
    ...reserved(50, 48),
    ignored(58, 51),
    bit("PXNTable", 59),
    bit("UXNTable", 60),
    bits("APTable", 62, 61, {
      meaning: named({ 1: "no unprivileged accesses", 2: "no writes", 3: "no writes, no unprivileged accesses" }),
    }),
    bit("NSTable", 63),
  ],
};

const STAGE_2: Attributes = {
  lower: [
    bits("MemAttr", 5, 2),
    bits("S2AP", 7, 6, { always: true, meaning: named({ 0: "no access", 1: "read-only", 2: "write-only" }) }),
    bits("SH", 9, 8),
    AF,
    ...reserved(11),
  ],
  upper: [...reserved(50, 48), DBM, CONTIGUOUS, bits("XN", 54, 53), ignored(58, 55), PBHA, ignored(63)],
  table: [...reserved(50, 48), ignored(63, 51)],
};

function descriptor({ lower, upper, table }: Attributes, level: number, granule: Granule, word: bigint) {
  const kind = kindOf(level, granule, word);
  const type = bits("type", 1, 0, { always: true, meaning: () => kind });
  if (kind === "invalid" || kind === "reserved") return [type, ignored(63, 2)];
  if (kind === "table") return [type, ignored(11, 2), ...address(kind, level, granule), ...table];
  return [type, ...lower, ...address(kind, level, granule), ...upper];
}

type Table = (firstWord: bigint, granules: Granules) => readonly Field[];

const LEVELS = [0, 1, 2, LAST_LEVEL] as const;

const TABLES: ReadonlyMap<string, Table> = new Map<string, Table>([
  ["L1 stream table descriptor", () => L1_STREAM_TABLE_DESCRIPTOR],
  ["STE", () => STREAM_TABLE_ENTRY],
  ["L1 context descriptor", () => L1_CONTEXT_DESCRIPTOR],
  ["context descriptor", () => CONTEXT_DESCRIPTOR],
  ...LEVELS.map((level): [string, Table] => [
    `S1-L${level}`,
    (word, { stage1 }) => descriptor(STAGE_1, level, stage1, word),
  ]),
  ...LEVELS.map((level): [string, Table] => [
    `S2-L${level}`,
    (word, { stage2 }) => descriptor(STAGE_2, level, stage2, word),
  ]),
]);

/** Names of the structures that have a table. */
export const STRUCTURES: readonly string[] = [...TABLES.keys()];

/**
 * The table of a structure, lowest bit first.
 * @param structure one of `STRUCTURES`
 * @param firstWord what tells the kinds of a table's descriptors apart
 * @throws IommuError `invalid` for a structure without a table
 */
export function fieldsOf(structure: string, firstWord: bigint, granules = DEFAULT_GRANULES): readonly Field[] {
  const table = TABLES.get(structure);
  if (table === undefined) {
    throw new IommuError("invalid", `fields of "${structure}"`, undefined, `there are ${STRUCTURES.join(", ")}`);
  }
  return table(firstWord, granules);
}

/**
 * What the words of a structure say: fields that are not zero, reserved and ignored bits among them, and those whose zero
 * says something.
 * @param structure one of `STRUCTURES`
 * @param words its 64-bit words, lowest address first; fields beyond them are left out
 * @param granules those of the tables of both stages; default: 4 KBytes
 * @throws IommuError `invalid` for a structure without a table
 */
export function decodeFields(
  structure: string,
  words: readonly bigint[],
  granules: Granules = DEFAULT_GRANULES,
): DecodedField[] {
  return decode(fieldsOf(structure, words[0] ?? 0n, granules), words);
}
