/**
 * The holes of a space once more, ordered by the residue of their first granule: finds the first hole in which a
 * congruent range fits, however many lie askew.
 *
 * Modulo 2^k, let a hole begin at residue a and be L granules long. A range of n granules that begins at residue r
 * fits in it if and only if a <= r and a + L >= r + n, or a + L >= r + n + 2^k. So an index for one k has a tree of all
 * holes with the value a + L, and one tree more for every DIGIT_BITS bits of the residue, which sorts the holes by the
 * residue's first digits, then by address. The residues up to r are a few ranges of equal first digits in each of these
 * trees, and within such a range the keys are in the order of addresses: one search for a value large enough each. That
 * is O(k) searches of O(log n), exact for every k and r.
 *
 * A space has no index until a search needs one, and drops it when the changes since the last search outnumber the
 * holes, so that making it once more costs no more a change than keeping it would: O(k log n).
 */
import { SPACE_RESIDUES, SPACE_TREE } from "../layout";
import { heapAllocate, heapFree } from "../memory/heap";
import { wantLength, wantMask, wantResidue } from "./request";
import { AnyKey, NONE, search } from "./search";
import {
  nodeChild,
  nodeCount,
  nodeKey,
  nodeValue,
  TREE_BYTES,
  treeEntries,
  treeHeight,
  treeInit,
  treeInsertAfterPath,
  treeRelease,
  treeRemove,
  treeReplace,
  treeReserve,
  treeRoot,
  treeValueAt,
} from "./tree";

/** Bits of the residue by which one tree sorts more than the one before. */
const DIGIT_BITS: u64 = 3;
/** First granules are below 2^54: the smallest granule is 1 KiB. */
const GRANULE_BITS: u64 = 54;
/** An index outlives at least so many changes without a search. */
const LEAST_IDLE: u32 = 4096;

/** One index of a space: the next one, log2 of its modulus, changes since its last search; then its trees. */
const NEXT: usize = 0;
const SHIFT: usize = 4;
const IDLE: usize = 8;
const TREES: usize = 16;

// @ts-ignore: decorator
@inline
function treesOf(shift: u64): usize {
  return 1 + <usize>((shift + DIGIT_BITS - 1) / DIGIT_BITS);
}

// @ts-ignore: decorator
@inline
function indexBytes(shift: u64): usize {
  return TREES + treesOf(shift) * TREE_BYTES;
}

// @ts-ignore: decorator
@inline
function treeOf(index: usize, level: usize): usize {
  return index + TREES + level * TREE_BYTES;
}

/** Bits of the residue that the tree of this level does not sort by. */
// @ts-ignore: decorator
@inline
function bitsBelow(shift: u64, level: usize): u64 {
  const sorted = <u64>level * DIGIT_BITS;
  return sorted < shift ? shift - sorted : 0;
}

/**
 * The address as a key among those whose residue begins with `digits`: how many addresses below it begin so. The
 * residue is `below` bits of rest below the digits, `shift` bits in all.
 */
// @ts-ignore: decorator
@inline
function rankAmong(digits: u64, address: u64, shift: u64, below: u64): u64 {
  const residue = address & (((<u64>1) << shift) - 1);
  const begin = digits << below;
  const within = residue > begin ? min<u64>(residue - begin, (<u64>1) << below) : 0;
  return ((address >> shift) << below) + within;
}

/** Where the keys of `digits` begin in a tree whose digits are shift - below bits. */
// @ts-ignore: decorator
@inline
function digitsKey(digits: u64, shift: u64, below: u64): u64 {
  return digits << (GRANULE_BITS - shift + below);
}

// ---- Keeping an index -------------------------------------------------------------------------------------------

/** Sets, adds or (value 0) removes one entry; false, nothing changed, when memory is exhausted. */
function setEntry(tree: usize, key: u64, value: u64): bool {
  if (!treeReserve(tree)) return false;
  const known = treeValueAt(tree, key);
  if (!value) treeRemove(tree);
  else if (known) treeReplace(tree, key, value);
  else treeInsertAfterPath(tree, key, value);
  return true;
}

/** The hole at `first` is now `length` granules long, 0: it is no more. False when memory is exhausted. */
function setHole(index: usize, first: u64, length: u64): bool {
  const shift = <u64>load<u32>(index, SHIFT);
  const residue = first & (((<u64>1) << shift) - 1);
  const value = length ? residue + length : 0;
  for (let level: usize = 0; level < treesOf(shift); level++) {
    const below = bitsBelow(shift, level);
    const digits = residue >> below;
    const key = digitsKey(digits, shift, below) + rankAmong(digits, first, shift, below);
    if (!setEntry(treeOf(index, level), key, value)) return false;
  }
  return true;
}

