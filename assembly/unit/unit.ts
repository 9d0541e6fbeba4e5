/**
 * The translation half of a remapping unit, whatever its architecture: requests of many sources in, physical addresses
 * and status words out. What the requests of one source go through (which table, which second stage, which tags) is a
 * regime; the architecture's own side resolves it from the entries in memory and hands it in, so that a batch only stops
 * where a source is new. A translation comes from the IOTLB as long as it is there; otherwise the tables are walked.
 */
import { dispatch } from "../format/formats";
import {
  iotlbFind,
  iotlbGrants,
  iotlbHasOnly,
  iotlbHolds,
  iotlbInit,
  iotlbInvalidate,
  iotlbIsClean,
  iotlbKey,
  iotlbNoteSize,
  iotlbOwner,
  iotlbPhysical,
  iotlbPlace,
  iotlbRelease,
  iotlbShift,
  iotlbValue,
  iotlbWrite,
  valuePhysical,
} from "../cache/iotlb";
import {
  ACCESS_EXECUTE,
  ACCESS_PRIVILEGED,
  ACCESS_READ,
  ACCESS_WRITE,
  GRANT_PRIVILEGED_SHIFT,
  GRANT_WRITE,
  INTERRUPT_FIRST,
  INTERRUPT_SPAN,
  IOTLB_ENTRIES,
  IOTLB_SETS,
  NO_PASID,
  PATTERN_BYTES,
  PATTERN_COUNT,
  PATTERN_LEAF_DENIED,
  PATTERN_LEAF_REQUIRED,
  PATTERN_TABLE_EXPECTED,
  PATTERN_TABLE_MASK,
  REGIME_ACCESS_CLEAR,
  REGIME_ACCESS_SET,
  REGIME_BYTES,
  REGIME_FLAGS,
  REGIME_FORMAT,
  REGIME_LAST,
  REGIME_LIMITS_INPUT,
  REGIME_LOWER_IGNORES_TOP_BYTE,
  REGIME_LOWER_UNPRIVILEGED_DISABLED,
  REGIME_NOW,
  REGIME_ORDINARY,
  REGIME_OWNER,
  REGIME_PATTERNS,
  REGIME_REFUSED_SPAN,
  REGIME_REFUSES_EXECUTE,
  REGIME_REFUSES_INTERRUPT_RANGE,
  REGIME_REFUSES_PRIVILEGED,
  REGIME_TABLE,
  REGIME_TAG,
  REGIME_TWO_HALVES,
  REGIME_UPPER_IGNORES_TOP_BYTE,
  REGIME_UPPER_TABLE,
  REGIME_UPPER_UNPRIVILEGED_DISABLED,
  REGIME_WALK_TAGS,
  STALE_FROM_IOTLB,
  STALE_FROM_STRUCTURES,
  STALE_FROM_WALK,
  TABLE_FORMAT,
  TABLE_INPUT_LAST,
  TABLE_INTERMEDIATE,
  TABLE_RESERVED_TABLE,
  TABLE_SECOND_STAGE,
  TABLE_WHERE,
  UNIT_BATCH_ACCESS,
  UNIT_BATCH_ACCESSES,
  UNIT_BATCH_COUNT,
  UNIT_BATCH_FAULTS,
  UNIT_BATCH_FAULT_COUNT,
  UNIT_BATCH_IOVA,
  UNIT_BATCH_NEXT,
  UNIT_BATCH_PASIDS,
  UNIT_BATCH_PHYSICAL,
  UNIT_BATCH_SANITIZER,
  UNIT_BATCH_SOURCES,
  UNIT_BATCH_STATUS,
  UNIT_BEYOND,
  UNIT_BYTES,
  UNIT_CACHES,
  UNIT_DONE,
  UNIT_ENTRIES_READ,
  UNIT_EXECUTE,
  UNIT_INTERCEPTED,
  UNIT_INTERCEPT_FIRST,
  UNIT_INTERCEPT_LAST,
  UNIT_INTERRUPT_RANGE,
  UNIT_IOTLB,
  UNIT_IOTLB_HITS,
  UNIT_IOTLB_LOOKUPS,
  UNIT_MISSING,
  UNIT_OTHERS,
  UNIT_PRIVILEGED,
  UNIT_REQUESTS,
  UNIT_SOURCES,
  WALK_INPUT_RANGE,
  WALK_NO_EXECUTE,
  WALK_NO_READ,
  WALK_NO_USER,
  WALK_NO_WRITE,
  WALK_OK,
  WALK_OUTCOME_MASK,
  WALK_READS_SHIFT,
  WALK_ROOT_ACCESS,
  WALK_SECOND_STAGE_OUTPUT,
  WALK_SECOND_STAGE_TABLE,
  WALK_SIZE_SHIFT,
  WALK_TABLE_ACCESS,
  WALK_UPDATE_FAILED,
  WALK_UPDATE_REFUSED,
} from "../layout";
import { hashErase, hashFind, hashHas, hashInit, hashInsert, hashRelease, hashReserve, hashSetValue, hashValue } from "../memory/hash";
import { heapAllocate, heapFree } from "../memory/heap";
import { arenaBase } from "../memory/physical";
import { count, tableForget } from "../table/table";
import { statusWord, walkClean, walkGlobal, walkGrants, walkPrecisely, walkReadOnly, walkRehearses } from "../table/walk";
import { walkBelieved, walkThroughCaches } from "../table/walk-caches";
import { accessInForce } from "./access";
import { heldClean, heldDrop, heldFind, heldGrants, heldKeep, heldOwner, heldPhysical, heldShift } from "./held";
import { sanitizer, sanitizerNote, sanitizerUse } from "./sanitizer";
import {
  SHORTCUT_ACCESS,
  SHORTCUT_OWNER,
  SHORTCUT_REFUSED_SPAN,
  SHORTCUT_STATUS,
  SHORTCUT_TAG,
  SHORTCUT_TO_VALUE,
  shortcutAt,
  shortcutExpects,
  shortcutHolds,
  shortcutKind,
  shortcutLeaf,
  shortcutMake,
  shortcutsForget,
  shortcutsReserve,
  shortcutsToLarger,
} from "./shortcuts";

