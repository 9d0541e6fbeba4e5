/** Two ways to look at a table's raw memory: structurally, to compare with a model, and byte for byte. */
import type { PhysicalAddress } from "../../src/engine/addresses.js";
import type { Engine } from "../../src/engine/engine.js";
import type { PageTable } from "../../src/engine/page-table.js";
import { coverage, entriesOf, type SlowFormat } from "./slow-format.js";
import type { SlowTable } from "./slow-table.js";

type ReadPage = (address: bigint) => BigUint64Array;

function collect(
  lines: string[],
  readPage: ReadPage,
  format: SlowFormat,
  table: bigint,
  level: number,
  base: bigint,
): void {
  const entries = readPage(table);
  for (let index = 0; index < entries.length; index++) {
    const entry = entries[index];
    if (entry === 0n) continue;
    const at = base + BigInt(index) * coverage(level, format);
    const leaf = !format.inUse(entry) || format.isLeaf(entry, level);
    // Where a table page lies is the allocator's choice; everything else of a pointer is not.
    const shown = leaf ? entry : entry & ~format.addressMask;
    lines.push(`${level} ${at.toString(16)} ${leaf ? "leaf" : "table"} ${shown.toString(16)}`);
    if (!leaf) collect(lines, readPage, format, entry & format.addressMask, level - 1, at);
  }
}

/** Every entry that is not zero, in address order, table addresses left out. */
export function dumpEngineTable(engine: Engine, table: PageTable, format: SlowFormat): string[] {
  const lines: string[] = [];
  collect(lines, (address) => readPage(engine, address, format), format, table.root, table.levels, 0n);
  return lines;
}

export function dumpSlowTable(table: SlowTable): string[] {
  const lines: string[] = [];
  collect(lines, (address) => table.page(address), table.format, table.root, table.geometry.levels, 0n);
  return lines;
}

export function readPage(engine: Engine, address: bigint, format: SlowFormat): BigUint64Array {
  const bytes = engine.memory.read(address as PhysicalAddress, 8 * entriesOf(format));
  return new BigUint64Array(bytes.buffer);
}

/** Every table page reachable from the root, with its level. */
export function tablePages(engine: Engine, table: PageTable, format: SlowFormat): Map<bigint, number> {
  const pages = new Map<bigint, number>();
  const visit = (address: bigint, level: number): void => {
    pages.set(address, level);
    if (level === 1) return;
    for (const entry of readPage(engine, address, format)) {
      if (entry === 0n || !format.inUse(entry) || format.isLeaf(entry, level)) continue;
      visit(entry & format.addressMask, level - 1);
    }
  };
  visit(table.root, table.levels);
  return pages;
}

/** All that an operation which is refused must leave alone: raw pages, the counters, the pages in use. */
export function snapshot(engine: Engine, table: PageTable, format: SlowFormat): unknown {
  return {
    pages: [...tablePages(engine, table, format).keys()].map((address) => [
      address,
      Buffer.from(readPage(engine, address, format).buffer).toString("hex"),
    ]),
    counters: table.counters,
    pagesInUse: engine.memory.pagesInUse,
  };
}
