/**
 * Replays an operation stream (OPERATION_* of layout.ts) under one policy: every domain gets its own page table and IOVA
 * space, every mapping an IOVA, and the figures that strategies are compared by are counted as it goes. One call takes a
 * whole batch of operations.
 */
import { dispatch } from "../format/formats";
import { spaceAllocate, spaceCreate, spaceFree, spaceFreeInSpan, spaceGiveBack, spaceLongestHoleInSpan, spaceReserve, spaceTake } from "../iova/space";
import {
  ACCESS_READ,
  ACCESS_WRITE,
  ALIGN_GRANULE,
  ALIGN_SIZE_AND_ADDRESS,
  OPERATION_ADDRESS,
  OPERATION_BYTES,
  OPERATION_DOMAIN,
  OPERATION_KIND,
  OPERATION_LENGTH,
  OPERATION_MAP,
  OPERATION_PIECES,
  OPERATION_SLOT,
  PIECE_BYTES,
  PIECE_LENGTH,
  PIECE_PHYSICAL,
  POLICY_IDENTITY,
  POLICY_RECORDED,
  REPLAY_ALIGN,
  REPLAY_ALIGN_CAP,
  REPLAY_CONGRUENT,
  REPLAY_DIRECTION,
  REPLAY_FIRST,
  REPLAY_FORMAT,
  REPLAY_LAST,
  REPLAY_LEVELS,
  REPLAY_OUTPUT_BITS,
  REPLAY_PAGE_SIZES,
  REPLAY_POLICY,
  REPLAY_RESERVED_FIRST,
  REPLAY_RESERVED_LAST,
  REPLAY_RESULT_BYTES,
  REPLAY_SETUP_BYTES,
  REPLAY_TABLE_FLAGS,
  REPLAY_UNMAP_FLAGS,
  REQUEST_ALIGNMENT,
  REQUEST_BYTES,
  REQUEST_CONGRUENT,
  REQUEST_DIRECTION,
  REQUEST_FIRST,
  REQUEST_LAST,
  REQUEST_LENGTH,
  RESULT_ATTAINABLE,
  RESULT_ENTRIES_WRITTEN,
  RESULT_FAILED,
  RESULT_FAILED_BYTES,
  RESULT_FEWEST,
  RESULT_FRAGMENTATION_PEAK,
  RESULT_FRAGMENTATION_SAMPLES,
  RESULT_FRAGMENTATION_SUM,
  RESULT_LEAVES,
  RESULT_LEAVES_PEAK,
  RESULT_LEAVES_SINCE,
  RESULT_LEAVES_SUM,
  RESULT_LIVE,
  RESULT_LIVE_PEAK,
  RESULT_MAPPINGS,
  RESULT_OPERATIONS,
  RESULT_PAGES_PEAK,
  RESULT_SPAN_PEAK,
  RESULT_SPLIT,
  RESULT_TOTAL,
  RESULT_TOTAL_PEAK,
  RESULT_USED,
  SPACE_GRANULE_SHIFT,
  SPACE_HIGHEST,
  SPACE_LIVE,
  SPACE_LOWEST,
  SPACE_RESULT,
  STATUS_MEMORY_EXHAUSTED,
  STATUS_OK,
  STATUS_OVERLAP,
  TABLE_ENTRIES_WRITTEN,
  TABLE_LEAVES,
  TABLE_LEVELS,
  TABLE_ROOT,
  TABLE_WHAT,
  TABLE_WHERE,
} from "../layout";
import { hashInit } from "../memory/hash";
import { heapAllocate, heapDouble, heapFree } from "../memory/heap";
import { arenaPagesLive, physicalStored } from "../memory/physical";
import { mapRange } from "../table/map";
import { count, indexAt, levelShift, tableCreate } from "../table/table";
import { unmapRange } from "../table/unmap";
import { bestAddress, bestShift, bestStart, fewestLeaves } from "./congruence";
import { sharingAdd, sharingAny, sharingDrop, sharingNextUsed } from "./sharing";

// ---- The replay's own records --------------------------------------------------------------------------------------

/** After the setup and the results: domains and slots, arrays in heap blocks of their own. */
const RESULT: usize = <usize>REPLAY_SETUP_BYTES;
const DOMAINS: usize = RESULT + <usize>REPLAY_RESULT_BYTES;
const DOMAIN_CAPACITY: usize = DOMAINS + 4;
const SLOTS: usize = DOMAINS + 8;
const SLOT_CAPACITY: usize = DOMAINS + 12;
const REPLAY_BYTES: usize = DOMAINS + 16;

