/** The virtual addresses that buffers have for their importer. */
import { IommuError } from "../engine/errors.js";
import { Random } from "../random.js";
import type { OperationBatch } from "../trace/batch.js";
import type { BatchMappings } from "../trace/mappings.js";

/**
 * Where a trace does not say: `same-as-pa`, the physical address of the first byte, as for huge pages of a process;
 * `random`, any page of a process's 47 bits; `aligned`, a multiple of anything, as GPU drivers and large mmaps choose.
 */
export const virtualAddressModes = ["same-as-pa", "random", "aligned"] as const;

export type VirtualAddressMode = (typeof virtualAddressModes)[number];

export interface VirtualAddressOptions {
  /** Default: the workload's own, `aligned` where there are none. */
  readonly mode?: VirtualAddressMode;
  /** Bytes added to every virtual address, a multiple of 4096. Default 0. */
  readonly offset?: number;
  /** What `random` begins with. Default 1. */
  readonly seed?: number;
}

const ALIGNED_PAGE = 2 ** 34;
/** Both halves of a random page number: 35 bits, from page 2^20 on. */
const HIGH_BITS = 15;
const LOW_BITS = 20;

/** Gives each mapping of a stream its virtual page, batch by batch. */
export class VirtualAddresses {
  readonly mode: VirtualAddressMode | null;
  readonly #offsetPages: number;
  readonly #random: Random;

  /** Throws `invalid` for an offset that is no whole number of pages. */
  constructor({ mode, offset = 0, seed = 1 }: VirtualAddressOptions = {}) {
    if (!Number.isSafeInteger(offset) || offset < 0 || offset % 4096 !== 0) {
      const rule = "mappings are whole pages, so it is a multiple of 4096";
      throw new IommuError("invalid", `use virtual addresses ${offset} bytes further`, undefined, rule);
    }
    this.mode = mode ?? null;
    this.#offsetPages = offset / 4096;
    this.#random = new Random(seed);
  }

  of(mappings: BatchMappings, batch: OperationBatch & { readonly virtualAddresses?: BigUint64Array }): Float64Array {
    const own = this.mode === null ? batch.virtualAddresses : undefined;
    const pages = new Float64Array(mappings.count);
    for (let index = 0; index < mappings.count; index++) {
      if (!mappings.isMap(index)) continue;
      const page = own === undefined ? 0 : Number(own[index] >> 12n);
      pages[index] = (page === 0 ? this.#made(mappings, index) : page) + this.#offsetPages;
    }
    return pages;
  }

  #made(mappings: BatchMappings, index: number): number {
    switch (this.mode) {
      case "same-as-pa":
        return mappings.physicalPage(mappings.firstPiece(index));
      case "random":
        return (1 + this.#random.below(2 ** HIGH_BITS - 1)) * 2 ** LOW_BITS + this.#random.below(2 ** LOW_BITS);
      default:
        return ALIGNED_PAGE;
    }
  }
}
