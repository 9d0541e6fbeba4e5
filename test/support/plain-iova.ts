/** The plainest allocator behind the DMA API: the highest hole that is aligned to the length's next power of two. */
import type { IovaAllocator } from "../../src/dma/iova-allocator.js";

/** IOVA_DEFAULT_FQ_SIZE and IOVA_DEFAULT_FQ_TIMEOUT. */
const QUEUE_ENTRIES = 256;
const QUEUE_TIMEOUT = 10_000_000;

export class PlainIova implements IovaAllocator {
  /** Pages of each range in use, those queued included, by first page. */
  readonly live = new Map<number, number>();
  /** What each free and each queueing said: page and pages. */
  readonly freed: (readonly [pfn: number, pages: number])[] = [];
  flushes = 0;
  readonly #reserved: (readonly [first: number, last: number])[] = [];
  #queue: number[] = [];
  #due = 0;

  reserve(firstPfn: number, lastPfn: number): void {
    this.#reserved.push([firstPfn, lastPfn]);
  }

  allocate(pages: number, limitPfn: number, _cpu: number, flush: boolean): number {
    const alignment = 2 ** Math.ceil(Math.log2(pages));
    const taken = [...this.#reserved, ...[...this.live].map(([pfn, length]) => [pfn, pfn + length - 1] as const)];
    let first = Math.floor((limitPfn + 1 - pages) / alignment) * alignment;
    while (first > 0) {
      const obstacle = taken.find(([from, to]) => from < first + pages && to >= first);
      if (!obstacle) {
        this.live.set(first, pages);
        return first;
      }
      first = Math.floor((obstacle[0] - pages) / alignment) * alignment;
    }
    if (!flush || this.#queue.length === 0) return 0;
    this.#flush();
    return this.allocate(pages, limitPfn, _cpu, false);
  }

  free(pfn: number, pages: number): void {
    this.freed.push([pfn, pages]);
    this.#release(pfn);
  }

  queue(pfn: number, pages: number, _cpu: number, now: number): void {
    this.freed.push([pfn, pages]);
    if (this.#queue.length === 0) this.#due = now + QUEUE_TIMEOUT;
    this.#queue.push(pfn);
    if (this.#queue.length === QUEUE_ENTRIES) this.#flush();
  }

  advance(now: number): void {
    if (this.#queue.length > 0 && now >= this.#due) this.#flush();
  }

  /** Ranges in use and not queued, by first page. */
  get inUse(): Map<number, number> {
    return new Map([...this.live].filter(([pfn]) => !this.#queue.includes(pfn)));
  }

  #flush(): void {
    this.flushes++;
    for (const pfn of this.#queue) this.#release(pfn);
    this.#queue = [];
  }

  #release(pfn: number): void {
    if (!this.live.delete(pfn)) throw new Error(`page ${pfn} is freed, but no range begins there`);
  }
}
