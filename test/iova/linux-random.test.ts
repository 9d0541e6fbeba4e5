/** Linux's allocator against the slow model of the same rules, call by call, over random calls. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { LinuxIovaDomain, LinuxIovaOptions } from "../../src/engine/linux-iova.js";
import { newEngine } from "../support/engine.js";
import { Random } from "../support/random.js";
import { SlowLinuxIova } from "../support/slow-linux-iova.js";

const engine = await newEngine();
/** 4 MiB: below 4 GiB are so few pages that calls meet at every boundary. */
const GRANULE_SHIFT = 22;
const PAGES_BELOW_4G = 1024;

interface Live {
  readonly pfn: number;
  readonly pages: number;
}

interface Plan {
  readonly calls: number;
  /** Calls in which allocations, or frees, prevail: long phases fill magazines and depots, and exhaust the space. */
  readonly phase: number;
  readonly limits: readonly number[];
  /** Pages of an allocation. */
  pages(random: Random): number;
}

/** Plays random calls on both and compares every answer. */
function play(random: Random, options: LinuxIovaOptions, plan: Plan): LinuxIovaDomain {
  const domain = engine.createLinuxIovaDomain(options);
  const model = new SlowLinuxIova(options);
  const live: Live[] = [];
  const lazy = options.flush === "lazy" || options.flush === "lazy-single";
  const reservations = random.below(3);
  for (let n = 0; n < reservations; n++) {
    const first = random.below(PAGES_BELOW_4G);
    const last = first + random.below(40);
    domain.reserve(first, last);
    model.reserve(first, last);
  }
  let share = 0;
  for (let call = 0; call < plan.calls; call++) {
    if (call % plan.phase === 0) share = share < 0.5 ? random.pick([0.5, 0.8, 0.95]) : random.pick([0.05, 0.2]);
    const cpu = random.below(options.cpus);
    const action = random.below(1000);
    if (action < 3) {
      const now = call;
      domain.fireFlushTimer(cpu, now);
      model.fireFlushTimer(cpu, now);
    } else if (action < 8) {
      const pfn = 1 + random.below(2 * PAGES_BELOW_4G);
      const pages = random.pick([1, 2, 4, 33]);
      const adopted = domain.adopt(pfn, pages);
      expect(adopted, `call ${call}: adopt ${pfn}+${pages}`).toBe(model.adopt(pfn, pages));
      if (adopted) live.push({ pfn, pages });
    } else if (random.chance(share)) {
      const pages = plan.pages(random);
      const limit = random.pick(plan.limits);
      const flush = random.chance(0.3);
      const pfn = domain.allocate(pages, limit, cpu, flush);
      expect(pfn, `call ${call}: allocate ${pages} up to ${limit}`).toBe(model.allocate(pages, limit, cpu, flush));
      if (pfn > 0) live.push({ pfn, pages });
    } else if (live.length > 0) {
      const [{ pfn, pages }] = live.splice(random.below(live.length), 1);
      if (lazy && random.chance(0.7)) {
        domain.queue(pfn, pages, cpu, call);
        model.queue(pfn, pages, cpu, call);
      } else {
        domain.free(pfn, pages, cpu);
        model.free(pfn, pages, cpu);
      }
    }
  }
  return domain;
}

const ALIGNMENTS: readonly NonNullable<LinuxIovaOptions["alignment"]>[] = ["size", "none", { maxShift: 2 }];

describe.each(ALIGNMENTS.map((alignment) => [JSON.stringify(alignment), alignment] as const))(
  "alignment %s",
  (_name, alignment) => {
    test.each(["strict", "lazy", "lazy-single"] as const)("%s", (flush) => {
      fc.assert(
        fc.property(fc.integer({ min: 1, max: 1e9 }), fc.integer({ min: 1, max: 3 }), (seed, cpus) => {
          const options: LinuxIovaOptions = { cpus, granuleShift: GRANULE_SHIFT, alignment, flush };
          const plan: Plan = {
            calls: 2500,
            phase: 400,
            limits: [PAGES_BELOW_4G - 1, PAGES_BELOW_4G - 1, PAGES_BELOW_4G, 700, 3000],
            pages: (random) => (random.chance(0.8) ? random.pick([1, 1, 2, 3, 8, 32]) : 1 + random.below(90)),
          };
          play(new Random(seed), options, plan).release();
        }),
        { numRuns: 12 },
      );
    });
  },
);

test("long runs fill depots, and what is kept by save comes back", () => {
  const options: LinuxIovaOptions = { cpus: 2, flush: "lazy" };
  const domain = play(new Random(7), options, {
    calls: 20_000,
    phase: 2500,
    limits: [0xf_ffff, 0xf_ffff_ffff],
    pages: (random) => random.pick([1, 1, 1, 2]),
  });
  expect(domain.counters().depotPushes).toBeGreaterThan(0);
  expect(domain.counters().depotPops).toBeGreaterThan(0);
  const next = (): number[] =>
    Array.from({ length: 300 }, (_, i) => domain.allocate(1 + (i % 40), 0xf_ffff, i % 2, true));
  domain.save();
  const counters = domain.counters();
  const first = next();
  domain.restore();
  expect(domain.counters()).toEqual(counters);
  expect(next()).toEqual(first);
  domain.restore();
  expect(next()).toEqual(first);
  domain.release();
});
