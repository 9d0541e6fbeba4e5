/** Every leaf of a table, by address, in ranges of adjacent leaves of one size (LEAF_RANGE_* of layout.ts). */
import { dispatch } from "../format/formats";
import {
  LEAF_RANGE_BYTES,
  LEAF_RANGE_IOVA,
  LEAF_RANGE_LENGTH,
  LEAF_RANGE_LEVEL,
  TABLE_FORMAT,
  TABLE_LEVELS,
  TABLE_WHERE,
} from "../layout";
import { entriesIn, inputInRange, levelShift, storedRoot, storedTable } from "./table";

/** The range that is being made ends at this address; `next` is where the following one goes, `last` where room ends. */
let rangeEnd: u64 = 0;
let next: usize = 0;
let last: usize = 0;

/** The address that leads to this position in the table: sign-extended where the format does so. */
// @ts-ignore: decorator
@inline
function inputAddress<F>(table: usize, position: u64): u64 {
  if (!changetype<F>(0).canonical()) return position;
  const above = 64 - levelShift<F>(load<u32>(table, TABLE_LEVELS) + 1);
  return <u64>(<i64>(position << above) >> <i64>above);
}

/** Takes the leaf at this position; false, with the position in TABLE_WHERE, when there is no room for its range. */
function take<F>(table: usize, position: u64, level: u32): bool {
  const iova = inputAddress<F>(table, position);
  if (!inputInRange<F>(table, iova)) return true;
  const size = (<u64>1) << levelShift<F>(level);
  const range = next - LEAF_RANGE_BYTES;
  if (rangeEnd == iova && load<u32>(range, LEAF_RANGE_LEVEL) == level) {
    store<u64>(range, load<u64>(range, LEAF_RANGE_LENGTH) + size, LEAF_RANGE_LENGTH);
  } else {
    if (next == last) {
      store<u64>(table, position, TABLE_WHERE);
      return false;
    }
    store<u64>(next, iova, LEAF_RANGE_IOVA);
    store<u64>(next, size, LEAF_RANGE_LENGTH);
    store<u32>(next, level, LEAF_RANGE_LEVEL);
    next += LEAF_RANGE_BYTES;
  }
  rangeEnd = iova + size;
  return true;
}

/** Takes the leaves at or behind `from` below these entries, the first of which stands for `first`. */
function takeBelow<F>(table: usize, entries: usize, level: u32, first: u64, from: u64): bool {
  const f = changetype<F>(0);
  const shift = levelShift<F>(level);
  const n = entriesIn<F>(table, level);
  for (let i = from > first ? <u32>min<u64>((from - first) >> shift, n) : 0; i < n; i++) {
    const entry = load<u64>(entries + (<usize>i << 3));
    if (!(entry & f.presentMask())) continue;
    const position = first + (<u64>i << shift);
    if (f.isLeaf(entry, level)) {
      if (!take<F>(table, position, level)) return false;
      continue;
    }
    const below = storedTable<F>(f.address(table, entry));
    if (below && !takeBelow<F>(table, below, level - 1, position, from)) return false;
  }
  return true;
}

function leaves<F>(table: usize, ranges: usize, capacity: u32): i32 {
  const root = storedRoot<F>(table);
  const from = load<u64>(table, TABLE_WHERE);
  next = ranges;
  last = ranges + <usize>capacity * LEAF_RANGE_BYTES;
  // No leaf begins there: the first one begins a range.
  rangeEnd = u64.MAX_VALUE;
  const more = root != 0 && !takeBelow<F>(table, root, load<u32>(table, TABLE_LEVELS), 0, from);
  return more ? -1 : <i32>((next - ranges) / LEAF_RANGE_BYTES);
}

@unmanaged
class Leaves {
  // @ts-ignore: decorator
  @inline run<F>(a: usize, b: usize, c: usize, d: usize): i32 { return leaves<F>(a, b, <u32>c); }
}

/**
 * Writes the ranges of leaves from the position in TABLE_WHERE (0 at first) on to `ranges`, which has room for `capacity`.
 * Returns how many there were; -1 when that filled the room, with TABLE_WHERE where to go on. Tables that are not stored
 * in one piece are passed over.
 */
export function tableLeaves(table: usize, ranges: usize, capacity: u32): i32 {
  return dispatch<Leaves>(load<u32>(table, TABLE_FORMAT), table, ranges, capacity, 0);
}
