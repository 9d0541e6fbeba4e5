/**
 * Linux's IOVA allocator as plainly as can be: a sorted array of ranges, arrays of page numbers for magazines and rings.
 * From drivers/iommu/iova.c and dma-iommu.c, Linux 6.12 and 7.2. Times are jiffies: the caller says what runs.
 */
import { alignmentBounds, type LinuxIovaOptions } from "../../src/engine/linux-iova.js";

interface Range {
  low: number;
  readonly high: number;
  /** `low` before a reservation made the range grow. */
  readonly first: number;
}

interface Queued {
  readonly pfn: number;
  readonly pages: number;
  readonly counter: number;
}

interface Cpu {
  /** Per order: loaded and prev. */
  readonly loaded: number[][];
  readonly previous: number[][];
  readonly ring: Queued[];
}

const ORDERS = 6;
const MAGAZINE = 127;
const orders = <T>(make: () => T): T[] => Array.from({ length: ORDERS }, make);
const rangeOf = (low: number, high: number): Range => ({ low, high, first: low });
const orderOf = (pages: number): number => Math.ceil(Math.log2(pages));

export class PlainLinuxIova {
  readonly #anchor: Range = rangeOf(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY);
  /** Ascending; the anchor is last. */
  readonly #ranges: Range[] = [this.#anchor];
  #cached = this.#anchor;
  #cached32 = this.#anchor;
  readonly #end32: number;
  #max32: number;
  readonly #start: number;
  readonly #bounds: readonly [number, number];
  readonly #ringSize: number;
  readonly #single: boolean;
  readonly #cpus: Cpu[];
  readonly #depots = orders<number[][]>(() => []);
  #started = 0;
  #finished = 0;
  readonly counters = { treeSearches: 0, retries: 0, nodesVisited: 0, refusals: 0, magazineHits: 0, depotPushes: 0 };

