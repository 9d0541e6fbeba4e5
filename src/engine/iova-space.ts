import * as layout from "../../assembly/layout.js";
import { type DmaAddress, hex, type Iova } from "./addresses.js";
import { Batch } from "./batch.js";
import { type ErrorCode, codeOf, IommuError, statusError } from "./errors.js";
import type { WasmExports } from "./instance.js";
import { fits64, type LinearMemory } from "./linear-memory.js";

/** Options of a new IOVA space; addresses in bytes. */
export interface IovaSpaceOptions {
  /** Bytes of the smallest range, a power of two. Default 4096. */
  readonly granule?: bigint;
  /** First address. Default: one granule, as Linux never hands out address 0. */
  readonly first?: bigint;
  /** Last address (dma_mask, aperture). Default 2^48 - 1. */
  readonly last?: bigint;
}

/** What an allocation asks for. */
export interface IovaRequest {
  /** Bytes, a multiple of the granule. */
  readonly length: bigint;
  /** Power of two, in bytes. Default: the granule. */
  readonly alignment?: bigint;
  /** The start is congruent to this modulo `alignment`. Default 0: plain alignment. */
  readonly congruentTo?: bigint;
  /** First and last address that the range may use. Default: those of the space. */
  readonly first?: bigint;
  readonly last?: bigint;
  /** Default `top-down`. */
  readonly direction?: "top-down" | "bottom-up";
}

/** Exact state of a space; lengths in bytes. */
export interface IovaSpaceReport {
  readonly free: bigint;
  readonly live: bigint;
  readonly ranges: number;
  readonly holes: number;
  readonly largestHole: bigint;
  /** Highest end minus lowest start of what is live; 0 when nothing is. */
  readonly span: bigint;
  /** Within the span: 1 - largest hole / all free space; 0 when nothing is free there. */
  readonly fragmentation: number;
}

/** Lengths in, IOVAs and status words out (allocate); IOVAs in, lengths out (free). */
export class IovaBatch extends Batch {
  constructor(linear: LinearMemory, capacity: number) {
    super(linear, capacity, 3);
  }

  get iova(): BigUint64Array {
    return this.linear.u64(this.column(0), this.capacity);
  }

  get length(): BigUint64Array {
    return this.linear.u64(this.column(1), this.capacity);
  }

  /** `congruentTo` of each request, used when the call says so. */
  get congruentTo(): BigUint64Array {
    return this.linear.u64(this.column(2), this.capacity);
  }

  /** Why a request failed, or null. */
  code(index: number): ErrorCode | null {
    const status = this.status[index];
    return status === layout.STATUS_OK ? null : codeOf(status);
  }

  /** For use by the space: fills in the header and returns its linear address. */
  prepare(count: number, request: number, perRequestCongruence: boolean): number {
    this.checkCount(count);
    this.linear.setU32(this.header + layout.IOVA_BATCH_COUNT, count);
    this.linear.setU32(this.header + layout.IOVA_BATCH_REQUEST, request);
    this.linear.setU32(this.header + layout.IOVA_BATCH_IOVA, this.column(0));
    this.linear.setU32(this.header + layout.IOVA_BATCH_LENGTH, this.column(1));
    this.linear.setU32(this.header + layout.IOVA_BATCH_STATUS, this.column(3));
    this.linear.setU32(this.header + layout.IOVA_BATCH_CONGRUENT, perRequestCongruence ? this.column(2) : 0);
    return this.header;
  }
}

/** One IOVA space. `A` says what kind of address its ranges are: DMA API addresses, or private ones. */
export class IovaSpace<A extends Iova = DmaAddress> {
  readonly handle: number;
  readonly granule: bigint;
  readonly first: bigint;
  readonly last: bigint;
  readonly #request: number;

  constructor(
    private readonly exports: WasmExports,
    private readonly linear: LinearMemory,
    options: IovaSpaceOptions,
  ) {
    this.granule = options.granule ?? 4096n;
    this.first = options.first ?? this.granule;
    this.last = options.last ?? (1n << 48n) - 1n;
    const shift = this.granule.toString(2).length - 1;
    const operation = `make an IOVA space ${hex(this.first)} - ${hex(this.last)} of ${this.granule}-byte granules`;
    if (this.granule !== 1n << BigInt(shift)) throw new IommuError("invalid", operation);
    this.handle = exports.spaceCreate(shift, this.first, this.last) >>> 0;
    if (this.handle === 0) throw new IommuError("invalid", operation);
    this.#request = linear.allocate(layout.REQUEST_BYTES);
  }

