/**
 * An IOVA allocator: free ranges ("holes") in a tree by address, live ranges in a hash table by their start.
 *
 * A request asks for a length, a start congruent to x modulo 2^k, a window and a direction, and gets the first fit in
 * that direction. Allocating, freeing and reserving cost a search of the tree, logarithmic in the number of holes. What
 * could make a search long is a crowd of holes that are long enough but lie askew for the congruence; after
 * ASKEW_LIMIT of those the search goes to the first hole so long that it fits whatever its alignment, and only when
 * there is none, so that the alternative is to fail, asks the index of residues (residues.ts) for the first fit.
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
  SPACE_RESIDUES,
  SPACE_RESULT,
  SPACE_TREE,
  SPACE_VISITS,
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
import { Fit, setRequest, wantLength, wantMask, windowEnd, windowFirst } from "./request";
import { residueFind, residueIndex, residuesRelease, residuesSet } from "./residues";
import { Downwards, NO_ROOM, NONE, outOfPatience, search, Upwards } from "./search";
import {
  nodeChild,
  nodeCount,
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
  treeRoot,
  treeValueAt,
  visits,
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
  const holes = space + SPACE_TREE;
  if (!hashInit(liveRanges(space)) || !treeInit(holes) || !treeReserve(holes)) return 0;
  treeFind(holes, begin);
  treeInsertAfterPath(holes, begin, end - begin);
  return space;
}

export function spaceRelease(space: usize): void {
  residuesRelease(space);
  treeRelease(space + SPACE_TREE);
  hashRelease(liveRanges(space));
  const reserved = <usize>load<u32>(space, SPACE_RESERVED);
  heapFree(reserved, <usize>load<u32>(space, SPACE_RESERVED_CAPACITY) << 4);
  heapFree(space, SPACE_BYTES);
}

// ---- Carving and giving back ------------------------------------------------------------------------------------

/** Tells the indexes of residues, where there are any, that the hole at `first` is now `length` long (0: no more). */
// @ts-ignore: decorator
@inline
function holeChanged(space: usize, first: u64, length: u64): void {
  if (load<u32>(space, SPACE_RESIDUES)) residuesSet(space, first, length);
}

