/**
 * The linear congruential generator of Numerical Recipes, the same on every machine and in bench/peers/common.h. For
 * reproducible inputs only.
 */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** A number below `bound` (at most 2^24) from the generator's better, upper bits. */
  below(bound: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return Math.floor(((this.#state >>> 8) * bound) / 0x1000000);
  }
}
