/**
 * Linux's IOVA allocator, slow and plain: the tree is a sorted array. Written after the rules of drivers/iommu/iova.c and
 * of the flush queue in drivers/iommu/dma-iommu.c, Linux 6.12 to 7.2; function names in the comments are the kernel's.
 */
import type { LinuxIova, LinuxIovaOptions } from "../../src/engine/linux-iova.js";

/** A range of the tree. Never changed, so that copies of the array are copies of the tree. */
interface Node {
  readonly lo: number;
  readonly hi: number;
}

interface Magazines {
  loaded: number[];
  prev: number[];
}

/** iova_rcache: the magazines of one order. */
interface Cache {
  readonly cpus: Magazines[];
  readonly depot: number[][];
  /** When the delayed work that trims the depot runs; Infinity when it is not scheduled. */
  trimAt: number;
}

interface Queued {
  readonly pfn: number;
  readonly pages: number;
  readonly counter: number;
}

interface State {
  nodes: Node[];
  /** cached_node and cached32_node: where the next search starts. */
  cached: Node;
  cached32: Node;
  max32AllocSize: number;
  caches: Cache[];
  queues: Queued[][];
  flushStarted: number;
  flushFinished: number;
  /** When and on which CPU the flush timer runs; Infinity when it is not armed. */
  timerAt: number;
  timerCpu: number;
  now: number;
}

/** IOVA_RANGE_CACHE_MAX_SIZE: orders 0 to 5 are cached. */
const CACHED_ORDERS = 6;
/** IOVA_MAG_SIZE. */
const MAGAZINE = 127;
/** IOVA_DEPOT_DELAY, nanoseconds. */
const DEPOT_DELAY = 100e6;
/** IOVA_DEFAULT_FQ_SIZE and IOVA_SINGLE_FQ_SIZE; of a ring one entry stays empty. */
const RING = { lazy: 256, "lazy-single": 32768, strict: 0 };
/** IOVA_DEFAULT_FQ_TIMEOUT and IOVA_SINGLE_FQ_TIMEOUT, nanoseconds. */
const TIMEOUT = { lazy: 10e6, "lazy-single": 1000e6, strict: 0 };

const order = (pages: number): number => Math.ceil(Math.log2(pages));
const roundUp = (pages: number): number => 2 ** order(pages);
/** What alloc_iova_fast makes of a size. */
const sizeFor = (pages: number): number => (pages < 2 ** (CACHED_ORDERS - 1) ? roundUp(pages) : pages);

export class SlowLinuxIova implements LinuxIova {
  readonly #cpus: number;
  readonly #startPfn: number;
  /** First page frame beyond 4 GiB. */
  readonly #dma32Pfn: number;
  readonly #alignmentOf: (pages: number) => number;
  readonly #flush: "strict" | "lazy" | "lazy-single";
  readonly #tick: number;
  #state: State;
  #saved: State | null = null;

  constructor(options: LinuxIovaOptions) {
    const shift = options.granuleShift ?? 12;
    this.#cpus = options.cpus;
    this.#startPfn = options.startPfn ?? 1;
    this.#dma32Pfn = 2 ** (32 - shift);
    this.#flush = options.flush ?? "strict";
    this.#tick = 1e9 / (options.hz ?? 250);
    const alignment = options.alignment ?? "size";
    this.#alignmentOf = (pages) => {
      if (alignment === "none") return 1;
      if (alignment === "pmd") return 2 ** (21 - shift);
      if (alignment === "pud") return 2 ** (30 - shift);
      return alignment === "size" ? roundUp(pages) : Math.min(roundUp(pages), 2 ** alignment.maxShift);
    };
    // The anchor: everything in the tree is below it.
    const anchor = { lo: Number.POSITIVE_INFINITY, hi: Number.POSITIVE_INFINITY };
    const magazines = () => Array.from({ length: options.cpus }, () => ({ loaded: [], prev: [] }));
    this.#state = {
      nodes: [anchor],
      cached: anchor,
      cached32: anchor,
      max32AllocSize: this.#dma32Pfn,
      caches: Array.from({ length: CACHED_ORDERS }, () => ({
        cpus: magazines(),
        depot: [],
        trimAt: Number.POSITIVE_INFINITY,
      })),
      queues: Array.from({ length: this.#flush === "lazy-single" ? 1 : options.cpus }, () => []),
      flushStarted: 0,
      flushFinished: 0,
      timerAt: Number.POSITIVE_INFINITY,
      timerCpu: 0,
      now: 0,
    };
  }

