/**
 * A tagged IOTLB of the plainest geometry: every page has one place. Entries hold translations of any size of page; what
 * is not invalidated stays and is used. Its header (IOTLB_* of layout.ts) is a part of the unit that owns it.
 *
 * An entry is { u64 page | log2 of its size, u64 tag, u64 value, u64 owner }; an empty one is all zero. The tag is what a
 * look-up must match beside the page; the owner is what invalidations select by; the value is the physical page and in
 * its low bits what is granted.
 */
import {
  GRANT_PRIVILEGED_SHIFT,
  IOTLB_ENTRIES,
  IOTLB_ENTRY_BYTES,
  IOTLB_SETS,
  IOTLB_SIZES,
  OWNER_GLOBAL_BIT,
} from "../layout";
import { heapAllocate, heapFree } from "../memory/heap";

const KEY: usize = 0;
const TAG: usize = 8;
const VALUE: usize = 16;
const OWNER: usize = 24;

const IN_PAGE: u64 = 0xfff;
const GRANTS: u64 = (1 << (2 * GRANT_PRIVILEGED_SHIFT)) - 1;
/** A write must walk, because it has a dirty flag to set. */
const CLEAN: u64 = 1 << (2 * GRANT_PRIVILEGED_SHIFT);

/** Makes an IOTLB of `sets` entries (a power of two), all empty; false when memory is exhausted. */
export function iotlbInit(iotlb: usize, sets: u32): bool {
  const block = heapAllocate(<usize>sets * <usize>IOTLB_ENTRY_BYTES);
  store<u32>(iotlb, <u32>block, IOTLB_ENTRIES);
  store<u32>(iotlb, sets, IOTLB_SETS);
  store<u64>(iotlb, 0, IOTLB_SIZES);
  return block != 0;
}

export function iotlbRelease(iotlb: usize): void {
  heapFree(<usize>load<u32>(iotlb, IOTLB_ENTRIES), <usize>load<u32>(iotlb, IOTLB_SETS) * <usize>IOTLB_ENTRY_BYTES);
}

/** The place of a translation with this size of page. `entries` and `lastSet`: the header's, held in registers by a loop. */
// @ts-ignore: decorator
@inline
export function iotlbPlace(entries: usize, lastSet: u32, iova: u64, shift: u32, tag: u64): usize {
  return entries + <usize>((<u32>(iova >> <u64>shift) ^ <u32>tag) & lastSet) * <usize>IOTLB_ENTRY_BYTES;
}

/** What an entry begins with that translates `iova` by this size of page. */
// @ts-ignore: decorator
@inline
export function iotlbKey(iova: u64, shift: u32): u64 {
  return ((iova >> <u64>shift) << <u64>shift) | <u64>shift;
}

/** Whether the entry in this place has that key and tag. */
// @ts-ignore: decorator
@inline
export function iotlbHolds(place: usize, key: u64, tag: u64): bool {
  // One branch for both.
  return !((load<u64>(place, KEY) ^ key) | (load<u64>(place, TAG) ^ tag));
}

/** Whether every entry has this size of page, so that there is one place to look at. */
// @ts-ignore: decorator
@inline
export function iotlbHasOnly(iotlb: usize, shift: u32): bool {
  return load<u64>(iotlb, IOTLB_SIZES) == (<u64>1) << <u64>shift;
}

/** The entry that translates `iova` for this tag, or 0; the smallest page first. */
// @ts-ignore: decorator
@inline
export function iotlbFind(iotlb: usize, entries: usize, lastSet: u32, iova: u64, tag: u64): usize {
  let sizes = load<u64>(iotlb, IOTLB_SIZES);
  while (sizes) {
    const shift = <u32>ctz(sizes);
    const place = iotlbPlace(entries, lastSet, iova, shift, tag);
    if (iotlbHolds(place, iotlbKey(iova, shift), tag)) return place;
    sizes &= sizes - 1;
  }
  return 0;
}

/** The value of an entry. */
// @ts-ignore: decorator
@inline
export function iotlbValue(physical: u64, shift: u32, grants: u32, clean: bool): u64 {
  return (physical & ~(((<u64>1) << <u64>shift) - 1)) | <u64>grants | (clean ? CLEAN : 0);
}

