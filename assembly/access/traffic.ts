/**
 * What devices do between map and unmap, while operations are replayed: every mapping is accessed once through, as a stream
 * says, as soon as it is there; an unmap invalidates what Linux invalidates. One call takes a batch of operations. Fields:
 * TRAFFIC_* of layout.ts.
 */
import { cacheInvalidate } from "../cache/set-associative";
import {
  ACCESS_BATCH_COUNT,
  ACCESS_BATCH_IOVA,
  ACCESS_BATCH_WHAT,
  ACCESS_BYTES_MASK,
  ACCESS_DEVICE_SHIFT,
  ACCESS_IS_WRITE,
  DEVICE_FIRST,
  DEVICE_FIRST_TAG,
  DEVICE_IOTLB,
  DEVICE_SECOND,
  DEVICE_SECOND_TAG,
  OPERATION_ADDRESS,
  OPERATION_BYTES,
  OPERATION_DOMAIN,
  OPERATION_KIND,
  OPERATION_LENGTH,
  OPERATION_MAP,
  OPERATION_PIECES,
  OPERATION_SLOT,
  PIECE_BYTES,
  PLACEMENT_BYTES,
  PIECE_LENGTH,
  PIECE_PHYSICAL,
  SIMULATOR_DEVICES,
  SIMULATOR_FIRST_CACHES,
  SIMULATOR_IOTLBS,
  SIMULATOR_IOTLB_COUNT,
  SIMULATOR_SECOND_CACHES,
  STATUS_MEMORY_EXHAUSTED,
  STATUS_OK,
  STREAM_BASE,
  STREAM_CURSOR,
  STREAM_KIND,
  STREAM_LENGTH,
  STREAM_SEQUENTIAL,
  STREAM_WHAT,
  TRAFFIC_BATCH,
  TRAFFIC_BLOCK,
  TRAFFIC_CAPACITY,
  TRAFFIC_COMPLETION_BYTES,
  TRAFFIC_DESCRIPTOR_BYTES,
  TRAFFIC_DOMAINS,
  TRAFFIC_DOMAIN_BYTES,
  TRAFFIC_DOMAIN_FLUSHES,
  TRAFFIC_DOMAIN_PACKETS,
  TRAFFIC_DOMAIN_RING,
  TRAFFIC_DOMAIN_RING_BYTES,
  TRAFFIC_FIRST_STAGE,
  TRAFFIC_FLUSHES,
  TRAFFIC_HINTS,
  TRAFFIC_INVALIDATIONS,
  TRAFFIC_IOTLB_MASK,
  TRAFFIC_LAZY,
  TRAFFIC_MOST_ADDRESS_MASK,
  TRAFFIC_REPLAY,
  TRAFFIC_RING,
  TRAFFIC_SIMULATOR,
  TRAFFIC_STREAM,
  TRAFFIC_WAITS,
  TRAFFIC_WALK_MASK,
} from "../layout";
import { heapAllocate, heapFree } from "../memory/heap";
import { replayFlushes, replayRun, replaySlot, replayTable, slotIsRagged, slotPieceCount, slotPieces } from "../replay/replay";
import { tablesFreed } from "../table/below";
import { count } from "../table/table";
import { simulatorRun } from "./simulate";
import { streamFill } from "./stream";

/** Log2 of the smallest page that an invalidation names. */
const PAGE_SHIFT: u32 = 12;
const ANY_RANGE: u32 = u32.MAX_VALUE;

// ---- Invalidations ---------------------------------------------------------------------------------------------------

/** Drops what a device's caches have of [first, last]; the paging-structure caches' entries too, unless `leafOnly`. */
function drop(traffic: usize, device: usize, first: u64, last: u64, leafOnly: bool): void {
  const simulator = <usize>load<u32>(traffic, TRAFFIC_SIMULATOR);
  const mask = load<u64>(traffic, TRAFFIC_IOTLB_MASK);
  const owner = load<u64>(device, DEVICE_IOTLB + 8);
  for (let i: usize = 0; i < <usize>SIMULATOR_IOTLB_COUNT; i++) {
    const iotlb = <usize>load<u32>(simulator + (i << 2), SIMULATOR_IOTLBS);
    if (iotlb) cacheInvalidate(iotlb, mask, owner, first, last);
  }
  if (leafOnly) return;
  const isFirst = load<u32>(traffic, TRAFFIC_FIRST_STAGE) != 0;
  const caches = simulator + (isFirst ? SIMULATOR_FIRST_CACHES : SIMULATOR_SECOND_CACHES);
  const walkMask = load<u64>(traffic, TRAFFIC_WALK_MASK);
  const walkOwner = load<u64>(device + (isFirst ? DEVICE_FIRST_TAG : DEVICE_SECOND_TAG) + 8);
  for (let level: usize = 2; level <= 5; level++) {
    const cache = <usize>load<u32>(caches + (level << 2));
    if (cache) cacheInvalidate(cache, walkMask, walkOwner, first, last);
  }
}

