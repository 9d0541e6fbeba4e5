/**
 * From a request to the entries that govern it: root, context, PASID directory and PASID table, every check in its order
 * with its fault code. Intel VT-d Architecture Specification Rev. 5.10, sections 3.4, 3.9 and Table 30.
 */
import type { DmaRequest } from "../unit/request.js";
import type { Capabilities } from "./capabilities.js";
import {
  decodeLegacyContext,
  decodePasidDirectory,
  decodePasidEntry,
  decodeRoot,
  decodeScalableContext,
  decodeScalableRoot,
  type LegacyContext,
  type PasidEntry,
  type ScalableContext,
  TT_ALL,
} from "./entries.js";
import { TTM, tableMode } from "./table-mode.js";

/** A fault found in the entries. */
export interface ConfigurationFault {
  readonly fault: number;
  /** Whether an FPD bit was met on the way. */
  readonly faultProcessingDisabled: boolean;
}

/** A context entry that may be cached, and for scalable mode the PASID entry behind it. */
export interface CachedContext {
  readonly sid: number;
  /** Tag for domain-selective invalidation: the domain of a legacy entry; null in scalable mode. */
  readonly domain: number | null;
  /** The fault that the entry is, which may be cached when CAP.CM is set. */
  readonly fault: ConfigurationFault | null;
  readonly legacy: LegacyContext | null;
  readonly scalable: ScalableContext | null;
}

export interface CachedPasid {
  readonly sid: number;
  readonly pasid: number;
  readonly domain: number;
  readonly fault: ConfigurationFault | null;
  readonly entry: PasidEntry | null;
  /** FPD of the directory entry or of this one. */
  readonly faultProcessingDisabled: boolean;
}

/** Where entries come from: the unit's caches, and memory. */
export interface EntrySource {
  readonly capabilities: Capabilities;
  /** The latched RTADDR_REG. */
  readonly rootTable: bigint;
  /** Reads `count` 64-bit words and notes them; null when nobody backs them. */
  read(structure: string, address: bigint, count: number): readonly bigint[] | null;
  cachedContext(sid: number): CachedContext | undefined;
  cacheContext(context: CachedContext): void;
  cachedPasid(sid: number, pasid: number): CachedPasid | undefined;
  cachePasid(pasid: CachedPasid): void;
}

/** What governs a request. */
export interface Governing {
  readonly context: CachedContext;
  /** Scalable mode: the PASID in force and its entry. */
  readonly pasid: number;
  readonly pasidEntry: PasidEntry | null;
  readonly faultProcessingDisabled: boolean;
}

function fault(code: number, faultProcessingDisabled = false): ConfigurationFault {
  return { fault: code, faultProcessingDisabled };
}

export function isFault(result: object): result is ConfigurationFault {
  return "fault" in result && typeof result.fault === "number";
}

/** The fault that the table mode is for a request, if it is one. */
export function checkTableMode(source: EntrySource, request: DmaRequest): ConfigurationFault | null {
  const { capabilities, rootTable } = source;
  const mode = tableMode(rootTable);
  // RTA.1, RTA.4
  if (mode === TTM.ABORT_DMA) return fault(capabilities.ecap.ADMS ? 0x33 : 0x30);
  if (mode !== TTM.LEGACY && !(mode === TTM.SCALABLE && capabilities.ecap.SMTS)) return fault(0x30);
  // RTA.2
  if (mode === TTM.LEGACY && request.pasid !== undefined) return fault(0x31);
  // RTA.5
  if (request.execute && capabilities.version.major >= 8) return fault(0x34);
  return null;
}

/** Finds what governs a request, or the fault that stops it. */
export function lookUp(source: EntrySource, request: DmaRequest): Governing | ConfigurationFault {
  const wrong = checkTableMode(source, request);
  if (wrong) return wrong;
  return tableMode(source.rootTable) === TTM.LEGACY ? lookUpLegacy(source, request) : lookUpScalable(source, request);
}

function lookUpLegacy(source: EntrySource, request: DmaRequest): Governing | ConfigurationFault {
  let context = source.cachedContext(request.sid);
  if (!context) {
    const found = readLegacyContext(source, request.sid);
    if (isFault(found)) return found;
    context = found;
  }
  if (context.fault) return context.fault;
  const entry = context.legacy;
  // The table mode changed, and the entry cached before was not invalidated: nothing says what it means now.
  if (!entry) return fault(0x2);
  const { faultProcessingDisabled } = entry;
  // LCT.5
  const untranslated = (request.type ?? "untranslated") === "untranslated";
  if (!untranslated && entry.translationType !== TT_ALL) return fault(0xd, faultProcessingDisabled);
  return { context, pasid: 0, pasidEntry: null, faultProcessingDisabled };
}

function readLegacyContext(source: EntrySource, sid: number): CachedContext | ConfigurationFault {
  const { capabilities, rootTable } = source;
  const rootWords = source.read("root entry", (rootTable & ~0xfffn) + BigInt(sid >> 8) * 16n, 2);
  // LRT.1 to LRT.3
  if (!rootWords) return fault(0x8);
  const root = decodeRoot(rootWords, capabilities);
  if (!root.present) return fault(0x1);
  if (root.reserved) return fault(0xa);
  // LCT.1 to LCT.4
  const words = source.read("context entry", root.table + BigInt(sid & 0xff) * 16n, 2);
  if (!words) return fault(0x9);
  const legacy = decodeLegacyContext(words, capabilities);
  const disabled = legacy.faultProcessingDisabled;
  const found = (code: number | null): CachedContext => ({
    sid,
    domain: code === null ? legacy.domain : 0,
    fault: code === null ? null : fault(code, disabled),
    legacy: code === null ? legacy : null,
    scalable: null,
  });
  const wrong = !legacy.present ? 0x2 : legacy.reserved ? 0xb : legacy.supported ? null : 0x3;
  return keepContext(source, found(wrong));
}

