/**
 * NVIDIA GPUs' page tables as nouveau writes them: MMU version 2 (Pascal to Ampere) and 3 (Hopper, Blackwell).
 * Linux drivers/gpu/drm/nouveau/nvkm/subdev/mmu: vmm.c (nvkm_vmm_map_valid), vmmgp100.c, vmmgh100.c; dev_mmu.h of gh100.
 */
import { isAligned, KIB, MIB, pageSizeBitmap } from "./bits.js";
import { leavesOfSegments } from "./congruent-leaves.js";
import { alignedEntriesHint, indifferentHint } from "./gpu-hint.js";
import { defineImporter, type Importer, type LeafRun, type MemoryKind, type Segment, type Tables } from "./importer.js";
import { TableMemory } from "./table-memory.js";
import { type Decode, pageLevel, type TableLevel, TableTree } from "./table-tree.js";

const PAGE = 4n * KIB;
const LARGE_PAGE = 64n * KIB;
const BLOCK = 2n * MIB;
const HUGE_BLOCK = 512n * MIB;

/** VALID, and IS_PTE of version 3. */
const VALID = 1n << 0n;
/** APERTURE 2:1 of a page: VRAM 0, system coherent 2, system non-coherent 3. Of a table: VRAM 1. */
const APERTURE: Readonly<Record<MemoryKind, bigint>> = { vram: 0n << 1n, system: 2n << 1n, mmio: 3n << 1n };
const APERTURE_MASK = 3n << 1n;
const TABLE_IN_VRAM = 1n << 1n;
/** VOL of version 2: not cached. */
const VOLATILE = 1n << 3n;

/** PD0 has entries of two words: the big-page table or a 2 MiB page, then the small-page table. */
const PD0: TableLevel = { shift: 21, indexBits: 8, entryBytes: 16 };
const SMALL: TableLevel = pageLevel(12);
const BIG: TableLevel = { shift: 16, indexBits: 5, entryBytes: 8 };

interface Version {
  /** The root first, ending with PD0 and the small-page table. */
  readonly levels: readonly TableLevel[];
  readonly sizes: readonly bigint[];
  /** Width of an address of system memory. */
  readonly dmaBits: number;
  page(address: bigint, memory: MemoryKind): bigint;
  pageAddress(entry: bigint): bigint;
  table(address: bigint): bigint;
  tableAddress(entry: bigint): bigint;
}

const VERSIONS: Readonly<Record<2 | 3, Version>> = {
  2: {
    levels: [{ shift: 47, indexBits: 2, entryBytes: 8 }, pageLevel(38), pageLevel(29), PD0, SMALL],
    sizes: [PAGE, LARGE_PAGE, BLOCK],
    dmaBits: 47,
    // Addresses stand 4 bits lower, above the flags: 53:8 and, for tables, 53:4.
    page: (address, memory) => (address >> 4n) | VALID | APERTURE[memory] | (memory === "vram" ? 0n : VOLATILE),
    pageAddress: (entry) => (entry & 0x3f_ffff_ffff_ff00n) << 4n,
    table: (address) => (address >> 4n) | TABLE_IN_VRAM,
    tableAddress: (entry) => (entry & 0x3f_ffff_ffff_fff0n) << 4n,
  },
  3: {
    levels: [{ shift: 56, indexBits: 1, entryBytes: 8 }, pageLevel(47), pageLevel(38), pageLevel(29), PD0, SMALL],
    sizes: [PAGE, LARGE_PAGE, BLOCK, HUGE_BLOCK],
    dmaBits: 52,
    // ADDRESS 51:12; ADDR_BIG 51:8. PCF 0: cached, privileged off, read-write, atomics on.
    page: (address, memory) => address | VALID | APERTURE[memory],
    pageAddress: (entry) => entry & 0xf_ffff_ffff_f000n,
    table: (address) => address | TABLE_IN_VRAM,
    tableAddress: (entry) => entry & 0xf_ffff_ffff_ff00n,
  },
};

