/** Memory of devices, as other devices reach it: VRAM through its BAR, and ranges of registers. Pages are of 4 KiB. */
import { BuddyAllocator } from "../linux/buddy.js";
import { BufferMemory } from "./buffer.js";
import { PageRuns } from "./page-runs.js";

/** GPU pages of 64 KiB are what VRAM is given out in (nouveau, NVIDIA; Xe on discrete GPUs). */
const VRAM_ORDER = 4;
/** Largest block of VRAM: 1 GiB. */
const VRAM_MAX_ORDER = 18;

/** What of VRAM is never given out: firmware and page tables, at its beginning. Assumed: 1/64. */
const CARVE_OUT = 64;

/** VRAM behind a BAR that covers all of it: a buddy allocator of its own, like DRM's, over what a carve-out leaves. */
export class Vram {
  readonly #memory: BuddyAllocator;

  /** @param firstPage of the BAR, a multiple of `pages`, which is a power of two of at least 1 GiB */
  constructor(firstPage: number, pages: number) {
    this.#memory = new BuddyAllocator({ firstPage, pages, maxOrder: VRAM_MAX_ORDER });
    for (let left = pages / CARVE_OUT; left > 0; left -= 2 ** VRAM_ORDER) this.#memory.allocate(VRAM_ORDER);
  }

  /** A buffer in blocks as large as its length, rounded up to 64 KiB, permits. */
  allocate(pages: number): BufferMemory {
    const buffer = new BufferMemory(this.#memory);
    for (let left = Math.ceil(pages / 2 ** VRAM_ORDER) * 2 ** VRAM_ORDER; left > 0; ) {
      left -= 2 ** buffer.takeLargest(VRAM_ORDERS, left);
    }
    return buffer;
  }
}

const VRAM_ORDERS = Array.from({ length: VRAM_MAX_ORDER - VRAM_ORDER + 1 }, (_, below) => VRAM_MAX_ORDER - below);

/** A BAR: a power of two of pages, naturally aligned (PCI Express 7.5.1.2.1), one run. */
export function bar(firstPage: number, pages: number): PageRuns {
  const runs = new PageRuns();
  runs.append(firstPage, pages);
  return runs;
}
