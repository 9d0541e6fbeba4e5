/** Trace files for Node: plain text or gzip, by their first bytes and not by their names, streaming. */
import { createReadStream } from "node:fs";
import { createGunzip } from "node:zlib";
import { concatUint8Arrays } from "typed-array-utils";
import { TraceError } from "./errors.js";

/** Bytes per read; compressed traces shrink to about a sixteenth. */
const READ_BYTES = 1 << 16;

/** Called with how many bytes of a source were read since the last time, compressed where it is. */
export type OnRead = (bytes: number) => void;

/**
 * Chunks of the trace's text. `source` is a file name, `-` for standard input, or chunks from elsewhere. Gzip data may
 * have several members.
 * @throws TraceError `open` when the file cannot be read; `gzip` when compressed data is damaged or ends too early, after
 * everything before that place was delivered
 */
export async function* openTrace(
  source: string | AsyncIterable<Uint8Array>,
  onRead?: OnRead,
): AsyncGenerator<Uint8Array> {
  const file = typeof source !== "string" ? undefined : source === "-" ? "standard input" : source;
  const chunks = readable(source, file, onRead);
  const first = await firstBytes(chunks);
  const all = prepend(first, chunks);
  if (first.length < 2 || first[0] !== 0x1f || first[1] !== 0x8b) {
    yield* all;
    return;
  }
  yield* gunzip(all, file);
}

/** Recorders' own files by their first bytes, and how each becomes text. */
const RECORDINGS: readonly (readonly [magic: string, advice: string])[] = [
  ["\x17\x08\x44tracing", "binary file of trace-cmd: give the text of `trace-cmd report`"],
  ["PERFILE2", "binary file of perf: give the text of `perf script`"],
];

/**
 * Chunks of the text of a trace. `source` as for `openTrace`.
 * @throws TraceError as `openTrace`, and `not-text` for a binary file
 */
export async function* openTraceText(source: string, onRead?: OnRead): AsyncGenerator<Uint8Array> {
  const file = source === "-" ? "standard input" : source;
  let first = true;
  for await (const chunk of openTrace(source, onRead)) {
    if (first && chunk.includes(0)) {
      const begin = new TextDecoder("latin1").decode(chunk.subarray(0, 16));
      const known = RECORDINGS.find(([magic]) => begin.startsWith(magic));
      const kind =
        known?.[1] ?? "binary file: traces are text of tracefs, trace-cmd report or perf script, plain or gzip";
      throw new TraceError("not-text", `a ${kind}`, { file });
    }
    first = false;
    yield chunk;
  }
}

async function* readable(source: string | AsyncIterable<Uint8Array>, file: string | undefined, onRead?: OnRead) {
  const stream =
    typeof source !== "string"
      ? source
      : source === "-"
        ? process.stdin
        : createReadStream(source, { highWaterMark: READ_BYTES });
  try {
    for await (const chunk of stream) {
      onRead?.((chunk as Uint8Array).length);
      yield chunk as Uint8Array;
    }
  } catch (cause) {
    if (cause instanceof TraceError || file === undefined) throw cause;
    const directory = (cause as NodeJS.ErrnoException).code === "EISDIR";
    throw new TraceError("open", directory ? "a directory, not a file" : `cannot be read: ${message(cause)}`, {
      file,
      cause,
    });
  }
}

/** Reads until there are two bytes, enough to tell gzip from text. */
async function firstBytes(chunks: AsyncIterator<Uint8Array>): Promise<Uint8Array> {
  let first: Uint8Array = new Uint8Array(0);
  while (first.length < 2) {
    const next = await chunks.next();
    if (next.done === true) break;
    first = concatUint8Arrays(first, next.value);
  }
  return first;
}

async function* prepend(first: Uint8Array, rest: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  if (first.length > 0) yield first;
  yield* rest;
}

async function* gunzip(chunks: AsyncIterable<Uint8Array>, file: string | undefined): AsyncGenerator<Uint8Array> {
  const stream = createGunzip({ chunkSize: READ_BYTES });
  const feed = async () => {
    for await (const chunk of chunks) {
      if (stream.destroyed) return;
      if (!stream.write(chunk)) {
        await new Promise<void>((resolve) => {
          const proceed = () => {
            stream.off("drain", proceed);
            stream.off("close", proceed);
            resolve();
          };
          stream.on("drain", proceed);
          stream.on("close", proceed);
        });
      }
    }
    stream.end();
  };
  const fed = feed().catch((cause: unknown) => {
    stream.destroy(cause instanceof Error ? cause : new Error(message(cause)));
  });
  try {
    for await (const chunk of stream) yield chunk as Uint8Array;
    await fed;
  } catch (cause) {
    if (cause instanceof TraceError) throw cause;
    const early = (cause as NodeJS.ErrnoException).code === "Z_BUF_ERROR";
    const reason = early ? "the gzip data ends too early" : `the gzip data is damaged: ${message(cause)}`;
    throw new TraceError("gzip", reason, file === undefined ? { cause } : { file, cause });
  } finally {
    stream.destroy();
  }
}

function message(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause);
}
