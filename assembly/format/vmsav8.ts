/**
 * Arm VMSAv8-64 as SMMUv3 walks it, every granule, stage 1 and stage 2: Arm IHI 0070 G.b (SMMUv3) sections 3.4 and 3.13,
 * and Arm DDI 0487, "The VMSAv8-64 translation table format descriptors".
 *
 * 8-byte descriptors. The architecture counts lookup levels downwards: our level 1 is its level 3, our level 5 its
 * level -1. The granule gives the size of a table and of a page, and at which levels there are blocks:
 *   4 KiB   512 a table    level 3 1 GiB, level 2 2 MiB    (52-bit addresses: level 4 512 GiB too)
 *   16 KiB  2048 a table   level 2 32 MiB                  (52-bit addresses: level 3 64 GiB too)
 *   64 KiB  8192 a table   level 2 512 MiB                 (52-bit addresses: level 3 4 TiB too)
 * The first table may be shorter than the others, or (stage 2) up to 16 tables that stand side by side.
 */
import {
  ACCESS_EXECUTE,
  ACCESS_PRIVILEGED,
  ACCESS_READ,
  ACCESS_WALK,
  ACCESS_WRITE,
  GRANT_EXECUTE,
  GRANT_PRIVILEGED_SHIFT,
  GRANT_READ,
  GRANT_WRITE,
  PERMISSION_NO_EXECUTE,
  TABLE_FLAGS,
  TABLE_OUTPUT_LAST,
  TABLE_UPDATES_ACCESSED,
  TABLE_UPDATES_DIRTY,
  WALK_ACCESS_FLAG,
  WALK_NO_EXECUTE,
  WALK_NO_READ,
  WALK_NO_USER,
  WALK_NO_WRITE,
  WALK_OK,
  WALK_OUTPUT_RANGE,
} from "../layout";

const VALID: u64 = 1 << 0;
/** Bit 1 of a valid descriptor: a table, or at the last level a page; clear: a block. */
const TABLE_OR_PAGE: u64 = 1 << 1;
/** Stage 1: AttrIndx 1, the cacheable attribute of Linux's MAIR. */
const ATTR_CACHEABLE: u64 = 1 << 2;
/** Stage 2: MemAttr, normal memory, write-back cacheable. */
const MEM_ATTR_CACHEABLE: u64 = 15 << 2;
/** MemAttr[3:2]: 00 device. With S2FWB MemAttr[2] alone says it (section 5.2, STE.S2FWB). */
const MEM_ATTR_NORMAL: u64 = 3 << 4;
const MEM_ATTR_NORMAL_FORCED: u64 = 1 << 4;
/** Stage 1, AP[1]: unprivileged access is allowed. */
const AP_UNPRIVILEGED: u64 = 1 << 6;
/** Stage 1, AP[2]: read-only. */
const AP_READ_ONLY: u64 = 1 << 7;
/** Stage 2: S2AP[0], S2AP[1]. */
const S2AP_READ: u64 = 1 << 6;
const S2AP_WRITE: u64 = 1 << 7;
const SH_INNER: u64 = 3 << 8;
const AF: u64 = 1 << 10;
const NG: u64 = 1 << 11;
/** Dirty bit modifier: with TABLE_UPDATES_DIRTY the leaf is writable, and the write-protect bit says that it is clean. */
const DBM: u64 = 1 << 51;
/** One of a naturally aligned run of leaves that one TLB entry may hold. */
const CONTIGUOUS: u64 = 1 << 52;
const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;
/** Stage 2, XN[1:0]: bit 54 execute-never, bit 53 (with FEAT_XNX) the opposite of it for privileged requesters. */
const S2_XN_OPPOSITE: u64 = 1 << 53;
const S2_XN: u64 = 1 << 54;
/** Hierarchical controls of a table descriptor: PXNTable, UXNTable, APTable[0] (no unprivileged), APTable[1] (no write). */
const PXN_TABLE: u64 = 1 << 59;
const UXN_TABLE: u64 = 1 << 60;
const AP_TABLE_NO_UNPRIVILEGED: u64 = 1 << 61;
const AP_TABLE_READ_ONLY: u64 = 1 << 62;
const HIERARCHICAL: u64 = PXN_TABLE | UXN_TABLE | AP_TABLE_NO_UNPRIVILEGED | AP_TABLE_READ_ONLY;

