/**
 * The fields of translation structures in memory, Intel VT-d Architecture Specification Rev. 5.10, sections 9.1 to 9.8.
 * Every bit of a structure is in its table. Fields that a unit's capabilities make reserved keep their names; only address
 * bits from the host address width on are called reserved.
 */
import { IommuError } from "../engine/errors.js";
import { bit, bits, type DecodedField, decode, type Field, ignored, named, reserved } from "../unit/fields.js";

const PRESENT = bit("P", 0, { always: true, meaning: named({ 0: "not present", 1: "present" }) });
const FPD = bit("FPD", 1, { meaning: named({ 1: "qualified faults are not recorded" }) });

/** The address of a 4-KByte aligned table, and what of its quadword must be zero; `first` is that quadword's lowest bit. */
function pointer(name: string, first: number, haw: number): readonly Field[] {
  return [bits(name, first + haw - 1, first + 12, { address: true }), ...reserved(first + 63, first + haw)];
}

/** Adjusted guest address width: that of context entries and of PASID table entries. */
const AW_MEANING = named({ 1: "39 bits, 3 levels", 2: "48 bits, 4 levels", 3: "57 bits, 5 levels" });

/** Section 9.1. */
function rootEntry(haw: number): readonly Field[] {
  return [PRESENT, ...reserved(11, 1), ...pointer("CTP", 0, haw), ...reserved(127, 64)];
}

/** Section 9.2. */
function scalableRootEntry(haw: number): readonly Field[] {
  const half = (name: string, first: number, devices: string) => [
    bit(`${name}P`, first, {
      always: true,
      meaning: named({ 0: `devices ${devices} not present`, 1: `devices ${devices}` }),
    }),
    ...reserved(first + 11, first + 1),
    ...pointer(`${name}CTP`, first, haw),
  ];
  return [...half("L", 0, "0-15"), ...half("U", 64, "16-31")];
}

/** Section 9.3. */
function contextEntry(haw: number): readonly Field[] {
  return [
    PRESENT,
    FPD,
    bits("TT", 3, 2, {
      always: true,
      meaning: named({
        0: "untranslated requests through the second stage, others blocked",
        1: "all requests through the second stage",
        2: "pass-through",
        3: "reserved",
      }),
    }),
    ...reserved(11, 4),
    ...pointer("SSPTPTR", 0, haw),
    bits("AW", 66, 64, { always: true, meaning: AW_MEANING }),
    ignored(70, 67),
    ...reserved(71),
    bits("DID", 87, 72, { always: true }),
    ...reserved(127, 88),
  ];
}

/** Section 9.4. */
function scalableContextEntry(haw: number): readonly Field[] {
  return [
    PRESENT,
    FPD,
    bit("DTE", 2, { meaning: named({ 1: "device-TLB enabled" }) }),
    bit("PASIDE", 3, { meaning: named({ 1: "requests with PASID allowed" }) }),
    bit("PRE", 4, { meaning: named({ 1: "page requests allowed" }) }),
    bit("HPTE", 5),
    bit("EPTR", 6),
    ...reserved(8, 7),
    bits("PDTS", 11, 9, { always: true, meaning: (value) => `${1 << (Number(value) + 7)} directory entries` }),
    ...pointer("PASIDDIRPTR", 0, haw),
    bits("RID_PASID", 83, 64, { always: true }),
    bit("RID_PRIV", 84),
    ...reserved(255, 85),
  ];
}

/** Section 9.5. */
function pasidDirectoryEntry(haw: number): readonly Field[] {
  return [PRESENT, FPD, ...reserved(11, 2), ...pointer("SMPTBLPTR", 0, haw)];
}

/** Section 9.6. */
function pasidTableEntry(haw: number): readonly Field[] {
  return [
    PRESENT,
    FPD,
    bits("AW", 4, 2, { always: true, meaning: AW_MEANING }),
    ...reserved(5),
    bits("PGTT", 8, 6, {
      always: true,
      meaning: named({ 1: "first-stage", 2: "second-stage", 3: "nested", 4: "pass-through" }),
    }),
    bit("SSADE", 9, { meaning: named({ 1: "second-stage accessed and dirty bits" }) }),
    ...reserved(11, 10),
    ...pointer("SSPTPTR", 0, haw),
    bits("DID", 79, 64, { always: true }),
    ...reserved(86, 80),
    bit("PWSNP", 87, { meaning: named({ 1: "page walks snoop" }) }),
    bit("PGSNP", 88, { meaning: named({ 1: "requests snoop" }) }),
    bit("CD", 89, { meaning: named({ 1: "cache disable" }) }),
    bit("EMTE", 90, { meaning: named({ 1: "extended memory types" }) }),
    ...reserved(95, 91),
    bits("PAT", 127, 96),
    bit("SRE", 128, { meaning: named({ 1: "privileged requests allowed" }) }),
    ...reserved(129),
    bits("FSPM", 131, 130, {
      always: true,
      meaning: named({ 0: "4 levels", 1: "5 levels", 2: "reserved", 3: "reserved" }),
    }),
    bit("WPE", 132, { meaning: named({ 1: "write protection of privileged requests" }) }),
    ignored(134, 133),
    bit("EAFE", 135, { meaning: named({ 1: "extended accessed bits" }) }),
    ...reserved(139, 136),
    ...pointer("FSPTPTR", 128, haw),
    ...reserved(255, 192),
    bits("HPTSZ", 257, 256),
    bit("HPTPFD", 258),
    ...reserved(267, 259),
    ...pointer("HPTPTR", 256, haw),
    bits("HPTDID", 335, 320),
    ...reserved(511, 336),
  ];
}

