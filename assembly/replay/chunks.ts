/**
 * Chunks of IOVAs that several mappings share: allocated with the first, given back when told. Which mapping lies where in
 * which chunk, and when a chunk ends, is decided before the replay (PLACEMENT_* of layout.ts).
 */
import { spaceGiveBack, spacePlace } from "../iova/space";
import {
  PLACEMENT_CHUNK,
  PLACEMENT_CHUNK_ENDS,
  PLACEMENT_CHUNK_LENGTH,
  PLACEMENT_CHUNK_OFFSET,
  PLACEMENT_MODULUS,
  SPACE_RESULT,
  STATUS_OK,
  STATUS_SPACE_EXHAUSTED,
} from "../layout";

/** One chunk: its IOVA, all ones where there was no room for it. */
export const CHUNK_BYTES: usize = 8;
const NOWHERE: u64 = u64.MAX_VALUE;

// @ts-ignore: decorator
@inline
export function chunkIndex(placement: usize): u32 {
  return load<u32>(placement, PLACEMENT_CHUNK);
}

/** Places a mapping in its chunk. Returns a status; the start is in the space's result, in granules. */
export function chunkPlace(chunks: usize, space: usize, placement: usize, direction: u32): i32 {
  const chunk = chunks + <usize>chunkIndex(placement) * CHUNK_BYTES;
  const offset = load<u64>(placement, PLACEMENT_CHUNK_OFFSET);
  if (!offset) {
    const mask = (load<u64>(placement, PLACEMENT_MODULUS) - 1) >> 12;
    const status = spacePlace(space, load<u64>(placement, PLACEMENT_CHUNK_LENGTH) >> 12, mask, 0, direction);
    store<u64>(chunk, status == STATUS_OK ? load<u64>(space, SPACE_RESULT) << 12 : NOWHERE);
    if (status != STATUS_OK) return status;
  }
  const start = load<u64>(chunk);
  if (start == NOWHERE) return STATUS_SPACE_EXHAUSTED;
  store<u64>(space, (start + offset) >> 12, SPACE_RESULT);
  return STATUS_OK;
}

/** Gives a chunk back with its last unmap. */
export function chunkEnd(chunks: usize, space: usize, placement: usize): i32 {
  if (!load<u32>(placement, PLACEMENT_CHUNK_ENDS)) return STATUS_OK;
  const start = load<u64>(chunks + <usize>chunkIndex(placement) * CHUNK_BYTES);
  return start == NOWHERE ? STATUS_OK : spaceGiveBack(space, start, load<u64>(placement, PLACEMENT_CHUNK_LENGTH));
}
