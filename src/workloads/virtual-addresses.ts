/** Virtual addresses, given out from the top down and never again. In pages of 4 KiB. */
export class VirtualAddresses {
  #lowest: number;

  /** @param end number of the first page beyond them */
  constructor(end: number) {
    this.#lowest = end;
  }

  /** First page of a range of this many pages, aligned to `alignment` pages. */
  take(pages: number, alignment: number): number {
    const highest = this.#lowest - pages;
    this.#lowest = highest - (highest % alignment);
    return this.#lowest;
  }
}

/** Linux x86-64, mmap from below the stack: 47 bits of addresses for a process. */
export const PROCESS_END = 0x7_ffff_f000;

/** Alignment of a process's mapping: that of a huge page from its length on (thp_get_unmapped_area). */
export function mmapAlignment(pages: number): number {
  return pages >= 512 ? 512 : 1;
}
