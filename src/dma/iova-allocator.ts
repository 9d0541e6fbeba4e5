/**
 * What the DMA API needs of the IOVA allocator of a domain (drivers/iommu/iova.c and the flush queue of dma-iommu.c).
 * Page frame numbers and lengths are in granules of the domain; times in ns.
 */
export interface IovaAllocator {
  /** reserve_iova. */
  reserve(firstPfn: number, lastPfn: number): void;
  /** alloc_iova_fast; 0 when there is none. */
  allocate(pages: number, limitPfn: number, cpu: number, flush: boolean): number;
  /** free_iova_fast. */
  free(pfn: number, pages: number, cpu: number): void;
  /** queue_iova: freed once the IOTLB is flushed. */
  queue(pfn: number, pages: number, cpu: number, now: number): void;
  /** Runs delayed work and timers that are due. */
  advance(now: number): void;
}

/** Who calls, and when: smp_processor_id(), and time since boot in ns. */
export interface DmaContext {
  readonly cpu: number;
  readonly now: number;
}
