/**
 * The architecture-independent half of a remapping unit, over assembly/unit/: regimes, the IOTLB, batches. A unit of an
 * architecture resolves what a source's requests go through and judges what comes back.
 */
import * as layout from "../../assembly/layout.js";
import { Caches, type Selection, type TagAndOwner, type UnitCachesGeometry } from "../access/caches.js";
import { NO_COUNTERS, readCounters, type TranslationCounters } from "../access/counters.js";
import { createCache, EVERY_SIZE } from "../cache/cache.js";
import { type PhysicalAddress, physicalAddress } from "../engine/addresses.js";
import { Batch } from "../engine/batch.js";
import type { Engine } from "../engine/engine.js";
import { IommuError, statusError } from "../engine/errors.js";
import { type Access, decodeAccess, encodeAccess, WalkBatch } from "../engine/page-table.js";
import { ConfigurationCache } from "./configuration-cache.js";
import type { ResolvedSource } from "./sources.js";

/** One stage of translation: a table that stands in memory. Widths in bits; `flags` as the format's file says. */
export interface Stage {
  readonly format: string;
  readonly levels: number;
  readonly root: bigint;
  readonly inputBits: number;
  readonly outputBits: number;
  readonly pageSizes: bigint;
  readonly flags: number;
}

/** What the requests of one source go through. */
export interface Regime {
  /** The table that the input address goes through first; null: it passes, up to `last`. */
  readonly first: Stage | null;
  /** The second stage behind it, if there is one. */
  readonly second?: Stage;
  /** Highest address that passes without a table; with `limitsInput`, highest address at all. */
  readonly last: bigint;
  readonly limitsInput?: boolean;
  /**
   * The input address has two halves, told apart by bit 55: `first` translates the lower one (null: nothing does), `upper`
   * the other. A half may ignore the top byte.
   */
  readonly halves?: {
    readonly upper: Stage | null;
    readonly lowerIgnoresTopByte: boolean;
    readonly upperIgnoresTopByte: boolean;
    /** Unprivileged accesses to that half are not translated. */
    readonly lowerUnprivilegedDisabled: boolean;
    readonly upperUnprivilegedDisabled: boolean;
  };
  /** With the page, what an IOTLB entry is found by (64 bits); what it is invalidated by. */
  readonly tag: bigint;
  readonly owner: bigint;
  /** What paging-structure entries and nested translations are found and invalidated by, in a unit that caches them. */
  readonly walkTags?: WalkTags;
  readonly refusesPrivileged?: boolean;
  readonly refusesExecute?: boolean;
  readonly refusesInterruptRange?: boolean;
  /** An access is one thing: a write, or an instruction fetch, or a read. */
  readonly oneKind?: boolean;
  /** Kinds of access taken from, then added to, those of every request. */
  readonly accessClear?: number;
  readonly accessSet?: number;
}

/** Tags of what walks are cached by, the IOTLB apart. */
export interface WalkTags {
  readonly firstStage: TagAndOwner;
  readonly secondStage: TagAndOwner;
  readonly nested: TagAndOwner;
}

const WALK_TAG_FIELDS: readonly (readonly [keyof WalkTags, number])[] = [
  ["firstStage", layout.WALK_TAG_FIRST],
  ["secondStage", layout.WALK_TAG_SECOND],
  ["nested", layout.WALK_TAG_NESTED],
];

/** The caches of a unit. */
export interface TranslationOptions {
  /** Entries of the IOTLB, in which every page has one place; a power of two. Default 64, about what a Xeon E5 has. */
  readonly iotlbEntries?: number;
  /**
   * Caches in its place: set-associative IOTLBs, paging-structure caches by level; caches of configuration, whose look-ups
   * and hits are counted. A VT-d unit then answers from its IOTLB whether or not the configuration behind is still cached.
   * Default: walks begin at the first table, every request needs its configuration, and the unit's plain caches hold that.
   */
  readonly caches?: UnitCachesGeometry;
}

/** Where the entries that a regime was resolved from are: `ConfigurationCache.placeOf`; 0: there is none. */
export interface ConfigurationPlaces {
  readonly context: number;
  readonly pasid: number;
}

/** Look-ups, and behind them hits. */
const CONFIGURATION_COUNTERS = {
  context: [layout.SIMULATOR_CONTEXT_LOOKUPS, layout.SIMULATOR_CONTEXT_HITS],
  pasid: [layout.SIMULATOR_PASID_LOOKUPS, layout.SIMULATOR_PASID_HITS],
} as const;

