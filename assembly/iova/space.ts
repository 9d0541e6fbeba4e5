/**
 * An IOVA allocator: free ranges ("holes") in a tree by address, live ranges in a hash table by their start.
 *
 * A request asks for a length, a start congruent to x modulo 2^k, a window and a direction, and gets the first fit in
 * that direction. Allocating, freeing and reserving cost a search of the tree, logarithmic in the number of holes. What
 * could make a search long is a crowd of holes that are long enough but lie askew for the congruence; after
 * ASKEW_LIMIT of those the search goes to the first hole so long that it fits whatever its alignment, and only when
 * there is none, so that the alternative is to fail, looks at the rest.
 */
import {
  DIRECTION_BOTTOM_UP,
  IOVA_BATCH_CONGRUENT,
  IOVA_BATCH_COUNT,
  IOVA_BATCH_IOVA,
  IOVA_BATCH_LENGTH,
  IOVA_BATCH_REQUEST,
  IOVA_BATCH_STATUS,
  REQUEST_ALIGNMENT,
  REQUEST_CONGRUENT,
  REQUEST_DIRECTION,
  REQUEST_FIRST,
  REQUEST_LAST,
  REQUEST_LENGTH,
  SPACE_BYTES,
  SPACE_END,
  SPACE_FIRST,
  SPACE_FREE,
  SPACE_GRANULE_SHIFT,
  SPACE_HEIGHT,
  SPACE_HIGHEST,
  SPACE_LIVE,
  SPACE_LIVE_RANGES,
  SPACE_LOWEST,
  SPACE_RESERVED,
  SPACE_RESERVED_CAPACITY,
  SPACE_RESERVED_COUNT,
  SPACE_RESULT,
  SPACE_ROOT,
  STATUS_INPUT_RANGE,
  STATUS_INVALID,
  STATUS_MEMORY_EXHAUSTED,
  STATUS_MISALIGNED,
  STATUS_NOT_ALLOCATED,
  STATUS_OK,
  STATUS_OVERLAP,
  STATUS_SPACE_EXHAUSTED,
} from "../layout";
import {
  hashErase,
  hashFind,
  hashHas,
  hashInit,
  hashInsert,
  hashRelease,
  hashReserve,
  hashValue,
} from "../memory/hash";
import { heapAllocate, heapDouble, heapFree } from "../memory/heap";
import {
  FANOUT,
  nodeChild,
  nodeCount,
  nodeFitting,
  nodeKey,
  nodeValue,
  pathIndex,
  pathNode,
  setPath,
  treeFind,
  treeInit,
  treeInsertAfterPath,
  treeRelease,
  treeRemove,
  treeReplace,
  treeReserve,
} from "./tree";

/** Holes that are long enough but askew which one search looks at before it settles for a longer one. */
const ASKEW_LIMIT: u32 = 64;

/** Live ranges by their first granule; the value is the length in granules. */
// @ts-ignore: decorator
@inline
function liveRanges(space: usize): usize {
  return space + SPACE_LIVE_RANGES;
}

// ---- Making a space ----------------------------------------------------------------------------------------------

/**
 * A space of the addresses [first, last] (bytes), both on granule boundaries (`last` + 1). Returns its handle, or 0
 * when memory is exhausted or the window is empty.
 */
export function spaceCreate(granuleShift: u32, first: u64, last: u64): usize {
  const begin = first >> <u64>granuleShift;
  const end = (last >> <u64>granuleShift) + 1;
  const granuleMask = ((<u64>1) << <u64>granuleShift) - 1;
  if (granuleShift < 10 || granuleShift > 32 || first & granuleMask || ~last & granuleMask || begin >= end) return 0;
  const space = heapAllocate(SPACE_BYTES);
  if (!space) return 0;
  store<u32>(space, granuleShift, SPACE_GRANULE_SHIFT);
  store<u64>(space, begin, SPACE_FIRST);
  store<u64>(space, end, SPACE_END);
  store<u64>(space, end - begin, SPACE_FREE);
  if (!hashInit(liveRanges(space)) || !treeInit(space) || !treeReserve(space)) return 0;
  treeFind(space, begin);
  treeInsertAfterPath(space, begin, end - begin);
  return space;
}

