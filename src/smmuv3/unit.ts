/** An Arm SMMUv3: Arm SMMU Architecture Specification version 3 (IHI 0070 G.b). Non-secure streams only. */
import * as layout from "../../assembly/layout.js";
import { type PhysicalAddress, physicalAddress } from "../engine/addresses.js";
import type { Engine } from "../engine/engine.js";
import { IommuError } from "../engine/errors.js";
import { type Access, decodeWalkStatus } from "../engine/page-table.js";
import { UnitMemory } from "../unit/memory.js";
import type { DmaRequest, StructureRead } from "../unit/request.js";
import {
  accessAt,
  type EntryRead,
  type RegimeHandle,
  type Stage,
  Translation,
  type TranslationHandler,
  type UnitCounters,
  UnitBatch,
} from "../unit/translation.js";
import { CommandQueue } from "./command-queue.js";
import type { StreamTableEntry } from "./entries.js";
import { EventQueue } from "./event-queue.js";
import { EVENT, type EventRecord, eventName, type FaultClass } from "./events.js";
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
  type Located,
  lookUp,
} from "./lookup.js";
import { type InterruptSink, Notifications } from "./notifications.js";
import { makeRegime, overridden, ownersOf, stage2Table } from "./regime.js";
import { RegisterFile } from "./registers.js";

/** Options of a unit: what it has, the size of its TLB, and what it is connected to. */
export interface SmmuUnitOptions extends IdentificationOptions {
  /** Entries of the TLB, a power of two; default 64. */
  readonly iotlbEntries?: number;
  /** Entries of the configuration cache (STE with CD); default 256. */
  readonly configurationCacheEntries?: number;
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
  /** Event number; null: aborted without an event. */
  readonly code: number | null;
  readonly name: string;
  /** The event, when there is one to be recorded. */
  readonly event: EventRecord | null;
  readonly stalled: boolean;
}

export interface SmmuTranslation {
  readonly ok: true;
  readonly physical: PhysicalAddress;
  /** Bytes of the page that the translation is good for; null when the address passed untranslated. */
  readonly pageSize: bigint | null;
}

interface Resolved {
  readonly configuration: Configuration;
  readonly sid: number;
  readonly ssid: number | null;
  readonly handle: RegimeHandle;
}

/** Flag of a batch's `code`: no event was recorded. With code 0: an abort that has no event at all. */
export const UNRECORDED = 1 << 16;

const SILENT: SmmuFault = { ok: false, code: null, name: "abort", event: null, stalled: false };

/** Events by what a walk found (section 7.3.22). */
const EVENTS: Readonly<Record<number, number>> = {
  [layout.WALK_INPUT_RANGE]: EVENT.F_TRANSLATION,
  [layout.WALK_ROOT_ACCESS]: EVENT.F_WALK_EABT,
  [layout.WALK_TABLE_ACCESS]: EVENT.F_WALK_EABT,
  [layout.WALK_NOT_PRESENT]: EVENT.F_TRANSLATION,
  [layout.WALK_RESERVED]: EVENT.F_TRANSLATION,
  [layout.WALK_OUTPUT_RANGE]: EVENT.F_ADDR_SIZE,
  [layout.WALK_ACCESS_FLAG]: EVENT.F_ACCESS,
  [layout.WALK_NO_READ]: EVENT.F_PERMISSION,
  [layout.WALK_NO_WRITE]: EVENT.F_PERMISSION,
  [layout.WALK_NO_USER]: EVENT.F_PERMISSION,
  [layout.WALK_NO_EXECUTE]: EVENT.F_PERMISSION,
  [layout.WALK_UPDATE_DENIED]: EVENT.F_PERMISSION,
  [layout.WALK_UPDATE_FAILED]: EVENT.F_WALK_EABT,
  [layout.UNIT_BEYOND]: EVENT.F_ADDR_SIZE,
};

