/** Reserved ranges told by the trace itself, where no /proc/iomem text does. */
import { predictBlind } from "./blind.js";
import type { TraceCalls } from "./calls.js";
import type { PageRange } from "./reserved.js";
import type { Machine } from "./spaces.js";

/** Host bridges rarely have more windows below what a trace reaches. */
const ROUNDS = 16;
/** Pages; smaller gaps are what alignment leaves. */
const LEAST_GAP = 16;

/**
 * The allocator goes down from 4 GiB without leaving anything out. Where it is predicted to take what the trace never
 * maps in any space, while the kernel went below, the whole gap is reserved.
 */
export function learnReserved(trace: TraceCalls, machine: Machine): PageRange[] {
  const gaps = gapsOf(trace);
  const learned: PageRange[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const blind = predictBlind(trace, { ...machine, reserved: [...machine.reserved, ...learned] });
    let found: PageRange | undefined;
    for (const { allocation, predicted } of blind.misses) {
      if (predicted <= allocation.pfn) continue;
      found = gaps.find(({ first, last }) => first <= predicted && predicted + allocation.pages - 1 <= last);
      if (found !== undefined) break;
    }
    for (const space of blind.spaces) space.release();
    if (found === undefined) break;
    learned.push(found);
  }
  return learned.sort((one, other) => one.first - other.first);
}

/** The ranges between what the trace maps in any space. */
function gapsOf({ allocations }: TraceCalls): PageRange[] {
  const mapped = allocations
    .map(({ pfn, pages }) => ({ first: pfn, last: pfn + pages - 1 }))
    .sort((one, other) => one.first - other.first);
  const gaps: PageRange[] = [];
  let end = Number.POSITIVE_INFINITY;
  for (const { first, last } of mapped) {
    if (first - end >= LEAST_GAP) gaps.push({ first: end, last: first - 1 });
    end = end === Number.POSITIVE_INFINITY ? last + 1 : Math.max(end, last + 1);
  }
  return gaps;
}
