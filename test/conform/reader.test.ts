import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { readDisputed } from "../../src/conform/disputed.js";
import { VectorError } from "../../src/conform/errors.js";
import { readVectors } from "../../src/conform/reader.js";
import type { Vector } from "../../src/conform/vector.js";
import { TraceError } from "../../src/trace/errors.js";
import { mapped, temporaryFile, vectorFile, vectorOf } from "./support.js";

async function read(file: string): Promise<Vector[]> {
  const vectors: Vector[] = [];
  for await (const vector of readVectors(file)) vectors.push(vector);
  return vectors;
}

describe("reading vectors", () => {
  it("reads requests, expectations and memory", () => {
    const vector = vectorOf({
      ...mapped,
      requests: [
        { sid: "0x00ef", iova: "0xffffffffffffffff", access: "r" },
        { sid: 8, iova: "0x0", access: "w", pasid: "0x5", priv: true, execute: false, type: "translated" },
        { sid: "0x1", iova: "0x0", access: "w", pasid: 7, privileged: false },
      ],
      expect: [
        { pa: "0x5018", by: "trace", writes: [["0x8", "0xffffffffffffffff"]] },
        { fault: { code: null, name: "NO_RECORD" } },
        {
          fault: { code: 5, sid: "0x00ef", s2: 1, class: "IN", wrong: true },
          deviates: true,
          why: "order",
          spec: { anyOf: [5, 6], orPa: "0x10" },
        },
      ],
      memoryAfter: [["0x8", "0x9"]],
    });
    expect(vector.requests).toEqual([
      { sid: 0xef, iova: 0xffff_ffff_ffff_ffffn, access: "r" },
      { sid: 8, iova: 0n, access: "w", pasid: 5, privileged: true, execute: false, type: "translated" },
      { sid: 1, iova: 0n, access: "w", pasid: 7, privileged: false },
    ]);
    expect(vector.expect).toEqual([
      { answer: { pa: 0x5018n }, writes: [[8n, 0xffff_ffff_ffff_ffffn]], deviation: null },
      { answer: { code: null, name: "NO_RECORD", fields: {} }, writes: [], deviation: null },
      {
        answer: { code: 5, name: null, fields: { sid: 0xefn, s2: 1n, class: "IN", wrong: true } },
        writes: [],
        deviation: { why: "order", specification: { anyOf: [5, 6], orPa: 0x10n } },
      },
    ]);
    expect(vector.memory).toEqual([
      [0x1000n, 0x5001n],
      [0x1008n, 0x6000n],
    ]);
    expect(vector.memoryAfter).toEqual([[8n, 9n]]);
  });

  it("reads what a configuration holds by its kind", () => {
    const { config } = vectorOf({
      ...mapped,
      config: {
        CAP_REG: "0xF0",
        haw: 48,
        mode: "legacy",
        smts: false,
        sizes: ["4K"],
        sagaw: [39],
        ram: [["0x0", "0x10"]],
      },
    });
    expect(config.word("CAP_REG")).toBe(0xf0n);
    expect(config.number("haw")).toBe(48);
    expect(config.text("mode")).toBe("legacy");
    expect(config.flag("smts")).toBe(false);
    expect(config.texts("sizes")).toEqual(["4K"]);
    expect(config.numbers("sagaw")).toEqual([39]);
    expect(config.pairs("ram")).toEqual([[0n, 16n]]);
    expect(config.has("mgaw")).toBe(false);
    expect(() => config.number("mgaw")).toThrow("x.jsonl: line 1: config.mgaw is missing");
    expect(() => config.number("mode")).toThrow("x.jsonl: line 1: config.mode is not a whole number");
    expect(() => config.word("haw")).toThrow("x.jsonl: line 1: config.haw is not a hex string of at most 64 bits");
    expect(() => config.flag("haw")).toThrow("x.jsonl: line 1: config.haw is not true or false");
    expect(() => config.texts("sagaw")).toThrow("x.jsonl: line 1: config.sagaw is not a list of strings");
  });

  it("finds lines wherever the chunks of a large file end, plain or gzip", async () => {
    const lines = Array.from({ length: 700 }, (_, n) =>
      JSON.stringify({ ...mapped, id: `v${n}`, tags: ["é".repeat(n)] }),
    );
    const text = `\n${lines.join("\r\n")}`;
    for (const file of [
      await temporaryFile("v.jsonl", text),
      await temporaryFile("v.jsonl.gz", gzipSync(text, { level: 1 })),
    ]) {
      const vectors = await read(file);
      expect(vectors.map(({ id }) => id)).toEqual(lines.map((_, n) => `v${n}`));
      expect(vectors[699].tags).toEqual(["é".repeat(699)]);
      expect(vectors[699].place).toEqual({ file, line: 701 });
    }
  });

  const { id: _, ...nameless } = mapped;
  const entry = (expectation: object) => ({ ...mapped, requests: [mapped.requests[0]], expect: [expectation] });
  const request = (change: object) => entryOf({ ...mapped.requests[0], ...change });
  const entryOf = (one: object) => ({ ...mapped, requests: [one], expect: [{ pa: "0x0" }] });
  it.each<[string, unknown]>([
    ["the line is not a JSON object", [1]],
    ["id is missing", nameless],
    ["id is not a string", { ...mapped, id: 4 }],
    ["tags is not a list of strings", { ...mapped, tags: [1] }],
    ["config is not a JSON object", { ...mapped, config: null }],
    ["requests is not a list", { ...mapped, requests: {} }],
    ["requests[0] is not a JSON object", { ...mapped, requests: ["0x0"] }],
    ["expect has 1 entries for 2 requests", { ...mapped, expect: [mapped.expect[0]] }],
    ["memory[1] is not a pair of hex strings of at most 64 bits", { ...mapped, memory: [["0x0", "0x0"], ["0x0"]] }],
    [
      "memory[0] is not a pair of hex strings of at most 64 bits",
      { ...mapped, memory: [["0x0", "0x1ffffffffffffffff"]] },
    ],
    ["memoryAfter[0] is not a pair of hex strings of at most 64 bits", { ...mapped, memoryAfter: [["0x0", 7]] }],
    ["requests[0].iova is not a hex string of at most 64 bits", request({ iova: "12" })],
    ["requests[0].iova is not a hex string of at most 64 bits", request({ iova: "0x" })],
    ["requests[0].sid is not a whole number", request({ sid: -1 })],
    ["requests[0].sid is wider than 32 bits", request({ sid: "0x100000000" })],
    ['requests[0].access is "x", neither "r" nor "w"', request({ access: "x" })],
    ["requests[0].priv is not true or false", request({ priv: 1 })],
    ['requests[0].type is "ats", none of untranslated, translation, translated', request({ type: "ats" })],
    ['expect[0].pa and "fault": exactly one must be there', entry({})],
    ['expect[0].pa and "fault": exactly one must be there', entry({ pa: "0x0", fault: { code: 1 } })],
    ["expect[0].fault.code is missing", entry({ fault: { name: "x" } })],
    ["expect[0].fault.code is not a whole number", entry({ fault: { code: "1" } })],
    ["expect[0].fault.addr is not a hex string of at most 64 bits", entry({ fault: { code: 1, addr: "0xg" } })],
    ["expect[0].writes[0] is not a pair of hex strings of at most 64 bits", entry({ pa: "0x0", writes: ["0x0"] })],
    ["expect[0].spec is missing", entry({ pa: "0x0", deviates: true })],
    ["expect[0].spec.anyOf is missing", entry({ pa: "0x0", deviates: true, spec: {} })],
    [
      "expect[0].spec.anyOf is not a list of whole numbers",
      entry({ pa: "0x0", deviates: true, spec: { anyOf: [null] } }),
    ],
    [
      'expect[0].spec.code and "pa": only one may be there',
      entry({ pa: "0x0", deviates: true, spec: { pa: "0x0", code: 1 } }),
    ],
  ])("%s", async (reason, vector) => {
    const file = await temporaryFile("v.jsonl", `${JSON.stringify(mapped)}\n${JSON.stringify(vector)}\n`);
    const error = await read(file).catch((error: unknown) => error);
    expect(error).toBeInstanceOf(VectorError);
    expect((error as VectorError).message).toBe(`${file}: line 2: ${reason}`);
    expect((error as VectorError).place).toEqual({ file, line: 2 });
  });

  it("names the line that is no JSON", async () => {
    const file = await temporaryFile("v.jsonl", '\n{"id": ');
    await expect(read(file)).rejects.toThrow(VectorError);
    await expect(read(file)).rejects.toThrow(`${file}: line 2: not JSON: `);
  });

  it("names the file that is not there", async () => {
    await expect(read("nowhere.jsonl")).rejects.toThrow(TraceError);
    await expect(read("nowhere.jsonl")).rejects.toThrow("nowhere.jsonl: cannot be read: ENOENT");
  });
});

