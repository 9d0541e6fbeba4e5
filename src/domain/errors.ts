import { type Errno, LinuxError } from "../linux/errno.js";

/** Errors that drivers/iommu/iommu.c gives. */
export type OwnershipErrorCode = Extract<Errno, "EPERM" | "EBUSY" | "ENODEV" | "EINVAL" | "EPROBE_DEFER">;

/** A domain or a device was asked for what its present owner or state rules out. Nothing was changed. */
export class OwnershipError extends LinuxError<OwnershipErrorCode> {
  override readonly name = "OwnershipError";
}
