/**
 * What an SMMU can do: the identification registers, Arm SMMU Architecture Specification version 3 (IHI 0070 G.b), sections
 * 6.3.1 to 6.3.8.
 */
import { IommuError } from "../engine/errors.js";
import { type BitFields, type FieldValues, pack, unpack } from "../unit/bit-fields.js";

/** SMMU_IDR0, section 6.3.1. */
export const IDR0_FIELDS = {
  S2P: [0, 1],
  S1P: [1, 1],
  TTF: [2, 2],
  COHACC: [4, 1],
  BTM: [5, 1],
  HTTU: [6, 2],
  DORMHINT: [8, 1],
  Hyp: [9, 1],
  ATS: [10, 1],
  NS1ATS: [11, 1],
  ASID16: [12, 1],
  MSI: [13, 1],
  SEV: [14, 1],
  ATOS: [15, 1],
  PRI: [16, 1],
  VMW: [17, 1],
  VMID16: [18, 1],
  CD2L: [19, 1],
  VATOS: [20, 1],
  TTENDIAN: [21, 2],
  ATSRECERR: [23, 1],
  STALL_MODEL: [24, 2],
  TERM_MODEL: [26, 1],
  ST_LEVEL: [27, 2],
  RME_IMPL: [30, 1],
} as const satisfies BitFields;

/** SMMU_IDR1, section 6.3.2. */
export const IDR1_FIELDS = {
  SIDSIZE: [0, 6],
  SSIDSIZE: [6, 5],
  PRIQS: [11, 5],
  EVENTQS: [16, 5],
  CMDQS: [21, 5],
  ATTR_PERMS_OVR: [26, 1],
  ATTR_TYPES_OVR: [27, 1],
  REL: [28, 1],
  QUEUES_PRESET: [29, 1],
  TABLES_PRESET: [30, 1],
  ECMDQ: [31, 1],
} as const satisfies BitFields;

/** SMMU_IDR3, section 6.3.4. */
export const IDR3_FIELDS = {
  HAD: [2, 1],
  PBHA: [3, 1],
  XNX: [4, 1],
  PPS: [5, 1],
  MPAM: [7, 1],
  FWB: [8, 1],
  STT: [9, 1],
  RIL: [10, 1],
  BBML: [11, 2],
  E0PD: [13, 1],
  PTWNNC: [14, 1],
  DPT: [15, 1],
  PASIDTT: [16, 1],
  EPAN: [17, 1],
  S1PI: [18, 1],
  S2PI: [19, 1],
  S2PO: [20, 1],
  THE: [21, 1],
  MTEPERM: [22, 1],
  AIE: [23, 1],
} as const satisfies BitFields;

/** SMMU_IDR5, section 6.3.6. */
export const IDR5_FIELDS = {
  OAS: [0, 3],
  GRAN4K: [4, 1],
  GRAN16K: [5, 1],
  GRAN64K: [6, 1],
  DS: [7, 1],
  D128: [8, 1],
  VAX: [10, 2],
  STALL_MAX: [16, 16],
} as const satisfies BitFields;

/** SMMU_AIDR, section 6.3.8: version 3.ArchMinorRev. */
export const AIDR_FIELDS = { ArchMinorRev: [0, 4], ArchMajorRev: [4, 4] } as const satisfies BitFields;

/** The identification registers in the order of their offsets, from 000h on. */
export const IDENTIFICATION_REGISTERS = ["IDR0", "IDR1", "IDR2", "IDR3", "IDR4", "IDR5", "IIDR", "AIDR"] as const;

export type IdentificationRegister = (typeof IDENTIFICATION_REGISTERS)[number];

/** Every field of the identification registers as a number, by the specification's name, and what follows from them. */
export interface Identification {
  readonly idr0: FieldValues<typeof IDR0_FIELDS>;
  readonly idr1: FieldValues<typeof IDR1_FIELDS>;
  readonly idr3: FieldValues<typeof IDR3_FIELDS>;
  readonly idr5: FieldValues<typeof IDR5_FIELDS>;
  readonly aidr: FieldValues<typeof AIDR_FIELDS>;
  readonly registers: Readonly<Record<IdentificationRegister, bigint>>;
  /** Output address size, bits. */
  readonly oasBits: number;
  /** Intermediate address size, bits (section 3.4). */
  readonly iasBits: number;
  /** Widths of StreamIDs and SubstreamIDs, bits; 0: one stream, or no substreams. */
  readonly sidBits: number;
  readonly ssidBits: number;
  /** Translation granules, bit n = 2^n bytes. */
  readonly granules: bigint;
}

/** How to make a unit: registers as read from hardware, or fields that differ from the default unit. */
export interface IdentificationOptions {
  /** Registers as read; the named fields below change them further. */
  readonly registers?: Partial<Record<IdentificationRegister, bigint>>;
  readonly idr0?: Partial<FieldValues<typeof IDR0_FIELDS>>;
  readonly idr1?: Partial<FieldValues<typeof IDR1_FIELDS>>;
  readonly idr3?: Partial<FieldValues<typeof IDR3_FIELDS>>;
  readonly idr5?: Partial<FieldValues<typeof IDR5_FIELDS>>;
  readonly aidr?: Partial<FieldValues<typeof AIDR_FIELDS>>;
}

