/**
 * unmap: what Linux's iommu_unmap promises. The range begins at the start of a leaf and has no hole; a large leaf that
 * it begins with but does not fill is removed whole, and the bytes really removed are returned. Table pages that this
 * one call covers whole are freed (generic_pt's unmap_range); with RECLAIM_EMPTY every table page that became empty.
 *
 * As map does, the recursion runs once dry and once for real, so that an error leaves the table as it was.
 */
import { dispatch } from "../format/formats";
import {
  CHANGE_BATCH_COUNT,
  CHANGE_BATCH_FLAGS,
  CHANGE_BATCH_IOVA,
  CHANGE_BATCH_LENGTH,
  CHANGE_BATCH_STATUS,
  RECLAIM_EMPTY,
  STATUS_BUS_ERROR,
  STATUS_HOLE,
  STATUS_INPUT_RANGE,
  STATUS_INSIDE_LEAF,
  STATUS_MISALIGNED,
  STATUS_OK,
  TABLE_ENTRIES_WRITTEN,
  TABLE_FORMAT,
  TABLE_FREED,
  TABLE_LEAVES,
  TABLE_LEVELS,
  TABLE_REMOVED,
  TABLE_WHAT,
  TABLE_WHERE,
} from "../layout";
import { freeTable, readyRoot, storeTable } from "./below";
import { Dry, lastTable, noneSet, Real } from "./map";
import { breakRuns } from "./runs";
import { count, entriesIn, entriesPerTable, indexAt, indexIn, inputInRange, levelShift, storedRoot, storedTable } from "./table";

/** Bytes that the real run removed. */
let removedBytes: u64 = 0;

/** Index of the first of `n` entries that is not in use, or `n`. */
function firstFree<F>(entries: usize, n: u32): u32 {
  const mask = changetype<F>(0).presentMask();
  for (let i: u32 = 0; i < n; i++) if (!(load<u64>(entries + (<usize>i << 3)) & mask)) return i;
  return n;
}

/** Whether all of `n` entries are in use. */
// @ts-ignore: decorator
@inline
function allInUse<F>(entries: usize, n: u32): bool {
  const mask = changetype<F>(0).presentMask();
  const end = entries + (<usize>n << 3);
  let p = entries;
  if (n >= 16) {
    const wide = i64x2.splat(mask);
    const stop = end - 128;
    do {
      // Entries of one mapping have a bit of the mask in common; where they do not, each is looked at.
      const a = v128.and(v128.load(p), v128.load(p, 16));
      const b = v128.and(v128.load(p, 32), v128.load(p, 48));
      const c = v128.and(v128.load(p, 64), v128.load(p, 80));
      const d = v128.and(v128.load(p, 96), v128.load(p, 112));
      if (!i64x2.all_true(v128.and(v128.and(v128.and(a, b), v128.and(c, d)), wide))) {
        for (let q = p; q < p + 128; q += 8) if (!(load<u64>(q) & mask)) return false;
      }
      p += 128;
    } while (p <= stop);
  }
  for (; p < end; p += 8) if (!(load<u64>(p) & mask)) return false;
  return true;
}

// @ts-ignore: decorator
@inline
function clearRun(entries: usize, n: u32): void {
  if (n >= 128) {
    memory.fill(entries, 0, <usize>n << 3);
    return;
  }
  let p = entries;
  const end = entries + (<usize>n << 3);
  if (n >= 8) {
    const zero = i64x2.splat(0);
    const stop = end - 64;
    do {
      v128.store(p, zero);
      v128.store(p, zero, 16);
      v128.store(p, zero, 32);
      v128.store(p, zero, 48);
      p += 64;
    } while (p <= stop);
  }
  for (; p < end; p += 8) store<u64>(p, 0);
}

