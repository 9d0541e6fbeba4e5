import { stripVTControlCharacters } from "node:util";
import { Command } from "commander";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { addCompare } from "../../src/cli/compare.js";
import { addConform } from "../../src/cli/conform.js";
import { addExperiment } from "../../src/cli/experiment.js";
import { Progress, StagedProgress } from "../../src/cli/progress.js";
import { addReplay } from "../../src/cli/replay.js";
import { addValidate } from "../../src/cli/validate.js";
import { loadEngine } from "../../src/engine/load.js";

const TRACE = "test/fixtures/traces/vtd-vfio.trace.gz";
const VECTORS = "test/fixtures/vectors/vtd.jsonl";

let now: number;
let drawn: string;
let isTTY: PropertyDescriptor | undefined;

beforeEach(() => {
  now = 0;
  drawn = "";
  isTTY = Object.getOwnPropertyDescriptor(process.stderr, "isTTY");
  Object.defineProperty(process.stderr, "isTTY", { value: true, configurable: true });
  vi.spyOn(process.stdout, "write").mockReturnValue(true);
  vi.spyOn(process.stderr, "write").mockImplementation((text) => {
    drawn += String(text);
    return true;
  });
});

afterEach(() => {
  vi.restoreAllMocks();
  if (isTTY) Object.defineProperty(process.stderr, "isTTY", isTTY);
  else delete (process.stderr as { isTTY?: boolean }).isTTY;
});

/** A clock that stands still unless it is told to go on. */
function setClock(): void {
  vi.spyOn(performance, "now").mockImplementation(() => now);
  vi.spyOn(Date, "now").mockImplementation(() => now);
}

/** The bars one after another, as they looked. */
const bars = (): string[] =>
  drawn
    .split("\x1b[1G")
    .map((each) => stripVTControlCharacters(each).trim())
    .filter((each) => each.replace(/^[78]/, "") !== "");

describe("a bar", () => {
  const begin = () => new Progress({ doing: "running", unit: "cases", total: 40 });

  it("is drawn after a second, with the rate since the beginning and the time to go", () => {
    setClock();
    const progress = begin();
    now = 900;
    progress.update(9);
    expect(drawn).toBe("");
    now = 2000;
    progress.update(10);
    now = 4000;
    progress.update(30);
    expect(bars()).toEqual([
      `running [${"=".repeat(8)}${"-".repeat(22)}] 25 %, 5 cases/s, 6s to go`,
      `running [${"=".repeat(23)}${"-".repeat(7)}] 75 %, 7.50 cases/s, 2s to go`,
    ]);
    progress.stop();
    expect(drawn.endsWith("\x1b[2K")).toBe(true);
  });

  it("leaves nothing behind where it is stopped before, and draws nothing where stderr is no terminal", () => {
    setClock();
    const progress = begin();
    progress.stop();
    Object.defineProperty(process.stderr, "isTTY", { value: false });
    const other = begin();
    now = 5000;
    other.update(10);
    other.stop();
    expect(drawn).toBe("");
  });

  it("neither hides the cursor nor turns off line wrapping, which Ctrl-C would leave so", () => {
    setClock();
    const progress = begin();
    now = 2000;
    progress.update(10);
    expect(drawn).not.toContain("\x1b[?");
    progress.stop();
  });

  it("goes through files that tell their size with a time to go, through others without", async () => {
    setClock();
    const file = await Progress.throughFiles("reading", [TRACE, VECTORS]);
    now = 1000;
    file.read(50_000);
    file.stop();
    expect(bars()[0]).toMatch(/^reading \[=+-+\] \d+ %, 0\.05 MB\/s, \d+s to go$/);
    drawn = "";
    const pipe = await Progress.throughFiles("reading", [TRACE, "-"]);
    now = 2000;
    pipe.read(1_500_000);
    pipe.read(1_500_000);
    pipe.stop();
    expect(bars().slice(0, 1)).toEqual(["reading 1.50 MB, 1.50 MB/s"]);
  });

  it("comes again for every stage", () => {
    setClock();
    const progress = new StagedProgress();
    progress.share("predicting", 0);
    now = 2000;
    progress.share("predicting", 0.5);
    progress.share("recovering", 0);
    now = 4000;
    progress.share("recovering", 0.25);
    progress.stop();
    expect(bars().map((bar) => bar.replace(/\[.*\] /, ""))).toEqual([
      "predicting 50 %, 25 %/s, 2s to go",
      "recovering 25 %, 12.50 %/s, 6s to go",
    ]);
  });
});

describe("commands that may take long show one", async () => {
  const { formats } = await loadEngine();
  it.each([
    [["compare", TRACE], "reading"],
    [["compare", "--workload", "nvme", "--operations", "9000", "--strategy", "linux"], "replaying"],
    [["conform", VECTORS], "judging"],
    [["experiment", "pcie-bench"], "counting"],
    [["experiment", "rcache-cliff"], "counting"],
    [["replay", TRACE, "--strategy", "linux"], "reading"],
    [["replay", TRACE, "--strategy", "linux", "--predict"], "predicting"],
    [["replay", TRACE, "--strategy", "linux", "--predict", "--recover-order"], "recovering"],
    [["validate", "--importer", "xe", "--strategy", "pa-congruent", "--cases", "600"], "validating"],
  ])("%j", { timeout: 60_000 }, async (args, doing) => {
    // Every look at the clock is two seconds later than the last.
    vi.spyOn(performance, "now").mockImplementation(() => (now += 2000));
    const program = new Command("iommu-lab").exitOverride();
    addCompare(program, formats);
    addConform(program);
    addExperiment(program);
    addReplay(program);
    addValidate(program, formats);
    const before = process.exitCode;
    await program.parseAsync(args, { from: "user" });
    process.exitCode = before;
    const last = bars()
      .filter((bar) => bar.startsWith(doing))
      .at(-1);
    expect(last).toMatch(/ \[=*-*\] \d+ %, [\d.]+ [\w%]+\/s, (?:[\dhm ]+)s? to go$/);
  });
});
