/**
 * Requests of any kind through the configuration of their streams and the tables: Arm SMMU Architecture Specification
 * version 3 (IHI 0070 G.b), sections 3.3 to 3.13 and 4.3 to 4.4.
 */
import * as layout from "../../assembly/layout.js";
import type { TranslationCounters } from "../access/counters.js";
import type { Engine } from "../engine/engine.js";
import type { Access } from "../engine/page-table.js";
import { DmaSanitizer, type SanitizedUnit, type SanitizerOptions } from "../sanitizer/sanitizer.js";
import { SMMU_OWNER_FIELDS } from "../sanitizer/smmuv3.js";
import type { UnitMemory } from "../unit/memory.js";
import type { DmaRequest, StructureRead } from "../unit/request.js";
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
  type UnitBatch,
  type UnitCounters,
} from "../unit/translation.js";
import { atsMode } from "./ats.js";
import { ConfigurationCaches } from "./caches.js";
import type { StreamTableEntry } from "./entries.js";
import { EVENT } from "./events.js";
import type { Identification } from "./identification.js";
import type { ConfigurationInvalidation, TlbInvalidation } from "./invalidation.js";
import {
  type Configuration,
  type ConfigurationFault,
  type ConfigurationSource,
  isFault,
  type Located,
  lookUpContext,
  lookUpEntry,
} from "./lookup.js";
import { batchCode, type SmmuFault, type SmmuTranslation } from "./outcome.js";
import { makeRegime, stage2Table, tlbSelection } from "./regime.js";
import type { RegisterFile } from "./registers.js";
import {
  configurationFault,
  type Incoming,
  type ResolvedStream,
  type TranslationFault,
  walkEvent,
  walkFault,
} from "./walk-events.js";

/** The SubstreamID under which what translated transactions go through is kept: no transaction has it. */
export const TRANSLATED = 2 ** 20;

/** How requests of one kind end that cannot be translated. */
export interface RequestKind {
  /** What the STE of their stream alone ends; null: nothing. */
  refuse(entry: StreamTableEntry, incoming: Incoming): SmmuFault | null;
  misconfigured(fault: TranslationFault): SmmuFault;
  faulted(fault: TranslationFault, resolved: ResolvedStream): SmmuFault;
}

export interface TranslatorOptions {
  readonly identification: Identification;
  readonly registers: RegisterFile;
  readonly memory: UnitMemory;
  readonly caches: TranslationOptions;
  readonly configurationCacheEntries: number;
  /** Looks for accesses that stale translations let through. */
  readonly sanitizer: SanitizerOptions | undefined;
  /** How untranslated transactions end. */
  readonly untranslated: RequestKind;
}

/** A descriptor read, by the architecture's names: levels count downwards, the last is 3. */
function describe({ level, address, entry }: EntryRead, stage: "S1" | "S2"): StructureRead {
  return { structure: `${stage}-L${4 - level}`, address, words: entry === null ? null : [entry] };
}

/** The configuration cache, the TLB, and the walks behind them. */
export class Translator {
  readonly source: ConfigurationSource;
  /** Null without the option. */
  readonly sanitizer: DmaSanitizer | null;
  readonly #translation: Translation;
  readonly #configuration: ConfigurationCaches;
  readonly #resolved: ResolvedSources<ResolvedStream>;
  readonly #one: SingleRequest;
  readonly #handler: TranslationHandler;
  #access: Access | "each" = {};
  #kind: RequestKind;
  #fault: SmmuFault | null = null;

