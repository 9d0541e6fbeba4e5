/**
 * The state of one of Linux's IOVA domains: one block of linear memory in which everything refers to everything else by
 * offset, so that saving and restoring it is one copy, and growing it, too. Offset 0 is this header and stands for
 * "none".
 *
 * A domain's handle is the address of a record that never moves: the state's address and size, and the saved state's.
 */
import {
  LINUX_COUNTERS,
  LINUX_COUNTERS_BYTES,
  LINUX_STATE,
  STATUS_INVALID,
  STATUS_MEMORY_EXHAUSTED,
  STATUS_OK,
} from "../../layout";
import { heapAllocate, heapDouble, heapFree } from "../../memory/heap";

const HANDLE_BYTES: usize = 16;
const CAPACITY: usize = 4;
const SAVED: usize = 8;
const SAVED_CAPACITY: usize = 12;

/** u32: bytes in use. */
const USED: usize = 0;
/** u32: first of the free ranges and of the free magazines. */
export const FREE_RANGE: usize = 4;
export const FREE_MAGAZINE: usize = 8;
/** u32: root of the tree; `anchor`, `cached_node` and `cached32_node` of struct iova_domain. */
export const ROOT: usize = 12;
export const ANCHOR: usize = 16;
export const CACHED: usize = 20;
export const CACHED32: usize = 24;
/** u32: state of the generator of tree priorities. */
export const SEED: usize = 28;
/** u64: `start_pfn`, `dma_32bit_pfn` and `max32_alloc_size`. */
export const START: usize = 32;
export const END32: usize = 40;
export const MAX32: usize = 48;
/** u32: an allocation is aligned to its size rounded up to a power of two, within these powers of two (log2). */
export const LEAST_ALIGNMENT: usize = 56;
export const MOST_ALIGNMENT: usize = 60;
/** u32: offset of the CPUs' records (u32 offsets, 0: not used yet), how many it has room for, how many are online. */
export const CPU_TABLE: usize = 64;
export const CPU_CAPACITY: usize = 68;
export const ONLINE: usize = 72;
/** u32: the CPU that did something last. */
export const LAST_CPU: usize = 76;
/** u64: the time, in jiffies. */
export const NOW: usize = 80;
/** u32: jiffies a second; log2 of the granule; LINUX_FLUSH_*. */
export const HZ: usize = 88;
export const GRANULE_SHIFT: usize = 92;
export const FLUSH: usize = 96;
/** u64: `fq_flush_start_cnt`, `fq_flush_finish_cnt`; when the flush timer fires, or NEVER. */
export const FLUSH_STARTED: usize = 104;
export const FLUSH_FINISHED: usize = 112;
export const FLUSH_DUE: usize = 120;
/** The ring that all CPUs share (flush-queue.ts), where they do. */
export const SHARED_RING: usize = 128;
/** struct iova_rcache of every order (magazines.ts). */
export const DEPOTS: usize = 144;
const HEADER_BYTES: usize = <usize>LINUX_COUNTERS + <usize>LINUX_COUNTERS_BYTES;

export const NEVER: u64 = u64.MAX_VALUE;

// @ts-ignore: decorator
@inline
export function stateOf(domain: usize): usize {
  return <usize>load<u32>(domain, LINUX_STATE);
}

/** A domain with an empty state; 0 when memory is exhausted. */
export function stateCreate(): usize {
  const domain = heapAllocate(HANDLE_BYTES);
  const capacity: usize = 16384;
  const state = heapAllocate(capacity);
  if (!domain || !state) return 0;
  store<u32>(domain, <u32>state, LINUX_STATE);
  store<u32>(domain, <u32>capacity, CAPACITY);
  store<u32>(state, <u32>HEADER_BYTES, USED);
  return domain;
}

export function stateRelease(domain: usize): void {
  heapFree(stateOf(domain), <usize>load<u32>(domain, CAPACITY));
  heapFree(<usize>load<u32>(domain, SAVED), <usize>load<u32>(domain, SAVED_CAPACITY));
  heapFree(domain, HANDLE_BYTES);
}

/** Makes sure that `bytes` more can be taken; the state may move. False, nothing changed, when memory is exhausted. */
// @ts-ignore: decorator
@inline
export function stateReserve(domain: usize, bytes: usize): bool {
  return <usize>load<u32>(stateOf(domain), USED) + bytes <= <usize>load<u32>(domain, CAPACITY) || grow(domain, bytes);
}

function grow(domain: usize, bytes: usize): bool {
  const need = <usize>load<u32>(stateOf(domain), USED) + bytes;
  while (<usize>load<u32>(domain, CAPACITY) < need) {
    const capacity = <usize>load<u32>(domain, CAPACITY);
    const state = heapDouble(stateOf(domain), capacity);
    if (!state) return false;
    store<u32>(domain, <u32>state, LINUX_STATE);
    store<u32>(domain, <u32>(capacity << 1), CAPACITY);
  }
  return true;
}

/** Offset of `bytes` (a multiple of 8) more, whose content is not known. `stateReserve` came before. */
export function stateTake(state: usize, bytes: usize): u32 {
  const at = load<u32>(state, USED);
  store<u32>(state, at + <u32>bytes, USED);
  return at;
}

/** Keeps the state of now for `stateRestore`, in place of the one kept before. */
export function stateSave(domain: usize): i32 {
  const used = <usize>load<u32>(stateOf(domain), USED);
  if (<usize>load<u32>(domain, SAVED_CAPACITY) < used) {
    const capacity = <usize>load<u32>(domain, CAPACITY);
    const saved = heapAllocate(capacity);
    if (!saved) return STATUS_MEMORY_EXHAUSTED;
    heapFree(<usize>load<u32>(domain, SAVED), <usize>load<u32>(domain, SAVED_CAPACITY));
    store<u32>(domain, <u32>saved, SAVED);
    store<u32>(domain, <u32>capacity, SAVED_CAPACITY);
  }
  memory.copy(<usize>load<u32>(domain, SAVED), stateOf(domain), used);
  return STATUS_OK;
}

/** Goes back to the state that `stateSave` kept; STATUS_INVALID when there is none. */
export function stateRestore(domain: usize): i32 {
  const saved = <usize>load<u32>(domain, SAVED);
  if (!saved) return STATUS_INVALID;
  memory.copy(stateOf(domain), saved, <usize>load<u32>(saved, USED));
  return STATUS_OK;
}

/** Adds to a counter (LINUX_COUNT_* of layout.ts). */
// @ts-ignore: decorator
@inline
export function countUp(state: usize, counter: usize, by: u64): void {
  store<u64>(state + counter, load<u64>(state + counter, LINUX_COUNTERS) + by, LINUX_COUNTERS);
}
