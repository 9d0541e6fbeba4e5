import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseAllow } from "../../src/regress/allow.js";
import { compareRuns, holds } from "../../src/regress/compare.js";
import { caseSummary, headline, regressionText } from "../../src/regress/text.js";
import { relativeMargin, wallFigures } from "../../src/regress/wall.js";
import { baselineOf, caseRun } from "./support.js";

const SUITE = "iommu-lab.suite.json";
const wallToo = { wallFails: true };

describe("a run against its own baseline", () => {
  it("is the same in every figure", () => {
    const runs = [caseRun("a", { "linux.failed": 0, "linux.tidiness": 0.1 }), caseRun("b", { "trace.maps": 3 })];
    const regression = compareRuns(SUITE, baselineOf(runs), runs, []);
    expect(regression).toMatchObject({ compared: 3, differing: 0 });
    expect(regression.cases.map(({ state }) => state)).toEqual(["same", "same"]);
    expect(holds(regression, wallToo)).toBe(true);
    expect(headline(regression)).toBe("all 3 figures of 2 cases are the same");
  });

  it("names exactly the figures that were changed, whichever they are", () => {
    const names = fc.uniqueArray(fc.stringMatching(/^[a-z]{1,6}\.[a-zA-Z]{1,6}$/), { minLength: 1, maxLength: 12 });
    const figures = names.chain((keys) =>
      fc.record({
        before: fc.tuple(
          ...keys.map((key) => fc.tuple(fc.constant(key), fc.double({ noNaN: true, noDefaultInfinity: true }))),
        ),
        edited: fc.subarray(keys),
      }),
    );
    fc.assert(
      fc.property(figures, ({ before, edited }) => {
        const after = before.map(([key, value]): [string, number] => [
          key,
          edited.includes(key) ? value / 2 + 1 : value,
        ]);
        const expected = before.flatMap(([key, value], index) => (Object.is(value, after[index][1]) ? [] : [key]));
        const old = baselineOf([caseRun("a", Object.fromEntries(before))]);
        const regression = compareRuns(SUITE, old, [caseRun("a", Object.fromEntries(after))], []);
        // -0 and 0 are the same figure.
        const differing = expected.filter((key) => new Map(before).get(key) !== new Map(after).get(key));
        expect(regression.cases[0].differences.map(({ counter }) => counter)).toEqual(differing);
        expect(holds(regression, wallToo)).toBe(differing.length === 0);
      }),
    );
  });
});

describe("differences", () => {
  const before = baselineOf([caseRun("a", { "linux.spanPeak": 100, "linux.gone": 5, "linux.failed": 0 })]);
  const after = [caseRun("a", { "linux.spanPeak": 103, "linux.failed": 2, "linux.new": 7 })];

  it("have figures before and after and their relative change, also where there was none or is none", () => {
    const { cases, compared, differing } = compareRuns(SUITE, before, after, []);
    expect([compared, differing]).toEqual([2, 2]);
    expect(headline(compareRuns(SUITE, before, after, []))).toBe(
      "2 of 2 figures differ, in 1 of 1 case; 1 figure new; 1 figure gone",
    );
    expect(cases[0].differences).toEqual([
      { counter: "linux.spanPeak", kind: "changed", before: 100, after: 103, change: 3, allowed: null },
      { counter: "linux.failed", kind: "changed", before: 0, after: 2, change: null, allowed: null },
      { counter: "linux.new", kind: "new", before: null, after: 7, change: null, allowed: null },
      { counter: "linux.gone", kind: "gone", before: 5, after: null, change: null, allowed: null },
    ]);
  });

  it("that a rule allows are listed and do not count", () => {
    const rules = [parseAllow("a/linux.spanPeak<=3%"), parseAllow("*/*.failed<=1")];
    const { cases, differing } = compareRuns(SUITE, before, after, rules);
    expect(differing).toBe(1);
    expect(cases[0].differences.map(({ allowed }) => allowed)).toEqual(["a/linux.spanPeak<=3%", null, null, null]);
    const only = [caseRun("a", { "linux.spanPeak": 103, "linux.gone": 5, "linux.failed": 0 })];
    const regression = compareRuns(SUITE, before, only, rules);
    expect(regression.cases[0].state).toBe("same");
    expect(holds(regression, wallToo)).toBe(true);
    expect(headline(regression)).toBe("all 3 figures of 1 case are the same or within what is allowed (1)");
  });

  it("are also what the suite asks", () => {
    const [run] = after;
    const old = baselineOf([{ ...run, inputs: { ...run.inputs, levels: 5, strategies: ["linux", "identity"] } }]);
    const { cases } = compareRuns(SUITE, old, after, []);
    expect(cases[0].differences.map(({ counter, before, after }) => [counter, before, after])).toEqual([
      ["inputs.strategies", "linux,identity", "linux"],
      ["inputs.levels", "5", "4"],
    ]);
  });

  it("are never more than the figures compared: what is new, gone or asked otherwise is said apart", () => {
    const counters = (strategy: string, count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, index) => [`${strategy}.f${index}`, index]));
    const old = baselineOf([caseRun("a", { ...counters("linux", 3), ...counters("joint", 40) }), caseRun("b", {})]);
    const run = caseRun("a", { ...counters("linux", 3), ...counters("hinted", 50) });
    const runs = [{ ...run, inputs: { ...run.inputs, levels: 5 } }, caseRun("b", {})];
    const regression = compareRuns(SUITE, old, runs, []);
    expect([regression.compared, regression.differing]).toEqual([3, 0]);
    expect(headline(regression)).toBe(
      "all 3 figures of 2 cases are the same; 50 figures new; 40 figures gone; 1 input changed",
    );
    expect(caseSummary(regression.cases[0])).toBe("50 figures new, 40 figures gone, 1 input changed");
    expect(caseSummary(regression.cases[1])).toBe("same");
    expect(holds(regression, wallToo)).toBe(false);
    expect(regressionText(regression)).toMatch(/^ {2}joint\.f7 +7 +none +gone$/m);
    expect(regressionText(regression)).toMatch(/^ {2}hinted\.f7 +none +7 +new$/m);
  });

  it("are the weights of joint, one by one", () => {
    const weighed = (space: number) => {
      const run = caseRun("a", {});
      const weights = { iommu: 1, importer: 1, space };
      return [{ ...run, inputs: { ...run.inputs, importers: ["mlx5", "xe"], va: "random", vaOffset: 0, weights } }];
    };
    const differences = (after: number) =>
      compareRuns(SUITE, baselineOf(weighed(0)), weighed(after), []).cases[0].differences;
    expect(differences(0)).toEqual([]);
    expect(differences(0.5)).toEqual([
      { counter: "inputs.weights.space", kind: "input", before: "0", after: "0.5", change: null, allowed: null },
    ]);
  });

  it("are new cases and cases that are gone, in the suite's order", () => {
    const old = baselineOf([caseRun("z", {}), caseRun("a", {})]);
    const regression = compareRuns(SUITE, old, [caseRun("b", {}), caseRun("a", {})], []);
    expect(regression.cases.map(({ name, state }) => [name, state])).toEqual([
      ["b", "new"],
      ["a", "same"],
      ["z", "gone"],
    ]);
    expect(holds(regression, wallToo)).toBe(false);
    expect(headline(regression)).toBe(
      "no figure is in both; 1 case not in the baseline; 1 case of the baseline not in the suite",
    );
    expect(regressionText(regression)).toMatch(/^b: not in the baseline\n\nz: not in the suite$/m);
  });

  it("a rule about no figure is an error that suggests the nearest", () => {
    expect(() => compareRuns(SUITE, before, after, [parseAllow("a/linux.spanPaek<=1%")])).toThrow(
      '--allow "a/linux.spanPaek<=1%": no figure has this name (did you mean "a/linux.spanPeak"?)',
    );
  });
});

