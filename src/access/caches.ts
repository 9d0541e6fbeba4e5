import * as layout from "../../assembly/layout.js";
import { type CachePredicate, createCache, EVERY_SIZE, invalidateCache } from "../cache/cache.js";
import { type CacheGeometry, sharedSizes } from "../cache/geometry.js";
import type { Engine } from "../engine/engine.js";
import { IommuError } from "../engine/errors.js";

/** An IOTLB and the sizes of page that it takes. */
export interface IotlbGeometry extends CacheGeometry {
  /**
   * Bitmap, bit n = 2^n bytes; default: every size. A leaf is kept as the largest size that any IOTLB takes and that is not
   * larger than the leaf: large leaves are fractured where none takes them whole.
   */
  readonly pageSizes?: bigint;
}

/** A paging-structure cache a level: of the entries of level 2 (PDE), 3 (PDPE), 4 (PML4E) and 5. */
export type StructureCaches = Readonly<Partial<Record<2 | 3 | 4 | 5, CacheGeometry>>>;

/** What a unit keeps of translations. */
export interface TranslationCachesGeometry {
  /** One unified IOTLB, or up to four that split the sizes of page among them. */
  readonly iotlb: readonly IotlbGeometry[];
  readonly firstStage?: StructureCaches;
  readonly secondStage?: StructureCaches;
  /** Second-stage translations of the first stage's tables and outputs (SMMUv3: IPA to PA). */
  readonly nested?: CacheGeometry;
}

/** The caches of a unit: of translations, and of configuration. */
export interface UnitCachesGeometry extends TranslationCachesGeometry {
  /** Context entries or STEs, and PASID entries or CDs. Without a geometry nothing is counted of them. */
  readonly context?: CacheGeometry;
  readonly pasid?: CacheGeometry;
}

export interface CachesGeometry extends UnitCachesGeometry {
  /** Configuration is looked up before the IOTLB, since its tags come from there (SMMUv3), not after a miss (VT-d). */
  readonly configurationFirst?: boolean;
}

/** What a kind of entry is found by beside its address, and what invalidations select it by. 64 bits each. */
export interface TagAndOwner {
  readonly tag: bigint;
  readonly owner: bigint;
}

export type CacheName = "iotlb" | "firstStage" | "secondStage" | "nested" | "context" | "pasid";
/** What one invalidation command drops: by cache, every entry that one of the predicates selects. */
export type Selection = Readonly<Partial<Record<CacheName, readonly CachePredicate[]>>>;

/** The caches of a unit and their counters, in one block of linear memory (SIMULATOR_* of layout.ts). */
export class Caches {
  readonly handle: number;
  readonly #caches: (readonly [name: CacheName, handle: number])[] = [];

  /** Throws `invalid` for an impossible geometry, naming the cache; `memory-exhausted`. */
  constructor(
    private readonly engine: Engine,
    geometry: CachesGeometry,
  ) {
    const { linear } = engine;
    const { iotlb, firstStage = {}, secondStage = {}, nested, context, pasid } = geometry;
    if (iotlb.length < 1 || iotlb.length > layout.SIMULATOR_IOTLB_COUNT) {
      const why = `${iotlb.length} IOTLBs: not 1 to ${layout.SIMULATOR_IOTLB_COUNT}`;
      throw new IommuError("invalid", "make the caches of a unit", undefined, why);
    }
    const shared = sharedSizes(iotlb.map(({ pageSizes }) => pageSizes ?? EVERY_SIZE));
    if (shared !== null) {
      const why = `IOTLB ${shared} takes a size of page that one before it takes`;
      throw new IommuError("invalid", "make the caches of a unit", undefined, why);
    }
    this.handle = linear.allocate(layout.SIMULATOR_BYTES);
    try {
      for (const [i, { pageSizes, ...cache }] of iotlb.entries()) {
        this.#add("iotlb", layout.SIMULATOR_IOTLBS + 4 * i, cache, "an IOTLB", pageSizes);
      }
      for (const level of [2, 3, 4, 5] as const) {
        const what = `a paging-structure cache of level ${level}`;
        this.#add("firstStage", layout.SIMULATOR_FIRST_CACHES + 4 * level, firstStage[level], what);
        this.#add("secondStage", layout.SIMULATOR_SECOND_CACHES + 4 * level, secondStage[level], what);
      }
      this.#add("nested", layout.SIMULATOR_NESTED, nested, "a cache of nested translations");
      this.#add("context", layout.SIMULATOR_CONTEXT, context, "a context cache");
      this.#add("pasid", layout.SIMULATOR_PASID, pasid, "a PASID cache");
    } catch (error) {
      this.release();
      throw error;
    }
    linear.setU32(this.handle + layout.SIMULATOR_CONFIGURATION_FIRST, geometry.configurationFirst ? 1 : 0);
  }

  #add(name: CacheName, field: number, cache: CacheGeometry | undefined, what: string, holds = EVERY_SIZE): void {
    if (!cache) return;
    const handle = createCache(this.engine, cache, what, holds);
    this.engine.linear.setU32(this.handle + field, handle);
    this.#caches.push([name, handle]);
  }

  /** The handle of the cache of a kind of which there is one; 0: it has no geometry. */
  cache(name: "context" | "pasid"): number {
    return this.#caches.find(([of]) => of === name)?.[1] ?? 0;
  }

  /** Drops what a selection names and nothing else; returns how many entries that were. */
  invalidate(selection: Selection): number {
    let dropped = 0;
    for (const [name, handle] of this.#caches) {
      for (const predicate of selection[name] ?? []) dropped += invalidateCache(this.engine, handle, predicate);
    }
    return dropped;
  }

  release(): void {
    for (const [, cache] of this.#caches) this.engine.exports.cacheRelease(cache);
    this.engine.linear.free(this.handle, layout.SIMULATOR_BYTES);
  }
}
