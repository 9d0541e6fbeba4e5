/** What the report is told of a strategy, and who of them are alike. */
import type { StrategyResult } from "../../replay/compare.js";

/** An importer's entries over all mappings that a strategy could place. */
export interface ImporterEntries {
  readonly name: string;
  readonly entriesUsed: number;
  /** For any IOVA. */
  readonly entriesAttainable: number;
  readonly tidiness: number;
}

export interface ReportedStrategy extends StrategyResult {
  /** The same importers in the same order for every strategy; none when left out. */
  readonly importers?: readonly ImporterEntries[];
}

export interface Alike {
  /** Names of all who have these values, in one. */
  readonly name: string;
  readonly values: readonly number[];
}

/** Values that several strategies share come once: drawn one upon the other only the last would be seen. */
export function joinAlike(
  results: readonly ReportedStrategy[],
  valuesOf: (result: ReportedStrategy) => readonly number[],
): Alike[] {
  const alike = new Map<string, { names: string[]; values: readonly number[] }>();
  for (const result of results) {
    const values = valuesOf(result);
    const known = alike.get(values.join());
    if (known) known.names.push(result.strategy.name);
    else alike.set(values.join(), { names: [result.strategy.name], values });
  }
  return [...alike.values()].map(({ names, values }) => ({ name: names.join(", "), values }));
}
