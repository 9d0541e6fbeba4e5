/** A page allocator as obvious as can be: a bitmap of free pages, and the free lists as arrays. */
export class SlowBuddy {
  readonly free: boolean[];
  readonly lists: number[][];
  readonly #allocated = new Map<number, number>();
  readonly #firstPage: number;
  readonly #maxOrder: number;

  constructor(firstPage: number, pages: number, maxOrder: number) {
    this.#firstPage = firstPage;
    this.#maxOrder = maxOrder;
    this.free = new Array<boolean>(pages).fill(true);
    this.lists = Array.from({ length: maxOrder + 1 }, () => []);
    for (const [page, order] of this.#wholeBlocks()) this.lists[order].push(page);
  }

  allocate(order: number): number | null {
    const from = this.lists.findIndex((list, at) => at >= order && list.length > 0);
    if (from < 0) return null;
    const page = this.lists[from].shift() as number;
    for (let half = from - 1; half >= order; half--) this.lists[half].unshift(page + 2 ** half);
    this.#mark(page, order, false);
    this.#allocated.set(page, order);
    return page;
  }

  release(page: number): void {
    let order = this.#allocated.get(page) as number;
    this.#allocated.delete(page);
    this.#mark(page, order, true);
    let block = page;
    while (order < this.#maxOrder) {
      const buddy = this.#buddy(block, order);
      if (!this.lists[order].includes(buddy)) break;
      this.lists[order] = this.lists[order].filter((other) => other !== buddy);
      block = Math.min(block, buddy);
      order++;
    }
    const parent = Math.min(block, this.#buddy(block, order));
    const soonMerged = order < this.#maxOrder - 1 && this.lists[order + 1].includes(this.#buddy(parent, order + 1));
    if (soonMerged) this.lists[order].push(block);
    else this.lists[order].unshift(block);
  }

  /** How many blocks of each order the bitmap alone says there are: aligned, all free, and in no larger such block. */
  blocksByBitmap(): number[] {
    const counts = new Array<number>(this.#maxOrder + 1).fill(0);
    for (const [, order] of this.#wholeBlocks()) counts[order]++;
    return counts;
  }

  #buddy(page: number, order: number): number {
    const size = 2 ** order;
    return page % (2 * size) === 0 ? page + size : page - size;
  }

  #mark(page: number, order: number, free: boolean): void {
    this.free.fill(free, page - this.#firstPage, page - this.#firstPage + 2 ** order);
  }

  #wholeBlocks(): [page: number, order: number][] {
    const blocks: [number, number][] = [];
    for (let at = 0; at < this.free.length; ) {
      let order = -1;
      for (
        let size = 1;
        order < this.#maxOrder && (this.#firstPage + at) % size === 0 && at + size <= this.free.length;
        size *= 2
      ) {
        if (!this.free.slice(at, at + size).every(Boolean)) break;
        order++;
      }
      if (order >= 0) blocks.push([this.#firstPage + at, order]);
      at += order >= 0 ? 2 ** order : 1;
    }
    return blocks;
  }
}
