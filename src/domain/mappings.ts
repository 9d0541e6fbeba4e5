import type { Iova, PhysicalAddress } from "../engine/addresses.js";

/** One live range of a domain: what it maps and who may use it. */
export interface DomainMapping<A extends Iova = Iova> {
  readonly address: A;
  /** Bytes. */
  readonly length: bigint;
  readonly physical: PhysicalAddress;
  /** Names of the devices that it was mapped for. */
  readonly users: ReadonlySet<string>;
}

/** The live ranges of a domain, which do not overlap, by address. */
export class Mappings<A extends Iova> {
  readonly #sorted: DomainMapping<A>[] = [];

  get all(): readonly DomainMapping<A>[] {
    return this.#sorted;
  }

  add(mapping: DomainMapping<A>): void {
    this.#sorted.splice(this.#indexAfter(mapping.address), 0, mapping);
  }

  /** Takes one range out; false when it is not there. */
  remove(mapping: DomainMapping<A>): boolean {
    const index = this.#indexAfter(mapping.address) - 1;
    if (this.#sorted[index] !== mapping) return false;
    this.#sorted.splice(index, 1);
    return true;
  }

  /** Takes out every range that begins in [first, first + length). */
  removeWithin(first: bigint, length: bigint): void {
    const from = this.#indexAfter(first - 1n);
    this.#sorted.splice(from, this.#indexAfter(first + length - 1n) - from);
  }

  /** The range that holds this number, whatever kind of address whoever has it takes it for. */
  at(address: bigint): DomainMapping<A> | null {
    const mapping = this.#sorted[this.#indexAfter(address) - 1];
    return mapping !== undefined && address < mapping.address + mapping.length ? mapping : null;
  }

  clear(): void {
    this.#sorted.length = 0;
  }

  #indexAfter(address: bigint): number {
    let low = 0;
    let high = this.#sorted.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#sorted[middle].address <= address) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
