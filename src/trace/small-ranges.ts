/** Short live ranges, by a bit per page. See address-index.ts. */

/** Pages of a block, one bit of a word each; no range is longer, so that a range touches two blocks at most. */
const BLOCK_PAGES = 32;
const PAGE_MASK = BLOCK_PAGES - 1;
/** The longest range. (Exported constants are slower than a module's own: see assembler.ts.) */
export const SMALL_PAGES = BLOCK_PAGES;
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
  /** The slot that was found last. */
  #recent = 0;
  /** Occupied slots of the table; a block whose ranges are all gone keeps its own until the table is rebuilt. */
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
    const first = Math.floor(start / BLOCK_PAGES);
    const from = start & PAGE_MASK;
    if (end - start <= BLOCK_PAGES - from) return this.#firstWithin(first, from, from + (end - start));
    const last = Math.floor((end - 1) / BLOCK_PAGES);
    const to = ((end - 1) & PAGE_MASK) + 1;
    if (last - first > this.#mask) return this.#firstOfMany(first, from, last, to);
    for (let block = first; block <= last; block++) {
      const id = this.#firstWithin(block, block === first ? from : 0, block === last ? to : BLOCK_PAGES);
      if (id >= 0) return id;
    }
    return -1;
  }

  /** Adds a range, which must not overlap another. */
  insert(start: number, end: number, id: number): void {
    const block = Math.floor(start / BLOCK_PAGES);
    const page = start & PAGE_MASK;
    const behind = page + (end - start);
    const slot = this.#findOrAdd(block);
    this.#covered[slot] |= bits(page, behind);
    this.#starts[slot] |= 1 << page;
    this.#ids[slot * BLOCK_PAGES + page] = id;
    if (behind > BLOCK_PAGES) this.#covered[this.#findOrAdd(block + 1)] |= bits(0, behind - BLOCK_PAGES);
  }

  /** Removes a range that was added. */
  remove(start: number, end: number): void {
    const block = Math.floor(start / BLOCK_PAGES);
    const page = start & PAGE_MASK;
    const behind = page + (end - start);
    const slot = this.#find(block);
    this.#covered[slot] &= ~bits(page, behind);
    this.#starts[slot] &= ~(1 << page);
    if (behind > BLOCK_PAGES) this.#covered[this.#find(block + 1)] &= ~bits(0, behind - BLOCK_PAGES);
  }

  /** The first range that overlaps the pages from `from` to `to` − 1 of a block. */
  #firstWithin(block: number, from: number, to: number): number {
    const slot = this.#find(block);
    const overlap = this.#covered[slot] & bits(from, to);
    if (overlap === 0) return -1;
    const starts = this.#starts[slot] & bits(0, 32 - Math.clz32(overlap & -overlap));
    if (starts !== 0) return this.#found(block, slot, starts);
    const before = this.#find(block - 1);
    return this.#found(block - 1, before, this.#starts[before]);
  }

  /** The range that starts on the last of the pages `starts`. */
  #found(block: number, slot: number, starts: number): number {
    const page = 31 - Math.clz32(starts);
    this.foundStart = block * BLOCK_PAGES + page;
    return this.#ids[slot * BLOCK_PAGES + page];
  }

  /** The same as `firstOverlap` where there are more blocks in the range than in the table. */
  #firstOfMany(first: number, from: number, last: number, to: number): number {
    const blocks = this.#blocks.filter((block, slot) => block >= first && block <= last && this.#covered[slot] !== 0);
    for (const block of blocks.sort()) {
      const id = this.#firstWithin(block, block === first ? from : 0, block === last ? to : BLOCK_PAGES);
      if (id >= 0) return id;
    }
    return -1;
  }

  /** Slot of a block, or the vacant one where it would be. */
  #find(block: number): number {
    const blocks = this.#blocks;
    // One operation asks for the same block several times.
    if (blocks[this.#recent] === block) return this.#recent;
    const mask = this.#mask;
    let slot = hashOf(block) & mask;
    while (blocks[slot] !== block && blocks[slot] !== VACANT) slot = (slot + 1) & mask;
    this.#recent = slot;
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
      this.#ids.set(ids.subarray(from * BLOCK_PAGES, (from + 1) * BLOCK_PAGES), to * BLOCK_PAGES);
    }
  }

  #allocate(slots: number): void {
    this.#mask = slots - 1;
    this.#occupied = 0;
    this.#blocks = new Float64Array(slots).fill(VACANT);
    this.#covered = new Int32Array(slots);
    this.#starts = new Int32Array(slots);
    this.#ids = new Int32Array(slots * BLOCK_PAGES);
  }
}

/** Bits `from` to `to` − 1 of a block, as far as it has them. */
function bits(from: number, to: number): number {
  const below = -1 << from;
  return to < BLOCK_PAGES ? below & ~(-1 << to) : below;
}

/** Neighbouring blocks are spread, lest the runs of two address ranges become one. */
function hashOf(block: number): number {
  const hash = Math.imul(block ^ (block / 0x100000000), 0x9e3779b1);
  return hash ^ (hash >>> 15);
}
