/**
 * Commands of the Non-secure Command queue: Arm SMMU Architecture Specification version 3 (IHI 0070 G.b), chapter 4. Every
 * format lists its fields. Bits that no field covers are ignored, which section 4.1.5 permits.
 */
import { type BitFields, type FieldValues, unpack } from "../unit/bit-fields.js";
import type { Identification } from "./identification.js";
import type {
  AtcInvalidation,
  ConfigurationInvalidation,
  InvalidationRange,
  PageGroupResponse,
  ResumeRequest,
  StreamWorld,
  TlbInvalidation,
  VmidMatch,
} from "./invalidation.js";
import type { InterruptMessage } from "./notifications.js";

/** CMD_SYNC (section 4.7.3): how its completion is signalled. */
export type Completion =
  | { readonly signal: "none" }
  | { readonly signal: "interrupt"; readonly message: InterruptMessage }
  | { readonly signal: "event" };

export type Command =
  | { readonly kind: "prefetch-configuration"; readonly sid: number; readonly ssid: number | null }
  | {
      readonly kind: "prefetch-address";
      readonly sid: number;
      readonly ssid: number | null;
      /** The addresses `address` + n x `strideBytes`, for n from 0 to `count` - 1. */
      readonly address: bigint;
      readonly strideBytes: bigint;
      readonly count: number;
    }
  | { readonly kind: "configuration"; readonly request: ConfigurationInvalidation }
  | { readonly kind: "partid-map"; readonly vmid: number }
  | { readonly kind: "tlb"; readonly request: TlbInvalidation }
  | { readonly kind: "atc"; readonly request: AtcInvalidation }
  | { readonly kind: "page-group-response"; readonly response: PageGroupResponse }
  | { readonly kind: "resume"; readonly request: ResumeRequest }
  | { readonly kind: "stall-termination"; readonly sid: number }
  | { readonly kind: "device-permission-table" }
  | { readonly kind: "sync"; readonly completion: Completion };

/** What the meaning of a command depends on, besides the unit. */
export interface CommandContext {
  readonly identification: Identification;
  /** SMMU_CR2.E2H. */
  readonly e2h: boolean;
  /** SMMU_CR0.VMW. */
  readonly vmw: number;
}

interface Format {
  /** Whether the unit knows the command; absent: every unit does. */
  readonly isSupported?: (identification: Identification) => boolean;
  /** Null when a field holds a value that is ILLEGAL. */
  decode(words: readonly bigint[], context: CommandContext): Command | null;
}

/** A format whose `decode` is handed the fields by name, and the second word, where addresses are. */
function format<F extends BitFields>(
  fields: F,
  decode: (fields: FieldValues<F>, context: CommandContext, second: bigint) => Command | null,
  isSupported?: Format["isSupported"],
): Format {
  return {
    decode: ([first, second], context) => {
      const values = unpack(fields, (second << 64n) | first);
      // The Non-secure queue cannot affect Secure streams (section 4.1.6).
      if (values.SSec === 1) return null;
      return decode(values, context, second);
    },
    ...(isSupported && { isSupported }),
  };
}

const OPCODE = { OPCODE: [0, 8] } as const satisfies BitFields;
const STREAM = { SSec: [10, 1], StreamID: [32, 32] } as const satisfies BitFields;
const SUBSTREAM = { SSV: [11, 1], SubstreamID: [12, 20] } as const satisfies BitFields;

/** Virtual addresses are bits 63:12 of the second word, the others bits 55:12 (section 4.1.6). */
const VIRTUAL = 0xffff_ffff_ffff_f000n;
const PHYSICAL = 0x00ff_ffff_ffff_f000n;
const PAGE_BYTES = 0x1000n;
const LAST_ADDRESS = 0xffff_ffff_ffff_ffffn;

function hasStage1({ idr0 }: Identification): boolean {
  return idr0.S1P === 1;
}

function hasStage2({ idr0 }: Identification): boolean {
  return idr0.S2P === 1;
}

function hasEl2({ idr0 }: Identification): boolean {
  return idr0.S1P === 1 && idr0.Hyp === 1;
}

