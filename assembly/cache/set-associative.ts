/**
 * A set-associative cache of translations or of what leads to them. An entry is found by the page of an address, its size
 * and a 64-bit tag; its set is the page's number XOR the tag. Pages of several sizes live side by side, which costs a
 * look-up a size.
 *
 * Of every way there is a byte of fingerprint, 0 when it is empty, so that one 128-bit comparison looks at sixteen ways; what
 * it lets through is compared whole, { u64 page | log2 of its size, u64 tag }. In sets of more ways than that, the
 * entry at which the last one of the same hash was found is tried first: most hits need no search.
 */
import {
  CACHED_BYTES,
  CACHED_OWNER,
  CACHED_VALUE,
  CACHE_BYTES,
  CACHE_FINGERPRINTS,
  CACHE_HINTS,
  CACHE_HINT_MASK,
  CACHE_HIT,
  CACHE_HOLDS,
  CACHE_LIVE,
  CACHE_MISS,
  CACHE_ORDER,
  CACHE_ORDER_STRIDE,
  CACHE_RANDOM,
  CACHE_REPLACED,
  CACHE_REPLACEMENT,
  CACHE_SETS,
  CACHE_SIZES,
  CACHE_STRIDE,
  CACHE_TAGS,
  CACHE_USES,
  CACHE_USE_ADDRESS,
  CACHE_USE_BYTES,
  CACHE_USE_OUTCOME,
  CACHE_USE_OWNER,
  CACHE_USE_SHIFT,
  CACHE_USE_TAG,
  CACHE_USE_VALUE,
  CACHE_USE_VICTIM_KEY,
  CACHE_USE_VICTIM_TAG,
  CACHE_VALUES,
  CACHE_VICTIM_KEY,
  CACHE_VICTIM_TAG,
  CACHE_WAYS,
  CACHE_WAY_BITS,
  REPLACEMENT_LRU,
  REPLACEMENT_PLRU,
} from "../layout";
import { heapAllocate, heapFree } from "../memory/heap";
import { orderBytes, orderInit, orderTouchLru, orderTouchPlru, orderVictim } from "./replacement";

const GROUP: usize = 16;
const LAST_LANE: u32 = 15;
const TAG_BYTES: usize = 16;
const EMPTY: u8 = 0;
/** A lane of the last group behind the last way: neither empty nor a fingerprint. */
const NO_WAY: u8 = 1;
const IN_PAGE: u64 = 0xfff;
/** Hints an entry, so that few entries share one; bytes of a hint, the index of an entry. */
const HINTS_PER_ENTRY: usize = 4;
const HINT_BYTES: usize = 4;

/** Makes an empty cache; 0 when memory is exhausted. `holds`: log2 of the sizes of page that it takes, as bits. */
export function cacheCreate(sets: u32, ways: u32, replacement: u32, seed: u64, holds: u64): usize {
  const cache = heapAllocate(CACHE_BYTES);
  if (!cache) return 0;
  const stride = <u32>((<usize>ways + GROUP - 1) & ~(GROUP - 1));
  const wayBits = max<u32>(1, 32 - <u32>clz<u32>(ways - 1));
  const entries = <usize>sets << <usize>wayBits;
  const order = orderBytes(replacement, 1 << wayBits);
  const hints = <u32>1 << (32 - clz<u32>(<u32>(entries * HINTS_PER_ENTRY - 1)));
  store<u32>(cache, sets, CACHE_SETS);
  store<u32>(cache, ways, CACHE_WAYS);
  store<u32>(cache, wayBits, CACHE_WAY_BITS);
  store<u32>(cache, stride, CACHE_STRIDE);
  store<u32>(cache, order, CACHE_ORDER_STRIDE);
  store<u32>(cache, replacement, CACHE_REPLACEMENT);
  store<u64>(cache, holds, CACHE_HOLDS);
  if (<usize>stride > GROUP) {
    store<u32>(cache, (hints - 1) * <u32>HINT_BYTES, CACHE_HINT_MASK);
    store<u32>(cache, <u32>heapAllocate(<usize>hints * HINT_BYTES), CACHE_HINTS);
  }
  store<u32>(cache, <u32>heapAllocate(<usize>sets * <usize>stride), CACHE_FINGERPRINTS);
  store<u32>(cache, <u32>heapAllocate(entries * TAG_BYTES), CACHE_TAGS);
  store<u32>(cache, <u32>heapAllocate(entries * <usize>CACHED_BYTES), CACHE_VALUES);
  store<u32>(cache, <u32>heapAllocate(<usize>sets * <usize>order), CACHE_ORDER);
  const complete =
    (<usize>stride == GROUP || load<u32>(cache, CACHE_HINTS)) &&
    load<u32>(cache, CACHE_FINGERPRINTS) &&
    load<u32>(cache, CACHE_TAGS) &&
    load<u32>(cache, CACHE_VALUES) &&
    load<u32>(cache, CACHE_ORDER);
  if (!complete) {
    cacheRelease(cache);
    return 0;
  }
  cacheReset(cache, seed);
  return cache;
}

