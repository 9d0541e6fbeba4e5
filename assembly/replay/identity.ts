/**
 * The strategy that allocates nothing: IOVA = PA. Mappings may share pages, so a page is mapped when its first use
 * comes and unmapped when its last use goes; a leaf larger than a page stays until no page of it is in use.
 */
import {
  ACCESS_READ,
  ACCESS_WRITE,
  PIECE_BYTES,
  PIECE_LENGTH,
  PIECE_PHYSICAL,
  STATUS_MEMORY_EXHAUSTED,
  STATUS_OK,
  STATUS_OUTPUT_RANGE,
  TABLE_LEAVES,
  TABLE_OUTPUT_LAST,
} from "../layout";
import { mapRange } from "../table/map";
import { inputInRange } from "../table/table";
import { unmapRange } from "../table/unmap";
import { isMapped, reach, reachEnd } from "./leaf";
import {
  blockDrop,
  blockIsMapped,
  blockIsUsed,
  blockMark,
  blockOf,
  blockUse,
  isProperPart,
  occupancyDrop,
  occupancyMark,
  occupancyNext,
  occupancyNextUsed,
  occupancyUse,
} from "./occupancy";

// Most pieces of a scattered buffer are one page, so that a single page has a way of its own.

/** Counts one use more of a page and maps it unless it is. A status. */
// @ts-ignore: decorator
@inline
function mapPage<F>(table: usize, occupancy: usize, page: u64): i32 {
  const block = blockOf(occupancy, page);
  if (!block || !blockUse(block, page)) return STATUS_MEMORY_EXHAUSTED;
  if (blockIsMapped(block, page)) return STATUS_OK;
  const status = mapRange<F>(table, page << 12, page << 12, 4096, ACCESS_READ | ACCESS_WRITE);
  if (status == STATUS_OK) blockMark(occupancy, block, page, page + 1, true);
  return status;
}

/** Counts one use more of the pages [first, end) and maps what of them is not mapped yet. A status. */
function mapPages<F>(table: usize, occupancy: usize, first: u64, end: u64): i32 {
  if (!occupancyUse(occupancy, first, end)) return STATUS_MEMORY_EXHAUSTED;
  // A range that ends out of reach fails as a whole, whatever of it is mapped.
  const last = (end << 12) - 1;
  if (last > load<u64>(table, TABLE_OUTPUT_LAST) || !inputInRange<F>(table, last)) return STATUS_OUTPUT_RANGE;
  for (let page = first; page < end; ) {
    const runEnd = occupancyNext(occupancy, page, end, true);
    if (runEnd > page) {
      const status = mapRange<F>(table, page << 12, page << 12, (runEnd - page) << 12, ACCESS_READ | ACCESS_WRITE);
      if (status != STATUS_OK) return status;
      occupancyMark(occupancy, page, runEnd, true);
    }
    if (runEnd == end) break;
    page = occupancyNext(occupancy, runEnd, end, false);
  }
  return STATUS_OK;
}

/** Whether the table has no leaf larger than a page. */
// @ts-ignore: decorator
@inline
function hasPagesOnly(table: usize): bool {
  return !v128.any_true(v128.or(v128.load(table + TABLE_LEAVES, 16), v128.load(table + TABLE_LEAVES, 32)));
}

/** Counts one use less of a page and unmaps it when that was the last. A status. */
// @ts-ignore: decorator
@inline
function unmapPage<F>(table: usize, occupancy: usize, page: u64, flags: u32): i32 {
  const block = blockOf(occupancy, page);
  if (!blockDrop(block, page)) return STATUS_MEMORY_EXHAUSTED;
  if (blockIsUsed(block, page)) return STATUS_OK;
  if (!hasPagesOnly(table)) {
    unmapUnused<F>(table, occupancy, page, page + 1, flags);
  } else if (unmapRange<F>(table, page << 12, 4096, flags) == STATUS_OK) {
    blockMark(occupancy, block, page, page + 1, false);
  }
  return STATUS_OK;
}

/** Counts one use less of the pages [first, end) and unmaps every leaf that touches them and is not in use any more. */
function unmapPages<F>(table: usize, occupancy: usize, first: u64, end: u64, flags: u32): i32 {
  if (!occupancyDrop(occupancy, first, end)) return STATUS_MEMORY_EXHAUSTED;
  for (let page = first; page < end; ) {
    const runEnd = occupancyNextUsed(occupancy, page, end);
    if (runEnd > page) unmapUnused<F>(table, occupancy, page, runEnd, flags);
    page = runEnd + 1;
  }
  return STATUS_OK;
}

