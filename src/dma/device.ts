import type { DmaDirection } from "./attributes.js";
import type { DmaDomain } from "./domain.js";
import { DmaMisuseError } from "./errors.js";

const DMA_BIT_MASK_32 = 0xffff_ffffn;
const ALL_ONES = 0xffff_ffff_ffff_ffffn;

/** ARCH_DMA_MINALIGN of arm64, and the kmalloc caches below twice that (mm/slab_common.c). */
const DMA_MIN_ALIGN = 128n;
const KMALLOC_CACHES = [8n, 16n, 32n, 64n, 96n, 128n, 192n, 256n];

/** Masks and limits are addresses or lengths in bytes. */
export interface DmaDeviceOptions {
  readonly name: string;
  /** null: the driver set none. Default 2^32 - 1, as the kernel's. */
  readonly dmaMask?: bigint | null;
  readonly coherentDmaMask?: bigint;
  /** bus_dma_limit; 0 is none. Default 0. */
  readonly busDmaLimit?: bigint;
  /** Default true. */
  readonly coherent?: boolean;
  /** An external-facing PCI device: whatever shares a granule with other data is bounced. Default false. */
  readonly untrusted?: boolean;
  /** CONFIG_DMA_BOUNCE_UNALIGNED_KMALLOC with this cache alignment in bytes (arm64: 64). Default: not in the kernel. */
  readonly kmallocAlignment?: bigint;
  /** Low address bits that a bounce buffer must keep, as 2^n - 1. Default 0. */
  readonly minAlignMask?: bigint;
  /** As 2^n - 1. Default: 2^32 - 1 for PCI, else none. */
  readonly segmentBoundaryMask?: bigint;
  /** Default 65536. */
  readonly maxSegmentSize?: bigint;
  /** PCI devices try below 4 GiB first. Default true. */
  readonly pci?: boolean;
  /** iommu.forcedac: they do not. Default false. */
  readonly forceDac?: boolean;
}

/** Work done for a device since it was made, that of failing and of undone calls included. */
export interface DmaCounters {
  /** Calls that mapped and unmapped something: page, scatterlist, coherent, link and unlink. */
  maps: number;
  unmaps: number;
  /** IOVAs given out. */
  iovaAllocations: number;
  /** Page-table entries written, set and cleared. */
  pteEntries: number;
  /** IOTLB invalidations asked for at once; those of the flush queue are counted by the domain. */
  iotlbInvalidations: number;
  /** Bytes copied into and out of bounce buffers. */
  bouncedBytes: bigint;
  /** Bytes mapped that are MMIO: with DMA_ATTR_MMIO, or of a peer reached through the host bridge. */
  mmioBytes: bigint;
}

function isMask(mask: bigint): boolean {
  return mask >= 0n && mask <= ALL_ONES && (mask & (mask + 1n)) === 0n;
}

/** A device that uses the DMA API, attached to the domain of its group. */
export class DmaDevice {
  readonly name: string;
  readonly dmaMask: bigint | null;
  readonly coherentDmaMask: bigint;
  readonly busDmaLimit: bigint;
  readonly coherent: boolean;
  readonly untrusted: boolean;
  readonly minAlignMask: bigint;
  readonly segmentBoundaryMask: bigint;
  readonly maxSegmentSize: bigint;
  /** pci_32bit_workaround: cleared for good by the first allocation that finds no room below 4 GiB. */
  pci32BitWorkaround: boolean;
  readonly counters: DmaCounters = {
    maps: 0,
    unmaps: 0,
    iovaAllocations: 0,
    pteEntries: 0,
    iotlbInvalidations: 0,
    bouncedBytes: 0n,
    mmioBytes: 0n,
  };
  readonly #kmallocAlignment: bigint | undefined;

  /** @throws DmaMisuseError `invalid` for a mask that is not 2^n - 1 or a segment size of 0 */
  constructor(
    readonly domain: DmaDomain,
    options: DmaDeviceOptions,
  ) {
    const pci = options.pci ?? true;
    this.name = options.name;
    this.dmaMask = options.dmaMask === undefined ? DMA_BIT_MASK_32 : options.dmaMask;
    this.coherentDmaMask = options.coherentDmaMask ?? DMA_BIT_MASK_32;
    this.busDmaLimit = options.busDmaLimit ?? 0n;
    this.coherent = options.coherent ?? true;
    this.untrusted = options.untrusted ?? false;
    this.minAlignMask = options.minAlignMask ?? 0n;
    this.segmentBoundaryMask = options.segmentBoundaryMask ?? (pci ? DMA_BIT_MASK_32 : ALL_ONES);
    this.maxSegmentSize = options.maxSegmentSize ?? 0x1_0000n;
    this.pci32BitWorkaround = pci && !options.forceDac;
    this.#kmallocAlignment = options.kmallocAlignment;
    const masks = { minAlignMask: this.minAlignMask, segmentBoundaryMask: this.segmentBoundaryMask };
    for (const [name, mask] of Object.entries(masks)) {
      if (!isMask(mask)) throw new DmaMisuseError("invalid", `make ${this.name}`, `${name} ${mask} is not 2^n - 1`);
    }
    if (this.maxSegmentSize <= 0n) throw new DmaMisuseError("invalid", `make ${this.name}`, "segments of no length");
  }

  /** dma_get_mask(). */
  get mask(): bigint {
    return this.dmaMask || DMA_BIT_MASK_32;
  }

  /** dev_use_swiotlb(). */
  mayBounce(size: bigint, direction: DmaDirection): boolean {
    return this.untrusted || this.#kmallocNeedsBounce(size, direction);
  }

  /** dma_kmalloc_needs_bounce() (include/linux/dma-map-ops.h). */
  #kmallocNeedsBounce(size: bigint, direction: DmaDirection): boolean {
    const alignment = this.#kmallocAlignment;
    if (alignment === undefined || this.coherent || direction === "to-device") return false;
    if (size >= 2n * DMA_MIN_ALIGN) return false;
    const cache = KMALLOC_CACHES.find((bytes) => bytes >= size) ?? 0n;
    return cache % alignment !== 0n;
  }
}
