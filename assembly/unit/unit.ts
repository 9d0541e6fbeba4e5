/**
 * The translation half of a remapping unit, whatever its architecture. What the requests of one source go through (which
 * table, which second stage, which tags) is a regime (regime.ts); the architecture's own side resolves it from the entries in
 * memory and hands it in, so that a batch (translate.ts) only stops where a source is new.
 */
import { iotlbInit, iotlbInvalidate, iotlbRelease } from "../cache/iotlb";
import {
  NO_PASID,
  UNIT_BYTES,
  UNIT_CACHES,
  UNIT_INTERCEPT_FIRST,
  UNIT_INTERCEPT_LAST,
  UNIT_IOTLB,
  UNIT_OTHERS,
  UNIT_SOURCES,
} from "../layout";
import {
  hashErase,
  hashFind,
  hashHas,
  hashInit,
  hashInsert,
  hashRelease,
  hashReserve,
  hashSetValue,
  hashValue,
} from "../memory/hash";
import { heapAllocate, heapFree } from "../memory/heap";

const SOURCES_BYTES: usize = 256 * 4;
/** Sources below this, without PASID, are found without hashing. */
const DIRECT_SOURCES: u32 = 1 << 16;

/** Makes a unit with an empty IOTLB, or with `caches` (UNIT_CACHES) in its place; 0 when memory is exhausted. */
export function unitCreate(sets: u32, caches: usize): usize {
  const unit = heapAllocate(UNIT_BYTES);
  if (!unit) return 0;
  const sources = heapAllocate(SOURCES_BYTES);
  store<u32>(unit, <u32>sources, UNIT_SOURCES);
  store<u32>(unit, <u32>caches, UNIT_CACHES);
  // An empty range: nothing is intercepted.
  store<u64>(unit, 0, UNIT_INTERCEPT_FIRST);
  store<u64>(unit, -1, UNIT_INTERCEPT_LAST);
  return sources && hashInit(unit + UNIT_OTHERS) && iotlbInit(unit + UNIT_IOTLB, sets) ? unit : 0;
}

/** Gives back a unit; its regimes stay with whoever made them. */
export function unitRelease(unit: usize): void {
  const sources = <usize>load<u32>(unit, UNIT_SOURCES);
  for (let bus: usize = 0; bus < SOURCES_BYTES; bus += 4) {
    const functions = <usize>load<u32>(sources + bus);
    if (functions) heapFree(functions, SOURCES_BYTES);
  }
  heapFree(sources, SOURCES_BYTES);
  hashRelease(unit + UNIT_OTHERS);
  iotlbRelease(unit + UNIT_IOTLB);
  heapFree(unit, UNIT_BYTES);
}

// @ts-ignore: decorator
@inline
export function sourceKey(source: u32, pasid: u32): u64 {
  return <u64>source | (<u64>(pasid + 1) << 32);
}

/**
 * Sets (or with 0 forgets) what requests of this source and PASID (NO_PASID: without) go through; false, nothing changed,
 * when memory is exhausted.
 */
export function unitSetRegime(unit: usize, source: u32, pasid: u32, regime: usize): bool {
  if (pasid == <u32>NO_PASID && source < DIRECT_SOURCES) {
    const bus = <usize>load<u32>(unit, UNIT_SOURCES) + (<usize>(source >> 8) << 2);
    let functions = <usize>load<u32>(bus);
    if (!functions) {
      if (!regime) return true;
      functions = heapAllocate(SOURCES_BYTES);
      if (!functions) return false;
      store<u32>(bus, <u32>functions);
    }
    store<u32>(functions + (<usize>(source & 0xff) << 2), <u32>regime);
    return true;
  }
  const others = unit + UNIT_OTHERS;
  if (regime && !hashReserve(others, 1)) return false;
  const key = sourceKey(source, pasid);
  const slot = hashFind(others, key);
  if (hashHas(slot)) {
    if (regime) hashSetValue(slot, <u64>regime);
    else hashErase(others, slot);
  } else if (regime) {
    hashInsert(others, slot, key, <u64>regime);
  }
  return true;
}

/** What requests of this source and PASID go through, or 0 when that is not known. */
export function regimeOf(unit: usize, source: u32, pasid: u32): usize {
  if (pasid == <u32>NO_PASID && source < DIRECT_SOURCES) {
    const functions = <usize>load<u32>(<usize>load<u32>(unit, UNIT_SOURCES) + (<usize>(source >> 8) << 2));
    return functions ? <usize>load<u32>(functions + (<usize>(source & 0xff) << 2)) : 0;
  }
  const slot = hashFind(unit + UNIT_OTHERS, sourceKey(source, pasid));
  return hashHas(slot) ? <usize>hashValue(slot) : 0;
}

/**
/** Drops entries of the direct-mapped IOTLB: see `iotlbInvalidate`. */
export function unitInvalidate(unit: usize, mask: u64, owner: u64, first: u64, last: u64): u32 {
  return iotlbInvalidate(unit + UNIT_IOTLB, mask, owner, first, last);
}

@inline
export function isIntercepted(unit: usize, iova: u64): bool {
  const first = load<u64>(unit, UNIT_INTERCEPT_FIRST);
  return iova - first < load<u64>(unit, UNIT_INTERCEPT_LAST) - first + 1;
}
