/** Baselines: files that hold what a suite counted, one figure a line, to be kept beside the code. */
import { z } from "zod";
import { readDocument } from "./document.js";
import type { CaseRun } from "./run.js";

const times = z.array(z.number().positive()).min(1);
const wallFields = {
  milliseconds: z.number().positive(),
  reference: z.number().positive(),
  noise: z.number().nonnegative(),
  runs: times,
  references: times,
};
const wallSchema = z.strictObject(wallFields).refine(({ runs, references }) => runs.length === references.length, {
  path: ["references"],
  message: "not as many as runs",
});
const caseFields = {
  name: z.string(),
  inputs: z.record(
    z.string(),
    z.union([z.string(), z.number(), z.boolean(), z.null(), z.array(z.string()), z.record(z.string(), z.number())]),
  ),
  counters: z.record(z.string(), z.number()),
  wall: wallSchema.optional(),
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
  const fieldsAt = (path: readonly PropertyKey[]) =>
    Object.keys(path.length === 0 ? fields : path.at(-1) === "wall" ? wallFields : caseFields);
  const { cases } = await readDocument(file, "baseline", schema, fieldsAt);
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
