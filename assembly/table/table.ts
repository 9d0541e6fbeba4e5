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
  TABLE_OWNS_ROOT,
  TABLE_PAGES,
  TABLE_PAGE_SIZES,
  TABLE_RESERVED_LEAF,
  TABLE_RESERVED_TABLE,
  TABLE_ROOT,
} from "../layout";
import { heapAllocate, heapFree } from "../memory/heap";
import { arenaBase, arenaReserve, arenaTake, physicalStored, physicalStoredRun, physicalWritePointer } from "../memory/physical";

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

/** Bytes of one table page, and log2 of its 4 KiB pages: the order by which the arena knows it. */
// @ts-ignore: decorator
@inline
export function tableBytes<F>(): usize {
  return <usize>entriesPerTable<F>() << 3;
}

// @ts-ignore: decorator
@inline
export function tableOrder<F>(): u32 {
  return changetype<F>(0).granuleShift() - 12;
}

/** Bytes of the first table, which is as long as the input address needs where the format says so. */
// @ts-ignore: decorator
@inline
export function rootBytes<F>(table: usize): usize {
  if (!changetype<F>(0).concatenated()) return tableBytes<F>();
  const last = load<u64>(table, TABLE_INPUT_LAST) >> levelShift<F>(load<u32>(table, TABLE_LEVELS));
  return <usize>((last + 1) << 3);
}

/** Whether the first table lies in the arena, whose first `pages` of 4 KiB are backed. */
// @ts-ignore: decorator
@inline
export function rootInArena<F>(table: usize, offset: u64, pages: u64): bool {
  if (!changetype<F>(0).concatenated()) return offset >> 12 < pages;
  return offset >> 12 < pages && offset + <u64>rootBytes<F>(table) <= pages << 12;
}

/** Where among several first tables the one for `iova` begins, in bytes. */
// @ts-ignore: decorator
@inline
export function firstTable<F>(levels: u32, iova: u64): u64 {
  const f = changetype<F>(0);
  return f.concatenated() > 1 ? (iova >> levelShift<F>(levels + 1)) << <u64>f.granuleShift() : 0;
}

/** Index of the entry for `iova` in a table of this level, several first tables being one. */
// @ts-ignore: decorator
@inline
export function indexIn<F>(table: usize, iova: u64, level: u32): u32 {
  const several = changetype<F>(0).concatenated() > 1 && level == load<u32>(table, TABLE_LEVELS);
  return several ? <u32>(iova >> levelShift<F>(level)) : indexAt<F>(iova, level);
}

/** Entries of a table of this level, likewise. */
// @ts-ignore: decorator
@inline
export function entriesIn<F>(table: usize, level: u32): u32 {
  const several = changetype<F>(0).concatenated() > 1 && level == load<u32>(table, TABLE_LEVELS);
  return several ? <u32>(rootBytes<F>(table) >> 3) : entriesPerTable<F>();
}

/** Linear address of a table that is stored in one piece, 0 otherwise. */
// @ts-ignore: decorator
@inline
export function storedTable<F>(address: u64): usize {
  return tableOrder<F>() ? physicalStoredRun(address, tableBytes<F>()) : physicalStored(address);
}

/** The same for the first table. */
// @ts-ignore: decorator
@inline
export function storedRoot<F>(table: usize): usize {
  const root = load<u64>(table, TABLE_ROOT);
  return changetype<F>(0).concatenated() ? physicalStoredRun(root, rootBytes<F>(table)) : physicalStored(root);
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

/**
 * Whether an offset of `nextTable` is that of a table page within the arena's `pages` of 4 KiB: its low bits, rotated to
 * the top, are zero.
 */
// @ts-ignore: decorator
@inline
export function isTable<F>(offset: u64, pages: u64): bool {
  return rotr<u64>(offset, <u64>changetype<F>(0).granuleShift()) < pages >> <u64>tableOrder<F>();
}

/** Whether a table may have fewer than `levels` levels, and has. */
// @ts-ignore: decorator
@inline
export function isShallow<F>(has: u32, levels: u32): bool {
  return changetype<F>(0).minLevels() < levels && has < levels;
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
  const flags = load<u32>(table, TABLE_FLAGS);
  const outputBits = <u32>load<u64>(table, TABLE_OUTPUT_LAST);
  const sizes = load<u64>(table, TABLE_PAGE_SIZES);
  if (outputBits < 32 || !f.accepts(flags, levels, outputBits, sizes)) return STATUS_INVALID;
  const full = f.granuleShift() + f.indexBits() * levels;
  const widest = f.widestInput(flags);
  const inputBits = requestedInputBits ? requestedInputBits : min<u32>(full, widest);
  const most = min<u32>(full + (f.concatenated() > 1 ? ctz<u32>(f.concatenated()) : 0), widest);
  if (inputBits > most || inputBits < f.granuleShift()) return STATUS_INVALID;
  store<u64>(table, (<u64>1 << outputBits) - 1, TABLE_OUTPUT_LAST);
  store<u64>(table, (<u64>1 << (f.canonical() ? inputBits - 1 : inputBits)) - 1, TABLE_INPUT_LAST);
  if (!((sizes >> f.granuleShift()) & 1)) return STATUS_INVALID;
  for (let level: u32 = 1; level <= levels; level++) {
    const at = table + (<usize>level << 3);
    store<u64>(at, level > 1 ? f.reservedInTable(table, level) : 0, TABLE_RESERVED_TABLE);
    const size = <u64>1 << levelShift<F>(level);
    store<u64>(at, f.reservedInLeaf(table, level, size, leafAllowed<F>(table, level)), TABLE_RESERVED_LEAF);
  }
  return placeRoot<F>(table);
}

/** Takes the first table from the arena when TABLE_ROOT is all ones; otherwise sees that it can stand where it does. */
function placeRoot<F>(table: usize): i32 {
  const root = load<u64>(table, TABLE_ROOT);
  const bytes = rootBytes<F>(table);
  if (root != u64.MAX_VALUE) {
    if (root & <u64>(bytes - 1)) return STATUS_INVALID;
    // Declared RAM becomes a stored frame, so that the table can be changed in place.
    physicalWritePointer(root);
    return STATUS_OK;
  }
  // Tables side by side are software's to place.
  if (bytes > tableBytes<F>()) return STATUS_INVALID;
  if (!arenaReserve(1, tableOrder<F>())) return STATUS_MEMORY_EXHAUSTED;
  store<u64>(table, arenaBase + <u64>arenaTake(tableOrder<F>()), TABLE_ROOT);
  store<u64>(table, 1, TABLE_PAGES);
  store<u32>(table, 1, TABLE_OWNS_ROOT);
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
 * already stands at that physical address, a multiple of its size. `outputBits` is the width of physical addresses (HAW, OAS), `inputBits` of
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
  store<u64>(table, root, TABLE_ROOT);
  const status = dispatch<Configure>(format, table, inputBits, 0, 0);
  if (status == STATUS_OK) return table;
  return fail(table, status == STATUS_MEMORY_EXHAUSTED ? status : STATUS_INVALID);
}

/** Gives back a table's handle; the table in memory stays as it is. */
export function tableForget(table: usize): void {
  heapFree(table, TABLE_BYTES);
}
