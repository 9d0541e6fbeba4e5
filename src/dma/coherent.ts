/** Coherent allocations (iommu_dma_alloc() of dma-iommu.c). Sizes are in bytes. */
import { type DmaAddress, hex, type PhysicalAddress } from "../engine/addresses.js";
import { MAX_PAGE_ORDER } from "../linux/buddy.js";
import { type DmaAttributes, hasAttribute, NO_ATTRIBUTES, permissionsOf } from "./attributes.js";
import { checkSize, type DmaCall } from "./call.js";
import type { DmaDevice } from "./device.js";
import type { PhysicalRange } from "./domain.js";
import { DmaError } from "./errors.js";
import type { DmaContext } from "./iova-allocator.js";
import { findLive, type LiveMapping } from "./live.js";
import { mapRange } from "./map-phys.js";

/** Pages of 2^order CPU pages each. */
export interface PageBlock {
  readonly physical: PhysicalAddress;
  readonly order: number;
}

/** What the CPU and the device get. */
export interface CoherentBuffer {
  readonly address: DmaAddress;
  /** In the order of the device's addresses. */
  readonly blocks: readonly PageBlock[];
}

export interface CoherentMapping extends LiveMapping {
  readonly blocks: readonly PageBlock[];
}

function freeBlocks(device: DmaDevice, blocks: readonly PageBlock[]): void {
  for (const { physical, order } of blocks) device.domain.host.pages?.free(physical, order);
}

/** __iommu_dma_alloc_pages(): `count` CPU pages in blocks of the orders in the mask, each the largest to be had. */
function allocateBlocks(call: DmaCall, count: number, orderMask: number): PageBlock[] {
  const blocks: PageBlock[] = [];
  let orders = orderMask & (2 ** (MAX_PAGE_ORDER + 1) - 1);
  for (let left = count; left > 0; ) {
    let physical: PhysicalAddress | null = null;
    let order = 0;
    if (left < 2 ** (MAX_PAGE_ORDER + 1)) orders &= 2 ** (32 - Math.clz32(left)) - 1;
    while (physical === null && orders !== 0) {
      order = 31 - Math.clz32(orders);
      physical = call.device.domain.host.pages?.allocate(order) ?? null;
      if (physical === null) orders &= ~(1 << order);
    }
    if (physical === null) {
      freeBlocks(call.device, blocks);
      throw new DmaError("ENOMEM", call.operation, `no pages for ${left} of ${count}`);
    }
    blocks.push({ physical, order });
    left -= 2 ** order;
  }
  return blocks;
}

/** The first `size` bytes of the blocks, neighbours in memory joined. */
function rangesOf(blocks: readonly PageBlock[], pageSize: bigint, size: bigint): PhysicalRange[] {
  const ranges: { physical: bigint; length: bigint }[] = [];
  let left = size;
  for (const { physical, order } of blocks) {
    const whole = pageSize << BigInt(order);
    const length = whole < left ? whole : left;
    const previous = ranges.at(-1);
    if (previous && previous.physical + previous.length === physical) previous.length += length;
    else ranges.push({ physical, length });
    left -= length;
  }
  return ranges;
}

/** __iommu_dma_alloc_noncontiguous(): blocks of the sizes of the IOMMU's pages, one behind the other in IOVA space. */
function allocateScattered(call: DmaCall, size: bigint): CoherentBuffer {
  const { device, context, attributes, operation } = call;
  const { domain } = device;
  const { pageSize } = domain.host;
  const whole = (size + pageSize - 1n) & -pageSize;
  // The kernel keeps the bitmap of sizes in an unsigned int.
  const sizes = hasAttribute(attributes, "ALLOC_SINGLE_PAGES") ? 0n : BigInt.asUintN(32, domain.table.pageSizes);
  const orderMask = Number((sizes | pageSize) / pageSize);
  const length = domain.align(size);
  const blocks = allocateBlocks(call, Number(whole / pageSize), orderMask);
  const iova = domain.allocate(device, context, length, device.coherentDmaMask);
  if (iova === null) {
    freeBlocks(device, blocks);
    throw new DmaError("ENOMEM", operation, "no IOVA below the limit is free");
  }
  const ranges = rangesOf(blocks, pageSize, length);
  const refusal = domain.mapRanges(device, iova, ranges, permissionsOf("bidirectional", attributes));
  if (refusal) {
    domain.free(context, iova, length, "now");
    freeBlocks(device, blocks);
    throw new DmaError("ENOMEM", operation, `the page table refused: ${refusal.code}`, refusal.cause);
  }
  return { address: iova, blocks };
}

/** iommu_dma_alloc_pages() and the mapping: one block. */
function allocateContiguous(call: DmaCall, size: bigint): CoherentBuffer {
  const { device, operation } = call;
  const { pages, pageSize } = device.domain.host;
  const order = Math.ceil(Math.log2(Number((size + pageSize - 1n) / pageSize)));
  const physical = order <= MAX_PAGE_ORDER ? (pages?.allocate(order) ?? null) : null;
  if (physical === null) throw new DmaError("ENOMEM", operation, `no block of 2^${order} pages`);
  const blocks = [{ physical, order }];
  try {
    return { address: mapRange(call, physical, size, device.coherentDmaMask), blocks };
  } catch (error) {
    freeBlocks(device, blocks);
    if (!(error instanceof DmaError)) throw error;
    throw new DmaError("ENOMEM", operation, error.reason, error);
  }
}

/**
 * dma_alloc_attrs(): memory mapped for reading and writing below the coherent mask. A caller that may sleep gets it in
 * blocks of the sizes of the IOMMU's pages, unless DMA_ATTR_FORCE_CONTIGUOUS; one that may not, in one block.
 * Throws DmaError `ENOMEM` where Linux returns NULL.
 *
 * @param sleep whether the caller may: GFP_KERNEL against GFP_ATOMIC
 */
export function allocCoherent(
  device: DmaDevice,
  context: DmaContext,
  size: bigint,
  attributes: DmaAttributes = NO_ATTRIBUTES,
  sleep = true,
): CoherentBuffer {
  const operation = `${device.name}: allocate ${size} coherent bytes`;
  checkSize(size, operation);
  device.domain.enter(context);
  const call: DmaCall = { device, context, direction: "bidirectional", attributes, operation };
  const scattered = sleep && !hasAttribute(attributes, "FORCE_CONTIGUOUS");
  const buffer = scattered ? allocateScattered(call, size) : allocateContiguous(call, size);
  const { direction } = call;
  const live: CoherentMapping = { device, ...buffer, size, by: "coherent", direction, attributes };
  device.domain.live.set(buffer.address, live);
  device.counters.maps++;
  return buffer;
}

/** dma_free_attrs(). Throws DmaMisuseError (see `findLive`). */
export function freeCoherent(
  device: DmaDevice,
  context: DmaContext,
  size: bigint,
  address: DmaAddress,
  attributes: DmaAttributes = NO_ATTRIBUTES,
): void {
  const { domain } = device;
  const operation = `${device.name}: free ${size} coherent bytes at ${hex(address)}`;
  const live = findLive(device, address, { size, by: "coherent", direction: "bidirectional", attributes }, operation);
  domain.enter(context);
  domain.unmapAndFree(device, context, address, size);
  domain.live.delete(address);
  freeBlocks(device, (live as CoherentMapping).blocks);
  device.counters.unmaps++;
}
