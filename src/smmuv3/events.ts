/**
 * Records of the Event queue: Arm SMMU Architecture Specification version 3 (IHI 0070 G.b), section 7.3. Every event lists
 * its fields; what no field covers is zero.
 */
import { IommuError } from "../engine/errors.js";

/**
 * Event numbers by name. 0xE0 to 0xEF are implementation defined; the others are reserved.
 *
 * The unit never raises F_UUT (it knows every transaction), F_TLB_CONFLICT and F_CFG_CONFLICT (implementations need not
 * notice; it uses one of the entries), F_VMS_FETCH (no VMS is fetched) and E_PAGE_REQUEST: that is a hint that a device will
 * want a page, from a device that says so speculatively (section 7.3.19), and no request of this interface is such a hint.
 * A Page Request message of PRI is none: it goes to the PRI queue, whatever becomes of it (chapter 8).
 */
export const EVENT = {
  F_UUT: 0x01,
  C_BAD_STREAMID: 0x02,
  F_STE_FETCH: 0x03,
  C_BAD_STE: 0x04,
  F_BAD_ATS_TREQ: 0x05,
  F_STREAM_DISABLED: 0x06,
  F_TRANSL_FORBIDDEN: 0x07,
  C_BAD_SUBSTREAMID: 0x08,
  F_CD_FETCH: 0x09,
  C_BAD_CD: 0x0a,
  F_WALK_EABT: 0x0b,
  F_TRANSLATION: 0x10,
  F_ADDR_SIZE: 0x11,
  F_ACCESS: 0x12,
  F_PERMISSION: 0x13,
  F_TLB_CONFLICT: 0x20,
  F_CFG_CONFLICT: 0x21,
  E_PAGE_REQUEST: 0x24,
  F_VMS_FETCH: 0x25,
} as const;

export type EventName = keyof typeof EVENT;

/** CLASS: the operation that a fault befell: fetch of a CD, of a stage 1 descriptor, or the input address itself. */
export type FaultClass = "CD" | "TT" | "IN";

/** One event. Which fields an event has, section 7.3 says; a field that it has and that is not given is zero. */
export interface EventRecord {
  /** Event number, one of EVENT. */
  readonly code: number;
  readonly sid: number;
  /** SubstreamID, if the transaction had one. C_BAD_SUBSTREAMID always has it. */
  readonly ssid?: number;
  /** Implementation defined cause. */
  readonly reason?: number;
  /** Granule Protection Check fault. */
  readonly gpcf?: boolean;
  /** The transaction is stalled, and what CMD_RESUME names it by. */
  readonly stall?: boolean;
  readonly stag?: number;
  readonly nsipa?: boolean;
  /** Privileged, instruction, read: the input transaction after the overrides of the STE. */
  readonly pnu?: boolean;
  readonly ind?: boolean;
  readonly rnw?: boolean;
  /** The fault is one of stage 2. */
  readonly s2?: boolean;
  readonly class?: FaultClass;
  readonly assuredOnly?: boolean;
  readonly dirtyBit?: boolean;
  /** With class TT: a read of the stage 1 descriptor, not an update, lacked permission. */
  readonly ttRnW?: boolean;
  readonly overlay?: boolean;
  readonly implementationDefined?: number;
  /** Input address; its page only in F_BAD_ATS_TREQ and E_PAGE_REQUEST. */
  readonly inputAddr?: bigint;
  /** Page of the intermediate address, valid with `s2`. */
  readonly ipa?: bigint;
  /** Physical address of the fetch, 8-byte aligned. */
  readonly fetchAddr?: bigint;
  /** STUs of an ATS request, or pages of a page request. */
  readonly span?: number;
  /** Access that an ATS request asked for. */
  readonly privileged?: boolean;
  readonly execute?: boolean;
  readonly write?: boolean;
  readonly read?: boolean;
  /** Access that a page request expects, unprivileged and privileged. */
  readonly uX?: boolean;
  readonly uW?: boolean;
  readonly uR?: boolean;
  readonly pX?: boolean;
  readonly pW?: boolean;
  readonly pR?: boolean;
}

