/** The two-step API (dma_iova_*() of dma-iommu.c): an IOVA range, behind which iova-link.ts puts memory. In bytes. */
import { type DmaAddress, dmaAddress, hex, type PhysicalAddress } from "../engine/addresses.js";
import { checkSize } from "./call.js";
import type { DmaDevice } from "./device.js";
import { DmaMisuseError } from "./errors.js";
import type { DmaContext } from "./iova-allocator.js";

/** Set in `sizeWord` once a link has been bounced. */
export const DMA_IOVA_USE_SWIOTLB = 1n << 63n;

/** struct dma_iova_state. As in the kernel it keeps what it says when its range is freed. */
export class IovaState {
  address: DmaAddress = dmaAddress(0n);
  /** Bytes, and DMA_IOVA_USE_SWIOTLB. */
  sizeWord = 0n;

  /** dma_iova_size(). */
  get size(): bigint {
    return this.sizeWord & ~DMA_IOVA_USE_SWIOTLB;
  }

  get usesSwiotlb(): boolean {
    return (this.sizeWord & DMA_IOVA_USE_SWIOTLB) !== 0n;
  }
}

/** What stands behind a state that has a range: whole granules, by IOVA. */
export interface AllocatedState {
  readonly device: DmaDevice;
  /** Bytes of each link. */
  readonly links: Map<bigint, bigint>;
}

/** dma_use_iova(): whether the last `tryAlloc` into the state succeeded. */
export function dmaUseIova(state: IovaState): boolean {
  return state.sizeWord !== 0n;
}

/** Throws DmaMisuseError `not-allocated` or `foreign-device`. */
export function allocated(device: DmaDevice, state: IovaState, operation: string): AllocatedState {
  const found = device.domain.states.get(state);
  if (found?.device === device) return found;
  for (const domain of device.domain.host.domains) {
    const owner = domain.states.get(state)?.device;
    if (owner) throw new DmaMisuseError("foreign-device", operation, `the range was allocated by ${owner.name}`);
  }
  throw new DmaMisuseError("not-allocated", operation, "the state has no range");
}

/** Throws DmaMisuseError `outside-state`. */
export function checkInside(state: IovaState, offset: bigint, size: bigint, operation: string): void {
  if (offset >= 0n && offset + size <= state.size) return;
  throw new DmaMisuseError("outside-state", operation, `the range has ${state.size} bytes`);
}

/**
 * dma_iova_try_alloc(): an IOVA range for `size` bytes, beginning as far into a granule as `physical` does. false: use
 * the ordinary calls; no IOVA is free, or `size` is 0 or has bit 63 set. The state is cleared first. Throws
 * DmaMisuseError `state-in-use` for one that still has a range, which Linux would lose.
 */
export function tryAlloc(
  device: DmaDevice,
  context: DmaContext,
  state: IovaState,
  physical: PhysicalAddress,
  size: bigint,
): boolean {
  const { domain } = device;
  const operation = `${device.name}: allocate IOVA for ${size} bytes at ${hex(physical)}`;
  if (domain.host.domains.some(({ states }) => states.has(state))) {
    throw new DmaMisuseError("state-in-use", operation, "the state still has a range");
  }
  domain.enter(context);
  state.address = dmaAddress(0n);
  state.sizeWord = 0n;
  if (size <= 0n || size >= DMA_IOVA_USE_SWIOTLB) return false;
  const offset = domain.offset(physical);
  const iova = domain.allocate(device, context, domain.align(size + offset), device.mask);
  if (iova === null) return false;
  state.address = dmaAddress(iova + offset);
  state.sizeWord = size;
  domain.states.set(state, { device, links: new Map() });
  return true;
}

/**
 * dma_iova_sync(): tells the IOMMU that a range is linked. The emulated ones look at their tables on every miss and keep
 * no absent entries, so there is nothing to do. Throws DmaMisuseError.
 */
export function sync(device: DmaDevice, context: DmaContext, state: IovaState, offset: bigint, size: bigint): void {
  const operation = `${device.name}: sync ${size} bytes at offset ${offset}`;
  allocated(device, state, operation);
  checkSize(size, operation);
  checkInside(state, offset, size, operation);
  device.domain.enter(context);
}

/** dma_iova_free(): gives a range back, never by way of the flush queue. Throws DmaMisuseError `still-linked`. */
export function free(device: DmaDevice, context: DmaContext, state: IovaState): void {
  const { domain } = device;
  const operation = `${device.name}: free the range at ${hex(state.address)}`;
  const { links } = allocated(device, state, operation);
  if (links.size > 0) throw new DmaMisuseError("still-linked", operation, `${links.size} links are in it`);
  domain.enter(context);
  const offset = domain.offset(state.address);
  domain.free(context, state.address - offset, domain.align(state.size + offset), "now");
  domain.states.delete(state);
}