describe("the list of disputed entries", () => {
  it("joins what it says of one vector", async () => {
    const list = [
      { id: "a", entries: [0, 3], reason: "one" },
      { id: "b", entries: [], reason: "none" },
      { id: "a", entries: [1], reason: "two" },
    ];
    const disputed = await readDisputed(await temporaryFile("d.json", JSON.stringify(list)));
    expect([...(disputed.get("a") ?? [])]).toEqual([
      [0, "one"],
      [3, "one"],
      [1, "two"],
    ]);
  });

  it.each([
    ["[", "not JSON: "],
    ["{}", "list is not a list"],
    ['[{"id":"a","reason":"x"}]', "list[0].entries is missing"],
    ['[{"id":"a","entries":[-1],"reason":"x"}]', "list[0].entries is not a list of whole numbers"],
    ['[{"id":"a","entries":[1]}]', "list[0].reason is missing"],
  ])("%s: %s", async (text, reason) => {
    const file = await temporaryFile("d.json", text);
    await expect(readDisputed(file)).rejects.toThrow(VectorError);
    await expect(readDisputed(file)).rejects.toThrow(`${file}: ${reason}`);
  });

  it("names the file that is not there", async () => {
    await expect(readDisputed("nowhere.json")).rejects.toThrow("nowhere.json: cannot be read: ENOENT");
  });

  it("reads the file that vectors are written to", async () => {
    expect(await read(await vectorFile(mapped))).toHaveLength(1);
  });
});
