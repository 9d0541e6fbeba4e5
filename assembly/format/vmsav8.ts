/**
 * Arm VMSAv8-64 with 4 KiB granule, stage 1, as SMMUv3 walks it: Arm IHI 0070 G.b (SMMUv3) section 3.4 and
 * Arm DDI 0487, "The VMSAv8-64 translation table format descriptors".
 *
 * 8-byte descriptors, 512 a table, 3 levels (39 bits, T0SZ 25) or 4 (48 bits, T0SZ 16). The architecture counts lookup
 * levels downwards: our level 4, 3, 2, 1 is its level 0, 1 (1 GiB block), 2 (2 MiB block), 3 (4 KiB page).
 */
import {
  ACCESS_EXECUTE,
  ACCESS_PRIVILEGED,
  ACCESS_READ,
  ACCESS_WRITE,
  GRANT_EXECUTE,
  GRANT_PRIVILEGED_SHIFT,
  GRANT_READ,
  GRANT_WRITE,
  PERMISSION_NO_EXECUTE,
  TABLE_FLAGS,
  TABLE_OUTPUT_LAST,
  WALK_ACCESS_FLAG,
  WALK_NO_EXECUTE,
  WALK_NO_USER,
  WALK_NO_WRITE,
  WALK_OK,
  WALK_OUTPUT_RANGE,
} from "../layout";

const VALID: u64 = 1 << 0;
/** Bit 1 of a valid descriptor: a table, or at the last level a page; clear: a block. */
const TABLE_OR_PAGE: u64 = 1 << 1;
/** AttrIndx 1, the cacheable attribute of Linux's MAIR. */
const ATTR_CACHEABLE: u64 = 1 << 2;
/** AP[1]: unprivileged access is allowed. */
const AP_UNPRIVILEGED: u64 = 1 << 6;
/** AP[2]: read-only. */
const AP_READ_ONLY: u64 = 1 << 7;
const SH_INNER: u64 = 3 << 8;
const AF: u64 = 1 << 10;
const NG: u64 = 1 << 11;
const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;
/** Hierarchical controls of a table descriptor: PXNTable, UXNTable, APTable[0] (no unprivileged), APTable[1] (no write). */
const PXN_TABLE: u64 = 1 << 59;
const UXN_TABLE: u64 = 1 << 60;
const AP_TABLE_NO_UNPRIVILEGED: u64 = 1 << 61;
const AP_TABLE_READ_ONLY: u64 = 1 << 62;
const HIERARCHICAL: u64 = PXN_TABLE | UXN_TABLE | AP_TABLE_NO_UNPRIVILEGED | AP_TABLE_READ_ONLY;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/** Levels at which a block is allowed (bit n: our level n). */
const BLOCK_LEVELS: u32 = (1 << 3) | (1 << 2);

/** Table flag: CD.AFFD, a clear access flag does not fault. */
const FLAG_ACCESS_FLAG_DISABLE: u32 = 1 << 0;
/** Table flag: CD.HAD0, the hierarchical controls are ignored. */
const FLAG_HIERARCHICAL_DISABLE: u32 = 1 << 1;
/** The same two among the accumulated rights, at places that no hierarchical control uses. */
const RIGHTS_AFFD: u64 = 1 << 0;
const RIGHTS_HAD: u64 = 1 << 1;

@unmanaged
export class Vmsav8Granule4k {
  // @ts-ignore: decorator
  @inline name(): string { return "vmsav8-4k"; }
  // @ts-ignore: decorator
  @inline title(): string { return "Arm VMSAv8-64 stage 1, 4 KiB granule"; }
  // @ts-ignore: decorator
  @inline minLevels(): u32 { return 3; }
  // @ts-ignore: decorator
  @inline maxLevels(): u32 { return 4; }
  // @ts-ignore: decorator
  @inline granuleShift(): u32 { return 12; }
  // @ts-ignore: decorator
  @inline indexBits(): u32 { return 9; }
  // @ts-ignore: decorator
  @inline leafSizes(): u64 { return (1 << 12) | (1 << 21) | (1 << 30); }
  // @ts-ignore: decorator
  @inline addressBits(): u32 { return 48; }
  // @ts-ignore: decorator
  @inline canonical(): bool { return false; }
  /** Whether FEE0_0000h-FEEF_FFFFh is interrupt messages and never translated (VT-d section 5.1.4). */
  // @ts-ignore: decorator
  @inline reservesInterruptRange(): bool { return false; }