// ---- Units and regimes ---------------------------------------------------------------------------------------------

const SOURCES_BYTES: usize = 256 * 4;
/** Sources below this, without PASID, are found without hashing. */
const DIRECT_SOURCES: u32 = 1 << 16;

/** Makes a unit with an empty IOTLB, or with `caches` (UNIT_CACHES) in its place; 0 when memory is exhausted. */
export function unitCreate(sets: u32, caches: usize): usize {
  const unit = heapAllocate(UNIT_BYTES);
  if (!unit) return 0;
  const sources = heapAllocate(SOURCES_BYTES);
  store<u32>(unit, <u32>sources, UNIT_SOURCES);
  store<u32>(unit, <u32>caches, UNIT_CACHES);
  // An empty range: nothing is intercepted.
  store<u64>(unit, 0, UNIT_INTERCEPT_FIRST);
  store<u64>(unit, -1, UNIT_INTERCEPT_LAST);
  return sources && hashInit(unit + UNIT_OTHERS) && iotlbInit(unit + UNIT_IOTLB, sets) ? unit : 0;
}

/** Gives back a unit; its regimes stay with whoever made them. */
export function unitRelease(unit: usize): void {
  const sources = <usize>load<u32>(unit, UNIT_SOURCES);
  for (let bus: usize = 0; bus < SOURCES_BYTES; bus += 4) {
    const functions = <usize>load<u32>(sources + bus);
    if (functions) heapFree(functions, SOURCES_BYTES);
  }
  heapFree(sources, SOURCES_BYTES);
  hashRelease(unit + UNIT_OTHERS);
  iotlbRelease(unit + UNIT_IOTLB);
  heapFree(unit, UNIT_BYTES);
}

// @ts-ignore: decorator
@inline
function sourceKey(source: u32, pasid: u32): u64 {
  return <u64>source | (<u64>(pasid + 1) << 32);
}

/**
 * Sets (or with 0 forgets) what requests of this source and PASID (NO_PASID: without) go through; false, nothing changed,
 * when memory is exhausted.
 */
export function unitSetRegime(unit: usize, source: u32, pasid: u32, regime: usize): bool {
  if (pasid == <u32>NO_PASID && source < DIRECT_SOURCES) {
    const bus = <usize>load<u32>(unit, UNIT_SOURCES) + (<usize>(source >> 8) << 2);
    let functions = <usize>load<u32>(bus);
    if (!functions) {
      if (!regime) return true;
      functions = heapAllocate(SOURCES_BYTES);
      if (!functions) return false;
      store<u32>(bus, <u32>functions);
    }
    store<u32>(functions + (<usize>(source & 0xff) << 2), <u32>regime);
    return true;
  }
  const others = unit + UNIT_OTHERS;
  if (regime && !hashReserve(others, 1)) return false;
  const key = sourceKey(source, pasid);
  const slot = hashFind(others, key);
  if (hashHas(slot)) {
    if (regime) hashSetValue(slot, <u64>regime);
    else hashErase(others, slot);
  } else if (regime) {
    hashInsert(others, slot, key, <u64>regime);
  }
  return true;
}

/** What requests of this source and PASID go through, or 0 when that is not known. */
function regimeOf(unit: usize, source: u32, pasid: u32): usize {
  if (pasid == <u32>NO_PASID && source < DIRECT_SOURCES) {
    const functions = <usize>load<u32>(<usize>load<u32>(unit, UNIT_SOURCES) + (<usize>(source >> 8) << 2));
    return functions ? <usize>load<u32>(functions + (<usize>(source & 0xff) << 2)) : 0;
  }
  const slot = hashFind(unit + UNIT_OTHERS, sourceKey(source, pasid));
  return hashHas(slot) ? <usize>hashValue(slot) : 0;
}

/**
 * What must be true of every entry of an ordinary walk for this kind of access: see `nextTable` of table.ts. False when
 * no mask can say it.
 */
function makePattern<F>(table: usize, access: u32, pattern: usize): bool {
  const f = changetype<F>(0);
  const required = f.requiredInTable(table, access) | f.ordinaryTable();
  const denied = f.deniedInTable(table, access);
  const reserved = load<u64>(table + 16, TABLE_RESERVED_TABLE) | denied | f.largeLeaf();
  store<u64>(pattern, f.tableAddress(-1) | required | reserved, PATTERN_TABLE_MASK);
  store<u64>(pattern, arenaBase | required, PATTERN_TABLE_EXPECTED);
  store<u64>(pattern, f.requiredInLeaf(table, access), PATTERN_LEAF_REQUIRED);
  store<u64>(pattern, f.deniedInLeaf(table, access), PATTERN_LEAF_DENIED);
  return denied != u64.MAX_VALUE;
}

