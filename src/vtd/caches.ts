/**
 * The context cache and the PASID cache: Intel VT-d Architecture Specification Rev. 5.10, sections 6.1 and 6.2. Both
 * replace the oldest entry when they are full; what is not invalidated stays and is used.
 */
import type { ContextCacheInvalidation, PasidCacheInvalidation } from "./invalidation.js";
import type { CachedContext, CachedPasid } from "./lookup.js";

/** A cache of a fixed number of entries, the oldest of which gives way. */
class OldestFirst<V> {
  readonly #entries = new Map<number, V>();

  constructor(
    private readonly capacity: number,
    private readonly dropped: (value: V) => void,
  ) {}

  get(key: number): V | undefined {
    return this.#entries.get(key);
  }

  set(key: number, value: V): void {
    this.#drop(key);
    if (this.#entries.size === this.capacity) {
      for (const oldest of this.#entries.keys()) {
        this.#drop(oldest);
        break;
      }
    }
    this.#entries.set(key, value);
  }

  dropWhere(condition: (value: V) => boolean): void {
    for (const [key, value] of [...this.#entries]) if (condition(value)) this.#drop(key);
  }

  #drop(key: number): void {
    const value = this.#entries.get(key);
    if (value === undefined) return;
    this.#entries.delete(key);
    this.dropped(value);
  }
}

/** Bits of the function number that are compared, by function mask (section 6.5.2.1). */
const FUNCTION_MASKS = [0xffff, 0xfffb, 0xfff9, 0xfff8] as const;

/** Looked up by SID; legacy entries are tagged with their domain as well. */
export class ContextCache {
  readonly #entries: OldestFirst<CachedContext>;

  constructor(capacity: number, dropped: (context: CachedContext) => void) {
    this.#entries = new OldestFirst(capacity, dropped);
  }

  get(sid: number): CachedContext | undefined {
    return this.#entries.get(sid);
  }

  set(context: CachedContext): void {
    this.#entries.set(context.sid, context);
  }

  /** A scalable-mode entry has no domain: a domain-selective invalidation drops it like a global one (section 6.5.2.1). */
  invalidate({ granularity, domain, sid, functionMask }: ContextCacheInvalidation): void {
    const mask = FUNCTION_MASKS[functionMask & 3];
    this.#entries.dropWhere((entry) => {
      if (granularity === "global" || entry.domain === null) {
        return granularity !== "device" || ((entry.sid ^ sid) & mask) === 0;
      }
      if (entry.domain !== domain) return false;
      return granularity === "domain" || ((entry.sid ^ sid) & mask) === 0;
    });
  }
}

/** PASIDs are 20 bits wide. */
const PASIDS = 2 ** 20;

/** Looked up by SID and PASID; tagged with the domain. */
export class PasidCache {
  readonly #entries: OldestFirst<CachedPasid>;

  constructor(capacity: number, dropped: (pasid: CachedPasid) => void) {
    this.#entries = new OldestFirst(capacity, dropped);
  }

  get(sid: number, pasid: number): CachedPasid | undefined {
    return this.#entries.get(sid * PASIDS + pasid);
  }

  set(entry: CachedPasid): void {
    this.#entries.set(entry.sid * PASIDS + entry.pasid, entry);
  }

  invalidate({ granularity, domain, pasid }: PasidCacheInvalidation): void {
    this.#entries.dropWhere(
      (entry) =>
        granularity === "global" || (entry.domain === domain && (granularity === "domain" || entry.pasid === pasid)),
    );
  }
}
