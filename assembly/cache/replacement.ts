/**
 * Which way of a full set gives way. A policy is chosen when a cache is made; what it remembers of a set lies at `order`.
 *
 * True LRU keeps the ways in a list, most recently used first: { u16 next, u16 previous } a way, and a last pair that is
 * the list's two ends. Tree-PLRU keeps a u64 of one bit a node of the binary tree over the ways (a power of two, at most
 * 64), which points to the half used less recently; node 1 is the root. Round-robin keeps a u32, the way that is next.
 * Random keeps nothing of a set: its generator (xorshift64*) belongs to the cache.
 */
import { REPLACEMENT_LRU, REPLACEMENT_PLRU, REPLACEMENT_ROUND_ROBIN } from "../layout";

const LINK_BYTES: u32 = 4;
const PREVIOUS: usize = 2;

// @ts-ignore: decorator
@inline
function link(order: usize, way: u32): usize {
  return order + (<usize>way << 2);
}

/** Bytes that a policy needs for one set. */
export function orderBytes(replacement: u32, ways: u32): u32 {
  return replacement == REPLACEMENT_LRU ? (ways + 1) * LINK_BYTES : 8;
}

export function orderInit(replacement: u32, order: usize, ways: u32): void {
  if (replacement != REPLACEMENT_LRU) {
    store<u64>(order, 0);
    return;
  }
  for (let way: u32 = 0; way <= ways; way++) {
    store<u16>(link(order, way), <u16>(way == ways ? 0 : way + 1));
    store<u16>(link(order, way), <u16>(way ? way - 1 : ways), PREVIOUS);
  }
}

/** A way was used. */
// @ts-ignore: decorator
@inline
export function orderTouch(replacement: u32, order: usize, way: u32, ways: u32): void {
  if (replacement == REPLACEMENT_LRU) {
    const ends = link(order, ways);
    const newest = <u32>load<u16>(ends);
    if (newest == way) return;
    const at = link(order, way);
    const next = <u32>load<u16>(at);
    const previous = <u32>load<u16>(at, PREVIOUS);
    store<u16>(link(order, previous), <u16>next);
    store<u16>(link(order, next), <u16>previous, PREVIOUS);
    store<u16>(at, <u16>newest);
    store<u16>(at, <u16>ways, PREVIOUS);
    store<u16>(link(order, newest), <u16>way, PREVIOUS);
    store<u16>(ends, <u16>way);
  } else if (replacement == REPLACEMENT_PLRU) {
    let bits = load<u64>(order);
    for (let node = (ways | way) >> 1, child = ways | way; node; child = node, node >>= 1) {
      const bit = (<u64>1) << <u64>node;
      bits = child & 1 ? bits & ~bit : bits | bit;
    }
    store<u64>(order, bits);
  }
}

/** The way that gives way, of a set that is full. `random`: where the cache's generator has its state. */
// @ts-ignore: decorator
@inline
export function orderVictim(replacement: u32, order: usize, ways: u32, random: usize): u32 {
  if (replacement == REPLACEMENT_LRU) return <u32>load<u16>(link(order, ways), PREVIOUS);
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
