/**
 * VMSAv8-64, every granule, stage 1 and stage 2: Arm IHI 0070 G.b sections 3.4 and 3.13, and Arm DDI 0487. Our level is 4
 * minus the architecture's.
 */
import { bit, fault, field, requestOf, type SlowFormat, type SlowGeometry, type Verdict } from "./slow-format.js";

/** Flags of a table: AFFD; stage 1: HAD0; stage 2: XNX; DS; HA; HD. */
export const ACCESS_FLAG_DISABLE = 1;
export const HIERARCHICAL_DISABLE = 2;
export const XNX = 2;
export const DS = 4;
export const HA = 1 << 28;
export const HD = 1 << 29;

const AP1 = 6;
const AP2 = 7;
const AF = 10;
const DBM = 51;
const PXN = 53;
const UXN = 54;
const PXN_TABLE = 59;
const UXN_TABLE = 60;
const AP_TABLE0 = 61;
const AP_TABLE1 = 62;

interface Granule {
  readonly name: string;
  readonly granuleShift: number;
  readonly indexBits: number;
  readonly minLevels: number;
  readonly maxLevels: number;
  /** The architecture's levels that have blocks, and the one that 52-bit addresses add. */
  readonly blocks: readonly number[];
  readonly wideBlock: number;
  /** Leaves of a contiguous run, by our level. */
  readonly runs: Readonly<Record<number, bigint>>;
}

const GRANULES: readonly Granule[] = [
  {
    name: "4k",
    granuleShift: 12,
    indexBits: 9,
    minLevels: 3,
    maxLevels: 4,
    blocks: [1, 2],
    wideBlock: 0,
    runs: { 1: 16n, 2: 16n, 3: 16n },
  },
  {
    name: "16k",
    granuleShift: 14,
    indexBits: 11,
    minLevels: 3,
    maxLevels: 4,
    blocks: [2],
    wideBlock: 1,
    runs: { 1: 128n, 2: 32n },
  },
  {
    name: "64k",
    granuleShift: 16,
    indexBits: 13,
    minLevels: 2,
    maxLevels: 3,
    blocks: [2],
    wideBlock: 1,
    runs: { 1: 32n, 2: 32n },
  },
];

function isWide({ granuleShift }: Granule, { flags, outputBits }: SlowGeometry): boolean {
  return granuleShift === 16 ? outputBits === 52 : (flags & DS) !== 0;
}

/** What both stages have in common: encodings, levels, addresses, the access flag. Null: a leaf whose rights decide. */
function judgeCommon(granule: Granule, entry: bigint, level: number, geometry: SlowGeometry): Verdict | null {
  const type = field(entry, 1, 0);
  const wide = isWide(granule, geometry);
  if (type === 0b00n || type === 0b10n) return fault("not-present");
  const block = granule.blocks.includes(4 - level) || (wide && granule.wideBlock === 4 - level);
  if (type === 0b01n && !block) return fault("not-present");
  if (addressOf(granule, entry, geometry) >= 1n << BigInt(geometry.outputBits)) return fault("output-range");
  if (type === 0b11n && level > 1) return { kind: "table" };
  const faults = (geometry.flags & (ACCESS_FLAG_DISABLE | HA)) === 0;
  return !bit(entry, AF) && faults ? fault("access-flag") : null;
}

function addressOf(granule: Granule, entry: bigint, geometry: SlowGeometry): bigint {
  const low = field(entry, 47, granule.granuleShift) << BigInt(granule.granuleShift);
  if (!isWide(granule, geometry)) return low;
  if (granule.granuleShift === 16) return (field(entry, 15, 12) << 48n) | low;
  return (field(entry, 9, 8) << 50n) | (field(entry, 49, 48) << 48n) | low;
}

/** The bits that hold an address. */
function place(granule: Granule, address: bigint, geometry: SlowGeometry): bigint {
  const low = field(address, 47, 0);
  if (!isWide(granule, geometry)) return low;
  if (granule.granuleShift === 16) return (field(address, 51, 48) << 12n) | low;
  return (field(address, 51, 50) << 8n) | (field(address, 49, 48) << 48n) | low;
}

/** Valid; a page has bit 1 set as well; inner shareable where SH exists; AF. */
function leafOf(granule: Granule, physical: bigint, level: number, geometry: SlowGeometry): bigint {
  const shareable = granule.granuleShift === 16 || !isWide(granule, geometry);
  const bits = (level === 1 ? 0b11n : 0b01n) | (1n << BigInt(AF)) | (shareable ? 3n << 8n : 0n);
  return place(granule, physical, geometry) | bits;
}

