/** A run against a baseline. */
import { suggestion } from "../names.js";
import type { AllowRule } from "./allow.js";
import type { Baseline, BaselineCase } from "./baseline.js";
import { RegressError } from "./errors.js";
import type { CaseRun } from "./run.js";
import { compareWall, type WallComparison } from "./wall.js";

/** A figure, or what the suite asks, that is not what it was. */
export interface Difference {
  /** A counter's name, or `inputs.NAME`. */
  readonly counter: string;
  /** `changed` figures both have; `new` and `gone` ones only one has; an `input` is what the suite asks. */
  readonly kind: "changed" | "new" | "gone" | "input";
  /** Null where there was, or is, none. */
  readonly before: number | string | null;
  readonly after: number | string | null;
  /** Relative change in percent; null of what is no number, or was 0. */
  readonly change: number | null;
  /** The rule that allows it. */
  readonly allowed: string | null;
}

export interface CaseComparison {
  readonly name: string;
  /** `new` and `gone` cases stand in the suite only, and in the baseline only. */
  readonly state: "same" | "different" | "new" | "gone";
  /** Figures that both have. */
  readonly compared: number;
  readonly differences: readonly Difference[];
  readonly wall: WallComparison | null;
}

export interface Regression {
  readonly suite: string;
  readonly baseline: string;
  readonly cases: readonly CaseComparison[];
  /** Figures that both have, and those of them that differ beyond what is allowed. */
  readonly compared: number;
  readonly differing: number;
}

type Value = number | string | null;

const INPUTS = "inputs";

function inputValues(inputs: object, prefix = INPUTS): [string, Value][] {
  return Object.entries(inputs).flatMap(([key, value]): [string, Value][] => {
    const name = `${prefix}.${key}`;
    if (Array.isArray(value)) return [[name, value.join(",")]];
    if (typeof value === "object" && value !== null) return inputValues(value, name);
    return [[name, value === null ? null : String(value)]];
  });
}

function valuesOf({ inputs, counters }: Pick<BaselineCase, "counters"> & { inputs: object }): Map<string, Value> {
  return new Map([...inputValues(inputs), ...Object.entries(counters)]);
}

function kindOf(counter: string, before: BaselineCase, after: CaseRun): Difference["kind"] {
  if (counter.startsWith(`${INPUTS}.`)) return "input";
  if (!(counter in before.counters)) return "new";
  return counter in after.counters ? "changed" : "gone";
}

function compareCase(before: BaselineCase, after: CaseRun, rules: readonly AllowRule[]): CaseComparison {
  const [old, now] = [valuesOf(before), valuesOf(after)];
  const differences: Difference[] = [];
  for (const counter of new Set([...now.keys(), ...old.keys()])) {
    const [from, to] = [old.get(counter) ?? null, now.get(counter) ?? null];
    if (from === to) continue;
    const numbers = typeof from === "number" && typeof to === "number";
    const rule = numbers && rules.find((each) => each.matches(after.name, counter) && each.permits(from, to));
    differences.push({
      counter,
      kind: kindOf(counter, before, after),
      before: from,
      after: to,
      change: numbers && from !== 0 ? (100 * (to - from)) / Math.abs(from) : null,
      allowed: rule ? rule.text : null,
    });
  }
  return {
    name: after.name,
    state: differences.some(({ allowed }) => allowed === null) ? "different" : "same",
    compared: Object.keys(after.counters).filter((counter) => counter in before.counters).length,
    differences,
    wall: before.wall === undefined || after.wall === null ? null : compareWall(before.wall, after.wall),
  };
}

/** Differences of a kind that nothing allows. */
export function unallowed({ differences }: CaseComparison, kind: Difference["kind"]): number {
  return differences.filter((each) => each.kind === kind && each.allowed === null).length;
}

/** Throws RegressError `option` for a rule about a figure that there is not: it would allow nothing, unnoticed. */
function checkRules(rules: readonly AllowRule[], runs: readonly CaseRun[]): void {
  for (const rule of rules) {
    const figures = runs.flatMap(({ name, counters }) => Object.keys(counters).map((counter) => ({ name, counter })));
    if (figures.some(({ name, counter }) => rule.matches(name, counter))) continue;
    const [wanted] = rule.text.split("<=");
    const near = suggestion(
      wanted,
      figures.map(({ name, counter }) => `${name}/${counter}`),
    );
    throw new RegressError("option", `--allow "${rule.text}"`, `no figure has this name${near}`);
  }
}

/**
 * Compares every counted figure exactly, and wall-clock figures where both have them. Cases come in the suite's order, then
 * those that are gone.
 * @throws RegressError `option` for a rule that is about no figure; `baseline` for wall-clock figures that it lacks
 */
export function compareRuns(
  suite: string,
  baseline: Baseline,
  runs: readonly CaseRun[],
  rules: readonly AllowRule[],
): Regression {
  checkRules(rules, runs);
  const before = new Map(baseline.cases.map((each) => [each.name, each]));
  const unmeasured = runs.find(({ name, wall }) => wall !== null && before.get(name)?.wall === undefined);
  if (unmeasured !== undefined && before.has(unmeasured.name)) {
    const reason = `no wall-clock figures of case "${unmeasured.name}"; save it with --wall`;
    throw new RegressError("baseline", baseline.file, reason);
  }
  const only = (name: string, state: "new" | "gone"): CaseComparison => ({
    ...{ name, state },
    ...{ compared: 0, differences: [], wall: null },
  });
  const names = new Set(runs.map(({ name }) => name));
  const cases = [
    ...runs.map((run) => {
      const old = before.get(run.name);
      return old === undefined ? only(run.name, "new") : compareCase(old, run, rules);
    }),
    ...baseline.cases.filter(({ name }) => !names.has(name)).map(({ name }) => only(name, "gone")),
  ];
  return {
    suite,
    baseline: baseline.file,
    cases,
    compared: cases.reduce((sum, { compared }) => sum + compared, 0),
    differing: cases.reduce((sum, each) => sum + unallowed(each, "changed"), 0),
  };
}

/** Whether the run holds: no case differs, and none is slower where that is to count. */
export function holds({ cases }: Regression, { wallFails }: { readonly wallFails: boolean }): boolean {
  return cases.every(({ state, wall }) => state === "same" && !(wallFails && wall?.verdict === "slower"));
}
