/** FNV-1a over 32-bit words, the same as in bench/peers/common.h: contenders must agree on it before they are timed. */
export class Checksum {
  #sum = 0x811c9dc5;

  u32(word: number): this {
    this.#sum = Math.imul(this.#sum ^ word, 0x01000193) >>> 0;
    return this;
  }

  u64(value: bigint): this {
    return this.u32(Number(value & 0xffff_ffffn)).u32(Number(value >> 32n));
  }

  /** A number below 2^53 as 64 bits. */
  number(value: number): this {
    return this.u32(value >>> 0).u32(Math.floor(value / 0x1_0000_0000));
  }

  get value(): number {
    return this.#sum;
  }
}