/** Whether [first, end), addresses, begins and ends where leaves do. */
function isWholeLeaves<F>(table: usize, first: u64, end: u64): bool {
  if (!isMapped<F>(table, first) || first & (reach - 1)) return false;
  return isMapped<F>(table, end - 1) && reachEnd(end - 1) == end;
}

/** Unmaps the leaves that touch [first, end), no page of which is in use, but those with a page in use elsewhere. */
function unmapUnused<F>(table: usize, occupancy: usize, first: u64, end: u64, flags: u32): void {
  // Usually the range is made of whole leaves, and goes in one call, as a driver's unmap would take it.
  const whole = hasPagesOnly(table) || isWholeLeaves<F>(table, first << 12, end << 12);
  if (whole && unmapRange<F>(table, first << 12, (end - first) << 12, flags) == STATUS_OK) {
    occupancyMark(occupancy, first, end, false);
    return;
  }
  for (let page = first; page < end; ) {
    const mapped = isMapped<F>(table, page << 12);
    const pages = reach >> 12;
    const start = page & ~(pages - 1);
    page = start + pages;
    if (!mapped || occupancyNextUsed(occupancy, start, page) != page) continue;
    if (unmapRange<F>(table, start << 12, reach, flags) == STATUS_OK) occupancyMark(occupancy, start, page, false);
  }
}

/** What is done with every run of pages of a list, decided at compile time. */
@unmanaged
class MapRun {
  // @ts-ignore: decorator
  @inline run<F>(table: usize, occupancy: usize, first: u64, end: u64, flags: u32): i32 {
    return end - first == 1 ? mapPage<F>(table, occupancy, first) : mapPages<F>(table, occupancy, first, end);
  }
}
@unmanaged
class UnmapRun {
  // @ts-ignore: decorator
  @inline run<F>(table: usize, occupancy: usize, first: u64, end: u64, flags: u32): i32 {
    return end - first == 1
      ? unmapPage<F>(table, occupancy, first, flags)
      : unmapPages<F>(table, occupancy, first, end, flags);
  }
}

/**
 * Does `A` to the pages of [offset, offset + bytes) of the pieces, all of them even when it fails. Lists often run
 * downwards, page by page: those are taken together as far as one table of pages reaches, where neither a larger leaf
 * nor a table that is covered whole can make a difference.
 */
// @ts-ignore: decorator
@inline
function eachRun<F, A>(
  table: usize,
  occupancy: usize,
  pieces: usize,
  n: u32,
  offset: u64,
  bytes: u64,
  flags: u32,
): i32 {
  let status: i32 = STATUS_OK;
  let first: u64 = 0;
  let end: u64 = 0;
  let pieceStart: u64 = 0;
  for (let i: u32 = 0; i <= n; i++) {
    let nextFirst: u64 = 0;
    let nextEnd: u64 = 0;
    if (i < n) {
      const piece = pieces + <usize>i * PIECE_BYTES;
      const pieceEnd = pieceStart + load<u64>(piece, PIECE_LENGTH);
      const from = max<u64>(offset, pieceStart);
      const to = min<u64>(offset + bytes, pieceEnd);
      const physical = load<u64>(piece, PIECE_PHYSICAL) - pieceStart;
      pieceStart = pieceEnd;
      if (from >= to) continue;
      nextFirst = (physical + from) >> 12;
      nextEnd = (physical + to) >> 12;
      if (nextEnd == first && isProperPart(nextFirst, end)) {
        first = nextFirst;
        continue;
      }
    }
    if (end) {
      const done = changetype<A>(0).run<F>(table, occupancy, first, end, flags);
      if (done == STATUS_MEMORY_EXHAUSTED) return done;
      if (done != STATUS_OK) status = done;
    }
    first = nextFirst;
    end = nextEnd;
  }
  return status;
}

/** Counts one use more of every page of the pieces and maps what is new; every piece is tried. A status. */
export function identityMap<F>(table: usize, occupancy: usize, pieces: usize, n: u32): i32 {
  return eachRun<F, MapRun>(table, occupancy, pieces, n, 0, i64.MAX_VALUE, 0);
}

/** Counts one use less of the pages of [offset, offset + bytes) of the pieces and unmaps what nobody uses. A status. */
export function identityUnmap<F>(
  table: usize,
  occupancy: usize,
  pieces: usize,
  n: u32,
  offset: u64,
  bytes: u64,
  flags: u32,
): i32 {
  return eachRun<F, UnmapRun>(table, occupancy, pieces, n, offset, bytes, flags);
}