/** Whoever looks for accesses that stale translations let through. */
export interface TranslationWatcher {
  /** Linear address of its ring (SANITIZER_*). */
  readonly ring: number;
  /** Requests are about to be translated. */
  begin(): void;
  /** Requests of a source go through this from now on. */
  resolved(source: number, pasid: number | null, regime: Regime): void;
  /** What they go through is not known any more. */
  forgotten(source: number, pasid: number | null): void;
  /** What they go through only serves those that the IOTLB answers from now on. */
  compare(source: ResolvedSource): void;
}

/** A regime that was handed to the engine, and the handles of its tables. */
export interface RegimeHandle {
  readonly description: Regime;
  readonly regime: number;
  readonly first: number;
  readonly upper: number;
  readonly second: number;
}

/** Exact figures of a unit, by the names of the VT-d performance monitor. */
export interface UnitCounters {
  readonly iommuRequests: number;
  readonly iotlbLookup: number;
  readonly iotlbHit: number;
  /** Entries of page tables that walks read. */
  readonly iommuMrds: number;
}

/** One entry of a page table that a walk read. */
export interface EntryRead {
  /** Handle of the table whose walk it was. */
  readonly table: number;
  readonly level: number;
  readonly address: PhysicalAddress;
  /** Null when nobody backs the address. */
  readonly entry: bigint | null;
}

const LAST_ADDRESS = 0xffff_ffff_ffff_ffffn;

/** Most entries that one nested walk reads: 5 levels, each behind a walk of 5, and the output's. */
const MOST_READS = 64;

const REGIME_FLAGS = {
  refusesPrivileged: layout.REGIME_REFUSES_PRIVILEGED,
  refusesExecute: layout.REGIME_REFUSES_EXECUTE,
  refusesInterruptRange: layout.REGIME_REFUSES_INTERRUPT_RANGE,
  oneKind: layout.REGIME_ONE_KIND,
} as const;

/**
 * Requests of many sources: `iova`, `source`, `pasid` (NO_PASID: none), `access` in; `physical`, `status` and `code` out.
 * `code` is 0 where the request was translated, otherwise the architecture's fault code and flags of its unit. Views are void
 * after any call.
 */
export class UnitBatch extends Batch {
  /** Whether a unit with a sanitizer looks for stale accesses among these. */
  sanitized = true;

  constructor(engine: Engine, capacity: number) {
    super(engine.linear, capacity, 4);
  }

  get iova(): BigUint64Array {
    return this.linear.u64(this.column(0), this.capacity);
  }

  get physical(): BigUint64Array {
    return this.linear.u64(this.column(1), this.capacity);
  }

  get source(): Uint32Array {
    return this.linear.u32(this.column(2), this.capacity);
  }

  /** Used when a batch is translated with PASIDs. */
  get pasid(): Uint32Array {
    return this.linear.u32(this.column(2) + this.capacity * 4, this.capacity);
  }

  get code(): Uint32Array {
    return this.linear.u32(this.column(3), this.capacity);
  }

  /** Kind of access of each request, for `access: "each"`; fill it with `encodeAccess`. */
  get access(): Uint8Array {
    return this.linear.u8(this.bytesColumn, this.capacity);
  }

  /** For use by the unit: the indices of requests whose translation faulted, so far. */
  get faults(): Uint32Array {
    const count = this.linear.getU32(this.header + layout.UNIT_BATCH_FAULT_COUNT);
    return this.linear.u32(this.column(3) + this.capacity * 4, count);
  }

  /** For use by the unit: which request is next. */
  get next(): number {
    return this.linear.getU32(this.header + layout.UNIT_BATCH_NEXT);
  }

  set next(index: number) {
    this.linear.setU32(this.header + layout.UNIT_BATCH_NEXT, index);
  }