  reserve(firstPfn: number, lastPfn: number): void {
    const { nodes } = this.#state;
    let lo = firstPfn;
    let hi = lastPfn;
    const before = nodes.findIndex((node) => node.hi >= lo);
    let behind = before;
    for (; nodes[behind].lo <= hi; behind++) {
      lo = Math.min(lo, nodes[behind].lo);
      hi = Math.max(hi, nodes[behind].hi);
    }
    nodes.splice(before, behind - before, { lo, hi });
  }

  allocate(pages: number, limitPfn: number, cpu: number, flush: boolean): number {
    const size = sizeFor(pages);
    const cached = this.#popCached(order(size), limitPfn + 1 - size, cpu);
    if (cached > 0) return cached;
    const found = this.#search(size, limitPfn + 1);
    if (found > 0 || !flush) return found;
    for (const cache of this.#state.caches) {
      for (const magazines of cache.cpus) {
        this.#releaseAll(magazines.loaded.splice(0));
        this.#releaseAll(magazines.prev.splice(0));
      }
    }
    for (const cache of this.#state.caches) {
      while (cache.depot.length > 0) this.#releaseAll(cache.depot.pop() ?? []);
    }
    return this.#search(size, limitPfn + 1);
  }

  free(pfn: number, pages: number, cpu: number): void {
    const cache = this.#state.caches[order(pages)];
    if (cache === undefined) {
      this.#release(pfn);
      return;
    }
    const magazines = cache.cpus[cpu];
    if (magazines.loaded.length === MAGAZINE) {
      if (magazines.prev.length < MAGAZINE) {
        [magazines.loaded, magazines.prev] = [magazines.prev, magazines.loaded];
      } else {
        cache.depot.push(magazines.loaded);
        magazines.loaded = [];
        if (cache.trimAt === Number.POSITIVE_INFINITY) cache.trimAt = this.#expiry(this.#state.now, DEPOT_DELAY);
      }
    }
    magazines.loaded.push(pfn);
  }

