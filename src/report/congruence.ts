import { dmaAddress, physicalAddress } from "../engine/addresses.js";
import type { Engine } from "../engine/engine.js";
import type { FormatDescription } from "../engine/formats.js";
import { plainTable } from "./table.js";
import { sizeName } from "./units.js";

/** One placement of a buffer and the leaves it takes. */
export interface CongruencePlacement {
  readonly placement: string;
  readonly iova: string;
  readonly leaves: number;
  readonly bySize: readonly { readonly size: number; readonly count: number }[];
}

/** One buffer in one format. */
export interface CongruenceCase {
  readonly format: string;
  readonly levels: number;
  readonly buffer: string;
  readonly bytes: number;
  readonly pieces: number;
  readonly placements: readonly CongruencePlacement[];
}

interface Piece {
  readonly physical: bigint;
  readonly length: bigint;
}

/** Where the buffers' physical pages begin; on a boundary of every block size. */
const PHYSICAL_BASE = 0x1_0000_0000n;
/** A 64 MiB buffer of 2 MiB blocks; other granules take as many of their own blocks. */
const BLOCKS = 32n;

function place(engine: Engine, format: FormatDescription, levels: number, pieces: readonly Piece[], iova: bigint) {
  const table = engine.createTable(format.name, { levels });
  let at = iova;
  for (const { physical, length } of pieces) {
    table.map(dmaAddress(at), physicalAddress(physical), length, { read: true, write: true });
    at += length;
  }
  const bySize = [...table.counters.leaves].map(([size, count]) => ({ size: Number(size), count }));
  table.release();
  return { iova: `0x${iova.toString(16)}`, leaves: bySize.reduce((sum, { count }) => sum + count, 0), bySize };
}

/**
 * Counts what alignment and congruence are worth, by mapping: a physically contiguous buffer that begins one granule past
 * a block boundary, and one granule followed by scattered blocks; in every format and depth.
 */
export function congruenceExperiment(engine: Engine): CongruenceCase[] {
  const cases: CongruenceCase[] = [];
  for (const format of engine.formats) {
    const { granule } = format;
    const block = 1n << BigInt(format.levelShift(2));
    const length = BLOCKS * block;
    for (let levels = format.minLevels; levels <= format.maxLevels; levels++) {
      // Room for the buffer behind an address that is aligned to twice its length.
      if (format.inputBits(levels) - (format.canonical ? 1 : 0) < format.levelShift(2) + 7) continue;
      const contiguous: Piece[] = [{ physical: PHYSICAL_BASE + block + granule, length }];
      // Every second block of physical memory: contiguous in IOVA only.
      const scattered: Piece[] = [
        { physical: PHYSICAL_BASE + granule, length: granule },
        ...Array.from({ length: Number(BLOCKS) - 1 }, (_, i) => ({
          physical: PHYSICAL_BASE + BigInt(2 * i + 2) * block,
          length: block,
        })),
      ];
      const aligned = 2n * length;
      cases.push({
        format: format.name,
        levels,
        buffer: `${sizeName(Number(length))} at PA 0x${(PHYSICAL_BASE + block + granule).toString(16)}`,
        bytes: Number(length),
        pieces: 1,
        placements: [
          {
            placement: `aligned to ${sizeName(Number(length))}`,
            ...place(engine, format, levels, contiguous, aligned),
          },
          {
            placement: `IOVA = PA mod ${sizeName(Number(block))}`,
            ...place(engine, format, levels, contiguous, aligned + granule),
          },
        ],
      });
      cases.push({
        format: format.name,
        levels,
        buffer: `${sizeName(Number(granule))} + ${BLOCKS - 1n} scattered ${sizeName(Number(block))}`,
        bytes: Number(granule + (BLOCKS - 1n) * block),
        pieces: scattered.length,
        placements: [
          { placement: `aligned to ${sizeName(Number(length))}`, ...place(engine, format, levels, scattered, aligned) },
          {
            placement: `shifted by ${sizeName(Number(block))} - ${sizeName(Number(granule))}`,
            ...place(engine, format, levels, scattered, aligned + block - granule),
          },
        ],
      });
    }
  }
  return cases;
}

export function congruenceText(cases: readonly CongruenceCase[]): string {
  const rows = cases.flatMap(({ format, levels, buffer, placements }) =>
    placements.map(({ placement, leaves, bySize }, index) => [
      index === 0 ? `${format}/${levels}` : "",
      index === 0 ? buffer : "",
      placement,
      leaves.toLocaleString("en-US"),
      bySize
        .filter(({ count }) => count > 0)
        .map(({ size, count }) => `${count} x ${sizeName(size)}`)
        .join(" + "),
    ]),
  );
  return plainTable(["format/levels", "buffer", "placement", "leaves", "by size"], rows, 3);
}

export function congruenceJson(version: string, cases: readonly CongruenceCase[]): string {
  return `${JSON.stringify({ command: "experiment congruence", version, inputs: {}, cases }, null, 2)}\n`;
}
