/** The unit against the slow model, on random machines: answers, fault records and the words that walks change. */
import { describe, expect, it } from "vitest";
import type { Iova } from "../../src/engine/addresses.js";
import { UnitMemory } from "../../src/unit/memory.js";
import { loadVectorMemory, VECTOR_ARENA_BASE } from "../../src/unit/vector-memory.js";
import { physicalAddress } from "../../src/engine/addresses.js";
import { makeCapabilities } from "../../src/vtd/capabilities.js";
import { VtdUnit } from "../../src/vtd/unit.js";
import { newEngine } from "../support/engine.js";
import { type SlowOutcome, type SlowRequest, slowTranslate } from "../support/slow-vtd.js";
import { type RandomUnit, randomUnit } from "../support/vtd/random-unit.js";
import { SparseMemory } from "../support/vtd/sparse-memory.js";

const RTADDR = 0x20;
const GCMD = 0x18;
const GCMD_TE = 2 ** 31;
const GCMD_SRTP = 2 ** 30;
const FRCD_F = 1n << 63n;
const INTERRUPT_FIRST = 0xfee0_0000n;
const INTERRUPT_LAST = 0xfeef_ffffn;
const FIRST_STAGE_ACCESSED = (1n << 5n) | (1n << 10n);
const SECOND_STAGE_ACCESSED = 1n << 8n;
/** Page size that the slow model gives to what passes untranslated. */
const PASSED = 4096n;

/** The unit's answer in the words of the slow model. */
function answer(unit: VtdUnit, { type, access, iova, ...rest }: SlowRequest): SlowOutcome {
  const request = { ...rest, iova: iova as Iova };
  if (type === "translation") {
    const result = unit.requestTranslation(request, access === "read" || access === "zero-length-read");
    if (result.ok) {
      const { read, write, untranslatedOnly, size, physical: pa } = result;
      return { kind: "completion", read, write, untranslatedOnly, size, pa };
    }
    const completion = result.completion === "CA" ? "CA" : "UR";
    return { kind: "fault", code: result.code, recorded: result.reported, completion };
  }
  const result = unit.translate({ ...request, access, type });
  if (result.ok) return { kind: "translated", pa: result.physical, pageSize: result.pageSize ?? PASSED };
  return {
    kind: "fault",
    code: result.code,
    recorded: result.reported,
    completion: result.completion === "CA" ? "CA" : "UR",
  };
}

/** Completions without permission say nothing but that: how the device got there is nobody's business. */
function comparable(found: SlowOutcome, { access }: SlowRequest): SlowOutcome {
  // Legacy mode: an atomic request that lacks both rights may be told of either.
  if (found.kind === "fault" && found.code === 0x6 && access === "atomic") return { ...found, code: 0x5 };
  // A device that does not ask for write permission (NW=1) need not be given it; the slow model says what there is.
  const asksWrite = access === "write" || access === "atomic";
  const outcome = found.kind === "completion" ? { ...found, write: found.write && asksWrite } : found;
  const nothing =
    (outcome.kind === "fault" && outcome.completion === "success" && !outcome.recorded) ||
    (outcome.kind === "completion" && !outcome.read && !outcome.write);
  if (!nothing) return outcome;
  return { kind: "completion", read: false, write: false, untranslatedOnly: false, size: PASSED, pa: 0n };
}

function grantsNothing(outcome: SlowOutcome): boolean {
  return outcome.kind === "fault" || (outcome.kind === "completion" && !outcome.read && !outcome.write);
}

/** Whether two entries differ in nothing but A, EA (first stage) or A (second stage). */
function sameButAccessed(word: bigint, other: bigint | null): boolean {
  return other !== null && ((word ^ other) & ~(FIRST_STAGE_ACCESSED | SECOND_STAGE_ACCESSED)) === 0n;
}

function recordOf(unit: VtdUnit): { code: number; sid: number } | null {
  const [record] = unit.faults.records;
  if (!record) return null;
  unit.write64(unit.capabilities.faultRecordOffset + record.index * 16 + 8, FRCD_F);
  return { code: record.reason, sid: record.sid };
}

async function compare(machine: RandomUnit): Promise<void> {
  const engine = await newEngine({ arenaBase: physicalAddress(VECTOR_ARENA_BASE) });
  loadVectorMemory(engine, machine.ram, [...machine.words]);
  const unit = new VtdUnit(engine, machine.capabilities);
  unit.write64(RTADDR, machine.rtaddr);
  unit.write32(GCMD, GCMD_SRTP);
  unit.write32(GCMD, GCMD_TE);
  const unitMemory = new UnitMemory(engine);
  const memory = new SparseMemory(machine.ram, machine.words);
  const slow = { capabilities: makeCapabilities(machine.capabilities), rtaddr: machine.rtaddr, memory };
  machine.requests.forEach((request, index) => {
    const { type, pasid, iova } = request;
    // Interrupt requests, which the slow model does not know.
    if (type === "untranslated" && pasid === undefined && iova >= INTERRUPT_FIRST && iova <= INTERRUPT_LAST) return;
    unit.invalidateCaches();
    const expected = slowTranslate(slow, request);
    const got = answer(unit, request);
    expect({ index, request, ...comparable(got, request) }).toEqual({
      index,
      request,
      ...comparable(expected, request),
    });
    const record = recordOf(unit);
    if (expected.kind === "fault" && expected.recorded)
      expect(record).toEqual({ code: got.kind === "fault" && got.code, sid: request.sid });
    else expect(record).toBeNull();
    for (const address of machine.words.keys()) {
      const word = unitMemory.read64(address);
      // A request that is granted nothing may have set accessed flags all the same (section 3.6.2).
      if (grantsNothing(got) && word !== null && sameButAccessed(word, memory.read(address))) {
        memory.write(address, word);
      }
      if (word !== memory.read(address))
        expect({ index, ...request, ...got, address, word }).toEqual({
          index,
          ...request,
          ...got,
          address,
          word: memory.read(address),
        });
    }
  });
}

describe("the unit and the slow model agree", () => {
  it.each(Array.from({ length: 20 }, (_, i) => i * 1000))("on the random machines from seed %i", async (from) => {
    for (let seed = from; seed < from + 25; seed++) await compare(randomUnit(seed));
  });
});
