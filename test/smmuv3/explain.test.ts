import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { readVectors } from "../../src/conform/reader.js";
import type { Vector, VectorRequest } from "../../src/conform/vector.js";
import { readDump } from "../../src/dump/dump.js";
import { arenaBaseFor } from "../../src/dump/pages.js";
import { type Explanation, explainRequest } from "../../src/explain/explain.js";
import { EXPLAINERS } from "../../src/explain/explainers.js";
import { openMachine } from "../../src/explain/machine.js";
import { explanationText } from "../../src/explain/report.js";
import { explainVector } from "../../src/explain/vector.js";
import { EVENT } from "../../src/smmuv3/events.js";
import { smmuExplainer } from "../../src/smmuv3/explain.js";
import { decodeFields, fieldsOf, type Granules, STRUCTURES } from "../../src/smmuv3/fields.js";
import { fieldLine } from "../../src/unit/fields.js";
import { SMMU } from "../dump/support.js";
import { newEngine } from "../explain/support.js";
import { refused } from "../support/errors.js";

const VECTORS = fileURLToPath(new URL("../fixtures/vectors/smmuv3.jsonl", import.meta.url));
const vectors: Vector[] = [];
for await (const vector of readVectors(VECTORS)) vectors.push(vector);

const WORDS: Readonly<Record<string, number>> = { STE: 8, "context descriptor": 8 };
const GRANULES: readonly Granules[] = [
  { stage1: 12, stage2: 14 },
  { stage1: 14, stage2: 16 },
  { stage1: 16, stage2: 12 },
];

describe("the tables of SMMUv3 structures", () => {
  test.each(STRUCTURES)("%s: every bit is in one field", (structure) => {
    const end = (WORDS[structure] ?? 1) * 64;
    for (const granules of GRANULES) {
      for (const firstWord of [0n, 1n, 2n, 3n]) {
        let next = 0;
        for (const { low, high } of fieldsOf(structure, firstWord, granules)) {
          expect([low, high]).toEqual([next, Math.max(low, high)]);
          next = high + 1;
        }
        expect(next).toBe(end);
      }
    }
  });

  test.each<[string, readonly bigint[], Granules, readonly string[]]>([
    [
      "L1 stream table descriptor",
      [0x1234_5009n],
      GRANULES[0],
      ["Span 4:0 = 0x9 (256 stream table entries)", "L2Ptr 55:6 = 0x12345000"],
    ],
    ["L1 context descriptor", [0x1234_5001n], GRANULES[0], ["V 0 = 0x1 (valid)", "L2Ptr 55:12 = 0x12345000"]],
    [
      "STE",
      [0x4404_e00bn, 0xd6n, 0n, 0n, 0n, 0n, 0n, 0n],
      GRANULES[0],
      [
        "V 0 = 0x1 (valid)",
        "Config 3:1 = 0x5 (stage 1)",
        "S1ContextPtr 55:6 = 0x4404e000",
        "S1DSS 65:64 = 0x2 (without substream: context descriptor 0)",
        "S1CIR 67:66 = 0x1",
        "S1COR 69:68 = 0x1",
        "S1CSH 71:70 = 0x3",
      ],
    ],
    [
      "STE",
      [0xdn, 0n, 0x040c_8059_0000_0007n, 0x1234_5000n, 0n, 0n, 0n, 0n],
      GRANULES[0],
      [
        "V 0 = 0x1 (valid)",
        "Config 3:1 = 0x6 (stage 2)",
        "S2VMID 143:128 = 0x7",
        "S2T0SZ 165:160 = 0x19 (39 input bits)",
        "S2SL0 167:166 = 0x1",
        "S2TG 175:174 = 0x2 (16-KByte granule)",
        "S2PS 178:176 = 0x4 (44 bits)",
        "S2AA64 179 = 0x1 (VMSAv8-64)",
        "S2R 186 = 0x1 (faults are recorded)",
        "S2TTB 247:196 = 0x12345000",
      ],
    ],
    [
      "context descriptor",
      [0x1_e204_c000_3510n, 0x4404_d000n, 0n, 0xffff_ffff_f404_ff44n, 0n, 0n, 0n, 0n],
      GRANULES[0],
      [
        "T0SZ 5:0 = 0x10 (48 input bits)",
        "TG0 7:6 = 0x0 (4-KByte granule)",
        "IR0 9:8 = 0x1",
        "OR0 11:10 = 0x1",
        "SH0 13:12 = 0x3",
        "T1SZ 21:16 = 0x0 (64 input bits)",
        "TG1 23:22 = 0x0 (reserved)",
        "EPD1 30 = 0x1 (no walks through TTB1)",
        "V 31 = 0x1 (valid)",
        "IPS 34:32 = 0x4 (44 bits)",
        "AA64 41 = 0x1 (VMSAv8-64)",
        "R 45 = 0x1 (faults are recorded)",
        "A 46 = 0x1 (faults abort)",
        "ASET 47 = 0x1",
        "ASID 63:48 = 0x1",
        "TTB0 119:68 = 0x4404d000",
        "MAIR0 223:192 = 0xf404ff44",
        "MAIR1 255:224 = 0xffffffff",
      ],
    ],
    [
      "S1-L3",
      [0x60_0000_0809_0e4bn],
      GRANULES[0],
      [
        "type 1:0 = 0x3 (page)",
        "AttrIndx 4:2 = 0x2",
        "AP[1] 6 = 0x1",
        "AP[2] 7 = 0x0",
        "SH 9:8 = 0x2",
        "AF 10 = 0x1 (accessed)",
        "nG 11 = 0x1 (not global)",
        "address 47:12 = 0x8090000",
        "PXN 53 = 0x1",
        "UXN 54 = 0x1",
      ],
    ],
    [
      "S1-L1",
      [0x4000_0000_1234_5003n],
      GRANULES[0],
      ["type 1:0 = 0x3 (table)", "address 47:12 = 0x12345000", "APTable 62:61 = 0x2 (no writes)"],
    ],
    ["S1-L0", [0x12_3401n], GRANULES[0], ["type 1:0 = 0x1 (reserved)", "ignored 63:2 = 0x48d00"]],
    [
      "S2-L2",
      [0x6000_f4c1n],
      GRANULES[1],
      [
        "type 1:0 = 0x1 (block)",
        "S2AP 7:6 = 0x3",
        "AF 10 = 0x1 (accessed)",
        "address[51:48] 15:12 = 0xf",
        "address 47:29 = 0x60000000",
      ],
    ],
    ["S2-L3", [0x1n], GRANULES[0], ["type 1:0 = 0x1 (reserved)"]],
    ["S2-L3", [0n], GRANULES[0], ["type 1:0 = 0x0 (invalid)"]],
  ])("%s: what the words say (%#)", (structure, words, granules, lines) => {
    expect(decodeFields(structure, words, granules).map(fieldLine)).toEqual(lines);
  });

  test("there is no other", () => {
    const error = refused("invalid", () => decodeFields("root entry", [0n]));
    expect(error.message).toContain("root entry");
  });
});

