/**
 * Replays an operation stream (OPERATION_* of layout.ts) under one policy: every domain gets its own page table and IOVA
 * space, every mapping an IOVA, and the figures that strategies are compared by are counted as it goes. One call takes a
 * whole batch of operations.
 */
import { dispatch } from "../format/formats";
import {
  spaceCreate,
  spaceFreeInSpan,
  spaceGiveBack,
  spaceLongestHoleInSpan,
  spacePlace,
  spaceReserve,
  spaceTake,
} from "../iova/space";
import {
  ACCESS_READ,
  ACCESS_WRITE,
  ALIGN_GRANULE,
  ALIGN_SIZE_AND_ADDRESS,
  LINUX_FLUSH_STRICT,
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
  PLACEMENT_ADDRESS,
  PLACEMENT_BYTES,
  PLACEMENT_CHUNK_LENGTH,
  PLACEMENT_LEAST,
  PLACEMENT_MODULUS,
  POLICY_IDENTITY,
  POLICY_LINUX,
  POLICY_RECORDED,
  REPLAY_ALIGN,
  REPLAY_ALIGN_CAP,
  REPLAY_CONGRUENT,
  REPLAY_DIRECTION,
  REPLAY_FIRST,
  REPLAY_FLUSH,
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
  RESULT_UNMET,
  RESULT_USED,
  SPACE_HIGHEST,
  SPACE_LIVE,
  SPACE_LOWEST,
  SPACE_RESULT,
  STATUS_MEMORY_EXHAUSTED,
  STATUS_OK,
  STATUS_SPACE_EXHAUSTED,
  TABLE_ENTRIES_WRITTEN,
  TABLE_LEAVES,
  TABLE_LEVELS,
  TABLE_WHAT,
} from "../layout";
import { heapAllocate, heapDouble, heapFree } from "../memory/heap";
import { arenaPagesLive } from "../memory/physical";
import { mapRange } from "../table/map";
import { count, levelShift, tableCreate } from "../table/table";
import { unmapRange } from "../table/unmap";
import { CHUNK_BYTES, chunkEnd, chunkIndex, chunkPlace } from "./chunks";
import { bestAddress, bestShift, bestStart, fewestLeaves } from "./congruence";
import { identityMap, identityUnmap } from "./identity";
import { isMapped, reach, reachEnd } from "./leaf";
import { linuxChoose, linuxChosen, linuxFlushes, linuxGiveBack, linuxOpen } from "./linux";
import { occupancyCreate, occupancyFreeInSpan, occupancyLongestHole, occupancySpan } from "./occupancy";

// ---- The replay's own records --------------------------------------------------------------------------------------

/** After the setup and the results: domains, slots and chunks, arrays in heap blocks of their own. */
const RESULT: usize = <usize>REPLAY_SETUP_BYTES;
const DOMAINS: usize = RESULT + <usize>REPLAY_RESULT_BYTES;
const DOMAIN_CAPACITY: usize = DOMAINS + 4;
const SLOTS: usize = DOMAINS + 8;
const SLOT_CAPACITY: usize = DOMAINS + 12;
const CHUNKS: usize = DOMAINS + 16;
const CHUNK_CAPACITY: usize = DOMAINS + 20;
const REPLAY_BYTES: usize = DOMAINS + 24;

/**
 * One domain: its table and its IOVA space or, for identity, the occupancy of its pages; the other is 0. Where Linux's
 * allocator chooses, that, too; the space then keeps account of what is mapped.
 */
const DOMAIN_BYTES: usize = 24;
const DOMAIN_TABLE: usize = 0;
const DOMAIN_SPACE: usize = 4;
const DOMAIN_OCCUPANCY: usize = 8;
const DOMAIN_OPERATIONS: usize = 12;
/** 8 bytes: see linux.ts. */
const DOMAIN_LINUX: usize = 16;

/**
 * One allocation: its IOVA, length and what is left of it. For identity also its pieces, in a block that the slot
 * keeps; a single piece is what the slot begins with.
 */
const SLOT_BYTES: usize = 40;
const SLOT_IOVA: usize = PIECE_PHYSICAL;
const SLOT_LENGTH: usize = PIECE_LENGTH;
const SLOT_LEFT: usize = 16;
const SLOT_STATE: usize = 24;
const SLOT_PIECES: usize = 28;
const SLOT_PIECE_COUNT: usize = 32;
const SLOT_PIECE_CAPACITY: usize = 36;

