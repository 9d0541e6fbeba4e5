/** What becomes of a transaction: Arm IHI 0070 G.b, sections 3.12.2, 5.5 and 7.3. */
import type { PhysicalAddress } from "../engine/addresses.js";
import type { EventRecord } from "./events.js";

/** A transaction that did not reach memory. */
export interface SmmuFault {
  readonly ok: false;
  /** Number of the event that is to be recorded; null: none. */
  readonly code: number | null;
  /** Number of the event that says what is wrong, recorded or not; null: there is none. */
  readonly cause: number | null;
  readonly name: string;
  /** The event, when there is one to be recorded. */
  readonly event: EventRecord | null;
  /**
   * What the requester gets. RAZ/WI: reads return zero, writes are ignored (section 5.5). Unsupported Request and Completer
   * Abort answer translation requests. Null: nothing yet, the transaction is stalled.
   */
  readonly completion: "abort" | "RAZ/WI" | "UR" | "CA" | null;
  readonly stalled: boolean;
}

export interface SmmuTranslation {
  readonly ok: true;
  readonly physical: PhysicalAddress;
  /** Bytes of the page that the translation is good for; null when the address passed untranslated. */
  readonly pageSize: bigint | null;
}

/** Flags of a batch's `code`, beside the number of the event. No event was recorded; alone: an abort that has none. */
export const UNRECORDED = 1 << 16;
/** The transaction waits for CMD_RESUME or CMD_STALL_TERM. */
export const STALLED = 1 << 17;
/** The transaction ended without an error: it read zero, or wrote nothing (section 5.5). Otherwise it was aborted. */
export const RAZ_WI = 1 << 18;

/** The `code` in a batch of a transaction that faulted. */
export function batchCode({ cause, code, completion, stalled }: SmmuFault): number {
  const recorded = code === null ? UNRECORDED : 0;
  return (cause ?? 0) | recorded | (stalled ? STALLED : 0) | (completion === "RAZ/WI" ? RAZ_WI : 0);
}
