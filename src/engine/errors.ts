import * as layout from "../../assembly/layout.js";
import { hex } from "./addresses.js";

/** Why an operation was refused. Each names one status of assembly/layout.ts. */
export type ErrorCode =
  | "misaligned"
  | "input-range"
  | "output-range"
  | "overlap"
  | "hole"
  | "inside-leaf"
  | "permissions"
  | "bus-error"
  | "memory-exhausted"
  | "space-exhausted"
  | "not-allocated"
  | "invalid"
  | "arena-conflict";

const CODES: Readonly<Record<number, readonly [ErrorCode, string]>> = {
  [layout.STATUS_MISALIGNED]: ["misaligned", "an address or the length is not a multiple of the granule, or is zero"],
  [layout.STATUS_INPUT_RANGE]: ["input-range", "the range leaves the addresses that are translated or managed"],
  [layout.STATUS_OUTPUT_RANGE]: ["output-range", "the physical range is wider than an entry can express"],
  [layout.STATUS_OVERLAP]: ["overlap", "something is there already"],
  [layout.STATUS_HOLE]: ["hole", "nothing is mapped there"],
  [layout.STATUS_INSIDE_LEAF]: ["inside-leaf", "the range begins inside a larger leaf"],
  [layout.STATUS_PERMISSIONS]: ["permissions", "the format cannot express these permissions"],
  [layout.STATUS_BUS_ERROR]: ["bus-error", "nobody backs this physical address"],
  [layout.STATUS_MEMORY_EXHAUSTED]: ["memory-exhausted", "the 4 GiB of linear memory are used up"],
  [layout.STATUS_SPACE_EXHAUSTED]: ["space-exhausted", "no free range satisfies the request"],
  [layout.STATUS_NOT_ALLOCATED]: ["not-allocated", "no allocation begins there"],
  [layout.STATUS_INVALID]: ["invalid", "the request makes no sense"],
  [layout.STATUS_ARENA_CONFLICT]: ["arena-conflict", "the address lies where the arena of page tables grows"],
};

/** A refused operation. Nothing was changed by it. */
export class IommuError extends Error {
  override readonly name = "IommuError";

  /**
   * @param code why
   * @param operation what was asked, with its addresses
   * @param at the address at which it failed, where there is one
   */
  constructor(
    readonly code: ErrorCode,
    readonly operation: string,
    readonly at?: bigint,
    explanation?: string,
  ) {
    const where = at === undefined ? "" : ` at ${hex(at)}`;
    super(`${operation}: ${code}${where}: ${explanation ?? "refused"}`);
  }
}

/** A name that nothing has. */
export class UnknownNameError extends IommuError {
  /**
   * @param kind what was to be named, and in the plural
   * @param unknown the name that was given
   * @param known those that there are
   */
  constructor(
    kind: string,
    kinds: string,
    readonly unknown: string,
    readonly known: readonly string[],
  ) {
    super("invalid", `use ${kind} "${unknown}"`, undefined, `the ${kinds} are ${known.join(", ")}`);
  }
}

/** The code of a status that is not STATUS_OK. */
export function codeOf(status: number): ErrorCode {
  return CODES[status]?.[0] ?? "invalid";
}

/** The error that a status stands for. */
export function statusError(status: number, operation: string, at?: bigint): IommuError {
  const [code, explanation] = CODES[status] ?? ["invalid", `unknown status ${status}`];
  return new IommuError(code, operation, at, explanation);
}
