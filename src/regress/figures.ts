/** What one case counts. */
import { compareTrace } from "../replay/compare.js";
import { compareWorkload } from "../replay/compare-workload.js";
import { importerOptions } from "../replay/importer-inputs.js";
import type { StrategyResult } from "../replay/replays.js";
import { trafficInputs } from "../replay/traffic-inputs.js";
import { accessColumns } from "../report/access.js";
import { figureColumns, importerColumns } from "../report/comparison.js";
import { type ReportedComparison, reportedTrace, reportedWorkload } from "../report/html/reported.js";
import { findStrategy } from "../strategies/strategies.js";
import { TraceError } from "../trace/errors.js";
import { openTraceText } from "../trace/open.js";
import { requireMappings } from "../trace/usable.js";
import { findWorkload } from "../workloads/workloads.js";
import { pathFrom } from "./document.js";
import type { SuiteCase } from "./suite.js";

/**
 * Counted figures by name: `trace.maps`, `workload.pieces`, `pa-congruent.leavesUsed`,
 * `pa-congruent.mlx5.entriesUsed`, `joint/mlx5.trade.importer.iommuLeaves`, `pa-congruent.access.iotlbMissesPerPage`. The
 * same everywhere.
 */
export type Counters = Readonly<Record<string, number>>;

/** Those of an object's fields that are counts. */
function counted(prefix: string, counts: object): [string, number][] {
  return Object.entries(counts).flatMap(([name, value]) =>
    typeof value === "number" ? [[`${prefix}.${name}`, value] as [string, number]] : [],
  );
}

function counters(source: string, statistics: object, results: readonly StrategyResult[]): Counters {
  return Object.fromEntries([
    ...counted(source, statistics),
    ...results.flatMap((result) => {
      const { strategy, figures, importers, trade, access } = result;
      return [
        ...counted(strategy.name, figureColumns(figures)),
        ...importers.flatMap((each) => counted(`${strategy.name}.${each.name}`, importerColumns(each))),
        ...Object.entries(trade?.sums ?? {}).flatMap(([side, sums]) => counted(`${strategy.name}.trade.${side}`, sums)),
        ...counted(`${strategy.name}.access`, { ...accessColumns(result), ...access?.counters }),
      ];
    }),
  ]);
}

export interface ReplayedCase {
  readonly counters: Counters;
  readonly reported: ReportedComparison;
}

/**
 * Replays a case, with `recording` for its charts. `directory` is where the paths of its traces begin.
 * @throws TraceError when the trace cannot be read to its end, or has nothing to replay; IommuError
 */
export async function replayCase(
  module: WebAssembly.Module,
  { inputs, traffic }: Pick<SuiteCase, "inputs" | "traffic">,
  directory: string,
  recording = false,
): Promise<ReplayedCase> {
  const { format, levels, reclaim } = inputs;
  const strategies = inputs.strategies.map(findStrategy);
  const replay = {
    strategies,
    format,
    levels,
    reclaim,
    recording,
    ...importerOptions(inputs),
    ...(traffic && { traffic }),
  };
  if ("workload" in inputs) {
    const { seed, memory, operations } = inputs;
    const workload = findWorkload(inputs.workload);
    const comparison = await compareWorkload(module, workload, { ...replay, seed, memory, operations });
    return {
      counters: counters("workload", comparison.statistics, comparison.results),
      reported: reportedWorkload({ ...inputs, ...trafficInputs(traffic) }, comparison),
    };
  }
  const file = pathFrom(directory, inputs.trace);
  const comparison = await compareTrace(module, openTraceText(file), {
    ...replay,
    ...(inputs.device === null ? {} : { device: inputs.device }),
    ...(inputs.from === null ? {} : { from: inputs.from }),
    ...(inputs.to === null ? {} : { to: inputs.to }),
  });
  const { statistics, results, incomplete } = comparison;
  if (incomplete !== null) throw new TraceError("gzip", incomplete);
  requireMappings(statistics, file);
  return {
    counters: counters("trace", statistics, results),
    reported: reportedTrace({ ...inputs, ...trafficInputs(traffic) }, comparison),
  };
}
