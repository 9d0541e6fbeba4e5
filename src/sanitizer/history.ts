/** What software did, in order: what a stale access is judged by. */
import type { Selection } from "../access/caches.js";
import type { CachePredicate } from "../cache/cache.js";
import { type AddressRange, meets } from "./predicates.js";

/** Number and, if there is a clock, time of an operation. */
export interface Moment {
  readonly operation: number;
  readonly time: number | null;
}

/** A range of a table that was mapped or unmapped. */
export interface TableChange extends Moment {
  readonly kind: "mapped" | "unmapped";
  readonly first: bigint;
  readonly last: bigint;
  readonly freedTables: boolean;
}

/** An unmap whose invalidation the flush queue is to make. */
export interface Deferral extends Moment {
  readonly first: bigint;
  readonly last: bigint;
}

export interface Invalidation extends Moment {
  /** The command, for people. */
  readonly text: string;
  readonly selection: Selection;
  /** Operation at which it was in effect at the latest; null: software has not waited for it. */
  completed: number | null;
}

/** Requests of a source began to go through tables, their translations tagged with an owner. */
export interface Assignment extends Moment {
  readonly source: number;
  readonly pasid: number | null;
  /** Null: its requests are refused. */
  readonly owner: bigint | null;
  /** What second-stage translations are tagged with behind a first stage; null: there are none. */
  readonly nestedOwner: bigint | null;
  readonly roots: readonly bigint[];
  /** There is no first stage. */
  readonly secondOnly: boolean;
}

/** The tables of a source are other ones in memory than its requests go through. */
export interface StaleConfiguration {
  readonly source: number;
  readonly pasid: number | null;
  /** What holds it: "context cache", "PASID cache", "STE", "CD". */
  readonly cache: string;
  readonly since: Moment;
  /** Found to be so from this operation on, and until that one. */
  readonly first: number;
  last: number;
}

function append<T>(log: T[], entry: T, most: number): void {
  if (log.length >= most) log.splice(0, most >> 1);
  log.push(entry);
}

export class History {
  readonly #changes = new Map<bigint, TableChange[]>();
  readonly #deferrals = new Map<bigint, Deferral[]>();
  readonly invalidations: Invalidation[] = [];
  readonly assignments: Assignment[] = [];
  readonly configurations: StaleConfiguration[] = [];
  #operation = 0;

  /** @param most entries that are remembered of each kind, of changes for every table; the oldest half is forgotten */
  constructor(
    private readonly most: number,
    private readonly clock: (() => number) | undefined,
  ) {}

  /** Number of the last operation. */
  get operation(): number {
    return this.#operation;
  }

  next(): Moment {
    return { operation: ++this.#operation, time: this.clock?.() ?? null };
  }

  changed(root: bigint, change: Omit<TableChange, keyof Moment>): void {
    this.#appendTo(this.#changes, root, { ...change, ...this.next() });
  }

  deferred(root: bigint, first: bigint, last: bigint): void {
    this.#appendTo(this.#deferrals, root, { first, last, ...this.next() });
  }

  #appendTo<T>(logs: Map<bigint, T[]>, root: bigint, entry: T): void {
    const log = logs.get(root) ?? [];
    logs.set(root, log);
    append(log, entry, this.most);
  }

  invalidated(text: string, selection: Selection, waits: boolean): Invalidation {
    const moment = this.next();
    const invalidation = { ...moment, text, selection, completed: waits ? null : moment.operation };
    append(this.invalidations, invalidation, this.most);
    return invalidation;
  }

  /** @param written when its configuration was written, if anybody saw that */
  assigned(assignment: Omit<Assignment, keyof Moment>, written: Moment | null): void {
    const { source, pasid, owner, roots } = assignment;
    const before = this.assignments.findLast((one) => one.source === source && one.pasid === pasid);
    if (before?.owner === owner && sameRoots(before.roots, roots)) return;
    const moment = written && written.operation > (before?.operation ?? 0) ? written : this.next();
    append(this.assignments, { ...assignment, ...moment }, this.most);
  }

  /** The latest change of a table that counts for an address, at or before an operation. */
  lastChange(
    root: bigint,
    address: bigint,
    before: number,
    counts: (change: TableChange) => boolean,
  ): TableChange | undefined {
    return this.#changes.get(root)?.findLast((one) => one.operation <= before && holds(one, address) && counts(one));
  }

  /** The latest change of a table that counts, wherever it was, at or before an operation. */
  lastChangeOf(root: bigint, before: number, counts: (change: TableChange) => boolean): TableChange | undefined {
    return this.#changes.get(root)?.findLast((one) => one.operation <= before && counts(one));
  }

  /** Whether anything was unmapped within a predicate's range between two operations. */
  unmappedWithin(root: bigint, range: CachePredicate, after: number, before: number): boolean {
    const changes = this.#changes.get(root) ?? [];
    const between = ({ operation }: Moment): boolean => operation > after && operation < before;
    return changes.some((one) => between(one) && (one.kind === "unmapped" || one.freedTables) && meets(one, range));
  }

  /** @param address default: any */
  lastDeferral(root: bigint, before: number, address?: bigint): Deferral | undefined {
    return this.#deferrals
      .get(root)
      ?.findLast((one) => one.operation <= before && (address === undefined || holds(one, address)));
  }
}

function holds({ first, last }: AddressRange, address: bigint): boolean {
  return first <= address && address <= last;
}

export function sameRoots(a: readonly bigint[], b: readonly bigint[]): boolean {
  return a.length === b.length && a.every((root, i) => root === b[i]);
}
