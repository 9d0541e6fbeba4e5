/**
 * The hardware walk, written once for every format, and the software look-up that Linux calls iova_to_phys.
 *
 * Two versions of one thing. `walkPrecisely` is the specification: numbered steps, every check in its order (VT-d
 * section 3.7 and Table 30; SMMUv3 section 3.4), any backing of physical memory. The batch in front of it only
 * recognises the walk that cannot fail: all tables in the arena, every bit that the access needs set and none that is
 * reserved, which takes a handful of AND and OR; whatever does not look like that is walked precisely.
 */
import { dispatch } from "../format/formats";
import {
  ACCESS_EXECUTE,
  ACCESS_PRIVILEGED,
  ACCESS_READ,
  ACCESS_WALK,
  ACCESS_WRITE,
  GRANT_PRIVILEGED_SHIFT,
  GRANT_READ,
  GRANT_WRITE,
  INTERRUPT_FIRST,
  INTERRUPT_SPAN,
  READ_ADDRESS,
  READ_BACKED,
  READ_BYTES,
  READ_ENTRY,
  READ_LEVEL,
  READ_TABLE,
  TABLE_ENTRIES_READ,
  TABLE_FLAGS,
  TABLE_FORMAT,
  TABLE_INPUT_LAST,
  TABLE_INTERMEDIATE,
  TABLE_LEVELS,
  TABLE_PAGES,
  TABLE_RESERVED_LEAF,
  TABLE_RESERVED_TABLE,
  TABLE_READS_AS_WRITES,
  TABLE_REFUSES_INTERRUPT_RANGE,
  TABLE_RIGHTS_FIRST,
  TABLE_ROOT,
  TABLE_SECOND_STAGE,
  TABLE_UPDATES_ACCESSED,
  TABLE_UPDATES_DIRTY,
  TABLE_UPDATES_REFUSED,
  TABLE_WHAT,
  TABLE_WHERE,
  UNIT_INTERRUPT_RANGE,
  WALK_BATCH_ACCESS,
  WALK_BATCH_ACCESSES,
  WALK_BATCH_COUNT,
  WALK_BATCH_IOVA,
  WALK_BATCH_PHYSICAL,
  WALK_BATCH_STATUS,
  WALK_INPUT_RANGE,
  WALK_LEVEL_SHIFT,
  WALK_NOT_PRESENT,
  WALK_NO_READ,
  WALK_OK,
  WALK_OUTCOME_MASK,
  WALK_READS_SHIFT,
  WALK_ROOT_ACCESS,
  WALK_SECOND_STAGE_OUTPUT,
  WALK_SECOND_STAGE_TABLE,
  WALK_SIZE_SHIFT,
  WALK_TABLE_ACCESS,
  WALK_UPDATE_DENIED,
  WALK_UPDATE_FAILED,
  WALK_UPDATE_REFUSED,
} from "../layout";
import { arenaBytes, arenaStart } from "../memory/heap";
import { arenaBase, physicalPointer, physicalWritePointer } from "../memory/physical";
import {
  count,
  entriesPerTable,
  entryOffset,
  firstTable,
  indexAt,
  inputInRange,
  inRange,
  isShallow,
  isTable,
  levelShift,
  nextTable,
  rootInArena,
  tableOrder,
} from "./table";
import {
  nestedClean,
  nestedFind,
  nestedGrants,
  nestedKeep,
  nestedPhysical,
  structureBase,
  structureCountRead,
  structureFind,
  structureKeep,
  structureRights,
  walkCaches,
} from "./walk-caches";

// @ts-ignore: decorator
@inline
export function statusWord(outcome: u32, level: u32, reads: u32, sizeShift: u32): u32 {
  return (
    outcome | (level << <u32>WALK_LEVEL_SHIFT) | (reads << <u32>WALK_READS_SHIFT) | (sizeShift << <u32>WALK_SIZE_SHIFT)
  );
}

// @ts-ignore: decorator
@inline
function inInterruptRange(address: u64): bool {
  return address - <u64>INTERRUPT_FIRST < <u64>INTERRUPT_SPAN;
}

