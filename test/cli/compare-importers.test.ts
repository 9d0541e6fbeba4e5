import { describe, expect, it } from "vitest";
import { run } from "./run.js";

const NVME = "test/fixtures/traces/smmuv3-nvme.trace.gz";
const TRACE = [
  "compare",
  "test/fixtures/traces/vtd-vfio.trace.gz",
  "--strategy",
  "as-recorded,pa-congruent,hinted,joint",
];

interface Document {
  inputs: Record<string, unknown>;
  strategies: {
    name: string;
    importers?: { name: string; entriesUsed: number; entriesAttainable: number; refused: number; tidiness: number }[];
    trade?: {
      sums: Record<string, { chosen: number }>;
      widest: { candidates: { name: string }[]; why: string } | null;
    };
  }[];
}

describe("iommu-lab compare --importer", { timeout: 60_000 }, () => {
  it("prints both sides within 100 columns, a table each importer, and the trade of joint", async () => {
    const { status, stdout, stderr } = await run([
      ...TRACE,
      "--importer",
      "mlx5",
      "--importer",
      "xe",
      "--va",
      "random",
    ]);
    expect([status, stderr]).toEqual([0, ""]);
    const lines = stdout.split("\n");
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(100);
    for (const importer of ["mlx5", "xe"]) {
      expect(stdout).toMatch(new RegExp(`^importer ${importer}, virtual addresses: random; attainable tidiness`, "m"));
      expect(stdout).toMatch(new RegExp(`^hinted/${importer} `, "m"));
      expect(stdout).toMatch(new RegExp(`^joint/${importer}: scores with weights iommu=1, importer=1, space=0`, "m"));
    }
    expect(stdout).toMatch(/They disagree most about .* at VA 0x/);
    expect(stdout).toMatch(/Chosen is (VA|PA) modulo \d+[KMG]: score/);
    expect(stdout).toMatch(
      /For xe (hinted|joint)\/(mlx5|xe) gives the fewest entries: 11,509 \(no IOVA could give fewer\)/,
    );
  });

  it("--json has entries, what is attainable, and every candidate of the widest trade; --weights decide it", async () => {
    const chosen = async (weights: string) => {
      const { stdout } = await run([...TRACE, "--importer", "xe", "--va", "random", "--weights", weights, "--json"]);
      return JSON.parse(stdout) as Document;
    };
    const [importer, iommu] = await Promise.all([chosen("importer=100"), chosen("iommu=100")]);
    expect(importer.inputs).toMatchObject({
      ...{ importers: ["xe"], va: "random", vaOffset: 0, weights: { iommu: 1, importer: 100, space: 0 } },
    });
    const of = ({ strategies }: Document, name: string) => strategies.find((each) => each.name === name);
    const hinted = of(importer, "hinted")?.importers?.[0];
    expect(hinted?.entriesUsed).toBe(hinted?.entriesAttainable);
    expect(of(importer, "joint")?.importers?.[0].entriesUsed).toBe(hinted?.entriesUsed);
    const congruent = of(iommu, "pa-congruent") as unknown as { leavesUsed: number };
    expect(of(iommu, "joint")).toMatchObject({ leavesUsed: congruent.leavesUsed });
    expect(of(iommu, "joint")?.importers?.[0].entriesUsed).toBeGreaterThan(hinted?.entriesUsed ?? 0);
    const names = of(iommu, "joint")?.trade?.widest?.candidates.map(({ name }) => name);
    expect(names).toEqual(expect.arrayContaining(["anywhere", "VA modulo 2M", "PA modulo 2M"]));
  });

  it("takes a workload's own virtual addresses, and says so", async () => {
    const args = ["compare", "--workload", "rdma-mr", "--operations", "200", "--importer", "mlx5", "--json"];
    const [own, other] = await Promise.all([run(args), run([...args, "--va", "aligned", "--va-offset", "0x1000"])]);
    const [first, second] = [own, other].map(({ stdout }) => JSON.parse(stdout) as Document);
    expect(first.inputs).toMatchObject({ va: "the workload's own" });
    expect(second.inputs).toMatchObject({ va: "aligned", vaOffset: 4096 });
    const attainable = ({ strategies }: Document) => strategies[0].importers?.[0].entriesAttainable;
    expect(attainable(first)).not.toBe(attainable(second));
  });

  it("says which strategies tie, whether all or some, and takes a KiB for 1,024 bytes", async () => {
    const on = async (strategies: string, ...more: string[]): Promise<string> => {
      const args = ["compare", "--workload", "rdma-mr", "--operations", "200", "--importer", "mlx5", "--strategy"];
      const { stdout } = await run([...args, strategies, ...more]);
      return stdout.replaceAll("\n", " ");
    };
    const [all, none, one, some, offset] = await Promise.all([
      on("hinted,va-congruent", "--va", "aligned"),
      on("linux,linux-lazy,pa-congruent,no-align"),
      on("linux", "--va", "random"),
      on("no-align,linux,linux-lazy"),
      on("hinted", "--va-offset", "4K", "--json"),
    ]);
    expect(all).toMatch(/For mlx5 both strategies tie: [\d,]+ entries \(no IOVA could give fewer\)\./);
    expect(all).toMatch(/Both strategies tie: [\d,]+ entries for 187 mappings/);
    expect(none).toMatch(
      /pa-congruent needs the fewest entries of these: [\d,]+ for 187 mappings, tidiness [\d.]+\. For/,
    );
    expect(some).toMatch(/linux needs the fewest entries of these: [^.]+\.\d+\. As many: linux-lazy\. For/);
    expect(one).toMatch(/For mlx5 linux gives [\d,]+ entries, with [\d,]+ IOMMU leaves\./);
    expect(JSON.parse(offset)).toMatchObject({ inputs: { vaOffset: 4096 } });
  });

  it("--csv names the importer's columns; without an importer nothing asks one", async () => {
    const { stdout } = await run(["compare", NVME, "--importer", "nvme", "--csv"]);
    expect(stdout.split("\n")[0]).toMatch(/,nvme entriesUsed,nvme entriesAttainable,nvme tidiness,nvme refused$/);
    const plain = await run(["compare", NVME, "--csv"]);
    expect(plain.stdout).not.toMatch(/^(hinted|joint|va-congruent)/m);
    expect(plain.stdout).toMatch(/^ring-contiguous/m);
  });

  it.each([
    ["an unknown importer", ["--importer", "disk"], /importer "disk".*xe/],
    ["nobody to ask", ["--strategy", "hinted"], /strategy "hinted".*importer/],
    ["an offset inside a page", ["--importer", "xe", "--va-offset", "100"], /multiple of 4096/],
    ["weights that are none", ["--importer", "xe", "--weights", "a=1"], /iommu=N/],
    ["an offset that is no number", ["--importer", "xe", "--va-offset", "4T"], /4096, 0x1000 or 4K/],
    ["virtual addresses that are none", ["--importer", "xe", "--va", "low"], /same-as-pa, random, aligned/],
  ])("%s could not be run: status 2, a message, nothing on stdout", async (_, args, message) => {
    const { status, stdout, stderr } = await run(["compare", NVME, ...args]);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(message);
  });
});
