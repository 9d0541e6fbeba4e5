/**
 * struct iova and the tree of them: every range that is not free, in the order of addresses. Linux keeps a red-black
 * tree; here it is a treap (a search tree whose priorities, random but the same in every run, are a heap), since what an
 * allocation does depends on the order of the ranges and not on the tree's shape. Neighbours are linked.
 */
import { ANCHOR, FREE_RANGE, ROOT, SEED, stateReserve, stateTake } from "./state";

/**
 * One range. u64: `pfn_lo`, `pfn_hi`. u32: offsets of its relatives in the tree and of its neighbours. u64: its first
 * page when it was made, below which a reservation may have made it grow.
 */
const RANGE_BYTES: usize = 56;
const LOW: usize = 0;
const HIGH: usize = 8;
const PARENT: usize = 16;
const LEFT: usize = 20;
const RIGHT: usize = 24;
const BELOW: usize = 28;
const ABOVE: usize = 32;
const PRIORITY: usize = 36;
const USE: usize = 40;
const FIRST: usize = 48;

/** What a range is: reserved (or the anchor), allocated, in a magazine, in a flush queue. */
export const USE_RESERVED: u32 = 0;
export const USE_LIVE: u32 = 1;
export const USE_CACHED: u32 = 2;
export const USE_QUEUED: u32 = 3;

// @ts-ignore: decorator
@inline
export function rangeLow(state: usize, range: u32): u64 {
  return load<u64>(state + <usize>range, LOW);
}
// @ts-ignore: decorator
@inline
export function rangeSetLow(state: usize, range: u32, low: u64): void {
  store<u64>(state + <usize>range, low, LOW);
}
// @ts-ignore: decorator
@inline
export function rangeHigh(state: usize, range: u32): u64 {
  return load<u64>(state + <usize>range, HIGH);
}
// @ts-ignore: decorator
@inline
export function rangeFirst(state: usize, range: u32): u64 {
  return load<u64>(state + <usize>range, FIRST);
}
// @ts-ignore: decorator
@inline
export function rangeBelow(state: usize, range: u32): u32 {
  return load<u32>(state + <usize>range, BELOW);
}
// @ts-ignore: decorator
@inline
export function rangeAbove(state: usize, range: u32): u32 {
  return load<u32>(state + <usize>range, ABOVE);
}
// @ts-ignore: decorator
@inline
export function rangeUse(state: usize, range: u32): u32 {
  return load<u32>(state + <usize>range, USE);
}
// @ts-ignore: decorator
@inline
export function rangeSetUse(state: usize, range: u32, use: u32): void {
  store<u32>(state + <usize>range, use, USE);
}

// @ts-ignore: decorator
@inline
function relative(state: usize, range: u32, which: usize): u32 {
  return load<u32>(state + <usize>range + which);
}
// @ts-ignore: decorator
@inline
function setRelative(state: usize, range: u32, which: usize, to: u32): void {
  store<u32>(state + <usize>range + which, to);
}

/** Makes sure that one range can be added; the state may move. False when memory is exhausted. */
// @ts-ignore: decorator
@inline
export function rangeReserve(domain: usize): bool {
  return stateReserve(domain, RANGE_BYTES);
}

/** xorshift32 (Marsaglia, "Xorshift RNGs", 2003). */
function nextPriority(state: usize): u32 {
  let x = load<u32>(state, SEED);
  x ^= x << 13;
  x ^= x >> 17;
  x ^= x << 5;
  store<u32>(state, x, SEED);
  return x;
}

function newRange(state: usize, low: u64, high: u64, use: u32): u32 {
  let range = load<u32>(state, FREE_RANGE);
  if (range) store<u32>(state, rangeAbove(state, range), FREE_RANGE);
  else range = stateTake(state, RANGE_BYTES);
  rangeSetLow(state, range, low);
  store<u64>(state + <usize>range, high, HIGH);
  store<u64>(state + <usize>range, low, FIRST);
  v128.store(state + <usize>range, i64x2.splat(0), PARENT);
  setRelative(state, range, ABOVE, 0);
  setRelative(state, range, PRIORITY, nextPriority(state));
  rangeSetUse(state, range, use);
  return range;
}

