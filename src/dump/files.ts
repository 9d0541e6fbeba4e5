/** Files of a dump for Node: plain or gzip, by their first bytes. */
import { concatUint8Arrays } from "typed-array-utils";
import { TraceError } from "../trace/errors.js";
import { openTrace } from "../trace/open.js";
import { DumpError } from "./errors.js";

/** No line of any of the formats is longer; without a bound, a file without line ends would be held in memory whole. */
const LINE_CHARACTERS = 1 << 20;

async function* readChunks(file: string): AsyncGenerator<Uint8Array> {
  try {
    yield* openTrace(file);
  } catch (cause) {
    if (cause instanceof TraceError && (cause.code === "open" || cause.code === "gzip")) {
      throw new DumpError(cause.code, cause.reason, { file, cause });
    }
    throw cause;
  }
}

/** All of a file. Throws `open`, `gzip`. */
export async function readBytes(file: string): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of readChunks(file)) chunks.push(chunk);
  return concatUint8Arrays(...chunks);
}

/** The lines of a text file, without their ends. Throws `open`, `gzip`, and `malformed` for what is not text. */
export async function* readLines(file: string): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  let line = 1;
  for await (const chunk of readChunks(file)) {
    if (chunk.includes(0)) throw new DumpError("malformed", "not text; an archive must be unpacked first", { file });
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    line += lines.length;
    if (rest.length > LINE_CHARACTERS) {
      throw new DumpError("malformed", `longer than ${LINE_CHARACTERS} characters`, { file, line });
    }
    yield* lines;
  }
  if (rest !== "") yield rest;
}
