/** Values found by page and tag, as a list of entries: `SlowCache` with anything in it. */
import type { CacheGeometry } from "../../src/cache/geometry.js";
import { SlowCache } from "./slow-cache.js";

const PAGE_SHIFT = 12;

export class SlowStore<V> {
  readonly #cache: SlowCache;
  readonly #values: V[] = [];
  lookups = 0;
  hits = 0;

  constructor(geometry: CacheGeometry) {
    this.#cache = new SlowCache(geometry);
  }

  /** `address` 0: of entries that a tag alone finds. */
  find(tag: bigint, address = 0n): V | undefined {
    this.lookups++;
    const found = this.#cache.find({ address, shift: PAGE_SHIFT, tag });
    if (!found) return undefined;
    this.hits++;
    return this.#values[Number(found.value)];
  }

  keep(value: V, tag: bigint, address = 0n): void {
    const index = this.#values.push(value) - 1;
    this.#cache.fill({ address, shift: PAGE_SHIFT, tag, owner: 0n, value: BigInt(index) });
  }

  /** Returns how many entries that were. */
  dropWhere(condition: (value: V, address: bigint) => boolean): number {
    return this.#cache.dropWhere(({ value, address }) => condition(this.#values[Number(value)], address));
  }
}
