/**
 * map: a whole range in one call, the largest leaf that IOVA, physical address and length allow (Linux's
 * pt_compute_best_pgsize; facts: a 2^k leaf needs IOVA = PA mod 2^k and a 2^k-aligned start inside the range).
 *
 * Tables that earlier unmaps left in place without a leaf give way to a larger leaf, as in Linux.
 *
 * A range within one last-level table is written directly. Anything else runs the same recursion twice: once dry, which
 * finds overlaps and counts the table pages that will be needed, then for real, which cannot fail any more. So an error
 * leaves the table as it was. A range that would need more table pages than wasm32 can hold is refused as soon as that is
 * certain.
 */
import { dispatch } from "../format/formats";
import {
  CHANGE_BATCH_COUNT,
  CHANGE_BATCH_FLAGS,
  CHANGE_BATCH_IOVA,
  CHANGE_BATCH_LENGTH,
  CHANGE_BATCH_PHYSICAL,
  CHANGE_BATCH_STATUS,
  PERMISSION_CONTIGUOUS,
  STATUS_BUS_ERROR,
  STATUS_INPUT_RANGE,
  STATUS_MEMORY_EXHAUSTED,
  STATUS_MISALIGNED,
  STATUS_OK,
  STATUS_OUTPUT_RANGE,
  STATUS_OVERLAP,
  STATUS_PERMISSIONS,
  TABLE_ENTRIES_WRITTEN,
  TABLE_FORMAT,
  TABLE_FREED,
  TABLE_LEAVES,
  TABLE_LEVELS,
  TABLE_OUTPUT_LAST,
  TABLE_PAGES,
  TABLE_ROOT,
  TABLE_WHAT,
  TABLE_WHERE,
} from "../layout";
import { arenaBytes, arenaStart } from "../memory/heap";
import { arenaBase, arenaReserve, arenaTake } from "../memory/physical";
import { anyLeaf, dropTables, readyRoot, storeTable } from "./below";
import { markRuns } from "./runs";
import {
  count,
  entriesIn,
  firstTable,
  indexAt,
  indexIn,
  inputInRange,
  isShallow,
  isTable,
  leafAllowed,
  levelShift,
  nextTable,
  storedRoot,
  storedTable,
  tableOrder,
} from "./table";

/** Compile-time choice between looking and doing. */
@unmanaged
export class Dry {
  // @ts-ignore: decorator
  @inline dry(): bool { return true; }
}
@unmanaged
export class Real {
  // @ts-ignore: decorator
  @inline dry(): bool { return false; }
}

/** Table pages that the dry run found missing. */
let pagesNeeded: u32 = 0;
/** More pages of 4 KiB than wasm32 can hold: the dry run need not count on. */
const MOST_PAGES: u32 = 1 << 20;

/** Index of the first entry in use among `n` at `entries`, or `n`. */
function firstInUse<F>(entries: usize, n: u32): u32 {
  const mask = changetype<F>(0).presentMask();
  for (let i: u32 = 0; i < n; i++) if (load<u64>(entries + (<usize>i << 3)) & mask) return i;
  return n;
}

/** Whether none of `n` entries has a bit of `mask` set. */
// @ts-ignore: decorator
@inline
export function noneSet(entries: usize, n: u32, mask: u64): bool {
  const end = entries + (<usize>n << 3);
  let p = entries;
  if (n >= 8) {
    const wide = i64x2.splat(mask);
    const stop = end - 64;
    do {
      const a = v128.or(v128.load(p), v128.load(p, 16));
      const b = v128.or(v128.load(p, 32), v128.load(p, 48));
      if (v128.any_true(v128.and(v128.or(a, b), wide))) return false;
      p += 64;
    } while (p <= stop);
  }
  for (; p < end; p += 8) if (load<u64>(p) & mask) return false;
  return true;
}

