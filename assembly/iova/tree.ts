/**
 * The holes of one IOVA space, ordered by address: a B+ tree whose every entry also knows the longest hole below it, so
 * that a search for a hole long enough skips what has none, and whose inner keys are the exact first key below them.
 *
 * A node is one 512-byte block: header, keys, values, children. In a leaf a key is a hole's first granule and its value
 * the hole's length; above, the first key and the longest hole of the child. Unused keys hold the largest number, so
 * that a 128-bit compare may look at all of them.
 */
import { SPACE_HEIGHT, SPACE_HOLES, SPACE_ROOT } from "../layout";
import { heapAllocate, heapFree } from "../memory/heap";

const NODE_BYTES: usize = 512;
export const FANOUT: u32 = 24;
const COUNT: usize = 0;
const KEYS: usize = 16;
const VALUES: usize = KEYS + <usize>FANOUT * 8;
const CHILDREN: usize = VALUES + <usize>FANOUT * 8;
const NO_KEY: u64 = 0x7fff_ffff_ffff_ffff;

/** Where the last search ended: per level (0 = root) the node and the index in it. 24^12 holes are more than fit. */
const path = memory.data(16 * 8, 16);

// @ts-ignore: decorator
@inline
export function pathNode(depth: u32): usize {
  return <usize>load<u32>(path + (<usize>depth << 3));
}
// @ts-ignore: decorator
@inline
export function pathIndex(depth: u32): u32 {
  return load<u32>(path + (<usize>depth << 3), 4);
}
// @ts-ignore: decorator
@inline
export function setPath(depth: u32, node: usize, index: u32): void {
  store<u32>(path + (<usize>depth << 3), <u32>node);
  store<u32>(path + (<usize>depth << 3), index, 4);
}

// @ts-ignore: decorator
@inline
export function nodeCount(node: usize): u32 {
  return load<u32>(node, COUNT);
}
// @ts-ignore: decorator
@inline
export function nodeKey(node: usize, i: u32): u64 {
  return load<u64>(node + (<usize>i << 3), KEYS);
}
// @ts-ignore: decorator
@inline
export function nodeValue(node: usize, i: u32): u64 {
  return load<u64>(node + (<usize>i << 3), VALUES);
}
// @ts-ignore: decorator
@inline
export function nodeChild(node: usize, i: u32): usize {
  return <usize>load<u32>(node + (<usize>i << 2), CHILDREN);
}
// @ts-ignore: decorator
@inline
function setEntry(node: usize, i: u32, key: u64, value: u64): void {
  store<u64>(node + (<usize>i << 3), key, KEYS);
  store<u64>(node + (<usize>i << 3), value, VALUES);
}

function newNode(): usize {
  const node = heapAllocate(NODE_BYTES);
  if (!node) return 0;
  store<u32>(node, 0, COUNT);
  for (let i: u32 = 0; i < FANOUT; i++) setEntry(node, i, NO_KEY, 0);
  return node;
}

/** Nodes that a split of every level on the way could need are taken before anything changes. */
let spare: usize = 0;
let spareCount: u32 = 0;

/** Makes sure that one insertion cannot run out of memory; false when it could. */
export function treeReserve(space: usize): bool {
  const need = load<u32>(space, SPACE_HEIGHT) + 1;
  while (spareCount < need) {
    const node = newNode();
    if (!node) return false;
    store<usize>(node, spare, CHILDREN);
    spare = node;
    spareCount++;
  }
  return true;
}

function takeSpare(): usize {
  const node = spare;
  spare = load<usize>(node, CHILDREN);
  spareCount--;
  return node;
}

/** An empty tree; false when memory is exhausted. */
export function treeInit(space: usize): bool {
  const root = newNode();
  if (!root) return false;
  store<u32>(space, <u32>root, SPACE_ROOT);
  store<u32>(space, 1, SPACE_HEIGHT);
  store<u32>(space, 0, SPACE_HOLES);
  return true;
}

function freeBelow(node: usize, height: u32): void {
  if (height > 1) for (let i: u32 = 0; i < nodeCount(node); i++) freeBelow(nodeChild(node, i), height - 1);
  heapFree(node, NODE_BYTES);
}

export function treeRelease(space: usize): void {
  freeBelow(<usize>load<u32>(space, SPACE_ROOT), load<u32>(space, SPACE_HEIGHT));
}

