/**
 * Where recent walks found their leaves' tables, kept for the length of one call of `unitTranslate`: nothing but the
 * walks' own accessed and dirty flags changes memory meanwhile, so that this saves time and changes no answer and no
 * counter.
 *
 * A slot answers for one region, what a last table covers, for one source and one kind of access, and only for walks that
 * cannot fail; it holds what the rest of a translation needs. Slots are taken one after another, so that those in use lie
 * close together; the index finds them.
 */
import {
  ACCESS_WRITE,
  PATTERN_BYTES,
  PATTERN_LEAF_DENIED,
  PATTERN_LEAF_REQUIRED,
  PATTERN_TABLE_EXPECTED,
  PATTERN_TABLE_MASK,
  REGIME_FORMAT,
  REGIME_ORDINARY,
  REGIME_OWNER,
  REGIME_PATTERNS,
  REGIME_REFUSED_SPAN,
  REGIME_TABLE,
  REGIME_TAG,
  TABLE_FLAGS,
  TABLE_INPUT_LAST,
  TABLE_LEVELS,
  TABLE_RESERVED_LEAF,
  TABLE_ROOT,
  WALK_OK,
} from "../layout";
import { iotlbOwner, iotlbValue } from "../cache/iotlb";
import { arenaBytes, arenaStart } from "../memory/heap";
import { arenaBase } from "../memory/physical";
import { entryOffset, firstTable, inRange, isTable, levelShift } from "../table/table";
import { statusWord, walkLogged } from "../table/walk";
import { accessInForce } from "./access";

const BYTES: usize = 128;
const SLOTS: u32 = 4096;
/** u64: region, kind and source that it answers for. */
const REGION: usize = 0;
const SOURCE: usize = 8;
/** u64: bits of a leaf that are not its address, and what they are in the leaves that it expects. */
const FIXED: usize = 16;
const EXPECTED: usize = 24;
/** u64: such a leaf XOR this is its IOTLB value. */
export const SHORTCUT_TO_VALUE: usize = 32;
/** u64: tag and owner of IOTLB entries. */
export const SHORTCUT_TAG: usize = 40;
export const SHORTCUT_OWNER: usize = 48;
/** u32: the status word of a walk that ends well. */
export const SHORTCUT_STATUS: usize = 56;
/** u32: linear address of the leaf's table; log2 of the bytes that 8 bytes of the table translate. */
const TABLE: usize = 60;
const SHIFT: usize = 64;
/** u32: how many bytes from FEE0_0000h on are refused as output; the kind of access in force. */
export const SHORTCUT_REFUSED_SPAN: usize = 68;
export const SHORTCUT_ACCESS: usize = 72;
/** u32: the table's flags; which entry of the index points here. */
const FLAGS: usize = 76;
const INDEX: usize = 80;
/** u64: bits of a leaf that are looked at, and those of them that must be set; the rights that tables above grant. */
const MASK: usize = 88;
const REQUIRED: usize = 96;
const RIGHTS: usize = 104;
/** u64: the owner of IOTLB entries, but for whether they are global. */
const OWNER: usize = 112;

const slots = memory.data(4096 * 128, 64);
/** u32: linear addresses of slots, or 0, where nothing lies that could be taken for one. */
const index = memory.data(4096 * 4, 64);
let used: u32 = 0;
/** Whether one of them leads to a leaf that is larger than the smallest page. */
let larger: bool = false;

/** Forgets everything: memory may have changed. */
export function shortcutsForget(): void {
  for (let slot = slots; slot < slots + <usize>used * BYTES; slot += BYTES) store<u32>(<usize>load<u32>(slot, INDEX), 0);
  used = 0;
  larger = false;
}

/** Makes room for so many shortcuts without losing one among them. */
export function shortcutsReserve(n: u32): void {
  if (used + n > SLOTS) shortcutsForget();
}

// @ts-ignore: decorator
@inline
export function shortcutsToLarger(): bool {
  return larger;
}

/** A kind of request: format and kind of access. Never 0. */
// @ts-ignore: decorator
@inline
export function shortcutKind(format: u32, access: u32): u64 {
  return (<u64>(format + 1) << 60) | <u64>access;
}

// @ts-ignore: decorator
@inline
function regionOf<F>(iova: u64): u64 {
  const f = changetype<F>(0);
  return iova >> <u64>(f.granuleShift() + f.indexBits());
}

// @ts-ignore: decorator
@inline
function regionKey(region: u64, kind: u64): u64 {
  return (region << 4) | kind;
}

/** Neighbouring regions are neighbours in the index, and the golden ratio keeps sources apart. */
// @ts-ignore: decorator
@inline
function indexOf(region: u64, source: u64): usize {
  const start = <u32>((source * 0x9e3779b97f4a7c15) >> 52);
  return index + (<usize>((start + <u32>region) & (SLOTS - 1)) << 2);
}

/** The only slot that may answer for a request. */
// @ts-ignore: decorator
@inline
export function shortcutAt<F>(iova: u64, source: u64): usize {
  return <usize>load<u32>(indexOf(regionOf<F>(iova), source));
}

/** Whether a slot of `shortcutAt` answers for it. */
// @ts-ignore: decorator
@inline
export function shortcutHolds<F>(slot: usize, iova: u64, source: u64, kind: u64): bool {
  return load<u64>(slot, REGION) == regionKey(regionOf<F>(iova), kind) && load<u64>(slot, SOURCE) == source;
}

