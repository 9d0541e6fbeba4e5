/** IOTLBs that split the sizes of page among them: up to SIMULATOR_IOTLB_COUNT handles, u32 each, the first 0 ends them. */
import { CACHE_HOLDS, SIMULATOR_IOTLB_COUNT } from "../layout";
import { cacheFindAnySize } from "./set-associative";

/** log2 of the size as which the IOTLB of the last `splitKeeper` keeps a leaf. */
export let keptShift: u32 = 0;
/** Index of the entry that the last `splitFind` found. */
export let foundIndex: i32 = -1;

/** The IOTLB that takes the largest size which is not larger than a leaf of this one; its handle, or 0. */
export function splitKeeper(iotlbs: usize, shift: u32): usize {
  let best: usize = 0;
  keptShift = 0;
  for (let i: usize = 0; i < <usize>SIMULATOR_IOTLB_COUNT; i++) {
    const iotlb = <usize>load<u32>(iotlbs + (i << 2));
    if (!iotlb) break;
    const sizes = load<u64>(iotlb, CACHE_HOLDS) & (((<u64>2) << <u64>shift) - 1);
    if (!sizes) continue;
    const largest = <u32>(63 - clz(sizes));
    if (largest <= keptShift) continue;
    keptShift = largest;
    best = iotlb;
  }
  return best;
}

/** The first IOTLB that has an entry for an address, looked up for every size of page; its handle, or 0. */
export function splitFind(iotlbs: usize, address: u64, tag: u64): usize {
  for (let i: usize = 0; i < <usize>SIMULATOR_IOTLB_COUNT; i++) {
    const iotlb = <usize>load<u32>(iotlbs + (i << 2));
    if (!iotlb) break;
    foundIndex = cacheFindAnySize(iotlb, address, tag);
    if (foundIndex >= 0) return iotlb;
  }
  return 0;
}
