import { type DmaAddress, dmaAddress, hex, type PhysicalAddress } from "../engine/addresses.js";
import type { PageTable, Permissions } from "../engine/page-table.js";
import type { DmaDevice } from "./device.js";
import { DmaMisuseError, mapErrorCode, type DmaErrorCode, type PageTableDriver } from "./errors.js";
import type { DmaHost } from "./host.js";
import type { DmaContext, IovaAllocator } from "./iova-allocator.js";
import type { AllocatedState, IovaState } from "./iova-state.js";
import type { LiveMapping } from "./live.js";
import type { MappedScatterlist } from "./scatterlist.js";

const DMA_BIT_MASK_32 = 0xffff_ffffn;

/** A range of addresses, both inclusive. */
export interface AddressRange {
  readonly first: bigint;
  readonly last: bigint;
}

/** Physically contiguous bytes. */
export interface PhysicalRange {
  readonly physical: bigint;
  readonly length: bigint;
}

/** Whoever follows the changes of a domain's page table: the driver of the unit that walks it. */
export interface TranslationFollower {
  /** [iova, iova + length) now leads to `physical`, for this device. */
  mapped(device: string, iova: bigint, physical: bigint, length: bigint): void;
  /** It does not any more; `freedTables`: table pages went with it. With `now` its invalidation is due before the return. */
  unmapped(iova: bigint, length: bigint, freedTables: boolean, how: "now" | "queued"): void;
  /** The flush queue flushes the whole IOTLB, before what was queued is given out again. */
  flushed(): void;
}

export interface DmaDomainOptions {
  /** For people. Default "default". */
  readonly name?: string;
  /** `strict` (IOMMU_DOMAIN_DMA): an unmap invalidates at once. `lazy` (IOMMU_DOMAIN_DMA_FQ): the flush queue does. */
  readonly flush?: "strict" | "lazy";
  /** geometry.aperture_start and aperture_end. Default: what the table's levels translate, the lower half of signed ones. */
  readonly aperture?: AddressRange;
  /** The windows of the PCI host bridge and the regions of the IOMMU driver (0xfee00000 to 0xfeefffff on x86). */
  readonly reserved?: readonly AddressRange[];
  /** Flushes that the allocator's flush queue has made so far. Default: none are counted. */
  readonly queueFlushes?: () => number;
  readonly follower?: TranslationFollower;
}

/** A page table refused a map operation, which changed nothing. */
export interface MapRefusal {
  readonly code: DmaErrorCode;
  readonly cause: unknown;
}

/** The default domain of one IOMMU group: a page table and the IOVA space under it. */
export class DmaDomain {
  readonly name: string;
  readonly flush: "strict" | "lazy";
  /** Bytes of the smallest page, of which the IOVA space is made, and that minus 1. */
  readonly granule: bigint;
  readonly granuleMask: bigint;
  readonly driver: PageTableDriver;
  /** Live mappings by DMA address; live scatterlists; live states of the two-step API. */
  readonly live = new Map<bigint, LiveMapping>();
  readonly scatterlists = new Set<MappedScatterlist>();
  readonly states = new Map<IovaState, AllocatedState>();
  readonly #shift: bigint;
  readonly #apertureLast: bigint;
  readonly #queueFlushes: () => number;
  readonly #follower: TranslationFollower | undefined;
  /** Flushes that the follower was told of. */
  #flushesFollowed = 0;
  #iotlbInvalidations = 0;

  /**
   * @param iova an allocator with the granule of the table, of which nothing is allocated yet
   * @throws DmaMisuseError `invalid` when the table's pages are larger than the CPU's, or the aperture is empty
   */
  constructor(
    readonly host: DmaHost,
    readonly table: PageTable,
    private readonly iova: IovaAllocator,
    options: DmaDomainOptions = {},
  ) {
    this.granule = table.pageSizes & -table.pageSizes;
    this.granuleMask = this.granule - 1n;
    // init_iova_domain() has a BUG_ON for this.
    if (this.granule > host.pageSize) {
      const reason = `pages of ${this.granule} bytes are larger than the CPU's of ${host.pageSize}`;
      throw new DmaMisuseError("invalid", "make a DMA domain", reason);
    }
    this.name = options.name ?? "default";
    this.flush = options.flush ?? "strict";
    this.driver = table.format.name.startsWith("vmsav8") ? "io-pgtable-arm" : "generic_pt";
    this.#shift = BigInt(this.granule.toString(2).length - 1);
    const inputBits = table.format.inputBits(table.levels) - (table.format.canonical ? 1 : 0);
    const { first, last } = options.aperture ?? { first: 0n, last: (1n << BigInt(inputBits)) - 1n };
    if (first > last) throw new DmaMisuseError("invalid", "make a DMA domain", `the aperture ends at ${hex(last)}`);
    this.#apertureLast = last;
    this.#queueFlushes = options.queueFlushes ?? (() => 0);
    this.#follower = options.follower;
    if (first > this.granule) this.reserve({ first: this.granule, last: first - 1n });
    for (const range of options.reserved ?? []) this.reserve(range);
    host.domains.push(this);
  }

