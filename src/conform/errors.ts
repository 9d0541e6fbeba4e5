/** Where a vector, or a list about vectors, says something: the file and, from 1, the line. */
export interface Place {
  readonly file: string;
  readonly line?: number;
}

/** A file of vectors, or the list of disputed entries, that cannot be understood. */
export class VectorError extends Error {
  override readonly name = "VectorError";

  constructor(
    readonly reason: string,
    readonly place: Place,
    options?: ErrorOptions,
  ) {
    const line = place.line === undefined ? "" : `line ${place.line}: `;
    super(`${place.file}: ${line}${reason}`, options);
  }
}

/** A vector that is well formed but asks for what a model does not emulate: its entries are skipped, with the reason. */
export class UnsupportedVector extends Error {
  override readonly name = "UnsupportedVector";
}
