import { describe, expect, it } from "vitest";
import { run } from "./run.js";

describe("iommu-lab validate", { timeout: 60_000 }, () => {
  it("holds for hinted: status 0, and how many cases", async () => {
    const args = ["validate", "--importer", "xe", "--strategy", "hinted", "--cases", "1000"];
    const { status, stdout, stderr } = await run(args);
    expect([status, stderr]).toEqual([0, ""]);
    expect(stdout).toMatch(/^hinted for xe, tidy, seed 1: holds in 1,000 cases/);
  });

  it("fails for linux: status 1, and a command line that fails alike", async () => {
    const { status, stdout } = await run(["validate", "--importer", "mlx5", "--strategy", "linux"]);
    expect(status).toBe(1);
    const [reason, command] = stdout.trimEnd().split("\n").slice(-2);
    expect(reason).toBe("2 entries at IOVA 0xffffe000, but 1 entry at 0x1000");
    const found = /^iommu-lab (.*) --case '(.*)'$/.exec(command);
    const again = await run([...(found?.[1] ?? "").split(" "), "--case", found?.[2] ?? ""]);
    expect(again.status).toBe(1);
    expect(again.stdout.trimEnd().split("\n").slice(-2)).toEqual([reason, command]);
  });

  it("a buffer that got no IOVA shows nothing: status 2, and no word that anything holds", async () => {
    const args = ["validate", "--importer", "xe", "--strategy", "linux", "--case", "pa=0x0+1G last=0xfffff"];
    const { status, stdout } = await run(args);
    expect([status, stdout]).toEqual([2, "linux for xe, tidy, seed 1: not judged: the buffer got no IOVA.\n"]);
    const json = await run([...args, "--json"]);
    expect([json.status, JSON.parse(json.stdout)]).toMatchObject([2, { holds: null, cases: 1, unplaced: 1 }]);
  });

  it("says that entries do not depend on the IOVA, and why", async () => {
    const { status, stdout } = await run(["validate", "--importer", "amdgpu", "--strategy", "linux", "--cases", "600"]);
    expect(status).toBe(0);
    expect(stdout.replaceAll("\n", " ")).toMatch(
      /the same at every IOVA tried, in every case: a fragment needs an aligned virtual address/,
    );
  });

  it("--json is one document, the same byte for byte every time", async () => {
    const args = ["validate", "--importer", "i915", "--strategy", "linux", "--cases", "500", "--seed", "4", "--json"];
    const [first, second] = await Promise.all([run(args), run(args)]);
    expect([first.status, second.stdout]).toEqual([1, first.stdout]);
    const document = JSON.parse(first.stdout) as Record<string, unknown>;
    expect(document).toMatchObject({
      command: "validate",
      inputs: {
        importer: "i915",
        strategy: "linux",
        property: "tidy",
        cases: 500,
        seed: 4,
        format: "vtdss",
        case: null,
      },
      ...{ holds: false, property: "tidy", indifferent: false },
      counterexample: { iova: expect.stringMatching(/^0x/), betterIova: expect.stringMatching(/^0x/) },
    });
  });

  it.each([
    ["no importer", ["--strategy", "linux"], /--importer/],
    ["an unknown importer", ["--importer", "disk", "--strategy", "linux"], /importer "disk".*mlx5/],
    ["an unknown strategy", ["--importer", "xe", "--strategy", "best"], /strategy "best"/],
    ["an unknown property", ["--importer", "xe", "--strategy", "linux", "--property", "neat"], /tidy, indifferent/],
    ["recorded addresses", ["--importer", "xe", "--strategy", "as-recorded"], /no recorded IOVAs/],
    ["a case that is none", ["--importer", "xe", "--strategy", "linux", "--case", "pa=1"], /case "pa=1"/],
    [
      "more cases than can be counted",
      ["--importer", "xe", "--strategy", "linux", "--cases", `1${"0".repeat(20)}`],
      /more than/,
    ],
  ])("%s could not be run: status 2, a message, nothing on stdout", async (_, args, message) => {
    const { status, stdout, stderr } = await run(["validate", ...args]);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/\n {4}at /);
  });
});
