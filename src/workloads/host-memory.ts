/** How Linux allocates the host memory of a buffer. Pages are of 4 KiB. */
import { HUGE_PAGE_ORDER } from "./ageing.js";
import type { BuddyAllocator } from "../linux/buddy.js";
import { BufferMemory } from "./buffer.js";

const HUGE_PAGE = 2 ** HUGE_PAGE_ORDER;

/** Linux drivers/dma-buf/heaps/system_heap.c: 1 MiB, 64 KiB, 4 KiB. */
const SYSTEM_HEAP_ORDERS: readonly number[] = [8, 4, 0];

/** Linux include/linux/mm.h, VM_READAHEAD_PAGES: 128 KiB at a time, in folios as large as there are. */
const READAHEAD_ORDERS: readonly number[] = [5, 4, 3, 2, 1, 0];

/** A buffer of the dma-buf system heap: the largest order first, and no larger one again after the first failure. */
export function systemHeapBuffer(memory: BuddyAllocator, pages: number): BufferMemory {
  const buffer = new BufferMemory(memory);
  let orders = SYSTEM_HEAP_ORDERS;
  for (let left = pages; left > 0; ) {
    const order = buffer.takeLargest(orders, left);
    orders = orders.slice(orders.indexOf(order));
    left -= 2 ** order;
  }
  return buffer;
}

/**
 * Anonymous memory of a process, with transparent huge pages: a huge page wherever the mapping covers an aligned 2 MiB of
 * virtual addresses and memory has one, else single pages. Nothing compacts memory meanwhile.
 * @param firstPage number of the mapping's first virtual page
 */
export function userMemory(memory: BuddyAllocator, firstPage: number, pages: number): BufferMemory {
  const buffer = new BufferMemory(memory);
  const end = firstPage + pages;
  for (let page = firstPage; page < end; ) {
    const huge = page % HUGE_PAGE === 0 && page + HUGE_PAGE <= end;
    if (huge && buffer.take(HUGE_PAGE_ORDER)) {
      page += HUGE_PAGE;
      continue;
    }
    const until = Math.min(end, page + HUGE_PAGE - (page % HUGE_PAGE));
    for (; page < until; page++) buffer.takeLargest([0], 1);
  }
  return buffer;
}

/** Pages of the page cache as read ahead: `pages` in folios of at most 128 KiB. */
export function pageCacheFolios(memory: BuddyAllocator, pages: number): BufferMemory {
  const buffer = new BufferMemory(memory);
  for (let left = pages; left > 0; ) left -= 2 ** buffer.takeLargest(READAHEAD_ORDERS, left);
  return buffer;
}

/** Single pages: a page pool's, or coherent memory below 2 MiB behind an IOMMU (dma-iommu.c, __iommu_dma_alloc_pages). */
export function singlePages(memory: BuddyAllocator, pages: number): BufferMemory {
  const buffer = new BufferMemory(memory);
  for (let page = 0; page < pages; page++) buffer.takeLargest([0], 1);
  return buffer;
}

/** One physically contiguous block: kmalloc beyond a slab, a slab itself. */
export function contiguousPages(memory: BuddyAllocator, order: number): BufferMemory {
  const buffer = new BufferMemory(memory);
  buffer.takeLargest([order], 2 ** order);
  return buffer;
}