/** Whether hardware makes this leaf dirty when it is written, so that it counts as writable. */
function dirtiable(entry: bigint, { flags }: SlowGeometry): boolean {
  return (flags & HA) !== 0 && (flags & HD) !== 0 && bit(entry, DBM);
}

function common(granule: Granule): Omit<SlowFormat, "name" | "leaf" | "judge" | "mostFirstTables" | "flagSets"> {
  const { minLevels, maxLevels, granuleShift, indexBits, blocks, runs } = granule;
  return {
    minLevels,
    maxLevels,
    granuleShift,
    indexBits,
    runs,
    largeLevels: blocks.map((level) => 4 - level).reverse(),
    outputBits: 48,
    widestInput: granuleShift === 16 ? 52 : 48,
    signExtended: false,
    addressMask: ((1n << 48n) - 1n) & ~((1n << BigInt(granuleShift)) - 1n),
    inUse: (entry) => bit(entry, 0),
    isLeaf: (entry, level) => level === 1 || !bit(entry, 1),
    address: (entry, geometry) => addressOf(granule, entry, geometry),
    pointer: (address, geometry) => place(granule, address, geometry) | 0b11n,
  };
}

const FLAG_SETS = [0, 1, 2, 3].flatMap((own) => [own, own | HA, own | HA | HD, own | HD]);

function stage1(granule: Granule): SlowFormat {
  return {
    ...common(granule),
    name: `vmsav8-${granule.name}`,
    mostFirstTables: 1,
    flagSets: FLAG_SETS,

    leaf(physical, permissions, level, geometry) {
      if (!permissions.read && !permissions.write) return null;
      // AttrIndx 1; nG.
      let entry = leafOf(granule, physical, level, geometry) | (1n << 2n) | (1n << 11n);
      if (!permissions.write) entry |= 1n << BigInt(AP2);
      if (!permissions.privileged) entry |= 1n << BigInt(AP1);
      if (permissions.noExecute) entry |= (1n << BigInt(PXN)) | (1n << BigInt(UXN));
      return entry;
    },

    judge(path, level, access, geometry) {
      const entry = path[path.length - 1];
      const verdict = judgeCommon(granule, entry, level, geometry);
      if (verdict) return verdict;
      const hierarchical = (geometry.flags & HIERARCHICAL_DISABLE) === 0 ? path.slice(0, -1) : [];
      const unprivileged = bit(entry, AP1) && !hierarchical.some((table) => bit(table, AP_TABLE0));
      const marked = bit(entry, AP2) && !dirtiable(entry, geometry);
      const writable = !marked && !hierarchical.some((table) => bit(table, AP_TABLE1));
      const request = requestOf(access);
      const data = request.read || request.write || !request.execute;
      if (data && !request.privileged && !unprivileged) return fault("no-user");
      if (request.write && !writable) return fault("no-write");
      if (request.execute) {
        const uxn = bit(entry, UXN) || hierarchical.some((table) => bit(table, UXN_TABLE));
        const pxn = bit(entry, PXN) || hierarchical.some((table) => bit(table, PXN_TABLE));
        // What unprivileged software may write is never executed with privilege.
        const implied = unprivileged && writable;
        if (request.privileged ? pxn || implied : uxn) return fault("no-execute");
      }
      return { kind: "leaf" };
    },
  };
}

function stage2(granule: Granule): SlowFormat {
  return {
    ...common(granule),
    name: `vmsav8-${granule.name}-s2`,
    mostFirstTables: 16,
    flagSets: FLAG_SETS,

    leaf(physical, permissions, level, geometry) {
      if (!permissions.read && !permissions.write) return null;
      // MemAttr: normal, write-back.
      let entry = leafOf(granule, physical, level, geometry) | (0b1111n << 2n);
      if (permissions.read) entry |= 1n << 6n;
      if (permissions.write) entry |= 1n << 7n;
      if (permissions.noExecute) entry |= 1n << 54n;
      return entry;
    },

    judge(path, level, access, geometry) {
      const entry = path[path.length - 1];
      const verdict = judgeCommon(granule, entry, level, geometry);
      if (verdict) return verdict;
      const request = requestOf(access);
      const readable = bit(entry, 6);
      if (request.write && !bit(entry, 7) && !dirtiable(entry, geometry)) return fault("no-write");
      if (request.execute) {
        const xn = (geometry.flags & XNX) === 0 ? field(entry, 54, 54) << 1n : field(entry, 54, 53);
        const forbidden = { 0: false, 1: request.privileged, 2: true, 3: !request.privileged }[Number(xn)];
        if (forbidden) return fault("no-execute");
      }
      if (request.read && !readable) return fault("no-read");
      return { kind: "leaf" };
    },
  };
}

export const slowVmsav8: readonly SlowFormat[] = [...GRANULES.map(stage1), ...GRANULES.map(stage2)];
