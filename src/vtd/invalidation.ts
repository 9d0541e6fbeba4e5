/**
 * What an invalidation asks for, however it came: by descriptor (Intel VT-d Architecture Specification Rev. 5.10, section
 * 6.5.2) or by register (section 6.5.1). The register file and the queue decode; the unit drops.
 */

/** Context-cache invalidation (type 1, or CCMD). */
export interface ContextCacheInvalidation {
  readonly granularity: "global" | "domain" | "device";
  readonly domain: number;
  readonly sid: number;
  /** Function mask: which low bits of the function number are not compared (0 none, 1 bit 2, 2 bits 2:1, 3 bits 2:0). */
  readonly functionMask: number;
}

/** PASID-cache invalidation (type 7). */
export interface PasidCacheInvalidation {
  readonly granularity: "global" | "domain" | "pasid";
  readonly domain: number;
  readonly pasid: number;
}

/** IOTLB invalidation (type 2, or the IOTLB registers). */
export interface IotlbInvalidation {
  readonly granularity: "global" | "domain" | "page";
  readonly domain: number;
  /** Page: the address, and how many of its low page-number bits are masked (AM). */
  readonly address: bigint;
  readonly addressMask: number;
  /** Invalidation hint: no paging-structure entry above the leaf was changed. */
  readonly leafOnly: boolean;
}

/** PASID-based IOTLB invalidation (type 6). */
export interface PasidIotlbInvalidation {
  readonly granularity: "pasid" | "page";
  readonly domain: number;
  readonly pasid: number;
  readonly address: bigint;
  readonly addressMask: number;
  readonly leafOnly: boolean;
}

/** Device-TLB invalidation (types 3 and 8): passed on to the device. */
export interface DeviceTlbInvalidation {
  readonly sid: number;
  readonly pasid: number | null;
  /** Type 8 with Global Invalidate: the PASID does not matter, the mappings of all are meant. */
  readonly globalInvalidate?: boolean;
  /** First byte and size in bytes of the naturally aligned range; size null means everything. */
  readonly address: bigint;
  readonly size: bigint | null;
}

/** Interrupt entry cache invalidation (type 4). */
export interface InterruptEntryInvalidation {
  readonly granularity: "global" | "index";
  readonly index: number;
  readonly indexMask: number;
}

/** What obeys invalidations: the unit's caches. */
export interface InvalidationTarget {
  invalidateContextCache(request: ContextCacheInvalidation): void;
  invalidatePasidCache(request: PasidCacheInvalidation): void;
  invalidateIotlb(request: IotlbInvalidation): void;
  invalidatePasidIotlb(request: PasidIotlbInvalidation): void;
  invalidateDeviceTlb(request: DeviceTlbInvalidation): void;
  invalidateInterruptEntries(request: InterruptEntryInvalidation): void;
  /** Software waits for those so far. */
  waited?(): void;
}