/** A descriptor read, by the architecture's names: levels count downwards, the last is 3. */
function describe({ level, address, entry }: EntryRead, stage: "S1" | "S2"): StructureRead {
  return { structure: `${stage}-L${4 - level}`, address, words: entry === null ? null : [entry] };
}

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
  readonly commands: CommandQueue;
  readonly registers: RegisterFile;
  readonly #engine: Engine;
  readonly #translation: Translation;
  readonly #capacity: number;
  readonly #resolved = new Map<number, Resolved>();
  readonly #one: UnitBatch;
  readonly #source: ConfigurationSource;
  readonly #handler: TranslationHandler;
  #reads: StructureRead[] | null = null;
  #access: Access | "each" = {};
  #fault: SmmuFault | null = null;
  #stag = 0;

  /** Throws `invalid` for impossible identification registers or cache sizes, `memory-exhausted`. */
  constructor(engine: Engine, options: SmmuUnitOptions = {}) {
    const { onInterrupt, onAtcInvalidation, onPageGroupResponse, onResume, deviceResponds } = options;
    this.#engine = engine;
    this.#capacity = options.configurationCacheEntries ?? 256;
    this.identification = makeIdentification(options);
    const { identification } = this;
    this.#translation = new Translation(engine, options.iotlbEntries ?? 64);
    this.#one = new UnitBatch(engine, 1);
    const memory = new UnitMemory(engine);
    this.notifications = new Notifications({ identification, memory, ...(onInterrupt ? { onInterrupt } : {}) });
    const { notifications } = this;
    this.events = new EventQueue({ identification, memory, notifications });
    const target: InvalidationTarget = {
      invalidateConfiguration: (request) => this.#invalidateConfiguration(request),
      invalidateTlb: (request) => this.#invalidateTlb(request),
      invalidateAtc: (request) => onAtcInvalidation?.(request),
    };
    this.commands = new CommandQueue({
      identification,
      memory,
      notifications,
      target,
      ...(deviceResponds ? { responds: deviceResponds } : {}),
      ...(onPageGroupResponse ? { onPageGroupResponse } : {}),
      ...(onResume ? { onResume } : {}),
    });
    this.registers = new RegisterFile({
      identification,
      notifications,
      commandQueue: this.commands,
      eventQueue: this.events,
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
        this.#reads?.push({ structure, address, words });
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

  /** One untranslated transaction; the PASID of the request is its SubstreamID. */
  translate(request: DmaRequest): SmmuTranslation | SmmuFault {
    const { sid, iova, pasid, type = "untranslated" } = request;
    if (type !== "untranslated") throw new IommuError("invalid", `${type} request`, iova, "ATS is not emulated");
    if (!Number.isInteger(sid) || sid < 0 || sid > 0xffff_ffff) {
      throw new IommuError("invalid", `transaction of stream ${sid}`, iova, "a StreamID has 32 bits");
    }
    if (pasid !== undefined && (!Number.isInteger(pasid) || pasid < 0 || pasid >= SSIDS)) {
      throw new IommuError("invalid", `transaction of substream ${pasid}`, iova, "a SubstreamID has 20 bits");
    }
    const disabled = this.#whileDisabled(iova);
    if (disabled) return disabled;
    const batch = this.#one;
    batch.iova[0] = iova;
    batch.source[0] = sid;
    batch.pasid[0] = pasid ?? layout.NO_PASID;
    const { access = "read", privileged = false, execute = false } = request;
    this.#access = {
      read: access === "read" || access === "atomic" || access === "zero-length-read",
      write: access === "write" || access === "atomic",
      privileged,
      execute,
    };
    this.#fault = null;
    const run = (): void => this.#translation.translate(batch, 1, this.#access, pasid !== undefined, this.#handler);
    if (!this.#reads) run();
    else for (const read of this.#translation.logReads(run)) this.#reads.push(this.#describe(read, request));
    if (this.#fault) return this.#fault;
    const { pageSize } = decodeWalkStatus(batch.status[0]);
    return { ok: true, physical: physicalAddress(batch.physical[0]), pageSize: pageSize === 0n ? null : pageSize };
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
  trace<T>(work: () => T): { readonly result: T; readonly reads: readonly StructureRead[] } {
    const reads: StructureRead[] = [];
    this.#reads = reads;
    try {
      return { result: work(), reads };
    } finally {
      this.#reads = null;
    }
  }

  /** Empties every cache. Registers and events stay. */
  invalidateCaches(): void {
    this.#forgetWhere(() => true);
    this.#translation.invalidate(0n, 0n);
  }

  get counters(): UnitCounters {
    return this.#translation.counters;
  }

  /** Gives the unit's memory back; it must not be used any more. */
  release(): void {
    this.#forgetWhere(() => true);
    this.#translation.release();
    this.#one.release();
  }

  /** What GBPA makes of a transaction while the SMMU is disabled (section 3.11); null when it is enabled. */
  #whileDisabled(iova: bigint): SmmuTranslation | SmmuFault | null {
    if (this.registers.translationEnabled) return null;
    if (this.registers.bypassAborts || iova >> BigInt(this.identification.oasBits) !== 0n) return SILENT;
    return { ok: true, physical: physicalAddress(iova), pageSize: null };
  }

  // ---- Configuration ----

  #resolveIn(batch: UnitBatch, index: number, sid: number, ssid: number | null): boolean {
    const found = lookUp(this.#source, { sid, ssid });
    if ("event" in found) {
      this.#answer(batch, index, this.#configurationFault(found, batch, index, sid, ssid));
      return false;
    }
    if (found.entry.aborts) {
      this.#answer(batch, index, SILENT);
      return false;
    }
    if (this.#resolved.size >= this.#capacity) {
      for (const oldest of this.#resolved.values()) {
        this.#forgetWhere((resolved) => resolved === oldest);
        break;
      }
    }
    const handle = this.#translation.setRegime(sid, ssid, makeRegime(found, this.identification));
    this.#resolved.set(this.#key(sid, ssid), { configuration: found, sid, ssid, handle });
    return true;
  }

  #key(sid: number, ssid: number | null): number {
    return sid * (SSIDS * 2) + (ssid === null ? 0 : ssid + 1);
  }

  #forgetWhere(condition: (resolved: Resolved) => boolean): void {
    for (const [key, resolved] of [...this.#resolved]) {
      if (!condition(resolved)) continue;
      this.#resolved.delete(key);
      this.#translation.forgetRegime(resolved.sid, resolved.ssid, resolved.handle);
    }
  }

  /** The second stage's answer for the address of a context descriptor. */
  #locate(stage: Stage, ipa: bigint): Located {
    const { status, physical } = this.#translation.walkStage(stage, ipa);
    if (this.#reads) this.#reads.push(...this.#translation.takeReads().map((read) => describe(read, "S2")));
    const outcome = status & layout.WALK_OUTCOME_MASK;
    if (outcome === layout.WALK_OK) return { physical };
    const event = EVENTS[outcome];
    return event === EVENT.F_WALK_EABT ? { event, fetchAddress: physical } : { event };
  }

  // ---- Faults ----

  #transactionOf(batch: UnitBatch, index: number, entry: StreamTableEntry) {
    return { ...overridden(entry, accessAt(batch, index, this.#access)), iova: batch.iova[index] };
  }

  #configurationFault(
    { event, recorded, fetchAddress, stage2 }: ConfigurationFault,
    batch: UnitBatch,
    index: number,
    sid: number,
    ssid: number | null,
  ): SmmuFault {
    const substream = ssid === null ? {} : { ssid };
    const fetch = fetchAddress === undefined ? {} : { fetchAddr: fetchAddress };
    if (!stage2) return this.#report({ code: event, sid, ...substream, ...fetch }, recorded);
    const { iova, ...transaction } = this.#transactionOf(batch, index, stage2.entry);
    const stalled = event !== EVENT.F_WALK_EABT && (stage2.entry.stage2?.stall ?? false);
    return this.#report(
      {
        code: event,
        sid,
        ...substream,
        ...transaction,
        // What failed is the fetch, a read.
        ...(event === EVENT.F_WALK_EABT ? {} : { rnw: true }),
        s2: true,
        class: "CD",
        inputAddr: iova,
        ...(stalled ? { stall: true, stag: this.#nextStag() } : {}),
        ...(event === EVENT.F_WALK_EABT ? fetch : { ipa: stage2.ipa }),
      },
      recorded || stalled,
    );
  }

  #walkFaulted(batch: UnitBatch, index: number, sid: number, ssid: number | null): void {
    const resolved = this.#resolved.get(this.#key(sid, ssid));
    if (!resolved) throw new Error(`a fault of stream ${sid}, which was never resolved`);
    const { entry, context } = resolved.configuration;
    const status = batch.status[index];
    const outcome = status & layout.WALK_OUTCOME_MASK;
    const code = EVENTS[outcome];
    if (code === undefined) throw new Error(`a walk has no outcome ${outcome}`);
    const { iova, ...transaction } = this.#transactionOf(batch, index, entry);
    const ofTable = (status & layout.WALK_SECOND_STAGE_TABLE) !== 0;
    const ofOutput = (status & layout.WALK_SECOND_STAGE_OUTPUT) !== 0;
    const beyond = outcome === layout.UNIT_BEYOND;
    const second = ofTable || ofOutput || (context === null && !beyond);
    const abort = code === EVENT.F_WALK_EABT;
    const faultClass: FaultClass = ofTable || (abort && !second) ? "TT" : "IN";
    const { linear } = this.#engine;
    const upper = ((iova >> 55n) & 1n) === 1n && context !== null;
    const table = upper && resolved.handle.upper ? resolved.handle.upper : resolved.handle.first;
    const ipa = context === null ? iova : linear.getU64(table + layout.TABLE_INTERMEDIATE);
    const fetchTable = ofTable || ofOutput ? resolved.handle.second : table;
    const record = second ? (entry.stage2?.record ?? true) : (context?.record ?? true);
    const stall = second ? (entry.stage2?.stall ?? false) : (context?.stall ?? false);
    const stalled = stall && !abort && !beyond;
    this.#answer(
      batch,
      index,
      this.#report(
        {
          code,
          sid,
          ...(ssid === null ? {} : { ssid }),
          ...transaction,
          s2: second,
          class: faultClass,
          ...(code === EVENT.F_PERMISSION && ofTable ? { ttRnW: outcome !== layout.WALK_UPDATE_DENIED } : {}),
          inputAddr: iova,
          ...(stalled ? { stall: true, stag: this.#nextStag() } : {}),
          ...(abort ? { fetchAddr: linear.getU64(fetchTable + layout.TABLE_WHERE) } : second ? { ipa } : {}),
        },
        abort || beyond || record || stalled,
      ),
    );
  }

  #nextStag(): number {
    this.#stag = (this.#stag + 1) & 0xffff;
    return this.#stag;
  }

  #report(event: EventRecord, recorded: boolean): SmmuFault {
    if (recorded) this.events.record(event);
    return {
      ok: false,
      code: recorded ? event.code : null,
      name: eventName(event.code),
      event: recorded ? event : null,
      stalled: event.stall ?? false,
    };
  }

  #answer(batch: UnitBatch, index: number, fault: SmmuFault): void {
    this.#fault = fault;
    batch.status[index] = layout.UNIT_OTHER;
    batch.code[index] = fault.code ?? UNRECORDED;
  }

  #describe(read: EntryRead, { sid, pasid }: DmaRequest): StructureRead {
    const resolved = this.#resolved.get(this.#key(sid, pasid ?? null));
    const second = resolved?.handle.second === read.table || resolved?.configuration.context === null;
    return describe(read, second ? "S2" : "S1");
  }

  // ---- Invalidation (sections 4.3 and 4.4) ----

  #invalidateConfiguration(request: ConfigurationInvalidation): void {
    this.#forgetWhere(({ sid, ssid }) => {
      switch (request.scope) {
        case "all":
          return true;
        case "ste-range":
          return sid >= request.firstSid && sid <= request.lastSid;
        case "cd":
          return sid === request.sid && (ssid ?? 0) === request.ssid;
        default:
          return sid === request.sid;
      }
    });
  }

  #invalidateTlb(request: TlbInvalidation): void {
    for (const { mask, owner } of ownersOf(request)) {
      this.#translation.invalidate(mask, owner, request.range?.first, request.range?.last);
    }
  }
}