/** What the last precise walk that succeeded allows (GRANT_*). */
export let walkGrants: u32 = 0;
/** Whether a write would still have to set a dirty flag on the path of the last precise walk. */
export let walkClean: bool = false;
/** Whether its translation is global. */
export let walkGlobal: bool = false;

/** Where precise walks note every entry they read (READ_* of layout.ts): linear address, and how many more fit. */
let readLog: usize = 0;
let readLogRoom: u32 = 0;

/** Starts (`capacity` records at `buffer`) or ends (0) the log of entries read; returns how much room was left. */
export function walkLog(buffer: usize, capacity: u32): u32 {
  const room = readLogRoom;
  readLog = buffer;
  readLogRoom = capacity;
  return room;
}

/** Whether every walk is to be made precisely, because its reads are noted. */
// @ts-ignore: decorator
@inline
export function walkLogged(): bool {
  return readLog != 0;
}

function note(table: usize, level: u32, address: u64, entry: u64, backed: bool): void {
  if (!readLogRoom) return;
  readLogRoom--;
  store<u64>(readLog, address, READ_ADDRESS);
  store<u64>(readLog, entry, READ_ENTRY);
  store<u32>(readLog, <u32>table, READ_TABLE);
  store<u32>(readLog, level | (backed ? READ_BACKED : 0), READ_LEVEL);
  readLog += READ_BYTES;
}

/**
 * Whether precise walks are only made to see how they would end: they use no cache, do not set the flags that they would
 * set, and are neither counted nor noted.
 */
let rehearses: bool = false;

/** Begins or ends such walks. */
export function walkRehearses(on: bool): void {
  rehearses = on;
}

/** The input and the result of a second-stage walk within a walk of the first stage. */
const intermediate = memory.data(16, 16);

@unmanaged
class SecondStage {
  // @ts-ignore: decorator
  @inline run<F>(a: usize, b: usize, c: usize, d: usize): i32 {
    return walkPrecisely<F>(a, load<u64>(intermediate), <u32>b, intermediate + 8);
  }
}

/**
 * Translates an address that the first stage gave. Returns the status word of the second stage's walk; the physical
 * address is then at `intermediate` + 8.
 */
function walkSecondStageSlowly(second: usize, address: u64, access: u32): u32 {
  const caches: usize = rehearses ? 0 : walkCaches;
  if (caches) {
    const rights = (access & <u32>(ACCESS_READ | ACCESS_WRITE)) | ((access & <u32>ACCESS_EXECUTE) >> 1);
    const needed = access & <u32>ACCESS_PRIVILEGED ? rights << <u32>GRANT_PRIVILEGED_SHIFT : rights;
    const known = nestedFind(address, needed, (access & <u32>ACCESS_WRITE) != 0);
    if (known) {
      store<u64>(intermediate, nestedPhysical, 8);
      walkGrants = nestedGrants;
      walkClean = nestedClean;
      return statusWord(WALK_OK, 1, 0, known);
    }
  }
  store<u64>(intermediate, address);
  const status = <u32>dispatch<SecondStage>(load<u32>(second, TABLE_FORMAT), second, <usize>access, 0, 0);
  if (caches && !outcomeOf(status)) {
    nestedKeep(address, (status >> <u32>WALK_SIZE_SHIFT) & 0x3f, load<u64>(intermediate, 8), walkGrants, walkClean);
  }
  return status;
}

// @ts-ignore: decorator
@inline
function outcomeOf(status: u32): u32 {
  return status & <u32>WALK_OUTCOME_MASK;
}

// @ts-ignore: decorator
@inline
function readsOf(status: u32): u32 {
  return status >> <u32>WALK_READS_SHIFT;
}

/**
 * Writes a word that hardware updated at a physical address; false when it cannot be written. A walk that rehearses only
 * looks whether it can. `second`: the table whose
 * dirty flag the write sets, at the address `at` that it translates, or 0.
 */
