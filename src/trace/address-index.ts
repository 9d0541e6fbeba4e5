/** Sorted set of disjoint page ranges: the live segments of one domain. */

const BLOCK = 32;

class Block {
  count = 0;
  readonly starts = new Float64Array(BLOCK);
  readonly ends = new Float64Array(BLOCK);
  readonly ids = new Int32Array(BLOCK);

  /** How many of the block's ranges start at or before `page`. */
  rank(page: number): number {
    const { starts } = this;
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (starts[middle] <= page) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/**
 * Disjoint ranges [start, end) of page numbers, each with an id. Blocks of at most 32 ranges in order: every operation
 * is two binary searches and a short move, whatever the addresses are.
 */
export class AddressIndex {
  readonly #blocks: Block[] = [new Block()];

  /** Id of the first range that overlaps [start, end), or −1. */
  firstOverlap(start: number, end: number): number {
    const at = this.#blockOf(start);
    const block = this.#blocks[at];
    const rank = block.rank(start);
    if (rank > 0 && block.ends[rank - 1] > start) return block.ids[rank - 1];
    if (rank < block.count) return block.starts[rank] < end ? block.ids[rank] : -1;
    const next = this.#blocks[at + 1];
    return next !== undefined && next.starts[0] < end ? next.ids[0] : -1;
  }

  /** Adds a range, which must not overlap another. */
  insert(start: number, end: number, id: number): void {
    let at = this.#blockOf(start);
    let block = this.#blocks[at];
    if (block.count === BLOCK) {
      const upper = new Block();
      const half = BLOCK >> 1;
      upper.starts.set(block.starts.subarray(half));
      upper.ends.set(block.ends.subarray(half));
      upper.ids.set(block.ids.subarray(half));
      upper.count = half;
      block.count = half;
      this.#blocks.splice(at + 1, 0, upper);
      if (start >= upper.starts[0]) {
        at++;
        block = upper;
      }
    }
    const { starts, ends, ids } = block;
    let slot = block.count++;
    for (; slot > 0 && starts[slot - 1] > start; slot--) {
      starts[slot] = starts[slot - 1];
      ends[slot] = ends[slot - 1];
      ids[slot] = ids[slot - 1];
    }
    starts[slot] = start;
    ends[slot] = end;
    ids[slot] = id;
  }

  /** Removes the range that starts at `start`, which must exist. */
  remove(start: number): void {
    const at = this.#blockOf(start);
    const block = this.#blocks[at];
    const { starts, ends, ids } = block;
    const removed = block.rank(start) - 1;
    const count = --block.count;
    for (let slot = removed; slot < count; slot++) {
      starts[slot] = starts[slot + 1];
      ends[slot] = ends[slot + 1];
      ids[slot] = ids[slot + 1];
    }
    if (count === 0 && this.#blocks.length > 1) this.#blocks.splice(at, 1);
  }

  /** The last block whose first range starts at or before `page`, else the first. */
  #blockOf(page: number): number {
    const blocks = this.#blocks;
    let low = 0;
    let high = blocks.length;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (blocks[middle].starts[0] <= page) low = middle;
      else high = middle;
    }
    return low;
  }
}