// @ts-ignore: decorator
@inline
function countRemoved(table: usize, level: u32, n: u64, shift: u64): void {
  const leaves = <usize>TABLE_LEAVES + (<usize>level << 3);
  count(table, TABLE_ENTRIES_WRITTEN, n);
  count(table, leaves, -n);
  const removed = table + TABLE_REMOVED + (<usize>level << 2);
  store<u32>(removed, load<u32>(removed) + <u32>n);
  removedBytes += n << shift;
}

/** Unmaps the pages of [iova, last], all of one last-level table. */
// @ts-ignore: decorator
@inline
function unmapPages<F, M>(table: usize, entries: usize, iova: u64, last: u64): i32 {
  const shift = levelShift<F>(1);
  const at = entries + (<usize>indexAt<F>(iova, 1) << 3);
  const n = <u32>((last - iova + 1) >> shift);
  if (changetype<M>(0).dry()) {
    if (allInUse<F>(at, n)) return STATUS_OK;
    store<u64>(table, iova + (<u64>firstFree<F>(at, n) << shift), TABLE_WHERE);
    return STATUS_HOLE;
  }
  breakRuns<F>(table, entries, 1, indexAt<F>(iova, 1), n);
  clearRun(at, n);
  countRemoved(table, 1, n, shift);
  return STATUS_OK;
}

/** Unmaps what begins in [iova, last] below one table above the last level. */
function unmapLevel<F, M>(table: usize, entries: usize, level: u32, iova: u64, last: u64, flags: u32): i32 {
  const f = changetype<F>(0);
  const dry = changetype<M>(0).dry();
  const shift = levelShift<F>(level);
  const size = <u64>1 << shift;
  let index = indexIn<F>(table, iova, level);
  while (true) {
    const at = entries + (<usize>index << 3);
    const entry = load<u64>(at);
    const entryLast = iova | (size - 1);
    if (!(entry & f.presentMask())) {
      store<u64>(table, iova, TABLE_WHERE);
      return STATUS_HOLE;
    }
    if (f.isLeaf(entry, level)) {
      if (iova & (size - 1)) {
        store<u64>(table, iova, TABLE_WHERE);
        store<u64>(table, entry, TABLE_WHAT);
        return STATUS_INSIDE_LEAF;
      }
      if (!dry) {
        const more = min<u64>((last - iova) >> shift, <u64>(entriesIn<F>(table, level) - index - 1));
        if (entry & f.runMark()) breakRuns<F>(table, entries, level, index, <u32>more + 1);
        store<u64>(at, 0);
        countRemoved(table, level, 1, shift);
      }
    } else {
      const address = f.address(table, entry);
      const below = storedTable<F>(address);
      if (!below) {
        store<u64>(table, iova, TABLE_WHERE);
        store<u64>(table, entry, TABLE_WHAT);
        return STATUS_BUS_ERROR;
      }
      const belowLast = min<u64>(last, entryLast);
      const status =
        level == 2
          ? unmapPages<F, M>(table, below, iova, belowLast)
          : unmapLevel<F, M>(table, below, level - 1, iova, belowLast, flags);
      if (status != STATUS_OK) return status;
      if (!dry) {
        const covered = !(iova & (size - 1)) && entryLast <= last;
        if (covered || (flags & <u32>RECLAIM_EMPTY && noneSet(below, entriesPerTable<F>(), -1))) {
          store<u64>(at, 0);
          count(table, TABLE_ENTRIES_WRITTEN, 1);
          freeTable<F>(table, address, level - 1);
        }
      }
    }
    if (entryLast >= last) return STATUS_OK;
    iova = entryLast + 1;
    index++;
  }
}