function dropDomain(traffic: usize, device: usize): void {
  count(traffic, TRAFFIC_FLUSHES, 1);
  drop(traffic, device, 0, u64.MAX_VALUE, false);
}

/** One invalidation command of a range: VT-d's is of a naturally aligned block, or of the domain if that is too large. */
function dropRange(traffic: usize, device: usize, first: u64, length: u64, leafOnly: bool): void {
  let last = first + length - 1;
  const most = load<u32>(traffic, TRAFFIC_MOST_ADDRESS_MASK);
  if (most != ANY_RANGE) {
    const differ = first ^ last;
    const shift = max<u32>(PAGE_SHIFT, differ ? <u32>(64 - clz(differ)) : 0);
    if (shift - PAGE_SHIFT > most) return dropDomain(traffic, device);
    const inBlock = ((<u64>1) << <u64>shift) - 1;
    first &= ~inBlock;
    last |= inBlock;
  }
  count(traffic, TRAFFIC_INVALIDATIONS, 1);
  drop(traffic, device, first, last, leafOnly);
}

/** Invalidates what is in [offset, offset + length) of an allocation that was unmapped: a command a piece, and one wait. */
function dropUnmapped(traffic: usize, device: usize, slot: usize, offset: u64, length: u64, leafOnly: bool): void {
  const replay = <usize>load<u32>(traffic, TRAFFIC_REPLAY);
  const pieces = slotPieces(replay, slot);
  const n = <usize>slotPieceCount(replay, slot);
  const end = offset + length;
  let start: u64 = 0;
  for (let i: usize = 0; i < n && start < end; i++) {
    const piece = pieces + i * PIECE_BYTES;
    const next = start + load<u64>(piece, PIECE_LENGTH);
    const from = max<u64>(start, offset);
    const to = min<u64>(next, end);
    if (from < to) dropRange(traffic, device, load<u64>(piece, PIECE_PHYSICAL) + (from - start), to - from, leafOnly);
    start = next;
  }
  count(traffic, TRAFFIC_WAITS, 1);
}

// ---- Accesses --------------------------------------------------------------------------------------------------------

/** Offsets at which the pieces of the mapping that is being accessed end; grows as needed. */
let ends: usize = 0;
let endsCapacity: usize = 0;

/** Notes where the pieces end; false when memory is exhausted. */
function noteEnds(pieces: usize, n: usize): bool {
  if (endsCapacity < n) {
    if (ends) heapFree(ends, endsCapacity << 3);
    endsCapacity = 0;
    ends = heapAllocate(n << 3);
    if (!ends) return false;
    endsCapacity = n;
  }
  let end: u64 = 0;
  for (let i: usize = 0; i < n; i++) {
    end += load<u64>(pieces + i * PIECE_BYTES, PIECE_LENGTH);
    store<u64>(ends + (i << 3), end);
  }
  return true;
}

/** IOVA of a byte of the mapping whose pieces were noted. */
function iovaAt(pieces: usize, n: usize, offset: u64): u64 {
  let low: usize = 0;
  let high = n - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (load<u64>(ends + (middle << 3)) > offset) high = middle;
    else low = middle + 1;
  }
  const piece = pieces + low * PIECE_BYTES;
  return load<u64>(piece, PIECE_PHYSICAL) + offset + load<u64>(piece, PIECE_LENGTH) - load<u64>(ends + (low << 3));
}