/** One domain: table, IOVA space, and for identity how its pages are shared. */
const DOMAIN_BYTES: usize = 32;
const DOMAIN_TABLE: usize = 0;
const DOMAIN_SPACE: usize = 4;
const DOMAIN_OPERATIONS: usize = 8;
const DOMAIN_SHARING: usize = 16;

/** One allocation: its IOVA, length and what is left of it; for identity its pieces. */
const SLOT_BYTES: usize = 40;
const SLOT_IOVA: usize = 0;
const SLOT_LENGTH: usize = 8;
const SLOT_LEFT: usize = 16;
const SLOT_STATE: usize = 24;
const SLOT_PIECES: usize = 28;
const SLOT_PIECE_COUNT: usize = 32;

/** The mapping could not be made; its unmaps are passed over. */
const STATE_FAILED: u32 = 1;
const STATE_MAPPED: u32 = 2;
/** Part of it could not be unmapped by itself; what is still mapped goes with the last part. */
const STATE_RAGGED: u32 = 3;

/** An IOVA space's fragmentation is sampled at every sixteenth operation on it. */
const SAMPLE_MASK: u32 = 15;

const request = memory.data(REQUEST_BYTES, 16);
/** TABLE_LEAVES of the operation's table before it. */
const leavesBefore = memory.data(48, 16);

/** A replay with this setup (REPLAY_* of layout.ts, copied); 0 when memory is exhausted. */
export function replayCreate(setup: usize): usize {
  const replay = heapAllocate(REPLAY_BYTES);
  if (!replay) return 0;
  memory.copy(replay, setup, REPLAY_SETUP_BYTES);
  const domains = heapAllocate(DOMAIN_BYTES << 2);
  const slots = heapAllocate(SLOT_BYTES << 6);
  if (!domains || !slots) return 0;
  store<u32>(replay, <u32>domains, DOMAINS);
  store<u32>(replay, 4, DOMAIN_CAPACITY);
  store<u32>(replay, <u32>slots, SLOTS);
  store<u32>(replay, 64, SLOT_CAPACITY);
  return replay;
}

/** Linear address of the results (RESULT_* of layout.ts). */
export function replayResult(replay: usize): usize {
  return replay + RESULT;
}

/** Table handle of a domain, 0 when nothing was ever mapped in it. */
export function replayTable(replay: usize, domain: u32): usize {
  if (domain >= load<u32>(replay, DOMAIN_CAPACITY)) return 0;
  return <usize>load<u32>(<usize>load<u32>(replay, DOMAINS) + <usize>domain * DOMAIN_BYTES, DOMAIN_TABLE);
}

/** IOVA that the policy gave to the allocation in this slot; all ones when it has none. */
export function replayIova(replay: usize, slot: u32): u64 {
  if (slot >= load<u32>(replay, SLOT_CAPACITY)) return u64.MAX_VALUE;
  const at = <usize>load<u32>(replay, SLOTS) + <usize>slot * SLOT_BYTES;
  return load<u32>(at, SLOT_STATE) >= STATE_MAPPED ? load<u64>(at, SLOT_IOVA) : u64.MAX_VALUE;
}

/** Linear address of an array, at least `need` elements long; 0 when memory is exhausted. */
// @ts-ignore: decorator
@inline
function arrayOf(replay: usize, array: usize, capacityAt: usize, elementBytes: usize, need: u32): usize {
  return load<u32>(replay + capacityAt) >= need
    ? <usize>load<u32>(replay + array)
    : growArray(replay, array, capacityAt, elementBytes, need);
}

function growArray(replay: usize, array: usize, capacityAt: usize, elementBytes: usize, need: u32): usize {
  let block = <usize>load<u32>(replay + array);
  let capacity = load<u32>(replay + capacityAt);
  while (capacity < need) {
    block = heapDouble(block, <usize>capacity * elementBytes);
    if (!block) return 0;
    capacity <<= 1;
    store<u32>(replay + array, <u32>block);
    store<u32>(replay + capacityAt, capacity);
  }
  return block;
}

