/**
 * Root, context, PASID directory and PASID table entries, decoded, with their reserved bits and the fields that this
 * unit's capabilities allow: Intel VT-d Architecture Specification Rev. 5.10, sections 9.1 to 9.6.
 */
import type { Capabilities } from "./capabilities.js";

const ALL = 0xffff_ffff_ffff_ffffn;
const PAGE = 0xfffn;

/** Bits high:low, set. */
function bits(high: number, low: number): bigint {
  return (ALL >> BigInt(63 - (high - low))) << BigInt(low);
}

function field(word: bigint, high: number, low: number): number {
  return Number((word & bits(high, low)) >> BigInt(low));
}

function flag(word: bigint, bit: number): boolean {
  return ((word >> BigInt(bit)) & 1n) === 1n;
}

/** Bits at and above the host address width. */
function aboveHaw({ haw }: Capabilities): bigint {
  return bits(63, haw);
}

/** The address in bits HAW-1:12. */
function pointer(word: bigint, capabilities: Capabilities): bigint {
  return word & ~PAGE & ~aboveHaw(capabilities);
}

/** Mask of `high:low` when a capability is missing, which makes the field reserved. */
function unless(capability: number, high: number, low: number): bigint {
  return capability ? 0n : bits(high, low);
}

/** TT of a legacy context entry (section 9.3). */
export const TT_UNTRANSLATED = 0;
export const TT_ALL = 1;
export const TT_PASS_THROUGH = 2;

/** PGTT of a PASID table entry (section 9.6). */
export const PGTT_FIRST = 1;
export const PGTT_SECOND = 2;
export const PGTT_NESTED = 3;
export const PGTT_PASS_THROUGH = 4;

/** Common to the structures that point to another. */
export interface Entry {
  readonly present: boolean;
  readonly reserved: boolean;
  readonly table: bigint;
}

/** A legacy root entry, 128 bits (section 9.1). */
export function decodeRoot([low, high]: readonly bigint[], capabilities: Capabilities): Entry {
  return {
    present: flag(low, 0),
    reserved: (low & (bits(11, 1) | aboveHaw(capabilities))) !== 0n || high !== 0n,
    table: pointer(low, capabilities),
  };
}

/** A scalable-mode root entry, 128 bits (section 9.2), for the lower (0) or upper (1) half of the devices of its bus. */
export function decodeScalableRoot(words: readonly bigint[], half: number, capabilities: Capabilities): Entry {
  const reserved = bits(11, 1) | aboveHaw(capabilities);
  return {
    present: flag(words[half], 0),
    // Both halves are checked, each only when it is present.
    reserved: words.some((word) => flag(word, 0) && (word & reserved) !== 0n),
    table: pointer(words[half], capabilities),
  };
}

/** Width of AGAW `aw` in bits (section 9.3), or null when CAP.SAGAW does not have it. */
function agawWidth(aw: number, { cap }: Capabilities): number | null {
  return aw >= 1 && aw <= 3 && ((cap.SAGAW >> aw) & 1) === 1 ? 30 + 9 * aw : null;
}

export interface LegacyContext extends Entry {
  readonly faultProcessingDisabled: boolean;
  readonly translationType: number;
  /** Whether TT and AW are ones that this unit has. */
  readonly supported: boolean;
  /** AGAW in bits; 0 when it is not supported. */
  readonly width: number;
  readonly domain: number;
}

/** A legacy context entry, 128 bits (section 9.3). */
export function decodeLegacyContext(words: readonly bigint[], capabilities: Capabilities): LegacyContext {
  const [low, high] = words;
  const { ecap, domainBits } = capabilities;
  const translationType = field(low, 3, 2);
  const width = agawWidth(field(high, 2, 0), capabilities);
  const typeSupported =
    translationType === TT_UNTRANSLATED ||
    (translationType === TT_ALL && ecap.DT === 1) ||
    (translationType === TT_PASS_THROUGH && ecap.PT === 1);
  return {
    present: flag(low, 0),
    faultProcessingDisabled: flag(low, 1),
    reserved:
      (low & (bits(11, 4) | aboveHaw(capabilities))) !== 0n || (high & (bits(7, 7) | bits(63, 8 + domainBits))) !== 0n,
    table: pointer(low, capabilities),
    translationType,
    supported: typeSupported && width !== null,
    width: width ?? 0,
    domain: field(high, 8 + domainBits - 1, 8),
  };
}

export interface ScalableContext extends Entry {
  readonly faultProcessingDisabled: boolean;
  readonly deviceTlb: boolean;
  readonly pasidEnabled: boolean;
  readonly pageRequests: boolean;
  /** How many PASIDs the directory has room for. */
  readonly pasids: number;
  /** PASID and privilege of requests without PASID. */
  readonly ridPasid: number;
  readonly ridPrivileged: boolean;
  /** Fields that contradict each other (SCT.4). */
  readonly inconsistent: boolean;
}

