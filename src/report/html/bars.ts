/** Charts of one bar a strategy: leaves by size, tidiness of the IOMMU, table memory, misses of caches. */
import type { EChartsOption } from "echarts/types/dist/echarts";
import { bytes, grouped, significant, sizeName } from "../units.js";
import { CHART_WIDTH, drawChart, type Figure, INK, leafColour, LINE, seriesColour, TEXT_STYLE } from "./chart.js";
import type { Html } from "./html.js";
import type { StrategyResult } from "../../replay/replays.js";

const ROW_HEIGHT = 26;
const BAR_HEIGHT = 14;
/** About the width of a character, for the names on the left and the figures on the right. */
const CHARACTER_WIDTH = 7;
const WIDEST_NAME = 170;

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

interface Stack {
  readonly name: string;
  readonly colour: string;
  readonly values: readonly number[];
}

/** Horizontal bars, from the top down, with their sums behind them; `mark` is a line across, of bars up to 1. */
function drawBars(
  names: readonly string[],
  stacks: readonly Stack[],
  format: (value: number) => string,
  mark?: number,
): Html {
  const totals = names.map((_, row) => sum(stacks.map(({ values }) => values[row])));
  const labels = totals.map(format);
  const parts = (row: number): string =>
    stacks.length < 2 ? "" : ` (${stacks.map(({ name, values }) => `${name} ${format(values[row])}`).join(", ")})`;
  const alternative = names.map((name, row) => `${name}: ${labels[row]}${parts(row)}`).join("; ");
  const width = (texts: readonly string[]): number =>
    Math.max(...texts.map((text) => text.length)) * CHARACTER_WIDTH + 12;
  const left = Math.min(WIDEST_NAME, width(names));
  const right = width(labels);
  const bars: EChartsOption["series"] = stacks.map(({ name, colour, values }) => ({
    type: "bar",
    name,
    stack: "all",
    silent: true,
    barWidth: BAR_HEIGHT,
    itemStyle: { color: colour },
    data: [...values],
  }));
  const ends: EChartsOption["series"] = {
    type: "bar",
    stack: "all",
    silent: true,
    barWidth: BAR_HEIGHT,
    data: names.map(() => 0),
    label: {
      ...TEXT_STYLE,
      show: true,
      position: "right",
      formatter: ({ dataIndex }: { dataIndex: number }) => labels[dataIndex],
    },
    ...(mark !== undefined && {
      markLine: {
        symbol: "none",
        silent: true,
        lineStyle: { color: INK, type: "dashed", width: 1 },
        label: { show: false },
        data: [{ xAxis: mark }],
      },
    }),
  };
  return drawChart(
    { height: names.length * ROW_HEIGHT + 8, alternative },
    {
      grid: { left, right, top: 4, bottom: 4, outerBoundsMode: "none" },
      xAxis: {
        type: "value",
        show: false,
        min: 0,
        max: mark === undefined ? Math.max(...totals) || 1 : 1,
      },
      yAxis: {
        type: "category",
        inverse: true,
        data: [...names],
        axisTick: { show: false },
        axisLine: { lineStyle: { color: LINE } },
        axisLabel: { ...TEXT_STYLE, interval: 0, width: Math.min(left, CHART_WIDTH / 2) - 10, overflow: "break" },
      },
      series: [...bars, ends],
    },
  );
}

const namesOf = (results: readonly StrategyResult[]): string[] => results.map(({ strategy }) => strategy.name);

/** Leaf sizes that anybody used, and the granule, smallest first. */
function sizesOf(results: readonly StrategyResult[]) {
  const { leaves } = results[0].figures;
  return leaves
    .map(({ size }, index) => ({ size, index, colour: leafColour(leaves.length - 1 - index) }))
    .filter(({ index }) => index === leaves.length - 1 || results.some(({ figures }) => figures.leaves[index].peak > 0))
    .reverse();
}

export function leavesFigure(results: readonly StrategyResult[]): Figure {
  const stacks = sizesOf(results).map(({ size, index, colour }) => ({
    name: sizeName(size),
    colour,
    values: results.map(({ figures }) => figures.leaves[index].mean),
  }));
  return {
    title: "Leaves by size",
    caption: "Entries that map memory, mean over all operations; fewer is better.",
    drawing: drawBars(namesOf(results), stacks, significant),
    legend: stacks,
    data: {
      name: "leaves-by-size",
      columns: ["strategy", "leafSize", "mean", "peak", "atEnd"],
      rows: results.flatMap(({ strategy, figures }) =>
        figures.leaves.map(({ size, mean, peak, atEnd }) => [strategy.name, size, mean, peak, atEnd]),
      ),
    },
  };
}