/** The record of a domain, with table and space made; 0 when memory is exhausted. */
function openDomain(replay: usize, index: u32): usize {
  const domains = arrayOf(replay, DOMAINS, DOMAIN_CAPACITY, DOMAIN_BYTES, index + 1);
  if (!domains) return 0;
  const domain = domains + <usize>index * DOMAIN_BYTES;
  if (load<u32>(domain, DOMAIN_TABLE)) return domain;
  const space = spaceCreate(12, load<u64>(replay, REPLAY_FIRST), load<u64>(replay, REPLAY_LAST));
  if (!space) return 0;
  const reservedFirst = load<u64>(replay, REPLAY_RESERVED_FIRST);
  const reservedLast = load<u64>(replay, REPLAY_RESERVED_LAST);
  if (reservedFirst <= reservedLast) spaceReserve(space, reservedFirst, reservedLast);
  if (load<u32>(replay, REPLAY_POLICY) == POLICY_IDENTITY && !hashInit(domain + DOMAIN_SHARING)) return 0;
  const table = tableCreate(
    load<u32>(replay, REPLAY_FORMAT),
    load<u32>(replay, REPLAY_LEVELS),
    0,
    load<u32>(replay, REPLAY_OUTPUT_BITS),
    load<u64>(replay, REPLAY_PAGE_SIZES),
    load<u32>(replay, REPLAY_TABLE_FLAGS),
    u64.MAX_VALUE,
  );
  if (!table) return 0;
  store<u32>(domain, <u32>space, DOMAIN_SPACE);
  store<u32>(domain, <u32>table, DOMAIN_TABLE);
  return domain;
}

// ---- Choosing an IOVA ----------------------------------------------------------------------------------------------

function roundUpPowerOfTwo(length: u64): u64 {
  return length <= 1 ? 1 : <u64>1 << (64 - clz<u64>(length - 1));
}

/** Allocates for the policy; `bestStart` ran before. Returns a status; the IOVA is in the space's result. */
function choose(replay: usize, space: usize, length: u64, firstPhysical: u64): i32 {
  let alignment: u64 = 4096;
  let congruent: u64 = 0;
  const rule = load<u32>(replay, REPLAY_ALIGN);
  if (rule != ALIGN_GRANULE) {
    alignment = roundUpPowerOfTwo(length);
    // Linux's iommufd: no more than the lowest set bit of the address that the user gave.
    if (rule == ALIGN_SIZE_AND_ADDRESS && firstPhysical) alignment = min<u64>(alignment, firstPhysical & -firstPhysical);
    alignment = max<u64>(4096, min<u64>(alignment, (<u64>1) << <u64>load<u32>(replay, REPLAY_ALIGN_CAP)));
  }
  if (load<u32>(replay, REPLAY_CONGRUENT)) {
    alignment = (<u64>1) << bestShift;
    congruent = bestAddress;
  }
  store<u64>(request, length, REQUEST_LENGTH);
  store<u64>(request, alignment, REQUEST_ALIGNMENT);
  store<u64>(request, congruent, REQUEST_CONGRUENT);
  store<u64>(request, load<u64>(replay, REPLAY_FIRST), REQUEST_FIRST);
  store<u64>(request, load<u64>(replay, REPLAY_LAST), REQUEST_LAST);
  store<u32>(request, load<u32>(replay, REPLAY_DIRECTION), REQUEST_DIRECTION);
  return spaceAllocate(space, request);
}

// ---- Identity ------------------------------------------------------------------------------------------------------

/** Bytes that the entry which decides about an address covers: of the leaf, or of what is not present. */
let reach: u64 = 0;

/** Whether a leaf maps `iova`; `reach` is then its size, otherwise that of the aligned range without any mapping. */
function isMapped<F>(table: usize, iova: u64): bool {
  const f = changetype<F>(0);
  let entries = physicalStored(load<u64>(table, TABLE_ROOT));
  let level = load<u32>(table, TABLE_LEVELS);
  while (true) {
    const entry = load<u64>(entries + (<usize>indexAt<F>(iova, level) << 3));
    const present = (entry & f.presentMask()) != 0;
    if (!present || f.isLeaf(entry, level)) {
      reach = (<u64>1) << levelShift<F>(level);
      return present;
    }
    entries = physicalStored(f.tableAddress(entry));
    level--;
  }
}

/** One past the last address of the aligned range of `reach` bytes around `iova`. */
// @ts-ignore: decorator
@inline
function reachEnd(iova: u64): u64 {
  return (iova & ~(reach - 1)) + reach;
}

