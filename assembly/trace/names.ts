/**
 * Interning: byte strings become dense indices, so that no line of a trace costs a JavaScript string.
 * Open addressing, doubled when half full. A string's bytes are kept padded with zeroes to eight, so that strings are
 * compared a word at a time; callers own at least eight readable bytes behind the string they pass.
 */
import { heapAllocate, heapDouble, heapFree } from "../memory/heap";

/** One entry: u32 hash, u32 length, u32 offset of the text, u32 value of the caller's. */
const ENTRY_BYTES: usize = 16;

@unmanaged
export class Names {
  slots: usize;
  slotMask: u32;
  entries: usize;
  entryCapacity: u32;
  text: usize;
  textCapacity: u32;
  textUsed: u32;
  count: u32;
  /** What the last call found. Lines repeat the names of the line before them: see `repeatsLast`. */
  last: u32;
  /** 1 when linear memory was exhausted. */
  exhausted: u32;
}

export function createNames(): Names {
  const names = changetype<Names>(heapAllocate(offsetof<Names>()));
  if (!changetype<usize>(names)) return names;
  names.slotMask = 63;
  names.slots = heapAllocate(64 * 4);
  names.entryCapacity = 32;
  names.entries = heapAllocate(32 * ENTRY_BYTES);
  names.textCapacity = 1024;
  names.text = heapAllocate(1024);
  if (!names.slots || !names.entries || !names.text) names.exhausted = 1;
  return names;
}

export function freeNames(names: Names): void {
  if (!changetype<usize>(names)) return;
  heapFree(names.slots, (<usize>names.slotMask + 1) * 4);
  heapFree(names.entries, <usize>names.entryCapacity * ENTRY_BYTES);
  heapFree(names.text, names.textCapacity);
  heapFree(changetype<usize>(names), offsetof<Names>());
}

// @ts-ignore: decorator
@inline function tailMask(bytes: u32): u64 {
  return ((<u64>1) << (<u64>bytes << 3)) - 1;
}

// @ts-ignore: decorator
@inline function hashBytes(at: usize, length: u32): u32 {
  let hash: u64 = <u64>length * 0x9e3779b97f4a7c15;
  while (length >= 8) {
    hash = (hash ^ load<u64>(at)) * 0x9e3779b97f4a7c15;
    hash ^= hash >> 29;
    at += 8;
    length -= 8;
  }
  if (length) hash = (hash ^ (load<u64>(at) & tailMask(length))) * 0x9e3779b97f4a7c15;
  return <u32>(hash >> 32);
}

// @ts-ignore: decorator
@inline function sameBytes(kept: usize, at: usize, length: u32): bool {
  while (length >= 8) {
    if (load<u64>(kept) != load<u64>(at)) return false;
    kept += 8;
    at += 8;
    length -= 8;
  }
  return !length || load<u64>(kept) == (load<u64>(at) & tailMask(length));
}

/** Length of the string that was found last if the text at `at` begins with it, else 0. */
// @ts-ignore: decorator
@inline export function repeatsLast(names: Names, at: usize): u32 {
  if (!names.count) return 0;
  const last = names.entries + (<usize>names.last) * ENTRY_BYTES;
  const length = load<u32>(last, 4);
  return sameBytes(names.text + <usize>load<u32>(last, 8), at, length) ? length : 0;
}

/** Whether the string of `length` bytes at `at` is there; `last` is its index. */
export function findName(names: Names, at: usize, length: u32): bool {
  return findHashed(names, at, length, hashBytes(at, length));
}

/** Index of the string of `length` bytes at `at`; a new one is added. */
export function internName(names: Names, at: usize, length: u32): u32 {
  const hash = hashBytes(at, length);
  return findHashed(names, at, length, hash) ? names.last : addName(names, at, length, hash);
}

function findHashed(names: Names, at: usize, length: u32, hash: u32): bool {
  const mask = names.slotMask;
  const slots = names.slots;
  let slot = hash & mask;
  for (;;) {
    const id = load<u32>(slots + ((<usize>slot) << 2));
    if (!id) break;
    const entry = names.entries + (<usize>(id - 1)) * ENTRY_BYTES;
    if (
      load<u32>(entry) == hash &&
      load<u32>(entry, 4) == length &&
      sameBytes(names.text + <usize>load<u32>(entry, 8), at, length)
    ) {
      names.last = id - 1;
      return true;
    }
    slot = (slot + 1) & mask;
  }
  return false;
}

function addName(names: Names, at: usize, length: u32, hash: u32): u32 {
  if ((names.count << 1) >= names.slotMask && !growNames(names)) return exhaust(names);
  const padded = (length + 7) & ~7;
  while (names.textUsed + padded > names.textCapacity) {
    const grown = heapDouble(names.text, names.textCapacity);
    if (!grown) return exhaust(names);
    names.text = grown;
    names.textCapacity <<= 1;
  }
  const id = names.count++;
  const entry = names.entries + (<usize>id) * ENTRY_BYTES;
  store<u32>(entry, hash);
  store<u32>(entry, length, 4);
  store<u32>(entry, names.textUsed, 8);
  const kept = names.text + <usize>names.textUsed;
  memory.copy(kept, at, length);
  memory.fill(kept + <usize>length, 0, <usize>(padded - length));
  names.textUsed += padded;
  insertSlot(names, hash, id);
  names.last = id;
  return id;
}

function exhaust(names: Names): u32 {
  names.exhausted = 1;
  return 0;
}

function insertSlot(names: Names, hash: u32, id: u32): void {
  let slot = hash & names.slotMask;
  while (load<u32>(names.slots + ((<usize>slot) << 2))) slot = (slot + 1) & names.slotMask;
  store<u32>(names.slots + ((<usize>slot) << 2), id + 1);
}

function growNames(names: Names): bool {
  const bytes = (<usize>names.slotMask + 1) * 4;
  const slots = heapAllocate(bytes << 1);
  if (!slots) return false;
  const entries = heapDouble(names.entries, <usize>names.entryCapacity * ENTRY_BYTES);
  if (!entries) {
    heapFree(slots, bytes << 1);
    return false;
  }
  heapFree(names.slots, bytes);
  names.slots = slots;
  names.slotMask = (names.slotMask << 1) | 1;
  names.entries = entries;
  names.entryCapacity <<= 1;
  for (let id: u32 = 0; id < names.count; id++) insertSlot(names, load<u32>(entries + (<usize>id) * ENTRY_BYTES), id);
  return true;
}

export function nameText(names: Names, id: u32): usize {
  return names.text + <usize>load<u32>(names.entries + (<usize>id) * ENTRY_BYTES, 8);
}

export function nameLength(names: Names, id: u32): u32 {
  return load<u32>(names.entries + (<usize>id) * ENTRY_BYTES, 4);
}

// @ts-ignore: decorator
@inline export function nameValue(names: Names, id: u32): u32 {
  return load<u32>(names.entries + (<usize>id) * ENTRY_BYTES, 12);
}

export function setNameValue(names: Names, id: u32, value: u32): void {
  store<u32>(names.entries + (<usize>id) * ENTRY_BYTES, value, 12);
}
