/** How exporters map their memory for the device of an attachment. */
import {
  type DmaContext,
  type DmaDevice,
  type DmaDirection,
  type DmaRange,
  dmaAttributes,
  mapMemory,
  type MemoryRange,
  mapSg,
  rangesOf,
  unmapMemory,
  unmapSg,
} from "../dma/index.js";
import { physicalAddress } from "../engine/addresses.js";
import type { BufferMemory } from "../workloads/buffer.js";
import type { Attachment } from "./attachment.js";
import type { ExporterMapping } from "./dma-buf.js";
import { DmaBufMisuseError } from "./errors.js";

/** Bytes of a page, of the host as of VRAM. */
export const PAGE = 4096n;
const MMIO = dmaAttributes("MMIO");

/** Pages that hold so many bytes. */
export function pagesFor(bytes: bigint): number {
  return Number((bytes + PAGE - 1n) / PAGE);
}

/** The blocks of a buffer in its order: an entry of its scatterlist each. */
export function blocksOf(buffer: BufferMemory): MemoryRange[] {
  return buffer.blocks.map(({ page, pages }) => ({
    kind: "memory",
    address: physicalAddress(BigInt(page) * PAGE),
    length: BigInt(pages) * PAGE,
  }));
}

/** The device that the exporter maps for. Throws DmaBufMisuseError `wrong-type` for an importer that has none. */
export function importingDevice({ device, buffer, party }: Attachment): DmaDevice {
  if (device) return device;
  throw new DmaBufMisuseError("wrong-type", `map ${buffer.name} for ${party}`, "it takes no DMA addresses");
}

/** dma_map_sgtable() of host memory. Throws as `mapSg`. */
export function mapScatterlist(
  device: DmaDevice,
  context: DmaContext,
  memory: readonly MemoryRange[],
  direction: DmaDirection,
): ExporterMapping {
  const entries = memory.map(({ address, length }) => ({ physical: address, length }));
  const mapped = mapSg(device, context, entries, direction);
  return {
    segments: rangesOf(device, mapped.segments),
    unmap: (at) => unmapSg(device, at, mapped, direction),
  };
}

/**
 * Each block by itself, as amdgpu and xe map VRAM with dma_map_resource(). Throws as `mapPhys`; what was mapped is
 * unmapped again then.
 */
export function mapBlocks(
  device: DmaDevice,
  context: DmaContext,
  memory: readonly MemoryRange[],
  direction: DmaDirection,
): ExporterMapping {
  const segments: DmaRange[] = [];
  const unmap = (at: DmaContext): void => {
    for (const segment of segments) unmapMemory(device, at, segment, direction, MMIO);
  };
  try {
    for (const block of memory) segments.push(mapMemory(device, context, block, direction, MMIO));
  } catch (error) {
    unmap(context);
    throw error;
  }
  return { segments, unmap };
}