/** Keeps a good entry; a faulting one only when CAP.CM is set, which is then tagged with domain 0 (section 6.1). */
function keepContext(source: EntrySource, context: CachedContext): CachedContext {
  if (!context.fault || source.capabilities.cap.CM) source.cacheContext(context);
  return context;
}

function lookUpScalable(source: EntrySource, request: DmaRequest): Governing | ConfigurationFault {
  const { capabilities } = source;
  let context = source.cachedContext(request.sid);
  if (!context) {
    const found = readScalableContext(source, request.sid);
    if (isFault(found)) return found;
    context = found;
  }
  if (context.fault) return context.fault;
  const entry = context.scalable;
  if (!entry) return fault(0x41);
  const disabled = entry.faultProcessingDisabled;
  const { type = "untranslated" } = request;
  // SCT.5 to SCT.10, SGN.10
  if (type !== "untranslated" && !entry.deviceTlb) return fault(0x44, disabled);
  if (request.pasid !== undefined) {
    if (!entry.pasidEnabled && type !== "translated") return fault(0x45, disabled);
    if (request.pasid >= entry.pasids) return fault(0x46, disabled);
    if (request.pasid >= 2 ** (capabilities.ecap.PSS + 1)) return fault(0x89, disabled);
    if (request.pasid === entry.ridPasid) return fault(0x48, disabled);
    // EPTR, which would allow it, goes with the host permission tables that this unit lacks.
    if (type === "translated") return fault(0x49, disabled);
  }
  const pasid = request.pasid ?? entry.ridPasid;
  let cached = source.cachedPasid(request.sid, pasid);
  if (!cached) {
    const found = readPasidEntry(source, request.sid, pasid, entry);
    if (isFault(found)) return found;
    cached = found;
  }
  const faultProcessingDisabled = disabled || cached.faultProcessingDisabled;
  if (cached.fault || !cached.entry) return fault(cached.fault?.fault ?? 0x59, faultProcessingDisabled);
  return { context, pasid, pasidEntry: cached.entry, faultProcessingDisabled };
}

function readScalableContext(source: EntrySource, sid: number): CachedContext | ConfigurationFault {
  const { capabilities, rootTable } = source;
  const rootWords = source.read("scalable root entry", (rootTable & ~0xfffn) + BigInt(sid >> 8) * 16n, 2);
  // SRT.1 to SRT.3
  if (!rootWords) return fault(0x38);
  const root = decodeScalableRoot(rootWords, (sid >> 7) & 1, capabilities);
  if (!root.present) return fault(0x39);
  if (root.reserved) return fault(0x3a);
  // SCT.1 to SCT.4
  const words = source.read("scalable context entry", root.table + BigInt(sid & 0x7f) * 32n, 4);
  if (!words) return fault(0x40);
  const scalable = decodeScalableContext(words, capabilities);
  const disabled = scalable.faultProcessingDisabled;
  const wrong = !scalable.present ? 0x41 : scalable.reserved ? 0x42 : scalable.inconsistent ? 0x43 : null;
  return keepContext(source, {
    sid,
    domain: null,
    fault: wrong === null ? null : fault(wrong, disabled),
    legacy: null,
    scalable: wrong === null ? scalable : null,
  });
}

function readPasidEntry(
  source: EntrySource,
  sid: number,
  pasid: number,
  context: ScalableContext,
): CachedPasid | ConfigurationFault {
  const { capabilities } = source;
  const contextDisabled = context.faultProcessingDisabled;
  // SPD.1 to SPD.3
  const directoryWords = source.read("PASID directory entry", context.table + BigInt(pasid >> 6) * 8n, 1);
  if (!directoryWords) return fault(0x50, contextDisabled);
  const directory = decodePasidDirectory(directoryWords[0], capabilities);
  const directoryDisabled = directory.faultProcessingDisabled;
  if (!directory.present) return fault(0x51, contextDisabled || directoryDisabled);
  if (directory.reserved) return fault(0x52, contextDisabled || directoryDisabled);
  // SPT.1 to SPT.4
  const words = source.read("PASID table entry", directory.table + BigInt(pasid & 63) * 64n, 8);
  if (!words) return fault(0x58, contextDisabled || directoryDisabled);
  const entry = decodePasidEntry(words, capabilities);
  const faultProcessingDisabled = directoryDisabled || entry.faultProcessingDisabled;
  const wrong = !entry.present ? 0x59 : entry.reserved ? 0x5a : entry.supported ? null : 0x5b;
  const cached: CachedPasid = {
    sid,
    pasid,
    domain: wrong === null ? entry.domain : 0,
    fault: wrong === null ? null : fault(wrong),
    entry: wrong === null ? entry : null,
    faultProcessingDisabled,
  };
  if (wrong === null || capabilities.cap.CM) source.cachePasid(cached);
  return cached;
}