@unmanaged
class MakePatterns {
  /** a: regime, b: table. Returns the kinds of access whose walks may be ordinary ones. */
  // @ts-ignore: decorator
  @inline run<F>(a: usize, b: usize, c: usize, d: usize): i32 {
    let kinds: u32 = 0;
    for (let access: u32 = 0; access < <u32>PATTERN_COUNT; access++) {
      const said = makePattern<F>(b, access, a + REGIME_PATTERNS + <usize>access * <usize>PATTERN_BYTES);
      if (said && access & <u32>(ACCESS_READ | ACCESS_WRITE)) kinds |= <u32>1 << access;
    }
    return kinds;
  }
}

const PRIVILEGED_KINDS: u32 = 0xf0;
const UNPRIVILEGED_KINDS: u32 = 0x0f;

/** Makes a regime; 0 when memory is exhausted. `table` is a table's handle, or 0: addresses up to `last` pass. */
export function regimeCreate(table: usize, upper: usize, last: u64, tag: u64, owner: u64, flags: u32, accessClear: u32, accessSet: u32): usize {
  const regime = heapAllocate(REGIME_BYTES);
  if (!regime) return 0;
  store<u32>(regime, <u32>table, REGIME_TABLE);
  store<u32>(regime, <u32>upper, REGIME_UPPER_TABLE);
  store<u64>(regime, last, REGIME_LAST);
  store<u64>(regime, tag, REGIME_TAG);
  store<u64>(regime, owner, REGIME_OWNER);
  store<u32>(regime, <u32>regime, REGIME_NOW);
  store<u32>(regime, flags, REGIME_FLAGS);
  store<u32>(regime, accessClear, REGIME_ACCESS_CLEAR);
  store<u32>(regime, accessSet, REGIME_ACCESS_SET);
  store<u64>(regime, flags & <u32>REGIME_REFUSES_INTERRUPT_RANGE ? <u64>INTERRUPT_SPAN : 0, REGIME_REFUSED_SPAN);
  if (table) {
    const format = load<u32>(table, TABLE_FORMAT);
    const kinds = <u32>dispatch<MakePatterns>(format, regime, table, 0, 0);
    const refused =
      (flags & <u32>REGIME_REFUSES_PRIVILEGED ? PRIVILEGED_KINDS : 0) |
      (flags & <u32>REGIME_LOWER_UNPRIVILEGED_DISABLED ? UNPRIVILEGED_KINDS : 0);
    store<u32>(regime, format, REGIME_FORMAT);
    store<u32>(regime, load<u32>(table, TABLE_SECOND_STAGE) ? 0 : kinds & ~refused, REGIME_ORDINARY);
  }
  return regime;
}

/** Gives back a regime and the handles of its tables (not the tables in memory, which are software's). */
export function regimeRelease(regime: usize): void {
  const table = <usize>load<u32>(regime, REGIME_TABLE);
  const upper = <usize>load<u32>(regime, REGIME_UPPER_TABLE);
  if (table || upper) {
    // Both halves have the same second stage.
    const second = <usize>load<u32>(table ? table : upper, TABLE_SECOND_STAGE);
    if (second) tableForget(second);
    if (table) tableForget(table);
    if (upper) tableForget(upper);
  }
  heapFree(regime, REGIME_BYTES);
}

/** Drops entries of the direct-mapped IOTLB: see `iotlbInvalidate`. */
export function unitInvalidate(unit: usize, mask: u64, owner: u64, first: u64, last: u64): u32 {
  return iotlbInvalidate(unit + UNIT_IOTLB, mask, owner, first, last);
}

// ---- Translation ---------------------------------------------------------------------------------------------------

/** What the last request that `translateSlowly` made was allowed (GRANT_*): for translation requests (ATS, PCIe). */
let lastGrants: u32 = 0;

export function unitLastGrants(): u32 {
  return lastGrants;
}

// @ts-ignore: decorator
@inline
function needed(access: u32): u32 {
  const bits = (access & <u32>(ACCESS_READ | ACCESS_WRITE)) | ((access & <u32>ACCESS_EXECUTE) >> 1);
  return access & <u32>ACCESS_PRIVILEGED ? bits << <u32>GRANT_PRIVILEGED_SHIFT : bits;
}

/** Which check a cached translation fails. */
function missing(grants: u32, access: u32): u32 {
  const privileged = (access & <u32>ACCESS_PRIVILEGED) != 0;
  const need = needed(access & ~(<u32>ACCESS_PRIVILEGED));
  const have = privileged ? grants >> <u32>GRANT_PRIVILEGED_SHIFT : grants;
  if (!(need & ~have)) return WALK_OK;
  // Nothing at all is granted to users: the page is for privileged requesters.
  if (!privileged && !(grants & <u32>((1 << GRANT_PRIVILEGED_SHIFT) - 1))) return WALK_NO_USER;
  if (need & ~have & <u32>GRANT_WRITE) return WALK_NO_WRITE;
  return access & <u32>ACCESS_EXECUTE ? WALK_NO_EXECUTE : WALK_NO_READ;
}

