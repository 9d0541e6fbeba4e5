/**
 * A map from u64 to u64: open addressing with linear probing, slots { u64 key + 1, u64 value }, so that an empty slot is
 * all zero. Its header { u32 slots' linear address, u32 log2 of their number, u32 keys } is a part of whoever owns it.
 */
import { heapAllocate, heapFree } from "./heap";

const BITS: usize = 4;
const COUNT: usize = 8;
const SLOT_BYTES: usize = 16;
/** Linear memory holds no more than 2^28 slots, and never that many at once. */
const MAX_BITS: u32 = 27;

// @ts-ignore: decorator
@inline
function slotOf(key: u64, bits: u32): u32 {
  return <u32>((key * 0x9e3779b97f4a7c15) >> <u64>(64 - bits));
}

/** An empty map with room for some keys; false when memory is exhausted. */
export function hashInit(hash: usize): bool {
  const slots = heapAllocate(SLOT_BYTES << 6);
  store<u32>(hash, <u32>slots);
  store<u32>(hash, 6, BITS);
  store<u32>(hash, 0, COUNT);
  return slots != 0;
}

export function hashRelease(hash: usize): void {
  heapFree(<usize>load<u32>(hash), SLOT_BYTES << load<u32>(hash, BITS));
}

/** Linear address of the slot that holds the key, or of the empty one where it belongs. */
// @ts-ignore: decorator
@inline
export function hashFind(hash: usize, key: u64): usize {
  const slots = <usize>load<u32>(hash);
  const bits = load<u32>(hash, BITS);
  const mask = (<u32>1 << bits) - 1;
  let slot = slotOf(key, bits);
  while (true) {
    const at = slots + <usize>slot * SLOT_BYTES;
    const found = load<u64>(at);
    if (!found || found == key + 1) return at;
    slot = (slot + 1) & mask;
  }
}

/** Whether a slot of `hashFind` holds its key. */
// @ts-ignore: decorator
@inline
export function hashHas(slot: usize): bool {
  return load<u64>(slot) != 0;
}

// @ts-ignore: decorator
@inline
export function hashValue(slot: usize): u64 {
  return load<u64>(slot, 8);
}

// @ts-ignore: decorator
@inline
export function hashSetValue(slot: usize, value: u64): void {
  store<u64>(slot, value, 8);
}

/** Fills an empty slot of `hashFind`. `hashReserve` came before. */
// @ts-ignore: decorator
@inline
export function hashInsert(hash: usize, slot: usize, key: u64, value: u64): void {
  store<u64>(slot, key + 1);
  store<u64>(slot, value, 8);
  store<u32>(hash, load<u32>(hash, COUNT) + 1, COUNT);
}

/** Makes room for `more` keys, at most two thirds full; false, nothing changed, when memory is exhausted. */
// @ts-ignore: decorator
@inline
export function hashReserve(hash: usize, more: u64): bool {
  return (<u64>load<u32>(hash, COUNT) + more) * 3 <= <u64>2 << load<u32>(hash, BITS) || hashGrow(hash, more);
}

function hashGrow(hash: usize, more: u64): bool {
  const old = <usize>load<u32>(hash);
  const oldBytes = SLOT_BYTES << load<u32>(hash, BITS);
  let bits = load<u32>(hash, BITS);
  while ((<u64>load<u32>(hash, COUNT) + more) * 3 > <u64>2 << bits) if (++bits > MAX_BITS) return false;
  const slots = heapAllocate(SLOT_BYTES << bits);
  if (!slots) return false;
  store<u32>(hash, <u32>slots);
  store<u32>(hash, bits, BITS);
  for (let at: usize = 0; at < oldBytes; at += SLOT_BYTES) {
    const key = load<u64>(old + at);
    if (key) v128.store(hashFind(hash, key - 1), v128.load(old + at));
  }
  heapFree(old, oldBytes);
  return true;
}

/** Empties a slot that holds a key, moving up what had to step aside for it. */
export function hashErase(hash: usize, at: usize): void {
  const slots = <usize>load<u32>(hash);
  const bits = load<u32>(hash, BITS);
  const mask = (<u32>1 << bits) - 1;
  let hole = <u32>((at - slots) / SLOT_BYTES);
  let slot = hole;
  while (true) {
    slot = (slot + 1) & mask;
    const next = slots + <usize>slot * SLOT_BYTES;
    const key = load<u64>(next);
    if (!key) break;
    if (((slot - slotOf(key - 1, bits)) & mask) >= ((slot - hole) & mask)) {
      v128.store(slots + <usize>hole * SLOT_BYTES, v128.load(next));
      hole = slot;
    }
  }
  v128.store(slots + <usize>hole * SLOT_BYTES, i64x2.splat(0));
  store<u32>(hash, load<u32>(hash, COUNT) - 1, COUNT);
}
