/** What every command says of input that it cannot use: one or two lines, status 2, nothing on stdout, no stack trace. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync, gzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { run } from "./run.js";

const DUMP = "test/fixtures/dumps/vtd-scalable-dbg-vfio";
const VECTORS = "test/fixtures/vectors/vtd.jsonl";
const TRACE = "test/fixtures/traces/noirqinfo.trace.gz";

/** Every command that reads a file, and the arguments before it. */
const COMMANDS = {
  compare: ["compare"],
  replay: ["replay", "--strategy", "linux"],
  "replay --predict": ["replay", "--strategy", "linux", "--predict"],
  conform: ["conform"],
  explain: ["explain"],
  "explain of a machine": ["explain", "--sid", "00:08.0", "--iova", "0x1000"],
  "regress of a suite": ["regress"],
  "regress against a baseline": ["regress", "iommu-lab.suite.json", "--baseline"],
} as const;
type CommandName = keyof typeof COMMANDS;
/** Those that read a trace. */
const TRACES: readonly CommandName[] = ["compare", "replay", "replay --predict"];

let folder: string;
const files: Record<string, () => Buffer | Promise<Buffer>> = {
  "empty.json": () => Buffer.alloc(0),
  "cut-gzip.json": async () => (await readFile(TRACE)).subarray(0, 60),
  "empty-gzip.json": () => gzipSync(""),
  "binary.json": () => Buffer.from(Array.from({ length: 4000 }, (_, i) => (i * 197 + 13) % 256)),
  "trace.dat.json": () => Buffer.from("\x17\x08\x44tracing6\0\0\0\x08", "latin1"),
  "perf.data.json": () => Buffer.from("PERFILE2h\0\0\0", "latin1"),
  "prose.json": () => Buffer.from("no trace, no JSON\n"),
  "next.json": () => Buffer.from('{"baseline": 2, "cases": []}'),
  "twice.json": () => {
    const one = { name: "a", inputs: {}, counters: {} };
    return Buffer.from(JSON.stringify({ baseline: 1, cases: [one, one] }));
  },
  "other-events.json": async () => {
    const lines = gunzipSync(await readFile(TRACE))
      .toString()
      .split("\n");
    return Buffer.from(lines.filter((line) => !/ (?:un)?map:/.test(line)).join("\n"));
  },
};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "iommu-lab-"));
  for (const [name, content] of Object.entries(files)) await writeFile(join(folder, name), await content());
});
afterAll(() => rm(folder, { recursive: true }));

async function refusal(args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await run(args);
  expect([status, stdout]).toEqual([2, ""]);
  expect(stderr).toMatch(/^iommu-lab: [^\n]+\n(?:[^\n]+\n)?$/);
  expect(stderr).not.toMatch(/[^\P{Cc}\n]|\ufffd|^\s+at /mu);
  return stderr;
}

const inEvery = (message: RegExp) => Object.keys(COMMANDS).map((name) => [name as CommandName, message] as const);
const json = (message: RegExp) =>
  inEvery(message).filter(([name]) => !TRACES.includes(name) && name !== "explain of a machine");
const inTraces = (message: RegExp) => TRACES.map((name) => [name, message] as const);

