/**
 * The translation half of a remapping unit, whatever its architecture: requests of many sources in, physical addresses
 * and status words out. What the requests of one source go through (which table, which second stage, which tags) is a
 * regime; the architecture's own side resolves it from the entries in memory and hands it in, so that a batch only stops
 * where a source is new. A translation comes from the IOTLB as long as it is there; otherwise the tables are walked.
 */
import { dispatch } from "../format/formats";
import { iotlbDrop, iotlbFill, iotlbFind, iotlbGrants, iotlbInit, iotlbInvalidate, iotlbIsClean, iotlbPhysical, iotlbRelease, iotlbShift, iotlbValue } from "../cache/iotlb";
import {
  ACCESS_EXECUTE,
  ACCESS_PRIVILEGED,
  ACCESS_READ,
  ACCESS_WRITE,
  GRANT_PRIVILEGED_SHIFT,
  GRANT_WRITE,
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
  REGIME_ORDINARY,
  REGIME_OWNER,
  REGIME_PATTERNS,
  REGIME_REFUSED_SPAN,
  REGIME_REFUSES_EXECUTE,
  REGIME_REFUSES_INTERRUPT_RANGE,
  REGIME_REFUSES_PRIVILEGED,
  REGIME_SHORTCUTS,
  REGIME_TABLE,
  REGIME_TAG,
  TABLE_FLAGS,
  TABLE_FORMAT,
  TABLE_INPUT_LAST,
  TABLE_LEVELS,
  TABLE_RESERVED_LEAF,
  TABLE_RESERVED_TABLE,
  TABLE_ROOT,
  TABLE_SECOND_STAGE,
  UNIT_BATCH_ACCESS,
  UNIT_BATCH_ACCESSES,
  UNIT_BATCH_COUNT,
  UNIT_BATCH_FAULTS,
  UNIT_BATCH_FAULT_COUNT,
  UNIT_BATCH_IOVA,
  UNIT_BATCH_NEXT,
  UNIT_BATCH_PASIDS,
  UNIT_BATCH_PHYSICAL,
  UNIT_BATCH_SOURCES,
  UNIT_BATCH_STATUS,
  UNIT_BEYOND,
  UNIT_BYTES,
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
  WALK_NO_EXECUTE,
  WALK_NO_READ,
  WALK_NO_USER,
  WALK_NO_WRITE,
  WALK_OK,
  WALK_OUTCOME_MASK,
  WALK_READS_SHIFT,
  WALK_SIZE_SHIFT,
} from "../layout";
import { hashErase, hashFind, hashHas, hashInit, hashInsert, hashRelease, hashReserve, hashSetValue, hashValue } from "../memory/hash";
import { arenaBytes, arenaStart, heapAllocate, heapFree } from "../memory/heap";
import { arenaBase } from "../memory/physical";
import { count, entryOffset, inRange, isTable, levelShift, tableForget } from "../table/table";
import { statusWord, walkClean, walkGrants, walkLogged, walkPrecisely } from "../table/walk";

/** Requests to and translations into this range are interrupt messages (VT-d section 3.14). */
const INTERRUPT_FIRST: u64 = 0xfee0_0000;
const INTERRUPT_SPAN: u64 = 0x10_0000;

// ---- Units and regimes ---------------------------------------------------------------------------------------------

const SOURCES_BYTES: usize = 256 * 4;
/** Sources below this, without PASID, are found without hashing. */
const DIRECT_SOURCES: u32 = 1 << 16;

