import * as layout from "../../assembly/layout.js";
import { IommuError, statusError } from "./errors.js";
import type { WasmExports } from "./instance.js";
import { IovaBatch } from "./iova-space.js";
import type { LinearMemory } from "./linear-memory.js";

/** How Linux was built and started, as far as its IOVA allocator depends on it. */
export interface LinuxIovaOptions {
  /** CPUs online. */
  readonly cpus: number;
  /** log2 of the IOMMU's smallest page in bytes, 12 to 30. Default 12. */
  readonly granuleShift?: number;
  /**
   * What a start is aligned to: `size`, as Linux does, the size rounded up to a power of two; `none`, `pmd` and `pud`, as
   * proposed in "Large DMA alloc" (2025, not merged), nothing, or what an entry of the second or third table from the
   * last covers; or the size, but at most 2^maxShift pages, as the vendor kernels' `iommu.max_align_shift=`.
   */
  readonly alignment?: "size" | "none" | "pmd" | "pud" | { readonly maxShift: number };
  /** `strict` (default), `lazy`: a flush queue a CPU, or `lazy-single`: one for all, as with `shadow_on_flush`. */
  readonly flush?: "strict" | "lazy" | "lazy-single";
  /** Jiffies a second, 1 to 10,000. Default 250. */
  readonly hz?: number;
  /** First page that can be allocated, at least 1: page 0 stands for "none". Default 1. */
  readonly startPfn?: number;
}

/**
 * The rules of one IOVA domain, one per IOMMU group (drivers/iommu/iova.c and the flush queue of dma-iommu.c). Pages are
 * those of the domain's granule; times are nanoseconds.
 */
export interface LinuxIova {
  /** `reserve_iova`: [firstPfn, lastPfn]. What overlaps others, live ones too, joins them. */
  reserve(firstPfn: number, lastPfn: number): void;
  /** `alloc_iova_fast`: the first page of `pages` pages, the last at or below `limitPfn`; 0 when there is no place. */
  allocate(pages: number, limitPfn: number, cpu: number, flush: boolean): number;
  /** `free_iova_fast` */
  free(pfn: number, pages: number, cpu: number): void;
  /** `queue_iova`. Timers due before `now` do not run by this: see `advance`. */
  queue(pfn: number, pages: number, cpu: number, now: number): void;
  /**
   * Runs the timers and the delayed work due up to `now`, in the order of their times. Which CPU the flush timer runs on
   * is not known; it is taken to be the last one that did anything.
   */
  advance(now: number): void;
  /** The flush timer fires now on this CPU, whenever it is due; without effect when it is not armed. */
  fireFlushTimer(cpu: number, now: number): void;
  /**
   * Takes this very range out of the magazine, depot or flush queue that it is in, or out of a hole as if a search had
   * just found it there; false, nothing changed, when any of it is in use or is free as a part of something else.
   */
  adopt(pfn: number, pages: number): boolean;
  /** Keeps the whole state of now, counters and devices included, in place of the one kept before. */
  save(): void;
  /** Goes back to the state kept last. */
  restore(): void;
}

/** A device of a domain, as far as `iommu_dma_alloc_iova` asks for it. */
export interface LinuxDmaDeviceOptions {
  /** The last page that it can reach: see `dmaLimitPfn`. */
  readonly limitPfn: number;
  /** Whether it tries below 4 GiB first: PCI, unless `iommu.forcedac`. Default true. */
  readonly pci32BitWorkaround?: boolean;
}

/** Exact counts since a domain was made. */
export interface LinuxIovaCounters {
  /** Searches of the tree, how many of them began again from the limit, and the ranges that they looked at. */
  readonly treeSearches: number;
  readonly retries: number;
  readonly nodesVisited: number;
  /** Searches below 4 GiB given up at once, as one of that size or less had failed (`max32_alloc_size`). */
  readonly refusals: number;
  /** Allocations out of a magazine. */
  readonly magazineHits: number;
  /** Magazines put into a depot, taken out again for use, and dropped by the delayed work. */
  readonly depotPushes: number;
  readonly depotPops: number;
  readonly depotTrims: number;
  /** Flushes of all magazines and depots after a failed search. */
  readonly cacheFlushes: number;
  readonly iotlbFlushes: number;
}