/** Bit i: value i of the node is at least `needed`, which is not 0. */
// @ts-ignore: decorator
@inline
export function nodeFitting(node: usize, needed: u64): u32 {
  // "Greater" is one instruction where "greater or equal" is three.
  const less = i64x2.splat(needed - 1);
  let fitting: u32 = 0;
  for (let i: u32 = 0; i < FANOUT; i += 4) {
    const at = node + (<usize>i << 3) + VALUES;
    const low = i64x2.bitmask(i64x2.gt_s(v128.load(at), less));
    const high = i64x2.bitmask(i64x2.gt_s(v128.load(at, 16), less));
    fitting |= (<u32>low | (<u32>high << 2)) << i;
  }
  return fitting;
}

/** How many keys of the node are at most `key`. */
// @ts-ignore: decorator
@inline
function rank(node: usize, key: u64): u32 {
  const more = i64x2.splat(key + 1);
  let p = node + KEYS;
  let sum = i64x2.splat(0);
  let other = i64x2.splat(0);
  for (const end = p + <usize>FANOUT * 8; p < end; p += 32) {
    sum = i64x2.add(sum, i64x2.gt_s(more, v128.load(p)));
    other = i64x2.add(other, i64x2.gt_s(more, v128.load(p, 16)));
  }
  sum = i64x2.add(sum, other);
  return <u32>-(<i32>i64x2.extract_lane(sum, 0) + <i32>i64x2.extract_lane(sum, 1));
}

/**
 * Sets the path to the last hole that begins at or below `key`, and returns true; with no such hole returns false and
 * the path leads to where it would be: before the first.
 */
export function treeFind(space: usize, key: u64): bool {
  const height = load<u32>(space, SPACE_HEIGHT);
  let node = <usize>load<u32>(space, SPACE_ROOT);
  for (let depth: u32 = 0; depth + 1 < height; depth++) {
    const r = rank(node, key);
    const index = r ? r - 1 : 0;
    setPath(depth, node, index);
    node = nodeChild(node, index);
  }
  const r = rank(node, key);
  setPath(height - 1, node, r - 1);
  return r != 0;
}

/** Largest value of a node; values beyond its count are zero. */
// @ts-ignore: decorator
@inline
function longest(node: usize): u64 {
  let p = node + VALUES;
  let best = v128.load(p);
  for (const end = p + <usize>FANOUT * 8; (p += 16) < end; ) {
    const values = v128.load(p);
    best = v128.bitselect(values, best, i64x2.gt_s(values, best));
  }
  return max<u64>(i64x2.extract_lane(best, 0), i64x2.extract_lane(best, 1));
}

/** Brings the entries above the node at `depth` of the path up to date, as far up as something changed. */
function refreshAbove(depth: u32): void {
  while (depth) {
    const node = pathNode(depth);
    depth--;
    const parent = pathNode(depth);
    const index = pathIndex(depth);
    const key = nodeKey(node, 0);
    const value = longest(node);
    if (nodeKey(parent, index) == key && nodeValue(parent, index) == value) return;
    setEntry(parent, index, key, value);
  }
}

/** Replaces the hole that the path leads to. The new one must lie between its neighbours. */
export function treeReplace(space: usize, key: u64, length: u64): void {
  const depth = load<u32>(space, SPACE_HEIGHT) - 1;
  const node = pathNode(depth);
  const index = pathIndex(depth);
  const before = nodeValue(node, index);
  const sameKey = nodeKey(node, index) == key;
  setEntry(node, index, key, length);
  if (!depth) return;
  const above = nodeValue(pathNode(depth - 1), pathIndex(depth - 1));
  // Only a new longest hole, the end of the old one, or a new first key is seen from above.
  if ((sameKey || index) && length <= above && before < above) return;
  refreshAbove(depth);
}

// Entry by entry: a call of memory.copy costs more than the few words that a node moves.

// @ts-ignore: decorator
@inline
function copyEntry(node: usize, from: u32, to: u32): void {
  setEntry(node, to, nodeKey(node, from), nodeValue(node, from));
  store<u32>(node + (<usize>to << 2), <u32>nodeChild(node, from), CHILDREN);
}

// @ts-ignore: decorator
@inline
function shiftRight(node: usize, index: u32, n: u32): void {
  for (let i = n; i > index; i--) copyEntry(node, i - 1, i);
}

