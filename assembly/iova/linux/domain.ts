/**
 * One IOVA domain of Linux 6.12 and 7.2 (the two are alike here): `alloc_iova_fast`, `free_iova_fast` and `reserve_iova`
 * of drivers/iommu/iova.c, `iommu_dma_alloc_iova` and the flush queue of drivers/iommu/dma-iommu.c, delayed work and
 * timers included. Everything is counted in pages of the domain's granule.
 *
 * Where Linux finds a range by a walk of the tree (`private_find_iova`), magazines here hold the range itself.
 */
import {
  LINUX_DEVICE_BELOW_4G_FIRST,
  LINUX_DEVICE_BYTES,
  LINUX_DEVICE_LIMIT,
  STATUS_MEMORY_EXHAUSTED,
  STATUS_NOT_ALLOCATED,
  STATUS_OK,
  STATUS_OVERLAP,
} from "../../layout";
import { queuePut, queueTake, queueTimeout, ringBytes, ringMake } from "./flush-queue";
import {
  cacheGet,
  cachesFlush,
  cacheTake,
  cpuIsUsed,
  cpuMake,
  cpusOnline,
  depotsDue,
  depotsInit,
  depotTrim,
  freeFast,
  nextDepot,
  ORDERS,
} from "./magazines";
import {
  rangeFirst,
  rangeFrom,
  rangeHigh,
  rangeLow,
  rangePlant,
  rangeReserve,
  rangeUse,
  USE_CACHED,
  USE_LIVE,
  USE_QUEUED,
} from "./ranges";
import {
  ANCHOR,
  CACHED,
  CACHED32,
  END32,
  FLUSH,
  FLUSH_DUE,
  GRANULE_SHIFT,
  HZ,
  LAST_CPU,
  LEAST_ALIGNMENT,
  MAX32,
  MOST_ALIGNMENT,
  NEVER,
  NEXT_DUE,
  NOW,
  START,
  stateCreate,
  stateOf,
  stateRelease,
  stateReserve,
  stateRestore,
  stateSave,
  stateTake,
} from "./state";
import { orderOf, treeAllocate, treeInsert, treeReserve } from "./tree";

/** What an allocation answers when memory is exhausted; no page has this number. */
export const NO_MEMORY: u64 = u64.MAX_VALUE;
/** In place of a time: do not queue. */
export const AT_ONCE: u64 = u64.MAX_VALUE;

// ---- Making a domain ---------------------------------------------------------------------------------------------

/**
 * `init_iova_domain` for `cpus` CPUs, of which more may come online. Starts are aligned to the size rounded up to a power
 * of two, but no less than 2^leastAlignment and no more than 2^mostAlignment pages. `flush` is one of LINUX_FLUSH_*.
 * Returns 0 when memory is exhausted.
 */
export function linuxIovaCreate(
  cpus: u32,
  granuleShift: u32,
  startPfn: f64,
  leastAlignment: u32,
  mostAlignment: u32,
  flush: u32,
  hz: u32,
): usize {
  const domain = stateCreate();
  if (!domain || !rangeReserve(domain)) return 0;
  const state = stateOf(domain);
  const end32 = (<u64>1) << (32 - <u64>granuleShift);
  rangePlant(state);
  store<u32>(state, load<u32>(state, ANCHOR), CACHED);
  store<u32>(state, load<u32>(state, ANCHOR), CACHED32);
  store<u64>(state, <u64>startPfn, START);
  store<u64>(state, end32, END32);
  store<u64>(state, end32, MAX32);
  store<u32>(state, leastAlignment, LEAST_ALIGNMENT);
  store<u32>(state, mostAlignment, MOST_ALIGNMENT);
  store<u32>(state, granuleShift, GRANULE_SHIFT);
  store<u32>(state, hz, HZ);
  store<u32>(state, flush, FLUSH);
  store<u64>(state, NEVER, FLUSH_DUE);
  store<u64>(state, NEVER, NEXT_DUE);
  depotsInit(state);
  return cpusOnline(domain, cpus) ? domain : 0;
}

export function linuxIovaRelease(domain: usize): void {
  stateRelease(domain);
}

/** Brings CPUs online, so that there are at least so many; false when memory is exhausted. */
export function linuxIovaOnline(domain: usize, cpus: u32): bool {
  return cpusOnline(domain, cpus);
}

/** Notes that a CPU does something, with all it needs for that; the state may move. False when memory is exhausted. */
// @ts-ignore: decorator
@inline
function enter(domain: usize, cpu: u32): bool {
  if (!cpuIsUsed(stateOf(domain), cpu) && !enterSlowly(domain, cpu)) return false;
  store<u32>(stateOf(domain), cpu, LAST_CPU);
  return true;
}

