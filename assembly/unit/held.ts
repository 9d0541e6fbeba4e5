/**
 * What a unit's IOTLB holds: the direct-mapped one (assembly/cache/iotlb.ts), or in its place set-associative ones that
 * split the sizes of page. The value of an entry is the same in both.
 */
import { cacheEntry, cacheFill, cacheFind, cacheShift, cacheTouch } from "../cache/set-associative";
import {
  iotlbDrop,
  iotlbFind,
  iotlbKey,
  iotlbNoteSize,
  iotlbPlace,
  iotlbShift,
  iotlbEntryOwner,
  iotlbEntryValue,
  iotlbValue,
  iotlbWrite,
  valueGrants,
  valueIsClean,
  valuePhysical,
} from "../cache/iotlb";
import { foundIndex, keptShift, splitFind, splitKeeper } from "../cache/split";
import {
  CACHED_OWNER,
  CACHED_VALUE,
  IOTLB_ENTRIES,
  IOTLB_SETS,
  SIMULATOR_IOTLBS,
  UNIT_CACHES,
  UNIT_IOTLB,
} from "../layout";

/** What `heldFind` found of an address: where it leads, its page's size as log2, GRANT_*, and whose the entry is. */
export let heldPhysical: u64 = 0;
export let heldShift: u32 = 0;
export let heldGrants: u32 = 0;
export let heldOwner: u64 = 0;
/** A write must walk, because it has a dirty flag to set. */
export let heldClean: bool = false;
let heldEntry: usize = 0;

/** Looks an address up; false when no entry translates it. */
export function heldFind(unit: usize, iova: u64, tag: u64): bool {
  const caches = <usize>load<u32>(unit, UNIT_CACHES);
  let value: u64 = 0;
  if (caches) {
    const cache = splitFind(caches + SIMULATOR_IOTLBS, iova, tag);
    if (!cache) return false;
    cacheTouch(cache, foundIndex);
    const entry = cacheEntry(cache, foundIndex);
    value = load<u64>(entry, CACHED_VALUE);
    heldOwner = load<u64>(entry, CACHED_OWNER);
    heldShift = cacheShift(cache, foundIndex);
  } else {
    const iotlb = unit + UNIT_IOTLB;
    heldEntry = iotlbFind(iotlb, <usize>load<u32>(iotlb, IOTLB_ENTRIES), load<u32>(iotlb, IOTLB_SETS) - 1, iova, tag);
    if (!heldEntry) return false;
    value = iotlbEntryValue(heldEntry);
    heldOwner = iotlbEntryOwner(heldEntry);
    heldShift = iotlbShift(heldEntry);
  }
  heldPhysical = valuePhysical(value, heldShift, iova);
  heldGrants = valueGrants(value);
  heldClean = valueIsClean(value);
  return true;
}

/** The entry of the last `heldFind` gives way to the walk that follows. */
export function heldDrop(unit: usize): void {
  // In a set-associative IOTLB `heldKeep` finds it again.
  if (!load<u32>(unit, UNIT_CACHES)) iotlbDrop(heldEntry);
}

export function heldKeep(
  unit: usize,
  iova: u64,
  tag: u64,
  owner: u64,
  physical: u64,
  shift: u32,
  grants: u32,
  clean: bool,
): void {
  const caches = <usize>load<u32>(unit, UNIT_CACHES);
  if (caches) {
    const cache = splitKeeper(caches + SIMULATOR_IOTLBS, shift);
    if (!cache) return;
    const known = cacheFind(cache, iova, keptShift, tag);
    const entry = cacheEntry(cache, known >= 0 ? known : cacheFill(cache, iova, keptShift, tag));
    store<u64>(entry, iotlbValue(physical, keptShift, grants, clean), CACHED_VALUE);
    store<u64>(entry, owner, CACHED_OWNER);
    return;
  }
  const iotlb = unit + UNIT_IOTLB;
  const place = iotlbPlace(<usize>load<u32>(iotlb, IOTLB_ENTRIES), load<u32>(iotlb, IOTLB_SETS) - 1, iova, shift, tag);
  iotlbWrite(place, iotlbKey(iova, shift), tag, iotlbValue(physical, shift, grants, clean), owner);
  iotlbNoteSize(iotlb, shift);
}
