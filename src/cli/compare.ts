import { type Command, InvalidArgumentError, Option } from "commander";
import { defaultLevels, type FormatDescription, findFormat } from "../engine/formats.js";
import { loadModule } from "../engine/load.js";
import { importers } from "../importers/importers.js";
import { type Comparison, compareTrace } from "../replay/compare.js";
import { type ComparisonInputs, comparisonCsv, comparisonJson, comparisonText } from "../report/comparison.js";
import { importerInputs, importerOptions } from "../replay/importer-inputs.js";
import { comparable } from "../replay/replays.js";
import { trafficInputs } from "../replay/traffic-inputs.js";
import { reportedTrace } from "../report/html/reported.js";
import { findStrategy, strategies, strategyNames } from "../strategies/strategies.js";
import { openTraceText } from "../trace/open.js";
import { requireMappings } from "../trace/usable.js";
import { memoryStates } from "../workloads/ageing.js";
import { workloads } from "../workloads/workloads.js";
import { nameList, oneOf, refuseUnused, wholeNumber } from "./arguments.js";
import { type AccessFlags, accessHelp, addAccessOptions, chosenTraffic, machineFiles } from "./compare-access.js";
import { addImporterOptions, importerFlags } from "./compare-importers.js";
import { type CompareSetup, compareOnWorkload, type WorkloadFlags } from "./compare-workload.js";
import { namedList } from "./help.js";
import { writeHtmlReport } from "./html-report.js";
import { checkOutputs } from "./outputs.js";
import { Progress } from "./progress.js";
import { warn } from "./warnings.js";
import { version } from "./version.js";

/** V8 runs new code slowly until it has seen enough of it to optimise it; short traces end before that. */
const WARM_UP_MILLISECONDS = 1500;

interface CompareFlags extends WorkloadFlags, AccessFlags {
  readonly workload?: string;
  readonly device?: string;
  readonly from?: number;
  readonly to?: number;
  readonly strict?: boolean;
  readonly timing?: boolean;
}

/** Options that only a trace, and only a workload has. */
const OF_TRACES = ["device", "from", "to", "strict", "timing"];
const OF_WORKLOADS = ["seed", "memory", "operations"];

function seconds(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value) || value < 0)
    throw new InvalidArgumentError("not a time in seconds");
  return value;
}

/** A PCI address as dma events print it: the domain is 0000 unless given. */
function pciDevice(text: string): string {
  const found = /^(?:([0-9a-f]{4,}):)?([0-9a-f]{2}:[0-1][0-9a-f]\.[0-7])$/i.exec(text);
  if (!found) throw new InvalidArgumentError("not a PCI device (BB:DD.F, or DDDD:BB:DD.F)");
  return `${found[1] ?? "0000"}:${found[2]}`.toLowerCase();
}

export function addCompare(program: Command, formats: readonly FormatDescription[]): void {
  const command = addAccessOptions(program.command("compare"))
    .summary("replay a trace's mappings under several IOVA strategies, side by side")
    .description(
      "Replays the mappings of a recorded trace, or of a synthetic workload (their sizes, physical layout and lifetimes), " +
        "under each IOVA strategy and prints what each does to the IOMMU's tables.",
    )
    .argument("[trace]", 'text of tracefs, trace-cmd report or perf script, plain or gzip; "-" reads standard input')
    .addOption(new Option("--workload <name>", "compare on this workload instead of a trace").conflicts(OF_TRACES))
    .option("--seed <n>", "what the workload's chance begins with (default: 1)", wholeNumber)
    .addOption(
      oneOf(
        new Option("--memory <state>", "state of the workload's physical memory (default: aged)"),
        memoryStates.map(({ name }) => name),
      ),
    )
    .option("--operations <n>", "maps and unmaps of the workload (default: its own)", wholeNumber)
    .option("--format <name>", "page-table format", "vtdss")
    .option("--levels <n>", "levels of the tables (default: 4)", wholeNumber)
    .option("--strategy <a,b,c>", "strategies to compare (default: all)", nameList)
    .option("--device <BB:DD.F>", "device that owns the mappings which no dma event names", pciDevice)
    .option("--from <seconds>", "begin at this time of the trace's clock", seconds)
    .option("--to <seconds>", "end before this time", seconds)
    .addOption(
      oneOf(
        new Option("--reclaim <policy>", "table pages that an unmap frees: those it covers whole, or all it empties"),
        ["covered", "empty"],
      ).default("covered"),
    )
    .option("--strict", "stop at the first malformed line");
  addImporterOptions(command)
    .addOption(new Option("--json", "print one JSON document").conflicts("csv"))
    .option("--csv", "print CSV, one row a strategy")
    .option("--html <file>", "write a report with charts and maps of the IOVA space, one self-contained file")
    .option("--timing", "print on stderr how long splitting, reading and replaying take, once warmed up")
    .addHelpText(
      "after",
      [
        "",
        namedList("Strategies", strategyNames),
        "",
        namedList("Workloads", workloads),
        "",
        namedList("States of memory", memoryStates),
        "",
        namedList(
          "Importers",
          [...importers.values()].map(({ name, title }) => ({ name, summary: title })),
        ),
        "",
        namedList(
          "Formats",
          formats.map(({ name, title }) => ({ name, summary: title })),
        ),
        "",
        ...accessHelp,
        "",
        "Examples:",
        "  iommu-lab compare trace.gz --strategy as-recorded,pa-congruent --device 01:00.0",
        "  iommu-lab compare trace.gz --importer mlx5 --importer xe --va random",
        "  iommu-lab compare --workload rdma-mr --seed 7 --memory fragmented --html report.html",
        "  iommu-lab compare trace.gz --machine cascade-lake-6234 --access random:64",
      ].join("\n"),
    )
    .action(async (trace: string | undefined, flags: CompareFlags, command: Command) => {
      if (flags.workload !== undefined) {
        if (trace !== undefined) command.error("error: compare takes a trace or --workload, not both");
        const traffic = await chosenTraffic(flags, command, formats);
        return compareOnWorkload(flags.workload, flags, { formats, command, traffic });
      }
      refuseUnused(command, OF_WORKLOADS, "is an option of --workload");
      if (trace === undefined) return command.error("error: compare needs a trace, or --workload NAME");
      return compare(trace, flags, { formats, command, traffic: await chosenTraffic(flags, command, formats) });
    });
}