/** Address bits that only 52-bit descriptors have. */
const ADDRESS_ABOVE_48: u64 = 0x000f_0000_0000_0000;
/** Where they stand with 4 and 16 KiB granules: 49:48 in place, 51:50 in bits 9:8. */
const ADDRESS_49_48: u64 = 3 << 48;
const ADDRESS_51_50: u64 = 3 << 8;
const SHIFT_51_50: u64 = 42;
/** With the 64 KiB granule: 51:48 in bits 15:12. */
const ADDRESS_51_48: u64 = 15 << 12;
const SHIFT_51_48: u64 = 36;

/** Table flag: CD.AFFD, STE.S2AFFD; a clear access flag does not fault. */
const FLAG_ACCESS_FLAG_DISABLE: u32 = 1 << 0;
/** Table flag, stage 1: CD.HAD0, the hierarchical controls are ignored. */
const FLAG_HIERARCHICAL_DISABLE: u32 = 1 << 1;
/** Table flag, stage 2: IDR3.XNX, XN is two bits. */
const FLAG_XNX: u32 = 1 << 1;
/** Table flag: descriptors hold 52-bit addresses: CD.DS, STE.S2DS; with 64 KiB an OAS of 52, which the output width implies. */
const FLAG_WIDE: u32 = 1 << 2;
/** Table flags, stage 1: CD.PAN, and CD.EPAN in force. */
const FLAG_PAN: u32 = 1 << 3;
const FLAG_EPAN: u32 = 1 << 4;
/** Table flag, stage 1: CD.WXN. (CD.UWXN does nothing in AArch64 tables.) */
const FLAG_WXN: u32 = 1 << 5;
/** Table flag, stage 1: a regime without unprivileged accesses (StreamWorld EL2); AP[1] and APTable[0] do not count. */
const FLAG_ONE_PRIVILEGE: u32 = 1 << 6;
/** Table flags, stage 2: STE.S2PTW, and STE.S2FWB in force. */
const FLAG_PROTECTED_WALK: u32 = 1 << 3;
const FLAG_FORCED_WRITE_BACK: u32 = 1 << 4;
/** Table flag: CD.ENDI, STE.S2ENDI. Such tables are only walked, one request at a time. */
const FLAG_BIG_ENDIAN: u32 = 1 << 7;

/** What of this a leaf's check needs, among the accumulated rights at places that no hierarchical control uses. */
const RIGHTS_NO_ACCESS_FAULT: u64 = 1 << 0;
const RIGHTS_HAD: u64 = 1 << 1;
const RIGHTS_XNX: u64 = 1 << 1;
const RIGHTS_WIDE: u64 = 1 << 2;
const RIGHTS_UPDATES_DIRTY: u64 = 1 << 3;
const RIGHTS_PAN: u64 = 1 << 4;
const RIGHTS_EPAN: u64 = 1 << 5;
const RIGHTS_WXN: u64 = 1 << 6;
const RIGHTS_ONE_PRIVILEGE: u64 = 1 << 7;
const RIGHTS_PROTECTED_WALK: u64 = 1 << 4;
const RIGHTS_FORCED_WRITE_BACK: u64 = 1 << 5;

/** A granule: log2 of its bytes, bits per level, levels of a 48-bit input address, and two names. */
@unmanaged
export class Granule4k {
  // @ts-ignore: decorator
  @inline shift(): u32 { return 12; }
  // @ts-ignore: decorator
  @inline indexBits(): u32 { return 9; }
  // @ts-ignore: decorator
  @inline levels(): u32 { return 4; }
  /** Levels at which a block is allowed (bit n: our level n), and the one that 52-bit addresses add. */
  // @ts-ignore: decorator
  @inline blockLevels(): u32 { return (1 << 3) | (1 << 2); }
  // @ts-ignore: decorator
  @inline wideBlockLevel(): u32 { return 4; }
  /** log2 of the leaves of a contiguous run. */
  // @ts-ignore: decorator
  @inline runShift(level: u32): u32 { return level <= 3 ? 4 : 0; }
  // @ts-ignore: decorator
  @inline stage1Name(): string { return "vmsav8-4k"; }
  // @ts-ignore: decorator
  @inline stage1Title(): string { return "Arm VMSAv8-64 stage 1, 4 KiB granule"; }
  // @ts-ignore: decorator
  @inline stage2Name(): string { return "vmsav8-4k-s2"; }
  // @ts-ignore: decorator
  @inline stage2Title(): string { return "Arm VMSAv8-64 stage 2, 4 KiB granule"; }
}

