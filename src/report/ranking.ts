/** Which strategies of a comparison are best, and which are as good. */
import type { StrategyResult } from "../replay/replays.js";

export interface Ranking {
  readonly best: StrategyResult;
  /** Those that could have been best. */
  readonly candidates: readonly StrategyResult[];
  /** The other candidates with as few failures and entries. */
  readonly ties: readonly StrategyResult[];
}

/**
 * Ranks the strategies that choose IOVAs; ties go to the earlier row. `as-recorded` is what they are measured against, and
 * `identity` gives up isolation. Null when there is none that mapped anything.
 *
 * @param order what is to be small, most important first: failures, entries, then what decides between equals
 */
export function rank(
  results: readonly StrategyResult[],
  order: (result: StrategyResult) => readonly number[],
): Ranking | null {
  const chooses = ["allocate", "linux"];
  const candidates = results.filter(
    ({ strategy, figures }) => chooses.includes(strategy.rule.source) && figures.mappings > 0,
  );
  const keys = new Map(candidates.map((result) => [result, order(result)]));
  const compared = (a: StrategyResult, b: StrategyResult, depth: number): number => {
    const [mine, theirs] = [keys.get(a) ?? [], keys.get(b) ?? []];
    const differs = mine.slice(0, depth).findIndex((value, index) => value !== theirs[index]);
    return differs < 0 ? 0 : mine[differs] - theirs[differs];
  };
  if (candidates.length === 0) return null;
  const best = candidates.reduce((least, each) => (compared(each, least, Number.POSITIVE_INFINITY) < 0 ? each : least));
  const ties = candidates.filter((each) => each !== best && compared(each, best, 2) === 0);
  return { best, candidates, ties };
}

/** "All 3 strategies" when every candidate ties; null when one is better. */
export function everyCandidate({ candidates, ties }: Ranking): string | null {
  if (candidates.length === 1 || ties.length < candidates.length - 1) return null;
  return candidates.length === 2 ? "Both strategies" : `All ${candidates.length} strategies`;
}

/** " As many: a, b and c." where some but not all tie with the best. */
export function tieNote({ ties }: Ranking): string {
  if (ties.length === 0) return "";
  const names = ties.map(({ strategy }) => strategy.name);
  const last = names.pop();
  return ` As many: ${names.length === 0 ? last : `${names.join(", ")} and ${last}`}.`;
}
