/**
 * Memory of a PCI device for another device, as a dma-buf exporter maps it (dma_buf_phys_vec_to_sgt() of
 * drivers/dma-buf/dma-buf-mapping.c). Sizes are in bytes.
 */
import { type DmaAddress, dmaAddress, type PhysicalAddress } from "../engine/addresses.js";
import { type DmaDirection, dmaAttributes } from "./attributes.js";
import type { DmaDevice } from "./device.js";
import { DmaError, DmaMisuseError } from "./errors.js";
import type { DmaContext } from "./iova-allocator.js";
import { destroy, link } from "./iova-link.js";
import { dmaUseIova, IovaState, sync, tryAlloc } from "./iova-state.js";
import { mapPhys, unmapPhys } from "./map-phys.js";
import type { DmaSegment, P2pMapType } from "./scatterlist.js";

const MMIO = dmaAttributes("MMIO");
const UINT_MAX = 0xffff_ffffn;
const NO_MEMORY = 0n as PhysicalAddress;

/** struct phys_vec, and what is added to the address on the bus. */
export interface PhysVec {
  readonly physical: PhysicalAddress;
  readonly length: bigint;
  readonly busOffset?: bigint;
}

/**
 * Where each range is linked. `zero` is what 7.2 does: every range at offset 0, so that the second one meets the first.
 * `running`: each behind the one before.
 */
export type PhysVecOffsets = "zero" | "running";

export interface PhysVecMapping {
  readonly segments: readonly DmaSegment[];
  /** What was mapped: one IOVA range, or, when there was none, each range by itself; nothing for bus addresses. */
  readonly behind: IovaState | readonly PhysicalMapping[];
  readonly size: bigint;
}

/** One range mapped by itself. */
export interface PhysicalMapping {
  readonly address: DmaAddress;
  readonly length: bigint;
}

/** Entries of a scatterlist, none longer than its 32-bit length holds in whole pages. */
function segmentsOf(pageSize: bigint, address: bigint, size: bigint, busAddress: boolean): DmaSegment[] {
  const longest = UINT_MAX & -pageSize;
  const segments: DmaSegment[] = [];
  for (let done = 0n; done < size; done += longest) {
    const length = size - done < longest ? size - done : longest;
    segments.push({ address: dmaAddress(address + done), length, busAddress });
  }
  return segments;
}

/**
 * Maps the ranges for `device`. Throws DmaError: `EINVAL` when the peer is out of reach, `ENOMEM` for DMA_MAPPING_ERROR,
 * or what `link` throws. Then the links made so far are destroyed; a range of which the very first link failed stays
 * allocated, as the kernel's error path leaves it.
 *
 * @param type how the device reaches the peer
 */
export function mapPhysVec(
  device: DmaDevice,
  context: DmaContext,
  ranges: readonly PhysVec[],
  type: P2pMapType,
  direction: DmaDirection,
  offsets: PhysVecOffsets = "zero",
): PhysVecMapping {
  const operation = `${device.name}: map ${ranges.length} ranges of a peer`;
  const { pageSize } = device.domain.host;
  const size = ranges.reduce((sum, { length }) => sum + length, 0n);
  if (ranges.length === 0 || ranges.some(({ length }) => length <= 0n)) {
    throw new DmaMisuseError("invalid", operation, "no ranges, or an empty one");
  }
  if (type === "not-supported") throw new DmaError("EINVAL", operation, "the device cannot reach the peer");
  if (type === "bus-addr") {
    const segments = ranges.flatMap(({ physical, length, busOffset }) =>
      segmentsOf(pageSize, physical + (busOffset ?? 0n), length, true),
    );
    return { segments, behind: [], size };
  }
  const state = new IovaState();
  tryAlloc(device, context, state, NO_MEMORY, size);
  if (!dmaUseIova(state)) {
    const behind = mapEach(device, context, ranges, direction);
    const segments = behind.flatMap(({ address, length }) => segmentsOf(pageSize, address, length, false));
    return { segments, behind, size };
  }
  let linked = 0n;
  try {
    for (const { physical, length } of ranges) {
      link(device, context, state, physical, offsets === "zero" ? 0n : linked, length, direction, MMIO);
      linked += length;
    }
    sync(device, context, state, 0n, linked);
  } catch (error) {
    if (linked > 0n) destroy(device, context, state, linked, direction, MMIO);
    throw error;
  }
  return { segments: segmentsOf(pageSize, state.address, size, false), behind: state, size };
}

/** Without an IOVA range: each range by itself. */
function mapEach(
  device: DmaDevice,
  context: DmaContext,
  ranges: readonly PhysVec[],
  direction: DmaDirection,
): PhysicalMapping[] {
  const mapped: PhysicalMapping[] = [];
  try {
    for (const { physical, length } of ranges) {
      mapped.push({ address: mapPhys(device, context, physical, length, direction, MMIO), length });
    }
  } catch (error) {
    for (const { address, length } of mapped) unmapPhys(device, context, address, length, direction, MMIO);
    if (!(error instanceof DmaError)) throw error;
    throw new DmaError("ENOMEM", error.operation, error.reason, error);
  }
  return mapped;
}

/** dma_buf_free_sgt(). Throws DmaMisuseError. */
export function unmapPhysVec(
  device: DmaDevice,
  context: DmaContext,
  mapping: PhysVecMapping,
  direction: DmaDirection,
): void {
  const { behind, size } = mapping;
  if (behind instanceof IovaState) {
    destroy(device, context, behind, size, direction, MMIO);
    return;
  }
  for (const { address, length } of behind) unmapPhys(device, context, address, length, direction, MMIO);
}
