/** Batches of transactions that fault: Arm IHI 0070 G.b, sections 3.12.2, 5.5 and 7.3. */
import { describe, expect, test } from "vitest";
import { NO_PASID } from "../../assembly/layout.js";
import { encodeAccess } from "../../src/engine/page-table.js";
import { EVENT } from "../../src/smmuv3/events.js";
import { batchCode, RAZ_WI, STALLED, UNRECORDED } from "../../src/smmuv3/outcome.js";
import type { DmaRequest } from "../../src/unit/request.js";
import type { CdFields } from "../support/smmuv3/encode.js";
import { randomMachine } from "../support/smmuv3/random-machine.js";
import { HOLE } from "../support/smmuv3/small-machine.js";
import { iovaOf } from "../support/tables.js";
import { openUnit } from "./loaded-unit.js";
import { CR0, type Machine, openMachine, requestOf, SID, TABLES } from "./machine.js";

function translateBatch({ unit }: Pick<Machine, "unit">, requests: readonly DmaRequest[]): readonly number[] {
  const batch = unit.createBatch(requests.length);
  requests.forEach(({ sid, iova, pasid = NO_PASID, access, privileged = false, execute = false }, i) => {
    batch.source[i] = sid;
    batch.iova[i] = iova;
    batch.pasid[i] = pasid;
    batch.access[i] = encodeAccess({ read: access !== "write", write: access === "write", privileged, execute });
  });
  unit.translateBatch(batch, requests.length, "each", true);
  const codes = [...batch.code];
  batch.release();
  return codes;
}

test("every fault of a batch is recorded as it is of a single transaction", async () => {
  // Pages of stage 1 that stage 2 does not map, has read-only, and whose stage 2 table is not there.
  const leaf = 0xf43n;
  const words = [
    [TABLES.s1[2] + 0x20n, 0x4000_5000n | leaf],
    [TABLES.s1[2] + 0x28n, 0x4000_6000n | leaf],
    [TABLES.s1[2] + 0x30n, 0x4000_2000n | leaf],
    [TABLES.s1[2] + 0x38n, 0x4080_0000n | leaf],
    [0x31020n, HOLE | 3n],
  ] as const;
  const requests = [0x5000n, 0x6000n, 0x7000n, 0x8000n, 0x9000n, 0x5000n].map((iova, i) =>
    requestOf(SID.nested, { iova, access: i === 2 ? "write" : "read" }),
  );
  const [together, alone] = [await openMachine({ words }), await openMachine({ words })];
  const results = requests.map((request) => alone.unit.translate(request));
  const codes = translateBatch(together, requests);
  expect(codes).toEqual(results.map((result) => (result.ok ? 0 : result.code)));
  const events = alone.events();
  expect(new Set(events.map(({ ipa, fetchAddr, inputAddr }) => ipa ?? fetchAddr ?? inputAddr)).size).toBe(5);
  expect(together.events()).toEqual(events);
});

test.each([0, 1000, 2000, 3000])(
  "the codes of random batches from seed %i are those of single transactions",
  async (from) => {
    for (let seed = from; seed < from + 5; seed++) {
      const { registers, ram, words, requests } = randomMachine(seed);
      const transactions = requests.map(({ sid, ssid, iova, access, privileged, instruction }) => ({
        sid,
        iova: iovaOf(iova),
        access,
        ...(ssid === undefined ? {} : { pasid: ssid }),
        privileged: privileged === true,
        execute: instruction === true,
      }));
      const [together, alone] = [await openUnit(registers, ram, words), await openUnit(registers, ram, words)];
      const results = transactions.map((transaction) => alone.unit.translate(transaction));
      expect({ seed, codes: translateBatch(together, transactions) }).toEqual({
        seed,
        codes: results.map((result) => (result.ok ? 0 : batchCode(result))),
      });
    }
  },
);

test("a SubstreamID of more than 20 bits is refused before anything is translated", async () => {
  const machine = await openMachine();
  const requests = [requestOf(SID.stage1), requestOf(SID.stage1, { pasid: 2 ** 20 })];
  expect(() => translateBatch(machine, requests)).toThrow(/transaction 1 of a batch, of substream 1048576/);
  expect(machine.unit.counters.iommuRequests).toBe(0);
});

describe("the code of a transaction that faults", () => {
  const unmapped = requestOf(SID.stage1, { iova: 0x7000n });
  const { F_TRANSLATION } = EVENT;
  const rows: readonly (readonly [ars: string, cd: CdFields, code: number])[] = [
    ["aborted", { A: 1, R: 1 }, F_TRANSLATION],
    ["aborted, unrecorded", { A: 1, R: 0 }, F_TRANSLATION | UNRECORDED],
    ["RAZ/WI", { A: 0, R: 1 }, F_TRANSLATION | RAZ_WI],
    ["RAZ/WI, unrecorded", { A: 0, R: 0 }, F_TRANSLATION | RAZ_WI | UNRECORDED],
    ["stalled", { S: 1 }, F_TRANSLATION | STALLED],
  ];
  test.each(rows)("%s", async (_name, cd, code) => {
    const machine = await openMachine({ cd });
    expect(translateBatch(machine, [unmapped, requestOf(SID.stage1)])).toEqual([code, 0]);
  });

  test("stalled beyond what can be: nobody is told", async () => {
    const machine = await openMachine({ cd: { S: 1 }, registers: { IDR5: 0x74n | (1n << 16n) } });
    const codes = translateBatch(machine, [unmapped, unmapped]);
    expect(codes).toEqual([F_TRANSLATION | STALLED, F_TRANSLATION | STALLED | UNRECORDED]);
  });

  test("aborted without an event", async () => {
    expect(translateBatch(await openMachine(), [requestOf(SID.abort)])).toEqual([UNRECORDED]);
    const disabled = await openMachine({ without: CR0.SMMUEN });
    disabled.unit.write32(0x44, 2 ** 31 + 2 ** 20);
    expect(translateBatch(disabled, [requestOf(SID.stage1)])).toEqual([UNRECORDED]);
  });
});
