/** A small seeded generator (xorshift64*), for long runs that must be the same on every machine. */
export class Random {
  #state: bigint;

  constructor(seed: number) {
    this.#state = BigInt(seed) * 0x9e3779b97f4a7c15n + 1n;
    this.#state &= 0xffff_ffff_ffff_ffffn;
  }

  /** 64 random bits. */
  u64(): bigint {
    let x = this.#state;
    x ^= x >> 12n;
    x = (x ^ (x << 25n)) & 0xffff_ffff_ffff_ffffn;
    x ^= x >> 27n;
    this.#state = x;
    return (x * 0x2545f4914f6cdd1dn) & 0xffff_ffff_ffff_ffffn;
  }

  /** A whole number from 0 to `limit` - 1. */
  below(limit: number): number {
    return Number((this.u64() >> 20n) % BigInt(limit));
  }

  chance(probability: number): boolean {
    return this.below(1_000_000) < probability * 1_000_000;
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)];
  }
}
