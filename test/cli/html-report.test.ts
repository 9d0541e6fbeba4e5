import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { repeatingCommand } from "../../src/cli/html-report.js";
import { run } from "./run.js";

describe("iommu-lab compare --html", () => {
  const workload = ["compare", "--workload", "gpu-share", "--operations", "300"];
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "iommu-lab-"));
  });
  afterAll(() => rm(directory, { recursive: true }));

  it("prints what it prints without it, and writes the same bytes every time", async () => {
    const [plain, first, second] = await Promise.all([
      run(workload),
      run([...workload, "--html", join(directory, "a.html")]),
      run([...workload, `--html=${join(directory, "b.html")}`]),
    ]);
    expect(first).toEqual(plain);
    expect(second).toEqual(plain);
    const [a, b] = await Promise.all(["a.html", "b.html"].map((name) => readFile(join(directory, name), "utf8")));
    expect(b).toBe(a);
    expect(a).toContain("iommu-lab compare --workload gpu-share --operations 300 --html report.html");
    expect(a).toMatch(/<dt>seed<\/dt><dd>1<\/dd>/);
    expect(a).toContain("Maps of the IOVA space");
  }, 30_000);

  it("says which file it cannot write, and why, before it runs", async () => {
    const { status, stdout, stderr } = await run([...workload, "--html", join(directory, "no", "a.html")]);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(/^iommu-lab: write .*a\.html: invalid: ENOENT.*\n$/);
  }, 30_000);
});

describe("the command that makes a report again", () => {
  it.each([
    [["compare", "t.gz", "--html", "x.html", "--levels", "5"], "iommu-lab compare t.gz --levels 5 --html report.html"],
    [["compare", "--html=x.html", "--json", "t.gz"], "iommu-lab compare t.gz --html report.html"],
    [["compare", "t.gz", "--html", "--csv"], "iommu-lab compare t.gz --html report.html"],
    [["compare", "my trace's.gz", "--timing"], "iommu-lab compare 'my trace'\\''s.gz' --html report.html"],
    [
      ["regress", "--workers", "2", "--baseline", "main", "--html", "x.html", "--junit=j.xml", "--markdown", "m.md"],
      "iommu-lab regress --baseline main --html report.html",
    ],
    [
      ["compare", "--strategy", "a,linux:max-align-shift=3"],
      "iommu-lab compare --strategy a,linux:max-align-shift=3 --html report.html",
    ],
  ])("%j", (args, command) => {
    expect(repeatingCommand(args)).toBe(command);
  });
});