export function spaceRelease(space: usize): void {
  treeRelease(space);
  hashRelease(liveRanges(space));
  const reserved = <usize>load<u32>(space, SPACE_RESERVED);
  heapFree(reserved, <usize>load<u32>(space, SPACE_RESERVED_CAPACITY) << 4);
  heapFree(space, SPACE_BYTES);
}

// ---- Carving and giving back ------------------------------------------------------------------------------------

/** Takes [start, start + n) out of the hole that the path leads to. `treeReserve` came before. */
// @ts-ignore: decorator
@inline
function carve(space: usize, start: u64, n: u64): void {
  const depth = load<u32>(space, SPACE_HEIGHT) - 1;
  const node = pathNode(depth);
  const index = pathIndex(depth);
  const first = nodeKey(node, index);
  const end = first + nodeValue(node, index);
  const below = start - first;
  const above = end - (start + n);
  if (below) {
    treeReplace(space, first, below);
    if (above) treeInsertAfterPath(space, start + n, above);
  } else if (above) {
    treeReplace(space, start + n, above);
  } else {
    treeRemove(space);
  }
  store<u64>(space, load<u64>(space, SPACE_FREE) - n, SPACE_FREE);
}

/** Keeps account of [start, start + n), which has just been carved out for use. */
// @ts-ignore: decorator
@inline
function noteTaken(space: usize, start: u64, n: u64): void {
  const live = load<u64>(space, SPACE_LIVE);
  if (!live || start < load<u64>(space, SPACE_LOWEST)) store<u64>(space, start, SPACE_LOWEST);
  if (!live || start + n > load<u64>(space, SPACE_HIGHEST)) store<u64>(space, start + n, SPACE_HIGHEST);
  store<u64>(space, live + n, SPACE_LIVE);
}

/** Adds a live range that has just been carved out. */
// @ts-ignore: decorator
@inline
function addLive(space: usize, start: u64, n: u64): void {
  const ranges = liveRanges(space);
  hashInsert(ranges, hashFind(ranges, start), start, n);
  noteTaken(space, start, n);
  store<u64>(space, start, SPACE_RESULT);
}

// ---- Searching ---------------------------------------------------------------------------------------------------

/** The request, in granules, while a search runs. */
let wantLength: u64 = 0;
let wantMask: u64 = 0;
let wantResidue: u64 = 0;
let windowFirst: u64 = 0;
let windowEnd: u64 = 0;

const NO_FIT: u64 = u64.MAX_VALUE;

/** Highest start in the hole that satisfies the request, or NO_FIT. */
// @ts-ignore: decorator
@inline
function fitHigh(first: u64, length: u64): u64 {
  const low = max<u64>(first, windowFirst);
  const end = min<u64>(first + length, windowEnd);
  if (end < low || end - low < wantLength) return NO_FIT;
  const high = end - wantLength;
  const start = high - ((high - wantResidue) & wantMask);
  return start >= low && start <= high ? start : NO_FIT;
}

/** Lowest start in the hole that satisfies the request, or NO_FIT. */
// @ts-ignore: decorator
@inline
function fitLow(first: u64, length: u64): u64 {
  const low = max<u64>(first, windowFirst);
  const end = min<u64>(first + length, windowEnd);
  if (end < low || end - low < wantLength) return NO_FIT;
  const start = low + ((wantResidue - low) & wantMask);
  return start >= low && start <= end - wantLength ? start : NO_FIT;
}

/** Which way a search runs, decided at compile time. */
@unmanaged
class Downwards {
  // @ts-ignore: decorator
  @inline down(): bool { return true; }
}
@unmanaged
class Upwards {
  // @ts-ignore: decorator
  @inline down(): bool { return false; }
}

