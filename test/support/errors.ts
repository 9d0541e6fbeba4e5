import { expect } from "vitest";
import { type ErrorCode, IommuError } from "../../src/engine/errors.js";

/** Runs what must be refused and returns the error, having checked its code. */
export function refused(code: ErrorCode, operation: () => unknown): IommuError {
  try {
    operation();
  } catch (error) {
    expect(error).toBeInstanceOf(IommuError);
    const refusal = error as IommuError;
    expect(refusal.code).toBe(code);
    return refusal;
  }
  throw new Error(`expected "${code}", but nothing was refused`);
}

/** The code with which an operation is refused, or null when it is not. */
export function codeOrNull(operation: () => unknown): ErrorCode | null {
  try {
    operation();
    return null;
  } catch (error) {
    if (error instanceof IommuError) return error.code;
    throw error;
  }
}
