/**
 * The pages of an identity-mapped domain: how many mappings use each, which ones the table maps, and the holes between
 * those. Physical addresses are scattered, so that what counts is the cost of a single page: a counter, a bit of a
 * bitmap, and a note that the block of 2 MiB has changed. What the figures need of all blocks together (where the
 * mapped pages begin and end, the longest hole between them) is brought up to date when it is asked for, along what has
 * changed.
 *
 * Blocks are the leaves of a radix tree with 64 children a node, which grows as high as the largest address needs.
 * Pages are counted in 4096 bytes.
 */
import { heapAllocate } from "../memory/heap";

const BLOCK_SHIFT: u64 = 9;
const BLOCK_PAGES: u64 = 1 << 9;
const CHILD_SHIFT: u64 = 6;

/** Nodes and blocks begin alike. u64: first mapped page below, one past the last (0: none), longest hole between. */
const FIRST: usize = 0;
const END: usize = 8;
const LONGEST: usize = 16;
/** u32: the node above, and whether the three fields are out of date. */
const PARENT: usize = 24;
const STALE: usize = 28;

/** Nodes. u64: which children there are; u32[64]: the children. */
const CHILD_MASK: usize = 32;
const CHILDREN: usize = 40;
const NODE_BYTES: usize = CHILDREN + 64 * 4;

/**
 * Blocks. u64: number; u32: uses of the whole block; linear address of u32[512] uses by page, 0 until needed; u64[8]:
 * bits of mapped pages.
 */
const NUMBER: usize = 32;
const WHOLE: usize = 40;
const COUNTS: usize = 44;
const MAPPED: usize = 48;
const BLOCK_BYTES: usize = MAPPED + <usize>BLOCK_PAGES / 8;
const COUNTS_BYTES: usize = <usize>BLOCK_PAGES * 4;

/** The occupancy itself. u32: the tree's root, its height, the block that was used last; u64: its number + 1. */
const ROOT: usize = 0;
const HEIGHT: usize = 4;
const LAST_BLOCK: usize = 8;
const LAST_NUMBER: usize = 16;
/** u64: mapped pages; bounds of them, which may be too wide once pages have been unmapped. */
const PAGES: usize = 24;
const LOW: usize = 32;
const HIGH: usize = 40;
const OCCUPANCY_BYTES: usize = 48;

/** Nothing mapped; 0 when memory is exhausted. */
export function occupancyCreate(): usize {
  const occupancy = heapAllocate(OCCUPANCY_BYTES);
  const root = heapAllocate(NODE_BYTES);
  if (!occupancy || !root) return 0;
  store<u32>(occupancy, <u32>root, ROOT);
  store<u32>(occupancy, 1, HEIGHT);
  store<u64>(occupancy, u64.MAX_VALUE, LOW);
  return occupancy;
}

// ---- Blocks ------------------------------------------------------------------------------------------------------

/** Adds a level above the root. */
function grow(occupancy: usize): bool {
  const root = heapAllocate(NODE_BYTES);
  if (!root) return false;
  const below = <usize>load<u32>(occupancy, ROOT);
  store<u32>(below, <u32>root, PARENT);
  store<u64>(root, 1, CHILD_MASK);
  store<u32>(root, <u32>below, CHILDREN);
  store<u32>(root, 1, STALE);
  store<u32>(occupancy, <u32>root, ROOT);
  store<u32>(occupancy, load<u32>(occupancy, HEIGHT) + 1, HEIGHT);
  return true;
}