const CASES: readonly (readonly [file: string, readonly (readonly [CommandName, RegExp])[]])[] = [
  ["nowhere.json", inEvery(/nowhere\.json: cannot be read: ENOENT: no such file/)],
  [
    "empty.json",
    [
      ...inTraces(/empty\.json: an empty file$/),
      ["conform", /empty\.json: there are no vectors$/],
      ["explain", /empty\.json: there is no vector of vtd, smmuv3$/],
      ["explain of a machine", /empty\.json: no table of this device and PASID; nothing is listed$/],
      ["regress of a suite", /empty\.json: not JSON: Unexpected end of JSON input$/],
      ["regress against a baseline", /empty\.json: not JSON: Unexpected end of JSON input$/],
    ],
  ],
  ["cut-gzip.json", inTraces(/cut-gzip\.json: the gzip data ends too early$/)],
  ["empty-gzip.json", inTraces(/empty-gzip\.json: an empty file$/)],
  [
    "binary.json",
    [
      ...inTraces(/a binary file: traces are text of tracefs, trace-cmd report or perf script, plain or gzip$/),
      ["explain of a machine", /binary\.json: not text; an archive must be unpacked first$/],
      ...json(/binary\.json: (?:line 1: )?not JSON: /),
    ],
  ],
  ["trace.dat.json", inTraces(/a binary file of trace-cmd: give the text of `trace-cmd report`$/)],
  ["perf.data.json", inTraces(/a binary file of perf: give the text of `perf script`$/)],
  [
    "prose.json",
    [
      ...inTraces(/no iommu:map events \(lines: 1, malformed: 1\)\nEnable iommu:map, iommu:unmap and dma:\*, as/),
      ["explain of a machine", /prose\.json: line 1: neither "Device/],
      ...json(/prose\.json: (?:line 1: )?not JSON: /),
    ],
  ],
  ["next.json", [["regress against a baseline", /next\.json: baseline: no baseline of version 1, which is/]]],
  ["twice.json", [["regress against a baseline", /twice\.json: cases\[1\]\.name: there is another case "a"$/]]],
  [
    "other-events.json",
    [
      ...inTraces(
        /no iommu:map events \(lines: 206, events: dma_map_phys, dma_unmap_phys\)\nEnable iommu:map, iommu:unmap and dma:\*, as `trace-cmd record -e iommu:map -e iommu:unmap -e dma` does$/,
      ),
      ...json(/other-events\.json: (?:line 1: )?not JSON: /),
    ],
  ],
];

describe.each(CASES)("%s", (file, commands) => {
  it.each(commands)("%s refuses it", async (command, message) => {
    const stderr = await refusal([...COMMANDS[command], join(folder, file)]);
    expect(stderr.trimEnd()).toMatch(message);
  });
});

describe("input of another kind", () => {
  it.each([
    ["compare", DUMP, /a directory, not a file$/],
    ["compare", VECTORS, /no iommu:map events \(lines: 39, malformed: 39\)\n/],
    ["replay", DUMP, /a directory, not a file$/],
    ["replay --predict", DUMP, /a directory, not a file$/],
    ["conform", DUMP, /a directory, not a file$/],
    ["conform", TRACE, /line 1: not JSON/],
    ["explain", DUMP, /--sid and --iova are needed/],
    ["explain", TRACE, /line 1: not JSON/],
    ["explain of a machine", VECTORS, /line 1: neither "Device/],
    ["explain of a machine", "src", /src: no domain_translation_struct in this directory$/],
    ["regress of a suite", "package.json", /package\.json: cases: expected array, which is missing$/],
    ["regress of a suite", TRACE, /not JSON/],
    ["regress against a baseline", "iommu-lab.suite.json", /iommu-lab\.suite\.json: baseline: /],
  ] as const)("%s of %s", async (command, file, message) => {
    expect((await refusal([...COMMANDS[command], file])).trimEnd()).toMatch(message);
  });
});

describe("a mistyped name suggests the nearest", () => {
  it.each([
    [["compar", TRACE], "compare"],
    [["regres"], "regress"],
    [["compare", TRACE, "--strateg", "linux"], "--strategy"],
    [["compare", TRACE, "--strategy", "pa-congruant"], '"pa-congruent"'],
    [["compare", TRACE, "--format", "vtds"], '"vtdss"'],
    [["compare", TRACE, "--reclaim", "emty"], '"empty"'],
    [["compare", "--workload", "rdma-rm"], '"rdma-mr"'],
    [["compare", "--workload", "nvme", "--memory", "fragmentd"], '"fragmented"'],
    [["conform", VECTORS, "--limits", "3"], "--limit"],
    [["experiment", "congruense"], '"congruence"'],
    [["explain", VECTORS, "--entri", "1"], "--entry"],
    [["explain", DUMP, "--format", "x86-64"], '"x86_64"'],
    [["compare", TRACE, "--importer", "xe", "--va", "alignd"], '"aligned"'],
    [["compare", TRACE, "--access", "sequentail"], '"sequential"'],
    [["compare", TRACE, "--machine", "cascade-lake"], '"cascade-lake-6234"'],
    [["replay", TRACE, "--strategy", "linux", "--predict", "--flush", "strct"], '"strict"'],
    [["scenario", "mr-100m"], '"mr-100mb"'],
    [["validate", "--importer", "xe", "--strategy", "linux", "--property", "tdy"], '"tidy"'],
    [["regress", "--baselin", "main"], "--baseline"],
    [["regress", "--baseline", "mainn"], '"main"'],
  ])("%j", async (args, nearest) => {
    expect((await refusal(args)).toLowerCase()).toContain(`(did you mean ${nearest}?)`);
  });

  it.each([
    ["compare", TRACE, "--strategy", "q"],
    ["compare", TRACE, "--format", "something-else"],
  ])("but not one that has nothing in common: %s %s %s %s", async (...args) => {
    expect(await refusal(args)).not.toMatch(/did you mean/i);
  });
});

describe("an option without effect is refused", () => {
  it.each([
    [["compare", TRACE, "--va", "random"], "--va needs --importer NAME"],
    [["compare", TRACE, "--va-offset", "4096"], "--va-offset needs --importer NAME"],
    [["compare", "--workload", "nvme", "--weights", "space=1"], "--weights needs --importer NAME"],
    [
      ["compare", TRACE, "--importer", "xe", "--strategy", "hinted,linux", "--weights", "space=1"],
      "--weights needs the strategy joint",
    ],
    [["compare", TRACE, "--no-hints"], "--no-hints needs --machine or --access"],
    [["compare", TRACE, "--seed", "1"], "--seed is an option of --workload"],
    [["compare", TRACE, "--memory", "aged"], "--memory is an option of --workload"],
    [["compare", TRACE, "--operations", "5"], "--operations is an option of --workload"],
    [["compare", TRACE, "--access", "ring", "--levels", "5"], "--levels is the machine's"],
    [["compare", "--workload", "nvme", "--from", "1"], "'--from <seconds>'"],
    [["compare", "--workload", "nvme", "--device", "01:00.0"], "'--device <BB:DD.F>'"],
    [["compare", TRACE, "--json", "--csv"], "'--csv'"],
    [["conform", VECTORS, "--json", "--limit", "3"], "'--limit <n>'"],
    [["experiment", "rcache-cliff", "--machine", "x"], "--machine has no meaning for experiment rcache-cliff"],
    [["explain", VECTORS, "--access", "r"], "--access is of a request with --sid and --iova"],
    [["explain", DUMP, "--sid", "00:08.0", "--iova", "0x1000", "--levels", "4"], "a dump tells its format and levels"],
    [["replay", TRACE, "--strategy", "linux", "--limit", "3"], "--limit needs --predict"],
    [["replay", TRACE, "--strategy", "linux", "--flush", "lazy"], "--flush needs --predict"],
    [["replay", TRACE, "--strategy", "linux", "--iomem", "x"], "--iomem needs --predict"],
    [["replay", TRACE, "--strategy", "linux-lazy", "--predict", "--flush", "strict"], "--flush is linux-lazy's own"],
    [["validate", "--importer", "xe", "--strategy", "linux", "--case", "x", "--seed", "2"], "'--seed <n>'"],
    [["regress", "--junit", "x.xml"], "--junit needs --baseline NAME"],
    [["regress", "--allow", "a/b<=1"], "--allow needs --baseline NAME"],
    [["regress", "--save-baseline", "x", "--markdown", "x.md"], "'--markdown <file>'"],
  ])("%j", async (args, message) => {
    expect(await refusal(args)).toContain(message);
  });
});

it("DEBUG shows where an error arose", async () => {
  const { status, stderr } = await run(["compare", "nowhere"], undefined, { DEBUG: "1" });
  expect(status).toBe(2);
  expect(stderr).toMatch(/^iommu-lab: TraceError: nowhere: cannot be read/);
  expect(stderr).toMatch(/^ {4}at /m);
});
