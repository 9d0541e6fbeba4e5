/** Page tables rebuilt from a listing, entry by entry. */
import { hex, physicalAddress } from "../engine/addresses.js";
import type { Engine } from "../engine/engine.js";
import type { PageTable } from "../engine/page-table.js";
import { DumpError } from "./errors.js";
import { COLUMNS, type ListingRow, type ListingSection } from "./listing.js";
import { loadPages, type MemoryPage } from "./pages.js";

// Intel VT-d Architecture Specification Rev. 5.10, sections 9.7 (first stage) and 9.8 (second stage).
/** R and W of the second stage, P and R/W of the first; Linux lists an entry when either is set (dma_pte_present). */
const LISTED = 3n;
/** Only a first-stage entry must have bit 0 to be present. */
const P = 1n << 0n;
/** U/S of the first stage, ignored in the second: Linux sets it in every first-stage entry but those of kernel memory. */
const US = 1n << 2n;
/** A of the first stage, ignored in a second-stage entry for a table: Linux sets it in every first-stage one. */
const A = 1n << 5n;
const PS = 1n << 7n;
const ADDRESS = 0x000f_ffff_ffff_f000n;
const ENTRIES = 512;
const INDEX_BITS = 9n;
const PAGE_SHIFT = 12n;

const MIN_LEVELS = { vtdss: 3, x86_64: 4 } as const;
const MAX_LEVELS = COLUMNS.length;
/** Table flag of `vtdss`, ECAP.SC: a listing does not show it, but Linux sets SNP only where the unit has it. */
const SNOOP_CONTROL = 1;

export type ListingFormat = keyof typeof MIN_LEVELS;

/** What the rows say unless their entries fit both stages or there are none. */
export interface ListingOptions {
  readonly format?: ListingFormat;
  readonly levels?: number;
}

/** A table as it stood in the listed machine's memory. */
export interface ListedTable {
  readonly format: ListingFormat;
  readonly levels: number;
  /** Every table page, the root first. */
  readonly pages: readonly MemoryPage[];
}

/** A table page at its place in the tree. */
interface TablePage {
  readonly address: bigint;
  readonly entries: BigUint64Array;
  /** First row that goes through it. */
  readonly row: ListingRow;
}

/** Level of an element of a row's entries. */
function levelOf(column: number): number {
  return MAX_LEVELS - column;
}

function contradiction(section: ListingSection, row: ListingRow, reason: string): DumpError {
  return new DumpError("inconsistent", reason, { file: section.file, line: row.line });
}

function checkOptions({ format, levels }: ListingOptions): void {
  if (format !== undefined && !Object.hasOwn(MIN_LEVELS, format)) {
    throw new DumpError("option", `format "${format}" is none of ${Object.keys(MIN_LEVELS).join(", ")}`);
  }
  if (levels !== undefined && ![3, 4, 5].includes(levels)) {
    throw new DumpError("option", `${levels} levels; a table has 3 to ${MAX_LEVELS}`);
  }
}

function deduceLevels(section: ListingSection, asked: number | undefined): number {
  const { file, line, rows } = section;
  let levels = asked;
  for (const row of rows) {
    const first = row.entries.findIndex((entry) => entry !== 0n);
    levels ??= levelOf(first);
    if (levelOf(first) !== levels) {
      throw contradiction(section, row, `the first entry is a ${COLUMNS[first]}, in a table of ${levels} levels`);
    }
  }
  if (levels !== undefined) return levels;
  throw new DumpError("ambiguous", "an empty listing: say how many levels and which format", { file, line });
}

function deduceFormat(section: ListingSection, levels: number): ListingFormat {
  const { file, line, rows } = section;
  if (levels < MIN_LEVELS.x86_64) return "vtdss";
  // Bits set in every entry and in any, and the same for entries that point to tables.
  let every = -1n;
  let any = 0n;
  let everyTable = -1n;
  let anyTable = 0n;
  for (const { entries } of rows) {
    for (let column = levelOf(levels); column < entries.length; column++) {
      every &= entries[column];
      any |= entries[column];
      if (column === entries.length - 1) continue;
      everyTable &= entries[column];
      anyTable |= entries[column];
    }
  }
  if ((every & P) === 0n) return "vtdss";
  if (rows.length > 0) {
    if ((any & US) === 0n && (anyTable & A) === 0n) return "vtdss";
    if ((every & US) !== 0n || (everyTable & anyTable & A) !== 0n) return "x86_64";
  }
  throw new DumpError("ambiguous", "fits first stage and second stage: say which format", { file, line });
}

