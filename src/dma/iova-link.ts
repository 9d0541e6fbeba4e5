/** Links of the two-step API (dma_iova_link() and its counterparts in dma-iommu.c). Sizes are in bytes. */
import { dmaAddress, hex, type PhysicalAddress } from "../engine/addresses.js";
import { type DmaAttributes, type DmaDirection, hasAttribute, NO_ATTRIBUTES, permissionsOf } from "./attributes.js";
import { bounceIn, bounceOut, needsBounce } from "./bounce.js";
import { checkSize, type DmaCall } from "./call.js";
import type { DmaDevice } from "./device.js";
import { DmaError, DmaMisuseError } from "./errors.js";
import type { DmaContext } from "./iova-allocator.js";
import { allocated, checkInside, DMA_IOVA_USE_SWIOTLB, free, type IovaState } from "./iova-state.js";

/** The links that make up a range exactly. Throws DmaMisuseError `not-linked`. */
function linksOf(
  { domain }: DmaDevice,
  state: IovaState,
  links: ReadonlyMap<bigint, bigint>,
  offset: bigint,
  size: bigint,
  operation: string,
): bigint[] {
  const start = state.address + offset;
  const end = (start & ~domain.granuleMask) + domain.align(size + domain.offset(start));
  const found: bigint[] = [];
  let at = start & ~domain.granuleMask;
  while (at < end) {
    const length = links.get(at);
    if (length === undefined) throw new DmaMisuseError("not-linked", operation, `no link begins at ${hex(at)}`);
    found.push(at);
    at += length;
  }
  if (at > end) throw new DmaMisuseError("not-linked", operation, "it ends inside a link");
  return found;
}

/** __iommu_dma_iova_unlink(): returns the whole granules that were unmapped. */
function unmapLinks(
  call: DmaCall,
  state: IovaState,
  links: Map<bigint, bigint>,
  offset: bigint,
  size: bigint,
  how: "now" | "queued",
): { iova: bigint; length: bigint } {
  const { device, operation } = call;
  const { domain } = device;
  const start = state.address + offset;
  const iova = start & ~domain.granuleMask;
  const length = domain.align(size + domain.offset(start));
  const found = linksOf(device, state, links, offset, size, operation);
  if (state.usesSwiotlb) {
    // Only the first granule of the range can begin with padding, so every other buffer begins where its granule does.
    for (let at = start; at < iova + length; at = (at & ~domain.granuleMask) + domain.granule) {
      const physical = domain.table.iovaToPhys(dmaAddress(at));
      if (physical !== null) bounceOut(call, physical);
    }
  }
  domain.unmap(device, iova, length, how);
  for (const at of found) links.delete(at);
  return { iova, length };
}

/** __dma_iova_link() and iommu_map_nosync(): maps whole granules and remembers them. */
function mapLink(call: DmaCall, links: Map<bigint, bigint>, iova: bigint, physical: bigint, length: bigint): void {
  const { device, direction, attributes, operation } = call;
  const refusal = device.domain.map(device, iova, physical, length, permissionsOf(direction, attributes));
  if (refusal) {
    const reason = `the page table refused ${hex(iova)}, ${length} bytes`;
    throw new DmaError(refusal.code, operation, reason, refusal.cause);
  }
  links.set(iova, length);
}

/** iommu_dma_iova_bounce_and_link(): a part of one granule. */
function bounceAndLink(
  call: DmaCall,
  links: Map<bigint, bigint>,
  address: bigint,
  physical: bigint,
  size: bigint,
): void {
  const { domain } = call.device;
  const padding = domain.offset(physical);
  const bounced = bounceIn(call.device, physical, size);
  if (bounced === null) throw new DmaError("ENOMEM", call.operation, "no bounce buffer is free");
  try {
    mapLink(call, links, address - padding, bounced - padding, domain.align(size));
  } catch (error) {
    bounceOut(call, bounced);
    throw error;
  }
}

/**
 * iommu_dma_iova_link_swiotlb(), as repaired by commit 6ec91df8aff7: head and tail are bounced, the granules between
 * them, if any, are mapped as they are.
 */
function linkBounced(
  call: DmaCall,
  state: IovaState,
  links: Map<bigint, bigint>,
  physical: bigint,
  offset: bigint,
  size: bigint,
): void {
  const { domain } = call.device;
  const address = state.address + offset;
  const headPadding = domain.offset(physical);
  const toBoundary = domain.granule - headPadding;
  const head = headPadding === 0n ? 0n : size < toBoundary ? size : toBoundary;
  const tail = head === size ? 0n : domain.offset(physical + size);
  const middle = size - head - tail;
  let mapped = 0n;
  try {
    if (head > 0n) {
      bounceAndLink(call, links, address, physical, head);
      state.sizeWord |= DMA_IOVA_USE_SWIOTLB;
      mapped = head;
    }
    if (middle > 0n) {
      mapLink(call, links, address + mapped, physical + mapped, middle);
      mapped += middle;
    }
    if (tail > 0n) {
      bounceAndLink(call, links, address + mapped, physical + mapped, tail);
      state.sizeWord |= DMA_IOVA_USE_SWIOTLB;
    }
  } catch (error) {
    if (mapped > 0n) unmapLinks(call, state, links, offset, mapped, "now");
    throw error;
  }
}

