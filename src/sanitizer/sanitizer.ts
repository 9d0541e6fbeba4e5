/**
 * The DMA sanitizer: finds every access of a device that a stale translation let through, and says which invalidation was
 * missing. What is stale is found where requests are translated (assembly/unit/sanitizer.ts), by comparison with memory, so
 * that a driver that invalidates as it must is never blamed; the reason is looked for in what software did.
 */
import * as layout from "../../assembly/layout.js";
import type { Selection } from "../access/caches.js";
import type { Engine } from "../engine/engine.js";
import { IommuError } from "../engine/errors.js";
import type { MachineObserver } from "../engine/observers.js";
import { type Access, decodeAccess, encodeAccess } from "../engine/page-table.js";
import type { ResolvedSource } from "../unit/sources.js";
import type { Regime, Translation, TranslationWatcher } from "../unit/translation.js";
import { type Cause, Judge, type OwnerField } from "./cause.js";
import { type Assignment, History, type Invalidation, type Moment } from "./history.js";

export interface SanitizerOptions {
  /** Stale accesses that are kept until they are taken; the oldest are lost. Default 4096. */
  readonly records?: number;
  /** Operations of each kind that are remembered. Default 65,536. */
  readonly history?: number;
  /** What time it is, in any unit. Default: operations are numbered, not timed. */
  readonly clock?: () => number;
  /**
   * Queued invalidations take effect when software waits for them (VT-d: wait descriptor; SMMUv3: CMD_SYNC), which is the
   * latest moment that the architectures allow. Default: at once.
   */
  readonly invalidatesAtWait?: boolean;
}

/** Where a stale translation was kept. */
export type StaleFrom = "IOTLB" | "paging-structure cache" | "configuration" | "device TLB";

/** One access that reached what it must not reach any more. */
export interface StaleAccess extends Cause {
  /** Requester ID or StreamID. */
  readonly source: number;
  readonly pasid: number | null;
  readonly iova: bigint;
  readonly access: Required<Access>;
  /** What it reached. */
  readonly physical: bigint;
  /** What it would reach by memory as it was then; null: nothing. */
  readonly now: bigint | null;
  readonly from: StaleFrom;
  /** Number of software's last operation before it. */
  readonly operation: number;
}

/** What the architecture's side knows. */
export interface SanitizedUnit {
  /** Fields of owners, in the order in which a mistake is named. */
  readonly fields: readonly OwnerField[];
  readonly sources: () => Iterable<ResolvedSource>;
  /** What memory says of a source, whatever is cached, and which cache differs from that. */
  readonly present: (source: ResolvedSource) => { readonly regime: Regime | null; readonly cache: string };
}

/** A translation that a device was given to keep (ATS). */
interface Grant {
  readonly source: ResolvedSource;
  readonly iova: bigint;
  readonly physical: bigint;
  readonly size: bigint;
}

function sameGrant(a: Grant, b: Grant): boolean {
  const sameSource = a.source.sid === b.source.sid && a.source.pasid === b.source.pasid;
  return sameSource && a.iova === b.iova && a.physical === b.physical && a.size === b.size;
}

const PAGE_SHIFT = 12n;
const NOWHERE = 0xffff_ffff_ffff_ffffn;
const GLOBAL = 1n << BigInt(layout.OWNER_GLOBAL_BIT);
const FROM: Readonly<Record<number, StaleFrom>> = {
  [layout.STALE_FROM_WALK]: "configuration",
  [layout.STALE_FROM_IOTLB]: "IOTLB",
  [layout.STALE_FROM_STRUCTURES]: "paging-structure cache",
};

function regimeText(regime: Regime | null): string {
  return JSON.stringify(regime, (_, value: unknown) => (typeof value === "bigint" ? `0x${value.toString(16)}` : value));
}

function rootsOf({ first, halves, second }: Regime): bigint[] {
  return [first, halves?.upper, second].flatMap((stage) => (stage ? [stage.root] : []));
}

/** The sanitizer of one unit, which makes it: see the option `sanitizer` of units. */
export class DmaSanitizer implements TranslationWatcher, MachineObserver {
  /** Stale accesses that were overwritten before they were taken. */
  lost = 0;
  readonly ring: number;
  readonly invalidatesAtWait: boolean;
  readonly #history: History;
  readonly #judge: Judge;
  readonly #capacity: number;
  /** Numbers of the pages that configuration was read from. */
  readonly #watched = new Set<bigint>();
  /** First write to one of them since configuration was last compared. */
  #written: Moment | null = null;
  #lastWritten: Moment | null = null;
  readonly #held: { readonly work: () => void; readonly logged: Invalidation }[] = [];
  #grants: Grant[] = [];
  #deviceRecords: StaleAccess[] = [];
  #taken = 0;

