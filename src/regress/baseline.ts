/** Baselines: files that hold what a suite counted, one figure a line, to be kept beside the code. */
import { readdir } from "node:fs/promises";
import { z } from "zod";
import { suggestion } from "../names.js";
import { readDocument } from "./document.js";
import { RegressError } from "./errors.js";
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
const VERSION = 1;
const cases = z.array(z.strictObject(caseFields)).superRefine((all, context) => {
  all.forEach(({ name }, index) => {
    if (all.findIndex((each) => each.name === name) === index) return;
    context.addIssue({ code: "custom", path: [index, "name"], message: `there is another case "${name}"` });
  });
});
const fields = {
  baseline: z.literal(VERSION, { error: `no baseline of version ${VERSION}, which is the one that is read` }),
  cases,
};
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

/** Of those in the working directory, the one whose name is nearest to a name that none has. */
async function nearestBaseline(name: string): Promise<string> {
  const files = await readdir(".").catch(() => []);
  return suggestion(
    name,
    files.flatMap((file) => /^iommu-lab\.(.+)\.baseline\.json$/.exec(file)?.[1] ?? []),
  );
}

/** Throws RegressError `file`, which suggests the nearest name, and `baseline`. */
export async function readBaseline(name: string): Promise<Baseline> {
  const file = baselineFile(name);
  const { cases } = await readDocument(file, "baseline", schema).catch(async (error: unknown) => {
    if (!(error instanceof RegressError) || error.code !== "file") throw error;
    throw new RegressError("file", file, `${error.reason}${await nearestBaseline(name)}`, { cause: error });
  });
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
