/**
 * The registers of a remapping unit: where they are and which of their bits software may write. Intel VT-d Architecture
 * Specification Rev. 5.10, section 11.4. Memory type range, performance monitoring and command registers are not emulated:
 * their places read as zero.
 */
import { IommuError } from "../engine/errors.js";
import type { PlacedRegister } from "../unit/register-space.js";
import type { Capabilities } from "./capabilities.js";
import { IM } from "./event.js";

/**
 * One register, by the specification's abbreviation without "_REG"; the halves of a fault recording register are FRCDn_LO and
 * FRCDn_HI. A bit in none of the masks is read-only.
 */
export interface RegisterDescription extends PlacedRegister {
  /** Bits that read as they were written. */
  readonly readWrite: bigint;
  /** Bits that can be written and read as zero. */
  readonly writeOnly: bigint;
  /** Bits that a one clears. */
  readonly writeOneToClear: bigint;
}

/** Commands of GCMD_REG (section 11.4.4); in GSTS_REG the status of each has the same place. */
export const GCMD = {
  TE: 1n << 31n,
  SRTP: 1n << 30n,
  SFL: 1n << 29n,
  EAFL: 1n << 28n,
  WBF: 1n << 27n,
  QIE: 1n << 26n,
  IRE: 1n << 25n,
  SIRTP: 1n << 24n,
  CFI: 1n << 23n,
} as const;

/** SSIRWS of ECAP_REG (section 11.4.3): whether RTADDR_REG has SSIRWE. */
const ECAP_SSIRWS = 57n;

const PAGE_ADDRESS = 0xffff_ffff_ffff_f000n;
/** Protected memory regions begin and end on 1 MiB boundaries; the specification leaves the granule open. */
const PROTECTED_LOW = 0xfff0_0000n;
const PROTECTED_HIGH = 0xffff_ffff_fff0_0000n;

interface Masks {
  readonly readWrite?: bigint;
  readonly writeOnly?: bigint;
  readonly writeOneToClear?: bigint;
  readonly reset?: bigint;
}

type Row = readonly [offset: number, name: string, width: 32 | 64, masks?: Masks, present?: boolean];

/** Control, data, address and upper address of an event. Masked after reset. */
function eventRows(offset: number, prefix: string, present: boolean): readonly Row[] {
  return [
    [offset, `${prefix}CTL`, 32, { readWrite: BigInt(IM), reset: BigInt(IM) }, present],
    [offset + 4, `${prefix}DATA`, 32, { readWrite: 0xffffn }, present],
    [offset + 8, `${prefix}ADDR`, 32, { readWrite: 0xffff_fffcn }, present],
    [offset + 12, `${prefix}UADDR`, 32, { readWrite: 0xffff_ffffn }, present],
  ];
}

function faultRecordRows({ faultRecordOffset, faultRecords }: Capabilities): readonly Row[] {
  return Array.from({ length: faultRecords }, (_, n): readonly Row[] => [
    [faultRecordOffset + 16 * n, `FRCD${n}_LO`, 64],
    [faultRecordOffset + 16 * n + 8, `FRCD${n}_HI`, 64, { writeOneToClear: 1n << 63n }],
  ]).flat();
}