function enterSlowly(domain: usize, cpu: u32): bool {
  if (!cpuMake(domain, cpu, ringBytes(stateOf(domain)))) return false;
  ringMake(stateOf(domain), cpu);
  return true;
}

// ---- Allocating --------------------------------------------------------------------------------------------------

/** Pages that an allocation really takes: what a magazine may hold is rounded up to a power of two. */
// @ts-ignore: decorator
@inline
function sizeFor(pages: u64, order: u32): u64 {
  return order < ORDERS ? (<u64>1) << <u64>order : pages;
}

/** `alloc_iova_fast` below `end`. `enter` and `rangeReserve` came before. */
function allocateFast(state: usize, pages: u64, end: u64, cpu: u32, flush: bool): u64 {
  const order = orderOf(pages);
  const size = sizeFor(pages, order);
  const cached = order < ORDERS ? cacheGet(state, cpu, order, end) : 0;
  if (cached) return cached;
  const first = treeAllocate(state, size, end);
  if (first || !flush) return first;
  cachesFlush(state);
  return treeAllocate(state, size, end);
}

/** `alloc_iova_fast`: first page of `pages` pages up to `limit`; 0 when there is no place, NO_MEMORY. */
function allocate(domain: usize, pages: u64, limit: u64, cpu: u32, flush: bool): u64 {
  if (!enter(domain, cpu) || !rangeReserve(domain)) return NO_MEMORY;
  return allocateFast(stateOf(domain), pages, limit + 1, cpu, flush);
}

/** The same for TypeScript: a page number, 0, or a negative status. */
export function linuxIovaAllocate(domain: usize, pages: f64, limit: f64, cpu: u32, flush: u32): f64 {
  const first = allocate(domain, <u64>pages, <u64>limit, cpu, flush != 0);
  return first == NO_MEMORY ? -<f64>STATUS_MEMORY_EXHAUSTED : <f64>first;
}

/**
 * Adds a device to the domain, with the last page that it can reach; `below4GFirst` is `pci_32bit_workaround`. Returns
 * its offset in the state (LINUX_DEVICE_*), 0 when memory is exhausted.
 */
export function linuxIovaAttach(domain: usize, limit: f64, below4GFirst: u32): u32 {
  if (!stateReserve(domain, <usize>LINUX_DEVICE_BYTES)) return 0;
  const state = stateOf(domain);
  const device = stateTake(state, <usize>LINUX_DEVICE_BYTES);
  store<u64>(state + <usize>device, <u64>limit, LINUX_DEVICE_LIMIT);
  store<u32>(state + <usize>device, below4GFirst, LINUX_DEVICE_BELOW_4G_FIRST);
  return device;
}

/** `iommu_dma_alloc_iova`: as `allocate`, for a device. */
export function allocateFor(domain: usize, device: u32, pages: u64, cpu: u32): u64 {
  if (!enter(domain, cpu) || !rangeReserve(domain)) return NO_MEMORY;
  const state = stateOf(domain);
  const record = state + <usize>device;
  const end = load<u64>(record, LINUX_DEVICE_LIMIT) + 1;
  const end32 = load<u64>(state, END32);
  if (load<u32>(record, LINUX_DEVICE_BELOW_4G_FIRST) && end > end32) {
    const first = allocateFast(state, pages, end32, cpu, false);
    if (first) return first;
    store<u32>(record, 0, LINUX_DEVICE_BELOW_4G_FIRST);
  }
  return allocateFast(state, pages, end, cpu, true);
}

export function linuxIovaAllocateFor(domain: usize, device: u32, pages: f64, cpu: u32): f64 {
  const first = allocateFor(domain, device, <u64>pages, cpu);
  return first == NO_MEMORY ? -<f64>STATUS_MEMORY_EXHAUSTED : <f64>first;
}

/** `reserve_iova` */
export function linuxIovaReserve(domain: usize, first: f64, last: f64): i32 {
  return reserve(domain, <u64>first, <u64>last);
}

export function reserve(domain: usize, first: u64, last: u64): i32 {
  if (!rangeReserve(domain)) return STATUS_MEMORY_EXHAUSTED;
  treeReserve(stateOf(domain), first, last);
  return STATUS_OK;
}

// ---- Freeing -----------------------------------------------------------------------------------------------------

