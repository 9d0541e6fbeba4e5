/**
 * Intel GPUs' page tables as the i915 driver writes them (4-level PPGTT).
 * Linux drivers/gpu/drm/i915/gt/gen8_ppgtt.c (gen8_ppgtt_insert_huge, xehpsdv_ppgtt_insert_huge), intel_gtt.h.
 */
import { IommuError } from "../engine/errors.js";
import { isAligned, KIB, MIB, pageSizeBitmap } from "./bits.js";
import { alignedEntriesHint, indifferentHint } from "./gpu-hint.js";
import {
  defineImporter,
  type Importer,
  type LeafRun,
  type MemoryKind,
  type Segment,
  segmentName,
  type Tables,
} from "./importer.js";
import { TableMemory } from "./table-memory.js";
import { type Decode, pageLevel, type TableLevel, TableTree } from "./table-tree.js";

/** Bits of entries (intel_gtt.h). */
const PRESENT = 1n << 0n;
const WRITABLE = 1n << 1n;
/** GEN12_PDE_64K: the table below has 32 entries of 64 KiB. */
const PDE_64K = 1n << 6n;
/** GEN8_PDE_PS_2M. */
const PDE_PS_2M = 1n << 7n;
/** GEN12_PTE_PS64: one of 16 entries that map 64 KiB together. */
const PTE_PS64 = 1n << 8n;
/** GEN8_PDE_IPS_64K: the table below maps 64 KiB with every 16th entry. */
const PDE_IPS_64K = 1n << 11n;
/** GEN12_PPGTT_PTE_LM: local memory. */
const LOCAL_MEMORY = 1n << 11n;
const ADDRESS = 0xffff_ffff_f000n;

const PAGE = 4n * KIB;
const LARGE_PAGE = 64n * KIB;
const BLOCK = 2n * MIB;
const PAGES_PER_LARGE = LARGE_PAGE / PAGE;

const LEVELS: readonly TableLevel[] = [39, 30, 21, 12].map(pageLevel);
const COMPACT: TableLevel = { shift: 16, indexBits: 5, entryBytes: 8, tableBytes: 4096 };
const [, , DIRECTORY, PAGE_TABLE] = LEVELS;

/** How 64 KiB are written. */
type Layout = "ips" | "ps64" | "compact";

/** What differs between graphics generations (i915_pci.c). */
const GENERATIONS = {
  gen8: { sizes: [PAGE], dmaBits: 39, xehp: false },
  gen9: { sizes: [PAGE, LARGE_PAGE], dmaBits: 39, xehp: false },
  gen11: { sizes: [PAGE, LARGE_PAGE, BLOCK], dmaBits: 39, xehp: false },
  xehp: { sizes: [PAGE, LARGE_PAGE, BLOCK], dmaBits: 46, xehp: true },
} as const;

export interface I915Options {
  /** `gen11` stands for the generations 10 to 12 before Xe-HP. */
  readonly generation?: keyof typeof GENERATIONS;
  /**
   * The scratch page is 64 KiB and the object's room is padded to 2 MiB, so that a last table that is not full may still be
   * one of 64 KiB pages (i915_vm_has_scratch_64K).
   */
  readonly scratch64K?: boolean;
}

