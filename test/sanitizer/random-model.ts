/**
 * Tables as lists of what they map, over which requests are walked without any cache: what random drivers of both units are
 * judged by. A machine says which invalidations a change of one of its tables needs.
 */
import type { Engine } from "../../src/engine/engine.js";
import type { PageTable } from "../../src/engine/page-table.js";
import type { DmaSanitizer } from "../../src/sanitizer/sanitizer.js";
import type { DmaRequest, TranslationCompletion } from "../../src/unit/request.js";
import type { UnitBatch } from "../../src/unit/translation.js";
import { iovaOf, physicalOf } from "../support/tables.js";
import type { Random } from "../support/random.js";

export const PAGE = 0x1000n;
/** Number of the first page that stages map, below two regions of 2 MiB; the first one's are few and change often. */
export const FIRST_PAGE = 0x4_0000;
export const SMALL_PAGES = 16;
const REGION_PAGES = 512;
const REGIONS = [1, 2].map((region) => FIRST_PAGE + region * REGION_PAGES);
/** Global translations, where there are: the same in every table that shares a tag. */
const GLOBAL_PAGES = { first: FIRST_PAGE + SMALL_PAGES, count: 4 } as const;
/** Memory that last stages map to. */
const MEMORY_PAGE = 0x20_0000;

const REMEMBERED = 4;

/** A descriptor or a command: its first two words. */
export type Order = readonly [first: bigint, second: bigint];

export interface Change {
  readonly first: number;
  readonly count: number;
  /** Table pages were freed. */
  readonly freed: boolean;
  readonly global: boolean;
  /** Pages were taken away, not added. */
  readonly unmapped: boolean;
}

interface Leaf {
  readonly page: number;
  readonly write: boolean;
}

export class SlowStage {
  readonly leaves = new Map<number, Leaf>();
  readonly allocations: { readonly first: number; count: number }[] = [];
  /** The last ones. */
  readonly unmapped: { readonly first: number; readonly count: number }[] = [];
  /** Tables whose global translations are the same; this one among them. */
  twins: readonly SlowStage[] = [this];

  constructor(
    readonly table: PageTable,
    /** It maps to pages that a second stage maps. */
    readonly nested: boolean,
    /** Orders of which each list suffices after a change. `leafOnly`: leave what leads to tables, where there is a choice. */
    readonly suffices: (change: Change, leafOnly: boolean) => readonly (readonly Order[])[],
  ) {}

  isFree(first: number, count: number): boolean {
    for (let page = first; page < first + count; page++) if (this.leaves.has(page)) return false;
    return true;
  }

  /** Maps pages to others in a row; returns what that changed of tables that were there. */
  map(first: number, count: number, to: number, write: boolean): Change {
    const at = iovaOf(BigInt(first) * PAGE);
    const length = BigInt(count) * PAGE;
    const freed = this.table.map(at, physicalOf(BigInt(to) * PAGE), length, { read: true, write }) > 0;
    for (let i = 0; i < count; i++) this.leaves.set(first + i, { page: to + i, write });
    this.allocations.push({ first, count });
    return { first, count, freed, global: false, unmapped: false };
  }

  unmap(first: number, count: number): Change {
    this.unmapped.push({ first, count });
    if (this.unmapped.length > REMEMBERED) this.unmapped.shift();
    const { freedPages } = this.table.unmap(iovaOf(BigInt(first) * PAGE), BigInt(count) * PAGE);
    for (let page = first; page < first + count; page++) this.leaves.delete(page);
    return { first, count, freed: freedPages.length > 0, global: false, unmapped: true };
  }
}

export interface Source {
  readonly sid: number;
  readonly pasid?: number;
  /** In the order in which requests go through them. */
  readonly stages: readonly SlowStage[];
}

/** Where an uncached walk of memory leads; null: to a fault. */
export function walk({ stages }: Source, address: bigint, write: boolean): bigint | null {
  let page = Number(address / PAGE);
  for (const stage of stages) {
    const leaf = stage.leaves.get(page);
    if (!leaf || (write && !leaf.write)) return null;
    page = leaf.page;
  }
  return BigInt(page) * PAGE + (address % PAGE);
}

/** What a device keeps of the translations that it was given (ATS). */
interface Kept {
  readonly source: Source;
  readonly iova: bigint;
  readonly physical: bigint;
  readonly size: bigint;
}

export class DeviceTlbs {
  kept: Kept[] = [];

  /** Asks for the translation of some page, and keeps what comes. */
  ask(machine: RandomMachine, source: Source, random: Random): void {
    const { sid, pasid } = source;
    const iova = BigInt(somePage(source, random)) * PAGE;
    const answer = machine.requestTranslation({ sid, iova: iovaOf(iova), ...(pasid === undefined ? {} : { pasid }) });
    if (!answer.ok || !answer.read) return;
    const { physical, size } = answer;
    this.kept.push({ source, iova: iova & -size, physical: physical & -size, size });
  }

