/**
 * Which IOVA suits a physical layout best. A buffer is a list of physically contiguous pieces laid behind each other in
 * IOVA space; a leaf of size S needs IOVA = PA modulo S. For a piece at offset o of the buffer that is a wish for the
 * buffer's start: start = PA - o modulo S. Pieces with the same wish are served together.
 */
import { PIECE_BYTES, PIECE_LENGTH, PIECE_PHYSICAL, TABLE_LEVELS } from "../layout";
import { heapAllocate, heapFree } from "../memory/heap";
import { leafAllowed, levelShift } from "../table/table";

/** Leaves that `bytes` take at the levels up to `level`, when nothing hinders the largest. */
export function fewestLeaves<F>(table: usize, bytes: u64, level: u32): u64 {
  let leaves: u64 = 0;
  let rest = bytes;
  for (let l = level; l; l--) {
    if (!leafAllowed<F>(table, l)) continue;
    const shift = levelShift<F>(l);
    leaves += rest >> shift;
    rest &= ((<u64>1) << shift) - 1;
  }
  return leaves;
}

/** Leaves that map() uses for a range with IOVA = PA when only the levels up to `level` may hold leaves. */
function leavesOf<F>(table: usize, physical: u64, length: u64, level: u32): u64 {
  for (let l = level; l > 1; l--) {
    if (!leafAllowed<F>(table, l)) continue;
    const shift = levelShift<F>(l);
    const mask = ((<u64>1) << shift) - 1;
    const first = (physical + mask) & ~mask;
    const end = (physical + length) & ~mask;
    if (first >= end) continue;
    return (
      ((end - first) >> shift) +
      fewestLeaves<F>(table, first - physical, l - 1) +
      fewestLeaves<F>(table, physical + length - end, l - 1)
    );
  }
  return length >> levelShift<F>(1);
}

/** Savings by wish: open addressing, slots { u64 wish, u32 epoch, u32 level, u64 leaves saved }. */
const SLOT_BYTES: usize = 24;
let savings: usize = 0;
let slots: u32 = 0;
let epoch: u32 = 0;

function reserveSlots(pieces: u32): bool {
  let need: u32 = 64;
  while (need < pieces << 3) need <<= 1;
  if (need <= slots) return true;
  const block = heapAllocate(<usize>need * SLOT_BYTES);
  if (!block) return false;
  heapFree(savings, <usize>slots * SLOT_BYTES);
  savings = block;
  slots = need;
  return true;
}

/** The slot of a wish, made with no savings when there is none. */
function wishSlot(level: u32, wish: u64): usize {
  let slot = <u32>((wish * 0x9e3779b97f4a7c15) >> 32) + level;
  while (true) {
    slot &= slots - 1;
    const at = savings + <usize>slot * SLOT_BYTES;
    if (load<u32>(at, 8) != epoch) {
      store<u64>(at, wish);
      store<u32>(at, epoch, 8);
      store<u32>(at, level, 12);
      store<u64>(at, 0, 16);
      return at;
    }
    if (load<u64>(at) == wish && load<u32>(at, 12) == level) return at;
    slot++;
  }
}

/** The best start of the last `bestStart`: the address to be congruent to, and log2 of the modulus (granule: any). */
export let bestAddress: u64 = 0;
export let bestShift: u64 = 0;

/**
 * Finds the start (modulo the largest leaf) that needs the fewest leaves for these pieces and returns that number: the
 * attainable minimum. Most buffers are too small for anything but pages; every start serves them as well.
 */
// @ts-ignore: decorator
@inline
export function bestStart<F>(table: usize, pieces: usize, n: u32, length: u64): u64 {
  bestShift = levelShift<F>(1);
  bestAddress = 0;
  return length >> levelShift<F>(2) == 0 ? length >> levelShift<F>(1) : searchStart<F>(table, pieces, n, length);
}

/** Linear in the number of pieces: savings are summed by wish, then each wish is asked what it saves. */
function searchStart<F>(table: usize, pieces: usize, n: u32, length: u64): u64 {
  const granuleShift = levelShift<F>(1);
  const worst = length >> granuleShift;
  if (!reserveSlots(n)) return worst;
  const levels = load<u32>(table, TABLE_LEVELS);
  epoch++;
  let some = false;
  for (let pass = 0; pass < 2; pass++) {
    let offset: u64 = 0;
    let saved: u64 = 0;
    for (let i: u32 = 0; i < n; i++) {
      const piece = pieces + <usize>i * PIECE_BYTES;
      const physical = load<u64>(piece, PIECE_PHYSICAL);
      const bytes = load<u64>(piece, PIECE_LENGTH);
      const wish = physical - offset;
      offset += bytes;
      let below = bytes >> granuleShift;
      let sum: u64 = 0;
      let shiftHere = granuleShift;
      for (let level: u32 = 2; level <= levels; level++) {
        const shift = levelShift<F>(level);
        if (bytes >> shift == 0) break;
        if (!leafAllowed<F>(table, level)) continue;
        // What this level's leaves save over those of the levels below.
        const here = leavesOf<F>(table, physical, bytes, level);
        if (here == below && !pass) continue;
        const slot = wishSlot(level, wish & (((<u64>1) << shift) - 1));
        if (!pass) {
          store<u64>(slot, load<u64>(slot, 16) + below - here, 16);
          some = true;
        } else if (load<u64>(slot, 16)) {
          sum += load<u64>(slot, 16);
          shiftHere = shift;
        }
        below = here;
      }
      if (pass && sum > saved) {
        saved = sum;
        bestShift = shiftHere;
        bestAddress = wish & (((<u64>1) << shiftHere) - 1);
      }
    }
    if (!some) return worst;
    if (pass) return worst - saved;
  }
  return worst;
}
