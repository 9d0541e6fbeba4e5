/** The likely reason of a wrong prediction. */
import type { Space } from "./blind.js";
import type { Allocation, Call, TraceCalls } from "./calls.js";
import { movesAround } from "./moves.js";
import type { Step } from "./space.js";

export type MissReason =
  | "flush timer"
  | "address limit"
  | "unknown reserved range"
  | "in use before the recording"
  | "order window"
  | "depot timer"
  | "unknown";

const LAST_PFN_BELOW_4G = 0xfffff;
/** Three magazines of 127: with fewer frees of a size nothing is trimmed from a depot. */
const TRIMMED_FREES = 381;

export function reasonOf(
  miss: { allocation: Allocation; predicted: number; position: number },
  space: Space,
  order: readonly Step[],
  trace: TraceCalls,
  moved: ReadonlySet<Call>,
): MissReason {
  const { allocation, predicted, position } = miss;
  if (space.description.flush !== "strict") return "flush timer";
  if (moved.has(order[position].call)) return "order window";
  if (allocation.pfn > LAST_PFN_BELOW_4G !== predicted > LAST_PFN_BELOW_4G) return "address limit";
  if (predicted > allocation.pfn && !trace.allocations.some((other) => maps(other, predicted))) {
    return "unknown reserved range";
  }
  // The search goes down from 4 GiB, so what it leaves out in a space is taken there.
  if (predicted > allocation.pfn && !order.slice(0, position).some((step) => maps(step.call.allocation, predicted))) {
    return "in use before the recording";
  }
  if (movesAround(order, position, trace.events.events).some((moves) => moves.length > 0)) return "order window";
  return freesBefore(order, position, allocation.pages) > TRIMMED_FREES ? "depot timer" : "unknown";
}

function maps({ pfn, pages }: Allocation, page: number): boolean {
  return pfn <= page && page < pfn + pages;
}

function freesBefore(order: readonly Step[], position: number, pages: number): number {
  let frees = 0;
  for (let at = 0; at < position; at++) {
    const { kind, allocation } = order[at].call;
    if (kind === "free" && allocation.pages === pages) frees++;
  }
  return frees;
}
