/** Events of translations that faulted: Arm IHI 0070 G.b, sections 3.12, 5.5 and 7.3.12 to 7.3.16. */
import * as layout from "../../assembly/layout.js";
import type { Engine } from "../engine/engine.js";
import type { ResolvedSource } from "../unit/sources.js";
import type { StreamTableEntry } from "./entries.js";
import { EVENT, type EventRecord } from "./events.js";
import type { Configuration, ConfigurationFault } from "./lookup.js";
import { overridden } from "./regime.js";

/** What was resolved for a stream or a substream. */
export interface ResolvedStream extends ResolvedSource {
  readonly configuration: Configuration;
}

/** A transaction as it arrived. */
export interface Incoming {
  readonly sid: number;
  readonly ssid: number | null;
  readonly iova: bigint;
  readonly write: boolean;
  readonly privileged: boolean;
  readonly execute: boolean;
}

/** What is to become of a transaction that faulted: A, R and S of a CD; of a stage 2 fault S2R and S2S, with A as 1. */
export interface FaultModel {
  readonly abort: boolean;
  readonly record: boolean;
  readonly stall: boolean;
}

export interface TranslationFault {
  readonly event: EventRecord;
  readonly model: FaultModel;
}

/** How every event but the four of translation ends. */
export const ABORT_AND_RECORD: FaultModel = { abort: true, record: true, stall: false };

/** Events by what a walk found (section 7.3.22). */
const EVENTS: Readonly<Record<number, number>> = {
  [layout.WALK_INPUT_RANGE]: EVENT.F_TRANSLATION,
  [layout.WALK_ROOT_ACCESS]: EVENT.F_WALK_EABT,
  [layout.WALK_TABLE_ACCESS]: EVENT.F_WALK_EABT,
  [layout.WALK_NOT_PRESENT]: EVENT.F_TRANSLATION,
  [layout.WALK_RESERVED]: EVENT.F_TRANSLATION,
  [layout.WALK_OUTPUT_RANGE]: EVENT.F_ADDR_SIZE,
  [layout.WALK_ACCESS_FLAG]: EVENT.F_ACCESS,
  [layout.WALK_NO_READ]: EVENT.F_PERMISSION,
  [layout.WALK_NO_WRITE]: EVENT.F_PERMISSION,
  [layout.WALK_NO_USER]: EVENT.F_PERMISSION,
  [layout.WALK_NO_EXECUTE]: EVENT.F_PERMISSION,
  [layout.WALK_UPDATE_DENIED]: EVENT.F_PERMISSION,
  [layout.WALK_UPDATE_FAILED]: EVENT.F_WALK_EABT,
  [layout.UNIT_BEYOND]: EVENT.F_ADDR_SIZE,
};

/** The event of a walk's outcome. */
export function walkEvent(status: number): number {
  const outcome = status & layout.WALK_OUTCOME_MASK;
  const code = EVENTS[outcome];
  if (code === undefined) throw new Error(`a walk has no outcome ${outcome}`);
  return code;
}

function substream(ssid: number | null): Pick<EventRecord, "ssid"> {
  return ssid === null ? {} : { ssid };
}

function stage2Model({ stage2 }: StreamTableEntry): FaultModel {
  return { abort: true, record: stage2?.record ?? true, stall: stage2?.stall ?? false };
}

/** A fault on the way to the configuration; that of a CD's fetch through stage 2 is one of translation. */
export function configurationFault(
  { event: code, recorded, fetchAddress, stage2 }: ConfigurationFault,
  incoming: Incoming,
): TranslationFault {
  const { sid, ssid, iova } = incoming;
  const common = { code, sid, ...substream(ssid) };
  const fetch = fetchAddress === undefined ? {} : { fetchAddr: fetchAddress };
  if (!stage2) return { event: { ...common, ...fetch }, model: { ...ABORT_AND_RECORD, record: recorded } };
  const abort = code === EVENT.F_WALK_EABT;
  const event: EventRecord = {
    ...common,
    ...overridden(stage2.entry, incoming),
    // What failed is the fetch, a read.
    ...(abort ? {} : { rnw: true }),
    s2: true,
    class: "CD",
    inputAddr: iova,
    ...(abort ? fetch : { ipa: stage2.ipa }),
  };
  return { event, model: abort ? ABORT_AND_RECORD : stage2Model(stage2.entry) };
}

/** The table of stage 1, or of stage 2 alone, that an address goes through: bit 55 chooses between two. */
function tableOf({ configuration, handle }: ResolvedStream, iova: bigint): number {
  const upper = configuration.context !== null && ((iova >> 55n) & 1n) === 1n;
  return upper && handle.upper ? handle.upper : handle.first;
}

/** The intermediate address that the last walk of an address came by. */
export function intermediateAddress({ linear }: Engine, resolved: ResolvedStream, iova: bigint): bigint {
  if (resolved.configuration.context === null) return iova;
  return linear.getU64(tableOf(resolved, iova) + layout.TABLE_INTERMEDIATE);
}

/**
 * A walk that faulted.
 *
 * @param where the descriptor that could not be read, or the intermediate address that stage 2 did not translate
 */
export function walkFault(
  status: number,
  where: bigint,
  resolved: ResolvedStream,
  incoming: Incoming,
): TranslationFault {
  const { entry, context } = resolved.configuration;
  const { sid, ssid, iova } = incoming;
  const code = walkEvent(status);
  const outcome = status & layout.WALK_OUTCOME_MASK;
  const ofTable = (status & layout.WALK_SECOND_STAGE_TABLE) !== 0;
  const ofOutput = (status & layout.WALK_SECOND_STAGE_OUTPUT) !== 0;
  const beyond = outcome === layout.UNIT_BEYOND;
  const second = ofTable || ofOutput || (context === null && !beyond);
  const abort = code === EVENT.F_WALK_EABT;
  const faultClass = ofTable || (abort && !second) ? "TT" : "IN";
  const ipa = context === null ? iova : where;
  const event: EventRecord = {
    code,
    sid,
    ...substream(ssid),
    ...overridden(entry, incoming),
    s2: second,
    class: faultClass,
    inputAddr: iova,
    ...(code === EVENT.F_PERMISSION && ofTable ? { ttRnW: outcome !== layout.WALK_UPDATE_DENIED } : {}),
    ...(abort ? { fetchAddr: where } : second ? { ipa } : {}),
  };
  // What lies beyond what exists has no descriptor that says what becomes of it.
  if (abort || beyond) return { event, model: ABORT_AND_RECORD };
  return { event, model: second ? stage2Model(entry) : (context ?? ABORT_AND_RECORD) };
}