/** Unmaps one range; TABLE_WHAT is then the bytes removed, TABLE_REMOVED and TABLE_FREED say what went. */
export function unmapRange<F>(table: usize, iova: u64, length: u64, flags: u32): i32 {
  const f = changetype<F>(0);
  const granule = (<u64>1) << <u64>f.granuleShift();
  const last = iova + length - 1;
  const zero = i64x2.splat(0);
  v128.store(table + TABLE_REMOVED, zero);
  v128.store(table + TABLE_REMOVED, zero, 16);
  v128.store(table + TABLE_REMOVED, zero, 32);
  store<u64>(table, iova, TABLE_WHERE);
  store<u64>(table, 0, TABLE_WHAT);
  if (((iova | length) & (granule - 1)) != 0 || !length) return STATUS_MISALIGNED;
  if (last < iova || !inputInRange<F>(table, iova) || !inputInRange<F>(table, last) || <i64>(iova ^ last) < 0) {
    return STATUS_INPUT_RANGE;
  }
  removedBytes = 0;

  const lastTableShift = levelShift<F>(2);
  if (!(flags & <u32>RECLAIM_EMPTY) && iova >> lastTableShift == last >> lastTableShift && length >> lastTableShift == 0) {
    const entries = lastTable<F>(table, iova);
    if (entries) {
      const found = unmapPages<F, Dry>(table, entries, iova, last);
      if (found != STATUS_OK) return found;
      unmapPages<F, Real>(table, entries, iova, last);
      store<u64>(table, removedBytes, TABLE_WHAT);
      return STATUS_OK;
    }
  }

  const levels = load<u32>(table, TABLE_LEVELS);
  let root = readyRoot<F>(table);
  if (!root) return STATUS_BUS_ERROR;
  let status = unmapLevel<F, Dry>(table, root, levels, iova, last, flags);
  while (status == STATUS_BUS_ERROR && storeTable<F>(table)) {
    root = storedRoot<F>(table);
    status = unmapLevel<F, Dry>(table, root, levels, iova, last, flags);
  }
  if (status != STATUS_OK) return status;
  unmapLevel<F, Real>(table, root, levels, iova, last, flags);
  store<u64>(table, removedBytes, TABLE_WHAT);
  return STATUS_OK;
}

function unmapBatchOf<F>(table: usize, batch: usize): i32 {
  const total = load<u32>(batch, CHANGE_BATCH_COUNT);
  const flags = load<u32>(batch, CHANGE_BATCH_FLAGS);
  const iovas = <usize>load<u32>(batch, CHANGE_BATCH_IOVA);
  const lengths = <usize>load<u32>(batch, CHANGE_BATCH_LENGTH);
  const statuses = <usize>load<u32>(batch, CHANGE_BATCH_STATUS);
  let failed: i32 = 0;
  for (let i: u32 = 0; i < total; i++) {
    const at = <usize>i << 3;
    const status = unmapRange<F>(table, load<u64>(iovas + at), load<u64>(lengths + at), flags);
    if (status != STATUS_OK) failed++;
    store<u64>(lengths + at, status == STATUS_OK ? load<u64>(table, TABLE_WHAT) : 0);
    store<u32>(statuses + (<usize>i << 2), status | (load<u32>(table, TABLE_FREED) << 8));
  }
  return failed;
}

@unmanaged
class UnmapBatch {
  // @ts-ignore: decorator
  @inline run<F>(a: usize, b: usize, c: usize, d: usize): i32 { return unmapBatchOf<F>(a, b); }
}

/** Unmaps every request of a batch; returns how many failed. A failed request changes nothing. */
export function unmapBatch(table: usize, batch: usize): i32 {
  return dispatch<UnmapBatch>(load<u32>(table, TABLE_FORMAT), table, batch, 0, 0);
}

@unmanaged
class UnmapOne {
  // @ts-ignore: decorator
  @inline run<F>(a: usize, b: usize, c: usize, d: usize): i32 {
    return unmapRange<F>(a, load<u64>(b), load<u64>(b, 8), <u32>c);
  }
}

/** `request`: u64[2] of IOVA, length. */
export function unmapOne(table: usize, request: usize, flags: u32): i32 {
  return dispatch<UnmapOne>(load<u32>(table, TABLE_FORMAT), table, request, flags, 0);
}
