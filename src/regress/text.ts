/** A regression run as people read it. */
import { plainTable, wrap } from "../report/table.js";
import { grouped } from "../report/units.js";
import { type CaseComparison, type Difference, type Regression, unallowed } from "./compare.js";
import type { CaseRun } from "./run.js";

/** A figure with all its digits. */
export function exact(value: Difference["before"]): string {
  if (value === null) return "none";
  return typeof value === "number" ? value.toLocaleString("en-US", { maximumSignificantDigits: 17 }) : value;
}

/** A relative change with its sign, three digits. */
export function percent(change: number | null): string {
  if (change === null) return "";
  return `${change > 0 ? "+" : ""}${Number(change.toPrecision(3))} %`;
}

function plural(count: number, noun: string): string {
  return `${grouped(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** Counts of what differs in other ways than by a figure's value: "2 figures new". Nothing where nothing does. */
function otherDifferences(cases: readonly CaseComparison[]): string[] {
  const count = (kind: Difference["kind"]): number => cases.reduce((sum, each) => sum + unallowed(each, kind), 0);
  return [
    ...(count("new") > 0 ? [`${plural(count("new"), "figure")} new`] : []),
    ...(count("gone") > 0 ? [`${plural(count("gone"), "figure")} gone`] : []),
    ...(count("input") > 0 ? [`${plural(count("input"), "input")} changed`] : []),
  ];
}

/** One sentence: how many figures differ, of how many, and in which cases; then what is new or gone. */
export function headline({ cases, compared, differing }: Regression): string {
  const count = (state: CaseComparison["state"]): number => cases.filter((each) => each.state === state).length;
  const changed = cases.filter((each) => unallowed(each, "changed") > 0).length;
  const both = cases.length - count("new") - count("gone");
  const parts = [
    compared === 0
      ? "no figure is in both"
      : differing === 0
        ? `all ${plural(compared, "figure")} of ${plural(both, "case")} are the same`
        : `${grouped(differing)} of ${plural(compared, "figure")} differ, in ${changed} of ${plural(both, "case")}`,
  ];
  const allowed = cases.flatMap(({ differences }) => differences).filter((each) => each.allowed !== null).length;
  if (allowed > 0) parts[0] += differing === 0 ? ` or within what is allowed (${grouped(allowed)})` : "";
  parts.push(...otherDifferences(cases));
  if (count("new") > 0) parts.push(`${plural(count("new"), "case")} not in the baseline`);
  if (count("gone") > 0) parts.push(`${plural(count("gone"), "case")} of the baseline not in the suite`);
  return parts.join("; ");
}

/** How much was counted, where there is no baseline. */
export function countedSentence(runs: readonly CaseRun[]): string {
  const figures = runs.reduce((sum, { counters }) => sum + Object.keys(counters).length, 0);
  return `${plural(figures, "figure")} of ${plural(runs.length, "case")}`;
}

/** What a case that is in one of the two only is. */
export const LONELY: Readonly<Record<string, string>> = { new: "not in the baseline", gone: "not in the suite" };

/** Longer values, which are lists of names, are cut so that a line keeps to 100 columns; documents have them whole. */
const WIDEST_VALUE = 22;

function cut(text: string): string {
  return text.length > WIDEST_VALUE ? `${text.slice(0, WIDEST_VALUE - 3)}...` : text;
}

/** A figure as a table shows it. */
export function shown(value: Difference["before"]): string {
  return cut(exact(value));
}

/** What is to be said of a difference beside its figures. */
export function remark({ kind, allowed }: Difference): string {
  if (allowed !== null) return "allowed";
  return kind === "new" || kind === "gone" ? kind : "";
}

/** How a case that both have compares: "same", or "3 different, 1 figure gone, 2 allowed". */
export function caseSummary(each: CaseComparison): string {
  const changed = unallowed(each, "changed");
  const allowed = each.differences.filter((difference) => difference.allowed !== null).length;
  const parts = [...(changed > 0 ? [`${grouped(changed)} different`] : []), ...otherDifferences([each])];
  return [...(parts.length === 0 ? ["same"] : parts), ...(allowed > 0 ? [`${grouped(allowed)} allowed`] : [])].join(
    ", ",
  );
}

/** A case's differences as an aligned table. */
export function differencesTable(differences: readonly Difference[]): string {
  return plainTable(
    ["counter", "before", "after", "change", ""],
    differences.map((each) => [
      each.counter,
      shown(each.before),
      shown(each.after),
      percent(each.change),
      remark(each),
    ]),
  );
}

function indented(text: string): string {
  return text
    .split("\n")
    .map((line) => `  ${line}`)
    .join("\n");
}

/** What the columns of `wallRows` are called. */
export const WALL_HEADS = ["before, ms", "after, ms", "machine", "change", "noise", "verdict"] as const;

/** What they say. */
export const WALL_LEGEND =
  "change: of the time as a multiple of a reference loop's in the same rounds; machine: of that loop's own time; noise: " +
  "margin of error of that multiple before and after, at 95 % confidence.";

/** Wall-clock figures of the cases that have them: the name, then a cell for each of WALL_HEADS. */
export function wallRows(cases: readonly CaseComparison[]): string[][] {
  return cases.flatMap(({ name, wall }) =>
    wall === null
      ? []
      : [
          [
            name,
            wall.before.milliseconds.toFixed(2),
            wall.after.milliseconds.toFixed(2),
            percent(wall.machine),
            percent(wall.change),
            `±${wall.before.noise.toFixed(1)}, ±${wall.after.noise.toFixed(1)} %`,
            wall.verdict,
          ],
        ],
  );
}

function wallTable(cases: readonly CaseComparison[]): string {
  const rows = wallRows(cases);
  if (rows.length === 0) return "";
  return `${plainTable(["wall clock", ...WALL_HEADS], rows)}\n\n${wrap(WALL_LEGEND, 100).join("\n")}`;
}

/** The whole run: what it found, every difference by case, and wall-clock figures where there are any. */
export function regressionText(regression: Regression): string {
  const blocks = [wrap(`${regression.suite} against ${regression.baseline}: ${headline(regression)}`, 100).join("\n")];
  for (const { name, state, differences } of regression.cases) {
    if (state in LONELY) blocks.push(`${name}: ${LONELY[state]}`);
    else if (differences.length > 0) blocks.push(`${name}\n${indented(differencesTable(differences))}`);
  }
  const wall = wallTable(regression.cases);
  if (wall !== "") blocks.push(wall);
  return blocks.join("\n\n");
}
