/** Memory of one buffer, taken block by block. */
import { IommuError } from "../engine/errors.js";
import type { BuddyAllocator } from "../linux/buddy.js";
import { PageRuns } from "./page-runs.js";

export class BufferMemory {
  readonly runs = new PageRuns();
  readonly #memory: BuddyAllocator;
  readonly #blocks: number[] = [];

  constructor(memory: BuddyAllocator) {
    this.#memory = memory;
  }

  /** Its blocks, in its order, with neighbours apart. */
  get blocks(): readonly { readonly page: number; readonly pages: number }[] {
    return this.#blocks.map((page) => ({ page, pages: 2 ** (this.#memory.orderAt(page) ?? 0) }));
  }

  /** Adds a block of 2^order pages; false when there is none. */
  take(order: number): boolean {
    const page = this.#memory.allocate(order);
    if (page === null) return false;
    this.#blocks.push(page);
    this.runs.append(page, 2 ** order);
    return true;
  }

  /**
   * Adds a block of the first of these orders, largest first, that there is and that `pages` pages need; returns its
   * order. Throws `memory-exhausted` when there is none, and then the buffer has no memory left.
   */
  takeLargest(orders: readonly number[], pages: number): number {
    const taken = orders.find((order) => 2 ** order <= pages && this.take(order));
    if (taken !== undefined) return taken;
    this.release();
    throw new IommuError(
      "memory-exhausted",
      `allocate ${pages} more pages of a buffer`,
      undefined,
      `physical memory of ${this.#memory.pages} pages has ${this.#memory.freePages} left`,
    );
  }

  /** Gives all of it back. */
  release(): void {
    for (const page of this.#blocks.splice(0)) this.#memory.free(page);
  }
}
