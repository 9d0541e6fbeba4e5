import { expect, it } from "vitest";
import { parseAllow } from "../../src/regress/allow.js";

it.each([
  ["vfio/linux.spanPeak<=2%", "vfio", "linux.spanPeak", true],
  ["vfio/linux.spanPeak<=2%", "vfio2", "linux.spanPeak", false],
  ["vfio/linux.spanPeak<=2%", "vfio", "linuxxspanPeak", false],
  ["*/linux*.spanPeak<=2%", "any", "linux-pmd.spanPeak", true],
  ["*/linux*.spanPeak<=2%", "any", "no-align.spanPeak", false],
  ["v*/*<=0", "vfio", "trace.maps", true],
  ["v*/*<=0", "nvme", "trace.maps", false],
  ["share/hinted/mlx5.mlx5.entriesUsed<=1%", "share", "hinted/mlx5.mlx5.entriesUsed", true],
  ["share/hinted/mlx5.mlx5.entriesUsed<=1%", "share/hinted", "mlx5.mlx5.entriesUsed", false],
  ["share/hinted.*<=1%", "share", "hinted/mlx5.mlx5.entriesUsed", false],
  ["*/linux:max-align-shift=9.failed<=1", "vfio", "linux:max-align-shift=9.failed", true],
])("%s is about %s/%s: %s", (rule, name, counter, expected) => {
  expect(parseAllow(rule).matches(name, counter)).toBe(expected);
});

it.each([
  ["a/b<=2%", 100, 102, true],
  ["a/b<=2%", 100, 98, true],
  ["a/b<=2%", 100, 102.5, false],
  ["a/b<=2%", 100, 97, false],
  ["a/b<=0.5%", 1000, 1005, true],
  ["a/b<=50%", 0, 1, false],
  ["a/b<=8", 0, 8, true],
  ["a/b<=8", 20, 11, false],
  ["a/b<=0", 3, 3, true],
])("%s permits %d to become %d: %s", (rule, before, after, expected) => {
  expect(parseAllow(rule).permits(before, after)).toBe(expected);
});

it.each(["", "a", "a/b", "a/b<2%", "a/b<=", "a/b<=x", "a/b<=-1", "/b<=1", "a/<=1", "a/b<=1%%"])(
  "refuses the rule %j",
  (rule) => {
    expect(() => parseAllow(rule)).toThrow(/not a rule CASE\/COUNTER<=NUMBER/);
  },
);