@unmanaged
class Walk {
  // @ts-ignore: decorator
  @inline run<F>(a: usize, b: usize, c: usize, d: usize): i32 {
    return walkPrecisely<F>(a, load<u64>(b), <u32>c, d);
  }
}

const input = memory.data(8, 16);
const rehearsed = memory.data(16, 16);

/**
 * Walks precisely. Returns the status word and stores the physical address at `result`; on a fault the address of the entry
 * that could not be read or used, or when the second stage does not translate an address, that address.
 */
function walk(unit: usize, table: usize, iova: u64, access: u32, result: usize): u32 {
  store<u64>(input, iova);
  const status = <u32>dispatch<Walk>(load<u32>(table, TABLE_FORMAT), table, input, <usize>access, result);
  count(unit, UNIT_ENTRIES_READ, status >> <u32>WALK_READS_SHIFT);
  const outcome = status & <u32>WALK_OUTCOME_MASK;
  if (outcome && status & <u32>(WALK_SECOND_STAGE_OUTPUT | WALK_SECOND_STAGE_TABLE)) {
    const ofEntry = outcome == WALK_ROOT_ACCESS || outcome == WALK_TABLE_ACCESS || outcome == WALK_UPDATE_FAILED;
    const second = <usize>load<u32>(table, TABLE_SECOND_STAGE);
    store<u64>(result, ofEntry ? load<u64>(second, TABLE_WHERE) : load<u64>(table, TABLE_INTERMEDIATE));
  }
  return status;
}

/**
 * The status word for an access that a cached translation does not permit, `outcome` by its rights. A translation of two
 * stages does not tell which of them denies the access, and where: a walk does, which changes nothing. Where the tables
 * would permit it by now, the cached translation is what counts, because nobody has invalidated it.
 */
function deny(unit: usize, table: usize, iova: u64, access: u32, outcome: u32, result: usize): u32 {
  if (!load<u32>(table, TABLE_SECOND_STAGE)) return outcome;
  walkReadOnly(true);
  const status = walk(unit, table, iova, access, result);
  walkReadOnly(false);
  const walked = status & <u32>WALK_OUTCOME_MASK;
  return walked && walked != WALK_UPDATE_REFUSED ? status : outcome;
}

/** What `route` found: the table (0: the address passes), what it is walked for, and what that leaves out of the address. */
let routedTable: usize = 0;
let routedAddress: u64 = 0;
let routedHalf: u64 = 0;

/** The table of a regime that an address goes through, or the outcome of a request that goes through none. */
function route(regime: usize, iova: u64, access: u32): u32 {
  const flags = load<u32>(regime, REGIME_FLAGS);
  if (access & <u32>ACCESS_EXECUTE && flags & <u32>REGIME_REFUSES_EXECUTE) return UNIT_EXECUTE;
  if (access & <u32>ACCESS_PRIVILEGED && flags & <u32>REGIME_REFUSES_PRIVILEGED) return UNIT_PRIVILEGED;
  routedTable = <usize>load<u32>(regime, REGIME_TABLE);
  routedAddress = iova;
  routedHalf = 0;
  if (flags & <u32>REGIME_LIMITS_INPUT && iova > load<u64>(regime, REGIME_LAST)) return UNIT_BEYOND;
  if (flags & <u32>REGIME_TWO_HALVES) {
    const upper = ((iova >> 55) & 1) != 0;
    const ignoresTopByte = flags & <u32>(upper ? REGIME_UPPER_IGNORES_TOP_BYTE : REGIME_LOWER_IGNORES_TOP_BYTE);
    if (ignoresTopByte) routedAddress = <u64>(<i64>(iova << 8) >> 8);
    if (upper) routedTable = <usize>load<u32>(regime, REGIME_UPPER_TABLE);
    if (!routedTable) return WALK_INPUT_RANGE;
    const disabled = flags & <u32>(upper ? REGIME_UPPER_UNPRIVILEGED_DISABLED : REGIME_LOWER_UNPRIVILEGED_DISABLED);
    if (disabled && !(access & <u32>ACCESS_PRIVILEGED)) return WALK_INPUT_RANGE;
    if (upper) {
      // An address of the upper half without its sign.
      const last = load<u64>(routedTable, TABLE_INPUT_LAST);
      if (~routedAddress > last) return WALK_INPUT_RANGE;
      routedHalf = routedAddress & ~last;
      routedAddress &= last;
    }
  }
  if (!routedTable) {
    if (iova > load<u64>(regime, REGIME_LAST)) return UNIT_BEYOND;
    if (iova - <u64>INTERRUPT_FIRST < load<u64>(regime, REGIME_REFUSED_SPAN)) return UNIT_INTERRUPT_RANGE;
  }
  return WALK_OK;
}

/** What the last request that `translateSlowly` made was translated by (STALE_FROM_*), and whose that was. */
let answeredFrom: u32 = 0;
let answeredOwner: u64 = 0;

