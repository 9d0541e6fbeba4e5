/**
 * - `iomem`: a text that is no /proc/iomem
 * - `groups`: a list of IOMMU groups that cannot be read
 * - `option`: an option that makes no sense
 */
export type PredictErrorCode = "iomem" | "groups" | "option";

/** What keeps a prediction from being made, other than the trace itself. */
export class PredictError extends Error {
  override readonly name = "PredictError";
  readonly code: PredictErrorCode;

  constructor(code: PredictErrorCode, reason: string, where: { file?: string; line?: number } = {}) {
    const file = where.file === undefined ? "" : `${where.file}: `;
    const line = where.line === undefined ? "" : `line ${where.line}: `;
    super(`${file}${line}${reason}`);
    this.code = code;
  }
}
