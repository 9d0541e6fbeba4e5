/**
 * AMD GPUs' page tables from GFX9 on as the amdgpu driver writes them, block size 9.
 * Linux drivers/gpu/drm/amd/amdgpu: amdgpu_vm.h, amdgpu_vm_pt.c (amdgpu_vm_pte_fragment, amdgpu_vm_ptes_update),
 * amdgpu_vm.c (amdgpu_vm_update_range), gmc_v9_0.c to gmc_v12_1.c.
 */
import { pageSizeBitmap, trailingZeros } from "../bits.js";
import { congruentLeaves } from "./congruent-leaves.js";
import { addressBits, type Hint, prefer } from "./hint.js";
import { defineImporter, type Importer, type LeafRun, type Segment, type Tables } from "./importer.js";
import { TableMemory } from "./table-memory.js";
import { type Decode, pageLevel, type TableLevel, TableTree } from "./table-tree.js";

/** Bits of entries (amdgpu_vm.h). */
const VALID = 1n << 0n;
const SYSTEM = 1n << 1n;
const SNOOPED = 1n << 2n;
const EXECUTABLE = 1n << 4n;
const READABLE = 1n << 5n;
const WRITEABLE = 1n << 6n;
/** AMDGPU_PTE_FRAG: log2 of the pages that translate alike. */
const FRAGMENT_SHIFT = 7n;
const FRAGMENT_MASK = 0x1fn;
/** Pages: 47:12. Directory entries: 47:6. */
const PAGE_ADDRESS = 0xffff_ffff_f000n;
const TABLE_ADDRESS = 0xffff_ffff_ffc0n;

const PAGE = 4096n;
/** max_frag of Vega10 and later. */
const MAX_FRAGMENT = 31;
/** Every fragment: 4 KiB shifted by 0 to 31. */
const FRAGMENTS = Array.from({ length: MAX_FRAGMENT + 1 }, (_, fragment) => PAGE << BigInt(fragment));

/** What differs between graphics generations. MTYPE (58:57, from GFX10 on 50:48, from GFX12 on 55:54) stays 0, MTYPE_NC. */
const GENERATIONS = {
  /** AMDGPU_PDE_PTE: a directory entry that is a page. */
  gfx9: { isPage: 1n << 54n, everyPage: false, root: "PDB2" },
  gfx10: { isPage: 1n << 54n, everyPage: false, root: "PDB2" },
  gfx11: { isPage: 1n << 54n, everyPage: false, root: "PDB2" },
  /** AMDGPU_PTE_IS_PTE: set in pages of every level. */
  gfx12: { isPage: 1n << 63n, everyPage: true, root: "PDB2" },
  /** A fifth level: 57 bits. */
  "gfx12.1": { isPage: 1n << 63n, everyPage: true, root: "PDB3" },
} as const;

type Generation = (typeof GENERATIONS)[keyof typeof GENERATIONS];

/** PDB3, PDB2, PDB1, PDB0, PTB. */
const LEVELS: readonly TableLevel[] = [48, 39, 30, 21, 12].map(pageLevel);

export interface AmdgpuOptions {
  readonly generation?: keyof typeof GENERATIONS;
  /** Width of the DMA mask. */
  readonly dmaBits?: number;
  /** Tables lie in VRAM. */
  readonly discrete?: boolean;
}

export function amdgpu({ generation = "gfx11", dmaBits = 44, discrete = true }: AmdgpuOptions = {}): Importer {
  const format = GENERATIONS[generation];
  const levels = format.root === "PDB3" ? LEVELS : LEVELS.slice(1);
  const pageSizes = pageSizeBitmap(FRAGMENTS);
  return defineImporter({
    name: generation === "gfx11" ? "amdgpu" : `amdgpu-${generation}`,
    title: `AMD GPU, ${generation.toUpperCase()}`,
    pageSizes,
    addressBits: dmaBits,
    rules: { granule: PAGE, vaBits: levels[0].shift + levels[0].indexBits },
    leaves: fragments,
    build: (leaves) => buildTables(leaves, format, levels, discrete),
    hint: ({ memory }): Hint => ({
      pageSizes,
      addressLimit: addressBits(dmaBits),
      indifferent: { reason: "a fragment needs an aligned virtual address and a contiguous run, wherever the run is" },
      ...(memory === "vram" ? {} : { singleSegment: prefer(true as const, "a break ends the run of a fragment") }),
    }),
  });
}

/**
 * Fragments of each contiguous run, by virtual address and length alone. System memory comes as a list of pages, so segments
 * that touch are one run; VRAM comes block by block.
 */
function fragments(start: bigint, segments: readonly Required<Segment<bigint>>[]): LeafRun[] {
  const leaves: LeafRun[] = [];
  let va = start;
  for (let index = 0; index < segments.length; ) {
    const { address, memory } = segments[index];
    let { length } = segments[index++];
    while (memory !== "vram" && segments[index]?.memory === memory && segments[index].address === address + length) {
      length += segments[index++].length;
    }
    // An address that agrees with the virtual one everywhere: the driver does not compare them.
    for (const leaf of congruentLeaves(va, { address: va, length, memory }, FRAGMENTS)) {
      leaves.push({ ...leaf, address: address + leaf.va - va });
    }
    va += length;
  }
  return leaves;
}

function buildTables(
  leaves: readonly LeafRun[],
  format: Generation,
  levels: readonly TableLevel[],
  discrete: boolean,
): Tables {
  const memory = new TableMemory();
  const tree = new TableTree(memory, levels, (slot, table) => memory.write(slot, table | VALID));
  const ptb = levels.length - 1;
  let leafWords = 0;
  for (const { va, address, size, count, memory: kind } of leaves) {
    const fragment = trailingZeros(size) - 12;
    // The highest level whose entries are not larger than the fragment: PDB0 from 2 MiB on, PDB1 from 1 GiB on.
    const depth = levels.findIndex(({ shift }) => shift <= fragment + 12);
    const place = kind === "vram" ? 0n : kind === "system" ? SYSTEM | SNOOPED : SYSTEM;
    const isPage = depth < ptb || format.everyPage ? format.isPage : 0n;
    const flags = VALID | place | EXECUTABLE | READABLE | WRITEABLE | (BigInt(fragment) << FRAGMENT_SHIFT) | isPage;
    const step = 1n << BigInt(levels[depth].shift);
    for (let offset = 0n; offset < size * BigInt(count); offset += step) {
      memory.write(tree.slot(va + offset, depth), (address + offset) | flags);
      leafWords++;
    }
  }
  const decode = entryDecoder(memory, format, levels);
  return { memory, leafWords, deviceBytes: discrete ? memory.bytes : 0, translate: (va) => tree.walk(va, decode) };
}

function entryDecoder(memory: TableMemory, format: Generation, levels: readonly TableLevel[]): Decode {
  const ptb = levels[levels.length - 1];
  return (slot, level, slots, va) => {
    slots.push(slot);
    const entry = memory.read(slot);
    if ((entry & VALID) === 0n) return { fault: "the entry is not valid" };
    if (level !== ptb && (entry & format.isPage) === 0n) {
      return { table: entry & TABLE_ADDRESS, level: levels[levels.indexOf(level) + 1] };
    }
    const pageShift = 12 + Number((entry >> FRAGMENT_SHIFT) & FRAGMENT_MASK);
    // Every entry of a fragment has its own address; the fragment's first page lies so far before it.
    const inFragment = va & ((1n << BigInt(pageShift)) - 1n) & -(1n << BigInt(level.shift));
    return { page: (entry & PAGE_ADDRESS) - inFragment, pageShift };
  };
}
