/**
 * Sharing buffers between devices, as Linux's dma-buf does (7.2): exporters, attachments, moves, revocation, peer to peer;
 * and what it does not do yet: agreeing on how to map, and importers that map by their own hint. What Linux refuses is a
 * DmaBufError or DmaError with the kernel's number, what no driver may do a DmaBufMisuseError or AddressMisuseError.
 */
export { Attachment, type ImporterOps, type Mapped } from "./attachment.js";
export { type AttachOptions, DmaBuf, type Exporter, type ExporterMapping } from "./dma-buf.js";
export { DmaBufError, type DmaBufErrorCode, type DmaBufMisuse, DmaBufMisuseError } from "./errors.js";
export { type ImportRequest, mapImport, type Party, planImport } from "./import.js";
export { type HintedMapping, ImporterDomain } from "./importer-mapped.js";
export { type MappingTypeName, type Match, matchMapping, type Offer, type Want } from "./mapping-type.js";
export { MmioBuffer, type MmioOptions } from "./mmio.js";
export { type HostForwarding, type PciNode, p2pMapType } from "./p2p.js";
export { type Fence, type FenceUsage, Reservation } from "./reservation.js";
export { systemHeap } from "./system-heap.js";
export { type Placement, VramBuffer, type VramOptions } from "./vram.js";
