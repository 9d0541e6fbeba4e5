/** An Intel VT-d remapping unit: Intel VT-d Architecture Specification Rev. 5.10. */
import * as layout from "../../assembly/layout.js";
import { type TranslationCounters, vtdNames } from "../access/counters.js";
import { vtdIotlbSelection, vtdPasidIotlbSelection } from "../cache/vtd.js";
import {
  INTERRUPT_RANGE,
  type Iova,
  inInterruptRange,
  type PhysicalAddress,
  physicalAddress,
  privateAddress,
} from "../engine/addresses.js";
import type { Engine } from "../engine/engine.js";
import { IommuError } from "../engine/errors.js";
import type { Access } from "../engine/page-table.js";
import { DmaSanitizer, type SanitizedUnit, type SanitizerOptions } from "../sanitizer/sanitizer.js";
import { sanitizedVtdTarget, VTD_OWNER_FIELDS } from "../sanitizer/vtd.js";
import { UnitMemory } from "../unit/memory.js";
import {
  type DmaRequest,
  NOTHING_PERMITTED,
  SMALLEST_TRANSLATION_UNIT,
  type StructureRead,
  type TranslationCompletion,
} from "../unit/request.js";
import { SingleRequest, type Traced } from "../unit/single-request.js";
import { type ResolvedSource, ResolvedSources } from "../unit/sources.js";
import {
  accessAt,
  type EntryRead,
  type Regime,
  Translation,
  type TranslationHandler,
  type TranslationOptions,
  type UnitCounters,
  UnitBatch,
} from "../unit/translation.js";
import { ConfigurationCaches } from "./caches.js";
import { type Capabilities, type CapabilityOptions, makeCapabilities } from "./capabilities.js";
import type { PageGroupResponse } from "./descriptors.js";
import type { MessageSink } from "./event.js";
import { type Completion, FAULT_REASONS, isReported } from "./fault-reasons.js";
import { FaultRecorder } from "./faults.js";
import type {
  ContextCacheInvalidation,
  DeviceTlbInvalidation,
  InterruptEntryInvalidation,
  InvalidationTarget,
  IotlbInvalidation,
  PasidCacheInvalidation,
  PasidIotlbInvalidation,
} from "./invalidation.js";
import {
  checkTableMode,
  type ConfigurationFault,
  type EntrySource,
  type Governing,
  isFault,
  lookUp,
} from "./lookup.js";
import { InvalidationQueue } from "./queue.js";
import { makeRegime, type VtdRegime } from "./regime.js";
import { RegisterFile } from "./registers.js";
import { walkFault } from "./walk-faults.js";

/** Options of a unit: its capabilities, the size of its caches, and what it is connected to. */
export interface VtdUnitOptions extends CapabilityOptions, TranslationOptions {
  /**
   * Entries of the context cache (default 256) and of the PASID cache (default 1024) where the option `caches` gives no
   * geometry; they are then replaced in turn.
   */
  readonly contextCacheEntries?: number;
  readonly pasidCacheEntries?: number;
  /** Looks for accesses that stale translations let through: see src/sanitizer/. Default: nobody does. */
  readonly sanitizer?: SanitizerOptions;
  /** Receives the unit's interrupt messages. */
  readonly onMessage?: MessageSink;
  /** Receives device-TLB invalidations, and page group responses. */
  readonly onDeviceTlbInvalidation?: (request: DeviceTlbInvalidation) => void;
  readonly onPageGroupResponse?: (response: PageGroupResponse) => void;
  /** Whether a device answers device-TLB invalidations; default: all do. */
  readonly deviceResponds?: (sid: number) => boolean;
}

/** A request that faulted. */
export interface VtdFault {
  readonly ok: false;
  /** Fault reason (FR). */
  readonly code: number;
  /** Its condition in Table 30. */
  readonly name: string;
  /** Whether the unit reported it (not when FPD or a successful ATS completion suppresses it). */
  readonly reported: boolean;
  /** What the requester gets. */
  readonly completion: Completion;
}

