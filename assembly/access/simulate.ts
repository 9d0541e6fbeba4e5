/**
 * Accesses of devices through a remapping unit's caches: IOTLB, paging-structure caches, nested translations, configuration.
 * Everything is counted. A simulator and its devices are laid out as SIMULATOR_* and DEVICE_* of layout.ts say, and set up
 * by src/access/simulator.ts.
 */
import { orderTouch } from "../cache/replacement";
import {
  cacheEntry,
  cacheFill,
  cacheFind,
  cacheFindHeld,
  cacheShift,
  cacheTouch,
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
  CACHED_BYTES,
  CACHED_OWNER,
  CACHE_FINGERPRINTS,
  CACHE_ORDER,
  CACHE_ORDER_STRIDE,
  CACHE_REPLACEMENT,
  CACHE_SETS,
  CACHE_SIZES,
  CACHE_STRIDE,
  CACHE_TAGS,
  CACHE_USES,
  CACHE_VALUES,
  CACHE_WAYS,
  CACHE_WAY_BITS,
  DEVICE_CONTEXT_READS,
  DEVICE_CONTEXT_TAG,
  DEVICE_IOTLB,
  DEVICE_PASID_READS,
  DEVICE_PASID_TAG,
  SIMULATOR_BYTES_MOVED,
  SIMULATOR_CONFIGURATION_FIRST,
  SIMULATOR_CONFIGURATION_READS,
  SIMULATOR_CONTEXT,
  SIMULATOR_CONTEXT_HITS,
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
  SIMULATOR_PASID_HITS,
  SIMULATOR_PASID_LOOKUPS,
  SIMULATOR_REQUESTS,
  STATUS_INVALID,
  STATUS_OK,
  WALK_OK,
  WALK_OUTCOME_MASK,
} from "../layout";
import { count } from "../table/table";
import { statusWord } from "../table/walk";
import { recall, remember, sizeShift, walkSlowly, walkedPhysical } from "./walk";

/** Configuration entries are found by their tags alone. */
const CONFIGURATION_SHIFT: u32 = 12;

/** Looks one configuration cache up; a miss reads `reads` entries. `again`: nothing else was looked up since. */
function configure(
  simulator: usize,
  cache: usize,
  reads: u32,
  again: bool,
  tags: usize,
  lookups: usize,
  hits: usize,
): void {
  if (!cache || !reads) return;
  count(simulator, lookups, 1);
  if (again) {
    count(simulator, hits, 1);
    return;
  }
  const tag = load<u64>(tags);
  const index = cacheFind(cache, 0, CONFIGURATION_SHIFT, tag);
  if (index >= 0) {
    cacheTouch(cache, index);
    count(simulator, hits, 1);
    return;
  }
  count(simulator, SIMULATOR_CONFIGURATION_READS, <u64>reads);
  store<u64>(cacheEntry(cache, cacheFill(cache, 0, CONFIGURATION_SHIFT, tag)), load<u64>(tags, 8), CACHED_OWNER);
}

function configureSlowly(simulator: usize, device: usize, again: bool): void {
  configure(
    simulator,
    <usize>load<u32>(simulator, SIMULATOR_CONTEXT),
    load<u32>(device, DEVICE_CONTEXT_READS),
    again,
    device + DEVICE_CONTEXT_TAG,
    SIMULATOR_CONTEXT_LOOKUPS,
    SIMULATOR_CONTEXT_HITS,
  );
  configure(
    simulator,
    <usize>load<u32>(simulator, SIMULATOR_PASID),
    load<u32>(device, DEVICE_PASID_READS),
    again,
    device + DEVICE_PASID_TAG,
    SIMULATOR_PASID_LOOKUPS,
    SIMULATOR_PASID_HITS,
  );
}

/**
 * Walks for an access that no IOTLB entry allows, and keeps what it finds. `denied`: there may be an entry that allows less
 * than the table does now, whose place it takes. Returns the status word.
 */