/** Runs the next `accesses` of the stream, whose addresses are offsets in a mapping. */
function runStream(traffic: usize, pieces: usize, n: usize, accesses: u64): void {
  const simulator = <usize>load<u32>(traffic, TRAFFIC_SIMULATOR);
  const batch = <usize>load<u32>(traffic, TRAFFIC_BATCH);
  const iovas = <usize>load<u32>(batch, ACCESS_BATCH_IOVA);
  const capacity = <u64>load<u32>(traffic, TRAFFIC_CAPACITY);
  const base = load<u64>(pieces, PIECE_PHYSICAL);
  while (accesses) {
    const now = <usize>min<u64>(accesses, capacity);
    accesses -= <u64>now;
    store<u32>(batch, <u32>now, ACCESS_BATCH_COUNT);
    streamFill(<usize>load<u32>(traffic, TRAFFIC_STREAM), batch);
    for (let at = iovas; at < iovas + (now << 3); at += 8) {
      const offset = load<u64>(at);
      store<u64>(at, n == 1 ? base + offset : iovaAt(pieces, n, offset));
    }
    simulatorRun(simulator, batch);
  }
}

/** One access of a ring's entry. */
function accessRing(traffic: usize, domain: usize, what: u32, bytes: u32, firstHalf: bool): void {
  const slotIndex = load<u32>(domain, TRAFFIC_DOMAIN_RING) - 1;
  const slot = replaySlot(<usize>load<u32>(traffic, TRAFFIC_REPLAY), slotIndex);
  const half = load<u32>(domain, TRAFFIC_DOMAIN_RING_BYTES) >> 1;
  const offset = (load<u32>(domain, TRAFFIC_DOMAIN_PACKETS) % (half / bytes)) * bytes + (firstHalf ? 0 : half);
  const batch = <usize>load<u32>(traffic, TRAFFIC_BATCH);
  store<u64>(<usize>load<u32>(batch, ACCESS_BATCH_IOVA), load<u64>(slot, PIECE_PHYSICAL) + <u64>offset);
  store<u32>(<usize>load<u32>(batch, ACCESS_BATCH_WHAT), what | bytes);
  store<u32>(batch, 1, ACCESS_BATCH_COUNT);
  simulatorRun(<usize>load<u32>(traffic, TRAFFIC_SIMULATOR), batch);
}

/** The device goes once through a mapping; false when memory is exhausted. */
function access(traffic: usize, device: u32, domain: usize, slotIndex: u32, length: u64): bool {
  const replay = <usize>load<u32>(traffic, TRAFFIC_REPLAY);
  const slot = replaySlot(replay, slotIndex);
  const pieces = slotPieces(replay, slot);
  const n = <usize>slotPieceCount(replay, slot);
  const stream = <usize>load<u32>(traffic, TRAFFIC_STREAM);
  const ofDevice = device << <u32>ACCESS_DEVICE_SHIFT;
  const ring = load<u32>(traffic, TRAFFIC_RING) != 0;
  if (ring && !load<u32>(domain, TRAFFIC_DOMAIN_RING)) {
    // Drivers make their rings before anything else: the first mapping is one, until it is unmapped.
    const bytes = load<u64>(pieces, PIECE_LENGTH);
    store<u32>(domain, slotIndex + 1, TRAFFIC_DOMAIN_RING);
    store<u32>(domain, <u32>min<u64>(bytes, (<u64>1) << 31), TRAFFIC_DOMAIN_RING_BYTES);
    return true;
  }
  if (n > 1 && !noteEnds(pieces, n)) return false;
  if (ring) accessRing(traffic, domain, ofDevice, TRAFFIC_DESCRIPTOR_BYTES, true);
  const bytes = load<u32>(stream, STREAM_WHAT) & <u32>ACCESS_BYTES_MASK;
  store<u32>(stream, bytes | ofDevice, STREAM_WHAT);
  const blocks = length - (length % <u64>load<u32>(traffic, TRAFFIC_BLOCK));
  store<u64>(stream, 0, STREAM_CURSOR);
  if (blocks) {
    store<u64>(stream, blocks, STREAM_LENGTH);
    runStream(traffic, pieces, n, blocks / <u64>bytes);
  }
  if (blocks < length) {
    const kind = load<u32>(stream, STREAM_KIND);
    store<u32>(stream, STREAM_SEQUENTIAL, STREAM_KIND);
    store<u64>(stream, blocks, STREAM_BASE);
    store<u64>(stream, length - blocks, STREAM_LENGTH);
    store<u64>(stream, 0, STREAM_CURSOR);
    runStream(traffic, pieces, n, (length - blocks) / <u64>bytes);
    store<u64>(stream, 0, STREAM_BASE);
    store<u32>(stream, kind, STREAM_KIND);
  }
  if (ring) {
    accessRing(traffic, domain, ofDevice | <u32>ACCESS_IS_WRITE, TRAFFIC_COMPLETION_BYTES, false);
    store<u32>(domain, load<u32>(domain, TRAFFIC_DOMAIN_PACKETS) + 1, TRAFFIC_DOMAIN_PACKETS);
  }
  return true;
}

