/**
 * KVM's second-stage tables, as Intel's EPT: page frame numbers of the host become a guest's memory. KVM never sees a DMA
 * address: its PFNs are private to it and the exporter.
 * Intel SDM volume 3, 30.3.2 (EPT translation mechanism); Linux arch/x86/kvm/mmu (kvm_mmu_max_mapping_level) and
 * arch/x86/kvm/x86.c (kvm_alloc_memslot_metadata).
 */
import { GIB, isAligned, KIB, MIB, pageSizeBitmap } from "../bits.js";
import type { PrivateAddress } from "../engine/addresses.js";
import { leavesOfSegments } from "./congruent-leaves.js";
import { defineImporter, type Importer, type LeafRun, type Tables } from "./importer.js";
import { TableMemory } from "./table-memory.js";
import { type Decode, pageLevel, type TableLevel, TableTree } from "./table-tree.js";

/** Bits of EPT entries. */
const PERMISSIONS = 7n;
/** Memory type 5:3 of a leaf: write-back 6, uncacheable 0. */
const WRITE_BACK = 6n << 3n;
const PAGE_SIZE_BIT = 1n << 7n;
const ADDRESS = 0xf_ffff_ffff_f000n;

const SIZES = [4n * KIB, 2n * MIB, GIB];
/** EPT PML4, page-directory-pointer table, page directory, page table. */
const LEVELS: readonly TableLevel[] = [39, 30, 21, 12].map(pageLevel);

export interface KvmOptions {
  /** The memory slot: where it begins in the guest, and in the process on the host. Congruent when left out. */
  readonly slot?: { readonly gpa: bigint; readonly hva: bigint };
  /** Largest page with which the host backs the memory, bytes. */
  readonly hostPage?: bigint;
  /** Every write is tracked, so every page is mapped alone. */
  readonly dirtyLogging?: boolean;
}

/** Maps PFNs, as byte addresses, at a guest physical address; the slot covers the buffer and no more. */
export function kvm({ slot, hostPage = GIB, dirtyLogging = false }: KvmOptions = {}): Importer<PrivateAddress> {
  const largest = dirtyLogging ? SIZES[0] : hostPage;
  const sizes = SIZES.filter((size) => size <= largest && (slot === undefined || isAligned(slot.gpa ^ slot.hva, size)));
  const usable = sizes.length === 0 ? SIZES.slice(0, 1) : sizes;
  return defineImporter<PrivateAddress>({
    name: "kvm",
    title: "KVM guest, EPT",
    addresses: "private",
    pageSizes: pageSizeBitmap(SIZES),
    addressBits: 52,
    rules: { granule: SIZES[0], vaBits: 48 },
    leaves: (va, segments) => leavesOfSegments(va, segments, usable),
    build: buildTables,
    hint: () => ({
      pageSizes: pageSizeBitmap(SIZES),
      indifferent: { reason: "KVM maps page frame numbers; no DMA address reaches its tables" },
    }),
  });
}

function buildTables(leaves: readonly LeafRun[]): Tables {
  const memory = new TableMemory();
  const tree = new TableTree(memory, LEVELS, (slot, table) => memory.write(slot, table | PERMISSIONS));
  let leafWords = 0;
  for (const { va, address, size, count, memory: kind } of leaves) {
    const depth = LEVELS.length - 1 - SIZES.indexOf(size);
    const flags = PERMISSIONS | (kind === "system" ? WRITE_BACK : 0n) | (size === SIZES[0] ? 0n : PAGE_SIZE_BIT);
    for (let offset = 0n; offset < size * BigInt(count); offset += size) {
      memory.write(tree.slot(va + offset, depth), (address + offset) | flags);
      leafWords++;
    }
  }
  const last = LEVELS[LEVELS.length - 1];
  const decode: Decode = (slot, level, slots) => {
    slots.push(slot);
    const entry = memory.read(slot);
    if ((entry & PERMISSIONS) === 0n) return { fault: "EPT violation: the entry is not present" };
    const address = entry & ADDRESS;
    if (level === last || (entry & PAGE_SIZE_BIT) !== 0n) return { page: address, pageShift: level.shift };
    return { table: address, level: LEVELS[LEVELS.indexOf(level) + 1] };
  };
  return { memory, leafWords, deviceBytes: 0, translate: (va) => tree.walk(va, decode) };
}
