/** Strategies compared on a synthetic workload. */
import { IommuError } from "../engine/errors.js";
import { type Strategy, strategies } from "../strategies/strategies.js";
import { runWorkload, type Workload, type WorkloadOptions } from "../workloads/workload.js";
import type { WorkloadStatistics } from "../workloads/writer.js";
import type { OperationBatch } from "../trace/batch.js";
import type { StrategyComparison } from "./compare.js";
import { RECORDED_BATCH } from "./recording.js";
import { Replays, type ReplaysOptions } from "./replays.js";

export interface CompareWorkloadOptions extends WorkloadOptions, ReplaysOptions {
  /** Called after every batch with the operations so far. */
  readonly onProgress?: (operations: number) => void;
}

export interface WorkloadComparison extends StrategyComparison {
  readonly statistics: WorkloadStatistics;
}

/** The strategies that a workload can be compared under, in their order: it has no recorded IOVAs. */
export const workloadStrategies: readonly Strategy[] = strategies.filter(({ rule }) => rule.source !== "recorded");

/**
 * Replays a workload's mappings under every strategy as they are made: memory follows what is live. Throws `invalid` for a
 * strategy that needs recorded IOVAs and for options out of range, `memory-exhausted`.
 */
export async function compareWorkload(
  module: WebAssembly.Module,
  workload: Workload,
  options: CompareWorkloadOptions,
): Promise<WorkloadComparison> {
  const recorded = options.strategies.find(({ rule }) => rule.source === "recorded");
  if (recorded) {
    const names = workloadStrategies.map(({ name }) => name).join(", ");
    throw new IommuError(
      "invalid",
      `use strategy "${recorded.name}" with workload ${workload.name}`,
      undefined,
      `a workload has no recorded IOVAs; its strategies are ${names}`,
    );
  }
  const replays = await Replays.begin(module, options);
  let operations = 0;
  const onBatch = (batch: OperationBatch): void => {
    replays.run(batch);
    operations += batch.count;
    options.onProgress?.(operations);
  };
  const statistics = runWorkload(workload, options, onBatch, options.recording ? RECORDED_BATCH : undefined);
  return { statistics, domains: workload.domains.map((name) => ({ name })), results: replays.finish() };
}
