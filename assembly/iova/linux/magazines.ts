/**
 * struct iova_rcache of drivers/iommu/iova.c, Linux 6.12 and 7.2: freed ranges of 1 to 32 pages wait in magazines, two
 * a CPU and order, full ones in a depot an order. A range in a magazine stays in the tree.
 */
import {
  LINUX_COUNT_CACHE_FLUSHES,
  LINUX_COUNT_DEPOT_POPS,
  LINUX_COUNT_DEPOT_PUSHES,
  LINUX_COUNT_DEPOT_TRIMS,
  LINUX_COUNT_MAGAZINE_HITS,
} from "../../layout";
import { rangeFirst, rangeSetUse, USE_CACHED, USE_LIVE } from "./ranges";
import {
  CPU_CAPACITY,
  CPU_TABLE,
  countUp,
  DEPOTS,
  FREE_MAGAZINE,
  NEVER,
  ONLINE,
  stateOf,
  stateReserve,
  stateTake,
} from "./state";
import { timerArm } from "./timers";
import { treeRemove } from "./tree";

/** IOVA_RANGE_CACHE_MAX_SIZE: orders 0 to 5. */
export const ORDERS: u32 = 6;

/** struct iova_magazine: how many ranges, the next magazine (of a depot, or free), u32 offsets of the ranges. */
const MAGAZINE_ENTRIES: u32 = 127;
const MAGAZINE_BYTES: usize = 528;
const SIZE: usize = 0;
const NEXT: usize = 4;
const ENTRIES: usize = 8;

/** A CPU's record: per order u32 `loaded`, u32 `prev`; then its ring of the flush queue (flush-queue.ts). */
const LOADED: usize = 0;
const PREVIOUS: usize = 4;
const CACHE_BYTES: usize = 8;
export const CPU_RING: usize = CACHE_BYTES * <usize>ORDERS;
const CPU_BYTES: usize = CPU_RING + 16;

/** The depot of an order: u32 top magazine, u32 how many; u64 when its delayed work runs, or NEVER. */
const DEPOT_BYTES: usize = 16;
const DEPOT_SIZE: usize = 4;
const DEPOT_DUE: usize = 8;
/** IOVA_DEPOT_DELAY, milliseconds. */
const DEPOT_DELAY: u64 = 100;

// ---- Records -----------------------------------------------------------------------------------------------------

// @ts-ignore: decorator
@inline
export function cpuOf(state: usize, cpu: u32): usize {
  return state + <usize>load<u32>(state + <usize>load<u32>(state, CPU_TABLE) + (<usize>cpu << 2));
}
// @ts-ignore: decorator
@inline
function cacheOf(state: usize, cpu: u32, order: u32): usize {
  return cpuOf(state, cpu) + <usize>order * CACHE_BYTES;
}
// @ts-ignore: decorator
@inline
function depotOf(state: usize, order: u32): usize {
  return state + DEPOTS + <usize>order * DEPOT_BYTES;
}
// @ts-ignore: decorator
@inline
function sizeOf(state: usize, magazine: u32): u32 {
  return load<u32>(state + <usize>magazine, SIZE);
}
// @ts-ignore: decorator
@inline
function setSize(state: usize, magazine: u32, size: u32): void {
  store<u32>(state + <usize>magazine, size, SIZE);
}
// @ts-ignore: decorator
@inline
function entryAt(state: usize, magazine: u32, index: u32): u32 {
  return load<u32>(state + <usize>magazine + (<usize>index << 2), ENTRIES);
}
// @ts-ignore: decorator
@inline
function setEntry(state: usize, magazine: u32, index: u32, range: u32): void {
  store<u32>(state + <usize>magazine + (<usize>index << 2), range, ENTRIES);
}

/** An empty magazine. `stateReserve` came before, where none is free. */
function newMagazine(state: usize): u32 {
  let magazine = load<u32>(state, FREE_MAGAZINE);
  if (magazine) store<u32>(state, load<u32>(state + <usize>magazine, NEXT), FREE_MAGAZINE);
  else magazine = stateTake(state, MAGAZINE_BYTES);
  setSize(state, magazine, 0);
  return magazine;
}

function freeMagazine(state: usize, magazine: u32): void {
  store<u32>(state + <usize>magazine, load<u32>(state, FREE_MAGAZINE), NEXT);
  store<u32>(state, magazine, FREE_MAGAZINE);
}

export function depotsInit(state: usize): void {
  for (let order: u32 = 0; order < ORDERS; order++) store<u64>(depotOf(state, order), NEVER, DEPOT_DUE);
}

