/**
 * How an importer's entries depend on the IOVA of a buffer that is one DMA segment: only on how many low bits IOVA and
 * virtual address agree in (see `attainable`). Pages of 4 KiB, as in batches.
 */
import { dmaAddress } from "../engine/addresses.js";
import type { AnyImporter } from "./importers.js";
import type { Importer, Plan } from "./importer.js";

/** Virtual addresses are told apart modulo 4 GiB: entries are at most 2 GiB, but for amdgpu's, which no address decides. */
const PERIOD_PAGES = 2 ** 20;
/** Most low bits that matter. */
export const DEEPEST = 32;
/** Where the cache is emptied. */
const CACHED = 2 ** 16;
const PAGE_SHIFT = 12;

/** Entries of one mapping. */
export type Entries = Pick<Plan, "entries" | "total" | "ideal">;

/** Low bits in which two page numbers agree, as bits of the addresses; at most 32. */
export function agreement(page: number, other: number): number {
  const differing = ((page % PERIOD_PAGES) ^ (other % PERIOD_PAGES)) >>> 0;
  return differing === 0 ? DEEPEST : PAGE_SHIFT + 31 - Math.clz32(differing & -differing);
}

/** Counts the entries of mappings; what was counted once is remembered. For importers of DMA addresses. */
export class EntryCounter {
  readonly #importer: Importer;
  readonly #cache = new Map<number, Entries>();
  #onePage: Entries | null = null;

  constructor(importer: AnyImporter) {
    this.#importer = importer as Importer;
  }

  /**
   * @param depth low bits in which IOVA and virtual address agree, 12 to 32
   * @throws IommuError what the importer refuses
   */
  count(virtualPage: number, pages: number, depth: number): Entries {
    // A page alone is one entry wherever it is.
    if (pages === 1) {
      this.#onePage ??= this.#plan(0, 1, DEEPEST);
      return this.#onePage;
    }
    if (pages >= PERIOD_PAGES) return this.#plan(virtualPage, pages, depth);
    const page = virtualPage % PERIOD_PAGES;
    const key = (page * PERIOD_PAGES + pages) * (DEEPEST - PAGE_SHIFT + 1) + depth - PAGE_SHIFT;
    let entries = this.#cache.get(key);
    if (entries === undefined) {
      if (this.#cache.size >= CACHED) this.#cache.clear();
      entries = this.#plan(page, pages, depth);
      this.#cache.set(key, entries);
    }
    return entries;
  }

  /** The fewest for any IOVA. */
  fewest(virtualPage: number, pages: number): Entries {
    return this.count(virtualPage, pages, DEEPEST);
  }

  #plan(page: number, pages: number, depth: number): Entries {
    const va = BigInt(page) << BigInt(PAGE_SHIFT);
    const differing = depth === DEEPEST ? 0n : 1n << BigInt(depth);
    const address = dmaAddress(BigInt.asUintN(DEEPEST, va) ^ differing);
    const length = BigInt(pages) << BigInt(PAGE_SHIFT);
    const { entries, total, ideal } = this.#importer.plan({ va, segments: [{ address, length }] });
    return { entries, total, ideal };
  }
}
