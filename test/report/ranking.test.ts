/** Which strategies are called best, and which are said to tie with them. */
import { expect, test } from "vitest";
import type { StrategyResult } from "../../src/replay/replays.js";
import { verdict } from "../../src/report/comparison.js";
import { findStrategy } from "../../src/strategies/strategies.js";

/** A row, as far as a verdict looks at it. */
function row(name: string, leavesUsed: number, tableBytesPeak = 4096, failed = 0): StrategyResult {
  const figures = {
    mappings: 10,
    failed,
    leavesUsed,
    leavesAttainable: 5,
    tableBytesPeak,
    spanPeak: 65536,
    tidiness: 0.5,
  };
  return {
    strategy: findStrategy(name),
    figures,
    importers: [],
    trade: null,
    access: null,
  } as unknown as StrategyResult;
}

const recorded = row("as-recorded", 40, 8192);

test.each<[string, StrategyResult[], string]>([
  ["one strategy", [row("linux", 20)], "linux needs 20 entries for 10 mappings, tidiness 0.50."],
  ["identity is no candidate", [row("identity", 5), row("linux", 20)], "linux needs 20 entries for 10 mappings"],
  ["two that tie", [row("linux", 20), row("hinted", 20, 9)], "Both strategies tie: 20 entries for 10 mappings"],
  [
    "some that tie",
    [row("linux", 30), row("joint", 20), row("hinted", 20)],
    "joint needs the fewest entries of these: 20",
  ],
  [
    "and who",
    [row("no-align", 30), row("joint", 20), row("hinted", 20), row("linux", 20)],
    " As many: hinted and linux.",
  ],
  ["fewer tables decide between equals", [row("linux", 20), row("joint", 20, 9), row("iommufd", 21)], "joint needs"],
  ["a failure is worse than entries", [row("linux", 1, 9, 1), row("joint", 20)], "joint needs the fewest entries"],
  [
    "all against what was recorded",
    [recorded, row("linux", 20), row("hinted", 20, 9)],
    "Both strategies tie: 20 entries",
  ],
  [
    "some against it",
    [recorded, row("linux", 20), row("hinted", 20), row("joint", 30)],
    "instead of 0.50. As many: hinted.",
  ],
  [
    "nothing saved",
    [recorded, row("linux", 50), row("joint", 50), row("iommufd", 50)],
    "here: all 3 strategies need 50",
  ],
  ["nothing but what was recorded", [recorded], "Nothing was mapped that a strategy could place."],
])("%s", (_what, results, sentence) => {
  expect(verdict(results)).toContain(sentence);
});
