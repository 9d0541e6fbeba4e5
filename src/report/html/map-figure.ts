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
function drawMap({ lines }: SpaceMap, colours: ReadonlyMap<number, string>): Figure["drawing"] {
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
  return drawChart(height, {
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
  });
}

const DATA_COLUMNS = ["iova", "bytes", "leafSize", "mappedBytes"] as const;

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
  return { name: `map-${name.replaceAll(/[^\w-]+/g, "-")}`, columns: DATA_COLUMNS, rows };
}

export interface SpaceMaps {
  /** Of all the maps: which domain, and when. */
  readonly caption: string;
  readonly legend: readonly LegendEntry[];
  readonly figures: readonly Figure[];
}

/** Null when no strategy was recorded, or nothing was ever mapped. */
export function spaceMaps(
  results: readonly StrategyResult[],
  domains: readonly { readonly name: string }[],
): SpaceMaps | null {
  const mapped = new Map<number, bigint>();
  for (const { domain, leaves } of results.flatMap(({ recording }) => recording?.spaces ?? [])) {
    let sum = mapped.get(domain) ?? 0n;
    for (const { length } of leaves) sum += length;
    mapped.set(domain, sum);
  }
  const [shown] = [...mapped].sort(([, a], [, b]) => (a === b ? 0 : a < b ? 1 : -1));
  const moment = results[0].recording?.moment;
  if (shown === undefined || moment === undefined) return null;
  const [domain] = shown;
  const sizes = results[0].figures.leaves.map(({ size }) => size).reverse();
  const colours = new Map(sizes.map((size, index) => [size, leafColour(index)]));
  const used = new Set<number>();
  const figures = results.map((result): Figure => {
    const { name } = result.strategy;
    const leaves = result.recording?.spaces.find((space) => space.domain === domain)?.leaves;
    if (!leaves) {
      const nothing: SpaceMap = { cellPages: 1, lines: [] };
      return { title: name, caption: "Nothing was mapped.", drawing: drawMap(nothing, colours) };
    }
    const map = spaceMap(leaves);
    for (const line of map.lines) if (line.kind === "row") for (const { size } of line.fields) used.add(size);
    const cell = map.cellPages * PAGE_BYTES;
    return {
      title: name,
      caption: `A cell is ${bytes(cell)}, a row ${bytes(cell * MAP_COLUMNS)}.`,
      drawing: drawMap(map, colours),
      data: mapData(name, leaves, map),
    };
  });
  const others = mapped.size > 1 ? `, of ${mapped.size} domains the one with most` : "";
  return {
    caption:
      `What was mapped in domain ${domains[domain]?.name ?? domain}${others}, after ${grouped(moment)} operations, when ` +
      "most memory was mapped. Rows of addresses; every cell is filled as far as it is mapped, with the colour of the leaves. " +
      "Empty fields are holes; where rows would be empty, a line says how long the hole is.",
    legend: sizes
      .filter((size) => used.has(size))
      .map((size) => ({ name: sizeName(size), colour: colours.get(size) ?? LINE })),
    figures,
  };
}