/** The mapping could not be made; its unmaps are passed over. */
const STATE_FAILED: u32 = 1;
const STATE_MAPPED: u32 = 2;
/** Part of it could not be unmapped by itself; what is still mapped goes with the last part. */
const STATE_RAGGED: u32 = 3;

/** An IOVA space's fragmentation is sampled at every sixteenth operation on it. */
const SAMPLE_MASK: u32 = 15;

/** Columns of the batch: PLACEMENT_* of each operation, and u64 each for the IOVA it got; 0 where there are none. */
let placements: usize = 0;
let iovas: usize = 0;

/** TABLE_LEAVES of an operation's table before it, from level 2 on. */
const leavesBefore = memory.data(32, 16);

/** A replay with this setup (REPLAY_* of layout.ts, copied); 0 when memory is exhausted. */
export function replayCreate(setup: usize): usize {
  const replay = heapAllocate(REPLAY_BYTES);
  if (!replay) return 0;
  memory.copy(replay, setup, REPLAY_SETUP_BYTES);
  const domains = heapAllocate(DOMAIN_BYTES << 2);
  const slots = heapAllocate(SLOT_BYTES << 6);
  const chunks = heapAllocate(CHUNK_BYTES << 4);
  if (!domains || !slots || !chunks) return 0;
  store<u32>(replay, <u32>domains, DOMAINS);
  store<u32>(replay, 4, DOMAIN_CAPACITY);
  store<u32>(replay, <u32>slots, SLOTS);
  store<u32>(replay, 64, SLOT_CAPACITY);
  store<u32>(replay, <u32>chunks, CHUNKS);
  store<u32>(replay, 16, CHUNK_CAPACITY);
  return replay;
}

/** Linear address of the results (RESULT_* of layout.ts). */
export function replayResult(replay: usize): usize {
  return replay + RESULT;
}

/** One more than any domain of which something was mapped. */
export function replayDomains(replay: usize): u32 {
  let domains = load<u32>(replay, DOMAIN_CAPACITY);
  while (domains && !replayTable(replay, domains - 1)) domains--;
  return domains;
}

/** Table handle of a domain, 0 when nothing was ever mapped in it. */
export function replayTable(replay: usize, domain: u32): usize {
  if (domain >= load<u32>(replay, DOMAIN_CAPACITY)) return 0;
  return <usize>load<u32>(<usize>load<u32>(replay, DOMAINS) + <usize>domain * DOMAIN_BYTES, DOMAIN_TABLE);
}

/** Record of the allocation in this slot, 0 when it could not be mapped. */
export function replaySlot(replay: usize, slot: u32): usize {
  const at = <usize>load<u32>(replay, SLOTS) + <usize>slot * SLOT_BYTES;
  return load<u32>(at, SLOT_STATE) >= STATE_MAPPED ? at : 0;
}

/** Ranges of IOVAs of an allocation, one behind the other (PIECE_*): one, unless identity scattered it. */
export function slotPieces(replay: usize, slot: usize): usize {
  return slotPieceCount(replay, slot) == 1 ? slot : <usize>load<u32>(slot, SLOT_PIECES);
}

export function slotPieceCount(replay: usize, slot: usize): u32 {
  return load<u32>(replay, REPLAY_POLICY) == POLICY_IDENTITY ? load<u32>(slot, SLOT_PIECE_COUNT) : 1;
}

/** Whether all of an allocation was unmapped by its last unmap because a part could not be unmapped by itself. */
export function slotIsRagged(slot: usize): bool {
  return load<u32>(slot, SLOT_STATE) == STATE_RAGGED && !load<u64>(slot, SLOT_LEFT);
}

