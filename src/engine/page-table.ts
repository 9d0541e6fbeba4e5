import * as layout from "../../assembly/layout.js";
import { hex, type Iova, type PhysicalAddress, physicalAddress } from "./addresses.js";
import { Batch } from "./batch.js";
import { type ErrorCode, codeOf, statusError } from "./errors.js";
import type { FormatDescription } from "./formats.js";
import type { WasmExports } from "./instance.js";
import { LeafRanges } from "./leaf-ranges.js";
import { fits64, type LinearMemory } from "./linear-memory.js";
import { MachineObservers } from "./observers.js";

/** What a mapping allows. `privileged`: for privileged requesters only. `noExecute` where the format can say so. */
export interface Permissions {
  readonly read?: boolean;
  readonly write?: boolean;
  readonly privileged?: boolean;
  readonly noExecute?: boolean;
  /**
   * Marks naturally aligned runs of leaves that lie in the mapping whole as contiguous, so that one TLB entry may hold each
   * (VMSAv8-64, bit 52). Where the format has no such mark, `permissions` is thrown.
   */
  readonly contiguous?: boolean;
}

/** One kind of request by a device. */
export interface Access {
  readonly write?: boolean;
  /** Default: not `write`. */
  readonly read?: boolean;
  readonly privileged?: boolean;
  readonly execute?: boolean;
}

/** Options of a new table. Widths default to the widest that the format has. */
export interface PageTableOptions {
  /** Default: 4, or as many as the format has. */
  readonly levels?: number;
  /** Width of input addresses (MGAW, 64 - T0SZ). Default: what the levels give. */
  readonly inputBits?: number;
  /** Width of physical addresses (HAW, effective IPS). Default: what an entry holds. */
  readonly outputBits?: number;
  /** Leaf sizes the hardware supports, bit n = 2^n bytes. Default: all of the format. */
  readonly pageSizes?: bigint;
  /** Options of the format, as the FLAG_* constants of its file. Default 0. */
  readonly flags?: number;
  /**
   * Address of a table that already stands in memory, a multiple of the table's size; without it an empty root page is
   * taken from the arena.
   */
  readonly root?: PhysicalAddress;
  /** The table that translates the addresses of this one: those of its tables and those it gives. Nested translation. */
  readonly secondStage?: PageTable;
}

/** Which check of a walk failed, in the order in which hardware makes them. */
export type WalkCheck =
  | "input-range"
  | "root-access"
  | "table-access"
  | "not-present"
  | "reserved"
  | "output-range"
  | "access-flag"
  | "no-read"
  | "no-write"
  | "no-user"
  | "no-execute"
  | "update-failed"
  | "update-refused"
  | "update-denied";

const WALK_CHECKS: Readonly<Record<number, WalkCheck>> = {
  [layout.WALK_INPUT_RANGE]: "input-range",
  [layout.WALK_ROOT_ACCESS]: "root-access",
  [layout.WALK_TABLE_ACCESS]: "table-access",
  [layout.WALK_NOT_PRESENT]: "not-present",
  [layout.WALK_RESERVED]: "reserved",
  [layout.WALK_OUTPUT_RANGE]: "output-range",
  [layout.WALK_ACCESS_FLAG]: "access-flag",
  [layout.WALK_NO_READ]: "no-read",
  [layout.WALK_NO_WRITE]: "no-write",
  [layout.WALK_NO_USER]: "no-user",
  [layout.WALK_NO_EXECUTE]: "no-execute",
  [layout.WALK_UPDATE_FAILED]: "update-failed",
  [layout.WALK_UPDATE_REFUSED]: "update-refused",
  [layout.WALK_UPDATE_DENIED]: "update-denied",
};

/** Whose check failed: the table's own; its second stage's, for an entry of the table or for the table's output. */
export type WalkStage = "own" | "second-table" | "second-output";

function stageOf(word: number): WalkStage {
  if (word & layout.WALK_SECOND_STAGE_TABLE) return "second-table";
  return word & layout.WALK_SECOND_STAGE_OUTPUT ? "second-output" : "own";
}

