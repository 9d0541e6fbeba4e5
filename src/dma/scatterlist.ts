/** Mapping scatterlists (iommu_dma_map_sg() and __finalise_sg()). Sizes are in bytes. */
import { type DmaAddress, dmaAddress, type PhysicalAddress } from "../engine/addresses.js";
import {
  attributeNames,
  type DmaAttributes,
  type DmaDirection,
  dmaAttributes,
  hasAttribute,
  NO_ATTRIBUTES,
  permissionsOf,
} from "./attributes.js";
import { checkSize, type DmaCall } from "./call.js";
import type { DmaDevice } from "./device.js";
import type { PhysicalRange } from "./domain.js";
import { DmaError, DmaMisuseError } from "./errors.js";
import type { DmaContext } from "./iova-allocator.js";
import { findLive } from "./live.js";
import { mapBounced, unmapBounced } from "./map-phys.js";

/** How the device reaches memory of another PCI device (enum pci_p2pdma_map_type). */
export type P2pMapType = "bus-addr" | "thru-host-bridge" | "not-supported";

/** One entry of a scatterlist before it is mapped. */
export interface ScatterlistEntry {
  readonly physical: PhysicalAddress;
  readonly length: bigint;
  /** For memory of another PCI device. */
  readonly p2p?: P2pMapType;
  /** `bus-addr` only: what is added to the physical address on the bus. Default 0. */
  readonly busOffset?: bigint;
}

/** One segment as the device gets it. */
export interface DmaSegment {
  readonly address: DmaAddress;
  readonly length: bigint;
  /** A peer's address on the bus, which no IOMMU translates and no IOVA was taken for. */
  readonly busAddress: boolean;
}

/** A mapped scatterlist; `unmapSg` takes it back. */
export interface MappedScatterlist {
  readonly device: DmaDevice;
  readonly direction: DmaDirection;
  readonly segments: readonly DmaSegment[];
  /** Mapped entry by entry, as dma_unmap_sg() must know (sg_dma_mark_swiotlb()). */
  readonly bounced: boolean;
}

/** An entry in whole granules, as the page table maps it. */
interface Piece {
  readonly entry: ScatterlistEntry;
  /** Bytes of its first granule before it; null for a bus address, which is not mapped. */
  readonly offset: bigint | null;
  /** Bytes of IOVA: of the entry, and of the padding behind it. */
  length: bigint;
}

/** Lays the entries out in IOVA space, none of them across a segment boundary. */
function layOut(call: DmaCall, entries: readonly ScatterlistEntry[]): { pieces: Piece[]; length: bigint } {
  const { domain, segmentBoundaryMask: mask } = call.device;
  const pieces: Piece[] = [];
  let last: Piece | undefined;
  let length = 0n;
  for (const entry of entries) {
    if (entry.p2p === "not-supported") {
      throw new DmaError("EREMOTEIO", call.operation, "the device cannot reach the memory of that peer");
    }
    if (entry.p2p === "bus-addr") {
      pieces.push({ entry, offset: null, length: 0n });
      continue;
    }
    const offset = domain.offset(entry.physical);
    const piece = { entry, offset, length: domain.align(entry.length + offset) };
    // The IOVA is aligned to the next power of two of its length, so it begins on a boundary if it is longer than one.
    const padding = (mask - length + 1n) & mask;
    if (last && padding !== 0n && padding < piece.length - 1n) {
      last.length += padding;
      length += padding;
    }
    length += piece.length;
    pieces.push(piece);
    last = piece;
  }
  return { pieces, length };
}

/** What iommu_map_sg() maps as one range: neighbours in IOVA space that are neighbours in memory. */
function joinNeighbours(pieces: readonly Piece[]): PhysicalRange[] {
  const ranges: { physical: bigint; length: bigint }[] = [];
  let joins = false;
  for (const { entry, offset, length } of pieces) {
    const previous = ranges.at(-1);
    const physical = entry.physical - (offset ?? 0n);
    joins &&= previous !== undefined && physical === previous.physical + previous.length;
    if (offset === null) continue;
    if (joins && previous) previous.length += length;
    else ranges.push({ physical, length });
    joins = true;
  }
  return ranges;
}

/**
 * __finalise_sg(): an entry continues the segment before it if that ended on a granule and this begins on one, off any
 * segment boundary, and the two together are not too long.
 */
function finalise(device: DmaDevice, pieces: readonly Piece[], iova: bigint): DmaSegment[] {
  const segments: DmaSegment[] = [];
  /** Bytes of the segment that may still grow; 0 when none may. */
  let open = 0n;
  let at = iova;
  for (const { entry, offset, length: iovaLength } of pieces) {
    const { length } = entry;
    if (offset === null) {
      const address = dmaAddress(entry.physical + (entry.busOffset ?? 0n));
      segments.push({ address, length, busAddress: true });
      open = 0n;
      continue;
    }
    const offBoundary = (at & device.segmentBoundaryMask) !== 0n;
    const last = segments.at(-1);
    if (last && open !== 0n && offset === 0n && offBoundary && device.maxSegmentSize - open >= length) {
      open += length;
      segments[segments.length - 1] = { ...last, length: open };
    } else {
      open = length;
      segments.push({ address: dmaAddress(at + offset), length, busAddress: false });
    }
    at += iovaLength;
    if (length + offset < iovaLength) open = 0n;
  }
  return segments;
}

