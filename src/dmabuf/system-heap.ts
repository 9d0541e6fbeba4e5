/** The dma-buf system heap (drivers/dma-buf/heaps/system_heap.c): host memory in blocks of orders 8, 4 and 0. */
import type { BuddyAllocator } from "../linux/buddy.js";
import { systemHeapBuffer } from "../workloads/host-memory.js";
import { DmaBuf } from "./dma-buf.js";
import { blocksOf, importingDevice, mapScatterlist, PAGE, pagesFor } from "./exporter-map.js";

/** Allocates and exports so many bytes, in whole pages. Throws IommuError `memory-exhausted`, DmaBufError `EINVAL`. */
export function systemHeap(memory: BuddyAllocator, bytes: bigint, name = "system heap"): DmaBuf {
  const pages = pagesFor(bytes);
  const buffer = systemHeapBuffer(memory, pages);
  const blocks = blocksOf(buffer);
  return new DmaBuf(name, BigInt(pages) * PAGE, {
    name,
    offers: [{ type: "scatterlist" }, { type: "physical-address-list" }],
    map: (attachment, context, direction) => mapScatterlist(importingDevice(attachment), context, blocks, direction),
    physical: () => blocks,
    release: () => buffer.release(),
  });
}