/** Makes a unit with an empty IOTLB; 0 when memory is exhausted. */
export function unitCreate(sets: u32): usize {
  const unit = heapAllocate(UNIT_BYTES);
  if (!unit) return 0;
  const sources = heapAllocate(SOURCES_BYTES);
  store<u32>(unit, <u32>sources, UNIT_SOURCES);
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

/** Makes a regime; 0 when memory is exhausted. `table` is a table's handle, or 0: addresses up to `last` pass. */
export function regimeCreate(table: usize, last: u64, tag: u64, owner: u64, flags: u32, accessClear: u32, accessSet: u32): usize {
  const regime = heapAllocate(REGIME_BYTES);
  if (!regime) return 0;
  store<u32>(regime, <u32>table, REGIME_TABLE);
  store<u64>(regime, last, REGIME_LAST);
  store<u64>(regime, tag, REGIME_TAG);
  store<u64>(regime, owner, REGIME_OWNER);
  store<u32>(regime, flags, REGIME_FLAGS);
  store<u32>(regime, accessClear, REGIME_ACCESS_CLEAR);
  store<u32>(regime, accessSet, REGIME_ACCESS_SET);
  store<u64>(regime, flags & <u32>REGIME_REFUSES_INTERRUPT_RANGE ? INTERRUPT_SPAN : 0, REGIME_REFUSED_SPAN);
  if (table) {
    const format = load<u32>(table, TABLE_FORMAT);
    const kinds = <u32>dispatch<MakePatterns>(format, regime, table, 0, 0);
    const refused = flags & <u32>REGIME_REFUSES_PRIVILEGED ? PRIVILEGED_KINDS : 0;
    store<u32>(regime, format, REGIME_FORMAT);
    store<u32>(regime, load<u32>(table, TABLE_SECOND_STAGE) ? 0 : kinds & ~refused, REGIME_ORDINARY);
  }
  return regime;
}

/** Gives back a regime and the handles of its tables (not the tables in memory, which are software's). */
export function regimeRelease(regime: usize): void {
  const table = <usize>load<u32>(regime, REGIME_TABLE);
  if (table) {
    const second = <usize>load<u32>(table, TABLE_SECOND_STAGE);
    if (second) tableForget(second);
    tableForget(table);
  }
  heapFree(regime, REGIME_BYTES);
}

/** Drops IOTLB entries: see `iotlbInvalidate`. */
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

/** One request, every case. Returns the status word and stores the physical address, or where it failed, at `result`. */
function translateSlowly(unit: usize, regime: usize, iova: u64, requested: u32, result: usize): u32 {
  const flags = load<u32>(regime, REGIME_FLAGS);
  const access = (requested & ~load<u32>(regime, REGIME_ACCESS_CLEAR)) | load<u32>(regime, REGIME_ACCESS_SET);
  store<u64>(result, 0);
  if (access & <u32>ACCESS_EXECUTE && flags & <u32>REGIME_REFUSES_EXECUTE) return UNIT_EXECUTE;
  if (access & <u32>ACCESS_PRIVILEGED && flags & <u32>REGIME_REFUSES_PRIVILEGED) return UNIT_PRIVILEGED;
  const refusedSpan = load<u64>(regime, REGIME_REFUSED_SPAN);
  const table = <usize>load<u32>(regime, REGIME_TABLE);
  if (!table) {
    if (iova > load<u64>(regime, REGIME_LAST)) return UNIT_BEYOND;
    if (iova - INTERRUPT_FIRST < refusedSpan) return UNIT_INTERRUPT_RANGE;
    lastGrants = -1;
    store<u64>(result, iova);
    return statusWord(WALK_OK, 0, 0, 0);
  }
  const iotlb = unit + UNIT_IOTLB;
  const tag = load<u64>(regime, REGIME_TAG);
  count(unit, UNIT_IOTLB_LOOKUPS, 1);
  const entries = <usize>load<u32>(iotlb, IOTLB_ENTRIES);
  const sets = load<u32>(iotlb, IOTLB_SETS);
  const entry = iotlbFind(iotlb, entries, sets, iova, tag);
  if (entry) {
    if (access & <u32>ACCESS_WRITE && iotlbIsClean(entry)) {
      // The walk that sets the dirty flag fills the entry anew.
      iotlbDrop(entry);
    } else {
      count(unit, UNIT_IOTLB_HITS, 1);
      lastGrants = iotlbGrants(entry);
      const outcome = missing(lastGrants, access);
      if (outcome) return outcome;
      const physical = iotlbPhysical(entry, iova);
      if (physical - INTERRUPT_FIRST < refusedSpan) return UNIT_INTERRUPT_RANGE;
      store<u64>(result, physical);
      return statusWord(WALK_OK, 0, 0, iotlbShift(entry));
    }
  }
  store<u64>(input, iova);
  const status = <u32>dispatch<Walk>(load<u32>(table, TABLE_FORMAT), table, input, <usize>access, result);
  count(unit, UNIT_ENTRIES_READ, status >> <u32>WALK_READS_SHIFT);
  if (status & <u32>WALK_OUTCOME_MASK) return status;
  lastGrants = walkGrants;
  const physical = load<u64>(result);
  if (physical - INTERRUPT_FIRST < refusedSpan) return UNIT_INTERRUPT_RANGE;
  const shift = (status >> <u32>WALK_SIZE_SHIFT) & 0x3f;
  const value = iotlbValue(physical, shift, lastGrants, walkClean);
  iotlbFill(iotlb, entries, sets, iova, tag, load<u64>(regime, REGIME_OWNER), value, shift);
  return status;
}

/** Why `translateRun` returned, besides UNIT_*: the next request goes through tables of `nextFormat`. */
const ANOTHER_FORMAT: i32 = 3;
let nextFormat: u32 = 0;

/**
 * Where recent walks found their leaves' tables, kept in the regime for the length of one call: nothing but the walks' own
 * accessed and dirty flags changes memory meanwhile, so that this saves time and changes no answer and no counter. One
 * slot is one cache line of the processor, with all that the rest of a translation needs.
 */
const SHORTCUT_BYTES: usize = 64;
const SHORTCUTS: u32 = 16;
/** u64: the region that a last table would cover, << 4 | the kind of access that was asked for. */
const SHORTCUT_REGION: usize = 0;
/** u32: the call; linear address of the leaf's table. */
const SHORTCUT_CALL: usize = 8;
const SHORTCUT_TABLE: usize = 12;
/** u64: rights accumulated above; bits that the leaf must have, and bits that are looked at. */
const SHORTCUT_RIGHTS: usize = 16;
const SHORTCUT_REQUIRED: usize = 24;
const SHORTCUT_MASK: usize = 32;
/** u32: the table's flags; the status word of a walk that ends well. */
const SHORTCUT_FLAGS: usize = 40;
const SHORTCUT_STATUS: usize = 44;
/** u32: log2 of the size of the leaf; the kind of access in force. */
const SHORTCUT_SHIFT: usize = 48;
const SHORTCUT_ACCESS: usize = 52;
let call: u32 = 0;

/** Fills a slot, if the walk to the leaf's table is one that cannot fail. */
function findTable<F>(regime: usize, iova: u64, requested: u32, shortcut: usize): bool {
  const f = changetype<F>(0);
  const access = (requested & ~load<u32>(regime, REGIME_ACCESS_CLEAR)) | load<u32>(regime, REGIME_ACCESS_SET);
  if (!((load<u32>(regime, REGIME_ORDINARY) >> access) & 1) || walkLogged()) return false;
  const table = <usize>load<u32>(regime, REGIME_TABLE);
  const pattern = regime + REGIME_PATTERNS + <usize>access * <usize>PATTERN_BYTES;
  const mask = load<u64>(pattern, PATTERN_TABLE_MASK);
  const expected = load<u64>(pattern, PATTERN_TABLE_EXPECTED);
  const levels = load<u32>(table, TABLE_LEVELS);
  const pages = <u64>arenaBytes >> 12;
  let offset = load<u64>(table, TABLE_ROOT) - arenaBase;
  let rights = f.initialRights(table);
  let level = levels;
  if (!inRange<F>(iova, load<u64>(table, TABLE_INPUT_LAST))) return false;
  while (true) {
    if (!isTable(offset, pages)) return false;
    const entry = load<u64>(arenaStart + <usize>offset + entryOffset<F>(iova, level));
    if (f.isLeaf(entry, level)) break;
    rights = f.combine(rights, entry, level);
    offset = (entry & mask) - expected;
    level--;
  }
  const required = load<u64>(pattern, PATTERN_LEAF_REQUIRED) | (level == 1 ? f.requiredInPage() : 0);
  const reserved = load<u64>(table + (<usize>level << 3), TABLE_RESERVED_LEAF);
  const shift = <u32>levelShift<F>(level);
  store<u64>(shortcut, regionKey<F>(iova, requested), SHORTCUT_REGION);
  store<u32>(shortcut, call, SHORTCUT_CALL);
  store<u32>(shortcut, <u32>(arenaStart + <usize>offset), SHORTCUT_TABLE);
  store<u64>(shortcut, rights, SHORTCUT_RIGHTS);
  store<u64>(shortcut, required, SHORTCUT_REQUIRED);
  store<u64>(shortcut, required | reserved | load<u64>(pattern, PATTERN_LEAF_DENIED), SHORTCUT_MASK);
  store<u32>(shortcut, load<u32>(table, TABLE_FLAGS), SHORTCUT_FLAGS);
  store<u32>(shortcut, statusWord(WALK_OK, level, levels - level + 1, shift), SHORTCUT_STATUS);
  store<u32>(shortcut, shift, SHORTCUT_SHIFT);
  store<u32>(shortcut, access, SHORTCUT_ACCESS);
  return true;
}

// @ts-ignore: decorator
@inline
function regionKey<F>(iova: u64, requested: u32): u64 {
  const f = changetype<F>(0);
  return ((iova >> <u64>(f.granuleShift() + f.indexBits())) << 4) | <u64>requested;
}

/** How many requests are looked at together, and what is known of each: its regime, its slot, its IOTLB value. */
const TOGETHER: u32 = 64;
const regimes = memory.data(64 * 4, 16);
const slots = memory.data(64 * 4, 16);
const values = memory.data(64 * 8, 16);

/**
 * `unitTranslate` for as long as requests go through tables of this format. Three passes over some requests at a time:
 * where their leaves' tables are, what the leaves say, and then in order what the IOTLB knows better. The first request
 * that is not an ordinary one ends them and is made by itself.
 */
function translateRun<F>(unit: usize, batch: usize, format: u32): i32 {
  const total = load<u32>(batch, UNIT_BATCH_COUNT);
  const accesses = <usize>load<u32>(batch, UNIT_BATCH_ACCESSES);
  const iovas = <usize>load<u32>(batch, UNIT_BATCH_IOVA);
  const statuses = <usize>load<u32>(batch, UNIT_BATCH_STATUS);
  const results = <usize>load<u32>(batch, UNIT_BATCH_PHYSICAL);
  const first = load<u32>(batch, UNIT_BATCH_NEXT);
  let i = first;
  let why: i32 = UNIT_DONE;
  while (i < total && why == UNIT_DONE) {
    const wanted = min<u32>(TOGETHER, total - i);
    let n = wanted;
    why = findTables<F>(unit, batch, i, n, format);
    n = found;
    n = readLeaves<F>(iovas + (<usize>i << 3), results + (<usize>i << 3), statuses + (<usize>i << 2), n);
    n = lookUpTogether(unit, iovas + (<usize>i << 3), results + (<usize>i << 3), statuses + (<usize>i << 2), n);
    i += n;
    if (n == wanted || (n == found && why != UNIT_DONE)) continue;
    why = UNIT_DONE;
    const requested = accesses ? <u32>load<u8>(accesses + i) : load<u32>(batch, UNIT_BATCH_ACCESS);
    const regime = <usize>load<u32>(regimes + (<usize>n << 2));
    const status = translateSlowly(unit, regime, load<u64>(iovas + (<usize>i << 3)), requested, results + (<usize>i << 3));
    store<u32>(statuses + (<usize>i << 2), status);
    if (status & <u32>WALK_OUTCOME_MASK) noteFault(batch, i);
    i++;
  }
  store<u32>(batch, i, UNIT_BATCH_NEXT);
  count(unit, UNIT_REQUESTS, <u64>(i - first));
  return why;
}

/** How many requests `findTables` found a slot for; one more has its regime in `regimes`, unless there is a reason. */
let found: u32 = 0;

/** First pass. Returns why the request after the found ones needs somebody else, or UNIT_DONE. */
function findTables<F>(unit: usize, batch: usize, from: u32, n: u32, format: u32): i32 {
  const uniform = load<u32>(batch, UNIT_BATCH_ACCESS);
  const accesses = <usize>load<u32>(batch, UNIT_BATCH_ACCESSES);
  const pasids = <usize>load<u32>(batch, UNIT_BATCH_PASIDS);
  const iovas = <usize>load<u32>(batch, UNIT_BATCH_IOVA) + (<usize>from << 3);
  const sources = <usize>load<u32>(batch, UNIT_BATCH_SOURCES) + (<usize>from << 2);
  const buses = <usize>load<u32>(unit, UNIT_SOURCES);
  const interceptFirst = load<u64>(unit, UNIT_INTERCEPT_FIRST);
  const intercepted = load<u64>(unit, UNIT_INTERCEPT_LAST) - interceptFirst + 1;
  const now = call;
  for (let j: u32 = 0; j < n; j++) {
    found = j;
    const iova = load<u64>(iovas + (<usize>j << 3));
    const source = load<u32>(sources + (<usize>j << 2));
    let regime: usize = 0;
    if (!pasids && source < DIRECT_SOURCES) {
      if (iova - interceptFirst < intercepted) return UNIT_INTERCEPTED;
      const functions = <usize>load<u32>(buses + (<usize>(source >> 8) << 2));
      if (functions) regime = <usize>load<u32>(functions + (<usize>(source & 0xff) << 2));
    } else {
      const pasid = pasids ? load<u32>(pasids + (<usize>(from + j) << 2)) : <u32>NO_PASID;
      if (pasid == <u32>NO_PASID && iova - interceptFirst < intercepted) return UNIT_INTERCEPTED;
      regime = regimeOf(unit, source, pasid);
    }
    if (!regime) return UNIT_MISSING;
    const requested = accesses ? <u32>load<u8>(accesses + from + j) : uniform;
    const key = regionKey<F>(iova, requested);
    const slot = regime + REGIME_SHORTCUTS + <usize>(<u32>(key >> 4) & (SHORTCUTS - 1)) * SHORTCUT_BYTES;
    store<u32>(regimes + (<usize>j << 2), <u32>regime);
    store<u32>(slots + (<usize>j << 2), <u32>slot);
    if (load<u64>(slot, SHORTCUT_REGION) == key && load<u32>(slot, SHORTCUT_CALL) == now) continue;
    if (load<u32>(regime, REGIME_TABLE) && load<u32>(regime, REGIME_FORMAT) != format) {
      nextFormat = load<u32>(regime, REGIME_FORMAT);
      return ANOTHER_FORMAT;
    }
    if (!findTable<F>(regime, iova, requested, slot)) return UNIT_DONE;
  }
  found = n;
  return UNIT_DONE;
}

/** Second pass: what walks find, and the IOTLB value of each. Returns how many of `n` are translations. */
function readLeaves<F>(iovas: usize, results: usize, statuses: usize, n: u32): u32 {
  const f = changetype<F>(0);
  const indexMask = ((<usize>1 << f.indexBits()) - 1) << 3;
  for (let j: u32 = 0; j < n; j++) {
    const iova = load<u64>(iovas + (<usize>j << 3));
    const slot = <usize>load<u32>(slots + (<usize>j << 2));
    const shift = load<u32>(slot, SHORTCUT_SHIFT);
    const low = ((<u64>1) << <u64>shift) - 1;
    const leaf = load<u64>(<usize>load<u32>(slot, SHORTCUT_TABLE) + (<usize>(iova >> <u64>(shift - 3)) & indexMask));
    if ((leaf & load<u64>(slot, SHORTCUT_MASK)) != load<u64>(slot, SHORTCUT_REQUIRED)) return j;
    const rights = f.combine(load<u64>(slot, SHORTCUT_RIGHTS), leaf, 1);
    const clean = f.touchLeaf(load<u32>(slot, SHORTCUT_FLAGS), leaf, ACCESS_WRITE) != leaf;
    const page = f.tableAddress(leaf) & ~low;
    store<u64>(results + (<usize>j << 3), page | (iova & low));
    store<u32>(statuses + (<usize>j << 2), load<u32>(slot, SHORTCUT_STATUS));
    store<u64>(values + (<usize>j << 3), iotlbValue(page, shift, f.grants(rights, leaf), clean));
  }
  return n;
}

/** Third pass, in order: the IOTLB's word counts, and what it does not know it keeps. Returns how many of `n` are done. */
function lookUpTogether(unit: usize, iovas: usize, results: usize, statuses: usize, n: u32): u32 {
  const iotlb = unit + UNIT_IOTLB;
  const entries = <usize>load<u32>(iotlb, IOTLB_ENTRIES);
  const sets = load<u32>(iotlb, IOTLB_SETS);
  let hits: u32 = 0;
  let reads: u64 = 0;
  let j: u32 = 0;
  for (; j < n; j++) {
    const iova = load<u64>(iovas + (<usize>j << 3));
    const regime = <usize>load<u32>(regimes + (<usize>j << 2));
    const tag = load<u64>(regime, REGIME_TAG);
    const refusedSpan = load<u64>(regime, REGIME_REFUSED_SPAN);
    const entry = iotlbFind(iotlb, entries, sets, iova, tag);
    if (entry) {
      const physical = iotlbPhysical(entry, iova);
      const access = load<u32>(<usize>load<u32>(slots + (<usize>j << 2)), SHORTCUT_ACCESS);
      const need = needed(access);
      if (
        (iotlbGrants(entry) & need) != need ||
        (access & <u32>ACCESS_WRITE && iotlbIsClean(entry)) ||
        physical - INTERRUPT_FIRST < refusedSpan
      ) {
        break;
      }
      hits++;
      store<u64>(results + (<usize>j << 3), physical);
      store<u32>(statuses + (<usize>j << 2), statusWord(WALK_OK, 0, 0, iotlbShift(entry)));
    } else {
      if (load<u64>(results + (<usize>j << 3)) - INTERRUPT_FIRST < refusedSpan) break;
      const status = load<u32>(statuses + (<usize>j << 2));
      const value = load<u64>(values + (<usize>j << 3));
      const owner = load<u64>(regime, REGIME_OWNER);
      iotlbFill(iotlb, entries, sets, iova, tag, owner, value, (status >> <u32>WALK_SIZE_SHIFT) & 0x3f);
      reads += <u64>(status >> <u32>WALK_READS_SHIFT);
    }
  }
  count(unit, UNIT_IOTLB_LOOKUPS, <u64>j);
  count(unit, UNIT_IOTLB_HITS, <u64>hits);
  count(unit, UNIT_ENTRIES_READ, reads);
  return j;
}

function noteFault(batch: usize, index: u32): void {
  const faults = load<u32>(batch, UNIT_BATCH_FAULT_COUNT);
  store<u32>(<usize>load<u32>(batch, UNIT_BATCH_FAULTS) + (<usize>faults << 2), index);
  store<u32>(batch, faults + 1, UNIT_BATCH_FAULT_COUNT);
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
  let why = ANOTHER_FORMAT;
  call++;
  while (why == ANOTHER_FORMAT) why = dispatch<TranslateRun>(nextFormat, unit, batch, <usize>nextFormat, 0);
  return why;
}
