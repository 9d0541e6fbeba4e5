/**
 * Translation of one device's accesses by one stage through caches, the slow way: whole walks by the engine's table, of which
 * the caches (lists of entries) say how many levels were not read. Good as long as the caches are not stale.
 */
import type { DeviceAccess } from "../../src/access/batch.js";
import type { CachesGeometry, DeviceTags, Selection, StructureCaches } from "../../src/access/simulator.js";
import type { PageTable } from "../../src/engine/page-table.js";
import { SlowCache } from "./slow-cache.js";
import { iovaOf } from "./tables.js";

const log2 = (size: bigint): number => size.toString(2).length - 1;

export interface SlowAnswer {
  readonly hit: boolean;
  /** Null: a fault. */
  readonly physical: bigint | null;
}

export class SlowSimulator {
  readonly #iotlbs: readonly { readonly cache: SlowCache; readonly sizes: readonly number[] }[];
  readonly #structures = new Map<number, SlowCache>();
  /** By level of the entry. */
  readonly reads = [0, 0, 0, 0, 0, 0];
  readonly lookups = [0, 0, 0, 0, 0, 0];
  readonly hits = [0, 0, 0, 0, 0, 0];
  faults = 0;

  constructor(
    private readonly table: PageTable,
    geometry: Pick<CachesGeometry, "iotlb">,
    structures: StructureCaches,
    private readonly tags: Pick<DeviceTags, "iotlb" | "firstStage">,
  ) {
    this.#iotlbs = geometry.iotlb.map(({ pageSizes = (1n << 64n) - 1n, ...cache }) => ({
      cache: new SlowCache(cache),
      sizes: Array.from({ length: 64 }, (_, shift) => shift).filter((shift) => (pageSizes >> BigInt(shift)) & 1n),
    }));
    for (const [level, cache] of Object.entries(structures)) {
      if (cache) this.#structures.set(Number(level), new SlowCache(cache));
    }
  }

  access({ iova, write }: DeviceAccess): SlowAnswer {
    const { tag, owner } = this.tags.iotlb;
    for (const { cache, sizes } of this.#iotlbs) {
      for (const shift of sizes) {
        const found = cache.find({ address: iova, shift, tag });
        if (found) return { hit: true, physical: found.value + (iova & ((1n << BigInt(shift)) - 1n)) };
      }
    }
    const physical = this.#walk(iova, write);
    if (physical === null) return { hit: false, physical };
    const largest = log2(physical.pageSize);
    const kept = this.#iotlbs
      .flatMap(({ cache, sizes }) => sizes.map((shift) => ({ cache, shift })))
      .filter(({ shift }) => shift <= largest)
      .sort((a, b) => b.shift - a.shift)[0];
    if (kept) {
      const low = (1n << BigInt(kept.shift)) - 1n;
      kept.cache.fill({ address: iova, shift: kept.shift, tag, owner, value: physical.at & ~low });
    }
    return { hit: false, physical: physical.at };
  }

  #walk(iova: bigint, write: boolean): { readonly at: bigint; readonly pageSize: bigint } | null {
    const { levels, format } = this.table;
    const { tag, owner } = this.tags.firstStage;
    const walk = this.table.walk(iovaOf(iova), { write });
    let level = levels;
    // An address that is out of range has no walk.
    const walks = walk.ok || walk.check !== "input-range";
    for (let above = 2; walks && above <= levels && level === levels; above++) {
      const cache = this.#structures.get(above);
      if (!cache) continue;
      this.lookups[above]++;
      if (!cache.find({ address: iova, shift: format.levelShift(above), tag })) continue;
      this.hits[above]++;
      level = above - 1;
    }
    for (; walks && level >= walk.level; level--) {
      this.reads[level]++;
      if (level === walk.level) continue;
      this.#structures.get(level)?.fill({ address: iova, shift: format.levelShift(level), tag, owner, value: 0n });
    }
    if (!walk.ok) {
      this.faults++;
      return null;
    }
    return { at: walk.physical, pageSize: walk.pageSize };
  }

  invalidate({ iotlb = [], firstStage = [] }: Selection): number {
    let dropped = 0;
    for (const { cache } of this.#iotlbs) for (const predicate of iotlb) dropped += cache.invalidate(predicate);
    for (const cache of this.#structures.values()) {
      for (const predicate of firstStage) dropped += cache.invalidate(predicate);
    }
    return dropped;
  }
}