  /** IOTLB invalidations since the domain was made, those of the flush queue included. */
  get iotlbInvalidations(): number {
    return this.#iotlbInvalidations + this.#queueFlushes();
  }

  /** Takes every granule that the range touches out of the IOVA space. */
  reserve(range: AddressRange): void {
    this.iova.reserve(Number(range.first >> this.#shift), Number(range.last >> this.#shift));
  }

  /** Part of a granule before an address. */
  offset(address: bigint): bigint {
    return address & this.granuleMask;
  }

  /** Rounded up to granules. */
  align(length: bigint): bigint {
    return (length + this.granuleMask) & ~this.granuleMask;
  }

  /** Lets timers run that are due. Every call of the API begins with it. */
  enter(context: DmaContext): void {
    this.iova.advance(context.now);
    this.#followFlushes();
  }

  #followFlushes(): void {
    if (this.#follower === undefined) return;
    const flushes = this.#queueFlushes();
    if (flushes > this.#flushesFollowed) this.#follower.flushed();
    this.#flushesFollowed = flushes;
  }

  /**
   * iommu_dma_alloc_iova(): `length` is in whole granules, `mask` the device's for this kind of mapping. null when there
   * is no room. A PCI device tries below 4 GiB first, until that fails for the first time.
   */
  allocate(device: DmaDevice, context: DmaContext, length: bigint, mask: bigint): DmaAddress | null {
    const limits = [mask, device.busDmaLimit].filter((limit) => limit !== 0n);
    if (limits.length === 0) return null;
    const limit = [...limits, this.#apertureLast].reduce((least, next) => (next < least ? next : least));
    const pages = Number(length >> this.#shift);
    const below = (last: bigint, flush: boolean): number =>
      this.iova.allocate(pages, Number(last >> this.#shift), context.cpu, flush);
    let pfn = 0;
    if (limit > DMA_BIT_MASK_32 && device.pci32BitWorkaround) {
      pfn = below(DMA_BIT_MASK_32, false);
      if (pfn === 0) device.pci32BitWorkaround = false;
    }
    if (pfn === 0) pfn = below(limit, true);
    if (pfn === 0) return null;
    device.counters.iovaAllocations++;
    return dmaAddress(BigInt(pfn) << this.#shift);
  }

  /** iommu_dma_free_iova(). */
  free(context: DmaContext, iova: bigint, length: bigint, how: "now" | "queued"): void {
    const pfn = Number(iova >> this.#shift);
    const pages = Number(length >> this.#shift);
    if (how === "now") {
      this.iova.free(pfn, pages, context.cpu);
      return;
    }
    this.iova.queue(pfn, pages, context.cpu, context.now);
    this.#followFlushes();
  }

  /** iommu_map(): the refusal, which changed nothing, or null. */
  map(device: DmaDevice, iova: bigint, physical: bigint, length: bigint, permissions: Permissions): MapRefusal | null {
    const before = this.table.entriesWritten;
    try {
      this.table.map(iova as DmaAddress, physical as PhysicalAddress, length, permissions);
      this.#follower?.mapped(device.name, iova, physical, length);
    } catch (cause) {
      const code = mapErrorCode(cause, this.driver);
      if (code === null) throw cause;
      return { code, cause };
    } finally {
      device.counters.pteEntries += this.table.entriesWritten - before;
    }
    return null;
  }

  /** iommu_map_sg(): maps the ranges one behind the other; on a refusal what was mapped is unmapped again. */
  mapRanges(
    device: DmaDevice,
    iova: bigint,
    ranges: readonly PhysicalRange[],
    permissions: Permissions,
  ): MapRefusal | null {
    let at = iova;
    for (const { physical, length } of ranges) {
      const refusal = this.map(device, at, physical, length, permissions);
      if (refusal) {
        if (at > iova) this.unmap(device, iova, at - iova, "now");
        return refusal;
      }
      at += length;
    }
    return null;
  }

  /** iommu_unmap_fast(), and the IOTLB invalidation unless the flush queue is to do it. */
  unmap(device: DmaDevice, iova: bigint, length: bigint, how: "now" | "queued"): void {
    const before = this.table.entriesWritten;
    const { freedPages } = this.table.unmap(iova as DmaAddress, length);
    device.counters.pteEntries += this.table.entriesWritten - before;
    this.#follower?.unmapped(iova, length, freedPages.length > 0, how);
    if (how === "queued") return;
    device.counters.iotlbInvalidations++;
    this.#iotlbInvalidations++;
  }

  /** __iommu_dma_unmap(): whole granules around [address, address + size), their invalidation and their IOVA. */
  unmapAndFree(device: DmaDevice, context: DmaContext, address: bigint, size: bigint): void {
    const how = this.flush === "lazy" ? "queued" : "now";
    const iova = address & ~this.granuleMask;
    const length = this.align(size + this.offset(address));
    this.unmap(device, iova, length, how);
    this.free(context, iova, length, how);
  }
}
