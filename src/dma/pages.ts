import { hex, type PhysicalAddress, physicalAddress } from "../engine/addresses.js";
import { BuddyAllocator } from "../linux/buddy.js";
import { DmaMisuseError } from "./errors.js";

/** Physical memory for coherent allocations: alloc_pages() and free_pages(), in blocks of 2^order CPU pages. */
export interface PageAllocator {
  /** null when there is no such block. */
  allocate(order: number): PhysicalAddress | null;
  free(block: PhysicalAddress, order: number): void;
}

/** [first, first + bytes), in the hands of Linux's page allocator. */
export class BuddyPages implements PageAllocator {
  readonly #memory: BuddyAllocator;

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
    this.#memory = new BuddyAllocator({ firstPage: Number(first / pageSize), pages: Number(bytes / pageSize) });
  }

  /** Bytes handed out. */
  get used(): bigint {
    return BigInt(this.#memory.pages - this.#memory.freePages) * this.pageSize;
  }

  allocate(order: number): PhysicalAddress | null {
    const page = this.#memory.allocate(order);
    return page === null ? null : physicalAddress(BigInt(page) * this.pageSize);
  }

  /** Throws DmaMisuseError `not-allocated` for a block that is not in use. */
  free(block: PhysicalAddress, order: number): void {
    const page = Number(block / this.pageSize);
    if (block % this.pageSize !== 0n || this.#memory.orderAt(page) !== order) {
      throw new DmaMisuseError("not-allocated", `free 2^${order} pages at ${hex(block)}`, "no such block is in use");
    }
    this.#memory.free(page);
  }
}