function writeWord(address: u64, word: u64, second: usize, at: u64): bool {
  if (second && outcomeOf(walkSecondStageSlowly(second, at, ACCESS_WALK | ACCESS_READ | ACCESS_WRITE))) return false;
  const pointer = physicalWritePointer(address);
  if (pointer && !rehearses) store<u64>(pointer, word);
  return pointer != 0;
}

/**
 * One walk, every check in its order, both stages, accessed and dirty flags. Returns the status word; stores at `result`
 * the physical address, or on a fault the address of the entry that failed, which TABLE_WHERE and TABLE_WHAT then hold
 * together with the entry. When the second stage failed, TABLE_INTERMEDIATE holds what it did not translate, and its own
 * TABLE_WHERE and TABLE_WHAT the entry.
 */
export function walkPrecisely<F>(table: usize, iova: u64, access: u32, result: usize): u32 {
  const f = changetype<F>(0);
  // 1. Input address.
  if (!inputInRange<F>(table, iova)) {
    store<u64>(result, 0);
    store<u64>(table, 0, TABLE_WHERE);
    store<u64>(table, 0, TABLE_WHAT);
    return statusWord(WALK_INPUT_RANGE, 0, 0, 0);
  }
  const levels = load<u32>(table, TABLE_LEVELS);
  const flags = load<u32>(table, TABLE_FLAGS);
  const second = <usize>load<u32>(table, TABLE_SECOND_STAGE);
  const readAccess: u32 = ACCESS_WALK | ACCESS_READ | (flags & <u32>TABLE_READS_AS_WRITES ? ACCESS_WRITE : 0);
  let level = levels;
  let reads: u32 = 0;
  let secondReads: u32 = 0;
  let rights = f.initialRights(table);
  let address = load<u64>(table, TABLE_ROOT) + firstTable<F>(levels, iova);
  let outcome: u32 = WALK_OK;
  // Where the entry is as this table says, and where it is in memory: the same without a second stage.
  let at: u64 = 0;
  let physical: u64 = 0;
  let writable: bool = true;
  // The second stage, if writing the entry sets a dirty flag of it.
  let dirtied: usize = 0;
  let entry: u64 = 0;
  let updated: u64 = 0;
  const caches: usize = rehearses ? 0 : walkCaches;
  const known = caches ? structureFind(table, iova, levels, <u32>f.granuleShift(), <u32>f.indexBits()) : 0;
  if (known) {
    level = known - 1;
    rights = structureRights;
    address = structureBase;
  }
  const first = level;
  while (true) {
    // 2. Where the entry is.
    const inTable = <u64>indexAt<F>(iova, level) << 3;
    at = address + inTable;
    physical = at;
    let lasting = true;
    if (second && !(known && level == first)) {
      const status = walkSecondStageSlowly(second, at, readAccess);
      secondReads += readsOf(status);
      if (outcomeOf(status)) {
        outcome = outcomeOf(status) | WALK_SECOND_STAGE_TABLE;
        store<u64>(table, at, TABLE_INTERMEDIATE);
        break;
      }
      physical = load<u64>(intermediate, 8);
      writable = (walkGrants & <u32>GRANT_WRITE) != 0;
      dirtied = walkClean ? second : 0;
      // A table is kept if it lies in one page and no entry in it needs the second stage again to be updated.
      const whole = ((status >> <u32>WALK_SIZE_SHIFT) & 0x3f) >= <u32>f.granuleShift();
      lasting = whole && (!(flags & <u32>(TABLE_UPDATES_ACCESSED | TABLE_UPDATES_DIRTY)) || (writable && !dirtied));
    }
    if (caches && lasting && level < first) {
      structureKeep(table, iova, level + 1, <u32>levelShift<F>(level + 1), physical - inTable, rights);
    }
    // 3. Read it.
    const pointer = physicalPointer(physical);
    entry = pointer ? f.inTableOrder(flags, load<u64>(pointer)) : 0;
    if (readLog && !rehearses) note(table, level, physical, entry, pointer != 0);
    const rightsFirst = (flags & <u32>TABLE_RIGHTS_FIRST) != 0;
    if (!pointer) {
      if (rightsFirst) outcome = f.check(rights, entry, access);
      if (!outcome) outcome = level == levels ? WALK_ROOT_ACCESS : WALK_TABLE_ACCESS;
      break;
    }
    reads++;
    if (caches) structureCountRead(table, level);
    // 4. Present, and something left of the rights.
    rights = f.combine(rights, entry, level);
    if (!f.isPresent(entry, rights, level)) {
      outcome = WALK_NOT_PRESENT;
      break;
    }
    // 5. Reserved bits, output size.
    const leaf = f.isLeaf(entry, level);
    const masks = table + (<usize>level << 3);
    const reserved = leaf ? load<u64>(masks, TABLE_RESERVED_LEAF) : load<u64>(masks, TABLE_RESERVED_TABLE);
    if (entry & reserved) {
      if (rightsFirst) outcome = f.check(rights, entry, access);
      if (!outcome) outcome = f.reservedOutcome();
      break;
    }
    // 6. The rights of the request.
    if (leaf) {
      outcome = f.check(rights, entry, access);
      if (outcome) break;
    }
    // 7. The flags that hardware keeps.
    updated = leaf ? f.touchLeaf(flags, entry, access) : f.touchTable(flags, entry);
    if (updated != entry) {
      if (!writable) outcome = WALK_UPDATE_DENIED | WALK_SECOND_STAGE_TABLE;
      else if (flags & <u32>TABLE_UPDATES_REFUSED) outcome = WALK_UPDATE_REFUSED;
      else if (!(leaf && f.updatesLeafLast()) && !writeWord(physical, f.inTableOrder(flags, updated), dirtied, at)) outcome = WALK_UPDATE_FAILED;
      if (outcome) {
        store<u64>(table, at, TABLE_INTERMEDIATE);
        break;
      }
    }
    if (leaf) break;
    address = f.address(table, entry);
    level--;
  }
  let shift = <u32>levelShift<F>(level);
  if (!outcome) {
    const size = <u64>1 << shift;
    let output = (f.address(table, entry) & ~(size - 1)) | (iova & (size - 1));
    let granted = f.grants(rights, entry);
    let clean = f.touchLeaf(flags, updated, ACCESS_WRITE) != updated;
    // 8. The output through the second stage.
    if (second) {
      store<u64>(table, output, TABLE_INTERMEDIATE);
      const status = walkSecondStageSlowly(second, output, access);
      secondReads += readsOf(status);
      if (outcomeOf(status)) {
        outcome = outcomeOf(status) | WALK_SECOND_STAGE_OUTPUT;
      } else {
        output = load<u64>(intermediate, 8);
        granted &= walkGrants;
        clean = clean || walkClean;
        shift = min<u32>(shift, (status >> <u32>WALK_SIZE_SHIFT) & 0x3f);
        // A request for nothing asks that reading or writing be left.
        const left = access & <u32>ACCESS_PRIVILEGED ? granted >> <u32>GRANT_PRIVILEGED_SHIFT : granted;
        if (!(access & <u32>ACCESS_EXECUTE) && !(left & <u32>(GRANT_READ | GRANT_WRITE))) outcome = WALK_NO_READ | WALK_SECOND_STAGE_OUTPUT;
      }
    } else if (flags & <u32>TABLE_REFUSES_INTERRUPT_RANGE && !(access & <u32>ACCESS_WALK) && inInterruptRange(output)) {
      outcome = UNIT_INTERRUPT_RANGE;
    }
    if (f.updatesLeafLast() && !outcome && updated != entry && !writeWord(physical, f.inTableOrder(flags, updated), dirtied, at)) {
      outcome = WALK_UPDATE_FAILED;
    }
    if (!outcome) {
      walkGrants = granted;
      walkClean = clean;
      walkGlobal = f.isGlobal(entry);
      if (!rehearses) count(table, TABLE_ENTRIES_READ, reads);
      store<u64>(result, output);
      return statusWord(WALK_OK, level, reads + secondReads, shift);
    }
  }
  if (!rehearses) count(table, TABLE_ENTRIES_READ, reads);
  store<u64>(result, physical);
  store<u64>(table, physical, TABLE_WHERE);
  store<u64>(table, entry, TABLE_WHAT);
  return statusWord(outcome, level, reads + secondReads, 0);
}

