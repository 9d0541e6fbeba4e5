/**
 * Intel Xe GPUs' page tables as the xe driver writes them.
 * Linux drivers/gpu/drm/xe/xe_pt.c (xe_pt_stage_bind), xe_bo.h.
 */
import { pageSizeBitmap } from "../bits.js";
import { IommuError } from "../engine/errors.js";
import { leavesOfSegments } from "./congruent-leaves.js";
import { alignedEntriesHint, indifferentHint } from "./gpu-hint.js";
import { defineImporter, type Importer, type LeafRun, segmentName } from "./importer.js";
import { BLOCK, buildPpgtt, HUGE_BLOCK, LARGE_PAGE, PAGE } from "./intel-ppgtt.js";

const SIZES = [PAGE, LARGE_PAGE, BLOCK, HUGE_BLOCK];
/** Entries that make a compact table full. */
const COMPACT_ENTRIES = Number(BLOCK / LARGE_PAGE);

export interface XeOptions {
  /** Graphics IP version times 100: compact tables exist from 1250 on. */
  readonly graphics?: number;
  /** Width of virtual addresses: 48, or 57 with a fifth level. */
  readonly vaBits?: 48 | 57;
  /** Width of the DMA mask. */
  readonly dmaBits?: number;
  /** VRAM must be mapped in 64 KiB or more (XE_VRAM_FLAGS_NEED64K). */
  readonly vramNeeds64K?: boolean;
  /** Tables lie in VRAM. */
  readonly discrete?: boolean;
}

export function xe(options: XeOptions = {}): Importer {
  const { graphics = 1255, vaBits = 48, dmaBits = 46, vramNeeds64K = false, discrete = true } = options;
  const name = "xe";
  const pageSizes = pageSizeBitmap(SIZES);
  return defineImporter({
    name,
    title: `Intel Xe GPU, graphics ${graphics / 100}`,
    pageSizes,
    addressBits: dmaBits,
    rules: { granule: PAGE, vaBits },
    leaves(va, segments) {
      const leaves = leavesOfSegments(va, segments, SIZES);
      if (vramNeeds64K && leaves.some(({ memory, size }) => memory === "vram" && size === PAGE)) {
        const index = segments.findIndex(({ memory }) => memory === "vram");
        const what = segmentName(name, index, segments[index]);
        throw new IommuError("misaligned", what, segments[index].address, "VRAM is mapped in 64 KiB or more here");
      }
      return leaves;
    },
    build(leaves) {
      const compact = graphics >= 1250 ? compactBlocks(leaves) : new Set<bigint>();
      const layout = (_: LeafRun, va: bigint) => (compact.has(va / BLOCK) ? "compact" : "ps64");
      return buildPpgtt(leaves, { vaBits, discrete, layout });
    },
    hint: (buffer) =>
      buffer.memory === "vram"
        ? indifferentHint(pageSizes, dmaBits, "its own memory is not reached through an IOVA")
        : alignedEntriesHint(name, SIZES, dmaBits, buffer),
  });
}

/** The 2 MiB blocks that 64 KiB entries fill wholly, by number. */
function compactBlocks(leaves: readonly LeafRun[]): Set<bigint> {
  const entries = new Map<bigint, number>();
  for (const { va, size, count } of leaves) {
    if (size !== LARGE_PAGE) continue;
    for (let index = 0n; index < count; index++) {
      const block = (va + index * size) / BLOCK;
      entries.set(block, (entries.get(block) ?? 0) + 1);
    }
  }
  return new Set([...entries].filter(([, count]) => count === COMPACT_ENTRIES).map(([block]) => block));
}
