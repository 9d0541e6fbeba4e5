/** A comparison of strategies as one HTML file. */
import { leavesFigure, mappedMemoryFigure, missesFigure, tableMemoryFigure, tidinessFigure } from "./bars.js";
import { jsonText } from "../json.js";
import { type Figure, figure, legend } from "./chart.js";
import { documentLink } from "./data.js";
import { type Html, html } from "./html.js";
import { spaceMaps } from "./map-figure.js";
import { spanFigure } from "./over-time.js";
import { below, definitions, type Level, page, section } from "./page.js";
import { strategyTable } from "./strategy-table.js";
import type { ReportedComparison } from "./reported.js";
import { importerTidinessFigure } from "./tidiness.js";

/** How a report was made, so that it can be repeated. */
export interface Provenance {
  readonly version: string;
  /** As it is typed. */
  readonly command: string;
  readonly inputs: Readonly<Record<string, unknown>>;
  /** The same result as `--json` prints it, and what its file is called. */
  readonly document: string;
  readonly documentName: string;
}

/** Where the sections of a comparison stand. */
export interface SectionPlace {
  /** Of their headings. */
  readonly level: Level;
  /** Of whom the data is, where a page has that of several: its files are called after it. */
  readonly of?: string;
}

function figures(all: readonly Figure[], { level, of }: SectionPlace): Html {
  const named = (each: Figure): Figure =>
    of === undefined || !each.data ? each : { ...each, data: { ...each.data, name: `${of}.${each.data.name}` } };
  return html`<div class="figures">
${all.map((each) => figure(level, named(each)))}
</div>`;
}

/**
 * The sections of a comparison, for a page of one, or of several with a name each. Charts need recordings for the IOVA
 * space over time and for its maps; without them these are left out.
 */
export function comparisonSections(
  { results, best, remarks, warnings, domains }: ReportedComparison,
  place: SectionPlace = { level: 2 },
): Html[] {
  const importers = results[0].importers;
  const span = spanFigure(results);
  const mapped = mappedMemoryFigure(results);
  const misses = missesFigure(results);
  const maps = spaceMaps(results, domains);
  const within: SectionPlace = { ...place, level: below(place.level) };
  return [
    ...remarks.map((sentence) => html`<p>${sentence}</p>`),
    ...(warnings.length === 0
      ? []
      : [html`<div class="warnings"><ul>${warnings.map((line) => html`<li>${line.trim()}</li>`)}</ul></div>`]),
    section(place.level, "Strategies", strategyTable(results, best)),
    section(
      place.level,
      "Charts",
      figures(
        [
          leavesFigure(results),
          ...(mapped ? [mapped] : []),
          ...(importers.length === 0
            ? [tidinessFigure(results)]
            : importers.map((_, index) => importerTidinessFigure(results, index))),
          tableMemoryFigure(results),
          ...(misses ? [misses] : []),
          ...(span ? [span] : []),
        ],
        within,
      ),
    ),
    ...(maps
      ? [
          section(
            place.level,
            "Maps of the IOVA space",
            html`<p class="note">${maps.caption}</p>`,
            legend(maps.legend),
            ...maps.domains.map(({ name, mapped, figures: ofDomain }) =>
              section(
                within.level,
                `Domain ${name}, ${mapped} mapped`,
                figures(ofDomain, { ...within, level: below(within.level) }),
              ),
            ),
          ),
        ]
      : []),
  ];
}

function inputText(value: unknown): string {
  if (value === null) return "not given";
  if (Array.isArray(value)) return value.length === 0 ? "none" : value.join(", ");
  return typeof value === "object" ? jsonText(value) : String(value);
}

/** What was asked. */
export function inputsList(inputs: Provenance["inputs"], ...before: readonly (readonly [string, string])[]): Html {
  return definitions([...before, ...Object.entries(inputs).map(([name, value]) => [name, inputText(value)] as const)]);
}

/** How it was made, with the command to repeat it and the result as a document. */
export function provenanceSection({ version, command, inputs, document, documentName }: Provenance): Html {
  return section(
    2,
    "How this was made",
    html`<pre>${command}</pre>`,
    inputsList(inputs, ["iommu-lab", version]),
    html`<p class="downloads">All figures: ${documentLink(documentName, "JSON", document)}</p>`,
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
