/**
 * Accesses of devices through a remapping unit's caches: IOTLB, paging-structure caches, nested translations, configuration.
 * Everything is counted. A simulator and its devices are laid out as SIMULATOR_* and DEVICE_* of layout.ts say, and set up
 * by src/access/simulator.ts.
 */
import { configurationCountHit, configurationKeep, configurationLookUp } from "../cache/configuration";
import {
  cacheEntry,
  cacheFind,
  cacheGuess,
  cacheIsEntry,
  cacheShift,
  cacheTouch,
  cacheTouchLru,
} from "../cache/set-associative";
import { foundIndex, keptShift, splitFind, splitKeeper } from "../cache/split";
import {
  ACCESS_BATCH_COUNT,
  ACCESS_BATCH_IOVA,
  ACCESS_BATCH_PHYSICAL,
  ACCESS_BATCH_STATUS,
  ACCESS_BATCH_WHAT,
  ACCESS_BYTES_MASK,
  ACCESS_DEVICE_SHIFT,
  ACCESS_IS_WRITE,
  ACCESS_READ,
  ACCESS_WRITE,
  CACHED_VALUE,
  CACHE_REPLACEMENT,
  CACHE_SIZES,
  DEVICE_CONTEXT_READS,
  DEVICE_CONTEXT_TAG,
  DEVICE_IOTLB,
  DEVICE_PASID_READS,
  DEVICE_PASID_TAG,
  REPLACEMENT_LRU,
  SIMULATOR_BYTES_MOVED,
  SIMULATOR_CONFIGURATION_FIRST,
  SIMULATOR_CONFIGURATION_MISSES,
  SIMULATOR_CONFIGURATION_READS,
  SIMULATOR_CONTEXT,
  SIMULATOR_CONTEXT_LOOKUPS,
  SIMULATOR_COUNTERS,
  SIMULATOR_COUNTERS_END,
  SIMULATOR_DEVICES,
  SIMULATOR_DEVICE_COUNT,
  SIMULATOR_FAULTS,
  SIMULATOR_IOTLBS,
  SIMULATOR_IOTLB_HITS,
  SIMULATOR_IOTLB_LOOKUPS,
  SIMULATOR_PASID,
  SIMULATOR_PASID_LOOKUPS,
  SIMULATOR_REQUESTS,
  STATUS_INVALID,
  STATUS_OK,
  WALK_OK,
  WALK_OUTCOME_MASK,
} from "../layout";
import { count } from "../table/table";
import { statusWord } from "../table/walk";
import { recall, remember, sizeShift, walkStages, walkedPhysical } from "./walk";

/** Looks one configuration cache up; a miss reads `reads` entries. `again`: nothing else was looked up since. Whether it hits. */
function configureFrom(simulator: usize, cache: usize, reads: u32, again: bool, tags: usize, lookups: usize): bool {
  if (!reads) return true;
  if (again) {
    configurationCountHit(simulator + lookups);
    return true;
  }
  const tag = load<u64>(tags);
  if (configurationLookUp(cache, tag, simulator + lookups) >= 0) return true;
  count(simulator, SIMULATOR_CONFIGURATION_READS, <u64>reads);
  configurationKeep(cache, tag, load<u64>(tags, 8));
  return false;
}

/** Looks up what a device's translation is configured by. */
// @ts-ignore: decorator
@inline
function configure(simulator: usize, device: usize, again: bool): void {
  const context = <usize>load<u32>(simulator, SIMULATOR_CONTEXT);
  const pasid = <usize>load<u32>(simulator, SIMULATOR_PASID);
  let hit = true;
  if (context) {
    const reads = load<u32>(device, DEVICE_CONTEXT_READS);
    const tags = device + DEVICE_CONTEXT_TAG;
    hit = configureFrom(simulator, context, reads, again, tags, SIMULATOR_CONTEXT_LOOKUPS);
  }
  if (pasid) {
    const reads = load<u32>(device, DEVICE_PASID_READS);
    const tags = device + DEVICE_PASID_TAG;
    hit = configureFrom(simulator, pasid, reads, again, tags, SIMULATOR_PASID_LOOKUPS) && hit;
  }
  if (!hit) count(simulator, SIMULATOR_CONFIGURATION_MISSES, 1);
}

