import { expect } from "vitest";
import { DmaError } from "../../src/dma/index.js";
import { AddressMisuseError } from "../../src/dma/index.js";
import { DmaBufError, DmaBufMisuseError, type ImporterOps, type PciNode } from "../../src/dmabuf/index.js";
import { ERRNO, type Errno } from "../../src/linux/errno.js";
import { BuddyAllocator } from "../../src/linux/buddy.js";
import { Vram } from "../../src/workloads/device-memory.js";

export const MIB = 1n << 20n;
export const PAGE = 4096n;

/** The code of what was thrown, checked to have Linux's number where it is Linux's; null when nothing was. */
export function codeOf(work: () => unknown): string | null {
  try {
    work();
    return null;
  } catch (error) {
    if (error instanceof DmaBufMisuseError || error instanceof AddressMisuseError) return error.code;
    expect(error instanceof DmaBufError || error instanceof DmaError).toBe(true);
    const { code, errno } = error as DmaBufError | DmaError;
    expect(errno).toBe(code === "DMA_MAPPING_ERROR" ? ERRNO.ENOMEM : ERRNO[code as Errno]);
    return code;
  }
}

const SWITCH: PciNode = { name: "0000:01:00.0", upstream: { name: "0000:00:01.0", upstream: null } };
const port = (name: string): PciNode => ({ name, upstream: SWITCH });

/** A GPU and a NIC behind one switch, a NIC on another root port. */
export const GPU: PciNode = { name: "0000:03:00.0", upstream: port("0000:02:00.0") };
export const NEAR: PciNode = { name: "0000:04:00.0", upstream: port("0000:02:01.0") };
export const FAR: PciNode = { name: "0000:05:00.0", upstream: { name: "0000:00:02.0", upstream: null } };

/** 1 GiB of VRAM at 1 TiB. */
export function newVram(): Vram {
  return new Vram(2 ** 28, 2 ** 18);
}

/** Host memory, by default 64 MiB at 4 GiB. */
export function newMemory(pages = 2 ** 14): BuddyAllocator {
  return new BuddyAllocator({ firstPage: 2 ** 20, pages });
}

/** An importer that can be told to unmap, and does nothing then. */
export const REVOCABLE: ImporterOps = { allowPeer2peer: true, invalidateMappings: () => {} };
