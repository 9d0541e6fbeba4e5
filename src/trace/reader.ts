/** The trace reader: chunks of trace text in, batches of operations out. Knows no files: see open.ts. */
import {
  TOKEN_BYTES,
  TOKEN_DETAIL,
  TOKEN_ENTRIES,
  TOKEN_KIND,
  TOKEN_LINE,
  TOKEN_LOST,
  TOKEN_MALFORMED,
  TOKEN_MAP,
  TOKEN_PAGE,
  TOKEN_PAGES,
  TOKEN_TIME,
  TOKEN_UNMAP,
} from "../../assembly/layout.js";
import { Assembler } from "./assembler.js";
import { type BatchSink, BatchWriter, type OperationBatch } from "./batch.js";
import { malformedReason, TraceError } from "./errors.js";
import { Placement, type TraceConflict, type TraceDomain } from "./placement.js";
import { Tokenizer, type TraceInstance } from "./tokenizer.js";

export interface TraceReaderOptions {
  /** Receives the operations; batches come in trace order. */
  readonly onBatch: BatchSink;
  /** Device (as dma events print it, `0000:01:00.0`) that owns the mappings which no dma event names. */
  readonly device?: string | undefined;
  /** Stop with a TraceError at the first malformed line. */
  readonly strict?: boolean | undefined;
  /**
   * Seconds in the trace's own timestamps: only events in [from, to) are read. What was mapped before `from` is as
   * unknown as what was mapped before the recording; what is live at `to` stays live.
   */
  readonly from?: number | undefined;
  readonly to?: number | undefined;
  /** Operations per batch, 4096 by default. */
  readonly batchSize?: number | undefined;
}

/** A line that could not be read. */
export interface MalformedLine {
  /** From 1. */
  readonly line: number;
  readonly reason: string;
  /** At most 200 bytes of the line. */
  readonly text: string;
}

export interface TraceStatistics {
  /** Lines, empty ones included. */
  readonly lines: number;
  /** Bytes of text. */
  readonly bytes: number;
  /** Well-formed lines by event name. */
  readonly events: Readonly<Record<string, number>>;
  /** Well-formed `map` and `unmap` lines within the window. */
  readonly maps: number;
  readonly unmaps: number;
  /** Pages of those `map` lines. */
  readonly mappedPages: number;
  /** Map operations. */
  readonly allocations: number;
  /** All operations; an unmap line can be several, and an unmap of what is unknown is none. */
  readonly operations: number;
  readonly pieces: number;
  readonly domains: number;
  /** Domains opened because an unnamed mapping overlapped what was live in those there were. */
  readonly unnamedDomains: number;
  /** Unmaps of what was mapped before the recording began. */
  readonly unmapsOfUnknown: number;
  /** Unmaps that the IOMMU driver did not carry out (`unmapped_size=0`). */
  readonly emptyUnmaps: number;
  /** dma events without a map or unmap: devices that the IOMMU does not translate, or lost events. */
  readonly unmatchedDmaEvents: number;
  /** From the header, where there is one: fewer in the buffer than written means lost events. */
  readonly entries: { readonly inBuffer: number; readonly written: number } | null;
  /** Events lost: written but not in the buffer, plus those that lines within the trace tell of. */
  readonly lostEvents: number;
  /** Places within the trace where a line says that events were lost, with or without their number. */
  readonly lostPlaces: number;
  /** Mappings made where their domain already had one; the older is taken as ended. */
  readonly conflicts: number;
  readonly firstConflicts: readonly TraceConflict[];
  readonly malformed: number;
  readonly firstMalformed: readonly MalformedLine[];
  /** Runs of unnamed mappings decided as they stood because nothing had unmapped them for long. */
  readonly forcedDecisions: number;
  readonly liveAtEnd: number;
  /** Slots in use at a time, at most: slot numbers are below it. */
  readonly slots: number;
  /** Map and unmap lines held back at a time, at most. */
  readonly maxPending: number;
}

// Of a token, for the loop over them all. Own constants: see assembler.ts.
const RECORD_BYTES = TOKEN_BYTES;
const KIND = TOKEN_KIND >>> 2;
const TIME = TOKEN_TIME >>> 3;
const PAGES = TOKEN_PAGES >>> 3;
const MAP = TOKEN_MAP;
const UNMAP = TOKEN_UNMAP;
const ENTRIES = TOKEN_ENTRIES;

const KEPT_MALFORMED = 20;
const DEFAULT_BATCH = 4096;
const NANOSECONDS = 1e9;

/** Reads one trace. `push` its text, then `end`; `close` gives the linear memory back. */
export class TraceReader {
  readonly #tokenizer: Tokenizer;
  readonly #writer: BatchWriter;
  readonly #placement: Placement;
  readonly #assembler: Assembler;
  readonly #strict: boolean;
  readonly #from: number;
  readonly #to: number;
  readonly #windowed: boolean;
  readonly #sink = (words: Int32Array, numbers: Float64Array, begin: number, count: number) =>
    this.#take(words, numbers, begin, count);
  #bytes = 0;
  #maps = 0;
  #unmaps = 0;
  #mappedPages = 0;
  #entries: { inBuffer: number; written: number } | null = null;
  #lostInTrace = 0;
  #lostPlaces = 0;
  #malformed = 0;
  readonly #firstMalformed: MalformedLine[] = [];
  #atEnd: TraceStatistics | null = null;