/** Brings CPUs online, so that there are at least so many; false when memory is exhausted. */
export function cpusOnline(domain: usize, online: u32): bool {
  const have = load<u32>(stateOf(domain), CPU_CAPACITY);
  if (online > have) {
    let capacity = max<u32>(have, 4);
    while (capacity < online) capacity <<= 1;
    if (!stateReserve(domain, <usize>capacity << 2)) return false;
    const state = stateOf(domain);
    const table = stateTake(state, <usize>capacity << 2);
    memory.fill(state + <usize>table, 0, <usize>capacity << 2);
    memory.copy(state + <usize>table, state + <usize>load<u32>(state, CPU_TABLE), <usize>have << 2);
    store<u32>(state, table, CPU_TABLE);
    store<u32>(state, capacity, CPU_CAPACITY);
  }
  const state = stateOf(domain);
  store<u32>(state, max<u32>(load<u32>(state, ONLINE), online), ONLINE);
  return true;
}

/** Whether a CPU has its record: one that never did anything has none. */
// @ts-ignore: decorator
@inline
export function cpuIsUsed(state: usize, cpu: u32): bool {
  return cpuOf(state, cpu) != state;
}

/** Makes the record and the magazines of a CPU, with room for `more` bytes; false when memory is exhausted. */
export function cpuMake(domain: usize, cpu: u32, more: usize): bool {
  if (!stateReserve(domain, CPU_BYTES + <usize>(2 * ORDERS) * MAGAZINE_BYTES + more)) return false;
  const state = stateOf(domain);
  const record = stateTake(state, CPU_BYTES);
  memory.fill(state + <usize>record, 0, CPU_BYTES);
  store<u32>(state + <usize>load<u32>(state, CPU_TABLE) + (<usize>cpu << 2), record);
  for (let order: u32 = 0; order < ORDERS; order++) {
    store<u32>(cacheOf(state, cpu, order), newMagazine(state), LOADED);
    store<u32>(cacheOf(state, cpu, order), newMagazine(state), PREVIOUS);
  }
  return true;
}

// ---- Getting and putting -----------------------------------------------------------------------------------------

// @ts-ignore: decorator
@inline
function swap(cache: usize): void {
  const loaded = load<u32>(cache, LOADED);
  store<u32>(cache, load<u32>(cache, PREVIOUS), LOADED);
  store<u32>(cache, loaded, PREVIOUS);
}

/** The magazine on top of an order's depot, 0 when it is empty. */
function depotPop(state: usize, order: u32): u32 {
  const depot = depotOf(state, order);
  const magazine = load<u32>(depot);
  if (!magazine) return 0;
  store<u32>(depot, load<u32>(state + <usize>magazine, NEXT));
  store<u32>(depot, load<u32>(depot, DEPOT_SIZE) - 1, DEPOT_SIZE);
  return magazine;
}

function depotPush(state: usize, order: u32, magazine: u32): void {
  const depot = depotOf(state, order);
  store<u32>(state + <usize>magazine, load<u32>(depot), NEXT);
  store<u32>(depot, magazine);
  store<u32>(depot, load<u32>(depot, DEPOT_SIZE) + 1, DEPOT_SIZE);
  countUp(state, LINUX_COUNT_DEPOT_PUSHES, 1);
  if (load<u64>(depot, DEPOT_DUE) == NEVER) timerArm(state, depot + DEPOT_DUE, DEPOT_DELAY);
}

/** `iova_rcache_get`: the first page of a cached range of this order below `end`, 0 when there is none. */
export function cacheGet(state: usize, cpu: u32, order: u32, end: u64): u64 {
  const cache = cacheOf(state, cpu, order);
  if (!sizeOf(state, load<u32>(cache, LOADED))) {
    if (sizeOf(state, load<u32>(cache, PREVIOUS))) {
      swap(cache);
    } else {
      const magazine = depotPop(state, order);
      if (!magazine) return 0;
      countUp(state, LINUX_COUNT_DEPOT_POPS, 1);
      freeMagazine(state, load<u32>(cache, LOADED));
      store<u32>(cache, magazine, LOADED);
    }
  }
  const length = (<u64>1) << <u64>order;
  if (end < length) return 0;
  const loaded = load<u32>(cache, LOADED);
  const last = sizeOf(state, loaded) - 1;
  for (let index = last; index != <u32>-1; index--) {
    const range = entryAt(state, loaded, index);
    const first = rangeFirst(state, range);
    if (first > end - length) continue;
    setEntry(state, loaded, index, entryAt(state, loaded, last));
    setSize(state, loaded, last);
    rangeSetUse(state, range, USE_LIVE);
    countUp(state, LINUX_COUNT_MAGAZINE_HITS, 1);
    return first;
  }
  return 0;
}

/** `iova_rcache_insert`; the state may move. False where there is no magazine to be had: then to the tree with it. */
export function cachePut(domain: usize, cpu: u32, order: u32, range: u32): bool {
  if (order >= ORDERS) return false;
  let state = stateOf(domain);
  let cache = cacheOf(state, cpu, order);
  if (sizeOf(state, load<u32>(cache, LOADED)) == MAGAZINE_ENTRIES) {
    if (sizeOf(state, load<u32>(cache, PREVIOUS)) < MAGAZINE_ENTRIES) {
      swap(cache);
    } else {
      if (!load<u32>(state, FREE_MAGAZINE) && !stateReserve(domain, MAGAZINE_BYTES)) return false;
      state = stateOf(domain);
      cache = cacheOf(state, cpu, order);
      depotPush(state, order, load<u32>(cache, LOADED));
      store<u32>(cache, newMagazine(state), LOADED);
    }
  }
  const loaded = load<u32>(cache, LOADED);
  const size = sizeOf(state, loaded);
  setEntry(state, loaded, size, range);
  setSize(state, loaded, size + 1);
  rangeSetUse(state, range, USE_CACHED);
  return true;
}