  /** Throws `invalid` for impossible cache sizes, `memory-exhausted`. */
  constructor(
    engine: Engine,
    private readonly options: TranslatorOptions,
  ) {
    this.#translation = new Translation(engine, options.caches, true);
    this.#resolved = new ResolvedSources(this.#translation);
    const { configurationCacheEntries } = options;
    this.#configuration = new ConfigurationCaches(
      this.#translation.configurationCache("context", configurationCacheEntries, (entry) =>
        this.#resolved.configurationDropped(({ configuration }) => configuration.entry === entry),
      ),
      this.#translation.configurationCache("pasid", configurationCacheEntries, (context) =>
        this.#resolved.configurationDropped(({ configuration }) => configuration.context === context),
      ),
    );
    this.#kind = options.untranslated;
    const sanitized: SanitizedUnit = {
      fields: SMMU_OWNER_FIELDS,
      sources: () => this.#resolved.all,
      present: (source) => this.#present(source),
    };
    this.sanitizer = options.sanitizer
      ? new DmaSanitizer(engine, this.#translation, sanitized, options.sanitizer)
      : null;
    this.#handler = {
      resolve: (batch, index, sid, ssid) => this.#resolve(batch, index, sid, ssid),
      intercepted: () => {},
      faulted: (batch, index, sid, ssid) => this.#walkFaulted(batch, index, sid, ssid),
    };
    this.#one = new SingleRequest(this.#translation, this.#handler, (read, request) => this.#describe(read, request));
    const { identification, registers, memory } = options;
    this.source = {
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
      cachedEntry: (sid) => this.#configuration.entry(sid),
      cacheEntry: (sid, entry) => this.#configuration.keepEntry(sid, entry),
      cachedContext: (sid, index) => this.#configuration.context(sid, index),
      cacheContext: (sid, index, context) => this.#configuration.keepContext(sid, index, context),
      read: (structure, address, count) => {
        const words = memory.readWords(address, count);
        this.#translation.countConfigurationRead();
        this.sanitizer?.watch(address);
        this.#one.note({ structure, address, words });
        return words;
      },
      locate: (entry, ipa) => {
        if (!entry.stage2) throw new Error("a context descriptor behind a second stage that is not there");
        return this.#locate(stage2Table(entry.stage2), ipa);
      },
    };
  }

  translate(request: DmaRequest, access: Access, kind = this.options.untranslated): SmmuTranslation | SmmuFault {
    this.#access = access;
    this.#kind = kind;
    this.#fault = null;
    this.#one.translate(request, access);
    if (this.#fault) return this.#fault;
    const { physical, pageSize } = this.#one;
    return { ok: true, physical, pageSize };
  }

  /** Untranslated transactions: see `SmmuUnit.translateBatch`. */
  translateBatch(batch: UnitBatch, count: number, access: Access | "each", pasids: boolean): void {
    this.#access = access;
    this.#kind = this.options.untranslated;
    this.#translation.translate(batch, count, access, pasids, this.#handler);
  }

  /** Runs one transaction and returns with its result every entry that was read on the way to it, in order. */
  trace<T>(work: () => T): Traced<T> {
    return this.#one.trace(work);
  }

  /** What is cached of the configuration of a stream or a substream. */
  resolved(sid: number, ssid: number | null): ResolvedStream | undefined {
    return this.#resolved.get(sid, ssid);
  }

  /** A request that the STE of its stream, which is cached, answers without a translation is a request all the same. */
  countAnswered(sid: number): void {
    this.#configuration.entry(sid);
    this.#translation.countRequest();
  }

  /** Runs a further step of a request that was counted. */
  uncounted<T>(work: () => T): T {
    return this.#translation.uncounted(work);
  }

  /** Makes the next translation of an address a walk. */
  forgetPage(iova: bigint): void {
    this.#translation.invalidate({ iotlb: [{ first: iova, last: iova }] });
  }

  invalidateConfiguration(request: ConfigurationInvalidation): void {
    this.#configuration.invalidate(request);
  }

  invalidateTlb(request: TlbInvalidation): void {
    this.#translation.invalidate(tlbSelection(request));
  }

  /** Empties every cache. */
  invalidateCaches(): void {
    this.#configuration.invalidate({ scope: "all" });
    this.#translation.invalidateAll();
  }

  get counters(): UnitCounters {
    return this.#translation.counters;
  }

  get detailedCounters(): TranslationCounters {
    return this.#translation.detailedCounters;
  }

  release(): void {
    this.#resolved.forgetWhere(() => true);
    this.sanitizer?.release();
    this.#translation.release();
    this.#one.release();
  }

  #resolve(batch: UnitBatch, index: number, sid: number, ssid: number | null): boolean {
    const incoming = this.#incoming(batch, index, sid, ssid);
    const entry = lookUpEntry(this.source, sid);
    if (isFault(entry)) return this.#misconfigured(batch, index, incoming, entry);
    const refused = this.#kind.refuse(entry, incoming);
    if (refused) return this.#answer(batch, index, refused);
    const found = this.#contextOf(this.source, sid, entry, ssid);
    if (isFault(found)) return this.#misconfigured(batch, index, incoming, found);
    const places = this.#configuration.placesOf(sid, found);
    const resolved = this.#resolved.resolve({ sid, pasid: ssid }, this.#regimeOf(found, ssid), places, (handle) => {
      return { configuration: found, sid, pasid: ssid, handle };
    });
    this.sanitizer?.compare(resolved);
    return true;
  }

  /** A translated transaction has no context. */
  #contextOf(
    source: ConfigurationSource,
    sid: number,
    entry: StreamTableEntry,
    ssid: number | null,
  ): Configuration | ConfigurationFault {
    if (ssid === TRANSLATED) return { entry, context: null, contextIndex: null };
    return lookUpContext(source, sid, entry, ssid);
  }

  /** What memory says of a stream, and which structure in use differs from that. */
  #present({ sid, pasid }: ResolvedSource): { readonly regime: Regime | null; readonly cache: string } {
    // No part of the request that is being traced.
    const source: ConfigurationSource = {
      ...this.source,
      cachedEntry: () => undefined,
      cacheEntry: () => {},
      cachedContext: () => undefined,
      cacheContext: () => {},
      read: (_structure: string, address: bigint, count: number) => this.options.memory.readWords(address, count),
    };
    const entry = lookUpEntry(source, sid);
    const known = this.#resolved.get(sid, pasid)?.configuration.entry;
    if (isFault(entry) || entry.aborts) return { regime: null, cache: "STE" };
    const cache = known?.stage1 && entry.stage1 && known.contexts.table === entry.contexts.table ? "CD" : "STE";
    const found = this.#contextOf(source, sid, entry, pasid);
    return { regime: isFault(found) ? null : this.#regimeOf(found, pasid), cache };
  }

  /** A translated transaction goes through stage 2 under split-stage ATS, and otherwise through nothing. */
  #regimeOf(configuration: Configuration, ssid: number | null): Regime {
    const { identification, registers } = this.options;
    const { entry } = configuration;
    const split = atsMode(entry, registers.atsChecked) === "split-stage";
    if (ssid !== TRANSLATED || split) return makeRegime(configuration, identification);
    return makeRegime({ entry: { ...entry, stage2: null }, context: null, contextIndex: null }, identification);
  }

  /** The second stage's answer for the address of a context descriptor. */
  #locate(stage: Stage, ipa: bigint): Located {
    const { status, physical } = this.#translation.walkStage(stage, ipa);
    this.#one.noteEntries((read) => describe(read, "S2"));
    if ((status & layout.WALK_OUTCOME_MASK) === layout.WALK_OK) return { physical };
    const event = walkEvent(status);
    return event === EVENT.F_WALK_EABT ? { event, fetchAddress: physical } : { event };
  }

  #incoming(batch: UnitBatch, index: number, sid: number, ssid: number | null): Incoming {
    const { write, privileged, execute } = accessAt(batch, index, this.#access);
    const iova = batch.iova[index];
    return { sid, ssid: ssid === TRANSLATED ? null : ssid, iova, write, privileged, execute };
  }

  #misconfigured(batch: UnitBatch, index: number, incoming: Incoming, found: ConfigurationFault): false {
    return this.#answer(batch, index, this.#kind.misconfigured(configurationFault(found, incoming)));
  }

  #walkFaulted(batch: UnitBatch, index: number, sid: number, ssid: number | null): void {
    const resolved = this.#resolved.known(sid, ssid);
    const incoming = this.#incoming(batch, index, sid, ssid);
    const fault = walkFault(batch.status[index], batch.physical[index], resolved, incoming);
    this.#answer(batch, index, this.#kind.faulted(fault, resolved));
  }

  #answer(batch: UnitBatch, index: number, fault: SmmuFault): false {
    this.#fault = fault;
    batch.status[index] = layout.UNIT_OTHER;
    batch.code[index] = batchCode(fault);
    return false;
  }

  #describe(read: EntryRead, { sid, pasid }: DmaRequest): StructureRead {
    const resolved = this.#resolved.get(sid, pasid ?? null);
    const second = resolved?.handle.second === read.table || resolved?.configuration.context === null;
    return describe(read, second ? "S2" : "S1");
  }
}
