import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CASCADE_LAKE, DEFAULT_MACHINE } from "../../src/machines/presets.js";
import { baselineFile, baselineText, readBaseline } from "../../src/regress/baseline.js";
import { packagedSuite, readSuite, suiteSchemaJson } from "../../src/regress/suite.js";
import { comparable } from "../../src/replay/replays.js";
import { strategies } from "../../src/strategies/strategies.js";
import { findWorkload } from "../../src/workloads/workloads.js";
import { newEngine } from "../support/engine.js";
import { caseRun } from "./support.js";

let folder: string;
let file: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "iommu-lab-"));
  file = join(folder, "suite.json");
});
afterAll(() => rm(folder, { recursive: true }));

async function read(document: unknown) {
  await writeFile(file, typeof document === "string" ? document : JSON.stringify(document));
  return readSuite(file, (await newEngine()).formats);
}

const trace = { name: "a", trace: "a.gz" };
const workload = { name: "a", workload: "nvme" };

describe("a suite", () => {
  it("gets every default that its cases leave out", async () => {
    const { cases } = await read({ cases: [trace, { ...workload, name: "b", levels: 5, strategies: ["linux"] }] });
    expect(cases).toEqual([
      {
        name: "a",
        inputs: {
          ...{ trace: "a.gz", strategies: comparable(strategies).map(({ name }) => name), format: "vtdss", levels: 4 },
          ...{ reclaim: "covered", device: null, from: null, to: null },
        },
      },
      {
        name: "b",
        inputs: {
          ...{ workload: "nvme", seed: 1, memory: "aged", operations: findWorkload("nvme").operations },
          ...{ strategies: ["linux"], format: "vtdss", levels: 5, reclaim: "covered" },
        },
      },
    ]);
  });

  it("has for importers what compare has, with every default said", async () => {
    const { cases } = await read({
      cases: [
        { ...trace, importers: ["mlx5", "xe", "mlx5"] },
        { ...workload, name: "b", importers: ["nouveau"], strategies: ["hinted"] },
        { ...workload, name: "c", importers: ["xe"], va: "random", vaOffset: 8192, weights: { space: 0.5 } },
      ],
    });
    const weights = { iommu: 1, importer: 1, space: 0 };
    expect(cases.map(({ inputs }) => inputs)).toMatchObject([
      {
        ...{ importers: ["mlx5", "xe"], va: "aligned", vaOffset: 0, weights },
        strategies: strategies.map(({ name }) => name),
      },
      { importers: ["nouveau-v2"], va: "the workload's own", vaOffset: 0, weights, strategies: ["hinted"] },
      { importers: ["xe"], va: "random", vaOffset: 8192, weights: { ...weights, space: 0.5 } },
    ]);
  });

  it("has for accesses what compare has, with tables as the machine's and its file beside the suite", async () => {
    const own = { ...CASCADE_LAKE, name: "own", levels: 5, sources: undefined };
    await writeFile(join(folder, "own.json"), JSON.stringify(own));
    const { cases } = await read({
      cases: [
        { ...workload, machine: "own.json", seed: 7 },
        { ...trace, name: "b", access: "random:64", hints: false },
      ],
    });
    expect(cases).toMatchObject([
      {
        inputs: { machine: "own.json", access: "sequential", hints: true, format: "vtdss", levels: 5 },
        traffic: { machine: { name: "own" }, access: { kind: "sequential", bytes: 256, seed: 7 }, hints: true },
      },
      {
        inputs: { machine: DEFAULT_MACHINE, access: "random:64", hints: false, levels: 4 },
        traffic: { machine: { name: DEFAULT_MACHINE }, access: { kind: "random", bytes: 64, seed: 1 }, hints: false },
      },
    ]);
  });

  it.each([
    ["no JSON", "{", /suite\.json: not JSON: /],
    ["no object", [], /suite\.json: expected object, received array/],
    ["no cases", {}, /suite\.json: cases: expected array, which is missing/],
    ["an empty list", { cases: [] }, /suite\.json: cases: Too small/],
    ["a mistyped field", { casse: [], cases: [trace] }, /unknown field "casse" \(did you mean "cases"\?\)/],
    [
      "a mistyped field of a case",
      { cases: [trace, { ...workload, name: "b", formt: "vtdss" }] },
      /suite\.json: cases\[1\]: unknown field "formt" \(did you mean "format"\?\)/,
    ],
    ["a case without a name", { cases: [{ trace: "a" }] }, /cases\[0\]\.name: expected string, which is missing/],
    ["a name with a slash", { cases: [{ ...trace, name: "a/b" }] }, /cases\[0\]\.name: a case's name has letters/],
    ["a name twice", { cases: [trace, workload] }, /cases\[1\]\.name: there is another case "a"/],
    ["a trace and a workload", { cases: [{ ...trace, workload: "nvme" }] }, /cases\[0\]: a case has a trace or a/],
    ["neither", { cases: [{ name: "a" }] }, /cases\[0\]: a case has a trace or a workload/],
    ["a seed of a trace", { cases: [{ ...trace, seed: 1 }] }, /cases\[0\]\.seed: only a workload has this/],
    ["a window of a workload", { cases: [{ ...workload, to: 1 }] }, /cases\[0\]\.to: only a trace has this/],
    ["a negative seed", { cases: [{ ...workload, seed: -1 }] }, /cases\[0\]\.seed: Too small/],
    ["a seed too large", { cases: [{ ...workload, seed: 2 ** 32 }] }, /cases\[0\]: .*seeds are whole numbers below/],
    ["no operations", { cases: [{ ...workload, operations: 0 }] }, /cases\[0\]: .*0 operations/],
    ["a device that is none", { cases: [{ ...trace, device: "nvme0" }] }, /cases\[0\]\.device: not a PCI device/],
    ["an unknown policy", { cases: [{ ...trace, reclaim: "all" }] }, /cases\[0\]\.reclaim: Invalid option/],
    ["levels that are none", { cases: [{ ...trace, levels: 9 }] }, /cases\[0\]\.levels: vtdss has 3 to 5 levels/],
    [
      "an unknown format",
      { cases: [{ ...trace, format: "vtds" }] },
      /cases\[0\]\.format: .*\(did you mean "vtdss"\?\)/,
    ],
    ["an unknown workload", { cases: [{ ...workload, workload: "nvm" }] }, /\.workload: .*\(did you mean "nvme"\?\)/],
    ["an unknown memory", { cases: [{ ...workload, memory: "agd" }] }, /cases\[0\]: .*\(did you mean "aged"\?\)/],
    [
      "an unknown strategy",
      { cases: [{ ...trace, strategies: ["linux", "identiti"] }] },
      /cases\[0\]\.strategies\[1\]: .*\(did you mean "identity"\?\)/,
    ],
    [
      "recorded addresses of a workload",
      { cases: [{ ...workload, strategies: ["as-recorded"] }] },
      /cases\[0\]\.strategies\[0\]: a workload has no recorded IOVAs/,
    ],
    [
      "an unknown importer",
      { cases: [{ ...trace, importers: ["xe", "mlx5x"] }] },
      /cases\[0\]\.importers\[1\]: .*\(did you mean "mlx5"\?\)/,
    ],
    ["no importers", { cases: [{ ...trace, importers: [] }] }, /cases\[0\]\.importers: Too small/],
    [
      "a strategy that has nobody to ask",
      { cases: [{ ...trace, strategies: ["hinted"] }] },
      /cases\[0\]\.strategies\[0\]: it needs importers to ask/,
    ],
    [
      "virtual addresses for nobody",
      { cases: [{ ...trace, va: "random" }] },
      /cases\[0\]\.va: only a case with importers has this/,
    ],
    [
      "virtual addresses that are none",
      { cases: [{ ...trace, importers: ["xe"], va: "rndom" }] },
      /cases\[0\]\.va: Invalid option/,
    ],
    [
      "an offset inside a page",
      { cases: [{ ...trace, importers: ["xe"], vaOffset: 100 }] },
      /cases\[0\]\.vaOffset: not a multiple of 4096/,
    ],
    [
      "a mistyped weight",
      { cases: [{ ...trace, importers: ["xe"], weights: { spaec: 1 } }] },
      /cases\[0\]\.weights: unknown field "spaec" \(did you mean "space"\?\)/,
    ],
    [
      "a negative weight",
      { cases: [{ ...trace, importers: ["xe"], weights: { space: -1 } }] },
      /cases\[0\]\.weights\.space: Too small/,
    ],
    [
      "an unknown machine",
      { cases: [{ ...trace, machine: "cascade-lake" }] },
      /cases\[0\]\.machine: .*the presets are .*cascade-lake-6234/,
    ],
    ["an unknown access", { cases: [{ ...trace, access: "rndom" }] }, /cases\[0\]\.access: .*the kinds are sequential/],
    [
      "levels beside a machine",
      { cases: [{ ...trace, machine: DEFAULT_MACHINE, levels: 4 }] },
      /cases\[0\]\.levels: it is the machine's/,
    ],
    [
      "a format beside an access",
      { cases: [{ ...trace, access: "random", format: "vtdss" }] },
      /cases\[0\]\.format: it is the machine's/,
    ],
    ["hints of nothing", { cases: [{ ...trace, hints: false }] }, /cases\[0\]\.hints: only a case with a machine or/],
    ["no strategies", { cases: [{ ...trace, strategies: [] }] }, /cases\[0\]\.strategies: Too small/],
  ])("with %s is refused, naming the place", async (_, document, message) => {
    await expect(read(document)).rejects.toThrow(message);
    await expect(read(document)).rejects.toMatchObject({ name: "RegressError", code: "suite" });
  });

  it("that is not there is an error of the file", async () => {
    await expect(readSuite(join(folder, "nowhere"), [])).rejects.toMatchObject({ code: "file" });
  });

  it("comes with the package, with its schema as the code has it", async () => {
    const { cases } = await readSuite(packagedSuite(), (await newEngine()).formats);
    expect(cases.length).toBeGreaterThan(5);
    const schema = new URL("../../iommu-lab.suite.schema.json", import.meta.url);
    expect(readFileSync(schema, "utf8")).toBe(suiteSchemaJson());
  });
});

describe("a baseline", () => {
  const write = async (text: string) => {
    const path = join(folder, "x.json");
    await writeFile(path, text);
    return path;
  };

  it("has a file by its name, or by its path", () => {
    expect(baselineFile("main")).toBe("iommu-lab.main.baseline.json");
    expect(baselineFile("ci/x.json")).toBe("ci/x.json");
  });

  it("is read as it was written, one figure a line, in the order of the run", async () => {
    const wall = { milliseconds: 2, reference: 1, noise: 1, runs: [2, 2], references: [1, 1] };
    const runs = [caseRun("b", { "linux.z": 0.1, "linux.a": 2 ** 53 }), caseRun("a", {}, wall)];
    const text = baselineText(runs);
    expect(text).toContain('        "linux.z": 0.1,\n        "linux.a": 9007199254740992\n');
    const { cases } = await readBaseline(await write(text));
    expect(cases.map(({ name, counters }) => [name, Object.entries(counters)])).toEqual([
      [
        "b",
        [
          ["linux.z", 0.1],
          ["linux.a", 2 ** 53],
        ],
      ],
      ["a", []],
    ]);
    expect(cases[1].wall).toEqual(wall);
    expect("wall" in cases[0]).toBe(false);
  });

  it.each([
    ["", /not JSON/],
    ["{}", /x\.json: baseline: no baseline of version 1/],
    ['{"baseline": 2, "cases": []}', /x\.json: baseline: no baseline of version 1/],
    [
      '{"baseline": 1, "cases": [{"name": "a", "inputs": {}, "counters": {"b": "3"}}]}',
      /cases\[0\]\.counters\.b: expected number/,
    ],
    ['{"baseline": 1, "cases": [], "case": 1}', /unknown field "case" \(did you mean "cases"\?\)/],
    ['{"baseline": 1, "cases": [{"name": "a", "input": {}}]}', /cases\[0\]\.inputs: /],
  ])("%j is refused, naming the place", async (text, message) => {
    const path = await write(text);
    await expect(readBaseline(path)).rejects.toThrow(message);
    await expect(readBaseline(path)).rejects.toMatchObject({ code: "baseline" });
  });
});
