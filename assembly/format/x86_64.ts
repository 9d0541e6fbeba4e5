/**
 * Intel VT-d first stage ("FS"), which is the x86-64 page table: Intel VT-d Architecture Specification Rev. 5.10,
 * sections 3.6 and 9.7.
 *
 * 4 or 5 levels (48 or 57 bits, sign-extended) of 512 8-byte entries. Levels by the specification's names:
 *   5 PML5E, 4 PML4E, 3 PDPE (1 GiB leaf), 2 PDE (2 MiB leaf), 1 PTE (4 KiB leaf).
 * There is no read permission: what is present can be read. Bit 63 is ignored (it was XD in older revisions).
 */
import {
  ACCESS_PRIVILEGED,
  ACCESS_READ,
  ACCESS_WRITE,
  GRANT_EXECUTE,
  GRANT_PRIVILEGED_SHIFT,
  GRANT_READ,
  GRANT_WRITE,
  TABLE_FLAGS,
  TABLE_OUTPUT_LAST,
  TABLE_UPDATES_ACCESSED,
  WALK_NO_USER,
  WALK_NO_WRITE,
  WALK_OK,
  WALK_RESERVED,
} from "../layout";

const P: u64 = 1 << 0;
const RW: u64 = 1 << 1;
const US: u64 = 1 << 2;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
const PS: u64 = 1 << 7;
/** Extended accessed, set together with A when the PASID entry's EAFE is set. */
const EA: u64 = 1 << 10;
/** PAT of a 2 MiB or 1 GiB leaf, the one bit below its address that is not reserved. */
const PAT_LARGE: u64 = 1 << 12;
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/** Table flag: WPE of the PASID entry; a privileged write needs R/W too. */
const FLAG_WRITE_PROTECT: u32 = 1 << 0;
/** Table flag: EAFE of the PASID entry. */
const FLAG_EXTENDED_ACCESSED: u32 = 1 << 1;
/** WPE among the accumulated rights, at a place that entries leave to software (bit 9). */
const WRITE_PROTECTED: u64 = 1 << 9;

@unmanaged
export class X8664 {
  // @ts-ignore: decorator
  @inline name(): string { return "x86_64"; }
  // @ts-ignore: decorator
  @inline title(): string { return "Intel VT-d first stage / x86-64"; }
  // @ts-ignore: decorator
  @inline minLevels(): u32 { return 4; }
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
  @inline canonical(): bool { return true; }
  /** Whether FEE0_0000h-FEEF_FFFFh is interrupt messages and never translated (VT-d section 5.1.4). */
  // @ts-ignore: decorator
  @inline reservesInterruptRange(): bool { return true; }

  /** AND of R/W and U/S over the levels. */
  // @ts-ignore: decorator
  @inline initialRights(table: usize): u64 {
    return RW | US | (load<u32>(table, TABLE_FLAGS) & FLAG_WRITE_PROTECT ? WRITE_PROTECTED : 0);
  }
  // @ts-ignore: decorator
  @inline combine(rights: u64, entry: u64, level: u32): u64 { return rights & (entry | WRITE_PROTECTED); }

  // @ts-ignore: decorator
  @inline isPresent(entry: u64, rights: u64, level: u32): bool { return (entry & P) != 0; }
  // @ts-ignore: decorator
  @inline inTableOrder(flags: u32, entry: u64): u64 { return entry; }
  /** G changes nothing: IOTLB entries are found and dropped by their PASID. */
  // @ts-ignore: decorator
  @inline isGlobal(leaf: u64): bool { return false; }
  // @ts-ignore: decorator
  @inline runShift(level: u32): u32 { return 0; }
  // @ts-ignore: decorator
  @inline runMark(): u64 { return 0; }
  // @ts-ignore: decorator
  @inline presentMask(): u64 { return P; }
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

  // @ts-ignore: decorator
  @inline reservedInTable(table: usize, level: u32): u64 {
    return this.aboveWidth(table) | (level >= 4 ? PS : 0);
  }
  // @ts-ignore: decorator
  @inline reservedInLeaf(table: usize, level: u32, size: u64, allowed: bool): u64 {
    return this.aboveWidth(table) | (allowed ? 0 : PS) | ((size - 1) & ADDRESS & ~PAT_LARGE);
  }
  // @ts-ignore: decorator
  @inline aboveWidth(table: usize): u64 { return ADDRESS & ~load<u64>(table, TABLE_OUTPUT_LAST); }
  /** What a reserved bit means: here an address above the width is a reserved bit like any other. */
  // @ts-ignore: decorator
  @inline reservedOutcome(): i32 { return WALK_RESERVED; }