/** A complete SMMUv3.3 with both stages, every granule, substreams, ATS, stalls and hardware update of flags. */
const DEFAULT_IDR0: FieldValues<typeof IDR0_FIELDS> = {
  S2P: 1,
  S1P: 1,
  TTF: 0b10,
  COHACC: 1,
  BTM: 0,
  HTTU: 0b10,
  DORMHINT: 0,
  Hyp: 1,
  ATS: 1,
  NS1ATS: 0,
  ASID16: 1,
  MSI: 1,
  SEV: 1,
  ATOS: 0,
  PRI: 0,
  VMW: 0,
  VMID16: 1,
  CD2L: 1,
  VATOS: 0,
  TTENDIAN: 0b10,
  ATSRECERR: 1,
  STALL_MODEL: 0b00,
  TERM_MODEL: 0,
  ST_LEVEL: 0b01,
  RME_IMPL: 0,
};

const DEFAULT_IDR1: FieldValues<typeof IDR1_FIELDS> = {
  SIDSIZE: 16,
  SSIDSIZE: 20,
  PRIQS: 19,
  EVENTQS: 19,
  CMDQS: 19,
  ATTR_PERMS_OVR: 1,
  ATTR_TYPES_OVR: 1,
  REL: 0,
  QUEUES_PRESET: 0,
  TABLES_PRESET: 0,
  ECMDQ: 0,
};

const DEFAULT_IDR3: FieldValues<typeof IDR3_FIELDS> = {
  HAD: 1,
  PBHA: 0,
  XNX: 1,
  PPS: 0,
  MPAM: 0,
  FWB: 1,
  STT: 0,
  RIL: 1,
  BBML: 0b10,
  E0PD: 1,
  PTWNNC: 1,
  DPT: 0,
  PASIDTT: 0,
  EPAN: 0,
  S1PI: 0,
  S2PI: 0,
  S2PO: 0,
  THE: 0,
  MTEPERM: 0,
  AIE: 0,
};

const DEFAULT_IDR5: FieldValues<typeof IDR5_FIELDS> = {
  OAS: 5,
  GRAN4K: 1,
  GRAN16K: 1,
  GRAN64K: 1,
  DS: 0,
  D128: 0,
  VAX: 0,
  STALL_MAX: 0xffff,
};

const DEFAULT_AIDR: FieldValues<typeof AIDR_FIELDS> = { ArchMinorRev: 3, ArchMajorRev: 0 };

/** Bits by the value of IDR5.OAS. */
const ADDRESS_SIZES = [32, 36, 40, 42, 44, 48, 52, 56] as const;
/** VMSAv8-32 LPAE tables, IDR0.TTF bit 0, have 40-bit intermediate addresses. */
const LPAE = 1;
const LPAE_BITS = 40;

const PAGE_4K = 1n << 12n;
const PAGE_16K = 1n << 14n;
const PAGE_64K = 1n << 16n;

/** Most that fields may say, where they have room for more. */
const LIMITS = { SIDSIZE: 32, SSIDSIZE: 20, PRIQS: 19, EVENTQS: 19, CMDQS: 19 } as const;

/** Works out what a unit can do. Throws `invalid` for a field or a register out of its range. */
export function makeIdentification(options: IdentificationOptions = {}): Identification {
  const given = options.registers ?? {};
  for (const [name, value] of Object.entries(given)) {
    if (BigInt.asUintN(32, value) === value) continue;
    throw new IommuError("invalid", `identification register ${name}=${value}`, undefined, "it has 32 bits");
  }
  const register = <F extends BitFields>(
    name: IdentificationRegister,
    fields: F,
    defaults: FieldValues<F>,
    changes: Partial<FieldValues<F>> | undefined,
  ) => pack(name, fields, given[name] ?? pack(name, fields, 0n, defaults), changes ?? {});
  const registers = {
    IDR0: register("IDR0", IDR0_FIELDS, DEFAULT_IDR0, options.idr0),
    IDR1: register("IDR1", IDR1_FIELDS, DEFAULT_IDR1, options.idr1),
    IDR2: given.IDR2 ?? 0n,
    IDR3: register("IDR3", IDR3_FIELDS, DEFAULT_IDR3, options.idr3),
    IDR4: given.IDR4 ?? 0n,
    IDR5: register("IDR5", IDR5_FIELDS, DEFAULT_IDR5, options.idr5),
    IIDR: given.IIDR ?? 0n,
    AIDR: register("AIDR", AIDR_FIELDS, DEFAULT_AIDR, options.aidr),
  };
  const idr0 = unpack(IDR0_FIELDS, registers.IDR0);
  const idr1 = unpack(IDR1_FIELDS, registers.IDR1);
  const idr5 = unpack(IDR5_FIELDS, registers.IDR5);
  for (const [name, limit] of Object.entries(LIMITS) as [keyof typeof LIMITS, number][]) {
    if (idr1[name] <= limit) continue;
    throw new IommuError("invalid", `IDR1 field ${name}=${idr1[name]}`, undefined, `at most ${limit}`);
  }
  const oasBits = ADDRESS_SIZES[idr5.OAS];
  return {
    idr0,
    idr1,
    idr3: unpack(IDR3_FIELDS, registers.IDR3),
    idr5,
    aidr: unpack(AIDR_FIELDS, registers.AIDR),
    registers,
    oasBits,
    iasBits: (idr0.TTF & LPAE) === 0 ? oasBits : Math.max(LPAE_BITS, oasBits),
    sidBits: idr1.SIDSIZE,
    ssidBits: idr1.SSIDSIZE,
    granules: (idr5.GRAN4K ? PAGE_4K : 0n) | (idr5.GRAN16K ? PAGE_16K : 0n) | (idr5.GRAN64K ? PAGE_64K : 0n),
  };
}
