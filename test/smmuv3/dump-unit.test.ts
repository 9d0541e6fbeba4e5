import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Dump, readDump } from "../../src/dump/dump.js";
import type { DumpErrorCode } from "../../src/dump/errors.js";
import { type DeviceMaps, readMaps } from "../../src/dump/maps.js";
import { arenaBaseFor } from "../../src/dump/pages.js";
import type { Engine } from "../../src/engine/engine.js";
import { smmuUnitFromDump } from "../../src/smmuv3/dump-unit.js";
import { EVENT } from "../../src/smmuv3/events.js";
import type { SmmuUnit } from "../../src/smmuv3/unit.js";
import { failure, SHARED_DUMPS, SMMU } from "../dump/support.js";
import { newEngine } from "../support/engine.js";
import { refused } from "../support/errors.js";
import { iovaOf, physicalOf } from "../support/tables.js";

const dump = await readDump(SMMU);
const others = await Promise.all(SHARED_DUMPS.map(readDump));
const recorded = [dump, ...others.filter(({ arch }) => arch === "smmuv3")];

async function load(from: Dump): Promise<{ readonly engine: Engine; readonly unit: SmmuUnit }> {
  const engine = await newEngine({ arenaBase: arenaBaseFor(from) });
  return { engine, unit: smmuUnitFromDump(engine, from) };
}

/** The fixture with other registers. */
function withRegisters(changes: Readonly<Record<string, bigint | undefined>>): Dump {
  const changed = Object.entries({ ...Object.fromEntries(dump.registers), ...changes });
  const registers = new Map(changed.filter((entry): entry is [string, bigint] => entry[1] !== undefined));
  return { ...dump, registers };
}

/** A transaction that faults in stage 1, with an event that says so. */
function expectEvent(unit: SmmuUnit, sid: number, address: bigint, access: "read" | "write", code: number): void {
  const result = unit.translate({ sid, iova: iovaOf(address), access });
  const event = { code, sid, inputAddr: address, rnw: access === "read", s2: false, class: "IN" };
  expect(result).toMatchObject({ ok: false, code, stalled: false, event });
}

/** Every leaf translates as it says, from its first byte to its last, and nothing next to the leaves does. */
function checkDevice(unit: SmmuUnit, { sid, info, leaves }: DeviceMaps): void {
  if (info.ttb0 === undefined) {
    const aborted = { ok: false, code: null, event: null };
    expect(info.config).toBe(0);
    for (const access of ["read", "write"] as const) {
      expect(unit.translate({ sid, iova: iovaOf(0n), access })).toMatchObject(aborted);
    }
    return;
  }
  const expectNothing = (address: bigint): void => {
    expectEvent(unit, sid, address, "read", EVENT.F_TRANSLATION);
    expectEvent(unit, sid, address, "write", EVENT.F_TRANSLATION);
  };
  const end = 1n << BigInt(64 - Number(info.t0sz));
  let next = 0n;
  for (const { iova, physical, size, permissions } of leaves.toSorted((a, b) => (a.iova < b.iova ? -1 : 1))) {
    if (iova > next) for (const address of [next, iova - 1n]) expectNothing(address);
    for (const offset of [0n, size / 2n, size - 1n]) {
      const mapped = { ok: true, physical: physical + offset, pageSize: size };
      for (const [access, letter] of [
        ["read", "R"],
        ["write", "W"],
      ] as const) {
        if (!permissions.includes(letter)) expectEvent(unit, sid, iova + offset, access, EVENT.F_PERMISSION);
        else expect(unit.translate({ sid, iova: iovaOf(iova + offset), access })).toEqual(mapped);
      }
    }
    next = iova + size;
  }
  for (const address of [next, end - 1n, end]) expectNothing(address);
}

describe.each(recorded)("a unit from the dump $directory", (from) => {
  test("has its registers and its pages", async () => {
    const { engine, unit } = await load(from);
    const known = unit.registers.registers.filter(({ name, present }) => present && from.registers.has(name));
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
  test("writes its events where memory is", async () => {
    const base = dump.registers.get("EVENTQ_BASE") ?? 0n;
    const queue = physicalOf(base & 0xf_ffff_ffff_f000n);
    const { engine, unit } = await load(dump);
    engine.memory.declareRam(queue, physicalOf(queue + 0x1000n));
    expectEvent(unit, 0x8, 0x1234n, "write", EVENT.F_TRANSLATION);
    expect(unit.events.records).toMatchObject([{ code: EVENT.F_TRANSLATION, sid: 0x8, inputAddr: 0x1234n }]);
  });

  test("knows no stream beyond its table", async () => {
    const { unit } = await load(dump);
    const result = unit.translate({ sid: 0x1_0000, iova: iovaOf(0n) });
    expect(result).toMatchObject({ ok: false, code: EVENT.C_BAD_STREAMID });
  });
});

describe("a unit that cannot be had from a dump", () => {
  test.each<[string, Dump, DumpErrorCode, string]>([
    ["of another kind", { ...dump, arch: "vtd" }, "inconsistent", `"arch" is "vtd", not "smmuv3"`],
    ...["IDR0", "IDR1", "IDR3", "IDR5", "CR0", "STRTAB_BASE", "STRTAB_BASE_CFG"].map(
      (name): [string, Dump, DumpErrorCode, string] => [
        `without ${name}`,
        withRegisters({ [name]: undefined }),
        "inconsistent",
        `register ${name} is missing`,
      ],
    ),
  ])("%s", async (_, from, code, message) => {
    const engine = await newEngine();
    const error = await failure(code, () => smmuUnitFromDump(engine, from));
    expect(error.message).toBe(`${from.directory}: ${message}`);
    refused("bus-error", () => engine.memory.read(dump.pages[0].address, 1));
  });

  test("because a register cannot hold its value", async () => {
    const engine = await newEngine();
    const error = refused("invalid", () => smmuUnitFromDump(engine, withRegisters({ CR0: 1n << 32n })));
    expect(error.message).toContain("restore CR0 = 0x100000000");
    refused("bus-error", () => engine.memory.read(dump.pages[0].address, 1));
  });

  test("because a page lies in the engine's arena", async () => {
    const engine = await newEngine({ arenaBase: physicalOf(0n) });
    await failure("arena", () => smmuUnitFromDump(engine, dump));
  });
});