/** Puts the first range into an empty tree: the anchor, above everything. `rangeReserve` came before. */
export function rangePlant(state: usize): void {
  store<u32>(state, 0x9e3779b9, SEED);
  const anchor = newRange(state, u64.MAX_VALUE, u64.MAX_VALUE, USE_RESERVED);
  store<u32>(state, anchor, ANCHOR);
  store<u32>(state, anchor, ROOT);
}

/** Puts `child` where `old` was below `parent` (0: the root). */
function replaceChild(state: usize, parent: u32, old: u32, child: u32): void {
  if (!parent) store<u32>(state, child, ROOT);
  else setRelative(state, parent, relative(state, parent, LEFT) == old ? LEFT : RIGHT, child);
}

/** Exchanges a range and its parent, keeping the order. */
function rotateUp(state: usize, range: u32): void {
  const parent = relative(state, range, PARENT);
  const grandparent = relative(state, parent, PARENT);
  const side = relative(state, parent, LEFT) == range ? LEFT : RIGHT;
  const other = LEFT + RIGHT - side;
  const inner = relative(state, range, other);
  setRelative(state, parent, side, inner);
  if (inner) setRelative(state, inner, PARENT, parent);
  setRelative(state, range, other, parent);
  setRelative(state, parent, PARENT, range);
  setRelative(state, range, PARENT, grandparent);
  replaceChild(state, grandparent, parent, range);
}

/** Adds [low, high] directly below the range `above`. `rangeReserve` came before. */
export function rangeInsert(state: usize, low: u64, high: u64, use: u32, above: u32): u32 {
  const range = newRange(state, low, high, use);
  const below = rangeBelow(state, above);
  setRelative(state, range, BELOW, below);
  setRelative(state, range, ABOVE, above);
  setRelative(state, above, BELOW, range);
  if (below) setRelative(state, below, ABOVE, range);
  // Of two neighbours one is an ancestor of the other, and the lower in the tree has no child on the ancestor's side.
  const parent = relative(state, above, LEFT) ? below : above;
  setRelative(state, parent, parent == above ? LEFT : RIGHT, range);
  setRelative(state, range, PARENT, parent);
  const priority = relative(state, range, PRIORITY);
  for (let up = parent; up && relative(state, up, PRIORITY) < priority; up = relative(state, range, PARENT)) {
    rotateUp(state, range);
  }
  return range;
}

/** The child with the higher priority, 0 when there is none. */
function heavierChild(state: usize, range: u32): u32 {
  const left = relative(state, range, LEFT);
  const right = relative(state, range, RIGHT);
  if (!left) return right;
  if (!right) return left;
  return relative(state, left, PRIORITY) > relative(state, right, PRIORITY) ? left : right;
}

export function rangeErase(state: usize, range: u32): void {
  for (let child = heavierChild(state, range); child; child = heavierChild(state, range)) rotateUp(state, child);
  replaceChild(state, relative(state, range, PARENT), range, 0);
  const below = rangeBelow(state, range);
  const above = rangeAbove(state, range);
  setRelative(state, above, BELOW, below);
  if (below) setRelative(state, below, ABOVE, above);
  setRelative(state, range, ABOVE, load<u32>(state, FREE_RANGE));
  store<u32>(state, range, FREE_RANGE);
}

/** The lowest range that does not end below `pfn`: it holds `pfn` or lies above it. The anchor is always one. */
export function rangeFrom(state: usize, pfn: u64): u32 {
  let found: u32 = 0;
  for (let range = load<u32>(state, ROOT); range; ) {
    if (rangeHigh(state, range) >= pfn) {
      found = range;
      range = relative(state, range, LEFT);
    } else {
      range = relative(state, range, RIGHT);
    }
  }
  return found;
}
