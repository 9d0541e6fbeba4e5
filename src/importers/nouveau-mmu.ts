/**
 * Tables of NVIDIA's MMU as nouveau writes them: version 1 (Fermi, Kepler, Maxwell), 2 (Pascal to Ampere) and 3 (Hopper,
 * Blackwell). Linux drivers/gpu/drm/nouveau/nvkm/subdev/mmu: vmmgf100.c, vmmgk104.c and vmmgm200.c; vmmgp100.c; vmmgh100.c
 * with dev_mmu.h of gh100. Left out is what only a second mapping beside it would show: sparse entries, and the entries of a
 * big-page table that tell hardware to pass over the small-page table (PRIV without VALID).
 */
import { KIB, MIB, trailingZeros } from "../bits.js";
import type { LeafRun, Tables } from "./importer.js";
import { TableMemory } from "./table-memory.js";
import { type Decode, entryAddress, pageLevel, type TableLevel, TableTree } from "./table-tree.js";

/** The bits of an entry that hold an address, `below` bits lower than they are in the address; negative for higher. */
interface AddressField {
  readonly mask: bigint;
  readonly below: bigint;
}

/** Where a directory entry says that a table is. */
interface Pointer extends AddressField {
  /** Offset of its word in the entry. */
  readonly word: bigint;
  /** The lower of the aperture's two bits, which is all that a table in VRAM has; without both there is no table. */
  readonly aperture: bigint;
  readonly flags: bigint;
}

export interface MmuFormat {
  /** The root first, ending with the directory whose entries have two pointers, and the small-page table. */
  readonly levels: readonly TableLevel[];
  /** The big-page table, which lies beside the small-page table. */
  readonly big: TableLevel;
  /** Sizes of pages, bytes, smallest first. */
  readonly sizes: readonly bigint[];
  /** Width of an address of system memory (dma_bits of struct nvkm_mmu_func). */
  readonly dmaBits: number;
  /** To the big-page table, and from a directory with one pointer to the next. */
  readonly toBig: Pointer;
  readonly toSmall: Pointer;
  readonly page: AddressField;
  /** Flags of a page of VRAM. */
  readonly vram: bigint;
  /** Flags of any other page: nouveau takes all else for coherent system memory, which is not cached. */
  readonly system: bigint;
}

/** Of pages of every version, and IS_PTE of version 3. */
const VALID = 1n << 0n;
/** Aperture of a page (gf100_vmm_aper); VRAM is 0. */
const SYSTEM_COHERENT = 2n;

/**
 * Version 1: one directory of 40-bit virtual addresses. Its entries have both pointers in one word: big table 31:4, small
 * table 63:36, the aperture of each 1:0 and 33:32. Pages: VALID 0, PRIV 1, RO 2, address 31:4, VOL 32, aperture 34:33,
 * KIND 43:36.
 * @param bigShift 17 unless NvFbBigPage says 16; on GM200 and later each address space chooses (bigpage of gm200_vmm_v0)
 */
export function mmuVersion1(bigShift: 16 | 17): MmuFormat {
  const directoryShift = bigShift + 10;
  const page = { mask: 0xffff_fff0n, below: 8n };
  return {
    levels: [
      { shift: directoryShift, indexBits: 40 - directoryShift, entryBytes: 8 },
      { shift: 12, indexBits: directoryShift - 12, entryBytes: 8 },
    ],
    big: { shift: bigShift, indexBits: 10, entryBytes: 8 },
    sizes: [4n * KIB, 1n << BigInt(bigShift)],
    dmaBits: 40,
    toBig: { ...page, word: 0n, aperture: 1n << 0n, flags: 0n },
    toSmall: { mask: 0xffff_fff0n << 32n, below: -24n, word: 0n, aperture: 1n << 32n, flags: 0n },
    page,
    vram: VALID,
    system: VALID | (SYSTEM_COHERENT << 33n) | (1n << 32n),
  };
}

/** PD0 of versions 2 and 3 has entries of two words: the big-page table or a 2 MiB page, then the small-page table. */
const PD0: TableLevel = { shift: 21, indexBits: 8, entryBytes: 16 };
const BIG: TableLevel = { shift: 16, indexBits: 5, entryBytes: 8 };

const POINTER_2 = { mask: 0x3f_ffff_ffff_fff0n, below: 4n, aperture: 1n << 1n, flags: 0n };

