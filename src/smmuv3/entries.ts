/**
 * Stream table entries and context descriptors, decoded and judged: Arm IHI 0070 G.b, sections 5.1, 5.2 and 5.4. Only
 * Non-secure streams of AArch64 tables are emulated.
 */
import type { Identification } from "./identification.js";
import type { StreamWorld } from "./invalidation.js";

/** A granule by its log2. */
export type Granule = 12 | 14 | 16;

/** Widths that OAS, IPS and S2PS encode, bits. */
const WIDTHS = [32, 36, 40, 42, 44, 48, 52, 56] as const;

/** The width of an encoded address size, limited to what the SMMU has. */
function effectiveWidth(encoded: number, limit: number): number {
  return Math.min(WIDTHS[encoded], limit);
}

/** IDR0.TTENDIAN: tables of one byte order only. */
const ONLY_LITTLE_ENDIAN = 2;
const ONLY_BIG_ENDIAN = 3;

/** Whether tables of this byte order (ENDI, S2ENDI) are supported. */
function endianSupported(big: boolean, { idr0 }: Identification): boolean {
  return idr0.TTENDIAN !== (big ? ONLY_LITTLE_ENDIAN : ONLY_BIG_ENDIAN);
}

/** IDR0.HTTU: whether hardware keeps access flags (HA), and dirty state (HD, which does nothing without HA). */
function updatesSupported(access: boolean, dirty: boolean, { idr0 }: Identification): boolean {
  return (!access || idr0.HTTU >= 1) && (!dirty || idr0.HTTU >= 2);
}

/** IDR0.STALL_MODEL: 1 stalling is not supported, 2 it is forced. */
function stallSupported(stall: boolean, { idr0 }: Identification): boolean {
  return !(idr0.STALL_MODEL === 1 && stall) && !(idr0.STALL_MODEL === 2 && !stall);
}

function hasGranule(granule: Granule | null, { granules }: Identification): granule is Granule {
  return granule !== null && ((granules >> BigInt(granule)) & 1n) === 1n;
}

const AARCH64 = 2;

export function field(words: readonly bigint[], high: number, low: number): number {
  return Number(wide(words, high, low));
}

/** Bits high:low, which lie in one 64-bit word. */
function wide(words: readonly bigint[], high: number, low: number): bigint {
  return (words[low >> 6] >> BigInt(low & 63)) & ((1n << BigInt(high - low + 1)) - 1n);
}

function flag(words: readonly bigint[], bit: number): boolean {
  return field(words, bit, bit) === 1;
}

/** An address whose bit 0 stands at `low`, of which bits `from` and above are stored. */
function pointer(words: readonly bigint[], high: number, low: number, from: number): bigint {
  return wide(words, high, low) << BigInt(from);
}

/** Bits that one level of tables resolves. */
export function levelBits(granule: Granule): number {
  return granule - 3;
}

/** STE.Config (section 5.2). */
export const CONFIG_BYPASS = 0b100;

/** Stage 2 of a stream. */
export interface Stage2 extends TableAttributes {
  readonly granule: Granule;
  readonly table: bigint;
  readonly inputBits: number;
  readonly outputBits: number;
  readonly levels: number;
  /** Descriptors hold 52-bit addresses: S2DS, or the 64 KiB granule of an SMMU that puts out as much. */
  readonly wideAddresses: boolean;
  /** IDR3.XNX: execution is denied by privilege. */
  readonly executeByPrivilege: boolean;
  /** S2PTW: stage 1 structures must not lie in device memory. */
  readonly protectedTableWalk: boolean;
  /** S2FWB, where IDR3.FWB knows it. */
  readonly forcedWriteBack: boolean;
  readonly record: boolean;
  readonly stall: boolean;
}

/** What a stage of translation says of its tables as a whole. */
interface TableAttributes {
  /** ENDI, S2ENDI. */
  readonly bigEndian: boolean;
  readonly accessFlagDisable: boolean;
  readonly hardwareAccess: boolean;
  readonly hardwareDirty: boolean;
}