/** The block of this number, made when there is none; 0 when memory is exhausted. */
function findBlock(occupancy: usize, number: u64): usize {
  while (number >> (<u64>load<u32>(occupancy, HEIGHT) * CHILD_SHIFT)) if (!grow(occupancy)) return 0;
  let node = <usize>load<u32>(occupancy, ROOT);
  for (let level = load<u32>(occupancy, HEIGHT); level--; ) {
    const child = (number >> (<u64>level * CHILD_SHIFT)) & 63;
    const at = node + (<usize>child << 2) + CHILDREN;
    let below = <usize>load<u32>(at);
    if (!below) {
      below = heapAllocate(level ? NODE_BYTES : BLOCK_BYTES);
      if (!below) return 0;
      store<u32>(below, <u32>node, PARENT);
      if (!level) store<u64>(below, number, NUMBER);
      store<u32>(at, <u32>below);
      store<u64>(node, load<u64>(node, CHILD_MASK) | ((<u64>1) << child), CHILD_MASK);
    }
    node = below;
  }
  store<u64>(occupancy, number + 1, LAST_NUMBER);
  store<u32>(occupancy, <u32>node, LAST_BLOCK);
  return node;
}

/** The block of a page, often that of the page before; made when there is none, 0 when memory is exhausted. */
// @ts-ignore: decorator
@inline
export function blockOf(occupancy: usize, page: u64): usize {
  const number = page >> BLOCK_SHIFT;
  return load<u64>(occupancy, LAST_NUMBER) == number + 1
    ? <usize>load<u32>(occupancy, LAST_BLOCK)
    : findBlock(occupancy, number);
}

/** First page behind the block of this page. */
// @ts-ignore: decorator
@inline
function blockEnd(page: u64): u64 {
  return (page | (BLOCK_PAGES - 1)) + 1;
}

// @ts-ignore: decorator
@inline
function isWhole(page: u64, end: u64): bool {
  return !(page & (BLOCK_PAGES - 1)) && end - page >= BLOCK_PAGES;
}

/** Whether [first, end) is a part of one block and not all of it. */
// @ts-ignore: decorator
@inline
export function isProperPart(first: u64, end: u64): bool {
  return first >> BLOCK_SHIFT == (end - 1) >> BLOCK_SHIFT && end - first < BLOCK_PAGES;
}

// ---- Uses --------------------------------------------------------------------------------------------------------

/** Uses by page of a block, made when there are none; 0 when memory is exhausted. */
// @ts-ignore: decorator
@inline
function countsOf(block: usize): usize {
  const counts = <usize>load<u32>(block, COUNTS);
  return counts ? counts : makeCounts(block);
}

function makeCounts(block: usize): usize {
  const counts = heapAllocate(COUNTS_BYTES);
  store<u32>(block, <u32>counts, COUNTS);
  return counts;
}

/** Linear address of a page's counter. */
// @ts-ignore: decorator
@inline
function counterAt(counts: usize, page: u64): usize {
  return counts + (<usize>(page & (BLOCK_PAGES - 1)) << 2);
}

/** One use more of one page of a block; false when memory is exhausted. */
// @ts-ignore: decorator
@inline
export function blockUse(block: usize, page: u64): bool {
  const counts = countsOf(block);
  if (!counts) return false;
  const at = counterAt(counts, page);
  store<u32>(at, load<u32>(at) + 1);
  return true;
}

/** One use less of one page of a block, which was used before; false when memory is exhausted. */
// @ts-ignore: decorator
@inline
export function blockDrop(block: usize, page: u64): bool {
  const counts = countsOf(block);
  if (!counts) return false;
  const at = counterAt(counts, page);
  if (!load<u32>(at)) spreadWhole(block, counts);
  store<u32>(at, load<u32>(at) - 1);
  return true;
}

/** Makes a use of a whole block one of each of its pages. */
function spreadWhole(block: usize, counts: usize): void {
  store<u32>(block, load<u32>(block, WHOLE) - 1, WHOLE);
  for (let i: usize = 0; i < COUNTS_BYTES; i += 4) store<u32>(counts + i, load<u32>(counts + i) + 1);
}

/** Whether a page of a block is in use. */
// @ts-ignore: decorator
@inline
export function blockIsUsed(block: usize, page: u64): bool {
  if (load<u32>(block, WHOLE)) return true;
  const counts = <usize>load<u32>(block, COUNTS);
  return counts != 0 && load<u32>(counterAt(counts, page)) != 0;
}