// ---- Operations ------------------------------------------------------------------------------------------------------

function afterUnmap(traffic: usize, device: usize, domain: usize, operation: usize, leafOnly: bool): void {
  const slotIndex = load<u32>(operation, OPERATION_SLOT);
  const slot = replaySlot(<usize>load<u32>(traffic, TRAFFIC_REPLAY), slotIndex);
  if (!slot) return;
  if (load<u32>(domain, TRAFFIC_DOMAIN_RING) == slotIndex + 1) store<u32>(domain, 0, TRAFFIC_DOMAIN_RING);
  if (load<u32>(traffic, TRAFFIC_LAZY)) return;
  const ragged = slotIsRagged(slot);
  const offset = ragged ? 0 : load<u64>(operation, OPERATION_ADDRESS);
  const length = ragged ? load<u64>(slot, PIECE_LENGTH) : load<u64>(operation, OPERATION_LENGTH);
  dropUnmapped(traffic, device, slot, offset, length, leafOnly);
}

/**
 * Replays `total` operations as `replayRun` does, with accesses between them; every domain has a device of its index.
 * Returns STATUS_MEMORY_EXHAUSTED when linear memory ends.
 */
export function trafficRun(
  traffic: usize,
  operations: usize,
  total: u32,
  pieces: usize,
  placements: usize,
  iovas: usize,
): i32 {
  const replay = <usize>load<u32>(traffic, TRAFFIC_REPLAY);
  const simulator = <usize>load<u32>(traffic, TRAFFIC_SIMULATOR);
  const tableField: usize = load<u32>(traffic, TRAFFIC_FIRST_STAGE) ? DEVICE_FIRST : DEVICE_SECOND;
  let piece = pieces;
  for (let i: u32 = 0; i < total; i++) {
    const operation = operations + <usize>i * OPERATION_BYTES;
    const index = load<u32>(operation, OPERATION_DOMAIN);
    const slotIndex = load<u32>(operation, OPERATION_SLOT);
    const freedBefore = tablesFreed;
    const wanted = placements ? placements + <usize>i * PLACEMENT_BYTES : 0;
    const chosen = iovas ? iovas + (<usize>i << 3) : 0;
    const status = replayRun(replay, operation, 1, piece, wanted, chosen);
    if (status != STATUS_OK) return status;
    // What led to a table page that was freed may be cached.
    const freed = tablesFreed != freedBefore;
    const device = <usize>load<u32>(<usize>load<u32>(simulator, SIMULATOR_DEVICES) + (<usize>index << 2));
    store<u32>(device + tableField, <u32>replayTable(replay, index));
    const domain = <usize>load<u32>(traffic, TRAFFIC_DOMAINS) + <usize>index * TRAFFIC_DOMAIN_BYTES;
    const flushes = replayFlushes(replay, index);
    if (flushes != load<u32>(domain, TRAFFIC_DOMAIN_FLUSHES)) {
      store<u32>(domain, flushes, TRAFFIC_DOMAIN_FLUSHES);
      dropDomain(traffic, device);
      count(traffic, TRAFFIC_WAITS, 1);
    }
    if (load<u32>(operation, OPERATION_KIND) != OPERATION_MAP) {
      const leafOnly = load<u32>(traffic, TRAFFIC_HINTS) != 0 && !freed;
      afterUnmap(traffic, device, domain, operation, leafOnly);
      continue;
    }
    piece += <usize>load<u32>(operation, OPERATION_PIECES) * PIECE_BYTES;
    const slot = replaySlot(replay, slotIndex);
    if (!slot) continue;
    const length = load<u64>(operation, OPERATION_LENGTH);
    // A large leaf took the place of a table without entries.
    if (freed) dropUnmapped(traffic, device, slot, 0, length, false);
    if (!access(traffic, index, domain, slotIndex, length)) return STATUS_MEMORY_EXHAUSTED;
  }
  return STATUS_OK;
}
