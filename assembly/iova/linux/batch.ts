/** Batches of requests to Linux's allocator, in bytes (IOVA_BATCH_* of layout.ts). */
import {
  IOVA_BATCH_COUNT,
  IOVA_BATCH_IOVA,
  IOVA_BATCH_LENGTH,
  IOVA_BATCH_STATUS,
  STATUS_MEMORY_EXHAUSTED,
  STATUS_MISALIGNED,
  STATUS_OK,
  STATUS_SPACE_EXHAUSTED,
} from "../../layout";
import { AT_ONCE, allocateFor, giveBack, NO_MEMORY } from "./domain";
import { GRANULE_SHIFT, stateOf } from "./state";

/** Allocates for a device every length of a batch; returns how many failed. */
export function linuxIovaAllocateBatch(domain: usize, batch: usize, device: u32, cpu: u32): i32 {
  const total = load<u32>(batch, IOVA_BATCH_COUNT);
  const iovas = <usize>load<u32>(batch, IOVA_BATCH_IOVA);
  const lengths = <usize>load<u32>(batch, IOVA_BATCH_LENGTH);
  const statuses = <usize>load<u32>(batch, IOVA_BATCH_STATUS);
  const shift = <u64>load<u32>(stateOf(domain), GRANULE_SHIFT);
  let failed: i32 = 0;
  for (let i: u32 = 0; i < total; i++) {
    const length = load<u64>(lengths + (<usize>i << 3));
    let status = STATUS_MISALIGNED;
    let iova = u64.MAX_VALUE;
    if (length && !(length & (((<u64>1) << shift) - 1))) {
      const first = allocateFor(domain, device, length >> shift, cpu);
      status = first == NO_MEMORY ? STATUS_MEMORY_EXHAUSTED : first ? STATUS_OK : STATUS_SPACE_EXHAUSTED;
      if (status == STATUS_OK) iova = first << shift;
    }
    if (status != STATUS_OK) failed++;
    store<u64>(iovas + (<usize>i << 3), iova);
    store<u32>(statuses + (<usize>i << 2), status);
  }
  return failed;
}

/** Frees every IOVA of a batch with its length; returns how many failed. */
export function linuxIovaFreeBatch(domain: usize, batch: usize, cpu: u32): i32 {
  const total = load<u32>(batch, IOVA_BATCH_COUNT);
  const iovas = <usize>load<u32>(batch, IOVA_BATCH_IOVA);
  const lengths = <usize>load<u32>(batch, IOVA_BATCH_LENGTH);
  const statuses = <usize>load<u32>(batch, IOVA_BATCH_STATUS);
  const shift = <u64>load<u32>(stateOf(domain), GRANULE_SHIFT);
  const granuleMask = ((<u64>1) << shift) - 1;
  let failed: i32 = 0;
  for (let i: u32 = 0; i < total; i++) {
    const iova = load<u64>(iovas + (<usize>i << 3));
    const length = load<u64>(lengths + (<usize>i << 3));
    const status =
      !length || (iova | length) & granuleMask
        ? STATUS_MISALIGNED
        : giveBack(domain, iova >> shift, length >> shift, cpu, AT_ONCE);
    if (status != STATUS_OK) failed++;
    store<u32>(statuses + (<usize>i << 2), status);
  }
  return failed;
}
