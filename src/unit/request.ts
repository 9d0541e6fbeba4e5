import { type Iova, type PhysicalAddress, physicalAddress } from "../engine/addresses.js";

/** How a request says it was translated: not at all, asking for a translation (ATS), or by the device itself. */
export type AddressType = "untranslated" | "translation" | "translated";

/** One memory request as a device puts it on the bus. */
export interface DmaRequest {
  /** PCI requester ID: bus << 8 | device << 3 | function. */
  readonly sid: number;
  readonly iova: Iova;
  /** Default: read. `atomic` needs what a read and a write need. */
  readonly access?: "read" | "write" | "atomic" | "zero-length-read";
  /** The PASID prefix, if the request has one. */
  readonly pasid?: number;
  /** Privileged-mode-requested of the PASID prefix. */
  readonly privileged?: boolean;
  /** Execute-requested of the PASID prefix. */
  readonly execute?: boolean;
  /** Default: untranslated. */
  readonly type?: AddressType;
  /** Whether a unit with a sanitizer looks whether a stale translation let the request through. Default: true. */
  readonly sanitized?: boolean;
}

/** A successful Translation Completion: the answer to a translation request (ATS, PCI Express Base section 10.2). */
export interface TranslationCompletion {
  readonly ok: true;
  /** What the device is to use as a translated address; 0 without any permission. */
  readonly physical: PhysicalAddress;
  readonly read: boolean;
  readonly write: boolean;
  /** The address may only be used untranslated. */
  readonly untranslatedOnly: boolean;
  /** Bytes. */
  readonly size: bigint;
}

/** Smallest Translation Unit, bytes: what a completion without any permission is about. */
export const SMALLEST_TRANSLATION_UNIT = 4096n;

/** The completion that permits nothing. */
export const NOTHING_PERMITTED: TranslationCompletion = {
  ok: true,
  physical: physicalAddress(0n),
  read: false,
  write: false,
  untranslatedOnly: false,
  size: SMALLEST_TRANSLATION_UNIT,
};

/** One word of a structure in memory that a unit read on the way to its answer, in the order of reading. */
export interface StructureRead {
  /** The field's name of the structure: "root entry", "PASID table entry", "SS-PDE". */
  readonly structure: string;
  readonly address: bigint;
  /** 64-bit words of the structure, lowest address first; null when nobody backs the address. */
  readonly words: readonly bigint[] | null;
}