type FieldName = Exclude<keyof EventRecord, "code" | "sid" | "ssid">;

/** Where a field is among the 256 bits. An address keeps its bits `high` to `low`; bit 0 of it would be at `base`. */
type Place =
  | { readonly kind: "number"; readonly low: number; readonly width: number }
  | { readonly kind: "flag"; readonly low: number }
  | { readonly kind: "class"; readonly low: number }
  | { readonly kind: "address"; readonly base: number; readonly high: number; readonly low: number };

type Places = Readonly<Partial<Record<FieldName, Place>>>;

function number(low: number, width: number): Place {
  return { kind: "number", low, width };
}

function flag(low: number): Place {
  return { kind: "flag", low };
}

const CLASSES = ["CD", "TT", "IN"] as const;

const INPUT_ADDRESS: Places = { inputAddr: { kind: "address", base: 128, high: 63, low: 0 } };
const INPUT_PAGE: Places = { inputAddr: { kind: "address", base: 128, high: 63, low: 12 } };
const IPA: Places = { ipa: { kind: "address", base: 192, high: 55, low: 12 } };
const ACCESS: Places = { pnu: flag(97), ind: flag(98), rnw: flag(99) };
const FETCH: Places = {
  reason: number(64, 16),
  gpcf: flag(80),
  fetchAddr: { kind: "address", base: 192, high: 55, low: 3 },
};
const STAGE: Places = { s2: flag(103), class: { kind: "class", low: 104 } };
const TRANSLATION: Places = {
  stag: number(64, 16),
  stall: flag(95),
  nsipa: flag(96),
  ...ACCESS,
  ...STAGE,
  implementationDefined: number(112, 16),
  ...INPUT_ADDRESS,
  ...IPA,
};

const FIELDS: Readonly<Record<EventName, Places>> = {
  F_UUT: { reason: number(64, 16), ...ACCESS, ...INPUT_ADDRESS },
  C_BAD_STREAMID: {},
  F_STE_FETCH: FETCH,
  C_BAD_STE: {},
  F_BAD_ATS_TREQ: {
    span: number(64, 4),
    privileged: flag(92),
    execute: flag(93),
    write: flag(94),
    read: flag(95),
    ...INPUT_PAGE,
  },
  F_STREAM_DISABLED: {},
  F_TRANSL_FORBIDDEN: { rnw: flag(99), ...INPUT_ADDRESS },
  C_BAD_SUBSTREAMID: {},
  F_CD_FETCH: FETCH,
  C_BAD_CD: {},
  F_WALK_EABT: { ...FETCH, ...ACCESS, ...STAGE, ...INPUT_ADDRESS },
  F_TRANSLATION: TRANSLATION,
  F_ADDR_SIZE: TRANSLATION,
  F_ACCESS: TRANSLATION,
  F_PERMISSION: {
    ...TRANSLATION,
    assuredOnly: flag(106),
    dirtyBit: flag(107),
    ttRnW: flag(108),
    overlay: flag(109),
  },
  F_TLB_CONFLICT: { reason: number(64, 32), ...ACCESS, s2: flag(103), ...INPUT_ADDRESS, ...IPA },
  F_CFG_CONFLICT: { reason: number(64, 32) },
  E_PAGE_REQUEST: {
    uX: flag(97),
    uW: flag(98),
    uR: flag(99),
    pX: flag(101),
    pW: flag(102),
    pR: flag(103),
    span: number(108, 8),
    ...INPUT_PAGE,
  },
  F_VMS_FETCH: FETCH,
};

/** Fields of every event. */
const CODE = number(0, 8);
const SSV = 11n;
const SSID = number(12, 20);
const SID = number(32, 32);

const NAMES: ReadonlyMap<number, EventName> = new Map(
  (Object.entries(EVENT) as [EventName, number][]).map(([name, code]) => [code, name]),
);
const FIRST_IMPLEMENTATION_DEFINED = 0xe0;
const LAST_IMPLEMENTATION_DEFINED = 0xef;

const WORDS = 4;
const WORD_BITS = 64;

