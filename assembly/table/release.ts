/** Tearing a table down: every page of it that came from the arena goes back, whatever it maps. */
import { dispatch } from "../format/formats";
import { STATUS_OK, TABLE_BYTES, TABLE_FORMAT, TABLE_LEVELS, TABLE_OWNS_ROOT, TABLE_ROOT } from "../layout";
import { heapFree } from "../memory/heap";
import { arenaReturn, PAGE_BYTES, physicalStored } from "../memory/physical";
import { rootBytes, tableBytes, tableOrder } from "./table";

/** Returns what the entries of a table point to: `bytes` of them, stored by the 4 KiB page. */
function releaseBelow<F>(table: usize, address: u64, bytes: usize, level: u32): void {
  const f = changetype<F>(0);
  const part = min<usize>(bytes, PAGE_BYTES);
  for (let done: usize = 0; level > 1 && done < bytes; done += part) {
    const entries = physicalStored(address + <u64>done);
    if (!entries) continue;
    for (let at: usize = 0; at < part; at += 8) {
      const entry = load<u64>(entries + at);
      if (!(entry & f.presentMask()) || f.isLeaf(entry, level)) continue;
      const below = f.address(table, entry);
      releaseBelow<F>(table, below, tableBytes<F>(), level - 1);
      arenaReturn(below, tableOrder<F>());
    }
  }
}

@unmanaged
class Release {
  // @ts-ignore: decorator
  @inline run<F>(a: usize, b: usize, c: usize, d: usize): i32 {
    const root = load<u64>(a, TABLE_ROOT);
    const bytes = rootBytes<F>(a);
    releaseBelow<F>(a, root, bytes, load<u32>(a, TABLE_LEVELS));
    // A first table of another size is no page of its own, unless it was taken as one.
    if (bytes == tableBytes<F>() || load<u32>(a, TABLE_OWNS_ROOT)) arenaReturn(root, tableOrder<F>());
    return STATUS_OK;
  }
}

/** Frees a table of `tableCreate` and all its pages in the arena; its handle is then void. */
export function tableRelease(table: usize): void {
  dispatch<Release>(load<u32>(table, TABLE_FORMAT), table, 0, 0, 0);
  heapFree(table, TABLE_BYTES);
}