/**
 * First hole in the direction with at least `needed` granules in which the request fits; the path then leads to it and
 * the start is returned. At most `patience` holes may be long enough and yet not fit; NO_FIT then, too.
 */
function search<D>(space: usize, needed: u64, patience: u32): u64 {
  const down = changetype<D>(0).down();
  const height = load<u32>(space, SPACE_HEIGHT);
  let depth: u32 = 0;
  let node = <usize>load<u32>(space, SPACE_ROOT);
  // Downwards the entries below `index` are still to come, upwards those from `index` on.
  let index: u32 = down ? FANOUT : 0;
  while (true) {
    const n = nodeCount(node);
    let candidates = nodeFitting(node, needed);
    if (down) {
      // Whatever is still to come ends where the entry behind it begins.
      if (index < n && nodeKey(node, index) <= windowFirst) return NO_FIT;
      candidates &= ((<u32>1) << index) - 1;
    } else {
      candidates &= (<u32>-1) << index;
    }
    if (!candidates) {
      if (!depth) return NO_FIT;
      depth--;
      node = pathNode(depth);
      index = pathIndex(depth) + (down ? 0 : 1);
      continue;
    }
    const at: u32 = down ? <u32>31 - clz<u32>(candidates) : ctz<u32>(candidates);
    if (nodeKey(node, at) >= windowEnd) {
      if (!down) return NO_FIT;
      index = at;
      continue;
    }
    if (!down && at + 1 < n && nodeKey(node, at + 1) <= windowFirst) {
      index = at + 1;
      continue;
    }
    setPath(depth, node, at);
    if (depth + 1 < height) {
      node = nodeChild(node, at);
      depth++;
      index = down ? FANOUT : 0;
      continue;
    }
    const start = down
      ? fitHigh(nodeKey(node, at), nodeValue(node, at))
      : fitLow(nodeKey(node, at), nodeValue(node, at));
    if (start != NO_FIT) return start;
    if (!patience--) return NO_FIT;
    index = down ? at : at + 1;
  }
  return NO_FIT;
}

function findFit<D>(space: usize): u64 {
  const start = search<D>(space, wantLength, wantMask ? ASKEW_LIMIT : u32.MAX_VALUE);
  if (start != NO_FIT || !wantMask) return start;
  const certain = search<D>(space, wantLength + wantMask, u32.MAX_VALUE);
  return certain != NO_FIT ? certain : search<D>(space, wantLength, u32.MAX_VALUE);
}

/** Allocates what the request (REQUEST_* of layout.ts) asks for; the start is in SPACE_RESULT, in granules. */
export function spaceAllocate(space: usize, request: usize): i32 {
  const shift = <u64>load<u32>(space, SPACE_GRANULE_SHIFT);
  const granuleMask = ((<u64>1) << shift) - 1;
  const length = load<u64>(request, REQUEST_LENGTH);
  const alignment = load<u64>(request, REQUEST_ALIGNMENT);
  const congruent = load<u64>(request, REQUEST_CONGRUENT);
  if (!length || length & granuleMask) return STATUS_MISALIGNED;
  if (!alignment || alignment & (alignment - 1)) return STATUS_INVALID;
  if (alignment <= granuleMask + 1) {
    if (congruent & (alignment - 1)) return STATUS_INVALID;
    wantMask = 0;
    wantResidue = 0;
  } else {
    if (congruent & granuleMask) return STATUS_INVALID;
    wantMask = (alignment >> shift) - 1;
    wantResidue = (congruent >> shift) & wantMask;
  }
  wantLength = length >> shift;
  // A window that begins or ends inside a granule: only whole granules count.
  const first = load<u64>(request, REQUEST_FIRST);
  const last = load<u64>(request, REQUEST_LAST);
  windowFirst = (first >> shift) + (first & granuleMask ? 1 : 0);
  windowEnd = (last >> shift) + ((last & granuleMask) == granuleMask ? 1 : 0);
  if (!hashReserve(liveRanges(space), 1) || !treeReserve(space)) return STATUS_MEMORY_EXHAUSTED;
  const start =
    load<u32>(request, REQUEST_DIRECTION) == DIRECTION_BOTTOM_UP ? findFit<Upwards>(space) : findFit<Downwards>(space);
  if (start == NO_FIT) return STATUS_SPACE_EXHAUSTED;
  carve(space, start, wantLength);
  addLive(space, start, wantLength);
  return STATUS_OK;
}