/** Flushes of the IOTLB by a domain's flush queue so far. */
export function replayFlushes(replay: usize, domain: u32): u32 {
  if (load<u32>(replay, REPLAY_FLUSH) == LINUX_FLUSH_STRICT || load<u32>(replay, REPLAY_POLICY) != POLICY_LINUX) return 0;
  return linuxFlushes(<usize>load<u32>(replay, DOMAINS) + <usize>domain * DOMAIN_BYTES + DOMAIN_LINUX);
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
// @ts-ignore: decorator
@inline
function domainOf(replay: usize, index: u32): usize {
  const domain = <usize>load<u32>(replay, DOMAINS) + <usize>index * DOMAIN_BYTES;
  return index < load<u32>(replay, DOMAIN_CAPACITY) && load<u32>(domain, DOMAIN_TABLE)
    ? domain
    : openDomain(replay, index);
}

function openDomain(replay: usize, index: u32): usize {
  const domains = arrayOf(replay, DOMAINS, DOMAIN_CAPACITY, DOMAIN_BYTES, index + 1);
  if (!domains) return 0;
  const domain = domains + <usize>index * DOMAIN_BYTES;
  if (load<u32>(replay, REPLAY_POLICY) == POLICY_IDENTITY) {
    const occupancy = occupancyCreate();
    if (!occupancy) return 0;
    store<u32>(domain, <u32>occupancy, DOMAIN_OCCUPANCY);
  } else {
    const space = spaceCreate(12, load<u64>(replay, REPLAY_FIRST), load<u64>(replay, REPLAY_LAST));
    if (!space) return 0;
    const reservedFirst = load<u64>(replay, REPLAY_RESERVED_FIRST);
    const reservedLast = load<u64>(replay, REPLAY_RESERVED_LAST);
    if (reservedFirst <= reservedLast) spaceReserve(space, reservedFirst, reservedLast);
    store<u32>(domain, <u32>space, DOMAIN_SPACE);
    if (load<u32>(replay, REPLAY_POLICY) == POLICY_LINUX && !linuxOpen(replay, domain + DOMAIN_LINUX)) return 0;
  }
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
  const mask = alignment - 1;
  return spacePlace(space, length >> 12, mask >> 12, (congruent & mask) >> 12, load<u32>(replay, REPLAY_DIRECTION));
}

/**
 * Allocates where the mapping's own placement asks, halving its modulus where there is no room; as `choose`. What it leaves
 * open a congruent policy chooses for the IOMMU, if the two agree.
 */
function choosePlaced(replay: usize, space: usize, length: u64, placement: usize): i32 {
  if (load<u64>(placement, PLACEMENT_CHUNK_LENGTH)) {
    const index = chunkIndex(placement);
    const chunks = arrayOf(replay, CHUNKS, CHUNK_CAPACITY, CHUNK_BYTES, index + 1);
    if (!chunks) return STATUS_MEMORY_EXHAUSTED;
    return chunkPlace(chunks, space, placement, load<u32>(replay, REPLAY_DIRECTION));
  }
  let residue = load<u64>(placement, PLACEMENT_ADDRESS) >> 12;
  const least = (load<u64>(placement, PLACEMENT_LEAST) - 1) >> 12;
  const wanted = (load<u64>(placement, PLACEMENT_MODULUS) - 1) >> 12;
  const direction = load<u32>(replay, REPLAY_DIRECTION);
  let mask = wanted;
  const best = (((<u64>1) << bestShift) - 1) >> 12;
  if (load<u32>(replay, REPLAY_CONGRUENT) && best > wanted && !(((bestAddress >> 12) ^ residue) & wanted)) {
    mask = best;
    residue = bestAddress >> 12;
  }
  let status = spacePlace(space, length >> 12, mask, residue & mask, direction);
  while (status == STATUS_SPACE_EXHAUSTED && mask > least) {
    mask >>= 1;
    status = spacePlace(space, length >> 12, mask, residue & mask, direction);
  }
  if (status == STATUS_OK && mask < wanted) count(replay + RESULT, RESULT_UNMET, 1);
  return status;
}

/** Gives back a range that `choose` or `choosePlaced` found; a chunk's goes with the chunk. */
function giveBackChosen(space: usize, iova: u64, length: u64, placement: usize): i32 {
  const inChunk = placement != 0 && load<u64>(placement, PLACEMENT_CHUNK_LENGTH) != 0;
  return inChunk ? STATUS_OK : spaceGiveBack(space, iova, length);
}

/** Has Linux's allocator choose; as `choose`. */
function chooseLinux(domain: usize, space: usize, length: u64, operation: usize): i32 {
  const status = linuxChoose(domain + DOMAIN_LINUX, operation, length);
  if (status != STATUS_OK) return status;
  store<u64>(space, linuxChosen, SPACE_RESULT);
  return spaceTake(space, linuxChosen << 12, length);
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

/** Keeps the pieces of an identity mapping for its unmaps; false when memory is exhausted. */
function keepPieces(slot: usize, pieces: usize, n: u32): bool {
  store<u32>(slot, n, SLOT_PIECE_COUNT);
  if (n == 1) return true;
  const capacity = load<u32>(slot, SLOT_PIECE_CAPACITY);
  if (capacity < n) {
    heapFree(<usize>load<u32>(slot, SLOT_PIECES), <usize>capacity * PIECE_BYTES);
    const block = heapAllocate(<usize>n * PIECE_BYTES);
    store<u32>(slot, <u32>block, SLOT_PIECES);
    store<u32>(slot, block ? n : 0, SLOT_PIECE_CAPACITY);
    if (!block) return false;
  }
  const kept = <usize>load<u32>(slot, SLOT_PIECES);
  for (let at: usize = 0; at < <usize>n * PIECE_BYTES; at += PIECE_BYTES) v128.store(kept + at, v128.load(pieces + at));
  return true;
}

/** Maps one allocation; returns a status, and when it failed nothing is left of it. */
function mapAllocation<F>(
  replay: usize,
  domain: usize,
  slot: usize,
  operation: usize,
  pieces: usize,
  placement: usize,
): i32 {
  const table = <usize>load<u32>(domain, DOMAIN_TABLE);
  const space = <usize>load<u32>(domain, DOMAIN_SPACE);
  const length = load<u64>(operation, OPERATION_LENGTH);
  const n = load<u32>(operation, OPERATION_PIECES);
  const policy = load<u32>(replay, REPLAY_POLICY);
  const flags = load<u32>(replay, REPLAY_UNMAP_FLAGS);
  const result = replay + RESULT;
  const attainable = bestStart<F>(table, pieces, n, length);

  let iova = load<u64>(operation, OPERATION_ADDRESS);
  if (policy == POLICY_IDENTITY) {
    iova = load<u64>(pieces, PIECE_PHYSICAL);
    const occupancy = <usize>load<u32>(domain, DOMAIN_OCCUPANCY);
    if (!keepPieces(slot, pieces, n)) return STATUS_MEMORY_EXHAUSTED;
    const status = identityMap<F>(table, occupancy, pieces, n);
    if (status != STATUS_OK) {
      if (status != STATUS_MEMORY_EXHAUSTED) identityUnmap<F>(table, occupancy, pieces, n, 0, length, flags);
      return status;
    }
  } else {
    const placed =
      policy == POLICY_RECORDED
        ? spaceTake(space, iova, length)
        : policy == POLICY_LINUX
          ? chooseLinux(domain, space, length, operation)
          : placement
            ? choosePlaced(replay, space, length, placement)
            : choose(replay, space, length, load<u64>(pieces, PIECE_PHYSICAL));
    if (placed != STATUS_OK) return placed;
    if (policy != POLICY_RECORDED) iova = load<u64>(space, SPACE_RESULT) << 12;
    let at = iova;
    for (let i: u32 = 0; i < n; i++) {
      const piece = pieces + <usize>i * PIECE_BYTES;
      const bytes = load<u64>(piece, PIECE_LENGTH);
      const status = mapRange<F>(table, at, load<u64>(piece, PIECE_PHYSICAL), bytes, ACCESS_READ | ACCESS_WRITE);
      if (status != STATUS_OK) {
        if (at != iova) unmapRange<F>(table, iova, at - iova, flags);
        giveBackChosen(space, iova, length, placement);
        if (policy == POLICY_LINUX) linuxGiveBack(domain + DOMAIN_LINUX, operation, iova, length, false);
        return status;
      }
      at += bytes;
    }
  }
  store<u64>(slot, iova, SLOT_IOVA);
  // What is shorter than a large leaf has no choice.
  const small = length >> levelShift<F>(2) == 0;
  const fewest = small ? attainable : fewestLeaves<F>(table, length, load<u32>(table, TABLE_LEVELS));
  count(result, RESULT_FEWEST, fewest);
  count(result, RESULT_ATTAINABLE, attainable);
  return STATUS_OK;
}

/** Unmaps part of an allocation, or all; STATUS_MEMORY_EXHAUSTED is the only failure. */
function unmapAllocation<F>(replay: usize, domain: usize, slot: usize, operation: usize, placement: usize): i32 {
  const offset = load<u64>(operation, OPERATION_ADDRESS);
  const length = load<u64>(operation, OPERATION_LENGTH);
  const table = <usize>load<u32>(domain, DOMAIN_TABLE);
  const space = <usize>load<u32>(domain, DOMAIN_SPACE);
  const policy = load<u32>(replay, REPLAY_POLICY);
  const flags = load<u32>(replay, REPLAY_UNMAP_FLAGS);
  const left = load<u64>(slot, SLOT_LEFT) - length;
  store<u64>(slot, left, SLOT_LEFT);
  if (policy == POLICY_IDENTITY) {
    const n = load<u32>(slot, SLOT_PIECE_COUNT);
    const pieces = n == 1 ? slot : <usize>load<u32>(slot, SLOT_PIECES);
    return identityUnmap<F>(table, <usize>load<u32>(domain, DOMAIN_OCCUPANCY), pieces, n, offset, length, flags);
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
  if (policy == POLICY_RECORDED) return spaceGiveBack(space, iova + offset, length);
  if (left) return STATUS_OK;
  const whole = load<u64>(slot, SLOT_LENGTH);
  if (policy == POLICY_LINUX) {
    const lazy = load<u32>(replay, REPLAY_FLUSH) != LINUX_FLUSH_STRICT;
    const given = linuxGiveBack(domain + DOMAIN_LINUX, operation, iova, whole, lazy);
    if (given != STATUS_OK) return given;
  }
  return giveBackChosen(space, iova, whole, placement);
}

// @ts-ignore: decorator
@inline
function raise(result: usize, at: usize, value: u64): void {
  if (value > load<u64>(result + at)) store<u64>(result + at, value);
}

function sampleFragmentation(result: usize, domain: usize): void {
  const space = <usize>load<u32>(domain, DOMAIN_SPACE);
  const occupancy = <usize>load<u32>(domain, DOMAIN_OCCUPANCY);
  const free = space ? spaceFreeInSpan(space) : occupancyFreeInSpan(occupancy);
  const longest = space ? spaceLongestHoleInSpan(space) : occupancyLongestHole(occupancy);
  const fragmentation: f64 = free ? 1 - <f64>longest / <f64>free : 0;
  store<f64>(result, load<f64>(result, RESULT_FRAGMENTATION_SUM) + fragmentation, RESULT_FRAGMENTATION_SUM);
  if (fragmentation > load<f64>(result, RESULT_FRAGMENTATION_PEAK)) {
    store<f64>(result, fragmentation, RESULT_FRAGMENTATION_PEAK);
  }
  count(result, RESULT_FRAGMENTATION_SAMPLES, 1);
}

/** Span of a domain's live addresses in bytes; 0 when it is certainly not more than `least`. */
// @ts-ignore: decorator
@inline
function spanOf(domain: usize, least: u64): u64 {
  const space = <usize>load<u32>(domain, DOMAIN_SPACE);
  if (!space) return occupancySpan(<usize>load<u32>(domain, DOMAIN_OCCUPANCY), least >> 12) << 12;
  return load<u64>(space, SPACE_LIVE) ? (load<u64>(space, SPACE_HIGHEST) - load<u64>(space, SPACE_LOWEST)) << 12 : 0;
}

/** Span in bytes of the widest domain as it is now. */
export function replaySpan(replay: usize): u64 {
  let widest: u64 = 0;
  for (let i: u32 = 0; i < load<u32>(replay, DOMAIN_CAPACITY); i++) {
    const domain = <usize>load<u32>(replay, DOMAINS) + <usize>i * DOMAIN_BYTES;
    if (load<u32>(domain, DOMAIN_TABLE)) widest = max<u64>(widest, spanOf(domain, widest));
  }
  return widest;
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

/** The same for all levels above the last; returns how many leaves they have more than before. */
function countLargeLeaves(result: usize, table: usize, levels: u32): u64 {
  let made: u64 = 0;
  for (let level: u32 = 2; level <= levels; level++) {
    const before = load<u64>(leavesBefore + (<usize>(level - 2) << 3));
    const after = load<u64>(table + (<usize>level << 3), TABLE_LEAVES);
    if (before != after) countLeaves(result, level, before, after);
    made += after - before;
  }
  return made;
}

function runBatch<F>(replay: usize, operations: usize, total: u32, pieces: usize): i32 {
  const result = replay + RESULT;
  const levels = load<u32>(replay, REPLAY_LEVELS);
  let piece = pieces;
  for (let i: u32 = 0; i < total; i++) {
    const operation = operations + <usize>i * OPERATION_BYTES;
    const domain = domainOf(replay, load<u32>(operation, OPERATION_DOMAIN));
    const slotIndex = load<u32>(operation, OPERATION_SLOT);
    const slots = arrayOf(replay, SLOTS, SLOT_CAPACITY, SLOT_BYTES, slotIndex + 1);
    if (!domain || !slots) return STATUS_MEMORY_EXHAUSTED;
    const slot = slots + <usize>slotIndex * SLOT_BYTES;
    const table = <usize>load<u32>(domain, DOMAIN_TABLE);
    const length = load<u64>(operation, OPERATION_LENGTH);
    const pagesBefore = load<u64>(table, TABLE_LEAVES + 8);
    const largeBefore = v128.load(table + TABLE_LEAVES, 16);
    const largerBefore = v128.load(table + TABLE_LEAVES, 32);
    const placement = placements ? placements + <usize>i * PLACEMENT_BYTES : 0;
    const isMap = load<u32>(operation, OPERATION_KIND) == OPERATION_MAP;
    if (isMap) {
      const status = mapAllocation<F>(replay, domain, slot, operation, piece, placement);
      if (status == STATUS_MEMORY_EXHAUSTED) return status;
      const mapped = status == STATUS_OK;
      if (iovas) store<u64>(iovas + (<usize>i << 3), mapped ? load<u64>(slot, SLOT_IOVA) : u64.MAX_VALUE);
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
      const status = unmapAllocation<F>(replay, domain, slot, operation, placement);
      if (status != STATUS_OK) return status;
      count(result, RESULT_LIVE, -length);
    }
    if (!isMap && placement) {
      const status = chunkEnd(<usize>load<u32>(replay, CHUNKS), <usize>load<u32>(domain, DOMAIN_SPACE), placement);
      if (status != STATUS_OK) return status;
    }

    const pagesAfter = load<u64>(table, TABLE_LEAVES + 8);
    let made = pagesAfter - pagesBefore;
    if (made) countLeaves(result, 1, pagesBefore, pagesAfter);
    const large = v128.xor(largeBefore, v128.load(table + TABLE_LEAVES, 16));
    const larger = v128.xor(largerBefore, v128.load(table + TABLE_LEAVES, 32));
    if (v128.any_true(v128.or(large, larger))) {
      v128.store(leavesBefore, largeBefore);
      v128.store(leavesBefore, largerBefore, 16);
      made += countLargeLeaves(result, table, levels);
    }
    store<u64>(result, load<u64>(result, RESULT_TOTAL) + made, RESULT_TOTAL);
    count(result, RESULT_OPERATIONS, 1);
    if (isMap) {
      count(result, RESULT_USED, made);
      raise(result, RESULT_TOTAL_PEAK, load<u64>(result, RESULT_TOTAL));
      raise(result, RESULT_PAGES_PEAK, <u64>arenaPagesLive());
      raise(result, RESULT_SPAN_PEAK, spanOf(domain, load<u64>(result, RESULT_SPAN_PEAK)));
    }
    const operationsHere = load<u32>(domain, DOMAIN_OPERATIONS) + 1;
    store<u32>(domain, operationsHere, DOMAIN_OPERATIONS);
    if (!(operationsHere & SAMPLE_MASK)) sampleFragmentation(result, domain);
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
 * @param wanted PLACEMENT_* of each operation, where the strategy looks at each mapping by itself; or 0
 * @param chosen u64 each for the IOVAs of the map operations, all ones where there is none; or 0
 */
export function replayRun(
  replay: usize,
  operations: usize,
  total: u32,
  pieces: usize,
  wanted: usize,
  chosen: usize,
): i32 {
  placements = wanted;
  iovas = chosen;
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
      sampleFragmentation(replay + RESULT, domain);
    }
  }
  store<u64>(replay + RESULT, written, RESULT_ENTRIES_WRITTEN);
  for (let level: u32 = 1; level <= load<u32>(replay, REPLAY_LEVELS); level++) {
    const leaves = load<u64>(replay + RESULT + (<usize>level << 3), RESULT_LEAVES);
    countLeaves(replay + RESULT, level, leaves, leaves);
  }
}