/** The specification's name of an event number, or what the specification says of it. */
export function eventName(code: number): EventName | "IMPDEF_EVENT" | "reserved" {
  const name = NAMES.get(code);
  if (name) return name;
  return code >= FIRST_IMPLEMENTATION_DEFINED && code <= LAST_IMPLEMENTATION_DEFINED ? "IMPDEF_EVENT" : "reserved";
}

/**
 * The record of an event, 4 words of 64 bits, lowest address first. Address bits that the record has no place for below are
 * left out. Throws `invalid` for an event that is not architected, and for a field that the event has not or that does not
 * fit.
 */
export function encodeEvent(event: EventRecord): readonly bigint[] {
  const { code, sid, ssid, ...fields } = event;
  const name = NAMES.get(code);
  if (!name) throw new IommuError("invalid", `record event ${code}`, undefined, "no such event");
  const set = (field: string, place: Place, value: unknown) => encodeField(name, field, place, value);
  let record = set("code", CODE, code) | set("sid", SID, sid);
  if (ssid !== undefined) record |= set("ssid", SSID, ssid);
  if (ssid !== undefined && name !== "C_BAD_SUBSTREAMID") record |= 1n << SSV;
  for (const [field, value] of Object.entries(fields)) {
    if (value === undefined) continue;
    const place = FIELDS[name][field as FieldName];
    if (!place) throw new IommuError("invalid", `record ${name} with ${field}`, undefined, "it has no such field");
    record |= set(field, place, value);
  }
  return Array.from({ length: WORDS }, (_, i) => BigInt.asUintN(WORD_BITS, record >> BigInt(WORD_BITS * i)));
}

/** The event that a record holds. Of events that are not architected only the number and who caused them is said. */
export function decodeEvent(words: readonly bigint[]): EventRecord {
  const record = words.reduceRight((value, word) => (value << BigInt(WORD_BITS)) | word, 0n);
  const code = Number(decodeField(CODE, record));
  const name = NAMES.get(code);
  const hasSsid = name === "C_BAD_SUBSTREAMID" || ((record >> SSV) & 1n) === 1n;
  const fields = Object.entries(name ? FIELDS[name] : {}).map(([field, place]) => [field, decodeField(place, record)]);
  return {
    code,
    sid: Number(decodeField(SID, record)),
    ...(hasSsid && { ssid: Number(decodeField(SSID, record)) }),
    ...Object.fromEntries(fields),
  };
}

function encodeField(name: EventName, field: string, place: Place, value: unknown): bigint {
  const refuse = (explanation: string) =>
    new IommuError("invalid", `record ${name} with ${field} ${String(value)}`, undefined, explanation);
  switch (place.kind) {
    case "number":
      if (!Number.isInteger(value) || Number(value) < 0 || Number(value) >= 2 ** place.width) {
        throw refuse(`it has ${place.width} bits`);
      }
      return BigInt(Number(value)) << BigInt(place.low);
    case "flag":
      if (typeof value !== "boolean") throw refuse("it is true or false");
      return value ? 1n << BigInt(place.low) : 0n;
    case "class": {
      const index = (CLASSES as readonly unknown[]).indexOf(value);
      if (index < 0) throw refuse(`one of ${CLASSES.join(", ")}`);
      return BigInt(index) << BigInt(place.low);
    }
    case "address":
      if (typeof value !== "bigint" || BigInt.asUintN(place.high + 1, value) !== value) {
        throw refuse(`an address of ${place.high + 1} bits`);
      }
      return ((value >> BigInt(place.low)) << BigInt(place.low)) << BigInt(place.base);
  }
}

function decodeField(place: Place, record: bigint): number | boolean | bigint | FaultClass | undefined {
  switch (place.kind) {
    case "number":
      return Number(BigInt.asUintN(place.width, record >> BigInt(place.low)));
    case "flag":
      return ((record >> BigInt(place.low)) & 1n) === 1n;
    case "class":
      // 11b is reserved.
      return CLASSES[Number((record >> BigInt(place.low)) & 3n)];
    case "address": {
      const address = BigInt.asUintN(place.high + 1, record >> BigInt(place.base));
      return (address >> BigInt(place.low)) << BigInt(place.low);
    }
  }
}
