/** Feeds trace text to the WASM tokenizer (assembly/trace/tokenize.ts) and hands its token records on. */
import {
  EVENT_COUNT,
  NAMES_DEVICES,
  NAMES_EVENTS,
  NAMES_TASKS,
  TOKENIZER_CAPACITY,
  TOKENIZER_CONSUMED,
  TOKENIZER_DEVICES,
  TOKENIZER_EVENT_LINES,
  TOKENIZER_EVENTS,
  TOKENIZER_EXHAUSTED,
  TOKENIZER_INPUT,
  TOKENIZER_LINE,
  TOKENIZER_OTHER,
  TOKENIZER_REMARKS,
  TOKENIZER_TASKS,
  TOKENIZER_TOKENS,
} from "../../assembly/layout.js";
import type { WasmExports } from "../engine/instance.js";
import { TraceError } from "./errors.js";

/** What the reader needs of a loaded module. */
export interface TraceInstance {
  readonly exports: WasmExports;
  readonly memory: WebAssembly.Memory;
}

/**
 * Receives the tokens of one call: `count` records of TOKEN_BYTES from byte `begin` of linear memory, which `words` and
 * `numbers` view. They are valid during the call only.
 */
export type TokenSink = (words: Int32Array, numbers: Float64Array, begin: number, count: number) => void;

/** Trace text, in chunks cut anywhere, to tokens. Holds linear memory until `close`. */
export class Tokenizer {
  readonly #instance: TraceInstance;
  readonly #decoder = new TextDecoder();
  #handle: number;
  #words: Int32Array = new Int32Array(0);
  #numbers: Float64Array = new Float64Array(0);
  #bytes: Uint8Array = new Uint8Array(0);
  /** Bytes of an unfinished line at the beginning of the input buffer. */
  #carried = 0;

  /** @throws TraceError when linear memory is exhausted. */
  constructor(instance: TraceInstance) {
    this.#instance = instance;
    this.#handle = instance.exports.traceOpen();
    if (this.#handle === 0) throw memoryExhausted();
  }

  /** Tokenizes what `chunk` completes. @throws TraceError when linear memory is exhausted; whatever `sink` throws. */
  push(chunk: Uint8Array, sink: TokenSink): void {
    let taken = 0;
    while (taken < chunk.length) {
      this.#refresh();
      const room = this.#word(TOKENIZER_CAPACITY) - this.#carried;
      const bytes = Math.min(room, chunk.length - taken);
      this.#bytes.set(chunk.subarray(taken, taken + bytes), this.#word(TOKENIZER_INPUT) + this.#carried);
      taken += bytes;
      this.#carried += bytes;
      this.#tokenize(0, sink);
    }
  }

  /** Tokenizes a last line that no line feed ends. */
  end(sink: TokenSink): void {
    this.#refresh();
    if (this.#carried > 0) this.#tokenize(1, sink);
  }

  /** Gives the linear memory back; names and counts cannot be read afterwards. */
  close(): void {
    this.#instance.exports.traceClose(this.#handle);
    this.#handle = 0;
  }

  /** Lines so far, empty ones included. */
  get lines(): number {
    return this.#number(TOKENIZER_LINE);
  }

  /** Lines that are comments or remarks of the recording tool. */
  get remarks(): number {
    return this.#number(TOKENIZER_REMARKS);
  }

  /** Lines of other events. */
  get otherEvents(): number {
    return this.#number(TOKENIZER_OTHER);
  }

  /** Well-formed lines by event name. */
  get eventLines(): Record<string, number> {
    this.#refresh();
    const counts: Record<string, number> = {};
    const table = this.#word(TOKENIZER_EVENT_LINES) >>> 3;
    const names = Math.min(this.#word(TOKENIZER_EVENTS), 4096);
    for (let event = 0; event < names; event++) {
      const count = this.#numbers[table + event];
      if (event < EVENT_COUNT ? count > 0 : true) counts[this.#name(NAMES_EVENTS, event)] = count;
    }
    return counts;
  }

  get deviceCount(): number {
    this.#refresh();
    return this.#word(TOKENIZER_DEVICES);
  }

  get taskCount(): number {
    this.#refresh();
    return this.#word(TOKENIZER_TASKS);
  }

  deviceName(device: number): string {
    return this.#name(NAMES_DEVICES, device);
  }

  taskName(task: number): string {
    return this.#name(NAMES_TASKS, task);
  }

  /** Linear memory as it is now: growing it, as a token's receiver may, detaches earlier views. */
  get words(): Int32Array {
    this.#refresh();
    return this.#words;
  }

  get numbers(): Float64Array {
    this.#refresh();
    return this.#numbers;
  }

  /** Text of a malformed line at `begin` of the input buffer, while its token is being delivered. */
  excerpt(begin: number, length: number): string {
    this.#refresh();
    const at = this.#word(TOKENIZER_INPUT) + begin;
    return this.#decoder.decode(this.#bytes.subarray(at, at + Math.min(length, EXCERPT_BYTES)));
  }

  #tokenize(last: 0 | 1, sink: TokenSink): void {
    const { exports } = this.#instance;
    while (this.#carried > 0) {
      let count = exports.traceTokenize(this.#handle, this.#carried, last);
      this.#refresh();
      let consumed = this.#word(TOKENIZER_CONSUMED);
      if (this.#word(TOKENIZER_EXHAUSTED) !== 0) throw memoryExhausted();
      if (consumed === 0) {
        if (this.#carried < this.#word(TOKENIZER_CAPACITY)) return;
        if (exports.traceGrow(this.#handle, this.#carried) !== 0) {
          this.#refresh();
          return;
        }
        if (this.#word(TOKENIZER_EXHAUSTED) !== 0) throw memoryExhausted();
        count = exports.traceSkipLine(this.#handle, this.#carried);
        consumed = this.#carried;
      }
      if (count > 0) sink(this.#words, this.#numbers, this.#word(TOKENIZER_TOKENS), count);
      // The sink may have grown linear memory.
      this.#refresh();
      const input = this.#word(TOKENIZER_INPUT);
      this.#bytes.copyWithin(input, input + consumed, input + this.#carried);
      this.#carried -= consumed;
    }
  }

  #refresh(): void {
    const { buffer } = this.#instance.memory;
    if (this.#bytes.buffer === buffer) return;
    this.#words = new Int32Array(buffer);
    this.#numbers = new Float64Array(buffer);
    this.#bytes = new Uint8Array(buffer);
  }

  #word(offset: number): number {
    return this.#words[(this.#handle + offset) >>> 2] >>> 0;
  }

  #number(offset: number): number {
    this.#refresh();
    return this.#numbers[(this.#handle + offset) >>> 3];
  }

  #name(table: number, id: number): string {
    const { exports } = this.#instance;
    const at = exports.traceName(this.#handle, table, id) >>> 0;
    const length = exports.traceNameLength(this.#handle, table, id);
    return this.#decoder.decode(new Uint8Array(this.#instance.memory.buffer, at, length));
  }
}

const EXCERPT_BYTES = 200;

function memoryExhausted(): TraceError {
  return new TraceError("memory", "linear memory is exhausted (4 GiB on wasm32)");
}
