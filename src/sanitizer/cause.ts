/** Which invalidation a stale access lacked. */
import type { CachePredicate } from "../cache/cache.js";
import {
  type Assignment,
  type History,
  type Invalidation,
  type Moment,
  sameRoots,
  type TableChange,
} from "./history.js";
import { coverTogether, covers, difference, EVERYWHERE, meets, reaches, selects } from "./predicates.js";

/** What was wrong with the invalidations, from the unmap (or move) to the access. */
export type Mistake =
  /** There was none that came near. */
  | "forgotten"
  /** None until the access; one that is right came later. */
  | "late"
  /** It came before the table was changed. */
  | "before-unmap"
  /** It came while a configuration was cached that is not in memory any more, and a request brought its translation back. */
  | "before-configuration"
  | "wrong-domain"
  | "wrong-pasid"
  | "wrong-asid"
  | "wrong-vmid"
  /** It was for translations of another stage, or of another kind of address. */
  | "wrong-stage"
  /** By ASID, and the translation is global. */
  | "global-entry"
  /** Its addresses do not reach this page. */
  | "range-too-small"
  /** What is cached of table pages was left, and one was freed. */
  | "leaf-only"
  /** Two tables' translations bear the same tag. */
  | "shared-tag"
  | "not-waited-for"
  /** The flush queue had not flushed yet. */
  | "lazy-window"
  /** Nor had it when the address was mapped again. */
  | "reused-before-flush"
  /** A context, PASID, stream table entry or context descriptor in use is not what memory says. */
  | "configuration"
  | "device-tlb";

/** What made the translation stale. */
export interface Change extends Moment {
  readonly kind: "unmapped" | "mapped" | "moved";
}

export interface Cause {
  readonly mistake: Mistake;
  /** Null when nobody was seen to change the tables. */
  readonly change: Change | null;
  /** The invalidation that comes nearest, or the one that came late. */
  readonly invalidation: Invalidation | null;
  /** What holds the stale configuration. */
  readonly cache: string | null;
}

/** A field of owners, and what it is to get it wrong. */
export interface OwnerField {
  readonly mask: bigint;
  readonly mistake: Mistake;
}

/** A stale access as the engine notes it. */
export interface Noted {
  readonly source: number;
  readonly pasid: number | null;
  readonly iova: bigint;
  readonly owner: bigint;
  readonly operation: number;
  /** Whether memory leads the address elsewhere by now, not nowhere. */
  readonly reused: boolean;
}

/** A change of a second stage behind a first one, and what its translations are tagged with. */
interface ChangeBehind {
  readonly change: TableChange;
  readonly owner: bigint;
}

/**
 * Why a second stage's translations or table pages, whose addresses are intermediate ones, are left although an invalidation
 * dropped what the requests' addresses lead to; null: they are not.
 */
function leftBehind(
  invalidations: readonly Invalidation[],
  dropped: Invalidation,
  { change, owner }: ChangeBehind,
): Pick<Cause, "mistake" | "invalidation"> | null {
  const ofOwner = (cache: "nested" | "secondStage", one: Invalidation): readonly CachePredicate[] =>
    one.selection[cache]?.filter((predicate) => difference(predicate, owner) === 0n) ?? [];
  const named = invalidations.filter((one) => ofOwner("nested", one).length > 0);
  if (named.length === 0) return { mistake: "wrong-stage", invalidation: dropped };
  const near = named.findLast((one) => ofOwner("nested", one).some((predicate) => meets(change, predicate)));
  if (!near) return { mistake: "forgotten", invalidation: null };
  const coveredOf = (cache: "nested" | "secondStage"): boolean =>
    coverTogether(
      invalidations.flatMap((one) => ofOwner(cache, one)),
      change,
    );
  if (!coveredOf("nested")) return { mistake: "range-too-small", invalidation: near };
  return change.freedTables && !coveredOf("secondStage") ? { mistake: "leaf-only", invalidation: near } : null;
}

/** Judges stale accesses by what software did. */
export class Judge {
  constructor(
    private readonly history: History,
    private readonly fields: readonly OwnerField[],
    /** The bit of owners that says that a translation is global. */
    private readonly global: bigint,
  ) {}

