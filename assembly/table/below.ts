/** What map and unmap need to know of, or do to, the tables below an entry. */
import { TABLE_FREED, TABLE_PAGES, TABLE_WHAT, TABLE_WHERE } from "../layout";
import { arenaBytes } from "../memory/heap";
import { arenaBase, arenaGive, PAGE_BYTES, physicalStored, physicalWritePointer } from "../memory/physical";
import { count, entriesPerTable, levelShift } from "./table";

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
      const below = physicalStored(f.tableAddress(entry));
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
    const address = f.tableAddress(entry);
    const below = physicalStored(address);
    dropTables<F>(table, below, entriesPerTable<F>(), level - 1);
    memory.fill(below, 0, PAGE_BYTES);
    freeTable(table, address, level - 1);
  }
}

/** Gives a table page back; one that came with a dump or from a user stays where it is. */
export function freeTable(table: usize, address: u64, level: u32): void {
  const offset = address - arenaBase;
  if (offset >= <u64>arenaBytes) return;
  arenaGive(<usize>offset, level);
  count(table, TABLE_PAGES, -1);
  const freed = table + TABLE_FREED;
  store<u32>(freed, load<u32>(freed) + 1);
  store<u32>(freed + (<usize>level << 2), load<u32>(freed + (<usize>level << 2)) + 1);
}

/**
 * After a dry run that met a table nobody stores (the entry is in TABLE_WHAT): when it lies in declared RAM, which reads
 * as zero, makes it a stored frame and returns true, so that the run can be repeated.
 */
export function storeTable<F>(table: usize): bool {
  return physicalWritePointer(changetype<F>(0).tableAddress(load<u64>(table, TABLE_WHAT))) != 0;
}