@unmanaged
export class Granule16k {
  // @ts-ignore: decorator
  @inline shift(): u32 { return 14; }
  // @ts-ignore: decorator
  @inline indexBits(): u32 { return 11; }
  // @ts-ignore: decorator
  @inline levels(): u32 { return 4; }
  // @ts-ignore: decorator
  @inline blockLevels(): u32 { return 1 << 2; }
  // @ts-ignore: decorator
  @inline wideBlockLevel(): u32 { return 3; }
  // @ts-ignore: decorator
  @inline runShift(level: u32): u32 { return level == 1 ? 7 : level == 2 ? 5 : 0; }
  // @ts-ignore: decorator
  @inline stage1Name(): string { return "vmsav8-16k"; }
  // @ts-ignore: decorator
  @inline stage1Title(): string { return "Arm VMSAv8-64 stage 1, 16 KiB granule"; }
  // @ts-ignore: decorator
  @inline stage2Name(): string { return "vmsav8-16k-s2"; }
  // @ts-ignore: decorator
  @inline stage2Title(): string { return "Arm VMSAv8-64 stage 2, 16 KiB granule"; }
}

@unmanaged
export class Granule64k {
  // @ts-ignore: decorator
  @inline shift(): u32 { return 16; }
  // @ts-ignore: decorator
  @inline indexBits(): u32 { return 13; }
  // @ts-ignore: decorator
  @inline levels(): u32 { return 3; }
  // @ts-ignore: decorator
  @inline blockLevels(): u32 { return 1 << 2; }
  // @ts-ignore: decorator
  @inline wideBlockLevel(): u32 { return 3; }
  // @ts-ignore: decorator
  @inline runShift(level: u32): u32 { return level <= 2 ? 5 : 0; }
  // @ts-ignore: decorator
  @inline stage1Name(): string { return "vmsav8-64k"; }
  // @ts-ignore: decorator
  @inline stage1Title(): string { return "Arm VMSAv8-64 stage 1, 64 KiB granule"; }
  // @ts-ignore: decorator
  @inline stage2Name(): string { return "vmsav8-64k-s2"; }
  // @ts-ignore: decorator
  @inline stage2Title(): string { return "Arm VMSAv8-64 stage 2, 64 KiB granule"; }
}

/** What both stages have in common. */
@unmanaged
class Vmsav8<G> {
  // @ts-ignore: decorator
  @inline minLevels(): u32 { return 1; }
  // @ts-ignore: decorator
  @inline maxLevels(): u32 { return changetype<G>(0).levels(); }
  // @ts-ignore: decorator
  @inline granuleShift(): u32 { return changetype<G>(0).shift(); }
  // @ts-ignore: decorator
  @inline indexBits(): u32 { return changetype<G>(0).indexBits(); }
  // @ts-ignore: decorator
  @inline leafSizes(): u64 {
    let sizes = (<u64>1) << <u64>this.granuleShift();
    for (let level: u32 = 2; level <= 3; level++) {
      if ((changetype<G>(0).blockLevels() >> level) & 1) sizes |= this.blockSize(level);
    }
    return sizes;
  }
  // @ts-ignore: decorator
  @inline blockSize(level: u32): u64 { return (<u64>1) << <u64>(this.granuleShift() + this.indexBits() * (level - 1)); }
  // @ts-ignore: decorator
  @inline addressBits(): u32 { return 48; }
  // @ts-ignore: decorator
  @inline widestInput(flags: u32): u32 { return this.granuleShift() == 16 || flags & FLAG_WIDE ? 52 : 48; }
  /** A fifth level, addresses above 48 bits and one more size of block come with 52-bit addresses. */
  // @ts-ignore: decorator
  @inline accepts(flags: u32, levels: u32, outputBits: u32, sizes: u64): bool {
    const wide = (flags & FLAG_WIDE) != 0 || (this.granuleShift() == 16 && outputBits == 52);
    const deepest = this.maxLevels() + (wide && this.granuleShift() == 12 ? 1 : 0);
    const allowed = this.leafSizes() | (wide ? this.blockSize(changetype<G>(0).wideBlockLevel()) : 0);
    return levels >= 1 && levels <= deepest && outputBits <= <u32>(wide ? 52 : 48) && !(sizes & ~allowed);
  }
  // @ts-ignore: decorator
  @inline canonical(): bool { return false; }
  // @ts-ignore: decorator
  @inline reservesInterruptRange(): bool { return false; }