/** What a batch checks, decided at compile time: everything that hardware checks, or only presence. */
@unmanaged
class Hardware {
  // @ts-ignore: decorator
  @inline checked(): bool { return true; }
}
@unmanaged
class Software {
  // @ts-ignore: decorator
  @inline checked(): bool { return false; }
}

/** What is not an ordinary walk. Kept out of line: inlined, it would spill the loop's registers. */
function walkSlowly<F, C>(table: usize, iova: u64, access: u32, result: usize, status: usize): void {
  if (changetype<C>(0).checked()) store<u32>(status, walkPrecisely<F>(table, iova, access, result));
  else lookUp<F>(table, iova, result);
}

/** iova_to_phys, one request, of a table without a second stage: follows what is present, whatever hardware would find wrong with it. */
function lookUp<F>(table: usize, iova: u64, result: usize): void {
  const f = changetype<F>(0);
  store<u64>(result, u64.MAX_VALUE);
  if (!inputInRange<F>(table, iova)) return;
  const levels = load<u32>(table, TABLE_LEVELS);
  let address = load<u64>(table, TABLE_ROOT) + firstTable<F>(levels, iova);
  for (let level = levels; level; level--) {
    const pointer = physicalPointer(address + (<u64>indexAt<F>(iova, level) << 3));
    if (!pointer) return;
    count(table, TABLE_ENTRIES_READ, 1);
    const entry = f.inTableOrder(load<u32>(table, TABLE_FLAGS), load<u64>(pointer));
    if (!(entry & f.presentMask())) return;
    if (f.isLeaf(entry, level)) {
      const size = <u64>1 << levelShift<F>(level);
      store<u64>(result, (f.address(table, entry) & ~(size - 1)) | (iova & (size - 1)));
      return;
    }
    address = f.address(table, entry);
  }
}

