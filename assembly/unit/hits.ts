/**
 * Runs of requests that a unit's one set-associative IOTLB answers, each by one look-up. Answers and counters are those of
 * requests made by themselves.
 */
import { valueGrants, valueIsClean, valuePhysical } from "../cache/iotlb";
import { cacheEntry, cacheGuess, cacheIsEntry, cacheTouch } from "../cache/set-associative";
import {
  ACCESS_EXECUTE,
  ACCESS_PRIVILEGED,
  ACCESS_WRITE,
  CACHED_VALUE,
  CACHE_SIZES,
  INTERRUPT_FIRST,
  NO_PASID,
  REGIME_FLAGS,
  REGIME_LIMITS_INPUT,
  REGIME_REFUSED_SPAN,
  REGIME_TABLE,
  REGIME_TAG,
  REGIME_TWO_HALVES,
  SIMULATOR_CONFIGURATION_FIRST,
  SIMULATOR_IOTLBS,
  UNIT_BATCH_COUNT,
  UNIT_BATCH_PHYSICAL,
  UNIT_BATCH_STATUS,
  UNIT_CACHES,
  UNIT_IOTLB_HITS,
  UNIT_IOTLB_LOOKUPS,
  WALK_OK,
} from "../layout";
import { count } from "../table/table";
import { statusWord } from "../table/walk";
import { accessInForce } from "./access";
import { accessAt, iovaAt, pasidAt, sourceAt } from "./batch";
import { needed } from "./request";
import { sanitizer } from "./sanitizer";
import { isIntercepted, regimeOf } from "./unit";

/** Whether every address goes through one table, whatever it is. */
// @ts-ignore: decorator
@inline
function isPlain(regime: usize): bool {
  return (
    load<u32>(regime, REGIME_TABLE) != 0 &&
    !(load<u32>(regime, REGIME_FLAGS) & <u32>(REGIME_TWO_HALVES | REGIME_LIMITS_INPUT))
  );
}

/** Makes the requests from number `from` on. Returns the number of the first that needs more, and has not been made. */
export function runHits(unit: usize, batch: usize, from: u32): u32 {
  const caches = <usize>load<u32>(unit, UNIT_CACHES);
  const iotlb = <usize>load<u32>(caches, SIMULATOR_IOTLBS);
  const size = load<u64>(iotlb, CACHE_SIZES);
  const alone = !load<u32>(caches, SIMULATOR_IOTLBS + 4) && !(size & (size - 1));
  if (!alone || load<u32>(caches, SIMULATOR_CONFIGURATION_FIRST) || sanitizer) return from;
  const total = load<u32>(batch, UNIT_BATCH_COUNT);
  const physicals = <usize>load<u32>(batch, UNIT_BATCH_PHYSICAL);
  const statuses = <usize>load<u32>(batch, UNIT_BATCH_STATUS);
  const shift = <u32>ctz(size);
  const status = statusWord(WALK_OK, 0, 0, shift);
  let source: u32 = 0;
  let pasid: u32 = 0;
  let regime: usize = 0;
  let i = from;
  for (; i < total; i++) {
    const iova = iovaAt(batch, i);
    if (!regime || sourceAt(batch, i) != source || pasidAt(batch, i) != pasid) {
      source = sourceAt(batch, i);
      pasid = pasidAt(batch, i);
      regime = regimeOf(unit, source, pasid);
      if (!regime || !isPlain(regime)) break;
    }
    if (pasid == <u32>NO_PASID && isIntercepted(unit, iova)) break;
    const access = accessInForce(regime, accessAt(batch, i));
    if (access & <u32>(ACCESS_PRIVILEGED | ACCESS_EXECUTE)) break;
    const key = (iova & ~(size - 1)) | <u64>shift;
    const tag = load<u64>(regime, REGIME_TAG);
    const index = cacheGuess(iotlb, key, tag);
    if (!cacheIsEntry(iotlb, index, key, tag)) break;
    const value = load<u64>(cacheEntry(iotlb, index), CACHED_VALUE);
    if (needed(access) & ~valueGrants(value) || (access & <u32>ACCESS_WRITE && valueIsClean(value))) break;
    const physical = valuePhysical(value, shift, iova);
    if (physical - <u64>INTERRUPT_FIRST < load<u64>(regime, REGIME_REFUSED_SPAN)) break;
    cacheTouch(iotlb, index);
    store<u64>(physicals + (<usize>i << 3), physical);
    store<u32>(statuses + (<usize>i << 2), status);
  }
  count(unit, UNIT_IOTLB_LOOKUPS, <u64>(i - from));
  count(unit, UNIT_IOTLB_HITS, <u64>(i - from));
  return i;
}
