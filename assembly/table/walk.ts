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
  TABLE_ENTRIES_READ,
  TABLE_FORMAT,
  TABLE_LEVELS,
  TABLE_RESERVED_LEAF,
  TABLE_RESERVED_TABLE,
  TABLE_ROOT,
  TABLE_WHAT,
  TABLE_WHERE,
  WALK_BATCH_ACCESS,
  WALK_BATCH_ACCESSES,
  WALK_BATCH_COUNT,
  WALK_BATCH_IOVA,
  WALK_BATCH_PHYSICAL,
  WALK_BATCH_STATUS,
  WALK_INPUT_RANGE,
  WALK_LEVEL_SHIFT,
  WALK_NOT_PRESENT,
  WALK_OK,
  WALK_READS_SHIFT,
  WALK_ROOT_ACCESS,
  WALK_SIZE_SHIFT,
  WALK_TABLE_ACCESS,
} from "../layout";
import { arenaBytes, arenaStart } from "../memory/heap";
import { arenaBase, physicalPointer } from "../memory/physical";
import { count, entriesPerTable, indexAt, inputInRange, levelShift } from "./table";

// @ts-ignore: decorator
@inline
function statusWord(outcome: u32, level: u32, reads: u32, sizeShift: u32): u32 {
  return (
    outcome | (level << <u32>WALK_LEVEL_SHIFT) | (reads << <u32>WALK_READS_SHIFT) | (sizeShift << <u32>WALK_SIZE_SHIFT)
  );
}

/**
 * One walk, every check in its order. Returns the status word; stores at `result` the physical address, or on a fault
 * the physical address of the entry that failed, which TABLE_WHERE and TABLE_WHAT then hold together with the entry.
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
  let level = levels;
  let reads: u32 = 0;
  let rights = f.initialRights(table);
  let address = load<u64>(table, TABLE_ROOT);
  let outcome: u32 = WALK_OK;
  let at: u64 = 0;
  let entry: u64 = 0;
  while (true) {
    // 2. Read the entry.
    at = address + (<u64>indexAt<F>(iova, level) << 3);
    const pointer = physicalPointer(at);
    if (!pointer) {
      entry = 0;
      outcome = level == levels ? WALK_ROOT_ACCESS : WALK_TABLE_ACCESS;
      break;
    }
    entry = load<u64>(pointer);
    reads++;
    // 3. Present, and something left of the rights.
    rights = f.combine(rights, entry, level);
    if (!f.isPresent(entry, rights, level)) {
      outcome = WALK_NOT_PRESENT;
      break;
    }
    // 4. Reserved bits, output size.
    const leaf = f.isLeaf(entry, level);
    const masks = table + (<usize>level << 3);
    const reserved = leaf ? load<u64>(masks, TABLE_RESERVED_LEAF) : load<u64>(masks, TABLE_RESERVED_TABLE);
    if (entry & reserved) {
      outcome = f.reservedOutcome();
      break;
    }
    if (leaf) {
      // 5. The rights of the request.
      outcome = f.check(rights, entry, access);
      break;
    }
    address = f.tableAddress(entry);
    level--;
  }
  count(table, TABLE_ENTRIES_READ, reads);
  if (outcome == WALK_OK) {
    const shift = levelShift<F>(level);
    const size = <u64>1 << shift;
    store<u64>(result, f.leafAddress(entry, size) | (iova & (size - 1)));
    return statusWord(WALK_OK, level, reads, <u32>shift);
  }
  store<u64>(result, at);
  store<u64>(table, at, TABLE_WHERE);
  store<u64>(table, entry, TABLE_WHAT);
  return statusWord(outcome, level, reads, 0);
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

/** iova_to_phys, one request: follows what is present, whatever hardware would find wrong with it. */
function lookUp<F>(table: usize, iova: u64, result: usize): void {
  const f = changetype<F>(0);
  store<u64>(result, u64.MAX_VALUE);
  if (!inputInRange<F>(table, iova)) return;
  let address = load<u64>(table, TABLE_ROOT);
  for (let level = load<u32>(table, TABLE_LEVELS); level; level--) {
    const pointer = physicalPointer(address + (<u64>indexAt<F>(iova, level) << 3));
    if (!pointer) return;
    count(table, TABLE_ENTRIES_READ, 1);
    const entry = load<u64>(pointer);
    if (!(entry & f.presentMask())) return;
    if (f.isLeaf(entry, level)) {
      const size = <u64>1 << levelShift<F>(level);
      store<u64>(result, f.leafAddress(entry, size) | (iova & (size - 1)));
      return;
    }
    address = f.tableAddress(entry);
  }
}

