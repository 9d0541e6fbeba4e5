import { describe, expect, it } from "vitest";
import type { CongruenceCase } from "../../src/report/congruence.js";
import { newEngine } from "../support/engine.js";
import { run } from "./run.js";

describe("iommu-lab experiment congruence", () => {
  it("counts (4 KiB granule) 16,384 against 543 and 15,873 against 32 leaves in every format and depth", async () => {
    const { status, stdout } = await run(["experiment", "congruence", "--json"]);
    expect(status).toBe(0);
    const { command, cases } = JSON.parse(stdout) as { command: string; cases: CongruenceCase[] };
    expect(command).toBe("experiment congruence");
    const { formats } = await newEngine();
    // One level has no room for 32 blocks.
    const depths = formats.flatMap(({ name, minLevels, maxLevels }) =>
      Array.from({ length: maxLevels - minLevels + 1 }, (_, i) => minLevels + i)
        .filter((levels) => levels > 1)
        .map((levels) => `${name}/${levels}`),
    );
    const expected: Record<number, number[][]> = {
      4096: [
        [16_384, 543],
        [15_873, 32],
      ],
      16384: [
        [65_536, 2079],
        [63_489, 32],
      ],
      65536: [
        [262_144, 8223],
        [253_953, 32],
      ],
    };
    expect([...new Set(cases.map(({ format, levels }) => `${format}/${levels}`))]).toEqual(depths);
    for (const { format, pieces, placements } of cases) {
      const granule = Number(formats.find(({ name }) => name === format)?.granule);
      expect(placements.map(({ leaves }) => leaves)).toEqual(expected[granule][pieces === 1 ? 0 : 1]);
    }
    expect(cases).toHaveLength(2 * depths.length);
  });

  it("prints a table", async () => {
    const { stdout } = await run(["experiment", "congruence"]);
    expect(stdout).toMatch(/x86_64\/4 .*aligned to 64M +16,384 +16384 x 4K/);
    expect(stdout).toMatch(/IOVA = PA mod 2M +543 +31 x 2M \+ 512 x 4K/);
  });
});

describe("iommu-lab experiment fast-and-safe", () => {
  it("prints ours beside the published figures, and whether bounds are met", async () => {
    const { status, stdout } = await run(["experiment", "fast-and-safe"]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^5 flows, strict +L1 misses +0\.0\d\d +0\.050 +\S+ %$/m);
    expect(stdout).toMatch(/^40 flows, strict +L1 misses +0\.6\d\d +0\.630 +\S+ %$/m);
    expect(stdout).toMatch(/^ +L3 misses +0\.\d{3} +0\.900 +\S+ % +within 30 %: (met|missed)$/m);
    expect(stdout.match(/Gb\/s, their model +\S+ +(79\.6|35\.5) /g)).toHaveLength(2);
    expect(stdout).toMatch(/^ {2}l3Entries 64: Fast & Safe/m);
  }, 120_000);
});

describe("iommu-lab experiment rcache-cliff", () => {
  it("counts magazine hits and searches beside Linux's own limit, the same every time", async () => {
    const { status, stdout } = await run(["experiment", "rcache-cliff"]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^128 KiB +1 +1 +0 +0 /m);
    expect(stdout).toMatch(/^132 KiB +0 +0 +1 +1 /m);
    const [first, second] = await Promise.all([1, 2].map(() => run(["experiment", "rcache-cliff", "--json"])));
    expect(JSON.parse(first.stdout).published.rcacheRange).toBe(128 << 10);
    expect(second.stdout).toBe(first.stdout);
  });
});

/** Milliseconds: these simulate some ten million accesses. */
const SLOW = 30_000;

describe("iommu-lab experiment pcie-bench", () => {
  const machine = ["--machine", "ivy-bridge-e5-2620v2"];

  it(
    "prints ours beside the published figures",
    async () => {
      const { status, stdout } = await run(["experiment", "pcie-bench", ...machine]);
      expect(status).toBe(0);
      expect(stdout).toMatch(/^Xeon E5-2620 v2/);
      expect(stdout).toMatch(/^1 MiB +32\.0 +32\.0 +\S+ % +15\.4 +15\.2 +\S+ % /m);
    },
    SLOW,
  );

  it(
    "prints the machine with its sources in JSON, the same every time",
    async () => {
      const command = ["experiment", "pcie-bench", ...machine, "--json"];
      const [first, second] = await Promise.all([run(command), run(command)]);
      const document = JSON.parse(first.stdout);
      expect(document.command).toBe("experiment pcie-bench");
      expect(document.inputs.machines[0].sources.figures.walksInFlight).toContain("latency of a miss");
      expect(document.rows).toHaveLength(3);
      expect(second.stdout).toBe(first.stdout);
    },
    SLOW,
  );

  it.each([
    [["experiment", "pcie-bench", "--machine", "nowhere.json"], /use machine "nowhere.json".*presets are broadwell/],
    [["experiment", "congruence", "--machine", "broadwell-e5-2630v4"], /--machine has no meaning/],
  ])("%j could not run", async (args, message) => {
    const { status, stdout, stderr } = await run(args);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toMatch(message);
  });
});
