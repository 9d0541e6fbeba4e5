/** An Arm SMMUv3: Arm SMMU Architecture Specification version 3 (IHI 0070 G.b). Non-secure streams only. */
import { NO_PASID } from "../../assembly/layout.js";
import { smmuv3Names, type TranslationCounters } from "../access/counters.js";
import { type Iova, physicalAddress } from "../engine/addresses.js";
import type { Engine } from "../engine/engine.js";
import { IommuError } from "../engine/errors.js";
import type { Access } from "../engine/page-table.js";
import type { DmaSanitizer, SanitizerOptions } from "../sanitizer/sanitizer.js";
import { sanitizedSmmuTarget } from "../sanitizer/smmuv3.js";
import { UnitMemory } from "../unit/memory.js";
import type { DmaRequest } from "../unit/request.js";
import type { Traced } from "../unit/single-request.js";
import { type TranslationOptions, UnitBatch, type UnitCounters } from "../unit/translation.js";
import { type SmmuCompletion, translationForbidden } from "./ats.js";
import { AtsRequests } from "./ats-requests.js";
import { CommandQueue } from "./command-queue.js";
import { EventQueue } from "./event-queue.js";
import { FaultReporter } from "./fault-reporter.js";
import { type Identification, type IdentificationOptions, makeIdentification } from "./identification.js";
import type { AtcInvalidation, InvalidationTarget, PageGroupResponse, ResumeRequest } from "./invalidation.js";
import { isFault, lookUpEntry } from "./lookup.js";
import { type InterruptSink, Notifications } from "./notifications.js";
import { batchCode, type SmmuFault, type SmmuTranslation } from "./outcome.js";
import { type PageRequest, PageRequestQueue } from "./page-request-queue.js";
import { RegisterFile } from "./registers.js";
import { StalledTransactions } from "./stalls.js";
import { Translator } from "./translator.js";
import { configurationFault } from "./walk-events.js";

/** Options of a unit: what it has, the size of its TLB, and what it is connected to. */
export interface SmmuUnitOptions extends IdentificationOptions, TranslationOptions {
  /**
   * Entries of the cache of STEs and of that of CDs (default 256) where the option `caches` gives no geometry (`context` and
   * `pasid`); they are then replaced in turn.
   */
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
  readonly #engine: Engine;
  readonly #translator: Translator;
  readonly #reporter: FaultReporter;
  readonly #ats: AtsRequests;
  #translationRequests = 0;
  #translatedPassed = 0;