/** Version 2. Pages: address 53:8, APERTURE 2:1, VOL 3; tables: address 53:4, APERTURE 2:1. */
export const MMU_VERSION_2: MmuFormat = {
  levels: [{ shift: 47, indexBits: 2, entryBytes: 8 }, pageLevel(38), pageLevel(29), PD0, pageLevel(12)],
  big: BIG,
  sizes: [4n * KIB, 64n * KIB, 2n * MIB],
  dmaBits: 47,
  toBig: { ...POINTER_2, word: 0n },
  toSmall: { ...POINTER_2, word: 8n },
  page: { mask: 0x3f_ffff_ffff_ff00n, below: 4n },
  vram: VALID,
  system: VALID | (SYSTEM_COHERENT << 1n) | (1n << 3n),
};

/** PCF of directory entries, 5:3: VALID_CACHED_ATS_NOT_ALLOWED. */
const POINTER_3 = { mask: 0xf_ffff_ffff_ff00n, below: 0n, aperture: 1n << 1n, flags: 2n << 3n };

/** Version 3. Pages: ADDRESS 51:12, APERTURE 2:1, PCF 7:3 (REGULAR_RW_ATOMIC_CACHED_ACD or _UNCACHED_ACD). */
export const MMU_VERSION_3: MmuFormat = {
  levels: [{ shift: 56, indexBits: 1, entryBytes: 8 }, pageLevel(47), pageLevel(38), pageLevel(29), PD0, pageLevel(12)],
  big: BIG,
  sizes: [4n * KIB, 64n * KIB, 2n * MIB, 512n * MIB],
  dmaBits: 52,
  toBig: { ...POINTER_3, word: 0n },
  toSmall: { ...POINTER_3, word: 8n },
  page: { mask: 0xf_ffff_ffff_f000n, below: 0n },
  vram: VALID | (0x10n << 3n),
  system: VALID | (SYSTEM_COHERENT << 1n) | (0x11n << 3n),
};

function addressIn(word: bigint, { mask, below }: AddressField): bigint {
  return (word & mask) << below;
}

/** The table that a word points to, or null. */
function tableIn(word: bigint, pointer: Pointer): bigint | null {
  return (word & (3n * pointer.aperture)) === 0n ? null : addressIn(word, pointer);
}

/** The tables for these pages. */
export function buildMmuTables(leaves: readonly LeafRun[], format: MmuFormat): Tables {
  const { levels, big } = format;
  const memory = new TableMemory();
  const last = levels.length - 1;
  const tree = new TableTree(memory, levels, (entry, table, level) => {
    const { word, below, aperture, flags } = level === levels[last] ? format.toSmall : format.toBig;
    const slot = entry + word;
    memory.write(slot, memory.read(slot) | (table >> below) | aperture | flags);
  });
  let leafWords = 0;
  for (const { va, address, size, count, memory: kind } of leaves) {
    const shift = trailingZeros(size);
    const depth = shift === big.shift ? last : levels.findIndex((level) => level.shift === shift);
    for (let offset = 0n; offset < size * BigInt(count); offset += size) {
      const slot = tree.slot(va + offset, depth, shift === big.shift ? big : levels[depth]);
      memory.write(slot, ((address + offset) >> format.page.below) | (kind === "vram" ? format.vram : format.system));
      leafWords++;
    }
  }
  const decode = entryDecoder(memory, format);
  return { memory, leafWords, deviceBytes: memory.bytes, translate: (va) => tree.walk(va, decode) };
}

function entryDecoder(memory: TableMemory, { levels, big, sizes, toBig, toSmall, page }: MmuFormat): Decode {
  const [dual, small] = levels.slice(-2);
  const noTable = { fault: "the entry points to no table" };
  return (slot, level, slots, va) => {
    slots.push(slot);
    const entry = memory.read(slot);
    if ((entry & VALID) !== 0n && sizes.includes(1n << BigInt(level.shift))) {
      return { page: addressIn(entry, page), pageShift: level.shift };
    }
    if (level === small || level === big) return { fault: "the entry is not valid" };
    const table = tableIn(entry, toBig);
    if (level !== dual) return table === null ? noTable : { table, level: levels[levels.indexOf(level) + 1] };
    // The big-page table is asked first, as the marks for hardware in it show; where it has nothing, the small-page table is.
    if (table !== null && (memory.read(entryAddress(table, big, va)) & VALID) !== 0n) return { table, level: big };
    if (toSmall.word !== toBig.word) slots.push(slot + toSmall.word);
    const smallTable = tableIn(memory.read(slot + toSmall.word), toSmall);
    return smallTable === null ? noTable : { table: smallTable, level: small };
  };
}
