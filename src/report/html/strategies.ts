/** What the report is told of a strategy, and who of them are alike. */
import type { ImporterFigures } from "../../replay/importer-figures.js";
import type { StrategyResult } from "../../replay/replays.js";

/** A strategy's result with or without importers: the same ones in the same order for every strategy. */
export interface ReportedStrategy extends Pick<StrategyResult, "strategy" | "figures" | "recording"> {
  readonly importers?: readonly Pick<ImporterFigures, "name" | "entriesUsed" | "tidiness">[];
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
