/** Structures in memory: little-endian 64-bit words that together make one number, so that bits have the specification's numbers. */
import type { SlowMemory } from "../vtd/unit.js";

/** Words of an STE, and of a CD: 64 bytes. */
export const WORDS_OF_ENTRY = 8;

/** Null when the fetch is aborted. */
export function readStructure(memory: SlowMemory, address: bigint, words: number): bigint | null {
  let value = 0n;
  for (let index = 0; index < words; index++) {
    const word = memory.read(address + BigInt(index * 8));
    if (word === null) return null;
    value |= word << BigInt(64 * index);
  }
  return value;
}

/** The greatest multiple of `size`, a power of two, that is not above an address. */
export function alignDown(address: bigint, size: bigint): bigint {
  return address & ~(size - 1n);
}

export function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
