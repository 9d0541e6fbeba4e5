/**
 * `ring-contiguous`: successive mappings of a ring lie behind each other in one chunk of IOVAs, as in Fast & Safe (SOSP'24,
 * section 3), where a descriptor's 64 pages do. A ring is taken to be what one CPU maps in one domain: operations do not
 * say in which direction data goes, so receiving and sending share a chunk. What is longer than a chunk has a range of its own.
 */
import type { BatchMappings } from "../trace/mappings.js";
import { ANYWHERE, type PlacementColumn, type Placer } from "./placement.js";

/** Pages of a receive descriptor of the paper's NIC, 256 KiB. */
export const CHUNK_PAGES = 64;
const MOST_CPUS = 8192;

interface Chunk {
  readonly index: number;
  /** Pages handed out, and pages still mapped. */
  used: number;
  live: number;
  /** Nothing more is mapped in it. */
  closed: boolean;
}

export class RingContiguous implements Placer {
  readonly #current = new Map<number, Chunk>();
  /** The chunk that each slot's mapping is in, null where it has a range of its own. */
  readonly #slots: (Chunk | null | undefined)[] = [];
  readonly #free: number[] = [];
  #chunks = 0;

  place(mappings: BatchMappings, column: PlacementColumn): void {
    for (let index = 0; index < mappings.count; index++) {
      if (mappings.isMap(index)) this.#map(mappings, index, column);
      else this.#unmap(mappings, index, column);
    }
  }

  #map(mappings: BatchMappings, index: number, column: PlacementColumn): void {
    const pages = mappings.pages(index);
    const slot = mappings.slot(index);
    if (pages > CHUNK_PAGES) {
      this.#slots[slot] = null;
      column.place(index, ANYWHERE);
      return;
    }
    const ring = mappings.domain(index) * MOST_CPUS + mappings.cpu(index);
    let chunk = this.#current.get(ring);
    // One that was closed by its last unmap is gone.
    if (chunk === undefined || chunk.closed || chunk.used + pages > CHUNK_PAGES) {
      if (chunk !== undefined) chunk.closed = true;
      chunk = { index: this.#free.pop() ?? this.#chunks++, used: 0, live: 0, closed: false };
      this.#current.set(ring, chunk);
    }
    column.placeInChunk(index, { chunk: chunk.index, pages: CHUNK_PAGES, offset: chunk.used }, CHUNK_PAGES);
    chunk.used += pages;
    chunk.live += pages;
    this.#slots[slot] = chunk;
  }

  #unmap(mappings: BatchMappings, index: number, column: PlacementColumn): void {
    const chunk = this.#slots[mappings.slot(index)];
    if (!chunk) return;
    chunk.live -= mappings.pages(index);
    // What is empty goes back, even where more would have fitted: an idle ring holds no IOVAs.
    const ends = chunk.live === 0;
    if (ends) {
      chunk.closed = true;
      this.#free.push(chunk.index);
    }
    column.unmapInChunk(index, { chunk: chunk.index, pages: CHUNK_PAGES }, ends);
  }
}