/** The leaf for `iova`. `pages`: a constant, whether it is known to be of the smallest size. */
// @ts-ignore: decorator
@inline
export function shortcutLeaf<F>(slot: usize, iova: u64, pages: bool): u64 {
  const f = changetype<F>(0);
  const shift = pages ? f.granuleShift() - 3 : load<u32>(slot, SHIFT);
  const indexMask = ((<usize>1 << f.indexBits()) - 1) << 3;
  return load<u64>(<usize>load<u32>(slot, TABLE) + (<usize>(iova >> <u64>shift) & indexMask));
}

/** Whether a walk to this leaf cannot fail; SHORTCUT_TO_VALUE is then good for it. */
// @ts-ignore: decorator
@inline
export function shortcutExpects<F>(slot: usize, leaf: u64): bool {
  return (leaf & load<u64>(slot, FIXED)) == load<u64>(slot, EXPECTED) || expectLike<F>(slot, leaf);
}

// @ts-ignore: decorator
@inline
function expectLike<F>(slot: usize, leaf: u64): bool {
  const f = changetype<F>(0);
  if ((leaf & load<u64>(slot, MASK)) != load<u64>(slot, REQUIRED)) return false;
  const fixed = leaf & load<u64>(slot, FIXED);
  const rights = f.combine(load<u64>(slot, RIGHTS), leaf, 1);
  const clean = f.touchLeaf(load<u32>(slot, FLAGS), leaf, ACCESS_WRITE) != leaf;
  store<u64>(slot, fixed, EXPECTED);
  store<u64>(slot, iotlbOwner(load<u64>(slot, OWNER), f.isGlobal(leaf)), SHORTCUT_OWNER);
  store<u64>(slot, fixed ^ iotlbValue(0, f.granuleShift(), f.grants(rights, leaf), clean), SHORTCUT_TO_VALUE);
  return true;
}

/**
 * Makes a shortcut for a request with this regime, if the walk to its leaf is one that cannot fail. There must be room:
 * see `shortcutsReserve`.
 */
export function shortcutMake<F>(regime: usize, iova: u64, source: u64, requested: u32): bool {
  const f = changetype<F>(0);
  const access = accessInForce(regime, requested);
  if (!((load<u32>(regime, REGIME_ORDINARY) >> access) & 1) || walkLogged()) return false;
  const table = <usize>load<u32>(regime, REGIME_TABLE);
  const pattern = regime + REGIME_PATTERNS + <usize>access * <usize>PATTERN_BYTES;
  const mask = load<u64>(pattern, PATTERN_TABLE_MASK);
  const expected = load<u64>(pattern, PATTERN_TABLE_EXPECTED);
  const levels = load<u32>(table, TABLE_LEVELS);
  const pages = <u64>arenaBytes >> 12;
  let offset = load<u64>(table, TABLE_ROOT) - arenaBase + firstTable<F>(levels, iova);
  let rights = f.initialRights(table);
  let level = levels;
  let entry: u64 = 0;
  if (!inRange<F>(iova, load<u64>(table, TABLE_INPUT_LAST))) return false;
  while (true) {
    if (!isTable<F>(offset, pages)) return false;
    entry = load<u64>(arenaStart + <usize>offset + entryOffset<F>(iova, level));
    if (f.isLeaf(entry, level)) break;
    rights = f.combine(rights, entry, level);
    offset = (entry & mask) - expected;
    level--;
  }
  const shift = <u32>levelShift<F>(level);
  const required = load<u64>(pattern, PATTERN_LEAF_REQUIRED) | (level == 1 ? f.requiredInPage() : 0);
  const reserved = load<u64>(table + (<usize>level << 3), TABLE_RESERVED_LEAF);
  const address = f.tableAddress(-1) & ~(((<u64>1) << <u64>shift) - 1) & ~reserved;
  const slot = slots + <usize>used * BYTES;
  store<u64>(slot, ~address, FIXED);
  store<u64>(slot, required | reserved | load<u64>(pattern, PATTERN_LEAF_DENIED), MASK);
  store<u64>(slot, required, REQUIRED);
  store<u64>(slot, rights, RIGHTS);
  store<u32>(slot, load<u32>(table, TABLE_FLAGS), FLAGS);
  store<u64>(slot, load<u64>(regime, REGIME_OWNER), OWNER);
  if (!expectLike<F>(slot, entry)) return false;
  const region = regionOf<F>(iova);
  store<u64>(slot, regionKey(region, shortcutKind(load<u32>(regime, REGIME_FORMAT), requested)), REGION);
  store<u64>(slot, source, SOURCE);
  store<u64>(slot, load<u64>(regime, REGIME_TAG), SHORTCUT_TAG);
  store<u32>(slot, statusWord(WALK_OK, level, levels - level + 1, shift), SHORTCUT_STATUS);
  store<u32>(slot, <u32>(arenaStart + <usize>offset), TABLE);
  store<u32>(slot, shift - 3, SHIFT);
  store<u32>(slot, <u32>load<u64>(regime, REGIME_REFUSED_SPAN), SHORTCUT_REFUSED_SPAN);
  store<u32>(slot, access, SHORTCUT_ACCESS);
  store<u32>(slot, <u32>indexOf(region, source), INDEX);
  store<u32>(indexOf(region, source), <u32>slot);
  if (level > 1) larger = true;
  used++;
  return true;
}
