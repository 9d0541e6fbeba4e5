/** Where a strategy that looks at each mapping by itself wants it: the PLACEMENT_* column of a replay. */
import {
  PLACEMENT_ADDRESS,
  PLACEMENT_BYTES,
  PLACEMENT_CHUNK,
  PLACEMENT_CHUNK_ENDS,
  PLACEMENT_CHUNK_LENGTH,
  PLACEMENT_CHUNK_OFFSET,
  PLACEMENT_LEAST,
  PLACEMENT_MODULUS,
} from "../../assembly/layout.js";
import type { BatchMappings } from "../trace/mappings.js";

const PAGE_BYTES = 4096;
const BYTES_4_GIB = 2 ** 32;

/** A range of its own: IOVA ≡ address (mod modulus). In pages of 4 KiB. */
export interface Placement {
  /** A power of two. */
  readonly modulus: number;
  readonly address: number;
  /** The modulus may be halved down to this where there is no room. */
  readonly least: number;
}

/** A part of a range that mappings share. In pages of 4 KiB. */
export interface ChunkPlacement {
  /** Index of the chunk, dense and used again. */
  readonly chunk: number;
  readonly pages: number;
  readonly offset: number;
}

/** A batch's records. */
export class PlacementColumn {
  #bytes = new Uint8Array(0);
  #view = new DataView(this.#bytes.buffer);

  /** The records of the batch, in the layout that the replay reads. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** Begins a batch: nothing is asked of any of its operations. */
  reset(operations: number): void {
    const bytes = operations * PLACEMENT_BYTES;
    if (bytes > this.#bytes.length) {
      this.#bytes = new Uint8Array(bytes);
      this.#view = new DataView(this.#bytes.buffer);
      return;
    }
    this.#bytes.fill(0, 0, bytes);
  }

  place(index: number, { modulus, address, least }: Placement): void {
    this.#pages(index, PLACEMENT_MODULUS, modulus);
    this.#pages(index, PLACEMENT_ADDRESS, address);
    this.#pages(index, PLACEMENT_LEAST, least);
  }

  /** A mapping in a chunk, which is aligned to `modulus` pages. */
  placeInChunk(index: number, { chunk, pages, offset }: ChunkPlacement, modulus: number): void {
    this.#pages(index, PLACEMENT_MODULUS, modulus);
    this.#pages(index, PLACEMENT_CHUNK_LENGTH, pages);
    this.#pages(index, PLACEMENT_CHUNK_OFFSET, offset);
    this.#view.setUint32(index * PLACEMENT_BYTES + PLACEMENT_CHUNK, chunk, true);
  }

  /** An unmap of a mapping in a chunk; with `ends` the chunk goes back. */
  unmapInChunk(index: number, { chunk, pages }: Omit<ChunkPlacement, "offset">, ends: boolean): void {
    this.#pages(index, PLACEMENT_CHUNK_LENGTH, pages);
    this.#view.setUint32(index * PLACEMENT_BYTES + PLACEMENT_CHUNK, chunk, true);
    this.#view.setUint32(index * PLACEMENT_BYTES + PLACEMENT_CHUNK_ENDS, ends ? 1 : 0, true);
  }

  #pages(index: number, field: number, pages: number): void {
    const bytes = pages * PAGE_BYTES;
    const at = index * PLACEMENT_BYTES + field;
    this.#view.setUint32(at, bytes % BYTES_4_GIB, true);
    this.#view.setUint32(at + 4, Math.floor(bytes / BYTES_4_GIB), true);
  }
}

/** Decides where a stream's mappings are wanted, batch by batch. */
export interface Placer {
  /** Fills in the records of a batch; throws `invalid` for what no IOVA can meet. */
  place(mappings: BatchMappings, column: PlacementColumn): void;
}

/** A placer whose wish depends on nothing but the mapping itself. */
export function eachMapping(wish: (mappings: BatchMappings, index: number) => Placement): Placer {
  return {
    place(mappings, column) {
      for (let index = 0; index < mappings.count; index++) {
        if (mappings.isMap(index)) column.place(index, wish(mappings, index));
      }
    },
  };
}

/** No wish at all. */
export const ANYWHERE: Placement = { modulus: 1, address: 0, least: 1 };
