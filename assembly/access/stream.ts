/**
 * Streams of accesses as devices make them, generated in batches. The n-th access of a stream is a function of n, except in
 * a random one, whose generator (xorshift64*) goes on from access to access. Fields: STREAM_* of layout.ts; what each kind
 * means is described with its type in src/access/streams.ts.
 */
import { randomBelow } from "../cache/replacement";
import {
  ACCESS_BATCH_COUNT,
  ACCESS_BATCH_IOVA,
  ACCESS_BATCH_WHAT,
  ACCESS_BYTES_MASK,
  ACCESS_IS_WRITE,
  STREAM_BASE,
  STREAM_BUFFER_BYTES,
  STREAM_BURST,
  STREAM_COMPLETIONS,
  STREAM_COMPLETION_BYTES,
  STREAM_CURSOR,
  STREAM_DESCRIPTORS,
  STREAM_DESCRIPTOR_BYTES,
  STREAM_ENTRIES,
  STREAM_INTERLEAVED,
  STREAM_KIND,
  STREAM_LENGTH,
  STREAM_PACKET_BYTES,
  STREAM_PITCH,
  STREAM_QUEUES,
  STREAM_RANDOM,
  STREAM_RING,
  STREAM_SEQUENTIAL,
  STREAM_TILES,
  STREAM_TILE_BYTES,
  STREAM_TILE_ROWS,
  STREAM_UNIFORM,
  STREAM_WHAT,
} from "../layout";

// @ts-ignore: decorator
@inline
function field(stream: usize, at: usize): u64 {
  return <u64>load<u32>(stream + at);
}

// @ts-ignore: decorator
@inline
function put(iova: usize, what: usize, index: usize, address: u64, is: u32): void {
  store<u64>(iova + (index << 3), address);
  store<u32>(what + (index << 2), is);
}

/** Fills a batch with the next accesses of a stream. */
export function streamFill(stream: usize, batch: usize): void {
  const count = <usize>load<u32>(batch, ACCESS_BATCH_COUNT);
  const iova = <usize>load<u32>(batch, ACCESS_BATCH_IOVA);
  const what = <usize>load<u32>(batch, ACCESS_BATCH_WHAT);
  switch (load<u32>(stream, STREAM_KIND)) {
    case STREAM_SEQUENTIAL: return sequential(stream, iova, what, count);
    case STREAM_UNIFORM: return uniform(stream, iova, what, count);
    case STREAM_INTERLEAVED: return interleaved(stream, iova, what, count);
    case STREAM_RING: return ring(stream, iova, what, count);
    default: return tiled(stream, iova, what, count);
  }
}

function sequential(stream: usize, iova: usize, what: usize, count: usize): void {
  const base = load<u64>(stream, STREAM_BASE);
  const length = load<u64>(stream, STREAM_LENGTH);
  const is = load<u32>(stream, STREAM_WHAT);
  const bytes = <u64>(is & <u32>ACCESS_BYTES_MASK);
  let offset = load<u64>(stream, STREAM_CURSOR);
  for (let i: usize = 0; i < count; i++) {
    put(iova, what, i, base + offset, is);
    offset += bytes;
    if (offset == length) offset = 0;
  }
  store<u64>(stream, offset, STREAM_CURSOR);
}

function uniform(stream: usize, iova: usize, what: usize, count: usize): void {
  const base = load<u64>(stream, STREAM_BASE);
  const is = load<u32>(stream, STREAM_WHAT);
  const bytes = is & <u32>ACCESS_BYTES_MASK;
  const places = <u32>(load<u64>(stream, STREAM_LENGTH) / <u64>bytes);
  const random = stream + STREAM_RANDOM;
  for (let i: usize = 0; i < count; i++) {
    put(iova, what, i, base + <u64>randomBelow(random, places) * <u64>bytes, is);
  }
}