/**
 * `queue_iova` at a time in nanoseconds, or with AT_ONCE `free_iova_fast`: the range goes as a whole, the length says only
 * which magazine it goes to. STATUS_NOT_ALLOCATED, nothing changed, where no range of at least that length is in use;
 * Linux would not notice.
 */
export function giveBack(domain: usize, pfn: u64, pages: u64, cpu: u32, now: u64): i32 {
  const order = orderOf(pages);
  const state = stateOf(domain);
  const range = rangeFrom(state, pfn);
  const last = pfn + sizeFor(pages, order) - 1;
  if (rangeFirst(state, range) != pfn || rangeHigh(state, range) < last) return STATUS_NOT_ALLOCATED;
  if (rangeUse(state, range) != USE_LIVE) return STATUS_NOT_ALLOCATED;
  if (!enter(domain, cpu)) return STATUS_MEMORY_EXHAUSTED;
  if (now == AT_ONCE) {
    freeFast(domain, cpu, order, range);
  } else {
    setClock(stateOf(domain), now);
    queuePut(domain, cpu, order, range);
  }
  return STATUS_OK;
}

export function linuxIovaFree(domain: usize, pfn: f64, pages: f64, cpu: u32): i32 {
  return giveBack(domain, <u64>pfn, <u64>pages, cpu, AT_ONCE);
}

export function linuxIovaQueue(domain: usize, pfn: f64, pages: f64, cpu: u32, now: f64): i32 {
  return giveBack(domain, <u64>pfn, <u64>pages, cpu, <u64>now);
}

// ---- Time --------------------------------------------------------------------------------------------------------

/** Time, in nanoseconds, does not go back. */
// @ts-ignore: decorator
@inline
function setClock(state: usize, now: u64): void {
  store<u64>(state, max<u64>(load<u64>(state, NOW), now), NOW);
}

/** Runs the timers and the delayed work due up to `now` (nanoseconds), each at its time, a timer before work. */
export function advance(domain: usize, now: u64): void {
  while (load<u64>(stateOf(domain), NEXT_DUE) <= now) runNext(domain, now);
  setClock(stateOf(domain), now);
}

/** Runs what is due first, if it is due by `until`. */
function runNext(domain: usize, until: u64): void {
  const state = stateOf(domain);
  const timer = load<u64>(state, FLUSH_DUE);
  const due = min<u64>(timer, depotsDue(state));
  store<u64>(state, due, NEXT_DUE);
  if (due > until) return;
  setClock(state, due);
  // Which CPU it was is not known.
  if (timer == due) queueTimeout(domain, load<u32>(state, LAST_CPU));
  else depotTrim(state, nextDepot);
}

export function linuxIovaAdvance(domain: usize, now: f64): void {
  advance(domain, <u64>now);
}

/** The flush timer fires on a CPU now; nothing happens when it is not armed. */
export function linuxIovaFireFlushTimer(domain: usize, cpu: u32, now: f64): i32 {
  setClock(stateOf(domain), <u64>now);
  if (load<u64>(stateOf(domain), FLUSH_DUE) == NEVER) return STATUS_OK;
  if (!enter(domain, cpu)) return STATUS_MEMORY_EXHAUSTED;
  queueTimeout(domain, cpu);
  return STATUS_OK;
}

// ---- What Linux cannot do ----------------------------------------------------------------------------------------

/**
 * Makes this very range an allocated one: out of the magazine or the ring that it is in, or out of a hole as if a search
 * had ended there. STATUS_OVERLAP when any of it is in use, or free as part of another range.
 */
export function linuxIovaAdopt(domain: usize, pfn: f64, pages: f64): i32 {
  if (!rangeReserve(domain)) return STATUS_MEMORY_EXHAUSTED;
  const state = stateOf(domain);
  const first = <u64>pfn;
  const order = orderOf(<u64>pages);
  const last = first + sizeFor(<u64>pages, order) - 1;
  const above = rangeFrom(state, first);
  if (rangeLow(state, above) > last) {
    treeInsert(state, first, last, above);
    return STATUS_OK;
  }
  const isWhole = rangeFirst(state, above) == first && rangeHigh(state, above) == last;
  const use = isWhole ? rangeUse(state, above) : USE_LIVE;
  if (use == USE_QUEUED) queueTake(state, above);
  else if (use != USE_CACHED || !cacheTake(state, order, above)) return STATUS_OVERLAP;
  return STATUS_OK;
}

export function linuxIovaSave(domain: usize): i32 {
  return stateSave(domain);
}

export function linuxIovaRestore(domain: usize): i32 {
  return stateRestore(domain);
}