export function cacheRelease(cache: usize): void {
  const sets = <usize>load<u32>(cache, CACHE_SETS);
  const entries = sets << <usize>load<u32>(cache, CACHE_WAY_BITS);
  heapFree(<usize>load<u32>(cache, CACHE_HINTS), hintBytes(cache));
  heapFree(<usize>load<u32>(cache, CACHE_FINGERPRINTS), sets * <usize>load<u32>(cache, CACHE_STRIDE));
  heapFree(<usize>load<u32>(cache, CACHE_TAGS), entries * TAG_BYTES);
  heapFree(<usize>load<u32>(cache, CACHE_VALUES), entries * <usize>CACHED_BYTES);
  heapFree(<usize>load<u32>(cache, CACHE_ORDER), sets * <usize>load<u32>(cache, CACHE_ORDER_STRIDE));
  heapFree(cache, CACHE_BYTES);
}

// @ts-ignore: decorator
@inline
function hintBytes(cache: usize): usize {
  return <usize>load<u32>(cache, CACHE_HINT_MASK) + HINT_BYTES;
}

/** Empties a cache and forgets everything about its past. */
export function cacheReset(cache: usize, seed: u64): void {
  const sets = <usize>load<u32>(cache, CACHE_SETS);
  const ways = <usize>load<u32>(cache, CACHE_WAYS);
  const stride = <usize>load<u32>(cache, CACHE_STRIDE);
  const fingerprints = <usize>load<u32>(cache, CACHE_FINGERPRINTS);
  const entries = sets << <usize>load<u32>(cache, CACHE_WAY_BITS);
  if (stride > GROUP) memory.fill(<usize>load<u32>(cache, CACHE_HINTS), 0, hintBytes(cache));
  memory.fill(<usize>load<u32>(cache, CACHE_TAGS), 0, entries * TAG_BYTES);
  for (let set: usize = 0; set < sets; set++) {
    memory.fill(fingerprints + set * stride, EMPTY, ways);
    memory.fill(fingerprints + set * stride + ways, NO_WAY, stride - ways);
    orderInit(
      load<u32>(cache, CACHE_REPLACEMENT),
      <usize>load<u32>(cache, CACHE_ORDER) + set * <usize>load<u32>(cache, CACHE_ORDER_STRIDE),
      <u32>ways,
    );
  }
  store<u32>(cache, 0, CACHE_LIVE);
  store<u64>(cache, 0, CACHE_SIZES);
  store<u64>(cache, 0, CACHE_USES);
  // The generator has no state 0.
  store<u64>(cache, seed * 0x9e3779b97f4a7c15 + 1, CACHE_RANDOM);
}

// @ts-ignore: decorator
@inline
function keyOf(address: u64, shift: u32): u64 {
  return ((address >> <u64>shift) << <u64>shift) | <u64>shift;
}

// @ts-ignore: decorator
@inline
function setOf(lastSet: u32, key: u64, tag: u64): u32 {
  return (<u32>(key >> (key & IN_PAGE)) ^ <u32>tag) & lastSet;
}

// @ts-ignore: decorator
@inline
function hashOf(key: u64, tag: u64): u64 {
  return (key ^ (tag << 1)) * 0x9e3779b97f4a7c15;
}

/** Never EMPTY, never NO_WAY. */
// @ts-ignore: decorator
@inline
function fingerprintOf(hash: u64): u8 {
  return <u8>max<u32>(<u32>(hash >> 56), NO_WAY + 1);
}