/** `free_iova_fast`: into a magazine, or out of the tree. The state may move. */
export function freeFast(domain: usize, cpu: u32, order: u32, range: u32): void {
  if (!cachePut(domain, cpu, order, range)) treeRemove(stateOf(domain), range);
}

// ---- Emptying ----------------------------------------------------------------------------------------------------

/** `iova_magazine_free_pfns` */
function empty(state: usize, magazine: u32): void {
  const size = sizeOf(state, magazine);
  for (let index: u32 = 0; index < size; index++) treeRemove(state, entryAt(state, magazine, index));
  setSize(state, magazine, 0);
}

/** What a failed search does before it is tried again: all magazines of all CPUs, then the depots, into the tree. */
export function cachesFlush(state: usize): void {
  countUp(state, LINUX_COUNT_CACHE_FLUSHES, 1);
  for (let cpu: u32 = 0; cpu < load<u32>(state, ONLINE); cpu++) {
    if (!cpuIsUsed(state, cpu)) continue;
    for (let order: u32 = 0; order < ORDERS; order++) {
      empty(state, load<u32>(cacheOf(state, cpu, order), LOADED));
      empty(state, load<u32>(cacheOf(state, cpu, order), PREVIOUS));
    }
  }
  for (let order: u32 = 0; order < ORDERS; order++) {
    for (let magazine = depotPop(state, order); magazine; magazine = depotPop(state, order)) {
      empty(state, magazine);
      freeMagazine(state, magazine);
    }
  }
}

/** The order whose depot's work is the next to run, and when. */
export let nextDepot: u32 = 0;
export function depotsDue(state: usize): u64 {
  let due = NEVER;
  for (let order: u32 = 0; order < ORDERS; order++) {
    const mine = load<u64>(depotOf(state, order), DEPOT_DUE);
    if (mine >= due) continue;
    due = mine;
    nextDepot = order;
  }
  return due;
}

/** `iova_depot_work_func`: one magazine goes while the depot has more than there are CPUs, and the work runs again. */
export function depotTrim(state: usize, order: u32): void {
  const depot = depotOf(state, order);
  store<u64>(depot, NEVER, DEPOT_DUE);
  if (load<u32>(depot, DEPOT_SIZE) <= load<u32>(state, ONLINE)) return;
  const magazine = depotPop(state, order);
  empty(state, magazine);
  freeMagazine(state, magazine);
  countUp(state, LINUX_COUNT_DEPOT_TRIMS, 1);
  timerArm(state, depot + DEPOT_DUE, DEPOT_DELAY);
}

// ---- Taking one out ----------------------------------------------------------------------------------------------

/**
 * Takes a range out of a magazine; false when it is not there. Those above it move down: it is taken because it was the
 * top when the kernel popped it, and what has been pushed since stays in order.
 */
function takeFrom(state: usize, magazine: u32, range: u32): bool {
  const size = sizeOf(state, magazine);
  for (let index: u32 = 0; index < size; index++) {
    if (entryAt(state, magazine, index) != range) continue;
    for (let above = index + 1; above < size; above++) setEntry(state, magazine, above - 1, entryAt(state, magazine, above));
    setSize(state, magazine, size - 1);
    rangeSetUse(state, range, USE_LIVE);
    return true;
  }
  return false;
}

/**
 * Takes a range out of whichever magazine of this order it is in; false when it is in none. An emptied one leaves the
 * depot.
 */
export function cacheTake(state: usize, order: u32, range: u32): bool {
  for (let cpu: u32 = 0; cpu < load<u32>(state, ONLINE); cpu++) {
    if (!cpuIsUsed(state, cpu)) continue;
    const cache = cacheOf(state, cpu, order);
    if (takeFrom(state, load<u32>(cache, LOADED), range)) return true;
    if (takeFrom(state, load<u32>(cache, PREVIOUS), range)) return true;
  }
  const depot = depotOf(state, order);
  for (let link = depot; load<u32>(link); link = state + <usize>load<u32>(link) + NEXT) {
    const magazine = load<u32>(link);
    if (!takeFrom(state, magazine, range)) continue;
    if (!sizeOf(state, magazine)) {
      store<u32>(link, load<u32>(state + <usize>magazine, NEXT));
      store<u32>(depot, load<u32>(depot, DEPOT_SIZE) - 1, DEPOT_SIZE);
      freeMagazine(state, magazine);
    }
    return true;
  }
  return false;
}