/**
 * Walks for an access that no IOTLB entry allows, and keeps what it finds. `denied`: there is an entry that allows less
 * than the table does now, whose place it takes. Returns the status word.
 */
// @ts-ignore: decorator
@inline
function miss(simulator: usize, device: usize, iova: u64, access: u32, denied: bool): u32 {
  if (!load<u32>(simulator, SIMULATOR_CONFIGURATION_FIRST)) configure(simulator, device, false);
  const status = walkStages(simulator, device, iova, access);
  if (status & <u32>WALK_OUTCOME_MASK) {
    count(simulator, SIMULATOR_FAULTS, 1);
    return status;
  }
  const iotlb = splitKeeper(simulator + SIMULATOR_IOTLBS, sizeShift(status));
  if (iotlb) {
    const tag = load<u64>(device, DEVICE_IOTLB);
    const known = denied ? cacheFind(iotlb, iova, keptShift, tag) : -1;
    remember(iotlb, known, iova, keptShift, tag, load<u64>(device, DEVICE_IOTLB + 8));
  }
  return status;
}

/** No walk says this: there is no such outcome. */
const NOT_FOUND: u32 = WALK_OUTCOME_MASK;

/** Looks up every IOTLB for every size of page; returns the status word of a hit, or NOT_FOUND. */
// @ts-ignore: decorator
@inline
function lookUp(simulator: usize, iova: u64, tag: u64, access: u32): u32 {
  const iotlb = splitFind(simulator + SIMULATOR_IOTLBS, iova, tag);
  if (!iotlb) return NOT_FOUND;
  const shift = cacheShift(iotlb, foundIndex);
  if (!recall(iotlb, foundIndex, shift, iova, access)) return NOT_FOUND;
  cacheTouch(iotlb, foundIndex);
  return statusWord(WALK_OK, 0, 0, shift);
}

/** What a cache's policy does with a hit, decided at compile time. */
@unmanaged
class TouchLru {
  // @ts-ignore: decorator
  @inline touch(cache: usize, index: i32): void { cacheTouchLru(cache, index); }
}
@unmanaged
class TouchOther {
  // @ts-ignore: decorator
  @inline touch(cache: usize, index: i32): void { cacheTouch(cache, index); }
}

/**
 * Runs accesses from number `from` on, as long as one look-up in one IOTLB is enough for each. Returns the number of the
 * first that needs more. It calls nothing, so that what it holds stays in registers.
 */
function runHits<T>(simulator: usize, batch: usize, from: usize, total: usize): usize {
  const iotlb = <usize>load<u32>(simulator, SIMULATOR_IOTLBS);
  const size = load<u64>(iotlb, CACHE_SIZES);
  if (load<u32>(simulator, SIMULATOR_IOTLBS + 4) || size & (size - 1)) return from;
  const iovas = <usize>load<u32>(batch, ACCESS_BATCH_IOVA);
  const what = <usize>load<u32>(batch, ACCESS_BATCH_WHAT);
  const physicals = <usize>load<u32>(batch, ACCESS_BATCH_PHYSICAL);
  const statuses = <usize>load<u32>(batch, ACCESS_BATCH_STATUS);
  const devices = <usize>load<u32>(simulator, SIMULATOR_DEVICES);
  const inPage = size - 1;
  const shift = ctz(size);
  const status = statusWord(WALK_OK, 0, 0, <u32>shift);
  for (let i = from; i < total; i++) {
    const is = load<u32>(what + (i << 2));
    const iova = load<u64>(iovas + (i << 3));
    const device = <usize>load<u32>(devices + (<usize>(is >> <u32>ACCESS_DEVICE_SHIFT) << 2));
    const key = (iova & ~inPage) | shift;
    const tag = load<u64>(device, DEVICE_IOTLB);
    const index = cacheGuess(iotlb, key, tag);
    const value = load<u64>(cacheEntry(iotlb, index), CACHED_VALUE);
    if (!cacheIsEntry(iotlb, index, key, tag) || accessOf(is) & ~(<u32>value)) return i;
    changetype<T>(0).touch(iotlb, index);
    store<u64>(physicals + (i << 3), (value & ~inPage) | (iova & inPage));
    store<u32>(statuses + (i << 2), status);
  }
  return total;
}

