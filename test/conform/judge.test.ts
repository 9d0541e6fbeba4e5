import { describe, expect, it } from "vitest";
import { answerDifferences, wordDifferences } from "../../src/conform/judge.js";
import type { VectorOutcome } from "../../src/conform/model.js";
import { mapped, vectorOf } from "./support.js";

const pa = (address: bigint): VectorOutcome => ({ pa: address, reads: [] });
const fault = (code: number | null, fields: Record<string, bigint | number | string> = {}): VectorOutcome => ({
  code,
  fields,
  reads: [],
});

function differencesOf(entry: object, outcome: VectorOutcome): string[] {
  const vector = vectorOf({ ...mapped, requests: [mapped.requests[0]], expect: [entry] });
  return answerDifferences(vector.expect[0], outcome).map(({ what, expected, got }) => `${what}: ${expected} / ${got}`);
}

/** Entry of `expect`, answers that agree, answers that do not and what is said of them. */
type Rule = [string, object, readonly VectorOutcome[], readonly (readonly [VectorOutcome, ...string[]])[]];

const deviating = (spec: object, recorded: object = { pa: "0x9000" }) => ({ ...recorded, deviates: true, spec });

describe("judging an answer", () => {
  it.each<Rule>([
    [
      "a translation by its address",
      { pa: "0x5018" },
      [pa(0x5018n)],
      [
        [pa(0x5010n), "answer: pa 0x5018 / pa 0x5010"],
        [fault(5), "answer: pa 0x5018 / code 5 (0x5)"],
        [fault(null), "answer: pa 0x5018 / blocked, nothing recorded"],
      ],
    ],
    [
      "a fault by its code",
      { fault: { code: 133, name: "SGN.6" } },
      [fault(133)],
      [
        [fault(5), "answer: code 133 (0x85): SGN.6 / code 5 (0x5)"],
        [fault(null), "answer: code 133 (0x85): SGN.6 / blocked, nothing recorded"],
        [pa(0n), "answer: code 133 (0x85): SGN.6 / pa 0x0"],
      ],
    ],
    [
      "a blocked request without a record",
      { fault: { code: null, name: "NO_RECORD" } },
      [fault(null)],
      [
        [fault(0), "answer: blocked, nothing recorded / code 0 (0x0)"],
        [pa(0n), "answer: blocked, nothing recorded / pa 0x0"],
      ],
    ],
    [
      "the fields of a VT-d record",
      { fault: { code: 5, sid: "0x00ef", addr: "0xfffffffffffff000", type: "w", pasid: 3 } },
      [fault(5, { sid: 0xef, addr: 0xffff_ffff_ffff_f000n, type: "w", pasid: 3 })],
      [
        [
          fault(5, { sid: 0xee, addr: 0x1000n, type: "r" }),
          "sid: 0xef / 0xee",
          "addr: 0xfffffffffffff000 / 0x1000",
          "type: w / r",
          "pasid: 0x3 / absent",
        ],
      ],
    ],
    [
      "the fields of an SMMUv3 record",
      { fault: { code: 16, addr: "0x10", type: "r", s2: 1, class: "TT", ipa: "0x2000", fetchAddr: "0x3000" } },
      [fault(16, { addr: 16n, type: "r", s2: 1n, class: "TT", ipa: 0x2000n, fetchAddr: 0x3000n, extra: 9 })],
      [
        [
          fault(16, { addr: 16n, type: "r", s2: 0, class: "IN", ipa: 0x2008n, fetchAddr: 0n }),
          "s2: 0x1 / 0x0",
          "class: TT / IN",
          "ipa: 0x2000 / 0x2008",
          "fetchAddr: 0x3000 / 0x0",
        ],
      ],
    ],
    [
      "the fields of a RISC-V record, the guest address without its two low bits",
      { fault: { code: 21, iotval: "0x10", qemuIotval2: "0x2001", qemuTtyp: 2, qemuPv: 0 } },
      [fault(21, { iotval: 0x10n, iotval2: 0x2000n }), fault(21, { iotval: 0x10n, iotval2: 0x2003n })],
      [
        [fault(21, { iotval: 0x10n, iotval2: 0x2004n }), "iotval2: 0x2001 / 0x2004"],
        [fault(21, { iotval: 0x14n }), "iotval: 0x10 / 0x14", "iotval2: 0x2001 / absent"],
      ],
    ],
    ["no guest address outside guest page faults", { fault: { code: 13, qemuIotval2: "0x10" } }, [fault(13)], []],
    [
      "nothing that only explains the recorded machine",
      { fault: { code: 5, specCode: 121, events: 2, qemuTtyp: 1, fetchAddrInWrongWord: true } },
      [fault(5), fault(5, { specCode: 5, events: 1 })],
      [],
    ],
    [
      "a deviation by the specification's address",
      deviating({ pa: "0x5018" }),
      [pa(0x5018n)],
      [
        [pa(0x9000n), "answer: pa 0x5018 / pa 0x9000"],
        [fault(5), "answer: pa 0x5018 / code 5 (0x5)"],
      ],
    ],
    [
      "a deviation by the specification's code, whatever the record holds",
      deviating({ code: 121 }, { fault: { code: 5, sid: "0x00ef", specCode: 121 } }),
      [fault(121, { sid: 1 })],
      [
        [fault(5, { sid: 0xef }), "answer: code 121 (0x79) / code 5 (0x5)"],
        [fault(null), "answer: code 121 (0x79) / blocked, nothing recorded"],
        [pa(0x9000n), "answer: code 121 (0x79) / pa 0x9000"],
      ],
    ],
    [
      "a deviation that must not be recorded",
      deviating({ code: null }),
      [fault(null)],
      [
        [fault(5), "answer: blocked, nothing recorded / code 5 (0x5)"],
        [pa(0x9000n), "answer: blocked, nothing recorded / pa 0x9000"],
      ],
    ],
    [
      "a deviation with a choice of codes",
      deviating({ anyOf: [121, 133] }),
      [fault(121), fault(133)],
      [
        [fault(5), "answer: code 121 (0x79) or code 133 (0x85) / code 5 (0x5)"],
        [fault(null), "answer: code 121 (0x79) or code 133 (0x85) / blocked, nothing recorded"],
        [pa(0x9000n), "answer: code 121 (0x79) or code 133 (0x85) / pa 0x9000"],
      ],
    ],
    [
      "a deviation with a choice of a code and a translation",
      deviating({ anyOf: [12], orPa: "0x5018" }),
      [fault(12), pa(0x5018n)],
      [
        [pa(0x9000n), "answer: code 12 (0xc) or pa 0x5018 / pa 0x9000"],
        [fault(null), "answer: code 12 (0xc) or pa 0x5018 / blocked, nothing recorded"],
      ],
    ],
    [
      "a deviation with a choice of codes, where the recorded machine recorded nothing",
      deviating({ anyOf: [121] }, { fault: { code: null, name: "NO_RECORD" } }),
      [fault(121), fault(null)],
      [
        [fault(5), "answer: code 121 (0x79) / code 5 (0x5)"],
        [pa(0x9000n), "answer: code 121 (0x79) / pa 0x9000"],
      ],
    ],
    [
      "a deviation with a choice of no code",
      deviating({ anyOf: [] }),
      [fault(null)],
      [
        [fault(5), "answer: blocked, nothing recorded / code 5 (0x5)"],
        [pa(0x9000n), "answer: blocked, nothing recorded / pa 0x9000"],
      ],
    ],
  ])("%s", (_, entry, agreeing, differing) => {
    for (const outcome of agreeing) expect(differencesOf(entry, outcome)).toEqual([]);
    for (const [outcome, ...said] of differing) expect(differencesOf(entry, outcome)).toEqual(said);
  });
});

describe("comparing changed words", () => {
  it.each<[string, [bigint, bigint][], [bigint, bigint | null][], string[]]>([
    ["nothing", [], [], []],
    [
      "the same words in any order",
      [
        [8n, 1n],
        [0n, 2n],
      ],
      [
        [0n, 2n],
        [8n, 1n],
      ],
      [],
    ],
    ["another value", [[0n, 2n]], [[0n, 3n]], ["word 0x0: 0x2 / 0x3"]],
    ["a word that did not change", [[0n, 2n]], [], ["word 0x0: 0x2 / unchanged"]],
    [
      "a word that nobody expected to change",
      [[8n, 1n]],
      [
        [8n, 1n],
        [0n, 0n],
      ],
      ["word 0x0: unchanged / 0x0"],
    ],
    ["a word that went away", [], [[0n, null]], ["word 0x0: unchanged / not backed"]],
  ])("%s", (_, expected, changed, said) => {
    const differences = wordDifferences(expected, new Map(changed));
    expect(differences.map(({ what, expected, got }) => `${what}: ${expected} / ${got}`)).toEqual(said);
  });
});