  constructor(options: LinuxIovaOptions) {
    const shift = options.granuleShift ?? 12;
    this.#end32 = 2 ** (32 - shift);
    this.#max32 = this.#end32;
    this.#start = options.startPfn ?? 1;
    this.#bounds = alignmentBounds(options.alignment ?? "size", shift);
    this.#single = options.flush === "lazy-single";
    this.#ringSize = this.#single ? 32768 : 256;
    this.#cpus = Array.from({ length: options.cpus }, () => ({
      loaded: orders<number[]>(() => []),
      previous: orders<number[]>(() => []),
      ring: [],
    }));
  }

  reserve(first: number, last: number): void {
    let low = first;
    for (const range of this.#ranges) {
      if (range.low > last || range.high < low) continue;
      range.low = Math.min(range.low, low);
      if (last <= range.high) return;
      low = range.high + 1;
    }
    this.#insert(rangeOf(low, last));
  }

  allocate(pages: number, limit: number, cpu: number, flush: boolean): number {
    const size = this.#size(pages);
    const pop = size <= 32 ? this.#pop(this.#cpus[cpu], orderOf(size), limit + 1 - size) : 0;
    if (pop > 0) return pop;
    const found = this.#search(size, limit + 1);
    if (found > 0 || !flush) return found;
    for (const { loaded, previous } of this.#cpus) {
      for (let order = 0; order < ORDERS; order++) {
        this.#empty(loaded[order]);
        this.#empty(previous[order]);
      }
    }
    for (const depot of this.#depots) for (let top = depot.pop(); top; top = depot.pop()) this.#empty(top);
    return this.#search(size, limit + 1);
  }

  free(pfn: number, pages: number, cpu: number): void {
    const order = orderOf(pages);
    if (order >= ORDERS) {
      this.#removeAt(pfn);
      return;
    }
    const { loaded, previous } = this.#cpus[cpu];
    if (loaded[order].length === MAGAZINE) {
      if (previous[order].length < MAGAZINE) {
        [loaded[order], previous[order]] = [previous[order], loaded[order]];
      } else {
        this.#depots[order].push(loaded[order]);
        this.counters.depotPushes++;
        loaded[order] = [];
      }
    }
    loaded[order].push(pfn);
  }

  queue(pfn: number, pages: number, cpu: number): void {
    const { ring } = this.#cpus[this.#single ? 0 : cpu];
    this.#freeFlushed(ring, cpu);
    if (ring.length === this.#ringSize - 1) {
      this.#flushIotlb();
      this.#freeFlushed(ring, cpu);
    }
    ring.push({ pfn, pages, counter: this.#started });
  }

  /** The flush timer fires on this CPU. */
  timeout(cpu: number): void {
    this.#flushIotlb();
    for (const { ring } of this.#cpus) this.#freeFlushed(ring, cpu);
  }

  /** The delayed work of a depot runs; whether it dropped a magazine. */
  trim(order: number): boolean {
    const depot = this.#depots[order];
    if (depot.length <= this.#cpus.length) return false;
    this.#empty(depot.pop() ?? []);
    return true;
  }

  adopt(pfn: number, pages: number): boolean {
    const last = pfn + this.#size(pages) - 1;
    const overlapping = this.#ranges.filter(({ low, high }) => low <= last && high >= pfn);
    if (overlapping.length === 0) {
      this.#point(this.#insert(rangeOf(pfn, last)));
      return true;
    }
    if (overlapping.length > 1 || overlapping[0].high !== last || overlapping[0].first !== pfn) return false;
    const order = orderOf(pages);
    if (order < ORDERS) {
      const depot = this.#depots[order];
      const own = this.#cpus.flatMap(({ loaded, previous }) => [loaded[order], previous[order]]);
      for (const magazine of [...own, ...depot]) {
        const index = magazine.indexOf(pfn);
        if (index < 0) continue;
        this.#takeOut(magazine, index);
        if (magazine.length === 0 && depot.includes(magazine)) depot.splice(depot.indexOf(magazine), 1);
        return true;
      }
    }
    for (const { ring } of this.#cpus) {
      const index = ring.findIndex((entry) => entry.pfn === pfn);
      if (index < 0) continue;
      ring.splice(index, 1);
      return true;
    }
    return false;
  }

  #size(pages: number): number {
    return pages < 32 ? 2 ** orderOf(pages) : pages;
  }

  #pop(cpu: Cpu, order: number, highest: number): number {
    if (cpu.loaded[order].length === 0) {
      if (cpu.previous[order].length > 0) {
        [cpu.loaded[order], cpu.previous[order]] = [cpu.previous[order], cpu.loaded[order]];
      } else {
        const top = this.#depots[order].pop();
        if (!top) return 0;
        cpu.loaded[order] = top;
      }
    }
    const magazine = cpu.loaded[order];
    const index = magazine.findLastIndex((pfn) => pfn <= highest);
    if (index < 0) return 0;
    this.counters.magazineHits++;
    return this.#takeOut(magazine, index);
  }

  #takeOut(magazine: number[], index: number): number {
    const pfn = magazine[index];
    const last = magazine.pop() ?? 0;
    if (index < magazine.length) magazine[index] = last;
    return pfn;
  }

  #search(size: number, end: number): number {
    if (end <= this.#end32 && size >= this.#max32) {
      this.counters.refusals++;
      return 0;
    }
    this.counters.treeSearches++;
    const pointer = end <= this.#end32 ? this.#cached32 : this.#cached;
    const [least, most] = this.#bounds;
    const step = 2 ** Math.min(Math.max(orderOf(size), least), most);
    let first = this.#below(this.#ranges.indexOf(pointer), size, end, step, this.#start);
    if (first === 0 && pointer.high < end) {
      this.counters.retries++;
      const from = this.#ranges.findIndex(({ high }) => high >= end);
      first = this.#below(from, size, end, step, pointer.high + 1);
    }
    if (first === 0) {
      this.#max32 = size;
      return 0;
    }
    this.#point(this.#insert(rangeOf(first, first + size - 1)));
    return first;
  }

  /** Highest place for `size` pages from `low` to `end`, in the gaps from the one below ranges[from] downwards. */
  #below(from: number, size: number, end: number, step: number, low: number): number {
    for (let index = from; index >= 0; index--) {
      this.counters.nodesVisited++;
      const high = Math.min(end, this.#ranges[index].low);
      const first = Math.floor((high - size) / step) * step;
      if (first < low) return 0;
      if (index === 0 || first > this.#ranges[index - 1].high) return first;
    }
    return 0;
  }

  #insert(range: Range): Range {
    this.#ranges.splice(
      this.#ranges.findIndex(({ low }) => low > range.low),
      0,
      range,
    );
    return range;
  }

  #point(range: Range): void {
    if (range.high < this.#end32) this.#cached32 = range;
    else this.#cached = range;
  }

  #removeAt(pfn: number): void {
    const index = this.#ranges.findIndex(({ low, high }) => low <= pfn && pfn <= high);
    const range = this.#ranges[index];
    const above = this.#ranges[index + 1];
    if (range === this.#cached32 || (range.high < this.#end32 && range.low >= this.#cached32.low)) {
      this.#cached32 = above;
    }
    if (range.low < this.#end32) this.#max32 = this.#end32;
    if (range.low >= this.#cached.low) this.#cached = above;
    this.#ranges.splice(index, 1);
  }

  #empty(magazine: number[]): void {
    for (const pfn of magazine) this.#removeAt(pfn);
    magazine.length = 0;
  }

  #flushIotlb(): void {
    this.#started++;
    this.#finished++;
  }

  #freeFlushed(ring: Queued[], cpu: number): void {
    while (ring.length > 0 && ring[0].counter < this.#finished) {
      const { pfn, pages } = ring[0];
      ring.shift();
      this.free(pfn, pages, cpu);
    }
  }
}
