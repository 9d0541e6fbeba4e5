/** One IOVA space replayed: the calls of its devices, in an order that may change, by an emulated allocator. */
import type { Allocation, Call } from "./calls.js";
import type { LinuxIovaFactory, LinuxIovaOptions } from "./linux-iova.js";
import type { PageRange } from "./reserved.js";

/** A call as it is replayed. */
export interface Step {
  readonly call: Call;
  /** The CPU whose magazines it uses. */
  readonly cpu: number;
  /** When, nanoseconds; never decreasing in an order but for what two CPUs print at once. */
  readonly time: number;
}

export function stepOf(call: Call): Step {
  return { call, cpu: call.event.cpu, time: call.event.time };
}

/** How far a device's addresses reach. */
export interface AddressLimit {
  /** Last page frame: the DMA mask. */
  readonly limitPfn: number;
  /** A PCI device tries below 4 GiB first (iommu_dma_alloc_iova). */
  readonly below4GFirst: boolean;
}

/** What stays the same in all replays of a space. */
export interface SpaceModel {
  readonly factory: LinuxIovaFactory;
  readonly options: LinuxIovaOptions;
  readonly reserved: readonly PageRange[];
  readonly limitOf: (device: string | null) => AddressLimit;
}

/**
 * How a wrong prediction was put right: the recorded range is taken from where the allocator keeps it (`adopted`); another
 * allocation of the replay holds it, so its free comes too late in this order (`taken-over`); or the allocator cannot have
 * it at all, because what is there is reserved or of another size (`outside`).
 */
export type Correction = "adopted" | "taken-over" | "outside";

const LAST_PFN_BELOW_4G = 0xfffff;

/** The corrections that a replay needs, by the index of the allocation; shared by all replays of one order. */
export class Corrections {
  readonly kinds = new Map<number, Correction>();
  /** From whom a range was taken over, and all of those: their frees do nothing. */
  readonly holders = new Map<number, number>();
  readonly robbed = new Set<number>();
}

/** An allocator, how far it is in the order of steps, and one kept state to go back to. */
export class SpaceReplay {
  readonly #model: SpaceModel;
  readonly #lazy: boolean;
  readonly #iova: ReturnType<LinuxIovaFactory>;
  readonly #corrections: Corrections;
  /** Page frame that each allocation holds, by its index; 0: none. */
  readonly #held = new Map<number, number>();
  /** Devices that have once found nothing below 4 GiB. */
  #exhausted = new Set<string | null>();
  #savedExhausted = new Set<string | null>();
  /** Steps performed. */
  position = 0;
  saved = 0;

  constructor(model: SpaceModel, corrections: Corrections) {
    this.#model = model;
    this.#lazy = (model.options.flush ?? "strict") !== "strict";
    this.#corrections = corrections;
    this.#iova = model.factory(model.options);
    for (const { first, last } of model.reserved) this.#iova.reserve(first, last);
    this.#iova.save();
  }

  save(): void {
    this.#iova.save();
    this.#savedExhausted = new Set(this.#exhausted);
    this.saved = this.position;
  }

  restore(): void {
    this.#iova.restore();
    this.#exhausted = new Set(this.#savedExhausted);
    this.position = this.saved;
  }

  /** Gives memory outside JavaScript back, where the emulation has any. */
  release(): void {
    this.#iova.release?.();
  }

  /** Performs steps until `end`. Allocations whose prediction nobody corrects hold what is predicted. */
  run(order: readonly Step[], end: number): void {
    while (this.position < end) this.step(order[this.position]);
  }

  /** Performs steps until an allocation gets what was not recorded: its place, or `end`. */
  runToMiss(order: readonly Step[], end: number): number {
    while (this.position < end) {
      const { call } = order[this.position];
      const pfn = this.step(order[this.position]);
      if (call.kind === "allocate" && pfn !== call.allocation.pfn) return this.position - 1;
    }
    return end;
  }

  /** Performs the step at the position: the page frame that an allocation gets (0: none), or −1 for a free. */
  step({ call, cpu, time }: Step): number {
    const { allocation } = call;
    this.position++;
    this.#iova.advance(time);
    if (call.kind === "free") {
      this.#free(allocation, cpu, time);
      return -1;
    }
    if (this.#corrections.kinds.has(allocation.index)) {
      this.#held.set(allocation.index, this.#takeRecorded(allocation) ? allocation.pfn : 0);
      return allocation.pfn;
    }
    const pfn = this.#allocate(allocation, cpu);
    this.#held.set(allocation.index, pfn);
    return pfn;
  }

  /** Performs the allocation at the position of `order` as it was recorded, and notes how for all replays of the order. */
  correct(order: readonly Step[]): void {
    const { kinds, holders, robbed } = this.#corrections;
    const { call, time } = order[this.position];
    const { allocation } = call;
    this.#iova.advance(time);
    let held = allocation.pfn;
    if (this.#iova.adopt(allocation.pfn, allocation.pages)) {
      kinds.set(allocation.index, "adopted");
    } else {
      const holder = this.#holderOf(allocation, order);
      kinds.set(allocation.index, holder === null ? "outside" : "taken-over");
      if (holder === null) {
        held = 0;
      } else {
        holders.set(allocation.index, holder.index);
        robbed.add(holder.index);
      }
    }
    this.#held.set(allocation.index, held);
    this.position++;
  }

  /** Repeats a correction; false when the order, tried otherwise than it was corrected in, does not allow it. */
  #takeRecorded({ index, pfn, pages }: Allocation): boolean {
    const { kinds, holders } = this.#corrections;
    if (kinds.get(index) === "adopted") return this.#iova.adopt(pfn, pages);
    const holder = holders.get(index);
    return holder !== undefined && this.#held.get(holder) === pfn;
  }

  #allocate({ pages, device }: Allocation, cpu: number): number {
    const { limitPfn, below4GFirst } = this.#model.limitOf(device);
    if (below4GFirst && limitPfn > LAST_PFN_BELOW_4G && !this.#exhausted.has(device)) {
      const low = this.#iova.allocate(pages, LAST_PFN_BELOW_4G, cpu, false);
      if (low > 0) return low;
      this.#exhausted.add(device);
    }
    return this.#iova.allocate(pages, limitPfn, cpu, true);
  }

  #free(allocation: Allocation, cpu: number, now: number): void {
    const pfn = this.#held.get(allocation.index) ?? 0;
    if (pfn === 0 || this.#corrections.robbed.has(allocation.index)) return;
    if (this.#lazy) this.#iova.queue(pfn, allocation.pages, cpu, now);
    else this.#iova.free(pfn, allocation.pages, cpu);
  }

  /** The allocation that holds the very range that another one is to have. */
  #holderOf({ pfn, pages }: Allocation, order: readonly Step[]): Allocation | null {
    const freed = new Set<number>();
    for (let at = this.position - 1; at >= 0; at--) {
      const { kind, allocation } = order[at].call;
      if (kind === "free") {
        freed.add(allocation.index);
      } else if (this.#held.get(allocation.index) === pfn && !freed.has(allocation.index)) {
        if (this.#corrections.robbed.has(allocation.index)) continue;
        return allocation.pages === pages ? allocation : null;
      }
    }
    return null;
  }
}