/** Sets the path to the hole that holds all of [start, start + n); false when not all of it is free. */
function findHole(space: usize, start: u64, n: u64): bool {
  if (!treeFind(space, start)) return false;
  const depth = load<u32>(space, SPACE_HEIGHT) - 1;
  const first = nodeKey(pathNode(depth), pathIndex(depth));
  const length = nodeValue(pathNode(depth), pathIndex(depth));
  return start - first < length && n <= length - (start - first);
}

/** Allocates exactly [iova, iova + length), bytes. */
export function spaceAllocateAt(space: usize, iova: u64, length: u64): i32 {
  const shift = <u64>load<u32>(space, SPACE_GRANULE_SHIFT);
  const start = iova >> shift;
  const n = length >> shift;
  if ((iova | length) & (((<u64>1) << shift) - 1) || !n) return STATUS_MISALIGNED;
  if (start < load<u64>(space, SPACE_FIRST) || n > load<u64>(space, SPACE_END) - start) return STATUS_INPUT_RANGE;
  if (start >= load<u64>(space, SPACE_END)) return STATUS_INPUT_RANGE;
  if (!hashReserve(liveRanges(space), 1) || !treeReserve(space)) return STATUS_MEMORY_EXHAUSTED;
  if (!findHole(space, start, n)) return STATUS_OVERLAP;
  carve(space, start, n);
  addLive(space, start, n);
  return STATUS_OK;
}

/** Takes [first, last] (bytes) out of the space for good. All of it must be free and within the space. */
export function spaceReserve(space: usize, firstByte: u64, lastByte: u64): i32 {
  const shift = <u64>load<u32>(space, SPACE_GRANULE_SHIFT);
  const granuleMask = ((<u64>1) << shift) - 1;
  if (firstByte & granuleMask || ~lastByte & granuleMask || firstByte > lastByte) return STATUS_MISALIGNED;
  const start = firstByte >> shift;
  const end = (lastByte >> shift) + 1;
  if (start < load<u64>(space, SPACE_FIRST) || end > load<u64>(space, SPACE_END)) return STATUS_INPUT_RANGE;
  const have = load<u32>(space, SPACE_RESERVED_COUNT);
  const capacity = load<u32>(space, SPACE_RESERVED_CAPACITY);
  if (have == capacity) {
    const block = capacity
      ? heapDouble(<usize>load<u32>(space, SPACE_RESERVED), <usize>capacity << 4)
      : heapAllocate(128);
    if (!block) return STATUS_MEMORY_EXHAUSTED;
    store<u32>(space, <u32>block, SPACE_RESERVED);
    store<u32>(space, capacity ? capacity << 1 : 8, SPACE_RESERVED_CAPACITY);
  }
  if (!treeReserve(space)) return STATUS_MEMORY_EXHAUSTED;
  if (!findHole(space, start, end - start)) return STATUS_OVERLAP;
  carve(space, start, end - start);
  let at = <usize>load<u32>(space, SPACE_RESERVED) + (<usize>have << 4);
  for (; at > <usize>load<u32>(space, SPACE_RESERVED) && load<u64>(at - 16) > start; at -= 16) {
    v128.store(at, v128.load(at - 16));
  }
  store<u64>(at, start);
  store<u64>(at, end, 8);
  store<u32>(space, have + 1, SPACE_RESERVED_COUNT);
  return STATUS_OK;
}

