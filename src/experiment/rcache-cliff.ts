/**
 * What an IOVA costs beside Linux's magazines (drivers/iommu/iova.c): up to 32 pages a range comes out of a per-CPU magazine,
 * beyond that every allocation searches the tree of live ranges. Counted, not timed.
 */
import type { Engine } from "../engine/engine.js";
import { IommuError } from "../engine/errors.js";
import type { LinuxIovaDomain } from "../engine/linux-iova.js";
import { Random } from "../random.js";

const KIB = 1024;
const PAGE_BYTES = 4 * KIB;

/** The largest range that magazines hold: PAGE_SIZE << (IOVA_RANGE_CACHE_MAX_SIZE - 1), which is `dma_opt_mapping_size()`. */
export const PUBLISHED_RCACHE_RANGE = 128 * KIB;
/** John Garry, 2021-03-19: storage, strict mode, Linux 5.12-rc3, as it is and with magazines for larger ranges. */
export const PUBLISHED_IOPS = { rangesBeyondMagazines: 600_000, largerMagazines: 1_300_000 };

/** Which of the live ranges is freed before the next one is allocated. */
export const FREE_ORDERS = ["oldest", "newest", "any"] as const;
export type FreeOrder = (typeof FREE_ORDERS)[number];

/** Bytes of the ranges: powers of two, and one page more than magazines hold. */
export const RANGE_SIZES = [4, 8, 16, 32, 64, 128, 132, 256, 512, 1024].map((kib) => kib * KIB);
/** Ranges live at a time; more of 1 MiB would not fit below 4 GiB. */
export const LIVE_RANGES = [100, 1000, 3000];

export interface RcacheCliffRow {
  /** Bytes of every range. */
  readonly size: number;
  readonly live: number;
  readonly order: FreeOrder;
  /** Per allocation: out of a magazine, searches of the tree, and ranges that these looked at. */
  readonly magazineHits: number;
  readonly treeSearches: number;
  readonly nodesVisited: number;
  /** Whether magazines hold ranges of this size, by Linux's own figure. */
  readonly publishedInMagazine: boolean;
}

/** PCI devices are given IOVAs below 4 GiB first. */
const LIMIT_PFN = 0xf_ffff;
const SEED = 1;
/** Allocations before counting begins, and while counting, for every live range. */
const WARM_UP = 2;
const COUNTED = 2;

/** The live ranges of one domain, all of one size. */
class LiveRanges {
  readonly #pfns: number[] = [];
  readonly #random = new Random(SEED);
  #oldest = 0;

  constructor(
    private readonly domain: LinuxIovaDomain,
    private readonly pages: number,
  ) {}

  allocate(): void {
    const pfn = this.domain.allocate(this.pages, LIMIT_PFN, 0, true);
    if (pfn === 0) throw new IommuError("space-exhausted", `allocate ${this.pages} pages below 4 GiB`);
    this.#pfns.push(pfn);
  }

  free(order: FreeOrder): void {
    const last = this.#pfns.length - 1;
    let pfn: number;
    if (order === "oldest") {
      pfn = this.#pfns[this.#oldest++];
    } else {
      const index = order === "newest" ? last : this.#random.below(last + 1);
      pfn = this.#pfns[index];
      this.#pfns[index] = this.#pfns[last];
      this.#pfns.pop();
    }
    this.domain.free(pfn, this.pages, 0);
  }
}

function row(engine: Engine, size: number, live: number, order: FreeOrder): RcacheCliffRow {
  const domain = engine.createLinuxIovaDomain({ cpus: 1 });
  const ranges = new LiveRanges(domain, size / PAGE_BYTES);
  for (let i = 0; i < live; i++) ranges.allocate();
  const replace = (count: number): void => {
    for (let i = 0; i < count; i++) {
      ranges.free(order);
      ranges.allocate();
    }
  };
  replace(WARM_UP * live);
  const before = domain.counters();
  replace(COUNTED * live);
  const after = domain.counters();
  domain.release();
  const per = (name: "magazineHits" | "treeSearches" | "nodesVisited"): number =>
    (after[name] - before[name]) / (COUNTED * live);
  return {
    size,
    live,
    order,
    magazineHits: per("magazineHits"),
    treeSearches: per("treeSearches"),
    nodesVisited: per("nodesVisited"),
    publishedInMagazine: size <= PUBLISHED_RCACHE_RANGE,
  };
}

/**
 * Every size with every number of live ranges and order of freeing.
 * @param onProgress receives the share that is done, after every row
 */
export function rcacheCliff(
  engine: Engine,
  live: readonly number[] = LIVE_RANGES,
  onProgress: (share: number) => void = () => {},
): RcacheCliffRow[] {
  const setups = RANGE_SIZES.flatMap((size) =>
    live.flatMap((ranges) => FREE_ORDERS.map((order) => ({ size, ranges, order }))),
  );
  return setups.map(({ size, ranges, order }, index) => {
    const counted = row(engine, size, ranges, order);
    onProgress((index + 1) / setups.length);
    return counted;
  });
}