  /**
   * Allocates the first fit in the direction asked; behind more than 64 holes that are long enough but askew for the
   * congruence, the first hole that any congruence fits in, when there is one. Throws `misaligned`, `invalid` or
   * `space-exhausted`.
   */
  allocate(request: IovaRequest): A {
    this.#prepare(request);
    const status = fits64(request.length)
      ? this.exports.spaceAllocate(this.handle, this.#request)
      : layout.STATUS_SPACE_EXHAUSTED;
    if (status !== layout.STATUS_OK) {
      const congruence = request.congruentTo === undefined ? "" : ` congruent to ${hex(request.congruentTo)}`;
      throw statusError(
        status,
        `allocate ${request.length} bytes of IOVA${congruence} aligned to ${request.alignment ?? this.granule}`,
      );
    }
    return this.#result() as A;
  }

  /** Allocates exactly this range. Throws `misaligned`, `input-range` or `overlap`. */
  allocateAt(iova: A, length: bigint): void {
    const status = fits64(length) ? this.exports.spaceAllocateAt(this.handle, iova, length) : layout.STATUS_INPUT_RANGE;
    if (status !== layout.STATUS_OK) throw statusError(status, `allocate ${hex(iova)}, ${length} bytes`, iova);
  }

  /** Takes [first, last] out of the space for good. Throws `misaligned`, `input-range` or `overlap`. */
  reserve(first: bigint, last: bigint): void {
    const status = this.exports.spaceReserve(this.handle, first, last);
    if (status !== layout.STATUS_OK) throw statusError(status, `reserve ${hex(first)} - ${hex(last)}`, first);
  }

  /** Frees the range that begins at `iova`; returns its length in bytes. Throws `misaligned` or `not-allocated`. */
  free(iova: A): bigint {
    const status = this.exports.spaceFree(this.handle, iova);
    if (status !== layout.STATUS_OK) throw statusError(status, `free ${hex(iova)}`, iova);
    return this.#result();
  }

  /** Length of the live range that begins at `iova`, or null. */
  lengthAt(iova: A): bigint | null {
    const length = BigInt.asUintN(64, this.exports.spaceLiveLength(this.handle, iova));
    return length === 0n ? null : length;
  }

  createBatch(capacity: number): IovaBatch {
    return new IovaBatch(this.linear, capacity);
  }

  /** Allocates `batch.length` (and, if asked, `batch.congruentTo`) into `batch.iova`; returns how many failed. */
  allocateBatch(
    batch: IovaBatch,
    count: number,
    request: Omit<IovaRequest, "length"> = {},
    perRequestCongruence = false,
  ): number {
    this.#prepare({ ...request, length: this.granule });
    return this.exports.spaceAllocateBatch(this.handle, batch.prepare(count, this.#request, perRequestCongruence));
  }

  /** Frees `batch.iova`, lengths into `batch.length`; returns how many failed. */
  freeBatch(batch: IovaBatch, count: number): number {
    return this.exports.spaceFreeBatch(this.handle, batch.prepare(count, this.#request, false));
  }

  report(): IovaSpaceReport {
    const granules = (offset: number): bigint => this.linear.getU64(this.handle + offset) * this.granule;
    const ranges = this.linear.getU32(this.handle + layout.SPACE_RANGES);
    const inSpan = BigInt.asUintN(64, this.exports.spaceFreeInSpan(this.handle));
    const longest = BigInt.asUintN(64, this.exports.spaceLongestHoleInSpan(this.handle));
    return {
      free: granules(layout.SPACE_FREE),
      live: granules(layout.SPACE_LIVE),
      ranges,
      holes: this.linear.getU32(this.handle + layout.SPACE_HOLES),
      largestHole: BigInt.asUintN(64, this.exports.spaceLongestHole(this.handle)) * this.granule,
      span: ranges === 0 ? 0n : granules(layout.SPACE_HIGHEST) - granules(layout.SPACE_LOWEST),
      fragmentation: inSpan === 0n ? 0 : 1 - Number(longest) / Number(inSpan),
    };
  }

  release(): void {
    this.exports.spaceRelease(this.handle);
    this.linear.free(this.#request, layout.REQUEST_BYTES);
  }

  #prepare(request: IovaRequest): void {
    const at = this.#request;
    this.linear.setU64(at + layout.REQUEST_LENGTH, request.length);
    this.linear.setU64(at + layout.REQUEST_ALIGNMENT, request.alignment ?? this.granule);
    this.linear.setU64(at + layout.REQUEST_CONGRUENT, request.congruentTo ?? 0n);
    this.linear.setU64(at + layout.REQUEST_FIRST, request.first ?? this.first);
    this.linear.setU64(at + layout.REQUEST_LAST, request.last ?? this.last);
    const bottomUp = request.direction === "bottom-up";
    this.linear.setU32(
      at + layout.REQUEST_DIRECTION,
      bottomUp ? layout.DIRECTION_BOTTOM_UP : layout.DIRECTION_TOP_DOWN,
    );
  }

  #result(): bigint {
    return this.linear.getU64(this.handle + layout.SPACE_RESULT) * this.granule;
  }
}
