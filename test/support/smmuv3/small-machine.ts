/**
 * A small SMMUv3 that is laid out by hand: every structure on a page of its own, 4-KByte granules, 44-bit addresses. The
 * stream table is linear; each stream has one kind of translation.
 */
import { SparseMemory } from "../vtd/sparse-memory.js";
import { type CdFields, encodeCd, encodeSte, type SteFields, writeEntry } from "./encode.js";
import type { SlowRegisters, SlowRequest, SlowUnit } from "./unit.js";

export const SID = { stage1: 1, stage2: 2, nested: 3, bypass: 4, abort: 5 } as const;

/** Addresses of words that tests change. */
export const AT = {
  streamTable: 0x10000n,
  /** A linear table of four CDs, mapped by stage 2 at the same address. */
  contexts: 0x12000n,
  /** Stage 1 descriptors on the way to input 1000h, top first, at levels 1 to 3. */
  s1: [0x20000n, 0x21000n, 0x22008n],
  /** Stage 1 descriptor of the level 2 block at 20_0000h. */
  s1Block: 0x21008n,
  /** Level 1 table of the upper address range. */
  upper: 0x24ff8n,
  /** Stage 2 descriptors on the way to intermediate address 4000_1000h. */
  s2: [0x30008n, 0x31000n, 0x32008n],
  /** Stage 2 leaf of the CD table, and of the stage 1 tables above. */
  s2OfContexts: 0x34090n,
  s2OfS1: [0x34100n, 0x34108n, 0x34110n],
} as const;

/** Outside RAM. */
export const HOLE = 0x800_0000n;

const RAM_END = 0x100_0000n;
/** AF, SH = ISH, AP[1], nG: readable, writable and executable unless privileged. */
const S1_PAGE = 0xf43n;
/** AF, S2AP = 11, Normal memory. */
const S2_PAGE = 0x4ffn;

const WORDS: readonly (readonly [bigint, bigint])[] = [
  // Stage 1, input 1000h to 3FFFh: read-write, read-only and privileged pages.
  [0x20000n, 0x21003n],
  [0x21000n, 0x22003n],
  [0x22008n, 0x4000_1000n | S1_PAGE],
  [0x22010n, 0x4000_2000n | S1_PAGE | 0x80n],
  [0x22018n, 0x4000_1000n | (S1_PAGE & ~0x40n)],
  [0x21008n, 0x4020_0000n | (S1_PAGE & ~2n)],
  [0x24ff8n, 0x25003n],
  [0x25ff8n, 0x26003n],
  [0x26ff8n, 0x4000_1000n | S1_PAGE],
  // Stage 2: 4000_1000h to 4000_3FFFh, a block at 4020_0000h, and the structures of stage 1.
  [0x30000n, 0x33003n],
  [0x33000n, 0x34003n],
  [0x34090n, 0x12000n | S2_PAGE],
  [0x34100n, 0x20000n | S2_PAGE],
  [0x34108n, 0x21000n | S2_PAGE],
  [0x34110n, 0x22000n | S2_PAGE],
  [0x30008n, 0x31003n],
  [0x31000n, 0x32003n],
  [0x32008n, 0x5000_1000n | S2_PAGE],
  [0x32010n, 0x5000_2000n | (S2_PAGE & ~0x80n)],
  [0x32018n, 0x5000_3000n | (S2_PAGE & ~0x40n)],
  [0x31008n, 0x6000_0000n | (S2_PAGE & ~2n)],
];

const CD: CdFields = { V: 1, AA64: 1, A: 1, R: 1, IPS: 4, T0SZ: 25, TTB0: 0x20000n, T1SZ: 25, TG1: 2, TTB1: 0x24000n };
const STAGE_1: SteFields = { S1ContextPtr: AT.contexts, S1CDMax: 2, S1DSS: 2 };
const STAGE_2: SteFields = { S2AA64: 1, S2T0SZ: 25, S2SL0: 1, S2PS: 4, S2R: 1, S2TTB: 0x30000n };

/** All stages, granules and options; HTTU of both flags; stalls; OAS 44; no DS. */
const REGISTERS: SlowRegisters = {
  IDR0: 0x084c_168bn,
  IDR1: 0x0400_0510n,
  IDR3: 0x0002_2314n,
  IDR5: 0x74n,
  CR0: 1n,
  CR2: 2n,
  GBPA: 0n,
  STRTAB_BASE: AT.streamTable,
  STRTAB_BASE_CFG: 4n,
};

export interface Setting {
  readonly registers?: Partial<SlowRegisters>;
  /** What differs in the STE of stage 1, 2 and nested translation alike. */
  readonly ste?: SteFields;
  readonly cd?: CdFields;
  /** Words that differ. */
  readonly words?: readonly (readonly [address: bigint, value: bigint])[];
}

export interface SmallMachine {
  readonly unit: SlowUnit;
  /** The unit's memory, to look at afterwards, and what was in it before. */
  readonly memory: SparseMemory;
  readonly words: ReadonlyMap<bigint, bigint>;
}

export function smallMachine(setting: Setting): SmallMachine {
  const words = new Map(WORDS);
  const store = (address: bigint, word: bigint) => words.set(address, word);
  const streams: readonly (readonly [sid: number, fields: SteFields])[] = [
    [SID.stage1, { Config: 0b101, ...STAGE_1, ...setting.ste }],
    [SID.stage2, { Config: 0b110, ...STAGE_2, ...setting.ste }],
    [SID.nested, { Config: 0b111, ...STAGE_1, ...STAGE_2, ...setting.ste }],
    [SID.bypass, { Config: 0b100 }],
    [SID.abort, { Config: 0b000 }],
  ];
  for (const [sid, fields] of streams) {
    writeEntry(encodeSte({ V: 1, ...fields }), AT.streamTable + BigInt(64 * sid), store);
  }
  for (const index of [0n, 1n, 2n]) writeEntry(encodeCd({ ...CD, ...setting.cd }), AT.contexts + 64n * index, store);
  for (const [address, word] of setting.words ?? []) store(address, word);
  const memory = new SparseMemory([[0n, RAM_END]], words);
  return { unit: { registers: { ...REGISTERS, ...setting.registers }, memory }, memory, words };
}

/** An untranslated, unprivileged read of input 1000h through stage 1, unless said otherwise. */
export function request(changes: Partial<SlowRequest> = {}): SlowRequest {
  return { sid: SID.stage1, iova: 0x1000n, access: "read", type: "untranslated", ...changes };
}
