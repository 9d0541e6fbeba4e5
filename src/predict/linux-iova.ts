/** What the prediction needs of an emulation of Linux's IOVA allocator (drivers/iommu/iova.c, 6.12 to 7.2). */

export interface LinuxIovaOptions {
  /** CPUs that are online. */
  readonly cpus: number;
  /** log2 of the granule's bytes, 12 by default. */
  readonly granuleShift?: number;
  /** Alignment of an allocation: its size rounded up to a power of two (Linux), or one of the modes proposed since. */
  readonly alignment?: "size" | "none" | "pmd" | "pud" | { readonly maxShift: number };
  readonly flush?: "strict" | "lazy" | "lazy-single";
  /** Timer ticks a second, 250 by default. */
  readonly hz?: number;
  /** Lowest page frame that may be allocated, 1 by default. */
  readonly startPfn?: number;
}

/** One IOVA space. Page frame numbers are in granules, times in nanoseconds. */
export interface LinuxIova {
  /** reserve_iova: takes a range out for good. */
  reserve(firstPfn: number, lastPfn: number): void;
  /** alloc_iova_fast: the first page frame of the range, 0 when there is none. */
  allocate(pages: number, limitPfn: number, cpu: number, flush: boolean): number;
  /** free_iova_fast. */
  free(pfn: number, pages: number, cpu: number): void;
  /** queue_iova: a free that waits for the flush of the IOTLB. */
  queue(pfn: number, pages: number, cpu: number, now: number): void;
  /** Runs the delayed work and the timers that are due: trimming of the depots, flush timer. */
  advance(now: number): void;
  /** fq_flush_timeout on this CPU. */
  fireFlushTimer(cpu: number, now: number): void;
  /** Takes this very range out of the magazine, depot, flush queue or gap it is in; false when it is in use. */
  adopt(pfn: number, pages: number): boolean;
  /** Keeps the state of everything, in place of the one kept before. */
  save(): void;
  /** Goes back to the state kept last. */
  restore(): void;
}

export type LinuxIovaFactory = (options: LinuxIovaOptions) => LinuxIova;
