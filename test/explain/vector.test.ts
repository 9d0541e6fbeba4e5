import { describe, expect, test } from "vitest";
import { UnsupportedVector, VectorError } from "../../src/conform/errors.js";
import { readVectors } from "../../src/conform/reader.js";
import type { Vector } from "../../src/conform/vector.js";
import { hex } from "../../src/engine/addresses.js";
import { EXPLAINERS } from "../../src/explain/explainers.js";
import type { Explainer } from "../../src/explain/unit.js";
import { type ExplainedVector, type ExplainVectorOptions, explainVector } from "../../src/explain/vector.js";
import { vtdExplainer } from "../../src/vtd/explain.js";
import { FAULT_REASONS } from "../../src/vtd/fault-reasons.js";
import { vectorFile } from "../conform/support.js";
import { fixtureVector, newEngine, VECTORS } from "./support.js";

const vectors: Vector[] = [];
for await (const vector of readVectors(VECTORS)) vectors.push(vector);

function explain(file: string, options: Partial<ExplainVectorOptions> = {}): Promise<ExplainedVector> {
  return explainVector(file, { explainers: EXPLAINERS, newEngine, disputed: new Map(), ...options });
}

/** The structure whose check a fault reason of Table 30 is. */
const DECIDED_BY: readonly (readonly [codes: readonly number[], structure: RegExp])[] = [
  [[0x01, 0x08, 0x0a], /^root entry$/],
  [[0x02, 0x04, 0x09, 0x0b], /^context entry$/],
  [[0x03], /^(context entry|SS-PML4E|SS-PDPE)$/],
  [[0x05, 0x06, 0x07, 0x0c, 0x78, 0x79, 0x7a], /^SS-P\w+E$/],
  [[0x38, 0x39, 0x3a], /^scalable root entry$/],
  [[0x40, 0x41, 0x42, 0x43], /^scalable context entry$/],
  [[0x50, 0x51, 0x52], /^PASID directory entry$/],
  [[0x58, 0x59, 0x5a, 0x5b, 0x80, 0x84], /^PASID table entry$/],
  [[0x70, 0x71, 0x72, 0x81], /^FS-P\w+E$/],
  [[0x85, 0x86], /^[FS]S-P\w+E$/],
];

function structureOf(code: number): RegExp {
  const [, structure] = DECIDED_BY.find(([codes]) => codes.includes(code)) ?? [];
  if (structure === undefined) throw new Error(`no structure for code ${code}`);
  return structure;
}

describe("every entry of the fixture", () => {
  test.each(vectors)("$id", async ({ id, requests, expect: expected }) => {
    const { vector, entries } = await explain(VECTORS, { id });
    expect(vector.id).toBe(id);
    expect(entries.map(({ entry, request }) => ({ entry, request }))).toEqual(
      requests.map((request, entry) => ({ entry, request })),
    );
    for (const { entry, steps, verdict, differences, disputed } of entries) {
      expect({ differences, disputed }).toEqual({ differences: [], disputed: null });
      for (const { words, fields } of steps) expect(fields.length > 0).toBe(words !== null);
      const { answer, deviation } = expected[entry];
      if (verdict.ok) {
        if (deviation === null) expect(answer).toEqual({ pa: verdict.physical });
        continue;
      }
      const { code, name, record, unrecorded } = verdict;
      expect(steps.at(-1)?.structure).toMatch(structureOf(code ?? -1));
      expect(name).toBe(FAULT_REASONS.get(code ?? -1)?.name);
      const disabled = steps.some(({ fields }) => fields.some((field) => field.name === "FPD"));
      expect({ record: record === null, unrecorded: unrecorded !== null }).toEqual({
        record: disabled && FAULT_REASONS.get(code ?? -1)?.qualified === true,
        unrecorded: record === null,
      });
      if (unrecorded !== null) expect(unrecorded).toMatch(/^FPD of the (scalable )?(context|PASID \w+) entry$/);
    }
  });
});

const FLAGS = "vtd-scalable-fs-dev-0140";
const COLD = "vtd-scalable-fs-dev-0066";

