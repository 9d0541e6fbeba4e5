/** First entry of a tree in a direction, within a window of keys, whose value is large enough. */
import {
  countVisits,
  FANOUT,
  nodeChild,
  nodeCount,
  nodeFitting,
  nodeKey,
  nodeRank,
  nodeValue,
  pathIndex,
  pathNode,
  setPath,
  treeHeight,
  treeRoot,
} from "./tree";

/** Which way a search runs, decided at compile time. */
@unmanaged
export class Downwards {
  // @ts-ignore: decorator
  @inline down(): bool { return true; }
}
@unmanaged
export class Upwards {
  // @ts-ignore: decorator
  @inline down(): bool { return false; }
}

/** What a search answers when nothing is found. */
export const NONE: u64 = u64.MAX_VALUE;
/** What `choose` answers of an entry that is no candidate at all: it does not try the caller's patience. */
export const NO_ROOM: u64 = u64.MAX_VALUE - 1;

/** Whether the last search gave up because `patience` candidates did not do. */
export let outOfPatience: bool = false;

/** A choice among entries: takes every one that lies in the window. */
@unmanaged
export class AnyKey {
  // @ts-ignore: decorator
  @inline choose<D>(key: u64, value: u64, first: u64, end: u64): u64 {
    return key >= first && key < end ? key : NO_ROOM;
  }
}

/**
 * What `C.choose` makes of the first entry in direction `D` whose value is at least `needed` (not 0) and which it does
 * not refuse; the path then leads to the entry. An entry may reach beyond its key: with the window [first, end), one
 * that begins below `first` is a candidate as long as the next begins above. At most `patience` may be refused.
 */
export function search<D, C>(tree: usize, needed: u64, first: u64, end: u64, patience: u32): u64 {
  const down = changetype<D>(0).down();
  const height = treeHeight(tree);
  outOfPatience = false;
  let depth: u32 = 0;
  let node = treeRoot(tree);
  // Downwards the entries below `index` are still to come, upwards those from `index` on.
  let index: u32 = down ? FANOUT : 0;
  countVisits(1);
  while (true) {
    const n = nodeCount(node);
    let candidates = nodeFitting(node, needed);
    if (down) {
      // Whatever is still to come ends where the entry behind it begins.
      if (index < n && nodeKey(node, index) <= first) return NONE;
      candidates &= ((<u32>1) << index) - 1;
    } else {
      candidates &= (<u32>-1) << index;
    }
    if (!candidates) {
      if (!depth) return NONE;
      depth--;
      node = pathNode(depth);
      index = pathIndex(depth) + (down ? 0 : 1);
      countVisits(1);
      continue;
    }
    const at: u32 = down ? <u32>31 - clz<u32>(candidates) : ctz<u32>(candidates);
    if (nodeKey(node, at) >= end) {
      if (!down) return NONE;
      index = nodeRank(node, end - 1);
      continue;
    }
    if (!down && at + 1 < n && nodeKey(node, at + 1) <= first) {
      index = nodeRank(node, first) - 1;
      continue;
    }
    setPath(depth, node, at);
    if (depth + 1 < height) {
      node = nodeChild(node, at);
      depth++;
      index = down ? FANOUT : 0;
      countVisits(1);
      continue;
    }
    const chosen = changetype<C>(0).choose<D>(nodeKey(node, at), nodeValue(node, at), first, end);
    if (chosen < NO_ROOM) return chosen;
    if (chosen == NONE && !patience--) {
      outOfPatience = true;
      return NONE;
    }
    index = down ? at : at + 1;
  }
  return NONE;
}
