/** The requests of a batch (UNIT_BATCH_* of layout.ts), and one of them made by itself. */
import {
  NO_PASID,
  UNIT_BATCH_ACCESS,
  UNIT_BATCH_ACCESSES,
  UNIT_BATCH_FAULTS,
  UNIT_BATCH_FAULT_COUNT,
  UNIT_BATCH_IOVA,
  UNIT_BATCH_PASIDS,
  UNIT_BATCH_PHYSICAL,
  UNIT_BATCH_SOURCES,
  UNIT_BATCH_STATUS,
  WALK_OUTCOME_MASK,
} from "../layout";
import { UNRESOLVED, translateSlowly } from "./request";
import { sanitizer } from "./sanitizer";
import { sanitizeSlowly } from "./stale";
import { regimeOf } from "./unit";

// @ts-ignore: decorator
@inline
export function accessAt(batch: usize, i: u32): u32 {
  const accesses = <usize>load<u32>(batch, UNIT_BATCH_ACCESSES);
  return accesses ? <u32>load<u8>(accesses + i) : load<u32>(batch, UNIT_BATCH_ACCESS);
}

// @ts-ignore: decorator
@inline
export function sourceAt(batch: usize, i: u32): u32 {
  return load<u32>(<usize>load<u32>(batch, UNIT_BATCH_SOURCES) + (<usize>i << 2));
}

// @ts-ignore: decorator
@inline
export function pasidAt(batch: usize, i: u32): u32 {
  const pasids = <usize>load<u32>(batch, UNIT_BATCH_PASIDS);
  return pasids ? load<u32>(pasids + (<usize>i << 2)) : <u32>NO_PASID;
}

// @ts-ignore: decorator
@inline
export function iovaAt(batch: usize, i: u32): u64 {
  return load<u64>(<usize>load<u32>(batch, UNIT_BATCH_IOVA) + (<usize>i << 3));
}

/** A request made by itself; false, and nothing happened, when its regime is not known or to be resolved anew. */
export function translateOneSlowly(unit: usize, batch: usize, i: u32): bool {
  const source = sourceAt(batch, i);
  const pasid = pasidAt(batch, i);
  const regime = regimeOf(unit, source, pasid);
  if (!regime) return false;
  const iova = iovaAt(batch, i);
  const access = accessAt(batch, i);
  const result = <usize>load<u32>(batch, UNIT_BATCH_PHYSICAL) + (<usize>i << 3);
  const status = translateSlowly(unit, regime, iova, access, result);
  if (status == UNRESOLVED) return false;
  store<u32>(<usize>load<u32>(batch, UNIT_BATCH_STATUS) + (<usize>i << 2), status);
  if (status & <u32>WALK_OUTCOME_MASK) noteFault(batch, i);
  else if (sanitizer) sanitizeSlowly(regime, source, pasid, iova, access, load<u64>(result));
  return true;
}

function noteFault(batch: usize, index: u32): void {
  const faults = load<u32>(batch, UNIT_BATCH_FAULT_COUNT);
  store<u32>(<usize>load<u32>(batch, UNIT_BATCH_FAULTS) + (<usize>faults << 2), index);
  store<u32>(batch, faults + 1, UNIT_BATCH_FAULT_COUNT);
}