/** A walk that ended in a leaf. */
export interface Translation {
  readonly ok: true;
  readonly physical: PhysicalAddress;
  /** Bytes of the leaf. */
  readonly pageSize: bigint;
  /** Level of the leaf; 1 is the last table. */
  readonly level: number;
  readonly entriesRead: number;
}

/** A walk that hardware would report as a fault. */
export interface WalkFault {
  readonly ok: false;
  readonly check: WalkCheck;
  readonly stage: WalkStage;
  /** Level of the entry that failed (of the first stage); 0 when no table was looked at. */
  readonly level: number;
  /** Physical address of that entry, and the entry (0 when it could not be read). */
  readonly entryAddress: PhysicalAddress;
  readonly entry: bigint;
  readonly entriesRead: number;
}

/** The parts of a walk's status word (assembly/layout.ts). */
export interface WalkStatus {
  readonly check: WalkCheck | null;
  readonly stage: WalkStage;
  readonly level: number;
  readonly entriesRead: number;
  /** Bytes of the leaf, 0n on a fault. */
  readonly pageSize: bigint;
}

export function decodeWalkStatus(word: number): WalkStatus {
  const outcome = word & layout.WALK_OUTCOME_MASK;
  const shift = (word >>> layout.WALK_SIZE_SHIFT) & 0x3f;
  return {
    check: outcome === layout.WALK_OK ? null : (WALK_CHECKS[outcome] ?? "reserved"),
    stage: stageOf(word),
    level: (word >>> layout.WALK_LEVEL_SHIFT) & 0xf,
    entriesRead: word >>> layout.WALK_READS_SHIFT,
    pageSize: shift === 0 ? 0n : 1n << BigInt(shift),
  };
}

/** A table page that an unmap freed: what must leave the paging-structure caches before the page is used again. */
export interface FreedPage {
  readonly address: PhysicalAddress;
  /** Level of the table that the page was. */
  readonly level: number;
}

/** What an unmap did; an invalidation depends on it. */
export interface Unmapped {
  /** Bytes really removed: more than asked when the range ended inside a large leaf. */
  readonly length: bigint;
  /** Leaves removed, by size in bytes, largest first. */
  readonly leaves: ReadonlyMap<bigint, number>;
  readonly freedPages: readonly FreedPage[];
}

/** Exact figures of one table. */
export interface TableCounters {
  /** Leaves present, by size in bytes, largest first; every size that the table may use is listed. */
  readonly leaves: ReadonlyMap<bigint, number>;
  /** Runs marked as contiguous, by the bytes of a run, largest first; sizes without one are left out. */
  readonly contiguousRuns: ReadonlyMap<bigint, number>;
  readonly tablePages: number;
  readonly tableBytes: number;
  /** Entries written since the table was made, leaves and pointers, set and cleared. */
  readonly entriesWritten: number;
  /** Entries that walks and look-ups read. */
  readonly entriesRead: number;
}

function permissionBits(permissions: Permissions): number {
  return (
    (permissions.read ? layout.ACCESS_READ : 0) |
    (permissions.write ? layout.ACCESS_WRITE : 0) |
    (permissions.privileged ? layout.ACCESS_PRIVILEGED : 0) |
    (permissions.noExecute ? layout.PERMISSION_NO_EXECUTE : 0) |
    (permissions.contiguous ? layout.PERMISSION_CONTIGUOUS : 0)
  );
}

/** A kind of access as the bits (ACCESS_* of assembly/layout.ts) that a batch holds. */
export function encodeAccess(access: Access): number {
  return (
    ((access.read ?? !access.write) ? layout.ACCESS_READ : 0) |
    (access.write ? layout.ACCESS_WRITE : 0) |
    (access.privileged ? layout.ACCESS_PRIVILEGED : 0) |
    (access.execute ? layout.ACCESS_EXECUTE : 0)
  );
}

/** The kind of access that `encodeAccess` made these bits of. */
export function decodeAccess(bits: number): Required<Access> {
  return {
    read: (bits & layout.ACCESS_READ) !== 0,
    write: (bits & layout.ACCESS_WRITE) !== 0,
    privileged: (bits & layout.ACCESS_PRIVILEGED) !== 0,
    execute: (bits & layout.ACCESS_EXECUTE) !== 0,
  };
}

