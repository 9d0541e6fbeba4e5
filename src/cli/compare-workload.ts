/** `compare --workload`: the comparison of a synthetic workload instead of a trace. */
import { SingleBar } from "cli-progress";
import { defaultLevels, type FormatDescription, findFormat } from "../engine/formats.js";
import { loadModule } from "../engine/load.js";
import { compareWorkload, workloadStrategies } from "../replay/compare-workload.js";
import type { TrafficChoice } from "../replay/replay.js";
import { comparisonCsv, type WorkloadInputs, workloadJson, workloadText } from "../report/comparison.js";
import { findStrategy } from "../strategies/strategies.js";
import { workloadOptions } from "../workloads/workload.js";
import { findWorkload } from "../workloads/workloads.js";
import { trafficInputs } from "./compare-access.js";
import { version } from "./version.js";

export interface WorkloadFlags {
  readonly seed?: number;
  readonly memory?: string;
  readonly operations?: number;
  readonly strategy?: readonly string[];
  readonly format: string;
  readonly levels?: number;
  readonly reclaim: "covered" | "empty";
  readonly json?: boolean;
  readonly csv?: boolean;
}

export async function compareOnWorkload(
  name: string,
  flags: WorkloadFlags,
  formats: readonly FormatDescription[],
  traffic?: TrafficChoice,
): Promise<void> {
  const workload = findWorkload(name);
  const strategies = flags.strategy?.map(findStrategy) ?? workloadStrategies;
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
    ...trafficInputs(traffic),
  };
  const progress = process.stderr.isTTY
    ? new SingleBar({
        format: "replaying [{bar}] {percentage} %, {eta_formatted} to go",
        stream: process.stderr,
        clearOnComplete: true,
        hideCursor: true,
      })
    : null;
  progress?.start(operations, 0);
  const comparison = await compareWorkload(await loadModule(), workload, {
    ...{ seed, memory, operations, strategies },
    format: format.name,
    levels: inputs.levels,
    reclaim: flags.reclaim,
    ...(traffic === undefined ? {} : { traffic }),
    onProgress: (done) => progress?.update(done),
  }).finally(() => progress?.stop());

  if (flags.json) process.stdout.write(workloadJson(version, inputs, comparison));
  else if (flags.csv) process.stdout.write(comparisonCsv(comparison.results));
  else process.stdout.write(`${workloadText(inputs, comparison)}\n`);
}
