import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { wellFormed } from "../support/xml.js";
import { run } from "./run.js";

const NVME = resolve("test/fixtures/traces/noirqinfo.trace.gz");
const PERF = resolve("test/fixtures/traces/perf-script.txt.gz");

interface Document {
  holds: boolean;
  comparisons: { name: string; differences: { counter: string; before: number; after: number }[] }[];
  cases: { name: string; counters: Record<string, number>; wall: { runs: number[] } | null }[];
}

let folder: string;
let suite: string;
let baseline: string;
let original: string;

async function file(name: string, content: unknown): Promise<string> {
  const path = join(folder, name);
  await writeFile(path, typeof content === "string" ? content : JSON.stringify(content));
  return path;
}

const regress = (...args: readonly string[]) => run(["regress", suite, ...args]);

const unwrapped = (text: string): string => text.replace(/\s+/g, " ");

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "iommu-lab-"));
  suite = await file("suite.json", {
    cases: [
      { name: "nvme", trace: NVME, strategies: ["as-recorded", "size-aligned"] },
      { name: "perf", trace: PERF, strategies: ["linux"], format: "vmsav8-4k" },
      { name: "share", workload: "gpu-share", memory: "fresh", operations: 50, strategies: ["iommufd"] },
      {
        ...{ name: "import", workload: "gpu-share", operations: 50, strategies: ["linux", "hinted"] },
        ...{ importers: ["mlx5", "xe"], va: "random", vaOffset: 4096, weights: { space: 0.5 } },
      },
    ],
  });
  baseline = join(folder, "main.json");
  const { status, stdout } = await regress("--save-baseline", baseline);
  expect(status).toBe(0);
  expect(stdout).toBe(
    `${suite}: ${Object.keys(await savedCounters()).length} figures of 4 cases, written to ${baseline}\n`,
  );
  original = await readFile(baseline, "utf8");
}, 60_000);
afterAll(() => rm(folder, { recursive: true }));

async function savedCounters(): Promise<Record<string, number>> {
  const { cases } = JSON.parse(await readFile(baseline, "utf8")) as Document;
  return Object.fromEntries(
    cases.flatMap(({ name, counters }) =>
      Object.entries(counters).map(([counter, value]) => [`${name}/${counter}`, value]),
    ),
  );
}

/** The baseline with one figure of the second strategy of the first case one larger. */
async function edited(): Promise<string> {
  return file("edited.json", original.replace(/("size-aligned\.leavesUsed": )100,/, "$1101,"));
}