  /** For use by the unit: fills in the header and returns its linear address. */
  prepare(count: number, access: number | "each", pasids: boolean, sanitizer = 0): number {
    this.checkCount(count);
    const header: readonly [field: number, value: number][] = [
      [layout.UNIT_BATCH_COUNT, count],
      [layout.UNIT_BATCH_ACCESS, access === "each" ? 0 : access],
      [layout.UNIT_BATCH_IOVA, this.column(0)],
      [layout.UNIT_BATCH_PHYSICAL, this.column(1)],
      [layout.UNIT_BATCH_STATUS, this.column(4)],
      [layout.UNIT_BATCH_ACCESSES, access === "each" ? this.bytesColumn : 0],
      [layout.UNIT_BATCH_SOURCES, this.column(2)],
      [layout.UNIT_BATCH_PASIDS, pasids ? this.column(2) + this.capacity * 4 : 0],
      [layout.UNIT_BATCH_NEXT, 0],
      [layout.UNIT_BATCH_FAULT_COUNT, 0],
      [layout.UNIT_BATCH_FAULTS, this.column(3) + this.capacity * 4],
      [layout.UNIT_BATCH_SANITIZER, sanitizer],
    ];
    for (const [field, value] of header) this.linear.setU32(this.header + field, value);
    this.code.fill(0, 0, count);
    return this.header;
  }
}

/** The kind of access of a member of a batch, which was handed over with `access`. */
export function accessAt(batch: UnitBatch, index: number, access: Access | "each"): Required<Access> {
  return decodeAccess(access === "each" ? batch.access[index] : encodeAccess(access));
}

/** What the architecture's side does where a batch stops, and with what faulted. */
export interface TranslationHandler {
  /** A source whose regime is not known: hands one in (`setRegime`) and returns true, or answers the request itself. */
  resolve(batch: UnitBatch, index: number, source: number, pasid: number | null): boolean;
  /** A request to an intercepted address: the handler answers it. */
  intercepted(batch: UnitBatch, index: number, source: number): void;
  /** A request whose translation faulted, in the order of the requests; its status word is in the batch. */
  faulted(batch: UnitBatch, index: number, source: number, pasid: number | null): void;
}

export class Translation {
  readonly #handle: number;
  /** Null: nobody looks for stale accesses. */
  watcher: TranslationWatcher | null = null;
  readonly #caches: Caches | null;
  /** By handle of a regime: what memory describes in its place, and which kinds of access were ordinary before. */
  readonly #replaced = new Map<number, { readonly now: RegimeHandle | null; readonly ordinary: number }>();
  readonly #log: number;
  readonly #walk: WalkBatch;
  /** Caches of configuration without a geometry. */
  readonly #plainCaches: number[] = [];
  #configurationReads = 0;
  #configurationMisses = 0;