/** How many walks of a batch are in flight at once: their loads overlap when tables are not in the processor's cache. */
const IN_FLIGHT: usize = 4;
/** How many walks are made one by one after one that did not end in a page, before several at once are tried again. */
const ONE_BY_ONE: u32 = 16;

/** How a batch reads the last level, decided at compile time: at once, or for many walks in a row. */
@unmanaged
class AtOnce {
  // @ts-ignore: decorator
  @inline waits(): bool { return false; }
}
@unmanaged
class InARow {
  // @ts-ignore: decorator
  @inline waits(): bool { return true; }
}

/**
 * Tables of more pages of 4 KiB than this are not expected in the processor's caches: the entries of the last level are then read for
 * many walks in a row, so that as many misses overlap as the processor can have.
 */
const CACHED_PAGES: u64 = 1024;
/** How many walks wait for that at most, and where: u32 linear addresses of their last entries. */
const MOST_WAITING: u32 = 64;
const waiting = memory.data(256, 16);

/** Ends `n` walks that wait, the first of them for the IOVA at `from`; returns how many of them were ordinary. */
function settle<F, C>(
  table: usize,
  n: u32,
  from: usize,
  result: usize,
  status: usize,
  access: u32,
  pageMask: u64,
  pageRequired: u64,
  okPage: u32,
): u64 {
  const f = changetype<F>(0);
  const checked = changetype<C>(0).checked();
  const inPage = ((<u64>1) << <u64>f.granuleShift()) - 1;
  let ordinary: u64 = 0;
  for (let i: usize = 0; i < <usize>n; i++) {
    const entry = load<u64>(<usize>load<u32>(waiting + (i << 2)));
    const iova = load<u64>(from + (i << 3));
    if (checked ? (entry & pageMask) == pageRequired : (entry & f.presentMask()) != 0) {
      store<u64>(result + (i << 3), f.tableAddress(entry) | (iova & inPage));
      if (checked) store<u32>(status + (i << 2), okPage);
      ordinary++;
    } else {
      walkSlowly<F, C>(table, iova, access, result + (i << 3), status + (i << 2));
    }
  }
  return ordinary;
}

