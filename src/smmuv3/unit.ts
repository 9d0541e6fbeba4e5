/** An Arm SMMUv3: Arm SMMU Architecture Specification version 3 (IHI 0070 G.b). Non-secure streams only. */
import * as layout from "../../assembly/layout.js";
import { smmuv3Names } from "../access/counters.js";
import { type Iova, type PhysicalAddress, physicalAddress } from "../engine/addresses.js";
import type { Engine } from "../engine/engine.js";
import { IommuError } from "../engine/errors.js";
import type { Access } from "../engine/page-table.js";
import { DmaSanitizer, type SanitizerOptions } from "../sanitizer/sanitizer.js";
import { sanitizedSmmuTarget, SMMU_OWNER_FIELDS } from "../sanitizer/smmuv3.js";
import { UnitMemory } from "../unit/memory.js";
import { type DmaRequest, NOTHING_PERMITTED, SMALLEST_TRANSLATION_UNIT, type StructureRead } from "../unit/request.js";
import { SingleRequest, type Traced } from "../unit/single-request.js";
import { type ResolvedSource, ResolvedSources } from "../unit/sources.js";
import {
  accessAt,
  type EntryRead,
  type Regime,
  type Stage,
  Translation,
  type TranslationHandler,
  type TranslationOptions,
  type UnitCounters,
  UnitBatch,
} from "../unit/translation.js";
import {
  atsMode,
  badTranslationRequest,
  type SmmuCompletion,
  type TranslationRequest,
  translationForbidden,
} from "./ats.js";
import { CommandQueue } from "./command-queue.js";
import { EventQueue } from "./event-queue.js";
import type { StreamTableEntry } from "./entries.js";
import { EVENT, type EventRecord, eventName } from "./events.js";
import { type Identification, type IdentificationOptions, makeIdentification } from "./identification.js";
import type {
  AtcInvalidation,
  ConfigurationInvalidation,
  InvalidationTarget,
  PageGroupResponse,
  ResumeRequest,
  TlbInvalidation,
} from "./invalidation.js";
import {
  type Configuration,
  type ConfigurationFault,
  type ConfigurationSource,
  isFault,
  type Located,
  lookUpContext,
  lookUpEntry,
} from "./lookup.js";
import { type InterruptSink, Notifications } from "./notifications.js";
import { makeRegime, stage2Table, tlbSelection } from "./regime.js";
import { type PageRequest, PageRequestQueue } from "./page-request-queue.js";
import { RegisterFile } from "./registers.js";
import { StalledTransactions } from "./stalls.js";
import {
  configurationFault,
  type Incoming,
  intermediateAddress,
  type ResolvedStream,
  type TranslationFault,
  walkEvent,
  walkFault,
} from "./walk-events.js";

/** Options of a unit: what it has, the size of its TLB, and what it is connected to. */
export interface SmmuUnitOptions extends IdentificationOptions, TranslationOptions {
  /** Entries of the configuration cache (STE with CD); default 256. */
  readonly configurationCacheEntries?: number;
  /** Looks for accesses that stale translations let through: see src/sanitizer/. Default: nobody does. */
  readonly sanitizer?: SanitizerOptions;
  readonly onInterrupt?: InterruptSink;
  readonly onAtcInvalidation?: (request: AtcInvalidation) => void;
  readonly onPageGroupResponse?: (response: PageGroupResponse) => void;
  /** A stalled transaction is retried, terminated or aborted: with "retry" the device asks again. */
  readonly onResume?: (request: ResumeRequest) => void;
  readonly deviceResponds?: (sid: number) => boolean;
}

/** A transaction that did not reach memory. */
export interface SmmuFault {
  readonly ok: false;
  /** Event number; null: ended without an event. */
  readonly code: number | null;
  readonly name: string;
  /** The event, when there is one to be recorded. */
  readonly event: EventRecord | null;
  /**
   * What the requester gets. RAZ/WI: reads return zero, writes are ignored (section 5.5). Unsupported Request and Completer
   * Abort answer translation requests. Null: nothing yet, the transaction is stalled.
   */
  readonly completion: "abort" | "RAZ/WI" | "UR" | "CA" | null;
  readonly stalled: boolean;
}

