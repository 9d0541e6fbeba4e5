/**
 * How many mappings use a page of an identity-mapped domain: a map from numbers to uses. So that a large mapping costs
 * no more than its large leaves, uses of a whole 2 MiB block are counted by block, and only the rest page by page.
 */
import { hashErase, hashFind, hashHas, hashInsert, hashReserve, hashSetValue, hashValue } from "../memory/hash";

const BLOCK_SHIFT: u64 = 9;
const BLOCK_MASK: u64 = (1 << 9) - 1;
/** Tells the keys apart: uses of a page; of a whole block; of single pages of a block, together. */
const WHOLE: u64 = (<u64>1) << 60;
const PARTS: u64 = (<u64>1) << 61;

function add(sharing: usize, key: u64): void {
  const slot = hashFind(sharing, key);
  if (hashHas(slot)) hashSetValue(slot, hashValue(slot) + 1);
  else hashInsert(sharing, slot, key, 1);
}

function drop(sharing: usize, key: u64): void {
  const slot = hashFind(sharing, key);
  const left = hashValue(slot) - 1;
  if (left) hashSetValue(slot, left);
  else hashErase(sharing, slot);
}

// @ts-ignore: decorator
@inline
function counted(sharing: usize, key: u64): bool {
  return hashHas(hashFind(sharing, key));
}

/** One use more of every page of [page, end); false, some of them counted, when memory is exhausted. */
export function sharingAdd(sharing: usize, first: u64, end: u64): bool {
  for (let page = first; page < end; ) {
    if (!hashReserve(sharing, 2)) return false;
    if (!(page & BLOCK_MASK) && page + BLOCK_MASK < end) {
      add(sharing, WHOLE | (page >> BLOCK_SHIFT));
      page += BLOCK_MASK + 1;
    } else {
      add(sharing, page);
      add(sharing, PARTS | (page >> BLOCK_SHIFT));
      page++;
    }
  }
  return true;
}

/**
 * One use less of every page of [first, end). What counts is the sum of a page's own uses and those of its block, so it
 * does not matter which of the two goes down; a block that is given back in parts becomes single pages first.
 */
export function sharingDrop(sharing: usize, first: u64, end: u64): bool {
  for (let page = first; page < end; ) {
    const block = page >> BLOCK_SHIFT;
    if (!(page & BLOCK_MASK) && page + BLOCK_MASK < end && counted(sharing, WHOLE | block)) {
      drop(sharing, WHOLE | block);
      page += BLOCK_MASK + 1;
      continue;
    }
    if (!counted(sharing, page)) {
      if (!hashReserve(sharing, BLOCK_MASK + 2)) return false;
      drop(sharing, WHOLE | block);
      for (let single: u64 = 0; single <= BLOCK_MASK; single++) {
        add(sharing, (block << BLOCK_SHIFT) | single);
        add(sharing, PARTS | block);
      }
    }
    drop(sharing, page);
    drop(sharing, PARTS | block);
    page++;
  }
  return true;
}

/** Whether any page of the aligned leaf [first, first + n) is in use. */
export function sharingAny(sharing: usize, first: u64, n: u64): bool {
  if (n <= BLOCK_MASK) {
    if (counted(sharing, WHOLE | (first >> BLOCK_SHIFT))) return true;
    for (let page = first; page < first + n; page++) if (counted(sharing, page)) return true;
    return false;
  }
  for (let block = first >> BLOCK_SHIFT; block < (first + n) >> BLOCK_SHIFT; block++) {
    if (counted(sharing, WHOLE | block) || counted(sharing, PARTS | block)) return true;
  }
  return false;
}
