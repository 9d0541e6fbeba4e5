import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Dump, readDump } from "../../src/dump/dump.js";
import { type DeviceMaps, readMaps } from "../../src/dump/maps.js";
import { arenaBaseFor } from "../../src/dump/pages.js";
import type { Engine } from "../../src/engine/engine.js";
import { smmuUnitFromDump } from "../../src/smmuv3/dump-unit.js";
import { EVENT } from "../../src/smmuv3/events.js";
import type { SmmuUnit } from "../../src/smmuv3/unit.js";
import { SHARED_DUMPS, SMMU } from "../dump/support.js";
import { expectContents, probeLeaves, testRefusals } from "../dump/unit-support.js";
import { newEngine } from "../support/engine.js";
import { iovaOf, physicalOf } from "../support/tables.js";

const dump = await readDump(SMMU);
const others = await Promise.all(SHARED_DUMPS.map(readDump));
const recorded = [dump, ...others.filter(({ arch }) => arch === "smmuv3")];

async function load(from: Dump): Promise<{ readonly engine: Engine; readonly unit: SmmuUnit }> {
  const engine = await newEngine({ arenaBase: arenaBaseFor(from) });
  return { engine, unit: smmuUnitFromDump(engine, from) };
}

/** A transaction that faults in stage 1, with an event that says so. */
function expectEvent(unit: SmmuUnit, sid: number, address: bigint, access: "read" | "write", code: number): void {
  const result = unit.translate({ sid, iova: iovaOf(address), access });
  const event = { code, sid, inputAddr: address, rnw: access === "read", s2: false, class: "IN" };
  expect(result).toMatchObject({ ok: false, code, stalled: false, event });
}

/** The leaves of a device, and what is between them. */
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
  probeLeaves(leaves, end, {
    mapped: (address, access, physical, pageSize) =>
      expect(unit.translate({ sid, iova: iovaOf(address), access })).toEqual({ ok: true, physical, pageSize }),
    denied: (address, access) => expectEvent(unit, sid, address, access, EVENT.F_PERMISSION),
    nothing: expectNothing,
  });
  expectNothing(end);
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
  const needed = ["IDR0", "IDR1", "IDR3", "IDR5", "CR0", "STRTAB_BASE", "STRTAB_BASE_CFG"];
  testRefusals(dump, smmuUnitFromDump, "vtd", needed, "CR0");
});