  /** OR of the hierarchical controls on the path: each takes something away. */
  // @ts-ignore: decorator
  @inline initialRights(table: usize): u64 {
    const flags = load<u32>(table, TABLE_FLAGS);
    return (flags & FLAG_ACCESS_FLAG_DISABLE ? RIGHTS_AFFD : 0) | (flags & FLAG_HIERARCHICAL_DISABLE ? RIGHTS_HAD : 0);
  }
  // @ts-ignore: decorator
  @inline combine(rights: u64, entry: u64, level: u32): u64 {
    return this.isLeaf(entry, level) ? rights : rights | (entry & HIERARCHICAL);
  }

  /** Valid, and an encoding that exists at this level: no block at our levels 4 and 1 (a translation fault). */
  // @ts-ignore: decorator
  @inline isPresent(entry: u64, rights: u64, level: u32): bool {
    const type = entry & (VALID | TABLE_OR_PAGE);
    return type == (VALID | TABLE_OR_PAGE) || (type == VALID && (BLOCK_LEVELS >> level) & 1);
  }
  // @ts-ignore: decorator
  @inline presentMask(): u64 { return VALID; }
  // @ts-ignore: decorator
  @inline isLeaf(entry: u64, level: u32): bool { return level == 1 || !(entry & TABLE_OR_PAGE); }
  // @ts-ignore: decorator
  @inline tableAddress(entry: u64): u64 { return entry & ADDRESS; }
  // @ts-ignore: decorator
  @inline leafAddress(entry: u64, size: u64): u64 { return entry & ADDRESS & ~(size - 1); }

  /** RES0 bits do not fault; only an address beyond the effective output size does. */
  // @ts-ignore: decorator
  @inline reservedInTable(table: usize, level: u32): u64 { return ADDRESS & ~load<u64>(table, TABLE_OUTPUT_LAST); }
  // @ts-ignore: decorator
  @inline reservedInLeaf(table: usize, level: u32, size: u64, allowed: bool): u64 {
    // A block where none exists is caught as not present; VALID here keeps the batch walk from taking it for a leaf.
    return this.reservedInTable(table, level) | (level == 1 || (BLOCK_LEVELS >> level) & 1 ? 0 : VALID);
  }
  // @ts-ignore: decorator
  @inline reservedOutcome(): i32 { return WALK_OUTPUT_RANGE; }

  // @ts-ignore: decorator
  @inline makeTable(address: u64): u64 { return address | VALID | TABLE_OR_PAGE; }
  /** As Linux's io-pgtable-arm: cacheable, inner shareable, access flag set, not global. Write implies read. */
  // @ts-ignore: decorator
  @inline leafBits(permissions: u32, level: u32): u64 {
    if (!(permissions & <u32>(ACCESS_READ | ACCESS_WRITE))) return 0;
    return (
      VALID | (level > 1 ? 0 : TABLE_OR_PAGE) | ATTR_CACHEABLE | SH_INNER | AF | NG |
      (permissions & <u32>ACCESS_WRITE ? 0 : AP_READ_ONLY) |
      (permissions & <u32>ACCESS_PRIVILEGED ? 0 : AP_UNPRIVILEGED) |
      (permissions & <u32>PERMISSION_NO_EXECUTE ? PXN | UXN : 0)
    );
  }

