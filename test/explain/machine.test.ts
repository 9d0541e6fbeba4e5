import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { VectorRequest } from "../../src/conform/vector.js";
import type { DumpErrorCode } from "../../src/dump/errors.js";
import { readListing } from "../../src/dump/listing-files.js";
import type { ListingOptions } from "../../src/dump/listing-table.js";
import { type Explanation, explainRequest } from "../../src/explain/explain.js";
import { openMachine, type Source } from "../../src/explain/machine.js";
import { failure, foreignDump, scratchDirectory, VTD } from "../dump/support.js";
import { newEngine } from "./support.js";

const FOREIGN = foreignDump();

const scratch = scratchDirectory();
let made = 0;

const NVME = 0x40;

async function explain(path: string, request: VectorRequest, options: ListingOptions = {}): Promise<Explanation> {
  const { sid, pasid } = request;
  const source: Source = { sid, ...(pasid === undefined ? {} : { pasid }) };
  return explainRequest(await openMachine(newEngine, path, source, options), request);
}

/** A copy of the fixture whose registers differ. */
function withRegisters(changes: Readonly<Record<string, string>>): string {
  const directory = join(scratch, `dump-${made++}`);
  cpSync(VTD, directory, { recursive: true });
  const file = join(directory, "tables.json");
  const tables = JSON.parse(readFileSync(file, "utf8"));
  writeFileSync(file, JSON.stringify({ ...tables, regs: { ...tables.regs, ...changes } }));
  return directory;
}

function listing(...lines: readonly string[]): string {
  const file = join(scratch, `listing-${made++}`);
  writeFileSync(file, lines.join("\n"));
  return file;
}

function placesOf({ steps }: Explanation): string[] {
  return steps.map(({ structure, address }) => `${structure} ${address.toString(16)}`);
}

const CONFIGURATION = [
  "scalable root entry 7f5000",
  "scalable context entry 7f9800",
  "PASID directory entry ad7000",
  "PASID table entry b87000",
];

describe("a request to a dumped machine", () => {
  test("that is translated: every structure, its words and what they say", async () => {
    const explanation = await explain(VTD, { sid: NVME, iova: 0x1abcn, access: "w" });
    const tables = ["SS-PML4E 1773d000", "SS-PDPE 178b7000", "SS-PDE 178b6000", "SS-PTE 178b5008"];
    expect(placesOf(explanation)).toEqual([...CONFIGURATION, ...tables]);
    expect(explanation.steps[3].words).toEqual([0x1773d089n, 0xan, 0n, 0n, 0n, 0n, 0n, 0n]);
    expect(explanation.steps[3].fields).toContainEqual({
      name: "PGTT",
      bits: "8:6",
      value: 2n,
      meaning: "second-stage",
    });
    expect(explanation.steps[7]).toEqual({
      structure: "SS-PTE",
      address: 0x178b5008n,
      words: [0x201003n],
      fields: [
        { name: "R", bits: "0", value: 1n },
        { name: "W", bits: "1", value: 1n },
        { name: "ADDR", bits: "47:12", value: 0x201000n },
      ],
      written: null,
    });
    expect(explanation.verdict).toEqual({ ok: true, physical: 0x201abcn, pageSize: 0x1000n, note: null });
  });

  test.each<[string, Partial<VectorRequest>, readonly string[], number, string, object]>([
    [
      "nothing is mapped",
      { iova: 0x10_0000_0123n, access: "w" },
      [...CONFIGURATION, "SS-PML4E 1773d000", "SS-PDPE 178b7200"],
      0x79,
      "SSS.2",
      { addr: 0x10_0000_0000n, type: "w" },
    ],
    ["it is beyond the table", { iova: 1n << 48n }, CONFIGURATION, 0x84, "SGN.5", { addr: 1n << 48n }],
    ["it has a PASID", { pasid: 3 }, CONFIGURATION.slice(0, 2), 0x45, "SCT.6", {}],
    ["its bus has no device", { sid: 0x3ff }, ["scalable root entry 7f5030"], 0x39, "SRT.2", {}],
    ["it is no interrupt", { iova: 0xfee0_1000n }, [], 0x29, "29h", {}],
  ])("that faults: %s", async (_, change, places, code, name, fields) => {
    const request: VectorRequest = { sid: NVME, iova: 0x1000n, access: "r", ...change };
    const explanation = await explain(VTD, request);
    expect(placesOf(explanation)).toEqual(places);
    expect(explanation.verdict).toMatchObject({
      ok: false,
      code,
      name,
      record: { place: "FRCD0", fields: { sid: request.sid, type: request.access, ...fields } },
      unrecorded: null,
      completion: "UR",
    });
  });

  test.each<[string, Record<string, string>, object]>([
    ["without remapping", { GSTS: "0x40000000" }, { ok: true, pageSize: null, note: "GSTS.TES is clear" }],
    [
      "whose fault record is taken",
      { FRCD0_HI: "0x8000007900000030" },
      { code: 0x79, record: null, unrecorded: "FSTS.PFO: no fault recording register is free" },
    ],
    ["that aborts", { RTADDR: "0x7f5c00" }, { code: 0x30, name: "RTA.1", record: { place: "FRCD0" } }],
  ])("to one %s", async (_, registers, verdict) => {
    const explanation = await explain(withRegisters(registers), { sid: NVME, iova: 0x10_0000_0000n, access: "r" });
    expect(explanation.verdict).toMatchObject(verdict);
  });

  test("an interrupt message is no DMA", async () => {
    const explanation = await explain(VTD, { sid: NVME, iova: 0xfee0_1000n, access: "w" });
    const note = "an interrupt message, which is not DMA";
    expect(explanation).toMatchObject({ steps: [], verdict: { ok: true, physical: 0xfee0_1000n, note } });
  });

  test("leaves the unit as it was", async () => {
    const unit = await openMachine(newEngine, VTD, { sid: NVME });
    for (let time = 0; time < 3; time++) {
      const { steps, verdict } = explainRequest(unit, { sid: NVME, iova: 0x10_0000_0000n, access: "w" });
      expect(steps).toHaveLength(6);
      expect(verdict).toMatchObject({ record: { place: "FRCD0" } });
    }
  });

  test("of a kind that there are no units of", async () => {
    const error = await failure("inconsistent", () => explain(FOREIGN, { sid: 8, iova: 0n, access: "r" }));
    expect(error.message).toBe(`${FOREIGN}: a dump of elsewhere; there are units of vtd, smmuv3`);
  });
});

