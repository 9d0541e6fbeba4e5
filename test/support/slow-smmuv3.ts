/**
 * A slow, obvious SMMUv3 without caches, written from Arm IHI 0070 alone, in its order of events (section 7.3.22). It
 * models untranslated transactions of Non-secure streams through VMSAv8-64 tables. It does not model AArch32 and 128-bit
 * tables, permission indirection, updates of table descriptors (HAFT), MPAM and ATS.
 */
import { bit } from "./slow-format.js";
import { checkCd, fetchCd } from "./smmuv3/cd.js";
import { C_BAD_SUBSTREAMID, F_ADDR_SIZE, F_STREAM_DISABLED, Fault, faultOutcome } from "./smmuv3/faults.js";
import { featuresOf } from "./smmuv3/features.js";
import { translateStage1 } from "./smmuv3/stage1.js";
import { purposeOf, translateStage2 } from "./smmuv3/stage2.js";
import { checkSte, overriddenAccess, type Ste } from "./smmuv3/ste.js";
import { fetchSte } from "./smmuv3/stream-table.js";
import type { Attempt, Mapping, SlowOutcome, SlowRequest, SlowUnit, Walk } from "./smmuv3/unit.js";

export type { EventFields, SlowOutcome, SlowRegisters, SlowRequest, SlowUnit } from "./smmuv3/unit.js";
export type { SlowMemory } from "./vtd/unit.js";

/** S1DSS, section 5.2. */
const BYPASS_STAGE_1 = 0b01n;
const SUBSTREAM_0 = 0b10n;

/** What a bypassing transaction is said to be mapped by. */
const PAGE = 4096n;

function beyond(address: bigint, size: number): boolean {
  return address >= 1n << BigInt(size);
}

/** CR0.SMMUEN = 0: section 3.4 and GBPA. */
function translateDisabled({ unit, features, request }: Walk): Attempt<Mapping> {
  const abort = bit(unit.registers.GBPA, 20);
  if (abort || beyond(request.iova, features.oas)) return Fault.withoutEvent();
  return { address: request.iova, pageSize: PAGE };
}

/** The index of the CD that a transaction uses, null when it bypasses stage 1. */
function selectCd({ request }: Walk, { stage1 }: Ste): Attempt<number | null> {
  const { ssid } = request;
  if (ssid !== undefined && (stage1 === null || stage1.cdMax === 0 || ssid >= 2 ** stage1.cdMax)) {
    return Fault.configuration(C_BAD_SUBSTREAMID);
  }
  if (stage1 === null) return null;
  const { cdMax, defaultSubstream } = stage1;
  if (ssid !== undefined) {
    const reserved = ssid === 0 && defaultSubstream === SUBSTREAM_0;
    return reserved ? Fault.configuration(F_STREAM_DISABLED) : ssid;
  }
  if (cdMax === 0 || defaultSubstream === SUBSTREAM_0) return 0;
  return defaultSubstream === BYPASS_STAGE_1 ? null : Fault.configuration(F_STREAM_DISABLED);
}

/** The output of stage 1; of a bypassed one the input, checked as section 3.4 says. */
function throughStage1(walk: Walk, ste: Ste): Attempt<Mapping | null> {
  const { features, request } = walk;
  const { stage1, stage2 } = ste;
  const index = selectCd(walk, ste);
  if (index instanceof Fault) return index;
  if (stage1 === null || index === null) {
    const limit = stage2 === null ? features.oas : features.ias;
    return beyond(request.iova, limit) ? Fault.stage1(walk, F_ADDR_SIZE) : null;
  }
  const fetched = fetchCd(walk, ste, stage1, index);
  if (fetched instanceof Fault) return fetched;
  const cd = checkCd(walk, stage1, fetched);
  return cd instanceof Fault ? cd : translateStage1(walk, cd, stage2);
}

function translate(incoming: Walk): Attempt<Mapping> {
  const { unit, features, request } = incoming;
  if (!bit(unit.registers.CR0, 0)) return translateDisabled(incoming);
  const fetched = fetchSte(incoming);
  if (fetched instanceof Fault) return fetched;
  const ste = checkSte(incoming, fetched);
  if (ste instanceof Fault) return ste;
  const walk = { ...incoming, access: overriddenAccess(incoming, fetched) };
  const first = throughStage1(walk, ste);
  if (first instanceof Fault) return first;
  const address = first?.address ?? request.iova;
  if (ste.stage2 === null) {
    return { address: BigInt.asUintN(features.oas, address), pageSize: first?.pageSize ?? PAGE };
  }
  const second = translateStage2(walk, ste.stage2, address, purposeOf(walk.access));
  if (second instanceof Fault || first === null) return second;
  return { address: second.address, pageSize: first.pageSize < second.pageSize ? first.pageSize : second.pageSize };
}

/**
 * What the unit answers, with everything read from memory; hardware updates of descriptors are written to memory. Bypass
 * is reported with a page size of 4096 bytes.
 */
export function slowTranslate(unit: SlowUnit, request: SlowRequest): SlowOutcome {
  const access = {
    write: request.access === "write",
    privileged: request.privileged === true,
    instruction: request.instruction === true,
  };
  const result = translate({ unit, features: featuresOf(unit.registers), request, access });
  if (result instanceof Fault) return faultOutcome(result);
  return { kind: "translated", pa: result.address, pageSize: result.pageSize };
}