  /** Throws `invalid` for no room, `memory-exhausted`. */
  constructor(
    private readonly engine: Engine,
    private readonly translation: Translation,
    private readonly unit: SanitizedUnit,
    { records = 4096, history = 65_536, clock, invalidatesAtWait = false }: SanitizerOptions,
  ) {
    for (const [what, count] of Object.entries({ records, history })) {
      if (Number.isInteger(count) && count > 1) continue;
      throw new IommuError("invalid", `make a sanitizer of ${count} ${what}`, undefined, "not a number above 1");
    }
    const { linear } = engine;
    this.#capacity = records;
    this.#history = new History(history, clock);
    this.#judge = new Judge(this.#history, unit.fields, GLOBAL);
    this.invalidatesAtWait = invalidatesAtWait;
    this.ring = linear.allocate(layout.SANITIZER_BYTES);
    linear.setU32(this.ring + layout.SANITIZER_RECORDS, linear.allocate(records * layout.STALE_BYTES));
    linear.setU32(this.ring + layout.SANITIZER_CAPACITY, records);
    linear.setU32(this.ring + layout.SANITIZER_WRITTEN, 0);
    engine.observers.add(this);
    translation.watcher = this;
  }

  /** Takes the stale accesses since the last time, oldest first, each with what was wrong as far as is known now. */
  take(): StaleAccess[] {
    const { linear } = this.engine;
    const written = linear.getU32(this.ring + layout.SANITIZER_WRITTEN);
    const first = Math.max(this.#taken, written - this.#capacity);
    this.lost += first - this.#taken;
    this.#taken = written;
    const records = linear.getU32(this.ring + layout.SANITIZER_RECORDS);
    const taken = Array.from({ length: written - first }, (_, i) =>
      this.#read(records + ((first + i) % this.#capacity) * layout.STALE_BYTES),
    );
    const all = [...this.#deviceRecords, ...taken].sort((a, b) => a.operation - b.operation);
    this.#deviceRecords = [];
    return all;
  }

  #read(at: number): StaleAccess {
    const { linear } = this.engine;
    const pasid = linear.getU32(at + layout.STALE_PASID);
    const now = linear.getU64(at + layout.STALE_NOW);
    const noted = {
      source: linear.getU32(at + layout.STALE_SOURCE),
      pasid: pasid === layout.NO_PASID ? null : pasid,
      iova: linear.getU64(at + layout.STALE_IOVA),
      owner: linear.getU64(at + layout.STALE_OWNER),
      operation: linear.getU32(at + layout.STALE_OPERATION),
      reused: now !== NOWHERE,
    };
    const { owner, reused, ...known } = noted;
    return {
      ...known,
      ...this.#judge.judge(noted),
      access: decodeAccess(linear.getU32(at + layout.STALE_ACCESS)),
      physical: linear.getU64(at + layout.STALE_PHYSICAL),
      now: now === NOWHERE ? null : now,
      from: FROM[linear.getU32(at + layout.STALE_FROM)],
    };
  }

  // ---- What software does ----

  mapped(root: bigint, iova: bigint, length: bigint, freedTables: boolean): void {
    this.#history.changed(root, { kind: "mapped", first: iova, last: iova + length - 1n, freedTables });
  }

  unmapped(root: bigint, iova: bigint, length: bigint, freedTables: boolean): void {
    this.#history.changed(root, { kind: "unmapped", first: iova, last: iova + length - 1n, freedTables });
  }

  /** An unmapped range of the table with this root stays cached until the flush queue flushes. */
  deferred(root: bigint, iova: bigint, length: bigint): void {
    this.#history.deferred(root, iova, iova + length - 1n);
  }

  written(address: bigint, length: number): void {
    const last = (address + BigInt(length) - 1n) >> PAGE_SHIFT;
    for (let page = address >> PAGE_SHIFT; page <= last; page++) {
      if (!this.#watched.has(page)) continue;
      this.#lastWritten = this.#history.next();
      this.#written ??= this.#lastWritten;
    }
  }

  /** Configuration was read here. */
  watch(address: bigint): void {
    this.#watched.add(address >> PAGE_SHIFT);
  }

  /** An invalidation: `work` drops what it names, now or, of one that was queued, when software waits for it. */
  invalidated(text: string, selection: Selection, work: () => void, queued: boolean): void {
    const waits = queued && this.invalidatesAtWait;
    const logged = this.#history.invalidated(text, selection, waits);
    if (waits) this.#held.push({ work, logged });
    else work();
  }

  /** Software waits for the invalidations that it has given so far. */
  waited(): void {
    if (this.#held.length === 0) return;
    const { operation } = this.#history.next();
    for (const { work, logged } of this.#held.splice(0)) {
      work();
      logged.completed = operation;
    }
  }

  // ---- Configuration ----

  resolved(source: number, pasid: number | null, regime: Regime): void {
    const secondOnly = regime.first !== null && (regime.first.flags & layout.TABLE_IS_SECOND_STAGE) !== 0;
    const nestedOwner = regime.second ? (regime.walkTags?.nested.owner ?? null) : null;
    this.#assigned({ source, pasid, owner: regime.owner, nestedOwner, roots: rootsOf(regime), secondOnly });
  }

  #assigned(assignment: Omit<Assignment, keyof Moment>): void {
    this.#history.assigned(assignment, this.#lastWritten);
    this.#number();
  }

  /** Has accesses from now on bear the number of the last operation. */
  #number(): void {
    this.engine.linear.setU32(this.ring + layout.SANITIZER_OPERATION, this.#history.operation);
  }

  begin(): void {
    const since = this.#written;
    if (since) {
      this.#written = null;
      for (const source of this.unit.sources()) this.compare(source, since);
    }
    this.#number();
  }

  /** Compares what a source's requests go through with what memory says. */
  compare(source: ResolvedSource, since: Moment = this.#history.next()): void {
    const { regime, cache } = this.unit.present(source);
    const before = this.#history.configurations.findLast(
      (one) => one.source === source.sid && one.pasid === source.pasid && one.last === Number.POSITIVE_INFINITY,
    );
    if (before) before.last = this.#history.operation - 1;
    if (regimeText(regime) === regimeText(source.handle.description)) {
      this.translation.setPresent(source.handle, "the same");
      return;
    }
    this.translation.setPresent(source.handle, regime);
    if (this.translation.isKeptForIotlb(source.handle)) {
      // No configuration is stale: what the IOTLB answers is.
      const { sid, pasid } = source;
      if (regime) this.resolved(sid, pasid, regime);
      else this.#assigned({ source: sid, pasid, owner: null, nestedOwner: null, roots: [], secondOnly: false });
      return;
    }
    this.#history.configurations.push({
      source: source.sid,
      pasid: source.pasid,
      cache,
      since: before?.since ?? since,
      first: this.#history.operation,
      last: Number.POSITIVE_INFINITY,
    });
    this.#number();
  }

  forgotten(source: number, pasid: number | null): void {
    const { configurations, operation } = this.#history;
    for (const one of configurations) {
      if (one.source === source && one.pasid === pasid) one.last = Math.min(one.last, operation);
    }
  }

  // ---- Device TLBs ----

  /** A device may keep a translation (ATS). */
  granted(source: ResolvedSource, iova: bigint, physical: bigint, size: bigint): void {
    const grant = { source, iova: iova & -size, physical: physical & -size, size };
    if (!this.#grants.some((one) => sameGrant(one, grant))) this.#grants.push(grant);
  }

  /** A device was told to drop translations; `size` null: all, `pasid` undefined: whatever the PASID. */
  deviceInvalidated(source: number, pasid: number | null | undefined, address: bigint, size: bigint | null): void {
    this.#grants = this.#grants.filter((one) => {
      if (one.source.sid !== source || (pasid !== undefined && one.source.pasid !== pasid)) return true;
      return size !== null && (one.iova >= address + size || one.iova + one.size <= address);
    });
  }

  /** A device uses a physical address that it was given as the translation of another. */
  translated(source: number, physical: bigint, access: Access): void {
    const kept = this.#grants.filter(
      (one) => one.source.sid === source && one.physical <= physical && physical < one.physical + one.size,
    );
    const stale = kept.map((one) => {
      const iova = one.iova + (physical - one.physical);
      const { regime } = this.unit.present(one.source);
      const now = regime && this.translation.lead(regime, iova, encodeAccess(access));
      return { pasid: one.source.pasid, owner: one.source.handle.description.owner, iova, now };
    });
    if (stale.length === 0 || stale.some(({ now }) => now === physical)) return;
    const [{ pasid, owner, iova, now }] = stale;
    const { operation } = this.#history;
    const change = this.#judge.change({ source, pasid, iova, owner, operation, reused: now !== null });
    this.#deviceRecords.push({
      source,
      pasid,
      iova,
      access: decodeAccess(encodeAccess(access)),
      physical,
      now,
      from: "device TLB",
      operation,
      mistake: "device-tlb",
      change,
      invalidation: null,
      cache: null,
    });
  }

  release(): void {
    const { linear } = this.engine;
    this.engine.observers.remove(this);
    this.translation.watcher = null;
    linear.free(linear.getU32(this.ring + layout.SANITIZER_RECORDS), this.#capacity * layout.STALE_BYTES);
    linear.free(this.ring, layout.SANITIZER_BYTES);
  }
}