/** Writes `n` leaves, each `size` bytes behind the one before. */
// @ts-ignore: decorator
@inline
function writeRun(entries: usize, first: u64, size: u64, n: u32): void {
  let p = entries;
  const end = entries + (<usize>n << 3);
  let entry = first;
  if (p & 8) {
    store<u64>(p, entry);
    p += 8;
    entry += size;
  }
  if (p + 16 <= end) {
    const stop = end - 16;
    let pair = i64x2.add(i64x2.splat(entry), i64x2(0, size));
    const two = i64x2.splat(size << 1);
    if (p + 64 <= end) {
      const four = i64x2.splat(size << 2);
      const eight = i64x2.splat(size << 3);
      let second = i64x2.add(pair, two);
      const stop4 = end - 64;
      do {
        v128.store(p, pair);
        v128.store(p, second, 16);
        v128.store(p, i64x2.add(pair, four), 32);
        v128.store(p, i64x2.add(second, four), 48);
        pair = i64x2.add(pair, eight);
        second = i64x2.add(second, eight);
        p += 64;
      } while (p <= stop4);
    }
    while (p <= stop) {
      v128.store(p, pair);
      pair = i64x2.add(pair, two);
      p += 16;
    }
    entry = i64x2.extract_lane(pair, 0);
  }
  if (p < end) store<u64>(p, entry);
}

/** Writes `n` leaves of one size for a physically contiguous range. */
// @ts-ignore: decorator
@inline
function writeLeaves<F>(table: usize, entries: usize, physical: u64, bits: u64, size: u64, n: u32): void {
  const f = changetype<F>(0);
  if (f.inPlace(table)) {
    writeRun(entries, physical | bits, size, n);
  } else {
    for (let i: u32 = 0; i < n; i++) {
      store<u64>(entries + (<usize>i << 3), f.place(table, physical + <u64>i * size) | bits);
    }
  }
}

/**
 * Maps [iova, last] below one table. `entries` is the linear address of the table, 0 for one that does not exist yet
 * (dry run only).
 */
function mapLevel<F, M>(
  table: usize,
  entries: usize,
  level: u32,
  iova: u64,
  last: u64,
  physical: u64,
  permissions: u32,
): i32 {
  const f = changetype<F>(0);
  const dry = changetype<M>(0).dry();
  const shift = levelShift<F>(level);
  const size = <u64>1 << shift;
  const leafFits = leafAllowed<F>(table, level) && !((iova ^ physical) & (size - 1));
  const entryCount = entriesIn<F>(table, level);
  let index = indexIn<F>(table, iova, level);
  while (true) {
    if (leafFits && !(iova & (size - 1))) {
      const whole = min<u64>((last - iova + 1) >> shift, <u64>(entryCount - index));
      if (whole) {
        const n = <u32>whole;
        const at = entries + (<usize>index << 3);
        if (dry) {
          if (entries && !noneSet(at, n, f.presentMask()) && anyLeaf<F>(table, at, n, level, iova)) return STATUS_OVERLAP;
        } else {
          if (level > 1 && !noneSet(at, n, f.presentMask())) dropTables<F>(table, at, n, level);
          writeLeaves<F>(table, at, physical, f.leafBits(table, permissions, level), size, n);
          if (permissions & <u32>PERMISSION_CONTIGUOUS) markRuns<F>(table, at, level, iova, physical, n);
          count(table, TABLE_ENTRIES_WRITTEN, whole);
          count(table, <usize>TABLE_LEAVES + (<usize>level << 3), whole);
        }
        // The difference to `last` is taken before adding: the end of the range may be the end of 64 bits.
        if (last - iova == (whole << shift) - 1) return STATUS_OK;
        iova += whole << shift;
        physical += whole << shift;
        index += n;
        continue;
      }
    }
    const entryLast = min<u64>(last, iova | (size - 1));
    let below: usize = 0;
    const at = entries + (<usize>index << 3);
    const entry = entries ? load<u64>(at) : 0;
    if (entry & f.presentMask()) {
      if (f.isLeaf(entry, level)) {
        store<u64>(table, iova, TABLE_WHERE);
        return STATUS_OVERLAP;
      }
      below = storedTable<F>(f.address(table, entry));
      if (!below) {
        store<u64>(table, iova, TABLE_WHERE);
        store<u64>(table, entry, TABLE_WHAT);
        return STATUS_BUS_ERROR;
      }
    } else if (dry) {
      if (++pagesNeeded > MOST_PAGES >> tableOrder<F>()) return STATUS_MEMORY_EXHAUSTED;
    } else {
      const offset = arenaTake(tableOrder<F>());
      below = arenaStart + offset;
      store<u64>(at, f.makeTable(f.place(table, arenaBase + <u64>offset)));
      count(table, TABLE_PAGES, 1);
      count(table, TABLE_ENTRIES_WRITTEN, 1);
    }
    const status = mapLevel<F, M>(table, below, level - 1, iova, entryLast, physical, permissions);
    if (status != STATUS_OK) return status;
    if (entryLast == last) return STATUS_OK;
    physical += entryLast - iova + 1;
    iova = entryLast + 1;
    index++;
  }
}

