/** IOVA space over the operations of a replay, from its recording. */
import type { Recording, Sample } from "../../replay/recording.js";
import { bytes, grouped } from "../units.js";
import { drawChart, type Figure, LINE, MUTED, SERIES_COLOURS, seriesColour, TEXT_STYLE } from "./chart.js";
import type { StrategyResult } from "../../replay/replays.js";
import { joinAlike } from "./strategies.js";

/** Dashes of the lines, SVG stroke-dasharray: one after the other once every colour is used. */
const DASHES = ["", "6 3", "2 2"] as const;
const MAPPED_DASHES = "1 3";

interface Line {
  readonly name: string;
  readonly colour: string;
  readonly dashes: string;
  readonly values: readonly number[];
}

/** Sizes are drawn by their binary logarithm; a space without anything in it has none, and the line a gap. */
const height = (value: number): number | null => (value > 0 ? Math.log2(value) : null);

/** Powers of two on an axis of about five steps. */
function powersAround(values: readonly number[]): { min: number; max: number; interval: number } {
  const present = values.filter((value) => value > 0).map(Math.log2);
  const low = Math.floor(Math.min(...present, 63));
  const high = Math.max(Math.ceil(Math.max(...present, 12)), low + 1);
  const interval = Math.ceil((high - low) / 5);
  return { min: low, max: low + interval * Math.ceil((high - low) / interval), interval };
}

/** Null when no strategy was recorded. */
export function spanFigure(results: readonly StrategyResult[]): Figure | null {
  const recordings = results.flatMap(({ recording }) => (recording ? [recording] : []));
  if (recordings.length !== results.length || recordings[0].samples.length === 0) return null;
  const operations = recordings[0].samples.map((sample) => sample.operations);
  const of = (recording: Recording | undefined, what: keyof Sample): number[] =>
    recording?.samples.map((sample) => sample[what]) ?? [];
  const spans = joinAlike(results, ({ recording }) => of(recording, "span"));
  const live = operations.map((_, index) => Math.max(...recordings.map(({ samples }) => samples[index].live)));
  const lines: Line[] = spans.map(({ name, values }, index) => ({
    name,
    colour: seriesColour(index),
    dashes: DASHES[Math.floor(index / SERIES_COLOURS) % DASHES.length],
    values,
  }));
  lines.push({ name: "mapped", colour: MUTED, dashes: MAPPED_DASHES, values: live });
  const axis = {
    axisLabel: { ...TEXT_STYLE, color: MUTED },
    axisLine: { show: true, lineStyle: { color: LINE } },
  } as const;
  const end = operations[operations.length - 1];
  const alternative = lines
    .map(
      ({ name, values }) =>
        `${name}: at most ${bytes(Math.max(...values))}, ${bytes(values[values.length - 1])} at the end`,
    )
    .join("; ");
  return {
    title: "IOVA space over time",
    caption:
      "Widest IOVA space, highest end minus lowest start of what is mapped, and the memory that is mapped, over the " +
      `operations (logarithmic; the most in each stretch of ${grouped(operations[0])} operations).`,
    drawing: drawChart(
      { height: 260, alternative },
      {
        grid: { left: 66, right: 16, top: 10, bottom: 44, outerBoundsMode: "none" },
        xAxis: {
          ...axis,
          type: "value",
          min: 0,
          max: end,
          interval: end / 2,
          name: "operations",
          nameLocation: "middle",
          nameGap: 26,
          nameTextStyle: { ...TEXT_STYLE, color: MUTED },
          splitLine: { show: false },
          axisLabel: {
            ...axis.axisLabel,
            formatter: (value: number) => grouped(Math.round(value)),
            alignMinLabel: "left",
            alignMaxLabel: "right",
          },
        },
        yAxis: {
          ...axis,
          type: "value",
          ...powersAround(lines.flatMap(({ values }) => values)),
          axisLabel: { ...axis.axisLabel, formatter: (value: number) => bytes(2 ** value) },
          splitLine: { lineStyle: { color: LINE } },
        },
        series: lines.map(({ colour, dashes, values }) => ({
          type: "line",
          silent: true,
          symbol: "none",
          step: "start",
          lineStyle: { color: colour, width: 2, type: dashes === "" ? "solid" : dashes.split(" ").map(Number) },
          data: [[0, height(values[0])], ...values.map((value, index) => [operations[index], height(value)])],
        })),
      },
    ),
    legend: lines,
    data: {
      name: "iova-space",
      columns: ["operations", ...results.map(({ strategy }) => strategy.name), "mapped"],
      rows: operations.map((at, index) => [at, ...recordings.map(({ samples }) => samples[index].span), live[index]]),
    },
  };
}
