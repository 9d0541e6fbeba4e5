/**
 * NVIDIA GPUs under nouveau: which pages it maps. Linux drivers/gpu/drm/nouveau: nvkm/subdev/mmu/vmm.c
 * (nvkm_vmm_map_choose, nvkm_vmm_map_valid, nvkm_vmm_pfn_map) and mem.c, nouveau_bo.c (nouveau_bo_alloc), nouveau_mem.c.
 */
import { isAligned, KIB, MIB, pageSizeBitmap } from "../bits.js";
import { leavesOfSegments } from "./congruent-leaves.js";
import { alignedEntriesHint, indifferentHint } from "./gpu-hint.js";
import { defineImporter, type Importer, type Segment } from "./importer.js";
import { buildMmuTables, MMU_VERSION_2, MMU_VERSION_3, mmuVersion1 } from "./nouveau-mmu.js";

const PAGE = 4n * KIB;
const BLOCK = 2n * MIB;

const FAMILIES = { 1: "Fermi to Maxwell", 2: "Pascal to Ampere", 3: "Hopper, Blackwell" } as const;

export type NouveauOptions =
  | {
      /** Pascal to Ampere; the default. */
      readonly version?: 2;
      /**
       * Shared virtual memory, which nouveau has on Pascal (nouveau_svm_init): pages of the process, system memory in 2 MiB
       * too (nvkm_vmm_pfn_map).
       */
      readonly svm?: boolean;
    }
  | {
      /** Hopper, Blackwell. */
      readonly version: 3;
    }
  | {
      /** Fermi, Kepler, Maxwell. */
      readonly version: 1;
      /** log2 of a big page. Default 17. */
      readonly bigPageShift?: 16 | 17;
    };

function formatOf(options: NouveauOptions) {
  if (options.version === 1) return mmuVersion1(options.bigPageShift ?? 17);
  return options.version === 3 ? MMU_VERSION_3 : MMU_VERSION_2;
}

export function nouveau(options: NouveauOptions = {}): Importer {
  const { version = 2 } = options;
  const svm = (options.version === undefined || options.version === 2) && options.svm === true;
  const bigPages64K = options.version === 1 && options.bigPageShift === 16;
  const format = formatOf(options);
  const { sizes, levels, dmaBits } = format;
  const name = `nouveau-v${version}${svm ? "-svm" : ""}${bigPages64K ? "-64k" : ""}`;
  const variant = `${svm ? ", shared virtual memory" : ""}${bigPages64K ? ", big pages of 64 KiB" : ""}`;
  // Only 4 KiB has NVKM_VMM_PAGE_HOST, but for Tegra's GPUs, and there as well system memory is of pages of PAGE_SHIFT
  // (nvkm_mem_page, nouveau_bo_alloc).
  const systemSizes = svm ? [PAGE, BLOCK] : [PAGE];
  const pageSizes = pageSizeBitmap(sizes);
  return defineImporter({
    name,
    title: `NVIDIA GPU (${FAMILIES[version]}) under nouveau, MMU version ${version}${variant}`,
    pageSizes,
    addressBits: dmaBits,
    rules: { granule: PAGE, vaBits: levels[0].shift + levels[0].indexBits },
    leaves(va, segments) {
      if (svm) return leavesOfSegments(va, segments, systemSizes);
      const inVram = segments.every(({ memory }) => memory === "vram");
      return leavesOfSegments(va, segments, [onePageSize(va, segments, inVram ? sizes : systemSizes)]);
    },
    build: (leaves) => buildMmuTables(leaves, format),
    hint(buffer) {
      if (buffer.memory === "vram")
        return indifferentHint(pageSizes, dmaBits, "its own memory is not reached through an IOVA");
      if (svm) return alignedEntriesHint(name, systemSizes, dmaBits, buffer);
      return indifferentHint(PAGE, dmaBits, "nouveau maps system memory in pages of 4 KiB");
    },
  });
}

/**
 * One size for a whole mapping: the largest that its virtual address, its length and its memory are multiples of. VRAM was
 * allocated in blocks of some page size (nvkm_memory_page); here the blocks' own alignment stands for it.
 */
function onePageSize(va: bigint, segments: readonly Segment<bigint>[], sizes: readonly bigint[]): bigint {
  const all = segments.reduce((bits, { address, length }) => bits | address | length, va);
  return sizes.findLast((size) => isAligned(all, size)) ?? PAGE;
}
