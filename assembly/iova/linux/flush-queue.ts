/**
 * The flush queue of drivers/iommu/dma-iommu.c, Linux 6.12 and 7.2 (`queue_iova` and what belongs to it): ranges wait in
 * a ring until the IOTLB has been flushed. A ring a CPU, or one for all.
 */
import { LINUX_COUNT_IOTLB_FLUSHES, LINUX_FLUSH_LAZY, LINUX_FLUSH_LAZY_SINGLE } from "../../layout";
import { CPU_RING, cpuIsUsed, cpuOf, freeFast } from "./magazines";
import { rangeSetUse, USE_LIVE, USE_QUEUED } from "./ranges";
import {
  countUp,
  FLUSH,
  FLUSH_DUE,
  FLUSH_FINISHED,
  FLUSH_STARTED,
  NEVER,
  ONLINE,
  SHARED_RING,
  stateOf,
  stateTake,
} from "./state";
import { timerAfter } from "./timers";

/** struct iova_fq: u32 offset of the entries, and `mod_mask`, `head` and `tail`. */
const RING_ENTRIES: usize = 0;
const RING_MASK: usize = 4;
const RING_HEAD: usize = 8;
const RING_TAIL: usize = 12;

/** struct iova_fq_entry: u64 `counter`, u32 offset of the range, u32 order of the size that was freed. */
const ENTRY_BYTES: usize = 16;
const ENTRY_RANGE: usize = 8;
const ENTRY_ORDER: usize = 12;

/** IOVA_DEFAULT_FQ_SIZE, IOVA_SINGLE_FQ_SIZE; IOVA_DEFAULT_FQ_TIMEOUT, IOVA_SINGLE_FQ_TIMEOUT in milliseconds. */
const RING_SIZE: u32 = 256;
const SHARED_RING_SIZE: u32 = 32768;
const TIMEOUT: u64 = 10;
const SHARED_TIMEOUT: u64 = 1000;

// @ts-ignore: decorator
@inline
function isShared(state: usize): bool {
  return load<u32>(state, FLUSH) == LINUX_FLUSH_LAZY_SINGLE;
}

// @ts-ignore: decorator
@inline
function ringOf(state: usize, cpu: u32): usize {
  return isShared(state) ? state + SHARED_RING : cpuOf(state, cpu) + CPU_RING;
}

// @ts-ignore: decorator
@inline
function entryOf(state: usize, ring: usize, index: u32): usize {
  return state + <usize>load<u32>(ring, RING_ENTRIES) + <usize>index * ENTRY_BYTES;
}

function ringSize(state: usize): u32 {
  const flush = load<u32>(state, FLUSH);
  return flush == LINUX_FLUSH_LAZY ? RING_SIZE : flush == LINUX_FLUSH_LAZY_SINGLE ? SHARED_RING_SIZE : 0;
}

/** What `ringMake` takes at most. */
export function ringBytes(state: usize): usize {
  return <usize>ringSize(state) * ENTRY_BYTES;
}

/** Makes the ring that a CPU uses, where there is to be one and is none. `stateReserve` came before. */
export function ringMake(state: usize, cpu: u32): void {
  const size = ringSize(state);
  if (!size || load<u32>(ringOf(state, cpu), RING_MASK)) return;
  store<u32>(ringOf(state, cpu), stateTake(state, ringBytes(state)), RING_ENTRIES);
  store<u32>(ringOf(state, cpu), size - 1, RING_MASK);
}

/** `fq_flush_iotlb` */
function flushIotlb(state: usize): void {
  countUp(state, LINUX_COUNT_IOTLB_FLUSHES, 1);
  store<u64>(state, load<u64>(state, FLUSH_STARTED) + 1, FLUSH_STARTED);
  store<u64>(state, load<u64>(state, FLUSH_FINISHED) + 1, FLUSH_FINISHED);
}

