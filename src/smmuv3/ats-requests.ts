/** Requests of devices with ATS: Arm SMMU Architecture Specification version 3 (IHI 0070 G.b), section 3.9.1. */
import { physicalAddress } from "../engine/addresses.js";
import type { Engine } from "../engine/engine.js";
import type { Access } from "../engine/page-table.js";
import { type DmaRequest, NOTHING_PERMITTED, SMALLEST_TRANSLATION_UNIT } from "../unit/request.js";
import {
  type AtsMode,
  atsMode,
  badTranslationRequest,
  type SmmuCompletion,
  type TranslationRequest,
  translationForbidden,
} from "./ats.js";
import type { StreamTableEntry } from "./entries.js";
import { EVENT } from "./events.js";
import type { FaultReporter } from "./fault-reporter.js";
import type { SmmuFault, SmmuTranslation } from "./outcome.js";
import type { RegisterFile } from "./registers.js";
import { type RequestKind, TRANSLATED, type Translator } from "./translator.js";
import { intermediateAddress, type TranslationFault } from "./walk-events.js";

/** What is wrong with a translation request: its page permits nothing, or not this; null: something else. */
type Denial = "nothing" | "denied" | null;

function denialBy({ code, class: faultClass }: TranslationFault["event"]): Denial {
  if (code < EVENT.F_TRANSLATION || code > EVENT.F_PERMISSION) return null;
  return code === EVENT.F_PERMISSION && faultClass === "IN" ? "denied" : "nothing";
}

/** The requests of a unit's devices that concern translations of their own. */
export class AtsRequests {
  constructor(
    private readonly engine: Engine,
    private readonly translator: Translator,
    private readonly registers: RegisterFile,
    private readonly reporter: FaultReporter,
  ) {}

  /** A translated transaction of an SMMU that checks them: without a PASID, whatever it carried. */
  translate({ sid, iova }: DmaRequest, { read = false, write = false }: Access): SmmuTranslation | SmmuFault {
    return this.translator.translate({ sid, iova, pasid: TRANSLATED }, { read, write }, this.translated);
  }

  /** See `SmmuUnit.requestTranslation`. */
  request(asked: TranslationRequest): SmmuCompletion | SmmuFault {
    if (!this.registers.translationEnabled) return this.reporter.end("UR", badTranslationRequest(asked));
    const { translator } = this;
    const known = translator.resolved(asked.sid, asked.pasid ?? null);
    const refused = known ? this.refuse(asked, known.configuration.entry) : null;
    if (refused) {
      translator.countAnswered(asked.sid);
      return refused;
    }
    const { privileged = false, execute = false, noWrite } = asked;
    const granted = { write: false, read: false, execute: false };
    let reached: Pick<SmmuCompletion, "physical" | "size"> | null = null;
    let steps = 0;
    for (const right of ["write", "read", "execute"] as const) {
      if (right === "write" ? noWrite : right === "execute" && !(execute && granted.read)) continue;
      const kind = this.translationRequest(asked);
      const make = () => translator.translate(asked, { read: false, privileged, [right]: true }, kind);
      const answer = steps++ === 0 ? make() : translator.uncounted(make);
      if (answer.ok) {
        granted[right] = true;
        reached ??= this.reached(asked, answer);
      } else if (kind.denial === null) {
        return answer;
      } else if (kind.denial === "nothing") {
        return { ...NOTHING_PERMITTED, execute: false };
      }
    }
    return { ...NOTHING_PERMITTED, ...granted, ...reached };
  }

  private modeOf(entry: StreamTableEntry): AtsMode {
    return atsMode(entry, this.registers.atsChecked);
  }

  /** The answer to a translation request for a stream that has no ATS; null when it has. */
  private refuse(asked: TranslationRequest, entry: StreamTableEntry): SmmuFault | null {
    if (entry.aborts) return this.reporter.end("UR", null);
    if (this.modeOf(entry) === "disabled") return this.reporter.end("UR", badTranslationRequest(asked));
    // A TLB entry does not tell the IPA that split-stage ATS answers.
    this.translator.forgetPage(asked.iova);
    return null;
  }

  private translationRequest(asked: TranslationRequest): RequestKind & { readonly denial: Denial } {
    const unanswered = ({ event, model }: TranslationFault): SmmuFault => {
      kind.denial = denialBy(event);
      if (kind.denial !== null) return this.reporter.end("UR", null);
      const recorded = model.record && this.registers.recordsAtsConfigurationErrors;
      return this.reporter.end("CA", recorded ? event : null, event.code);
    };
    const kind: RequestKind & { denial: Denial } = {
      denial: null,
      refuse: (entry) => this.refuse(asked, entry),
      misconfigured: unanswered,
      faulted: unanswered,
    };
    return kind;
  }

  private readonly translated: RequestKind = {
    refuse: (entry, { sid, iova, write }) => {
      if (entry.aborts) return this.reporter.end("abort", null);
      return this.modeOf(entry) === "disabled"
        ? this.reporter.end("abort", translationForbidden(sid, iova, !write))
        : null;
    },
    misconfigured: ({ event }) => {
      return this.reporter.end("abort", this.registers.recordsAtsConfigurationErrors ? event : null, event.code);
    },
    faulted: (fault, { handle }) => {
      // An address that full ATS let pass, and that no memory has (section 3.9.1.1).
      return handle.first === 0 ? this.reporter.end("abort", null) : this.reporter.report(fault);
    },
  };

  /** What the device is to use, as the last step of a translation request found it. */
  private reached(
    { sid, pasid, iova }: TranslationRequest,
    { physical, pageSize }: SmmuTranslation,
  ): Pick<SmmuCompletion, "physical" | "size"> {
    const size = pageSize ?? SMALLEST_TRANSLATION_UNIT;
    const resolved = this.translator.resolved(sid, pasid ?? null);
    if (!resolved || this.modeOf(resolved.configuration.entry) !== "split-stage") {
      // The intermediate address of split-stage ATS is translated again when the device uses it.
      if (resolved) this.translator.sanitizer?.granted(resolved, iova, physical, size);
      return { physical, size };
    }
    return { physical: physicalAddress(intermediateAddress(this.engine, resolved, iova)), size };
  }
}
