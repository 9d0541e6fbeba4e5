import type { Baseline } from "../../src/regress/baseline.js";
import type { Counters } from "../../src/regress/figures.js";
import type { CaseRun } from "../../src/regress/run.js";

type BaselineInputs = Baseline["cases"][number]["inputs"];

export function caseRun(name: string, counters: Counters, wall: CaseRun["wall"] = null): CaseRun {
  const inputs = {
    ...{ workload: "nvme", seed: 1, memory: "aged", operations: 10 },
    ...{ strategies: ["linux"], format: "vtdss", levels: 4, reclaim: "covered" as const },
  };
  return { name, inputs, counters, wall, chapter: null };
}

export function baselineOf(runs: readonly CaseRun[]): Baseline {
  const cases = runs.map(({ name, inputs, counters, wall }) => ({
    // As a file holds them.
    ...{ name, inputs: JSON.parse(JSON.stringify(inputs)) as BaselineInputs, counters: { ...counters } },
    ...(wall === null ? {} : { wall: { ...wall, runs: [...wall.runs], references: [...wall.references] } }),
  }));
  return { file: "iommu-lab.main.baseline.json", cases };
}
