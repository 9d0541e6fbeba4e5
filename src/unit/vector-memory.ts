/** The memory of a conformance vector, as every architecture's model sets it up. */
import { physicalAddress } from "../engine/addresses.js";
import type { Engine } from "../engine/engine.js";

/** Vectors put their tables anywhere below 2^48; ours, of which there are none, lie at the very top. */
export const VECTOR_ARENA_BASE = (1n << 52n) - (1n << 32n);

/** Declares `ram`, [start, end) pairs, and writes `words`, (address, value) pairs. */
export function loadVectorMemory(
  engine: Engine,
  ram: readonly (readonly [start: bigint, end: bigint])[],
  words: readonly (readonly [address: bigint, value: bigint])[],
): void {
  for (const [start, end] of ram) engine.memory.declareRam(physicalAddress(start), physicalAddress(end));
  const bytes = new Uint8Array(8);
  for (const [address, value] of words) {
    new DataView(bytes.buffer).setBigUint64(0, value, true);
    engine.memory.load(physicalAddress(address), bytes);
  }
}