  /** Whether descriptors hold 52-bit addresses. */
  // @ts-ignore: decorator
  @inline wide(table: usize): bool {
    const flagged = (load<u32>(table, TABLE_FLAGS) & FLAG_WIDE) != 0;
    return flagged || (this.granuleShift() == 16 && load<u64>(table, TABLE_OUTPUT_LAST) >> 48 != 0);
  }
  // @ts-ignore: decorator
  @inline commonRights(table: usize): u64 {
    const flags = load<u32>(table, TABLE_FLAGS);
    const updates: u32 = TABLE_UPDATES_ACCESSED | TABLE_UPDATES_DIRTY;
    return (
      (flags & (FLAG_ACCESS_FLAG_DISABLE | <u32>TABLE_UPDATES_ACCESSED) ? RIGHTS_NO_ACCESS_FAULT : 0) |
      (this.wide(table) ? RIGHTS_WIDE : 0) |
      ((flags & updates) == updates ? RIGHTS_UPDATES_DIRTY : 0)
    );
  }

  // @ts-ignore: decorator
  @inline inTableOrder(flags: u32, entry: u64): u64 { return flags & FLAG_BIG_ENDIAN ? bswap<u64>(entry) : entry; }

  // @ts-ignore: decorator
  @inline blockAllowed(level: u32, wide: bool): bool {
    const g = changetype<G>(0);
    return ((g.blockLevels() >> level) & 1) != 0 || (wide && level == g.wideBlockLevel());
  }
  /** Valid, and an encoding that exists at this level: no block where there is none (a translation fault). */
  // @ts-ignore: decorator
  @inline isPresent(entry: u64, rights: u64, level: u32): bool {
    const type = entry & (VALID | TABLE_OR_PAGE);
    return type == (VALID | TABLE_OR_PAGE) || (type == VALID && this.blockAllowed(level, (rights & RIGHTS_WIDE) != 0));
  }
  // @ts-ignore: decorator
  @inline runShift(level: u32): u32 { return changetype<G>(0).runShift(level); }
  // @ts-ignore: decorator
  @inline runMark(): u64 { return CONTIGUOUS; }
  // @ts-ignore: decorator
  @inline presentMask(): u64 { return VALID; }
  // @ts-ignore: decorator
  @inline isLeaf(entry: u64, level: u32): bool { return level == 1 || !(entry & TABLE_OR_PAGE); }

  // @ts-ignore: decorator
  @inline tableAddress(entry: u64): u64 {
    return entry & (0x0000_ffff_ffff_ffff & ~(((<u64>1) << <u64>this.granuleShift()) - 1));
  }
  // @ts-ignore: decorator
  @inline inPlace(table: usize): bool { return !this.wide(table) && !(load<u32>(table, TABLE_FLAGS) & FLAG_BIG_ENDIAN); }
  // @ts-ignore: decorator
  @inline address(table: usize, entry: u64): u64 {
    const low = this.tableAddress(entry);
    if (!this.wide(table)) return low;
    if (this.granuleShift() == 16) return low | ((entry & ADDRESS_51_48) << SHIFT_51_48);
    return low | (entry & ADDRESS_49_48) | ((entry & ADDRESS_51_50) << SHIFT_51_50);
  }
  // @ts-ignore: decorator
  @inline place(table: usize, address: u64): u64 {
    const low = this.tableAddress(address);
    if (!this.wide(table)) return low;
    if (this.granuleShift() == 16) return low | ((address >> SHIFT_51_48) & ADDRESS_51_48);
    return low | (address & ADDRESS_49_48) | ((address >> SHIFT_51_50) & ADDRESS_51_50);
  }

