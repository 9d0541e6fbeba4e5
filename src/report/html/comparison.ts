/** A comparison of strategies as one HTML file. */
import { leavesFigure, mappedMemoryFigure, tableMemoryFigure, tidinessFigure } from "./bars.js";
import { type Figure, figure, legend } from "./chart.js";
import { documentLink } from "./data.js";
import { type Html, html } from "./html.js";
import { spaceMaps } from "./map-figure.js";
import { spanFigure } from "./over-time.js";
import { definitions, page, section } from "./page.js";
import { strategyTable } from "./strategy-table.js";
import type { StrategyResult } from "../../replay/replays.js";
import { importerTidinessFigure } from "./tidiness.js";

export interface ReportedComparison {
  /** What was compared, in a line. */
  readonly subject: string;
  /** The answer in a sentence, with its figure. */
  readonly answer: string;
  /** What else came out, a sentence each. */
  readonly remarks: readonly string[];
  /** Name of the strategy that the answer is about, null when there is none. */
  readonly best: string | null;
  /** What a reader of the figures should know about the input. */
  readonly warnings: readonly string[];
  readonly domains: readonly { readonly name: string }[];
  /** One or more. */
  readonly results: readonly StrategyResult[];
}

/** How a report was made, so that it can be repeated. */
export interface Provenance {
  readonly version: string;
  /** As it is typed. */
  readonly command: string;
  readonly inputs: Readonly<Record<string, unknown>>;
  /** The same result as `--json` prints it. */
  readonly document: string;
}

const figures = (all: readonly Figure[]): Html => html`<div class="figures">
${all.map(figure)}
</div>`;

/**
 * The sections of a comparison, for a page of one or of several. Charts need recordings for the IOVA space over time and
 * for its maps; without them these are left out.
 */
export function comparisonSections({ results, best, remarks, warnings, domains }: ReportedComparison): Html[] {
  const importers = results[0].importers;
  const span = spanFigure(results);
  const mapped = mappedMemoryFigure(results);
  const maps = spaceMaps(results, domains);
  return [
    ...remarks.map((sentence) => html`<p>${sentence}</p>`),
    ...(warnings.length === 0
      ? []
      : [html`<div class="warnings"><ul>${warnings.map((line) => html`<li>${line.trim()}</li>`)}</ul></div>`]),
    section("Strategies", strategyTable(results, best)),
    section(
      "Charts",
      figures([
        leavesFigure(results),
        ...(mapped ? [mapped] : []),
        ...(importers.length === 0
          ? [tidinessFigure(results)]
          : importers.map((_, index) => importerTidinessFigure(results, index))),
        tableMemoryFigure(results),
        ...(span ? [span] : []),
      ]),
    ),
    ...(maps
      ? [
          section(
            "Map of the IOVA space",
            html`<p class="note">${maps.caption}</p>`,
            legend(maps.legend),
            figures(maps.figures),
          ),
        ]
      : []),
  ];
}

function inputText(value: unknown): string {
  if (value === null) return "not given";
  if (Array.isArray(value)) return value.join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** How it was made, with the command to repeat it and the result as a document. */
export function provenanceSection({ version, command, inputs, document }: Provenance): Html {
  const given = Object.entries(inputs).map(([name, value]): [string, string] => [name, inputText(value)]);
  return section(
    "How this was made",
    html`<pre>${command}</pre>`,
    definitions([["iommu-lab", version], ...given]),
    html`<p class="downloads">All figures: ${documentLink("comparison.json", "JSON", document)}</p>`,
  );
}

/** The whole report of one comparison. The same comparison gives the same bytes. */
export function comparisonHtml(comparison: ReportedComparison, provenance: Provenance): string {
  return page({
    title: `iommu-lab: ${comparison.subject}`,
    subject: comparison.subject,
    answer: comparison.answer,
    sections: [...comparisonSections(comparison), provenanceSection(provenance)],
  });
}