  /** The access flag before permissions; then what AP, XN and the hierarchical controls leave (SMMUv3 section 3.13). */
  // @ts-ignore: decorator
  @inline check(rights: u64, leaf: u64, access: u32): i32 {
    if (!(leaf & AF) && !(rights & RIGHTS_AFFD)) return WALK_ACCESS_FLAG;
    const above = rights & RIGHTS_HAD ? 0 : rights;
    const unprivilegedAllowed = leaf & AP_UNPRIVILEGED && !(above & AP_TABLE_NO_UNPRIVILEGED);
    const readOnly = leaf & AP_READ_ONLY || above & AP_TABLE_READ_ONLY;
    const privileged = access & <u32>ACCESS_PRIVILEGED;
    if (!privileged && !unprivilegedAllowed) return WALK_NO_USER;
    if (access & <u32>ACCESS_WRITE && readOnly) return WALK_NO_WRITE;
    if (access & <u32>ACCESS_EXECUTE) {
      // What an unprivileged requester may write, a privileged one never executes.
      const never = privileged
        ? leaf & PXN || above & PXN_TABLE || (unprivilegedAllowed && !readOnly)
        : leaf & UXN || above & UXN_TABLE;
      if (never) return WALK_NO_EXECUTE;
    }
    return WALK_OK;
  }

  /** What the leaf and the hierarchical controls above it allow (GRANT_*). */
  // @ts-ignore: decorator
  @inline grants(rights: u64, leaf: u64): u32 {
    const above = rights & RIGHTS_HAD ? 0 : rights;
    const unprivileged = leaf & AP_UNPRIVILEGED && !(above & AP_TABLE_NO_UNPRIVILEGED);
    const readOnly = leaf & AP_READ_ONLY || above & AP_TABLE_READ_ONLY;
    const data: u32 = readOnly ? GRANT_READ : GRANT_READ | GRANT_WRITE;
    const execute: u32 = leaf & UXN || above & UXN_TABLE ? 0 : GRANT_EXECUTE;
    const privilegedExecute: u32 =
      leaf & PXN || above & PXN_TABLE || (unprivileged && !readOnly) ? 0 : GRANT_EXECUTE;
    return (unprivileged ? data | execute : 0) | ((data | privilegedExecute) << <u32>GRANT_PRIVILEGED_SHIFT);
  }

  /** The entry as hardware leaves it after using it. */
  // @ts-ignore: decorator
  @inline touchTable(flags: u32, entry: u64): u64 { return entry; }
  // @ts-ignore: decorator
  @inline touchLeaf(flags: u32, entry: u64, access: u32): u64 { return entry; }

  // The same as masks, for a walk that cannot fail: bits that must be set, and bits that must be clear, in every entry.
  // @ts-ignore: decorator
  @inline requiredInTable(table: usize, access: u32): u64 { return VALID | TABLE_OR_PAGE; }
  /** An instruction fetch depends on too much for a mask: it is always walked precisely. */
  // @ts-ignore: decorator
  @inline deniedInTable(table: usize, access: u32): u64 {
    if (access & <u32>ACCESS_EXECUTE) return -1;
    if (load<u32>(table, TABLE_FLAGS) & FLAG_HIERARCHICAL_DISABLE) return 0;
    return (
      (access & <u32>ACCESS_PRIVILEGED ? 0 : AP_TABLE_NO_UNPRIVILEGED) |
      (access & <u32>ACCESS_WRITE ? AP_TABLE_READ_ONLY : 0)
    );
  }
  // @ts-ignore: decorator
  @inline requiredInLeaf(table: usize, access: u32): u64 {
    return (
      VALID |
      (load<u32>(table, TABLE_FLAGS) & FLAG_ACCESS_FLAG_DISABLE ? 0 : AF) |
      (access & <u32>ACCESS_PRIVILEGED ? 0 : AP_UNPRIVILEGED)
    );
  }
  // @ts-ignore: decorator
  @inline deniedInLeaf(table: usize, access: u32): u64 {
    if (access & <u32>ACCESS_EXECUTE) return -1;
    return access & <u32>ACCESS_WRITE ? AP_READ_ONLY : 0;
  }
  // @ts-ignore: decorator
  @inline requiredInPage(): u64 { return TABLE_OR_PAGE; }
  /** Bits that every entry that software makes for a table has set, and bits that only a large leaf has. */
  // @ts-ignore: decorator
  @inline ordinaryTable(): u64 { return VALID | TABLE_OR_PAGE; }
  // @ts-ignore: decorator
  @inline largeLeaf(): u64 { return 0; }
}
