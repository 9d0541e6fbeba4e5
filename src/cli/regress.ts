import { availableParallelism } from "node:os";
import { type Command, InvalidArgumentError, Option } from "commander";
import type { FormatDescription } from "../engine/formats.js";
import { SUITE_FILE } from "../regress/suite-file.js";
import { wholeNumber } from "./arguments.js";
import type { RegressFlags } from "./regress-run.js";

function workerCount(text: string): number {
  const count = wholeNumber(text);
  if (count < 1) throw new InvalidArgumentError("it needs one or more");
  return count;
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
      // Its libraries take longer to load than most commands to run.
      const { regress } = await import("./regress-run.js");
      await regress(file, flags, formats);
    });
}