  judge(access: Noted): Cause {
    const { history } = this;
    const { source, pasid, iova, operation } = access;
    const configuration = history.configurations.findLast(
      (one) => one.source === source && one.pasid === pasid && one.first <= operation && operation <= one.last,
    );
    if (configuration) {
      const change = { ...configuration.since, kind: "moved" as const };
      return { mistake: "configuration", change, invalidation: null, cache: configuration.cache };
    }
    const { change, roots, secondOnly, behind } = this.#change(access);
    const after = change?.operation ?? 0;
    const range = change && change.kind !== "moved" ? change : EVERYWHERE;
    const candidates = history.invalidations.filter((one) => one.operation > after && one.operation <= operation);
    const found = (mistake: Mistake, invalidation: Invalidation | null = null): Cause => {
      return { mistake, change, invalidation, cache: null };
    };

    const reaching = candidates.filter((one) => selects(one.selection.iotlb, access.owner, iova));
    const pending = reaching.findLast((one) => (one.completed ?? Number.POSITIVE_INFINITY) > operation);
    if (pending) return found("not-waited-for", pending);
    const late = history.invalidations.find((one) => one.operation > operation && this.#drops(one, access, secondOnly));
    if (this.#isDeferred(access, roots, secondOnly))
      return found(access.reused ? "reused-before-flush" : "lazy-window", late ?? null);
    const complete = reaching.findLast((one) => this.#drops(one, access, secondOnly));
    if (complete) {
      const refilled = history.configurations.some(
        (one) =>
          one.source === source && one.pasid === pasid && one.first <= operation && one.last > complete.operation,
      );
      if (refilled) return found("before-configuration", complete);
      const left = behind && leftBehind(candidates, complete, behind);
      if (left) return found(left.mistake, left.invalidation);
      const namesake = this.#namesake(access, roots);
      if (namesake) {
        const { operation, time } = namesake;
        return { ...found("shared-tag"), change: { operation, time, kind: "moved" } };
      }
      // Nothing was left: what was changed since, nobody saw.
      return { ...found("forgotten"), change: null };
    }
    const leafOnly = reaching.at(-1);
    if (leafOnly) return found("leaf-only", leafOnly);
    const short = candidates.findLast((one) =>
      one.selection.iotlb?.some((predicate) => difference(predicate, access.owner) === 0n && meets(range, predicate)),
    );
    if (short && range !== EVERYWHERE) return found("range-too-small", short);
    for (const { mask, mistake } of this.fields) {
      // What is not global needs no invalidation of global translations.
      if (mask === this.global && (access.owner & mask) === 0n) continue;
      const near = candidates.findLast((one) =>
        one.selection.iotlb?.some((predicate) => {
          const bits = difference(predicate, access.owner);
          const wrongFieldOnly = reaches(predicate, iova) && bits !== 0n && (bits & ~mask) === 0n;
          return wrongFieldOnly && !this.#isOfOthers(one, predicate, roots);
        }),
      );
      if (near) return found(mistake, near);
    }
    const [root] = roots;
    const mapped = root && history.lastChange(root, iova, after - 1, ({ kind }) => kind === "mapped");
    const early = history.invalidations.findLast((one) => {
      if (!mapped || one.operation > after || one.operation < mapped.operation) return false;
      const due = one.selection.iotlb?.some((predicate) => this.#isDue(one, predicate, access.owner, roots));
      return !due && this.#drops(one, access, secondOnly);
    });
    if (early && change?.kind === "unmapped") return found("before-unmap", early);
    return late ? found("late", late) : found("forgotten");
  }

  /** What made a translation stale; null when nobody was seen to. */
  change(access: Noted): Change | null {
    return this.#change(access).change;
  }

  /** Whether an invalidation drops all that is cached of an address that requests bear. */
  #drops({ selection }: Invalidation, { owner, iova }: Noted, secondOnly: boolean): boolean {
    const structures = secondOnly ? selection.secondStage : selection.firstStage;
    return selects(selection.iotlb, owner, iova) && selects(structures, owner, iova);
  }

  /** Whether the flush queue has yet to flush an unmap; that of a second stage may be of any address. */
  #isDeferred(access: Noted, [first, ...seconds]: readonly bigint[], secondOnly: boolean): boolean {
    const { history } = this;
    const { iova, operation } = access;
    const deferrals = [
      first === undefined ? undefined : history.lastDeferral(first, operation, iova),
      ...seconds.map((root) => history.lastDeferral(root, operation)),
    ];
    const last = Math.max(...deferrals.map((deferral) => deferral?.operation ?? 0));
    const flushed = history.invalidations.some(
      (one) => one.operation > last && one.operation <= operation && this.#drops(one, access, secondOnly),
    );
    return last > 0 && !flushed;
  }

  /** What made the translation stale, and the tables that it came from. */
  #change(access: Noted): {
    readonly change: (Change & { readonly first: bigint; readonly last: bigint }) | null;
    readonly roots: readonly bigint[];
    /** There is no first stage. */
    readonly secondOnly: boolean;
    /** The change was of the stage behind the first. */
    readonly behind: ChangeBehind | null;
  } {
    const { history } = this;
    const { source, pasid, iova, owner, operation } = access;
    const whose = owner & ~this.global;
    const of = (one: Assignment): boolean => one.operation <= operation && one.owner === whose;
    const present = history.assignments.findLast(
      (one) => one.source === source && one.pasid === pasid && one.operation <= operation,
    );
    const assignments = history.assignments.filter(of);
    const last = assignments.at(-1);
    const { operation: at = 0, time = null } = present ?? {};
    const moved = { operation: at, time, kind: "moved" as const, ...EVERYWHERE };
    if (present && present.owner !== whose) {
      return { change: moved, roots: last?.roots ?? [], secondOnly: last?.secondOnly ?? false, behind: null };
    }
    const { roots = [], secondOnly = false, nestedOwner = null } = present ?? {};
    const counts = ({ kind, freedTables }: { kind: string; freedTables: boolean }) =>
      kind === "unmapped" || freedTables;
    const [first, ...seconds] = roots;
    const changed = first === undefined ? undefined : history.lastChange(first, iova, operation, counts);
    const reuse = assignments.findLast((one, i) => i > 0 && !sameRoots(one.roots, assignments[i - 1].roots));
    if (reuse && reuse.operation > (changed?.operation ?? 0)) {
      const again = { ...moved, operation: reuse.operation, time: reuse.time };
      return { change: again, roots, secondOnly, behind: null };
    }
    const after = changed?.operation ?? 0;
    const isOver = history.invalidations.some(
      (one) => after < one.operation && one.operation <= operation && this.#drops(one, access, secondOnly),
    );
    // A second stage changes addresses that the request does not show.
    for (const root of changed && !isOver ? [] : seconds) {
      const last = history.lastChangeOf(root, operation, counts);
      if (!last || last.operation < after) continue;
      const behind = nestedOwner !== null && root === seconds.at(-1) ? { change: last, owner: nestedOwner } : null;
      return { change: { ...last, ...EVERYWHERE }, roots, secondOnly, behind };
    }
    return { change: changed ?? null, roots, secondOnly, behind: null };
  }

  /** Whether an invalidation was due to a change of other tables, so that it is no failed one of these. */
  #isOfOthers(one: Invalidation, predicate: CachePredicate, roots: readonly bigint[]): boolean {
    return this.history.assignments.some(({ owner, roots: theirs }) => {
      if (owner === null || difference(predicate, owner) !== 0n || sameRoots(theirs, roots)) return false;
      const others = theirs.filter((root) => !roots.includes(root));
      return this.#isDue(one, predicate, owner, others);
    });
  }

  /** Whether tables were changed where an invalidation reaches, since one before that reached as far. */
  #isDue(one: Invalidation, predicate: CachePredicate, owner: bigint, roots: readonly bigint[]): boolean {
    const { history } = this;
    const before = history.invalidations.findLast(
      ({ operation, selection }) =>
        operation < one.operation && selection.iotlb?.some((p) => difference(p, owner) === 0n && covers(p, predicate)),
    );
    const after = before?.operation ?? 0;
    return roots.some((root) => history.unmappedWithin(root, predicate, after, one.operation));
  }

  /** The source, if there is one, whose translations bear the same tag although they come from other tables. */
  #namesake({ owner, operation }: Noted, roots: readonly bigint[]): Assignment | undefined {
    const { assignments } = this.history;
    const whose = owner & ~this.global;
    return assignments.findLast((one, i) => {
      if (one.operation > operation || one.owner !== whose || sameRoots(one.roots, roots)) return false;
      const { source, pasid } = one;
      return !assignments.some((later, j) => {
        return j > i && later.operation <= operation && later.source === source && later.pasid === pasid;
      });
    });
  }
}