describe("a listing", () => {
  const options: ListingOptions = { format: "vtdss", levels: 4 };

  test("explains as the dump does, without the entries that it does not show", async () => {
    const path = join(VTD, "intel");
    let leaves = 0;
    for (const { sid, rows } of await readListing(path)) {
      const dumped = await openMachine(newEngine, VTD, { sid });
      const listed = await openMachine(newEngine, path, { sid }, options);
      const addresses = rows.flatMap(({ iova }, index) =>
        index % 7 === 0 ? [iova, iova + 0xfffn, iova + (1n << 33n)] : [iova],
      );
      for (const iova of [...addresses, 0n, 1n << 47n]) {
        const request: VectorRequest = { sid, iova, access: iova % 2n === 0n ? "r" : "w" };
        const [expected, got] = [dumped, listed].map((unit) => explainRequest(unit, request));
        const raw = ({ steps }: Explanation) => steps.map(({ fields, ...step }) => step);
        expect(raw(got)).toEqual(raw(expected).slice(4));
        const unshown = expected.verdict.ok
          ? {}
          : { record: null, unrecorded: "a listing does not show whether FPD is set" };
        expect(got.verdict).toEqual({ ...expected.verdict, ...unshown });
      }
      leaves += rows.length;
    }
    expect(leaves).toBe(5186);
  });

  const second = "0x200 | 0x0 0x2003 0x3003 0x4003 0x9001";
  const first = "0x200 | 0x0 0x2027 0x3027 0x4007 0x9007";
  test.each<[string, string, string, Partial<VectorRequest>, readonly string[], object]>([
    [
      "legacy mode",
      "Device 0000:00:02.0 @0x1000",
      second,
      {},
      ["SS-PML4E 1000", "SS-PDPE 2000", "SS-PDE 3008", "SS-PTE 4000"],
      { physical: 0x9000n, pageSize: 0x1000n },
    ],
    [
      "legacy mode, a right that is missing",
      "Device 0000:00:02.0 @0x1000",
      second,
      { access: "w" },
      ["SS-PML4E 1000", "SS-PDPE 2000", "SS-PDE 3008", "SS-PTE 4000"],
      { code: 0x5, name: "LGN.2" },
    ],
    [
      "legacy mode, a hole",
      "Device 0000:00:02.0 @0x1000",
      second,
      { iova: 0n },
      ["SS-PML4E 1000", "SS-PDPE 2000", "SS-PDE 3000"],
      { code: 0x6, name: "LGN.3" },
    ],
    [
      "scalable mode, a right that is missing",
      "Device 0000:00:02.0 with pasid 0 @0x1000",
      second,
      { access: "w" },
      ["SS-PML4E 1000", "SS-PDPE 2000", "SS-PDE 3008", "SS-PTE 4000"],
      { code: 0x85, name: "SGN.6" },
    ],
    [
      "a PASID, in the upper half of a bus",
      "Device 0000:3a:1f.7 with pasid f1234 @0x1000",
      first,
      { sid: 0x3aff, pasid: 0xf1234 },
      ["FS-PML4E 1000", "FS-PDPE 2000", "FS-PDE 3008", "FS-PTE 4000"],
      { physical: 0x9000n },
    ],
    [
      "a kernel that names no PASID, first stage",
      "Device 0000:00:02.0 @0x1000",
      first,
      { iova: 0n },
      ["FS-PML4E 1000", "FS-PDPE 2000", "FS-PDE 3000"],
      { code: 0x71, name: "SFS.2" },
    ],
    [
      "first stage, 5 levels, beyond the sign",
      "Device 0000:00:02.0 with pasid 0 @0x1000",
      "0x200 | 0xa027 0x2027 0x3027 0x4027 0x9027",
      { iova: 1n << 56n },
      [],
      { code: 0x80, name: "SGN.1" },
    ],
    [
      "second stage, 3 levels, a 1 GiB leaf",
      "Device 0000:00:02.0 with pasid 0 @0x1000",
      "0x40000 | 0x0 0x0 0x80000083",
      { iova: 0x7fff_ffffn, access: "w" },
      ["SS-PDPE 1008"],
      { physical: 0xbfff_ffffn, pageSize: 1n << 30n },
    ],
    [
      "second stage, 5 levels",
      "Device 0000:00:02.0 with pasid 0 @0x1000",
      "0x200 | 0xa003 0x2003 0x3003 0x4003 0x9003",
      { access: "w" },
      ["SS-PML5E 1000", "SS-PML4E a000", "SS-PDPE 2000", "SS-PDE 3008", "SS-PTE 4000"],
      { physical: 0x9000n },
    ],
  ])("of %s", async (_, header, row, change, places, verdict) => {
    const request: VectorRequest = { sid: 0x10, iova: 0x20_0000n, access: "r", ...change };
    const explanation = await explain(listing(header, row), request);
    expect(placesOf(explanation)).toEqual(places);
    expect(explanation.verdict).toMatchObject(verdict);
  });

  test("shows the flags that a request sets", async () => {
    const path = listing("Device 0000:00:02.0 with pasid 0 @0x1000", first);
    const { steps } = await explain(path, { sid: 0x10, iova: 0x20_0000n, access: "w" });
    expect(steps.map(({ written }) => written)).toEqual([null, null, [0x4027n], [0x9067n]]);
  });

  const empty = "Device 0000:00:02.0 with pasid 0 @0x1000";
  test.each<[string, readonly string[], Partial<VectorRequest>, DumpErrorCode, string]>([
    ["another device", [empty], { sid: 0x18 }, "option", "no table of this device and PASID; listed are 0000:00:02.0"],
    [
      "another PASID",
      [empty, empty.replace("pasid 0", "pasid 1f")],
      { pasid: 2 },
      "option",
      "no table of this device and PASID; of this device are listed: PASID 0, 31",
    ],
    [
      "two devices of one name",
      [empty, empty.replace("0000:", "0001:")],
      {},
      "ambiguous",
      "0000:00:02.0 and 0001:00:02.0 are both listed",
    ],
    ["an empty table", [empty], {}, "ambiguous", "an empty listing: say how many levels and which format"],
  ])("that does not tell: %s", async (_, lines, change, code, message) => {
    const path = listing(...lines);
    const error = await failure(code, () => explain(path, { sid: 0x10, iova: 0n, access: "r", ...change }));
    expect(error.message).toContain(message);
    expect(error.file).toBe(path);
  });

  test("whose table is empty can be told", async () => {
    const { steps, verdict } = await explain(listing(empty), { sid: 0x10, iova: 0n, access: "r" }, options);
    expect(steps).toMatchObject([{ structure: "SS-PML4E", address: 0x1000n, words: [0n] }]);
    expect(verdict).toMatchObject({ ok: false, code: 0x79 });
  });
});
