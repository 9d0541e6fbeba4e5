/**
 * Intel Xe GPUs' page tables as the xe driver writes them.
 * Linux drivers/gpu/drm/xe/xe_pt.c (xe_pt_stage_bind), xe_gtt_defs.h, xe_bo.h.
 */
import { IommuError } from "../engine/errors.js";
import { GIB, KIB, MIB, pageSizeBitmap } from "./bits.js";
import { leavesOfSegments } from "./congruent-leaves.js";
import { alignedEntriesHint, indifferentHint } from "./gpu-hint.js";
import { defineImporter, type Importer, type LeafRun, type MemoryKind, segmentName, type Tables } from "./importer.js";
import { TableMemory } from "./table-memory.js";
import { type Decode, pageLevel, type TableLevel, TableTree } from "./table-tree.js";

/** Bits of entries (xe_gtt_defs.h). */
const PRESENT = 1n << 0n;
const WRITABLE = 1n << 1n;
/** XE_PDE_64K: the table below has 32 entries of 64 KiB. */
const PDE_64K = 1n << 6n;
/** XE_PDE_PS_2M and XE_PDPE_PS_1G. */
const PAGE_SIZE_BIT = 1n << 7n;
/** XE_PTE_PS64: one of 16 entries that map 64 KiB together. */
const PTE_PS64 = 1n << 8n;
/** XE_PPGTT_PTE_DM: device memory. */
const DEVICE_MEMORY = 1n << 11n;
const ADDRESS = 0xf_ffff_ffff_f000n;

const PAGE = 4n * KIB;
const LARGE_PAGE = 64n * KIB;
const BLOCK = 2n * MIB;
const SIZES = [PAGE, LARGE_PAGE, BLOCK, GIB];

/** xe_normal_pt_shifts, the root first, and the last level of xe_compact_pt_shifts: both take a page. */
const LEVELS: readonly TableLevel[] = [48, 39, 30, 21, 12].map(pageLevel);
const COMPACT: TableLevel = { shift: 16, indexBits: 5, entryBytes: 8, tableBytes: 4096 };
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
    build: (leaves) => buildTables(leaves, vaBits === 57 ? LEVELS : LEVELS.slice(1), graphics >= 1250, discrete),
    hint: (buffer) =>
      buffer.memory === "vram"
        ? indifferentHint(pageSizes, dmaBits, "its own memory is not reached through an IOVA")
        : alignedEntriesHint(name, SIZES, dmaBits, buffer),
  });
}

function buildTables(
  leaves: readonly LeafRun[],
  levels: readonly TableLevel[],
  compactTables: boolean,
  discrete: boolean,
): Tables {
  const memory = new TableMemory();
  const tree = new TableTree(memory, levels, (slot, table, level) =>
    memory.write(slot, table | PRESENT | WRITABLE | (level === COMPACT ? PDE_64K : 0n)),
  );
  const last = levels.length - 1;
  const compact = compactTables ? compactBlocks(leaves) : new Set<bigint>();
  let leafWords = 0;
  const write = (slot: bigint, address: bigint, kind: MemoryKind, flags: bigint): void => {
    const local = kind === "vram" ? DEVICE_MEMORY : 0n;
    memory.write(slot, address | PRESENT | WRITABLE | local | flags);
    leafWords++;
  };
  for (const { va: start, address: first, size, count, memory: kind } of leaves) {
    for (let index = 0n; index < count; index++) {
      const va = start + index * size;
      const address = first + index * size;
      if (size === GIB) write(tree.slot(va, last - 2), address, kind, PAGE_SIZE_BIT);
      else if (size === BLOCK) write(tree.slot(va, last - 1), address, kind, PAGE_SIZE_BIT);
      else if (size === PAGE) write(tree.slot(va, last), address, kind, 0n);
      else if (compact.has(va / BLOCK)) write(tree.slot(va, last, COMPACT), address, kind, 0n);
      else {
        for (let page = 0n; page < LARGE_PAGE; page += PAGE) {
          write(tree.slot(va + page, last), address + page, kind, PTE_PS64);
        }
      }
    }
  }
  const decode = entryDecoder(memory, levels);
  return {
    memory,
    leafWords,
    deviceBytes: discrete ? memory.bytes : 0,
    translate: (va) => tree.walk(va, decode),
  };
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

function entryDecoder(memory: TableMemory, levels: readonly TableLevel[]): Decode {
  const last = levels.length - 1;
  return (slot, level, slots, va) => {
    slots.push(slot);
    const entry = memory.read(slot);
    if ((entry & PRESENT) === 0n) return { fault: "the entry is not present" };
    const address = entry & ADDRESS;
    if (level === COMPACT) return { page: address, pageShift: 16 };
    if (level === levels[last]) {
      if ((entry & PTE_PS64) === 0n) return { page: address, pageShift: 12 };
      return { page: address - (va & (LARGE_PAGE - 1n) & -PAGE), pageShift: 16 };
    }
    if ((entry & PAGE_SIZE_BIT) !== 0n) return { page: address, pageShift: level.shift };
    const below = levels[levels.indexOf(level) + 1];
    return { table: address, level: (entry & PDE_64K) === 0n ? below : COMPACT };
  };
}
