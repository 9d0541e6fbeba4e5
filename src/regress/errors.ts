/**
 * - `file`: a file that cannot be read or written
 * - `suite`, `baseline`: a file that is not what its schema says
 * - `case`: a case that could not be run
 * - `option`: an option out of its range
 */
export type RegressErrorCode = "file" | "suite" | "baseline" | "case" | "option";

/** A regression run that could not be made. Nothing was written. */
export class RegressError extends Error {
  override readonly name = "RegressError";

  /** @param where the file, with the path within it; empty where there is none */
  constructor(
    readonly code: RegressErrorCode,
    readonly where: string,
    readonly reason: string,
    options?: ErrorOptions,
  ) {
    super(where === "" ? reason : `${where}: ${reason}`, options);
  }
}
