/**
 * Random drivers of both units, with first, second and nested stages, against an uncached walk of memory. Whatever a driver
 * forgets, every access that reaches what memory would not give it is found, and no other; one that invalidates as it must is
 * never blamed, and reaches what memory says.
 */
import { describe, expect, test } from "vitest";
import { NO_PASID } from "../../assembly/layout.js";
import { encodeAccess } from "../../src/engine/page-table.js";
import type { SanitizerOptions, StaleAccess } from "../../src/sanitizer/index.js";
import type { TranslationOptions } from "../../src/unit/translation.js";
import { Random } from "../support/random.js";
import { iovaOf } from "../support/tables.js";
import {
  type Change,
  changeSomething,
  mapSomething,
  type Order,
  PAGE,
  type RandomMachine,
  type SlowStage,
  somePage,
  walk,
} from "./random-model.js";
import { openSmmu } from "./random-smmuv3.js";
import { openVtd } from "./random-vtd.js";

interface Options extends TranslationOptions {
  readonly sanitizer: SanitizerOptions;
}

const UNITS: readonly (readonly [string, (options: Options) => Promise<RandomMachine>])[] = [
  ["VT-d", openVtd],
  ["SMMUv3", openSmmu],
];

const LRU = { sets: 1, replacement: "lru" } as const;
const STRUCTURES = { 2: { ...LRU, ways: 6 }, 3: { ...LRU, ways: 4 }, 4: { ...LRU, ways: 4 } };
const CACHES: readonly (readonly [string, TranslationOptions])[] = [
  ["direct-mapped", { iotlbEntries: 1024 }],
  [
    "with paging-structure caches",
    { caches: { iotlb: [{ ...LRU, ways: 24 }], firstStage: STRUCTURES, secondStage: STRUCTURES } },
  ],
  [
    "with split IOTLBs and nested translations cached",
    {
      caches: {
        iotlb: [
          { sets: 8, ways: 4, replacement: "tree-plru", pageSizes: 1n << 12n },
          { ...LRU, ways: 4, pageSizes: 1n << 21n },
        ],
        firstStage: STRUCTURES,
        secondStage: { 2: { ...LRU, ways: 4 } },
        nested: { ...LRU, ways: 16 },
      },
    },
  ],
];

const ACCESSES = 24;

interface Stale {
  readonly source: number;
  readonly pasid: number | null;
  readonly iova: bigint;
  readonly write: boolean;
  readonly physical: bigint;
  readonly now: bigint | null;
}

/** Accesses of all sources at once, and which of them were stale. */
class Accesses {
  readonly #batch;

  constructor(
    private readonly machine: RandomMachine,
    private readonly random: Random,
  ) {
    this.#batch = machine.createBatch(ACCESSES);
    for (const stage of machine.stages) for (let i = 0; i < 12; i++) mapSomething(stage, random);
  }

