/** One set-associative cache (assembly/cache/set-associative.ts). */
import * as layout from "../../assembly/layout.js";
import type { Engine } from "../engine/engine.js";
import { statusError } from "../engine/errors.js";
import { type CacheGeometry, replacementCode } from "./geometry.js";

/** What an entry is found by. */
export interface CacheTag {
  /** Any address of the page. */
  readonly address: bigint;
  /** log2 of the page's size. */
  readonly shift: number;
  /** 64 bits beside the address: whose translation it is. */
  readonly tag: bigint;
}

/** What becomes an entry when it is not there. */
export interface CacheUse extends CacheTag {
  readonly value: bigint;
  /** 64 bits that invalidations select by. */
  readonly owner: bigint;
}

export type CacheOutcome =
  | { readonly hit: true; readonly value: bigint }
  | { readonly hit: false; readonly victim: CacheTag | null };

/** Which entries an invalidation drops: those that meet every condition. */
export interface CachePredicate {
  /** Owners that agree with `owner` in the bits of `mask`. Default: all. */
  readonly mask?: bigint;
  readonly owner?: bigint;
  /** Pages that meet [first, last]. Default: all. */
  readonly first?: bigint;
  readonly last?: bigint;
}

const ALL_ONES = 0xffff_ffff_ffff_ffffn;
const IN_PAGE = 0xfffn;
/** Bitmap of sizes: a cache that takes every one. */
export const EVERY_SIZE = ALL_ONES;

/** Drops what a predicate selects from the cache with this handle; returns how many entries that were. */
export function invalidateCache(engine: Engine, cache: number, predicate: CachePredicate): number {
  const { mask = 0n, owner = 0n, first = 0n, last = ALL_ONES } = predicate;
  return engine.exports.cacheInvalidate(cache, mask, owner, first, last) >>> 0;
}

/** Makes a cache; returns its handle. Throws `invalid` for an impossible geometry, naming `what`, and `memory-exhausted`. */
export function createCache(engine: Engine, geometry: CacheGeometry, what: string, holds: bigint): number {
  const { sets, ways, seed = 1 } = geometry;
  const replacement = replacementCode(geometry, what);
  const handle = engine.exports.cacheCreate(sets, ways, replacement, BigInt(seed), holds) >>> 0;
  if (handle === 0) throw statusError(layout.STATUS_MEMORY_EXHAUSTED, `make ${what}`);
  return handle;
}

/** A cache on its own. What is not invalidated stays. */
export class SetAssociativeCache {
  readonly #handle: number;
  readonly #seed: number;

  /** Throws `invalid` for an impossible geometry, `memory-exhausted`. */
  constructor(
    private readonly engine: Engine,
    geometry: CacheGeometry,
  ) {
    this.#handle = createCache(engine, geometry, "a cache", EVERY_SIZE);
    this.#seed = geometry.seed ?? 1;
  }

  /** Looks pages up, one after another; what is not there becomes an entry. One call for all of them. */
  use(uses: readonly CacheUse[]): CacheOutcome[] {
    const { linear, exports } = this.engine;
    const bytes = Math.max(uses.length, 1) * layout.CACHE_USE_BYTES;
    const block = linear.allocate(bytes);
    for (const [index, { address, tag, owner, value, shift }] of uses.entries()) {
      const at = block + index * layout.CACHE_USE_BYTES;
      linear.u64(at, 4).set([address, tag, owner, value]);
      linear.setU32(at + layout.CACHE_USE_SHIFT, shift);
    }
    exports.cacheUse(this.#handle, block, uses.length);
    const outcomes = uses.map((_, index): CacheOutcome => {
      const at = block + index * layout.CACHE_USE_BYTES;
      const outcome = linear.getU32(at + layout.CACHE_USE_OUTCOME);
      if (outcome === layout.CACHE_HIT) return { hit: true, value: linear.getU64(at + layout.CACHE_USE_VALUE) };
      const key = linear.getU64(at + layout.CACHE_USE_VICTIM_KEY);
      const tag = linear.getU64(at + layout.CACHE_USE_VICTIM_TAG);
      const victim = { address: key & ~IN_PAGE, shift: Number(key & IN_PAGE), tag };
      return { hit: false, victim: outcome === layout.CACHE_REPLACED ? victim : null };
    });
    linear.free(block, bytes);
    return outcomes;
  }

  /** Drops what a predicate selects; returns how many entries that were. */
  invalidate(predicate: CachePredicate = {}): number {
    return invalidateCache(this.engine, this.#handle, predicate);
  }

  /** As new: empty, and the replacement policy remembers nothing. */
  reset(): void {
    this.engine.exports.cacheReset(this.#handle, BigInt(this.#seed));
  }

  /** Entries in use. */
  get size(): number {
    return this.engine.linear.getU32(this.#handle + layout.CACHE_LIVE);
  }

  release(): void {
    this.engine.exports.cacheRelease(this.#handle);
  }
}
