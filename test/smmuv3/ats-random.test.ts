/** Translation requests on random machines: the unit and the slow model give the same completions and leave the same memory. */
import { describe, expect, it } from "vitest";
import { type Iova, physicalAddress } from "../../src/engine/addresses.js";
import type { Engine } from "../../src/engine/engine.js";
import { EVENT } from "../../src/smmuv3/events.js";
import { SmmuUnit } from "../../src/smmuv3/unit.js";
import { UnitMemory } from "../../src/unit/memory.js";
import { loadVectorMemory, VECTOR_ARENA_BASE } from "../../src/unit/vector-memory.js";
import { newEngine } from "../support/engine.js";
import {
  type SlowCompletion,
  type SlowRequest,
  type SlowUnit,
  slowTranslate,
  slowTranslationRequest,
} from "../support/slow-smmuv3.js";
import { type RandomMachine, randomMachine } from "../support/smmuv3/random-machine.js";
import { SparseMemory } from "../support/vtd/sparse-memory.js";
import { AT } from "./register-support.js";

const ATS = 1n << 10n;
const ATSRECERR = 1n << 23n;
const ATSCHK = 1n << 4n;
const REC_CFG_ATS = 1n << 3n;
const RECINVSID = 1n << 1n;
/** AF in either byte order. What is granted nothing may have set it all the same: it may be set speculatively (3.13.7.1). */
const ACCESSED = (1n << 10n) | (1n << 50n);

/** A machine with ATS, which checks translated transactions and records what it can. */
function withAts(seed: number): RandomMachine {
  const machine = randomMachine(seed, 20);
  const { registers } = machine;
  return {
    ...machine,
    registers: {
      ...registers,
      IDR0: registers.IDR0 | ATS | ATSRECERR,
      CR0: registers.CR0 | ATSCHK,
      CR2: registers.CR2 | REC_CFG_ATS,
    },
  };
}

function makeUnit(engine: Engine, { registers, ram, words }: RandomMachine): SmmuUnit {
  loadVectorMemory(engine, ram, [...words]);
  const { IDR0, IDR1, IDR3, IDR5 } = registers;
  const unit = new SmmuUnit(engine, { registers: { IDR0, IDR1, IDR3, IDR5 } });
  unit.write32(AT.CR2, Number(registers.CR2));
  unit.write64(AT.STRTAB_BASE, registers.STRTAB_BASE);
  unit.write32(AT.STRTAB_BASE_CFG, Number(registers.STRTAB_BASE_CFG));
  unit.write32(AT.CR0, Number(registers.CR0));
  return unit;
}

function answer(
  unit: SmmuUnit,
  { sid, ssid, iova, privileged, instruction }: SlowRequest,
  noWrite: boolean,
): SlowCompletion {
  const request = {
    sid,
    iova: iova as Iova,
    ...(ssid === undefined ? {} : { pasid: ssid }),
    privileged: privileged === true,
    execute: instruction === true,
  };
  const result = unit.requestTranslation(request, noWrite);
  if (!result.ok) return { kind: result.completion === "CA" ? "CA" : "UR", code: result.code };
  const { read, write, execute, physical: address, size } = result;
  return { kind: "success", read, write, execute, address, size };
}

/** No event is recorded of a StreamID out of range without RECINVSID. */
function expectedOf(slow: SlowCompletion, registers: RandomMachine["registers"]): SlowCompletion {
  const silent = slow.kind === "CA" && slow.code === EVENT.C_BAD_STREAMID && (registers.CR2 & RECINVSID) === 0n;
  return silent ? { ...slow, code: null } : slow;
}

/** Whether the models agree on the request as an ordinary transaction of each kind; random.test.ts is about those. */
function agreeOtherwise(unit: SmmuUnit, slow: SlowUnit, request: SlowRequest): boolean {
  const { sid, ssid, iova } = request;
  const privileged = ssid !== undefined && request.privileged === true;
  const source = { sid, iova: iova as Iova, ...(ssid === undefined ? {} : { pasid: ssid }), privileged };
  return KINDS.every(([access, instruction]) => {
    unit.invalidateCaches();
    const expected = slowTranslate(slow, { ...request, access, instruction, privileged });
    const found = unit.translate({ ...source, access, execute: instruction });
    if (expected.kind === "translated") return found.ok && found.physical === expected.pa;
    return !found.ok && found.code === (expected.recorded ? expected.code : null);
  });
}

const KINDS = [
  ["read", false],
  ["write", false],
  ["read", true],
] as const;

/** Compares every completion and in the end the memory; returns how many requests were granted something. */
async function compare(machine: RandomMachine): Promise<number> {
  const open = async () => {
    const engine = await newEngine({ arenaBase: physicalAddress(VECTOR_ARENA_BASE) });
    const memory = new SparseMemory(machine.ram, machine.words);
    return { engine, unit: makeUnit(engine, machine), slow: { registers: machine.registers, memory } };
  };
  const { engine, unit, slow } = await open();
  const ordinary = await open();
  let granted = 0;
  machine.requests.forEach((request, index) => {
    if (!agreeOtherwise(ordinary.unit, ordinary.slow, request)) return;
    const noWrite = request.access === "read";
    unit.invalidateCaches();
    const expected = expectedOf(slowTranslationRequest(slow, request, noWrite), machine.registers);
    expect({ index, request, ...answer(unit, request, noWrite) }).toEqual({ index, request, ...expected });
    if (expected.kind === "success" && expected.read) granted++;
  });
  const memory = new UnitMemory(engine);
  const addresses = [...machine.words.keys()];
  const compared = (word: bigint | null) => word !== null && word & ~ACCESSED;
  const words = (read: (address: bigint) => bigint | null) => addresses.map((address) => compared(read(address)));
  expect(words((address) => memory.read64(address))).toEqual(words((address) => slow.memory.read(address)));
  return granted;
}

describe("the unit and the slow model answer translation requests alike", () => {
  it.each(Array.from({ length: 6 }, (_, i) => i * 1000))(
    "on the random machines from seed %i",
    async (from) => {
      let granted = 0;
      for (let seed = from; seed < from + 8; seed++) granted += await compare(withAts(seed));
      expect(granted).toBeGreaterThan(0);
    },
    30_000,
  );
});
