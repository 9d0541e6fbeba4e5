/** Physical memory that has been in use: how fragmented its free part is. */
import { UnknownNameError } from "../engine/errors.js";
import type { Random } from "../random.js";
import { BuddyAllocator, MAX_PAGE_ORDER } from "../linux/buddy.js";
import { type LengthRange, lengthIn, pick, type Weighted } from "./distributions.js";

/** Order of a transparent huge page, 2 MiB. */
export const HUGE_PAGE_ORDER = 9;

/** A named degree of fragmentation. */
export interface MemoryState {
  readonly name: string;
  /** One line for people. */
  readonly summary: string;
  /** Share of all pages that the rest of the machine keeps. */
  readonly occupied: number;
  /**
   * At most this share of the free pages lies in blocks of order 9 or larger: 1 - the unusable free space index that
   * Linux shows for the order (debugfs extfrag/unusable_index).
   */
  readonly usableAtMost: number;
}

/** The degrees, in the order of their fragmentation. Shares are binary fractions: exact in floating point. */
export const memoryStates: readonly MemoryState[] = [
  {
    name: "fresh",
    summary: "after boot: 1/16 in use, nothing freed yet",
    occupied: 1 / 16,
    usableAtMost: 1,
  },
  {
    name: "aged",
    summary: "half in use, at most half of the rest in blocks of 2 MiB or more",
    occupied: 1 / 2,
    usableAtMost: 1 / 2,
  },
  {
    name: "fragmented",
    summary: "half in use, at most 1/16 of the rest in blocks of 2 MiB or more",
    occupied: 1 / 2,
    usableAtMost: 1 / 16,
  },
];

/** The state of this name. Throws `invalid`, naming the ones there are. */
export function findMemoryState(name: string): MemoryState {
  const found = memoryStates.find((state) => state.name === name);
  if (found) return found;
  const names = memoryStates.map((state) => state.name);
  throw new UnknownNameError("memory state", "states", name, names);
}

/** Orders that the rest of the machine allocates: single pages, small folios, slabs. Assumed. */
const ORDERS: Weighted<number> = [
  [60, 0],
  [14, 1],
  [12, 2],
  [12, 3],
  [2, 4],
];
/** How many allocations, made one after another, are freed together: those of a file or a process. Assumed. */
const FREED_TOGETHER: LengthRange = { low: 0, high: 8 };
/** How much further every swell of use goes than the one before, as a share of all pages. */
const SWELL_STEP = 1 / 64;

/** ZONE_NORMAL of an x86 machine begins at 4 GiB. */
const FIRST_PAGE = 0x10_0000;

/**
 * Memory of this many pages (at most 2^24) in this state. Use swells beyond what the machine keeps, and falls back as allocations of any
 * age are freed; each swell reaches further into memory not used before, until the free part is as fragmented as it should be.
 */
export function agedMemory(pages: number, state: MemoryState, random: Random): BuddyAllocator {
  const memory = new BuddyAllocator({ firstPage: FIRST_PAGE, pages });
  const kept = new Int32Array(pages);
  let count = 0;
  const growTo = (used: number): void => {
    while (pages - memory.freePages < used) {
      const page = memory.allocate(pick(random, ORDERS)) ?? memory.allocate(0);
      if (page === null) return;
      kept[count++] = page;
    }
  };
  const shrinkTo = (used: number): void => {
    while (pages - memory.freePages > used) {
      const first = random.below(count);
      const end = Math.min(count, first + lengthIn(random, FREED_TOGETHER));
      for (let at = first; at < end; at++) memory.free(kept[at]);
      const moved = Math.max(end, count - (end - first));
      kept.copyWithin(first, moved, count);
      count -= end - first;
    }
  };
  if (state.usableAtMost < 1) {
    // All of it has been in use before, and came back in no order.
    for (let page = memory.allocate(MAX_PAGE_ORDER); page !== null; page = memory.allocate(MAX_PAGE_ORDER)) {
      kept[count++] = page;
    }
    while (count > 0) {
      const victim = random.below(count);
      memory.free(kept[victim]);
      kept[victim] = kept[--count];
    }
  }
  const occupied = pages * state.occupied;
  growTo(occupied);
  // The pages beyond the highest swell are all that stays whole, so the first one can go this far at once.
  let swell = 1 - (1 - state.occupied) * state.usableAtMost;
  while (memory.usablePages(HUGE_PAGE_ORDER) > memory.freePages * state.usableAtMost) {
    growTo(pages * swell);
    shrinkTo(occupied);
    swell = Math.min(1, swell + SWELL_STEP);
  }
  return memory;
}
