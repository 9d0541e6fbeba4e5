import { copyFile, link, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { checkOutputs } from "../../src/cli/outputs.js";
import { run } from "./run.js";

const TRACE = "test/fixtures/traces/noirqinfo.trace.gz";

let folder: string;
let trace: string;
let suite: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "iommu-lab-outputs-"));
  trace = join(folder, "mine.trace.gz");
  suite = join(folder, "suite.json");
  await copyFile(TRACE, trace);
  await symlink(trace, join(folder, "symbolic"));
  await link(trace, join(folder, "hard"));
  await writeFile(suite, JSON.stringify({ cases: [{ name: "a", trace: "mine.trace.gz", strategies: ["linux"] }] }));
});
afterAll(() => rm(folder, { recursive: true }));

describe("what a command is to write", () => {
  it.each([
    ["the input itself", { html: "mine.trace.gz" }, /--html would replace what is read/],
    ["the input by another name", { html: "symbolic" }, /--html would replace what is read/],
    ["a hard link of it", { html: "hard" }, /--html would replace what is read/],
    ["one file twice", { junit: "new", markdown: "new" }, /--junit writes it, too/],
    ["a directory", { html: "." }, /it is a directory/],
    ["in no directory", { html: "nowhere/a" }, /ENOENT/],
  ])("%s is refused", async (_, outputs, message) => {
    const paths = Object.fromEntries(Object.entries(outputs).map(([option, path]) => [option, join(folder, path)]));
    await expect(checkOutputs(paths, [trace, "-"])).rejects.toThrow(message);
  });

  it("may be a new file, one that is replaced, or no file at all", async () => {
    const outputs = { html: join(folder, "new"), junit: suite, markdown: "/dev/null", json: "/dev/null" };
    await expect(checkOutputs({ ...outputs, csv: undefined }, [trace])).resolves.toBeUndefined();
  });
});

it.each([
  ["compare", () => ["compare", trace, "--html", trace]],
  ["a suite", () => ["regress", suite, "--save-baseline", suite]],
  ["a suite's trace", () => ["regress", suite, "--html", trace]],
])("nothing is lost or run: %s", async (_, args) => {
  const before = [await readFile(trace), await readFile(suite)];
  const { status, stdout, stderr } = await run(args());
  expect([status, stdout]).toEqual([2, ""]);
  expect(stderr).toMatch(/^iommu-lab: write [^\n]+ would replace what is read\n$/);
  expect([await readFile(trace), await readFile(suite)]).toEqual(before);
});