/** Maps what of [first, first + bytes) is not mapped yet. */
function identityMap<F>(domain: usize, first: u64, bytes: u64): i32 {
  const table = <usize>load<u32>(domain, DOMAIN_TABLE);
  const space = <usize>load<u32>(domain, DOMAIN_SPACE);
  const end = first + bytes;
  for (let at = first; at < end; ) {
    let runEnd = end;
    let status = mapRange<F>(table, at, at, end - at, ACCESS_READ | ACCESS_WRITE);
    if (status == STATUS_OVERLAP) {
      // Up to what is mapped already, and on behind that leaf.
      runEnd = load<u64>(table, TABLE_WHERE);
      if (runEnd > at) status = mapRange<F>(table, at, at, runEnd - at, ACCESS_READ | ACCESS_WRITE);
      else status = STATUS_OK;
    }
    if (status != STATUS_OK) return status;
    if (runEnd > at) spaceTake(space, at, runEnd - at);
    if (runEnd == end) return STATUS_OK;
    isMapped<F>(table, runEnd);
    at = reachEnd(runEnd);
  }
  return STATUS_OK;
}

/** Unmaps every leaf that touches [first, first + bytes) and of which no page is in use any more. */
function identityUnmap<F>(domain: usize, first: u64, bytes: u64, flags: u32): void {
  const sharing = domain + DOMAIN_SHARING;
  const end = (first + bytes) >> 12;
  for (let page = first >> 12; page < end; ) {
    const runEnd = sharingNextUsed(sharing, page, end);
    if (runEnd > page) unmapUnused<F>(domain, page << 12, runEnd << 12, flags);
    page = runEnd + 1;
  }
}

/** Unmaps the leaves that touch [first, end), no page of which is in use; a larger leaf may have pages in use elsewhere. */
function unmapUnused<F>(domain: usize, first: u64, end: u64, flags: u32): void {
  const table = <usize>load<u32>(domain, DOMAIN_TABLE);
  const space = <usize>load<u32>(domain, DOMAIN_SPACE);
  const sharing = domain + DOMAIN_SHARING;
  // Usually the range is made of whole leaves, and goes in one call, as a driver's unmap would take it.
  const whole = isMapped<F>(table, first) && !(first & (reach - 1)) && isMapped<F>(table, end - 1) && reachEnd(end - 1) == end;
  if (whole && unmapRange<F>(table, first, end - first, flags) == STATUS_OK) {
    spaceGiveBack(space, first, end - first);
    return;
  }
  for (let at = first; at < end; ) {
    const mapped = isMapped<F>(table, at);
    const size = reach;
    const start = at & ~(size - 1);
    at = start + size;
    if (!mapped || sharingAny(sharing, start >> 12, size >> 12)) continue;
    if (unmapRange<F>(table, start, size, flags) == STATUS_OK) spaceGiveBack(space, start, size);
  }
}

/** Counts one use more of every page of the pieces and maps what is new. */
function identityMapPieces<F>(domain: usize, pieces: usize, n: u32): i32 {
  const sharing = domain + DOMAIN_SHARING;
  let status: i32 = STATUS_OK;
  for (let i: u32 = 0; i < n; i++) {
    const piece = pieces + <usize>i * PIECE_BYTES;
    const physical = load<u64>(piece, PIECE_PHYSICAL);
    const bytes = load<u64>(piece, PIECE_LENGTH);
    if (!sharingAdd(sharing, physical >> 12, (physical + bytes) >> 12)) return STATUS_MEMORY_EXHAUSTED;
    const failed = identityMap<F>(domain, physical, bytes);
    if (failed != STATUS_OK) status = failed;
  }
  return status;
}

/** Counts one use less of the pages of [offset, offset + bytes) of the pieces and unmaps what nobody uses. */
function identityUnmapPieces<F>(domain: usize, pieces: usize, n: u32, offset: u64, bytes: u64, flags: u32): i32 {
  const sharing = domain + DOMAIN_SHARING;
  let pieceStart: u64 = 0;
  for (let i: u32 = 0; i < n; i++) {
    const piece = pieces + <usize>i * PIECE_BYTES;
    const length = load<u64>(piece, PIECE_LENGTH);
    const from = max<u64>(offset, pieceStart);
    const to = min<u64>(offset + bytes, pieceStart + length);
    if (from < to) {
      const first = load<u64>(piece, PIECE_PHYSICAL) + (from - pieceStart);
      if (!sharingDrop(sharing, first >> 12, (first + to - from) >> 12)) return STATUS_MEMORY_EXHAUSTED;
      identityUnmap<F>(domain, first, to - from, flags);
    }
    pieceStart += length;
  }
  return STATUS_OK;
}

