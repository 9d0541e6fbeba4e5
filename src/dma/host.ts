import type { DmaDomain } from "./domain.js";
import { DmaMisuseError } from "./errors.js";
import type { LiveMapping } from "./live.js";
import type { PageAllocator } from "./pages.js";
import { Swiotlb, type SwiotlbOptions } from "./swiotlb.js";

/** log2 of the largest length in CPU pages that IOVA magazines hold: IOVA_RANGE_CACHE_MAX_SIZE - 1 (iova.c). */
const LARGEST_CACHED_ORDER = 5n;

export interface DmaHostOptions {
  /** PAGE_SIZE of the CPU in bytes. Default 4096. */
  readonly pageSize?: bigint;
  readonly swiotlb?: SwiotlbOptions;
  /** Where coherent allocations come from; without it they fail. */
  readonly pages?: PageAllocator;
}

/** What the domains of one machine share. */
export class DmaHost {
  readonly pageSize: bigint;
  readonly swiotlb: Swiotlb;
  readonly pages: PageAllocator | undefined;
  readonly domains: DmaDomain[] = [];

  /** @throws DmaMisuseError `invalid` */
  constructor(options: DmaHostOptions = {}) {
    this.pageSize = options.pageSize ?? 4096n;
    if (this.pageSize < 4096n || (this.pageSize & (this.pageSize - 1n)) !== 0n) {
      throw new DmaMisuseError("invalid", "make a host", `no CPU has pages of ${this.pageSize} bytes`);
    }
    this.swiotlb = new Swiotlb(this.pageSize, options.swiotlb);
    this.pages = options.pages;
  }

  /** Bytes up to which IOVA magazines serve an allocation: iommu_dma_opt_mapping_size(), 128 KiB with pages of 4 KiB. */
  get iovaCacheRange(): bigint {
    return this.pageSize << LARGEST_CACHED_ORDER;
  }

  /** Every live mapping that gave this DMA address; two domains may use the same. */
  owners(address: bigint): LiveMapping[] {
    return this.domains.flatMap((domain) => domain.live.get(address) ?? []);
  }
}
