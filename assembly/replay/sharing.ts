/**
 * How many mappings use a page of an identity-mapped domain. A map from 2 MiB blocks to their uses: as a whole, and page
 * by page, so that a large mapping costs no more than its blocks. A page's uses are the sum of both.
 */
import { hashFind, hashHas, hashInsert, hashReserve, hashSetValue, hashValue } from "../memory/hash";
import { heapAllocate } from "../memory/heap";

const BLOCK_SHIFT: u64 = 9;
const BLOCK_PAGES: u64 = 1 << 9;
/** A block's value: uses of the whole block in bits 63:32, linear address of u32[512] uses by page in bits 31:0, or 0. */
const ONE_WHOLE: u64 = (<u64>1) << 32;
const COUNTS_BYTES: usize = <usize>BLOCK_PAGES * 4;

/** Linear address of the slot of a block, made without uses when there is none; 0 when memory is exhausted. */
function blockSlot(sharing: usize, block: u64): usize {
  const slot = hashFind(sharing, block);
  if (hashHas(slot)) return slot;
  if (!hashReserve(sharing, 1)) return 0;
  const made = hashFind(sharing, block);
  hashInsert(sharing, made, block, 0);
  return made;
}

/** Uses by page of a block, made when there are none; 0 when memory is exhausted. */
// @ts-ignore: decorator
@inline
function countsOf(slot: usize): usize {
  const counts = <usize>(<u32>hashValue(slot));
  return counts ? counts : makeCounts(slot);
}

function makeCounts(slot: usize): usize {
  const counts = heapAllocate(COUNTS_BYTES);
  if (counts) hashSetValue(slot, hashValue(slot) | <u64>counts);
  return counts;
}

/** One use more of every page of [first, end); false, some of them counted, when memory is exhausted. */
export function sharingAdd(sharing: usize, first: u64, end: u64): bool {
  for (let page = first; page < end; ) {
    const slot = blockSlot(sharing, page >> BLOCK_SHIFT);
    if (!slot) return false;
    const blockEnd = (page | (BLOCK_PAGES - 1)) + 1;
    if (!(page & (BLOCK_PAGES - 1)) && blockEnd <= end) {
      hashSetValue(slot, hashValue(slot) + ONE_WHOLE);
      page = blockEnd;
      continue;
    }
    const counts = countsOf(slot);
    if (!counts) return false;
    for (const stop = min<u64>(end, blockEnd); page < stop; page++) {
      const at = counts + (<usize>(page & (BLOCK_PAGES - 1)) << 2);
      store<u32>(at, load<u32>(at) + 1);
    }
  }
  return true;
}

/**
 * One use less of every page of [first, end), which were added before. Only the sums matter, so it does not matter which
 * part goes down; a whole block that is given back in parts becomes single pages first.
 */
export function sharingDrop(sharing: usize, first: u64, end: u64): bool {
  for (let page = first; page < end; ) {
    const slot = hashFind(sharing, page >> BLOCK_SHIFT);
    const blockEnd = (page | (BLOCK_PAGES - 1)) + 1;
    if (!(page & (BLOCK_PAGES - 1)) && blockEnd <= end && hashValue(slot) >= ONE_WHOLE) {
      hashSetValue(slot, hashValue(slot) - ONE_WHOLE);
      page = blockEnd;
      continue;
    }
    const counts = countsOf(slot);
    if (!counts) return false;
    for (const stop = min<u64>(end, blockEnd); page < stop; page++) {
      const at = counts + (<usize>(page & (BLOCK_PAGES - 1)) << 2);
      if (!load<u32>(at)) {
        hashSetValue(slot, hashValue(slot) - ONE_WHOLE);
        for (let i: usize = 0; i < COUNTS_BYTES; i += 4) store<u32>(counts + i, load<u32>(counts + i) + 1);
      }
      store<u32>(at, load<u32>(at) - 1);
    }
  }
  return true;
}

/** Whether any page of the aligned leaf [first, first + n) is in use. */
export function sharingAny(sharing: usize, first: u64, n: u64): bool {
  for (let page = first; page < first + n; page += BLOCK_PAGES) {
    const slot = hashFind(sharing, page >> BLOCK_SHIFT);
    const value = hashHas(slot) ? hashValue(slot) : 0;
    if (value >= ONE_WHOLE) return true;
    const counts = <usize>(<u32>value);
    if (!counts) continue;
    const from = counts + (<usize>(page & (BLOCK_PAGES - 1)) << 2);
    if (n == 1) return load<u32>(from) != 0;
    const to = from + (<usize>min<u64>(n, BLOCK_PAGES) << 2);
    for (let at = from; at < to; at += 4) if (load<u32>(at)) return true;
  }
  return false;
}

/** First page of [first, end) that is in use, or `end`. */
export function sharingNextUsed(sharing: usize, first: u64, end: u64): u64 {
  for (let page = first; page < end; ) {
    const slot = hashFind(sharing, page >> BLOCK_SHIFT);
    const value = hashHas(slot) ? hashValue(slot) : 0;
    if (value >= ONE_WHOLE) return page;
    const stop = min<u64>(end, (page | (BLOCK_PAGES - 1)) + 1);
    const counts = <usize>(<u32>value);
    for (; counts && page < stop; page++) {
      if (load<u32>(counts + (<usize>(page & (BLOCK_PAGES - 1)) << 2))) return page;
    }
    page = stop;
  }
  return end;
}
