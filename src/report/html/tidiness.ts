/** Tidiness of the IOMMU against an importer's: one point a strategy, with numbers that the legend explains. */
import { ACCENT, CHART_WIDTH, drawChart, type Figure, LINE, MUTED, TEXT_STYLE } from "./chart.js";
import type { StrategyResult } from "../../replay/replays.js";

const HEIGHT = 330;
const GRID = { left: 64, right: 16, top: 14, bottom: 44 } as const;
const WIDTH_INSIDE = CHART_WIDTH - GRID.left - GRID.right;
const HEIGHT_INSIDE = HEIGHT - GRID.top - GRID.bottom;

const SYMBOL = 9;
const LABEL_HEIGHT = 16;
const CHARACTER_WIDTH = 7;

/** Pixels within the axes, from the left and from below. */
interface Point {
  readonly number: number;
  readonly x: number;
  readonly y: number;
}

/** Points that are too close to each other for a label each, and where their common one is. */
interface Crowd {
  readonly points: readonly Point[];
  readonly label: string;
  /** Where there is room for it: above a crowd that is too broad for either side. */
  readonly side: "left" | "right" | "top";
  /** What points and label cover. */
  readonly left: number;
  readonly right: number;
  readonly below: number;
  readonly above: number;
}

/** Numbers in order, those that follow each other as a range: "1, 3–5". */
function rangesOf(numbers: readonly number[]): string {
  const ranges: [number, number][] = [];
  for (const number of numbers) {
    const last = ranges.at(-1);
    if (last && last[1] === number - 1) last[1] = number;
    else ranges.push([number, number]);
  }
  return ranges.map(([first, last]) => (first === last ? `${first}` : `${first}–${last}`)).join(", ");
}

function crowd(points: readonly Point[]): Crowd {
  const label = rangesOf(points.map(({ number }) => number));
  const width = label.length * CHARACTER_WIDTH + SYMBOL;
  const [xs, ys] = [points.map(({ x }) => x), points.map(({ y }) => y)];
  const [least, most] = [Math.min(...xs), Math.max(...xs)];
  const side = most + width <= WIDTH_INSIDE ? "right" : least >= width ? "left" : "top";
  const above = Math.max(...ys) + LABEL_HEIGHT / 2;
  return {
    points,
    label,
    side,
    left: side === "left" ? least - width : least - SYMBOL / 2,
    right: side === "right" ? most + width : most + SYMBOL / 2,
    below: Math.min(...ys) - LABEL_HEIGHT / 2,
    above: side === "top" ? above + LABEL_HEIGHT : above,
  };
}

/** Joins crowds until none lies upon another. */
function crowdsOf(points: readonly Point[]): Crowd[] {
  const crowds = points.map((point) => crowd([point]));
  const meet = (a: Crowd, b: Crowd): boolean =>
    a.left < b.right && b.left < a.right && a.below < b.above && b.below < a.above;
  for (let i = 0; i < crowds.length; ) {
    const other = crowds.findIndex((each, j) => j > i && meet(crowds[i], each));
    if (other < 0) {
      i++;
      continue;
    }
    const [gone] = crowds.splice(other, 1);
    crowds[i] = crowd([...crowds[i].points, ...gone.points].sort((a, b) => a.number - b.number));
    // What was joined is larger, and may reach what was passed.
    i = 0;
  }
  return crowds;
}

/** @param index which of the importers */
export function importerTidinessFigure(results: readonly StrategyResult[], index: number): Figure {
  const importer = results[0].importers[index].name;
  const values = results.map(({ strategy, figures, importers }, row) => ({
    name: strategy.name,
    number: row + 1,
    iommu: figures.tidiness,
    importer: importers[index].tidiness,
  }));
  const axis = (title: string) =>
    ({
      type: "value",
      min: 0,
      max: 1,
      interval: 0.25,
      name: title,
      nameLocation: "middle",
      nameTextStyle: { ...TEXT_STYLE, color: MUTED },
      axisLabel: { ...TEXT_STYLE, color: MUTED },
      axisLine: { show: true, lineStyle: { color: LINE } },
      splitLine: { lineStyle: { color: LINE } },
    }) as const;
  const alternative = values
    .map(({ name, iommu, importer: its }) => `${name}: IOMMU ${iommu.toFixed(3)}, ${importer} ${its.toFixed(3)}`)
    .join("; ");
  const crowds = crowdsOf(
    values.map((value) => ({ number: value.number, x: value.iommu * WIDTH_INSIDE, y: value.importer * HEIGHT_INSIDE })),
  );
  return {
    title: `Tidiness of the IOMMU and of ${importer}`,
    caption: "Fewest entries possible, divided by those used, on each side; the upper right corner is tidy for both.",
    drawing: drawChart(
      { height: HEIGHT, alternative },
      {
        grid: { ...GRID, outerBoundsMode: "none" },
        xAxis: { ...axis("IOMMU"), nameGap: 26 },
        yAxis: { ...axis(importer), nameGap: 40 },
        series: [
          {
            type: "scatter",
            silent: true,
            symbolSize: SYMBOL,
            itemStyle: { color: ACCENT, opacity: 1 },
            data: values.map((value) => [value.iommu, value.importer]),
          },
          {
            type: "scatter",
            silent: true,
            symbolSize: 0,
            label: { ...TEXT_STYLE, show: true, distance: SYMBOL, formatter: "{b}" },
            data: crowds.map(({ label, side, points, below, above }) => {
              const xs = points.map(({ x }) => x);
              const [least, most] = [Math.min(...xs), Math.max(...xs)];
              const x = { left: least, right: most, top: (least + most) / 2 }[side];
              const y = side === "top" ? above - LABEL_HEIGHT * 1.5 : (below + above) / 2;
              return { name: label, value: [x / WIDTH_INSIDE, y / HEIGHT_INSIDE], label: { position: side } };
            }),
          },
        ],
      },
    ),
    legend: values.map((value) => ({
      name: `${value.name} (${value.iommu.toFixed(3)}, ${value.importer.toFixed(3)})`,
      number: value.number,
    })),
    data: {
      name: `tidiness-${importer}`,
      columns: ["strategy", "iommuTidiness", "importer", "importerTidiness"],
      rows: values.map((value) => [value.name, value.iommu, importer, value.importer]),
    },
  };
}
