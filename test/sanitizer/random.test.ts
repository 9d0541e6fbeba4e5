/**
 * Random software, right and wrong, against a slow model: the IOTLB as a list of entries, every domain as a map of pages
 * that remembers when each was unmapped. The geometries are large enough that no translation gives way.
 */
import { expect, test } from "vitest";
import type { VtdUnitOptions } from "../../src/vtd/unit.js";
import { newEngine } from "../support/engine.js";
import { Random } from "../support/random.js";
import { iovaOf, physicalOf, READ_WRITE } from "../support/tables.js";
import { type Descriptor, Driver, iotlb } from "../vtd/machine.js";

const PAGE = 0x1000n;
const PAGES = 24;
const DOMAINS = [0x11, 0x12];
/** Bits that the pages' numbers leave alone: direct-mapped entries do not collide. */
const DEVICES = [
  { sid: 0x100, domain: 0x11 },
  { sid: 0x200, domain: 0x11 },
  { sid: 0x300, domain: 0x12 },
];

interface Entry {
  readonly sid: number;
  readonly domain: number;
  readonly page: number;
  readonly physical: bigint;
}

interface Found {
  readonly source: number;
  readonly iova: bigint;
  readonly physical: bigint;
  readonly now: bigint | null;
  readonly unmappedAt: number | null;
}

class SlowUnit {
  #entries: Entry[] = [];
  readonly #maps = new Map(DOMAINS.map((domain) => [domain, new Map<number, bigint>()]));
  readonly #unmapped = new Map(DOMAINS.map((domain) => [domain, new Map<number, number>()]));
  readonly found: Found[] = [];

  #of<T>(maps: Map<number, T>, domain: number): T {
    const map = maps.get(domain);
    if (!map) throw new Error(`no domain ${domain}`);
    return map;
  }

  at(domain: number, page: number): bigint | undefined {
    return this.#of(this.#maps, domain).get(page);
  }

  map(domain: number, page: number, physical: bigint): void {
    this.#of(this.#maps, domain).set(page, physical);
  }

  unmap(domain: number, page: number, time: number): void {
    this.#of(this.#maps, domain).delete(page);
    this.#of(this.#unmapped, domain).set(page, time);
  }

  invalidate(condition: (entry: Entry) => boolean): void {
    this.#entries = this.#entries.filter((entry) => !condition(entry));
  }

  /** Where an access leads; null: it faults. */
  access({ sid, domain }: (typeof DEVICES)[number], page: number): bigint | null {
    const now = this.at(domain, page) ?? null;
    const entry = this.#entries.find((one) => one.sid === sid && one.page === page);
    if (!entry) {
      if (now !== null) this.#entries.push({ sid, domain, page, physical: now });
      return now;
    }
    if (entry.physical !== now) {
      const unmappedAt = this.#of(this.#unmapped, domain).get(page) ?? null;
      this.found.push({ source: sid, iova: BigInt(page) * PAGE, physical: entry.physical, now, unmappedAt });
    }
    return entry.physical;
  }
}

const GEOMETRIES: readonly (readonly [string, VtdUnitOptions])[] = [
  ["direct-mapped", { iotlbEntries: 4096 }],
  [
    "set-associative, with paging-structure caches",
    {
      caches: {
        iotlb: [{ sets: 1, ways: 128, replacement: "lru" }],
        secondStage: { 2: { sets: 1, ways: 4, replacement: "lru" } },
      },
    },
  ],
  [
    "set-associative, with caches of configuration from which it gives way",
    {
      caches: {
        iotlb: [{ sets: 1, ways: 128, replacement: "lru" }],
        context: { sets: 1, ways: 2, replacement: "lru" },
        pasid: { sets: 2, ways: 1, replacement: "lru" },
      },
    },
  ],
];

test.each(GEOMETRIES)("%s", async (_name, options) => {
  let total = 0;
  for (let seed = 0; seed < 12; seed++) {
    const random = new Random(seed);
    let step = 0;
    const sanitizer = { clock: () => step };
    const driver = new Driver(await newEngine(), "scalable", { ...options, sanitizer });
    driver.start();
    const tables = new Map(DOMAINS.map((domain) => [domain, driver.engine.createTable("vtdss")]));
    for (const { sid, domain } of DEVICES) driver.attach(sid, domain, tables.get(domain)?.root ?? 0n);
    const slow = new SlowUnit();
    const batch = driver.unit.createBatch(16);
    for (; step < 150; step++) {
      const domain = random.pick(DOMAINS);
      const page = random.below(PAGES);
      const iova = iovaOf(BigInt(page) * PAGE);
      const present = slow.at(domain, page);
      if (present === undefined && random.chance(0.7)) {
        const physical = BigInt(0x1000 + random.below(4)) * PAGE;
        tables.get(domain)?.map(iova, physicalOf(physical), PAGE, READ_WRITE);
        slow.map(domain, page, physical);
      } else if (present !== undefined && random.chance(0.5)) {
        tables.get(domain)?.unmap(iova, PAGE);
        slow.unmap(domain, page, step);
      }
      if (random.chance(0.3)) {
        const whose = random.pick(DOMAINS);
        const addressMask = random.below(4);
        const near = random.chance(0.6) ? page : random.below(PAGES);
        const first = (near >> addressMask) << addressMask;
        const address = BigInt(first) * PAGE;
        const within = (entry: Entry) => entry.page >= first && entry.page < first + (1 << addressMask);
        const kinds: readonly (readonly [Descriptor, (entry: Entry) => boolean])[] = [
          [iotlb("page", { domain: whose, address, addressMask }), (one) => one.domain === whose && within(one)],
          [iotlb("page", { domain: whose, address, addressMask }), (one) => one.domain === whose && within(one)],
          [iotlb("domain", { domain: whose }), (one) => one.domain === whose],
          [iotlb("global"), () => true],
        ];
        const [descriptor, condition] = random.pick(kinds);
        driver.invalidate(descriptor);
        slow.invalidate(condition);
      }
      const accesses = Array.from({ length: 16 }, () => ({ device: random.pick(DEVICES), page: random.below(PAGES) }));
      accesses.forEach(({ device, page: wanted }, i) => {
        batch.source[i] = device.sid;
        batch.iova[i] = BigInt(wanted) * PAGE;
      });
      driver.unit.translateBatch(batch, 16);
      const expected = accesses.map(({ device, page: wanted }) => slow.access(device, wanted));
      expect(expected.map((physical, i) => (physical === null ? null : batch.physical[i]))).toEqual(expected);
    }
    const found = driver.unit.sanitizer?.take().map(
      ({ source, iova, physical, now, change }): Found => ({
        source,
        iova,
        physical,
        now,
        unmappedAt: change?.time ?? null,
      }),
    );
    expect(found).toEqual(slow.found);
    total += slow.found.length;
  }
  expect(total).toBeGreaterThan(200);
});