/** One request, every case. Returns the status word and stores the physical address, or where it failed, at `result`. */
function translateSlowly(unit: usize, regime: usize, iova: u64, requested: u32, result: usize): u32 {
  const access = accessInForce(regime, requested);
  store<u64>(result, 0);
  answeredFrom = STALE_FROM_WALK;
  answeredOwner = load<u64>(regime, REGIME_OWNER);
  const refused = route(regime, iova, access);
  if (refused) return refused;
  const refusedSpan = load<u64>(regime, REGIME_REFUSED_SPAN);
  const table = routedTable;
  if (!table) {
    lastGrants = -1;
    store<u64>(result, iova);
    return statusWord(WALK_OK, 0, 0, 0);
  }
  const tag = load<u64>(regime, REGIME_TAG);
  count(unit, UNIT_IOTLB_LOOKUPS, 1);
  if (heldFind(unit, iova, tag)) {
    // The walk that sets the dirty flag fills the entry anew.
    if (access & <u32>ACCESS_WRITE && heldClean) heldDrop(unit);
    else {
      count(unit, UNIT_IOTLB_HITS, 1);
      lastGrants = heldGrants;
      answeredFrom = STALE_FROM_IOTLB;
      answeredOwner = heldOwner;
      const outcome = missing(lastGrants, access);
      if (outcome) return deny(unit, table, routedAddress, access, outcome, result);
      if (heldPhysical - <u64>INTERRUPT_FIRST < refusedSpan) return UNIT_INTERRUPT_RANGE;
      store<u64>(result, heldPhysical);
      return statusWord(WALK_OK, 0, 0, heldShift);
    }
  }
  const caches = <usize>load<u32>(unit, UNIT_CACHES);
  if (caches) walkThroughCaches(caches, regime + REGIME_WALK_TAGS, routedHalf);
  const status = walk(unit, table, routedAddress, access, result);
  if (caches) {
    if (walkBelieved) answeredFrom = STALE_FROM_STRUCTURES;
    walkThroughCaches(0, 0, 0);
  }
  if (status & <u32>WALK_OUTCOME_MASK) return status;
  lastGrants = walkGrants;
  const physical = load<u64>(result);
  if (physical - <u64>INTERRUPT_FIRST < refusedSpan) return UNIT_INTERRUPT_RANGE;
  const owner = iotlbOwner(load<u64>(regime, REGIME_OWNER), walkGlobal);
  heldKeep(unit, iova, tag, owner, physical, (status >> <u32>WALK_SIZE_SHIFT) & 0x3f, lastGrants, walkClean);
  return status;
}

/** Where a walk without caches, which changes nothing, leads now; all ones when it faults. */
export function unitRehearse(regime: usize, iova: u64, requested: u32): u64 {
  const access = accessInForce(regime, requested);
  if (route(regime, iova, access)) return -1;
  if (!routedTable) return iova;
  store<u64>(input, routedAddress);
  walkRehearses(true);
  const status = <u32>dispatch<Walk>(load<u32>(routedTable, TABLE_FORMAT), routedTable, input, <usize>access, rehearsed);
  walkRehearses(false);
  const physical = load<u64>(rehearsed);
  const refused = physical - <u64>INTERRUPT_FIRST < load<u64>(regime, REGIME_REFUSED_SPAN);
  return status & <u32>WALK_OUTCOME_MASK || refused ? -1 : physical;
}

/** Where a shortcut led, which answers as a walk does. */
let shortlyLed: u64 = 0;

@unmanaged
class Shortly {
  /** a: regime, b: kind of access; address and source at `rehearsed`. Returns 0 when there can be no shortcut. */
  // @ts-ignore: decorator
  @inline run<F>(a: usize, b: usize, c: usize, d: usize): i32 {
    const iova = load<u64>(rehearsed);
    const source = load<u64>(rehearsed, 8);
    const kind = shortcutKind(load<u32>(a, REGIME_FORMAT), <u32>b);
    if (!shortcutHolds<F>(shortcutAt<F>(iova, source), iova, source, kind)) {
      shortcutsReserve(1);
      if (!shortcutMake<F>(a, iova, source, <u32>b)) return 0;
    }
    const shortcut = shortcutAt<F>(iova, source);
    const leaf = shortcutLeaf<F>(shortcut, iova, false);
    if (!shortcutExpects<F>(shortcut, leaf)) return 0;
    const shift = (load<u32>(shortcut, SHORTCUT_STATUS) >> <u32>WALK_SIZE_SHIFT) & 0x3f;
    shortlyLed = valuePhysical(leaf ^ load<u64>(shortcut, SHORTCUT_TO_VALUE), shift, iova);
    return 1;
  }
}

/** Notes the request that `translateSlowly` has just let through, if memory would not. */
function sanitizeSlowly(regime: usize, source: u32, pasid: u32, iova: u64, requested: u32, physical: u64): void {
  const now = <usize>load<u32>(regime, REGIME_NOW);
  if (answeredFrom == STALE_FROM_WALK && now == regime) return;
  if (now == regime && load<u32>(regime, REGIME_TABLE)) {
    store<u64>(rehearsed, iova);
    store<u64>(rehearsed, sourceKey(source, pasid), 8);
    if (dispatch<Shortly>(load<u32>(regime, REGIME_FORMAT), regime, <usize>requested, 0, 0) && shortlyLed == physical) return;
  }
  const led = now ? unitRehearse(now, iova, requested) : <u64>-1;
  if (led == physical) return;
  sanitizerNote(source, pasid, requested, iova, physical, led, answeredOwner, answeredFrom);
}

