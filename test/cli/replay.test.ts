import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TraceText } from "../trace/support.js";
import { run } from "./run.js";

const VFIO = "test/fixtures/traces/vtd-vfio.trace.gz";
const PREDICT = ["--strategy", "linux", "--predict"];
const DEVICE = "0000:01:00.0";
const PAGE = 4096;

let folder: string;
let interrupted: string;

/** An interrupt frees a page between the third allocation and its `map`, so the trace shows it first. */
function interruptedTrace(): string {
  const text = new TraceText();
  const task = { task: "fio-100" };
  const map = (page: number) =>
    text.map(task, page * PAGE, 0x45000000).dmaMap(task, DEVICE, page * PAGE, PAGE, 0x45000000);
  map(0xfffff);
  map(0xffffe);
  const interrupt = { task: "fio-100", flags: "d.h1." };
  text.unmap(interrupt, 0xfffff * PAGE).dmaUnmap(interrupt, DEVICE, 0xfffff * PAGE, PAGE);
  map(0xffffd);
  map(0xfffff);
  map(0xffffc);
  return text.text();
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "iommu-lab-replay-"));
  interrupted = join(folder, "interrupted.trace");
  await writeFile(interrupted, interruptedTrace());
});
afterAll(() => rm(folder, { recursive: true }));

describe("iommu-lab replay", () => {
  it("prints the figures of one strategy", async () => {
    const { status, stdout } = await run(["replay", VFIO, "--strategy", "pa-congruent"]);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^pa-congruent /m);
    expect(stdout).not.toMatch(/^size-aligned /m);
    const json = JSON.parse((await run(["replay", VFIO, "--strategy", "pa-congruent", "--json"])).stdout);
    expect(json).toMatchObject({ command: "replay", inputs: { strategies: ["pa-congruent"] } });
    expect(json.strategies).toHaveLength(1);
  });

  it("predicts the recorded IOVAs, and with the order recovered all of them", async () => {
    const blind = await run(["replay", interrupted, ...PREDICT]);
    expect(blind.status).toBe(0);
    expect(blind.stdout).toMatch(/5 allocations in 1 IOVA space,/);
    expect(blind.stdout).toMatch(/blind +80\.000 %/);
    expect(blind.stdout).toMatch(/^7 +0000:01:00\.0 +0 +4 KiB +0xffffd000 +0xfffff000 +order window$/m);
    const recovered = await run(["replay", interrupted, ...PREDICT, "--recover-order"]);
    expect(recovered.stdout).toMatch(/recovered +100\.000 %, never corrected, with 1 calls moved/);
    expect(recovered.stdout).not.toMatch(/misses/);
  });

  it("as one JSON document, the same byte for byte", async () => {
    const args = ["replay", interrupted, ...PREDICT, "--recover-order", "--json"];
    const { stdout } = await run(args);
    expect((await run(args)).stdout).toBe(stdout);
    const document = JSON.parse(stdout);
    expect(Object.keys(document).slice(0, 3)).toEqual(["command", "version", "inputs"]);
    expect(document).toMatchObject({
      command: "replay",
      inputs: { trace: interrupted, strategy: "linux", iomem: null, groups: null, recoverOrder: true },
      allocations: 5,
      learnedReserved: null,
      blind: { exact: 4, share: 0.8 },
      recovered: { exact: 5, share: 1, moves: 1, misses: [] },
      misses: [
        {
          line: 7,
          device: DEVICE,
          cpu: 0,
          size: PAGE,
          recorded: "0xffffd000",
          predicted: "0xfffff000",
          reason: "order window",
        },
      ],
    });
  });

  it("takes reserved ranges, masks, groups and /proc/iomem, from beside the trace too", async () => {
    const text = new TraceText();
    const task = { task: "fio-100" };
    for (const page of [0x3ffff, 0x3fffd]) {
      text.map(task, page * PAGE, 0x45000000).dmaMap(task, DEVICE, page * PAGE, PAGE, 0x45000000);
    }
    const trace = join(folder, "reserved.trace");
    await writeFile(trace, text.text());
    const exact = async (...args: string[]): Promise<number> =>
      JSON.parse((await run(["replay", trace, ...PREDICT, "--json", ...args])).stdout).blind.exact;
    expect(await exact()).toBe(0);
    expect(await exact("--dma-mask", "30")).toBe(1);
    expect(await exact("--dma-mask", `${DEVICE}=30`, "--reserve", "3fffe000-3fffefff")).toBe(2);
    expect(await exact("--dma-mask", "30", "--learn-reserved")).toBe(1);
    await writeFile(
      join(folder, "reserved.iomem.txt"),
      "3fffe000-3fffefff : PCI Bus 0000:00\n40000000-ffffffff : PCI Bus 0000:00\n",
    );
    await writeFile(join(folder, "reserved.groups.txt"), `4/devices/${DEVICE} DMA 0x1b36 0x0010 nvme\n`);
    const { stdout } = await run(["replay", trace, ...PREDICT, "--json"]);
    expect(JSON.parse(stdout)).toMatchObject({
      inputs: { iomem: join(folder, "reserved.iomem.txt"), groups: join(folder, "reserved.groups.txt") },
      blind: { exact: 2 },
    });
  });

  it.each([
    ["no strategy", [VFIO], /--strategy <name>/],
    [
      "a strategy that Linux has not",
      [VFIO, "--strategy", "identity", "--predict"],
      /Linux's strategies, not identity/,
    ],
    ["an unknown strategy", [VFIO, "--strategy", "best"], /strategy "best"/],
    ["recovery without a prediction", [VFIO, "--strategy", "linux", "--recover-order"], /needs --predict/],
    ["a range that is none", [VFIO, ...PREDICT, "--reserve", "1000"], /not a range/],
    ["a range backwards", [VFIO, ...PREDICT, "--reserve", "3000-1000"], /ends before it begins/],
    ["a mask that is none", [VFIO, ...PREDICT, "--dma-mask", "99"], /13 to 64/],
    ["no such /proc/iomem", [VFIO, ...PREDICT, "--iomem", "nowhere"], /nowhere: cannot be read: ENOENT/],
    [
      "a /proc/iomem that is none",
      [VFIO, ...PREDICT, "--iomem", "README.md"],
      /README\.md: line 1: not a line of \/proc\/iomem/,
    ],
    ["groups that are none", [VFIO, ...PREDICT, "--groups", "README.md"], /README\.md: line 1: not of the form/],
    ["no such trace", ["nowhere", ...PREDICT], /nowhere: cannot be read: ENOENT/],
  ])("%s could not be run: status 2, a message, nothing on stdout", async (_, args, message) => {
    const { status, stdout, stderr } = await run(["replay", ...args]);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/\n {4}at /);
  });
});