/** A scalable-mode context entry, 256 bits (section 9.4). Host permission tables are not supported: HPTE, EPTR reserved. */
export function decodeScalableContext(words: readonly bigint[], capabilities: Capabilities): ScalableContext {
  const [low, second, third, fourth] = words;
  const { ecap } = capabilities;
  const reservedLow =
    unless(ecap.DT, 2, 2) | unless(ecap.PASID, 3, 3) | unless(ecap.PRS, 4, 4) | bits(8, 5) | aboveHaw(capabilities);
  const deviceTlb = flag(low, 2);
  const pageRequests = flag(low, 4);
  const pasids = 2 ** (field(low, 11, 9) + 13);
  const ridPasid = ecap.RPS ? field(second, 19, 0) : 0;
  return {
    present: flag(low, 0),
    faultProcessingDisabled: flag(low, 1),
    reserved:
      (low & reservedLow) !== 0n ||
      (second & (unless(ecap.RPRIVS, 20, 20) | bits(63, 21))) !== 0n ||
      third !== 0n ||
      fourth !== 0n,
    table: pointer(low, capabilities),
    deviceTlb,
    pasidEnabled: flag(low, 3),
    pageRequests,
    pasids,
    ridPasid,
    ridPrivileged: flag(second, 20),
    inconsistent: (!deviceTlb && pageRequests) || ridPasid >= pasids,
  };
}

export interface PasidDirectoryEntry extends Entry {
  readonly faultProcessingDisabled: boolean;
}

/** A PASID directory entry, 64 bits (section 9.5). */
export function decodePasidDirectory(word: bigint, capabilities: Capabilities): PasidDirectoryEntry {
  return {
    present: flag(word, 0),
    faultProcessingDisabled: flag(word, 1),
    reserved: (word & (bits(11, 2) | aboveHaw(capabilities))) !== 0n,
    table: pointer(word, capabilities),
  };
}

export interface PasidEntry {
  readonly present: boolean;
  readonly faultProcessingDisabled: boolean;
  readonly reserved: boolean;
  /** Whether PGTT, AW and FSPM are ones that this unit has, and a nested FSPTPTR is within AW. */
  readonly supported: boolean;
  readonly type: number;
  /** Width of the second stage's input address in bits, min(MGAW, AGAW); 0 where AW does not count. */
  readonly secondStageWidth: number;
  readonly secondStageLevels: number;
  readonly secondStageTable: bigint;
  readonly secondStageUpdates: boolean;
  readonly firstStageLevels: number;
  readonly firstStageTable: bigint;
  readonly supervisorRequests: boolean;
  readonly writeProtect: boolean;
  readonly extendedAccessed: boolean;
  /** Whether the walk is snooped, so that it may set accessed and dirty flags. */
  readonly snooped: boolean;
  readonly domain: number;
}

/** A PASID table entry, 512 bits (section 9.6). Host permission tables are not supported: words 4 to 7 reserved. */
export function decodePasidEntry(words: readonly bigint[], capabilities: Capabilities): PasidEntry {
  const [q0, q1, q2, ...rest] = words;
  const { cap, ecap, mgaw } = capabilities;
  const above = aboveHaw(capabilities);
  const reserved0 = bits(5, 5) | bits(11, 10) | (ecap.SSTS && ecap.SSADS ? 0n : bits(9, 9)) | above;
  const reserved1 =
    bits(22, 16) |
    unless(ecap.SMPWCS, 23, 23) |
    unless(ecap.SC, 24, 24) |
    unless(ecap.MTS, 26, 25) |
    bits(31, 27) |
    unless(ecap.MTS, 63, 32);
  // SRE of a unit without SRS counts as 0 and is no fault: the vectors' models agree on that.
  const reserved2 = bits(1, 1) | unless(ecap.EAFS, 7, 7) | bits(11, 8) | above;
  const type = field(q0, 8, 6);
  const usesFirst = type === PGTT_FIRST || type === PGTT_NESTED;
  const usesSecond = type === PGTT_SECOND || type === PGTT_NESTED;
  const width = agawWidth(field(q0, 4, 2), capabilities);
  const pagingMode = field(q2, 3, 2);
  const firstStageTable = pointer(q2, capabilities);
  const secondStageWidth = usesSecond ? Math.min(mgaw, width ?? 0) : 0;
  const typeSupported =
    (type === PGTT_FIRST && ecap.FSTS === 1) ||
    (type === PGTT_SECOND && ecap.SSTS === 1) ||
    (type === PGTT_NESTED && ecap.NEST === 1) ||
    (type === PGTT_PASS_THROUGH && ecap.PT === 1);
  return {
    present: flag(q0, 0),
    faultProcessingDisabled: flag(q0, 1),
    reserved:
      (q0 & reserved0) !== 0n || (q1 & reserved1) !== 0n || (q2 & reserved2) !== 0n || rest.some((word) => word !== 0n),
    supported:
      typeSupported &&
      (!usesSecond || width !== null) &&
      (!usesFirst || pagingMode === 0 || (pagingMode === 1 && cap.FS5LP === 1)) &&
      (type !== PGTT_NESTED || firstStageTable >> BigInt(width ?? 0) === 0n),
    type,
    secondStageWidth,
    secondStageLevels: width === null ? 0 : (width - 12) / 9,
    secondStageTable: pointer(q0, capabilities),
    secondStageUpdates: flag(q0, 9),
    firstStageLevels: pagingMode === 1 ? 5 : 4,
    firstStageTable,
    supervisorRequests: ecap.SRS === 1 && flag(q2, 0),
    writeProtect: flag(q2, 4),
    extendedAccessed: flag(q2, 7),
    // Without SMPWCS there is no PWSNP to clear: see section 9.6.
    snooped: ecap.SMPWCS === 0 || flag(q1, 23),
    domain: field(q1, 15, 0),
  };
}