  /** RES0 bits do not fault; only an address beyond the effective output size does. */
  // @ts-ignore: decorator
  @inline reservedInTable(table: usize, level: u32): u64 { return this.place(table, ~load<u64>(table, TABLE_OUTPUT_LAST)); }
  // @ts-ignore: decorator
  @inline reservedInLeaf(table: usize, level: u32, size: u64, allowed: bool): u64 {
    // A block where none exists is caught as not present; VALID here keeps the batch walk from taking it for a leaf.
    return this.reservedInTable(table, level) | (level == 1 || this.blockAllowed(level, this.wide(table)) ? 0 : VALID);
  }
  // @ts-ignore: decorator
  @inline reservedOutcome(): i32 { return WALK_OUTPUT_RANGE; }

  // @ts-ignore: decorator
  @inline makeTable(address: u64): u64 { return address | VALID | TABLE_OR_PAGE; }
  /** With 52-bit addresses of 4 and 16 KiB granules the shareability comes from the CD or the STE. */
  // @ts-ignore: decorator
  @inline commonLeafBits(table: usize, level: u32): u64 {
    const shareability = this.granuleShift() == 16 || !this.wide(table) ? SH_INNER : 0;
    return VALID | (level > 1 ? 0 : TABLE_OR_PAGE) | shareability | AF;
  }

  /** Table descriptors are not updated (HAFT is not emulated). */
  // @ts-ignore: decorator
  @inline touchTable(flags: u32, entry: u64): u64 { return entry; }
  /** The stages are translated one after the other (Arm DDI 0487, AArch64.S1Translate). */
  // @ts-ignore: decorator
  @inline updatesLeafLast(): bool { return false; }
  /** Whether a write makes this leaf dirty. */
  // @ts-ignore: decorator
  @inline dirties(flags: u32, entry: u64, access: u32): bool {
    return (flags & <u32>TABLE_UPDATES_DIRTY) != 0 && (access & <u32>ACCESS_WRITE) != 0 && (entry & DBM) != 0;
  }

  // @ts-ignore: decorator
  @inline requiredInTable(table: usize, access: u32): u64 { return VALID | TABLE_OR_PAGE; }
  /** An access flag that hardware has to set is no ordinary walk. */
  // @ts-ignore: decorator
  @inline requiredInEveryLeaf(table: usize): u64 {
    const ignored =
      (load<u32>(table, TABLE_FLAGS) & (FLAG_ACCESS_FLAG_DISABLE | <u32>TABLE_UPDATES_ACCESSED)) == FLAG_ACCESS_FLAG_DISABLE;
    return VALID | (ignored ? 0 : AF);
  }
  /** An address above 48 bits is put together only by the precise walk. */
  // @ts-ignore: decorator
  @inline deniedInEvery(table: usize): u64 { return this.place(table, ADDRESS_ABOVE_48); }
  // @ts-ignore: decorator
  @inline requiredInPage(): u64 { return TABLE_OR_PAGE; }
  // @ts-ignore: decorator
  @inline ordinaryTable(): u64 { return VALID | TABLE_OR_PAGE; }
  // @ts-ignore: decorator
  @inline largeLeaf(): u64 { return 0; }
}

/** Stage 1. The first table may be shorter than a granule (SMMUv3 section 5.4, CD.TTB0). */
@unmanaged
export class Vmsav8Stage1<G> extends Vmsav8<G> {
  // @ts-ignore: decorator
  @inline name(): string { return changetype<G>(0).stage1Name(); }
  // @ts-ignore: decorator
  @inline title(): string { return changetype<G>(0).stage1Title(); }
  // @ts-ignore: decorator
  @inline concatenated(): u32 { return 1; }

