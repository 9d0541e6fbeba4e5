/** A unit in a machine that was made for the slow model, and its answers in the slow model's words. */
import { type Iova, physicalAddress } from "../../src/engine/addresses.js";
import type { EventRecord } from "../../src/smmuv3/events.js";
import { SmmuUnit } from "../../src/smmuv3/unit.js";
import { UnitMemory } from "../../src/unit/memory.js";
import { loadVectorMemory, VECTOR_ARENA_BASE } from "../../src/unit/vector-memory.js";
import { newEngine } from "../support/engine.js";
import type { EventFields, SlowRegisters, SlowRequest } from "../support/slow-smmuv3.js";
import type { Range } from "../support/vtd/sparse-memory.js";

/** Registers of page 0, by their offsets (section 6.2). */
const CR0 = 0x20;
const CR2 = 0x2c;
const GBPA = 0x44;
const GBPA_UPDATE = 2 ** 31;
const STRTAB_BASE = 0x80;
const STRTAB_BASE_CFG = 0x88;

/** What is the same in both descriptions of an answer. */
export type Answer =
  | { readonly kind: "translated"; readonly pa: bigint; readonly pageSize: bigint }
  | { readonly kind: "fault"; readonly code: number | null; readonly stall: boolean; readonly fields: EventFields };

/** Page size that the slow model gives to what passes untranslated. */
const PASSED = 4096n;

/** The fields of an event by the names of the slow model. */
function fieldsOf({ inputAddr, rnw, s2, ipa, fetchAddr, pnu, ind, ttRnW, class: cause }: EventRecord): EventFields {
  return {
    ...(inputAddr === undefined ? {} : { addr: inputAddr }),
    ...(rnw === undefined ? {} : { type: rnw ? "r" : "w" }),
    ...(s2 === undefined ? {} : { s2 }),
    ...(cause === undefined ? {} : { class: cause }),
    ...(ipa === undefined ? {} : { ipa: ipa & ~0xfffn }),
    ...(fetchAddr === undefined ? {} : { fetchAddr }),
    ...(pnu === undefined ? {} : { pnu }),
    ...(ind === undefined ? {} : { ind }),
    ...(ttRnW === undefined ? {} : { ttRnW }),
  };
}

export function answer(unit: SmmuUnit, { sid, ssid, iova, access, privileged, instruction }: SlowRequest): Answer {
  const result = unit.translate({
    sid,
    iova: iova as Iova,
    access,
    ...(ssid === undefined ? {} : { pasid: ssid }),
    privileged: privileged ?? false,
    execute: instruction ?? false,
  });
  if (result.ok) return { kind: "translated", pa: result.physical, pageSize: result.pageSize ?? PASSED };
  return {
    kind: "fault",
    code: result.code,
    stall: result.stalled,
    fields: result.event ? fieldsOf(result.event) : {},
  };
}

export interface LoadedUnit {
  readonly unit: SmmuUnit;
  readonly memory: UnitMemory;
}

/** Loads memory and programs a unit as a driver would. */
export async function openUnit(
  registers: SlowRegisters,
  ram: readonly Range[],
  words: ReadonlyMap<bigint, bigint>,
): Promise<LoadedUnit> {
  const { IDR0, IDR1, IDR3, IDR5 } = registers;
  const engine = await newEngine({ arenaBase: physicalAddress(VECTOR_ARENA_BASE) });
  loadVectorMemory(engine, ram, [...words]);
  const unit = new SmmuUnit(engine, { registers: { IDR0, IDR1, IDR3, IDR5 } });
  unit.write32(GBPA, Number(registers.GBPA) + GBPA_UPDATE);
  unit.write32(CR2, Number(registers.CR2));
  unit.write64(STRTAB_BASE, registers.STRTAB_BASE);
  unit.write32(STRTAB_BASE_CFG, Number(registers.STRTAB_BASE_CFG));
  unit.write32(CR0, Number(registers.CR0));
  return { unit, memory: new UnitMemory(engine) };
}
