/** Physical pages in the order of a buffer, as physically contiguous runs. */
export class PageRuns {
  readonly #starts: number[] = [];
  readonly #lengths: number[] = [];
  #pages = 0;

  /** Runs; neighbours are never adjacent in memory. */
  get count(): number {
    return this.#starts.length;
  }

  /** Pages of 4 KiB of all runs. */
  get pages(): number {
    return this.#pages;
  }

  /** First page of a run, and its pages. */
  start(run: number): number {
    return this.#starts[run];
  }

  length(run: number): number {
    return this.#lengths[run];
  }

  /** Adds pages at the end. Adjacent ones become one run, as iommu_map_sg and VFIO's pinning merge them before they map. */
  append(page: number, pages: number): void {
    const last = this.#starts.length - 1;
    if (last >= 0 && this.#starts[last] + this.#lengths[last] === page) this.#lengths[last] += pages;
    else {
      this.#starts.push(page);
      this.#lengths.push(pages);
    }
    this.#pages += pages;
  }

  /** The runs of `pages` pages from page `first` of the buffer on. */
  slice(first: number, pages: number): PageRuns {
    const part = new PageRuns();
    let offset = 0;
    for (let run = 0; run < this.count && offset < first + pages; run++) {
      const from = Math.max(first, offset);
      const to = Math.min(first + pages, offset + this.#lengths[run]);
      if (from < to) part.append(this.#starts[run] + from - offset, to - from);
      offset += this.#lengths[run];
    }
    return part;
  }
}
