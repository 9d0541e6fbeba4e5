/**
 * A slow, obvious VT-d remapping unit without caches, written from the Intel VT-d Architecture Specification Rev. 5.10
 * alone, in its order of checks (table 30). It does not model interrupt requests, page requests, host permission tables
 * and RTADDR.SSIRWE.
 */
import { field } from "./slow-format.js";
import { inInterruptRange, PAGE, wantsWrite } from "./vtd/delivery.js";
import { Fault, faultOutcome } from "./vtd/faults.js";
import { translateLegacy } from "./vtd/legacy.js";
import { translateScalable } from "./vtd/scalable.js";
import type { Attempt, SlowOutcome, SlowRequest, SlowUnit, Walk } from "./vtd/unit.js";

export type { SlowMemory, SlowOutcome, SlowRequest, SlowUnit } from "./vtd/unit.js";

/** RTADDR_REG.TTM, section 11.4.5. */
const LEGACY = 0b00n;
const SCALABLE = 0b01n;
const ABORT = 0b11n;

function translate(walk: Walk): Attempt<SlowOutcome> {
  const { unit, request } = walk;
  const { ecap, version } = unit.capabilities;
  const mode = field(unit.rtaddr, 11, 10);
  const supported = mode === LEGACY || (mode === SCALABLE && ecap.SMTS === 1) || (mode === ABORT && ecap.ADMS === 1);
  if (!supported) return new Fault(0x30);
  if (mode === LEGACY && request.pasid !== undefined) return new Fault(0x31);
  if (mode === ABORT) return new Fault(0x33);
  if (request.pasid !== undefined && request.execute === true && version.major >= 8) return new Fault(0x34);

  // Conditions S.1 and S.2: the device may send interrupt requests there, untranslated.
  if (request.type === "translation" && request.pasid === undefined && inInterruptRange(request.iova)) {
    const write = wantsWrite(request);
    return { kind: "completion", read: false, write, untranslatedOnly: write, size: PAGE, pa: request.iova };
  }
  return mode === LEGACY ? translateLegacy(walk) : translateScalable(walk);
}

/**
 * What the unit answers, with everything read from memory. Accessed and dirty flags are written to memory. Pass-through
 * and translated requests are reported with a page size of 4096 bytes.
 */
export function slowTranslate(unit: SlowUnit, request: SlowRequest): SlowOutcome {
  const walk: Walk = { unit, request, faultProcessingDisabled: false };
  const result = translate(walk);
  return result instanceof Fault ? faultOutcome(result, walk) : result;
}