export function i915({ generation = "gen11", scratch64K = true }: I915Options = {}): Importer {
  const { sizes, dmaBits, xehp } = GENERATIONS[generation];
  const name = generation === "gen11" ? "i915" : `i915-${generation}`;
  return defineImporter({
    name,
    title: `Intel GPU under i915, ${generation}`,
    pageSizes: pageSizeBitmap(sizes),
    addressBits: dmaBits,
    rules: { granule: PAGE, vaBits: 48 },
    leaves(va, segments) {
      if (xehp) checkLocalMemory(name, segments);
      const cursor = new Cursor(va, segments);
      const blocks = (sizes as readonly bigint[]).includes(BLOCK);
      const large = (sizes as readonly bigint[]).includes(LARGE_PAGE);
      while (!cursor.done) {
        if (blocks && cursor.room === BLOCK && cursor.fits(BLOCK)) {
          cursor.emit(BLOCK, cursor.left - (cursor.left % BLOCK));
        } else if (xehp) {
          fillTableXehp(cursor);
        } else {
          fillTable(cursor, large, scratch64K);
        }
      }
      return cursor.leaves;
    },
    // Pages that are no 64 KiB cost least in front, at the end of a table of their own.
    ideal: (length) => {
      const wholeTables = xehp || scratch64K ? length : length - (length % BLOCK);
      return fewest(wholeTables, sizes) + fewest(length - wholeTables, [PAGE]);
    },
    build: (leaves) => buildTables(leaves, xehp),
    hint: (buffer) =>
      buffer.memory === "vram"
        ? indifferentHint(pageSizeBitmap(sizes), dmaBits, "its own memory is not reached through an IOVA")
        : alignedEntriesHint(name, sizes, dmaBits, buffer, (size) => (size === LARGE_PAGE && !xehp ? BLOCK : size)),
  });
}

/** Entries for so many bytes, the largest first. */
function fewest(length: bigint, sizes: readonly bigint[]): number {
  let left = length;
  return sizes.reduceRight((entries, size) => {
    const count = Number(left / size);
    left %= size;
    return entries + count;
  }, 0);
}

/** Where the driver is in the segments, and what it has written. */
class Cursor {
  readonly leaves: LeafRun[] = [];
  address: bigint;
  left: bigint;
  readonly end: bigint;
  #index = 0;

  constructor(
    public va: bigint,
    readonly segments: readonly Required<Segment<bigint>>[],
  ) {
    this.end = segments.reduce((at, { length }) => at + length, va);
    this.address = segments[0].address;
    this.left = segments[0].length;
  }

  get done(): boolean {
    return this.va === this.end;
  }

