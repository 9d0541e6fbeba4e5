/** Baselines: files that hold what a suite counted, one figure a line, to be kept beside the code. */
import { z } from "zod";
import { readDocument } from "./document.js";
import type { CaseRun } from "./run.js";

const wallFields = {
  milliseconds: z.number().positive(),
  noise: z.number().nonnegative(),
  runs: z.array(z.number().positive()).min(1),
};
const caseFields = {
  name: z.string(),
  inputs: z.record(
    z.string(),
    z.union([z.string(), z.number(), z.boolean(), z.null(), z.array(z.string()), z.record(z.string(), z.number())]),
  ),
  counters: z.record(z.string(), z.number()),
  wall: z.strictObject(wallFields).optional(),
};
const fields = { baseline: z.literal(1), cases: z.array(z.strictObject(caseFields)) };
const schema = z.strictObject(fields);

export type BaselineCase = z.output<typeof schema>["cases"][number];

export interface Baseline {
  readonly file: string;
  readonly cases: readonly BaselineCase[];
}

/** The file of a baseline: in the working directory, unless the name is a path to a `.json`. */
export function baselineFile(name: string): string {
  return name.endsWith(".json") ? name : `iommu-lab.${name}.baseline.json`;
}

/** Throws RegressError `file`, `baseline`. */
export async function readBaseline(name: string): Promise<Baseline> {
  const file = baselineFile(name);
  const { cases } = await readDocument(file, "baseline", schema);
  return { file, cases };
}

/** The text of a baseline, the same byte for byte for the same figures (wall-clock figures apart). */
export function baselineText(runs: readonly CaseRun[]): string {
  const cases = runs.map(({ name, inputs, counters, wall }) => ({
    ...{ name, inputs, counters },
    ...(wall === null ? {} : { wall }),
  }));
  return `${JSON.stringify({ baseline: 1, cases }, null, 2)}\n`;
}
