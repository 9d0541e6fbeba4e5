/** A regression run as one HTML file. */
import { comparisonSections, inputsList, type Provenance, provenanceSection } from "../report/html/comparison.js";
import { downloads } from "../report/html/data.js";
import { Html, html } from "../report/html/html.js";
import { chapter, page, section } from "../report/html/page.js";
import type { ReportedComparison } from "../report/html/reported.js";
import type { Regression } from "./compare.js";
import type { CaseRun } from "./run.js";
import type { CaseInputs } from "./suite.js";
import {
  caseSummary,
  countedSentence,
  headline,
  LONELY,
  percent,
  remark,
  shown,
  WALL_HEADS,
  WALL_LEGEND,
  wallRows,
} from "./text.js";

/** Rows of differences that the page shows; its data has all of them. */
const MOST_ROWS = 300;

const anchor = (name: string): string => `case-${name}`;

/** What a page says of one case. The same comparison gives the same text. */
export function caseChapter(name: string, inputs: CaseInputs, reported: ReportedComparison): Html {
  return chapter(
    anchor(name),
    name,
    html`<p class="subject">${reported.subject}</p>`,
    html`<p><strong>${reported.answer}</strong></p>`,
    ...comparisonSections(reported, { level: 3, of: name }),
    section(3, "What was asked", inputsList({ ...inputs })),
  );
}

function table(heads: readonly string[], rows: readonly Html[]): Html {
  return html`<div class="scroll" role="region" aria-label="${heads[0]}" tabindex="0">
<table class="regression">
<thead><tr>${heads.map((head) => html`<th scope="col">${head}</th>`)}</tr></thead>
<tbody>
${rows}
</tbody>
</table>
</div>`;
}

const row = (first: string | Html, ...cells: readonly string[]): Html =>
  html`<tr><th scope="row">${first}</th>${cells.map((cell) => html`<td>${cell}</td>`)}</tr>`;

/** What differs, nothing where nothing does. */
function differencesSections({ cases }: Regression): Html[] {
  const all = cases.flatMap(({ name, differences }) => differences.map((each) => ({ name, ...each })));
  if (all.length === 0) return [];
  const rows = all.slice(0, MOST_ROWS).map((each) => {
    const { name, counter, before, after, change, allowed } = each;
    const rule = allowed === null ? remark(each) : `allowed: ${allowed}`;
    return row(`${name}/${counter}`, shown(before), shown(after), percent(change), rule);
  });
  const more = all.length - rows.length;
  return [
    section(
      2,
      "Differences",
      table(["case/counter", "before", "after", "change", "remark"], rows),
      ...(more > 0 ? [html`<p class="note">${`and ${more} more, which are in the data`}</p>`] : []),
      downloads({
        name: "differences",
        columns: ["case", "counter", "kind", "before", "after", "changePercent", "allowed"],
        rows: all.map(({ name, counter, kind, before, after, change, allowed }) => [
          ...[name, counter, kind, before, after, change, allowed],
        ]),
      }),
    ),
  ];
}

/** Every case with a link to its chapter, and how it compares. */
function casesSection(runs: readonly CaseRun[], regression: Regression | null): Html {
  const link = (name: string): Html => html`<a href="#${anchor(name)}">${name}</a>`;
  const names = new Set(runs.map(({ name }) => name));
  const figures = new Map(runs.map(({ name, counters }) => [name, Object.keys(counters).length]));
  const rows =
    regression === null
      ? runs.map(({ name }) => row(link(name), String(figures.get(name))))
      : regression.cases.map((each) =>
          row(
            names.has(each.name) ? link(each.name) : each.name,
            String(figures.get(each.name) ?? "none"),
            LONELY[each.state] ?? caseSummary(each),
          ),
        );
  return section(
    2,
    "Cases",
    table(["case", "figures", ...(regression === null ? [] : ["against the baseline"])], rows),
  );
}

function wallSections(regression: Regression): Html[] {
  const rows = wallRows(regression.cases);
  if (rows.length === 0) return [];
  return [
    section(
      2,
      "Wall clock",
      table(
        ["case", ...WALL_HEADS],
        rows.map(([name, ...cells]) => row(name, ...cells)),
      ),
      html`<p class="note">${WALL_LEGEND}</p>`,
    ),
  ];
}

/**
 * The whole report: what differs from the baseline first, then a chapter a case. Without wall-clock figures it is the same
 * byte for byte for the same suite and baseline.
 * @param runs with their chapters
 */
export function regressionHtml(
  suite: string,
  runs: readonly CaseRun[],
  regression: Regression | null,
  provenance: Provenance,
): string {
  const subject = regression === null ? suite : `${suite} against ${regression.baseline}`;
  const answer = regression === null ? countedSentence(runs) : headline(regression);
  return page({
    title: `iommu-lab regress: ${subject}`,
    subject,
    answer: `${answer[0].toUpperCase()}${answer.slice(1)}.`,
    sections: [
      ...(regression === null ? [] : differencesSections(regression)),
      casesSection(runs, regression),
      ...(regression === null ? [] : wallSections(regression)),
      ...runs.flatMap((run) => (run.chapter === null ? [] : [new Html(run.chapter)])),
      provenanceSection(provenance),
    ],
  });
}