  /** Obeys an invalidation of everything of a requester. */
  drop(sid: number, pasid: number | null): void {
    this.kept = this.kept.filter(({ source }) => source.sid !== sid || (source.pasid ?? null) !== pasid);
  }

  /** Whether none of what a device was given leads to a physical address that it uses. */
  isStale(sid: number, physical: bigint): boolean {
    const those = this.kept.filter(
      (one) => one.source.sid === sid && one.physical <= physical && physical < one.physical + one.size,
    );
    return those.every((one) => walk(one.source, one.iova + (physical - one.physical), false) !== physical);
  }
}

/** What random drivers need of a unit of either architecture. */
export interface RandomMachine {
  readonly engine: Engine;
  readonly sanitizer: DmaSanitizer;
  readonly stages: readonly SlowStage[];
  readonly sources: readonly Source[];
  readonly deviceTlbs: DeviceTlbs;
  /** Gives orders, and no more. */
  give(orders: readonly Order[]): void;
  wait(): void;
  /** Drops every translation. */
  readonly everything: readonly Order[];
  /** Has a device drop all that it keeps of a source. */
  dropAts(source: Source): Order;
  createBatch(capacity: number): UnitBatch;
  translateBatch(batch: UnitBatch, count: number): void;
  translate(request: DmaRequest): { readonly ok: boolean };
  requestTranslation(request: Omit<DmaRequest, "access" | "type">): TranslationCompletion | { readonly ok: false };
  /** Clears nG of the leaf that maps a page of a stage. Absent: nothing is global. */
  makeGlobal?(stage: SlowStage, page: number): void;
}

/** A page that an access of a source aims at: one that is, or was just now, mapped by what it goes through first, or any. */
export function somePage({ stages: [{ allocations, unmapped }] }: Source, random: Random): number {
  const those = random.pick([allocations, unmapped, []]);
  if (those.length > 0) {
    const { first, count } = random.pick(those);
    return first + random.below(count);
  }
  if (random.chance(0.7)) return FIRST_PAGE + random.below(SMALL_PAGES + GLOBAL_PAGES.count);
  return random.pick(REGIONS) + random.pick([0, 1, 2, 17, REGION_PAGES - 1]);
}

/** Changes a table at random; null when it came to nothing. */
export function changeSomething(machine: RandomMachine, stage: SlowStage, random: Random): Change | null {
  if (machine.makeGlobal && !stage.table.format.name.endsWith("-s2") && random.chance(0.1)) {
    return changeGlobal(machine, stage, random);
  }
  return random.chance(0.6) ? mapSomething(stage, random) : unmapSomething(stage, random);
}

export function mapSomething(stage: SlowStage, random: Random): Change | null {
  const write = random.chance(0.8);
  const base = stage.nested ? FIRST_PAGE : MEMORY_PAGE;
  if (random.chance(0.25)) {
    const first = random.pick(REGIONS);
    if (!stage.isFree(first, REGION_PAGES)) return null;
    const to = base + random.pick([1, 2]) * REGION_PAGES;
    // Not congruent: a table of small pages.
    const shift = random.chance(0.5) ? 0 : 1;
    return stage.map(first, REGION_PAGES - (stage.nested ? shift : 0), to + shift, write);
  }
  // A contiguous run of 16, if the format has any.
  const count = random.pick([1, 1, 2, 3, 16]);
  const first = FIRST_PAGE + random.below(Math.floor(SMALL_PAGES / count)) * count;
  if (!stage.isFree(first, count)) return null;
  return stage.map(first, count, base + random.below(Math.floor(SMALL_PAGES / count)) * count, write);
}

function unmapSomething(stage: SlowStage, random: Random): Change | null {
  if (stage.allocations.length === 0) return null;
  const index = random.below(stage.allocations.length);
  const allocation = stage.allocations[index];
  const { first, count } = allocation;
  // Part of it from its end, where a leaf is a page.
  const left = count > 1 && count <= SMALL_PAGES && random.chance(0.4) ? 1 + random.below(count - 1) : 0;
  if (left > 0) allocation.count = left;
  else stage.allocations.splice(index, 1);
  return stage.unmap(first + left, count - left);
}

function changeGlobal(machine: RandomMachine, stage: SlowStage, random: Random): Change {
  const first = GLOBAL_PAGES.first + random.below(GLOBAL_PAGES.count);
  const base = stage.nested ? FIRST_PAGE : MEMORY_PAGE;
  const to = base + random.below(SMALL_PAGES);
  const free = stage.isFree(first, 1);
  for (const twin of stage.twins) {
    if (!free) twin.unmap(first, 1);
    else {
      twin.map(first, 1, to, true);
      twin.allocations.pop();
      machine.makeGlobal?.(twin, first);
    }
  }
  return { first, count: 1, freed: false, global: true, unmapped: !free };
}
