/** Maps of an IOVA space, one a strategy, all of the same domain at the same moment. */
import type { LeafRanges } from "../../engine/leaf-ranges.js";
import { bytes, grouped, sizeName } from "../units.js";
import { CHART_WIDTH, drawChart, type Figure, LINE, leafColour, type LegendEntry, MUTED, TEXT_STYLE } from "./chart.js";
import type { ChartData } from "./data.js";
import { MAP_COLUMNS, type MapField, type MapLine, type SpaceMap, spaceMap } from "./space-map.js";
import type { StrategyResult } from "../../replay/replays.js";

const PAGE_BYTES = 4096;
const CELL_WIDTH = 4;
const CELL_HEIGHT = 13;
const LINE_HEIGHT = 17;
const LEFT = CHART_WIDTH - MAP_COLUMNS * CELL_WIDTH;
/** So that a single page in a large cell is seen. */
const LEAST_HEIGHT = 2;
/** Ranges that the data names one by one; a fragmented space has too many. */
const MOST_RANGES = 400;

const hexPage = (page: number): string => `0x${(BigInt(page) * BigInt(PAGE_BYTES)).toString(16)}`;

/** Rectangles as an SVG path. */
function pathOf(fields: readonly MapField[], top: number): string {
  return fields
    .map(({ column, columns, from, to }) => {
      const height = Math.max(LEAST_HEIGHT, (to - from) * CELL_HEIGHT);
      const y = Math.max(0, (1 - from) * CELL_HEIGHT - height);
      const width = columns * CELL_WIDTH;
      return `M${LEFT + column * CELL_WIDTH} ${top + y}h${width}v${height}h${-width}z`;
    })
    .join("");
}

/** @param colours by leaf size */
function drawMap({ lines }: SpaceMap, colours: ReadonlyMap<number, string>, alternative: string): Figure["drawing"] {
  const height = Math.max(1, lines.length) * LINE_HEIGHT;
  const text = (content: string, x: number, y: number, align: "left" | "right") => ({
    type: "text" as const,
    silent: true,
    x,
    y: y + CELL_HEIGHT / 2,
    style: {
      text: content,
      fill: MUTED,
      // The addresses of five levels are longer.
      fontSize: content.length > 15 && align === "right" ? 9.5 : 11,
      fontFamily: "ui-monospace, monospace",
      align,
      verticalAlign: "middle" as const,
    },
  });
  const path = (pathData: string, fill: string) => ({
    type: "path" as const,
    silent: true,
    shape: { pathData },
    style: { fill },
  });
  const draw = (line: MapLine, index: number) => {
    const top = index * LINE_HEIGHT + 2;
    if (line.kind === "hole") {
      return {
        type: "group" as const,
        children: [text(`··· hole of ${bytes(line.pages * PAGE_BYTES)} ···`, LEFT, top, "left")],
      };
    }
    const sizes = [...new Set(line.fields.map(({ size }) => size))];
    const whole = { column: 0, columns: MAP_COLUMNS, size: 0, from: 0, to: 1 };
    return {
      type: "group" as const,
      children: [
        text(hexPage(line.page), LEFT - 6, top, "right"),
        path(pathOf([whole], top), "var(--field)"),
        ...sizes.map((size) => {
          const fields = line.fields.filter((field) => field.size === size);
          return path(pathOf(fields, top), colours.get(size) ?? LINE);
        }),
      ],
    };
  };
  return drawChart(
    { height, alternative },
    {
      grid: { left: 0, right: 0, top: 0, bottom: 0, outerBoundsMode: "none" },
      xAxis: { type: "value", show: false },
      yAxis: { type: "value", show: false },
      textStyle: TEXT_STYLE,
      series: {
        type: "custom",
        silent: true,
        data: lines.map((_, index) => [0, index]),
        renderItem: (_, api) => {
          const index = Number(api.value(1));
          return draw(lines[index], index);
        },
      },
    },
  );
}

const DATA_COLUMNS = ["iova", "bytes", "leafSize", "mappedBytes"] as const;

/** What is mapped, where, and the largest hole in it, in words. */
function inWords(leaves: LeafRanges): string {
  const mapped = new Map<number, number>();
  let first: bigint | null = null;
  let end = 0n;
  let hole = 0n;
  for (const { iova, length, size } of leaves) {
    if (first === null) first = iova;
    else if (iova - end > hole) hole = iova - end;
    end = iova + length;
    mapped.set(Number(size), (mapped.get(Number(size)) ?? 0) + Number(length));
  }
  const sizes = [...mapped].sort(([a], [b]) => a - b).map(([size, sum]) => `${bytes(sum)} by ${sizeName(size)}`);
  const holes = hole === 0n ? "without holes" : `the largest hole ${bytes(Number(hole))}`;
  return `0x${(first ?? 0n).toString(16)} to 0x${(end - 1n).toString(16)}: ${sizes.join(", ")}; ${holes}`;
}

