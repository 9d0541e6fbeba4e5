/**
 * Charts as SVG, drawn by ECharts without a browser. Text stays text, and colours are the page's variables (style.ts), so
 * that one drawing serves light, dark and paper.
 */
import { BarChart, CustomChart, LineChart, ScatterChart } from "echarts/charts.js";
import { GridComponent, MarkLineComponent } from "echarts/components.js";
import * as echarts from "echarts/core.js";
import { SVGRenderer } from "echarts/renderers.js";
import type { EChartsOption } from "echarts/types/dist/echarts";
import { type ChartData, downloads } from "./data.js";
import { Html, html } from "./html.js";
import { heading, type Level } from "./page.js";

echarts.use([BarChart, CustomChart, LineChart, ScatterChart, GridComponent, MarkLineComponent, SVGRenderer]);

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

export interface Drawing {
  readonly height: number;
  /** What it shows, for who cannot see it. */
  readonly alternative: string;
}

/** An SVG of this option, CHART_WIDTH wide; the same bytes for the same option. Nothing of it is clipped. */
export function drawChart({ height, alternative }: Drawing, option: EChartsOption): Html {
  const chart = echarts.init(null, null, { renderer: "svg", ssr: true, width: CHART_WIDTH, height });
  try {
    chart.setOption({ animation: false, textStyle: TEXT_STYLE, ...option });
    const svg = chart.renderToSVGString({ useViewBox: true });
    // What the library marks for scripts that this file has not, and clip paths that cut nothing off; both are numbered
    // through all charts that it ever drew. Within HTML the namespaces are known, and the ground is the page's.
    return new Html(
      svg
        .replace(/<(style|defs)\s*>.*?<\/\1>\s*/gs, "")
        .replace(/ (?:xmlns(?::xlink)?|version|baseProfile)="[^"]*"|<rect [^>]*fill="none"><\/rect>\n/g, "")
        .replace(/ (?:class="zr[^"]*"|clip-path="[^"]*"|ecmeta_\w+="[^"]*"|pointer-events="[^"]*")/g, "")
        .replace(/<svg /, () => html`<svg role="img" aria-label="${alternative}" `.text),
    );
  } finally {
    chart.dispose();
  }
}

/** A field of a colour; a line of a colour and of these dashes (SVG stroke-dasharray, empty: solid); or a number. */
export type LegendEntry =
  | { readonly name: string; readonly colour: string; readonly dashes?: string }
  | { readonly name: string; readonly number: number };

function sign(entry: LegendEntry): Html {
  if ("number" in entry) return html`<b>${entry.number}</b>`;
  const { colour, dashes } = entry;
  return dashes === undefined
    ? html`<svg width="12" height="12" aria-hidden="true"><rect width="12" height="12" fill="${colour}"/></svg>`
    : html`<svg width="24" height="12" aria-hidden="true"><path d="M0 6H24" stroke="${colour}" stroke-width="2" stroke-dasharray="${dashes}"/></svg>`;
}

export function legend(entries: readonly LegendEntry[]): Html {
  const numbered = entries.some((entry) => "number" in entry);
  return html`<ul class="${numbered ? "legend numbers" : "legend"}">${entries.map((entry) => html`<li>${sign(entry)} ${entry.name}</li>`)}</ul>`;
}

export interface Figure {
  readonly title: string;
  /** What is drawn, and how to read it. */
  readonly caption: string;
  readonly drawing: Html;
  readonly legend?: readonly LegendEntry[];
  readonly data?: ChartData;
}

export function figure(level: Level, { title, caption, drawing, legend: entries, data }: Figure): Html {
  return html`<figure>
${heading(level, title)}
${drawing}
${entries ? legend(entries) : ""}
<figcaption>${caption}</figcaption>
${data ? downloads(data) : ""}
</figure>`;
}