/** LINUX_FLUSH_* of assembly/layout.ts. */
export const FLUSHES = {
  strict: layout.LINUX_FLUSH_STRICT,
  lazy: layout.LINUX_FLUSH_LAZY,
  "lazy-single": layout.LINUX_FLUSH_LAZY_SINGLE,
} as const;
const LEAST_GRANULE_SHIFT = 12;
const MOST_GRANULE_SHIFT = 30;
const MOST_CPUS = 8192;
const MOST_HZ = 10_000;
/** Addresses are 64 bits wide, so no alignment can be greater. */
export const MOST_ALIGNMENT = 52;
/** Entries of a table are 8 bytes: a table of one page has so many index bits less than a page has address bits. */
const ENTRY_SHIFT = 3;

/** Least and most alignment of a mode, log2 of pages. */
export function alignmentBounds(
  alignment: NonNullable<LinuxIovaOptions["alignment"]>,
  granuleShift: number,
): readonly [least: number, most: number] {
  const indexBits = granuleShift - ENTRY_SHIFT;
  switch (alignment) {
    case "size":
      return [0, MOST_ALIGNMENT];
    case "none":
      return [0, 0];
    case "pmd":
      return [indexBits, indexBits];
    case "pud":
      return [2 * indexBits, 2 * indexBits];
    default:
      return [0, alignment.maxShift];
  }
}

/**
 * The last page that a device can reach, as `iommu_dma_alloc_iova` finds it: the least of its DMA mask, its bus's limit
 * (0: none) and the domain's aperture.
 */
export function dmaLimitPfn(dmaMask: bigint, busLimit = 0n, apertureLast = dmaMask, granuleShift = 12): number {
  const limits = [dmaMask, busLimit === 0n ? dmaMask : busLimit, apertureLast];
  return Number(limits.reduce((least, limit) => (limit < least ? limit : least)) >> BigInt(granuleShift));
}

/** A device that allocates in a domain. */
export class LinuxDmaDevice {
  /** For use by the domain: where its record is in the domain's state. */
  readonly offset: number;

  constructor(
    private readonly linear: LinearMemory,
    private readonly domain: number,
    offset: number,
  ) {
    this.offset = offset;
  }

  /** Whether it still tries below 4 GiB first. The first failure there ends that for good. */
  get pci32BitWorkaround(): boolean {
    const state = this.linear.getU32(this.domain + layout.LINUX_STATE);
    return this.linear.getU32(state + this.offset + layout.LINUX_DEVICE_BELOW_4G_FIRST) !== 0;
  }
}

/** Linux's own IOVA allocator (6.12 and 7.2), in WASM. */
export class LinuxIovaDomain implements LinuxIova {
  readonly handle: number;
  readonly cpus: number;
  readonly granuleShift: number;
  readonly #flush: keyof typeof FLUSHES;
  /** One more than the last page of 64-bit addresses. */
  readonly #pages: number;

