import { BATCH_BYTES } from "../../assembly/layout.js";
import type { LinearMemory } from "./linear-memory.js";

/** Room for one batch: columns of 64-bit numbers and one of 32-bit status words in linear memory. */
export abstract class Batch {
  protected readonly header: number;
  readonly #block: number;
  readonly #bytes: number;

  /** @param capacity most requests of one call. Throws `memory-exhausted`. */
  constructor(
    protected readonly linear: LinearMemory,
    readonly capacity: number,
    private readonly columns: number,
  ) {
    this.#bytes = BATCH_BYTES + capacity * (columns * 8 + 5) + 32;
    this.#block = linear.allocate(this.#bytes);
    this.header = this.#block;
  }

  /** Linear address of a column; the status words stand behind the last one, 16-byte aligned. */
  protected column(index: number): number {
    const at = this.#block + BATCH_BYTES + index * this.capacity * 8;
    return index === this.columns ? Math.ceil(at / 16) * 16 : at;
  }

  /** Status words, one per request. A fresh view; void after any call. */
  get status(): Uint32Array {
    return this.linear.u32(this.column(this.columns), this.capacity);
  }

  /** Linear address of one byte per request, behind the status words. */
  protected get bytesColumn(): number {
    return this.column(this.columns) + this.capacity * 4;
  }

  protected checkCount(count: number): void {
    if (count > this.capacity) throw new RangeError(`${count} requests in a batch of ${this.capacity}`);
  }

  /** Gives the memory back; the batch must not be used any more. */
  release(): void {
    this.linear.free(this.#block, this.#bytes);
  }
}