/** Key of the hole behind the node at `depth` of the path, as its ancestors know it; all ones when there is none. */
function nextKeyAbove(depth: u32): u64 {
  for (let d = depth; d--; ) {
    const next = pathIndex(d) + 1;
    if (next < nodeCount(pathNode(d))) return nodeKey(pathNode(d), next);
  }
  return u64.MAX_VALUE;
}

/** Makes [start, start + n), none of it free, free again. `treeReserve` came before. */
function giveBack(space: usize, start: u64, n: u64): void {
  const end = start + n;
  const found = treeFind(space, start);
  const depth = load<u32>(space, SPACE_HEIGHT) - 1;
  const node = pathNode(depth);
  const index = pathIndex(depth);
  const belowKey = found ? nodeKey(node, index) : 0;
  const belowLength = found ? nodeValue(node, index) : 0;
  const joinsBelow = found && belowKey + belowLength == start;
  // The next hole usually stands beside this one. At the end of a node an ancestor knows its key, and only a hole that
  // really touches is worth another search.
  const inNode = index + 1 < nodeCount(node);
  let aboveLength: u64 = 0;
  if (inNode) {
    if (nodeKey(node, index + 1) == end) aboveLength = nodeValue(node, index + 1);
  } else if (nextKeyAbove(depth) == end) {
    treeFind(space, end);
    aboveLength = nodeValue(pathNode(depth), pathIndex(depth));
  }
  if (aboveLength) {
    if (inNode) setPath(depth, node, index + 1);
    if (joinsBelow) {
      treeRemove(space);
      treeFind(space, start);
      treeReplace(space, belowKey, belowLength + n + aboveLength);
    } else {
      treeReplace(space, start, n + aboveLength);
    }
  } else if (joinsBelow) {
    treeReplace(space, belowKey, belowLength + n);
  } else {
    treeInsertAfterPath(space, start, n);
  }

  store<u64>(space, load<u64>(space, SPACE_FREE) + n, SPACE_FREE);
  const live = load<u64>(space, SPACE_LIVE) - n;
  store<u64>(space, live, SPACE_LIVE);
  if (live) {
    if (start == load<u64>(space, SPACE_LOWEST)) store<u64>(space, lowestLive(space), SPACE_LOWEST);
    if (end == load<u64>(space, SPACE_HIGHEST)) store<u64>(space, highestLive(space), SPACE_HIGHEST);
  }
}

/** Frees the live range that begins at `iova`; its length is in SPACE_RESULT, in granules. */
export function spaceFree(space: usize, iova: u64): i32 {
  const shift = <u64>load<u32>(space, SPACE_GRANULE_SHIFT);
  if (iova & (((<u64>1) << shift) - 1)) return STATUS_MISALIGNED;
  const start = iova >> shift;
  if (!treeReserve(space)) return STATUS_MEMORY_EXHAUSTED;
  const ranges = liveRanges(space);
  const slot = hashFind(ranges, start);
  if (!hashHas(slot)) return STATUS_NOT_ALLOCATED;
  const n = hashValue(slot);
  hashErase(ranges, slot);
  giveBack(space, start, n);
  store<u64>(space, n, SPACE_RESULT);
  return STATUS_OK;
}

/**
 * For a caller that keeps account of its ranges itself: takes [iova, iova + length), whose parts may come back one by
 * one through `spaceGiveBack`. STATUS_OVERLAP when not all of it is free.
 */
export function spaceTake(space: usize, iova: u64, length: u64): i32 {
  const shift = <u64>load<u32>(space, SPACE_GRANULE_SHIFT);
  if (iova + length - 1 < iova) return STATUS_INPUT_RANGE;
  if (!treeReserve(space)) return STATUS_MEMORY_EXHAUSTED;
  if (!findHole(space, iova >> shift, length >> shift)) return STATUS_OVERLAP;
  carve(space, iova >> shift, length >> shift);
  noteTaken(space, iova >> shift, length >> shift);
  return STATUS_OK;
}