/**
 * Linear address of the existing last-level table whose entry for `iova` would be written, when it can be reached
 * through present tables that are stored; 0 otherwise.
 */
// @ts-ignore: decorator
@inline
export function lastTable<F>(table: usize, iova: u64): usize {
  const f = changetype<F>(0);
  const start = arenaStart;
  const pages = <u64>arenaBytes >> 12;
  const levels = load<u32>(table, TABLE_LEVELS);
  const mask = f.tableAddress(-1) | f.ordinaryTable() | f.largeLeaf();
  const expected = arenaBase | f.ordinaryTable();
  let offset = load<u64>(table, TABLE_ROOT) - arenaBase + firstTable<F>(levels, iova);
  let p = start + <usize>offset;
  if (
    f.inPlace(table) &&
    isTable<F>(offset, pages) &&
    (levels < 5 || ((offset = nextTable<F>(p, iova, 5, mask, expected)), (p = start + <usize>offset), isTable<F>(offset, pages))) &&
    (levels < 4 || ((offset = nextTable<F>(p, iova, 4, mask, expected)), (p = start + <usize>offset), isTable<F>(offset, pages))) &&
    (isShallow<F>(levels, 3) || ((offset = nextTable<F>(p, iova, 3, mask, expected)), (p = start + <usize>offset), isTable<F>(offset, pages))) &&
    (isShallow<F>(levels, 2) || ((offset = nextTable<F>(p, iova, 2, mask, expected)), (p = start + <usize>offset), isTable<F>(offset, pages)))
  ) {
    return p;
  }
  return lastTableSlowly<F>(table, iova);
}

/** The same for tables anywhere and of any making. */
function lastTableSlowly<F>(table: usize, iova: u64): usize {
  const f = changetype<F>(0);
  const levels = load<u32>(table, TABLE_LEVELS);
  let entries = storedRoot<F>(table);
  if (entries) entries += <usize>firstTable<F>(levels, iova);
  for (let level = levels; level > 1 && entries; level--) {
    const entry = load<u64>(entries + (<usize>indexAt<F>(iova, level) << 3));
    if (!(entry & f.presentMask()) || f.isLeaf(entry, level)) return 0;
    entries = storedTable<F>(f.address(table, entry));
  }
  return entries;
}

