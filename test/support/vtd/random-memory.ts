import type { Random } from "../random.js";
import type { Range } from "./sparse-memory.js";

const PAGE = 4096n;
const RAM_PAGES = 1024;

/** A random number of `bits` bits whose lowest `alignment` bits are 0. */
export function randomBits(random: Random, bits: number, alignment = 0): bigint {
  return (BigInt.asUintN(bits, random.u64()) >> BigInt(alignment)) << BigInt(alignment);
}

/** Sets each of the bits high:low with equal chance. */
export function randomField(random: Random, high: number, low = high): bigint {
  return randomBits(random, high - low + 1) << BigInt(low);
}

/** The words of a machine in the making, in two pieces of RAM: one below 4 GiB, one above. */
export class RandomMemory {
  readonly ram: readonly Range[];
  readonly words = new Map<bigint, bigint>();
  /** What is left of each piece. */
  readonly #free: [start: bigint, end: bigint][];

  constructor(
    readonly random: Random,
    readonly haw: number,
  ) {
    const size = BigInt(RAM_PAGES) * PAGE;
    const low = 0x10_0000n;
    const high = (1n << 32n) + ((randomBits(random, haw, 22) >> 1n) / size) * size;
    this.ram = [
      [low, low + size],
      [high, high + size],
    ];
    this.#free = this.ram.map(([start, end]) => [start, end]);
  }

  /** Consecutive pages of RAM that nobody else has. */
  allocate(pages = 1): bigint {
    const size = BigInt(pages) * PAGE;
    const places = this.#free.filter(([start, end]) => end - start >= size);
    const place = this.random.pick(places);
    if (place === undefined) throw new RangeError(`no ${pages} pages of random memory are left`);
    const [first] = place;
    place[0] += size;
    return first;
  }

  /** A page within the host address width that is not RAM. */
  hole(): bigint {
    for (;;) {
      const page = randomBits(this.random, this.haw, 12);
      if (!this.ram.some(([start, end]) => page >= start && page < end)) return page;
    }
  }
}
