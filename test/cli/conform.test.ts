import { Command } from "commander";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { addConform } from "../../src/cli/conform.js";
import { version } from "../../src/cli/version.js";
import { VectorError } from "../../src/conform/errors.js";
import type { ModelFactory } from "../../src/conform/model.js";
import { mapped, oneTable, temporaryFile, vectorFile } from "../conform/support.js";

const written = { stdout: "", stderr: "" };

beforeEach(() => {
  for (const stream of ["stdout", "stderr"] as const) {
    written[stream] = "";
    vi.spyOn(process[stream], "write").mockImplementation((text) => {
      written[stream] += String(text);
      return true;
    });
  }
});

afterEach(() => {
  vi.restoreAllMocks();
});

/** Runs the verb in this process and returns its exit status. */
async function conform(...args: readonly string[]): Promise<number> {
  const program = new Command("iommu-lab").exitOverride();
  addConform(program, new Map<string, ModelFactory>([["onetable", oneTable]]));
  const before = process.exitCode;
  process.exitCode = 0;
  try {
    await program.parseAsync(["conform", ...args], { from: "user" });
    return Number(process.exitCode);
  } finally {
    process.exitCode = before;
  }
}

const wrong = {
  ...mapped,
  id: "wrong",
  expect: [
    { pa: "0x9018", deviates: true, why: "order of checks", spec: { anyOf: [5, 6] } },
    { fault: { code: 2, name: "not present", sid: "0x00ee", addr: "0x1000", type: "w" } },
  ],
};
const disputed = [{ id: "wrong", entries: [0], reason: "the order is defined" }];

describe("iommu-lab conform", () => {
  it("holds when everything agrees", async () => {
    expect(await conform(await vectorFile(mapped))).toBe(0);
    expect(written.stdout).toBe("2 passed, 0 failed, 0 disputed, 0 skipped\n");
    expect(written.stderr).toBe("");
  });

  it("shows every mismatch with what was expected, what came and what was read", async () => {
    const file = await vectorFile(mapped, wrong, { ...mapped, arch: "other" });
    expect(await conform(file)).toBe(1);
    expect(written.stdout).toBe(`${file}:2: wrong entry 0 [t1]
  request   read 0x18 from 00:1d.7 (0xef)
  expected  code 5 (0x5) or code 6 (0x6), by the specification
  recorded  pa 0x9018 (order of checks)
  got       pa 0x5018
  differs   answer: pa 0x5018, not code 5 (0x5) or code 6 (0x6)
  read      table entry at 0x1000: 0x5001

${file}:2: wrong entry 1 [t1]
  request   write 0x1008 from 00:1d.7 (0xef)
  expected  code 2 (0x2): not present, sid 0xee, addr 0x1000, type w
  got       code 2 (0x2), sid 0xef, addr 0x1000, type w
  differs   sid: 0xef, not 0xee
  read      table entry at 0x1008: 0x6000

skipped: no model of other (entries: 2, vectors: 1)
2 passed, 2 failed, 0 disputed, 2 skipped
`);
  });

  it("prints so many mismatches, and what is disputed and why", async () => {
    const file = await vectorFile(wrong, wrong, mapped);
    const list = await temporaryFile(
      "disputed.json",
      JSON.stringify([...disputed, { id: "mapped", entries: [1], reason: "x" }]),
    );
    expect(await conform(file, "--disputed", list, "--limit", "1")).toBe(1);
    const lines = written.stdout.trimEnd().split("\n");
    expect(lines[0]).toBe(`${file}:1: wrong entry 1 [t1]`);
    expect(lines.slice(7)).toEqual([
      "… and 1 more",
      "",
      `disputed: ${file}:1: wrong entry 0: the order is defined`,
      `disputed: ${file}:2: wrong entry 0: the order is defined`,
      "2 passed, 2 failed, 2 disputed, 0 skipped",
    ]);
    expect(written.stderr).toBe("iommu-lab: mapped: disputed entry 1 agrees: it need not be disputed\n");
  });

  it("holds when what does not agree is disputed", async () => {
    const file = await vectorFile({ ...wrong, requests: [wrong.requests[0]], expect: [wrong.expect[0]] });
    expect(await conform(file, "--disputed", await temporaryFile("d.json", JSON.stringify(disputed)))).toBe(0);
    expect(written.stdout).toMatch(/\n0 passed, 0 failed, 1 disputed, 0 skipped\n$/);
  });

  it("prints one JSON document", async () => {
    const file = await vectorFile(wrong, { ...mapped, arch: "other" });
    const list = await temporaryFile("disputed.json", JSON.stringify(disputed));
    expect(await conform(file, "--json", "--disputed", list)).toBe(1);
    const request = { sid: "0xef", access: "r", iova: "0x18" };
    const common = { file, line: 1, vector: "wrong", tags: ["t1"] };
    expect(JSON.parse(written.stdout)).toEqual({
      command: "conform",
      version,
      inputs: { files: [file], disputed: list },
      counts: { passed: 0, failed: 1, disputed: 1, skipped: 2 },
      failures: [
        {
          ...common,
          entry: 1,
          request: { ...request, access: "w", iova: "0x1008" },
          expected: {
            code: 2,
            name: "not present",
            fields: { sid: "0xee", addr: "0x1000", type: "w" },
            writes: [],
          },
          got: { code: 2, fields: { sid: "0xef", addr: "0x1000", type: "w" } },
          differences: [{ what: "sid", expected: "0xee", got: "0xef" }],
          reads: [{ structure: "table entry", address: "0x1008", words: ["0x6000"] }],
        },
      ],
      disputed: [
        {
          reason: "the order is defined",
          ...common,
          entry: 0,
          request,
          expected: {
            pa: "0x9018",
            writes: [],
            why: "order of checks",
            specification: { anyOf: [5, 6], orPa: null },
          },
          got: { pa: "0x5018" },
          differences: [{ what: "answer", expected: "code 5 (0x5) or code 6 (0x6)", got: "pa 0x5018" }],
          reads: [{ structure: "table entry", address: "0x1000", words: ["0x5001"] }],
        },
      ],
      skipped: [{ reason: "no model of other", vectors: 1, entries: 2 }],
    });
  });

  it("prints nothing but the error when a line cannot be understood", async () => {
    const file = await temporaryFile("v.jsonl", `${JSON.stringify(mapped)}\n{"id":"x"}\n`);
    await expect(conform(file)).rejects.toThrow(VectorError);
    await expect(conform(file)).rejects.toThrow(`${file}: line 2: requests is missing`);
    expect(written.stdout).toBe("");
  });
});
