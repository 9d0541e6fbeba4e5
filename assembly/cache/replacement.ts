/**
 * Which way of a full set gives way. A policy is chosen when a cache is made; what it remembers of a set lies at `order`,
 * aligned to 16.
 *
 * True LRU keeps a u64 a place, found by an entry's index alone: the number of the use that was its last. Tree-PLRU keeps a
 * u64 of one bit a node of the binary tree over the ways (a power of two, at most 64), which points to the half used less
 * recently; node 1 is the root. Round-robin keeps a u32, the way that is next. Random keeps nothing of a set: its generator
 * (xorshift64*) belongs to the cache, as does the number of uses.
 */
import { REPLACEMENT_LRU, REPLACEMENT_PLRU, REPLACEMENT_ROUND_ROBIN } from "../layout";

const ORDER_BYTES: u32 = 16;

/** Bytes that a policy needs for one set that has this many places for ways, an even number. */
export function orderBytes(replacement: u32, places: u32): u32 {
  return replacement == REPLACEMENT_LRU ? (places >> 1) * ORDER_BYTES : ORDER_BYTES;
}

export function orderInit(replacement: u32, order: usize, ways: u32): void {
  memory.fill(order, 0, <usize>orderBytes(replacement, (ways + 1) & ~1));
  // Uses are compared in pairs: what has no partner gets one that is never the oldest.
  if (replacement == REPLACEMENT_LRU && ways & 1) store<u64>(order + (<usize>ways << 3), i64.MAX_VALUE);
}

/** True LRU: an entry was used. `orders`: what is remembered of set 0. `uses`: where the cache counts them. */
// @ts-ignore: decorator
@inline
export function orderTouchLru(orders: usize, index: u32, uses: usize): void {
  const now = load<u64>(uses) + 1;
  store<u64>(uses, now);
  store<u64>(orders + (<usize>index << 3), now);
}

/** Tree-PLRU: a way of a set was used. */
// @ts-ignore: decorator
@inline
export function orderTouchPlru(order: usize, way: u32, ways: u32): void {
  let bits = load<u64>(order);
  for (let node = (ways | way) >> 1, child = ways | way; node; child = node, node >>= 1) {
    const bit = (<u64>1) << <u64>node;
    bits = child & 1 ? bits & ~bit : bits | bit;
  }
  store<u64>(order, bits);
}

/** The way whose last use is the longest ago. */
// @ts-ignore: decorator
@inline
function oldest(order: usize, ways: u32): u32 {
  let least = v128.load(order);
  let where = i64x2.replace_lane(i64x2.splat(0), 1, 1);
  let here = where;
  for (let at = order + 16; at < order + (<usize>ways << 3); at += 16) {
    const uses = v128.load(at);
    here = i64x2.add(here, i64x2.splat(2));
    const older = i64x2.lt_s(uses, least);
    least = v128.bitselect(uses, least, older);
    where = v128.bitselect(here, where, older);
  }
  const second = i64x2.extract_lane(least, 1) < i64x2.extract_lane(least, 0);
  return <u32>(second ? i64x2.extract_lane(where, 1) : i64x2.extract_lane(where, 0));
}

/** The way that gives way, of a set that is full. `random`: where the cache's generator has its state. */
// @ts-ignore: decorator
@inline
export function orderVictim(replacement: u32, order: usize, ways: u32, random: usize): u32 {
  if (replacement == REPLACEMENT_LRU) return oldest(order, ways);
  if (replacement == REPLACEMENT_PLRU) {
    const bits = load<u64>(order);
    let node: u32 = 1;
    while (node < ways) node = (node << 1) | (<u32>(bits >> <u64>node) & 1);
    return node - ways;
  }
  if (replacement == REPLACEMENT_ROUND_ROBIN) {
    const way = load<u32>(order);
    store<u32>(order, way + 1 == ways ? 0 : way + 1);
    return way;
  }
  return randomBelow(random, ways);
}

/** A number from 0 to `limit` - 1 by the generator whose state is at `state`. */
// @ts-ignore: decorator
@inline
export function randomBelow(state: usize, limit: u32): u32 {
  let x = load<u64>(state);
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  store<u64>(state, x);
  return <u32>((((x * 0x2545f4914f6cdd1d) >> 32) * <u64>limit) >> 32);
}
