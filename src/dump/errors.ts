/**
 * - `open`: a file or directory that cannot be read, or that holds no listing
 * - `gzip`: compressed data that is damaged or ends too early
 * - `malformed`: text that is not what the format has in its place
 * - `truncated`: fewer bytes than the list of pages asks for
 * - `inconsistent`: two parts that contradict each other
 * - `ambiguous`: what the file does not say, so that an option must
 * - `option`: an option out of its range
 * - `arena`: a page where the engine's own page tables grow
 */
export type DumpErrorCode =
  | "open"
  | "gzip"
  | "malformed"
  | "truncated"
  | "inconsistent"
  | "ambiguous"
  | "option"
  | "arena";

/** Where in the input an error lies. */
export interface DumpErrorPlace {
  readonly file?: string | undefined;
  /** Line number, from 1. */
  readonly line?: number | undefined;
  readonly cause?: unknown;
}

/** A dump or listing that cannot be used. Nothing was changed by it. */
export class DumpError extends Error {
  override readonly name = "DumpError";
  readonly code: DumpErrorCode;
  /** File, where the input came from one. */
  readonly file: string | undefined;
  /** Line number, from 1, where a line is to blame. */
  readonly line: number | undefined;
  readonly reason: string;

  constructor(code: DumpErrorCode, reason: string, place: DumpErrorPlace = {}) {
    const file = place.file === undefined ? "" : `${place.file}: `;
    const line = place.line === undefined ? "" : `line ${place.line}: `;
    super(`${file}${line}${reason}`, place.cause === undefined ? undefined : { cause: place.cause });
    this.code = code;
    this.file = place.file;
    this.line = place.line;
    this.reason = reason;
  }
}