export interface StreamTableEntry {
  /** STE.Config[2]: 0 aborts without an event. */
  readonly aborts: boolean;
  readonly streamWorld: StreamWorld;
  /** 0 where translations have no VMID. */
  readonly vmid: number;
  readonly stage1: boolean;
  readonly stage2: Stage2 | null;
  readonly contexts: {
    readonly table: bigint;
    /** S1Fmt, S1CDMax, S1DSS. */
    readonly format: number;
    readonly log2: number;
    readonly withoutSubstream: number;
  };
  readonly stallForbidden: boolean;
  /** EATS; 0 where it is ignored. */
  readonly ats: number;
  /** PPAR. */
  readonly pasidOnAutomaticResponse: boolean;
  /** PRIVCFG, INSTCFG: 0 as the request says. */
  readonly privilege: number;
  readonly instruction: number;
}

const GRANULES: readonly (Granule | null)[] = [12, 16, 14, null];

/** STE.STRW: EL2; bit 0 makes it reserved. */
const STRW_EL2 = 0b10;

/**
 * Decodes an STE, 64 bytes; null when it is illegal (C_BAD_STE), in the order of section 5.2.2.
 * @param e2h CR2.E2H
 */
export function decodeStreamTableEntry(
  words: readonly bigint[],
  smmu: Identification,
  e2h: boolean,
): StreamTableEntry | null {
  if (!flag(words, 0)) return null;
  const config = field(words, 3, 1);
  // Without substreams there is one context descriptor, whatever these fields say.
  const substreams = smmu.ssidBits > 0;
  const format = substreams ? field(words, 5, 4) : 0;
  const contexts = {
    table: pointer(words, 55, 6, 6),
    format: format === 3 ? 0 : format,
    log2: substreams ? field(words, 63, 59) : 0,
    withoutSubstream: field(words, 65, 64),
  };
  const stage1 = (config & 0b101) === 0b101;
  const hasStage2 = (config & 0b110) === 0b110;
  // STRW says the StreamWorld only where stage 1 is alone and there is an EL2.
  const strw = stage1 && !hasStage2 && smmu.idr0.Hyp ? field(words, 95, 94) : 0;
  const streamWorld: StreamWorld = strw !== STRW_EL2 ? "NS-EL1" : e2h ? "NS-EL2-E2H" : "NS-EL2";
  const hasVmid = smmu.idr0.S2P === 1 && streamWorld === "NS-EL1";
  const vmid = hasVmid ? field(words, 143, 128) : 0;
  const common = {
    contexts,
    streamWorld,
    vmid,
    stallForbidden: flag(words, 91),
    ats: smmu.idr0.ATS && config !== CONFIG_BYPASS ? field(words, 93, 92) : 0,
    pasidOnAutomaticResponse: flag(words, 82),
    privilege: smmu.idr1.ATTR_PERMS_OVR ? field(words, 113, 112) : 0,
    instruction: smmu.idr1.ATTR_PERMS_OVR ? field(words, 115, 114) : 0,
  };
  if ((config & 0b100) === 0) return { ...common, aborts: true, stage1: false, stage2: null };
  if (stage1 && !smmu.idr0.S1P) return null;
  if (hasStage2 && !smmu.idr0.S2P) return null;
  const stall2 = flag(words, 185);
  if (common.ats === 2 && (config !== 0b111 || stall2 || smmu.idr0.NS1ATS)) return null;
  if (common.ats === 1 && hasStage2 && stall2) return null;
  if (stage1) {
    if ((strw & 1) !== 0) return null;
    if (common.stallForbidden && smmu.idr0.STALL_MODEL !== 0) return null;
    if (contexts.log2 > smmu.ssidBits) return null;
    if (contexts.log2 !== 0 && contexts.format !== 0 && !smmu.idr0.CD2L) return null;
    if (contexts.table >> BigInt(hasStage2 ? smmu.iasBits : smmu.oasBits) !== 0n) return null;
  }
  if (config !== CONFIG_BYPASS && !smmu.idr0.VMID16 && vmid > 0xff) return null;
  const stage2 = hasStage2 ? decodeStage2(words, smmu) : null;
  return hasStage2 && !stage2 ? null : { ...common, aborts: false, stage1, stage2 };
}