async function compare(trace: string, flags: CompareFlags, { formats, command, traffic }: CompareSetup): Promise<void> {
  const asked = importerInputs(importerFlags(flags, command), "trace");
  const ofImporters = importerOptions(asked);
  const chosen = flags.strategy?.map(findStrategy) ?? comparable(strategies, ofImporters.importers);
  const format = findFormat(formats, traffic?.machine.format ?? flags.format);
  const levels = traffic?.machine.levels ?? flags.levels ?? defaultLevels(format);
  const inputs: ComparisonInputs = {
    trace,
    strategies: chosen.map(({ name }) => name),
    format: format.name,
    levels,
    reclaim: flags.reclaim,
    ...asked,
    device: flags.device ?? null,
    from: flags.from ?? null,
    to: flags.to ?? null,
    ...trafficInputs(traffic),
  };
  await checkOutputs({ html: flags.html }, [trace, ...machineFiles(flags)]);
  const run = async (doing: string): Promise<Comparison> => {
    const progress = await Progress.throughFiles(doing, [trace]);
    return compareTrace(await loadModule(), openTraceText(trace, progress.read), {
      strategies: chosen,
      format: format.name,
      levels,
      reclaim: flags.reclaim,
      ...ofImporters,
      recording: flags.html !== undefined,
      timing: flags.timing ?? false,
      strict: flags.strict ?? false,
      ...(flags.device === undefined ? {} : { device: flags.device }),
      ...(flags.from === undefined ? {} : { from: flags.from }),
      ...(flags.to === undefined ? {} : { to: flags.to }),
      ...(traffic === undefined ? {} : { traffic }),
    }).finally(() => progress.stop());
  };
  // What is timed is optimised code: standard input, which comes only once, is timed as it is.
  if (flags.timing && trace !== "-") {
    const end = performance.now() + WARM_UP_MILLISECONDS;
    do await run("warming up");
    while (performance.now() < end);
  }
  const comparison = await run("reading");
  requireMappings(comparison.statistics, trace, comparison.incomplete);

  if (flags.json) process.stdout.write(comparisonJson(version, inputs, comparison));
  else if (flags.csv) process.stdout.write(comparisonCsv(comparison.results));
  else process.stdout.write(`${comparisonText(inputs, comparison)}\n`);

  if (flags.html !== undefined) {
    await writeHtmlReport(flags.html, reportedTrace(inputs, comparison), {
      inputs,
      document: comparisonJson(version, inputs, comparison),
    });
  }
  if (comparison.timing) {
    const { split, read, replay } = comparison.timing;
    process.stderr.write(
      `iommu-lab: splitting into lines ${split.toFixed(1)} ms, reading ${read.toFixed(1)} ms ` +
        `(${(read / split).toFixed(2)} times splitting), replaying one strategy ${replay.toFixed(1)} ms ` +
        `(${(replay / read).toFixed(2)} of reading)\n`,
    );
  }
  warn(comparison);
}