/** One use more of every page of [first, end); false, some of them counted, when memory is exhausted. */
export function occupancyUse(occupancy: usize, first: u64, end: u64): bool {
  for (let page = first; page < end; ) {
    const block = blockOf(occupancy, page);
    if (!block) return false;
    if (isWhole(page, end)) {
      store<u32>(block, load<u32>(block, WHOLE) + 1, WHOLE);
      page += BLOCK_PAGES;
      continue;
    }
    const counts = countsOf(block);
    if (!counts) return false;
    const stop = min<u64>(end, blockEnd(page));
    let at = counterAt(counts, page);
    page = stop;
    for (const last = counterAt(counts, stop - 1); at <= last; at += 4) store<u32>(at, load<u32>(at) + 1);
  }
  return true;
}

/**
 * One use less of every page of [first, end), which were used before; false when memory is exhausted. A page's uses are
 * those of its own and those of its whole block. Only the sum matters, so it does not matter which goes down; a whole
 * block that is given back in parts becomes single pages first.
 */
export function occupancyDrop(occupancy: usize, first: u64, end: u64): bool {
  for (let page = first; page < end; ) {
    const block = blockOf(occupancy, page);
    if (isWhole(page, end) && load<u32>(block, WHOLE)) {
      store<u32>(block, load<u32>(block, WHOLE) - 1, WHOLE);
      page += BLOCK_PAGES;
      continue;
    }
    const counts = countsOf(block);
    if (!counts) return false;
    const stop = min<u64>(end, blockEnd(page));
    let at = counterAt(counts, page);
    page = stop;
    for (const last = counterAt(counts, stop - 1); at <= last; at += 4) {
      if (!load<u32>(at)) spreadWhole(block, counts);
      store<u32>(at, load<u32>(at) - 1);
    }
  }
  return true;
}

/** First page of [first, end) that is in use, or `end`. Its blocks exist. */
export function occupancyNextUsed(occupancy: usize, first: u64, end: u64): u64 {
  for (let page = first; page < end; ) {
    const block = blockOf(occupancy, page);
    if (load<u32>(block, WHOLE)) return page;
    const stop = min<u64>(end, blockEnd(page));
    const counts = <usize>load<u32>(block, COUNTS);
    if (counts) for (; page < stop; page++) if (load<u32>(counterAt(counts, page))) return page;
    page = stop;
  }
  return end;
}

// ---- Mapped pages ------------------------------------------------------------------------------------------------

/** First page of [first, end) that is mapped (`mapped`) or is not, or `end`. Its blocks exist. */
export function occupancyNext(occupancy: usize, first: u64, end: u64, mapped: bool): u64 {
  for (let page = first; page < end; ) {
    const block = blockOf(occupancy, page);
    const word = load<u64>(wordAt(block, page));
    const wanted = (mapped ? word : ~word) >> (page & 63);
    if (wanted) return min<u64>(end, page + ctz<u64>(wanted));
    page = (page | 63) + 1;
  }
  return end;
}

/** Bits of a word for the pages from bit `from` on, `n` of them (1 to 64). */
// @ts-ignore: decorator
@inline
function bits(from: u64, n: u64): u64 {
  return (u64.MAX_VALUE >> (64 - n)) << from;
}

function markStale(node: usize): void {
  for (; node && !load<u32>(node, STALE); node = <usize>load<u32>(node, PARENT)) store<u32>(node, 1, STALE);
}

/** Linear address of the word that has the page's bit. */
// @ts-ignore: decorator
@inline
function wordAt(block: usize, page: u64): usize {
  return block + MAPPED + (<usize>((page & (BLOCK_PAGES - 1)) >> 6) << 3);
}

/** Whether a page of a block is mapped. */
// @ts-ignore: decorator
@inline
export function blockIsMapped(block: usize, page: u64): bool {
  return ((load<u64>(wordAt(block, page)) >> (page & 63)) & 1) != 0;
}

