/**
 * Caches of the entries that configure sources (VT-d: context and PASID entries; SMMUv3: STEs and CDs). An entry is found by
 * a tag alone. `counters`: { u64 look-ups, u64 hits }, or 0.
 */
import { CACHED_OWNER } from "../layout";
import { count } from "../table/table";
import { cacheEntry, cacheFill, cacheFind, cacheTouch } from "./set-associative";

const SHIFT: u32 = 12;
const HITS: usize = 8;

/** Index of the entry of a tag, or -1. Nothing is changed or counted. */
export function configurationFind(cache: usize, tag: u64): i32 {
  return cacheFind(cache, 0, SHIFT, tag);
}

/** The same as a look-up, which the entry is used by. */
export function configurationLookUp(cache: usize, tag: u64, counters: usize): i32 {
  const index = configurationFind(cache, tag);
  if (index >= 0) cacheTouch(cache, index);
  if (!counters) return index;
  if (index >= 0) configurationCountHit(counters);
  else count(counters, 0, 1);
  return index;
}

/** A look-up that hits. */
// @ts-ignore: decorator
@inline
export function configurationCountHit(counters: usize): void {
  count(counters, 0, 1);
  count(counters, HITS, 1);
}

/** Makes an entry for a tag that has none; returns its index, which the victim had. */
export function configurationKeep(cache: usize, tag: u64, owner: u64): i32 {
  const index = cacheFill(cache, 0, SHIFT, tag);
  store<u64>(cacheEntry(cache, index), owner, CACHED_OWNER);
  return index;
}
