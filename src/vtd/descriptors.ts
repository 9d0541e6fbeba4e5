/**
 * Descriptors of the invalidation queue: Intel VT-d Architecture Specification Rev. 5.10, sections 6.5.2.1 to 6.5.2.9 and
 * 7.6.1. Every format lists its fields; a bit that no field covers is reserved and must be zero.
 */
import { type BitFields, type FieldValues, unpack } from "../unit/bit-fields.js";
import type { Capabilities } from "./capabilities.js";
import type {
  ContextCacheInvalidation,
  DeviceTlbInvalidation,
  InterruptEntryInvalidation,
  IotlbInvalidation,
  PasidCacheInvalidation,
  PasidIotlbInvalidation,
} from "./invalidation.js";
import { TTM } from "./table-mode.js";

/** Invalidation Queue Error Info of IQERCD_REG (section 11.4.9.9). */
export const IQEI = {
  INVALID_TAIL: 1,
  FETCH_ERROR: 2,
  INVALID_TYPE: 3,
  RESERVED_FIELD: 4,
  INVALID_WIDTH: 5,
  TAIL_MISALIGNED: 6,
  INVALID_TTM: 7,
} as const;

export type QueueErrorInfo = (typeof IQEI)[keyof typeof IQEI];

/** Invalidation wait (section 6.5.2.9). */
export interface InvalidationWait {
  /** The 32-bit word to write when it completes, or null. */
  readonly statusWrite: { readonly address: bigint; readonly data: number } | null;
  readonly interrupt: boolean;
}

/** Answer of software to a page request (section 7.6.1), to be sent to the device. */
export interface PageGroupResponse {
  readonly rid: number;
  readonly pasid: number | null;
  readonly pageRequestGroupIndex: number;
  /** 0 success, 1 invalid request, 15 response failure. */
  readonly responseCode: number;
}

export type Descriptor =
  | { readonly kind: "context-cache"; readonly request: ContextCacheInvalidation }
  | { readonly kind: "pasid-cache"; readonly request: PasidCacheInvalidation }
  | { readonly kind: "iotlb"; readonly request: IotlbInvalidation }
  | { readonly kind: "pasid-iotlb"; readonly request: PasidIotlbInvalidation }
  | { readonly kind: "device-tlb"; readonly request: DeviceTlbInvalidation }
  | { readonly kind: "interrupt-entry-cache"; readonly request: InterruptEntryInvalidation }
  | { readonly kind: "page-group-response"; readonly response: PageGroupResponse }
  | { readonly kind: "hpt-cache" }
  | { readonly kind: "wait"; readonly wait: InvalidationWait };

interface Format {
  /** Fields of the first two 64-bit words. */
  readonly fields: readonly [BitFields, BitFields];
  /** Null when a field holds a reserved value. */
  decode(first: bigint, second: bigint, capabilities: Capabilities): Descriptor | null;
  /** Absent: every unit with a queue knows the type. */
  isSupported?(capabilities: Capabilities): boolean;
  /** Fields of the first word that are reserved on this unit. */
  unsupportedFields?(capabilities: Capabilities): readonly string[];
}

/** A format whose `decode` is handed the fields by name, and the bits 63:12 of the second word where an address is. */
function format<First extends BitFields, Second extends BitFields>(
  first: First,
  second: Second,
  decode: (
    fields: FieldValues<First> & FieldValues<Second>,
    capabilities: Capabilities,
    address: bigint,
    secondWord: bigint,
  ) => Descriptor | null,
  rules: Pick<Format, "isSupported" | "unsupportedFields"> = {},
): Format {
  return {
    fields: [first, second],
    decode: (firstWord, secondWord, capabilities) => {
      const fields = { ...unpack(first, firstWord), ...unpack(second, secondWord) };
      return decode(fields, capabilities, secondWord & ~0xfffn, secondWord);
    },
    ...rules,
  };
}

/** The type is {bits 11:9, bits 3:0}. */
const TYPE = { TYPE_LOW: [0, 4], TYPE_HIGH: [9, 3] } as const;

const contextCache = format(
  { ...TYPE, G: [4, 2], DID: [16, 16], SID: [32, 16], FM: [48, 2] } as const,
  {},
  ({ G, DID, SID, FM }, { domainBits }) => {
    const granularity = ([null, "global", "domain", "device"] as const)[G];
    if (!granularity) return null;
    const domain = truncate(DID, domainBits);
    return { kind: "context-cache", request: { granularity, domain, sid: SID, functionMask: FM } };
  },
);

