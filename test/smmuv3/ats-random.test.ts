/** Translation requests on random machines: the unit and the slow model give the same completions and leave the same memory. */
import { describe, expect, it } from "vitest";
import type { Iova } from "../../src/engine/addresses.js";
import { EVENT } from "../../src/smmuv3/events.js";
import type { SmmuUnit } from "../../src/smmuv3/unit.js";
import { type SlowCompletion, type SlowRequest, slowTranslationRequest } from "../support/slow-smmuv3.js";
import { type RandomMachine, randomMachine } from "../support/smmuv3/random-machine.js";
import { SparseMemory } from "../support/vtd/sparse-memory.js";
import { openUnit } from "./loaded-unit.js";

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

/** Compares every completion and in the end the memory; returns how many requests were granted something. */
async function compare(machine: RandomMachine): Promise<number> {
  const { registers, ram, words } = machine;
  const { unit, memory } = await openUnit(registers, ram, words);
  const slow = { registers, memory: new SparseMemory(ram, words) };
  let granted = 0;
  machine.requests.forEach((request, index) => {
    const noWrite = request.access === "read";
    unit.invalidateCaches();
    const expected = expectedOf(slowTranslationRequest(slow, request, noWrite), registers);
    expect({ index, request, ...answer(unit, request, noWrite) }).toEqual({ index, request, ...expected });
    if (expected.kind === "success" && expected.read) granted++;
  });
  const compared = (word: bigint | null) => word !== null && word & ~ACCESSED;
  const addresses = [...words.keys()];
  const wordsOf = (read: (address: bigint) => bigint | null) => addresses.map((address) => compared(read(address)));
  expect(wordsOf((address) => memory.read64(address))).toEqual(wordsOf((address) => slow.memory.read(address)));
  unit.release();
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
