/**
 * Intel VT-d second stage ("SS"), Intel VT-d Architecture Specification Rev. 5.10, sections 3.7 and 9.8.
 *
 * 3, 4 or 5 levels (AGAW 39, 48, 57) of 512 8-byte entries. Levels by the specification's names:
 *   5 PML5E, 4 PML4E, 3 PDPE (1 GiB leaf), 2 PDE (2 MiB leaf), 1 PTE (4 KiB leaf).
 * There is no present bit: an entry is present when it grants anything (R or W).
 */
import {
  ACCESS_READ,
  ACCESS_WRITE,
  GRANT_EXECUTE,
  GRANT_PRIVILEGED_SHIFT,
  TABLE_FLAGS,
  TABLE_OUTPUT_LAST,
  TABLE_UPDATES_ACCESSED,
  WALK_NO_READ,
  WALK_NO_WRITE,
  WALK_OK,
  WALK_RESERVED,
} from "../layout";

const R: u64 = 1 << 0;
const W: u64 = 1 << 1;
const PS: u64 = 1 << 7;
/** Accessed and dirty, when the PASID entry's SSADE is set (section 3.7.2). */
const A: u64 = 1 << 8;
const D: u64 = 1 << 9;
const SNP: u64 = 1 << 11;
/** IW, and reserved as long as RTADDR.SSIRWE does not exist or is 0 (section 9.8; TM of a leaf in older revisions). */
const IW: u64 = 1 << 62;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/** Table flag: ECAP.SC, snoop control; without it bit 11 of a leaf is reserved. */
const FLAG_SNOOP_CONTROL: u32 = 1 << 0;

@unmanaged
export class VtdSecondStage {
  // @ts-ignore: decorator
  @inline name(): string { return "vtdss"; }
  // @ts-ignore: decorator
  @inline title(): string { return "Intel VT-d second stage"; }
  // @ts-ignore: decorator
  @inline minLevels(): u32 { return 3; }
  // @ts-ignore: decorator
  @inline maxLevels(): u32 { return 5; }
  // @ts-ignore: decorator
  @inline granuleShift(): u32 { return 12; }
  // @ts-ignore: decorator
  @inline indexBits(): u32 { return 9; }
  // @ts-ignore: decorator
  @inline leafSizes(): u64 { return (1 << 12) | (1 << 21) | (1 << 30); }

  /** Width of a physical address that an entry can hold. */
  // @ts-ignore: decorator
  @inline addressBits(): u32 { return 52; }
  /** Width of the widest input address. */
  // @ts-ignore: decorator
  @inline widestInput(flags: u32): u32 { return 57; }
  /** Whether a table may have so many levels, give addresses so wide and use leaves of these sizes. */
  // @ts-ignore: decorator
  @inline accepts(flags: u32, levels: u32, outputBits: u32, sizes: u64): bool {
    const deep = levels >= this.minLevels() && levels <= this.maxLevels();
    return deep && outputBits <= this.addressBits() && !(sizes & ~this.leafSizes());
  }
  /** How many tables may stand side by side as the first one; 0: the first one is like all others, never shorter. */
  // @ts-ignore: decorator
  @inline concatenated(): u32 { return 0; }
  /** Whether the input address is sign-extended. */
  // @ts-ignore: decorator
  @inline canonical(): bool { return false; }
  /** Whether FEE0_0000h-FEEF_FFFFh is interrupt messages and never translated (VT-d section 5.1.4). */
  // @ts-ignore: decorator
  @inline reservesInterruptRange(): bool { return true; }

  /** AND of R and W over the levels; the initial value grants both. */
  // @ts-ignore: decorator
  @inline initialRights(table: usize): u64 { return R | W; }
  // @ts-ignore: decorator
  @inline combine(rights: u64, entry: u64, level: u32): u64 { return rights & entry; }

  // @ts-ignore: decorator
  @inline isPresent(entry: u64, rights: u64, level: u32): bool { return (rights & (R | W)) != 0; }
  /** A word of memory as an entry, and an entry as a word: the byte order of the table. */
  // @ts-ignore: decorator
  @inline inTableOrder(flags: u32, entry: u64): u64 { return entry; }
  /** Whether the translation is one for every address space: invalidation by address space leaves it. */
  // @ts-ignore: decorator
  @inline isGlobal(leaf: u64): bool { return false; }
  /** log2 of the leaves of this level that a contiguous run has, 0: there are no runs; and what marks each of them. */
  // @ts-ignore: decorator
  @inline runShift(level: u32): u32 { return 0; }
  // @ts-ignore: decorator
  @inline runMark(): u64 { return 0; }
  /** Bits of which at least one is set in every entry that software considers in use. */
  // @ts-ignore: decorator
  @inline presentMask(): u64 { return R | W; }
  // @ts-ignore: decorator
  @inline isLeaf(entry: u64, level: u32): bool { return level == 1 || (entry & PS) != 0; }
  /** The address in an entry, as far as its bits stand where they stand in the address. */
  // @ts-ignore: decorator
  @inline tableAddress(entry: u64): u64 { return entry & ADDRESS; }
  /** Whether all address bits stand in an entry where they stand in the address. */
  // @ts-ignore: decorator
  @inline inPlace(table: usize): bool { return true; }
  /** The address in an entry, and the bits of an entry that hold an address, wherever they stand. */
  // @ts-ignore: decorator
  @inline address(table: usize, entry: u64): u64 { return entry & ADDRESS; }
  // @ts-ignore: decorator
  @inline place(table: usize, address: u64): u64 { return address; }