/** IOVAs in; physical addresses (of the failing entry on a fault) and status words out. */
export class WalkBatch extends Batch {
  constructor(linear: LinearMemory, capacity: number) {
    super(linear, capacity, 2);
  }

  get iova(): BigUint64Array {
    return this.linear.u64(this.column(0), this.capacity);
  }

  get physical(): BigUint64Array {
    return this.linear.u64(this.column(1), this.capacity);
  }

  /** Kind of access of each request, for `walkBatch` with "each"; fill it with `encodeAccess`. */
  get access(): Uint8Array {
    return this.linear.u8(this.bytesColumn, this.capacity);
  }

  /** For use by the table: fills in the header and returns its linear address. */
  prepare(count: number, access: number | "each"): number {
    this.checkCount(count);
    this.linear.setU32(this.header + layout.WALK_BATCH_COUNT, count);
    this.linear.setU32(this.header + layout.WALK_BATCH_ACCESS, access === "each" ? 0 : access);
    this.linear.setU32(this.header + layout.WALK_BATCH_IOVA, this.column(0));
    this.linear.setU32(this.header + layout.WALK_BATCH_PHYSICAL, this.column(1));
    this.linear.setU32(this.header + layout.WALK_BATCH_STATUS, this.column(2));
    this.linear.setU32(this.header + layout.WALK_BATCH_ACCESSES, access === "each" ? this.bytesColumn : 0);
    return this.header;
  }
}

/** IOVAs, physical addresses (map only) and lengths in; lengths really changed and status words out. */
export class ChangeBatch extends Batch {
  constructor(linear: LinearMemory, capacity: number) {
    super(linear, capacity, 3);
  }

  get iova(): BigUint64Array {
    return this.linear.u64(this.column(0), this.capacity);
  }

  get physical(): BigUint64Array {
    return this.linear.u64(this.column(1), this.capacity);
  }

  get length(): BigUint64Array {
    return this.linear.u64(this.column(2), this.capacity);
  }

  /** Why a request failed, or null. */
  code(index: number): ErrorCode | null {
    const status = this.status[index] & 0xff;
    return status === layout.STATUS_OK ? null : codeOf(status);
  }

  /** Table pages that a request freed. */
  freedPages(index: number): number {
    return this.status[index] >>> 8;
  }

  /** For use by the table: fills in the header and returns its linear address. */
  prepare(count: number, flags: number): number {
    this.checkCount(count);
    this.linear.setU32(this.header + layout.CHANGE_BATCH_COUNT, count);
    this.linear.setU32(this.header + layout.CHANGE_BATCH_FLAGS, flags);
    this.linear.setU32(this.header + layout.CHANGE_BATCH_IOVA, this.column(0));
    this.linear.setU32(this.header + layout.CHANGE_BATCH_PHYSICAL, this.column(1));
    this.linear.setU32(this.header + layout.CHANGE_BATCH_LENGTH, this.column(2));
    this.linear.setU32(this.header + layout.CHANGE_BATCH_STATUS, this.column(3));
    return this.header;
  }
}

/** Which table pages an unmap frees: those the call covers whole (Linux), or every one that became empty. */
export type Reclaim = "covered" | "empty";

/** One page table in emulated physical memory. Made by `Engine.createTable`. */
export class PageTable {
  readonly root: PhysicalAddress;
  readonly #request: number;
  readonly #one: WalkBatch;
  /** log2 of the 4 KiB pages of a table page. */
  readonly #pageOrder: number;

  constructor(
    private readonly exports: WasmExports,
    private readonly linear: LinearMemory,
    readonly format: FormatDescription,
    /** Linear address of the table's own block (TABLE_* of assembly/layout.ts). */
    readonly handle: number,
    readonly levels: number,
    readonly pageSizes: bigint,
    private readonly observers = new MachineObservers(),
  ) {
    this.root = physicalAddress(linear.getU64(handle + layout.TABLE_ROOT));
    this.#request = linear.allocate(32);
    this.#one = new WalkBatch(linear, 1);
    this.#pageOrder = format.levelShift(1) - 12;
  }