/**
 * dma_iova_link(): puts `size` bytes at `physical` behind the range, `offset` bytes into it. All but the first link
 * begin on a granule, all but the last end on one. No IOTLB is told; that is `sync`.
 *
 * Throws DmaError `EIO` (begins inside a granule at an offset), `EOPNOTSUPP` (DMA_ATTR_REQUIRE_COHERENT where something
 * was bounced or the device is not coherent), `EPERM` (would have to be bounced, which DMA_ATTR_MMIO and
 * REQUIRE_COHERENT forbid), `ENOMEM` (no bounce buffer), or what the page table answers: `EADDRINUSE` (`EEXIST` on Arm)
 * where something is linked, `EINVAL`, `ERANGE`. Nothing has changed then, save that DMA_IOVA_USE_SWIOTLB stays set when
 * a head was bounced and what follows it failed. Throws DmaMisuseError `not-allocated`, `foreign-device`,
 * `outside-state`, `invalid`.
 */
export function link(
  device: DmaDevice,
  context: DmaContext,
  state: IovaState,
  physical: PhysicalAddress,
  offset: bigint,
  size: bigint,
  direction: DmaDirection,
  attributes: DmaAttributes = NO_ATTRIBUTES,
): void {
  const { domain } = device;
  const operation = `${device.name}: link ${hex(physical)}, ${size} bytes at offset ${offset}`;
  const refuse = (code: "EIO" | "EOPNOTSUPP" | "EPERM", reason: string): DmaError =>
    new DmaError(code, operation, reason);
  const { links } = allocated(device, state, operation);
  checkSize(size, operation);
  checkInside(state, offset, size, operation);
  domain.enter(context);
  const padding = domain.offset(physical);
  const coherent = hasAttribute(attributes, "REQUIRE_COHERENT");
  if (padding !== 0n && offset > 0n) throw refuse("EIO", "only the first link may begin inside a granule");
  if (state.usesSwiotlb && coherent) throw refuse("EOPNOTSUPP", "part of the range is bounced");
  if (!device.coherent && coherent) throw refuse("EOPNOTSUPP", "the device is not coherent");
  const call = { device, context, direction, attributes, operation };
  if (needsBounce(device, physical, size, direction)) {
    if (coherent || hasAttribute(attributes, "MMIO")) throw refuse("EPERM", "it would have to be bounced");
    linkBounced(call, state, links, physical, offset, size);
  } else {
    const address = state.address + offset;
    mapLink(call, links, address - padding, physical - padding, domain.align(size + padding));
  }
  if (hasAttribute(attributes, "MMIO")) device.counters.mmioBytes += size;
  device.counters.maps++;
}

/**
 * dma_iova_unlink(): takes links out of the range; the IOTLB is invalidated at once, never by the flush queue. Throws
 * DmaMisuseError `not-linked` for what is not exactly a row of links (Linux warns, or tears a large page), and as `link`.
 */
export function unlink(
  device: DmaDevice,
  context: DmaContext,
  state: IovaState,
  offset: bigint,
  size: bigint,
  direction: DmaDirection,
  attributes: DmaAttributes = NO_ATTRIBUTES,
): void {
  const operation = `${device.name}: unlink ${size} bytes at offset ${offset}`;
  const { links } = allocated(device, state, operation);
  checkSize(size, operation);
  checkInside(state, offset, size, operation);
  linksOf(device, state, links, offset, size, operation);
  device.domain.enter(context);
  unmapLinks({ device, context, direction, attributes, operation }, state, links, offset, size, "now");
  device.counters.unmaps++;
}

/**
 * dma_iova_destroy(): unlinks the first `mappedLength` bytes, which must be all that is linked, and frees the range, by
 * way of the flush queue where the domain has one. With 0 it is `free`. As in Linux the allocator is told the linked
 * length, not that of the range; a shorter one can go into a magazine of shorter ranges and keep the rest from use.
 * Throws DmaMisuseError `not-linked`, `still-linked` and as `unlink`.
 */
export function destroy(
  device: DmaDevice,
  context: DmaContext,
  state: IovaState,
  mappedLength: bigint,
  direction: DmaDirection,
  attributes: DmaAttributes = NO_ATTRIBUTES,
): void {
  if (mappedLength === 0n) {
    free(device, context, state);
    return;
  }
  const { domain } = device;
  const operation = `${device.name}: destroy the range at ${hex(state.address)}, ${mappedLength} bytes linked`;
  const { links } = allocated(device, state, operation);
  checkSize(mappedLength, operation);
  checkInside(state, 0n, mappedLength, operation);
  const found = linksOf(device, state, links, 0n, mappedLength, operation);
  if (found.length < links.size) {
    throw new DmaMisuseError("still-linked", operation, `${links.size - found.length} more links are in it`);
  }
  domain.enter(context);
  const how = domain.flush === "lazy" ? "queued" : "now";
  const call = { device, context, direction, attributes, operation };
  const { iova, length } = unmapLinks(call, state, links, 0n, mappedLength, how);
  domain.free(context, iova, length, how);
  domain.states.delete(state);
  device.counters.unmaps++;
}
