import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Dump, readDump } from "../../src/dump/dump.js";
import { type DeviceMaps, readMaps } from "../../src/dump/maps.js";
import { arenaBaseFor } from "../../src/dump/pages.js";
import type { Engine } from "../../src/engine/engine.js";
import { vtdUnitFromDump } from "../../src/vtd/dump-unit.js";
import type { VtdUnit } from "../../src/vtd/unit.js";
import { SHARED_DUMPS, VTD } from "../dump/support.js";
import { expectContents, probeLeaves, testRefusals, withRegisters } from "../dump/unit-support.js";
import { newEngine } from "../support/engine.js";
import { iovaOf, physicalOf } from "../support/tables.js";

const dump = await readDump(VTD);
const others = await Promise.all(SHARED_DUMPS.map(readDump));
const recorded = [dump, ...others.filter(({ arch }) => arch === "vtd")];

interface Loaded {
  readonly engine: Engine;
  readonly unit: VtdUnit;
}

async function load(from: Dump): Promise<Loaded> {
  const engine = await newEngine({ arenaBase: arenaBaseFor(from) });
  return { engine, unit: vtdUnitFromDump(engine, from) };
}

/** Fault reasons of Table 30 for what no leaf maps, and for an address beyond the table. */
const NOT_MAPPED = { legacy: { r: 0x6, w: 0x5, beyond: 0x4 }, scalable: { r: 0x79, w: 0x79, beyond: 0x84 } } as const;

/** A request that faults with this reason and leaves a record of it. */
function expectFault(unit: VtdUnit, sid: number, address: bigint, access: "read" | "write", reason: number): void {
  const result = unit.translate({ sid, iova: iovaOf(address), access });
  expect(result).toMatchObject({ ok: false, code: reason, reported: true, completion: "UR" });
  const [record, ...more] = unit.faults.records;
  expect(record).toMatchObject({ reason, sid, address: address & ~0xfffn, access, type: "untranslated" });
  expect(more).toEqual([]);
  unit.faults.clearFault(record.index);
}

/** The leaves of a device, and what is between them. */
function checkDevice(unit: VtdUnit, { sid, info, leaves }: DeviceMaps): void {
  const codes = info.mode === "scalable" ? NOT_MAPPED.scalable : NOT_MAPPED.legacy;
  const expectNothing = (address: bigint): void => {
    expectFault(unit, sid, address, "read", codes.r);
    expectFault(unit, sid, address, "write", codes.w);
  };
  const end = 1n << BigInt(Math.min(30 + 9 * Number(info.aw), unit.capabilities.mgaw));
  probeLeaves(leaves, end, {
    mapped: (address, access, physical, pageSize) => {
      const mapped = { ok: true, physical, pageSize, interrupt: false };
      expect(unit.translate({ sid, iova: iovaOf(address), access })).toEqual(mapped);
    },
    denied: (address, access) => expectFault(unit, sid, address, access, access === "read" ? 0x86 : 0x85),
    nothing: expectNothing,
  });
  expectFault(unit, sid, end, "write", codes.beyond);
}

describe.each(recorded)("a unit from the dump $directory", (from) => {
  test("has its registers and its pages", async () => {
    const { engine, unit } = await load(from);
    expectContents(engine, unit, from);
  });

  test("translates every leaf of maps.txt and nothing else", async () => {
    const { unit } = await load(from);
    const devices = await readMaps(join(from.directory, "maps.txt.gz"));
    for (const device of devices) checkDevice(unit, device);
    expect(devices.flatMap(({ leaves }) => leaves).length).toBeGreaterThan(0);
  });
});

describe("a unit from the fixture", () => {
  test("knows no other device", async () => {
    const { unit } = await load(dump);
    expectFault(unit, 0x47, 0n, "read", 0x41);
    expectFault(unit, 0x300, 0n, "write", 0x39);
  });

  test("reads one entry a level, and nothing twice", async () => {
    const { unit } = await load(dump);
    const devices = await readMaps(join(VTD, "maps.txt.gz"));
    const [{ sid, leaves }] = devices.filter((device) => device.leaves.length > 0);
    const walk = (): string[] =>
      unit
        .trace(() => unit.translate({ sid, iova: leaves[0].iova }))
        .reads.map(({ structure, words }) => `${structure}: ${words?.length}`);
    const configuration = ["scalable root entry: 2", "scalable context entry: 4", "PASID directory entry: 1"];
    const levels = ["SS-PML4E: 1", "SS-PDPE: 1", "SS-PDE: 1", "SS-PTE: 1"];
    expect(walk()).toEqual([...configuration, "PASID table entry: 8", ...levels]);
    expect(walk()).toEqual([]);
    unit.invalidateCaches();
    expect(walk()).toHaveLength(8);
  });
});

describe("capabilities that a dump does not name", () => {
  const MGAW = 0x3fn << 16n;
  const cap = dump.registers.get("CAP") as bigint;
  const page = dump.pages[0];
  test.each<[string, bigint, bigint, number]>([
    ["MGAW", 47n, 0x1000n, 48],
    ["MGAW of 39 bits, pages below", 38n, 0x7f_ffff_f000n, 39],
    ["a page beyond MGAW", 38n, 0x80_0000_0000n, 40],
    ["a page at the very end", 47n, 0xf_ffff_ffff_f000n, 52],
    ["more guest bits than a host can have", 56n, 0x1000n, 52],
    ["fewer guest bits than any host has", 29n, 0x1000n, 32],
  ])("host address width: %s", async (_, mgaw, address, haw) => {
    const registers = withRegisters(dump, { CAP: (cap & ~MGAW) | (mgaw << 16n) }).registers;
    const { unit } = await load({ ...dump, registers, pages: [{ ...page, address: physicalOf(address) }] });
    expect(unit.capabilities).toMatchObject({ haw, mgaw: Number(mgaw) + 1 });
  });

  test.each([
    [0x10n, { major: 1, minor: 0 }],
    [0x60n, { major: 6, minor: 0 }],
    [0x52n, { major: 5, minor: 2 }],
    [undefined, { major: 5, minor: 0 }],
  ])("version: VER %s", async (VER, version) => {
    expect((await load(withRegisters(dump, { VER }))).unit.capabilities.version).toEqual(version);
  });
});

describe("a unit that cannot be had from a dump", () => {
  testRefusals(dump, vtdUnitFromDump, "smmuv3", ["CAP", "ECAP", "GSTS", "RTADDR"], "GSTS");
});