/** `fq_ring_free`: what `owner`'s ring holds and has been flushed goes to the magazines of `cpu`. The state may move. */
function freeFlushed(domain: usize, owner: u32, cpu: u32): void {
  while (true) {
    const state = stateOf(domain);
    const ring = ringOf(state, owner);
    const head = load<u32>(ring, RING_HEAD);
    if (head == load<u32>(ring, RING_TAIL)) return;
    const entry = entryOf(state, ring, head);
    if (load<u64>(entry) >= load<u64>(state, FLUSH_FINISHED)) return;
    store<u32>(ring, (head + 1) & load<u32>(ring, RING_MASK), RING_HEAD);
    freeFast(domain, cpu, load<u32>(entry, ENTRY_ORDER), load<u32>(entry, ENTRY_RANGE));
  }
}

/** `queue_iova`; the state may move. */
export function queuePut(domain: usize, cpu: u32, order: u32, range: u32): void {
  freeFlushed(domain, cpu, cpu);
  let ring = ringOf(stateOf(domain), cpu);
  if (((load<u32>(ring, RING_TAIL) + 1) & load<u32>(ring, RING_MASK)) == load<u32>(ring, RING_HEAD)) {
    flushIotlb(stateOf(domain));
    freeFlushed(domain, cpu, cpu);
  }
  const state = stateOf(domain);
  ring = ringOf(state, cpu);
  const tail = load<u32>(ring, RING_TAIL);
  const entry = entryOf(state, ring, tail);
  store<u64>(entry, load<u64>(state, FLUSH_STARTED));
  store<u32>(entry, range, ENTRY_RANGE);
  store<u32>(entry, order, ENTRY_ORDER);
  store<u32>(ring, (tail + 1) & load<u32>(ring, RING_MASK), RING_TAIL);
  rangeSetUse(state, range, USE_QUEUED);
  if (load<u64>(state, FLUSH_DUE) != NEVER) return;
  store<u64>(state, timerAfter(state, isShared(state) ? SHARED_TIMEOUT : TIMEOUT), FLUSH_DUE);
}

/** `fq_flush_timeout` on a CPU. The state may move. */
export function queueTimeout(domain: usize, cpu: u32): void {
  const state = stateOf(domain);
  store<u64>(state, NEVER, FLUSH_DUE);
  flushIotlb(state);
  if (isShared(state)) {
    freeFlushed(domain, cpu, cpu);
    return;
  }
  for (let owner: u32 = 0; owner < load<u32>(stateOf(domain), ONLINE); owner++) {
    if (cpuIsUsed(stateOf(domain), owner)) freeFlushed(domain, owner, cpu);
  }
}

/** Takes a queued range out of its ring; false when it is not in this one. */
function takeFrom(state: usize, ring: usize, range: u32): bool {
  const mask = load<u32>(ring, RING_MASK);
  const tail = load<u32>(ring, RING_TAIL);
  let index = load<u32>(ring, RING_HEAD);
  while (index != tail && load<u32>(entryOf(state, ring, index), ENTRY_RANGE) != range) index = (index + 1) & mask;
  if (index == tail) return false;
  for (let next = (index + 1) & mask; next != tail; next = (next + 1) & mask) {
    v128.store(entryOf(state, ring, (next - 1) & mask), v128.load(entryOf(state, ring, next)));
  }
  store<u32>(ring, (tail - 1) & mask, RING_TAIL);
  return true;
}

/** Takes a queued range out of whichever ring it is in. */
export function queueTake(state: usize, range: u32): void {
  rangeSetUse(state, range, USE_LIVE);
  if (isShared(state)) {
    takeFrom(state, state + SHARED_RING, range);
    return;
  }
  for (let cpu: u32 = 0; cpu < load<u32>(state, ONLINE); cpu++) {
    if (cpuIsUsed(state, cpu) && takeFrom(state, cpuOf(state, cpu) + CPU_RING, range)) return;
  }
}