function rows(capabilities: Capabilities): readonly Row[] {
  const { cap, ecap, version, capRegister, ecapRegister, haw, iotlbOffset } = capabilities;
  const QI = ecap.QI === 1;
  const IR = ecap.IR === 1;
  const PRS = ecap.PRS === 1;
  const AFL = cap.AFL === 1;
  const commands =
    GCMD.TE |
    GCMD.SRTP |
    (AFL ? GCMD.SFL | GCMD.EAFL : 0n) |
    (cap.RWBF ? GCMD.WBF : 0n) |
    (QI ? GCMD.QIE : 0n) |
    (IR ? GCMD.IRE | GCMD.SIRTP | GCMD.CFI : 0n);
  // PFO; IQE; ICE and ITE.
  const faultStatus = 1n | (QI ? 1n << 4n : 0n) | (ecap.DT ? 3n << 5n : 0n);
  const ssirwe = ((ecapRegister >> ECAP_SSIRWS) & 1n) << 7n;
  const protectedHigh = BigInt.asUintN(haw, PROTECTED_HIGH);
  return [
    [0x000, "VER", 32, { reset: BigInt((version.major << 4) | version.minor) }],
    [0x008, "CAP", 64, { reset: capRegister }],
    [0x010, "ECAP", 64, { reset: ecapRegister }],
    [0x018, "GCMD", 32, { writeOnly: commands }],
    [0x01c, "GSTS", 32],
    [0x020, "RTADDR", 64, { readWrite: PAGE_ADDRESS | 0xc00n | ssirwe }],
    // ICC, CIRG and DID; FM and SID.
    [0x028, "CCMD", 64, { readWrite: 0xe000_0000_0000_ffffn, writeOnly: 0x3_ffff_0000n }],
    [0x034, "FSTS", 32, { writeOneToClear: faultStatus }],
    ...eventRows(0x038, "FE", true),
    [0x058, "AFLOG", 64, { readWrite: PAGE_ADDRESS | 0xe00n }, AFL],
    [0x064, "PMEN", 32, { readWrite: 1n << 31n }, cap.PLMR === 1 || cap.PHMR === 1],
    [0x068, "PLMBASE", 32, { readWrite: PROTECTED_LOW }, cap.PLMR === 1],
    [0x06c, "PLMLIMIT", 32, { readWrite: PROTECTED_LOW }, cap.PLMR === 1],
    [0x070, "PHMBASE", 64, { readWrite: protectedHigh }, cap.PHMR === 1],
    [0x078, "PHMLIMIT", 64, { readWrite: protectedHigh }, cap.PHMR === 1],
    [0x080, "IQH", 64, {}, QI],
    [0x088, "IQT", 64, { readWrite: 0x7_fff0n }, QI],
    // Base, DW and QS.
    [0x090, "IQA", 64, { readWrite: PAGE_ADDRESS | 0x807n }, QI],
    [0x09c, "ICS", 32, { writeOneToClear: 1n }, QI],
    ...eventRows(0x0a0, "IE", QI),
    [0x0b0, "IQERCD", 64, {}, QI],
    // Base, EIME and S.
    [0x0b8, "IRTA", 64, { readWrite: PAGE_ADDRESS | (ecap.EIM ? 0x800n : 0n) | 0xfn }, IR],
    [0x0c0, "PQH", 64, { readWrite: 0x7_ffe0n }, PRS],
    [0x0c8, "PQT", 64, { readWrite: 0x7_ffe0n }, PRS],
    [0x0d0, "PQA", 64, { readWrite: PAGE_ADDRESS | 0x7n }, PRS],
    [0x0dc, "PRS", 32, { writeOneToClear: 3n }, PRS],
    ...eventRows(0x0e0, "PE", PRS),
    ...faultRecordRows(capabilities),
    // ADDR, IH and AM.
    [iotlbOffset, "IVA", 64, { writeOnly: PAGE_ADDRESS | 0x7fn }, iotlbOffset !== 0],
    // IVT, IIRG, DR, DW and DID.
    [iotlbOffset + 8, "IOTLB", 64, { readWrite: 0xb003_ffff_0000_0000n }, iotlbOffset !== 0],
  ];
}

/** Every register of a unit. Throws `invalid` when CAP.FRO or ECAP.IRO puts one register upon another. */
export function describeRegisters(capabilities: Capabilities): readonly RegisterDescription[] {
  const registers = rows(capabilities).map(([offset, name, width, masks = {}, present = true]) => {
    const { readWrite = 0n, writeOnly = 0n, writeOneToClear = 0n, reset = 0n } = present ? masks : {};
    return { name, offset, width, readWrite, writeOnly, writeOneToClear, reset, present };
  });
  const taken = new Map<number, string>();
  for (const { name, offset, width } of registers.filter(({ present }) => present)) {
    for (let dword = offset; dword < offset + width / 8; dword += 4) {
      const other = taken.get(dword);
      if (other !== undefined) {
        throw new IommuError("invalid", `place ${name}`, BigInt(dword), `${other} is there already`);
      }
      taken.set(dword, name);
    }
  }
  return registers;
}

/** Names of a unit's registers by offset, for reports. */
export function registerNames(capabilities: Capabilities): ReadonlyMap<number, string> {
  const present = describeRegisters(capabilities).filter((register) => register.present);
  return new Map(present.map(({ offset, name }) => [offset, name]));
}
