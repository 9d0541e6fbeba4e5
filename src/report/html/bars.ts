/** Charts of one bar a strategy: leaves by size, tidiness of the IOMMU, table memory. */
import type { EChartsOption } from "echarts/types/dist/echarts";
import { bytes, significant, sizeName } from "../units.js";
import { CHART_WIDTH, drawChart, type Figure, INK, leafColour, LINE, MUTED, TEXT_STYLE } from "./chart.js";
import type { Html } from "./html.js";
import type { ReportedStrategy } from "./strategies.js";

const ROW_HEIGHT = 26;
const BAR_HEIGHT = 14;
/** About the width of a character, for the names on the left and the figures on the right. */
const CHARACTER_WIDTH = 7;
const WIDEST_NAME = 170;

interface Stack {
  readonly name: string;
  readonly colour: string;
  readonly values: readonly number[];
}

interface Mark {
  readonly value: number;
  readonly name: string;
}

/** Horizontal bars, from the top down, with `labels` behind them; `mark` is a line across all of them. */
function drawBars(names: readonly string[], stacks: readonly Stack[], labels: readonly string[], mark?: Mark): Html {
  const width = (texts: readonly string[]): number =>
    Math.max(...texts.map((text) => text.length)) * CHARACTER_WIDTH + 12;
  const left = Math.min(WIDEST_NAME, width(names));
  const right = width(labels);
  const top = mark ? 22 : 4;
  const bars: EChartsOption["series"] = stacks.map(({ name, colour, values }) => ({
    type: "bar",
    name,
    stack: "all",
    silent: true,
    barWidth: BAR_HEIGHT,
    itemStyle: { color: colour },
    data: [...values],
  }));
  const totals: EChartsOption["series"] = {
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
    ...(mark && {
      markLine: {
        symbol: "none",
        silent: true,
        lineStyle: { color: INK, type: "dashed", width: 1 },
        label: { ...TEXT_STYLE, color: MUTED, formatter: mark.name, position: "end" },
        data: [{ xAxis: mark.value }],
      },
    }),
  };
  return drawChart(top + names.length * ROW_HEIGHT + 4, {
    grid: { left, right, top, bottom: 4, outerBoundsMode: "none" },
    xAxis: {
      type: "value",
      show: false,
      min: 0,
      ...(mark
        ? { max: 1 }
        : { max: Math.max(...names.map((_, i) => stacks.reduce((sum, s) => sum + s.values[i], 0)), 1) }),
    },
    yAxis: {
      type: "category",
      inverse: true,
      data: [...names],
      axisTick: { show: false },
      axisLine: { lineStyle: { color: LINE } },
      axisLabel: { ...TEXT_STYLE, interval: 0, width: Math.min(left, CHART_WIDTH / 2) - 10, overflow: "break" },
    },
    series: [...bars, totals],
  });
}

const namesOf = (results: readonly ReportedStrategy[]): string[] => results.map(({ strategy }) => strategy.name);

/** Largest size first, as the figures have them; those that nobody used are left out. */
export function leavesFigure(results: readonly ReportedStrategy[]): Figure {
  const sizes = results[0].figures.leaves
    .map(({ size }, index) => ({ size, index, order: results[0].figures.leaves.length - 1 - index }))
    .filter(({ index, order }) => order === 0 || results.some(({ figures }) => figures.leaves[index].peak > 0))
    .reverse();
  const stacks = sizes.map(({ size, index, order }) => ({
    name: sizeName(size),
    colour: leafColour(order),
    values: results.map(({ figures }) => figures.leaves[index].mean),
  }));
  return {
    title: "Leaves by size",
    caption: "Entries that map memory, mean over all operations; fewer is better.",
    drawing: drawBars(
      namesOf(results),
      stacks,
      results.map(({ figures }) => significant(figures.leavesMean)),
    ),
    legend: stacks.map(({ name, colour }) => ({ name, colour })),
    data: {
      name: "leaves-by-size",
      columns: ["strategy", "leafSize", "mean", "peak", "atEnd"],
      rows: results.flatMap(({ strategy, figures }) =>
        figures.leaves.map(({ size, mean, peak, atEnd }) => [strategy.name, size, mean, peak, atEnd]),
      ),
    },
  };
}

/** Tidiness of the IOMMU alone. */
export function tidinessFigure(results: readonly ReportedStrategy[]): Figure {
  const values = results.map(({ figures }) => figures.tidiness);
  const attainable = results[0].figures.attainableTidiness;
  return {
    title: "Tidiness of the IOMMU",
    caption:
      "Fewest leaves that the mappings' lengths could take, divided by the leaves used: 1 is tidy. The dashed line is what " +
      "their physical layout permits for any IOVA.",
    drawing: drawBars(
      namesOf(results),
      [{ name: "tidiness", colour: "var(--series-1)", values }],
      values.map((value) => value.toFixed(3)),
      { value: attainable, name: `attainable ${attainable.toFixed(3)}` },
    ),
    data: {
      name: "tidiness",
      columns: ["strategy", "tidiness", "attainableTidiness"],
      rows: results.map(({ strategy, figures }) => [strategy.name, figures.tidiness, figures.attainableTidiness]),
    },
  };
}

export function tableMemoryFigure(results: readonly ReportedStrategy[]): Figure {
  const values = results.map(({ figures }) => figures.tableBytesPeak);
  return {
    title: "Table memory",
    caption: "Bytes of table pages at their peak, all domains together; less is better.",
    drawing: drawBars(namesOf(results), [{ name: "tables", colour: "var(--series-1)", values }], values.map(bytes)),
    data: {
      name: "table-memory",
      columns: ["strategy", "tableBytesPeak"],
      rows: results.map(({ strategy, figures }) => [strategy.name, figures.tableBytesPeak]),
    },
  };
}
