/**
 * The IOVA space of a domain at one moment as a map: rows of cells, each filled as far as its addresses are mapped, by
 * leaf size. Stretches without anything between rows are one line that says how long the hole is.
 */
import type { LeafRange, LeafRanges } from "../../engine/leaf-ranges.js";

/** Page frame numbers of 4 KiB, which are numbers where addresses are not. */
const PAGE_SHIFT = 12n;

export const MAP_COLUMNS = 64;
const MOST_ROWS = 18;

/** Cells that are filled alike beside each other. */
export interface MapField {
  readonly column: number;
  readonly columns: number;
  /** Leaf size in bytes. */
  readonly size: number;
  /** Parts of a cell's height, 0 to 1. */
  readonly from: number;
  readonly to: number;
}

export type MapLine =
  | { readonly kind: "row"; readonly page: number; readonly fields: readonly MapField[] }
  | { readonly kind: "hole"; readonly pages: number };

export interface SpaceMap {
  readonly cellPages: number;
  readonly lines: readonly MapLine[];
}

interface PageRange {
  readonly first: number;
  readonly end: number;
  readonly size: number;
}

function pageRange({ iova, length, size }: LeafRange): PageRange {
  return {
    first: Number(iova >> PAGE_SHIFT),
    end: Number((iova + length) >> PAGE_SHIFT),
    size: Number(size),
  };
}

/** Rows [first, end) with something mapped, and the pages from the last mapped one before to the first one in it. */
interface Band {
  readonly first: number;
  end: number;
  readonly holePages: number;
  lastPage: number;
}

function bandsOf(ranges: readonly PageRange[], rowPages: number): Band[] {
  const bands: Band[] = [];
  for (const { first, end } of ranges) {
    const [firstRow, endRow] = [Math.floor(first / rowPages), Math.floor((end - 1) / rowPages) + 1];
    const band = bands.at(-1);
    // A single empty row takes no more room than the line that would say so.
    if (band && firstRow <= band.end + 1) {
      band.end = Math.max(band.end, endRow);
      band.lastPage = end;
    } else bands.push({ first: firstRow, end: endRow, holePages: band ? first - band.lastPage : 0, lastPage: end });
  }
  return bands;
}

const linesOf = (bands: readonly Band[]): number =>
  bands.reduce((sum, { first, end }) => sum + end - first, Math.max(0, bands.length - 1));

/** What is mapped of each cell of a row, pages by leaf size, smallest first. */
type Cells = Map<number, number>[];

function fieldsOf(cells: Cells, cellPages: number): MapField[] {
  const fields: MapField[] = [];
  cells.forEach((sizes, column) => {
    let from = 0;
    for (const [size, pages] of [...sizes].sort(([a], [b]) => b - a)) {
      const to = from + pages / cellPages;
      const alike = fields.findLast((field) => field.size === size && field.column + field.columns === column);
      if (alike && alike.from === from && alike.to === to) {
        fields[fields.indexOf(alike)] = { ...alike, columns: alike.columns + 1 };
      } else fields.push({ column, columns: 1, size, from, to });
      from = to;
    }
  });
  return fields;
}

/** The map with the smallest cells, a power of two of pages, that takes no more than its lines. */
export function spaceMap(leaves: LeafRanges): SpaceMap {
  const ranges = Array.from(leaves, pageRange);
  let cellPages = 1;
  let bands = bandsOf(ranges, MAP_COLUMNS);
  while (linesOf(bands) > MOST_ROWS) {
    cellPages *= 2;
    bands = bandsOf(ranges, cellPages * MAP_COLUMNS);
  }
  const rows = new Map<number, Cells>();
  for (const { first, end, size } of ranges) {
    for (let page = first; page < end; ) {
      const cell = Math.floor(page / cellPages);
      const stop = Math.min(end, (cell + 1) * cellPages);
      const row = Math.floor(cell / MAP_COLUMNS);
      let cells = rows.get(row);
      if (!cells) {
        cells = Array.from({ length: MAP_COLUMNS }, () => new Map());
        rows.set(row, cells);
      }
      const sizes = cells[cell % MAP_COLUMNS];
      sizes.set(size, (sizes.get(size) ?? 0) + stop - page);
      page = stop;
    }
  }
  const lines: MapLine[] = [];
  for (const { first, end, holePages } of bands) {
    if (holePages > 0) lines.push({ kind: "hole", pages: holePages });
    for (let row = first; row < end; row++) {
      const cells = rows.get(row) ?? [];
      lines.push({ kind: "row", page: row * MAP_COLUMNS * cellPages, fields: fieldsOf(cells, cellPages) });
    }
  }
  return { cellPages, lines };
}
