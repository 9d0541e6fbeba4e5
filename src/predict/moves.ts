/** Which steps of an order may legally go elsewhere, and where that can matter. */
import { LEVEL_TASK } from "../../assembly/layout.js";
import type { TraceEvent } from "./events.js";
import type { Step } from "./space.js";

/** One step goes from one place of the order to another; those between close up. */
export interface Move {
  readonly from: number;
  readonly to: number;
  /** The CPU on which it then is. */
  readonly cpu: number;
}

/** Steps before and behind a miss that may be moved, and how far the allocation that misses may itself. */
const REACH_BEFORE = 96;
const REACH_BEHIND = 48;
const REACH_OF_MISS = 512;
/** Places that one step is tried at, in each direction; the allocation that misses is tried at all. */
const PLACES = 16;
/** Sizes up to this go through magazines, one stack an order (IOVA_RANGE_CACHE_MAX_SIZE). */
const CACHED_PAGES = 32;

/** Changes the order. */
export function applied(order: Step[], { from, to, cpu }: Move): void {
  const { call, time } = order[from];
  const step = Math.sign(to - from);
  for (let at = from; at !== to; at += step) order[at] = order[at + step];
  // A call is no later than what is behind it.
  const behind = order[to + 1];
  order[to] = { call, cpu, time: behind === undefined ? time : Math.min(time, behind.time) };
}

/** Takes back what `applied` did; `original` is the step as it was. */
export function undone(order: Step[], { from, to }: Move, original: Step): void {
  const step = Math.sign(from - to);
  for (let at = to; at !== from; at += step) order[at] = order[at + step];
  order[from] = original;
}

/**
 * Legal moves of a single step that can change what is predicted for the allocation at `miss`, in three lots: of this
 * allocation itself, which nearly always is the one; within the stack of magazines that it takes from; the others. In
 * each the smallest come first.
 */
export function movesAround(order: readonly Step[], miss: number, events: readonly TraceEvent[]): readonly Move[][] {
  const moves: Move[] = [];
  const begin = Math.max(0, miss - REACH_BEFORE);
  const end = Math.min(order.length, miss + REACH_BEHIND);
  for (let from = begin; from < end; from++) {
    const { cpu } = order[from];
    const [farthest, places] = from === miss ? [Math.max(0, miss - REACH_OF_MISS), REACH_OF_MISS] : [begin, PLACES];
    for (const to of placesBefore(order, from, farthest, places)) if (to <= miss) moves.push({ from, to, cpu });
    if (from < miss) for (const to of placesBehind(order, from, end)) moves.push({ from, to, cpu });
    const other = otherCpu(order[from], events);
    if (other !== cpu && from <= miss) moves.push({ from, to: from, cpu: other });
  }
  const distance = ({ from, to }: Move): number => Math.abs(from - to) + Math.abs(miss - from);
  moves.sort((one, other) => distance(one) - distance(other));
  const lotOf = (move: Move): number =>
    splitsRun(order, move) || !sameStack(order[move.from], order[miss]) ? 2 : move.from === miss ? 0 : 1;
  return [0, 1, 2].map((lot) => moves.filter((move) => lotOf(move) === lot));
}

/** Where a step can go towards the beginning: each place is behind a step with which it changes order to some effect. */
function placesBefore(order: readonly Step[], from: number, farthest: number, most: number): number[] {
  const places: number[] = [];
  const { earliest } = order[from].call;
  for (let to = from - 1; to >= farthest && places.length < most; to--) {
    if (earliest >= order[to].call.latest) break;
    if (interact(order[from], order[to])) places.push(to);
  }
  return places;
}

function placesBehind(order: readonly Step[], from: number, end: number): number[] {
  const places: number[] = [];
  const { latest } = order[from].call;
  for (let to = from + 1; to < end && places.length < PLACES; to++) {
    if (order[to].call.earliest >= latest) break;
    if (interact(order[from], order[to])) places.push(to);
  }
  return places;
}

/** Whether a step would come between two that look like one interrupt of its CPU, which does nothing else meanwhile. */
function splitsRun(order: readonly Step[], { from, to, cpu }: Move): boolean {
  const { level } = order[from].call.event;
  const before = order[to > from ? to : to - 1];
  const behind = order[to > from ? to + 1 : to];
  if (before === undefined || behind === undefined || from === to) return false;
  return [before, behind].every((step) => step.cpu === cpu && step.call.event.level > level);
}

/** Whether it can matter which of two steps comes first: they use the same stack, or both may search the tree. */
function interact(one: Step, other: Step): boolean {
  return (one.call.kind === "allocate" && other.call.kind === "allocate") || sameStack(one, other);
}

/** Whether two steps use the same magazines, or the tree without magazines. */
function sameStack(one: Step, other: Step): boolean {
  const pages = one.call.allocation.pages;
  const otherPages = other.call.allocation.pages;
  if (pages > CACHED_PAGES || otherPages > CACHED_PAGES) return true;
  return one.cpu === other.cpu && Math.ceil(Math.log2(pages)) === Math.ceil(Math.log2(otherPages));
}

/** A task may have been on the CPU of its neighbouring event when it made the call, and have migrated since. */
function otherCpu({ call, cpu }: Step, events: readonly TraceEvent[]): number {
  if (call.event.level !== LEVEL_TASK) return cpu;
  const neighbour = events[call.kind === "allocate" ? call.earliest : call.latest];
  return neighbour?.cpu ?? cpu;
}
