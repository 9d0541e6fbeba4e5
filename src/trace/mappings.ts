import {
  OPERATION_BYTES,
  OPERATION_CPU,
  OPERATION_DOMAIN,
  OPERATION_KIND,
  OPERATION_LENGTH,
  OPERATION_MAP,
  OPERATION_PIECES,
  OPERATION_SLOT,
  PIECE_BYTES,
  PIECE_LENGTH,
  PIECE_PHYSICAL,
} from "../../assembly/layout.js";
import type { OperationBatch } from "./batch.js";

const OPERATION_WORDS = OPERATION_BYTES >>> 2;
const PIECE_WORDS = PIECE_BYTES >>> 2;
const PAGES_PER_4_GIB = 2 ** 20;

/** Pages of 4 KiB from the two words of a byte count. */
export function pagesAt(words: Uint32Array, at: number): number {
  return words[at + 1] * PAGES_PER_4_GIB + (words[at] >>> 12);
}

/** A batch of operations as those read it that look at each mapping by itself. Addresses and lengths in pages of 4 KiB. */
export class BatchMappings {
  readonly count: number;
  /** Per operation, of a map: the buffer's virtual page for its importer. */
  readonly virtualPages: Float64Array;
  readonly #operations: Uint32Array;
  readonly #pieces: Uint32Array;
  readonly #firstPieces: Uint32Array;

  constructor(batch: OperationBatch, virtualPages: (mappings: BatchMappings) => Float64Array) {
    const { operations, pieces } = batch;
    this.count = batch.count;
    this.#operations = new Uint32Array(operations.buffer, operations.byteOffset, batch.count * OPERATION_WORDS);
    this.#pieces = new Uint32Array(pieces.buffer, pieces.byteOffset, batch.pieceCount * PIECE_WORDS);
    this.#firstPieces = new Uint32Array(batch.count);
    let piece = 0;
    for (let index = 0; index < batch.count; index++) {
      this.#firstPieces[index] = piece;
      if (this.isMap(index)) piece += this.pieceCount(index);
    }
    this.virtualPages = virtualPages(this);
  }

  isMap(index: number): boolean {
    return this.#word(index, OPERATION_KIND) === OPERATION_MAP;
  }

  domain(index: number): number {
    return this.#word(index, OPERATION_DOMAIN);
  }

  slot(index: number): number {
    return this.#word(index, OPERATION_SLOT);
  }

  cpu(index: number): number {
    return this.#word(index, OPERATION_CPU);
  }

  pages(index: number): number {
    return pagesAt(this.#operations, index * OPERATION_WORDS + (OPERATION_LENGTH >>> 2));
  }

  pieceCount(index: number): number {
    return this.#word(index, OPERATION_PIECES);
  }

  /** Index of a map's first piece among those of the batch; the others follow. */
  firstPiece(index: number): number {
    return this.#firstPieces[index];
  }

  physicalPage(piece: number): number {
    return pagesAt(this.#pieces, piece * PIECE_WORDS + (PIECE_PHYSICAL >>> 2));
  }

  piecePages(piece: number): number {
    return pagesAt(this.#pieces, piece * PIECE_WORDS + (PIECE_LENGTH >>> 2));
  }

  #word(index: number, offset: number): number {
    return this.#operations[index * OPERATION_WORDS + (offset >>> 2)];
  }
}
