/**
 * A slow, obvious SMMUv3 without caches, written from Arm IHI 0070 alone, in its order of events (section 7.3.22). It
 * models untranslated transactions of Non-secure streams through VMSAv8-64 tables. It does not model AArch32 and 128-bit
 * tables, permission indirection, updates of table descriptors (HAFT) and MPAM; of ATS it models translation requests.
 */
import { bit, field } from "./slow-format.js";
import { checkCd, fetchCd } from "./smmuv3/cd.js";
import {
  C_BAD_SUBSTREAMID,
  F_ADDR_SIZE,
  F_PERMISSION,
  F_STREAM_DISABLED,
  F_TRANSLATION,
  Fault,
  faultOutcome,
} from "./smmuv3/faults.js";
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

/** The Translation Completion of a translation request, or its refusal with the event that may be recorded. */
export type SlowCompletion =
  | {
      readonly kind: "success";
      readonly read: boolean;
      readonly write: boolean;
      readonly execute: boolean;
      readonly address: bigint;
      readonly size: bigint;
    }
  | { readonly kind: "UR" | "CA"; readonly code: number | null };

const F_BAD_ATS_TREQ = 0x05;
const NO_PERMISSION: SlowCompletion = {
  kind: "success",
  read: false,
  write: false,
  execute: false,
  address: 0n,
  size: PAGE,
};

/** EATS as it counts (section 5.2), for a legal STE of a Config other than 0xx. */
function effectiveEats({ unit }: Walk, ste: bigint): bigint {
  const eats = field(ste, 93, 92);
  if (field(ste, 3, 1) === 0b100n || eats === 0b11n) return 0n;
  return eats === 0b10n && !bit(unit.registers.CR0, 4) ? 0n : eats;
}

/**
 * What a translation request is answered (sections 3.9.1.2 and 13.7.1), each permission found by trying it. `noWrite` is
 * NW. CR2.REC_CFG_ATS is for the caller: `code` is that of the event which it allows.
 */
export function slowTranslationRequest(unit: SlowUnit, asked: SlowRequest, noWrite: boolean): SlowCompletion {
  const features = featuresOf(unit.registers);
  const inPasid = asked.ssid !== undefined;
  const attempt = (write: boolean, instruction: boolean) => {
    const access = { write, privileged: inPasid && asked.privileged === true, instruction };
    return { unit, features, request: asked, access };
  };
  const plain = attempt(false, false);
  if (!bit(unit.registers.CR0, 0)) return { kind: "UR", code: F_BAD_ATS_TREQ };
  const fetched = fetchSte(plain);
  if (fetched instanceof Fault) return { kind: "CA", code: fetched.code };
  const ste = checkSte(plain, fetched);
  if (ste instanceof Fault) return { kind: ste.code === null ? "UR" : "CA", code: ste.code };
  const eats = effectiveEats(plain, fetched);
  if (eats === 0n) return { kind: "UR", code: F_BAD_ATS_TREQ };

  const rights = { write: false, read: false, execute: false };
  let mapping: Mapping | null = null;
  for (const right of ["write", "read", "execute"] as const) {
    if (right === "write" && noWrite) continue;
    if (right === "execute" && !(inPasid && asked.instruction && rights.read)) continue;
    const walk = attempt(right === "write", right === "execute");
    const result = translate(walk);
    if (result instanceof Fault) {
      const { code, fields } = result;
      if (code === F_PERMISSION && fields.class === "IN") continue;
      if (code !== null && code >= F_TRANSLATION && code <= F_PERMISSION) return NO_PERMISSION;
      return { kind: "CA", code };
    }
    rights[right] = true;
    // Split-stage: the intermediate address.
    const first = eats === 0b10n ? throughStage1({ ...walk, access: overriddenAccess(walk, fetched) }, ste) : null;
    const address = first instanceof Fault ? null : (first?.address ?? (eats === 0b10n ? asked.iova : result.address));
    if (address !== null) mapping ??= { address, pageSize: result.pageSize };
  }
  if (mapping === null) return NO_PERMISSION;
  return { kind: "success", ...rights, address: mapping.address, size: mapping.pageSize };
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
