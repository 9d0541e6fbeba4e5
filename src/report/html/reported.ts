/** A comparison as a report says it. */
import type { Comparison } from "../../replay/compare.js";
import type { WorkloadComparison } from "../../replay/compare-workload.js";
import type { StrategyResult } from "../../replay/replays.js";
import {
  bestStrategy,
  type ComparisonInputs,
  comparisonSubject,
  verdict,
  type WorkloadInputs,
  warnings,
  workloadSubject,
} from "../comparison.js";
import { trafficSubject } from "../access.js";
import { importerVerdict } from "../importers.js";

export interface ReportedComparison {
  /** What was compared, in a line. */
  readonly subject: string;
  /** The answer in a sentence, with its figure. */
  readonly answer: string;
  /** What else came out, a sentence each. */
  readonly remarks: readonly string[];
  /** Name of the strategy that the answer is about, null when there is none. */
  readonly best: string | null;
  /** What a reader of the figures should know about the input. */
  readonly warnings: readonly string[];
  readonly domains: readonly { readonly name: string }[];
  /** One or more. */
  readonly results: readonly StrategyResult[];
}

/** @param replayed what was replayed, in a line */
function subject(replayed: string, { traffic }: Pick<ComparisonInputs, "traffic">): string {
  return traffic === undefined ? replayed : `${replayed}; ${trafficSubject(traffic)}`;
}

function answers(results: readonly StrategyResult[]): Pick<ReportedComparison, "answer" | "remarks" | "best"> {
  return {
    answer: verdict(results),
    remarks: results[0].importers.map((_, index) => importerVerdict(results, index)),
    best: bestStrategy(results)?.strategy.name ?? null,
  };
}

/** The comparison of a trace. */
export function reportedTrace(inputs: ComparisonInputs, comparison: Comparison): ReportedComparison {
  const { domains, results, incomplete } = comparison;
  return {
    subject: subject(comparisonSubject(inputs, comparison), inputs),
    ...answers(results),
    warnings: [...warnings(comparison), ...(incomplete === null ? [] : [incomplete])],
    domains,
    results,
  };
}

/** The comparison of a workload. */
export function reportedWorkload(inputs: WorkloadInputs, comparison: WorkloadComparison): ReportedComparison {
  const { domains, results } = comparison;
  return {
    subject: subject(workloadSubject(inputs, comparison), inputs),
    ...answers(results),
    warnings: [],
    domains,
    results,
  };
}
