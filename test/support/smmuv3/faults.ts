/** Events and what becomes of a transaction: Arm IHI 0070, sections 5.5 and 7.3. */
import type { EventFields, FaultClass, SlowOutcome, Walk } from "./unit.js";

export const C_BAD_STREAMID = 0x02;
export const F_STE_FETCH = 0x03;
export const C_BAD_STE = 0x04;
export const F_STREAM_DISABLED = 0x06;
export const C_BAD_SUBSTREAMID = 0x08;
export const F_CD_FETCH = 0x09;
export const C_BAD_CD = 0x0a;
export const F_WALK_EABT = 0x0b;
export const F_TRANSLATION = 0x10;
export const F_ADDR_SIZE = 0x11;
export const F_ACCESS = 0x12;
export const F_PERMISSION = 0x13;

/** Every event that an untranslated transaction can end with. */
export const EVENTS: readonly number[] = [
  C_BAD_STREAMID,
  F_STE_FETCH,
  C_BAD_STE,
  F_STREAM_DISABLED,
  C_BAD_SUBSTREAMID,
  F_CD_FETCH,
  C_BAD_CD,
  F_WALK_EABT,
  F_TRANSLATION,
  F_ADDR_SIZE,
  F_ACCESS,
  F_PERMISSION,
];

/** A, R and S of a CD; S2R and S2S of an STE with A = 1. They govern events 10h to 13h alone. */
export interface FaultModel {
  readonly abort: boolean;
  readonly record: boolean;
  readonly stall: boolean;
}

const ABORT_AND_RECORD: FaultModel = { abort: true, record: true, stall: false };
const ABORT_SILENTLY: FaultModel = { abort: true, record: false, stall: false };

/** A fault on its way to becoming an outcome. */
export class Fault {
  private constructor(
    readonly code: number | null,
    readonly model: FaultModel,
    readonly fields: EventFields,
  ) {}

  /** A configuration error or a failed fetch: always aborts; recorded unless it is said otherwise. */
  static configuration(code: number, fields: EventFields = {}, recorded = true): Fault {
    return new Fault(code, recorded ? ABORT_AND_RECORD : ABORT_SILENTLY, fields);
  }

  static withoutEvent(): Fault {
    return new Fault(null, ABORT_SILENTLY, {});
  }

  /** A fault of stage 1. Without a model (where no CD is used) it aborts and is recorded. */
  static stage1(walk: Walk, code: number, model: FaultModel = ABORT_AND_RECORD): Fault {
    return new Fault(code, model, { ...inputFields(walk), s2: false, class: "IN" });
  }

  static stage2(
    walk: Walk,
    code: number,
    model: FaultModel,
    cause: { class: FaultClass; ipa: bigint; ttRnW: boolean },
  ): Fault {
    const fields = { ...inputFields(walk), s2: true, class: cause.class, ipa: cause.ipa & ~0xfffn };
    // The conformance vectors have RnW = 1 with class CD, where section 7.3.13 has the RnW of the transaction.
    if (cause.class === "CD") return new Fault(code, model, { ...fields, type: "r" });
    const ofTable = code === F_PERMISSION && cause.class === "TT";
    return new Fault(code, model, ofTable ? { ...fields, ttRnW: cause.ttRnW } : fields);
  }

  /** F_WALK_EABT; `s2` and `class` say for what the descriptor was fetched. */
  static externalAbort(walk: Walk, fetchAddr: bigint, s2: boolean, faultClass: FaultClass): Fault {
    return new Fault(F_WALK_EABT, ABORT_AND_RECORD, { ...inputFields(walk), s2, class: faultClass, fetchAddr });
  }
}

function inputFields({ request, access }: Walk): EventFields {
  return {
    addr: request.iova,
    type: access.write ? "w" : "r",
    pnu: access.privileged,
    ind: access.instruction,
  };
}

/** What comes of a transaction that ran into a fault: section 5.5; S makes R and A irrelevant. */
export function faultOutcome({ code, model, fields }: Fault): SlowOutcome {
  const { stall } = model;
  return { kind: "fault", code, recorded: stall || model.record, stall, abort: !stall && model.abort, fields };
}
