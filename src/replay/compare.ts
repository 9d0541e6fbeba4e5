import { instantiateEngine } from "../engine/engine.js";
import { strategies } from "../strategies/strategies.js";
import { TraceError } from "../trace/errors.js";
import { type TraceDomain, TraceReader, type TraceStatistics } from "../trace/reader.js";
import { RECORDED_BATCH } from "./recording.js";
import { comparable, Replays, type ReplaysOptions, type StrategyResult } from "./replays.js";

/** What to compare, and how. */
export interface CompareOptions extends Partial<ReplaysOptions> {
  /** Device that owns the mappings which no dma event names. */
  readonly device?: string;
  /** Stop at the first malformed line. */
  readonly strict?: boolean;
  /** Seconds of the trace's own clock, [from, to). */
  readonly from?: number;
  readonly to?: number;
  /** Measure how long splitting, reading and replaying take. */
  readonly timing?: boolean;
}

/** Wall-clock times of one comparison, milliseconds. Not a part of its result. */
export interface CompareTiming {
  /** Cutting the same text into lines, one string each: what any reader has to do at least. */
  readonly split: number;
  /** Text to operations, without decompression. */
  readonly read: number;
  /** Operations to figures, mean of the strategies. */
  readonly replay: number;
}

/** The strategies' figures on one stream of operations, whatever it came from. */
export interface StrategyComparison {
  readonly domains: readonly { readonly name: string }[];
  readonly results: readonly StrategyResult[];
}

export interface Comparison extends StrategyComparison {
  readonly statistics: TraceStatistics;
  readonly domains: readonly TraceDomain[];
  /** Why the trace ended before its end (damaged or truncated compression); the figures are of what came before. */
  readonly incomplete: string | null;
  readonly timing: CompareTiming | null;
}

/** Cuts a chunk into lines as a plain program would; returns how many there were. */
export function splitLines(decoder: TextDecoder, chunk: Uint8Array): number {
  return decoder.decode(chunk, { stream: true }).split("\n").length - 1;
}

/**
 * Reads a trace and replays its mappings under every strategy, chunk by chunk: memory follows what is live, not how long
 * the trace is. Throws TraceError (with `strict`, or when the chunks fail) and IommuError.
 */
export async function compareTrace(
  module: WebAssembly.Module,
  chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>,
  options: CompareOptions = {},
): Promise<Comparison> {
  const chosen = options.strategies ?? comparable(strategies, options.importers ?? []);
  const replays = await Replays.begin(module, { ...options, strategies: chosen });
  const time = { split: 0, read: 0, replay: 0 };
  const { exports } = await instantiateEngine(module);
  const reader = new TraceReader(
    { exports, memory: exports.memory },
    {
      device: options.device,
      strict: options.strict,
      batchSize: options.recording ? RECORDED_BATCH : undefined,
      from: options.from,
      to: options.to,
      onBatch: (batch) => {
        const begin = performance.now();
        replays.run(batch);
        time.replay += performance.now() - begin;
      },
    },
  );
  const decoder = new TextDecoder();
  const timed = (work: () => void): void => {
    const begin = performance.now();
    const replayed = time.replay;
    work();
    time.read += performance.now() - begin - (time.replay - replayed);
  };
  let incomplete: string | null = null;
  try {
    try {
      for await (const chunk of chunks) {
        if (options.timing) {
          const begin = performance.now();
          splitLines(decoder, chunk);
          time.split += performance.now() - begin;
        }
        timed(() => reader.push(chunk));
      }
    } catch (error) {
      if (!(error instanceof TraceError && error.code === "gzip") || options.strict) throw error;
      incomplete = error.message;
    }
    timed(() => reader.end());
  } finally {
    reader.close();
  }
  return {
    statistics: reader.statistics,
    domains: reader.domains,
    results: replays.finish(),
    incomplete,
    timing: options.timing ? { split: time.split, read: time.read, replay: time.replay / replays.count } : null,
  };
}
