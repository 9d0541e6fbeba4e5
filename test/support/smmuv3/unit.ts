/** What the slow model of an SMMUv3 is made of, and what goes in and comes out. */
import type { SlowMemory } from "../vtd/unit.js";
import type { Fault } from "./faults.js";
import type { Features } from "./features.js";

/** Registers of page 0, section 6.3. */
export interface SlowRegisters {
  readonly IDR0: bigint;
  readonly IDR1: bigint;
  readonly IDR3: bigint;
  readonly IDR5: bigint;
  readonly CR0: bigint;
  readonly CR2: bigint;
  readonly GBPA: bigint;
  readonly STRTAB_BASE: bigint;
  readonly STRTAB_BASE_CFG: bigint;
}

export interface SlowUnit {
  readonly registers: SlowRegisters;
  readonly memory: SlowMemory;
}

export interface SlowRequest {
  readonly sid: number;
  readonly ssid?: number;
  readonly iova: bigint;
  readonly access: "read" | "write";
  readonly privileged?: boolean;
  readonly instruction?: boolean;
  readonly type: "untranslated";
}

/** Why a translation was needed: to fetch a CD, to reach a stage 1 descriptor, for the input itself. */
export type FaultClass = "CD" | "TT" | "IN";

/** Fields of an event record, section 7.3, as far as the event has them. */
export interface EventFields {
  /** InputAddr. */
  readonly addr?: bigint;
  /** RnW. */
  readonly type?: "r" | "w";
  readonly s2?: boolean;
  readonly class?: FaultClass;
  /** IPA, bits 55:12. */
  readonly ipa?: bigint;
  readonly fetchAddr?: bigint;
  /** PnU and InD, after the overrides of the STE. */
  readonly pnu?: boolean;
  readonly ind?: boolean;
  /** TTRnW: false when the write of a stage 1 descriptor failed. Of F_PERMISSION with class TT. */
  readonly ttRnW?: boolean;
}

export type SlowOutcome =
  | { readonly kind: "translated"; readonly pa: bigint; readonly pageSize: bigint }
  | {
      readonly kind: "fault";
      /** Event number; null where the architecture has no event for it. */
      readonly code: number | null;
      readonly recorded: boolean;
      readonly stall: boolean;
      /** Whether the transaction is terminated with an abort; if it is neither that nor stalled, it is RAZ/WI. */
      readonly abort: boolean;
      readonly fields: EventFields;
    };

/** One access, with the attributes that permissions are checked against. */
export interface Access {
  readonly write: boolean;
  readonly privileged: boolean;
  readonly instruction: boolean;
}

/** One transaction on its way through a unit. */
export interface Walk {
  readonly unit: SlowUnit;
  readonly features: Features;
  readonly request: SlowRequest;
  /** After PRIVCFG and INSTCFG. */
  readonly access: Access;
}

/** Where an address leads. */
export interface Mapping {
  readonly address: bigint;
  readonly pageSize: bigint;
}

export type Attempt<T> = T | Fault;
