/** What `regress` does, apart from its options: loaded when it is asked for. */
import { access, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { styleText } from "node:util";
import type { FormatDescription } from "../engine/formats.js";
import { parseAllow } from "../regress/allow.js";
import { baselineFile, baselineText, readBaseline } from "../regress/baseline.js";
import { compareRuns, holds } from "../regress/compare.js";
import {
  benchmarkJson,
  type RegressInputs,
  regressionJson,
  regressionJunit,
  regressionMarkdown,
} from "../regress/documents.js";
import { pathFrom } from "../regress/document.js";
import { RegressError } from "../regress/errors.js";
import { type CaseRun, runSuite, stepsOf } from "../regress/run.js";
import { packagedSuite, readSuite } from "../regress/suite.js";
import { SUITE_FILE } from "../regress/suite-file.js";
import { countedSentence, regressionText } from "../regress/text.js";
import { provenance } from "./html-report.js";
import { checkOutputs } from "./outputs.js";
import { Progress } from "./progress.js";
import { version } from "./version.js";

export interface RegressFlags {
  readonly baseline?: string;
  readonly saveBaseline?: string;
  readonly allow: readonly string[];
  readonly workers: number;
  readonly wall?: boolean;
  readonly wallFails?: boolean;
  readonly json?: boolean;
  readonly junit?: string;
  readonly benchmarkJson?: string;
  readonly markdown?: string;
  readonly html?: string;
}

async function write(file: string, text: string): Promise<void> {
  await writeFile(file, text).catch((cause: Error) => {
    throw new RegressError("file", file, `cannot be written: ${cause.message}`, { cause });
  });
}

/** The suite of the working directory, or that of the package where there is none. */
async function usualSuite(): Promise<string> {
  return access(SUITE_FILE).then(() => SUITE_FILE, packagedSuite);
}

/** Runs a suite, by default the usual one. Throws RegressError, TraceError and IommuError; exit status 1 for a regression. */
export async function regress(
  named: string | undefined,
  flags: RegressFlags,
  formats: readonly FormatDescription[],
): Promise<void> {
  const file = named ?? (await usualSuite());
  const { wall = false, wallFails = false } = flags;
  const rules = flags.allow.map(parseAllow);
  const suite = await readSuite(file, formats);
  const baseline = flags.baseline === undefined ? null : await readBaseline(flags.baseline);
  const { saveBaseline, junit, markdown, html } = flags;
  const traces = suite.cases.flatMap(({ inputs }) =>
    "trace" in inputs ? [pathFrom(dirname(suite.file), inputs.trace)] : [],
  );
  await checkOutputs(
    {
      "save-baseline": saveBaseline === undefined ? undefined : baselineFile(saveBaseline),
      "benchmark-json": flags.benchmarkJson,
      ...{ junit, markdown, html },
    },
    [file, ...traces, ...(baseline === null ? [] : [baseline.file])],
  );
  const progress = new Progress({ doing: "running", unit: "cases", total: stepsOf(suite, { wall }) });
  const runs = await runSuite(suite, {
    ...{ workers: flags.workers, wall, html: flags.html !== undefined },
    onProgress: (done) => progress.update(done),
  }).finally(() => progress.stop());
  const inputs: RegressInputs = { suite: file, baseline: baseline?.file ?? null, allow: flags.allow, wall, wallFails };
  const regression = baseline === null ? null : compareRuns(file, baseline, runs, rules);

  if (flags.benchmarkJson !== undefined) await write(flags.benchmarkJson, benchmarkJson(runs));
  if (flags.saveBaseline !== undefined) await write(baselineFile(flags.saveBaseline), baselineText(runs));
  if (regression !== null) {
    if (flags.junit !== undefined) await write(flags.junit, regressionJunit(regression, { wallFails }));
    if (flags.markdown !== undefined) await write(flags.markdown, regressionMarkdown(regression));
    if (!holds(regression, { wallFails })) process.exitCode = 1;
  }
  const document = regressionJson(version, inputs, runs, regression);
  if (flags.html !== undefined) {
    const { regressionHtml } = await import("../regress/html.js");
    await write(flags.html, regressionHtml(file, runs, regression, provenance(inputs, document, "regression.json")));
  }
  if (flags.json) process.stdout.write(document);
  else if (regression === null) process.stdout.write(`${countedText(file, runs, flags.saveBaseline)}\n`);
  else {
    const [answer, ...rest] = regressionText(regression).split("\n\n");
    const colour = holds(regression, { wallFails }) ? "green" : "red";
    const coloured = styleText(colour, answer, { stream: process.stdout, validateStream: true });
    process.stdout.write(`${[coloured, ...rest].join("\n\n")}\n`);
  }
}

function countedText(file: string, runs: readonly CaseRun[], saved: string | undefined): string {
  const counted = `${file}: ${countedSentence(runs)}`;
  return saved === undefined ? `${counted}; --json prints them` : `${counted}, written to ${baselineFile(saved)}`;
}
