import { describe, expect, it } from "vitest";
import { workloadStrategies } from "../../src/replay/compare-workload.js";
import { comparable } from "../../src/replay/replays.js";
import { run } from "./run.js";

interface Document {
  command: string;
  inputs: Record<string, unknown>;
  workload: Record<string, unknown>;
  strategies: ({ name: string } & Record<string, number>)[];
  best: { name: string };
}

const VFIO = "test/fixtures/traces/vtd-vfio.trace.gz";

describe("iommu-lab compare --workload", () => {
  it("prints one row a strategy within 100 columns, and none as recorded", async () => {
    const { status, stdout, stderr } = await run(["compare", "--workload", "gpu-share", "--operations", "300"]);
    expect([status, stderr]).toEqual([0, ""]);
    const lines = stdout.split("\n");
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(100);
    expect(lines[0]).toMatch(/^gpu-share, seed 1, aged memory: [\d,]+ mappings in [\d,]+ pieces, [\d,]+ pages$/);
    expect(lines[1]).toBe("domains: gpu0, gpu1, nic");
    for (const name of ["size-aligned", "no-align", "pa-congruent", "iommufd", "identity"]) {
      expect(lines.filter((line) => line.startsWith(`${name} `))).not.toEqual([]);
    }
    expect(stdout).not.toMatch(/recorded/);
  });

  it("--json names workload, seed and memory, and is the same byte for byte every time", async () => {
    const args = ["compare", "--workload", "rdma-mr", "--seed", "7", "--memory", "fresh", "--operations", "200"];
    const [first, second] = await Promise.all([run([...args, "--json"]), run([...args, "--json"])]);
    expect(first.status).toBe(0);
    expect(second.stdout).toBe(first.stdout);
    const document = JSON.parse(first.stdout) as Document;
    expect(Object.keys(document)).toEqual(["command", "version", "inputs", "workload", "strategies", "best"]);
    expect(document.inputs).toEqual({
      ...{ workload: "rdma-mr", seed: 7, memory: "fresh", operations: 200 },
      strategies: comparable(workloadStrategies, []).map(({ name }) => name),
      ...{ format: "vtdss", levels: 4, reclaim: "covered" },
    });
    expect(document.workload).toMatchObject({ operations: 200, domains: [{ name: "hca" }] });
    for (const figures of document.strategies) {
      expect(figures).toMatchObject({ operations: 200, mappings: document.workload.allocations, failed: 0 });
    }
    const congruent = document.strategies.find(({ name }) => name === "pa-congruent");
    expect(congruent?.leavesUsed).toBe(congruent?.leavesAttainable);
  });

  it("--csv has a header and one row a strategy; --format and --strategy are those of a trace", async () => {
    const { stdout } = await run([
      ...["compare", "--workload", "net-rx-ring", "--memory", "fresh", "--operations", "5000", "--csv"],
      ...["--format", "vmsav8-4k", "--strategy", "no-align,identity"],
    ]);
    const rows = stdout.trimEnd().split("\n");
    expect(rows.map((row) => row.split(",")[0])).toEqual(["strategy", "no-align", "identity"]);
  });

  it("--help lists the workloads and the states of memory", async () => {
    const { stdout } = await run(["compare", "--help"]);
    const names = ["rdma-mr", "gpu-share", "nvme", "net-rx-ring", "vfio-guest", "fresh", "aged", "fragmented"];
    for (const name of names) expect(stdout).toMatch(new RegExp(`^  ${name} `, "m"));
  });

  it.each([
    ["neither trace nor workload", [], /needs a trace, or --workload/],
    ["both", [VFIO, "--workload", "nvme"], /a trace or --workload, not both/],
    ["an unknown workload", ["--workload", "disk"], /workload "disk".*rdma-mr/],
    ["recorded addresses", ["--workload", "nvme", "--strategy", "as-recorded"], /as-recorded.*no recorded IOVAs/],
    ["an unknown strategy", ["--workload", "nvme", "--strategy", "best"], /strategy "best"/],
    ["an unknown state of memory", ["--workload", "nvme", "--memory", "old"], /fresh, aged, fragmented/],
    ["a seed that is none", ["--workload", "nvme", "--seed", "x"], /not a whole number/],
    ["a seed that is too large", ["--workload", "nvme", "--seed", "4294967296"], /below 2\^32/],
    ["no operations", ["--workload", "nvme", "--operations", "0"], /0 operations/],
    ["impossible levels", ["--workload", "nvme", "--levels", "2"], /vtdss table of 2 levels/],
    ["an option of traces", ["--workload", "nvme", "--from", "1"], /cannot be used with option '--from/],
    ["an option of workloads", [VFIO, "--seed", "1"], /--seed is an option of --workload/],
  ])("%s could not be run: status 2, a message, nothing on stdout", async (_, args, message) => {
    const { status, stdout, stderr } = await run(["compare", ...args]);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/\n {4}at /);
  });
});