/** Paging entries by level, 1 at the bottom. */
const ENTRY_LEVELS = { PML5E: 5, PML4E: 4, PDPE: 3, PDE: 2, PTE: 1 } as const;
const PAGE_SIZES: Readonly<Record<number, string>> = { 2: "2-MByte page", 3: "1-GByte page" };
const PAGE_SIZE_BIT = 1n << 7n;

function isLeaf(level: number, entry: bigint): boolean {
  return level === 1 || (level <= 3 && (entry & PAGE_SIZE_BIT) !== 0n);
}

/** Bit 7 of every entry but the lowest. */
function pageSize(level: number): readonly Field[] {
  return level > 3
    ? reserved(7)
    : [bit("PS", 7, { always: true, meaning: named({ 0: "table", 1: PAGE_SIZES[level] }) })];
}

/** What an entry points to; a leaf's address has as many zero bits as its page offset, `reservedFrom` the first that is checked. */
function target(level: number, leaf: boolean, reservedFrom: number, haw: number): readonly Field[] {
  const offsetBits = leaf ? 12 + 9 * (level - 1) : 12;
  return [
    ...reserved(offsetBits - 1, reservedFrom),
    bits("ADDR", haw - 1, offsetBits, { address: true, always: true }),
    ...reserved(51, haw),
  ];
}

/** Sections 3.7 and 9.8. */
function secondStageEntry(level: number, leaf: boolean, haw: number): readonly Field[] {
  return [
    bit("R", 0, { always: true, meaning: named({ 0: "no reads" }) }),
    bit("W", 1, { always: true, meaning: named({ 0: "no writes" }) }),
    ignored(2),
    ...(leaf ? [bits("EMT", 5, 3), bit("IPAT", 6)] : [ignored(6, 3)]),
    ...(level === 1 ? [ignored(7)] : pageSize(level)),
    bit("A", 8, { meaning: named({ 1: "accessed" }) }),
    leaf ? bit("D", 9, { meaning: named({ 1: "dirty" }) }) : ignored(9),
    ignored(10),
    ...(leaf ? [bit("SNP", 11, { meaning: named({ 1: "snooped" }) })] : reserved(11)),
    ...target(level, leaf, 12, haw),
    ignored(60, 52),
    bit("IR", 61),
    bit("IW", 62),
    ignored(63),
  ];
}

/** Sections 3.6 and 9.7. */
function firstStageEntry(level: number, leaf: boolean, haw: number): readonly Field[] {
  const large = leaf && level > 1;
  return [
    PRESENT,
    bit("R/W", 1, { always: true, meaning: named({ 0: "no writes" }) }),
    bit("U/S", 2, { always: true, meaning: named({ 0: "privileged requests only" }) }),
    bit("PWT", 3),
    bit("PCD", 4),
    bit("A", 5, { meaning: named({ 1: "accessed" }) }),
    leaf ? bit("D", 6, { meaning: named({ 1: "dirty" }) }) : ignored(6),
    ...(level === 1 ? [bit("PAT", 7)] : pageSize(level)),
    leaf ? bit("G", 8, { meaning: named({ 1: "global" }) }) : ignored(8),
    ignored(9),
    bit("EA", 10, { meaning: named({ 1: "extended accessed" }) }),
    ignored(11),
    ...(large ? [bit("PAT", 12)] : []),
    ...target(level, leaf, large ? 13 : 12, haw),
    ignored(63, 52),
  ];
}

type Table = (haw: number, firstWord: bigint) => readonly Field[];

function pagingEntries(stage: string, entry: typeof firstStageEntry): [string, Table][] {
  return Object.entries(ENTRY_LEVELS).map(([name, level]) => [
    `${stage}-${name}`,
    (haw, firstWord) => entry(level, isLeaf(level, firstWord), haw),
  ]);
}

const TABLES: ReadonlyMap<string, Table> = new Map<string, Table>([
  ["root entry", rootEntry],
  ["scalable root entry", scalableRootEntry],
  ["context entry", contextEntry],
  ["scalable context entry", scalableContextEntry],
  ["PASID directory entry", pasidDirectoryEntry],
  ["PASID table entry", pasidTableEntry],
  ...pagingEntries("SS", secondStageEntry),
  ...pagingEntries("FS", firstStageEntry),
]);

/** Names of the structures that have a table. */
export const STRUCTURES: readonly string[] = [...TABLES.keys()];

/**
 * The table of a structure, lowest bit first.
 * @param structure one of `STRUCTURES`
 * @param firstWord what tells a leaf from an entry that names a table
 * @param haw host address width, bits
 * @throws IommuError `invalid` for a structure without a table
 */
export function fieldsOf(structure: string, firstWord: bigint, haw: number): readonly Field[] {
  const table = TABLES.get(structure);
  if (table === undefined) {
    throw new IommuError("invalid", `fields of "${structure}"`, undefined, `there are ${STRUCTURES.join(", ")}`);
  }
  return table(haw, firstWord);
}

/**
 * What the words of a structure say: fields that are not zero, reserved and ignored bits among them, and those whose zero
 * says something.
 * @param structure one of `STRUCTURES`
 * @param words its 64-bit words, lowest address first; fields beyond them are left out
 * @param haw host address width, bits
 * @throws IommuError `invalid` for a structure without a table
 */
export function decodeFields(structure: string, words: readonly bigint[], haw = 52): DecodedField[] {
  return decode(fieldsOf(structure, words[0] ?? 0n, haw), words);
}