const iotlb = format(
  { ...TYPE, G: [4, 2], DW: [6, 1], DR: [7, 1], DID: [16, 16] } as const,
  { AM: [0, 6], IH: [6, 1], ADDR: [12, 52] } as const,
  ({ G, DID, AM, IH }, { cap, domainBits, mgaw }, address) => {
    const granularity = ([null, "global", "domain", "page"] as const)[G];
    if (!granularity) return null;
    if (granularity === "page" && (cap.PSI === 0 || AM > cap.MAMV)) return null;
    return {
      kind: "iotlb",
      request: {
        granularity,
        domain: truncate(DID, domainBits),
        address: BigInt.asUintN(mgaw, address),
        addressMask: AM,
        leafOnly: IH === 1,
      },
    };
  },
);

const deviceTlb = format(
  { ...TYPE, PFSID_LOW: [12, 4], MIP: [16, 5], SID: [32, 16], PFSID_HIGH: [52, 12] } as const,
  { S: [0, 1], ADDR: [12, 52] } as const,
  ({ SID, S }, _capabilities, address) => ({
    kind: "device-tlb",
    request: { sid: SID, pasid: null, ...deviceTlbRange(address, S === 1) },
  }),
  { isSupported: hasDeviceTlbs, unsupportedFields: physicalFunctionFields },
);

/** IM may exceed ECAP.MHMV: the specification names no error for it, and a wider mask drops no less. */
const interruptEntryCache = format(
  { ...TYPE, G: [4, 1], IM: [27, 5], IIDX: [32, 16] } as const,
  {},
  ({ G, IM, IIDX }) => ({
    kind: "interrupt-entry-cache",
    request: { granularity: G === 1 ? "index" : "global", index: IIDX, indexMask: IM },
  }),
);

/** FN and PD ask for an order that a queue which finishes one descriptor before the next always keeps. */
const wait = format(
  { ...TYPE, IF: [4, 1], SW: [5, 1], FN: [6, 1], PD: [7, 1], STATUS_DATA: [32, 32] } as const,
  { STATUS_ADDRESS: [2, 62] } as const,
  ({ IF, SW, STATUS_DATA }, { haw }, _address, secondWord) => {
    const statusWrite = SW === 1 ? { address: BigInt.asUintN(haw, secondWord), data: STATUS_DATA } : null;
    return { kind: "wait", wait: { statusWrite, interrupt: IF === 1 } };
  },
  { unsupportedFields: ({ ecap }) => (ecap.PDS === 1 ? [] : ["PD"]) },
);

/** Units with scalable mode take every AM here, whatever CAP.MAMV and CAP.PSI say (section 11.4.2). */
const pasidIotlb = format(
  { ...TYPE, G: [4, 2], DID: [16, 16], PASID: [32, 20] } as const,
  { AM: [0, 6], IH: [6, 1], ADDR: [12, 52] } as const,
  ({ G, DID, PASID, AM, IH }, { domainBits }, address) => {
    const granularity = ([null, null, "pasid", "page"] as const)[G];
    if (!granularity) return null;
    const domain = truncate(DID, domainBits);
    return {
      kind: "pasid-iotlb",
      request: { granularity, domain, pasid: PASID, address, addressMask: AM, leafOnly: IH === 1 },
    };
  },
);

const pasidCache = format(
  { ...TYPE, G: [4, 2], DID: [16, 16], PASID: [32, 20] } as const,
  {},
  ({ G, DID, PASID }, { domainBits }) => {
    const granularity = (["domain", "pasid", null, "global"] as const)[G];
    if (!granularity) return null;
    return { kind: "pasid-cache", request: { granularity, domain: truncate(DID, domainBits), pasid: PASID } };
  },
);

const pasidDeviceTlb = format(
  { ...TYPE, MIP: [4, 5], PFSID_LOW: [12, 4], SID: [16, 16], PASID: [32, 20], PFSID_HIGH: [52, 12] } as const,
  { GI: [0, 1], S: [11, 1], ADDR: [12, 52] } as const,
  ({ SID, PASID, GI, S }, _capabilities, address) => ({
    kind: "device-tlb",
    request: { sid: SID, pasid: PASID, ...deviceTlbRange(address, S === 1), globalInvalidate: GI === 1 },
  }),
  { isSupported: hasDeviceTlbs, unsupportedFields: physicalFunctionFields },
);