// ---- Batches -------------------------------------------------------------------------------------------------------

/** Why `translateRun` returned, besides UNIT_*: the next request goes through tables of `nextFormat`. */
const ANOTHER_FORMAT: i32 = 3;
let nextFormat: u32 = 0;
/** What else `prepareSlowly` says: the request has a shortcut now, or it is not an ordinary one. */
const PREPARED: i32 = 4;
const BY_ITSELF: i32 = 5;

/** How many requests are looked at together, and how many after one that had to be made by itself. */
const TOGETHER: u32 = 64;
const TOGETHER_AFTER_ONE: u32 = 4;
/** What is known of each: { u64 its leaf, u32 its shortcut }. */
const ROW_BYTES: usize = 16;
const ROW_SHORTCUT: usize = 8;
const rows = memory.data(64 * 16, 16);

/** Which leaves the passes over a batch meet, decided at compile time: pages of the smallest size alone, or any. */
@unmanaged
class Pages {
  // @ts-ignore: decorator
  @inline only(): bool { return true; }
}
@unmanaged
class AnySize {
  // @ts-ignore: decorator
  @inline only(): bool { return false; }
}

// @ts-ignore: decorator
@inline
function accessAt(batch: usize, i: u32): u32 {
  const accesses = <usize>load<u32>(batch, UNIT_BATCH_ACCESSES);
  return accesses ? <u32>load<u8>(accesses + i) : load<u32>(batch, UNIT_BATCH_ACCESS);
}

// @ts-ignore: decorator
@inline
function sourceAt(batch: usize, i: u32): u32 {
  return load<u32>(<usize>load<u32>(batch, UNIT_BATCH_SOURCES) + (<usize>i << 2));
}

// @ts-ignore: decorator
@inline
function pasidAt(batch: usize, i: u32): u32 {
  const pasids = <usize>load<u32>(batch, UNIT_BATCH_PASIDS);
  return pasids ? load<u32>(pasids + (<usize>i << 2)) : <u32>NO_PASID;
}

// @ts-ignore: decorator
@inline
function iovaAt(batch: usize, i: u32): u64 {
  return load<u64>(<usize>load<u32>(batch, UNIT_BATCH_IOVA) + (<usize>i << 3));
}

/**
 * `unitTranslate` for as long as requests go through tables of this format. Two passes over some requests at a time: what
 * their leaves are, and then in order what the IOTLB knows better. The first request that is not an ordinary one ends them
 * and is made by itself.
 */
function translateRun<F>(unit: usize, batch: usize, format: u32): i32 {
  const total = load<u32>(batch, UNIT_BATCH_COUNT);
  const first = load<u32>(batch, UNIT_BATCH_NEXT);
  let together = TOGETHER;
  let i = first;
  let why: i32 = UNIT_DONE;
  while (i < total && why == UNIT_DONE) {
    const wanted = min<u32>(together, total - i);
    shortcutsReserve(wanted);
    let n: u32 = 0;
    while (true) {
      n = shortcutsToLarger() ? readLeaves<F, AnySize>(batch, format, i, n, wanted) : readLeaves<F, Pages>(batch, format, i, n, wanted);
      if (n == wanted) break;
      why = prepareSlowly<F>(unit, batch, format, i + n);
      if (why != PREPARED) break;
      why = UNIT_DONE;
    }
    const pages = !shortcutsToLarger() && iotlbHasOnly(unit + UNIT_IOTLB, changetype<F>(0).granuleShift());
    const done = pages ? settle<F, Pages>(unit, batch, i, n) : settle<F, AnySize>(unit, batch, i, n);
    i += done;
    together = TOGETHER;
    if (done == n && why != BY_ITSELF) continue;
    // What was prepared beyond this request is prepared again.
    if (done < n) together = TOGETHER_AFTER_ONE;
    why = UNIT_DONE;
    translateOneSlowly(unit, batch, i);
    i++;
  }
  store<u32>(batch, i, UNIT_BATCH_NEXT);
  count(unit, UNIT_REQUESTS, <u64>(i - first));
  return why;
}

/** `unitTranslate` where every request is made by itself. */
function translateEach(unit: usize, batch: usize): i32 {
  const total = load<u32>(batch, UNIT_BATCH_COUNT);
  const first = load<u32>(batch, UNIT_BATCH_NEXT);
  let i = first;
  let why: i32 = UNIT_DONE;
  for (; i < total; i++) {
    if (pasidAt(batch, i) == <u32>NO_PASID && isIntercepted(unit, iovaAt(batch, i))) {
      why = UNIT_INTERCEPTED;
      break;
    }
    if (!regimeOf(unit, sourceAt(batch, i), pasidAt(batch, i))) {
      why = UNIT_MISSING;
      break;
    }
    translateOneSlowly(unit, batch, i);
  }
  store<u32>(batch, i, UNIT_BATCH_NEXT);
  count(unit, UNIT_REQUESTS, <u64>(i - first));
  return why;
}

// @ts-ignore: decorator
@inline
function isIntercepted(unit: usize, iova: u64): bool {
  const first = load<u64>(unit, UNIT_INTERCEPT_FIRST);
  return iova - first < load<u64>(unit, UNIT_INTERCEPT_LAST) - first + 1;
}