/** Takes [start, start + n) out of the hole that the path leads to. `treeReserve` came before. */
// @ts-ignore: decorator
@inline
function carve(space: usize, start: u64, n: u64): void {
  const holes = space + SPACE_TREE;
  const depth = load<u32>(space, SPACE_HEIGHT) - 1;
  const node = pathNode(depth);
  const index = pathIndex(depth);
  const first = nodeKey(node, index);
  const end = first + nodeValue(node, index);
  const below = start - first;
  const above = end - (start + n);
  if (below) {
    treeReplace(holes, first, below);
    if (above) treeInsertAfterPath(holes, start + n, above);
  } else if (above) {
    treeReplace(holes, start + n, above);
  } else {
    treeRemove(holes);
  }
  holeChanged(space, first, below);
  if (above) holeChanged(space, start + n, above);
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

/** Sets the path to the last hole that begins at or below `granule`; where the request fits in it, or NONE. */
function fitAt<D>(space: usize, granule: u64): u64 {
  if (!treeFind(space + SPACE_TREE, granule)) return NONE;
  const depth = load<u32>(space, SPACE_HEIGHT) - 1;
  const hole = nodeKey(pathNode(depth), pathIndex(depth));
  const length = nodeValue(pathNode(depth), pathIndex(depth));
  const start = changetype<Fit>(0).choose<D>(hole, length, windowFirst, windowEnd);
  return start < NO_ROOM ? start : NONE;
}

/** First fit by the index of residues. Those holes that the window may cut are tried one by one. */
function findAskew<D>(space: usize): u64 {
  const index = residueIndex(space);
  // Without memory for an index: hole by hole.
  if (!index) return search<D, Fit>(space + SPACE_TREE, wantLength, windowFirst, windowEnd, u32.MAX_VALUE);
  const down = changetype<D>(0).down();
  const near = fitAt<D>(space, down ? windowEnd - 1 : windowFirst);
  if (near != NONE) return near;
  const depth = load<u32>(space, SPACE_HEIGHT) - 1;
  const last = treeFind(space + SPACE_TREE, windowEnd - 1) ? nodeKey(pathNode(depth), pathIndex(depth)) : 0;
  const hole = residueFind<D>(index, windowFirst, last);
  return fitAt<D>(space, hole != NONE ? hole : down ? windowFirst : last);
}

/** Start of the first fit, to whose hole the path then leads, or NONE. */
function findFit<D>(space: usize): u64 {
  const holes = space + SPACE_TREE;
  const start = search<D, Fit>(holes, wantLength, windowFirst, windowEnd, ASKEW_LIMIT);
  if (start != NONE || !outOfPatience) return start;
  const certain = search<D, Fit>(holes, wantLength + wantMask, windowFirst, windowEnd, u32.MAX_VALUE);
  return certain != NONE ? certain : findAskew<D>(space);
}

/** Carves out what the request asks for; the start is in SPACE_RESULT. `treeReserve` came before. */
// @ts-ignore: decorator
@inline
function place(space: usize, up: bool): i32 {
  const start = up ? findFit<Upwards>(space) : findFit<Downwards>(space);
  if (start == NONE) return STATUS_SPACE_EXHAUSTED;
  carve(space, start, wantLength);
  noteTaken(space, start, wantLength);
  store<u64>(space, start, SPACE_RESULT);
  return STATUS_OK;
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
  if (congruent & (min<u64>(alignment, granuleMask + 1) - 1)) return STATUS_INVALID;
  const mask = alignment <= granuleMask ? 0 : (alignment >> shift) - 1;
  // A window that begins or ends inside a granule: only whole granules count.
  const first = load<u64>(request, REQUEST_FIRST);
  const last = load<u64>(request, REQUEST_LAST);
  setRequest(
    length >> shift,
    mask,
    (congruent >> shift) & mask,
    (first >> shift) + (first & granuleMask ? 1 : 0),
    (last >> shift) + ((last & granuleMask) == granuleMask ? 1 : 0),
  );
  const ranges = liveRanges(space);
  if (!hashReserve(ranges, 1) || !treeReserve(space + SPACE_TREE)) return STATUS_MEMORY_EXHAUSTED;
  const status = place(space, load<u32>(request, REQUEST_DIRECTION) == DIRECTION_BOTTOM_UP);
  store<u32>(space, visits, SPACE_VISITS);
  if (status != STATUS_OK) return status;
  const start = load<u64>(space, SPACE_RESULT);
  hashInsert(ranges, hashFind(ranges, start), start, wantLength);
  return STATUS_OK;
}

/** Sets the path to the hole that holds all of [start, start + n); false when not all of it is free. */
function findHole(space: usize, start: u64, n: u64): bool {
  if (!treeFind(space + SPACE_TREE, start)) return false;
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
  if (!hashReserve(liveRanges(space), 1) || !treeReserve(space + SPACE_TREE)) return STATUS_MEMORY_EXHAUSTED;
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
  if (!treeReserve(space + SPACE_TREE)) return STATUS_MEMORY_EXHAUSTED;
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
  const holes = space + SPACE_TREE;
  const end = start + n;
  const found = treeFind(holes, start);
  const depth = load<u32>(space, SPACE_HEIGHT) - 1;
  const node = pathNode(depth);
  const index = pathIndex(depth);
  const belowKey = found ? nodeKey(node, index) : 0;
  const belowLength = found ? nodeValue(node, index) : 0;
  const joinsBelow = found && belowKey + belowLength == start;
  // The next hole usually stands beside this one. At the end of a node an ancestor knows its key, and only a hole that
  // really touches is worth another search.
  const inNode = index + 1 < nodeCount(node);
  const joinsAbove = (inNode ? nodeKey(node, index + 1) : nextKeyAbove(depth)) == end;
  let last = end;
  if (joinsAbove) {
    if (inNode) setPath(depth, node, index + 1);
    else treeFind(holes, end);
    last += nodeValue(pathNode(depth), pathIndex(depth));
  }
  const first = joinsBelow ? belowKey : start;
  if (joinsBelow && joinsAbove) {
    // The hole above goes last: then the path to the one below, where they are in one node, is known without a search.
    if (inNode) setPath(depth, node, index);
    else treeFind(holes, start);
    treeReplace(holes, first, last - first);
    if (inNode) setPath(depth, node, index + 1);
    else treeFind(holes, end);
    treeRemove(holes);
  } else if (joinsBelow || joinsAbove) {
    treeReplace(holes, first, last - first);
  } else {
    treeInsertAfterPath(holes, first, last - first);
  }
  if (joinsAbove) holeChanged(space, end, 0);
  holeChanged(space, first, last - first);

  store<u64>(space, load<u64>(space, SPACE_FREE) + n, SPACE_FREE);
  const live = load<u64>(space, SPACE_LIVE) - n;
  store<u64>(space, live, SPACE_LIVE);
  if (live) {
    if (start == load<u64>(space, SPACE_LOWEST)) store<u64>(space, lowestLive(space, last), SPACE_LOWEST);
    if (end == load<u64>(space, SPACE_HIGHEST)) store<u64>(space, highestLive(space, first), SPACE_HIGHEST);
  }
}

/** Frees the live range that begins at `iova`; its length is in SPACE_RESULT, in granules. */
export function spaceFree(space: usize, iova: u64): i32 {
  const shift = <u64>load<u32>(space, SPACE_GRANULE_SHIFT);
  if (iova & (((<u64>1) << shift) - 1)) return STATUS_MISALIGNED;
  const start = iova >> shift;
  if (!treeReserve(space + SPACE_TREE)) return STATUS_MEMORY_EXHAUSTED;
  const ranges = liveRanges(space);
  const slot = hashFind(ranges, start);
  if (!hashHas(slot)) return STATUS_NOT_ALLOCATED;
  const n = hashValue(slot);
  hashErase(ranges, slot);
  giveBack(space, start, n);
  store<u64>(space, n, SPACE_RESULT);
  store<u32>(space, visits, SPACE_VISITS);
  return STATUS_OK;
}

/**
 * For a caller that keeps account of its ranges itself: takes [iova, iova + length), whose parts may come back one by
 * one through `spaceGiveBack`. STATUS_OVERLAP when not all of it is free.
 */
export function spaceTake(space: usize, iova: u64, length: u64): i32 {
  const shift = <u64>load<u32>(space, SPACE_GRANULE_SHIFT);
  if (iova + length - 1 < iova) return STATUS_INPUT_RANGE;
  if (!treeReserve(space + SPACE_TREE)) return STATUS_MEMORY_EXHAUSTED;
  if (!findHole(space, iova >> shift, length >> shift)) return STATUS_OVERLAP;
  carve(space, iova >> shift, length >> shift);
  noteTaken(space, iova >> shift, length >> shift);
  return STATUS_OK;
}

/**
 * For the same: allocates `n` granules anywhere in the space, the start congruent to `residue` modulo `mask` + 1; the
 * start is in SPACE_RESULT, in granules.
 */
export function spacePlace(space: usize, n: u64, mask: u64, residue: u64, direction: u32): i32 {
  if (!treeReserve(space + SPACE_TREE)) return STATUS_MEMORY_EXHAUSTED;
  setRequest(n, mask, residue, load<u64>(space, SPACE_FIRST), load<u64>(space, SPACE_END));
  return place(space, direction == DIRECTION_BOTTOM_UP);
}

/** Gives back what `spacePlace` allocated, or part of what `spaceTake` took. */
export function spaceGiveBack(space: usize, iova: u64, length: u64): i32 {
  const shift = <u64>load<u32>(space, SPACE_GRANULE_SHIFT);
  if (!treeReserve(space + SPACE_TREE)) return STATUS_MEMORY_EXHAUSTED;
  giveBack(space, iova >> shift, length >> shift);
  return STATUS_OK;
}

// ---- Reports -----------------------------------------------------------------------------------------------------

/** First granule of the lowest live range, from where a hole ends below it: only reserved ranges may come between. */
function lowestLive(space: usize, holeEnd: u64): u64 {
  const reserved = <usize>load<u32>(space, SPACE_RESERVED);
  const n = load<u32>(space, SPACE_RESERVED_COUNT);
  let at = holeEnd;
  for (let i: u32 = 0; i < n; i++) {
    if (load<u64>(reserved + (<usize>i << 4)) != at) continue;
    at = load<u64>(reserved + (<usize>i << 4), 8);
    at += treeValueAt(space + SPACE_TREE, at);
  }
  return at;
}

/** One past the last granule of the highest live range, from where a hole begins above it. */
function highestLive(space: usize, holeStart: u64): u64 {
  const reserved = <usize>load<u32>(space, SPACE_RESERVED);
  let end = holeStart;
  for (let i = load<u32>(space, SPACE_RESERVED_COUNT); i--; ) {
    if (load<u64>(reserved + (<usize>i << 4), 8) != end) continue;
    end = load<u64>(reserved + (<usize>i << 4));
    if (!treeFind(space + SPACE_TREE, end - 1)) continue;
    const depth = load<u32>(space, SPACE_HEIGHT) - 1;
    const hole = nodeKey(pathNode(depth), pathIndex(depth));
    if (hole + nodeValue(pathNode(depth), pathIndex(depth)) == end) end = hole;
  }
  return end;
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
  const root = treeRoot(space + SPACE_TREE);
  let longest: u64 = 0;
  for (let i: u32 = 0; i < nodeCount(root); i++) longest = max<u64>(longest, nodeValue(root, i));
  return longest;
}

/** Longest hole between the lowest and the highest live granule (the span), in granules. */
export function spaceLongestHoleInSpan(space: usize): u64 {
  if (!load<u64>(space, SPACE_LIVE)) return 0;
  return longestBetween(
    treeRoot(space + SPACE_TREE),
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
