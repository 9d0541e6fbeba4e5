/**
 * From a transaction to the configuration that governs it: stream table, STE, context descriptor, every check in its
 * order. Arm IHI 0070 G.b, sections 3.3, 5.1 to 5.5 and 7.3.22.
 */
import { alignDown } from "../bits.js";
import {
  type ContextDescriptor,
  decodeContext,
  decodeStreamTableEntry,
  field,
  type StreamTableEntry,
} from "./entries.js";
import { EVENT } from "./events.js";
import type { Identification } from "./identification.js";
import type { StreamTable } from "./registers.js";

/** A fault found on the way to the configuration. `recorded`: whether it makes an event. */
export interface ConfigurationFault {
  readonly event: number;
  readonly recorded: boolean;
  readonly fetchAddress?: bigint;
  /** The second stage's fault on an access to a context descriptor: the address that it did not translate, and the STE. */
  readonly stage2?: { readonly ipa: bigint; readonly entry: StreamTableEntry };
}

/** Where the address of a context descriptor leads, or the second stage's fault. */
export type Located = { readonly physical: bigint } | { readonly event: number; readonly fetchAddress?: bigint };

export interface ConfigurationSource {
  readonly smmu: Identification;
  readonly streamTable: StreamTable;
  /** CR2.RECINVSID. */
  readonly recordsInvalidStreams: boolean;
  /** CR2.E2H. */
  readonly e2h: boolean;
  /** Caches of STEs and of CDs, the latter by their index in the stream's table. */
  cachedEntry(sid: number): StreamTableEntry | undefined;
  cacheEntry(sid: number, entry: StreamTableEntry): void;
  cachedContext(sid: number, index: number): ContextDescriptor | undefined;
  cacheContext(sid: number, index: number, context: ContextDescriptor): void;
  /** Reads 64-bit words and notes them; null is an external abort. */
  read(structure: string, address: bigint, count: number): readonly bigint[] | null;
  /** Takes the address of a context descriptor through the second stage of a stream. */
  locate(entry: StreamTableEntry, ipa: bigint): Located;
}

/** What governs a transaction: nothing (it passes), an abort, or tables. */
export interface Configuration {
  readonly entry: StreamTableEntry;
  readonly context: ContextDescriptor | null;
  /** Of the CD in the stream's table; null without one. */
  readonly contextIndex: number | null;
}

function fault(event: number, recorded = true): ConfigurationFault {
  return { event, recorded };
}

const STE_BYTES = 64n;
const CD_BYTES = 64n;
const ADDRESS = (1n << 56n) - 64n;

/** The address of a stream's STE, or the fault (section 5.1). */
function findEntry(source: ConfigurationSource, sid: number): bigint | ConfigurationFault {
  const { smmu } = source;
  const { address, format, log2Size, split } = source.streamTable;
  const bad = fault(EVENT.C_BAD_STREAMID, source.recordsInvalidStreams);
  if (sid >= 2 ** log2Size) return bad;
  const base = address & ((1n << BigInt(smmu.oasBits)) - 1n);
  if (format === "linear") return alignDown(base, STE_BYTES << BigInt(log2Size)) + STE_BYTES * BigInt(sid);
  const size = 8n << BigInt(Math.max(3, log2Size - split));
  const at = alignDown(base, size) + 8n * BigInt(sid >>> split);
  const words = source.read("L1 stream table descriptor", at, 1);
  if (!words) return { ...fault(EVENT.F_STE_FETCH), fetchAddress: at };
  const span = field(words, 4, 0);
  const index = sid & (2 ** split - 1);
  if (span === 0 || span > 11 || span > split + 1 || index >= 2 ** (span - 1)) return bad;
  const table = words[0] & ADDRESS & ((1n << BigInt(smmu.oasBits)) - 1n);
  return alignDown(table, STE_BYTES << BigInt(span - 1)) + STE_BYTES * BigInt(index);
}

