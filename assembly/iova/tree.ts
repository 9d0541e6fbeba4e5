/**
 * A B+ tree from key to value whose every inner entry also knows the largest value below it, so that a search for a
 * value large enough skips what has none, and whose inner keys are the exact first key below them. Keys and values are
 * below 2^63. The holes of an IOVA space are one: first granule to length.
 *
 * A node is one 512-byte block: header, keys, values, children. Above the leaves, an entry is the first key and the
 * largest value of the child. Unused keys hold the largest number, so that a 128-bit compare may look at all of them.
 */
import { heapAllocate, heapFree } from "../memory/heap";

/** The tree itself, a part of whoever owns it: u32 root node, height (1: the root is a leaf) and number of entries. */
export const TREE_BYTES: usize = 12;
const ROOT: usize = 0;
const HEIGHT: usize = 4;
const ENTRIES: usize = 8;

const NODE_BYTES: usize = 512;
export const FANOUT: u32 = 24;
const COUNT: usize = 0;
const KEYS: usize = 16;
const VALUES: usize = KEYS + <usize>FANOUT * 8;
const CHILDREN: usize = VALUES + <usize>FANOUT * 8;
const NO_KEY: u64 = 0x7fff_ffff_ffff_ffff;

/** Where the last search ended: per level (0 = root) the node and the index in it. 12^16 entries are more than fit. */
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
export function treeRoot(tree: usize): usize {
  return <usize>load<u32>(tree, ROOT);
}
// @ts-ignore: decorator
@inline
export function treeHeight(tree: usize): u32 {
  return load<u32>(tree, HEIGHT);
}
// @ts-ignore: decorator
@inline
export function treeEntries(tree: usize): u32 {
  return load<u32>(tree, ENTRIES);
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
// @ts-ignore: decorator
@inline
export function treeReserve(tree: usize): bool {
  const need = treeHeight(tree) + 1;
  return spareCount >= need || makeSpares(need);
}

function makeSpares(need: u32): bool {
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
export function treeInit(tree: usize): bool {
  const root = newNode();
  if (!root) return false;
  store<u32>(tree, <u32>root, ROOT);
  store<u32>(tree, 1, HEIGHT);
  store<u32>(tree, 0, ENTRIES);
  return true;
}

function freeBelow(node: usize, height: u32): void {
  if (height > 1) for (let i: u32 = 0; i < nodeCount(node); i++) freeBelow(nodeChild(node, i), height - 1);
  heapFree(node, NODE_BYTES);
}

export function treeRelease(tree: usize): void {
  freeBelow(treeRoot(tree), treeHeight(tree));
}

// Loops over a node's 24 words are written out, eight words a step: a loop of V8 checks for interrupts at every turn.

/** Which of eight words are more than `least`, a 16-bit lane each. */
// @ts-ignore: decorator
@inline
function eightAbove(words: usize, least: v128): v128 {
  const a = i64x2.gt_s(v128.load(words), least);
  const b = i64x2.gt_s(v128.load(words, 16), least);
  const c = i64x2.gt_s(v128.load(words, 32), least);
  const d = i64x2.gt_s(v128.load(words, 48), least);
  return i16x8.narrow_i32x4_s(v128.shuffle<i32>(a, b, 0, 2, 4, 6), v128.shuffle<i32>(c, d, 0, 2, 4, 6));
}

/** Bit i: value i of the node is at least `needed`, which is not 0. */
// @ts-ignore: decorator
@inline
export function nodeFitting(node: usize, needed: u64): u32 {
  // "Greater" is one instruction where "greater or equal" is three.
  const least = i64x2.splat(needed - 1);
  const values = node + VALUES;
  const low = i8x16.narrow_i16x8_s(eightAbove(values, least), eightAbove(values + 64, least));
  const high = i8x16.narrow_i16x8_s(eightAbove(values + 128, least), i64x2.splat(0));
  return <u32>i8x16.bitmask(low) | (<u32>i8x16.bitmask(high) << 16);
}

/** How many of eight words are less than `most`, negative, as two sums. */
// @ts-ignore: decorator
@inline
function eightBelow(words: usize, most: v128): v128 {
  const a = i64x2.add(i64x2.gt_s(most, v128.load(words)), i64x2.gt_s(most, v128.load(words, 16)));
  const b = i64x2.add(i64x2.gt_s(most, v128.load(words, 32)), i64x2.gt_s(most, v128.load(words, 48)));
  return i64x2.add(a, b);
}

/** How many keys of the node are at most `key`. */
// @ts-ignore: decorator
@inline
export function nodeRank(node: usize, key: u64): u32 {
  const most = i64x2.splat(key + 1);
  const keys = node + KEYS;
  const sum = i64x2.add(i64x2.add(eightBelow(keys, most), eightBelow(keys + 64, most)), eightBelow(keys + 128, most));
  return <u32>-(<i32>i64x2.extract_lane(sum, 0) + <i32>i64x2.extract_lane(sum, 1));
}

/** Nodes looked at since the module was made: what an operation costs, as tests see it. */
export let visits: u32 = 0;

// @ts-ignore: decorator
@inline
export function countVisits(nodes: u32): void {
  visits += nodes;
}

/**
 * Sets the path to the last entry whose key is at most `key`, and returns true; with no such entry returns false and
 * the path leads to where it would be: before the first.
 */
export function treeFind(tree: usize, key: u64): bool {
  const height = treeHeight(tree);
  countVisits(height);
  let node = treeRoot(tree);
  for (let depth: u32 = 0; depth + 1 < height; depth++) {
    const r = nodeRank(node, key);
    const index = r ? r - 1 : 0;
    setPath(depth, node, index);
    node = nodeChild(node, index);
  }
  const r = nodeRank(node, key);
  setPath(height - 1, node, r - 1);
  return r != 0;
}

// @ts-ignore: decorator
@inline
function larger(a: v128, b: v128): v128 {
  return v128.bitselect(a, b, i64x2.gt_s(a, b));
}

/** Largest of eight words, as two candidates. */
// @ts-ignore: decorator
@inline
function largestOfEight(words: usize): v128 {
  return larger(
    larger(v128.load(words), v128.load(words, 16)),
    larger(v128.load(words, 32), v128.load(words, 48)),
  );
}

/** Largest value of a node; values beyond its count are zero. */
// @ts-ignore: decorator
@inline
function largest(node: usize): u64 {
  const values = node + VALUES;
  const best = larger(larger(largestOfEight(values), largestOfEight(values + 64)), largestOfEight(values + 128));
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
    const value = largest(node);
    if (nodeKey(parent, index) == key && nodeValue(parent, index) == value) return;
    setEntry(parent, index, key, value);
  }
}

/** Value of the entry with this very key, 0 when there is none; the path is then as after `treeFind`. */
// @ts-ignore: decorator
@inline
export function treeValueAt(tree: usize, key: u64): u64 {
  if (!treeFind(tree, key)) return 0;
  const depth = treeHeight(tree) - 1;
  return nodeKey(pathNode(depth), pathIndex(depth)) == key ? nodeValue(pathNode(depth), pathIndex(depth)) : 0;
}

/** Replaces the entry that the path leads to. The new key must lie between its neighbours. */
export function treeReplace(tree: usize, key: u64, value: u64): void {
  const depth = treeHeight(tree) - 1;
  const node = pathNode(depth);
  const index = pathIndex(depth);
  const before = nodeValue(node, index);
  const sameKey = nodeKey(node, index) == key;
  setEntry(node, index, key, value);
  if (!depth) return;
  const above = nodeValue(pathNode(depth - 1), pathIndex(depth - 1));
  // Only a new largest value, the end of the old one, or a new first key is seen from above.
  if ((sameKey || index) && value <= above && before < above) return;
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

/** Inserts an entry behind the one that the path leads to (index -1: before the first). `treeReserve` came before. */
export function treeInsertAfterPath(tree: usize, newKey: u64, newValue: u64): void {
  let key = newKey;
  let value = newValue;
  let child: usize = 0;
  let depth = treeHeight(tree) - 1;
  store<u32>(tree, treeEntries(tree) + 1, ENTRIES);
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
        // Not the first key: above it only the largest value can change, and only grow.
        const above = nodeValue(pathNode(depth - 1), pathIndex(depth - 1));
        if (value <= above && !child) return;
      }
      refreshAbove(depth);
      return;
    }
    if (!depth) {
      const root = takeSpare();
      setEntry(root, 0, nodeKey(left, 0), largest(left));
      setEntry(root, 1, nodeKey(right, 0), largest(right));
      store<u32>(root, <u32>left, CHILDREN);
      store<u32>(root, <u32>right, CHILDREN + 4);
      store<u32>(root, 2, COUNT);
      store<u32>(tree, <u32>root, ROOT);
      store<u32>(tree, treeHeight(tree) + 1, HEIGHT);
      return;
    }
    setEntry(pathNode(depth - 1), pathIndex(depth - 1), nodeKey(left, 0), largest(left));
    key = nodeKey(right, 0);
    value = largest(right);
    child = right;
    depth--;
  }
}