// @ts-ignore: decorator
@inline
function hintAt(cache: usize, hash: u64): usize {
  return <usize>(load<u32>(cache, CACHE_HINTS) + (<u32>(hash >> 32) & load<u32>(cache, CACHE_HINT_MASK)));
}

// @ts-ignore: decorator
@inline
function hintOf(cache: usize, hash: u64): u32 {
  return load<u32>(hintAt(cache, hash));
}

/** Index of the entry for a page of this size, or -1. Changes nothing: see `cacheTouch`. */
// @ts-ignore: decorator
@inline
export function cacheFind(cache: usize, address: u64, shift: u32, tag: u64): i32 {
  const key = keyOf(address, shift);
  if (<usize>load<u32>(cache, CACHE_STRIDE) == GROUP) return search(cache, key, tag, hashOf(key, tag), GROUP);
  const hint = hintOf(cache, hashOf(key, tag));
  return cacheIsEntry(cache, hint, key, tag) ? <i32>hint : searchSlowly(cache, key, tag);
}

/**
 * Index of the entry that is most likely the one for a page, without a search; see `cacheIsEntry`. `key`: the page's
 * address | log2 of its size.
 */
// @ts-ignore: decorator
@inline
export function cacheGuess(cache: usize, key: u64, tag: u64): u32 {
  const hash = hashOf(key, tag);
  if (<usize>load<u32>(cache, CACHE_STRIDE) > GROUP) return hintOf(cache, hash);
  const set = setOf(load<u32>(cache, CACHE_SETS) - 1, key, tag);
  const fingerprints = v128.load(<usize>load<u32>(cache, CACHE_FINGERPRINTS) + <usize>set * GROUP);
  const alike = i8x16.bitmask(i8x16.eq(fingerprints, i8x16.splat(fingerprintOf(hash))));
  return (set << load<u32>(cache, CACHE_WAY_BITS)) + (<u32>ctz(alike) & LAST_LANE);
}

/** Whether an entry is the one for a page. */
// @ts-ignore: decorator
@inline
export function cacheIsEntry(cache: usize, index: u32, key: u64, tag: u64): bool {
  return isEntry(<usize>load<u32>(cache, CACHE_TAGS) + <usize>index * TAG_BYTES, key, tag);
}

/** Searches a set of several groups, and leaves a hint of what it finds. */
function searchSlowly(cache: usize, key: u64, tag: u64): i32 {
  const hash = hashOf(key, tag);
  const index = search(cache, key, tag, hash, <usize>load<u32>(cache, CACHE_STRIDE));
  if (index >= 0) store<u32>(hintAt(cache, hash), <u32>index);
  return index;
}

// @ts-ignore: decorator
@inline
function search(cache: usize, key: u64, tag: u64, hash: u64, stride: usize): i32 {
  const set = <usize>setOf(load<u32>(cache, CACHE_SETS) - 1, key, tag);
  const group = <usize>load<u32>(cache, CACHE_FINGERPRINTS) + set * stride;
  const tags = <usize>load<u32>(cache, CACHE_TAGS);
  const first = set << <usize>load<u32>(cache, CACHE_WAY_BITS);
  const fingerprint = i8x16.splat(fingerprintOf(hash));
  for (let at: usize = 0; at < stride; at += GROUP) {
    let alike = i8x16.bitmask(i8x16.eq(v128.load(group + at), fingerprint));
    while (alike) {
      const index = first + at + <usize>ctz(alike);
      if (isEntry(tags + index * TAG_BYTES, key, tag)) return <i32>index;
      alike &= alike - 1;
    }
  }
  return -1;
}

/** Compares all 128 bits. */
// @ts-ignore: decorator
@inline
function isEntry(tags: usize, key: u64, tag: u64): bool {
  return !((load<u64>(tags) ^ key) | (load<u64>(tags, 8) ^ tag));
}

/** Index of the entry that translates an address for this tag, the smallest page first, or -1. */
// @ts-ignore: decorator
@inline
export function cacheFindAnySize(cache: usize, address: u64, tag: u64): i32 {
  let sizes = load<u64>(cache, CACHE_SIZES);
  while (sizes) {
    const index = cacheFind(cache, address, <u32>ctz(sizes), tag);
    if (index >= 0) return index;
    sizes &= sizes - 1;
  }
  return -1;
}