/** iommu_dma_map_sg_swiotlb(): entry by entry, nothing merged. */
function mapEach(call: DmaCall, entries: readonly ScatterlistEntry[]): DmaSegment[] {
  const segments: DmaSegment[] = [];
  try {
    for (const { physical, length } of entries) {
      segments.push({ address: mapBounced(call, physical, length, "scatterlist"), length, busAddress: false });
    }
  } catch (error) {
    const attributes = dmaAttributes("SKIP_CPU_SYNC", ...attributeNames(call.attributes));
    for (const { address, length } of segments) unmapBounced({ ...call, attributes }, address, length);
    if (!(error instanceof DmaError)) throw error;
    throw new DmaError("EIO", call.operation, `entry ${segments.length}: ${error.reason}`, error);
  }
  return segments;
}

/** iommu_dma_map_sg() without bouncing: one IOVA for the whole list. */
function mapWhole(call: DmaCall, entries: readonly ScatterlistEntry[]): DmaSegment[] {
  const { device, context, direction, attributes, operation } = call;
  const { domain } = device;
  const { pieces, length } = layOut(call, entries);
  if (length === 0n) return finalise(device, pieces, 0n);
  const iova = domain.allocate(device, context, length, device.mask);
  if (iova === null) throw new DmaError("ENOMEM", operation, "no IOVA below the limit is free");
  const refusal = domain.mapRanges(device, iova, joinNeighbours(pieces), permissionsOf(direction, attributes));
  if (refusal) {
    domain.free(context, iova, length, "now");
    const code = refusal.code === "ENOMEM" ? "ENOMEM" : "EINVAL";
    throw new DmaError(code, operation, `the page table refused: ${refusal.code}`, refusal.cause);
  }
  for (const { p2p, length: bytes } of entries) {
    if (p2p === "thru-host-bridge" || (p2p === undefined && hasAttribute(attributes, "MMIO"))) {
      device.counters.mmioBytes += bytes;
    }
  }
  const segments = finalise(device, pieces, iova);
  const { first, size } = extent(segments);
  domain.live.set(first, { device, address: first, size, by: "scatterlist", direction, attributes });
  return segments;
}

/** From the first to the last byte that is translated: what dma_unmap_sg() unmaps. `size` 0: nothing is. */
function extent(segments: readonly DmaSegment[]): { first: DmaAddress; size: bigint } {
  const translated = segments.filter(({ busAddress }) => !busAddress);
  const last = translated.at(-1);
  if (!last) return { first: dmaAddress(0n), size: 0n };
  const { address: first } = translated[0];
  return { first, size: last.address + last.length - first };
}

/**
 * dma_map_sgtable(). The physical offset above the granule counts for nothing: the entries lie one behind the other in
 * IOVA space, each beginning as far into a granule as in memory. Of a device that bounces, every entry is mapped by
 * itself.
 *
 * Throws DmaError `EINVAL` (no dma_mask, or the page table refuses), `ENOMEM`, `EIO` (an entry that may be bounced could
 * not be mapped), `EOPNOTSUPP` (DMA_ATTR_REQUIRE_COHERENT on a device that is not), `EREMOTEIO` (peer out of reach).
 */
export function mapSg(
  device: DmaDevice,
  context: DmaContext,
  entries: readonly ScatterlistEntry[],
  direction: DmaDirection,
  attributes: DmaAttributes = NO_ATTRIBUTES,
): MappedScatterlist {
  const operation = `${device.name}: map scatterlist of ${entries.length} entries`;
  if (entries.length === 0) throw new DmaMisuseError("invalid", operation, "it is empty");
  for (const { length } of entries) checkSize(length, operation);
  device.domain.enter(context);
  if (!device.coherent && hasAttribute(attributes, "REQUIRE_COHERENT")) {
    throw new DmaError("EOPNOTSUPP", operation, "the device is not coherent");
  }
  if (device.dmaMask === null) throw new DmaError("EINVAL", operation, "the device has no dma_mask");
  const call = { device, context, direction, attributes, operation };
  const bounced = entries.some(({ length }) => device.mayBounce(length, direction));
  const segments = bounced ? mapEach(call, entries) : mapWhole(call, entries);
  const mapped = { device, direction, segments, bounced };
  device.domain.scatterlists.add(mapped);
  device.counters.maps++;
  return mapped;
}

/** dma_unmap_sg(). Throws DmaMisuseError (see `findLive`). */
export function unmapSg(
  device: DmaDevice,
  context: DmaContext,
  mapped: MappedScatterlist,
  direction: DmaDirection,
  attributes: DmaAttributes = NO_ATTRIBUTES,
): void {
  const { domain } = device;
  const operation = `${device.name}: unmap scatterlist of ${mapped.segments.length} segments`;
  if (mapped.device !== device) {
    throw new DmaMisuseError("foreign-device", operation, `it was mapped by ${mapped.device.name}`);
  }
  if (!domain.scatterlists.has(mapped)) throw new DmaMisuseError("not-allocated", operation, "it is not mapped");
  if (mapped.direction !== direction) {
    throw new DmaMisuseError("wrong-direction", operation, `mapped ${mapped.direction}, unmapped ${direction}`);
  }
  const { first, size } = extent(mapped.segments);
  const ranges = mapped.bounced
    ? mapped.segments.map((segment) => ({ address: segment.address, size: segment.length }))
    : [{ address: first, size }].filter((range) => range.size > 0n);
  for (const { address, size: bytes } of ranges) {
    findLive(device, address, { size: bytes, by: "scatterlist", direction, attributes }, operation);
  }
  domain.enter(context);
  for (const { address, size: bytes } of ranges) {
    unmapBounced({ device, context, direction, attributes, operation }, address, bytes);
  }
  domain.scatterlists.delete(mapped);
  device.counters.unmaps++;
}