/** Gives back part of what `spaceTake` took. */
export function spaceGiveBack(space: usize, iova: u64, length: u64): i32 {
  const shift = <u64>load<u32>(space, SPACE_GRANULE_SHIFT);
  if (!treeReserve(space)) return STATUS_MEMORY_EXHAUSTED;
  giveBack(space, iova >> shift, length >> shift);
  return STATUS_OK;
}

// ---- Reports -----------------------------------------------------------------------------------------------------

// @ts-ignore: decorator
@inline
function holeLengthAt(space: usize, start: u64): u64 {
  if (!treeFind(space, start)) return 0;
  const depth = load<u32>(space, SPACE_HEIGHT) - 1;
  return nodeKey(pathNode(depth), pathIndex(depth)) == start ? nodeValue(pathNode(depth), pathIndex(depth)) : 0;
}

/** First granule of the lowest live range: holes and reserved ranges are skipped alternately. */
function lowestLive(space: usize): u64 {
  const reserved = <usize>load<u32>(space, SPACE_RESERVED);
  const n = load<u32>(space, SPACE_RESERVED_COUNT);
  let at = load<u64>(space, SPACE_FIRST);
  let next: u32 = 0;
  while (true) {
    const before = at;
    at += holeLengthAt(space, at);
    while (next < n && load<u64>(reserved + (<usize>next << 4)) < at) next++;
    if (next < n && load<u64>(reserved + (<usize>next << 4)) == at) at = load<u64>(reserved + (<usize>next << 4), 8);
    if (at == before) return at;
  }
}

/** One past the last granule of the highest live range. */
function highestLive(space: usize): u64 {
  const reserved = <usize>load<u32>(space, SPACE_RESERVED);
  let next = load<u32>(space, SPACE_RESERVED_COUNT);
  let end = load<u64>(space, SPACE_END);
  while (true) {
    const before = end;
    if (treeFind(space, end - 1)) {
      const depth = load<u32>(space, SPACE_HEIGHT) - 1;
      const key = nodeKey(pathNode(depth), pathIndex(depth));
      if (key + nodeValue(pathNode(depth), pathIndex(depth)) == end) end = key;
    }
    while (next && load<u64>(reserved + (<usize>(next - 1) << 4), 8) > end) next--;
    if (next && load<u64>(reserved + (<usize>(next - 1) << 4), 8) == end) end = load<u64>(reserved + (<usize>(next - 1) << 4));
    if (end == before) return end;
  }
}

/** Longest hole that begins in [low, high), below one node whose own entries end at `end`. */
function longestBetween(node: usize, height: u32, end: u64, low: u64, high: u64): u64 {
  let result: u64 = 0;
  const n = nodeCount(node);
  for (let i: u32 = 0; i < n; i++) {
    const key = nodeKey(node, i);
    if (key >= high) break;
    const value = nodeValue(node, i);
    if (value <= result) continue;
    const entryEnd = i + 1 < n ? nodeKey(node, i + 1) : end;
    if (height == 1) {
      if (key >= low) result = value;
    } else if (key >= low && entryEnd <= high) {
      result = value;
    } else if (entryEnd > low) {
      result = max<u64>(result, longestBetween(nodeChild(node, i), height - 1, entryEnd, low, high));
    }
  }
  return result;
}

/** Longest hole of the whole space, in granules. */
export function spaceLongestHole(space: usize): u64 {
  const root = <usize>load<u32>(space, SPACE_ROOT);
  let longest: u64 = 0;
  for (let i: u32 = 0; i < nodeCount(root); i++) longest = max<u64>(longest, nodeValue(root, i));
  return longest;
}

/** Longest hole between the lowest and the highest live granule (the span), in granules. */
export function spaceLongestHoleInSpan(space: usize): u64 {
  if (!load<u64>(space, SPACE_LIVE)) return 0;
  return longestBetween(
    <usize>load<u32>(space, SPACE_ROOT),
    load<u32>(space, SPACE_HEIGHT),
    load<u64>(space, SPACE_END),
    load<u64>(space, SPACE_LOWEST),
    load<u64>(space, SPACE_HIGHEST),
  );
}