  /** OR of the hierarchical controls on the path: each takes something away. */
  // @ts-ignore: decorator
  @inline initialRights(table: usize): u64 {
    const flags = load<u32>(table, TABLE_FLAGS);
    return (
      this.commonRights(table) |
      (flags & FLAG_HIERARCHICAL_DISABLE ? RIGHTS_HAD : 0) |
      (flags & FLAG_PAN ? RIGHTS_PAN : 0) |
      (flags & FLAG_EPAN ? RIGHTS_EPAN : 0) |
      (flags & FLAG_WXN ? RIGHTS_WXN : 0) |
      (flags & FLAG_ONE_PRIVILEGE ? RIGHTS_ONE_PRIVILEGE : 0)
    );
  }
  // @ts-ignore: decorator
  @inline combine(rights: u64, entry: u64, level: u32): u64 {
    return this.isLeaf(entry, level) ? rights : rights | (entry & HIERARCHICAL);
  }

  /** As Linux's io-pgtable-arm: cacheable, inner shareable, access flag set, not global. Write implies read. */
  // @ts-ignore: decorator
  @inline leafBits(table: usize, permissions: u32, level: u32): u64 {
    if (!(permissions & <u32>(ACCESS_READ | ACCESS_WRITE))) return 0;
    return (
      this.commonLeafBits(table, level) | ATTR_CACHEABLE | NG |
      (permissions & <u32>ACCESS_WRITE ? 0 : AP_READ_ONLY) |
      (permissions & <u32>ACCESS_PRIVILEGED ? 0 : AP_UNPRIVILEGED) |
      (permissions & <u32>PERMISSION_NO_EXECUTE ? PXN | UXN : 0)
    );
  }

  /** The access flag before permissions. */
  // @ts-ignore: decorator
  @inline check(rights: u64, leaf: u64, access: u32): i32 {
    if (!(leaf & AF) && !(rights & RIGHTS_NO_ACCESS_FAULT)) return WALK_ACCESS_FLAG;
    const granted = this.grants(rights, leaf);
    const privileged = (access & <u32>ACCESS_PRIVILEGED) != 0;
    const have = privileged ? granted >> <u32>GRANT_PRIVILEGED_SHIFT : granted;
    const data = access & <u32>(ACCESS_READ | ACCESS_WRITE) || !(access & <u32>ACCESS_EXECUTE);
    if (data && !(have & <u32>GRANT_READ)) return privileged ? WALK_NO_READ : WALK_NO_USER;
    if (access & <u32>ACCESS_WRITE && !(have & <u32>GRANT_WRITE)) return WALK_NO_WRITE;
    return access & <u32>ACCESS_EXECUTE && !(have & <u32>GRANT_EXECUTE) ? WALK_NO_EXECUTE : WALK_OK;
  }

  /**
   * What AP, XN and the hierarchical controls leave (GRANT_*; SMMUv3 section 3.13 and Arm DDI 0487, "Memory access control").
   * Execution does not need a right to read. AP[2] is as good as clear in a leaf that hardware makes dirty.
   */
  // @ts-ignore: decorator
  @inline grants(rights: u64, leaf: u64): u32 {
    const above = rights & RIGHTS_HAD ? 0 : rights;
    const readOnly = leaf & AP_READ_ONLY && !(rights & RIGHTS_UPDATES_DIRTY && leaf & DBM);
    const writable = !readOnly && !(above & AP_TABLE_READ_ONLY);
    const data: u32 = writable ? GRANT_READ | GRANT_WRITE : GRANT_READ;
    const writableNever = writable && (rights & RIGHTS_WXN) != 0;
    const unprivilegedNever = (leaf & UXN) != 0 || (above & UXN_TABLE) != 0;
    if (rights & RIGHTS_ONE_PRIVILEGE) {
      const all = data | (unprivilegedNever || writableNever ? 0 : <u32>GRANT_EXECUTE);
      return all | (all << <u32>GRANT_PRIVILEGED_SHIFT);
    }
    const unprivileged = leaf & AP_UNPRIVILEGED && !(above & AP_TABLE_NO_UNPRIVILEGED);
    const execute: u32 = unprivilegedNever || (unprivileged && writableNever) ? 0 : GRANT_EXECUTE;
    // What an unprivileged requester may write, a privileged one never executes.
    const privilegedNever =
      (leaf & PXN) != 0 || (above & PXN_TABLE) != 0 || (unprivileged && writable) || writableNever;
    const kept =
      rights & RIGHTS_PAN && (unprivileged || (rights & RIGHTS_EPAN && !unprivilegedNever)) ? 0 : data;
    const privilegedRights = kept | (privilegedNever ? 0 : <u32>GRANT_EXECUTE);
    return (unprivileged ? data : 0) | execute | (privilegedRights << <u32>GRANT_PRIVILEGED_SHIFT);
  }

