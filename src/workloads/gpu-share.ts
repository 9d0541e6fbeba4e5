/**
 * Buffers shared as dma-bufs between two GPUs and a NIC: system-heap buffers that two devices import, and VRAM of either
 * GPU that the other one or the NIC reaches through the BAR. Frames are of 1920×1080 and 3840×2160 pixels of 4 bytes; 64 KiB
 * and 2 MiB are what GPU virtual addresses are aligned to where the length permits (Xe, nouveau). Weights, the other sizes
 * and the 2 GiB shared at a time are assumed.
 */
import type { BufferMemory } from "./buffer.js";
import { Vram } from "./device-memory.js";
import { type LengthRange, lengthIn, pick, type Weighted } from "./distributions.js";
import { systemHeapBuffer } from "./host-memory.js";
import { Live } from "./live.js";
import { mmapAlignment, PROCESS_END, VirtualAddresses } from "./virtual-addresses.js";
import type { Machine, Workload } from "./workload.js";
import type { Mapping } from "./writer.js";

const GPU0 = 0;
const GPU1 = 1;
const NIC = 2;

const FRAME_PAGES = (1920 * 1080 * 4) / 4096;
const LENGTHS: Weighted<LengthRange | number> = [
  [6, { low: 4, high: 8 }],
  [5, { low: 8, high: 11 }],
  [4, FRAME_PAGES],
  [2, FRAME_PAGES * 4],
  [3, { low: 12, high: 16 }],
];

/** Where a buffer lives, and who imports it. */
interface Sharing {
  /** GPU whose VRAM it is, null for the system heap. */
  readonly exporter: number | null;
  readonly importers: readonly number[];
}
const SHARINGS: Weighted<Sharing> = [
  [2, { exporter: GPU0, importers: [NIC] }],
  [1, { exporter: GPU1, importers: [NIC] }],
  [1, { exporter: GPU0, importers: [GPU1] }],
  [1, { exporter: GPU1, importers: [GPU0] }],
  [3, { exporter: null, importers: [NIC, GPU0] }],
  [1, { exporter: null, importers: [GPU0, GPU1] }],
];
const SHARED_PAGES = 2 ** 19;

/** BARs of 16 GiB, above the addresses of RAM. */
const VRAM_PAGES = 2 ** 22;
const VRAM_FIRST_PAGES = [2 ** 28, 2 ** 28 + VRAM_PAGES];
/** 47 bits of addresses that a GPU shares with no process. */
const GPU_END = 2 ** 35;

function gpuAlignment(pages: number): number {
  return pages >= 512 ? 512 : 16;
}

function start({ memory, random, writer }: Machine): () => void {
  const vrams = VRAM_FIRST_PAGES.map((first) => new Vram(first, VRAM_PAGES));
  const addresses = [GPU_END, GPU_END, PROCESS_END].map((end) => new VirtualAddresses(end));
  const shared = new Live<{ buffer: BufferMemory; mappings: Mapping[] }>(random);
  let sharedPages = 0;
  return () => {
    const length = pick(random, LENGTHS);
    const pages = typeof length === "number" ? length : lengthIn(random, length);
    const { exporter, importers } = pick(random, SHARINGS);
    while (sharedPages + pages > SHARED_PAGES) {
      const { buffer, mappings } = shared.takeAny();
      for (const mapping of mappings) writer.unmap(mapping);
      sharedPages -= buffer.runs.pages;
      buffer.release();
    }
    const buffer = exporter === null ? systemHeapBuffer(memory, pages) : vrams[exporter].allocate(pages);
    const mappings = importers.map((importer) => {
      const alignment = importer === NIC ? mmapAlignment(buffer.runs.pages) : gpuAlignment(buffer.runs.pages);
      return writer.map(importer, buffer.runs, addresses[importer].take(buffer.runs.pages, alignment));
    });
    shared.add({ buffer, mappings });
    sharedPages += buffer.runs.pages;
  };
}

export const gpuShare: Workload = {
  name: "gpu-share",
  summary: "dma-bufs of two GPUs and a NIC: system heap and VRAM, frames and tensors of 64 KiB to 256 MiB",
  domains: ["gpu0", "gpu1", "nic"],
  operations: 2000,
  start,
};
