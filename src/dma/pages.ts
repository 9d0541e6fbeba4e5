import { hex, type PhysicalAddress, physicalAddress } from "../engine/addresses.js";
import { DmaMisuseError } from "./errors.js";

/** Physical memory for coherent allocations: alloc_pages() and free_pages(), in blocks of 2^order CPU pages. */
export interface PageAllocator {
  /** null when there is no such block. */
  allocate(order: number): PhysicalAddress | null;
  free(block: PhysicalAddress, order: number): void;
}

/** MAX_PAGE_ORDER (include/linux/mmzone.h). */
export const MAX_PAGE_ORDER = 10;

/** A plain buddy allocator over [first, first + bytes): the lowest block that fits, split in halves. */
export class BuddyPages implements PageAllocator {
  /** Free blocks of each order. */
  readonly #free: Set<bigint>[] = Array.from({ length: MAX_PAGE_ORDER + 1 }, () => new Set());
  readonly #used = new Map<bigint, number>();

  /**
   * @param pageSize bytes of a CPU page
   * @throws DmaMisuseError `invalid` when the range is not made of whole pages
   */
  constructor(
    first: PhysicalAddress,
    bytes: bigint,
    private readonly pageSize: bigint,
  ) {
    if (((first | bytes) & (pageSize - 1n)) !== 0n || bytes <= 0n) {
      throw new DmaMisuseError("invalid", `manage ${bytes} bytes at ${hex(first)}`, `not pages of ${pageSize} bytes`);
    }
    let at: bigint = first;
    for (const end = first + bytes; at < end; ) {
      let order = MAX_PAGE_ORDER;
      while ((at & (this.#bytes(order) - 1n)) !== 0n || at + this.#bytes(order) > end) order--;
      this.#free[order].add(at);
      at += this.#bytes(order);
    }
  }

  /** Bytes handed out. */
  get used(): bigint {
    return [...this.#used.values()].reduce((sum, order) => sum + this.#bytes(order), 0n);
  }

  allocate(order: number): PhysicalAddress | null {
    let from = order;
    while (from <= MAX_PAGE_ORDER && this.#free[from].size === 0) from++;
    if (from > MAX_PAGE_ORDER) return null;
    const block = [...this.#free[from]].reduce((lowest, at) => (at < lowest ? at : lowest));
    this.#free[from].delete(block);
    while (from > order) this.#free[--from].add(block + this.#bytes(from));
    this.#used.set(block, order);
    return physicalAddress(block);
  }

  /** Throws DmaMisuseError `not-allocated` for a block that is not in use. */
  free(block: PhysicalAddress, order: number): void {
    if (this.#used.get(block) !== order) {
      throw new DmaMisuseError("not-allocated", `free 2^${order} pages at ${hex(block)}`, "no such block is in use");
    }
    this.#used.delete(block);
    let at: bigint = block;
    let size = order;
    while (size < MAX_PAGE_ORDER && this.#free[size].delete(at ^ this.#bytes(size))) at &= ~this.#bytes(size++);
    this.#free[size].add(at);
  }

  #bytes(order: number): bigint {
    return this.pageSize << BigInt(order);
  }
}