// ---- One operation -------------------------------------------------------------------------------------------------

/** Unmaps whatever of [iova, iova + length) is still mapped, leaf by leaf. */
function unmapRest<F>(table: usize, iova: u64, length: u64, flags: u32): void {
  const end = iova + length;
  for (let at = iova; at < end; ) {
    const mapped = isMapped<F>(table, at);
    const next = reachEnd(at);
    if (mapped) unmapRange<F>(table, next - reach, reach, flags);
    at = next;
  }
}

/** Maps one allocation; returns a status, and when it failed nothing is left of it. */
function mapAllocation<F>(replay: usize, domain: usize, slot: usize, operation: usize, pieces: usize): i32 {
  const table = <usize>load<u32>(domain, DOMAIN_TABLE);
  const space = <usize>load<u32>(domain, DOMAIN_SPACE);
  const length = load<u64>(operation, OPERATION_LENGTH);
  const n = load<u32>(operation, OPERATION_PIECES);
  const policy = load<u32>(replay, REPLAY_POLICY);
  const result = replay + RESULT;
  const attainable = bestStart<F>(table, pieces, n, length);

  let iova = load<u64>(operation, OPERATION_ADDRESS);
  if (policy == POLICY_IDENTITY) {
    iova = load<u64>(pieces, PIECE_PHYSICAL);
    const kept = heapAllocate(<usize>n * PIECE_BYTES);
    if (!kept) return STATUS_MEMORY_EXHAUSTED;
    memory.copy(kept, pieces, <usize>n * PIECE_BYTES);
    store<u32>(slot, <u32>kept, SLOT_PIECES);
    store<u32>(slot, n, SLOT_PIECE_COUNT);
    const status = identityMapPieces<F>(domain, pieces, n);
    if (status != STATUS_OK) {
      if (status == STATUS_MEMORY_EXHAUSTED) return status;
      identityUnmapPieces<F>(domain, pieces, n, 0, length, load<u32>(replay, REPLAY_UNMAP_FLAGS));
      heapFree(kept, <usize>n * PIECE_BYTES);
      return status;
    }
  } else {
    const placed =
      policy == POLICY_RECORDED
        ? spaceTake(space, iova, length)
        : choose(replay, space, length, load<u64>(pieces, PIECE_PHYSICAL));
    if (placed != STATUS_OK) return placed;
    if (policy != POLICY_RECORDED) {
      iova = load<u64>(space, SPACE_RESULT) << <u64>load<u32>(space, SPACE_GRANULE_SHIFT);
    }
    let at = iova;
    for (let i: u32 = 0; i < n; i++) {
      const piece = pieces + <usize>i * PIECE_BYTES;
      const bytes = load<u64>(piece, PIECE_LENGTH);
      const status = mapRange<F>(table, at, load<u64>(piece, PIECE_PHYSICAL), bytes, ACCESS_READ | ACCESS_WRITE);
      if (status != STATUS_OK) {
        if (at != iova) unmapRange<F>(table, iova, at - iova, load<u32>(replay, REPLAY_UNMAP_FLAGS));
        if (policy == POLICY_RECORDED) spaceGiveBack(space, iova, length);
        else spaceFree(space, iova);
        return status;
      }
      at += bytes;
    }
  }
  store<u64>(slot, iova, SLOT_IOVA);
  count(result, RESULT_FEWEST, fewestLeaves<F>(table, length, load<u32>(table, TABLE_LEVELS)));
  count(result, RESULT_ATTAINABLE, attainable);
  return STATUS_OK;
}

