/** One path of tables with chosen entries, in the arena or in frames anywhere, for tests of single walks. */
import type { Engine } from "../../src/engine/engine.js";
import type { PageTable } from "../../src/engine/page-table.js";
import type { Configuration } from "./geometries.js";
import { rootBytes } from "./slow-format.js";
import { indexIn } from "./slow-walk.js";
import { createTable, physicalOf } from "./tables.js";

/** Where the table pages of a path lie. */
export type Backing = "arena" | "frames" | "ram" | "mixed";
export const BACKINGS: readonly Backing[] = ["arena", "frames", "ram", "mixed"];

/** First address of what tests declare as RAM, once an engine. */
export const RAM_START = 0x20_0000_0000n;
export const RAM_END = 0x21_0000_0000n;

let nextFrame = 0x3_0000_0000n;
let nextRam = RAM_START;

/** Bytes that hold a table, from one page on; the arena has pages of three sizes only. */
function pageFor(bytes: number): 4096 | 16384 | 65536 {
  return bytes > 16384 ? 65536 : bytes > 4096 ? 16384 : 4096;
}

/**
 * Zeroed memory for a table of the kind asked for, aligned to its size; level decides for `mixed`. What is longer than
 * 64 KiB is RAM.
 */
export function takePage(engine: Engine, backing: Backing, level: number, bytes = 4096): bigint {
  const size = BigInt(Math.max(bytes, 4096));
  const long = bytes > 65536;
  if (!long && (backing === "arena" || (backing === "mixed" && level % 2 === 0))) {
    return engine.memory.allocatePage(pageFor(bytes));
  }
  if (long || backing === "ram" || (backing === "mixed" && level % 3 === 0)) {
    nextRam = (nextRam / size + 1n) * size;
    const at = nextRam;
    nextRam += size - 4096n;
    return at;
  }
  nextFrame = (nextFrame / size + 1n) * size;
  const at = nextFrame;
  engine.memory.load(physicalOf(at), new Uint8Array(Number(size)));
  nextFrame += size - 4096n;
  return at;
}

export interface Path {
  readonly table: PageTable;
  /** Physical address of the entry at each level. */
  readonly entryAddress: (level: number) => bigint;
  readonly entry: (level: number) => bigint;
  readonly write: (level: number, entry: bigint) => void;
}

/** A path for `iova` that ends at `leafLevel` in a leaf at `physical` that allows everything the format can. */
export function buildPath(
  engine: Engine,
  configuration: Configuration,
  backing: Backing,
  leafLevel: number,
  iova: bigint,
  physical: bigint,
): Path {
  const { format, levels } = configuration;
  const addresses = new Map<number, bigint>();
  const memory = engine.memory;
  const tableBytes = 8 << format.indexBits;
  let page = takePage(engine, backing, levels, rootBytes(format, configuration));
  const table = createTable(engine, configuration, page);
  for (let level = levels; level >= leafLevel; level--) {
    const at = page + BigInt(indexIn(format, configuration, iova, level) * 8);
    addresses.set(level, at);
    if (level === leafLevel) {
      const leaf = format.leaf(physical, { read: true, write: true }, level, configuration);
      memory.write64(physicalOf(at), leaf ?? 0n);
    } else {
      page = takePage(engine, backing, level - 1, tableBytes);
      memory.write64(physicalOf(at), format.pointer(page, configuration));
    }
  }
  const entryAddress = (level: number): bigint => {
    const address = addresses.get(level);
    if (address === undefined) throw new Error(`the path has no level ${level}`);
    return address;
  };
  return {
    table,
    entryAddress,
    entry: (level) => memory.read64(physicalOf(entryAddress(level))),
    write: (level, entry) => memory.write64(physicalOf(entryAddress(level)), entry),
  };
}
