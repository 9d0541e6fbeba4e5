/** Linux's error numbers (include/uapi/asm-generic/errno*.h, include/linux/errno.h), negative as its functions return them. */
export const ERRNO = {
  EPERM: -1,
  EIO: -5,
  ENOMEM: -12,
  EBUSY: -16,
  EEXIST: -17,
  ENODEV: -19,
  EINVAL: -22,
  ERANGE: -34,
  EOPNOTSUPP: -95,
  EADDRINUSE: -98,
  EREMOTEIO: -121,
  EPROBE_DEFER: -517,
} as const;

export type Errno = keyof typeof ERRNO;

/** dma_map_phys() gives DMA_MAPPING_ERROR where it has no address. */
export type LinuxErrorCode = Errno | "DMA_MAPPING_ERROR";

/** What Linux answers when it does not do what it was asked. */
export abstract class LinuxError<Code extends LinuxErrorCode = LinuxErrorCode> extends Error {
  /**
   * @param code the kernel's name of the error
   * @param operation what was asked, and of whom
   * @param reason which rule refused it
   * @param cause what was refused underneath, where there is something
   */
  constructor(
    readonly code: Code,
    readonly operation: string,
    readonly reason: string,
    cause?: unknown,
  ) {
    super(`${operation}: ${code}: ${reason}`, cause === undefined ? undefined : { cause });
  }

  /** The number of the code; dma_mapping_error() makes -ENOMEM of DMA_MAPPING_ERROR. */
  get errno(): number {
    const code: LinuxErrorCode = this.code;
    return code === "DMA_MAPPING_ERROR" ? ERRNO.ENOMEM : ERRNO[code];
  }
}
