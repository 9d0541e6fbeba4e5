/** Writes the operation stream of assembly/layout.ts in batches. */
import {
  OPERATION_ADDRESS,
  OPERATION_BYTES,
  OPERATION_CPU,
  OPERATION_DOMAIN,
  OPERATION_KIND,
  OPERATION_LENGTH,
  OPERATION_MAP,
  OPERATION_PIECES,
  OPERATION_SLOT,
  OPERATION_TIME,
  OPERATION_UNMAP,
  PIECE_BYTES,
  PIECE_LENGTH,
  PIECE_PHYSICAL,
} from "../../assembly/layout.js";

/** Part of an operation stream. The receiver owns the arrays. */
export interface OperationBatch {
  /** `count` records of OPERATION_BYTES, little-endian. */
  readonly operations: Uint8Array;
  readonly count: number;
  /** `pieceCount` records of PIECE_BYTES: those of the first map, then those of the second, and so on. */
  readonly pieces: Uint8Array;
  readonly pieceCount: number;
  /** Per operation the trace line it comes from; a map's is that of its first piece. */
  readonly lines: Float64Array;
}

export type BatchSink = (batch: OperationBatch) => void;

const PAGE_BYTES = 4096;
const PAGES_PER_4_GIB = 0x100000;
// The records as words. Own constants: see assembler.ts.
const OPERATION_WORDS = OPERATION_BYTES >>> 2;
const KIND = OPERATION_KIND >>> 2;
const DOMAIN = OPERATION_DOMAIN >>> 2;
const SLOT = OPERATION_SLOT >>> 2;
const PIECES = OPERATION_PIECES >>> 2;
const ADDRESS = OPERATION_ADDRESS >>> 2;
const LENGTH = OPERATION_LENGTH >>> 2;
const CPU = OPERATION_CPU >>> 2;
const OPERATION_NUMBERS = OPERATION_BYTES >>> 3;
const TIME = OPERATION_TIME >>> 3;
const MAP = OPERATION_MAP;
const UNMAP = OPERATION_UNMAP;
const PIECE_WORDS = PIECE_BYTES >>> 2;
const PHYSICAL = PIECE_PHYSICAL >>> 2;
const PIECE_LENGTH_AT = PIECE_LENGTH >>> 2;

/** Collects operations and delivers a batch whenever `batchSize` of them are complete. */
export class BatchWriter {
  readonly #sink: BatchSink;
  readonly #batchSize: number;
  #operations: Int32Array;
  /** The same bytes. */
  #numbers: Float64Array;
  #lines: Float64Array;
  #count = 0;
  #pieces: Int32Array;
  #pieceCount = 0;
  /** Operations written so far, delivered or not. */
  total = 0;
  totalPieces = 0;
  /** CPU and time, in nanoseconds, of the operations that follow. */
  cpu = 0;
  time = 0;

  constructor(sink: BatchSink, batchSize: number) {
    this.#sink = sink;
    this.#batchSize = batchSize;
    this.#operations = new Int32Array(batchSize * OPERATION_WORDS);
    this.#numbers = new Float64Array(this.#operations.buffer);
    this.#lines = new Float64Array(batchSize);
    this.#pieces = new Int32Array(batchSize * PIECE_WORDS);
  }

  /** A map of `pages` pages recorded at `page`; its `pieceCount` pieces must follow by `piece`. */
  map(domain: number, slot: number, pieceCount: number, page: number, pages: number, line: number): void {
    if (this.#count === this.#batchSize) this.flush();
    this.#write(MAP, domain, slot, pieceCount, page, pages, line);
    const words = (this.#pieceCount + pieceCount) * PIECE_WORDS;
    if (words > this.#pieces.length) {
      const grown = new Int32Array(Math.max(words, this.#pieces.length * 2));
      grown.set(this.#pieces.subarray(0, this.#pieceCount * PIECE_WORDS));
      this.#pieces = grown;
    }
  }

  piece(physicalPage: number, pages: number): void {
    const at = this.#pieceCount++ * PIECE_WORDS;
    this.totalPieces++;
    storePages(this.#pieces, at + PHYSICAL, physicalPage);
    storePages(this.#pieces, at + PIECE_LENGTH_AT, pages);
  }

  /** An unmap of `pages` pages from page `offset` of the allocation on. */
  unmap(domain: number, slot: number, offset: number, pages: number, line: number): void {
    if (this.#count === this.#batchSize) this.flush();
    this.#write(UNMAP, domain, slot, 0, offset, pages, line);
  }

  /** Delivers what has been collected. */
  flush(): void {
    if (this.#count === 0) return;
    const batch: OperationBatch = {
      operations: new Uint8Array(this.#operations.buffer, 0, this.#count * OPERATION_BYTES),
      count: this.#count,
      pieces: new Uint8Array(this.#pieces.buffer, 0, this.#pieceCount * PIECE_BYTES),
      pieceCount: this.#pieceCount,
      lines: this.#lines.subarray(0, this.#count),
    };
    this.#operations = new Int32Array(this.#operations.length);
    this.#numbers = new Float64Array(this.#operations.buffer);
    this.#lines = new Float64Array(this.#lines.length);
    this.#pieces = new Int32Array(this.#batchSize * PIECE_WORDS);
    this.#count = 0;
    this.#pieceCount = 0;
    this.#sink(batch);
  }

  #write(
    kind: number,
    domain: number,
    slot: number,
    pieceCount: number,
    page: number,
    pages: number,
    line: number,
  ): void {
    const words = this.#operations;
    const at = this.#count * OPERATION_WORDS;
    words[at + KIND] = kind;
    words[at + DOMAIN] = domain;
    words[at + SLOT] = slot;
    words[at + PIECES] = pieceCount;
    storePages(words, at + ADDRESS, page);
    storePages(words, at + LENGTH, pages);
    words[at + CPU] = this.cpu;
    this.#numbers[this.#count * OPERATION_NUMBERS + TIME] = this.time;
    this.#lines[this.#count++] = line;
    this.total++;
  }
}

/** Stores a count of pages as a count of bytes, u64 little-endian. */
function storePages(words: Int32Array, at: number, pages: number): void {
  if (pages < PAGES_PER_4_GIB) {
    words[at] = pages * PAGE_BYTES;
    words[at + 1] = 0;
    return;
  }
  const high = Math.floor(pages / PAGES_PER_4_GIB);
  words[at] = (pages - high * PAGES_PER_4_GIB) * PAGE_BYTES;
  words[at + 1] = high;
}