describe("iommu-lab regress", () => {
  it("holds against the baseline that it saved, which is the same byte for byte with any number of workers", async () => {
    const { status, stdout, stderr } = await regress("--baseline", baseline);
    expect([status, stderr]).toEqual([0, ""]);
    expect(unwrapped(stdout)).toMatch(/: all \d+ figures of 4 cases are the same $/);
    const again = join(folder, "again.json");
    await regress("--save-baseline", again, "--workers", "1");
    expect(await readFile(again, "utf8")).toBe(original);
  });

  it("names the one figure that an edited baseline has otherwise, with status 1", async () => {
    const { status, stdout } = await regress("--baseline", await edited());
    expect(status).toBe(1);
    expect(unwrapped(stdout)).toMatch(/: 1 of \d+ figures differ, in 1 of 4 cases /);
    expect(stdout).toMatch(
      /^nvme\n {2}counter +before +after +change\n {2}size-aligned\.leavesUsed +101 +100 +-0\.99 %\n$/m,
    );
    expect(Math.max(...stdout.split("\n").map((line) => line.length))).toBeLessThanOrEqual(100);
  });

  it("holds when a rule allows the change, and lists it", async () => {
    const path = await edited();
    const allowed = await regress("--baseline", path, "--allow", "nvme/*.leavesUsed<=1%");
    expect(allowed.status).toBe(0);
    expect(allowed.stdout).toMatch(/size-aligned\.leavesUsed +101 +100 +-0\.99 % +allowed/);
    expect((await regress("--baseline", path, "--allow", "nvme/*.leavesUsed<=0.5%")).status).toBe(1);
  });

  it("counts what importers get, as compare does, and lets it change when told", async () => {
    const { stdout } = await run([
      ...["compare", "--workload", "gpu-share", "--operations", "50", "--strategy", "linux,hinted", "--json"],
      ...["--importer", "mlx5", "--importer", "xe", "--va", "random", "--va-offset", "4096"],
    ]);
    const compared = JSON.parse(stdout) as {
      strategies: { name: string; importers: { name: string; entriesUsed: number; refused: number }[] }[];
    };
    const counters = await savedCounters();
    expect(compared.strategies.map(({ name }) => name)).toEqual(["linux", "hinted/mlx5", "hinted/xe"]);
    for (const { name, importers } of compared.strategies) {
      for (const importer of importers) {
        expect(counters[`import/${name}.${importer.name}.entriesUsed`]).toBe(importer.entriesUsed);
        expect(counters[`import/${name}.${importer.name}.refused`]).toBe(importer.refused);
      }
    }
    const figure = "hinted/mlx5.mlx5.entriesUsed";
    const before = counters[`import/${figure}`];
    const path = await file("entries.json", original.replace(`"${figure}": ${before},`, `"${figure}": ${before + 1},`));
    const different = await regress("--baseline", path);
    expect(different.status).toBe(1);
    expect(different.stdout).toMatch(/^import\n.*\n {2}hinted\/mlx5\.mlx5\.entriesUsed /m);
    expect((await regress("--baseline", path, "--allow", `import/${figure}<=1`)).status).toBe(0);
  });

  it("names what a strategy of another rule changes, under the name of the first", async () => {
    const renamed = original.replaceAll("iommufd", "no-align");
    const other = await file("other-suite.json", (await readFile(suite, "utf8")).replace("iommufd", "no-align"));
    const { status, stdout } = await run([
      "regress",
      other,
      "--baseline",
      await file("renamed.json", renamed),
      "--json",
    ]);
    expect(status).toBe(1);
    const { holds, comparisons } = JSON.parse(stdout) as Document;
    expect(holds).toBe(false);
    expect(comparisons.map(({ name, differences }) => [name, differences.length > 0])).toEqual([
      ["nvme", false],
      ["perf", false],
      ["share", true],
      ["import", false],
    ]);
    const counters = comparisons[2].differences.map(({ counter }) => counter);
    expect(counters).toContain("no-align.spanPeak");
    expect(counters.every((counter) => counter.startsWith("no-align."))).toBe(true);
  });

  it("prints and writes the same byte for byte with 1 and with 2 workers", async () => {
    const path = await edited();
    const outputs = ["junit", "benchmark-json", "markdown"];
    const made = [];
    for (const workers of ["1", "2"]) {
      const files = outputs.map((name) => join(folder, `${name}.${workers}`));
      const options = outputs.flatMap((name, index) => [`--${name}`, files[index]]);
      const finished = await regress("--baseline", path, "--json", "--workers", workers, ...options);
      made.push([finished, ...(await Promise.all(files.map((name) => readFile(name, "utf8"))))]);
    }
    expect(made[1]).toEqual(made[0]);
  });

  it("--html writes what differs first and every case's charts, the same with 1 and with 2 workers", async () => {
    const path = await edited();
    const pages = await Promise.all(
      ["1", "2"].map(async (workers) => {
        const page = join(folder, `page.${workers}.html`);
        const { status, stdout } = await regress("--baseline", path, "--html", page, "--workers", workers);
        expect(status).toBe(1);
        // Recording the way to the figures changes none of them.
        expect(unwrapped(stdout)).toMatch(/: 1 of \d+ figures differ, in 1 of 4 cases /);
        return readFile(page, "utf8");
      }),
    );
    const [text] = pages;
    expect(pages[1] === text).toBe(true);
    const places = ["<h2>Differences", "nvme/size-aligned.leavesUsed</th><td>101</td>", "<h2>Cases", 'id="case-nvme"'];
    const found = [...places, 'id="case-perf"', 'id="case-share"', 'id="case-import"', "<h2>How this was made"].map(
      (place) => text.indexOf(place),
    );
    expect(found[0]).toBeGreaterThan(0);
    expect(found).toEqual([...found].sort((a, b) => a - b));
    expect(text.match(/<h3>Maps of the IOVA space/g)?.length).toBe(4);
    expect(text).toContain("<h4>Tidiness of the IOMMU and of xe</h4>");
    const names = [...text.matchAll(/download="(.*?)"/g)].map(([, name]) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(names).toEqual(
      expect.arrayContaining([
        "nvme.leaves-by-size.csv",
        expect.stringMatching(/^import\.map-.+-hinted-mlx5\.json$/),
        "regression.json",
      ]),
    );
  }, 60_000);

  it("--junit writes well-formed XML with a test case a case, and the figures of the one that fails", async () => {
    const junit = join(folder, "junit.xml");
    await regress("--baseline", await edited(), "--junit", junit);
    const root = wellFormed(await readFile(junit, "utf8"));
    const [testsuite] = root.children;
    expect([root.name, root.attributes]).toEqual([
      "testsuites",
      { tests: "4", failures: "1", errors: "0", skipped: "0" },
    ]);
    expect(testsuite.children.map(({ name, attributes }) => [name, attributes.name])).toEqual([
      ["testcase", "nvme"],
      ["testcase", "perf"],
      ["testcase", "share"],
      ["testcase", "import"],
    ]);
    const failures = testsuite.children.map(({ children }) => children.map(({ attributes }) => attributes.message));
    expect(failures).toEqual([["1 different"], [], [], []]);
    expect(testsuite.children[0].children[0].text).toMatch(/size-aligned\.leavesUsed +101 +100/);
  });

  it("--benchmark-json has a name, a unit and a value of each cost, as github-action-benchmark reads it", async () => {
    const path = join(folder, "benchmark.json");
    expect((await regress("--benchmark-json", path)).status).toBe(0);
    const entries = JSON.parse(await readFile(path, "utf8")) as { name: string; unit: string; value: number }[];
    const counters = await savedCounters();
    expect(entries.map(({ name }) => name)).toEqual(
      expect.arrayContaining(["nvme/as-recorded.tableBytesPeak", "import/hinted/xe.mlx5.entriesUsed"]),
    );
    for (const { name, unit, value } of entries) {
      expect([unit, value]).toEqual([expect.stringMatching(/^(?:bytes|entries|mappings)$/), counters[name]]);
    }
  });

  it("--markdown begins with the answer and has a row a difference", async () => {
    const path = join(folder, "summary.md");
    await regress("--baseline", await edited(), "--markdown", path);
    const [title, , ...table] = (await readFile(path, "utf8")).trimEnd().split("\n");
    expect(title).toMatch(/^### iommu-lab regress: 1 of \d+ figures differ, in 1 of 4 cases$/);
    expect(table).toEqual([
      "| case | counter | before | after | change |",
      "|---|---|--:|--:|--:|",
      "| nvme | size-aligned.leavesUsed | 101 | 100 | -0.99 % |",
    ]);
  });

  it("--wall saves and compares times, which do not fail a run", async () => {
    const small = await file("small.json", { cases: [{ name: "nvme", trace: NVME, strategies: ["linux"] }] });
    const saved = join(folder, "wall.json");
    expect((await run(["regress", small, "--save-baseline", saved, "--wall"])).status).toBe(0);
    const { cases } = JSON.parse(await readFile(saved, "utf8")) as Document;
    expect(cases[0].wall?.runs.length).toBeGreaterThanOrEqual(8);
    const { status, stdout } = await run(["regress", small, "--baseline", saved, "--wall"]);
    expect(status).toBe(0);
    expect(stdout).toMatch(
      /^wall clock +before, ms +after, ms +machine +change +noise +verdict\nnvme .* (?:same|slower|faster)\n\nchange: of/m,
    );
    const quick = await file("quick.json", original);
    const lacking = await run(["regress", small, "--baseline", quick, "--wall"]);
    expect(lacking).toMatchObject({ status: 2, stdout: "" });
    expect(lacking.stderr).toMatch(/quick\.json: no wall-clock figures of case "nvme"; save it with --wall/);
  }, 60_000);

  it("--wall-fails fails a run that is slower than the baseline says", async () => {
    const small = await file("small.json", { cases: [{ name: "nvme", trace: NVME, strategies: ["linux"] }] });
    const saved = join(folder, "fast.json");
    await run(["regress", small, "--save-baseline", saved]);
    const document = JSON.parse(await readFile(saved, "utf8")) as { cases: object[] };
    const times = (milliseconds: number) => Array.from({ length: 8 }, () => milliseconds);
    const wall = { milliseconds: 0.01, reference: 10, noise: 0.1, runs: times(0.01), references: times(10) };
    await writeFile(saved, JSON.stringify({ ...document, cases: [{ ...document.cases[0], wall }] }));
    const { status, stdout } = await run(["regress", small, "--baseline", saved, "--wall-fails"]);
    expect(status).toBe(1);
    expect(stdout).toMatch(/^nvme .* slower$/m);
  }, 60_000);

  it("a case that cannot be run is named, the first of the suite whichever ends first", async () => {
    const broken = await file("broken.json", {
      cases: [
        { name: "good", trace: NVME, strategies: ["linux"] },
        { name: "slow", workload: "nvme", operations: 1, strategies: ["linux"], levels: 4, memory: "fragmented" },
        { name: "missing", trace: "nowhere.trace" },
        { name: "also", trace: "elsewhere.trace" },
      ],
    });
    expect(await run(["regress", broken])).toEqual({
      status: 2,
      stdout: "",
      stderr: `iommu-lab: ${broken}: case "missing": ${join(folder, "nowhere.trace")}: cannot be read: ENOENT: no such file or directory, open '${join(folder, "nowhere.trace")}'\n`,
    });
  });

  it.each([
    ["a baseline that is not there", ["--baseline", "none"], /iommu-lab\.none\.baseline\.json: cannot be read: ENOENT/],
    ["two jobs", ["--baseline", "a", "--save-baseline", "b"], /cannot be used with option/],
    ["a rule for nothing", ["--allow", "a/b<=1"], /--allow needs --baseline/],
    ["a summary of nothing", ["--markdown", "x.md"], /--markdown needs --baseline/],
    ["times that may fail nothing", ["--wall-fails"], /--wall-fails needs --baseline/],
    ["a rule that is none", ["--baseline", "a", "--allow", "a"], /"a": not a rule CASE\/COUNTER<=NUMBER/],
    ["no workers", ["--workers", "0"], /it needs one or more/],
    ["a place that is not there", ["--save-baseline", "nowhere/x.json"], /write nowhere\/x\.json: invalid: ENOENT/],
  ])("%s could not be run: status 2, a message, nothing on stdout", async (_, args, message) => {
    const { status, stdout, stderr } = await regress(...args);
    expect([status, stdout]).toEqual([2, ""]);
    expect(stderr).toMatch(message);
  });
});
