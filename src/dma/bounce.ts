/** Bounce buffers as the IOMMU's side of the DMA API uses them: iommu_dma_map_swiotlb() and its counterpart. */
import type { PhysicalAddress } from "../engine/addresses.js";
import { type DmaDirection, hasAttribute } from "./attributes.js";
import type { DmaCall } from "./call.js";
import type { DmaDevice } from "./device.js";

/** Whether a buffer shares a granule with other data and the device must not see, or would spoil, that. */
export function needsBounce(device: DmaDevice, physical: bigint, size: bigint, direction: DmaDirection): boolean {
  return device.mayBounce(size, direction) && device.domain.offset(physical | size) !== 0n;
}

/** Copies into a bounce buffer, whatever the direction: the device may write less than it promised. null: no room. */
export function bounceIn(device: DmaDevice, physical: bigint, size: bigint): PhysicalAddress | null {
  const bounced = device.domain.host.swiotlb.map(physical, size, device.domain.granuleMask, device);
  if (bounced !== null) device.counters.bouncedBytes += size;
  return bounced;
}

/** Copies out of the bounce buffer at `physical` and frees it; nothing when none begins there. */
export function bounceOut({ device, direction, attributes }: DmaCall, physical: bigint): void {
  const size = device.domain.host.swiotlb.unmap(physical);
  if (direction === "to-device" || hasAttribute(attributes, "SKIP_CPU_SYNC")) return;
  device.counters.bouncedBytes += size;
}