// @ts-ignore: decorator
@inline
function shiftLeft(node: usize, index: u32, n: u32): void {
  for (let i = index + 1; i < n; i++) copyEntry(node, i, i - 1);
  setEntry(node, n - 1, NO_KEY, 0);
}

/** Moves the upper half of a full node into a new one. */
function split(node: usize): usize {
  const right = takeSpare();
  const half = FANOUT >> 1;
  const moved = FANOUT - half;
  memory.copy(right + KEYS, node + KEYS + (<usize>half << 3), <usize>moved << 3);
  memory.copy(right + VALUES, node + VALUES + (<usize>half << 3), <usize>moved << 3);
  memory.copy(right + CHILDREN, node + CHILDREN + (<usize>half << 2), <usize>moved << 2);
  for (let i = half; i < FANOUT; i++) setEntry(node, i, NO_KEY, 0);
  store<u32>(node, half, COUNT);
  store<u32>(right, moved, COUNT);
  return right;
}

/** Inserts a hole behind the one that the path leads to (index -1: before the first). `treeReserve` came before. */
export function treeInsertAfterPath(space: usize, holeKey: u64, length: u64): void {
  let key = holeKey;
  let value = length;
  let child: usize = 0;
  let depth = load<u32>(space, SPACE_HEIGHT) - 1;
  store<u32>(space, load<u32>(space, SPACE_HOLES) + 1, SPACE_HOLES);
  while (true) {
    let node = pathNode(depth);
    let index = pathIndex(depth) + 1;
    let right: usize = 0;
    if (nodeCount(node) == FANOUT) {
      right = split(node);
      const half = nodeCount(node);
      if (index > half) {
        index -= half;
        node = right;
      }
    }
    const n = nodeCount(node);
    shiftRight(node, index, n);
    setEntry(node, index, key, value);
    store<u32>(node + (<usize>index << 2), <u32>child, CHILDREN);
    store<u32>(node, n + 1, COUNT);
    const left = pathNode(depth);
    if (!right) {
      if (!depth) return;
      if (index) {
        // Not the first key: above it only the longest hole can change, and only grow.
        const above = nodeValue(pathNode(depth - 1), pathIndex(depth - 1));
        if (value <= above && !child) return;
      }
      refreshAbove(depth);
      return;
    }
    if (!depth) {
      const root = takeSpare();
      setEntry(root, 0, nodeKey(left, 0), longest(left));
      setEntry(root, 1, nodeKey(right, 0), longest(right));
      store<u32>(root, <u32>left, CHILDREN);
      store<u32>(root, <u32>right, CHILDREN + 4);
      store<u32>(root, 2, COUNT);
      store<u32>(space, <u32>root, SPACE_ROOT);
      store<u32>(space, load<u32>(space, SPACE_HEIGHT) + 1, SPACE_HEIGHT);
      return;
    }
    setEntry(pathNode(depth - 1), pathIndex(depth - 1), nodeKey(left, 0), longest(left));
    key = nodeKey(right, 0);
    value = longest(right);
    child = right;
    depth--;
  }
}

/** Removes the hole that the path leads to. A node that becomes empty goes, too. */
export function treeRemove(space: usize): void {
  let depth = load<u32>(space, SPACE_HEIGHT) - 1;
  store<u32>(space, load<u32>(space, SPACE_HOLES) - 1, SPACE_HOLES);
  while (true) {
    const node = pathNode(depth);
    const n = nodeCount(node);
    shiftLeft(node, pathIndex(depth), n);
    store<u32>(node, n - 1, COUNT);
    if (n > 1 || !depth) {
      refreshAbove(depth);
      break;
    }
    heapFree(node, NODE_BYTES);
    depth--;
  }
  let root = <usize>load<u32>(space, SPACE_ROOT);
  let height = load<u32>(space, SPACE_HEIGHT);
  while (height > 1 && nodeCount(root) <= 1) {
    if (!nodeCount(root)) {
      // The last hole went: the root itself becomes the empty leaf.
      height = 1;
      break;
    }
    const only = nodeChild(root, 0);
    heapFree(root, NODE_BYTES);
    root = only;
    height--;
  }
  store<u32>(space, <u32>root, SPACE_ROOT);
  store<u32>(space, height, SPACE_HEIGHT);
}
