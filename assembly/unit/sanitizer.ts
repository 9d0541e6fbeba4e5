/**
 * Notes accesses that stale translations let through, in a ring that is read in batches. An access is stale when it
 * reached another address than an uncached walk of memory as it is would give it, or any although that walk faults.
 */
import {
  SANITIZER_CAPACITY,
  SANITIZER_OPERATION,
  SANITIZER_RECORDS,
  SANITIZER_WRITTEN,
  STALE_ACCESS,
  STALE_BYTES,
  STALE_FROM,
  STALE_IOVA,
  STALE_NOW,
  STALE_OPERATION,
  STALE_OWNER,
  STALE_PASID,
  STALE_PHYSICAL,
  STALE_SOURCE,
} from "../layout";

/** The ring of the batch being translated, or 0. */
export let sanitizer: usize = 0;

export function sanitizerUse(ring: usize): void {
  sanitizer = ring;
}

/** Notes one stale access. `now`: where memory leads, or all ones. */
export function sanitizerNote(
  source: u32,
  pasid: u32,
  access: u32,
  iova: u64,
  physical: u64,
  now: u64,
  owner: u64,
  from: u32,
): void {
  const written = load<u32>(sanitizer, SANITIZER_WRITTEN);
  const place = <usize>(written % load<u32>(sanitizer, SANITIZER_CAPACITY));
  const record = <usize>load<u32>(sanitizer, SANITIZER_RECORDS) + place * <usize>STALE_BYTES;
  store<u32>(sanitizer, written + 1, SANITIZER_WRITTEN);
  store<u64>(record, iova, STALE_IOVA);
  store<u64>(record, physical, STALE_PHYSICAL);
  store<u64>(record, now, STALE_NOW);
  store<u64>(record, owner, STALE_OWNER);
  store<u32>(record, source, STALE_SOURCE);
  store<u32>(record, pasid, STALE_PASID);
  store<u32>(record, access, STALE_ACCESS);
  store<u32>(record, load<u32>(sanitizer, SANITIZER_OPERATION), STALE_OPERATION);
  store<u32>(record, from, STALE_FROM);
}
