import { randomBits } from "../vtd/random-memory.js";
import type { Random } from "../random.js";
import type { Range } from "../vtd/sparse-memory.js";
import { alignDown, max } from "./structures.js";

/** Addresses that structures and tables are put at: physical ones, or intermediate ones below a stage 2. */
export interface Space {
  /** An aligned piece of a size that is a power of two, within so many bits of address; null when none is left. */
  allocate(size: bigint, bits: number): bigint | null;
  /** Whether something was written there. */
  taken(address: bigint): boolean;
  write(address: bigint, word: bigint): void;
}

const RAM_BYTES = 1n << 26n;
const LOW_RAM = 1n << 26n;

/** Physical memory in the making: one piece of RAM at 64 MByte, one anywhere from 2 GByte on. */
export class HostSpace implements Space {
  readonly ram: readonly Range[];
  readonly words = new Map<bigint, bigint>();
  /** What is left of each piece. */
  readonly #free: [start: bigint, end: bigint][];

  constructor(
    readonly random: Random,
    readonly oas: number,
  ) {
    const above = (1n << BigInt(oas)) - (1n << 31n) - RAM_BYTES;
    const high = (1n << 31n) + alignDown(randomBits(random, oas) % above, RAM_BYTES);
    this.ram = [
      [LOW_RAM, LOW_RAM + RAM_BYTES],
      [high, high + RAM_BYTES],
    ];
    this.#free = this.ram.map(([start, end]) => [start, end]);
  }

  allocate(size: bigint, bits: number): bigint | null {
    const aligned = (address: bigint) => alignDown(address + size - 1n, size);
    const places = this.#free.filter(([start, end]) => aligned(start) + size <= end && end <= 1n << BigInt(bits));
    if (places.length === 0) return null;
    const place = this.random.pick(places);
    const address = aligned(place[0]);
    place[0] = address + max(size, 64n);
    return address;
  }

  /** What machines cannot do without. */
  allocateSurely(size: bigint): bigint {
    const address = this.allocate(size, this.oas);
    if (address === null) throw new RangeError(`no ${size} bytes of random memory are left`);
    return address;
  }

  taken(address: bigint): boolean {
    return this.words.has(address);
  }

  write(address: bigint, word: bigint): void {
    this.words.set(address, word);
  }

  /** A page within the OAS that is not RAM. */
  hole(): bigint {
    for (;;) {
      const page = randomBits(this.random, this.oas, 16);
      if (!this.ram.some(([start, end]) => page >= start && page < end)) return page;
    }
  }
}
