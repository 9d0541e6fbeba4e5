/** What `experiment rcache-cliff` prints. */
import {
  FREE_ORDERS,
  LIVE_RANGES,
  PUBLISHED_IOPS,
  PUBLISHED_RCACHE_RANGE,
  RANGE_SIZES,
  type RcacheCliffRow,
} from "../experiment/rcache-cliff.js";
import { plainTable } from "./table.js";
import { bytes, grouped, significant } from "./units.js";

export function rcacheCliffText(rows: readonly RcacheCliffRow[]): string {
  // Where the search finds a hole at once, however many ranges are live, one column says it.
  const columns = FREE_ORDERS.flatMap((order) =>
    (order === "any" ? LIVE_RANGES : LIVE_RANGES.slice(-1)).map((live) => ({ order, live })),
  );
  const lines = RANGE_SIZES.map((size) => {
    const ofSize = rows.filter((row) => row.size === size);
    const [first] = ofSize;
    const visits = columns.map(({ order, live }) => {
      const found = ofSize.find((row) => row.order === order && row.live === live);
      return found ? significant(found.nodesVisited) : "";
    });
    const { magazineHits, treeSearches, publishedInMagazine } = first;
    return [
      bytes(size),
      significant(magazineHits),
      publishedInMagazine ? "1" : "0",
      significant(treeSearches),
      ...visits,
    ];
  });
  const head = columns.map(({ order, live }) => `${order} ${live}`);
  const { rangesBeyondMagazines, largerMagazines } = PUBLISHED_IOPS;
  return [
    "Linux's IOVA allocator, per allocation",
    plainTable(["size", "magazine", "published", "searches", ...head], lines),
    "",
    "oldest, newest, any: live ranges that a search looks at, by which of how many is freed before",
    `published: magazines hold up to ${bytes(PUBLISHED_RCACHE_RANGE)} (IOVA_RANGE_CACHE_MAX_SIZE, dma_opt_mapping_size)`,
    `measured by others (storage, strict, Linux 5.12-rc3): ${grouped(rangesBeyondMagazines)} IOPS,`,
    `  and ${grouped(largerMagazines)} with magazines for larger ranges`,
  ].join("\n");
}

export function rcacheCliffJson(version: string, rows: readonly RcacheCliffRow[]): string {
  const inputs = { sizes: RANGE_SIZES, live: LIVE_RANGES, orders: FREE_ORDERS };
  const published = { rcacheRange: PUBLISHED_RCACHE_RANGE, iops: PUBLISHED_IOPS };
  return `${JSON.stringify({ command: "experiment rcache-cliff", version, inputs, published, rows }, null, 2)}\n`;
}