export interface SmmuTranslation {
  readonly ok: true;
  readonly physical: PhysicalAddress;
  /** Bytes of the page that the translation is good for; null when the address passed untranslated. */
  readonly pageSize: bigint | null;
}

/** Flag of a batch's `code`: no event was recorded. With code 0: an abort that has no event at all. */
export const UNRECORDED = 1 << 16;

/** The SubstreamID under which what translated transactions go through is kept: no transaction has it. */
const TRANSLATED = 2 ** 20;

/** A descriptor read, by the architecture's names: levels count downwards, the last is 3. */
function describe({ level, address, entry }: EntryRead, stage: "S1" | "S2"): StructureRead {
  return { structure: `${stage}-L${4 - level}`, address, words: entry === null ? null : [entry] };
}

const NO_ACCESS = { write: false, privileged: false, execute: false } as const;

/** SSIDs have at most 20 bits. */
const SSIDS = 2 ** 20;

/**
 * One SMMU. A driver programs it by registers and by its Command queue; devices send transactions. It lives in the engine's
 * physical memory, from which it reads its tables and queues.
 */
export class SmmuUnit {
  readonly identification: Identification;
  readonly notifications: Notifications;
  readonly events: EventQueue;
  readonly pageRequests: PageRequestQueue;
  readonly commands: CommandQueue;
  readonly registers: RegisterFile;
  readonly stalls: StalledTransactions;
  /** Null without the option. */
  readonly sanitizer: DmaSanitizer | null;
  readonly #engine: Engine;
  readonly #translation: Translation;
  readonly #resolved: ResolvedSources<ResolvedStream>;
  readonly #one: SingleRequest;
  readonly #source: ConfigurationSource;
  readonly #handler: TranslationHandler;
  #access: Access | "each" = {};
  /** The translation request being made. */
  #asked: TranslationRequest | null = null;
  #denied: "denied" | "nothing" | null = null;
  #fault: SmmuFault | null = null;

