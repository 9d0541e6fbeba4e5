/** Typed arrays that double; and a list of free indices over them. */

export function grownFloat64(array: Float64Array, capacity: number): Float64Array<ArrayBuffer> {
  const grown = new Float64Array(capacity);
  grown.set(array);
  return grown;
}

export function grownInt32(array: Int32Array, capacity: number, fill = 0): Int32Array<ArrayBuffer> {
  const grown = new Int32Array(capacity);
  if (fill !== 0) grown.fill(fill, array.length);
  grown.set(array);
  return grown;
}

/** Dense indices: the one freed last is taken first, else the next unused. */
export class IndexPool {
  #free = new Int32Array(64);
  #capacity = 64;
  #freeCount = 0;
  /** One more than the highest index ever taken. */
  size = 0;

  get live(): number {
    return this.size - this.#freeCount;
  }

  take(): number {
    return this.#freeCount > 0 ? this.#free[--this.#freeCount] : this.size++;
  }

  give(index: number): void {
    if (this.#freeCount === this.#capacity) {
      this.#capacity *= 2;
      this.#free = grownInt32(this.#free, this.#capacity);
    }
    this.#free[this.#freeCount++] = index;
  }
}