/** Notes that pages [first, end) of one word of a block, none of them mapped, are mapped now, or the reverse. */
// @ts-ignore: decorator
@inline
export function blockMark(occupancy: usize, block: usize, first: u64, end: u64, mapped: bool): void {
  if (!load<u32>(block, STALE)) markStale(block);
  const at = wordAt(block, first);
  const n = end - first;
  store<u64>(at, load<u64>(at) ^ bits(first & 63, n));
  store<u64>(occupancy, load<u64>(occupancy, PAGES) + (mapped ? n : -n), PAGES);
  if (!mapped) return;
  if (first < load<u64>(occupancy, LOW)) store<u64>(occupancy, first, LOW);
  if (end > load<u64>(occupancy, HIGH)) store<u64>(occupancy, end, HIGH);
}

/** The same for any pages whose blocks exist. */
export function occupancyMark(occupancy: usize, first: u64, end: u64, mapped: bool): void {
  for (let page = first; page < end; ) {
    const stop = min<u64>(end, (page | 63) + 1);
    blockMark(occupancy, blockOf(occupancy, page), page, stop, mapped);
    page = stop;
  }
}

// ---- Figures -----------------------------------------------------------------------------------------------------

// @ts-ignore: decorator
@inline
function setSummary(node: usize, first: u64, end: u64, longest: u64): void {
  store<u64>(node, first, FIRST);
  store<u64>(node, end, END);
  store<u64>(node, longest, LONGEST);
  store<u32>(node, 0, STALE);
}

function summarizeBlock(block: usize): void {
  let first: u64 = 0;
  let end: u64 = 0;
  let longest: u64 = 0;
  let base = load<u64>(block, NUMBER) << BLOCK_SHIFT;
  for (let at = block + MAPPED; at < block + BLOCK_BYTES; at += 8) {
    for (let word = load<u64>(at); word; ) {
      const begin = ctz<u64>(word);
      const run = ctz<u64>(~(word >> begin));
      if (end) longest = max<u64>(longest, base + begin - end);
      else first = base + begin;
      end = base + begin + run;
      word &= ~bits(begin, run);
    }
    base += 64;
  }
  setSummary(block, first, end, longest);
}

function summarize(node: usize, height: u32): void {
  if (!load<u32>(node, STALE)) return;
  if (!height) {
    summarizeBlock(node);
    return;
  }
  let first: u64 = 0;
  let end: u64 = 0;
  let longest: u64 = 0;
  for (let children = load<u64>(node, CHILD_MASK); children; children &= children - 1) {
    const child = <usize>load<u32>(node + (<usize>ctz<u64>(children) << 2), CHILDREN);
    summarize(child, height - 1);
    if (!load<u64>(child, END)) continue;
    longest = max<u64>(longest, load<u64>(child, LONGEST));
    if (end) longest = max<u64>(longest, load<u64>(child, FIRST) - end);
    else first = load<u64>(child, FIRST);
    end = load<u64>(child, END);
  }
  setSummary(node, first, end, longest);
}

/** The root, with its summary up to date; the bounds become exact. */
function summarized(occupancy: usize): usize {
  const root = <usize>load<u32>(occupancy, ROOT);
  summarize(root, load<u32>(occupancy, HEIGHT));
  const any = load<u64>(root, END) != 0;
  store<u64>(occupancy, any ? load<u64>(root, FIRST) : u64.MAX_VALUE, LOW);
  store<u64>(occupancy, load<u64>(root, END), HIGH);
  return root;
}

/** Pages from the first mapped one to the last when they may be more than `least`, 0 when they certainly are not. */
// @ts-ignore: decorator
@inline
export function occupancySpan(occupancy: usize, least: u64): u64 {
  const low = load<u64>(occupancy, LOW);
  const high = load<u64>(occupancy, HIGH);
  return high <= low || high - low <= least ? 0 : exactSpan(occupancy);
}

function exactSpan(occupancy: usize): u64 {
  const root = summarized(occupancy);
  return load<u64>(root, END) - load<u64>(root, FIRST);
}

/** Unmapped pages between the first mapped one and the last. */
export function occupancyFreeInSpan(occupancy: usize): u64 {
  return exactSpan(occupancy) - load<u64>(occupancy, PAGES);
}

/** Longest hole between mapped pages. */
export function occupancyLongestHole(occupancy: usize): u64 {
  return load<u64>(summarized(occupancy), LONGEST);
}