function interleaved(stream: usize, iova: usize, what: usize, count: usize): void {
  const base = load<u64>(stream, STREAM_BASE);
  const is = load<u32>(stream, STREAM_WHAT);
  const bytes = <u64>(is & <u32>ACCESS_BYTES_MASK);
  const queues = field(stream, STREAM_QUEUES);
  const burst = field(stream, STREAM_BURST);
  const length = load<u64>(stream, STREAM_LENGTH) / queues;
  const first = load<u64>(stream, STREAM_CURSOR);
  for (let i: usize = 0; i < count; i++) {
    const n = first + <u64>i;
    const turn = n / burst;
    const inQueue = (turn / queues) * burst + (n - turn * burst);
    put(iova, what, i, base + (turn % queues) * length + ((inQueue * bytes) % length), is);
  }
  store<u64>(stream, first + <u64>count, STREAM_CURSOR);
}

function ring(stream: usize, iova: usize, what: usize, count: usize): void {
  const is = load<u32>(stream, STREAM_WHAT);
  const bytes = <u64>(is & <u32>ACCESS_BYTES_MASK);
  const others = is & ~(<u32>ACCESS_BYTES_MASK | <u32>ACCESS_IS_WRITE);
  const descriptorBytes = load<u32>(stream, STREAM_DESCRIPTOR_BYTES);
  const completionBytes = load<u32>(stream, STREAM_COMPLETION_BYTES);
  const packetBytes = field(stream, STREAM_PACKET_BYTES);
  const entries = field(stream, STREAM_ENTRIES);
  // A descriptor, the packet's parts, a completion.
  const parts = (packetBytes + bytes - 1) / bytes;
  let n = load<u64>(stream, STREAM_CURSOR);
  let part = n % (parts + 2);
  let entry = (n / (parts + 2)) % entries;
  for (let i: usize = 0; i < count; i++) {
    if (part == 0) {
      const address = load<u64>(stream, STREAM_DESCRIPTORS) + entry * <u64>descriptorBytes;
      put(iova, what, i, address, others | descriptorBytes);
    } else if (part <= parts) {
      const offset = (part - 1) * bytes;
      const buffer = load<u64>(stream, STREAM_BASE) + entry * field(stream, STREAM_BUFFER_BYTES);
      const rest = <u32>min<u64>(bytes, packetBytes - offset);
      put(iova, what, i, buffer + offset, (is & ~(<u32>ACCESS_BYTES_MASK)) | rest);
    } else {
      const address = load<u64>(stream, STREAM_COMPLETIONS) + entry * <u64>completionBytes;
      put(iova, what, i, address, others | <u32>ACCESS_IS_WRITE | completionBytes);
    }
    if (++part == parts + 2) {
      part = 0;
      if (++entry == entries) entry = 0;
    }
  }
  store<u64>(stream, n + <u64>count, STREAM_CURSOR);
}

function tiled(stream: usize, iova: usize, what: usize, count: usize): void {
  const base = load<u64>(stream, STREAM_BASE);
  const is = load<u32>(stream, STREAM_WHAT);
  const bytes = <u64>(is & <u32>ACCESS_BYTES_MASK);
  const pitch = field(stream, STREAM_PITCH);
  const tileBytes = field(stream, STREAM_TILE_BYTES);
  const tileRows = field(stream, STREAM_TILE_ROWS);
  const tiles = field(stream, STREAM_TILES);
  const inRow = tileBytes / bytes;
  const all = load<u64>(stream, STREAM_LENGTH) / bytes;
  let n = load<u64>(stream, STREAM_CURSOR);
  for (let i: usize = 0; i < count; i++) {
    const row = n / inRow;
    const tile = row / tileRows;
    const y = (tile / tiles) * tileRows + (row % tileRows);
    put(iova, what, i, base + y * pitch + (tile % tiles) * tileBytes + (n % inRow) * bytes, is);
    if (++n == all) n = 0;
  }
  store<u64>(stream, n, STREAM_CURSOR);
}