/** Null when no strategy was recorded. */
export function mappedMemoryFigure(results: readonly StrategyResult[]): Figure | null {
  const moment = results[0].recording?.moment;
  if (moment === undefined) return null;
  const bySize = results.map(({ recording }) => {
    const mapped = new Map<number, number>();
    for (const { length, size } of recording?.spaces.flatMap(({ leaves }) => [...leaves]) ?? []) {
      mapped.set(Number(size), (mapped.get(Number(size)) ?? 0) + Number(length));
    }
    return mapped;
  });
  const stacks = sizesOf(results).map(({ size, colour }) => ({
    name: sizeName(size),
    size,
    colour,
    values: bySize.map((mapped) => mapped.get(size) ?? 0),
  }));
  return {
    title: "Mapped memory by leaf size",
    caption:
      `Bytes that leaves of each size map, all domains together, after ${grouped(moment)} operations, when most memory ` +
      "was mapped. (Identity maps a page that mappings share once.)",
    drawing: drawBars(namesOf(results), stacks, bytes),
    legend: stacks,
    data: {
      name: "mapped-memory",
      columns: ["strategy", "leafSize", "mappedBytes"],
      rows: results.flatMap(({ strategy }, row) =>
        stacks.map(({ size, values }) => [strategy.name, size, values[row]]),
      ),
    },
  };
}

/** Tidiness of the IOMMU alone. */
export function tidinessFigure(results: readonly StrategyResult[]): Figure {
  const values = results.map(({ figures }) => figures.tidiness);
  const attainable = results[0].figures.attainableTidiness;
  return {
    title: "Tidiness of the IOMMU",
    caption:
      "Fewest leaves that the mappings' lengths could take, divided by the leaves used: 1 is tidy. The dashed line, " +
      `${attainable.toFixed(3)}, is what their physical layout permits for any IOVA.`,
    drawing: drawBars(
      namesOf(results),
      [{ name: "tidiness", colour: "var(--series-1)", values }],
      (value) => value.toFixed(3),
      attainable,
    ),
    data: {
      name: "tidiness",
      columns: ["strategy", "tidiness", "attainableTidiness"],
      rows: results.map(({ strategy, figures }) => [strategy.name, figures.tidiness, figures.attainableTidiness]),
    },
  };
}

export function tableMemoryFigure(results: readonly StrategyResult[]): Figure {
  const values = results.map(({ figures }) => figures.tableBytesPeak);
  return {
    title: "Table memory",
    caption: "Bytes of table pages at their peak, all domains together; less is better.",
    drawing: drawBars(namesOf(results), [{ name: "tables", colour: "var(--series-1)", values }], bytes),
    data: {
      name: "table-memory",
      columns: ["strategy", "tableBytesPeak"],
      rows: results.map(({ strategy, figures }) => [strategy.name, figures.tableBytesPeak]),
    },
  };
}

/** Null when devices accessed nothing. */
export function missesFigure(results: readonly StrategyResult[]): Figure | null {
  const accessed = results.flatMap(({ strategy, access }) => (access ? [{ name: strategy.name, access }] : []));
  if (accessed.length === 0) return null;
  const levels = accessed[0].access.walkCacheMisses.map(({ level }) => level);
  const missesOf = accessed.map(({ access }) => [
    access.iotlbMissesPerPage,
    ...access.walkCacheMisses.map(({ perPage }) => perPage),
  ]);
  const stacks = ["IOTLB", ...levels.map((level) => `level ${level}`)].map((name, index) => ({
    name,
    colour: seriesColour(index),
    values: missesOf.map((misses) => misses[index]),
  }));
  return {
    title: "Misses per page",
    caption:
      "Misses of the IOTLB, and of the walk caches of entries of each level, per 4096 bytes that devices moved; " +
      "the figure is their sum, fewer is better.",
    drawing: drawBars(
      accessed.map(({ name }) => name),
      stacks,
      (value) => value.toFixed(3),
    ),
    legend: stacks,
    data: {
      name: "misses-per-page",
      columns: ["strategy", "iotlb", ...levels.map((level) => `level${level}`)],
      rows: accessed.map(({ name }, row) => [name, ...missesOf[row]]),
    },
  };
}
