/** What a driver asks before it decides how to map. Results are in bytes. */
import type { DmaDevice } from "./device.js";
import { SEGMENT_BYTES, SLOT_BYTES } from "./swiotlb.js";

/** SIZE_MAX of a 64-bit kernel. */
const SIZE_MAX = 0xffff_ffff_ffff_ffffn;

/** dma_max_mapping_size(): an untrusted device's mapping may have to fit a run of bounce slots. */
export function maxMappingSize({ untrusted, minAlignMask }: DmaDevice): bigint {
  if (!untrusted) return SIZE_MAX;
  return SEGMENT_BYTES - ((minAlignMask + SLOT_BYTES - 1n) & -SLOT_BYTES);
}

/** dma_opt_mapping_size(): the largest that IOVA magazines serve. */
export function optMappingSize(device: DmaDevice): bigint {
  const most = maxMappingSize(device);
  const cached = device.domain.host.iovaCacheRange;
  return most < cached ? most : cached;
}

/** dma_get_merge_boundary(): pieces of which all but the outer ends lie on this mask can be one IOVA range. */
export function getMergeBoundary(device: DmaDevice): bigint {
  return device.domain.granuleMask;
}
