import { describe, expect, it } from "vitest";
import { run } from "./run.js";

describe("iommu-lab scenario", () => {
  it("lists the scenarios", async () => {
    const { status, stdout } = await run(["scenario"]);
    expect(status).toBe(0);
    const lines = stdout.trimEnd().split("\n");
    expect(lines.map((line) => line.split("  ")[0])).toEqual([
      "scenario",
      "exporter-vs-importer",
      "mr-100mb",
      "host1x",
      "claim-owner",
      "move",
      "kvm-pfn",
    ]);
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(100);
    const { scenarios } = JSON.parse((await run(["scenario", "--json"])).stdout) as { scenarios: { name: string }[] };
    expect(scenarios.map(({ name }) => name)).toEqual(lines.slice(1).map((line) => line.split("  ")[0]));
  });

  it("runs one: a table, and what holds", async () => {
    const { status, stdout } = await run(["scenario", "mr-100mb"]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^linux +- +4K +25,600 +204,800 +25,600 +212 KiB$/m);
    expect(stdout).toMatch(/^the HCA's hint +128M +128M +1 +8 /m);
    expect(stdout).toContain("holds  Linux's IOVA costs the HCA 204,800 bytes of MTT");
  });

  it("prints one document", async () => {
    const { status, stdout, stderr } = await run(["scenario", "host1x", "--json"]);
    expect([status, stderr]).toEqual([0, ""]);
    const document = JSON.parse(stdout) as { command: string; holds: boolean; steps: { record?: unknown }[] };
    expect([document.command, document.holds]).toEqual(["scenario", true]);
    expect(document.steps.filter(({ record }) => record !== undefined)).toHaveLength(1);
  });

  it("does not know every name", async () => {
    const { status, stdout, stderr } = await run(["scenario", "mr-1gb"]);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(/the scenarios are exporter-vs-importer, mr-100mb, host1x/);
  });
});