  /** Throws `invalid` for options out of range, `memory-exhausted`. */
  constructor(
    private readonly exports: WasmExports,
    private readonly linear: LinearMemory,
    options: LinuxIovaOptions,
  ) {
    this.cpus = options.cpus;
    this.granuleShift = options.granuleShift ?? LEAST_GRANULE_SHIFT;
    this.#flush = options.flush ?? "strict";
    this.#pages = 2 ** (64 - this.granuleShift);
    const hz = options.hz ?? 250;
    const startPfn = options.startPfn ?? 1;
    const [least, most] = alignmentBounds(options.alignment ?? "size", this.granuleShift);
    checkWhole("cpus", this.cpus, 1, MOST_CPUS);
    checkWhole("granuleShift", this.granuleShift, LEAST_GRANULE_SHIFT, MOST_GRANULE_SHIFT);
    checkWhole("alignment.maxShift", most, 0, MOST_ALIGNMENT);
    checkWhole("hz", hz, 1, MOST_HZ);
    checkWhole("startPfn", startPfn, 1, this.#pages - 2);
    this.handle =
      exports.linuxIovaCreate(this.cpus, this.granuleShift, startPfn, least, most, FLUSHES[this.#flush], hz) >>> 0;
    if (this.handle === 0) throw statusError(layout.STATUS_MEMORY_EXHAUSTED, "make a Linux IOVA domain");
  }

  /** Throws `invalid`, `memory-exhausted`. */
  reserve(firstPfn: number, lastPfn: number): void {
    const operation = `reserve pages ${firstPfn} to ${lastPfn}`;
    this.#checkRange(operation, firstPfn, lastPfn - firstPfn + 1, 0);
    this.#succeed(this.exports.linuxIovaReserve(this.handle, firstPfn, lastPfn), operation);
  }

  /** Throws `invalid`, `memory-exhausted`. */
  allocate(pages: number, limitPfn: number, cpu: number, flush: boolean): number {
    const operation = `allocate ${pages} pages up to page ${limitPfn}`;
    this.#checkRange(operation, 0, pages, cpu);
    this.#checkRange(operation, limitPfn, 1, cpu);
    return this.#pfn(this.exports.linuxIovaAllocate(this.handle, pages, limitPfn, cpu, flush ? 1 : 0), operation);
  }

  /** Adds a device to the domain's group. Throws `invalid`, `memory-exhausted`. */
  attach(options: LinuxDmaDeviceOptions): LinuxDmaDevice {
    const { limitPfn, pci32BitWorkaround = true } = options;
    const operation = `attach a device that reaches up to page ${limitPfn}`;
    this.#checkRange(operation, limitPfn, 1, 0);
    const offset = this.exports.linuxIovaAttach(this.handle, limitPfn, pci32BitWorkaround ? 1 : 0) >>> 0;
    if (offset === 0) throw statusError(layout.STATUS_MEMORY_EXHAUSTED, operation);
    return new LinuxDmaDevice(this.linear, this.handle, offset);
  }

  /**
   * `iommu_dma_alloc_iova`: below 4 GiB first while the device does so, then up to its limit, flushing the caches when
   * that fails. The first page, 0 when there is no place. Throws `invalid`, `memory-exhausted`.
   */
  allocateFor(device: LinuxDmaDevice, pages: number, cpu: number): number {
    const operation = `allocate ${pages} pages for a device`;
    this.#checkRange(operation, 0, pages, cpu);
    return this.#pfn(this.exports.linuxIovaAllocateFor(this.handle, device.offset, pages, cpu), operation);
  }

  /**
   * Frees the whole range, as Linux does, whose `pages` only choose the magazine that it goes to. Throws `not-allocated`
   * when no allocation of at least so many pages begins there, `invalid`, `memory-exhausted`.
   */
  free(pfn: number, pages: number, cpu: number): void {
    const operation = `free ${pages} pages at page ${pfn}`;
    this.#checkRange(operation, pfn, pages, cpu);
    this.#succeed(this.exports.linuxIovaFree(this.handle, pfn, pages, cpu), operation, pfn);
  }

  /** Throws as `free`, and `invalid` in a strict domain. */
  queue(pfn: number, pages: number, cpu: number, now: number): void {
    const operation = `queue ${pages} pages at page ${pfn}`;
    this.#checkRange(operation, pfn, pages, cpu);
    checkTime(operation, now);
    if (this.#flush === "strict") throw refusal(operation, "a strict domain has no flush queue");
    this.#succeed(this.exports.linuxIovaQueue(this.handle, pfn, pages, cpu, now), operation, pfn);
  }

  /** Throws `invalid`. */
  advance(now: number): void {
    checkTime("advance the clock", now);
    this.exports.linuxIovaAdvance(this.handle, now);
  }

  /** Throws `invalid`, `memory-exhausted`. */
  fireFlushTimer(cpu: number, now: number): void {
    const operation = "fire the flush timer";
    this.#checkRange(operation, 0, 1, cpu);
    checkTime(operation, now);
    this.#succeed(this.exports.linuxIovaFireFlushTimer(this.handle, cpu, now), operation);
  }

  /** Throws `invalid`, `memory-exhausted`. */
  adopt(pfn: number, pages: number): boolean {
    const operation = `adopt ${pages} pages at page ${pfn}`;
    this.#checkRange(operation, pfn, pages, 0);
    const status = this.exports.linuxIovaAdopt(this.handle, pfn, pages);
    if (status === layout.STATUS_OVERLAP) return false;
    this.#succeed(status, operation, pfn);
    return true;
  }

  /** Throws `memory-exhausted`. */
  save(): void {
    this.#succeed(this.exports.linuxIovaSave(this.handle), "save the state of a Linux IOVA domain");
  }

  /** Throws `invalid` when nothing was saved. */
  restore(): void {
    const operation = "restore the state of a Linux IOVA domain";
    if (this.exports.linuxIovaRestore(this.handle) !== layout.STATUS_OK) throw refusal(operation, "none was saved");
  }

  createBatch(capacity: number): IovaBatch {
    return new IovaBatch(this.linear, capacity);
  }

  /** `allocateFor` every `batch.length` (bytes) into `batch.iova`; returns how many failed. */
  allocateBatch(batch: IovaBatch, count: number, device: LinuxDmaDevice, cpu: number): number {
    this.#checkRange("allocate a batch", 0, 1, cpu);
    return this.exports.linuxIovaAllocateBatch(this.handle, batch.prepare(count, 0, false), device.offset, cpu);
  }

  /** `free` every `batch.iova` of `batch.length` (bytes); returns how many failed. */
  freeBatch(batch: IovaBatch, count: number, cpu: number): number {
    this.#checkRange("free a batch", 0, 1, cpu);
    return this.exports.linuxIovaFreeBatch(this.handle, batch.prepare(count, 0, false), cpu);
  }

  counters(): LinuxIovaCounters {
    const at = this.linear.getU32(this.handle + layout.LINUX_STATE) + layout.LINUX_COUNTERS;
    const count = (offset: number): number => Number(this.linear.getU64(at + offset));
    return {
      treeSearches: count(layout.LINUX_COUNT_SEARCHES),
      retries: count(layout.LINUX_COUNT_RETRIES),
      nodesVisited: count(layout.LINUX_COUNT_VISITS),
      refusals: count(layout.LINUX_COUNT_REFUSALS),
      magazineHits: count(layout.LINUX_COUNT_MAGAZINE_HITS),
      depotPushes: count(layout.LINUX_COUNT_DEPOT_PUSHES),
      depotPops: count(layout.LINUX_COUNT_DEPOT_POPS),
      depotTrims: count(layout.LINUX_COUNT_DEPOT_TRIMS),
      cacheFlushes: count(layout.LINUX_COUNT_CACHE_FLUSHES),
      iotlbFlushes: count(layout.LINUX_COUNT_IOTLB_FLUSHES),
    };
  }

  release(): void {
    this.exports.linuxIovaRelease(this.handle);
  }

  #checkRange(operation: string, pfn: number, pages: number, cpu: number): void {
    if (!Number.isSafeInteger(pfn) || pfn < 0) throw refusal(operation, `page ${pfn} is no page number`);
    if (!Number.isSafeInteger(pages) || pages < 1) throw refusal(operation, `${pages} is no number of pages`);
    if (pfn + pages > this.#pages) throw refusal(operation, "the range leaves the 64-bit addresses");
    if (!Number.isInteger(cpu) || cpu < 0 || cpu >= this.cpus) throw refusal(operation, `there is no CPU ${cpu}`);
  }

  #pfn(result: number, operation: string): number {
    if (result < 0) throw statusError(-result, operation);
    return result;
  }

  #succeed(status: number, operation: string, pfn?: number): void {
    if (status === layout.STATUS_OK) return;
    throw statusError(status, operation, pfn === undefined ? undefined : BigInt(pfn) << BigInt(this.granuleShift));
  }
}

function refusal(operation: string, why: string): IommuError {
  return new IommuError("invalid", operation, undefined, why);
}

function checkWhole(name: string, value: number, least: number, most: number): void {
  if (Number.isInteger(value) && value >= least && value <= most) return;
  throw refusal("make a Linux IOVA domain", `${name} is a whole number from ${least} to ${most}, not ${value}`);
}

function checkTime(operation: string, now: number): void {
  if (!(now >= 0 && Number.isFinite(now))) throw refusal(operation, `${now} is no time in nanoseconds`);
}
