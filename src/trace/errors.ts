/** What can go wrong while a trace is read, as a type, and the words for why a line is malformed. */
import {
  REASON_BAD_NUMBER,
  REASON_CUT_AT_END,
  REASON_END_MISMATCH,
  REASON_HEADER_CUT,
  REASON_LIST_MISMATCH,
  REASON_MISSING_FIELD,
  REASON_NO_HEADER,
  REASON_NOT_PAGE_ALIGNED,
  REASON_OVERFLOW,
  REASON_TOO_LONG,
  REASON_ZERO_SIZE,
} from "../../assembly/layout.js";

/**
 * - `malformed`: a line that cannot be read, with `--strict`
 * - `open`: the file cannot be opened or read
 * - `gzip`: compressed data that is damaged or ends too early
 * - `not-text`: a file of another kind
 * - `no-mappings`: a trace without a mapping to replay
 * - `memory`: linear memory is exhausted
 * - `option`: an option out of its range
 */
export type TraceErrorCode = "malformed" | "open" | "gzip" | "not-text" | "no-mappings" | "memory" | "option";

/** An error of the trace reader. Operations delivered before it stay valid. */
export class TraceError extends Error {
  override readonly name = "TraceError";
  readonly code: TraceErrorCode;
  /** File the trace came from, where there is one. */
  readonly file: string | undefined;
  /** Line number, from 1, where a line is to blame. */
  readonly line: number | undefined;
  readonly reason: string;

  constructor(code: TraceErrorCode, reason: string, where: { file?: string; line?: number; cause?: unknown } = {}) {
    const file = where.file === undefined ? "" : `${where.file}: `;
    const line = where.line === undefined ? "" : `line ${where.line}: `;
    super(`${file}${line}${reason}`, where.cause === undefined ? undefined : { cause: where.cause });
    this.code = code;
    this.file = where.file;
    this.line = where.line;
    this.reason = reason;
  }
}

const REASONS: Readonly<Record<number, string>> = {
  [REASON_NO_HEADER]: "no event header (TASK-PID [CPU] timestamp: event:)",
  [REASON_HEADER_CUT]: "the event header is incomplete",
  [REASON_BAD_NUMBER]: "a number is malformed",
  [REASON_MISSING_FIELD]: "a field of the event is missing",
  [REASON_ZERO_SIZE]: "the size is zero",
  [REASON_END_MISMATCH]: "the range's end is not its start plus its size",
  [REASON_OVERFLOW]: "a number or a range exceeds 64 bits",
  [REASON_NOT_PAGE_ALIGNED]: "an address or size is not a multiple of 4096",
  [REASON_LIST_MISMATCH]: "the lists of addresses and sizes differ in length",
  [REASON_CUT_AT_END]: "the line is cut off at the end of the file",
  [REASON_TOO_LONG]: "the line is longer than 1 MiB",
};

/** The words for a REASON_* of layout.ts. */
export function malformedReason(reason: number): string {
  return REASONS[reason] ?? "malformed";
}
