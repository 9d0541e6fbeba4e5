import * as layout from "../../assembly/layout.js";
import type { FormatDescription } from "./formats.js";
import type { WasmExports } from "./instance.js";
import type { LinearMemory } from "./linear-memory.js";

/** Adjacent leaves of one size. */
export interface LeafRange {
  readonly iova: bigint;
  /** Bytes of all of them together, and of each. */
  readonly length: bigint;
  readonly size: bigint;
}

/** Ranges that one call brings out of WASM. */
const CAPACITY = 1024;

/** All leaves of a table as they were at one moment, by address (as unsigned numbers), in ranges as long as they can be. */
export class LeafRanges implements Iterable<LeafRange> {
  readonly #records: DataView;
  readonly #format: FormatDescription;

  private constructor(records: Uint8Array, format: FormatDescription) {
    this.#records = new DataView(records.buffer, records.byteOffset, records.length);
    this.#format = format;
  }

  /** For use by the table. Throws `memory-exhausted`. */
  static read(exports: WasmExports, linear: LinearMemory, table: number, format: FormatDescription): LeafRanges {
    const bytes = CAPACITY * layout.LEAF_RANGE_BYTES;
    const block = linear.allocate(bytes);
    const parts: Uint8Array[] = [];
    linear.setU64(table + layout.TABLE_WHERE, 0n);
    for (let count = -1; count < 0; ) {
      count = exports.tableLeaves(table, block, CAPACITY);
      parts.push(linear.u8(block, count < 0 ? bytes : count * layout.LEAF_RANGE_BYTES).slice());
    }
    linear.free(block, bytes);
    // By hand: in a browser there is no library.
    const records = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
    parts.forEach((part, index) => {
      records.set(part, index * bytes);
    });
    return new LeafRanges(records, format);
  }

  get count(): number {
    return this.#records.byteLength / layout.LEAF_RANGE_BYTES;
  }

  *[Symbol.iterator](): Generator<LeafRange> {
    for (let at = 0; at < this.#records.byteLength; at += layout.LEAF_RANGE_BYTES) {
      yield {
        iova: this.#records.getBigUint64(at + layout.LEAF_RANGE_IOVA, true),
        length: this.#records.getBigUint64(at + layout.LEAF_RANGE_LENGTH, true),
        size: 1n << BigInt(this.#format.levelShift(this.#records.getUint32(at + layout.LEAF_RANGE_LEVEL, true))),
      };
    }
  }
}