  // @ts-ignore: decorator
  @inline isGlobal(leaf: u64): bool { return !(leaf & NG); }

  /** The entry as hardware leaves it after using it (SMMUv3 section 3.13). */
  // @ts-ignore: decorator
  @inline touchLeaf(flags: u32, entry: u64, access: u32): u64 {
    if (!(flags & <u32>TABLE_UPDATES_ACCESSED)) return entry;
    return (entry | AF) & ~(this.dirties(flags, entry, access) ? AP_READ_ONLY : 0);
  }

  // The same as masks, for a walk that cannot fail: bits that must be set, and bits that must be clear, in every entry.
  /** An instruction fetch depends on too much for a mask, and masks do not swap bytes: both are always walked precisely. */
  // @ts-ignore: decorator
  @inline deniedInTable(table: usize, access: u32): u64 {
    const flags = load<u32>(table, TABLE_FLAGS);
    if (access & <u32>ACCESS_EXECUTE || flags & FLAG_BIG_ENDIAN) return -1;
    if (flags & FLAG_HIERARCHICAL_DISABLE) return this.deniedInEvery(table);
    return (
      this.deniedInEvery(table) |
      (access & <u32>ACCESS_PRIVILEGED || flags & FLAG_ONE_PRIVILEGE ? 0 : AP_TABLE_NO_UNPRIVILEGED) |
      (access & <u32>ACCESS_WRITE ? AP_TABLE_READ_ONLY : 0)
    );
  }
  // @ts-ignore: decorator
  @inline requiredInLeaf(table: usize, access: u32): u64 {
    const flags = load<u32>(table, TABLE_FLAGS);
    if (flags & FLAG_ONE_PRIVILEGE) return this.requiredInEveryLeaf(table);
    if (!(access & <u32>ACCESS_PRIVILEGED)) return this.requiredInEveryLeaf(table) | AP_UNPRIVILEGED;
    return this.requiredInEveryLeaf(table) | (flags & FLAG_PAN && flags & FLAG_EPAN ? UXN : 0);
  }
  /** Read-only, or clean and to be made dirty; with PAN also what is not for privileged requesters alone. */
  // @ts-ignore: decorator
  @inline deniedInLeaf(table: usize, access: u32): u64 {
    if (access & <u32>ACCESS_EXECUTE) return -1;
    const never = access & <u32>ACCESS_PRIVILEGED && load<u32>(table, TABLE_FLAGS) & FLAG_PAN;
    return (
      this.deniedInEvery(table) | (access & <u32>ACCESS_WRITE ? AP_READ_ONLY : 0) | (never ? AP_UNPRIVILEGED : 0)
    );
  }
}

/** Stage 2. Up to 16 first tables (SMMUv3 section 5.2, STE.S2SL0); no controls but those of the leaf. */
@unmanaged
export class Vmsav8Stage2<G> extends Vmsav8<G> {
  // @ts-ignore: decorator
  @inline name(): string { return changetype<G>(0).stage2Name(); }
  // @ts-ignore: decorator
  @inline title(): string { return changetype<G>(0).stage2Title(); }
  // @ts-ignore: decorator
  @inline concatenated(): u32 { return 16; }

  // @ts-ignore: decorator
  @inline initialRights(table: usize): u64 {
    const flags = load<u32>(table, TABLE_FLAGS);
    return (
      this.commonRights(table) |
      (flags & FLAG_XNX ? RIGHTS_XNX : 0) |
      (flags & FLAG_PROTECTED_WALK ? RIGHTS_PROTECTED_WALK : 0) |
      (flags & FLAG_FORCED_WRITE_BACK ? RIGHTS_FORCED_WRITE_BACK : 0)
    );
  }
  // @ts-ignore: decorator
  @inline combine(rights: u64, entry: u64, level: u32): u64 { return rights; }