  /** @param correct every access must reach what memory says. */
  run(correct: boolean): Stale[] {
    const { machine, random } = this;
    const requests = Array.from({ length: ACCESSES }, () => {
      const source = random.pick(machine.sources);
      const iova = BigInt(somePage(source, random)) * PAGE + BigInt(random.below(512) * 8);
      return { source, iova, write: random.chance(0.5) };
    });
    for (const [i, { source, iova, write }] of requests.entries()) {
      this.#batch.source[i] = source.sid;
      this.#batch.pasid[i] = source.pasid ?? NO_PASID;
      this.#batch.iova[i] = iova;
      this.#batch.access[i] = encodeAccess({ read: !write, write });
    }
    machine.translateBatch(this.#batch, ACCESSES);
    return requests.flatMap(({ source, iova, write }, i): Stale[] => {
      const reached = this.#batch.code[i] === 0 ? this.#batch.physical[i] : null;
      const now = walk(source, iova, write);
      if (correct)
        expect({ ...source, stages: [], iova, reached }).toEqual({ ...source, stages: [], iova, reached: now });
      if (reached === null || reached === now) return [];
      return [{ source: source.sid, pasid: source.pasid ?? null, iova, write, physical: reached, now }];
    });
  }
}

function found(taken: readonly StaleAccess[]): Stale[] {
  return taken.map(({ source, pasid, iova, access, physical, now }) => {
    return { source, pasid, iova, write: access.write, physical, now };
  });
}

/** Orders that suffice after a change: more often by address than for all at once. */
function someOrders(stage: SlowStage, change: Change, random: Random): readonly Order[] {
  const lists = stage.suffices(change, random.chance(0.5));
  return random.chance(0.5) ? lists[0] : random.pick(lists);
}

/** Another change than there was: a narrower one, or one that freed nothing. */
function mistaken(change: Change, random: Random): Change {
  const { first, count } = change;
  const narrow = { ...change, count: Math.ceil(count / 2), first: first + (random.chance(0.5) ? count >> 1 : 0) };
  return random.pick([
    narrow,
    { ...change, freed: false },
    { ...change, global: false },
    { ...change, first: first + 1 },
  ]);
}

describe.each(UNITS)("%s", (_, open) => {
  describe.each(CACHES)("%s", (_, caches) => {
    test("a correct driver is not blamed, and its devices reach what memory says", async () => {
      for (let seed = 0; seed < 6; seed++) {
        const random = new Random(seed);
        const machine = await open({ ...caches, sanitizer: {} });
        const accesses = new Accesses(machine, random);
        for (let step = 0; step < 120; step++) {
          const stage = random.pick(machine.stages);
          const change = changeSomething(machine, stage, random);
          if (change) {
            // What is global belongs to all tables; one invalidation is enough.
            machine.give(someOrders(stage, change, random));
            machine.wait();
          }
          accesses.run(true);
        }
        expect(machine.sanitizer.take()).toEqual([]);
      }
    });

    test("of a driver that makes mistakes, each stale access is found and no other", async () => {
      let total = 0;
      for (let seed = 100; seed < 106; seed++) {
        const random = new Random(seed);
        const machine = await open({ ...caches, sanitizer: {} });
        const accesses = new Accesses(machine, random);
        const stale: Stale[] = [];
        for (let step = 0; step < 120; step++) {
          const stage = random.pick(machine.stages);
          const change = changeSomething(machine, stage, random);
          if (change) {
            const other = random.pick(machine.stages);
            const orders = random.pick([
              [],
              someOrders(stage, change, random),
              someOrders(stage, mistaken(change, random), random),
              someOrders(other, change, random),
              someOrders(stage, change, random).slice(1),
            ]);
            machine.give(orders);
            machine.wait();
          }
          stale.push(...accesses.run(false));
        }
        expect(found(machine.sanitizer.take())).toEqual(stale);
        total += stale.length;
      }
      expect(total).toBeGreaterThan(50);
    });

    test("of a driver that never invalidates, each stale access is said to be that", async () => {
      const victims = new Set<string>();
      let sources = 0;
      for (let seed = 500; seed < 506; seed++) {
        const random = new Random(seed);
        const machine = await open({ ...caches, sanitizer: {} });
        const accesses = new Accesses(machine, random);
        const stale: Stale[] = [];
        for (let step = 0; step < 120; step++) {
          changeSomething(machine, random.pick(machine.stages), random);
          stale.push(...accesses.run(false));
        }
        const taken = machine.sanitizer.take();
        expect(found(taken)).toEqual(stale);
        expect([...new Set(taken.map(({ mistake }) => mistake))]).toEqual(["forgotten"]);
        for (const { source, pasid } of taken) victims.add(`${source} ${pasid}`);
        sources = machine.sources.length;
      }
      // Requests of every kind, through one stage and through two.
      expect(victims.size).toBe(sources);
    });

    test("of a flush queue, each access in its window is found, and named so", async () => {
      const mistakes = new Set<string>();
      for (let seed = 200; seed < 204; seed++) {
        const random = new Random(seed);
        const machine = await open({ ...caches, sanitizer: {} });
        const accesses = new Accesses(machine, random);
        const stale: Stale[] = [];
        for (let step = 0; step < 120; step++) {
          const stage = random.pick(machine.stages);
          const change = changeSomething(machine, stage, random);
          if (change?.unmapped) {
            for (const { table } of change.global ? stage.twins : [stage]) {
              machine.sanitizer.deferred(table.root, BigInt(change.first) * PAGE, BigInt(change.count) * PAGE);
            }
          } else if (change?.freed) machine.give(someOrders(stage, change, random));
          const flushes = random.chance(0.1);
          if (flushes) machine.give(machine.everything);
          machine.wait();
          stale.push(...accesses.run(flushes));
        }
        const taken = machine.sanitizer.take();
        expect(found(taken)).toEqual(stale);
        for (const { mistake } of taken) mistakes.add(mistake);
      }
      expect([...mistakes].filter((mistake) => mistake !== "reused-before-flush")).toEqual(["lazy-window"]);
    });

    test("of invalidations that are waited for together, each access before that is found, and named so", async () => {
      const mistakes = new Set<string>();
      for (let seed = 300; seed < 304; seed++) {
        const random = new Random(seed);
        const machine = await open({ ...caches, sanitizer: { invalidatesAtWait: true } });
        const accesses = new Accesses(machine, random);
        const stale: Stale[] = [];
        for (let step = 0; step < 120; step++) {
          const stage = random.pick(machine.stages);
          const change = changeSomething(machine, stage, random);
          if (change) machine.give(someOrders(stage, change, random));
          const waits = random.chance(0.2);
          if (waits) machine.wait();
          stale.push(...accesses.run(waits));
        }
        const taken = machine.sanitizer.take();
        expect(found(taken)).toEqual(stale);
        for (const { mistake } of taken) mistakes.add(mistake);
      }
      expect([...mistakes]).toEqual(["not-waited-for"]);
    });

    test("each address that a device kept too long is found when it is used, and no other", async () => {
      let total = 0;
      for (let seed = 400; seed < 404; seed++) {
        const random = new Random(seed);
        const machine = await open({ ...caches, sanitizer: {} });
        const accesses = new Accesses(machine, random);
        const { deviceTlbs, sources } = machine;
        const correct = seed % 2 === 0;
        const stale: object[] = [];
        for (let step = 0; step < 80; step++) {
          const stage = random.pick(machine.stages);
          const change = changeSomething(machine, stage, random);
          if (change) {
            machine.give(someOrders(stage, change, random));
            machine.wait();
            const changed = change.global ? stage.twins : [stage];
            const due = sources.filter(({ stages }) => stages.some((one) => changed.includes(one)));
            for (const source of due) if (correct || random.chance(0.3)) machine.give([machine.dropAts(source)]);
            machine.wait();
          }
          for (let i = 0; i < 8; i++) deviceTlbs.ask(machine, random.pick(sources), random);
          for (let i = 0; i < 8 && deviceTlbs.kept.length > 0; i++) {
            const { source, physical: first, size } = random.pick(deviceTlbs.kept);
            const { sid } = source;
            const physical = first + BigInt(random.below(Number(size / PAGE))) * PAGE;
            // Without a PASID, whatever the translation was for.
            const request = { sid, iova: iovaOf(physical), type: "translated" } as const;
            expect(machine.translate(request)).toMatchObject({ ok: true, physical });
            if (deviceTlbs.isStale(sid, physical)) stale.push({ source: sid, physical, mistake: "device-tlb" });
          }
          accesses.run(true);
        }
        const taken = machine.sanitizer.take();
        expect(taken.map(({ source, physical, mistake }) => ({ source, physical, mistake }))).toEqual(stale);
        expect(stale.length > 0).toBe(!correct);
        total += stale.length;
      }
      expect(total).toBeGreaterThan(20);
    });
  });
});