/** Has the replacement policy know that an entry was used. */
// @ts-ignore: decorator
@inline
export function cacheTouch(cache: usize, index: i32): void {
  const replacement = load<u32>(cache, CACHE_REPLACEMENT);
  if (replacement == REPLACEMENT_LRU) {
    cacheTouchLru(cache, index);
  } else if (replacement == REPLACEMENT_PLRU) {
    const wayBits = load<u32>(cache, CACHE_WAY_BITS);
    const set = <usize>index >> <usize>wayBits;
    const order = <usize>load<u32>(cache, CACHE_ORDER) + set * <usize>load<u32>(cache, CACHE_ORDER_STRIDE);
    orderTouchPlru(order, <u32>index & ((<u32>1 << wayBits) - 1), load<u32>(cache, CACHE_WAYS));
  }
}

/** The same where the policy is known to be true LRU. */
// @ts-ignore: decorator
@inline
export function cacheTouchLru(cache: usize, index: i32): void {
  orderTouchLru(<usize>load<u32>(cache, CACHE_ORDER), <u32>index, cache + CACHE_USES);
}

/** What an entry holds: CACHED_* of layout.ts. */
// @ts-ignore: decorator
@inline
export function cacheEntry(cache: usize, index: i32): usize {
  return <usize>load<u32>(cache, CACHE_VALUES) + <usize>index * <usize>CACHED_BYTES;
}

/** log2 of the size of an entry's page. */
// @ts-ignore: decorator
@inline
export function cacheShift(cache: usize, index: i32): u32 {
  return <u32>(load<u64>(<usize>load<u32>(cache, CACHE_TAGS) + <usize>index * TAG_BYTES) & IN_PAGE);
}

/** Whether there is an entry at this index. */
export function cacheIsLive(cache: usize, index: i32): bool {
  const wayBits = <usize>load<u32>(cache, CACHE_WAY_BITS);
  const group = (<usize>index >> wayBits) * <usize>load<u32>(cache, CACHE_STRIDE);
  const way = <usize>index & ((<usize>1 << wayBits) - 1);
  return load<u8>(<usize>load<u32>(cache, CACHE_FINGERPRINTS) + group + way) != EMPTY;
}

/** The lowest empty way of a set, or -1. */
// @ts-ignore: decorator
@inline
function emptyWay(group: usize, stride: usize): i32 {
  for (let at: usize = 0; at < stride; at += GROUP) {
    const empty = i8x16.bitmask(i8x16.eq(v128.load(group + at), i8x16.splat(EMPTY)));
    if (empty) return <i32>at + <i32>ctz(empty);
  }
  return -1;
}

/**
 * Makes an entry for a page that has none, in the lowest empty way or else in the victim's place; returns its index. What it
 * holds is the caller's to store (`cacheEntry`).
 */
export function cacheFill(cache: usize, address: u64, shift: u32, tag: u64): i32 {
  const key = keyOf(address, shift);
  const set = <usize>setOf(load<u32>(cache, CACHE_SETS) - 1, key, tag);
  const ways = load<u32>(cache, CACHE_WAYS);
  const stride = <usize>load<u32>(cache, CACHE_STRIDE);
  const group = <usize>load<u32>(cache, CACHE_FINGERPRINTS) + set * stride;
  const live = load<u32>(cache, CACHE_LIVE);
  let way = live == load<u32>(cache, CACHE_SETS) * ways ? -1 : emptyWay(group, stride);
  const replaced = way < 0;
  if (replaced) {
    const order = <usize>load<u32>(cache, CACHE_ORDER) + set * <usize>load<u32>(cache, CACHE_ORDER_STRIDE);
    way = <i32>orderVictim(load<u32>(cache, CACHE_REPLACEMENT), order, ways, cache + CACHE_RANDOM);
  } else {
    store<u32>(cache, live + 1, CACHE_LIVE);
  }
  const index = <i32>(set << <usize>load<u32>(cache, CACHE_WAY_BITS)) | way;
  const at = <usize>load<u32>(cache, CACHE_TAGS) + <usize>index * TAG_BYTES;
  store<u64>(cache, replaced ? load<u64>(at) : 0, CACHE_VICTIM_KEY);
  store<u64>(cache, replaced ? load<u64>(at, 8) : 0, CACHE_VICTIM_TAG);
  store<u64>(at, key);
  store<u64>(at, tag, 8);
  const hash = hashOf(key, tag);
  store<u8>(group + <usize>way, fingerprintOf(hash));
  if (stride > GROUP) store<u32>(hintAt(cache, hash), <u32>index);
  store<u64>(cache, load<u64>(cache, CACHE_SIZES) | ((<u64>1) << <u64>shift), CACHE_SIZES);
  cacheTouch(cache, index);
  return index;
}