/** The leaves themselves where they are few, otherwise what the map's fields say of them. */
function mapData(name: string, leaves: LeafRanges, map: SpaceMap): ChartData {
  const rows =
    leaves.count <= MOST_RANGES
      ? Array.from(leaves, ({ iova, length, size }) => [
          `0x${iova.toString(16)}`,
          Number(length),
          Number(size),
          Number(length),
        ])
      : map.lines.flatMap((line) =>
          line.kind === "hole"
            ? []
            : line.fields.map(({ column, columns, size, from, to }) => {
                const length = columns * map.cellPages * PAGE_BYTES;
                return [hexPage(line.page + column * map.cellPages), length, size, (to - from) * length];
              }),
        );
  return { name: `map-${name}`.replaceAll(/[^\w-]+/g, "-"), columns: DATA_COLUMNS, rows };
}

/** The maps of one domain, one a strategy. */
export interface DomainMaps {
  readonly name: string;
  /** How much of it was mapped, at most. */
  readonly mapped: string;
  readonly figures: readonly Figure[];
}

export interface SpaceMaps {
  /** Of all the maps: when, how to read them, and what else was mapped. */
  readonly caption: string;
  readonly legend: readonly LegendEntry[];
  /** Those with most mapped, the fullest first. */
  readonly domains: readonly DomainMaps[];
}

/** A page's maps; further domains are named only. */
const MOST_MAPS = 48;
const MOST_DOMAINS = 4;
const MOST_NAMED = 5;

/** Bytes of each domain with something mapped, the most of all strategies, the fullest first. */
function fullestDomains(results: readonly StrategyResult[]): { readonly domain: number; readonly mapped: number }[] {
  const most = new Map<number, number>();
  for (const { domain, leaves } of results.flatMap(({ recording }) => recording?.spaces ?? [])) {
    let mapped = 0n;
    for (const { length } of leaves) mapped += length;
    most.set(domain, Math.max(most.get(domain) ?? 0, Number(mapped)));
  }
  return [...most]
    .map(([domain, mapped]) => ({ domain, mapped }))
    .filter(({ mapped }) => mapped > 0)
    .sort((a, b) => b.mapped - a.mapped || a.domain - b.domain);
}

/** What is not drawn, in a sentence; nothing where all is. `empty`: how many domains had nothing mapped. */
function undrawn(
  rest: readonly { readonly domain: number; readonly mapped: number }[],
  empty: number,
  nameOf: (domain: number) => string,
): string {
  const nothing = empty === 0 ? "" : ` Nothing was mapped then in ${grouped(empty)} more.`;
  if (rest.length === 0) return nothing;
  const named = rest.slice(0, MOST_NAMED).map(({ domain, mapped }) => `${nameOf(domain)} (${bytes(mapped)})`);
  const others = rest.slice(MOST_NAMED);
  if (others.length > 0) {
    const sum = others.reduce((total, { mapped }) => total + mapped, 0);
    named.push(`${grouped(others.length)} more (${bytes(sum)} together)`);
  }
  return ` Not drawn: ${named.join(", ")}.${nothing}`;
}

/** Null when no strategy was recorded, or nothing was ever mapped. */
export function spaceMaps(
  results: readonly StrategyResult[],
  domains: readonly { readonly name: string }[],
): SpaceMaps | null {
  const all = fullestDomains(results);
  const moment = results[0].recording?.moment;
  if (all.length === 0 || moment === undefined) return null;
  const count = Math.max(1, Math.min(MOST_DOMAINS, Math.floor(MOST_MAPS / results.length)));
  const nameOf = (domain: number): string => domains[domain]?.name ?? String(domain);
  const sizes = results[0].figures.leaves.map(({ size }) => size).reverse();
  const colours = new Map(sizes.map((size, index) => [size, leafColour(index)]));
  const used = new Set<number>();
  const mapOf = (domain: number, result: StrategyResult): Figure => {
    const { name } = result.strategy;
    const leaves = result.recording?.spaces.find((space) => space.domain === domain)?.leaves;
    if (!leaves || leaves.count === 0) {
      const caption = "Nothing was mapped.";
      return { title: name, caption, drawing: drawMap({ cellPages: 1, lines: [] }, colours, caption) };
    }
    const map = spaceMap(leaves);
    for (const line of map.lines) if (line.kind === "row") for (const { size } of line.fields) used.add(size);
    const cell = map.cellPages * PAGE_BYTES;
    return {
      title: name,
      caption: `A cell is ${bytes(cell)}, a row ${bytes(cell * MAP_COLUMNS)}.`,
      drawing: drawMap(map, colours, inWords(leaves)),
      data: mapData(`${nameOf(domain)}-${name}`, leaves, map),
    };
  };
  const drawn = all.slice(0, count).map(({ domain, mapped }) => ({
    name: nameOf(domain),
    mapped: bytes(mapped),
    figures: results.map((result) => mapOf(domain, result)),
  }));
  return {
    caption:
      `What was mapped, by domain, after ${grouped(moment)} operations, when most memory was mapped. Rows of addresses; every cell is ` +
      "filled as far as it is mapped, with the colour of the leaves. Empty fields are holes; where rows would be empty, a " +
      `line says how long the hole is.${undrawn(all.slice(count), domains.length - all.length, nameOf)}`,
    legend: sizes
      .filter((size) => used.has(size))
      .map((size) => ({ name: sizeName(size), colour: colours.get(size) ?? LINE })),
    domains: drawn,
  };
}