/** An untranslated or translated request that reached memory. */
export interface VtdTranslation {
  readonly ok: true;
  readonly physical: PhysicalAddress;
  /** Bytes of the page that the translation is good for; null when the address passed untranslated. */
  readonly pageSize: bigint | null;
  /** A write to FEE0_0000h-FEEF_FFFFh: an interrupt message, which DMA remapping does not touch (section 3.14). */
  readonly interrupt: boolean;
}

/** What was resolved for a source: how its requests are translated and judged. */
interface Resolved extends ResolvedSource {
  readonly governing: Governing;
  readonly vtd: VtdRegime;
}

/** A request-without-PASID to the interrupt range that is no interrupt (Table 15). */
const NOT_AN_INTERRUPT = 0x29;
/** Translated address beyond the host address width, and in the interrupt range: legacy, scalable (Table 30). */
const TRANSLATED_FAULTS = { legacy: [0x4, 0xe], scalable: [0x83, 0x87] } as const;

/** The first fault reason of PASID directories and tables (Table 30, SPD.1). */
const FIRST_PASID_FAULT = 0x50;

/** Flag of a batch's `code`: the fault was not reported. */
export const UNREPORTED = 1 << 16;

const LEVEL_NAMES = ["", "PTE", "PDE", "PDPE", "PML4E", "PML5E"] as const;

/**
 * One remapping unit. A driver programs it by registers and by its queue; devices send requests. It lives in the
 * engine's physical memory, from which it reads its tables and queue.
 */
export class VtdUnit {
  readonly capabilities: Capabilities;
  readonly faults: FaultRecorder;
  readonly registers: RegisterFile;
  readonly queue: InvalidationQueue;
  /** Null without the option. */
  readonly sanitizer: DmaSanitizer | null;
  readonly #engine: Engine;
  readonly #translation: Translation;
  readonly #configuration: ConfigurationCaches;
  readonly #resolved: ResolvedSources<Resolved>;
  readonly #one: SingleRequest;
  readonly #source: EntrySource;
  readonly #handler: TranslationHandler;
  /** The batch being translated: kind of access of all, or "each"; and of requests that are not plain batch members. */
  #access: Access | "each" = {};
  #request: DmaRequest | null = null;
  /** The fault of the last single request. */
  #fault: VtdFault | null = null;
  #interrupt = false;

