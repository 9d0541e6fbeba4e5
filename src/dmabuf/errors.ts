import { type Errno, LinuxError } from "../linux/errno.js";

/** Errors of dma-buf.c, dma-buf-mapping.c and of the exporters; those of the DMA API come as DmaError. */
export type DmaBufErrorCode = Extract<Errno, "ENOMEM" | "EBUSY" | "ENODEV" | "EINVAL" | "EOPNOTSUPP">;

/** What dma-buf or an exporter answers when it does not do what it was asked. Nothing was changed. */
export class DmaBufError extends LinuxError<DmaBufErrorCode> {
  override readonly name = "DmaBufError";
}

/**
 * What a driver does wrong, in the kernel left to lockdep, a warning or chance:
 * - `reservation`: the reservation is not held, or held already
 * - `detached`: the attachment, or the whole buffer, is gone
 * - `not-mapped`: unmapped twice, or by another attachment
 * - `still-mapped`, `still-attached`: given up while in use
 * - `wrong-type`: another mapping type than was agreed on
 * - `not-dynamic`: pinned by an importer whose every mapping is pinned anyway
 * - `not-pinned`: unpinned more often than pinned
 */
export type DmaBufMisuse =
  | "reservation"
  | "detached"
  | "not-mapped"
  | "still-mapped"
  | "still-attached"
  | "wrong-type"
  | "not-dynamic"
  | "not-pinned";

/** A call that breaks the rules of dma-buf. Nothing was changed by it. */
export class DmaBufMisuseError extends Error {
  override readonly name = "DmaBufMisuseError";

  constructor(
    readonly code: DmaBufMisuse,
    readonly operation: string,
    readonly reason: string,
  ) {
    super(`${operation}: ${code}: ${reason}`);
  }
}