/** How many walks of a batch are in flight at once: their loads overlap when tables are not in the processor's cache. */
const IN_FLIGHT: u32 = 4;

function walkBatchOf<F, C>(table: usize, batch: usize): void {
  const f = changetype<F>(0);
  const checked = changetype<C>(0).checked();
  const total = load<u32>(batch, WALK_BATCH_COUNT);
  const uniform = load<u32>(batch, WALK_BATCH_ACCESS);
  const accesses = <usize>load<u32>(batch, WALK_BATCH_ACCESSES);
  let from = <usize>load<u32>(batch, WALK_BATCH_IOVA);
  let result = <usize>load<u32>(batch, WALK_BATCH_PHYSICAL);
  let status = <usize>load<u32>(batch, WALK_BATCH_STATUS);

  const base = arenaBase;
  const size = <u64>arenaBytes;
  const start = arenaStart;
  const levels = load<u32>(table, TABLE_LEVELS);
  const topShift = levelShift<F>(levels);
  const mask = <u64>(entriesPerTable<F>() - 1);
  const step = <u64>f.indexBits();
  const rootOffset = load<u64>(table, TABLE_ROOT) - base;
  const rootInArena = rootOffset < size;
  const root = start + <usize>rootOffset;
  const pageShift = <u64>f.granuleShift();
  const pageMask = ((<u64>1) << pageShift) - 1;

  const tableForbidden = load<u64>(table + 16, TABLE_RESERVED_TABLE);
  const pageForbidden = load<u64>(table + 8, TABLE_RESERVED_LEAF);
  let reads: u64 = 0;

  let i: u32 = 0;
  if (rootInArena && !accesses) {
    const tableRequired = f.requiredInTable(table, uniform);
    const tableDenied = tableForbidden | f.deniedInTable(table, uniform);
    const leafRequired = f.requiredInLeaf(table, uniform);
    const leafDenied = f.deniedInLeaf(table, uniform);
    const pageRequired = leafRequired | f.requiredInPage();
    const pageDenied = pageForbidden | leafDenied;
    const okPage = statusWord(WALK_OK, 1, levels, <u32>pageShift);

    // Several walks in lock-step, as long as all of them end in a page; otherwise one by one, below.
    for (; i + IN_FLIGHT <= total; i += IN_FLIGHT) {
      const iova0 = load<u64>(from);
      const iova1 = load<u64>(from, 8);
      const iova2 = load<u64>(from, 16);
      const iova3 = load<u64>(from, 24);
      let p0 = root;
      let p1 = root;
      let p2 = root;
      let p3 = root;
      let all: u64 = -1;
      let any: u64 = 0;
      let shift = topShift;
      let uniformDepth =
        inputInRange<F>(table, iova0) && inputInRange<F>(table, iova1) && inputInRange<F>(table, iova2) &&
        inputInRange<F>(table, iova3);
      if (uniformDepth) {
        for (let level = levels; level > 1; level--) {
          const e0 = load<u64>(p0 + (<usize>((iova0 >> shift) & mask) << 3));
          const e1 = load<u64>(p1 + (<usize>((iova1 >> shift) & mask) << 3));
          const e2 = load<u64>(p2 + (<usize>((iova2 >> shift) & mask) << 3));
          const e3 = load<u64>(p3 + (<usize>((iova3 >> shift) & mask) << 3));
          const o0 = f.tableAddress(e0) - base;
          const o1 = f.tableAddress(e1) - base;
          const o2 = f.tableAddress(e2) - base;
          const o3 = f.tableAddress(e3) - base;
          const and = e0 & e1 & e2 & e3;
          const or = e0 | e1 | e2 | e3;
          if (f.someLeaf(and, or) || o0 >= size || o1 >= size || o2 >= size || o3 >= size) {
            uniformDepth = false;
            break;
          }
          if (checked) {
            all &= and;
            any |= or;
          } else if (!f.allPresent(e0, e1, e2, e3)) {
            uniformDepth = false;
            break;
          }
          p0 = start + <usize>o0;
          p1 = start + <usize>o1;
          p2 = start + <usize>o2;
          p3 = start + <usize>o3;
          shift -= step;
        }
      }
      if (uniformDepth) {
        const e0 = load<u64>(p0 + (<usize>((iova0 >> pageShift) & mask) << 3));
        const e1 = load<u64>(p1 + (<usize>((iova1 >> pageShift) & mask) << 3));
        const e2 = load<u64>(p2 + (<usize>((iova2 >> pageShift) & mask) << 3));
        const e3 = load<u64>(p3 + (<usize>((iova3 >> pageShift) & mask) << 3));
        const good = checked
          ? !((~all & tableRequired) | (any & tableDenied) | (~(e0 & e1 & e2 & e3) & pageRequired) |
              ((e0 | e1 | e2 | e3) & pageDenied))
          : f.allPresent(e0, e1, e2, e3);
        if (good) {
          store<u64>(result, f.tableAddress(e0) | (iova0 & pageMask));
          store<u64>(result, f.tableAddress(e1) | (iova1 & pageMask), 8);
          store<u64>(result, f.tableAddress(e2) | (iova2 & pageMask), 16);
          store<u64>(result, f.tableAddress(e3) | (iova3 & pageMask), 24);
          if (checked) v128.store(status, i32x4.splat(okPage));
          status += 16;
          reads += <u64>levels << 2;
          from += 32;
          result += 32;
          continue;
        }
      }
      for (let k: u32 = 0; k < IN_FLIGHT; k++) {
        const iova = load<u64>(from);
        let pointer = root;
        let level = levels;
        let shift1 = topShift;
        let all1: u64 = -1;
        let any1: u64 = 0;
        let entry: u64 = 0;
        let reached = inputInRange<F>(table, iova);
        while (reached) {
          entry = load<u64>(pointer + (<usize>((iova >> shift1) & mask) << 3));
          if (level == 1 || f.isLeaf(entry, level)) break;
          all1 &= entry;
          any1 |= entry;
          const offset = f.tableAddress(entry) - base;
          reached = offset < size && (checked || (entry & f.presentMask()) != 0);
          pointer = start + <usize>offset;
          level--;
          shift1 -= step;
        }
        const good1 = checked
          ? reached && !((~all1 & tableRequired) | (any1 & tableDenied) |
                         (~entry & (level == 1 ? pageRequired : leafRequired)) |
                         (entry & (load<u64>(table + (<usize>level << 3), TABLE_RESERVED_LEAF) | leafDenied)))
          : reached && (entry & f.presentMask()) != 0;
        if (good1) {
          const low = ((<u64>1) << shift1) - 1;
          store<u64>(result, (f.tableAddress(entry) & ~low) | (iova & low));
          if (checked) store<u32>(status, statusWord(WALK_OK, level, levels - level + 1, <u32>shift1));
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
  for (; i < total; i++) {
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
    walkBatchOf<F, Hardware>(a, b);
    return 0;
  }
}

@unmanaged
class LookupBatch {
  // @ts-ignore: decorator
  @inline run<F>(a: usize, b: usize, c: usize, d: usize): i32 {
    walkBatchOf<F, Software>(a, b);
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
