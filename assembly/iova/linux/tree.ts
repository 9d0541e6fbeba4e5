/**
 * Allocating in the tree, taking ranges out of it and reserving them, as drivers/iommu/iova.c of Linux 6.12 and 7.2 does:
 * which hole is found depends on where the last search ended.
 */
import {
  LINUX_COUNT_REFUSALS,
  LINUX_COUNT_RETRIES,
  LINUX_COUNT_SEARCHES,
  LINUX_COUNT_VISITS,
} from "../../layout";
import {
  rangeAbove,
  rangeBelow,
  rangeErase,
  rangeFrom,
  rangeHigh,
  rangeInsert,
  rangeLow,
  rangeSetLow,
  USE_LIVE,
  USE_RESERVED,
} from "./ranges";
import { CACHED, CACHED32, countUp, END32, LEAST_ALIGNMENT, MAX32, MOST_ALIGNMENT, START } from "./state";

/** log2 of a number of pages rounded up to a power of two: `order_base_2`. */
// @ts-ignore: decorator
@inline
export function orderOf(pages: u64): u32 {
  return pages <= 1 ? 0 : 64 - <u32>clz<u64>(pages - 1);
}

/** The bits of an address that the start of an allocation of `size` pages may have. */
// @ts-ignore: decorator
@inline
function alignMask(state: usize, size: u64): u64 {
  const order = max<u32>(orderOf(size), load<u32>(state, LEAST_ALIGNMENT));
  return u64.MAX_VALUE << <u64>min<u32>(order, load<u32>(state, MOST_ALIGNMENT));
}

/** `__cached_rbnode_insert_update`: the next search begins at what was found last. */
// @ts-ignore: decorator
@inline
function cacheInserted(state: usize, range: u32): void {
  const pointer = rangeHigh(state, range) < load<u64>(state, END32) ? CACHED32 : CACHED;
  store<u32>(state + pointer, range);
}

/** Adds [low, high] below the range `above` as a search that found it there. `rangeReserve` came before. */
export function treeInsert(state: usize, low: u64, high: u64, above: u32): u32 {
  const range = rangeInsert(state, low, high, USE_LIVE, above);
  cacheInserted(state, range);
  return range;
}

/**
 * `__alloc_and_insert_iova_range`: the highest place for `size` pages below `end`, from the cached range downwards, or,
 * when there is none, once more between `end` and the cached range. Returns the first page, 0 when there is no place.
 * `rangeReserve` came before.
 */
export function treeAllocate(state: usize, size: u64, end: u64): u64 {
  const mask = alignMask(state, size);
  const start = load<u64>(state, START);
  const below32 = end <= load<u64>(state, END32);
  if (below32 && size >= load<u64>(state, MAX32)) {
    countUp(state, LINUX_COUNT_REFUSALS, 1);
    return 0;
  }
  let range = load<u32>(state + (below32 ? CACHED32 : CACHED));
  const cachedHigh = rangeHigh(state, range);
  let high = end;
  let low = start;
  let first: u64 = 0;
  let above: u32 = 0;
  let visits: u64 = 0;
  countUp(state, LINUX_COUNT_SEARCHES, 1);
  while (true) {
    do {
      high = min<u64>(high, rangeLow(state, range));
      first = (high - size) & mask;
      above = range;
      range = rangeBelow(state, range);
      visits++;
    } while (range && first <= rangeHigh(state, range) && first >= low);
    if (high >= size && first >= low) break;
    if (low != start || cachedHigh >= end) {
      countUp(state, LINUX_COUNT_VISITS, visits);
      store<u64>(state, size, MAX32);
      return 0;
    }
    countUp(state, LINUX_COUNT_RETRIES, 1);
    high = end;
    low = cachedHigh + 1;
    range = rangeFrom(state, end);
  }
  countUp(state, LINUX_COUNT_VISITS, visits);
  treeInsert(state, first, first + size - 1, above);
  return first;
}

/** `remove_iova` after `__cached_rbnode_delete_update`: a hole at or above a cached range is where searches begin. */
export function treeRemove(state: usize, range: u32): void {
  const end32 = load<u64>(state, END32);
  const low = rangeLow(state, range);
  const above = rangeAbove(state, range);
  const cached32 = load<u32>(state, CACHED32);
  if (range == cached32 || (rangeHigh(state, range) < end32 && low >= rangeLow(state, cached32))) {
    store<u32>(state, above, CACHED32);
  }
  if (low < end32) store<u64>(state, end32, MAX32);
  if (low >= rangeLow(state, load<u32>(state, CACHED))) store<u32>(state, above, CACHED);
  rangeErase(state, range);
}

/**
 * `reserve_iova`: a range that overlaps others, live ones included, joins them: each grows down to where it begins, and
 * only what is left above the last becomes a range of its own. `rangeReserve` came before.
 */
export function treeReserve(state: usize, first: u64, last: u64): void {
  let low = first;
  let range = rangeFrom(state, low);
  for (; rangeLow(state, range) <= last; range = rangeAbove(state, range)) {
    if (low < rangeLow(state, range)) rangeSetLow(state, range, low);
    if (last <= rangeHigh(state, range)) return;
    low = rangeHigh(state, range) + 1;
  }
  rangeInsert(state, low, last, USE_RESERVED, range);
}