  /**
   * Maps [iova, iova + length) to the physical range of the same length with the largest leaves that both and the page
   * sizes allow (Linux's pt_compute_best_pgsize). Throws `misaligned`, `input-range`, `output-range`, `permissions`,
   * `overlap`, `bus-error` or `memory-exhausted`; the table is then as it was. Returns how many table pages, left
   * without a leaf by earlier unmaps, gave way to a larger leaf: they must leave the paging-structure caches.
   */
  map(iova: Iova, physical: PhysicalAddress, length: bigint, permissions: Permissions): number {
    const operation = (): string => `map ${hex(iova)} to ${hex(physical)}, ${length} bytes`;
    if (!fits64(length)) throw statusError(layout.STATUS_INPUT_RANGE, operation(), iova);
    this.linear.u64(this.#request, 3).set([iova, physical, length]);
    const status = this.exports.mapOne(this.handle, this.#request, permissionBits(permissions));
    if (status !== layout.STATUS_OK) throw statusError(status, operation(), this.#where());
    const freed = this.linear.getU32(this.handle + layout.TABLE_FREED);
    if (this.observers.any) this.#tell("mapped", iova, length, freed);
    return freed;
  }

  /**
   * Unmaps [iova, iova + length) as Linux's iommu_unmap. Throws `misaligned`, `input-range`, `hole` or `inside-leaf`;
   * the table is then as it was.
   */
  unmap(iova: Iova, length: bigint, reclaim: Reclaim = "covered"): Unmapped {
    const operation = (): string => `unmap ${hex(iova)}, ${length} bytes`;
    if (!fits64(length)) throw statusError(layout.STATUS_INPUT_RANGE, operation(), iova);
    this.linear.u64(this.#request, 2).set([iova, length]);
    const flags = reclaim === "empty" ? layout.RECLAIM_EMPTY : 0;
    const status = this.exports.unmapOne(this.handle, this.#request, flags);
    if (status !== layout.STATUS_OK) throw statusError(status, operation(), this.#where());
    const freed = this.linear.getU32(this.handle + layout.TABLE_FREED);
    const depth = this.exports.arenaFreeDepth(this.#pageOrder) >>> 0;
    const stack = this.linear.u32((this.exports.arenaFreeStack(this.#pageOrder) >>> 0) + (depth - freed) * 4, freed);
    const base = BigInt.asUintN(64, this.exports.physicalArenaBase());
    const removed = this.linear.getU64(this.handle + layout.TABLE_WHAT);
    if (this.observers.any) this.#tell("unmapped", iova, removed, freed);
    return {
      length: removed,
      leaves: this.#bySize((level) => this.linear.getU32(this.handle + layout.TABLE_REMOVED + level * 4), false),
      freedPages: Array.from(stack, (word) => ({
        address: physicalAddress(base + (BigInt(word & 0xff_ffff) << 12n)),
        level: word >>> 24,
      })),
    };
  }

  /** One walk as hardware makes it. Never throws for what hardware reports as a fault. */
  walk(iova: Iova, access: Access = {}): Translation | WalkFault {
    this.#one.iova[0] = iova;
    this.exports.walkBatch(this.handle, this.#one.prepare(1, encodeAccess(access)));
    const { check, stage, level, entriesRead, pageSize } = decodeWalkStatus(this.#one.status[0]);
    const physical = physicalAddress(this.#one.physical[0]);
    if (check === null) return { ok: true, physical, pageSize, level, entriesRead };
    const entry = this.linear.getU64(this.handle + layout.TABLE_WHAT);
    return { ok: false, check, stage, level, entryAddress: physical, entry, entriesRead };
  }

  /**
   * Linux's iommu_iova_to_phys: the physical address, or null when nothing is mapped. Permissions are not looked at, nor
   * is a second stage.
   */
  iovaToPhys(iova: Iova): PhysicalAddress | null {
    this.#one.iova[0] = iova;
    this.exports.lookupBatch(this.handle, this.#one.prepare(1, layout.ACCESS_READ));
    const physical = this.#one.physical[0];
    return physical === 0xffff_ffff_ffff_ffffn ? null : physicalAddress(physical);
  }

  createWalkBatch(capacity: number): WalkBatch {
    return new WalkBatch(this.linear, capacity);
  }

  createChangeBatch(capacity: number): ChangeBatch {
    return new ChangeBatch(this.linear, capacity);
  }

  /**
   * Walks the first `count` requests of a batch in one call; `decodeWalkStatus` reads the status words. All are of one
   * kind of access, which is what the fast walk needs, or "each" of its own.
   */
  walkBatch(batch: WalkBatch, count: number, access: Access | "each" = {}): void {
    this.exports.walkBatch(this.handle, batch.prepare(count, access === "each" ? access : encodeAccess(access)));
  }

  /** iova_to_phys over a batch: `physical` is all ones where nothing is mapped; status words are not written. */
  iovaToPhysBatch(batch: WalkBatch, count: number): void {
    this.exports.lookupBatch(this.handle, batch.prepare(count, layout.ACCESS_READ));
  }

  /** Maps a batch; returns how many requests failed (`batch.code(i)`), each of which changed nothing. */
  mapBatch(batch: ChangeBatch, count: number, permissions: Permissions): number {
    const failed = this.exports.mapBatch(this.handle, batch.prepare(count, permissionBits(permissions)));
    if (this.observers.any) this.#tellBatch("mapped", batch, count);
    return failed;
  }

  /** Unmaps a batch; returns how many requests failed (`batch.code(i)`), each of which changed nothing. */
  unmapBatch(batch: ChangeBatch, count: number, reclaim: Reclaim = "covered"): number {
    const flags = reclaim === "empty" ? layout.RECLAIM_EMPTY : 0;
    const failed = this.exports.unmapBatch(this.handle, batch.prepare(count, flags));
    if (this.observers.any) this.#tellBatch("unmapped", batch, count);
    return failed;
  }

  #tell(what: "mapped" | "unmapped", iova: bigint, length: bigint, freed: number): void {
    for (const observer of this.observers.all) observer[what](this.root, iova, length, freed > 0);
  }

  #tellBatch(what: "mapped" | "unmapped", batch: ChangeBatch, count: number): void {
    for (let i = 0; i < count; i++) {
      if (batch.code(i) === null) this.#tell(what, batch.iova[i], batch.length[i], batch.freedPages(i));
    }
  }

  /** What is mapped, by address. Throws `memory-exhausted`. */
  leafRanges(): LeafRanges {
    return LeafRanges.read(this.exports, this.linear, this.handle, this.format);
  }

  get counters(): TableCounters {
    const tablePages = Number(this.linear.getU64(this.handle + layout.TABLE_PAGES));
    return {
      leaves: this.#bySize((level) => Number(this.linear.getU64(this.handle + layout.TABLE_LEAVES + level * 8)), true),
      contiguousRuns: this.#runs(),
      tablePages,
      tableBytes: tablePages * Number(this.format.granule),
      entriesWritten: this.entriesWritten,
      entriesRead: Number(this.linear.getU64(this.handle + layout.TABLE_ENTRIES_READ)),
    };
  }

  /** The counter by itself, for who reads it around every change. */
  get entriesWritten(): number {
    return Number(this.linear.getU64(this.handle + layout.TABLE_ENTRIES_WRITTEN));
  }

  /** Frees the table and all its pages in the arena; it must not be used any more. */
  release(): void {
    this.exports.tableRelease(this.handle);
    this.linear.free(this.#request, 32);
    this.#one.release();
  }

  #where(): bigint {
    return this.linear.getU64(this.handle + layout.TABLE_WHERE);
  }

  #runs(): Map<bigint, number> {
    const runs = new Map<bigint, number>();
    for (let level = this.levels; level >= 1; level--) {
      const count = Number(this.linear.getU64(this.handle + layout.TABLE_RUNS + level * 8));
      if (count > 0) runs.set(1n << BigInt(this.format.levelShift(level) + this.format.runShift(level)), count);
    }
    return runs;
  }

  #bySize(read: (level: number) => number, zeroes: boolean): Map<bigint, number> {
    const leaves = new Map<bigint, number>();
    for (let level = this.levels; level >= 1; level--) {
      const size = 1n << BigInt(this.format.levelShift(level));
      const count = read(level);
      if ((this.pageSizes & size) !== 0n && (zeroes || count > 0)) leaves.set(size, count);
    }
    return leaves;
  }
}