/** Adds every hole below one node of the space's own tree. */
function addHoles(index: usize, node: usize, height: u32): bool {
  for (let i: u32 = 0; i < nodeCount(node); i++) {
    const done =
      height > 1
        ? addHoles(index, nodeChild(node, i), height - 1)
        : setHole(index, nodeKey(node, i), nodeValue(node, i));
    if (!done) return false;
  }
  return true;
}

function release(index: usize): void {
  const shift = <u64>load<u32>(index, SHIFT);
  for (let level: usize = 0; level < treesOf(shift); level++) {
    if (treeRoot(treeOf(index, level))) treeRelease(treeOf(index, level));
  }
  heapFree(index, indexBytes(shift));
}

/** A new index of all holes, modulo 2^shift; 0 when memory is exhausted. */
function makeIndex(space: usize, shift: u64): usize {
  const index = heapAllocate(indexBytes(shift));
  if (!index) return 0;
  store<u32>(index, <u32>shift, SHIFT);
  let made = true;
  for (let level: usize = 0; made && level < treesOf(shift); level++) made = treeInit(treeOf(index, level));
  const holes = space + SPACE_TREE;
  if (!made || !addHoles(index, treeRoot(holes), treeHeight(holes))) {
    release(index);
    return 0;
  }
  store<u32>(index, load<u32>(space, SPACE_RESIDUES), NEXT);
  store<u32>(space, <u32>index, SPACE_RESIDUES);
  return index;
}

/** Tells the indexes of a space that the hole at `first` is now `length` granules long (0: no more). */
export function residuesSet(space: usize, first: u64, length: u64): void {
  let link = space + SPACE_RESIDUES;
  const limit = max<u32>(treeEntries(space + SPACE_TREE), LEAST_IDLE);
  while (true) {
    const index = <usize>load<u32>(link);
    if (!index) return;
    const idle = load<u32>(index, IDLE) + 1;
    store<u32>(index, idle, IDLE);
    if (idle > limit || !setHole(index, first, length)) {
      store<u32>(link, load<u32>(index, NEXT));
      release(index);
    } else {
      link = index + NEXT;
    }
  }
}

export function residuesRelease(space: usize): void {
  for (let index = <usize>load<u32>(space, SPACE_RESIDUES); index; ) {
    const next = <usize>load<u32>(index, NEXT);
    release(index);
    index = next;
  }
}

// ---- Searching ---------------------------------------------------------------------------------------------------

/** The index for the modulus of the request, made when there is none; 0 when memory is exhausted. */
export function residueIndex(space: usize): usize {
  const shift = popcnt<u64>(wantMask);
  let index = <usize>load<u32>(space, SPACE_RESIDUES);
  while (index && <u64>load<u32>(index, SHIFT) != shift) index = <usize>load<u32>(index, NEXT);
  if (!index) index = makeIndex(space, shift);
  if (index) store<u32>(index, 0, IDLE);
  return index;
}

/** First granule of the first hole that begins in [first, end) and holds the request, or NONE. */
export function residueFind<D>(index: usize, first: u64, end: u64): u64 {
  const down = changetype<D>(0).down();
  const shift = <u64>load<u32>(index, SHIFT);
  const needed = wantResidue + wantLength;
  if (first >= end) return NONE;
  let found = search<D, AnyKey>(treeOf(index, 0), needed + wantMask + 1, first, end, u32.MAX_VALUE);
  let digits: u64 = 0;
  for (let level: usize = 1; level < treesOf(shift); level++) {
    const below = bitsBelow(shift, level);
    const mine = wantResidue >> below;
    // Those with the same digits so far and a smaller last one; in the last tree the residue itself, too.
    digits <<= bitsBelow(shift, level - 1) - below;
    for (const stop = below ? mine : mine + 1; digits < stop; digits++) {
      if (found != NONE) {
        if (down) first = found + 1;
        else end = found;
      }
      if (first >= end) return found;
      const base = digitsKey(digits, shift, below);
      const key = search<D, AnyKey>(
        treeOf(index, level),
        needed,
        base + rankAmong(digits, first, shift, below),
        base + rankAmong(digits, end, shift, below),
        u32.MAX_VALUE,
      );
      if (key == NONE) continue;
      const rank = key - base;
      found = ((rank >> below) << shift) | (digits << below) | (rank & (((<u64>1) << below) - 1));
    }
  }
  return found;
}