function missSlowly(simulator: usize, device: usize, iova: u64, access: u32, denied: bool): u32 {
  if (!load<u32>(simulator, SIMULATOR_CONFIGURATION_FIRST)) configureSlowly(simulator, device, false);
  const status = walkSlowly(simulator, device, iova, access);
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
function lookUpSlowly(simulator: usize, iova: u64, tag: u64, access: u32): u32 {
  const iotlb = splitFind(simulator + SIMULATOR_IOTLBS, iova, tag);
  if (!iotlb) return NOT_FOUND;
  const shift = cacheShift(iotlb, foundIndex);
  if (!recall(iotlb, foundIndex, shift, iova, access)) return NOT_FOUND;
  cacheTouch(iotlb, foundIndex);
  return statusWord(WALK_OK, 0, 0, shift);
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
  for (let i: usize = 0; i < total; i++) highest = max<u32>(highest, load<u32>(what + (i << 2)));
  if (total && highest >> <u32>ACCESS_DEVICE_SHIFT >= deviceCount) return STATUS_INVALID;

  const configurationFirst = load<u32>(simulator, SIMULATOR_CONFIGURATION_FIRST) != 0;
  // The first IOTLB, held in registers: where it is the only one and has pages of one size there is one look-up.
  const iotlb = <usize>load<u32>(simulator, SIMULATOR_IOTLBS);
  const alone = !load<u32>(simulator, SIMULATOR_IOTLBS + 4);
  const fingerprints = <usize>load<u32>(iotlb, CACHE_FINGERPRINTS);
  const tags = <usize>load<u32>(iotlb, CACHE_TAGS);
  const values = <usize>load<u32>(iotlb, CACHE_VALUES);
  const order = <usize>load<u32>(iotlb, CACHE_ORDER);
  const orderStride = <usize>load<u32>(iotlb, CACHE_ORDER_STRIDE);
  const replacement = load<u32>(iotlb, CACHE_REPLACEMENT);
  const lastSet = load<u32>(iotlb, CACHE_SETS) - 1;
  const ways = load<u32>(iotlb, CACHE_WAYS);
  const stride = <usize>load<u32>(iotlb, CACHE_STRIDE);
  const wayBits = <usize>load<u32>(iotlb, CACHE_WAY_BITS);
  const wayMask = (<u32>1 << <u32>wayBits) - 1;
  let sizes = load<u64>(iotlb, CACHE_SIZES);
  let before: usize = 0;
  let hits: u64 = 0;
  let moved: u64 = 0;
  for (let i: usize = 0; i < total; i++) {
    const iova = load<u64>(iovas + (i << 3));
    const is = load<u32>(what + (i << 2));
    const device = <usize>load<u32>(devices + (<usize>(is >> <u32>ACCESS_DEVICE_SHIFT) << 2));
    const access: u32 = is & <u32>ACCESS_IS_WRITE ? ACCESS_WRITE : ACCESS_READ;
    moved += <u64>(is & <u32>ACCESS_BYTES_MASK);
    if (configurationFirst) {
      configureSlowly(simulator, device, device == before);
      before = device;
    }
    const tag = load<u64>(device, DEVICE_IOTLB);
    let denied = true;
    if (alone && !(sizes & (sizes - 1))) {
      const shift = <u32>ctz(sizes);
      const index = cacheFindHeld(fingerprints, tags, lastSet, stride, wayBits, iova, shift, tag);
      if (index >= 0) {
        const value = load<u64>(values + <usize>index * <usize>CACHED_BYTES);
        if ((<u32>value & access) == access) {
          const inPage = ((<u64>1) << <u64>shift) - 1;
          const way = <u32>index & wayMask;
          orderTouch(replacement, order + (<usize>index >> wayBits) * orderStride, way, ways, iotlb + CACHE_USES);
          store<u64>(physicals + (i << 3), (value & ~inPage) | (iova & inPage));
          store<u32>(statuses + (i << 2), statusWord(WALK_OK, 0, 0, shift));
          hits++;
          continue;
        }
      }
      denied = index >= 0;
    } else {
      const status = lookUpSlowly(simulator, iova, tag, access);
      if (status != NOT_FOUND) {
        store<u64>(physicals + (i << 3), walkedPhysical);
        store<u32>(statuses + (i << 2), status);
        hits++;
        continue;
      }
    }
    const status = missSlowly(simulator, device, iova, access, denied);
    sizes = load<u64>(iotlb, CACHE_SIZES);
    store<u64>(physicals + (i << 3), status & <u32>WALK_OUTCOME_MASK ? 0 : walkedPhysical);
    store<u32>(statuses + (i << 2), status);
  }
  count(simulator, SIMULATOR_REQUESTS, <u64>total);
  count(simulator, SIMULATOR_IOTLB_LOOKUPS, <u64>total);
  count(simulator, SIMULATOR_IOTLB_HITS, hits);
  count(simulator, SIMULATOR_BYTES_MOVED, moved);
  return STATUS_OK;
}

/** Sets all counters to 0; caches stay as they are. */
export function simulatorClearCounters(simulator: usize): void {
  memory.fill(simulator + SIMULATOR_COUNTERS, 0, SIMULATOR_COUNTERS_END - SIMULATOR_COUNTERS);
}