function checkRow(section: ListingSection, row: ListingRow, levels: number): void {
  const last = row.entries.length - 1;
  for (let column = levelOf(levels); column <= last; column++) {
    const entry = row.entries[column];
    const named = `${COLUMNS[column]} ${hex(entry)}`;
    if ((entry & LISTED) === 0n) throw contradiction(section, row, `${named} is not present`);
    if (column < last && (entry & PS) !== 0n) {
      throw contradiction(section, row, `${named} is a leaf (PS), yet a ${COLUMNS[column + 1]} follows`);
    }
    if (column === last && levelOf(column) > 1 && (entry & PS) === 0n) {
      throw contradiction(section, row, `the row ends with ${named}, which is no leaf (PS)`);
    }
  }
  const pfn = row.iova >> PAGE_SHIFT;
  if (pfn >> (INDEX_BITS * BigInt(levels)) !== 0n) {
    throw contradiction(section, row, `IOVA_PFN ${hex(pfn)} is beyond ${levels} levels`);
  }
  const leafPages = 1n << (INDEX_BITS * BigInt(levelOf(last) - 1));
  if (pfn % leafPages !== 0n) {
    throw contradiction(section, row, `IOVA_PFN ${hex(pfn)} is not where a ${COLUMNS[last]} maps`);
  }
}

/** Every table page at every place, root first. */
function placeEntries(section: ListingSection, levels: number): TablePage[] {
  const tables: TablePage[] = [];
  // By level, then by the page number's bits above those that index the table.
  const places = Array.from({ length: levels + 1 }, () => new Map<bigint, TablePage>());
  for (const row of section.rows) {
    checkRow(section, row, levels);
    const pfn = row.iova >> PAGE_SHIFT;
    let address: bigint = section.root;
    for (let column = levelOf(levels); column < row.entries.length; column++) {
      const entry = row.entries[column];
      const shift = INDEX_BITS * BigInt(levelOf(column) - 1);
      const above = pfn >> (shift + INDEX_BITS);
      const place = places[levelOf(column)];
      let table = place.get(above);
      if (table === undefined) {
        table = { address, entries: new BigUint64Array(ENTRIES), row };
        place.set(above, table);
        tables.push(table);
      }
      const index = Number(BigInt.asUintN(Number(INDEX_BITS), pfn >> shift));
      const known = table.entries[index];
      if (known !== 0n && known !== entry) {
        throw contradiction(section, row, `${COLUMNS[column]} is ${hex(entry)}, in an earlier row ${hex(known)}`);
      }
      table.entries[index] = entry;
      address = entry & ADDRESS;
    }
  }
  return tables;
}

/** One page per address: a page at several places (Linux shares some of a process's) was listed whole at each of them. */
function mergePages(section: ListingSection, tables: readonly TablePage[]): MemoryPage[] {
  const pages = new Map<bigint, TablePage>();
  for (const table of tables) {
    const first = pages.get(table.address);
    if (first === undefined) {
      pages.set(table.address, table);
    } else if (table.entries.some((entry, index) => entry !== first.entries[index])) {
      const reason = `the rows from IOVA_PFN ${hex(table.row.iova >> PAGE_SHIFT)} and from line ${first.row.line}`;
      throw contradiction(section, table.row, `${reason} list table page ${hex(table.address)} differently`);
    }
  }
  return Array.from(pages.values(), ({ address, entries }) => ({
    address: physicalAddress(address),
    bytes: new Uint8Array(entries.buffer),
  }));
}

/**
 * Rebuilds the table pages that a listing shows: the root where the header says, every other page where the entry that
 * leads to it says.
 * @throws DumpError `inconsistent` when rows contradict each other or no such table exists; `ambiguous` when an option must
 * say the format or the levels; `option`
 */
export function rebuildListing(section: ListingSection, options: ListingOptions = {}): ListedTable {
  checkOptions(options);
  const levels = deduceLevels(section, options.levels);
  const format = options.format ?? deduceFormat(section, levels);
  if (levels < MIN_LEVELS[format]) {
    const { file, line } = section;
    throw new DumpError("inconsistent", `a table of ${levels} levels is no ${format} table`, { file, line });
  }
  const pages = mergePages(section, placeEntries(section, levels));
  const empty = { address: section.root, bytes: new Uint8Array(ENTRIES * 8) };
  return { format, levels, pages: pages.length === 0 ? [empty] : pages };
}

/**
 * Puts the table of a listing into physical memory, over what is there, ready to be walked. An engine made with
 * `arenaBaseFor(rebuildListing(section))` has room for it.
 * @throws DumpError as `rebuildListing`, and `arena`, with nothing changed; IommuError `memory-exhausted`
 */
export function loadListing(engine: Engine, section: ListingSection, options: ListingOptions = {}): PageTable {
  const { format, levels, pages } = rebuildListing(section, options);
  loadPages(engine, pages, section.file);
  return engine.createTable(format, {
    levels,
    root: section.root,
    flags: format === "vtdss" ? SNOOP_CONTROL : 0,
  });
}