/** Unmaps part of an allocation, or all; STATUS_MEMORY_EXHAUSTED is the only failure. */
function unmapAllocation<F>(replay: usize, domain: usize, slot: usize, offset: u64, length: u64): i32 {
  const table = <usize>load<u32>(domain, DOMAIN_TABLE);
  const space = <usize>load<u32>(domain, DOMAIN_SPACE);
  const policy = load<u32>(replay, REPLAY_POLICY);
  const flags = load<u32>(replay, REPLAY_UNMAP_FLAGS);
  const left = load<u64>(slot, SLOT_LEFT) - length;
  store<u64>(slot, left, SLOT_LEFT);
  if (policy == POLICY_IDENTITY) {
    const pieces = <usize>load<u32>(slot, SLOT_PIECES);
    const n = load<u32>(slot, SLOT_PIECE_COUNT);
    const dropped = identityUnmapPieces<F>(domain, pieces, n, offset, length, flags);
    if (!left) heapFree(pieces, <usize>n * PIECE_BYTES);
    return dropped;
  }
  const iova = load<u64>(slot, SLOT_IOVA);
  const status = unmapRange<F>(table, iova + offset, length, flags);
  if (status != STATUS_OK || load<u64>(table, TABLE_WHAT) != length) {
    count(replay + RESULT, RESULT_SPLIT, 1);
    store<u32>(slot, STATE_RAGGED, SLOT_STATE);
  }
  if (!left && load<u32>(slot, SLOT_STATE) == STATE_RAGGED) {
    unmapRest<F>(table, iova, load<u64>(slot, SLOT_LENGTH), flags);
  }
  if (policy == POLICY_RECORDED) spaceGiveBack(space, iova + offset, length);
  else if (!left) spaceFree(space, iova);
  return STATUS_OK;
}

// @ts-ignore: decorator
@inline
function raise(result: usize, at: usize, value: u64): void {
  if (value > load<u64>(result + at)) store<u64>(result + at, value);
}

function sampleFragmentation(result: usize, space: usize): void {
  const free = spaceFreeInSpan(space);
  const fragmentation: f64 = free ? 1 - <f64>spaceLongestHoleInSpan(space) / <f64>free : 0;
  store<f64>(result, load<f64>(result, RESULT_FRAGMENTATION_SUM) + fragmentation, RESULT_FRAGMENTATION_SUM);
  if (fragmentation > load<f64>(result, RESULT_FRAGMENTATION_PEAK)) {
    store<f64>(result, fragmentation, RESULT_FRAGMENTATION_PEAK);
  }
  count(result, RESULT_FRAGMENTATION_SAMPLES, 1);
}

/** Leaves of one level changed by an operation: brings the totals over all domains up to date. */
function countLeaves(result: usize, level: u32, before: u64, after: u64): void {
  const at = result + (<usize>level << 3);
  const operations = load<u64>(result, RESULT_OPERATIONS);
  const leaves = load<u64>(at, RESULT_LEAVES);
  // The sum over operations grows only when the number changes; `replaySummarize` adds what is still owed.
  const owed = leaves * (operations - load<u64>(at, RESULT_LEAVES_SINCE));
  store<u64>(at, load<u64>(at, RESULT_LEAVES_SUM) + owed, RESULT_LEAVES_SUM);
  store<u64>(at, operations, RESULT_LEAVES_SINCE);
  const changed = leaves + after - before;
  store<u64>(at, changed, RESULT_LEAVES);
  raise(at, RESULT_LEAVES_PEAK, changed);
}