  /** Throws `invalid` for impossible capabilities or cache geometry, `memory-exhausted`. */
  constructor(engine: Engine, options: VtdUnitOptions = {}) {
    const { onMessage, onDeviceTlbInvalidation, onPageGroupResponse, deviceResponds } = options;
    const sink = onMessage ? { onMessage } : {};
    this.#engine = engine;
    this.capabilities = makeCapabilities(options);
    const { capabilities } = this;
    this.#translation = new Translation(engine, options);
    this.#translation.intercept(INTERRUPT_RANGE.first, INTERRUPT_RANGE.last);
    this.#resolved = new ResolvedSources(this.#translation);
    const { contextCacheEntries = 256, pasidCacheEntries = 1024 } = options;
    this.#configuration = new ConfigurationCaches(
      this.#translation.configurationCache("context", contextCacheEntries, (entry) =>
        this.#resolved.configurationDropped(({ governing }) => governing.context === entry),
      ),
      this.#translation.configurationCache("pasid", pasidCacheEntries, ({ entry }) =>
        this.#resolved.configurationDropped(({ governing }) => entry !== null && governing.pasidEntry === entry),
      ),
    );
    const sanitized: SanitizedUnit = {
      fields: VTD_OWNER_FIELDS,
      sources: () => this.#resolved.all,
      present: (source) => this.#present(source),
    };
    this.sanitizer = options.sanitizer
      ? new DmaSanitizer(engine, this.#translation, sanitized, options.sanitizer)
      : null;
    const plain = this.#makeTarget(onDeviceTlbInvalidation);
    const targetOf = (from: "queue" | "registers"): InvalidationTarget =>
      this.sanitizer ? sanitizedVtdTarget(plain, this.sanitizer, from) : plain;
    const memory = new UnitMemory(engine);
    this.faults = new FaultRecorder({ capabilities, ...sink });
    this.queue = new InvalidationQueue({
      capabilities,
      faults: this.faults,
      memory,
      target: targetOf("queue"),
      ...sink,
      ...(deviceResponds ? { responds: deviceResponds } : {}),
      ...(onPageGroupResponse ? { onPageGroupResponse } : {}),
    });
    this.registers = new RegisterFile({
      capabilities,
      faults: this.faults,
      queue: this.queue,
      target: targetOf("registers"),
    });

    const registers = this.registers;
    this.#source = {
      capabilities,
      get rootTable() {
        return registers.rootTable;
      },
      read: (structure, address, count) => {
        const words = memory.readWords(address, count);
        this.#translation.countConfigurationRead();
        this.sanitizer?.watch(address);
        this.#one.note({ structure, address, words });
        return words;
      },
      cachedContext: (sid) => this.#configuration.context(sid),
      cacheContext: (context) => this.#configuration.keepContext(context),
      cachedPasid: (sid, pasid) => this.#configuration.pasid(sid, pasid),
      cachePasid: (pasid) => this.#configuration.keepPasid(pasid),
    };
    this.#handler = {
      resolve: (batch, index, sid, pasid) => this.#resolveIn(batch, index, sid, pasid),
      intercepted: (batch, index, sid) => this.#intercepted(batch, index, sid),
      faulted: (batch, index, sid, pasid) => this.#walkFaulted(batch, index, sid, pasid),
    };
    this.#one = new SingleRequest(this.#translation, this.#handler, (read, request) => this.#describe(read, request));
  }

  /** Reads a register, 32 bits. Throws `misaligned`, `invalid` outside the register space. */
  read32(offset: number): number {
    return this.registers.read32(offset);
  }

  read64(offset: number): bigint {
    return this.registers.read64(offset);
  }

  /** Writes a register, 32 bits. What the write starts is complete when it returns. */
  write32(offset: number, value: number): void {
    this.registers.write32(offset, value);
  }

  write64(offset: number, value: bigint): void {
    this.registers.write64(offset, value);
  }

  // ---- Requests ----

  /** One untranslated (default) or translated request. For translation requests (ATS) there is `requestTranslation`. */
  translate(request: DmaRequest): VtdTranslation | VtdFault {
    const { type = "untranslated" } = request;
    if (type === "translation") {
      throw new IommuError("invalid", "translate a translation request", request.iova, "use requestTranslation");
    }
    this.#check(request);
    if (type === "translated") return this.#translated(request);
    if (!this.registers.translationEnabled) return passed(request.iova);
    this.#translateOne(request, this.#accessOf(request));
    if (this.#fault) return this.#fault;
    if (this.#interrupt) return { ...passed(request.iova), interrupt: true };
    const { physical, pageSize } = this.#one;
    return { ok: true, physical, pageSize, interrupt: false };
  }

  /**
   * A translation request (ATS, PCI Express Base section 10.2). With `noWrite` the device does not ask for write
   * permission. What Table 30 lists as recoverable completes successfully without permission.
   */
  requestTranslation(request: Omit<DmaRequest, "access" | "type">, noWrite = false): TranslationCompletion | VtdFault {
    const asked: DmaRequest = { ...request, type: "translation" };
    this.#check(asked);
    if (!this.registers.translationEnabled) {
      return { ok: false, code: 0, name: "translation is not enabled", reported: false, completion: "UR" };
    }
    const answer = this.#withoutTranslation(asked, noWrite);
    if (answer) {
      this.#translation.countRequest();
      return answer;
    }
    const { privileged = false, execute = false } = request;
    this.#translation.configurationUncounted(() => this.#translateOne(asked, { read: false, privileged, execute }));
    const completes = (): boolean => this.#fault?.completion === "success" || this.#fault?.completion === "effective";
    if (this.#fault) return completes() ? NOTHING_PERMITTED : this.#fault;
    const { governing } = this.#resolved.known(request.sid, request.pasid ?? null);
    const grants =
      this.#translation.lastGrants >>> (this.#privileged(asked, governing) ? layout.GRANT_PRIVILEGED_SHIFT : 0);
    const write = (grants & layout.GRANT_WRITE) !== 0 && !noWrite;
    if (write) {
      // The device will write without asking again: dirty flags are set now.
      const asWrite = (): void => this.#translateOne(asked, { write: true, privileged, execute });
      this.#translation.uncounted(asWrite);
      if (this.#fault) return completes() ? NOTHING_PERMITTED : this.#fault;
    }
    const { physical, pageSize } = this.#one;
    const size = pageSize ?? SMALLEST_TRANSLATION_UNIT;
    this.sanitizer?.granted(this.#resolved.known(request.sid, request.pasid ?? null), request.iova, physical, size);
    return {
      ok: true,
      physical,
      read: (grants & layout.GRANT_READ) !== 0,
      write,
      untranslatedOnly: false,
      size,
    };
  }

  /** The answer to a translation request that no table is needed for; null when one is. */
  #withoutTranslation(asked: DmaRequest, noWrite: boolean): TranslationCompletion | VtdFault | null {
    const wrong = checkTableMode(this.#source, asked);
    if (wrong) return this.#report(asked, wrong);
    const { iova, pasid } = asked;
    // Table 30, S.1 and S.2
    if (pasid === undefined && inInterruptRange(iova)) {
      if (noWrite) return NOTHING_PERMITTED;
      return { ...NOTHING_PERMITTED, physical: physicalAddress(iova), write: true, untranslatedOnly: true };
    }
    if (this.#govern(asked) || !this.#fault) return null;
    return this.#fault.completion === "success" ? NOTHING_PERMITTED : this.#fault;
  }

  createBatch(capacity: number): UnitBatch {
    return new UnitBatch(this.#engine, capacity);
  }

  /**
   * Translates the first `count` requests of a batch, untranslated ones, in order: physical addresses out, and in `code`
   * 0 or the fault reason (with UNREPORTED when it was not reported). `pasids`: the PASID column is filled in.
   */
  translateBatch(batch: UnitBatch, count: number, access: Access | "each" = {}, pasids = false): void {
    if (!this.registers.translationEnabled) {
      batch.prepare(count, 0, false);
      batch.physical.set(batch.iova.subarray(0, count));
      batch.status.fill(layout.WALK_OK, 0, count);
      return;
    }
    this.#access = access;
    this.#request = null;
    this.#translation.translate(batch, count, access, pasids, this.#handler);
  }

  /** Runs one request and returns with its result every entry that was read on the way, in order. */
  trace<T>(work: () => T): Traced<T> {
    return this.#one.trace(work);
  }

  /** Empties every cache, as hardware reset does. Registers and fault records stay. */
  invalidateCaches(): void {
    this.#configuration.invalidateAll();
    this.#translation.invalidateAll();
    this.#resolved.forgetKeptForIotlb();
  }

  get counters(): UnitCounters {
    return this.#translation.counters;
  }

  /** By the names of the performance monitor. Caches without a geometry (option `caches`) count nothing. */
  get performanceCounters(): Readonly<Record<string, number>> {
    const counters = this.#translation.detailedCounters;
    return { ...vtdNames(counters), iommu_mrds: this.counters.iommuMrds + counters.configurationReads };
  }

  /** Look-ups and hits of every cache; zeroes where there is none. */
  get detailedCounters(): TranslationCounters {
    return this.#translation.detailedCounters;
  }

  /** Gives the unit's memory back; it must not be used any more. */
  release(): void {
    this.#resolved.forgetWhere(() => true);
    this.sanitizer?.release();
    this.#translation.release();
    this.#one.release();
  }

  // ---- What governs a source ----

  #check({ sid, iova, pasid }: DmaRequest): void {
    if (!Number.isInteger(sid) || sid < 0 || sid > 0xffff) {
      throw new IommuError("invalid", `request of source ${sid}`, iova, "a requester ID has 16 bits");
    }
    if (pasid !== undefined && (!Number.isInteger(pasid) || pasid < 0 || pasid > 0xfffff)) {
      throw new IommuError("invalid", `request with PASID ${pasid}`, iova, "a PASID has 20 bits");
    }
  }

  /** What governs a request; null, with the fault reported, when nothing does. */
  #govern(request: DmaRequest): Governing | null {
    this.#fault = null;
    const found = lookUp(this.#source, request);
    if (!isFault(found)) return found;
    this.#fault = this.#report(request, found);
    return null;
  }

  #resolveIn(batch: UnitBatch, index: number, sid: number, pasid: number | null): boolean {
    const request = this.#requestIn(batch, index, sid, pasid);
    const found = lookUp(this.#source, request);
    if (isFault(found)) {
      this.#answer(batch, index, request, found);
      return false;
    }
    const vtd = makeRegime(found, this.capabilities, sid, pasid);
    const places = this.#configuration.placesOf(found);
    const resolved = this.#resolved.resolve({ sid, pasid }, vtd.regime, places, (handle) => {
      return { governing: found, sid, pasid, vtd, handle };
    });
    this.sanitizer?.compare(resolved);
    return true;
  }

  /** What governs a source by memory alone, and which cache has something else. */
  #present(source: ResolvedSource): { readonly regime: Regime | null; readonly cache: string } {
    const { sid, pasid } = source;
    const memory = new UnitMemory(this.#engine);
    const uncached: EntrySource = {
      capabilities: this.capabilities,
      rootTable: this.registers.rootTable,
      read: (_structure, address, count) => memory.readWords(address, count),
      cachedContext: () => undefined,
      cacheContext: () => {},
      cachedPasid: () => undefined,
      cachePasid: () => {},
    };
    const found = lookUp(uncached, { sid, iova: privateAddress(0n), ...(pasid === null ? {} : { pasid }) });
    const inPasidTable = isFault(found) ? found.fault >= FIRST_PASID_FAULT : this.#hasContextOf(sid, found);
    const cache = inPasidTable ? "PASID cache" : "context cache";
    if (isFault(found)) return { regime: null, cache };
    return { regime: makeRegime(found, this.capabilities, sid, pasid).regime, cache };
  }

  #hasContextOf(sid: number, { context }: Governing): boolean {
    const cached = this.#configuration.peekContext(sid)?.scalable;
    const { scalable } = context;
    return cached?.table === scalable?.table && cached?.ridPasid === scalable?.ridPasid && scalable !== null;
  }

  // ---- Single requests ----

  #accessOf({ access = "read", privileged, execute }: DmaRequest): Access {
    const more = { privileged: privileged ?? false, execute: execute ?? false };
    if (access === "write") return { write: true, ...more };
    if (access === "atomic") return { read: true, write: true, ...more };
    // Without ZLR a zero-length read is a read (section 11.4.2).
    if (access === "zero-length-read" && this.capabilities.cap.ZLR) return { read: false, ...more };
    return { read: true, ...more };
  }

  #privileged(request: DmaRequest, { context }: Governing): boolean {
    return request.pasid === undefined ? (context.scalable?.ridPrivileged ?? false) : (request.privileged ?? false);
  }

  #translateOne(request: DmaRequest, access: Access): void {
    this.#access = access;
    this.#request = request;
    this.#fault = null;
    this.#interrupt = false;
    this.#one.translate(request, access);
    this.#request = null;
  }

  #describe({ table, level, address, entry }: EntryRead, request: DmaRequest): StructureRead {
    const resolved = this.#resolved.get(request.sid, request.pasid ?? null);
    const first = resolved?.vtd.firstLevels && resolved.handle.first === table;
    return {
      structure: `${first ? "FS" : "SS"}-${LEVEL_NAMES[level]}`,
      address,
      words: entry === null ? null : [entry],
    };
  }

  /** A request with a translated address passes once its context allows it (sections 4.2.3 and 7.1.3). */
  #translated(request: DmaRequest): VtdTranslation | VtdFault {
    if (!this.registers.translationEnabled) return passed(request.iova);
    const governing = this.#govern(request);
    if (!governing) return this.#fault ?? passed(request.iova);
    const [beyond, interrupt] = governing.pasidEntry ? TRANSLATED_FAULTS.scalable : TRANSLATED_FAULTS.legacy;
    const { faultProcessingDisabled } = governing;
    if (request.iova >> BigInt(this.capabilities.haw) !== 0n) {
      return this.#report(request, { fault: beyond, faultProcessingDisabled });
    }
    if (inInterruptRange(request.iova)) {
      return this.#report(request, { fault: interrupt, faultProcessingDisabled });
    }
    if (request.sanitized ?? true) this.sanitizer?.translated(request.sid, request.iova, this.#accessOf(request));
    return passed(request.iova);
  }

  // ---- Faults ----

  /** The request that a member of a batch is. */
  #requestIn(batch: UnitBatch, index: number, sid: number, pasid: number | null): DmaRequest {
    if (this.#request) return this.#request;
    const { read, write, privileged, execute } = accessAt(batch, index, this.#access);
    return {
      sid,
      iova: batch.iova[index] as Iova,
      access: write ? (read ? "atomic" : "write") : "read",
      privileged,
      execute,
      ...(pasid === null ? {} : { pasid }),
    };
  }

  #intercepted(batch: UnitBatch, index: number, sid: number): void {
    const request = this.#requestIn(batch, index, sid, null);
    if (request.access === "write") {
      batch.physical[index] = request.iova;
      batch.status[index] = layout.WALK_OK;
      this.#interrupt = true;
      return;
    }
    this.#answer(batch, index, request, { fault: NOT_AN_INTERRUPT, faultProcessingDisabled: false });
  }

  #walkFaulted(batch: UnitBatch, index: number, sid: number, pasid: number | null): void {
    const resolved = this.#resolved.known(sid, pasid);
    const request = this.#requestIn(batch, index, sid, pasid);
    const { translator, legacy, firstLevels } = resolved.vtd;
    const writes = request.access === "write" || request.access === "atomic";
    const code = walkFault(batch.status[index], translator, legacy, writes, firstLevels);
    const { faultProcessingDisabled } = resolved.governing;
    this.#answer(batch, index, request, { fault: code, faultProcessingDisabled });
  }

  #answer(batch: UnitBatch, index: number, request: DmaRequest, fault: ConfigurationFault): void {
    const reported = this.#report(request, fault);
    this.#fault = reported;
    batch.status[index] = layout.UNIT_OTHER;
    batch.code[index] = reported.code | (reported.reported ? 0 : UNREPORTED);
  }

  /** Reports a fault unless FPD or a successful completion suppresses it (section 7.1.3). */
  #report(request: DmaRequest, { fault, faultProcessingDisabled }: ConfigurationFault): VtdFault {
    const reason = FAULT_REASONS.get(fault);
    if (!reason) throw new Error(`there is no fault reason ${fault}`);
    const { type = "untranslated", access = "read", sid, iova, pasid, privileged, execute } = request;
    const reported = isReported(reason, type) && !(reason.qualified && faultProcessingDisabled);
    if (reported) {
      this.faults.record({
        reason: fault,
        sid,
        address: iova,
        access: access === "zero-length-read" ? "read" : access,
        type,
        ...(pasid === undefined ? {} : { pasid, privileged: privileged ?? false, execute: execute ?? false }),
      });
    }
    return { ok: false, code: fault, name: reason.name, reported, completion: reason[type] };
  }

  // ---- Invalidation (section 6.5, Tables 23 and 24) ----

  #makeTarget(onDeviceTlb: VtdUnitOptions["onDeviceTlbInvalidation"]): InvalidationTarget {
    return {
      invalidateContextCache: (request: ContextCacheInvalidation) => this.#configuration.invalidateContexts(request),
      invalidatePasidCache: (request: PasidCacheInvalidation) => this.#configuration.invalidatePasids(request),
      invalidateIotlb: (request: IotlbInvalidation) => {
        this.#translation.invalidate(vtdIotlbSelection(request));
        if (request.granularity === "global") this.#resolved.forgetKeptForIotlb();
      },
      invalidatePasidIotlb: (request: PasidIotlbInvalidation) =>
        this.#translation.invalidate(vtdPasidIotlbSelection(request)),
      invalidateDeviceTlb: (request: DeviceTlbInvalidation) => onDeviceTlb?.(request),
      // Interrupt entries are not emulated, so none is cached.
      invalidateInterruptEntries: (_request: InterruptEntryInvalidation) => {},
    };
  }
}

function passed(iova: bigint): VtdTranslation {
  return { ok: true, physical: physicalAddress(iova), pageSize: null, interrupt: false };
}