/** STALL_MODEL 01b: faults only terminate. */
function hasStalls({ idr0 }: Identification): boolean {
  return idr0.STALL_MODEL !== 0b01;
}

function hasDevicePermissionTable({ idr3 }: Identification): boolean {
  return idr3.DPT === 1;
}

function substream({ SSV, SubstreamID }: FieldValues<typeof SUBSTREAM>): number | null {
  return SSV === 1 ? SubstreamID : null;
}

const prefetchConfiguration = format({ ...STREAM, ...SUBSTREAM }, (fields) => ({
  kind: "prefetch-configuration",
  sid: fields.StreamID,
  ssid: substream(fields),
}));

const prefetchAddress = format(
  { ...STREAM, ...SUBSTREAM, Size: [64, 5], Stride: [69, 5] } as const,
  (fields, _context, second) => ({
    kind: "prefetch-address",
    sid: fields.StreamID,
    ssid: substream(fields),
    address: second & VIRTUAL,
    strideBytes: PAGE_BYTES << BigInt(fields.Stride),
    count: 2 ** fields.Size,
  }),
);

const configurationSte = format({ ...STREAM, Leaf: [64, 1] } as const, ({ StreamID, Leaf }) => ({
  kind: "configuration",
  request: { scope: "ste", sid: StreamID, leafOnly: Leaf === 1 },
}));

/** Range 31, all StreamIDs, is CMD_CFGI_ALL (section 4.3.6). */
const RANGE_ALL = 31;

const configurationSteRange = format({ ...STREAM, Range: [64, 5] } as const, ({ StreamID, Range }) => {
  if (Range === RANGE_ALL) return { kind: "configuration", request: { scope: "all" } };
  const count = 2 ** (Range + 1);
  const firstSid = StreamID - (StreamID % count);
  return { kind: "configuration", request: { scope: "ste-range", firstSid, lastSid: firstSid + count - 1 } };
});

const configurationCd = format(
  { ...STREAM, ...SUBSTREAM, Leaf: [64, 1] } as const,
  ({ StreamID, SubstreamID, Leaf }) => ({
    kind: "configuration",
    request: { scope: "cd", sid: StreamID, ssid: SubstreamID, leafOnly: Leaf === 1 },
  }),
  hasStage1,
);

const configurationCdAll = format(
  STREAM,
  ({ StreamID }) => ({ kind: "configuration", request: { scope: "cd-all", sid: StreamID } }),
  hasStage1,
);

const configurationVms = format(
  { SSec: [10, 1], VMID: [32, 16] } as const,
  ({ VMID }) => ({ kind: "partid-map", vmid: VMID }),
  ({ idr3 }) => idr3.MPAM === 1,
);

/** Section 4.4.1.1; the address is in the bits from 76 on. */
const TLBI = {
  NUM: [12, 5],
  SCALE: [20, 6],
  VMID: [32, 16],
  ASID: [48, 16],
  Leaf: [64, 1],
  TTL: [72, 2],
  TG: [74, 2],
} as const satisfies BitFields;

type TlbiFields = FieldValues<typeof TLBI>;

/** Bytes by TG. */
const GRANULES = [null, 1n << 12n, 1n << 14n, 1n << 16n] as const;
const TG_16K = 2;
/** Without IDR5.DS, SCALE has 5 bits; with it, more than 39 is taken as 39. */
const NARROW_SCALE = 0x1f;
const LARGEST_SCALE = 39;

/**
 * The addresses that a command means, one page where it asks for no range; null when the combination is Reserved. A range
 * does not wrap around. Address bits below the granule make a range unpredictable: they are taken as zero.
 */
