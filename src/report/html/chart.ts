/**
 * Charts as SVG, drawn by ECharts without a browser. Text stays text, and colours are the page's variables (style.ts), so
 * that one drawing serves light, dark and paper.
 */
import { BarChart, CustomChart, LineChart, ScatterChart } from "echarts/charts.js";
import { GridComponent, MarkLineComponent } from "echarts/components.js";
import * as echarts from "echarts/core.js";
import { LabelLayout } from "echarts/features.js";
import { SVGRenderer } from "echarts/renderers.js";
import type { EChartsOption } from "echarts/types/dist/echarts";
import { type ChartData, downloads } from "./data.js";
import { Html, html } from "./html.js";

echarts.use([
  BarChart,
  CustomChart,
  LineChart,
  ScatterChart,
  GridComponent,
  MarkLineComponent,
  LabelLayout,
  SVGRenderer,
]);

/** Width of every chart in pixels: that of a phone; wider pages set several side by side. */
export const CHART_WIDTH = 360;

export const INK = "var(--ink)";
export const MUTED = "var(--muted)";
export const LINE = "var(--line)";
export const ACCENT = "var(--series-1)";

export const TEXT_STYLE = { color: INK, fontSize: 12, fontFamily: "inherit" } as const;

/** Colours of leaf sizes and of lines, defined in style.ts. Leaf sizes count from the smallest. */
export const leafColour = (index: number): string => `var(--leaf-${Math.min(index, 4) + 1})`;
export const SERIES_COLOURS = 6;
export const seriesColour = (index: number): string => `var(--series-${(index % SERIES_COLOURS) + 1})`;

/** An SVG of this option, CHART_WIDTH wide; the same bytes for the same option. Nothing of it is clipped. */
export function drawChart(height: number, option: EChartsOption): Html {
  const chart = echarts.init(null, null, { renderer: "svg", ssr: true, width: CHART_WIDTH, height });
  try {
    chart.setOption({ animation: false, textStyle: TEXT_STYLE, ...option });
    const svg = chart.renderToSVGString({ useViewBox: true });
    // What the library marks for scripts that this file has not, and clip paths that cut nothing off; both are numbered
    // through all charts that it ever drew.
    return new Html(
      svg
        .replace(/<(style|defs)\s*>.*?<\/\1>\s*/gs, "")
        .replace(/ (?:class="zr[^"]*"|clip-path="[^"]*"|ecmeta_\w+="[^"]*"|pointer-events="[^"]*")/g, "")
        .replace(/<svg /, '<svg aria-hidden="true" '),
    );
  } finally {
    chart.dispose();
  }
}

export interface LegendEntry {
  readonly name: string;
  readonly colour: string;
  /** A line of these dashes (SVG stroke-dasharray, empty: solid) instead of a field. */
  readonly dashes?: string;
}

export function legend(entries: readonly LegendEntry[]): Html {
  const items = entries.map(({ name, colour, dashes }) => {
    const sign =
      dashes === undefined
        ? html`<rect width="12" height="12" fill="${colour}"/>`
        : html`<path d="M0 6H24" stroke="${colour}" stroke-width="2" stroke-dasharray="${dashes}"/>`;
    const width = dashes === undefined ? 12 : 24;
    return html`<li><svg width="${width}" height="12" aria-hidden="true">${sign}</svg> ${name}</li>`;
  });
  return html`<ul class="legend">${items}</ul>`;
}

export interface Figure {
  readonly title: string;
  /** What is drawn, and how to read it. */
  readonly caption: string;
  readonly drawing: Html;
  readonly legend?: readonly LegendEntry[];
  readonly data?: ChartData;
}

export function figure({ title, caption, drawing, legend: entries, data }: Figure): Html {
  return html`<figure>
<h3>${title}</h3>
${drawing}
${entries ? legend(entries) : ""}
<figcaption>${caption}</figcaption>
${data ? downloads(data) : ""}
</figure>`;
}
