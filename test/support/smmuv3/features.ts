/** What an implementation offers: Arm IHI 0070, sections 3.4 and 6.3.1 to 6.3.6. */
import { bit, field } from "../slow-format.js";
import type { SlowRegisters } from "./unit.js";

/** Translation granules: log2 of bytes. */
export type Granule = 12 | 14 | 16;

/** Sizes that IPS, S2PS and OAS encode, bits; value 7 counts as 6 (SMMUv3.1 to 3.3). */
const ADDRESS_SIZES = [32, 36, 40, 42, 44, 48, 52, 52] as const;

/** TTF: bit 0 AArch32, bit 1 AArch64 tables. */
const AARCH32_TABLES = 0;
const AARCH64_TABLES = 1;

/** STALL_MODEL. */
export const STALL_CONFIGURABLE = 0b00n;
const STALL_UNSUPPORTED = 0b01n;
export const STALL_FORCED = 0b10n;

export interface Features {
  readonly stage1: boolean;
  readonly stage2: boolean;
  readonly aarch32: boolean;
  readonly aarch64: boolean;
  readonly accessFlagUpdate: boolean;
  readonly dirtyStateUpdate: boolean;
  /** HTTU = 11: updates of table descriptors. */
  readonly tableFlagUpdate: boolean;
  readonly hypervisor: boolean;
  readonly ats: boolean;
  readonly stage1Ats: boolean;
  readonly asid16: boolean;
  readonly vmid16: boolean;
  readonly twoLevelCdTables: boolean;
  /** Encoding of TTENDIAN. */
  readonly endian: bigint;
  /** Encoding of STALL_MODEL. */
  readonly stallModel: bigint;
  readonly alwaysAborts: boolean;
  readonly twoLevelStreamTables: boolean;
  readonly sidSize: number;
  readonly ssidSize: number;
  readonly permissionOverrides: boolean;
  readonly hierarchicalAttributeDisable: boolean;
  readonly executeNeverPerPrivilege: boolean;
  readonly forcedWriteBack: boolean;
  readonly smallTables: boolean;
  readonly e0pd: boolean;
  readonly epan: boolean;
  readonly oas: number;
  readonly ias: number;
  readonly granules: ReadonlySet<Granule>;
  readonly ds: boolean;
  readonly largeVirtualAddresses: boolean;
  /** CR2.E2H. */
  readonly e2h: boolean;
}

export function addressSize(encoding: bigint): number {
  return ADDRESS_SIZES[Number(encoding)];
}

export function featuresOf({ IDR0, IDR1, IDR3, IDR5, CR2 }: SlowRegisters): Features {
  const formats = field(IDR0, 3, 2);
  const httu = field(IDR0, 7, 6);
  const oas = addressSize(field(IDR5, 2, 0));
  const granules = new Set<Granule>();
  if (bit(IDR5, 4)) granules.add(12);
  if (bit(IDR5, 5)) granules.add(14);
  if (bit(IDR5, 6)) granules.add(16);
  return {
    stage1: bit(IDR0, 1),
    stage2: bit(IDR0, 0),
    aarch32: bit(formats, AARCH32_TABLES),
    aarch64: bit(formats, AARCH64_TABLES),
    accessFlagUpdate: httu >= 1n,
    dirtyStateUpdate: httu >= 2n,
    tableFlagUpdate: httu === 3n,
    hypervisor: bit(IDR0, 9),
    ats: bit(IDR0, 10),
    stage1Ats: bit(IDR0, 11),
    asid16: bit(IDR0, 12),
    vmid16: bit(IDR0, 18),
    twoLevelCdTables: bit(IDR0, 19),
    endian: field(IDR0, 22, 21),
    stallModel: field(IDR0, 25, 24),
    alwaysAborts: bit(IDR0, 26),
    twoLevelStreamTables: field(IDR0, 28, 27) !== 0n,
    sidSize: Number(field(IDR1, 5, 0)),
    ssidSize: Number(field(IDR1, 10, 6)),
    permissionOverrides: bit(IDR1, 26),
    hierarchicalAttributeDisable: bit(IDR3, 2),
    executeNeverPerPrivilege: bit(IDR3, 4),
    forcedWriteBack: bit(IDR3, 8),
    smallTables: bit(IDR3, 9),
    e0pd: bit(IDR3, 13),
    epan: bit(IDR3, 17),
    oas,
    ias: bit(formats, AARCH32_TABLES) ? Math.max(40, oas) : oas,
    granules,
    ds: bit(IDR5, 7),
    largeVirtualAddresses: field(IDR5, 11, 10) !== 0n,
    e2h: bit(CR2, 0),
  };
}

/** Whether a table base lies in the output range of its stage, and in 48 bits where descriptors have no more. */
export function tableBaseInRange(base: bigint, granule: Granule, ds: boolean, outputSize: number): boolean {
  const size = granule === 16 || ds ? outputSize : Math.min(48, outputSize);
  return base < 1n << BigInt(size);
}

/** Whether TTENDIAN rules out what ENDI or S2ENDI selects. */
export function endiannessUnsupported({ endian }: Features, bigEndian: boolean): boolean {
  return (endian === 0b10n && bigEndian) || (endian === 0b11n && !bigEndian);
}

/** Whether STALL_MODEL rules out what S or S2S says. */
export function stallContradicts({ stallModel }: Features, stall: boolean): boolean {
  return stall ? stallModel === STALL_UNSUPPORTED : stallModel === STALL_FORCED;
}

/** Greatest TxSZ or S2T0SZ. */
export function greatestTsz({ smallTables }: Features, granule: Granule): number {
  if (!smallTables) return 39;
  return granule === 16 ? 47 : 48;
}
