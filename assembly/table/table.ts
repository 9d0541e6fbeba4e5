/**
 * One page table: its format, geometry and counters, in a heap block laid out as `TABLE_*` of layout.ts says.
 * Everything that depends on capabilities is computed once, when the table is made, into masks per level, so that the
 * walk only loads and tests.
 */
import { dispatch } from "../format/formats";
import {
  STATUS_INVALID,
  STATUS_MEMORY_EXHAUSTED,
  STATUS_OK,
  TABLE_BYTES,
  TABLE_FLAGS,
  TABLE_FORMAT,
  TABLE_INPUT_LAST,
  TABLE_LEVELS,
  TABLE_OUTPUT_LAST,
  TABLE_PAGES,
  TABLE_PAGE_SIZES,
  TABLE_RESERVED_LEAF,
  TABLE_RESERVED_TABLE,
  TABLE_ROOT,
} from "../layout";
import { heapAllocate, heapFree } from "../memory/heap";
import { arenaBase, arenaReserve, arenaTake, physicalWritePointer } from "../memory/physical";

/** log2 of the bytes that one entry of a table at this level covers. */
// @ts-ignore: decorator
@inline
export function levelShift<F>(level: u32): u64 {
  const f = changetype<F>(0);
  return <u64>(f.granuleShift() + f.indexBits() * (level - 1));
}

/** Entries of one table page. */
// @ts-ignore: decorator
@inline
export function entriesPerTable<F>(): u32 {
  return <u32>1 << changetype<F>(0).indexBits();
}

// @ts-ignore: decorator
@inline
export function indexAt<F>(iova: u64, level: u32): u32 {
  return <u32>(iova >> levelShift<F>(level)) & (entriesPerTable<F>() - 1);
}

/** Offset within its table page of the entry for `iova`; a constant shift wherever the level is a constant. */
// @ts-ignore: decorator
@inline
export function entryOffset<F>(iova: u64, level: u32): usize {
  return <usize>((iova >> (levelShift<F>(level) - 3)) & (<u64>(entriesPerTable<F>() - 1) << 3));
}

/**
 * The entry for `iova` in the table at `pointer`, as the offset in the arena of the table it points to. Any bit that is
 * set or clear against `mask` and `expected` makes it something that `isTable` refuses.
 */
// @ts-ignore: decorator
@inline
export function nextTable<F>(pointer: usize, iova: u64, level: u32, mask: u64, expected: u64): u64 {
  return (load<u64>(pointer + entryOffset<F>(iova, level)) & mask) - expected;
}

/** Whether an offset of `nextTable` is a multiple of 4096 within the arena: its low bits, rotated to the top, are zero. */
// @ts-ignore: decorator
@inline
export function isTable(offset: u64, pages: u64): bool {
  return rotr<u64>(offset, 12) < pages;
}

/** Whether a leaf of this level's size may be written. */
// @ts-ignore: decorator
@inline
export function leafAllowed<F>(table: usize, level: u32): bool {
  return ((load<u64>(table, TABLE_PAGE_SIZES) >> levelShift<F>(level)) & 1) != 0;
}

/** Whether the table translates this input address at all: in range, or canonical where the format sign-extends. */
// @ts-ignore: decorator
@inline
export function inputInRange<F>(table: usize, iova: u64): bool {
  return inRange<F>(iova, load<u64>(table, TABLE_INPUT_LAST));
}

/** The same for a loop that holds TABLE_INPUT_LAST in a register. */
// @ts-ignore: decorator
@inline
export function inRange<F>(iova: u64, last: u64): bool {
  return changetype<F>(0).canonical() ? iova + last + 1 <= (last << 1) + 1 : iova <= last;
}

// @ts-ignore: decorator
@inline
export function count(table: usize, at: usize, by: u64): void {
  store<u64>(table + at, load<u64>(table + at) + by);
}

