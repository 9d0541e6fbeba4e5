/**
 * Bounce buffers (kernel/dma/swiotlb.c) as accounting: which slots are taken and how many bytes are copied, no contents.
 * One area and one pool that does not grow (no CONFIG_SWIOTLB_DYNAMIC).
 */
import { type PhysicalAddress, physicalAddress } from "../engine/addresses.js";
import { DmaMisuseError } from "./errors.js";

/** IO_TLB_SHIFT, IO_TLB_SEGSIZE and IO_TLB_DEFAULT_SIZE (include/linux/swiotlb.h). */
const SLOT_SHIFT = 11n;
export const SLOT_BYTES = 1n << SLOT_SHIFT;
const SEGMENT_SLOTS = 128;
/** The most that one mapping can have. */
export const SEGMENT_BYTES = BigInt(SEGMENT_SLOTS) << SLOT_SHIFT;
const DEFAULT_BYTES = 64n << 20n;

export interface SwiotlbOptions {
  /** Bytes of the pool, a multiple of 256 KiB (IO_TLB_SEGSIZE slots); 0 for a machine without one. Default 64 MiB. */
  readonly bytes?: bigint;
  /** Where the pool lies, on a CPU page. Default 0x74000000. */
  readonly base?: PhysicalAddress;
}

/** What a device asks of its bounce buffers (struct device_dma_parameters). */
export interface BounceConstraints {
  readonly minAlignMask: bigint;
  readonly segmentBoundaryMask: bigint;
}

interface Bounce {
  readonly slot: number;
  readonly slots: number;
  readonly size: bigint;
}

export class Swiotlb {
  readonly base: PhysicalAddress;
  readonly slots: number;
  /** Slots in use now, and at most ever (io_tlb_used, io_tlb_used_hiwater). */
  usedSlots = 0;
  usedSlotsHighest = 0;
  readonly #taken: Uint8Array;
  /** By the address that the device's page table gets. */
  readonly #bounces = new Map<bigint, Bounce>();
  /** Where the next search begins. */
  #index = 0;

  /** @throws DmaMisuseError `invalid` for a pool of parts of segments, or askew */
  constructor(pageSize: bigint, options: SwiotlbOptions = {}) {
    const { bytes = DEFAULT_BYTES, base = physicalAddress(0x7400_0000n) } = options;
    if (bytes < 0n || bytes % SEGMENT_BYTES !== 0n || base % pageSize !== 0n) {
      throw new DmaMisuseError(
        "invalid",
        `make a bounce pool of ${bytes} bytes`,
        `not segments of ${SEGMENT_BYTES} bytes`,
      );
    }
    this.base = base;
    this.slots = Number(bytes >> SLOT_SHIFT);
    this.#taken = new Uint8Array(this.slots);
  }

  /**
   * swiotlb_tbl_map_single(): takes slots for `size` bytes at `original`. The buffer begins on the alignment asked, plus
   * those low bits of `original` that the device's min_align_mask keeps. null when there is no room.
   *
   * @param alignMask alignment of start and end, minus 1 (the granule's, under an IOMMU)
   */
  map(original: bigint, size: bigint, alignMask: bigint, constraints: BounceConstraints): PhysicalAddress | null {
    const { minAlignMask, segmentBoundaryMask } = constraints;
    const slotMask = alignMask | (SLOT_BYTES - 1n);
    const offset = original & minAlignMask & slotMask;
    const bytes = (size + offset + alignMask) & ~alignMask;
    const slots = Number((bytes + SLOT_BYTES - 1n) >> SLOT_SHIFT);
    if (slots > SEGMENT_SLOTS) return null;
    const keep = minAlignMask & ~slotMask;
    for (let tried = 0; tried < this.slots; tried++) {
      const slot = (this.#index + tried) % this.slots;
      const at = this.#address(slot);
      const askew = (at & slotMask) !== 0n || (at & keep) !== (original & keep);
      const crosses = (at & segmentBoundaryMask) + bytes - 1n > segmentBoundaryMask;
      if (askew || crosses || !this.#isFree(slot, slots)) continue;
      this.#taken.fill(1, slot, slot + slots);
      this.#index = (slot + slots) % this.slots;
      this.usedSlots += slots;
      this.usedSlotsHighest = Math.max(this.usedSlotsHighest, this.usedSlots);
      this.#bounces.set(at + offset, { slot, slots, size });
      return physicalAddress(at + offset);
    }
    return null;
  }

  /** swiotlb_tbl_unmap_single(): gives the slots back; bytes of the buffer, 0 when none begins there. */
  unmap(physical: bigint): bigint {
    const bounce = this.#bounces.get(physical);
    if (!bounce) return 0n;
    this.#bounces.delete(physical);
    this.#taken.fill(0, bounce.slot, bounce.slot + bounce.slots);
    this.usedSlots -= bounce.slots;
    return bounce.size;
  }

  #address(slot: number): bigint {
    return this.base + (BigInt(slot) << SLOT_SHIFT);
  }

  /** Whether so many slots are free here and within one segment. */
  #isFree(slot: number, slots: number): boolean {
    if ((slot % SEGMENT_SLOTS) + slots > SEGMENT_SLOTS) return false;
    return !this.#taken.subarray(slot, slot + slots).includes(1);
  }
}