function walkBatchOf<F, C, R>(table: usize, batch: usize): void {
  const f = changetype<F>(0);
  const waits = changetype<R>(0).waits();
  const checked = changetype<C>(0).checked();
  const total = load<u32>(batch, WALK_BATCH_COUNT);
  const uniform = load<u32>(batch, WALK_BATCH_ACCESS);
  const accesses = <usize>load<u32>(batch, WALK_BATCH_ACCESSES);
  let from = <usize>load<u32>(batch, WALK_BATCH_IOVA);
  let result = <usize>load<u32>(batch, WALK_BATCH_PHYSICAL);
  let status = <usize>load<u32>(batch, WALK_BATCH_STATUS);
  const end = from + (<usize>total << 3);

  const base = arenaBase;
  const start = arenaStart;
  const pages = <u64>arenaBytes >> 12;
  const levels = load<u32>(table, TABLE_LEVELS);
  const rootOffset = load<u64>(table, TABLE_ROOT) - base;
  const root = start + <usize>rootOffset;
  const inPage = ((<u64>1) << <u64>f.granuleShift()) - 1;
  let reads: u64 = 0;

  // All ones: the format has no mask for this kind of access, and every walk is made precisely.
  const masked = checked ? f.deniedInTable(table, uniform) != u64.MAX_VALUE : f.inPlace(table);
  if (rootInArena<F>(table, rootOffset, pages) && !accesses && masked && !load<u32>(table, TABLE_SECOND_STAGE)) {
    // What must be set and what must be clear in every entry of a kind.
    const tableRequired = checked ? f.requiredInTable(table, uniform) | f.ordinaryTable() : f.ordinaryTable();
    const tableDenied = checked
      ? load<u64>(table + 16, TABLE_RESERVED_TABLE) | f.deniedInTable(table, uniform) | f.largeLeaf()
      : f.largeLeaf();
    // One AND, one subtraction and one comparison check everything about an entry that points to a table: see `nextTable`.
    // Required bits lie below the address, so that one that is missing, or a denied one there, leaves low bits that no
    // combination of others cancels; a denied bit above the address leaves a number far beyond the arena.
    const mask = f.tableAddress(-1) | tableRequired | tableDenied;
    const expected = base | tableRequired;
    const leafRequired = checked ? f.requiredInLeaf(table, uniform) : 0;
    const leafDenied = checked ? f.deniedInLeaf(table, uniform) : 0;
    const pageRequired = leafRequired | f.requiredInPage();
    const pageMask = pageRequired | load<u64>(table + 8, TABLE_RESERVED_LEAF) | leafDenied;
    const inputLast = load<u64>(table, TABLE_INPUT_LAST);
    const okPage = statusWord(WALK_OK, 1, levels, f.granuleShift());

    while (from < end) {
      let held: u32 = 0;
      // Several walks in lock-step, as long as all of them end in a page.
      const stop = end - IN_FLIGHT * 8;
      while (from <= stop) {
        const iova0 = load<u64>(from, 0);
        const iova1 = load<u64>(from, 8);
        const iova2 = load<u64>(from, 16);
        const iova3 = load<u64>(from, 24);
        let p0 = root + <usize>firstTable<F>(levels, iova0);
        let p1 = root + <usize>firstTable<F>(levels, iova1);
        let p2 = root + <usize>firstTable<F>(levels, iova2);
        let p3 = root + <usize>firstTable<F>(levels, iova3);
        let o0: u64 = 0;
        let o1: u64 = 0;
        let o2: u64 = 0;
        let o3: u64 = 0;
        // Written out level by level: with constant shifts, and one branch per walk and level.
        if (
          !(
            inRange<F>(iova0, inputLast) &&
            inRange<F>(iova1, inputLast) &&
            inRange<F>(iova2, inputLast) &&
            inRange<F>(iova3, inputLast) &&
            (levels < 5 || (
              o0 = nextTable<F>(p0, iova0, 5, mask, expected),
              o1 = nextTable<F>(p1, iova1, 5, mask, expected),
              o2 = nextTable<F>(p2, iova2, 5, mask, expected),
              o3 = nextTable<F>(p3, iova3, 5, mask, expected),
              p0 = start + <usize>o0,
              p1 = start + <usize>o1,
              p2 = start + <usize>o2,
              p3 = start + <usize>o3,
              isTable<F>(o0, pages) && isTable<F>(o1, pages) && isTable<F>(o2, pages) && isTable<F>(o3, pages)
            )) &&
            (levels < 4 || (
              o0 = nextTable<F>(p0, iova0, 4, mask, expected),
              o1 = nextTable<F>(p1, iova1, 4, mask, expected),
              o2 = nextTable<F>(p2, iova2, 4, mask, expected),
              o3 = nextTable<F>(p3, iova3, 4, mask, expected),
              p0 = start + <usize>o0,
              p1 = start + <usize>o1,
              p2 = start + <usize>o2,
              p3 = start + <usize>o3,
              isTable<F>(o0, pages) && isTable<F>(o1, pages) && isTable<F>(o2, pages) && isTable<F>(o3, pages)
            )) &&
            (isShallow<F>(levels, 3) || (
              o0 = nextTable<F>(p0, iova0, 3, mask, expected),
              o1 = nextTable<F>(p1, iova1, 3, mask, expected),
              o2 = nextTable<F>(p2, iova2, 3, mask, expected),
              o3 = nextTable<F>(p3, iova3, 3, mask, expected),
              p0 = start + <usize>o0,
              p1 = start + <usize>o1,
              p2 = start + <usize>o2,
              p3 = start + <usize>o3,
              isTable<F>(o0, pages) && isTable<F>(o1, pages) && isTable<F>(o2, pages) && isTable<F>(o3, pages)
            )) &&
            (isShallow<F>(levels, 2) || (
              o0 = nextTable<F>(p0, iova0, 2, mask, expected),
              o1 = nextTable<F>(p1, iova1, 2, mask, expected),
              o2 = nextTable<F>(p2, iova2, 2, mask, expected),
              o3 = nextTable<F>(p3, iova3, 2, mask, expected),
              p0 = start + <usize>o0,
              p1 = start + <usize>o1,
              p2 = start + <usize>o2,
              p3 = start + <usize>o3,
              isTable<F>(o0, pages) && isTable<F>(o1, pages) && isTable<F>(o2, pages) && isTable<F>(o3, pages)
            ))
          )
        ) {
          break;
        }
        if (waits) {
          const at = waiting + (<usize>held << 2);
          store<u32>(at, <u32>(p0 + entryOffset<F>(iova0, 1)));
          store<u32>(at, <u32>(p1 + entryOffset<F>(iova1, 1)), 4);
          store<u32>(at, <u32>(p2 + entryOffset<F>(iova2, 1)), 8);
          store<u32>(at, <u32>(p3 + entryOffset<F>(iova3, 1)), 12);
          held += <u32>IN_FLIGHT;
          from += IN_FLIGHT * 8;
          if (held == MOST_WAITING) break;
          continue;
        }
        const e0 = load<u64>(p0 + entryOffset<F>(iova0, 1));
        const e1 = load<u64>(p1 + entryOffset<F>(iova1, 1));
        const e2 = load<u64>(p2 + entryOffset<F>(iova2, 1));
        const e3 = load<u64>(p3 + entryOffset<F>(iova3, 1));
        // One branch for each: a common one would wait for all four and keep later walks from starting.
        if (
          !(checked
            ? (e0 & pageMask) == pageRequired &&
              (e1 & pageMask) == pageRequired &&
              (e2 & pageMask) == pageRequired &&
              (e3 & pageMask) == pageRequired
            : (e0 & f.presentMask()) != 0 &&
              (e1 & f.presentMask()) != 0 &&
              (e2 & f.presentMask()) != 0 &&
              (e3 & f.presentMask()) != 0)
        ) break;
        store<u64>(result, f.tableAddress(e0) | (iova0 & inPage), 0);
        store<u64>(result, f.tableAddress(e1) | (iova1 & inPage), 8);
        store<u64>(result, f.tableAddress(e2) | (iova2 & inPage), 16);
        store<u64>(result, f.tableAddress(e3) | (iova3 & inPage), 24);
        if (checked) v128.store(status, i32x4.splat(okPage));
        from += IN_FLIGHT * 8;
        result += IN_FLIGHT * 8;
        status += IN_FLIGHT * 4;
        reads += <u64>levels << 2;
      }
      if (waits && held) {
        const first = from - (<usize>held << 3);
        const ordinary = settle<F, C>(table, held, first, result, status, uniform, pageMask, pageRequired, okPage);
        reads += ordinary * <u64>levels;
        result += <usize>held << 3;
        status += <usize>held << 2;
        // Nothing stopped it but the end of the row.
        if (held == MOST_WAITING) continue;
      }
      // What stopped it, large leaves above all, and the end of the batch: one by one.
      for (let k = min<u32>(ONE_BY_ONE, <u32>((end - from) >> 3)); k; k--) {
        const iova = load<u64>(from);
        let pointer = root + <usize>firstTable<F>(levels, iova);
        let level = levels;
        let shift = levelShift<F>(levels);
        let entry: u64 = 0;
        let reached = inRange<F>(iova, inputLast);
        while (reached) {
          entry = load<u64>(pointer + (<usize>((iova >> shift) & <u64>(entriesPerTable<F>() - 1)) << 3));
          if (f.isLeaf(entry, level)) break;
          const offset = (entry & mask) - expected;
          reached = isTable<F>(offset, pages);
          pointer = start + <usize>offset;
          level--;
          shift -= <u64>f.indexBits();
        }
        const good = checked
          ? reached && !((~entry & (level == 1 ? pageRequired : leafRequired)) |
                         (entry & (load<u64>(table + (<usize>level << 3), TABLE_RESERVED_LEAF) | leafDenied)))
          : reached && (entry & f.presentMask()) != 0;
        if (good) {
          const low = ((<u64>1) << shift) - 1;
          store<u64>(result, (f.tableAddress(entry) & ~low) | (iova & low));
          if (checked) store<u32>(status, statusWord(WALK_OK, level, levels - level + 1, <u32>shift));
          reads += <u64>(levels - level + 1);
        } else {
          walkSlowly<F, C>(table, iova, uniform, result, status);
        }
        from += 8;
        result += 8;
        status += 4;
      }
    }
  }
  for (let i: u32 = 0; from < end; i++) {
    const access = accesses ? <u32>load<u8>(accesses + i) : uniform;
    walkSlowly<F, C>(table, load<u64>(from), access, result, status);
    from += 8;
    result += 8;
    status += 4;
  }
  count(table, TABLE_ENTRIES_READ, reads);
}

