/**
 * A conformance vector: a machine's configuration and tables in memory, requests, and what must come of each. Written as
 * JSON Lines, one vector a line; `reader.ts` reads them.
 */
import type { AddressType } from "../unit/request.js";
import type { Place } from "./errors.js";
import type { JsonRecord, WordPair } from "./record.js";

export interface Vector {
  readonly place: Place;
  readonly id: string;
  /** "vtd", "smmuv3" … */
  readonly arch: string;
  /** What the generator did; information only. */
  readonly tags: readonly string[];
  /** Registers and capabilities, by the names of the architecture. */
  readonly config: JsonRecord;
  /** Little-endian words by physical address; every other word of RAM is zero. */
  readonly memory: readonly WordPair[];
  readonly requests: readonly VectorRequest[];
  /** One for each request. */
  readonly expect: readonly Expectation[];
  /** Words that differ from `memory` after the last request; null when the vector does not say. */
  readonly memoryAfter: readonly WordPair[] | null;
}

/** A DMA of a device; untranslated, unprivileged and without PASID unless it says otherwise. */
export interface VectorRequest {
  /** PCI requester ID; StreamID, device_id and DeviceID as well. */
  readonly sid: number;
  readonly iova: bigint;
  readonly access: "r" | "w";
  readonly pasid?: number;
  readonly privileged?: boolean;
  readonly execute?: boolean;
  readonly type?: AddressType;
}

/** What must come of one request. */
export interface Expectation {
  /** What the recorded machine answered. */
  readonly answer: ExpectedTranslation | ExpectedFault;
  /** Table words that the request changed. */
  readonly writes: readonly WordPair[];
  /** Set where the recorded machine departs from the architecture: the entry is judged by `specification` alone. */
  readonly deviation: { readonly why: string | null; readonly specification: Specification } | null;
}

export interface ExpectedTranslation {
  readonly pa: bigint;
}

export interface ExpectedFault {
  /** Null: blocked, and nothing recorded. */
  readonly code: number | null;
  readonly name: string | null;
  /** The rest of the fault record, by the vector's names; hex strings and numbers as bigint. */
  readonly fields: Readonly<Record<string, FaultField>>;
}

export type FaultField = bigint | string | boolean;

/** What the architecture requires. A null code: blocked, and nothing recorded. */
export type Specification =
  | { readonly pa: bigint }
  | { readonly code: number | null }
  /** One of these codes, nothing recorded when there are none; or the translation `orPa`. */
  | { readonly anyOf: readonly number[]; readonly orPa: bigint | null };