/** Makes a shortcut for a request that has none, or says what else is to be done with it. */
function prepareSlowly<F>(unit: usize, batch: usize, format: u32, i: u32): i32 {
  const f = changetype<F>(0);
  const iova = iovaAt(batch, i);
  const source = sourceAt(batch, i);
  const pasid = pasidAt(batch, i);
  // Shortcuts are for whole regions, and what is intercepted may be a part of one.
  let near = false;
  if (pasid == <u32>NO_PASID) {
    const first = load<u64>(unit, UNIT_INTERCEPT_FIRST);
    const span = load<u64>(unit, UNIT_INTERCEPT_LAST) - first + 1;
    if (iova - first < span) return UNIT_INTERCEPTED;
    const inRegion = ((<u64>1) << <u64>(f.granuleShift() + f.indexBits())) - 1;
    near = span != 0 && (first - (iova & ~inRegion) <= inRegion || (iova & ~inRegion) - first < span);
  }
  const regime = regimeOf(unit, source, pasid);
  if (!regime) return UNIT_MISSING;
  if (load<u32>(regime, REGIME_TABLE) && load<u32>(regime, REGIME_FORMAT) != format) {
    nextFormat = load<u32>(regime, REGIME_FORMAT);
    return ANOTHER_FORMAT;
  }
  if (near) return BY_ITSELF;
  return shortcutMake<F>(regime, iova, sourceKey(source, pasid), accessAt(batch, i)) ? PREPARED : BY_ITSELF;
}

/** A request whose regime is known, made by itself. */
function translateOneSlowly(unit: usize, batch: usize, i: u32): void {
  const source = sourceAt(batch, i);
  const pasid = pasidAt(batch, i);
  const iova = iovaAt(batch, i);
  const access = accessAt(batch, i);
  const regime = regimeOf(unit, source, pasid);
  const result = <usize>load<u32>(batch, UNIT_BATCH_PHYSICAL) + (<usize>i << 3);
  const status = translateSlowly(unit, regime, iova, access, result);
  store<u32>(<usize>load<u32>(batch, UNIT_BATCH_STATUS) + (<usize>i << 2), status);
  if (status & <u32>WALK_OUTCOME_MASK) noteFault(batch, i);
  else if (sanitizer) sanitizeSlowly(regime, source, pasid, iova, access, load<u64>(result));
}

function noteFault(batch: usize, index: u32): void {
  const faults = load<u32>(batch, UNIT_BATCH_FAULT_COUNT);
  store<u32>(<usize>load<u32>(batch, UNIT_BATCH_FAULTS) + (<usize>faults << 2), index);
  store<u32>(batch, faults + 1, UNIT_BATCH_FAULT_COUNT);
}

/**
 * First pass, over the `n` requests at `from` beginning with the `j`-th. Returns which is the first without a shortcut, or
 * `n`.
 */
function readLeaves<F, S>(batch: usize, format: u32, from: u32, j: u32, n: u32): u32 {
  const accesses = <usize>load<u32>(batch, UNIT_BATCH_ACCESSES);
  const pasids = <usize>load<u32>(batch, UNIT_BATCH_PASIDS);
  const kind = shortcutKind(format, accesses ? 0 : load<u32>(batch, UNIT_BATCH_ACCESS));
  let row = rows + <usize>j * ROW_BYTES;
  const end = rows + <usize>n * ROW_BYTES;
  let i = from + j;
  if (accesses || pasids) {
    for (; row < end; row += ROW_BYTES) {
      const source = sourceKey(sourceAt(batch, i), pasidAt(batch, i));
      if (!readLeaf<F, S>(row, iovaAt(batch, i), source, shortcutKind(format, accessAt(batch, i)))) break;
      i++;
    }
  } else {
    let iovas = <usize>load<u32>(batch, UNIT_BATCH_IOVA) + (<usize>i << 3);
    let sources = <usize>load<u32>(batch, UNIT_BATCH_SOURCES) + (<usize>i << 2);
    // Two in turn, for half the loop's overhead.
    while (row < end) {
      if (!readLeaf<F, S>(row, load<u64>(iovas), <u64>load<u32>(sources), kind)) break;
      row += ROW_BYTES;
      if (row == end) break;
      if (!readLeaf<F, S>(row, load<u64>(iovas, 8), <u64>load<u32>(sources, 4), kind)) break;
      row += ROW_BYTES;
      iovas += 16;
      sources += 8;
    }
  }
  return <u32>((row - rows) / ROW_BYTES);
}

// @ts-ignore: decorator
@inline
function readLeaf<F, S>(row: usize, iova: u64, source: u64, kind: u64): bool {
  const shortcut = shortcutAt<F>(iova, source);
  if (!shortcutHolds<F>(shortcut, iova, source, kind)) return false;
  store<u64>(row, shortcutLeaf<F>(shortcut, iova, changetype<S>(0).only()));
  store<u32>(row, <u32>shortcut, ROW_SHORTCUT);
  return true;
}

