import type { TagAndOwner } from "../access/caches.js";
import { type CachePredicate, invalidateCache } from "../cache/cache.js";
import type { Engine } from "../engine/engine.js";

/**
 * A cache of decoded entries that configure sources (VT-d: context or PASID entries; SMMUv3: STEs or CDs), over
 * assembly/unit/configuration.ts: sets, ways and replacement are there, what the entries hold is here.
 */
export class ConfigurationCache<V> {
  /** By index in the cache. */
  readonly #values: (V | undefined)[] = [];

  /**
   * @param handle the cache in linear memory, which whoever made it releases
   * @param counters linear address of { u64 look-ups, u64 hits }; 0: they are not counted
   * @param dropped is told of every entry that was evicted or invalidated
   */
  constructor(
    private readonly engine: Engine,
    private readonly handle: number,
    private readonly counters: number,
    private readonly dropped: (value: V) => void,
  ) {}

  /** Looks an entry up. */
  get(tag: bigint): V | undefined {
    return this.#values[this.engine.exports.configurationLookUp(this.handle, tag, this.counters)];
  }

  /** What a look-up would find; nobody notices. */
  peek(tag: bigint): V | undefined {
    return this.#values[this.engine.exports.configurationFind(this.handle, tag)];
  }

  /** Where an entry is, as regimes name it: 1 + its index; 0: nowhere. */
  placeOf(tag: bigint): number {
    return this.engine.exports.configurationFind(this.handle, tag) + 1;
  }

  /** Keeps an entry that is not there. */
  set({ tag, owner }: TagAndOwner, value: V): void {
    const index = this.engine.exports.configurationKeep(this.handle, tag, owner);
    const victim = this.#values[index];
    this.#values[index] = value;
    if (victim !== undefined) this.dropped(victim);
  }

  /** Drops what any of the predicates selects. */
  invalidate(predicates: readonly CachePredicate[]): void {
    for (const predicate of predicates) invalidateCache(this.engine, this.handle, predicate);
    this.#values.forEach((value, index) => {
      if (value === undefined || this.engine.exports.cacheIsLive(this.handle, index) !== 0) return;
      this.#values[index] = undefined;
      this.dropped(value);
    });
  }
}
