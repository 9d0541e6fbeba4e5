import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Dump, readDump } from "../../src/dump/dump.js";
import type { DumpErrorCode } from "../../src/dump/errors.js";
import { type DeviceMaps, readMaps } from "../../src/dump/maps.js";
import { arenaBaseFor } from "../../src/dump/pages.js";
import type { Engine } from "../../src/engine/engine.js";
import { vtdUnitFromDump } from "../../src/vtd/dump-unit.js";
import type { VtdUnit } from "../../src/vtd/unit.js";
import { failure, SHARED_DUMPS, VTD } from "../dump/support.js";
import { newEngine } from "../support/engine.js";
import { refused } from "../support/errors.js";
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

/** The fixture with other registers. */
function withRegisters(changes: Readonly<Record<string, bigint | undefined>>): Dump {
  const changed = Object.entries({ ...Object.fromEntries(dump.registers), ...changes });
  const registers = new Map(changed.filter((entry): entry is [string, bigint] => entry[1] !== undefined));
  return { ...dump, registers };
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

/** Every leaf translates as it says, from its first byte to its last, and nothing next to the leaves does. */
function checkDevice(unit: VtdUnit, { sid, info, leaves }: DeviceMaps): void {
  const codes = info.mode === "scalable" ? NOT_MAPPED.scalable : NOT_MAPPED.legacy;
  const expectNothing = (address: bigint): void => {
    expectFault(unit, sid, address, "read", codes.r);
    expectFault(unit, sid, address, "write", codes.w);
  };
  const end = 1n << BigInt(Math.min(30 + 9 * Number(info.aw), unit.capabilities.mgaw));
  let next = 0n;
  for (const { iova, physical, size, permissions } of leaves.toSorted((a, b) => (a.iova < b.iova ? -1 : 1))) {
    if (iova > next) for (const address of [next, iova - 1n]) expectNothing(address);
    for (const offset of [0n, size / 2n, size - 1n]) {
      const mapped = { ok: true, physical: physical + offset, pageSize: size, interrupt: false };
      for (const [access, letter, missing] of [
        ["read", "R", 0x86],
        ["write", "W", 0x85],
      ] as const) {
        if (!permissions.includes(letter)) expectFault(unit, sid, iova + offset, access, missing);
        else expect(unit.translate({ sid, iova: iovaOf(iova + offset), access })).toEqual(mapped);
      }
    }
    next = iova + size;
  }
  for (const address of [next, end - 1n]) if (address < end) expectNothing(address);
  expectFault(unit, sid, end, "write", codes.beyond);
}

describe.each(recorded)("a unit from the dump $directory", (from) => {
  test("has its registers and its pages", async () => {
    const { engine, unit } = await load(from);
    const { registers } = unit.registers;
    const known = registers.filter(({ name, present }) => present && from.registers.has(name));
    expect(known.length).toBeGreaterThan(15);
    const read = known.map(({ name, offset, width }) => [
      name,
      width === 64 ? unit.read64(offset) : BigInt(unit.read32(offset)),
    ]);
    expect(read).toEqual(known.map(({ name }) => [name, from.registers.get(name)]));
    for (const { address, bytes } of from.pages) {
      expect(Buffer.compare(engine.memory.read(address, from.pageBytes), bytes)).toBe(0);
    }
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
    const registers = withRegisters({ CAP: (cap & ~MGAW) | (mgaw << 16n) }).registers;
    const { unit } = await load({ ...dump, registers, pages: [{ ...page, address: physicalOf(address) }] });
    expect(unit.capabilities).toMatchObject({ haw, mgaw: Number(mgaw) + 1 });
  });

  test.each([
    [0x10n, { major: 1, minor: 0 }],
    [0x60n, { major: 6, minor: 0 }],
    [0x52n, { major: 5, minor: 2 }],
    [undefined, { major: 5, minor: 0 }],
  ])("version: VER %s", async (VER, version) => {
    expect((await load(withRegisters({ VER }))).unit.capabilities.version).toEqual(version);
  });
});

describe("a unit that cannot be had from a dump", () => {
  test.each<[string, Dump, DumpErrorCode, string]>([
    ["of another kind", { ...dump, arch: "smmuv3" }, "inconsistent", `"arch" is "smmuv3", not "vtd"`],
    ["without CAP", withRegisters({ CAP: undefined }), "inconsistent", "register CAP is missing"],
    ["without ECAP", withRegisters({ ECAP: undefined }), "inconsistent", "register ECAP is missing"],
    ["without GSTS", withRegisters({ GSTS: undefined }), "inconsistent", "register GSTS is missing"],
    ["without RTADDR", withRegisters({ RTADDR: undefined }), "inconsistent", "register RTADDR is missing"],
  ])("%s", async (_, from, code, message) => {
    const engine = await newEngine();
    const error = await failure(code, () => vtdUnitFromDump(engine, from));
    expect(error.message).toBe(`${from.directory}: ${message}`);
    refused("bus-error", () => engine.memory.read(dump.pages[0].address, 1));
  });

  test("because a register cannot hold its value", async () => {
    const engine = await newEngine();
    const error = refused("invalid", () => vtdUnitFromDump(engine, withRegisters({ GSTS: 1n << 32n })));
    expect(error.message).toContain("restore GSTS = 0x100000000");
    refused("bus-error", () => engine.memory.read(dump.pages[0].address, 1));
  });

  test("because a page lies in the engine's arena", async () => {
    const engine = await newEngine({ arenaBase: physicalOf(0n) });
    await failure("arena", () => vtdUnitFromDump(engine, dump));
  });
});