/** Second pass, in order, over the `n` requests at `from`. Returns how many of them are done. */
function settle<F, S>(unit: usize, batch: usize, from: u32, n: u32): u32 {
  const iotlb = unit + UNIT_IOTLB;
  const entries = <usize>load<u32>(iotlb, IOTLB_ENTRIES);
  const lastSet = load<u32>(iotlb, IOTLB_SETS) - 1;
  let iovas = <usize>load<u32>(batch, UNIT_BATCH_IOVA) + (<usize>from << 3);
  let results = <usize>load<u32>(batch, UNIT_BATCH_PHYSICAL) + (<usize>from << 3);
  let statuses = <usize>load<u32>(batch, UNIT_BATCH_STATUS) + (<usize>from << 2);
  let row = rows;
  const end = rows + <usize>n * ROW_BYTES;
  let sum: u64 = 0;
  while (row < end) {
    const one = settleOne<F, S>(unit, entries, lastSet, row, load<u64>(iovas), results, statuses);
    if (one == NOT_SETTLED) break;
    sum += <u64>one;
    row += ROW_BYTES;
    if (row == end) break;
    const other = settleOne<F, S>(unit, entries, lastSet, row, load<u64>(iovas, 8), results + 8, statuses + 4);
    if (other == NOT_SETTLED) break;
    sum += <u64>other;
    row += ROW_BYTES;
    iovas += 16;
    results += 16;
    statuses += 8;
  }
  const done = <u32>((row - rows) / ROW_BYTES);
  count(unit, UNIT_IOTLB_LOOKUPS, <u64>done);
  // The lower fields of so few status words do not carry into the uppermost one.
  count(unit, UNIT_ENTRIES_READ, sum >> <u64>WALK_READS_SHIFT);
  return done;
}

const NOT_SETTLED: u32 = 0xffffffff;

/** Stores the result and the status word of one request, and returns the latter; or NOT_SETTLED, and nothing happened. */
// @ts-ignore: decorator
@inline
function settleOne<F, S>(unit: usize, entries: usize, lastSet: u32, row: usize, iova: u64, result: usize, status: usize): u32 {
  const iotlb = unit + UNIT_IOTLB;
  const pages = changetype<S>(0).only();
  const leaf = load<u64>(row);
  const shortcut = <usize>load<u32>(row, ROW_SHORTCUT);
  if (!shortcutExpects<F>(shortcut, leaf)) return NOT_SETTLED;
  const word = load<u32>(shortcut, SHORTCUT_STATUS);
  const shift: u32 = pages ? changetype<F>(0).granuleShift() : (word >> <u32>WALK_SIZE_SHIFT) & 0x3f;
  const tag = load<u64>(shortcut, SHORTCUT_TAG);
  const refusedSpan = <u64>load<u32>(shortcut, SHORTCUT_REFUSED_SPAN);
  const key = iotlbKey(iova, shift);
  const place = iotlbPlace(entries, lastSet, iova, shift, tag);
  let entry = place;
  if (pages ? iotlbHolds(place, key, tag) : (entry = iotlbFind(iotlb, entries, lastSet, iova, tag)) != 0) {
    const access = load<u32>(shortcut, SHORTCUT_ACCESS);
    const need = needed(access);
    const physical = iotlbPhysical(entry, iova);
    if ((iotlbGrants(entry) & need) != need) return NOT_SETTLED;
    if (access & <u32>ACCESS_WRITE && iotlbIsClean(entry)) return NOT_SETTLED;
    if (physical - <u64>INTERRUPT_FIRST < refusedSpan) return NOT_SETTLED;
    if (sanitizer && physical != valuePhysical(leaf ^ load<u64>(shortcut, SHORTCUT_TO_VALUE), shift, iova)) return NOT_SETTLED;
    const found = statusWord(WALK_OK, 0, 0, iotlbShift(entry));
    count(unit, UNIT_IOTLB_HITS, 1);
    store<u64>(result, physical);
    store<u32>(status, found);
    return found;
  }
  const value = leaf ^ load<u64>(shortcut, SHORTCUT_TO_VALUE);
  const low = ((<u64>1) << <u64>shift) - 1;
  const physical = (value & ~low) | (iova & low);
  if (physical - <u64>INTERRUPT_FIRST < refusedSpan) return NOT_SETTLED;
  iotlbWrite(place, key, tag, value, load<u64>(shortcut, SHORTCUT_OWNER));
  if (!pages) iotlbNoteSize(iotlb, shift);
  store<u64>(result, physical);
  store<u32>(status, word);
  return word;
}

@unmanaged
class TranslateRun {
  // @ts-ignore: decorator
  @inline run<F>(a: usize, b: usize, c: usize, d: usize): i32 { return translateRun<F>(a, b, <u32>c); }
}

/**
 * Translates the requests of a batch from UNIT_BATCH_NEXT on, in order. Returns UNIT_DONE, or why request
 * UNIT_BATCH_NEXT needs the architecture's own side.
 */
export function unitTranslate(unit: usize, batch: usize): i32 {
  sanitizerUse(<usize>load<u32>(batch, UNIT_BATCH_SANITIZER));
  shortcutsForget();
  // Short cuts are for the direct-mapped IOTLB, and for walks that begin at the first table.
  if (load<u32>(unit, UNIT_CACHES)) return translateEach(unit, batch);
  let why = ANOTHER_FORMAT;
  while (why == ANOTHER_FORMAT) why = dispatch<TranslateRun>(nextFormat, unit, batch, <usize>nextFormat, 0);
  return why;
}