/** Maps one range; the checks in the order alignment, ranges, permissions, overlap, memory. */
export function mapRange<F>(table: usize, iova: u64, physical: u64, length: u64, permissions: u32): i32 {
  const f = changetype<F>(0);
  const granule = (<u64>1) << <u64>f.granuleShift();
  const last = iova + length - 1;
  store<u64>(table, iova, TABLE_WHERE);
  store<u32>(table, 0, TABLE_FREED);
  if (((iova | physical | length) & (granule - 1)) != 0 || !length) return STATUS_MISALIGNED;
  // Both ends in range and in the same half: a canonical range must not cross the hole in the middle.
  if (last < iova || !inputInRange<F>(table, iova) || !inputInRange<F>(table, last) || <i64>(iova ^ last) < 0) {
    return STATUS_INPUT_RANGE;
  }
  const outputLast = load<u64>(table, TABLE_OUTPUT_LAST);
  if (physical > outputLast || length - 1 > outputLast - physical) return STATUS_OUTPUT_RANGE;
  const pageBits = f.leafBits(table, permissions, 1);
  if (!pageBits || (permissions & <u32>PERMISSION_CONTIGUOUS && !f.runMark())) return STATUS_PERMISSIONS;

  const lastTableShift = levelShift<F>(2);
  if (iova >> lastTableShift == last >> lastTableShift && length >> lastTableShift == 0) {
    const entries = lastTable<F>(table, iova);
    if (entries) {
      const n = <u32>(length >> levelShift<F>(1));
      const at = entries + (<usize>indexAt<F>(iova, 1) << 3);
      if (n == 1) {
        if (load<u64>(at) & f.presentMask()) return STATUS_OVERLAP;
        store<u64>(at, f.place(table, physical) | pageBits);
      } else {
        if (!noneSet(at, n, f.presentMask())) {
          store<u64>(table, iova + (<u64>firstInUse<F>(at, n) << levelShift<F>(1)), TABLE_WHERE);
          return STATUS_OVERLAP;
        }
        writeLeaves<F>(table, at, physical, pageBits, granule, n);
        if (permissions & <u32>PERMISSION_CONTIGUOUS) markRuns<F>(table, at, 1, iova, physical, n);
      }
      count(table, TABLE_ENTRIES_WRITTEN, n);
      count(table, TABLE_LEAVES + 8, n);
      return STATUS_OK;
    }
  }

  const levels = load<u32>(table, TABLE_LEVELS);
  let root = readyRoot<F>(table);
  if (!root) return STATUS_BUS_ERROR;
  pagesNeeded = 0;
  let status = mapLevel<F, Dry>(table, root, levels, iova, last, physical, permissions);
  while (status == STATUS_BUS_ERROR && storeTable<F>(table)) {
    pagesNeeded = 0;
    root = storedRoot<F>(table);
    status = mapLevel<F, Dry>(table, root, levels, iova, last, physical, permissions);
  }
  if (status != STATUS_OK) return status;
  if (!arenaReserve(pagesNeeded, tableOrder<F>())) return STATUS_MEMORY_EXHAUSTED;
  root = storedRoot<F>(table);
  return mapLevel<F, Real>(table, root, levels, iova, last, physical, permissions);
}

function mapBatchOf<F>(table: usize, batch: usize): i32 {
  const total = load<u32>(batch, CHANGE_BATCH_COUNT);
  const permissions = load<u32>(batch, CHANGE_BATCH_FLAGS);
  const iovas = <usize>load<u32>(batch, CHANGE_BATCH_IOVA);
  const physicals = <usize>load<u32>(batch, CHANGE_BATCH_PHYSICAL);
  const lengths = <usize>load<u32>(batch, CHANGE_BATCH_LENGTH);
  const statuses = <usize>load<u32>(batch, CHANGE_BATCH_STATUS);
  let failed: i32 = 0;
  for (let i: u32 = 0; i < total; i++) {
    const at = <usize>i << 3;
    const status = mapRange<F>(
      table,
      load<u64>(iovas + at),
      load<u64>(physicals + at),
      load<u64>(lengths + at),
      permissions,
    );
    if (status != STATUS_OK) {
      failed++;
      store<u64>(lengths + at, 0);
    }
    store<u32>(statuses + (<usize>i << 2), status | (load<u32>(table, TABLE_FREED) << 8));
  }
  return failed;
}

@unmanaged
class MapBatch {
  // @ts-ignore: decorator
  @inline run<F>(a: usize, b: usize, c: usize, d: usize): i32 { return mapBatchOf<F>(a, b); }
}

/** Maps every request of a batch; returns how many failed. A failed request changes nothing. */
export function mapBatch(table: usize, batch: usize): i32 {
  return dispatch<MapBatch>(load<u32>(table, TABLE_FORMAT), table, batch, 0, 0);
}

@unmanaged
class MapOne {
  // @ts-ignore: decorator
  @inline run<F>(a: usize, b: usize, c: usize, d: usize): i32 {
    return mapRange<F>(a, load<u64>(b), load<u64>(b, 8), load<u64>(b, 16), <u32>c);
  }
}

/** `request`: u64[3] of IOVA, physical address, length. */
export function mapOne(table: usize, request: usize, permissions: u32): i32 {
  return dispatch<MapOne>(load<u32>(table, TABLE_FORMAT), table, request, permissions, 0);
}