  get memory(): MemoryKind {
    return this.segments[this.#index].memory;
  }

  /** Bytes to the end of the page table. */
  get room(): bigint {
    return BLOCK - (this.va % BLOCK);
  }

  /** Whether a page of this size can be taken from the segment. */
  fits(size: bigint): boolean {
    return isAligned(this.address, size) && this.left >= size;
  }

  emit(size: bigint, bytes: bigint, layout?: Layout): void {
    this.leaves.push({
      va: this.va,
      address: this.address,
      size,
      count: Number(bytes / size),
      memory: this.memory,
      ...(layout === undefined ? {} : { layout }),
    });
    this.va += bytes;
    this.address += bytes;
    this.left -= bytes;
    if (this.left > 0n || this.done) return;
    this.#index++;
    this.address = this.segments[this.#index].address;
    this.left = this.segments[this.#index].length;
  }
}

function smaller(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

/**
 * The rest of one page table before Xe-HP. All of it is 64 KiB pages or none: it is filled from its first entry with segments
 * that are aligned and long enough, to its last entry or to the end of an object that is padded.
 */
function fillTable(cursor: Cursor, large: boolean, scratch64K: boolean): void {
  const allowed = (): boolean =>
    isAligned(cursor.address, LARGE_PAGE) && (isAligned(cursor.left, LARGE_PAGE) || cursor.left >= cursor.room);
  let largePages = large && cursor.room === BLOCK && allowed();
  const first = cursor.leaves.length;
  const tableEnd = cursor.va + cursor.room;
  while (!cursor.done && cursor.va < tableEnd) {
    cursor.emit(PAGE, smaller(cursor.left, cursor.room));
    if (!cursor.done && cursor.va < tableEnd) largePages &&= allowed();
  }
  if (!largePages || (cursor.va < tableEnd && !scratch64K)) return;
  const written = cursor.leaves.splice(first);
  for (const leaf of written) {
    cursor.leaves.push({ ...leaf, size: LARGE_PAGE, count: leaf.count / Number(PAGES_PER_LARGE), layout: "ips" });
  }
}

/** A stretch of one page table on Xe-HP: once pages of 4 KiB are begun, they go on to the end of the table. */
function fillTableXehp(cursor: Cursor): void {
  const tableEnd = cursor.va + cursor.room;
  if (cursor.memory === "vram" && cursor.room === BLOCK && cursor.end - cursor.va >= BLOCK) {
    while (cursor.va < tableEnd) cursor.emit(LARGE_PAGE, smaller(cursor.left, cursor.room), "compact");
  } else if (isAligned(cursor.va, LARGE_PAGE) && cursor.fits(LARGE_PAGE)) {
    const bytes = smaller(cursor.left, cursor.room);
    cursor.emit(LARGE_PAGE, bytes - (bytes % LARGE_PAGE), "ps64");
  } else {
    while (!cursor.done && cursor.va < tableEnd) cursor.emit(PAGE, smaller(cursor.left, cursor.room));
  }
}

/** Local memory of Xe-HP comes in 64 KiB and alone. */
function checkLocalMemory(name: string, segments: readonly Required<Segment<bigint>>[]): void {
  const local = segments[0].memory === "vram";
  segments.forEach((segment, index) => {
    if ((segment.memory === "vram") !== local) {
      const what = segmentName(name, index, segment);
      throw new IommuError("invalid", what, segment.address, "an object is local memory as a whole or not at all");
    }
    if (local && !(isAligned(segment.address, LARGE_PAGE) && isAligned(segment.length, LARGE_PAGE))) {
      const what = segmentName(name, index, segment);
      throw new IommuError("misaligned", what, segment.address, "local memory comes in multiples of 64 KiB");
    }
  });
}

function buildTables(leaves: readonly LeafRun[], discrete: boolean): Tables {
  const memory = new TableMemory();
  const tree = new TableTree(memory, LEVELS, (slot, table, level) =>
    memory.write(slot, table | PRESENT | WRITABLE | (level === COMPACT ? PDE_64K : 0n)),
  );
  let leafWords = 0;
  for (const { va, address, size, count, memory: kind, layout } of leaves) {
    const local = kind === "vram" ? LOCAL_MEMORY : 0n;
    const flags = PRESENT | WRITABLE | local | (layout === "ps64" ? PTE_PS64 : 0n) | (size === BLOCK ? PDE_PS_2M : 0n);
    const step = layout === "ips" || layout === "ps64" ? PAGE : size;
    const end = BigInt(count) * size;
    for (let offset = 0n; offset < end; offset += step) {
      const at = va + offset;
      const slot = size === BLOCK ? tree.slot(at, 2) : tree.slot(at, 3, layout === "compact" ? COMPACT : PAGE_TABLE);
      memory.write(slot, (address + offset) | flags);
      leafWords++;
    }
    for (let table = va - (va % BLOCK); layout === "ips" && table < va + end; table += BLOCK) {
      const slot = tree.slot(table, 2);
      memory.write(slot, memory.read(slot) | PDE_IPS_64K);
    }
  }
  const decode = entryDecoder(memory);
  return { memory, leafWords, deviceBytes: discrete ? memory.bytes : 0, translate: (va) => tree.walk(va, decode) };
}

/** The page-table level under a directory entry with IPS: hardware looks at every 16th entry only. */
const IPS: TableLevel = { shift: 16, indexBits: 5, entryBytes: Number(PAGES_PER_LARGE) * 8 };

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
    if (level !== DIRECTORY) return { table: address, level: LEVELS[LEVELS.indexOf(level) + 1] };
    if ((entry & PDE_PS_2M) !== 0n) return { page: address, pageShift: 21 };
    if ((entry & PDE_64K) !== 0n) return { table: address, level: COMPACT };
    return { table: address, level: (entry & PDE_IPS_64K) === 0n ? PAGE_TABLE : IPS };
  };
}
