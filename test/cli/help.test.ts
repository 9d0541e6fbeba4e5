import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { run } from "./run.js";

const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
const overview = (await run(["--help"])).stdout;
const commands = [...overview.matchAll(/^ {2}([a-z]+) /gm)].map(([, name]) => name).filter((name) => name !== "help");

it("there are commands", () => expect(commands).toEqual(expect.arrayContaining(["compare", "explain", "regress"])));

it.each([[], ...commands.map((name) => [name])])(
  "%s --help fits 100 columns and has an example",
  async (...command) => {
    const { status, stdout, stderr } = await run([...command, "--help"]);
    expect([status, stderr]).toEqual([0, ""]);
    expect(Math.max(...stdout.split("\n").map((line) => line.length))).toBeLessThanOrEqual(100);
    expect(stdout).toMatch(new RegExp(`^Examples?:\n  iommu-lab ${command[0] ?? ""}`, "m"));
  },
);

it("--version is that of the package", async () => {
  expect(await run(["--version"])).toEqual({ status: 0, stdout: `${version}\n`, stderr: "" });
});

it.each([
  ["compare", "test/fixtures/traces/vtd-vfio.trace.gz"],
  ["compare", "test/fixtures/traces/vtd-vfio.trace.gz", "--strategy", "linux:max-align-shift=9,as-recorded"],
  ["conform", "test/fixtures/vectors/smmuv3.jsonl"],
  ["experiment", "congruence"],
  ["explain", "test/fixtures/dumps/vtd-scalable-dbg-vfio", "--sid", "00:08.0", "--iova", "0x1000"],
])("%s %s prints at most 100 columns, without colour when it is not a terminal", async (...args) => {
  const { status, stdout } = await run(args);
  expect(status).toBe(0);
  expect(Math.max(...stdout.split("\n").map((line) => line.length))).toBeLessThanOrEqual(100);
  expect(stdout).not.toContain("\u001b");
});
