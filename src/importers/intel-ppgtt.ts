/**
 * Intel GPUs' page tables from gen8 on, which i915 and Xe share. Linux drivers/gpu/drm/i915/gt/intel_gtt.h and
 * drivers/gpu/drm/xe/xe_gtt_defs.h; where they name a bit differently, i915's name is given first.
 */
import { GIB, KIB, MIB, trailingZeros } from "../bits.js";
import type { LeafRun, Tables } from "./importer.js";
import { TableMemory } from "./table-memory.js";
import { type Decode, pageLevel, type TableLevel, TableTree } from "./table-tree.js";

export const PAGE = 4n * KIB;
export const LARGE_PAGE = 64n * KIB;
export const BLOCK = 2n * MIB;
export const HUGE_BLOCK = GIB;

const PRESENT = 1n << 0n;
const WRITABLE = 1n << 1n;
/** GEN12_PDE_64K, XE_PDE_64K: the table below has 32 entries of 64 KiB. */
const PDE_64K = 1n << 6n;
/** GEN8_PDE_PS_2M; XE_PDE_PS_2M, XE_PDPE_PS_1G. */
const PAGE_SIZE_BIT = 1n << 7n;
/** GEN12_PTE_PS64, XE_PTE_PS64: one of 16 entries that map 64 KiB together. */
const PTE_PS64 = 1n << 8n;
/** GEN8_PDE_IPS_64K: the table below maps 64 KiB with every 16th entry. Only i915 sets it. */
const PDE_IPS_64K = 1n << 11n;
/** GEN12_PPGTT_PTE_LM, XE_PPGTT_PTE_DM: the device's own memory. */
const LOCAL_MEMORY = 1n << 11n;
const ADDRESS = 0xf_ffff_ffff_f000n;

/** The root first: five levels translate 57 bits, all but the first 48. */
const LEVELS: readonly TableLevel[] = [48, 39, 30, 21, 12].map(pageLevel);
const COMPACT: TableLevel = { shift: 16, indexBits: 5, entryBytes: 8, tableBytes: 4096 };
const [DIRECTORY, PAGE_TABLE] = LEVELS.slice(-2);
const PAGES_PER_LARGE = Number(LARGE_PAGE / PAGE);
/** The page table under an entry with PDE_IPS_64K: hardware looks at every 16th entry only. */
const IPS: TableLevel = { shift: 16, indexBits: 5, entryBytes: PAGES_PER_LARGE * 8 };

/** How a page of 64 KiB is written. */
export type Layout = "ips" | "ps64" | "compact";

export interface PpgttOptions {
  readonly vaBits?: 48 | 57;
  /** Tables lie in the device's memory. */
  readonly discrete: boolean;
  /** How the page of 64 KiB at a virtual address is written. */
  layout(leaf: LeafRun, va: bigint): Layout;
}

/** The tables for these pages. */
export function buildPpgtt(leaves: readonly LeafRun[], { vaBits = 48, discrete, layout }: PpgttOptions): Tables {
  const levels = vaBits === 57 ? LEVELS : LEVELS.slice(1);
  const memory = new TableMemory();
  const tree = new TableTree(memory, levels, (slot, table, level) =>
    memory.write(slot, table | PRESENT | WRITABLE | (level === COMPACT ? PDE_64K : 0n)),
  );
  const last = levels.length - 1;
  let leafWords = 0;
  for (const leaf of leaves) {
    const depth = levels.findIndex(({ shift }) => shift === trailingZeros(leaf.size));
    const local = leaf.memory === "vram" ? LOCAL_MEMORY : 0n;
    const write = (slot: bigint, address: bigint, flags: bigint): void => {
      memory.write(slot, address | PRESENT | WRITABLE | local | flags);
      leafWords++;
    };
    for (let offset = 0n; offset < leaf.size * BigInt(leaf.count); offset += leaf.size) {
      const va = leaf.va + offset;
      const address = leaf.address + offset;
      if (leaf.size !== LARGE_PAGE) {
        write(tree.slot(va, depth), address, leaf.size === PAGE ? 0n : PAGE_SIZE_BIT);
        continue;
      }
      const how = layout(leaf, va);
      if (how === "compact") {
        write(tree.slot(va, last, COMPACT), address, 0n);
        continue;
      }
      for (let page = 0n; page < LARGE_PAGE; page += PAGE) {
        write(tree.slot(va + page, last), address + page, how === "ps64" ? PTE_PS64 : 0n);
      }
      if (how === "ips") {
        const directory = tree.slot(va, last - 1);
        memory.write(directory, memory.read(directory) | PDE_IPS_64K);
      }
    }
  }
  const decode = entryDecoder(memory);
  return { memory, leafWords, deviceBytes: discrete ? memory.bytes : 0, translate: (va) => tree.walk(va, decode) };
}

function entryDecoder(memory: TableMemory): Decode {
  return (slot, level, slots, va) => {
    slots.push(slot);
    const entry = memory.read(slot);
    if ((entry & PRESENT) === 0n) return { fault: "the entry is not present" };
    const address = entry & ADDRESS;
    if (level === COMPACT || level === IPS) return { page: address, pageShift: 16 };
    if (level === PAGE_TABLE) {
      if ((entry & PTE_PS64) === 0n) return { page: address, pageShift: 12 };
      return { page: address - (va & (LARGE_PAGE - 1n) & -PAGE), pageShift: 16 };
    }
    if ((entry & PAGE_SIZE_BIT) !== 0n) return { page: address, pageShift: level.shift };
    if (level !== DIRECTORY) return { table: address, level: LEVELS[LEVELS.indexOf(level) + 1] };
    if ((entry & PDE_64K) !== 0n) return { table: address, level: COMPACT };
    return { table: address, level: (entry & PDE_IPS_64K) === 0n ? PAGE_TABLE : IPS };
  };
}