function decodeStage2(words: readonly bigint[], smmu: Identification): Stage2 | null {
  const stall = flag(words, 185);
  if (!stallSupported(stall, smmu)) return null;
  if (!flag(words, 179) || (smmu.idr0.TTF & AARCH64) === 0) return null;
  const hardwareAccess = flag(words, 184);
  const hardwareDirty = flag(words, 183);
  if (!updatesSupported(hardwareAccess, hardwareDirty, smmu)) return null;
  const granule = GRANULES[field(words, 175, 174)];
  if (!hasGranule(granule, smmu)) return null;
  const wideAddresses = granule === 16 ? smmu.oasBits >= 52 : smmu.idr5.DS === 1 && flag(words, 195);
  const outputBits = effectiveWidth(field(words, 178, 176), wideAddresses ? smmu.oasBits : Math.min(smmu.oasBits, 48));
  const stored = pointer(words, 243, 196, 4);
  if (stored >> BigInt(outputBits) !== 0n) return null;
  const sizeOffset = field(words, 165, 160);
  const largest = smmu.idr3.STT === 1 ? (granule === 16 ? 47 : 48) : 39;
  if (sizeOffset < Math.max(granule === 16 || wideAddresses ? 12 : 16, 64 - smmu.iasBits) || sizeOffset > largest)
    return null;
  const inputBits = 64 - sizeOffset;
  const start = field(words, 167, 166);
  const highest = granule === 12 && wideAddresses && flag(words, 194);
  if (highest && (start !== 0 || smmu.oasBits < 52)) return null;
  const startLevel = highest ? -1 : granule === 12 ? (start === 3 ? 3 : 2 - start) : 3 - start;
  if (start === 3 && granule === 12 && smmu.idr3.STT === 0) return null;
  if (start === 3 && granule !== 12 && !(granule === 14 && wideAddresses && smmu.oasBits >= 52)) return null;
  // Starting that high needs an address size that uses it.
  if (start === 2 && smmu.oasBits < (granule === 14 ? 42 : 44)) return null;
  const levels = 4 - startLevel;
  const below = granule + levelBits(granule) * (levels - 1);
  const firstBits = inputBits - below;
  if (firstBits < 1 || firstBits > levelBits(granule) + 4) return null;
  if (!endianSupported(flag(words, 180), smmu)) return null;
  return {
    granule,
    table: alignTable(stored, firstBits, outputBits),
    inputBits,
    outputBits,
    levels,
    bigEndian: flag(words, 180),
    accessFlagDisable: flag(words, 181),
    wideAddresses,
    executeByPrivilege: smmu.idr3.XNX === 1,
    protectedTableWalk: flag(words, 182),
    forcedWriteBack: smmu.idr3.FWB === 1 && flag(words, 89),
    hardwareAccess,
    hardwareDirty: hardwareDirty && hardwareAccess,
    record: flag(words, 186),
    stall,
  };
}

/** A table's address as hardware takes it: aligned down to the table's size; 52-bit addresses have no bits below 64 bytes. */
function alignTable(stored: bigint, firstBits: number, outputBits: number): bigint {
  const size = 1n << BigInt(Math.max(outputBits >= 52 ? 6 : 0, firstBits + 3));
  return stored & ~(size - 1n);
}

/** One half of the virtual address space of a context. */
export interface Half {
  readonly granule: Granule;
  readonly table: bigint;
  readonly inputBits: number;
  readonly levels: number;
  readonly outputBits: number;
  readonly wideAddresses: boolean;
  readonly ignoresTopByte: boolean;
  readonly hierarchicalDisable: boolean;
  /** E0PDx. */
  readonly unprivilegedDisabled: boolean;
}

export interface ContextDescriptor extends TableAttributes {
  /** TTB0 and TTB1; null where EPDx disables the walk, and where the StreamWorld has one range only. */
  readonly halves: readonly [Half | null, Half | null];
  /** 0 where the StreamWorld has no ASIDs. */
  readonly asid: number;
  /** WXN, PAN, and EPAN where IDR3.EPAN knows it. */
  readonly writableExecuteNever: boolean;
  readonly privilegedAccessNever: boolean;
  readonly enhancedPrivilegedAccessNever: boolean;
  readonly stall: boolean;
  readonly record: boolean;
  readonly abort: boolean;
}