/** Removes the entry that the path leads to. A node that becomes empty goes, too. */
export function treeRemove(tree: usize): void {
  let depth = treeHeight(tree) - 1;
  store<u32>(tree, treeEntries(tree) - 1, ENTRIES);
  while (true) {
    const node = pathNode(depth);
    const n = nodeCount(node);
    const index = pathIndex(depth);
    const value = nodeValue(node, index);
    shiftLeft(node, index, n);
    store<u32>(node, n - 1, COUNT);
    if (!depth) break;
    if (n > 1) {
      // Only the first key and the largest value are seen from above.
      if (!index || value == nodeValue(pathNode(depth - 1), pathIndex(depth - 1))) refreshAbove(depth);
      break;
    }
    heapFree(node, NODE_BYTES);
    depth--;
  }
  let root = treeRoot(tree);
  let height = treeHeight(tree);
  while (height > 1 && nodeCount(root) <= 1) {
    if (!nodeCount(root)) {
      // The last entry went: the root itself becomes the empty leaf.
      height = 1;
      break;
    }
    const only = nodeChild(root, 0);
    heapFree(root, NODE_BYTES);
    root = only;
    height--;
  }
  store<u32>(tree, <u32>root, ROOT);
  store<u32>(tree, height, HEIGHT);
}