/**
 * Drops every entry whose owner agrees with `owner` in the bits of `mask` and whose page meets [first, last]. Returns how
 * many were dropped.
 */
export function cacheInvalidate(cache: usize, mask: u64, owner: u64, first: u64, last: u64): u32 {
  const sets = <usize>load<u32>(cache, CACHE_SETS);
  const ways = <usize>load<u32>(cache, CACHE_WAYS);
  const stride = <usize>load<u32>(cache, CACHE_STRIDE);
  const places = <usize>1 << <usize>load<u32>(cache, CACHE_WAY_BITS);
  const tags = <usize>load<u32>(cache, CACHE_TAGS);
  const values = <usize>load<u32>(cache, CACHE_VALUES);
  let fingerprints = <usize>load<u32>(cache, CACHE_FINGERPRINTS);
  let sizes: u64 = 0;
  let dropped: u32 = 0;
  for (let set: usize = 0; set < sets; set++) {
    for (let way: usize = 0; way < ways; way++) {
      if (load<u8>(fingerprints + way) != EMPTY) {
        const index = set * places + way;
        const key = load<u64>(tags + index * TAG_BYTES);
        const entry = values + index * <usize>CACHED_BYTES;
        const size = (<u64>1) << (key & IN_PAGE);
        const page = key & ~IN_PAGE;
        if (page <= last && page + (size - 1) >= first && !((load<u64>(entry, CACHED_OWNER) ^ owner) & mask)) {
          store<u8>(fingerprints + way, EMPTY);
          // A hint may still lead here, but no page has size 1.
          store<u64>(tags + index * TAG_BYTES, 0);
          dropped++;
        } else {
          sizes |= size;
        }
      }
    }
    fingerprints += stride;
  }
  store<u64>(cache, sizes, CACHE_SIZES);
  store<u32>(cache, load<u32>(cache, CACHE_LIVE) - dropped, CACHE_LIVE);
  return dropped;
}

/** Looks pages up, one after another (CACHE_USE_* of layout.ts), and makes an entry for every one that is not there. */
export function cacheUse(cache: usize, uses: usize, n: u32): void {
  for (let use = uses; use < uses + <usize>n * <usize>CACHE_USE_BYTES; use += CACHE_USE_BYTES) {
    const address = load<u64>(use, CACHE_USE_ADDRESS);
    const tag = load<u64>(use, CACHE_USE_TAG);
    const shift = load<u32>(use, CACHE_USE_SHIFT);
    const found = cacheFind(cache, address, shift, tag);
    if (found >= 0) {
      cacheTouch(cache, found);
      store<u64>(use, load<u64>(cacheEntry(cache, found), CACHED_VALUE), CACHE_USE_VALUE);
      store<u32>(use, CACHE_HIT, CACHE_USE_OUTCOME);
      continue;
    }
    const entry = cacheEntry(cache, cacheFill(cache, address, shift, tag));
    store<u64>(entry, load<u64>(use, CACHE_USE_VALUE), CACHED_VALUE);
    store<u64>(entry, load<u64>(use, CACHE_USE_OWNER), CACHED_OWNER);
    const key = load<u64>(cache, CACHE_VICTIM_KEY);
    store<u64>(use, key, CACHE_USE_VICTIM_KEY);
    store<u64>(use, load<u64>(cache, CACHE_VICTIM_TAG), CACHE_USE_VICTIM_TAG);
    store<u32>(use, key ? CACHE_REPLACED : CACHE_MISS, CACHE_USE_OUTCOME);
  }
}
