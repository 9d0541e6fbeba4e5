/**
 * Linux's DMA API above the emulator (drivers/iommu/dma-iommu.c and kernel/dma/mapping.c, 7.2), behind an IOMMU that
 * translates: no direct mappings. What Linux refuses is a DmaError with the kernel's number, what no driver may ask a
 * DmaMisuseError. Either leaves all as it was, as far as Linux does: a PCI device that finds no IOVA below 4 GiB has lost
 * its preference, and a link of which the head was bounced has marked its state.
 */
export {
  attributeNames,
  type DmaAttribute,
  type DmaAttributes,
  type DmaDirection,
  dmaAttributes,
  hasAttribute,
  NO_ATTRIBUTES,
} from "./attributes.js";
export { allocCoherent, type CoherentBuffer, freeCoherent, type PageBlock } from "./coherent.js";
export { type DmaCounters, DmaDevice, type DmaDeviceOptions } from "./device.js";
export { type AddressRange, DmaDomain, type DmaDomainOptions, type TranslationFollower } from "./domain.js";
export { DmaError, type DmaErrorCode, type DmaMisuse, DmaMisuseError } from "./errors.js";
export { DmaHost, type DmaHostOptions } from "./host.js";
export type { DmaContext, IovaAllocator } from "./iova-allocator.js";
export { destroy, link, unlink } from "./iova-link.js";
export { DMA_IOVA_USE_SWIOTLB, dmaUseIova, free, IovaState, sync, tryAlloc } from "./iova-state.js";
export { getMergeBoundary, maxMappingSize, optMappingSize } from "./limits.js";
export type { LiveMapping, MappedBy } from "./live.js";
export { mapPage, mapPhys, unmapPage, unmapPhys } from "./map-phys.js";
export { mapPhysVec, type PhysVecMapping, type PhysVecOffsets, unmapPhysVec } from "./phys-vec.js";
export {
  type AddressMisuse,
  AddressMisuseError,
  type Agreement,
  type DmaRange,
  describeRange,
  expectDma,
  expectMemory,
  expectPrivate,
  type MemoryRange,
  mapMemory,
  type OwnedRange,
  PfnAgreement,
  type PrivateRange,
  rangesOf,
  unmapMemory,
} from "./ranges.js";
export { BuddyPages, type PageAllocator } from "./pages.js";
export {
  type DmaSegment,
  type MappedScatterlist,
  mapSg,
  type P2pMapType,
  type ScatterlistEntry,
  unmapSg,
} from "./scatterlist.js";
export type { SwiotlbOptions } from "./swiotlb.js";
