/** Short live ranges, by a bit per page. See address-index.ts. */

const BLOCK_SHIFT = 5;
/** Pages of a block, one bit of a word each; no range is longer, so that a range touches two blocks at most. */
export const SMALL_PAGES = 1 << BLOCK_SHIFT;
/** No block has this number. */
const VACANT = -1;

/**
 * Disjoint ranges [start, end) of at most SMALL_PAGES page numbers, each with an id. The blocks of pages that have had a
 * range are in a hash table; each knows which of its pages are in ranges, on which of them one starts, and whose it is.
 */
export class SmallRanges {
  /** First page of the range that `firstOverlap` found last. */
  foundStart = 0;
  #mask = 0;
  /** Occupied slots of the table; a block whose ranges are all gone keeps its own until the table grows. */
  #occupied = 0;
  #blocks = new Float64Array(0);
  #covered = new Int32Array(0);
  #starts = new Int32Array(0);
  #ids = new Int32Array(0);

  constructor() {
    this.#allocate(64);
  }

  /** Id of the first range that overlaps [start, end), or −1. */
  firstOverlap(start: number, end: number): number {
    const first = Math.floor(start / SMALL_PAGES);
    const last = Math.floor((end - 1) / SMALL_PAGES);
    if (last - first > this.#mask) return this.#firstOfMany(start, end, first, last);
    for (let block = first; block <= last; block++) {
      const id = this.#firstWithin(this.#find(block), block * SMALL_PAGES, start, end);
      if (id >= 0) return id;
    }
    return -1;
  }

  /** Adds a range, which must not overlap another. */
  insert(start: number, end: number, id: number): void {
    const block = Math.floor(start / SMALL_PAGES);
    const slot = this.#findOrAdd(block);
    const page = start - block * SMALL_PAGES;
    const behind = end - block * SMALL_PAGES;
    this.#covered[slot] |= bits(page, behind);
    this.#starts[slot] |= 1 << page;
    this.#ids[slot * SMALL_PAGES + page] = id;
    if (behind > SMALL_PAGES) this.#covered[this.#findOrAdd(block + 1)] |= bits(0, behind - SMALL_PAGES);
  }

  /** Removes a range that was added. */
  remove(start: number, end: number): void {
    const block = Math.floor(start / SMALL_PAGES);
    const slot = this.#find(block);
    const page = start - block * SMALL_PAGES;
    const behind = end - block * SMALL_PAGES;
    this.#covered[slot] &= ~bits(page, behind);
    this.#starts[slot] &= ~(1 << page);
    if (behind > SMALL_PAGES) this.#covered[this.#find(block + 1)] &= ~bits(0, behind - SMALL_PAGES);
  }

  /** The first range that overlaps [start, end) within the block in `slot`, which begins at page `base`. */
  #firstWithin(slot: number, base: number, start: number, end: number): number {
    const covered = this.#covered[slot] & bits(Math.max(start - base, 0), end - base);
    if (covered === 0) return -1;
    const page = 31 - Math.clz32(covered & -covered);
    const starts = this.#starts[slot] & bits(0, page + 1);
    if (starts !== 0) return this.#startingAt(slot, base, 31 - Math.clz32(starts));
    const before = this.#find(base / SMALL_PAGES - 1);
    return this.#startingAt(before, base - SMALL_PAGES, 31 - Math.clz32(this.#starts[before]));
  }

  #startingAt(slot: number, base: number, page: number): number {
    this.foundStart = base + page;
    return this.#ids[slot * SMALL_PAGES + page];
  }

  /** The same as `firstOverlap` where there are more blocks in the range than in the table. */
  #firstOfMany(start: number, end: number, first: number, last: number): number {
    let lowest = Number.POSITIVE_INFINITY;
    for (let slot = 0; slot <= this.#mask; slot++) {
      const block = this.#blocks[slot];
      if (block < first || block > last || block > lowest) continue;
      const base = block * SMALL_PAGES;
      if ((this.#covered[slot] & bits(Math.max(start - base, 0), end - base)) !== 0) lowest = block;
    }
    if (lowest > last) return -1;
    return this.#firstWithin(this.#find(lowest), lowest * SMALL_PAGES, start, end);
  }

  /** Slot of a block, or the vacant one where it would be. */
  #find(block: number): number {
    const blocks = this.#blocks;
    const mask = this.#mask;
    let slot = hashOf(block) & mask;
    while (blocks[slot] !== block && blocks[slot] !== VACANT) slot = (slot + 1) & mask;
    return slot;
  }

  #findOrAdd(block: number): number {
    let slot = this.#find(block);
    if (this.#blocks[slot] === block) return slot;
    if (this.#occupied * 2 > this.#mask) {
      this.#rebuild();
      slot = this.#find(block);
    }
    this.#occupied++;
    this.#blocks[slot] = block;
    return slot;
  }

  /** Forgets the blocks without ranges, and doubles the table when the others fill a quarter of it. */
  #rebuild(): void {
    const blocks = this.#blocks;
    const covered = this.#covered;
    const starts = this.#starts;
    const ids = this.#ids;
    const used = covered.reduce((count, bitmap) => (bitmap === 0 ? count : count + 1), 0);
    this.#allocate(used * 4 > blocks.length ? blocks.length * 2 : blocks.length);
    for (let from = 0; from < blocks.length; from++) {
      if (covered[from] === 0) continue;
      const to = this.#find(blocks[from]);
      this.#occupied++;
      this.#blocks[to] = blocks[from];
      this.#covered[to] = covered[from];
      this.#starts[to] = starts[from];
      this.#ids.set(ids.subarray(from * SMALL_PAGES, (from + 1) * SMALL_PAGES), to * SMALL_PAGES);
    }
  }

  #allocate(slots: number): void {
    this.#mask = slots - 1;
    this.#occupied = 0;
    this.#blocks = new Float64Array(slots).fill(VACANT);
    this.#covered = new Int32Array(slots);
    this.#starts = new Int32Array(slots);
    this.#ids = new Int32Array(slots * SMALL_PAGES);
  }
}

/** Bits `from` to `to` − 1 of a block, as far as it has them. */
function bits(from: number, to: number): number {
  const below = -1 << from;
  return to < SMALL_PAGES ? below & ~(-1 << to) : below;
}

/** Neighbouring blocks are spread, lest the runs of two address ranges become one. */
function hashOf(block: number): number {
  const hash = Math.imul(block ^ (block / 0x100000000), 0x9e3779b1);
  return hash ^ (hash >>> 15);
}
