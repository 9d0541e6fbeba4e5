/** A real trace: cut into lines, read into operations, replayed under one strategy. */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { Engine } from "../../src/engine/engine.js";
import type { WasmExports } from "../../src/engine/instance.js";
import { splitLines } from "../../src/replay/compare.js";
import { Replay } from "../../src/replay/replay.js";
import { findStrategy } from "../../src/strategies/strategies.js";
import { type OperationBatch, TraceReader } from "../../src/trace/reader.js";
import { nanoseconds, type Workload } from "../workload.js";

/** As a file or a decompressor would deliver them. */
const CHUNK_BYTES = 1 << 16;

export interface TraceInput {
  readonly chunks: readonly Uint8Array[];
  readonly lines: number;
}

/** The text of a gzip trace, in memory. */
export function traceInput(path: string): TraceInput {
  const text = gunzipSync(readFileSync(path));
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < text.length; at += CHUNK_BYTES) chunks.push(text.subarray(at, at + CHUNK_BYTES));
  return { chunks, lines: text.reduce((sum, byte) => sum + (byte === 10 ? 1 : 0), 0) };
}

function newInstance(module: WebAssembly.Module): WasmExports {
  return new WebAssembly.Instance(module, {}).exports as unknown as WasmExports;
}

function readBatches(module: WebAssembly.Module, input: TraceInput): OperationBatch[] {
  const exports = newInstance(module);
  const batches: OperationBatch[] = [];
  const reader = new TraceReader({ exports, memory: exports.memory }, { onBatch: (batch) => batches.push(batch) });
  for (const chunk of input.chunks) reader.push(chunk);
  reader.end();
  reader.close();
  return batches;
}

/** Every line a string: what any reader has to do at least. */
export function traceSplit(input: TraceInput): Workload {
  const call = (): number => {
    const decoder = new TextDecoder();
    return input.chunks.reduce((lines, chunk) => lines + splitLines(decoder, chunk), 0);
  };
  return { operationsPerCall: input.lines, call, check: call };
}

/** Text to operations. */
export function traceRead(module: WebAssembly.Module, input: TraceInput): Workload {
  const call = (): number => readBatches(module, input).reduce((sum, { count }) => sum + count, 0);
  return { operationsPerCall: input.lines, call, check: call };
}

/** Operations to figures, under one strategy. */
export function traceReplay(module: WebAssembly.Module, input: TraceInput, strategy: string): Workload {
  const batches = readBatches(module, input);
  let timed = 0;
  const call = (): number => {
    const replay = new Replay(new Engine(newInstance(module)), { strategy: findStrategy(strategy) });
    const begin = nanoseconds();
    for (const batch of batches) replay.run(batch);
    timed += nanoseconds() - begin;
    return replay.finish().leavesUsed;
  };
  return { operationsPerCall: input.lines, call, timed: () => timed, check: call };
}
