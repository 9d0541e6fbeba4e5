import { describe, expect, it } from "vitest";
import type { DisputedEntries } from "../../src/conform/disputed.js";
import { type Conformance, conform } from "../../src/conform/run.js";
import { mapped, oneTable, vectorFile } from "./support.js";

async function judge(vectors: readonly object[], disputed: DisputedEntries = new Map()): Promise<Conformance> {
  return conform([await vectorFile(...vectors)], {
    models: new Map([["onetable", oneTable]]),
    newEngine: () => {
      throw new Error("this architecture needs no engine");
    },
    disputed,
  });
}

/** "id/entry: what differs", a line each. */
function failed({ failures }: Conformance): string[] {
  return failures.flatMap(({ vector, entry, differences }) =>
    differences.map(({ what, expected, got }) => `${vector.id}/${entry}: ${what}: ${expected} / ${got}`),
  );
}

const read = { sid: "0x00ef", iova: "0x18", access: "r" };
const absent = { sid: "0x00ef", iova: "0x1000", access: "r" };
const notPresent = { fault: { code: 2 } };
const translated = { pa: "0x5018" };
const accessed = ["0x1000", "0x5021"];

describe("a run over vectors", () => {
  it("passes what agrees and remembers what requests changed", async () => {
    const again = { ...mapped, id: "again", requests: [read, read], expect: [mapped.expect[0], translated] };
    const { counts, failures } = await judge([mapped, again]);
    expect(failures).toEqual([]);
    expect(counts).toEqual({ passed: 4, failed: 0, disputed: 0, skipped: 0 });
  });

  it.each<[string, object, string[]]>([
    [
      "a changed word that nobody expects",
      { requests: [read], expect: [translated] },
      ["mapped/0: word 0x1000: unchanged / 0x5021"],
    ],
    [
      "a word that should have changed, named by an expectation alone",
      { requests: [read], expect: [{ ...translated, writes: [accessed, ["0x2000", "0x1"]] }] },
      ["mapped/0: word 0x2000: 0x1 / unchanged"],
    ],
    ["no words once a request faulted", { requests: [absent, read], expect: [notPresent, translated] }, []],
    [
      "no words once the recorded machine departed from the architecture",
      {
        requests: [read, read],
        expect: [
          { pa: "0x0", deviates: true, spec: translated },
          { ...translated, writes: [accessed] },
        ],
      },
      [],
    ],
    ["no words of a request that faults", { requests: [absent], expect: [{ ...notPresent, writes: [accessed] }] }, []],
    [
      "memory after the last request",
      { requests: [read], expect: [{ ...translated, writes: [accessed] }], memoryAfter: [["0x1000", "0x5061"]] },
      ["mapped/0: word 0x1000: 0x5061 / 0x5021"],
    ],
    [
      "memory after the last request, as it should be",
      { requests: [read, read], expect: [{ ...translated, writes: [accessed] }, translated], memoryAfter: [accessed] },
      [],
    ],
    [
      "no memory after a fault",
      { requests: [read, absent], expect: [{ ...translated, writes: [accessed] }, notPresent], memoryAfter: [] },
      [],
    ],
  ])("compares %s", async (_, change, differences) => {
    expect(failed(await judge([{ ...mapped, ...change }]))).toEqual(differences);
  });

  it("counts skipped entries by reason", async () => {
    const nested = { ...mapped, config: { nested: true } };
    const { counts, skipped } = await judge([nested, { ...mapped, arch: "other" }, mapped, nested]);
    expect(skipped).toEqual([
      { reason: "nested translation", vectors: 2, entries: 4 },
      { reason: "no model of other", vectors: 1, entries: 2 },
    ]);
    expect(counts).toEqual({ passed: 2, failed: 0, disputed: 0, skipped: 6 });
  });

  it("takes a mismatch on the list as disputed, and tells of lines that no longer hold", async () => {
    const wrong = { ...mapped, id: "wrong", expect: [{ pa: "0x0" }, { pa: "0x0" }] };
    const reasons: DisputedEntries = new Map([
      ["wrong", new Map([[0, "the vector is wrong"]])],
      [
        "mapped",
        new Map([
          [1, "it was wrong"],
          [7, "it never was"],
        ]),
      ],
      ["elsewhere", new Map([[0, "not in this run"]])],
    ]);
    const result = await judge([wrong, mapped], reasons);
    expect(result.counts).toEqual({ passed: 2, failed: 1, disputed: 1, skipped: 0 });
    expect(result.disputed.map(({ entry, reason }) => [entry, reason])).toEqual([[0, "the vector is wrong"]]);
    expect(result.failures.map(({ entry }) => entry)).toEqual([1]);
    expect(result.warnings).toEqual([
      "mapped: disputed entry 1 agrees: it need not be disputed",
      "mapped: disputed entry 7 does not exist",
    ]);
  });
});