  /** Throws `invalid` for impossible identification registers or cache sizes, `memory-exhausted`. */
  constructor(engine: Engine, options: SmmuUnitOptions = {}) {
    const { onInterrupt, onAtcInvalidation, onPageGroupResponse, onResume, deviceResponds } = options;
    this.#engine = engine;
    this.identification = makeIdentification(options);
    const { identification } = this;
    this.#translation = new Translation(engine, options);
    this.#resolved = new ResolvedSources(this.#translation, options.configurationCacheEntries ?? 256);
    const memory = new UnitMemory(engine);
    this.notifications = new Notifications({ identification, memory, ...(onInterrupt ? { onInterrupt } : {}) });
    const { notifications } = this;
    this.events = new EventQueue({ identification, memory, notifications });
    this.pageRequests = new PageRequestQueue({
      identification,
      memory,
      notifications,
      onOverflow: (request) => this.#overflowResponse(request),
      ...(onPageGroupResponse ? { onResponse: onPageGroupResponse } : {}),
    });
    this.stalls = new StalledTransactions(identification.idr5.STALL_MAX, this.events, onResume);
    this.sanitizer = options.sanitizer
      ? new DmaSanitizer(
          engine,
          this.#translation,
          {
            fields: SMMU_OWNER_FIELDS,
            sources: () => this.#resolved.all,
            present: (source) => this.#present(source),
          },
          options.sanitizer,
        )
      : null;
    const plain: InvalidationTarget = {
      invalidateConfiguration: (request) => this.#invalidateConfiguration(request),
      invalidateTlb: (request) => this.#invalidateTlb(request),
      invalidateAtc: (request) => onAtcInvalidation?.(request),
    };
    const target = this.sanitizer ? sanitizedSmmuTarget(plain, this.sanitizer) : plain;
    this.commands = new CommandQueue({
      identification,
      memory,
      notifications,
      target,
      ...(deviceResponds ? { responds: deviceResponds } : {}),
      ...(onPageGroupResponse ? { onPageGroupResponse } : {}),
      onResume: (request) => this.stalls.resume(request),
      onStallTermination: (sid) => this.stalls.abort(sid),
    });
    this.registers = new RegisterFile({
      identification,
      notifications,
      commandQueue: this.commands,
      eventQueue: this.events,
      pageRequestQueue: this.pageRequests,
      onTranslation: (enabled) => {
        if (!enabled) this.stalls.abort(null);
      },
    });
    const { registers } = this;
    this.#source = {
      smmu: identification,
      get streamTable() {
        return registers.streamTable;
      },
      get recordsInvalidStreams() {
        return registers.recordsInvalidStreamIds;
      },
      get e2h() {
        return registers.e2h;
      },
      read: (structure, address, count) => {
        const words = memory.readWords(address, count);
        this.sanitizer?.watch(address);
        this.#one.note({ structure, address, words });
        return words;
      },
      locate: (entry, ipa) => {
        if (!entry.stage2) throw new Error("a context descriptor behind a second stage that is not there");
        return this.#locate(stage2Table(entry.stage2), ipa);
      },
    };
    this.#handler = {
      resolve: (batch, index, sid, ssid) => this.#resolveIn(batch, index, sid, ssid),
      intercepted: () => {},
      faulted: (batch, index, sid, ssid) => this.#walkFaulted(batch, index, sid, ssid),
    };
    this.#one = new SingleRequest(this.#translation, this.#handler, (read, request) => this.#describe(read, request));
  }

  /** Reads a register of pages 0 and 1, 32 bits. Throws `misaligned`, `invalid` outside the register space. */
  read32(offset: number): number {
    return this.registers.read32(offset);
  }

  read64(offset: number): bigint {
    return this.registers.read64(offset);
  }

  /** Writes a register. What the write starts is complete when it returns. */
  write32(offset: number, value: number): void {
    this.registers.write32(offset, value);
  }

  write64(offset: number, value: bigint): void {
    this.registers.write64(offset, value);
  }

  /**
   * One untranslated (default) or translated transaction; the PASID of the request is its SubstreamID. For translation
   * requests (ATS) there is `requestTranslation`.
   */
  translate(request: DmaRequest): SmmuTranslation | SmmuFault {
    const { iova, access = "read", privileged = false, execute = false, type = "untranslated" } = request;
    if (type === "translation") {
      throw new IommuError("invalid", "translate a translation request", iova, "use requestTranslation");
    }
    this.#check(request);
    const kind: Access = {
      read: access === "read" || access === "atomic" || access === "zero-length-read",
      write: access === "write" || access === "atomic",
      privileged,
      execute,
    };
    if (type === "translated") return this.#translated(request, kind);
    return this.#whileDisabled(iova) ?? this.#translate(request, kind);
  }

  /**
   * A translation request (ATS, section 3.9.1.2). `noWrite`, NW: the device does not ask for write permission. What is not
   * mapped, or not permitted, completes successfully without the permission.
   */
  requestTranslation(request: Omit<DmaRequest, "access" | "type">, noWrite = false): SmmuCompletion | SmmuFault {
    this.#check({ ...request, type: "translation" });
    const { sid, iova, pasid } = request;
    // Without a PASID a request is one for data, unprivileged.
    const inPasid = pasid === undefined ? { privileged: false, execute: false } : {};
    const asked = { ...request, ...inPasid, noWrite };
    if (!this.registers.translationEnabled) return this.#end("UR", badTranslationRequest(asked));
    const known = this.#resolved.get(sid, pasid ?? null);
    const refused = known ? this.#refuse(asked, known.configuration.entry) : null;
    if (refused) {
      this.#translation.countRequest();
      return refused;
    }
    if (known) this.#forgetPage(iova);
    const { privileged = false, execute = false } = asked;
    const granted = { write: false, read: false, execute: false };
    let reached: Pick<SmmuCompletion, "physical" | "size"> | null = null;
    let steps = 0;
    for (const right of ["write", "read", "execute"] as const) {
      if (right === "write" ? noWrite : right === "execute" && !(execute && granted.read)) continue;
      const make = () => this.#permits(asked, { read: false, privileged, [right]: true });
      const answer = steps++ === 0 ? make() : this.#translation.uncounted(make);
      if (typeof answer === "object") return answer;
      if (answer === "nothing") return { ...NOTHING_PERMITTED, execute: false };
      if (answer === "denied") continue;
      granted[right] = true;
      reached ??= this.#reached(asked);
    }
    if (reached) this.#granted(asked, reached);
    return { ...NOTHING_PERMITTED, ...granted, ...reached };
  }

  /** A Page Request message (PRI): queued, answered by the SMMU itself, or discarded. */
  pageRequest(request: PageRequest): "queued" | "responded" | "discarded" {
    this.#check({ ...request, iova: request.address as Iova });
    if (this.identification.idr0.PRI === 0) {
      throw new IommuError("invalid", "page request", request.address, "this SMMU has no PRI");
    }
    return this.pageRequests.accept(request);
  }

  createBatch(capacity: number): UnitBatch {
    return new UnitBatch(this.#engine, capacity);
  }

  /**
   * Translates the first `count` transactions of a batch, in order: physical addresses out, and in `code` 0 or the event
   * number (with UNRECORDED when no event was recorded). `pasids`: the column of SubstreamIDs is filled in.
   */
  translateBatch(batch: UnitBatch, count: number, access: Access | "each" = {}, pasids = false): void {
    if (!this.registers.translationEnabled) {
      batch.prepare(count, 0, false);
      for (let i = 0; i < count; i++) {
        const disabled = this.#whileDisabled(batch.iova[i]);
        batch.physical[i] = batch.iova[i];
        if (disabled && !disabled.ok) batch.code[i] = UNRECORDED;
      }
      return;
    }
    this.#access = access;
    this.#translation.translate(batch, count, access, pasids, this.#handler);
  }

  /** Runs one transaction and returns with its result every entry that was read on the way, in order. */
  trace<T>(work: () => T): Traced<T> {
    return this.#one.trace(work);
  }

  /** Empties every cache. Registers and events stay. */
  invalidateCaches(): void {
    this.#resolved.forgetWhere(() => true);
    this.#translation.invalidateAll();
  }

  get counters(): UnitCounters {
    return this.#translation.counters;
  }

  /** By the names of the performance monitor counter group; the configuration cache is not counted. */
  get performanceCounters(): Readonly<Record<string, number>> {
    const names = smmuv3Names(this.#translation.detailedCounters);
    return { ...names, trans_table_walk_access: this.counters.iommuMrds };
  }

  /** Gives the unit's memory back; it must not be used any more. */
  release(): void {
    this.#resolved.forgetWhere(() => true);
    this.sanitizer?.release();
    this.#translation.release();
    this.#one.release();
  }

  /** What GBPA makes of a transaction while the SMMU is disabled (section 3.11); null when it is enabled. */
  #whileDisabled(iova: bigint): SmmuTranslation | SmmuFault | null {
    if (this.registers.translationEnabled) return null;
    return this.registers.bypassAborts ? this.#end("abort", null) : this.#pass(iova);
  }

  /** An address that passes as it is; none that no memory can have. */
  #pass(iova: bigint): SmmuTranslation | SmmuFault {
    if (iova >> BigInt(this.identification.oasBits) !== 0n) return this.#end("abort", null);
    return { ok: true, physical: physicalAddress(iova), pageSize: null };
  }

  #check({ sid, iova, pasid, type = "untranslated" }: DmaRequest): void {
    if (type !== "untranslated" && this.identification.idr0.ATS === 0) {
      throw new IommuError("invalid", `${type} request`, iova, "this SMMU has no ATS");
    }
    if (!Number.isInteger(sid) || sid < 0 || sid > 0xffff_ffff) {
      throw new IommuError("invalid", `transaction of stream ${sid}`, iova, "a StreamID has 32 bits");
    }
    if (pasid !== undefined && (!Number.isInteger(pasid) || pasid < 0 || pasid >= SSIDS)) {
      throw new IommuError("invalid", `transaction of substream ${pasid}`, iova, "a SubstreamID has 20 bits");
    }
  }

  #translate(request: DmaRequest, access: Access): SmmuTranslation | SmmuFault {
    this.#access = access;
    this.#fault = null;
    this.#one.translate(request, access);
    if (this.#fault) return this.#fault;
    const { physical, pageSize } = this.#one;
    return { ok: true, physical, pageSize };
  }

  // ---- ATS (section 3.9.1) ----

  /** A translated transaction: without a PASID, whatever it carried. */
  #translated(
    { sid, iova, sanitized = true }: DmaRequest,
    { read = false, write = false }: Access,
  ): SmmuTranslation | SmmuFault {
    if (sanitized) this.sanitizer?.translated(sid, iova, { read, write });
    if (!this.registers.translationEnabled) return this.#end("abort", translationForbidden(sid, iova, !write));
    if (!this.registers.atsChecked) return this.#pass(iova);
    return this.#translate({ sid, iova, pasid: TRANSLATED }, { read, write });
  }

  /** The answer to a translation request for a stream that has no ATS; null when it has. */
  #refuse(asked: TranslationRequest, entry: StreamTableEntry): SmmuFault | null {
    if (entry.aborts) return this.#end("UR", null);
    if (atsMode(entry, this.registers.atsChecked) !== "disabled") return null;
    return this.#end("UR", badTranslationRequest(asked));
  }

  /** Whether a page permits an access; "nothing": it permits none at all. */
  #permits(asked: TranslationRequest, access: Access): "permitted" | "denied" | "nothing" | SmmuFault {
    this.#asked = asked;
    this.#denied = null;
    const result = this.#translate(asked, access);
    this.#asked = null;
    if (result.ok) return "permitted";
    return this.#denied ?? result;
  }

  /** What the device is to use, as the last step of a translation request found it. */
  #reached({ sid, pasid, iova }: TranslationRequest): Pick<SmmuCompletion, "physical" | "size"> {
    const resolved = this.#resolved.known(sid, pasid ?? null);
    const split = atsMode(resolved.configuration.entry, this.registers.atsChecked) === "split-stage";
    const physical = split ? physicalAddress(intermediateAddress(this.#engine, resolved, iova)) : this.#one.physical;
    return { physical, size: this.#one.pageSize ?? SMALLEST_TRANSLATION_UNIT };
  }

  /** An intermediate address, which split-stage ATS gives, is translated again when the device uses it. */
  #granted(
    { sid, pasid, iova }: TranslationRequest,
    { physical, size }: Pick<SmmuCompletion, "physical" | "size">,
  ): void {
    const resolved = this.#resolved.known(sid, pasid ?? null);
    if (atsMode(resolved.configuration.entry, this.registers.atsChecked) === "split-stage") return;
    this.sanitizer?.granted(resolved, iova, physical, size);
  }

  /** Makes the next translation of an address a walk: a TLB entry does not tell the IPA that split-stage ATS answers. */
  #forgetPage(iova: bigint): void {
    this.#translation.invalidate({ iotlb: [{ first: iova, last: iova }] });
  }

  /** Section 8.1, where the response to a request with a PASID depends on the STE. */
  #overflowResponse({ sid, ...request }: PageRequest): Pick<PageGroupResponse, "ssid" | "response"> {
    const ssid = request.pasid ?? null;
    if (this.identification.idr3.PPS === 1) return { ssid, response: "success" };
    const entry = lookUpEntry(this.#source, sid);
    if (isFault(entry)) {
      const { event } = configurationFault(entry, { ...NO_ACCESS, sid, ssid: null, iova: 0n });
      this.#end("abort", entry.recorded && this.registers.recordsAtsConfigurationErrors ? event : null);
      return { ssid: null, response: "failure" };
    }
    return { ssid: entry.pasidOnAutomaticResponse ? ssid : null, response: "success" };
  }

  // ---- Configuration ----

  #resolveIn(batch: UnitBatch, index: number, sid: number, ssid: number | null): boolean {
    const entry = lookUpEntry(this.#source, sid);
    if (isFault(entry)) return this.#misconfigured(batch, index, sid, ssid, entry);
    const refused = this.#refuseIn(batch, index, sid, ssid, entry);
    if (refused) return this.#answer(batch, index, refused);
    const found = ssid === TRANSLATED ? { entry, context: null } : lookUpContext(this.#source, entry, ssid);
    if (isFault(found)) return this.#misconfigured(batch, index, sid, ssid, found);
    const handle = this.#translation.setRegime(sid, ssid, this.#regimeOf(found, ssid));
    const resolved = { configuration: found, sid, pasid: ssid, handle };
    this.#resolved.add(resolved);
    this.sanitizer?.compare(resolved);
    if (this.#asked) this.#forgetPage(batch.iova[index]);
    return true;
  }

  /** What memory says of a stream, and which structure in use differs from that. */
  #present({ sid, pasid }: ResolvedSource): { readonly regime: Regime | null; readonly cache: string } {
    const memory = new UnitMemory(this.#engine);
    // No part of the request that is being traced.
    const source = {
      ...this.#source,
      read: (_structure: string, address: bigint, count: number) => memory.readWords(address, count),
    };
    const entry = lookUpEntry(source, sid);
    const known = this.#resolved.get(sid, pasid)?.configuration.entry;
    if (isFault(entry) || entry.aborts) return { regime: null, cache: "STE" };
    const cache = known?.stage1 && entry.stage1 && known.contexts.table === entry.contexts.table ? "CD" : "STE";
    const found = pasid === TRANSLATED ? { entry, context: null } : lookUpContext(source, entry, pasid);
    return { regime: isFault(found) ? null : this.#regimeOf(found, pasid), cache };
  }

  /** What an STE alone ends. */
  #refuseIn(
    batch: UnitBatch,
    index: number,
    sid: number,
    ssid: number | null,
    entry: StreamTableEntry,
  ): SmmuFault | null {
    if (this.#asked) return this.#refuse(this.#asked, entry);
    if (entry.aborts) return this.#end("abort", null);
    if (ssid !== TRANSLATED || atsMode(entry, this.registers.atsChecked) !== "disabled") return null;
    const { iova, write } = this.#incoming(batch, index, sid, null);
    return this.#end("abort", translationForbidden(sid, iova, !write));
  }

  /** A translated transaction goes through stage 2 under split-stage ATS, and otherwise through nothing. */
  #regimeOf(configuration: Configuration, ssid: number | null): Regime {
    const { entry } = configuration;
    const split = atsMode(entry, this.registers.atsChecked) === "split-stage";
    if (ssid !== TRANSLATED || split) return makeRegime(configuration, this.identification);
    return makeRegime({ entry: { ...entry, stage2: null }, context: null }, this.identification);
  }

  /** The second stage's answer for the address of a context descriptor. */
  #locate(stage: Stage, ipa: bigint): Located {
    const { status, physical } = this.#translation.walkStage(stage, ipa);
    this.#one.noteEntries((read) => describe(read, "S2"));
    if ((status & layout.WALK_OUTCOME_MASK) === layout.WALK_OK) return { physical };
    const event = walkEvent(status);
    return event === EVENT.F_WALK_EABT ? { event, fetchAddress: physical } : { event };
  }

  // ---- Faults ----

  #incoming(batch: UnitBatch, index: number, sid: number, ssid: number | null): Incoming {
    const { write, privileged, execute } = accessAt(batch, index, this.#access);
    const iova = batch.iova[index];
    return { sid, ssid: ssid === TRANSLATED ? null : ssid, iova, write, privileged, execute };
  }

  #misconfigured(batch: UnitBatch, index: number, sid: number, ssid: number | null, found: ConfigurationFault): false {
    const fault = configurationFault(found, this.#incoming(batch, index, sid, ssid));
    const ofDevice = this.registers.recordsAtsConfigurationErrors;
    if (this.#asked) return this.#answer(batch, index, this.#unanswered(fault));
    if (ssid !== TRANSLATED) return this.#answer(batch, index, this.#report(fault));
    return this.#answer(batch, index, this.#end("abort", ofDevice ? fault.event : null, fault.event.code));
  }

  #walkFaulted(batch: UnitBatch, index: number, sid: number, ssid: number | null): void {
    const resolved = this.#resolved.known(sid, ssid);
    const fault = walkFault(this.#engine, batch.status[index], resolved, this.#incoming(batch, index, sid, ssid));
    if (this.#asked) this.#answer(batch, index, this.#unanswered(fault));
    // An address that full ATS let pass, and that no memory has (section 3.9.1.1).
    else if (ssid === TRANSLATED && resolved.handle.first === 0) this.#answer(batch, index, this.#end("abort", null));
    else this.#answer(batch, index, this.#report(fault));
  }

  /** A translation request that found a fault. What concerns the page permits nothing, or not this; the rest is an error. */
  #unanswered({ event, model }: TranslationFault): SmmuFault {
    if (event.code >= EVENT.F_TRANSLATION && event.code <= EVENT.F_PERMISSION) {
      this.#denied = event.code === EVENT.F_PERMISSION && event.class === "IN" ? "denied" : "nothing";
      return this.#end("UR", null);
    }
    const recorded = model.record && this.registers.recordsAtsConfigurationErrors;
    return this.#end("CA", recorded ? event : null, event.code);
  }

  /** Ends or stalls a transaction as its fault model says (section 5.5). */
  #report({ event, model: { abort, record, stall } }: TranslationFault): SmmuFault {
    if (!stall) return this.#end(abort ? "abort" : "RAZ/WI", record ? event : null, event.code);
    const stag = this.stalls.stall(event.sid);
    // As many are stalled as can be: this one waits in front of the SMMU, unseen.
    return stag === null ? this.#end(null, null, event.code) : this.#end(null, { ...event, stall: true, stag });
  }

  #end(completion: SmmuFault["completion"], event: EventRecord | null, code = event?.code): SmmuFault {
    if (event) this.events.record(event);
    const name = code === undefined ? "abort" : eventName(code);
    return { ok: false, code: event?.code ?? null, name, event, completion, stalled: completion === null };
  }

  #answer(batch: UnitBatch, index: number, fault: SmmuFault): false {
    this.#fault = fault;
    batch.status[index] = layout.UNIT_OTHER;
    batch.code[index] = fault.code ?? UNRECORDED;
    return false;
  }

  #describe(read: EntryRead, { sid, pasid }: DmaRequest): StructureRead {
    const resolved = this.#resolved.get(sid, pasid ?? null);
    const second = resolved?.handle.second === read.table || resolved?.configuration.context === null;
    return describe(read, second ? "S2" : "S1");
  }

  // ---- Invalidation (sections 4.3 and 4.4) ----

  #invalidateConfiguration(request: ConfigurationInvalidation): void {
    this.#resolved.forgetWhere(({ sid, pasid }) => {
      switch (request.scope) {
        case "all":
          return true;
        case "ste-range":
          return sid >= request.firstSid && sid <= request.lastSid;
        case "cd":
          return sid === request.sid && (pasid ?? 0) === request.ssid;
        default:
          return sid === request.sid;
      }
    });
  }

  #invalidateTlb(request: TlbInvalidation): void {
    this.#translation.invalidate(tlbSelection(request));
  }
}
