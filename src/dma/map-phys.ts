/** Mapping one physical range (iommu_dma_map_phys() and kernel/dma/mapping.c). Sizes are in bytes. */
import { type DmaAddress, dmaAddress, hex, type PhysicalAddress } from "../engine/addresses.js";
import { type DmaAttributes, type DmaDirection, hasAttribute, NO_ATTRIBUTES, permissionsOf } from "./attributes.js";
import { bounceIn, bounceOut, needsBounce } from "./bounce.js";
import { checkSize, type DmaCall } from "./call.js";
import type { DmaDevice } from "./device.js";
import { DmaError, DmaMisuseError } from "./errors.js";
import type { DmaContext } from "./iova-allocator.js";
import { findLive, type MappedBy } from "./live.js";

/**
 * __iommu_dma_map(): the DMA address, and nothing else done when it fails. Throws DmaError `DMA_MAPPING_ERROR`.
 *
 * @param mask the device's mask for this kind of mapping
 */
export function mapRange(call: DmaCall, physical: bigint, size: bigint, mask: bigint): DmaAddress {
  const { device, context, operation } = call;
  const { domain } = device;
  const offset = domain.offset(physical);
  if (device.minAlignMask > domain.granuleMask) {
    throw new DmaError("DMA_MAPPING_ERROR", operation, "unsupported alignment constraint: min_align_mask > granule");
  }
  const length = domain.align(size + offset);
  const iova = domain.allocate(device, context, length, mask);
  if (iova === null) throw new DmaError("DMA_MAPPING_ERROR", operation, "no IOVA below the limit is free");
  const refusal = domain.map(device, iova, physical - offset, length, permissionsOf(call.direction, call.attributes));
  if (refusal) {
    domain.free(context, iova, length, "now");
    throw new DmaError("DMA_MAPPING_ERROR", operation, `the page table refused: ${refusal.code}`, refusal.cause);
  }
  return dmaAddress(iova + offset);
}

/** iommu_dma_map_phys(), and the entry in the list of live mappings. Throws DmaError `DMA_MAPPING_ERROR`. */
export function mapBounced(call: DmaCall, physical: PhysicalAddress, size: bigint, by: MappedBy): DmaAddress {
  const { device, direction, attributes, operation } = call;
  let bounced: PhysicalAddress | null = null;
  if (needsBounce(device, physical, size, direction)) {
    if (hasAttribute(attributes, "MMIO", "REQUIRE_COHERENT")) {
      throw new DmaError("DMA_MAPPING_ERROR", operation, "it needs a bounce buffer, which an attribute forbids");
    }
    bounced = bounceIn(device, physical, size);
    if (bounced === null) throw new DmaError("DMA_MAPPING_ERROR", operation, "no bounce buffer is free");
  }
  try {
    const address = mapRange(call, bounced ?? physical, size, device.mask);
    device.domain.live.set(address, { device, address, size, by, direction, attributes });
    if (hasAttribute(attributes, "MMIO")) device.counters.mmioBytes += size;
    return address;
  } catch (error) {
    if (bounced !== null) bounceOut(call, bounced);
    throw error;
  }
}

/** iommu_dma_unmap_phys() of a live mapping. */
export function unmapBounced(call: DmaCall, address: DmaAddress, size: bigint): void {
  const { domain } = call.device;
  const physical = domain.table.iovaToPhys(address);
  domain.unmapAndFree(call.device, call.context, address, size);
  domain.live.delete(address);
  if (physical !== null) bounceOut(call, physical);
}

/**
 * dma_map_phys(): an address for the device, congruent to `physical` modulo the granule (a bounced one only as far as
 * min_align_mask says). Throws DmaError `DMA_MAPPING_ERROR`: the device has no mask, is asked for coherence it has not,
 * DMA_ATTR_CC_SHARED behind an IOMMU, a bounce buffer is forbidden or not to be had, min_align_mask is beyond the
 * granule, no IOVA is free, or the page table refuses.
 */
export function mapPhys(
  device: DmaDevice,
  context: DmaContext,
  physical: PhysicalAddress,
  size: bigint,
  direction: DmaDirection,
  attributes: DmaAttributes = NO_ATTRIBUTES,
): DmaAddress {
  const operation = `${device.name}: map ${hex(physical)}, ${size} bytes`;
  const refuse = (reason: string): DmaError => new DmaError("DMA_MAPPING_ERROR", operation, reason);
  checkSize(size, operation);
  device.domain.enter(context);
  if (device.dmaMask === null) throw refuse("the device has no dma_mask");
  if (!device.coherent && hasAttribute(attributes, "REQUIRE_COHERENT")) throw refuse("the device is not coherent");
  if (hasAttribute(attributes, "CC_SHARED")) throw refuse("DMA_ATTR_CC_SHARED is for direct mappings only");
  const address = mapBounced({ device, context, direction, attributes, operation }, physical, size, "phys");
  device.counters.maps++;
  return address;
}

/** dma_unmap_phys(). Throws DmaMisuseError (see `findLive`). */
export function unmapPhys(
  device: DmaDevice,
  context: DmaContext,
  address: DmaAddress,
  size: bigint,
  direction: DmaDirection,
  attributes: DmaAttributes = NO_ATTRIBUTES,
): void {
  const operation = `${device.name}: unmap ${hex(address)}, ${size} bytes`;
  findLive(device, address, { size, by: "phys", direction, attributes }, operation);
  device.domain.enter(context);
  unmapBounced({ device, context, direction, attributes, operation }, address, size);
  device.counters.unmaps++;
}

/** dma_map_page_attrs(): as `mapPhys` of `offset` bytes into a page; not for MMIO (`DMA_MAPPING_ERROR`). */
export function mapPage(
  device: DmaDevice,
  context: DmaContext,
  page: PhysicalAddress,
  offset: bigint,
  size: bigint,
  direction: DmaDirection,
  attributes: DmaAttributes = NO_ATTRIBUTES,
): DmaAddress {
  const operation = `${device.name}: map page ${hex(page)}, ${size} bytes at ${offset}`;
  if (page % device.domain.host.pageSize !== 0n || offset < 0n) {
    throw new DmaMisuseError("invalid", operation, "no page begins there, or the offset is negative");
  }
  if (hasAttribute(attributes, "MMIO")) {
    throw new DmaError("DMA_MAPPING_ERROR", operation, "MMIO has no struct page: map it by its physical address");
  }
  return mapPhys(device, context, (page + offset) as PhysicalAddress, size, direction, attributes);
}

/** dma_unmap_page_attrs(): as `unmapPhys`. DMA_ATTR_MMIO, with which Linux does nothing, is `wrong-attributes`. */
export function unmapPage(
  device: DmaDevice,
  context: DmaContext,
  address: DmaAddress,
  size: bigint,
  direction: DmaDirection,
  attributes: DmaAttributes = NO_ATTRIBUTES,
): void {
  if (hasAttribute(attributes, "MMIO")) {
    const operation = `${device.name}: unmap page at ${hex(address)}, ${size} bytes`;
    throw new DmaMisuseError("wrong-attributes", operation, "MMIO is unmapped by unmapPhys");
  }
  unmapPhys(device, context, address, size, direction, attributes);
}