  /** As Linux's io-pgtable-arm: cacheable, inner shareable, access flag set; privilege does not exist here. */
  // @ts-ignore: decorator
  @inline leafBits(table: usize, permissions: u32, level: u32): u64 {
    if (!(permissions & <u32>(ACCESS_READ | ACCESS_WRITE))) return 0;
    return (
      this.commonLeafBits(table, level) | MEM_ATTR_CACHEABLE |
      (permissions & <u32>ACCESS_READ ? S2AP_READ : 0) |
      (permissions & <u32>ACCESS_WRITE ? S2AP_WRITE : 0) |
      (permissions & <u32>PERMISSION_NO_EXECUTE ? S2_XN : 0)
    );
  }

  /** The access flag before permissions. */
  // @ts-ignore: decorator
  @inline check(rights: u64, leaf: u64, access: u32): i32 {
    if (!(leaf & AF) && !(rights & RIGHTS_NO_ACCESS_FAULT)) return WALK_ACCESS_FLAG;
    const granted = this.grants(rights, leaf);
    const have = access & <u32>ACCESS_PRIVILEGED ? granted >> <u32>GRANT_PRIVILEGED_SHIFT : granted;
    if (access & <u32>ACCESS_WALK && rights & RIGHTS_PROTECTED_WALK && this.isDevice(rights, leaf)) return WALK_NO_READ;
    if (access & <u32>ACCESS_WRITE && !(have & <u32>GRANT_WRITE)) return WALK_NO_WRITE;
    if (access & <u32>ACCESS_EXECUTE && !(have & <u32>GRANT_EXECUTE)) return WALK_NO_EXECUTE;
    return access & <u32>ACCESS_READ && !(have & <u32>GRANT_READ) ? WALK_NO_READ : WALK_OK;
  }
  // @ts-ignore: decorator
  @inline isDevice(rights: u64, leaf: u64): bool {
    return !(leaf & (rights & RIGHTS_FORCED_WRITE_BACK ? MEM_ATTR_NORMAL_FORCED : MEM_ATTR_NORMAL));
  }

  /** What the leaf allows (GRANT_*). Execution does not need a right to read. */
  // @ts-ignore: decorator
  @inline grants(rights: u64, leaf: u64): u32 {
    const read: u32 = leaf & S2AP_READ ? GRANT_READ : 0;
    const writable = leaf & S2AP_WRITE || (rights & RIGHTS_UPDATES_DIRTY && leaf & DBM);
    const data: u32 = read | (writable ? GRANT_WRITE : 0);
    const never = (leaf & S2_XN) != 0;
    const privilegedNever = rights & RIGHTS_XNX && leaf & S2_XN_OPPOSITE ? !never : never;
    const execute: u32 = never ? 0 : GRANT_EXECUTE;
    const privilegedExecute: u32 = privilegedNever ? 0 : GRANT_EXECUTE;
    return data | execute | ((data | privilegedExecute) << <u32>GRANT_PRIVILEGED_SHIFT);
  }

  // @ts-ignore: decorator
  @inline isGlobal(leaf: u64): bool { return false; }

  // @ts-ignore: decorator
  @inline touchLeaf(flags: u32, entry: u64, access: u32): u64 {
    if (!(flags & <u32>TABLE_UPDATES_ACCESSED)) return entry;
    return entry | AF | (this.dirties(flags, entry, access) ? S2AP_WRITE : 0);
  }

  // @ts-ignore: decorator
  @inline deniedInTable(table: usize, access: u32): u64 {
    const flags = load<u32>(table, TABLE_FLAGS);
    const precise = access & <u32>ACCESS_EXECUTE || flags & FLAG_BIG_ENDIAN;
    return precise || (access & <u32>ACCESS_WALK && flags & FLAG_PROTECTED_WALK) ? -1 : this.deniedInEvery(table);
  }
  // @ts-ignore: decorator
  @inline requiredInLeaf(table: usize, access: u32): u64 {
    return (
      this.requiredInEveryLeaf(table) |
      (access & <u32>ACCESS_READ ? S2AP_READ : 0) |
      (access & <u32>ACCESS_WRITE ? S2AP_WRITE : 0)
    );
  }
  // @ts-ignore: decorator
  @inline deniedInLeaf(table: usize, access: u32): u64 { return this.deniedInTable(table, access); }
}
