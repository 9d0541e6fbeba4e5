/** Legacy mode: Intel VT-d Architecture Specification Rev. 5.10, sections 9.1 and 9.3. */
import { bit, field } from "../slow-format.js";
import { deliverUnchanged, missingRight, wantsWrite } from "./delivery.js";
import { Fault } from "./faults.js";
import { agaw, beyondInputLimit, deliverSecondStage, levelsOf, type SecondStage } from "./second-stage.js";
import type { Attempt, Rights, SlowOutcome, Walk } from "./unit.js";

const UNTRANSLATED_ONLY = 0b00n;
const ALL_TYPES = 0b01n;
const PASS_THROUGH = 0b10n;

function readContextEntry(walk: Walk): Attempt<readonly [bigint, bigint]> {
  const { memory, rtaddr, capabilities } = walk.unit;
  const sid = BigInt(walk.request.sid);
  const rootAddress = (field(rtaddr, 63, 12) << 12n) + (sid >> 8n) * 16n;
  const rootLow = memory.read(rootAddress);
  const rootHigh = memory.read(rootAddress + 8n);
  if (rootLow === null || rootHigh === null) return new Fault(0x08);
  if (!bit(rootLow, 0)) return new Fault(0x01);
  const rootReserved = field(rootLow, 11, 1) | field(rootLow, 63, capabilities.haw) | rootHigh;
  if (rootReserved !== 0n) return new Fault(0x0a);

  const address = (field(rootLow, 63, 12) << 12n) + (sid & 0xffn) * 16n;
  const low = memory.read(address);
  const high = memory.read(address + 8n);
  if (low === null || high === null) return new Fault(0x09);
  walk.faultProcessingDisabled = bit(low, 1);
  if (!bit(low, 0)) return new Fault(0x02);
  const domainAndAbove = field(high, 63, 8);
  const reserved =
    field(low, 11, 4) |
    field(low, 63, capabilities.haw) |
    field(high, 7, 7) |
    (domainAndAbove >> BigInt(capabilities.domainBits));
  if (reserved !== 0n) return new Fault(0x0b);
  return [low, high];
}

/** LGN.2 and LGN.3 do not distinguish an entry that is not present: a right is missed at the entry that denies it. */
function rightsFault(walk: Walk, rights: Rights): number | null {
  const nothingLeft = !rights.read && !rights.write;
  const missing = missingRight(walk, rights) ?? (nothingLeft ? (wantsWrite(walk.request) ? "write" : "read") : null);
  if (missing === null) return null;
  return missing === "write" ? 0x05 : 0x06;
}

export function translateLegacy(walk: Walk): Attempt<SlowOutcome> {
  const { cap, ecap } = walk.unit.capabilities;
  const { request } = walk;
  const context = readContextEntry(walk);
  if (context instanceof Fault) return context;
  const [low, high] = context;

  const translationType = field(low, 3, 2);
  const supported =
    translationType === UNTRANSLATED_ONLY ||
    (translationType === ALL_TYPES && ecap.DT === 1) ||
    (translationType === PASS_THROUGH && ecap.PT === 1);
  const levels = levelsOf(field(high, 2, 0), cap.SAGAW);
  if (!supported || levels === null) return new Fault(0x03);
  if (translationType !== ALL_TYPES && request.type !== "untranslated") return new Fault(0x0d);
  if (translationType === PASS_THROUGH) {
    if (request.iova >= 1n << BigInt(agaw(levels))) return new Fault(0x04);
    return deliverUnchanged(walk, 0x04, 0x0e);
  }
  if (request.type === "translated") return deliverUnchanged(walk, 0x04, 0x0e);

  const stage: SecondStage = {
    pointer: field(low, 63, 12) << 12n,
    levels,
    snoopReserved: ecap.SC === 0,
    accessedDirty: false,
    updatable: true,
  };
  if (beyondInputLimit(walk, stage, request.iova)) return new Fault(0x04);
  return deliverSecondStage(walk, stage, {
    firstTable: 0x03,
    lowerTable: 0x07,
    reserved: 0x0c,
    notPresent: (rights) => rightsFault(walk, rights),
    noWrite: 0x05,
    noRead: 0x06,
    interruptRange: 0x0e,
  });
}
