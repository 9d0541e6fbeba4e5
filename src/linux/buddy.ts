/**
 * Physical memory as Linux's page allocator keeps it (mm/page_alloc.c): naturally aligned blocks of 2^order pages, a
 * free list an order, and buddies that merge as soon as both are free. One zone and one migrate type; no per-CPU lists.
 */
import { IommuError } from "../engine/errors.js";

/** Linux include/linux/mmzone.h: the largest block is 2^10 pages, 4 MiB. */
export const MAX_PAGE_ORDER = 10;

export interface BuddyOptions {
  /** Number of the first page. */
  readonly firstPage: number;
  readonly pages: number;
  /** Default: MAX_PAGE_ORDER. */
  readonly maxOrder?: number;
}

export class BuddyAllocator {
  readonly firstPage: number;
  readonly pages: number;
  readonly maxOrder: number;
  #freePages = 0;
  readonly #freeBlocks: number[];
  /** The page at or before the first on which a largest block can begin; the lists count from here. */
  readonly #base: number;
  /** Pages from there on. */
  readonly #extent: number;
  /** By page: order + 1 where a free block begins, -order - 1 where an allocated one does, else 0. */
  readonly #blocks: Int8Array;
  /** Circular lists of free blocks by page, counted from `#base`; element `#extent` + order is the list itself. */
  readonly #next: Int32Array;
  readonly #previous: Int32Array;

  /** Everything is free. Throws `invalid` for an impossible extent. */
  constructor({ firstPage, pages, maxOrder = MAX_PAGE_ORDER }: BuddyOptions) {
    const whole = [firstPage, pages, maxOrder].every(Number.isSafeInteger);
    if (!whole || maxOrder < 0 || maxOrder > 30 || firstPage < 0 || pages < 1) {
      throw new IommuError(
        "invalid",
        `manage ${pages} pages from page ${firstPage} on in blocks of up to 2^${maxOrder}`,
        undefined,
        "there must be a page",
      );
    }
    this.firstPage = firstPage;
    this.pages = pages;
    this.maxOrder = maxOrder;
    this.#base = firstPage - (firstPage % 2 ** maxOrder);
    this.#extent = firstPage - this.#base + pages;
    const lists = this.#extent + maxOrder + 1;
    this.#freeBlocks = new Array<number>(maxOrder + 1).fill(0);
    this.#blocks = new Int8Array(this.#extent);
    this.#next = new Int32Array(lists);
    this.#previous = new Int32Array(lists);
    for (let list = this.#extent; list < lists; list++) this.#next[list] = this.#previous[list] = list;
    for (let block = firstPage - this.#base; block < this.#extent; ) {
      let order = maxOrder;
      while (block % 2 ** order !== 0 || block + 2 ** order > this.#extent) order--;
      // Boot puts memory at the tails of the lists, lowest first (__free_pages_core, FPI_TO_TAIL).
      this.#link(block, order, true);
      this.#freePages += 2 ** order;
      block += 2 ** order;
    }
  }

  get freePages(): number {
    return this.#freePages;
  }

  /** Free blocks of exactly this order. */
  freeBlocks(order: number): number {
    return this.#freeBlocks[order] ?? 0;
  }

  /** Free pages in blocks of this order or larger: what an allocation of the order can use. */
  usablePages(order: number): number {
    let pages = 0;
    for (let at = order; at <= this.maxOrder; at++) pages += this.#freeBlocks[at] * 2 ** at;
    return pages;
  }

  /** First page of 2^order pages, from the smallest block that holds them (__rmqueue_smallest); null when there is none. */
  allocate(order: number): number | null {
    if (!Number.isInteger(order) || order < 0 || order > this.maxOrder) {
      throw new IommuError("invalid", `allocate 2^${order} pages`, undefined, `orders are 0 to ${this.maxOrder}`);
    }
    for (let from = order; from <= this.maxOrder; from++) {
      const block = this.#next[this.#extent + from];
      if (block >= this.#extent) continue;
      this.#unlink(block, from);
      for (let half = from - 1; half >= order; half--) this.#link(block + 2 ** half, half, false);
      this.#blocks[block] = -order - 1;
      this.#freePages -= 2 ** order;
      return this.#base + block;
    }
    return null;
  }

  /** Order of the allocated block that begins at this page; null when none does. */
  orderAt(page: number): number | null {
    const mark = this.#blocks[page - this.#base] ?? 0;
    return mark < 0 ? -mark - 1 : null;
  }

  /** Frees what was allocated at this page (__free_one_page). Throws `not-allocated` when nothing was. */
  free(page: number): void {
    const allocated = this.orderAt(page);
    if (allocated === null) {
      throw new IommuError("not-allocated", "free pages", BigInt(page) * 4096n, "no allocated block begins there");
    }
    let block = page - this.#base;
    let order = allocated;
    this.#blocks[block] = 0;
    this.#freePages += 2 ** order;
    while (order < this.maxOrder && this.#isFree(block ^ (1 << order), order)) {
      this.#unlink(block ^ (1 << order), order);
      block &= ~(1 << order);
      order++;
    }
    // buddy_merge_likely: the block that this one and its buddy would make has a free buddy; better not used soon.
    const mergeLikely = order < this.maxOrder - 1 && this.#isFree((block & ~(1 << order)) ^ (2 << order), order + 1);
    this.#link(block, order, mergeLikely);
  }

  #isFree(block: number, order: number): boolean {
    return this.#blocks[block] === order + 1;
  }

  #link(block: number, order: number, tail: boolean): void {
    const list = this.#extent + order;
    const before = tail ? this.#previous[list] : list;
    const after = this.#next[before];
    this.#next[before] = this.#previous[after] = block;
    this.#previous[block] = before;
    this.#next[block] = after;
    this.#blocks[block] = order + 1;
    this.#freeBlocks[order]++;
  }

  #unlink(block: number, order: number): void {
    this.#next[this.#previous[block]] = this.#next[block];
    this.#previous[this.#next[block]] = this.#previous[block];
    this.#blocks[block] = 0;
    this.#freeBlocks[order]--;
  }
}
