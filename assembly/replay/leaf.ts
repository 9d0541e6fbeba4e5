/** Which leaf maps an address, for those who must not split one. */
import { TABLE_LEVELS, TABLE_ROOT } from "../layout";
import { physicalStored } from "../memory/physical";
import { indexAt, levelShift } from "../table/table";

/** Bytes that the entry which decides about an address covers: of the leaf, or of what is not present. */
export let reach: u64 = 0;

/** Whether a leaf maps `iova`; `reach` is then its size, otherwise that of the aligned range without any mapping. */
export function isMapped<F>(table: usize, iova: u64): bool {
  const f = changetype<F>(0);
  let entries = physicalStored(load<u64>(table, TABLE_ROOT));
  let level = load<u32>(table, TABLE_LEVELS);
  while (true) {
    const entry = load<u64>(entries + (<usize>indexAt<F>(iova, level) << 3));
    const present = (entry & f.presentMask()) != 0;
    if (!present || f.isLeaf(entry, level)) {
      reach = (<u64>1) << levelShift<F>(level);
      return present;
    }
    entries = physicalStored(f.tableAddress(entry));
    level--;
  }
}

/** One past the last address of the aligned range of `reach` bytes around `iova`. */
// @ts-ignore: decorator
@inline
export function reachEnd(iova: u64): u64 {
  return (iova & ~(reach - 1)) + reach;
}