  // @ts-ignore: decorator
  @inline makeTable(address: u64): u64 { return address | P | RW | US | A; }
  /** As Linux: A and D are preset, so that hardware need not write them. A write-only mapping can be read too. */
  // @ts-ignore: decorator
  @inline leafBits(table: usize, permissions: u32, level: u32): u64 {
    if (!(permissions & <u32>(ACCESS_READ | ACCESS_WRITE))) return 0;
    return (
      P | A |
      (permissions & <u32>ACCESS_WRITE ? RW | D : 0) |
      (permissions & <u32>ACCESS_PRIVILEGED ? 0 : US) |
      (level > 1 ? PS : 0)
    );
  }

  /** Section 3.6.1: a user needs U/S everywhere, a write R/W (a privileged one only with WPE). */
  // @ts-ignore: decorator
  @inline check(rights: u64, leaf: u64, access: u32): i32 {
    const user = !(access & <u32>ACCESS_PRIVILEGED);
    if (user && !(rights & US)) return WALK_NO_USER;
    if (access & <u32>ACCESS_WRITE && !(rights & RW) && (user || rights & WRITE_PROTECTED)) return WALK_NO_WRITE;
    return WALK_OK;
  }

  /** What the accumulated rights allow (GRANT_*). */
  // @ts-ignore: decorator
  @inline grants(rights: u64, leaf: u64): u32 {
    const readAndExecute: u32 = GRANT_READ | GRANT_EXECUTE;
    const write: u32 = rights & RW ? GRANT_WRITE : 0;
    const privilegedWrite: u32 = rights & WRITE_PROTECTED ? write : GRANT_WRITE;
    return (
      (rights & US ? readAndExecute | write : 0) |
      ((readAndExecute | privilegedWrite) << <u32>GRANT_PRIVILEGED_SHIFT)
    );
  }

  /** The entry as hardware leaves it after using it (section 3.6.2): accessed flags, and for a write the dirty flag. */
  // @ts-ignore: decorator
  @inline touchTable(flags: u32, entry: u64): u64 {
    if (!(flags & <u32>TABLE_UPDATES_ACCESSED)) return entry;
    return entry | A | (flags & FLAG_EXTENDED_ACCESSED ? EA : 0);
  }
  // @ts-ignore: decorator
  @inline touchLeaf(flags: u32, entry: u64, access: u32): u64 {
    if (!(flags & <u32>TABLE_UPDATES_ACCESSED)) return entry;
    return this.touchTable(flags, entry) | (access & <u32>ACCESS_WRITE ? D : 0);
  }

  // @ts-ignore: decorator
  @inline updatesLeafLast(): bool { return true; }

  // The same as masks, for a walk that cannot fail: bits that must be set, and bits that must be clear, in every entry.
  // @ts-ignore: decorator
  @inline requiredInTable(table: usize, access: u32): u64 {
    const user = !(access & <u32>ACCESS_PRIVILEGED);
    const flags = load<u32>(table, TABLE_FLAGS);
    const write = access & <u32>ACCESS_WRITE && (user || flags & FLAG_WRITE_PROTECT);
    return this.touchTable(flags, P | (user ? US : 0) | (write ? RW : 0));
  }
  // @ts-ignore: decorator
  @inline deniedInTable(table: usize, access: u32): u64 { return 0; }
  // @ts-ignore: decorator
  @inline requiredInLeaf(table: usize, access: u32): u64 {
    return this.touchLeaf(load<u32>(table, TABLE_FLAGS), this.requiredInTable(table, access), access);
  }
  // @ts-ignore: decorator
  @inline deniedInLeaf(table: usize, access: u32): u64 { return 0; }
  // @ts-ignore: decorator
  @inline requiredInPage(): u64 { return 0; }
  /** Bits that every entry that software makes for a table has set, and bits that only a large leaf has. */
  // @ts-ignore: decorator
  @inline ordinaryTable(): u64 { return P; }
  // @ts-ignore: decorator
  @inline largeLeaf(): u64 { return PS; }
}
