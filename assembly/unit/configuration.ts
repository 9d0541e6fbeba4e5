/**
 * Caches of the entries that configure sources (VT-d: context and PASID entries; SMMUv3: STEs and CDs). An entry is found by
 * a tag alone; what it holds is kept by the architecture's own side. `counters`: { u64 look-ups, u64 hits }, or 0.
 */
import { cacheEntry, cacheFill, cacheFind, cacheTouch } from "../cache/set-associative";
import {
  CACHED_OWNER,
  REGIME_CONTEXT,
  REGIME_FLAGS,
  REGIME_IOTLB_ONLY,
  REGIME_LOOKED_UP,
  REGIME_PASID,
  SIMULATOR_CONTEXT,
  SIMULATOR_CONTEXT_LOOKUPS,
  SIMULATOR_PASID,
  SIMULATOR_PASID_LOOKUPS,
  UNIT_CACHES,
} from "../layout";
import { count } from "../table/table";

const SHIFT: u32 = 12;
const HITS: usize = 8;

/** Index of the entry of a tag, or -1. Nothing is changed or counted. */
export function configurationFind(cache: usize, tag: u64): i32 {
  return cacheFind(cache, 0, SHIFT, tag);
}

/** The same as a look-up, which the entry is used by. */
export function configurationLookUp(cache: usize, tag: u64, counters: usize): i32 {
  const index = configurationFind(cache, tag);
  if (counters) count(counters, 0, 1);
  if (index >= 0) use(cache, index, counters);
  return index;
}

function use(cache: usize, index: i32, counters: usize): void {
  if (counters) count(counters, HITS, 1);
  cacheTouch(cache, index);
}

/** Makes an entry for a tag that has none; returns its index, which the victim had. */
export function configurationKeep(cache: usize, tag: u64, owner: u64): i32 {
  const index = cacheFill(cache, 0, SHIFT, tag);
  store<u64>(cacheEntry(cache, index), owner, CACHED_OWNER);
  return index;
}

/**
 * Looks the entries of a regime up for a request that needs them, in the unit's caches that have a geometry. False when one
 * of them is not cached any more: the regime is to be resolved anew.
 */
export function configurationUse(unit: usize, regime: usize): bool {
  const caches = <usize>load<u32>(unit, UNIT_CACHES);
  if (!caches) return true;
  const flags = load<u32>(regime, REGIME_FLAGS);
  if (flags & <u32>REGIME_IOTLB_ONLY) return false;
  if (flags & <u32>REGIME_LOOKED_UP) {
    store<u32>(regime, flags & ~(<u32>REGIME_LOOKED_UP), REGIME_FLAGS);
    return true;
  }
  useEntry(caches, SIMULATOR_CONTEXT, load<u32>(regime, REGIME_CONTEXT), SIMULATOR_CONTEXT_LOOKUPS);
  useEntry(caches, SIMULATOR_PASID, load<u32>(regime, REGIME_PASID), SIMULATOR_PASID_LOOKUPS);
  return true;
}

function useEntry(caches: usize, which: usize, place: u32, lookups: usize): void {
  const cache = <usize>load<u32>(caches + which);
  if (!cache || !place) return;
  count(caches, lookups, 1);
  use(cache, <i32>place - 1, caches + lookups);
}
