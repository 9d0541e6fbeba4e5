/** Linux's error numbers that drivers/iommu/iommu.c gives (include/uapi/asm-generic/errno*.h, include/linux/errno.h). */
export const OWNERSHIP_ERRNO = { EPERM: -1, EBUSY: -16, ENODEV: -19, EINVAL: -22, EPROBE_DEFER: -517 } as const;

export type OwnershipErrorCode = keyof typeof OWNERSHIP_ERRNO;

/** A domain or a device was asked for what its present owner or state rules out. Nothing was changed. */
export class OwnershipError extends Error {
  override readonly name = "OwnershipError";

  /**
   * @param code the kernel's name of the error
   * @param operation what was asked, of which group or device
   * @param reason which rule refused it
   */
  constructor(
    readonly code: OwnershipErrorCode,
    readonly operation: string,
    readonly reason: string,
  ) {
    super(`${operation}: ${code}: ${reason}`);
  }

  /** Negative, as kernel functions return it. */
  get errno(): number {
    return OWNERSHIP_ERRNO[this.code];
  }
}
