import type { EventQueue } from "./event-queue.js";
import { type EventRecord, eventName } from "./events.js";
import type { SmmuFault } from "./outcome.js";
import type { StalledTransactions } from "./stalls.js";
import type { TranslationFault } from "./walk-events.js";

/** Ends transactions that fault, or stalls them, and records their events. */
export class FaultReporter {
  constructor(
    private readonly events: EventQueue,
    private readonly stalls: StalledTransactions,
  ) {}

  /** As the fault model says (Arm IHI 0070 G.b, section 5.5). */
  report({ event, model: { abort, record, stall } }: TranslationFault): SmmuFault {
    if (!stall) return this.end(abort ? "abort" : "RAZ/WI", record ? event : null, event.code);
    const stag = this.stalls.stall(event.sid);
    // As many are stalled as can be: this one waits in front of the SMMU, unseen.
    return stag === null ? this.end(null, null, event.code) : this.end(null, { ...event, stall: true, stag });
  }

  /** With this completion. `cause`: the event that says what is wrong, when it is not to be recorded. */
  end(completion: SmmuFault["completion"], event: EventRecord | null, cause = event?.code ?? null): SmmuFault {
    if (event) this.events.record(event);
    const name = cause === null ? "abort" : eventName(cause);
    return { ok: false, code: event?.code ?? null, cause, name, event, completion, stalled: completion === null };
  }
}
