import type { SlowMemory } from "./unit.js";

export type Range = readonly [start: bigint, end: bigint];

/** RAM of which only some words are named: the others read as zero, and outside RAM nothing answers. */
export class SparseMemory implements SlowMemory {
  readonly #words: Map<bigint, bigint>;

  constructor(
    readonly ram: readonly Range[],
    words: ReadonlyMap<bigint, bigint>,
  ) {
    this.#words = new Map(words);
  }

  /** Words by address: the named ones, and those written since. */
  get words(): ReadonlyMap<bigint, bigint> {
    return this.#words;
  }

  read(address: bigint): bigint | null {
    if (!this.ram.some(([start, end]) => address >= start && address < end)) return null;
    return this.#words.get(address) ?? 0n;
  }

  write(address: bigint, value: bigint): void {
    if (this.read(address) === null) throw new RangeError(`no RAM at ${address.toString(16)}`);
    this.#words.set(address, value);
  }
}