  /** Throws `invalid` for impossible identification registers or cache sizes, `memory-exhausted`. */
  constructor(engine: Engine, options: SmmuUnitOptions = {}) {
    const { onInterrupt, onAtcInvalidation, onPageGroupResponse, onResume, deviceResponds } = options;
    this.#engine = engine;
    this.identification = makeIdentification(options);
    const { identification } = this;
    const memory = new UnitMemory(engine);
    this.notifications = new Notifications({ identification, memory, ...(onInterrupt ? { onInterrupt } : {}) });
    const { notifications } = this;
    this.events = new EventQueue({ identification, memory, notifications });
    this.pageRequests = new PageRequestQueue({
      identification,
      memory,
      notifications,
      onOverflow: (request) => this.#automaticResponse(request),
      ...(onPageGroupResponse ? { onResponse: onPageGroupResponse } : {}),
    });
    this.stalls = new StalledTransactions(identification.idr5.STALL_MAX, this.events, onResume);
    this.#reporter = new FaultReporter(this.events, this.stalls);
    const target: InvalidationTarget = {
      invalidateConfiguration: (request) => this.#translator.invalidateConfiguration(request),
      invalidateTlb: (request) => this.#translator.invalidateTlb(request),
      invalidateAtc: (request) => onAtcInvalidation?.(request),
    };
    this.commands = new CommandQueue({
      identification,
      memory,
      notifications,
      target: options.sanitizer ? sanitizedSmmuTarget(target, () => this.#translator.sanitizer) : target,
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
    const reporter = this.#reporter;
    this.#translator = new Translator(engine, {
      identification,
      registers: this.registers,
      memory,
      caches: options,
      sanitizer: options.sanitizer,
      configurationCacheEntries: options.configurationCacheEntries ?? 256,
      untranslated: {
        refuse: ({ aborts }) => (aborts ? reporter.end("abort", null) : null),
        misconfigured: (fault) => reporter.report(fault),
        faulted: (fault) => reporter.report(fault),
      },
    });
    this.#ats = new AtsRequests(engine, this.#translator, this.registers, reporter);
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
    if (type === "translated") {
      const result = this.#translated(request, kind);
      if (result.ok) this.#translatedPassed++;
      return result;
    }
    return this.#whileDisabled(iova) ?? this.#translator.translate(request, kind);
  }

  /**
   * A translation request (ATS, section 3.9.1.2). `noWrite`, NW: the device does not ask for write permission. What is not
   * mapped, or not permitted, completes successfully without the permission.
   */
  requestTranslation(request: Omit<DmaRequest, "access" | "type">, noWrite = false): SmmuCompletion | SmmuFault {
    this.#check({ ...request, type: "translation" });
    this.#translationRequests++;
    // Without a PASID a request is one for data, unprivileged.
    const inPasid = request.pasid === undefined ? { privileged: false, execute: false } : {};
    return this.#ats.request({ ...request, ...inPasid, noWrite });
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
   * Translates the first `count` transactions of a batch, in order: physical addresses out, and in `code` 0 or the number of
   * the event with the flags UNRECORDED, STALLED and RAZ_WI. `pasids`: the column of SubstreamIDs is filled in. Throws
   * `invalid`, before any is translated, for a SubstreamID of more than 20 bits.
   */
  translateBatch(batch: UnitBatch, count: number, access: Access | "each" = {}, pasids = false): void {
    if (pasids) this.#checkSubstreams(batch, count);
    if (!this.registers.translationEnabled) {
      batch.prepare(count, 0, false);
      for (let i = 0; i < count; i++) {
        const disabled = this.#whileDisabled(batch.iova[i]);
        batch.physical[i] = batch.iova[i];
        if (disabled && !disabled.ok) batch.code[i] = batchCode(disabled);
      }
      return;
    }
    this.#translator.translateBatch(batch, count, access, pasids);
  }

  /** Runs one transaction and returns with its result every entry that was read on the way, in order. */
  trace<T>(work: () => T): Traced<T> {
    return this.#translator.trace(work);
  }

  /** Empties every cache. Registers and events stay. */
  invalidateCaches(): void {
    this.#translator.invalidateCaches();
  }

  get counters(): UnitCounters {
    return this.#translator.counters;
  }

  /** By the names of the performance monitor counter group (section 10.4). */
  get performanceCounters(): Readonly<Record<string, number>> {
    return {
      ...smmuv3Names(this.#translator.detailedCounters),
      trans_table_walk_access: this.counters.iommuMrds,
      pcie_ats_trans_rq: this.#translationRequests,
      pcie_ats_trans_passed: this.#translatedPassed,
    };
  }

  /** Look-ups and hits of every cache; zeroes where there is none. */
  get detailedCounters(): TranslationCounters {
    return this.#translator.detailedCounters;
  }

  /** Null without the option. */
  get sanitizer(): DmaSanitizer | null {
    return this.#translator.sanitizer;
  }

  /** Gives the unit's memory back; it must not be used any more. */
  release(): void {
    this.#translator.release();
  }

  /** What GBPA makes of a transaction while the SMMU is disabled (section 3.11); null when it is enabled. */
  #whileDisabled(iova: bigint): SmmuTranslation | SmmuFault | null {
    if (this.registers.translationEnabled) return null;
    return this.registers.bypassAborts ? this.#reporter.end("abort", null) : this.#pass(iova);
  }

  /** An address that passes as it is; none that no memory can have. */
  #pass(iova: bigint): SmmuTranslation | SmmuFault {
    if (iova >> BigInt(this.identification.oasBits) !== 0n) return this.#reporter.end("abort", null);
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

  #checkSubstreams({ pasid, iova }: UnitBatch, count: number): void {
    const ssids = pasid.subarray(0, count);
    const index = ssids.findIndex((ssid) => ssid >= SSIDS && ssid !== NO_PASID);
    if (index < 0) return;
    const operation = `transaction ${index} of a batch, of substream ${ssids[index]}`;
    throw new IommuError("invalid", operation, iova[index], "a SubstreamID has 20 bits");
  }

  #translated(request: DmaRequest, access: Access): SmmuTranslation | SmmuFault {
    const { sid, iova, sanitized = true } = request;
    if (sanitized) this.sanitizer?.translated(sid, iova, access);
    if (this.registers.translationEnabled) {
      return this.registers.atsChecked ? this.#ats.translate(request, access) : this.#pass(iova);
    }
    return this.#reporter.end("abort", translationForbidden(sid, iova, !access.write));
  }

  /** Section 8.1, where the response to a request with a PASID depends on the STE. */
  #automaticResponse({ sid, ...request }: PageRequest): Pick<PageGroupResponse, "ssid" | "response"> {
    const ssid = request.pasid ?? null;
    if (this.identification.idr3.PPS === 1) return { ssid, response: "success" };
    const entry = this.#translator.uncounted(() => lookUpEntry(this.#translator.source, sid));
    if (isFault(entry)) {
      const { event } = configurationFault(entry, { ...NO_ACCESS, sid, ssid: null, iova: 0n });
      this.#reporter.end("abort", entry.recorded && this.registers.recordsAtsConfigurationErrors ? event : null);
      return { ssid: null, response: "failure" };
    }
    return { ssid: entry.pasidOnAutomaticResponse ? ssid : null, response: "success" };
  }
}