// @ts-ignore: decorator
@inline
function accessOf(what: u32): u32 {
  return what & <u32>ACCESS_IS_WRITE ? ACCESS_WRITE : ACCESS_READ;
}

/** Runs a batch of accesses. Refuses it, unchanged, when it names a device that there is not (STATUS_INVALID). */
export function simulatorRun(simulator: usize, batch: usize): i32 {
  const iovas = <usize>load<u32>(batch, ACCESS_BATCH_IOVA);
  const what = <usize>load<u32>(batch, ACCESS_BATCH_WHAT);
  const physicals = <usize>load<u32>(batch, ACCESS_BATCH_PHYSICAL);
  const statuses = <usize>load<u32>(batch, ACCESS_BATCH_STATUS);
  const devices = <usize>load<u32>(simulator, SIMULATOR_DEVICES);
  const deviceCount = load<u32>(simulator, SIMULATOR_DEVICE_COUNT);
  const total = <usize>load<u32>(batch, ACCESS_BATCH_COUNT);
  let highest: u32 = 0;
  let moved: u64 = 0;
  for (let i: usize = 0; i < total; i++) {
    const is = load<u32>(what + (i << 2));
    highest = max<u32>(highest, is);
    moved += <u64>(is & <u32>ACCESS_BYTES_MASK);
  }
  if (total && highest >> <u32>ACCESS_DEVICE_SHIFT >= deviceCount) return STATUS_INVALID;

  const configurationFirst = load<u32>(simulator, SIMULATOR_CONFIGURATION_FIRST) != 0;
  const lru = load<u32>(<usize>load<u32>(simulator, SIMULATOR_IOTLBS), CACHE_REPLACEMENT) == REPLACEMENT_LRU;
  let before: usize = 0;
  let misses: u64 = 0;
  for (let i: usize = 0; i < total; ) {
    const iova = load<u64>(iovas + (i << 3));
    const is = load<u32>(what + (i << 2));
    const device = <usize>load<u32>(devices + (<usize>(is >> <u32>ACCESS_DEVICE_SHIFT) << 2));
    const access = accessOf(is);
    if (configurationFirst) {
      configure(simulator, device, device == before);
      before = device;
    }
    let status = lookUp(simulator, iova, load<u64>(device, DEVICE_IOTLB), access);
    const missed = status == NOT_FOUND;
    if (missed) {
      misses++;
      status = miss(simulator, device, iova, access, foundIndex >= 0);
    }
    store<u64>(physicals + (i << 3), status & <u32>WALK_OUTCOME_MASK ? 0 : walkedPhysical);
    store<u32>(statuses + (i << 2), status);
    // Hits seldom come alone.
    if (missed || configurationFirst) i++;
    else if (lru) i = runHits<TouchLru>(simulator, batch, i + 1, total);
    else i = runHits<TouchOther>(simulator, batch, i + 1, total);
  }
  count(simulator, SIMULATOR_REQUESTS, <u64>total);
  count(simulator, SIMULATOR_IOTLB_LOOKUPS, <u64>total);
  count(simulator, SIMULATOR_IOTLB_HITS, <u64>total - misses);
  count(simulator, SIMULATOR_BYTES_MOVED, moved);
  return STATUS_OK;
}

/** Sets all counters to 0; caches stay as they are. */
export function simulatorClearCounters(simulator: usize): void {
  memory.fill(simulator + SIMULATOR_COUNTERS, 0, SIMULATOR_COUNTERS_END - SIMULATOR_COUNTERS);
}