describe("a vector", () => {
  test("is the first when none is named", async () => {
    expect((await explain(VECTORS)).vector.id).toBe(vectors[0].id);
  });

  test("may be explained for one entry, which sees what those before it changed", async () => {
    const all = await explain(VECTORS, { id: COLD });
    for (const entry of all.entries.keys()) {
      expect((await explain(VECTORS, { id: COLD, entry })).entries).toEqual([all.entries[entry]]);
    }
    const table = (entry: number) => all.entries[entry].steps.find(({ structure }) => structure === "FS-PML4E");
    expect(table(1)).toMatchObject({ words: [0x2b764007n], written: [0x2b764027n] });
    expect(table(2)).toMatchObject({ words: [0x2b764027n], written: null });
  });

  test("is judged as conform judges it: changed words and disputes included", async () => {
    const original = fixtureVector(FLAGS).json;
    const [first, ...rest] = original.expect;
    const file = await vectorFile({
      ...original,
      expect: [
        { ...first, writes: [["0x414c7158", "0x274000e5"]] },
        { pa: "0x2000" },
        { pa: "0x3000" },
        ...rest.slice(2),
      ],
    });
    const disputed = new Map([[FLAGS, new Map([[2, "the address is another"]])]]);
    const { entries } = await explain(file, { disputed });
    expect(entries.map(({ differences }) => differences.map(({ what }) => what))).toEqual([
      ["word 0x414c7158", "word 0x6b476f98", "word 0x3c89f00590"],
      ["answer"],
      ["answer"],
      [],
      [],
    ]);
    expect(entries[1].differences).toEqual([{ what: "answer", expected: "pa 0x2000", got: "code 133 (0x85)" }]);
    expect(entries.map((entry) => entry.disputed)).toEqual([null, null, "the address is another", null, null]);
  });

  test("may stand among others of any kind", async () => {
    const original = fixtureVector(FLAGS).json;
    const file = await vectorFile({ ...original, arch: "other" }, { ...original, id: "another" }, original);
    expect((await explain(file)).vector).toMatchObject({ id: "another", place: { line: 2 } });
    expect((await explain(file, { id: FLAGS })).vector.place).toEqual({ file, line: 3 });
  });

  test.each<[string, object, Partial<ExplainVectorOptions>, string]>([
    ["is not there", {}, { id: "none" }, `there is no vector "none" of vtd`],
    ["is of another architecture", { arch: "other" }, {}, "there is no vector of vtd"],
    ["has no such entry", {}, { entry: 5 }, `line 1: ${FLAGS} has no entry 5; its last is 4`],
    ["cannot be set up", { config: {} }, {}, "line 1: config.ram is missing"],
  ])("that %s", async (_, changes, options, message) => {
    const file = await vectorFile({ ...fixtureVector(FLAGS).json, ...changes });
    const error = explain(file, options);
    await expect(error).rejects.toThrow(VectorError);
    await expect(error).rejects.toThrow(`${file}: ${message}`);
  });

  test.each<[string, string, "r" | "w", { physical: bigint; pageSize: bigint; note: string }]>([
    ["for all there is", "0x597cc576c690", "w", { physical: 0x2756c690n, pageSize: 1n << 21n, note: "grants R" }],
    ["for reading", "0x597cc576c690", "r", { physical: 0x2756c690n, pageSize: 1n << 21n, note: "grants R" }],
    ["for what is not mapped", "0x0", "w", { physical: 0n, pageSize: 1n << 12n, note: "grants nothing" }],
  ])("may hold translation requests: %s", async (_, iova, access, { note, ...reached }) => {
    const { json } = fixtureVector(FLAGS);
    // ECAP.DT; DTE of the context entry.
    const file = await vectorFile({
      ...json,
      config: { ...json.config, ECAP_REG: hex(BigInt(json.config.ECAP_REG) | 4n) },
      memory: json.memory.map(([at, word]) => [at, at === "0x9180de0" ? hex(BigInt(word) | 4n) : word]),
      requests: [{ sid: "0xef", iova, access, type: "translation" }],
      expect: [{ pa: "0x0" }],
    });
    const [{ verdict, request }] = (await explain(file)).entries;
    expect(request.type).toBe("translation");
    expect(verdict).toEqual({ ok: true, ...reached, note: `a translation completion that ${note}` });
  });

  test("of what is not emulated", async () => {
    const refusing: Explainer = {
      ...vtdExplainer,
      fromVector: () => {
        throw new UnsupportedVector("nested translation");
      },
    };
    const explainers = new Map([["vtd", refusing]]);
    const error = explain(VECTORS, { explainers, id: FLAGS });
    await expect(error).rejects.toThrow(VectorError);
    await expect(error).rejects.toThrow(`: ${FLAGS}: nested translation`);
  });
});
