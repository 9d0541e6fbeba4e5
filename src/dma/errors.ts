import { type ErrorCode, IommuError } from "../engine/errors.js";
import { type Errno, LinuxError } from "../linux/errno.js";

/** Errors of the DMA API; DMA_MAPPING_ERROR is what dma_map_phys() gives instead of an address. */
export type DmaErrorCode =
  | Extract<
      Errno,
      "EPERM" | "EIO" | "ENOMEM" | "EEXIST" | "EINVAL" | "ERANGE" | "EOPNOTSUPP" | "EADDRINUSE" | "EREMOTEIO"
    >
  | "DMA_MAPPING_ERROR";

/** What Linux's DMA API answers when it does not do what it was asked. */
export class DmaError extends LinuxError<DmaErrorCode> {
  override readonly name = "DmaError";
}

/**
 * What a driver does wrong, in the kernel left to the DMA-API debug facility (kernel/dma/debug.c) or to chance:
 * - `not-allocated`: nothing is mapped there (freed twice, or never mapped)
 * - `foreign-device`: another device mapped it
 * - `wrong-size`, `wrong-function`, `wrong-direction`, `wrong-attributes`: not as it was mapped
 * - `state-in-use`: an allocation into a state that has one
 * - `outside-state`: a range that leaves the state's IOVA space
 * - `not-linked`: a range of a state that is not wholly linked, or ends inside a link
 * - `still-linked`: a state freed while something is linked
 * - `invalid`: a size, an address or an option that makes no sense
 */
export type DmaMisuse =
  | "not-allocated"
  | "foreign-device"
  | "wrong-size"
  | "wrong-function"
  | "wrong-direction"
  | "wrong-attributes"
  | "state-in-use"
  | "outside-state"
  | "not-linked"
  | "still-linked"
  | "invalid";

/** A call that breaks the rules of the DMA API. Nothing was changed by it. */
export class DmaMisuseError extends Error {
  override readonly name = "DmaMisuseError";

  constructor(
    readonly code: DmaMisuse,
    readonly operation: string,
    readonly reason: string,
  ) {
    super(`${operation}: ${code}: ${reason}`);
  }
}

/** Where the kernel's drivers differ in the error of a map operation. */
export type PageTableDriver = "generic_pt" | "io-pgtable-arm";

/** iommu_map's check of alignment; then drivers/iommu/generic_pt/iommu_pt.h or drivers/iommu/io-pgtable-arm.c. */
const MAP_ERRORS: Readonly<Partial<Record<ErrorCode, DmaErrorCode>>> = {
  misaligned: "EINVAL",
  "input-range": "ERANGE",
  "output-range": "ERANGE",
  permissions: "EINVAL",
  "memory-exhausted": "ENOMEM",
};

/** What iommu_map() returns for a refusal of the page table; null for what is not one. */
export function mapErrorCode(error: unknown, driver: PageTableDriver): DmaErrorCode | null {
  if (!(error instanceof IommuError)) return null;
  if (error.code === "overlap") return driver === "generic_pt" ? "EADDRINUSE" : "EEXIST";
  return MAP_ERRORS[error.code] ?? null;
}
