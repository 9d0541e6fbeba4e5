import { describe, expect, it } from "vitest";
import type { AccessFigures } from "../../src/replay/access.js";
import { run } from "./run.js";

const VFIO = "test/fixtures/traces/vtd-vfio.trace.gz";
const FEW = ["--strategy", "as-recorded,no-align,pa-congruent"];
const WORKLOAD = ["compare", "--workload", "net-rx-ring", "--operations", "6000"];

describe("iommu-lab compare --access", () => {
  it("prints misses and reads per page of a trace, within 100 columns", async () => {
    const { status, stdout, stderr } = await run(["compare", VFIO, ...FEW, "--access", "sequential"]);
    expect([status, stderr]).toEqual([0, ""]);
    expect(Math.max(...stdout.split("\n").map((line) => line.length))).toBeLessThanOrEqual(100);
    expect(stdout).toMatch(/^accesses: sequential, 256 bytes; machine: Xeon E5-2630 v4/m);
    expect(stdout).toMatch(/^strategy +IOTLB +L2 +L3 +L4 +reads +ranges +flushes +waits +CPU Gb\/s +Gb\/s$/m);
    expect(stdout).toMatch(/^no-align +1\.000 /m);
    expect(stdout).toMatch(/^pa-congruent +0\.038 /m);
  });

  it("counts by the hardware's names in JSON, the same every time, and changes no other figure", async () => {
    const args = ["compare", VFIO, ...FEW, "--json"];
    const traffic = ["--machine", "cascade-lake-6234", "--access", "random:64"];
    const [plain, first, second] = await Promise.all([
      run(args),
      run([...args, ...traffic]),
      run([...args, ...traffic]),
    ]);
    expect(second.stdout).toBe(first.stdout);
    const document = JSON.parse(first.stdout);
    expect(document.inputs.traffic).toMatchObject({
      machine: { name: "cascade-lake-6234" },
      access: { kind: "random", bytes: 64, seed: 1 },
      invalidationHints: true,
    });
    const accesses: AccessFigures[] = document.strategies.map(({ access }: { access: AccessFigures }) => access);
    for (const { counters, faults, pages } of accesses) {
      expect(faults).toBe(0);
      expect(pages).toBe(521_489);
      expect(counters.iommu_requests).toBe(521_489 * 64);
      expect(counters.iotlb_lookup).toBe(counters.iommu_requests);
      expect(counters.ss_nonleaf_lookup).toBe(counters.iotlb_lookup - counters.iotlb_hit);
    }
    for (const strategy of document.strategies) delete strategy.access;
    const { traffic: _, ...inputs } = document.inputs;
    expect({ ...document, inputs }).toEqual(JSON.parse(plain.stdout));
  }, 120_000);

  it("goes through an SMMU's tables and counts by its names", async () => {
    const { stdout } = await run([...WORKLOAD, "--machine", "mmu-600", "--access", "ring:64", "--json"]);
    const document = JSON.parse(stdout);
    expect(document.inputs.format).toBe("vmsav8-4k");
    const { counters } = document.strategies[0].access;
    expect(Object.keys(counters)).toContain("trans_table_walk_access");
    expect(counters.tlb_miss).toBeGreaterThan(0);
  });

  it("waits less often, and keeps a core less busy, where unmaps share a wait", async () => {
    const figures = async (...flags: string[]): Promise<AccessFigures> => {
      const command = [...WORKLOAD, "--strategy", "linux", "--access", "sequential", "--json", ...flags];
      const document = JSON.parse((await run(command)).stdout);
      expect(document.inputs.traffic.unmapsPerWait).toBe(flags.length === 0 ? 1 : 64);
      return document.strategies[0].access;
    };
    const [strict, batched] = await Promise.all([figures(), figures("--unmaps-per-wait", "64")]);
    expect(batched.invalidationWaits).toBe(Math.ceil(strict.invalidationWaits / 64));
    expect(batched.rangeInvalidations).toBe(strict.rangeInvalidations);
    expect(batched.timing?.invalidationNs).toBeLessThan(strict.timing?.invalidationNs ?? 0);
  });

  it("misses more without invalidation hints", async () => {
    const misses = async (...flags: string[]): Promise<number> => {
      const command = [...WORKLOAD, "--strategy", "linux", "--access", "ring", "--json", ...flags];
      const document = JSON.parse((await run(command)).stdout);
      return document.strategies[0].access.walkCacheMisses[0].perPage;
    };
    expect(await misses("--no-hints")).toBeGreaterThan(10 * (await misses()));
  });

  it("has columns in CSV", async () => {
    const { stdout } = await run([...WORKLOAD, "--strategy", "linux", "--access", "tiled", "--csv"]);
    expect(stdout.split("\n")[0]).toContain("iotlbMissesPerPage,memoryReadsPerPage,walkCacheMissesLevel2PerPage");
  });

  it("has every column in CSV, whichever strategy comes first", async () => {
    const headers = ["linux-lazy,linux", "linux,linux-lazy"].map(async (strategies) => {
      const few = ["compare", "--workload", "nvme", "--operations", "400", "--access", "sequential"];
      const [header, ...rows] = (await run([...few, "--strategy", strategies, "--csv"])).stdout.trim().split("\n");
      // The flush queue has nothing to do yet.
      const figures = Object.fromEntries(rows.map((row) => [row.split(",")[0], row.split(",").at(-2)]));
      expect(figures).toEqual({ "linux-lazy": "", linux: expect.stringMatching(/^\d/) });
      return header;
    });
    const [lazyFirst, strictFirst] = await Promise.all(headers);
    expect(lazyFirst).toBe(strictFirst);
    expect(lazyFirst).toMatch(/,cpuGbps,gbps$/);
  });

  it.each([
    [["--access", "upside-down"], /the kinds are sequential/],
    [["--machine", "nowhere"], /use machine "nowhere".*presets are broadwell.*mmu-600/],
    [["--machine", "mmu-600", "--format", "vtdss"], /--format is the machine's/],
    [["--access", "random", "--levels", "3"], /--levels is the machine's/],
    [["--no-hints"], /--no-hints needs --machine or --access/],
    [["--unmaps-per-wait", "2"], /--unmaps-per-wait needs --machine or --access/],
    [["--unmaps-per-wait", "0", "--access", "random"], /not a whole number from 1/],
  ])("%j could not run", async (flags, message) => {
    const { status, stdout, stderr } = await run(["compare", VFIO, ...flags]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr).toMatch(message);
  });
});
