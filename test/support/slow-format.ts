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

/** What hardware makes of the last entry of a path. */
export type Verdict = { kind: "fault"; check: WalkCheck } | { kind: "table" } | { kind: "leaf" };

export interface SlowFormat {
  readonly name: string;
  readonly minLevels: number;
  readonly maxLevels: number;
  readonly outputBits: number;
  /** Whether input addresses are sign-extended from the table's width. */
  readonly signExtended: boolean;
  /** The bits of an entry that hold an address. */
  readonly addressMask: bigint;
  /** Whether software considers the entry in use. */
  inUse(entry: bigint): boolean;
  /** Whether an entry in use at this level maps memory. */
  isLeaf(entry: bigint, level: number): boolean;
  /** The entry that points to a table. */
  pointer(address: bigint): bigint;
  /** The leaf for these permissions, or null when they cannot be expressed. */
  leaf(physical: bigint, permissions: Permissions, level: number): bigint | null;
  /** Judges the last of the entries read so far, the first being that of the root table. */
  judge(path: readonly bigint[], level: number, access: Access, geometry: SlowGeometry): Verdict;
}

export const GRANULE = 4096n;
export const ENTRIES = 512;

export function bit(entry: bigint, index: number): boolean {
  return ((entry >> BigInt(index)) & 1n) === 1n;
}

/** Bits high:low of an entry. */
export function field(entry: bigint, high: number, low: number): bigint {
  return (entry >> BigInt(low)) & ((1n << BigInt(high - low + 1)) - 1n);
}

/** Bytes that one entry of a table at this level covers. */
export function coverage(level: number): bigint {
  return GRANULE << BigInt(9 * (level - 1));
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
