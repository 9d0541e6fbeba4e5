/**
 * What the slow models know of a page-table format. Every format's model is written from its specification, bit by bit
 * and without regard to speed, and shares nothing with assembly/format/.
 */
import type { Access, Permissions, WalkCheck } from "../../src/engine/page-table.js";

/** The geometry and options of one table. */
export interface SlowGeometry {
  readonly levels: number;
  readonly inputBits: number;
  readonly outputBits: number;
  readonly pageSizes: bigint;
  readonly flags: number;
}

/** The bit of a leaf that says that it is one of a contiguous run. */
export const CONTIGUOUS = 1n << 52n;

/** What hardware makes of the last entry of a path. */
export type Verdict = { kind: "fault"; check: WalkCheck } | { kind: "table" } | { kind: "leaf" };

export interface SlowFormat {
  readonly name: string;
  readonly minLevels: number;
  readonly maxLevels: number;
  /** log2 of the bytes of a page and of a table page, and of the entries of a table. */
  readonly granuleShift: number;
  readonly indexBits: number;
  /** Levels above the last that have leaves. */
  readonly largeLevels: readonly number[];
  readonly outputBits: number;
  /** Width of the widest input address. */
  readonly widestInput: number;
  /** How many first tables may stand side by side; 0: the first table is never shorter than others either. */
  readonly mostFirstTables: number;
  /** Sets of the flags that tables have. */
  readonly flagSets: readonly number[];
  /** Whether input addresses are sign-extended from the table's width. */
  readonly signExtended: boolean;
  /** The bits of an entry that hold an address in place. */
  readonly addressMask: bigint;
  /** The address in an entry. */
  address(entry: bigint, geometry: SlowGeometry): bigint;
  /** Leaves of a contiguous run, by level; a level that is not there has no runs. */
  readonly runs: Readonly<Record<number, bigint>>;
  /** Whether software considers the entry in use. */
  inUse(entry: bigint): boolean;
  /** Whether an entry in use at this level maps memory. */
  isLeaf(entry: bigint, level: number): boolean;
  /** The entry that points to a table. */
  pointer(address: bigint, geometry: SlowGeometry): bigint;
  /** The leaf for these permissions, or null when they cannot be expressed. */
  leaf(physical: bigint, permissions: Permissions, level: number, geometry: SlowGeometry): bigint | null;
  /** Judges the last of the entries read so far, the first being that of the root table. */
  judge(path: readonly bigint[], level: number, access: Access, geometry: SlowGeometry): Verdict;
}

export function bit(entry: bigint, index: number): boolean {
  return ((entry >> BigInt(index)) & 1n) === 1n;
}

/** Bits high:low of an entry. */
export function field(entry: bigint, high: number, low: number): bigint {
  return (entry >> BigInt(low)) & ((1n << BigInt(high - low + 1)) - 1n);
}

/** Bytes that one entry of a table at this level covers; 4 KiB tables unless a format says otherwise. */
export function coverage(
  level: number,
  { granuleShift, indexBits }: Tables = { granuleShift: 12, indexBits: 9 },
): bigint {
  return 1n << BigInt(granuleShift + indexBits * (level - 1));
}

type Tables = Pick<SlowFormat, "granuleShift" | "indexBits">;

/** Entries of one table page, and its bytes. */
export function entriesOf(format: Tables): number {
  return 1 << format.indexBits;
}

/** Bytes of the first table: as many as the input address needs where the format says so. */
export function rootBytes(format: SlowFormat, geometry: SlowGeometry): number {
  if (format.mostFirstTables === 0) return 8 * entriesOf(format);
  const bits = geometry.inputBits - (format.granuleShift + format.indexBits * (geometry.levels - 1));
  return 8 * 2 ** Math.max(0, bits);
}

export function fault(check: WalkCheck): Verdict {
  return { kind: "fault", check };
}

/** An access as a unit sees it: a request that does not write reads, unless it says that it does neither. */
export function requestOf(access: Access): Required<Access> {
  return {
    read: access.read ?? !access.write,
    write: access.write ?? false,
    privileged: access.privileged ?? false,
    execute: access.execute ?? false,
  };
}