const GRANULES_1: readonly (Granule | null)[] = [null, 14, 12, 16];

/** Decodes a CD, 64 bytes; null when it is illegal (C_BAD_CD), in the order of section 5.4.1. */
export function decodeContext(
  words: readonly bigint[],
  smmu: Identification,
  entry: StreamTableEntry,
): ContextDescriptor | null {
  if (!flag(words, 31)) return null;
  const stall = flag(words, 44);
  const abort = flag(words, 46);
  if (stall && entry.stallForbidden) return null;
  if (smmu.idr0.TERM_MODEL && !abort) return null;
  if (!stallSupported(stall, smmu)) return null;
  // StreamWorld EL2 without E2H: one range of addresses, one privilege, no ASIDs.
  const single = entry.streamWorld === "NS-EL2";
  const walks = single || !flag(words, 14) || !flag(words, 30);
  if (walks && !endianSupported(flag(words, 15), smmu)) return null;
  if (!flag(words, 41) || (smmu.idr0.TTF & AARCH64) === 0) return null;
  const hardwareAccess = flag(words, 43);
  const hardwareDirty = flag(words, 42);
  if (!updatesSupported(hardwareAccess, hardwareDirty, smmu)) return null;
  const asid = single ? 0 : field(words, 63, 48);
  if (!smmu.idr0.ASID16 && asid > 0xff) return null;
  const halves: (Half | null)[] = [];
  for (const upper of [0, 1]) {
    const base = upper * 16;
    if (single ? upper === 1 : flag(words, base + 14)) {
      halves.push(null);
      continue;
    }
    const granule = upper ? GRANULES_1[field(words, 23, 22)] : GRANULES[field(words, 7, 6)];
    const sizeOffset = field(words, base + 5, base);
    const largest = smmu.idr3.STT === 1 ? (granule === 16 ? 47 : 48) : 39;
    if (!hasGranule(granule, smmu)) return null;
    const wideAddresses = granule === 16 ? smmu.oasBits >= 52 : smmu.idr5.DS === 1 && flag(words, 186);
    const smallest = (granule === 16 && smmu.idr5.VAX === 1) || (granule !== 16 && wideAddresses) ? 12 : 16;
    if (sizeOffset < smallest || sizeOffset > largest) return null;
    const inputBits = 64 - sizeOffset;
    const bits = levelBits(granule);
    const levels = Math.ceil((inputBits - granule) / bits);
    const firstBits = inputBits - granule - bits * (levels - 1);
    const stored = upper ? pointer(words, 179, 132, 4) : pointer(words, 115, 68, 4);
    const outputBits = effectiveWidth(field(words, 34, 32), wideAddresses ? smmu.oasBits : Math.min(smmu.oasBits, 48));
    if (stored >> BigInt(outputBits) !== 0n) return null;
    halves.push({
      granule,
      table: alignTable(stored, firstBits, outputBits),
      inputBits,
      levels,
      outputBits,
      wideAddresses,
      ignoresTopByte: flag(words, 38 + upper),
      hierarchicalDisable: smmu.idr3.HAD === 1 && flag(words, upper ? 129 : 65),
      unprivilegedDisabled: smmu.idr3.E0PD === 1 && !single && flag(words, upper ? 130 : 66),
    });
  }
  return {
    halves: [halves[0], halves[1]],
    asid,
    bigEndian: flag(words, 15),
    accessFlagDisable: flag(words, 35),
    writableExecuteNever: flag(words, 36),
    privilegedAccessNever: !single && flag(words, 40),
    enhancedPrivilegedAccessNever: smmu.idr3.EPAN === 1 && flag(words, 123),
    hardwareAccess,
    hardwareDirty: hardwareDirty && hardwareAccess,
    stall,
    record: flag(words, 45),
    abort,
  };
}