/** The structure whose check an event is. */
const DECIDED_BY: Readonly<Record<number, RegExp>> = {
  [EVENT.C_BAD_STREAMID]: /^(L1 stream table descriptor)?$/,
  [EVENT.C_BAD_STE]: /^STE$/,
  [EVENT.F_CD_FETCH]: /^context descriptor$/,
  [EVENT.C_BAD_CD]: /^context descriptor$/,
  [EVENT.F_WALK_EABT]: /^S[12]-L\d$/,
  [EVENT.F_TRANSLATION]: /^(STE|context descriptor|S[12]-L\d)$/,
  [EVENT.F_ADDR_SIZE]: /^(STE|context descriptor|S[12]-L\d)$/,
  [EVENT.F_ACCESS]: /^S[12]-L\d$/,
  [EVENT.F_PERMISSION]: /^S[12]-L\d$/,
};

describe("every entry of the fixture", () => {
  test.each(vectors)("$id", async ({ id, expect: expected }) => {
    const { entries } = await explainVector(VECTORS, {
      explainers: EXPLAINERS,
      newEngine,
      disputed: new Map(),
      id,
    });
    expect(entries.length).toBe(expected.length);
    for (const { steps, verdict, differences } of entries) {
      expect(differences).toEqual([]);
      for (const { words, fields } of steps) expect(fields.length > 0).toBe(words !== null);
      if (verdict.ok) continue;
      expect(verdict.record === null).toBe(verdict.unrecorded !== null);
      expect(steps.at(-1)?.structure ?? "").toMatch(verdict.code === null ? /^STE$/ : DECIDED_BY[verdict.code]);
    }
  });
});

const DEVICE = 0x8;

async function explain(request: VectorRequest): Promise<Explanation> {
  return explainRequest(await openMachine(newEngine, SMMU, { sid: request.sid }), request);
}

describe("a transaction of a dumped machine", () => {
  test("that is translated", async () => {
    const { steps, verdict } = await explain({ sid: DEVICE, iova: 0xffff_f123n, access: "w" });
    const configuration = ["L1 stream table descriptor", "STE", "context descriptor"];
    expect(steps.map(({ structure }) => structure)).toEqual([...configuration, "S1-L0", "S1-L1", "S1-L2", "S1-L3"]);
    expect(verdict).toEqual({ ok: true, physical: 0x809_0123n, pageSize: 0x1000n, note: null });
  });

  test("that is not mapped: the event that it makes", async () => {
    const explanation = await explain({ sid: DEVICE, iova: 0x1234n, access: "w" });
    expect(explanation.verdict).toMatchObject({
      code: EVENT.F_TRANSLATION,
      record: { fields: { sid: DEVICE, addr: 0x1234n, type: "w", s2: 0, class: "IN" } },
      unrecorded: null,
    });
    expect(explanationText(explanation)).toContain(
      "faults with code 16 (0x10): F_TRANSLATION, the address is not mapped",
    );
  });

  test("of a stream that aborts", async () => {
    const { verdict } = await explain({ sid: 0x9, iova: 0n, access: "r" });
    expect(verdict).toMatchObject({ code: null, record: null, unrecorded: "Config of the STE aborts" });
  });

  const PROD = 1n << 19n;
  test.each<[string, Readonly<Record<string, bigint>>, string]>([
    ["is disabled", { CR0: 0x9n }, "CR0.EVENTQEN is clear"],
    ["is full", { EVENTQ_BASE: 0x4000_0000_dbc0_0013n, EVENTQ_PROD: PROD }, "the Event queue is full"],
    ["was aborted", { GERROR: 4n }, "GERROR.EVENTQ_ABT_ERR is active"],
  ])("whose Event queue %s", async (_, changes, unrecorded) => {
    const dump = await readDump(SMMU);
    const registers = new Map([...dump.registers, ...Object.entries(changes)]);
    const unit = smmuExplainer.fromDump(newEngine({ arenaBase: arenaBaseFor(dump) }), { ...dump, registers });
    for (const access of ["r", "w"] as const) {
      const { verdict } = unit.request({ sid: DEVICE, iova: 0x1234n, access });
      expect(verdict).toMatchObject({ code: EVENT.F_TRANSLATION, record: null, unrecorded });
    }
  });
});
