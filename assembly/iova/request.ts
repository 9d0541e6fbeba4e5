/** What the allocation that is going on asks for, in granules, and where in a hole it fits. */
import { NO_ROOM, NONE } from "./search";

export let wantLength: u64 = 0;
/** The start is congruent to `wantResidue` modulo `wantMask` + 1. */
export let wantMask: u64 = 0;
export let wantResidue: u64 = 0;
/** The range lies within [windowFirst, windowEnd). */
export let windowFirst: u64 = 0;
export let windowEnd: u64 = 0;

// @ts-ignore: decorator
@inline
export function setRequest(length: u64, mask: u64, residue: u64, first: u64, end: u64): void {
  wantLength = length;
  wantMask = mask;
  wantResidue = residue;
  windowFirst = first;
  windowEnd = end;
}

/** Where in a hole the request fits: its highest start when the search goes down, its lowest when it goes up. */
@unmanaged
export class Fit {
  /** The start; NO_ROOM when too little of the hole is in the window, NONE when it only lies askew. */
  // @ts-ignore: decorator
  @inline choose<D>(hole: u64, length: u64, first: u64, end: u64): u64 {
    const low = max<u64>(hole, first);
    const high = min<u64>(hole + length, end);
    if (high < low || high - low < wantLength) return NO_ROOM;
    if (changetype<D>(0).down()) {
      const last = high - wantLength;
      const back = (last - wantResidue) & wantMask;
      return back <= last - low ? last - back : NONE;
    }
    const start = low + ((wantResidue - low) & wantMask);
    return start <= high - wantLength ? start : NONE;
  }
}
