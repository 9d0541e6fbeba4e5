import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { run } from "./run.js";

const VFIO = "test/fixtures/traces/vtd-vfio.trace.gz";
const compressed = readFileSync(new URL("../fixtures/traces/vtd-vfio.trace.gz", import.meta.url));

interface Document {
  command: string;
  inputs: Record<string, unknown>;
  trace: Record<string, unknown>;
  strategies: ({ name: string; leaves: { size: number; peak: number; mean: number }[] } & Record<string, number>)[];
  best: { name: string; sentence: string };
}

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "iommu-lab-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("iommu-lab compare", () => {
  it("prints one row a strategy within 100 columns and says what the best one changes", async () => {
    const { status, stdout, stderr } = await run(["compare", VFIO]);
    expect([status, stderr]).toEqual([0, ""]);
    const lines = stdout.split("\n");
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(100);
    for (const name of ["as-recorded", "size-aligned", "no-align", "pa-congruent", "iommufd", "identity"]) {
      expect(lines.filter((line) => line.startsWith(`${name} `))).not.toEqual([]);
    }
    expect(stdout).toMatch(/pa-congruent is best: 19,687 entries for all mappings instead of 39,616 as recorded/);
  });

  it("--json is one document, the same byte for byte every time, with the figures of the table", async () => {
    const args = ["compare", VFIO, "--json", "--strategy", "as-recorded,pa-congruent", "--device", "01:00.0"];
    const [first, second] = await Promise.all([run(args), run(args)]);
    expect(first.status).toBe(0);
    expect(second.stdout).toBe(first.stdout);
    const document = JSON.parse(first.stdout) as Document;
    expect(Object.keys(document)).toEqual(["command", "version", "inputs", "trace", "strategies", "best"]);
    expect(document.inputs).toMatchObject({ trace: VFIO, format: "vtdss", levels: 4, device: "0000:01:00.0" });
    expect(document.trace).toMatchObject({ maps: 14137, mappedPages: 521489, malformed: 0, lostEvents: 0 });
    expect(document.strategies.map(({ name }) => name)).toEqual(["as-recorded", "pa-congruent"]);
    const [recorded, congruent] = document.strategies;
    // What the kernel's own listing of the same machine shows: a 1 GiB leaf, and 2 MiB ones where PA and IOVA agree.
    expect(recorded.leaves.map(({ size, peak }) => [size, peak])).toEqual([
      [2 ** 30, 1],
      [2 ** 21, 430],
      [2 ** 12, 20326],
    ]);
    expect(congruent.leavesUsed).toBe(congruent.leavesAttainable);
    expect(congruent.leavesUsed).toBeLessThan(recorded.leavesUsed);
    expect(document.best.name).toBe("pa-congruent");
  });

  it("--csv has a header and one row a strategy", async () => {
    const { stdout } = await run(["compare", VFIO, "--csv", "--strategy", "no-align,iommufd"]);
    const rows = stdout.trimEnd().split("\n");
    expect(rows).toHaveLength(3);
    expect(rows[0]).toMatch(/^strategy,leaves1GMean,leaves1GPeak,leaves1GAtEnd,leaves2MMean/);
    expect(new Set(rows.map((row) => row.split(",").length)).size).toBe(1);
  });

  it("reads standard input, plain or gzip", async () => {
    const args = ["compare", "-", "--csv", "--strategy", "as-recorded"];
    const [plain, gzip] = await Promise.all([run(args, gunzipSync(compressed)), run(args, compressed)]);
    expect(plain.stdout).toBe(gzip.stdout);
    expect(plain.status).toBe(0);
  });

  it("--format and --levels choose the table, --from and --to the window", async () => {
    const { stdout } = await run([
      ...["compare", VFIO, "--json", "--format", "x86_64", "--levels", "5"],
      ...["--from", "8.4", "--to", "16.01", "--strategy", "as-recorded"],
    ]);
    const document = JSON.parse(stdout) as Document;
    expect(document.inputs).toMatchObject({ format: "x86_64", levels: 5, from: 8.4, to: 16.01 });
    expect(document.trace.allocations).toBeLessThan(2000);
    expect(document.trace.allocations).toBeGreaterThan(10);
  });

  it("--reclaim empty needs no more table pages than the default", async () => {
    const of = async (policy: string): Promise<number> => {
      const { stdout } = await run(["compare", VFIO, "--json", "--reclaim", policy, "--strategy", "as-recorded"]);
      return (JSON.parse(stdout) as Document).strategies[0].tableBytesPeak;
    };
    expect(await of("empty")).toBeLessThanOrEqual(await of("covered"));
  });

  it("--timing prints three times on stderr and nothing else changes", async () => {
    const { stdout, stderr } = await run(["compare", VFIO, "--csv", "--timing"]);
    expect(stderr).toMatch(/splitting into lines [\d.]+ ms, reading [\d.]+ ms .*replaying one strategy [\d.]+ ms/);
    expect(stdout).toBe((await run(["compare", VFIO, "--csv"])).stdout);
  });

  it("reports a malformed line with its number and goes on; --strict stops there", async () => {
    const lines = gunzipSync(compressed).toString().split("\n").slice(0, 40);
    lines[20] = lines[20].replace(/size=\d+/, "size=");
    const path = join(folder, "malformed.txt");
    await writeFile(path, `${lines.join("\n")}\n`);
    const lenient = await run(["compare", path]);
    expect(lenient.status).toBe(0);
    expect(lenient.stderr).toMatch(/1 malformed line\n.*line 21: a number is malformed/);
    const strict = await run(["compare", path, "--strict"]);
    expect(strict).toMatchObject({ status: 2, stdout: "" });
    expect(strict.stderr).toMatch(/line 21/);
  });

  it("a truncated gzip is an error that names the file, after the figures of what came before", async () => {
    const path = join(folder, "cut.gz");
    await writeFile(path, compressed.subarray(0, compressed.length / 2));
    const { status, stdout, stderr } = await run(["compare", path]);
    expect(status).toBe(2);
    expect(stdout).toMatch(/as-recorded/);
    expect(stderr).toContain(path);
    expect((await run(["compare", path, "--strict"])).stdout).toBe("");
  });

  it("warns of lost events and of unmaps from before the recording", async () => {
    const { status, stderr } = await run(["compare", "test/fixtures/traces/overrun-tgid.trace.gz"]);
    expect(status).toBe(0);
    expect(stderr).toMatch(/3,074 events were lost \(9,726 of 12,800 are in the buffer\)/);
    expect(stderr).toMatch(/2 unmaps of what was mapped before the recording began/);
  });

  it.each([
    ["a file that is not there", ["compare", "nowhere.trace"], /nowhere\.trace: cannot be read: ENOENT/],
    ["an unknown strategy", ["compare", VFIO, "--strategy", "best"], /strategy "best".*pa-congruent/],
    ["an unknown format", ["compare", VFIO, "--format", "arm"], /format "arm".*vmsav8-4k/],
    ["impossible levels", ["compare", VFIO, "--levels", "2"], /vtdss table of 2 levels/],
    ["a device that is none", ["compare", VFIO, "--device", "nvme0"], /not a PCI device/],
    ["a time that is none", ["compare", VFIO, "--from", "soon"], /not a time in seconds/],
    ["an empty window", ["compare", VFIO, "--from", "9", "--to", "8"], /window from 9 to 8 seconds is empty/],
    ["both outputs", ["compare", VFIO, "--json", "--csv"], /cannot be used with/],
    ["a mistyped option", ["compare", VFIO, "--formt", "vtdss"], /Did you mean --format/],
    ["a mistyped command", ["compere", VFIO], /Did you mean compare/],
    ["an unknown experiment", ["experiment", "congruense"], /congruence/],
  ])("%s could not be run: status 2, a message, nothing on stdout", async (_, args, message) => {
    const { status, stdout, stderr } = await run(args);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/\n {4}at /);
  });

  it("a window without mappings could not be run, and is named", async () => {
    const { status, stdout, stderr } = await run(["compare", VFIO, "--from", "90000"]);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toBe(`iommu-lab: ${VFIO}: all 14137 iommu:map events are outside the window of time\n`);
  });
});
