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
/** Between symbol and label, and behind it. */
const GAP = 8;
/** Labels of points at the top may stand a little above the axes. */
const TOP_INSIDE = HEIGHT_INSIDE + LABEL_HEIGHT / 2;

/** Pixels within the axes, from the left and from below. */
interface Point {
  readonly number: number;
  readonly x: number;
  readonly y: number;
}

/** Pixels within the axes. */
interface Box {
  readonly left: number;
  readonly right: number;
  readonly below: number;
  readonly above: number;
}

/** Points with a common label: they lie upon each other, or there is no room for one each. */
interface Crowd {
  readonly points: readonly Point[];
  readonly label: string;
  readonly symbols: Box;
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
  const sorted = [...points].sort((a, b) => a.number - b.number);
  const [xs, ys] = [points.map(({ x }) => x), points.map(({ y }) => y)];
  return {
    points: sorted,
    label: rangesOf(sorted.map(({ number }) => number)),
    symbols: {
      left: Math.min(...xs) - SYMBOL / 2,
      right: Math.max(...xs) + SYMBOL / 2,
      below: Math.min(...ys) - SYMBOL / 2,
      above: Math.max(...ys) + SYMBOL / 2,
    },
  };
}

const meet = (a: Box, b: Box): boolean =>
  a.left < b.right && b.left < a.right && a.below < b.above && b.below < a.above;

/** Where a label could stand, the best place first: beside its symbols, below or above them. */
function placesOf({ label, symbols }: Crowd): Box[] {
  const width = label.length * CHARACTER_WIDTH + GAP;
  const middle = (symbols.below + symbols.above) / 2;
  const beside = { below: middle - LABEL_HEIGHT / 2, above: middle + LABEL_HEIGHT / 2 };
  const under = { below: symbols.below - LABEL_HEIGHT, above: symbols.below };
  const over = { below: symbols.above, above: symbols.above + LABEL_HEIGHT };
  const onward = { left: symbols.left, right: symbols.left + width };
  const back = { left: symbols.right - width, right: symbols.right };
  return [
    { left: symbols.right, right: symbols.right + width, ...beside },
    { left: symbols.left - width, right: symbols.left, ...beside },
    ...[onward, back].flatMap((sides) => [
      { ...sides, ...under },
      { ...sides, ...over },
    ]),
  ].filter(
    ({ left, right, below, above }) =>
      left >= -SYMBOL && right <= WIDTH_INSIDE + GAP && below >= -SYMBOL && above <= TOP_INSIDE,
  );
}

/** With the crowds of these indices as one. */
function joined(crowds: readonly Crowd[], a: number, b: number): Crowd[] {
  const rest = crowds.filter((_, index) => index !== a && index !== b);
  return [...rest, crowd([...crowds[a].points, ...crowds[b].points])];
}

const distance = (a: Crowd, b: Crowd): number =>
  Math.hypot(
    a.symbols.left + a.symbols.right - b.symbols.left - b.symbols.right,
    a.symbols.below + a.symbols.above - b.symbols.below - b.symbols.above,
  );

interface Label {
  readonly label: string;
  readonly place: Box;
}

/** Crowds with a place for each label: none upon another, or upon a symbol. */
function labelled(points: readonly Point[]): Label[] {
  let crowds = points.map((point) => crowd([point]));
  for (let i = 0; i < crowds.length; ) {
    const other = crowds.findIndex((each, j) => j > i && meet(crowds[i].symbols, each.symbols));
    if (other < 0) i++;
    else {
      crowds = joined(crowds, i, other);
      // What was joined is larger, and may reach what was passed.
      i = 0;
    }
  }
  while (true) {
    const labels: Label[] = [];
    const taken = crowds.map(({ symbols }) => symbols);
    const crowded = crowds.findIndex((each) => {
      const place = placesOf(each).find((box) => taken.every((other) => !meet(box, other)));
      if (place === undefined) return true;
      taken.push(place);
      labels.push({ label: each.label, place });
      return false;
    });
    if (crowded < 0) return labels;
    if (crowds.length === 1) return [{ label: crowds[0].label, place: crowds[0].symbols }];
    const near = (index: number): number => distance(crowds[crowded], crowds[index]);
    const others = crowds.map((_, index) => index).filter((index) => index !== crowded);
    crowds = joined(
      crowds,
      crowded,
      others.reduce((best, index) => (near(index) < near(best) ? index : best)),
    );
  }
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
  const labels = labelled(
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
            label: {
              ...TEXT_STYLE,
              show: true,
              position: "inside",
              formatter: "{b}",
              // Lines of the grid do not run through it.
              backgroundColor: "var(--paper)",
            },
            data: labels.map(({ label, place: { left, right, below, above } }) => ({
              name: label,
              value: [(left + right) / 2 / WIDTH_INSIDE, (below + above) / 2 / HEIGHT_INSIDE],
            })),
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
