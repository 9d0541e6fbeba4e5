/** Tearing a table down: every page of it that came from the arena goes back, whatever it maps. */
import { dispatch } from "../format/formats";
import { STATUS_OK, TABLE_BYTES, TABLE_FORMAT, TABLE_LEVELS, TABLE_ROOT } from "../layout";
import { heapFree } from "../memory/heap";
import { arenaReturn, physicalStored } from "../memory/physical";
import { entriesPerTable } from "./table";

function releaseLevel<F>(address: u64, level: u32): void {
  const f = changetype<F>(0);
  const entries = physicalStored(address);
  if (!entries) return;
  if (level > 1) {
    for (let i: u32 = 0; i < entriesPerTable<F>(); i++) {
      const entry = load<u64>(entries + (<usize>i << 3));
      if (entry & f.presentMask() && !f.isLeaf(entry, level)) releaseLevel<F>(f.tableAddress(entry), level - 1);
    }
  }
  arenaReturn(address);
}

@unmanaged
class Release {
  // @ts-ignore: decorator
  @inline run<F>(a: usize, b: usize, c: usize, d: usize): i32 {
    releaseLevel<F>(load<u64>(a, TABLE_ROOT), load<u32>(a, TABLE_LEVELS));
    return STATUS_OK;
  }
}

/** Frees a table of `tableCreate` and all its pages in the arena; its handle is then void. */
export function tableRelease(table: usize): void {
  dispatch<Release>(load<u32>(table, TABLE_FORMAT), table, 0, 0, 0);
  heapFree(table, TABLE_BYTES);
}
