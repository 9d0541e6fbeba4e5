/** Which strategies are alike. */
import type { StrategyResult } from "../../replay/replays.js";

export interface Alike {
  /** Names of all who have these values, in one. */
  readonly name: string;
  readonly values: readonly number[];
}

/** Values that several strategies share come once: drawn one upon the other only the last would be seen. */
export function joinAlike(
  results: readonly StrategyResult[],
  valuesOf: (result: StrategyResult) => readonly number[],
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
