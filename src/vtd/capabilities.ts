/**
 * What a remapping unit can do: the Capability and Extended Capability Registers, Intel VT-d Architecture Specification
 * Rev. 5.10, sections 11.4.2 and 11.4.3.
 */
import { IommuError } from "../engine/errors.js";
import { type BitFields, type FieldValues, pack, unpack } from "../unit/bit-fields.js";

/** Capability Register, offset 008h. */
export const CAP_FIELDS = {
  ND: [0, 3],
  AFL: [3, 1],
  RWBF: [4, 1],
  PLMR: [5, 1],
  PHMR: [6, 1],
  CM: [7, 1],
  SAGAW: [8, 5],
  MGAW: [16, 6],
  ZLR: [22, 1],
  FRO: [24, 10],
  SSLPS: [34, 4],
  PSI: [39, 1],
  NFR: [40, 8],
  MAMV: [48, 6],
  DWD: [54, 1],
  DRD: [55, 1],
  FS1GP: [56, 1],
  PI: [59, 1],
  FS5LP: [60, 1],
  ECMDS: [61, 1],
  ESIRTPS: [62, 1],
  ESRTPS: [63, 1],
} as const satisfies BitFields;

/** Extended Capability Register, offset 010h. */
export const ECAP_FIELDS = {
  C: [0, 1],
  QI: [1, 1],
  DT: [2, 1],
  IR: [3, 1],
  EIM: [4, 1],
  PT: [6, 1],
  SC: [7, 1],
  IRO: [8, 10],
  MHMV: [20, 4],
  MTS: [25, 1],
  NEST: [26, 1],
  PRS: [29, 1],
  ERS: [30, 1],
  SRS: [31, 1],
  NWFS: [33, 1],
  EAFS: [34, 1],
  PSS: [35, 5],
  PASID: [40, 1],
  DIT: [41, 1],
  PDS: [42, 1],
  SMTS: [43, 1],
  VCS: [44, 1],
  SSADS: [45, 1],
  SSTS: [46, 1],
  FSTS: [47, 1],
  SMPWCS: [48, 1],
  RPS: [49, 1],
  PMS: [51, 1],
  ADMS: [52, 1],
  RPRIVS: [53, 1],
} as const satisfies BitFields;

/** Every field of CAP and ECAP as a number, by the specification's name, and what follows from them. */
export interface Capabilities {
  readonly cap: FieldValues<typeof CAP_FIELDS>;
  readonly ecap: FieldValues<typeof ECAP_FIELDS>;
  readonly capRegister: bigint;
  readonly ecapRegister: bigint;
  /** Major and minor version (VER_REG). */
  readonly version: { readonly major: number; readonly minor: number };
  /** Host address width, bits. */
  readonly haw: number;
  /** Maximum guest address width, bits: CAP.MGAW + 1. */
  readonly mgaw: number;
  /** Width of a domain ID, bits: 4 + 2 x ND. */
  readonly domainBits: number;
  /** Byte offsets of the first fault recording register and of the IOTLB invalidate registers. */
  readonly faultRecordOffset: number;
  readonly iotlbOffset: number;
  /** How many fault recording registers there are: NFR + 1. */
  readonly faultRecords: number;
  /** Leaf sizes of the second stage and of the first, bit n = 2^n bytes. */
  readonly secondStagePageSizes: bigint;
  readonly firstStagePageSizes: bigint;
}

/** How to make a unit: registers as read from hardware, or fields that differ from the default unit. */
export interface CapabilityOptions {
  /** CAP_REG and ECAP_REG as read; the named fields below change them further. */
  readonly capRegister?: bigint;
  readonly ecapRegister?: bigint;
  readonly cap?: Partial<FieldValues<typeof CAP_FIELDS>>;
  readonly ecap?: Partial<FieldValues<typeof ECAP_FIELDS>>;
  /** Host address width, bits; default: MGAW + 1, at most 52. */
  readonly haw?: number;
  /** Default 5.0: the newest major version with register-based invalidation (section 6.5.1). */
  readonly version?: { readonly major: number; readonly minor: number };
}

/** A complete scalable-mode unit: 3 to 5 levels, all page sizes, nesting, PASIDs, 8 fault records, queued invalidation. */
const DEFAULT_CAP: FieldValues<typeof CAP_FIELDS> = {
  ND: 6,
  AFL: 0,
  RWBF: 0,
  PLMR: 1,
  PHMR: 1,
  CM: 0,
  SAGAW: 0b01110,
  MGAW: 56,
  ZLR: 1,
  FRO: 0x40,
  SSLPS: 0b0011,
  PSI: 1,
  NFR: 7,
  MAMV: 18,
  DWD: 1,
  DRD: 1,
  FS1GP: 1,
  PI: 0,
  FS5LP: 1,
  ECMDS: 0,
  ESIRTPS: 0,
  ESRTPS: 0,
};

const DEFAULT_ECAP: FieldValues<typeof ECAP_FIELDS> = {
  C: 1,
  QI: 1,
  DT: 1,
  IR: 0,
  EIM: 0,
  PT: 1,
  SC: 1,
  IRO: 0x50,
  MHMV: 0,
  MTS: 0,
  NEST: 1,
  PRS: 0,
  ERS: 0,
  SRS: 1,
  NWFS: 0,
  EAFS: 1,
  PSS: 19,
  PASID: 1,
  DIT: 0,
  PDS: 0,
  SMTS: 1,
  VCS: 0,
  SSADS: 1,
  SSTS: 1,
  FSTS: 1,
  SMPWCS: 1,
  RPS: 1,
  PMS: 0,
  ADMS: 1,
  RPRIVS: 1,
};

const PAGE_4K = 1n << 12n;
const PAGE_2M = 1n << 21n;
const PAGE_1G = 1n << 30n;

/** Works out the capabilities of a unit. Throws `invalid` for a field out of its range or an impossible width. */
export function makeCapabilities(options: CapabilityOptions = {}): Capabilities {
  const capRegister = pack(
    "capability",
    CAP_FIELDS,
    options.capRegister ?? pack("capability", CAP_FIELDS, 0n, DEFAULT_CAP),
    options.cap ?? {},
  );
  const ecapRegister = pack(
    "capability",
    ECAP_FIELDS,
    options.ecapRegister ?? pack("capability", ECAP_FIELDS, 0n, DEFAULT_ECAP),
    options.ecap ?? {},
  );
  const cap = unpack(CAP_FIELDS, capRegister);
  const ecap = unpack(ECAP_FIELDS, ecapRegister);
  const mgaw = cap.MGAW + 1;
  const haw = options.haw ?? Math.min(Math.max(mgaw, 32), 52);
  if (haw < 32 || haw > 52) throw new IommuError("invalid", `host address width ${haw}`, undefined, "32 to 52 bits");
  return {
    cap,
    ecap,
    capRegister,
    ecapRegister,
    version: options.version ?? { major: 5, minor: 0 },
    haw,
    mgaw,
    domainBits: 4 + 2 * cap.ND,
    faultRecordOffset: cap.FRO * 16,
    iotlbOffset: ecap.IRO * 16,
    faultRecords: cap.NFR + 1,
    secondStagePageSizes: PAGE_4K | (cap.SSLPS & 1 ? PAGE_2M : 0n) | (cap.SSLPS & 2 ? PAGE_1G : 0n),
    firstStagePageSizes: PAGE_4K | PAGE_2M | (cap.FS1GP ? PAGE_1G : 0n),
  };
}
