/** The entries that configure a source, used by its requests; what they hold is kept by the architecture's own side. */
import { configurationCountHit } from "../cache/configuration";
import { cacheTouch } from "../cache/set-associative";
import {
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
  configurationCountHit(caches + lookups);
  cacheTouch(cache, <i32>place - 1);
}
