import * as layout from "../../assembly/layout.js";
import { UnknownNameError } from "./errors.js";
import type { WasmExports } from "./instance.js";
import type { LinearMemory } from "./linear-memory.js";

/** One page-table format, as its file in assembly/format/ describes itself. */
export interface FormatDescription {
  /** Its number on the WASM side. */
  readonly index: number;
  /** Name on the command line, such as `vtdss`. */
  readonly name: string;
  readonly title: string;
  /** Fewest and most levels of a table, without options of the format. */
  readonly minLevels: number;
  readonly maxLevels: number;
  /** Bytes of the smallest leaf, and of a table page. */
  readonly granule: bigint;
  /** Leaf sizes as a bitmap, bit n = 2^n bytes (Linux's pgsize_bitmap). */
  readonly pageSizes: bigint;
  /** Widest physical address that an entry holds without options of the format, in bits. */
  readonly outputBits: number;
  /** Whether input addresses are sign-extended. */
  readonly canonical: boolean;
  /** Whether VT-d's range of interrupt messages, 0xfee00000 to 0xfeefffff, is never translated. */
  readonly reservesInterruptRange: boolean;
  /** Width of the input address that a number of levels gives, in bits. */
  inputBits(levels: number): number;
  /** log2 of the bytes that one entry of a table at a level covers; level 1 is the last table. */
  levelShift(level: number): number;
  /** log2 of the leaves of a level that a contiguous run has; 0 where there are no runs. */
  runShift(level: number): number;
}

/** Every format of the module, in its order. */
export function readFormats(exports: WasmExports, linear: LinearMemory): FormatDescription[] {
  const formats: FormatDescription[] = [];
  for (let index = 0; ; index++) {
    const at = exports.formatDescribe(index);
    if (at === 0) return formats;
    const text = (pointer: number, length: number): string =>
      new TextDecoder("utf-16le").decode(linear.u8(linear.getU32(at + pointer), linear.getU32(at + length) * 2));
    const granuleShift = linear.getU32(at + layout.FORMAT_GRANULE_SHIFT);
    const indexBits = linear.getU32(at + layout.FORMAT_INDEX_BITS);
    const runShifts = linear.getU32(at + layout.FORMAT_RUN_SHIFTS);
    const widestInput = linear.getU32(at + layout.FORMAT_INPUT_BITS);
    formats.push({
      index,
      name: text(layout.FORMAT_NAME, layout.FORMAT_NAME_LENGTH),
      title: text(layout.FORMAT_TITLE, layout.FORMAT_TITLE_LENGTH),
      minLevels: linear.getU32(at + layout.FORMAT_MIN_LEVELS),
      maxLevels: linear.getU32(at + layout.FORMAT_MAX_LEVELS),
      granule: 1n << BigInt(granuleShift),
      pageSizes: linear.getU64(at + layout.FORMAT_LEAF_SIZES),
      outputBits: linear.getU32(at + layout.FORMAT_OUTPUT_BITS),
      canonical: linear.getU32(at + layout.FORMAT_CANONICAL) !== 0,
      reservesInterruptRange: linear.getU32(at + layout.FORMAT_RESERVES_INTERRUPT_RANGE) !== 0,
      inputBits: (levels) => Math.min(granuleShift + indexBits * levels, widestInput),
      levelShift: (level) => granuleShift + indexBits * (level - 1),
      runShift: (level) => (runShifts >>> (level * 4)) & 0xf,
    });
  }
}

/** Levels of a table of which nobody said how deep it is: 4, or as many as the format has. */
export function defaultLevels(format: FormatDescription): number {
  return Math.min(4, format.maxLevels);
}

/** The format with this name. Throws `invalid`, naming the ones there are. */
export function findFormat(formats: readonly FormatDescription[], name: string): FormatDescription {
  const found = formats.find((format) => format.name === name);
  if (found) return found;
  const names = formats.map((format) => format.name);
  throw new UnknownNameError("page-table format", "formats", name, names);
}
