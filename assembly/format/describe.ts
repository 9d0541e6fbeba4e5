/** What the other side of the WASM border may know of a format, so that no second list of formats exists anywhere. */
import { FORMAT_BYTES, FORMAT_CANONICAL, FORMAT_GRANULE_SHIFT, FORMAT_INDEX_BITS, FORMAT_INPUT_BITS, FORMAT_LEAF_SIZES, FORMAT_MAX_LEVELS, FORMAT_MIN_LEVELS, FORMAT_NAME, FORMAT_NAME_LENGTH, FORMAT_OUTPUT_BITS, FORMAT_RESERVES_INTERRUPT_RANGE, FORMAT_RUN_SHIFTS, FORMAT_TITLE, FORMAT_TITLE_LENGTH } from "../layout";
import { dispatch } from "./formats";

const description = memory.data(FORMAT_BYTES, 16);

@unmanaged
class Describe {
  // @ts-ignore: decorator
  @inline run<F>(a: usize, b: usize, c: usize, d: usize): i32 {
    const f = changetype<F>(0);
    store<u32>(a, changetype<u32>(f.name()), FORMAT_NAME);
    store<u32>(a, f.name().length, FORMAT_NAME_LENGTH);
    store<u32>(a, changetype<u32>(f.title()), FORMAT_TITLE);
    store<u32>(a, f.title().length, FORMAT_TITLE_LENGTH);
    store<u32>(a, f.minLevels(), FORMAT_MIN_LEVELS);
    store<u32>(a, f.maxLevels(), FORMAT_MAX_LEVELS);
    store<u32>(a, f.granuleShift(), FORMAT_GRANULE_SHIFT);
    store<u32>(a, f.indexBits(), FORMAT_INDEX_BITS);
    store<u64>(a, f.leafSizes(), FORMAT_LEAF_SIZES);
    store<u32>(a, f.addressBits(), FORMAT_OUTPUT_BITS);
    store<u32>(a, f.widestInput(0), FORMAT_INPUT_BITS);
    store<u32>(a, f.canonical() ? 1 : 0, FORMAT_CANONICAL);
    store<u32>(a, f.reservesInterruptRange() ? 1 : 0, FORMAT_RESERVES_INTERRUPT_RANGE);
    let runs: u32 = 0;
    for (let level: u32 = 1; level <= 5; level++) runs |= f.runShift(level) << (level << 2);
    store<u32>(a, runs, FORMAT_RUN_SHIFTS);
    return 0;
  }
}

/** Linear address of the description (FORMAT_* of layout.ts) of the format with this index; 0 past the last one. */
export function formatDescribe(index: u32): usize {
  return dispatch<Describe>(index, description, 0, 0, 0) < 0 ? 0 : description;
}
