/** What map and unmap need to know of, or do to, the tables below an entry. */
import { TABLE_FREED, TABLE_PAGES, TABLE_ROOT, TABLE_WHAT, TABLE_WHERE } from "../layout";
import { arenaBytes } from "../memory/heap";
import { arenaBase, arenaGive, physicalStoreRun } from "../memory/physical";
import { count, entriesPerTable, levelShift, rootBytes, storedRoot, storedTable, tableBytes, tableOrder } from "./table";

/**
 * Whether one of `n` entries, the first of which begins at `iova`, is a leaf or leads to one; TABLE_WHERE is then where
 * the first one begins. A table that cannot be read counts as a leaf.
 */
export function anyLeaf<F>(table: usize, entries: usize, n: u32, level: u32, iova: u64): bool {
  const f = changetype<F>(0);
  for (let i: u32 = 0; i < n; i++) {
    const entry = load<u64>(entries + (<usize>i << 3));
    if (!(entry & f.presentMask())) continue;
    const at = iova + (<u64>i << levelShift<F>(level));
    if (!f.isLeaf(entry, level)) {
      const below = storedTable<F>(f.address(table, entry));
      if (below) {
        if (anyLeaf<F>(table, below, entriesPerTable<F>(), level - 1, at)) return true;
        continue;
      }
    }
    store<u64>(table, at, TABLE_WHERE);
    return true;
  }
  return false;
}

/** Frees every table below `n` entries, in which `anyLeaf` found none; the entries themselves are left to the caller. */
export function dropTables<F>(table: usize, entries: usize, n: u32, level: u32): void {
  const f = changetype<F>(0);
  for (let i: u32 = 0; i < n; i++) {
    const entry = load<u64>(entries + (<usize>i << 3));
    if (!(entry & f.presentMask())) continue;
    const address = f.address(table, entry);
    const below = storedTable<F>(address);
    dropTables<F>(table, below, entriesPerTable<F>(), level - 1);
    memory.fill(below, 0, tableBytes<F>());
    freeTable<F>(table, address, level - 1);
  }
}

/** Table pages that were ever given back, of all tables: what changes it may have left a cached pointer behind. */
export let tablesFreed: u32 = 0;

/** Gives a table page back; one that came with a dump or from a user stays where it is. */
export function freeTable<F>(table: usize, address: u64, level: u32): void {
  const offset = address - arenaBase;
  if (offset >= <u64>arenaBytes) return;
  arenaGive(<usize>offset, level, tableOrder<F>());
  count(table, TABLE_PAGES, -1);
  tablesFreed++;
  const freed = table + TABLE_FREED;
  store<u32>(freed, load<u32>(freed) + 1);
  store<u32>(freed + (<usize>level << 2), load<u32>(freed + (<usize>level << 2)) + 1);
}

/**
 * After a dry run that met a table nobody stores in one piece (the entry is in TABLE_WHAT): when it lies in declared RAM,
 * which reads as zero, or in several frames, sees that it is, and returns true, so that the run can be repeated.
 */
export function storeTable<F>(table: usize): bool {
  return physicalStoreRun(changetype<F>(0).address(table, load<u64>(table, TABLE_WHAT)), tableBytes<F>());
}

/** Linear address of the first table, which a first table of several frames is made to have; 0 when nobody backs it. */
export function readyRoot<F>(table: usize): usize {
  const root = storedRoot<F>(table);
  if (root || !changetype<F>(0).concatenated()) return root;
  return physicalStoreRun(load<u64>(table, TABLE_ROOT), rootBytes<F>(table)) ? storedRoot<F>(table) : 0;
}