describe("wall-clock figures", () => {
  /** On a machine whose reference loop takes so long, the same in all rounds unless told. */
  const figures = (runs: readonly number[], references: readonly number[] = runs.map(() => 5)) => ({
    ...wallFigures({ runs, references }),
    noise: 1,
  });
  const quick = figures([10, 10.1, 10.2, 10.3, 10.1, 10, 10.2, 10.4]);
  const slow = figures([20, 20.1, 20.2, 20.3, 20.1, 20, 20.2, 20.4]);
  /** From the same speed to a third of it. */
  const speeds = quick.runs.map((_, index) => 1 + (2 * index) / 7);
  const drifting = figures(
    quick.runs.map((run, index) => run * speeds[index]),
    speeds.map((speed) => 5 * speed),
  );
  const regress = (before: typeof quick, after: typeof quick) =>
    compareRuns(SUITE, baselineOf([caseRun("a", {}, before)]), [caseRun("a", {}, after)], []);

  it.each([
    ["the same", quick, quick, "same"],
    ["twice the time", quick, slow, "slower"],
    ["half the time", slow, quick, "faster"],
    ["a change within the noise", quick, figures(quick.runs.map((run) => run * 1.015)), "same"],
    [
      "twice the time on a machine half as fast",
      quick,
      figures(
        slow.runs,
        slow.runs.map(() => 10),
      ),
      "same",
    ],
    [
      "the same time on a machine twice as fast",
      quick,
      figures(
        quick.runs,
        quick.runs.map(() => 2.5),
      ),
      "slower",
    ],
    ["a machine that drifts during the runs", quick, drifting, "same"],
    ["a mean that one run moved", quick, figures([...quick.runs.slice(1), 90]), "same"],
  ] as const)("%s", (_, before, after, verdict) => {
    expect(regress(before, after).cases[0].wall?.verdict).toBe(verdict);
  });

  it("say how much slower the machine was", () => {
    const wall = regress(quick, drifting).cases[0].wall;
    expect(wall?.machine).toBeCloseTo(100, 5);
    expect(Math.abs(wall?.change ?? Number.NaN)).toBeLessThan(0.1);
  });

  it.each([
    // Means and margins at 95 %: t of n - 1 degrees of freedom by tables, times the standard error.
    [[1, 2, 3, 4, 5, 6, 7, 8], (2.3646 * Math.sqrt(6 / 8)) / 4.5],
    [Array.from({ length: 40 }, (_, index) => index % 2), (2.0227 * Math.sqrt(10 / 39 / 40)) / 0.5],
  ])("state the noise of %j", (values, margin) => {
    expect(relativeMargin(values) / 100 / margin).toBeCloseTo(1, 2);
  });

  it("fail a run only when asked", () => {
    const regression = regress(quick, slow);
    expect(holds(regression, { wallFails: false })).toBe(true);
    expect(holds(regression, wallToo)).toBe(false);
    expect(holds(regress(slow, quick), wallToo)).toBe(true);
  });

  it("that the baseline lacks are an error", () => {
    expect(() => compareRuns(SUITE, baselineOf([caseRun("a", {})]), [caseRun("a", {}, quick)], [])).toThrow(
      'iommu-lab.main.baseline.json: no wall-clock figures of case "a"; save it with --wall',
    );
  });
});
