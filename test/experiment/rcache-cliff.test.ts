import { expect, it, test } from "vitest";
import { PUBLISHED_RCACHE_RANGE, rcacheCliff } from "../../src/experiment/rcache-cliff.js";
import { newEngine } from "../support/engine.js";

const rows = rcacheCliff(await newEngine(), [50, 400]);

test.each(rows)("$size bytes, $order of $live: as Linux says, from a magazine or the tree", (row) => {
  const inMagazine = row.size <= PUBLISHED_RCACHE_RANGE;
  expect(row.publishedInMagazine).toBe(inMagazine);
  expect(row.magazineHits).toBe(inMagazine ? 1 : 0);
  expect(row.treeSearches).toBe(inMagazine ? 0 : 1);
  if (inMagazine) expect(row.nodesVisited).toBe(0);
  else expect(row.nodesVisited).toBeGreaterThanOrEqual(1);
});

it("searches longer the more ranges are live, unless those freed lie where the search begins", () => {
  const visits = (order: string, live: number): number =>
    rows.find((row) => row.size === 1 << 20 && row.order === order && row.live === live)?.nodesVisited ?? Number.NaN;
  for (const order of ["oldest", "newest"]) expect([visits(order, 50), visits(order, 400)]).toEqual([1, 1]);
  const growth = visits("any", 400) / visits("any", 50);
  expect(growth).toBeGreaterThan(5);
  expect(growth).toBeLessThan(11);
});

it("refuses what does not fit below 4 GiB", async () => {
  const engine = await newEngine();
  expect(() => rcacheCliff(engine, [5000])).toThrow(/allocate 256 pages below 4 GiB/);
});