export interface NouveauOptions {
  readonly version?: 2 | 3;
  /** Shared virtual memory: pages of the process, system memory in 2 MiB too (nvkm_vmm_pfn_map). */
  readonly svm?: boolean;
}

export function nouveau({ version = 2, svm = false }: NouveauOptions = {}): Importer {
  const format = VERSIONS[version];
  const { sizes, levels, dmaBits } = format;
  const name = `nouveau-v${version}${svm ? "-svm" : ""}`;
  const systemSizes = svm ? [PAGE, BLOCK] : [PAGE];
  const pageSizes = pageSizeBitmap(sizes);
  return defineImporter({
    name,
    title: `NVIDIA GPU under nouveau, MMU version ${version}${svm ? ", shared virtual memory" : ""}`,
    pageSizes,
    addressBits: dmaBits,
    rules: { granule: PAGE, vaBits: levels[0].shift + levels[0].indexBits },
    leaves(va, segments) {
      if (svm) return leavesOfSegments(va, segments, systemSizes);
      const inVram = segments.every(({ memory }) => memory === "vram");
      return leavesOfSegments(va, segments, [onePageSize(va, segments, inVram ? sizes : systemSizes)]);
    },
    build: (leaves) => buildTables(leaves, format),
    hint(buffer) {
      if (buffer.memory === "vram")
        return indifferentHint(pageSizes, dmaBits, "its own memory is not reached through an IOVA");
      if (svm) return alignedEntriesHint(name, systemSizes, dmaBits, buffer);
      return indifferentHint(PAGE, dmaBits, "nouveau maps system memory in pages of 4 KiB");
    },
  });
}

/** One size for a whole mapping: the largest that its virtual address, its length and its memory are multiples of. */
function onePageSize(va: bigint, segments: readonly Segment<bigint>[], sizes: readonly bigint[]): bigint {
  const all = segments.reduce((bits, { address, length }) => bits | address | length, va);
  return sizes.findLast((size) => isAligned(all, size)) ?? PAGE;
}

function buildTables(leaves: readonly LeafRun[], format: Version): Tables {
  const { levels } = format;
  const memory = new TableMemory();
  const tree = new TableTree(memory, levels, (slot, table, level) =>
    memory.write(level === SMALL ? slot + 8n : slot, format.table(table)),
  );
  const last = levels.length - 1;
  let leafWords = 0;
  for (const { va, address, size, count, memory: kind } of leaves) {
    for (let offset = 0n; offset < size * BigInt(count); offset += size) {
      const at = va + offset;
      const slot =
        size === PAGE
          ? tree.slot(at, last)
          : size === LARGE_PAGE
            ? tree.slot(at, last, BIG)
            : tree.slot(at, last - (size === BLOCK ? 1 : 2));
      memory.write(slot, format.page(address + offset, kind));
      leafWords++;
    }
  }
  const decode = entryDecoder(memory, format);
  return { memory, leafWords, deviceBytes: memory.bytes, translate: (va) => tree.walk(va, decode) };
}

function entryDecoder(memory: TableMemory, format: Version): Decode {
  const { levels } = format;
  return (slot, level, slots, va) => {
    slots.push(slot);
    const entry = memory.read(slot);
    if ((entry & VALID) !== 0n) return { page: format.pageAddress(entry), pageShift: level.shift };
    if (level === SMALL || level === BIG) return { fault: "the entry is not valid" };
    if (level !== PD0) {
      if ((entry & APERTURE_MASK) === 0n) return { fault: "the entry points to no table" };
      return { table: format.tableAddress(entry), level: levels[levels.indexOf(level) + 1] };
    }
    // The big-page table is asked first; where it has nothing, the small-page table is.
    const big = format.tableAddress(entry) + ((va >> 16n) & 31n) * 8n;
    if ((entry & APERTURE_MASK) !== 0n && (memory.read(big) & VALID) !== 0n) {
      return { table: format.tableAddress(entry), level: BIG };
    }
    slots.push(slot + 8n);
    const small = memory.read(slot + 8n);
    if ((small & APERTURE_MASK) === 0n) return { fault: "the entry points to no table" };
    return { table: format.tableAddress(small), level: SMALL };
  };
}