  /**
   * @param configurationFirst with `caches`: configuration is looked up before the IOTLB, as its tags come from there
   *   (SMMUv3), not after a miss (VT-d)
   *
   * Throws `memory-exhausted`, and `invalid` for an impossible geometry.
   */
  constructor(
    readonly engine: Engine,
    { iotlbEntries = 64, caches }: TranslationOptions = {},
    private readonly configurationFirst = false,
  ) {
    if (!Number.isInteger(Math.log2(iotlbEntries)) || iotlbEntries > 1 << 20) {
      throw new IommuError("invalid", `IOTLB of ${iotlbEntries} entries`, undefined, "not a power of two up to 2^20");
    }
    this.#caches = caches ? new Caches(engine, { ...caches, configurationFirst }) : null;
    this.#handle = engine.exports.unitCreate(iotlbEntries, this.#caches?.handle ?? 0) >>> 0;
    if (this.#handle === 0) throw statusError(layout.STATUS_MEMORY_EXHAUSTED, "make a remapping unit");
    this.#log = engine.linear.allocate(MOST_READS * layout.READ_BYTES);
    this.#walk = new WalkBatch(engine.linear, 1);
  }

  /** Requests without PASID for [first, last] go to the handler's `intercepted`. */
  intercept(first: bigint, last: bigint): void {
    this.engine.linear.setU64(this.#handle + layout.UNIT_INTERCEPT_FIRST, first);
    this.engine.linear.setU64(this.#handle + layout.UNIT_INTERCEPT_LAST, last);
  }

  /**
   * The cache of context entries (STEs), or of PASID entries (CDs), by the option `caches` or else for `entries` of them in
   * one set, in turn. Throws as the constructor does, and then the unit's memory is given back.
   */
  configurationCache<V>(
    name: keyof ConfigurationPlaces,
    entries: number,
    dropped: (value: V) => void,
  ): ConfigurationCache<V> {
    const cache = this.#caches?.cache(name) ?? 0;
    if (this.#caches && cache !== 0) {
      const counters = this.#caches.handle + CONFIGURATION_COUNTERS[name][0];
      return new ConfigurationCache(this.engine, cache, counters, dropped);
    }
    const geometry = { sets: 1, ways: entries, replacement: "round-robin" } as const;
    try {
      const plain = createCache(this.engine, geometry, `a ${name} cache`, EVERY_SIZE);
      this.#plainCaches.push(plain);
      return new ConfigurationCache(this.engine, plain, 0, dropped);
    } catch (error) {
      this.release();
      throw error;
    }
  }

  #table(stage: Stage): number {
    const { exports } = this.engine;
    const { format, levels, root, inputBits, outputBits, pageSizes, flags } = stage;
    const index = this.engine.format(format).index;
    const table = exports.tableCreate(index, levels, inputBits, outputBits, pageSizes, flags, root) >>> 0;
    if (table === 0) throw statusError(exports.tableCreateStatus(), `translate with a ${format} table`, root);
    return table;
  }

  /** Hands a regime in for a source that has none. Throws `invalid` for an impossible table, `memory-exhausted`. */
  setRegime(
    source: number,
    pasid: number | null,
    regime: Regime,
    places: ConfigurationPlaces = { context: 0, pasid: 0 },
  ): RegimeHandle {
    const handle = this.#makeRegime(regime);
    this.engine.linear.setU32(handle.regime + layout.REGIME_CONTEXT, places.context);
    this.engine.linear.setU32(handle.regime + layout.REGIME_PASID, places.pasid);
    if (this.engine.exports.unitSetRegime(this.#handle, source, pasid ?? layout.NO_PASID, handle.regime) === 0) {
      throw statusError(layout.STATUS_MEMORY_EXHAUSTED, `keep what requests of source ${source} go through`);
    }
    this.watcher?.resolved(source, pasid, regime);
    return handle;
  }

  /**
   * Notes what memory describes by now in the place of a regime that is in use: null when requests would fault,
   * "the same" when it has not changed, or not any more.
   */
  setPresent(handle: RegimeHandle, present: Regime | null | "the same"): void {
    const { exports, linear } = this.engine;
    const replaced = this.#replaced.get(handle.regime);
    if (replaced) {
      this.#replaced.delete(handle.regime);
      if (replaced.now) exports.regimeRelease(replaced.now.regime);
      linear.setU32(handle.regime + layout.REGIME_ORDINARY, replaced.ordinary);
    }
    linear.setU32(handle.regime + layout.REGIME_NOW, handle.regime);
    if (present === "the same") return;
    const now = present && this.#makeRegime(present);
    this.#replaced.set(handle.regime, { now, ordinary: linear.getU32(handle.regime + layout.REGIME_ORDINARY) });
    linear.setU32(handle.regime + layout.REGIME_NOW, now?.regime ?? 0);
    // Every request is made by itself, and looked at.
    linear.setU32(handle.regime + layout.REGIME_ORDINARY, 0);
  }

  /** Where an access leads through a regime by memory alone; null when it faults. Nothing is changed or counted. */
  lead(regime: Regime, iova: bigint, access: number): bigint | null {
    const { exports } = this.engine;
    const { regime: handle } = this.#makeRegime(regime);
    const physical = BigInt.asUintN(64, exports.unitRehearse(handle, iova, access));
    exports.regimeRelease(handle);
    return physical === LAST_ADDRESS ? null : physical;
  }

  #makeRegime(regime: Regime): RegimeHandle {
    const { exports, linear } = this.engine;
    const first = regime.first ? this.#table(regime.first) : 0;
    const second = regime.second ? this.#table(regime.second) : 0;
    const upper = regime.halves?.upper ? this.#table(regime.halves.upper) : 0;
    for (const table of [first, upper]) {
      if (table !== 0 && second !== 0) linear.setU32(table + layout.TABLE_SECOND_STAGE, second);
    }
    let flags = regime.limitsInput ? layout.REGIME_LIMITS_INPUT : 0;
    if (regime.halves) {
      flags |=
        layout.REGIME_TWO_HALVES |
        (regime.halves.lowerIgnoresTopByte ? layout.REGIME_LOWER_IGNORES_TOP_BYTE : 0) |
        (regime.halves.upperIgnoresTopByte ? layout.REGIME_UPPER_IGNORES_TOP_BYTE : 0) |
        (regime.halves.lowerUnprivilegedDisabled ? layout.REGIME_LOWER_UNPRIVILEGED_DISABLED : 0) |
        (regime.halves.upperUnprivilegedDisabled ? layout.REGIME_UPPER_UNPRIVILEGED_DISABLED : 0);
    }
    for (const name of Object.keys(REGIME_FLAGS) as (keyof typeof REGIME_FLAGS)[]) {
      if (regime[name]) flags |= REGIME_FLAGS[name];
    }
    const { last, tag, owner, walkTags, accessClear = 0, accessSet = 0 } = regime;
    const handle = exports.regimeCreate(first, upper, last, tag, owner, flags, accessClear, accessSet) >>> 0;
    if (handle === 0) throw statusError(layout.STATUS_MEMORY_EXHAUSTED, "keep what requests go through");
    for (const [name, field] of walkTags ? WALK_TAG_FIELDS : []) {
      const { tag, owner } = walkTags?.[name] ?? { tag: 0n, owner: 0n };
      linear.u64(handle + layout.REGIME_WALK_TAGS + field, 2).set([tag, owner]);
    }
    return { description: regime, regime: handle, first, upper, second };
  }

  /**
   * An entry that a regime was resolved from is not cached any more: it is resolved anew by the next request that the IOTLB
   * does not answer. False where it has to be forgotten instead, as every request needs its entries.
   */
  keepForIotlb(source: ResolvedSource): boolean {
    if (!this.#caches || this.configurationFirst) return false;
    const at = source.handle.regime + layout.REGIME_FLAGS;
    this.engine.linear.setU32(at, this.engine.linear.getU32(at) | layout.REGIME_IOTLB_ONLY);
    this.watcher?.compare(source);
    return true;
  }

  isKeptForIotlb({ regime }: RegimeHandle): boolean {
    return (this.engine.linear.getU32(regime + layout.REGIME_FLAGS) & layout.REGIME_IOTLB_ONLY) !== 0;
  }

  /** Forgets what requests of a source go through: the next one is resolved anew. */
  forgetRegime(source: number, pasid: number | null, handle: RegimeHandle): void {
    this.engine.exports.unitSetRegime(this.#handle, source, pasid ?? layout.NO_PASID, 0);
    this.watcher?.forgotten(source, pasid);
    this.setPresent(handle, "the same");
    this.engine.exports.regimeRelease(handle.regime);
  }

  /** Drops what a selection names of the caches that there are, and nothing else; returns how many entries that were. */
  invalidate(selection: Selection): number {
    if (this.#caches) return this.#caches.invalidate(selection);
    let dropped = 0;
    for (const { mask = 0n, owner = 0n, first = 0n, last = LAST_ADDRESS } of selection.iotlb ?? []) {
      dropped += this.engine.exports.unitInvalidate(this.#handle, mask, owner, first, last) >>> 0;
    }
    return dropped;
  }

  /** Empties every cache. */
  invalidateAll(): void {
    const all = [{}];
    this.invalidate({ iotlb: all, firstStage: all, secondStage: all, nested: all });
  }

  /** Translates the first `count` requests of a batch, in order. `pasids`: the batch's PASID column is filled in. */
  translate(
    batch: UnitBatch,
    count: number,
    access: Access | "each",
    pasids: boolean,
    handler: TranslationHandler,
  ): void {
    const watcher = batch.sanitized ? this.watcher : null;
    watcher?.begin();
    const kind = access === "each" ? access : encodeAccess(access);
    const header = batch.prepare(count, kind, pasids, watcher?.ring ?? 0);
    const pasidOf = (index: number): number | null => {
      const pasid = pasids ? batch.pasid[index] : layout.NO_PASID;
      return pasid === layout.NO_PASID ? null : pasid;
    };
    let reported = 0;
    while (true) {
      const why = this.engine.exports.unitTranslate(this.#handle, header);
      for (const index of batch.faults.slice(reported)) {
        handler.faulted(batch, index, batch.source[index], pasidOf(index));
        reported++;
      }
      if (why === layout.UNIT_DONE) return;
      const index = batch.next;
      const source = batch.source[index];
      if (why === layout.UNIT_INTERCEPTED) handler.intercepted(batch, index, source);
      else if (this.#missesOnce(() => handler.resolve(batch, index, source, pasidOf(index)))) continue;
      this.countRequest();
      batch.next = index + 1;
    }
  }

  /** What a request reads of its configuration is one miss of the caches of configuration, however much it is. */
  #missesOnce<T>(work: () => T): T {
    const before = this.#configurationReads;
    const result = work();
    if (this.#configurationReads > before) this.#configurationMisses++;
    return result;
  }

  /** A request that was answered without a translation is a request all the same. */
  countRequest(): void {
    const requests = this.#handle + layout.UNIT_REQUESTS;
    this.engine.linear.setU64(requests, this.engine.linear.getU64(requests) + 1n);
  }

  /** An entry of the configuration is read from memory. */
  countConfigurationRead(): void {
    this.#configurationReads++;
  }

  /** Runs a further step of a request that was counted: it adds neither a request nor a look-up. */
  uncounted<T>(work: () => T): T {
    const fields = [layout.UNIT_REQUESTS, layout.UNIT_IOTLB_LOOKUPS, layout.UNIT_IOTLB_HITS];
    return this.#restoring(
      fields.map((field) => this.#handle + field),
      () => this.configurationUncounted(work),
    );
  }

  /** The same of a step whose configuration was looked up before: it adds no look-up of that. */
  configurationUncounted<T>(work: () => T): T {
    const { handle } = this.#caches ?? { handle: null };
    if (handle === null) return work();
    const fields = Object.values(CONFIGURATION_COUNTERS).flat();
    return this.#restoring(
      fields.map((field) => handle + field),
      work,
    );
  }

  #restoring<T>(counters: readonly number[], work: () => T): T {
    const { linear } = this.engine;
    const kept = counters.map((at) => [at, linear.getU64(at)] as const);
    try {
      return work();
    } finally {
      for (const [at, count] of kept) linear.setU64(at, count);
    }
  }

  /**
   * Walks one stage for one address that a structure of the stage before it is read at. Returns the status word of the
   * walk and the physical address, or on a fault that of the entry.
   */
  walkStage(stage: Stage, address: bigint): { readonly status: number; readonly physical: bigint } {
    const table = this.#table(stage);
    this.#walk.iova[0] = address;
    this.engine.exports.walkBatch(table, this.#walk.prepare(1, layout.ACCESS_WALK | layout.ACCESS_READ));
    this.engine.exports.tableForget(table);
    return { status: this.#walk.status[0], physical: this.#walk.physical[0] };
  }

  /** What the last request that was translated singly is allowed, as GRANT_* bits. */
  get lastGrants(): number {
    return this.engine.exports.unitLastGrants() >>> 0;
  }

  /** Runs `work` and returns every entry of a page table that was read meanwhile and not taken (of one request). */
  logReads(work: () => void): EntryRead[] {
    this.engine.exports.walkLog(this.#log, MOST_READS);
    try {
      work();
      return this.takeReads();
    } finally {
      this.engine.exports.walkLog(0, 0);
    }
  }

  /** Within `logReads`: what was read since the last time. */
  takeReads(): EntryRead[] {
    const { exports, linear } = this.engine;
    const room = exports.walkLog(this.#log, MOST_READS) >>> 0;
    return Array.from({ length: MOST_READS - room }, (_, i) => {
      const at = this.#log + i * layout.READ_BYTES;
      const level = linear.getU32(at + layout.READ_LEVEL);
      return {
        table: linear.getU32(at + layout.READ_TABLE),
        level: level & 0xff,
        address: physicalAddress(linear.getU64(at + layout.READ_ADDRESS)),
        entry: level & layout.READ_BACKED ? linear.getU64(at + layout.READ_ENTRY) : null,
      };
    });
  }

  get counters(): UnitCounters {
    const read = (field: number): number => Number(this.engine.linear.getU64(this.#handle + field));
    return {
      iommuRequests: read(layout.UNIT_REQUESTS),
      iotlbLookup: read(layout.UNIT_IOTLB_LOOKUPS),
      iotlbHit: read(layout.UNIT_IOTLB_HITS),
      iommuMrds: read(layout.UNIT_ENTRIES_READ),
    };
  }

  /** The same with paging-structure caches, level by level, and configuration; zeroes where there are no such caches. */
  get detailedCounters(): TranslationCounters {
    const { iommuRequests, iotlbLookup, iotlbHit } = this.counters;
    const caches = this.#caches ? readCounters(this.engine, this.#caches.handle) : NO_COUNTERS;
    return {
      ...caches,
      requests: iommuRequests,
      iotlbLookups: iotlbLookup,
      iotlbHits: iotlbHit,
      configurationReads: this.#configurationReads,
      configurationMisses: this.#configurationMisses,
    };
  }

  /** Gives the unit's memory back. Its regimes must have been forgotten. */
  release(): void {
    this.engine.exports.unitRelease(this.#handle);
    this.#caches?.release();
    for (const cache of this.#plainCaches) this.engine.exports.cacheRelease(cache);
    this.engine.linear.free(this.#log, MOST_READS * layout.READ_BYTES);
    this.#walk.release();
  }
}
