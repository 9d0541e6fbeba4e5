import type { DmaAttributes, DmaDirection } from "./attributes.js";
import type { DmaDevice } from "./device.js";
import { DmaMisuseError } from "./errors.js";
import type { DmaContext } from "./iova-allocator.js";

/** What every step of one call of the API needs. */
export interface DmaCall {
  readonly device: DmaDevice;
  readonly context: DmaContext;
  readonly direction: DmaDirection;
  readonly attributes: DmaAttributes;
  /** The call in words, for errors. */
  readonly operation: string;
}

/** Throws DmaMisuseError `invalid` for a size in bytes that no mapping has. */
export function checkSize(size: bigint, operation: string): void {
  if (size <= 0n || size >= 1n << 63n) throw new DmaMisuseError("invalid", operation, `a size of ${size} bytes`);
}
