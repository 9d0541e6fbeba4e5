/**
 * A small VT-d machine that is laid out by hand: every structure on a page of its own. Function 00:01.0 (08h) is
 * programmed; all tables have 4 levels.
 */
import { type CapabilityOptions, makeCapabilities } from "../../../src/vtd/capabilities.js";
import { SparseMemory } from "./sparse-memory.js";
import type { SlowRequest, SlowUnit } from "./unit.js";

export const SID = 0x08;
const ROOT = 0x1000n;

/** Addresses of words that tests change. */
export const AT = {
  root: ROOT,
  legacyContext: 0x2080n,
  context: 0x3100n,
  directory: 0x4000n,
  /** PASID table entries of the PASIDs below. */
  firstStageEntry: 0x5040n,
  secondStageEntry: 0x5080n,
  nestedEntry: 0x50c0n,
  passThroughEntry: 0x5100n,
  ridEntry: 0x5fc0n,
  /** Second-stage entries on the way to input 1000h, top first. */
  ss: [0x10000n, 0x11000n, 0x12000n, 0x13008n],
  /** First-stage entries on the way to input 1000h, top first. */
  fs: [0x20000n, 0x21000n, 0x22000n, 0x23008n],
  /** Second-stage leaves of the pages of first-stage tables, top first. */
  ssOfFs: [0x13100n, 0x13108n, 0x13110n, 0x13118n],
  /** Second-stage leaf of guest addresses 4000_0000h to 7FFF_FFFFh. */
  ssLarge: 0x11008n,
} as const;

export const PASID = { firstStage: 1, secondStage: 2, nested: 3, passThrough: 4, rid: 63 } as const;

const RAM_END = 0x10_0000n;
/** Outside RAM. */
export const HOLE = 0x4000_0000n;

const COMMON: readonly (readonly [bigint, bigint])[] = [
  // Second stage: a page of each kind of rights, a 2-MByte and a 1-GByte leaf.
  [0x10000n, 0x11003n],
  [0x11000n, 0x12003n],
  [0x12000n, 0x13003n],
  [0x13008n, 0x5000_0003n],
  [0x13010n, 0x5000_1001n],
  [0x13018n, 0x5000_2002n],
  [0x13020n, 0xfee0_1003n],
  [0x12008n, 0x6000_0083n],
  [0x11008n, 0x1_4000_0083n],
];

const LEGACY: readonly (readonly [bigint, bigint])[] = [
  [0x1000n, 0x2001n],
  [0x2080n, 0x10005n],
  [0x2088n, 0x502n],
];

const SCALABLE: readonly (readonly [bigint, bigint])[] = [
  [0x1000n, 0x3001n],
  [0x3100n, 0x400dn],
  [0x3108n, 63n],
  [0x4000n, 0x5001n],
  [0x5040n, 0x41n],
  [0x5048n, 0x80_0005n],
  [0x5050n, 0x20001n],
  [0x5080n, 0x10089n],
  [0x5088n, 0x80_0005n],
  [0x5090n, 1n],
  [0x50c0n, 0x100c9n],
  [0x50c8n, 0x80_0005n],
  [0x50d0n, 0x20001n],
  [0x5100n, 0x101n],
  [0x5110n, 1n],
  [0x5fc0n, 0x10089n],
  [0x5fc8n, 0x80_0005n],
  [0x5fd0n, 1n],
  // First stage: user, read-only, supervisor, read-only supervisor, a 2-MByte and a 1-GByte leaf, the interrupt range.
  [0x20000n, 0x21007n],
  [0x21000n, 0x22007n],
  [0x22000n, 0x23007n],
  [0x23008n, 0x7000_0007n],
  [0x23010n, 0x7000_1005n],
  [0x23018n, 0x7000_2003n],
  [0x23020n, 0x7000_3001n],
  [0x23028n, 0xfee0_1007n],
  [0x22008n, 0x6020_0087n],
  [0x21008n, 0x1_4000_0087n],
  // Second stage of the pages of first-stage tables.
  [0x13100n, 0x20003n],
  [0x13108n, 0x21003n],
  [0x13110n, 0x22003n],
  [0x13118n, 0x23003n],
];

export interface Setting {
  readonly mode: "legacy" | "scalable";
  /** RTADDR_REG.TTM where it is not that of the mode. */
  readonly ttm?: bigint;
  readonly capabilities?: CapabilityOptions;
  /** Words that differ. */
  readonly words?: readonly (readonly [address: bigint, value: bigint])[];
}

/** The unit, and its memory to look at afterwards. Host addresses have 46 bits, guest addresses 48. */
export function smallMachine(setting: Setting): { unit: SlowUnit; memory: SparseMemory } {
  const legacy = setting.mode === "legacy";
  const words = new Map([...COMMON, ...(legacy ? LEGACY : SCALABLE), ...(setting.words ?? [])]);
  const memory = new SparseMemory([[0n, RAM_END]], words);
  const options = setting.capabilities ?? {};
  const capabilities = makeCapabilities({ haw: 46, ...options, cap: { MGAW: 47, ...options.cap } });
  const ttm = setting.ttm ?? (legacy ? 0n : 1n);
  return { unit: { capabilities, rtaddr: ROOT | (ttm << 10n), memory }, memory };
}

/** A request of the function: an untranslated read of input 1000h unless said otherwise. */
export function request(changes: Partial<SlowRequest> = {}): SlowRequest {
  return { sid: SID, iova: 0x1000n, access: "read", type: "untranslated", ...changes };
}