const pageGroupResponse = format(
  { ...TYPE, PP: [4, 1], RC: [12, 4], RID: [16, 16], PASID: [32, 20] } as const,
  { IGN: [2, 1], PRGI: [3, 9] } as const,
  ({ PP, RC, RID, PASID, PRGI }) => {
    const pasid = PP === 1 ? PASID : null;
    return {
      kind: "page-group-response",
      response: { rid: RID, pasid, pageRequestGroupIndex: PRGI, responseCode: RC },
    };
  },
  { isSupported: ({ ecap }) => ecap.PRS === 1 },
);

/** HPT Support, ECAP_REG (section 11.4.3). */
const HPTS_BIT = 55n;

const hptCache = format(
  { ...TYPE, G: [4, 2], HPTDID: [16, 16] } as const,
  { AM: [0, 6], IH: [6, 2], ADDR: [12, 52] } as const,
  ({ G }) => (G === 0 ? null : { kind: "hpt-cache" }),
  { isSupported: ({ ecapRegister }) => ((ecapRegister >> HPTS_BIT) & 1n) === 1n },
);

const FORMATS: ReadonlyMap<number, Format> = new Map([
  [0x1, contextCache],
  [0x2, iotlb],
  [0x3, deviceTlb],
  [0x4, interruptEntryCache],
  [0x5, wait],
  [0x6, pasidIotlb],
  [0x7, pasidCache],
  [0x8, pasidDeviceTlb],
  [0x9, pageGroupResponse],
  [0xa, hptCache],
]);

/** Table 26: the highest type that legacy mode knows. The widths of Table 26 are IQEI 5, which the queue checks. */
const LAST_LEGACY_TYPE = 0x5;

/**
 * Decodes a descriptor of two or four 64-bit words. Bits of domain IDs, addresses and status addresses that the unit does
 * not implement are ignored, as the specification wants.
 */
export function decodeDescriptor(
  words: readonly bigint[],
  capabilities: Capabilities,
  ttm: number,
): Descriptor | QueueErrorInfo {
  const [first, second] = words;
  const { TYPE_LOW, TYPE_HIGH } = unpack(TYPE, first);
  const type = (TYPE_HIGH << 4) | TYPE_LOW;
  const format = FORMATS.get(type);
  if (!format || !(format.isSupported?.(capabilities) ?? true)) return IQEI.INVALID_TYPE;
  if (type > LAST_LEGACY_TYPE && ttm === TTM.LEGACY) return IQEI.INVALID_TYPE;

  const unsupported = format.unsupportedFields?.(capabilities) ?? [];
  const reserved =
    (first & ~covered(format.fields[0], unsupported)) |
    (second & ~covered(format.fields[1], [])) |
    words.slice(2).reduce((all, word) => all | word, 0n);
  if (reserved !== 0n) return IQEI.RESERVED_FIELD;
  return format.decode(first, second, capabilities) ?? IQEI.RESERVED_FIELD;
}

/** The bits of a word that its fields cover. */
function covered(fields: BitFields, without: readonly string[]): bigint {
  let mask = 0n;
  for (const [name, [low, width]] of Object.entries(fields)) {
    if (!without.includes(name)) mask |= ((1n << BigInt(width)) - 1n) << BigInt(low);
  }
  return mask;
}

function hasDeviceTlbs({ ecap }: Capabilities): boolean {
  return ecap.DT === 1;
}

/** The physical function's source ID is reserved without Device-TLB Invalidation Throttling. */
function physicalFunctionFields({ ecap }: Capabilities): readonly string[] {
  return ecap.DIT === 1 ? [] : ["PFSID_LOW", "PFSID_HIGH"];
}

/** A domain ID without the bits that the unit ignores (CAP.ND). */
export function truncate(domain: number, domainBits: number): number {
  return domain & ((1 << domainBits) - 1);
}

/**
 * The range that a device-TLB is to drop. S clear: one page. S set: the lowest clear bit of the address, from bit 12, is the
 * highest bit within the range; bit 63 marks everything, and all ones mean the same.
 */
function deviceTlbRange(address: bigint, s: boolean): { address: bigint; size: bigint | null } {
  let sizeBits = 12n;
  if (s) {
    while (sizeBits < 63n && ((address >> sizeBits) & 1n) === 1n) sizeBits++;
    if (sizeBits === 63n) return { address: 0n, size: null };
    sizeBits++;
  }
  const size = 1n << sizeBits;
  return { address: address & -size & 0xffff_ffff_ffff_ffffn, size };
}