@unmanaged
class Configure {
  /** a: table; b: width of the input address, 0 for all that the levels give. */
  // @ts-ignore: decorator
  @inline run<F>(a: usize, b: usize, c: usize, d: usize): i32 { return configure<F>(a, <u32>b); }
}

function configure<F>(table: usize, requestedInputBits: u32): i32 {
  const f = changetype<F>(0);
  const levels = load<u32>(table, TABLE_LEVELS);
  if (levels < f.minLevels() || levels > f.maxLevels()) return STATUS_INVALID;
  const full = f.granuleShift() + f.indexBits() * levels;
  const inputBits = requestedInputBits ? requestedInputBits : full;
  if (inputBits > full || inputBits < f.granuleShift()) return STATUS_INVALID;
  const outputBits = <u32>load<u64>(table, TABLE_OUTPUT_LAST);
  if (outputBits < 32 || outputBits > f.addressBits()) return STATUS_INVALID;
  store<u64>(table, (<u64>1 << outputBits) - 1, TABLE_OUTPUT_LAST);
  store<u64>(table, (<u64>1 << (f.canonical() ? inputBits - 1 : inputBits)) - 1, TABLE_INPUT_LAST);
  const sizes = load<u64>(table, TABLE_PAGE_SIZES);
  if (sizes & ~f.leafSizes() || !((sizes >> f.granuleShift()) & 1)) return STATUS_INVALID;
  for (let level: u32 = 1; level <= levels; level++) {
    const at = table + (<usize>level << 3);
    store<u64>(at, level > 1 ? f.reservedInTable(table, level) : 0, TABLE_RESERVED_TABLE);
    const size = <u64>1 << levelShift<F>(level);
    store<u64>(at, f.reservedInLeaf(table, level, size, leafAllowed<F>(table, level)), TABLE_RESERVED_LEAF);
  }
  return STATUS_OK;
}

let createStatus: i32 = STATUS_OK;

export function tableCreateStatus(): i32 {
  return createStatus;
}

function fail(table: usize, status: i32): usize {
  heapFree(table, TABLE_BYTES);
  createStatus = status;
  return 0;
}

/**
 * Makes a table. With `root` all ones a zeroed root page is taken from the arena; otherwise the table is the one that
 * already stands at that physical address. `outputBits` is the width of physical addresses (HAW, OAS), `inputBits` of
 * input addresses (0: what the levels give). Returns its handle, or 0 with the reason in `tableCreateStatus`.
 */
export function tableCreate(
  format: u32,
  levels: u32,
  inputBits: u32,
  outputBits: u32,
  pageSizes: u64,
  flags: u32,
  root: u64,
): usize {
  const table = heapAllocate(TABLE_BYTES);
  if (!table) return fail(0, STATUS_MEMORY_EXHAUSTED);
  store<u32>(table, format, TABLE_FORMAT);
  store<u32>(table, levels, TABLE_LEVELS);
  store<u64>(table, pageSizes, TABLE_PAGE_SIZES);
  store<u32>(table, flags, TABLE_FLAGS);
  store<u64>(table, outputBits, TABLE_OUTPUT_LAST);
  const status = dispatch<Configure>(format, table, inputBits, 0, 0);
  if (status != STATUS_OK) return fail(table, STATUS_INVALID);
  if (root != u64.MAX_VALUE && root & 0xfff) return fail(table, STATUS_INVALID);
  if (root == u64.MAX_VALUE) {
    if (!arenaReserve(1)) return fail(table, STATUS_MEMORY_EXHAUSTED);
    root = arenaBase + <u64>arenaTake();
    store<u64>(table, 1, TABLE_PAGES);
  } else {
    // Declared RAM becomes a stored frame, so that the table can be changed in place.
    physicalWritePointer(root);
  }
  store<u64>(table, root, TABLE_ROOT);
  return table;
}

/** Gives back a table's handle; the table in memory stays as it is. */
export function tableForget(table: usize): void {
  heapFree(table, TABLE_BYTES);
}