/** The owner of an entry, from that of its regime. */
// @ts-ignore: decorator
@inline
export function iotlbOwner(owner: u64, global: bool): u64 {
  return owner | (<u64>global << <u64>OWNER_GLOBAL_BIT);
}

/** Keeps a translation in its place; `iotlbNoteSize` belongs to it, unless there is an entry of this size already. */
// @ts-ignore: decorator
@inline
export function iotlbWrite(place: usize, key: u64, tag: u64, value: u64, owner: u64): void {
  store<u64>(place, key, KEY);
  store<u64>(place, tag, TAG);
  store<u64>(place, value, VALUE);
  store<u64>(place, owner, OWNER);
}

/** Has look-ups try this size of page. */
// @ts-ignore: decorator
@inline
export function iotlbNoteSize(iotlb: usize, shift: u32): void {
  store<u64>(iotlb, load<u64>(iotlb, IOTLB_SIZES) | ((<u64>1) << <u64>shift), IOTLB_SIZES);
}

/** What a value says of an address in its page. */
// @ts-ignore: decorator
@inline
export function valuePhysical(value: u64, shift: u32, iova: u64): u64 {
  return (value & ~IN_PAGE) | (iova & ((<u64>1 << <u64>shift) - 1));
}

// @ts-ignore: decorator
@inline
export function valueGrants(value: u64): u32 {
  return <u32>(value & GRANTS);
}

// @ts-ignore: decorator
@inline
export function valueIsClean(value: u64): bool {
  return (value & CLEAN) != 0;
}

// @ts-ignore: decorator
@inline
export function iotlbEntryValue(entry: usize): u64 {
  return load<u64>(entry, VALUE);
}

// @ts-ignore: decorator
@inline
export function iotlbEntryOwner(entry: usize): u64 {
  return load<u64>(entry, OWNER);
}

/** What an entry says of an address in its page. */
// @ts-ignore: decorator
@inline
export function iotlbPhysical(entry: usize, iova: u64): u64 {
  return valuePhysical(load<u64>(entry, VALUE), iotlbShift(entry), iova);
}

// @ts-ignore: decorator
@inline
export function iotlbShift(entry: usize): u32 {
  return <u32>(load<u64>(entry, KEY) & IN_PAGE);
}

// @ts-ignore: decorator
@inline
export function iotlbGrants(entry: usize): u32 {
  return valueGrants(load<u64>(entry, VALUE));
}

// @ts-ignore: decorator
@inline
export function iotlbIsClean(entry: usize): bool {
  return valueIsClean(load<u64>(entry, VALUE));
}

// @ts-ignore: decorator
@inline
export function iotlbDrop(entry: usize): void {
  memory.fill(entry, 0, IOTLB_ENTRY_BYTES);
}

/**
 * Drops every entry whose owner agrees with `owner` in the bits of `mask` and whose page meets [first, last]. Returns how
 * many were dropped.
 */
export function iotlbInvalidate(iotlb: usize, mask: u64, owner: u64, first: u64, last: u64): u32 {
  const entries = <usize>load<u32>(iotlb, IOTLB_ENTRIES);
  const end = entries + <usize>load<u32>(iotlb, IOTLB_SETS) * <usize>IOTLB_ENTRY_BYTES;
  let dropped: u32 = 0;
  let sizes: u64 = 0;
  for (let entry = entries; entry < end; entry += IOTLB_ENTRY_BYTES) {
    const key = load<u64>(entry, KEY);
    if (!key) continue;
    const shift = key & IN_PAGE;
    const page = key & ~IN_PAGE;
    const meets = page <= last && page + ((<u64>1 << shift) - 1) >= first;
    if (meets && !((load<u64>(entry, OWNER) ^ owner) & mask)) {
      iotlbDrop(entry);
      dropped++;
    } else {
      sizes |= <u64>1 << shift;
    }
  }
  store<u64>(iotlb, sizes, IOTLB_SIZES);
  return dropped;
}
