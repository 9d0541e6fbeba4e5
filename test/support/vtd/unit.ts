/** What the slow model of a VT-d unit is made of, and what goes in and comes out. */
import type { Capabilities } from "../../../src/vtd/capabilities.js";
import type { Fault } from "./faults.js";

/** Physical memory in 64-bit words at multiples of 8; null is an access error. */
export interface SlowMemory {
  read(address: bigint): bigint | null;
  write(address: bigint, value: bigint): void;
}

export interface SlowUnit {
  readonly capabilities: Capabilities;
  /** RTADDR_REG as latched by GCMD.SRTP; translation is enabled. */
  readonly rtaddr: bigint;
  readonly memory: SlowMemory;
}

export interface SlowRequest {
  readonly sid: number;
  readonly iova: bigint;
  /** A translation request for `write` or `atomic` has NW=0. */
  readonly access: "read" | "write" | "atomic" | "zero-length-read";
  readonly pasid?: number;
  readonly privileged?: boolean;
  readonly execute?: boolean;
  readonly type: "untranslated" | "translation" | "translated";
}

export type Completion = "UR" | "CA" | "success";

export type SlowOutcome =
  | { readonly kind: "translated"; readonly pa: bigint; readonly pageSize: bigint }
  | {
      readonly kind: "completion";
      readonly read: boolean;
      readonly write: boolean;
      readonly untranslatedOnly: boolean;
      readonly size: bigint;
      readonly pa: bigint;
    }
  | { readonly kind: "fault"; readonly code: number; readonly recorded: boolean; readonly completion: Completion };

/** One request on its way through a unit. */
export interface Walk {
  readonly unit: SlowUnit;
  readonly request: SlowRequest;
  /** Whether FPD was 1 in any structure seen so far. */
  faultProcessingDisabled: boolean;
}

export interface Rights {
  readonly read: boolean;
  readonly write: boolean;
}

/** Where an address leads, and what may be done there. */
export interface Mapping extends Rights {
  readonly pa: bigint;
  readonly pageSize: bigint;
}

/** Flags that a translation sets in an entry once it is allowed. */
export interface EntryUpdate {
  readonly address: bigint;
  readonly flags: bigint;
}

export type Attempt<T> = T | Fault;
