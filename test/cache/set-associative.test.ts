/** The cache does, event by event, what a list of entries with ages does. */
import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { type CacheOutcome, type CachePredicate, type CacheUse, SetAssociativeCache } from "../../src/cache/cache.js";
import { type CacheGeometry, REPLACEMENTS } from "../../src/cache/geometry.js";
import { newEngine } from "../support/engine.js";
import { refused } from "../support/errors.js";
import { Random } from "../support/random.js";
import { SlowCache } from "../support/slow-cache.js";

const engine = await newEngine();

const SHIFTS = [12, 16, 21, 30] as const;
const FIELD = 0xffn;

/** Pages of several sizes and owners, few enough that they come back. */
function randomUse(random: Random, pages: number): CacheUse {
  const shift = random.pick(SHIFTS);
  const domain = BigInt(random.below(3));
  return {
    address: (BigInt(random.below(pages)) << BigInt(shift)) + BigInt(random.below(4096)),
    shift,
    tag: (domain << 40n) | BigInt(random.below(2)),
    owner: (domain << 8n) | BigInt(random.below(2)),
    value: random.u64(),
  };
}

function randomPredicate(random: Random, pages: number): CachePredicate {
  const first = BigInt(random.below(pages)) << 12n;
  const kinds: CachePredicate[] = [
    { mask: FIELD << 8n, owner: BigInt(random.below(3)) << 8n },
    { mask: FIELD, owner: BigInt(random.below(2)) },
    { first, last: first + 4095n },
    { mask: FIELD << 8n, owner: BigInt(random.below(3)) << 8n, first, last: first + (1n << 21n) - 1n },
  ];
  return random.chance(0.05) ? {} : random.pick(kinds);
}

interface Seen {
  readonly outcomes: readonly (CacheOutcome | number)[];
  readonly size: number;
}

function compare(geometry: CacheGeometry, seed: number, uses: number, pages: number): Seen {
  const random = new Random(seed);
  const fast = new SetAssociativeCache(engine, geometry);
  const slow = new SlowCache(geometry);
  const outcomes: (CacheOutcome | number)[] = [];
  for (let done = 0; done < uses; ) {
    const batch = Array.from({ length: random.below(40) }, () => randomUse(random, pages));
    const expected = batch.map((use) => slow.use(use));
    expect(fast.use(batch)).toEqual(expected);
    outcomes.push(...expected);
    const predicate = randomPredicate(random, pages);
    const dropped = slow.invalidate(predicate);
    expect(fast.invalidate(predicate)).toBe(dropped);
    expect(fast.size).toBe(slow.size);
    outcomes.push(dropped);
    done += batch.length + 1;
  }
  fast.release();
  return { outcomes, size: slow.size };
}

const GEOMETRIES: readonly (readonly [sets: number, ways: number])[] = [
  [1, 1],
  [8, 1],
  [1, 2],
  [4, 4],
  [2, 8],
  [1, 16],
  [4, 32],
  [1, 64],
];

describe.each(REPLACEMENTS)("%s", (replacement) => {
  test.each(GEOMETRIES)("%i sets of %i ways: hits, misses and victims of a long stream", (sets, ways) => {
    const { outcomes } = compare({ sets, ways, replacement, seed: 7 }, sets * 100 + ways, 3000, sets * ways);
    const uses = outcomes.filter((outcome) => typeof outcome === "object");
    expect(uses.filter(({ hit }) => hit).length).toBeGreaterThan(20);
    expect(uses.filter((outcome) => !outcome.hit && outcome.victim !== null).length).toBeGreaterThan(20);
    expect(outcomes.filter((outcome) => typeof outcome === "number" && outcome > 0).length).toBeGreaterThan(5);
  });

  test("any geometry", () => {
    const ways =
      replacement === "tree-plru"
        ? fc.integer({ min: 0, max: 6 }).map((log) => 2 ** log)
        : fc.integer({ min: 1, max: 70 });
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 3 }),
        ways,
        fc.integer({ min: 1, max: 60 }),
        fc.nat(),
        (log, many, pages, seed) => {
          compare({ sets: 2 ** log, ways: many, replacement, seed }, seed, 400, pages);
        },
      ),
      { numRuns: 40 },
    );
  });
});

it("keeps entries apart by every bit of page, size and tag", () => {
  const cache = new SetAssociativeCache(engine, { sets: 1, ways: 2, replacement: "lru" });
  const base: CacheUse = { address: 0x1000n, shift: 12, tag: 0n, owner: 0n, value: 1n };
  cache.use([base]);
  const others: CacheUse[] = [
    ...Array.from({ length: 52 }, (_, bit) => ({ ...base, address: base.address ^ (1n << BigInt(bit + 12)) })),
    ...Array.from({ length: 64 }, (_, bit) => ({ ...base, tag: 1n << BigInt(bit) })),
    { ...base, shift: 13 },
  ];
  for (const other of others) {
    expect(cache.use([base, other])).toEqual([
      { hit: true, value: 1n },
      { hit: false, victim: other === others[0] ? null : expect.anything() },
    ]);
  }
});

it("is as new after a reset", () => {
  const geometry: CacheGeometry = { sets: 2, ways: 4, replacement: "random", seed: 3 };
  const cache = new SetAssociativeCache(engine, geometry);
  const random = new Random(5);
  const uses = Array.from({ length: 200 }, () => randomUse(random, 8));
  const first = cache.use(uses);
  cache.reset();
  expect(cache.size).toBe(0);
  expect(cache.use(uses)).toEqual(first);
});

test.each<[string, CacheGeometry]>([
  ["3 sets", { sets: 3, ways: 1, replacement: "lru" }],
  ["0 sets", { sets: 0, ways: 1, replacement: "lru" }],
  ["0 ways", { sets: 1, ways: 0, replacement: "lru" }],
  ["1.5 ways", { sets: 1, ways: 1.5, replacement: "lru" }],
  ["12 ways with tree-plru", { sets: 1, ways: 12, replacement: "tree-plru" }],
  ["128 ways with tree-plru", { sets: 1, ways: 128, replacement: "tree-plru" }],
  ["more than", { sets: 1 << 20, ways: 2, replacement: "lru" }],
  ["seed -1", { sets: 1, ways: 1, replacement: "random", seed: -1 }],
  ['"fifo"', { sets: 1, ways: 1, replacement: "fifo" as "lru" }],
])("refuses a geometry of %s", (part, geometry) => {
  expect(refused("invalid", () => new SetAssociativeCache(engine, geometry)).message).toContain(part);
});
