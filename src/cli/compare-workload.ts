/** `compare --workload`: the comparison of a synthetic workload instead of a trace. */
import type { Command } from "commander";
import { defaultLevels, type FormatDescription, findFormat } from "../engine/formats.js";
import { loadModule } from "../engine/load.js";
import { compareWorkload, workloadStrategies } from "../replay/compare-workload.js";
import { importerInputs, importerOptions } from "../replay/importer-inputs.js";
import type { TrafficChoice } from "../replay/replay.js";
import { comparable } from "../replay/replays.js";
import { trafficInputs } from "../replay/traffic-inputs.js";
import { comparisonCsv, type WorkloadInputs, workloadJson, workloadText } from "../report/comparison.js";
import { reportedWorkload } from "../report/html/reported.js";
import { findStrategy } from "../strategies/strategies.js";
import { workloadOptions } from "../workloads/workload.js";
import { findWorkload } from "../workloads/workloads.js";
import { machineFiles } from "./compare-access.js";
import { type ImporterFlags, importerFlags } from "./compare-importers.js";
import { writeHtmlReport } from "./html-report.js";
import { checkOutputs } from "./outputs.js";
import { Progress } from "./progress.js";
import { version } from "./version.js";

export interface WorkloadFlags extends ImporterFlags {
  readonly seed?: number;
  readonly memory?: string;
  readonly operations?: number;
  readonly format: string;
  readonly levels?: number;
  readonly reclaim: "covered" | "empty";
  readonly json?: boolean;
  readonly csv?: boolean;
  readonly html?: string;
  readonly machine?: string;
}

/** What a comparison of either kind is given beside its own flags. */
export interface CompareSetup {
  readonly formats: readonly FormatDescription[];
  readonly command: Command;
  readonly traffic: TrafficChoice | undefined;
}

export async function compareOnWorkload(
  name: string,
  flags: WorkloadFlags,
  { formats, command, traffic }: CompareSetup,
): Promise<void> {
  const workload = findWorkload(name);
  const asked = importerInputs(importerFlags(flags, command), "workload");
  const ofImporters = importerOptions(asked);
  const strategies = flags.strategy?.map(findStrategy) ?? comparable(workloadStrategies, ofImporters.importers);
  const format = findFormat(formats, traffic?.machine.format ?? flags.format);
  const { seed, memory, operations } = workloadOptions(workload, flags);
  const inputs: WorkloadInputs = {
    workload: workload.name,
    seed,
    memory,
    operations,
    strategies: strategies.map((strategy) => strategy.name),
    format: format.name,
    levels: traffic?.machine.levels ?? flags.levels ?? defaultLevels(format),
    reclaim: flags.reclaim,
    ...asked,
    ...trafficInputs(traffic),
  };
  await checkOutputs({ html: flags.html }, machineFiles(flags));
  const progress = new Progress({ doing: "replaying", unit: "operations", total: operations });
  const comparison = await compareWorkload(await loadModule(), workload, {
    ...{ seed, memory, operations, strategies },
    format: format.name,
    levels: inputs.levels,
    reclaim: flags.reclaim,
    ...ofImporters,
    ...(traffic === undefined ? {} : { traffic }),
    recording: flags.html !== undefined,
    onProgress: (done) => progress.update(done),
  }).finally(() => progress.stop());

  if (flags.json) process.stdout.write(workloadJson(version, inputs, comparison));
  else if (flags.csv) process.stdout.write(comparisonCsv(comparison.results));
  else process.stdout.write(`${workloadText(inputs, comparison)}\n`);

  if (flags.html !== undefined) {
    await writeHtmlReport(flags.html, reportedWorkload(inputs, comparison), {
      inputs,
      document: workloadJson(version, inputs, comparison),
    });
  }
}
