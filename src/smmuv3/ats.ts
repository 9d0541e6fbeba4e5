/**
 * Requests of devices with address translation caches: Arm SMMU Architecture Specification version 3 (IHI 0070 G.b),
 * sections 3.9.1 and 13.6. Tables of device permissions (IDR3.DPT) and PASIDs on translated transactions (IDR3.PASIDTT) are
 * not emulated.
 */
import type { DmaRequest, TranslationCompletion } from "../unit/request.js";
import type { StreamTableEntry } from "./entries.js";
import { EVENT, type EventRecord } from "./events.js";

/** A successful answer to a translation request. Under split-stage ATS `physical` is an IPA. */
export interface SmmuCompletion extends TranslationCompletion {
  readonly execute: boolean;
}

/** A translation request: `noWrite` is its NW flag. */
export interface TranslationRequest extends Omit<DmaRequest, "access" | "type"> {
  readonly noWrite: boolean;
}

export type AtsMode = "disabled" | "full" | "split-stage";

/** The effective EATS of a stream (section 5.2). Split-stage needs CR0.ATSCHK. */
export function atsMode({ ats }: StreamTableEntry, atsChecked: boolean): AtsMode {
  if (ats === 1) return "full";
  return ats === 2 && atsChecked ? "split-stage" : "disabled";
}

/** F_BAD_ATS_TREQ (section 7.3.6): what was asked for, before overrides. */
export function badTranslationRequest(request: TranslationRequest): EventRecord {
  const { sid, pasid, iova, noWrite, privileged = false, execute = false } = request;
  const inPasid = pasid === undefined ? { privileged: false, execute: false } : { ssid: pasid, privileged, execute };
  return { code: EVENT.F_BAD_ATS_TREQ, sid, ...inPasid, read: true, write: !noWrite, span: 1, inputAddr: iova };
}

/** F_TRANSL_FORBIDDEN (section 7.3.8). */
export function translationForbidden(sid: number, iova: bigint, read: boolean): EventRecord {
  return { code: EVENT.F_TRANSL_FORBIDDEN, sid, rnw: read, inputAddr: iova };
}
