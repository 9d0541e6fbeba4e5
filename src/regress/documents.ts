/** A regression run as the documents that other programs read. */
import { createRequire } from "node:module";
import type { Builder } from "junit-report-builder";
import { findImporter } from "../importers/importers.js";
import { withImporters } from "../strategies/placer.js";
import { findStrategy } from "../strategies/strategies.js";
import { type CaseComparison, holds, type Regression } from "./compare.js";
import type { CaseRun } from "./run.js";
import {
  caseSummary,
  differencesTable,
  exact,
  headline,
  LONELY,
  percent,
  remark,
  WALL_HEADS,
  WALL_LEGEND,
  wallRows,
} from "./text.js";

const require = createRequire(import.meta.url);

/** What was asked, as it stands at the head of the JSON document. */
export interface RegressInputs {
  readonly suite: string;
  readonly baseline: string | null;
  readonly allow: readonly string[];
  readonly wall: boolean;
  readonly wallFails: boolean;
}

/** One JSON document. Without wall-clock figures it is the same byte for byte for the same suite and baseline. */
export function regressionJson(
  version: string,
  inputs: RegressInputs,
  runs: readonly CaseRun[],
  regression: Regression | null,
): string {
  const head = { command: "regress", version, inputs };
  const figures = runs.map(({ name, inputs, counters, wall }) => ({ name, inputs, counters, wall }));
  const document =
    regression === null
      ? { ...head, cases: figures }
      : {
          ...head,
          holds: holds(regression, inputs),
          compared: regression.compared,
          differing: regression.differing,
          comparisons: regression.cases,
          cases: figures,
        };
  return `${JSON.stringify(document, null, 2)}\n`;
}

function failure(each: CaseComparison, wallFails: boolean): string | null {
  const { state, wall } = each;
  if (state in LONELY) return LONELY[state];
  if (state === "different") return caseSummary(each);
  return wallFails && wall?.verdict === "slower" ? `slower by ${percent(wall.change)}` : null;
}

/** JUnit XML: a test case for each case of the suite, which fails when it does not hold. */
export function regressionJunit(regression: Regression, { wallFails }: Pick<RegressInputs, "wallFails">): string {
  // Its types are those of an ES module, which it is not; few runs need it, and it is slow to load.
  const junit = require("junit-report-builder") as Builder;
  const builder = junit.newBuilder();
  const suite = builder.testSuite().name(regression.suite);
  for (const each of regression.cases) {
    const test = suite.testCase().className("iommu-lab regress").name(each.name);
    const message = failure(each, wallFails);
    if (message === null) continue;
    test.failure(message);
    if (each.differences.length > 0) test.stacktrace(differencesTable(each.differences));
  }
  return `${builder.build()}\n`;
}

/** What a strategy costs, smaller being better, with its unit. */
const COSTS: Readonly<Record<string, string>> = {
  failed: "mappings",
  leavesUsed: "entries",
  leavesPeak: "entries",
  tableBytesPeak: "bytes",
  entriesWritten: "entries",
  spanPeak: "bytes",
};

/** The same of each of its importers. */
const IMPORTER_COSTS: typeof COSTS = { entriesUsed: "entries", refused: "mappings" };

/** Names and units of the counters of a case that are costs. */
function costsOf({ strategies, importers = [] }: CaseRun["inputs"]): [string, string][] {
  const under = (prefix: string, costs: typeof COSTS): [string, string][] =>
    Object.entries(costs).map(([counter, unit]) => [`${prefix}.${counter}`, unit]);
  const runs = withImporters(strategies.map(findStrategy), importers.map(findImporter));
  return runs.flatMap(({ strategy }) => [
    ...under(strategy.name, COSTS),
    ...importers.flatMap((importer) => under(`${strategy.name}.${importer}`, IMPORTER_COSTS)),
  ]);
}

/**
 * What github-action-benchmark reads as `customSmallerIsBetter`: what each strategy costs the IOMMU
 * and the importers, and wall-clock figures.
 */
export function benchmarkJson(runs: readonly CaseRun[]): string {
  const entries = runs.flatMap(({ name, inputs, counters, wall }) => [
    ...costsOf(inputs).map(([figure, unit]) => ({ name: `${name}/${figure}`, unit, value: counters[figure] })),
    ...(wall === null
      ? []
      : [{ name: `${name}/wall`, unit: "ms", value: wall.milliseconds, range: `± ${wall.noise} %` }]),
  ]);
  return `${JSON.stringify(entries, null, 2)}\n`;
}

/** A comment on GitHub holds 65,536 characters; rows beyond this many are counted only. */
const MOST_ROWS = 300;

/** A summary for a pull request: the answer, then every difference as a table. */
export function regressionMarkdown(regression: Regression): string {
  const rows = regression.cases.flatMap(({ name, state, differences }) =>
    state in LONELY
      ? [`| ${name} | | | | ${LONELY[state]} |`]
      : differences.map((each) => {
          const { counter, before, after, change, allowed } = each;
          const remarks = [percent(change), allowed === null ? remark(each) : `allowed: \`${allowed}\``];
          return `| ${name} | ${counter} | ${exact(before)} | ${exact(after)} | ${remarks.join(" ").trim()} |`;
        }),
  );
  const wall = wallRows(regression.cases).map((cells) => `| ${cells.join(" | ")} |`);
  const wallTable = [`| case | ${WALL_HEADS.join(" | ")} |`, "|---|--:|--:|--:|--:|--:|---|", ...wall, "", WALL_LEGEND];
  const figures = [
    "| case | counter | before | after | change |",
    "|---|---|--:|--:|--:|",
    ...rows.slice(0, MOST_ROWS),
  ];
  const more = rows.length > MOST_ROWS ? ["", `and ${rows.length - MOST_ROWS} more`] : [];
  return [
    `### iommu-lab regress: ${headline(regression)}`,
    ...(rows.length > 0 ? ["", ...figures, ...more] : []),
    ...(wall.length > 0 ? ["", ...wallTable] : []),
    "",
  ].join("\n");
}
