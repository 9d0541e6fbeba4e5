/**
 * Intel GPUs' page tables as the i915 driver writes them (4-level PPGTT).
 * Linux drivers/gpu/drm/i915/gt/gen8_ppgtt.c (gen8_ppgtt_insert_huge, xehpsdv_ppgtt_insert_huge).
 */
import { isAligned, pageSizeBitmap } from "../bits.js";
import { IommuError } from "../engine/errors.js";
import { alignedEntriesHint, indifferentHint } from "./gpu-hint.js";
import { defineImporter, type Importer, type LeafRun, type MemoryKind, type Segment, segmentName } from "./importer.js";
import { BLOCK, buildPpgtt, type Layout, LARGE_PAGE, PAGE } from "./intel-ppgtt.js";

const PAGES_PER_LARGE = LARGE_PAGE / PAGE;

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
    build: (leaves) => buildPpgtt(leaves, { discrete: xehp, layout: ({ layout }) => layout as Layout }),
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