  /** @throws TraceError `option` for an empty window or batch, `memory` when linear memory is exhausted */
  constructor(instance: TraceInstance, options: TraceReaderOptions) {
    const batchSize = options.batchSize ?? DEFAULT_BATCH;
    if (!Number.isInteger(batchSize) || batchSize < 1) {
      throw new TraceError("option", `batchSize must be a positive integer, not ${batchSize}`);
    }
    const from = options.from ?? 0;
    const to = options.to ?? Number.POSITIVE_INFINITY;
    if (!(from < to)) throw new TraceError("option", `the window from ${from} to ${to} seconds is empty`);
    this.#from = Math.round(from * NANOSECONDS);
    this.#to = Math.round(to * NANOSECONDS);
    this.#windowed = options.from !== undefined || options.to !== undefined;
    this.#strict = options.strict ?? false;
    this.#tokenizer = new Tokenizer(instance);
    this.#writer = new BatchWriter(options.onBatch, batchSize);
    this.#placement = new Placement(
      this.#writer,
      (device) => this.#tokenizer.deviceName(device),
      options.device ?? null,
    );
    this.#assembler = new Assembler(this.#placement, this.#writer);
  }

  /**
   * Reads a chunk of text, cut anywhere.
   * @throws TraceError `malformed` with the `strict` option, after everything before the line was delivered
   */
  push(chunk: Uint8Array): void {
    this.#bytes += chunk.length;
    this.#tokenizer.push(chunk, this.#sink);
  }

  /** Reads what is left, delivers every remaining operation and returns the statistics. @throws as `push` */
  end(): TraceStatistics {
    this.#tokenizer.end(this.#sink);
    this.#assembler.finish();
    this.#writer.flush();
    return this.statistics;
  }

  /** Gives the linear memory back. The statistics and domains stay readable. */
  close(): void {
    if (this.#atEnd !== null) return;
    this.#atEnd = this.statistics;
    this.#tokenizer.close();
  }

  /** Domains of the operations delivered so far, by their index. */
  get domains(): readonly TraceDomain[] {
    return this.#placement.domains;
  }

  get statistics(): TraceStatistics {
    if (this.#atEnd !== null) return this.#atEnd;
    const entries = this.#entries;
    return {
      lines: this.#tokenizer.lines,
      bytes: this.#bytes,
      events: this.#tokenizer.eventLines,
      maps: this.#maps,
      unmaps: this.#unmaps,
      mappedPages: this.#mappedPages,
      allocations: this.#placement.allocations,
      operations: this.#writer.total,
      pieces: this.#writer.totalPieces,
      domains: this.#placement.domains.length,
      unnamedDomains: this.#placement.unnamedDomainsByOverlap,
      unmapsOfUnknown: this.#placement.unmapsOfUnknown,
      emptyUnmaps: this.#assembler.emptyUnmaps,
      unmatchedDmaEvents: this.#assembler.unmatchedDmaEvents,
      entries,
      lostEvents: (entries === null ? 0 : Math.max(0, entries.written - entries.inBuffer)) + this.#lostInTrace,
      lostPlaces: this.#lostPlaces,
      conflicts: this.#placement.conflicts,
      firstConflicts: [...this.#placement.firstConflicts],
      malformed: this.#malformed,
      firstMalformed: [...this.#firstMalformed],
      forcedDecisions: this.#assembler.forcedDecisions,
      liveAtEnd: this.#placement.liveAllocations,
      slots: this.#placement.slots,
      maxPending: this.#assembler.maxPending,
    };
  }

  #take(words: Int32Array, numbers: Float64Array, begin: number, count: number): void {
    const assembler = this.#assembler;
    const end = begin + count * RECORD_BYTES;
    for (let at = begin; at < end; at += RECORD_BYTES) {
      if (words.length === 0) {
        // A batch's receiver has grown linear memory.
        words = this.#tokenizer.words;
        numbers = this.#tokenizer.numbers;
      }
      const kind = words[(at >>> 2) + KIND];
      if (kind >= ENTRIES) {
        this.#remark(kind, words, numbers, at);
        continue;
      }
      if (this.#windowed) {
        const time = numbers[(at >>> 3) + TIME];
        if (time < this.#from || time >= this.#to) continue;
      }
      if (kind === MAP) {
        this.#maps++;
        this.#mappedPages += numbers[(at >>> 3) + PAGES];
      } else if (kind === UNMAP) {
        this.#unmaps++;
      }
      assembler.token(words, numbers, at);
    }
  }

  #remark(kind: number, words: Int32Array, numbers: Float64Array, at: number): void {
    const first = numbers[(at + TOKEN_PAGE) >>> 3];
    const second = numbers[(at + TOKEN_PAGES) >>> 3];
    if (kind === TOKEN_ENTRIES) {
      this.#entries = { inBuffer: first, written: second };
    } else if (kind === TOKEN_LOST) {
      this.#lostInTrace += second;
      this.#lostPlaces++;
    } else if (kind === TOKEN_MALFORMED) {
      this.#malformed++;
      const line = numbers[(at + TOKEN_LINE) >>> 3];
      const reason = malformedReason(words[(at + TOKEN_DETAIL) >>> 2]);
      if (this.#firstMalformed.length < KEPT_MALFORMED) {
        this.#firstMalformed.push({ line, reason, text: this.#tokenizer.excerpt(first, second) });
      }
      if (this.#strict) {
        this.#assembler.finish();
        this.#writer.flush();
        throw new TraceError("malformed", reason, { line });
      }
    }
  }
}

export type { BatchSink, OperationBatch, TraceConflict, TraceDomain, TraceInstance };