function runBatch<F>(replay: usize, operations: usize, total: u32, pieces: usize): i32 {
  const result = replay + RESULT;
  const largest = changetype<F>(0).leafSizes();
  const levels = load<u32>(replay, REPLAY_LEVELS);
  let piece = pieces;
  for (let i: u32 = 0; i < total; i++) {
    const operation = operations + <usize>i * OPERATION_BYTES;
    const domain = openDomain(replay, load<u32>(operation, OPERATION_DOMAIN));
    const slotIndex = load<u32>(operation, OPERATION_SLOT);
    const slots = arrayOf(replay, SLOTS, SLOT_CAPACITY, SLOT_BYTES, slotIndex + 1);
    if (!domain || !slots) return STATUS_MEMORY_EXHAUSTED;
    const slot = slots + <usize>slotIndex * SLOT_BYTES;
    const table = <usize>load<u32>(domain, DOMAIN_TABLE);
    const space = <usize>load<u32>(domain, DOMAIN_SPACE);
    const length = load<u64>(operation, OPERATION_LENGTH);
    v128.store(leavesBefore, v128.load(table + TABLE_LEAVES));
    v128.store(leavesBefore, v128.load(table + TABLE_LEAVES, 16), 16);
    v128.store(leavesBefore, v128.load(table + TABLE_LEAVES, 32), 32);
    const isMap = load<u32>(operation, OPERATION_KIND) == OPERATION_MAP;
    if (isMap) {
      const status = mapAllocation<F>(replay, domain, slot, operation, piece);
      if (status == STATUS_MEMORY_EXHAUSTED) return status;
      const mapped = status == STATUS_OK;
      store<u64>(slot, length, SLOT_LENGTH);
      store<u64>(slot, length, SLOT_LEFT);
      store<u32>(slot, mapped ? STATE_MAPPED : STATE_FAILED, SLOT_STATE);
      count(result, RESULT_MAPPINGS, 1);
      if (mapped) {
        count(result, RESULT_LIVE, length);
        raise(result, RESULT_LIVE_PEAK, load<u64>(result, RESULT_LIVE));
      } else {
        count(result, RESULT_FAILED, 1);
        count(result, RESULT_FAILED_BYTES, length);
      }
      piece += <usize>load<u32>(operation, OPERATION_PIECES) * PIECE_BYTES;
    } else if (load<u32>(slot, SLOT_STATE) >= STATE_MAPPED) {
      const status = unmapAllocation<F>(replay, domain, slot, load<u64>(operation, OPERATION_ADDRESS), length);
      if (status != STATUS_OK) return status;
      count(result, RESULT_LIVE, -length);
    }

    let made: u64 = 0;
    for (let level: u32 = 1; level <= levels; level++) {
      // Levels that never hold a leaf are no business of a loop that runs for every operation.
      if (!((largest >> levelShift<F>(level)) & 1)) continue;
      const before = load<u64>(leavesBefore + (<usize>level << 3));
      const after = load<u64>(table + (<usize>level << 3), TABLE_LEAVES);
      if (before == after) continue;
      countLeaves(result, level, before, after);
      made += after - before;
    }
    store<u64>(result, load<u64>(result, RESULT_TOTAL) + made, RESULT_TOTAL);
    count(result, RESULT_OPERATIONS, 1);
    if (isMap) {
      count(result, RESULT_USED, made);
      raise(result, RESULT_TOTAL_PEAK, load<u64>(result, RESULT_TOTAL));
      raise(result, RESULT_PAGES_PEAK, <u64>arenaPagesLive());
      if (load<u64>(space, SPACE_LIVE)) {
        raise(result, RESULT_SPAN_PEAK, (load<u64>(space, SPACE_HIGHEST) - load<u64>(space, SPACE_LOWEST)) << 12);
      }
    }
    const operationsHere = load<u32>(domain, DOMAIN_OPERATIONS) + 1;
    store<u32>(domain, operationsHere, DOMAIN_OPERATIONS);
    if (!(operationsHere & SAMPLE_MASK)) sampleFragmentation(result, space);
  }
  return STATUS_OK;
}

@unmanaged
class RunBatch {
  // @ts-ignore: decorator
  @inline run<F>(a: usize, b: usize, c: usize, d: usize): i32 { return runBatch<F>(a, b, <u32>c, d); }
}

/**
 * Replays `total` operations whose map operations take their pieces one behind the other from `pieces`. Returns
 * STATUS_MEMORY_EXHAUSTED when linear memory ends; what a policy cannot place is counted, not an error.
 */
export function replayRun(replay: usize, operations: usize, total: u32, pieces: usize): i32 {
  return dispatch<RunBatch>(load<u32>(replay, REPLAY_FORMAT), replay, operations, total, pieces);
}

/** Sums up what is counted per table. Call it once, when the replay is over. */
export function replaySummarize(replay: usize): void {
  let written: u64 = 0;
  for (let i: u32 = 0; i < load<u32>(replay, DOMAIN_CAPACITY); i++) {
    const table = replayTable(replay, i);
    if (!table) continue;
    written += load<u64>(table, TABLE_ENTRIES_WRITTEN);
    const domain = <usize>load<u32>(replay, DOMAINS) + <usize>i * DOMAIN_BYTES;
    // A space too short-lived to be sampled on the way is sampled once.
    if (load<u32>(domain, DOMAIN_OPERATIONS) <= SAMPLE_MASK) {
      sampleFragmentation(replay + RESULT, <usize>load<u32>(domain, DOMAIN_SPACE));
    }
  }
  store<u64>(replay + RESULT, written, RESULT_ENTRIES_WRITTEN);
  for (let level: u32 = 1; level <= load<u32>(replay, REPLAY_LEVELS); level++) {
    const leaves = load<u64>(replay + RESULT + (<usize>level << 3), RESULT_LEAVES);
    countLeaves(replay + RESULT, level, leaves, leaves);
  }
}
