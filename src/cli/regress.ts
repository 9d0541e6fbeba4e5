import { access, writeFile } from "node:fs/promises";
import { availableParallelism } from "node:os";
import { styleText } from "node:util";
import { type Command, InvalidArgumentError, Option } from "commander";
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
import { RegressError } from "../regress/errors.js";
import { type CaseRun, runSuite, stepsOf } from "../regress/run.js";
import { packagedSuite, readSuite, SUITE_FILE } from "../regress/suite.js";
import { countedSentence, regressionText } from "../regress/text.js";
import { wholeNumber } from "./arguments.js";
import { provenance } from "./html-report.js";
import { Progress } from "./progress.js";
import { version } from "./version.js";

interface RegressFlags {
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

function workerCount(text: string): number {
  const count = wholeNumber(text);
  if (count < 1) throw new InvalidArgumentError("it needs one or more");
  return count;
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

export function addRegress(program: Command, formats: readonly FormatDescription[]): void {
  const ofComparison = (option: Option): Option => option.conflicts("saveBaseline");
  program
    .command("regress")
    .summary("run a suite of cases and compare every figure with a baseline")
    .description(
      "Replays the cases of a suite and compares every counted figure exactly with what a baseline holds. Ends with " +
        "status 1 when one differs. Without a baseline it only counts.",
    )
    .argument("[suite]", `file that names the cases (default: ${SUITE_FILE}, else the suite of this package)`)
    .option("--baseline <name>", "compare with this baseline: iommu-lab.NAME.baseline.json, or a path to a .json")
    .addOption(new Option("--save-baseline <name>", "write this baseline instead").conflicts("baseline"))
    .addOption(
      ofComparison(new Option("--allow <rule>", "let figures change: 'case/counter<=2%' or '<=8'; * is anything"))
        .argParser((text: string, before: readonly string[]) => [...before, text])
        .default([], "none"),
    )
    .addOption(
      new Option("--workers <n>", "cases to run at a time")
        .argParser(workerCount)
        .default(availableParallelism(), "as many as there are CPUs"),
    )
    .option("--wall", "also measure how long each case takes, and compare it statistically")
    .addOption(ofComparison(new Option("--wall-fails", "fail when a case is slower").implies({ wall: true })))
    .option("--json", "print one JSON document")
    .addOption(ofComparison(new Option("--junit <file>", "write JUnit XML")))
    .option("--benchmark-json <file>", "write what github-action-benchmark reads (customSmallerIsBetter)")
    .addOption(ofComparison(new Option("--markdown <file>", "write a summary for a pull request")))
    .option("--html <file>", "write a report with every case's charts, what differs first, one self-contained file")
    .addHelpText(
      "after",
      [
        "",
        "Examples:",
        "  iommu-lab regress --save-baseline main",
        "  iommu-lab regress --baseline main --allow 'rdma-mr/linux*.spanPeak<=2%' --markdown summary.md",
      ].join("\n"),
    )
    .action(async (file: string | undefined, flags: RegressFlags, command: Command) => {
      if (flags.baseline === undefined) {
        const needy = (["junit", "markdown", "wallFails"] as const).find((name) => flags[name] !== undefined);
        const option = needy === "wallFails" ? "wall-fails" : needy;
        if (option !== undefined) command.error(`error: --${option} needs --baseline NAME`);
        if (flags.allow.length > 0) command.error("error: --allow needs --baseline NAME");
      }
      await regress(file ?? (await usualSuite()), flags, formats);
    });
}

async function regress(file: string, flags: RegressFlags, formats: readonly FormatDescription[]): Promise<void> {
  const { wall = false, wallFails = false } = flags;
  const rules = flags.allow.map(parseAllow);
  const suite = await readSuite(file, formats);
  const baseline = flags.baseline === undefined ? null : await readBaseline(flags.baseline);
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