@unmanaged
class WalkBatch {
  // @ts-ignore: decorator
  @inline run<F>(a: usize, b: usize, c: usize, d: usize): i32 {
    if (load<u64>(a, TABLE_PAGES) > CACHED_PAGES >> <u64>tableOrder<F>()) walkBatchOf<F, Hardware, InARow>(a, b);
    else walkBatchOf<F, Hardware, AtOnce>(a, b);
    return 0;
  }
}

@unmanaged
class LookupBatch {
  // @ts-ignore: decorator
  @inline run<F>(a: usize, b: usize, c: usize, d: usize): i32 {
    if (load<u64>(a, TABLE_PAGES) > CACHED_PAGES >> <u64>tableOrder<F>()) walkBatchOf<F, Software, InARow>(a, b);
    else walkBatchOf<F, Software, AtOnce>(a, b);
    return 0;
  }
}

/** Walks as hardware does: per request a status word and a physical address (or that of the failing entry). */
export function walkBatch(table: usize, batch: usize): i32 {
  return dispatch<WalkBatch>(load<u32>(table, TABLE_FORMAT), table, batch, 0, 0);
}

/** Linux's iova_to_phys over a batch: per request a physical address, or all ones. No permission is looked at. */
export function lookupBatch(table: usize, batch: usize): i32 {
  return dispatch<LookupBatch>(load<u32>(table, TABLE_FORMAT), table, batch, 0, 0);
}
