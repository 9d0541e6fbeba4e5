import type { RemappingDriver } from "./remapping-driver.js";

/**
 * Unmapped ranges whose invalidations are made together, as Linux's iommu_iotlb_gather does: one for as long as the
 * ranges touch, another when one lies apart.
 */
export class InvalidationGather {
  #range: { readonly first: bigint; readonly end: bigint } | null = null;
  #freedTables = false;

  constructor(
    private readonly driver: RemappingDriver,
    /** The domain's. */
    private readonly id: number,
  ) {}

  /** [first, first + length) was unmapped; `freedTables`: table pages went with it. */
  add(first: bigint, length: bigint, freedTables: boolean): void {
    const end = first + length;
    if (this.#range && (end < this.#range.first || first > this.#range.end)) this.sync();
    const before = this.#range ?? { first, end };
    this.#range = { first: first < before.first ? first : before.first, end: end > before.end ? end : before.end };
    this.#freedTables ||= freedTables;
  }

  /** Makes the invalidation that is due. */
  sync(): void {
    if (!this.#range) return;
    const { first, end } = this.#range;
    this.driver.invalidate(this.id, first, end - first, !this.#freedTables);
    this.#range = null;
    this.#freedTables = false;
  }
}