function addressRange(fields: TlbiFields, address: bigint, context: CommandContext): InvalidationRange | null {
  const { idr3, idr5 } = context.identification;
  const granule = idr3.RIL === 1 ? GRANULES[fields.TG] : null;
  if (granule === null) return { first: address, last: address + PAGE_BYTES - 1n, granule: null, level: null };
  const scale = idr5.DS === 1 ? Math.min(fields.SCALE, LARGEST_SCALE) : fields.SCALE & NARROW_SCALE;
  // Tables of 16 KiB have no leaves at level 1 without 52-bit addresses: the level is taken as not given.
  const level = fields.TG === TG_16K && fields.TTL === 1 && idr5.DS === 0 ? 0 : fields.TTL;
  if (fields.NUM === 0 && scale === 0 && level === 0) return null;
  const first = address & -granule;
  const end = first + (BigInt(fields.NUM + 1) << BigInt(scale)) * granule - 1n;
  return { first, last: end < LAST_ADDRESS ? end : LAST_ADDRESS, granule, level: level === 0 ? null : level };
}

/** VMIDs are compared only by units with stage 2 (section 4.4.2). Wildcards above 4 bits are reserved and behave as none. */
const MOST_IGNORED_BITS = 4;

function vmidMatch({ VMID }: TlbiFields, { identification, vmw }: CommandContext): VmidMatch | null {
  if (!hasStage2(identification)) return null;
  const ignoredBits = identification.idr0.VMW === 1 && vmw <= MOST_IGNORED_BITS ? vmw : 0;
  return { vmid: VMID, ignoredBits };
}

/** What a TLB invalidation matches; `address`: which bits of the second word are one, absent without addresses. */
interface TlbiRule {
  readonly stages: TlbInvalidation["stages"];
  readonly streamWorlds: (e2h: boolean) => readonly StreamWorld[];
  readonly byVmid?: boolean;
  /** Whether an ASID is compared. */
  readonly byAsid?: (e2h: boolean) => boolean;
  readonly address?: bigint;
}

const always = () => true;
const el1 = (): readonly StreamWorld[] => ["NS-EL1"];
const el2 = (e2h: boolean): readonly StreamWorld[] => [e2h ? "NS-EL2-E2H" : "NS-EL2"];

function tlbi(rule: TlbiRule, isSupported?: Format["isSupported"]): Format {
  const decode = (fields: TlbiFields, context: CommandContext, second: bigint): Command | null => {
    const range = rule.address === undefined ? null : addressRange(fields, second & rule.address, context);
    if (rule.address !== undefined && range === null) return null;
    const asid = rule.byAsid?.(context.e2h) ? fields.ASID : null;
    return {
      kind: "tlb",
      request: {
        stages: rule.stages,
        streamWorlds: rule.streamWorlds(context.e2h),
        vmid: rule.byVmid ? vmidMatch(fields, context) : null,
        asid,
        // By address, global entries match whatever their ASID; by ASID alone they do not.
        global: asid === null || range !== null,
        range,
        leafOnly: range !== null && fields.Leaf === 1,
      },
    };
  };
  return format(TLBI, decode, isSupported);
}

const NH_ALL: TlbiRule = { stages: "stage-1", streamWorlds: el1, byVmid: true };
const EL2_ALL: TlbiRule = { stages: "stage-1", streamWorlds: () => ["NS-EL2", "NS-EL2-E2H"] };
const S12_VMALL: TlbiRule = { stages: "both", streamWorlds: el1, byVmid: true };

/** Size 52 is everything; more may raise an error (section 4.5.1). */
const ATC_SIZE_ALL = 52;

const atcInvalidation = format(
  { ...SUBSTREAM, Global: [9, 1], StreamID: [32, 32], Size: [64, 6] } as const,
  (fields, _context, second) => {
    const { StreamID, Global, Size } = fields;
    if (Size > ATC_SIZE_ALL) return null;
    const ssid = substream(fields);
    const size = PAGE_BYTES << BigInt(Size);
    return {
      kind: "atc",
      request: {
        sid: StreamID,
        ssid,
        global: ssid !== null && Global === 1,
        ...(Size === ATC_SIZE_ALL ? { address: 0n, size: null } : { address: second & VIRTUAL & -size, size }),
      },
    };
  },
  ({ idr0 }) => idr0.ATS === 1,
);