/** Free granules within the span: all of it but what is live or reserved. */
export function spaceFreeInSpan(space: usize): u64 {
  if (!load<u64>(space, SPACE_LIVE)) return 0;
  const low = load<u64>(space, SPACE_LOWEST);
  const high = load<u64>(space, SPACE_HIGHEST);
  let free = high - low - load<u64>(space, SPACE_LIVE);
  const reserved = <usize>load<u32>(space, SPACE_RESERVED);
  for (let i: u32 = 0; i < load<u32>(space, SPACE_RESERVED_COUNT); i++) {
    const first = load<u64>(reserved + (<usize>i << 4));
    if (first >= low && first < high) free -= load<u64>(reserved + (<usize>i << 4), 8) - first;
  }
  return free;
}

/** Length of the live range that begins at `iova`, bytes; 0 when none does. */
export function spaceLiveLength(space: usize, iova: u64): u64 {
  const shift = <u64>load<u32>(space, SPACE_GRANULE_SHIFT);
  if (iova & (((<u64>1) << shift) - 1)) return 0;
  const slot = hashFind(liveRanges(space), iova >> shift);
  return hashHas(slot) ? hashValue(slot) << shift : 0;
}

// ---- Batches -----------------------------------------------------------------------------------------------------

/** Allocates every request of a batch (IOVA_BATCH_* of layout.ts); returns how many failed. */
export function spaceAllocateBatch(space: usize, batch: usize): i32 {
  const total = load<u32>(batch, IOVA_BATCH_COUNT);
  const request = <usize>load<u32>(batch, IOVA_BATCH_REQUEST);
  const iovas = <usize>load<u32>(batch, IOVA_BATCH_IOVA);
  const lengths = <usize>load<u32>(batch, IOVA_BATCH_LENGTH);
  const statuses = <usize>load<u32>(batch, IOVA_BATCH_STATUS);
  const congruents = <usize>load<u32>(batch, IOVA_BATCH_CONGRUENT);
  const shift = <u64>load<u32>(space, SPACE_GRANULE_SHIFT);
  let failed: i32 = 0;
  for (let i: u32 = 0; i < total; i++) {
    const at = <usize>i << 3;
    store<u64>(request, load<u64>(lengths + at), REQUEST_LENGTH);
    if (congruents) store<u64>(request, load<u64>(congruents + at), REQUEST_CONGRUENT);
    const status = spaceAllocate(space, request);
    if (status != STATUS_OK) failed++;
    store<u64>(iovas + at, status == STATUS_OK ? load<u64>(space, SPACE_RESULT) << shift : u64.MAX_VALUE);
    store<u32>(statuses + (<usize>i << 2), status);
  }
  return failed;
}

/** Frees every IOVA of a batch; returns how many failed. */
export function spaceFreeBatch(space: usize, batch: usize): i32 {
  const total = load<u32>(batch, IOVA_BATCH_COUNT);
  const iovas = <usize>load<u32>(batch, IOVA_BATCH_IOVA);
  const lengths = <usize>load<u32>(batch, IOVA_BATCH_LENGTH);
  const statuses = <usize>load<u32>(batch, IOVA_BATCH_STATUS);
  const shift = <u64>load<u32>(space, SPACE_GRANULE_SHIFT);
  let failed: i32 = 0;
  for (let i: u32 = 0; i < total; i++) {
    const at = <usize>i << 3;
    const status = spaceFree(space, load<u64>(iovas + at));
    if (status != STATUS_OK) failed++;
    store<u64>(lengths + at, status == STATUS_OK ? load<u64>(space, SPACE_RESULT) << shift : 0);
    store<u32>(statuses + (<usize>i << 2), status);
  }
  return failed;
}