/** Which context a transaction uses: the index of a CD, "bypass", or the fault (section 3.9). */
function selectContext(entry: StreamTableEntry, ssid: number | null): number | "bypass" | ConfigurationFault {
  const { log2, withoutSubstream } = entry.contexts;
  if (ssid !== null) {
    if (!entry.stage1 || log2 === 0 || ssid >= 2 ** log2) return fault(EVENT.C_BAD_SUBSTREAMID);
    if (withoutSubstream === 2 && ssid === 0) return fault(EVENT.F_STREAM_DISABLED);
    return ssid;
  }
  if (!entry.stage1) return "bypass";
  if (log2 === 0) return 0;
  if (withoutSubstream === 0 || withoutSubstream === 3) return fault(EVENT.F_STREAM_DISABLED);
  return withoutSubstream === 1 ? "bypass" : 0;
}

/** Reads a part of the CD tables, through the second stage where there is one. */
function readContext(
  source: ConfigurationSource,
  entry: StreamTableEntry,
  structure: string,
  address: bigint,
  count: number,
): readonly bigint[] | ConfigurationFault {
  const located: Located = entry.stage2 ? source.locate(entry, address) : { physical: address };
  if ("event" in located) {
    return { ...fault(located.event), ...located, stage2: { ipa: address, entry } };
  }
  const words = source.read(structure, located.physical, count);
  return words ?? { ...fault(EVENT.F_CD_FETCH), fetchAddress: located.physical };
}

export function isFault(result: unknown): result is ConfigurationFault {
  return typeof result === "object" && result !== null && "event" in result;
}

/** The context descriptor of an index (section 5.3 and 5.4). */
function findContext(
  source: ConfigurationSource,
  entry: StreamTableEntry,
  index: number,
): ContextDescriptor | ConfigurationFault {
  const { format, log2 } = entry.contexts;
  const split = format === 1 ? 6 : 10;
  const twoLevel = log2 !== 0 && format !== 0;
  const size = twoLevel ? 8n << BigInt(Math.max(3, log2 - split)) : CD_BYTES << BigInt(log2);
  const table = alignDown(entry.contexts.table, size);
  let address = table + CD_BYTES * BigInt(index);
  if (twoLevel) {
    const words = readContext(source, entry, "L1 context descriptor", table + 8n * BigInt(index >>> split), 1);
    if (isFault(words)) return words;
    const next = words[0] & ADDRESS & ~0xfffn;
    const limit = entry.stage2 ? source.smmu.iasBits : source.smmu.oasBits;
    if ((words[0] & 1n) === 0n || next >> BigInt(limit) !== 0n) return fault(EVENT.C_BAD_SUBSTREAMID);
    address = next + CD_BYTES * BigInt(index & (2 ** split - 1));
  }
  const words = readContext(source, entry, "context descriptor", address, 8);
  if (isFault(words)) return words;
  return decodeContext(words, source.smmu, entry) ?? fault(EVENT.C_BAD_CD);
}

/** The STE of a stream, or the fault, which is not cached. */
export function lookUpEntry(source: ConfigurationSource, sid: number): StreamTableEntry | ConfigurationFault {
  const cached = source.cachedEntry(sid);
  if (cached) return cached;
  const at = findEntry(source, sid);
  if (typeof at !== "bigint") return at;
  const words = source.read("STE", at, 8);
  if (!words) return { ...fault(EVENT.F_STE_FETCH), fetchAddress: at };
  const entry = decodeStreamTableEntry(words, source.smmu, source.e2h);
  if (!entry) return fault(EVENT.C_BAD_STE);
  source.cacheEntry(sid, entry);
  return entry;
}

/** What governs a transaction of a stream whose STE does not abort, or the fault, which is not cached. */
export function lookUpContext(
  source: ConfigurationSource,
  sid: number,
  entry: StreamTableEntry,
  ssid: number | null,
): Configuration | ConfigurationFault {
  const index = selectContext(entry, ssid);
  if (typeof index === "object") return index;
  if (index === "bypass") return { entry, context: null, contextIndex: null };
  const cached = source.cachedContext(sid, index);
  if (cached) return { entry, context: cached, contextIndex: index };
  const context = findContext(source, entry, index);
  if (isFault(context)) return context;
  source.cacheContext(sid, index, context);
  return { entry, context, contextIndex: index };
}