const pageGroupResponse = format(
  { ...SUBSTREAM, StreamID: [32, 32], PRGIndex: [64, 9], Resp: [76, 2] } as const,
  (fields) => {
    const response = (["failure", "invalid-request", "success", null] as const)[fields.Resp];
    if (!response) return null;
    const { StreamID: sid, PRGIndex: pageRequestGroupIndex } = fields;
    return { kind: "page-group-response", response: { sid, ssid: substream(fields), pageRequestGroupIndex, response } };
  },
  ({ idr0 }) => idr0.PRI === 1,
);

/** With a retry, Ab is ignored; with TERM_MODEL 1, transactions are only ever aborted. */
const resume = format(
  { ...STREAM, Ac: [12, 1], Ab: [13, 1], STAG: [64, 16] } as const,
  ({ StreamID, Ac, Ab, STAG }, { identification }) => {
    const aborts = Ab === 1 || identification.idr0.TERM_MODEL === 1;
    const action = Ac === 1 ? "retry" : aborts ? "abort" : "terminate";
    return { kind: "resume", request: { sid: StreamID, stag: STAG, action } };
  },
  hasStalls,
);

const stallTermination = format(STREAM, ({ StreamID }) => ({ kind: "stall-termination", sid: StreamID }), hasStalls);

/** MSIAddress, bits 55:2 of the second word. MSH and MSIAttr, how the message is written, change nothing here. */
const MESSAGE_ADDRESS = 0x00ff_ffff_ffff_fffcn;

const sync = format({ CS: [12, 2], MSIData: [32, 32] } as const, ({ CS, MSIData }, _context, second) => {
  const completions: readonly Completion[] = [
    { signal: "none" },
    { signal: "interrupt", message: { address: second & MESSAGE_ADDRESS, data: MSIData } },
    { signal: "event" },
  ];
  const completion = completions[CS];
  return completion ? { kind: "sync", completion } : null;
});

const devicePermissionTable = format({}, () => ({ kind: "device-permission-table" }), hasDevicePermissionTable);

/** Section 4.1.1, without what a Non-secure queue may not hold: commands for EL3 (18h, 1Ah) and Secure state (50h to 60h). */
const FORMATS: ReadonlyMap<number, Format> = new Map([
  [0x01, prefetchConfiguration],
  [0x02, prefetchAddress],
  [0x03, configurationSte],
  [0x04, configurationSteRange],
  [0x05, configurationCd],
  [0x06, configurationCdAll],
  [0x07, configurationVms],
  [0x10, tlbi(NH_ALL, hasStage1)],
  [0x11, tlbi({ ...NH_ALL, byAsid: always }, hasStage1)],
  [0x12, tlbi({ ...NH_ALL, byAsid: always, address: VIRTUAL }, hasStage1)],
  [0x13, tlbi({ ...NH_ALL, address: VIRTUAL }, hasStage1)],
  [0x20, tlbi(EL2_ALL, hasEl2)],
  // Only E2H entries have an ASID.
  [0x21, tlbi({ stages: "stage-1", streamWorlds: () => ["NS-EL2-E2H"], byAsid: always }, hasEl2)],
  [0x22, tlbi({ stages: "stage-1", streamWorlds: el2, byAsid: (e2h) => e2h, address: VIRTUAL }, hasEl2)],
  [0x23, tlbi({ stages: "stage-1", streamWorlds: el2, address: VIRTUAL }, hasEl2)],
  [0x28, tlbi(S12_VMALL, hasStage2)],
  [0x2a, tlbi({ ...S12_VMALL, stages: "stage-2", address: PHYSICAL }, hasStage2)],
  [0x30, tlbi({ stages: "both", streamWorlds: el1 })],
  [0x40, atcInvalidation],
  [0x41, pageGroupResponse],
  [0x44, resume],
  [0x45, stallTermination],
  [0x46, sync],
  [0x70, devicePermissionTable],
  [0x73, devicePermissionTable],
]);

/** Decodes a command of two 64-bit words; null: it is illegal on this unit (CERROR_ILL, section 4.1.3). */
export function decodeCommand(words: readonly bigint[], context: CommandContext): Command | null {
  const format = FORMATS.get(unpack(OPCODE, words[0]).OPCODE);
  if (!format || format.isSupported?.(context.identification) === false) return null;
  return format.decode(words, context);
}