  /** Bits above the host address width, PS at levels 4 and 5, bits 11 and 62 (section 3.7: only where R or W is set). */
  // @ts-ignore: decorator
  @inline reservedInTable(table: usize, level: u32): u64 {
    return this.aboveWidth(table) | SNP | IW | (level >= 4 ? PS : 0);
  }
  // @ts-ignore: decorator
  @inline reservedInLeaf(table: usize, level: u32, size: u64, allowed: bool): u64 {
    const snoop = load<u32>(table, TABLE_FLAGS) & FLAG_SNOOP_CONTROL ? 0 : SNP;
    return this.aboveWidth(table) | snoop | IW | (allowed ? 0 : PS) | ((size - 1) & ADDRESS);
  }
  // @ts-ignore: decorator
  @inline aboveWidth(table: usize): u64 { return ADDRESS & ~load<u64>(table, TABLE_OUTPUT_LAST); }
  /** What a reserved bit means: here an address above the width is a reserved bit like any other. */
  // @ts-ignore: decorator
  @inline reservedOutcome(): i32 { return WALK_RESERVED; }

  /** Entry for a table page: Linux grants everything above the leaf. */
  // @ts-ignore: decorator
  @inline makeTable(address: u64): u64 { return address | R | W; }
  /** Leaf bits without the address; 0 when the permissions cannot be expressed. */
  // @ts-ignore: decorator
  @inline leafBits(table: usize, permissions: u32, level: u32): u64 {
    const rights =
      (permissions & <u32>ACCESS_READ ? R : 0) | (permissions & <u32>ACCESS_WRITE ? W : 0);
    return rights ? rights | (level > 1 ? PS : 0) : 0;
  }

  /** Rights of the request against the accumulated ones (section 3.7.1). U/S and execute do not exist here. */
  // @ts-ignore: decorator
  @inline check(rights: u64, leaf: u64, access: u32): i32 {
    const missing = ~<u32>rights & access & <u32>(ACCESS_READ | ACCESS_WRITE);
    if (!missing) return WALK_OK;
    return missing & <u32>ACCESS_WRITE ? WALK_NO_WRITE : WALK_NO_READ;
  }

  /** What the accumulated rights allow (GRANT_*), whoever asks. */
  // @ts-ignore: decorator
  @inline grants(rights: u64, leaf: u64): u32 {
    const granted = (<u32>rights & <u32>(ACCESS_READ | ACCESS_WRITE)) | <u32>GRANT_EXECUTE;
    return granted | (granted << <u32>GRANT_PRIVILEGED_SHIFT);
  }

  /** The entry as hardware leaves it after using it: the accessed flag, and for a write the leaf's dirty flag. */
  // @ts-ignore: decorator
  @inline touchTable(flags: u32, entry: u64): u64 { return flags & <u32>TABLE_UPDATES_ACCESSED ? entry | A : entry; }
  // @ts-ignore: decorator
  @inline touchLeaf(flags: u32, entry: u64, access: u32): u64 {
    if (!(flags & <u32>TABLE_UPDATES_ACCESSED)) return entry;
    return entry | A | (access & <u32>ACCESS_WRITE ? D : 0);
  }

  /** Whether a leaf is updated only when the whole translation is known to succeed, or as soon as its own stage permits. */
  // @ts-ignore: decorator
  @inline updatesLeafLast(): bool { return true; }

  // The same as masks, for a walk that cannot fail: bits that must be set, and bits that must be clear, in every entry.
  // @ts-ignore: decorator
  @inline requiredInTable(table: usize, access: u32): u64 {
    return this.touchTable(load<u32>(table, TABLE_FLAGS), <u64>(access & <u32>(ACCESS_READ | ACCESS_WRITE)));
  }
  /** A request for neither read nor write asks only for presence, which no mask can express. */
  // @ts-ignore: decorator
  @inline deniedInTable(table: usize, access: u32): u64 { return access & <u32>(ACCESS_READ | ACCESS_WRITE) ? 0 : -1; }
  // @ts-ignore: decorator
  @inline requiredInLeaf(table: usize, access: u32): u64 {
    return this.touchLeaf(load<u32>(table, TABLE_FLAGS), this.requiredInTable(table, access), access);
  }
  // @ts-ignore: decorator
  @inline deniedInLeaf(table: usize, access: u32): u64 { return this.deniedInTable(table, access); }
  // @ts-ignore: decorator
  @inline requiredInPage(): u64 { return 0; }
  /** Bits that every entry that software makes for a table has set, and bits that only a large leaf has. */
  // @ts-ignore: decorator
  @inline ordinaryTable(): u64 { return R; }
  // @ts-ignore: decorator
  @inline largeLeaf(): u64 { return PS; }
}