  queue(pfn: number, pages: number, cpu: number, now: number): void {
    this.advance(now);
    const state = this.#state;
    const queue = state.queues[this.#flush === "lazy-single" ? 0 : cpu];
    this.#freeFlushed(queue, cpu);
    if (queue.length === RING[this.#flush] - 1) {
      this.#flushIotlb();
      this.#freeFlushed(queue, cpu);
    }
    queue.push({ pfn, pages, counter: state.flushStarted });
    if (state.timerAt === Number.POSITIVE_INFINITY) {
      state.timerAt = this.#expiry(now, TIMEOUT[this.#flush]);
      state.timerCpu = cpu;
    }
  }

  advance(now: number): void {
    const state = this.#state;
    for (;;) {
      const due = Math.min(state.timerAt, ...state.caches.map((cache) => cache.trimAt));
      if (due > now) break;
      state.now = Math.max(state.now, due);
      if (state.timerAt === due) this.fireFlushTimer(state.timerCpu, due);
      else for (const cache of state.caches) if (cache.trimAt === due) this.#trimDepot(cache, due);
    }
    state.now = Math.max(state.now, now);
  }

  fireFlushTimer(cpu: number, now: number): void {
    const state = this.#state;
    state.now = Math.max(state.now, now);
    state.timerAt = Number.POSITIVE_INFINITY;
    this.#flushIotlb();
    for (const queue of state.queues) this.#freeFlushed(queue, cpu);
  }

  adopt(pfn: number, pages: number): boolean {
    const { nodes, caches, queues } = this.#state;
    const size = sizeFor(pages);
    const cache = caches[order(size)];
    const places = cache ? [...cache.cpus.flatMap(({ loaded, prev }) => [loaded, prev]), ...cache.depot] : [];
    for (const place of places) {
      const at = place.indexOf(pfn);
      if (at < 0) continue;
      place.splice(at, 1);
      // A depot holds no empty magazines.
      if (place.length === 0 && cache.depot.includes(place)) cache.depot.splice(cache.depot.indexOf(place), 1);
      return true;
    }
    for (const queue of queues) {
      const at = queue.findIndex((queued) => queued.pfn === pfn && sizeFor(queued.pages) === size);
      if (at < 0) continue;
      queue.splice(at, 1);
      return true;
    }
    const above = this.#indexAtOrAbove(pfn);
    if (nodes[above].lo < pfn + size || (above > 0 && nodes[above - 1].hi >= pfn)) return false;
    this.#insert(above, { lo: pfn, hi: pfn + size - 1 });
    return true;
  }

  save(): void {
    this.#saved = copyState(this.#state);
  }

  restore(): void {
    if (this.#saved === null) throw new Error("nothing is saved");
    this.#state = copyState(this.#saved);
  }

  /** __iova_rcache_get: pops the newest entry that starts at or below `limitPfn`, 0 when there is none. */
  #popCached(index: number, limitPfn: number, cpu: number): number {
    const cache = this.#state.caches[index];
    if (cache === undefined) return 0;
    const magazines = cache.cpus[cpu];
    if (magazines.loaded.length === 0) {
      if (magazines.prev.length > 0) {
        [magazines.loaded, magazines.prev] = [magazines.prev, magazines.loaded];
      } else {
        magazines.loaded = cache.depot.pop() ?? magazines.loaded;
      }
    }
    const { loaded } = magazines;
    for (let at = loaded.length - 1; at >= 0; at--) {
      if (loaded[at] > limitPfn) continue;
      const pfn = loaded[at];
      loaded[at] = loaded[loaded.length - 1];
      loaded.pop();
      return pfn;
    }
    return 0;
  }

  /** __alloc_and_insert_iova_range: top-down below `limit`, from the cached node, then once more from the limit. */
  #search(size: number, limit: number): number {
    const state = this.#state;
    const { nodes } = state;
    const below4G = limit <= this.#dma32Pfn;
    if (below4G && size >= state.max32AllocSize) return 0;
    const alignment = this.#alignmentOf(size);
    const startingNode = below4G ? state.cached32 : state.cached;
    let at = nodes.indexOf(startingNode, this.#indexAtOrAbove(startingNode.lo));
    let high = limit;
    let low = this.#startPfn;
    for (;;) {
      let candidate: number;
      do {
        high = Math.min(high, nodes[at].lo);
        candidate = Math.floor((high - size) / alignment) * alignment;
        at--;
      } while (at >= 0 && candidate <= nodes[at].hi && candidate >= low);
      if (candidate >= low) {
        this.#insert(at + 1, { lo: candidate, hi: candidate + size - 1 });
        return candidate;
      }
      if (low !== this.#startPfn || startingNode.hi >= limit) break;
      low = startingNode.hi + 1;
      high = limit;
      at = this.#indexAtOrAbove(limit);
    }
    state.max32AllocSize = size;
    return 0;
  }

  /** Inserts a range and lets the next search start there (__cached_rbnode_insert_update). */
  #insert(at: number, node: Node): void {
    this.#state.nodes.splice(at, 0, node);
    if (node.hi < this.#dma32Pfn) this.#state.cached32 = node;
    else this.#state.cached = node;
  }

  /** Removes the range at `pfn` (remove_iova, __cached_rbnode_delete_update). */
  #release(pfn: number): void {
    const state = this.#state;
    const at = this.#indexAtOrAbove(pfn);
    const node = state.nodes[at];
    if (node.lo !== pfn) throw new Error(`nothing is allocated at page frame ${pfn}`);
    const next = state.nodes[at + 1];
    if (node === state.cached32 || (node.hi < this.#dma32Pfn && node.lo >= state.cached32.lo)) state.cached32 = next;
    if (node.lo < this.#dma32Pfn) state.max32AllocSize = this.#dma32Pfn;
    if (node.lo >= state.cached.lo) state.cached = next;
    state.nodes.splice(at, 1);
  }

  #releaseAll(pfns: readonly number[]): void {
    for (const pfn of pfns) this.#release(pfn);
  }

  /** Index of the lowest range that starts at or above `pfn`. */
  #indexAtOrAbove(pfn: number): number {
    const { nodes } = this.#state;
    let low = 0;
    let high = nodes.length - 1;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (nodes[middle].lo < pfn) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** iova_depot_work_func. */
  #trimDepot(cache: Cache, now: number): void {
    cache.trimAt = Number.POSITIVE_INFINITY;
    if (cache.depot.length <= this.#cpus) return;
    this.#releaseAll(cache.depot.pop() ?? []);
    cache.trimAt = this.#expiry(now, DEPOT_DELAY);
  }

  #flushIotlb(): void {
    this.#state.flushStarted++;
    this.#state.flushFinished++;
  }

  /** fq_ring_free_locked. */
  #freeFlushed(queue: Queued[], cpu: number): void {
    while (queue.length > 0 && queue[0].counter < this.#state.flushFinished) {
      const { pfn, pages } = queue.shift() as Queued;
      this.free(pfn, pages, cpu);
    }
  }

  /** The tick at which a timer runs: its delay in whole ticks, and the timer wheel rounds up once more. */
  #expiry(now: number, delay: number): number {
    return (Math.floor(now / this.#tick) + Math.ceil(delay / this.#tick) + 1) * this.#tick;
  }
}

function copyState(state: State): State {
  return {
    ...state,
    nodes: state.nodes.slice(),
    caches: state.caches.map(({ cpus, depot, trimAt }) => ({
      cpus: cpus.map(({ loaded, prev }) => ({ loaded: loaded.slice(), prev: prev.slice() })),
      depot: depot.map((magazine) => magazine.slice()),
      trimAt,
    })),
    queues: state.queues.map((queue) => queue.slice()),
  };
}
