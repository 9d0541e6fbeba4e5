/** The drivers of src/domain under the DMA API, with devices that use what they may and what they may not any more. */
import { describe, expect, test } from "vitest";
import type { TranslationOptions } from "../../src/unit/translation.js";
import { DmaDevice, DmaHost, mapPhys, unmapPhys } from "../../src/dma/index.js";
import { DefaultDomain } from "../../src/domain/default-domain.js";
import { IommuDomain } from "../../src/domain/domain.js";
import { IommuGroup } from "../../src/domain/group.js";
import { SmmuDriver } from "../../src/domain/smmuv3-driver.js";
import { VtdDriver } from "../../src/domain/vtd-driver.js";
import type { Engine } from "../../src/engine/engine.js";
import { type DmaAddress, physicalAddress, privateAddress } from "../../src/engine/addresses.js";
import type { SanitizerOptions, StaleAccess } from "../../src/sanitizer/index.js";
import { newEngine } from "../support/engine.js";
import { Random } from "../support/random.js";

const PAGE = 0x1000n;
const CACHE = { sets: 1, ways: 8, replacement: "lru" } as const;
const CACHES: TranslationOptions = {
  caches: {
    iotlb: [{ sets: 8, ways: 4, replacement: "lru" }],
    firstStage: { 2: CACHE, 3: CACHE },
    secondStage: { 2: CACHE, 3: CACHE },
    // Entries of one device at a time.
    context: { ...CACHE, ways: 1 },
    pasid: { ...CACHE, ways: 1 },
  },
};
const IOVA = 0x7f00_0000n;

type Options = TranslationOptions & { readonly sanitizer: SanitizerOptions };
const DRIVERS = [
  ["Intel VT-d", (engine: Engine, options: Options) => new VtdDriver(engine, options)],
  ["Arm SMMUv3", (engine: Engine, options: Options) => new SmmuDriver(engine, options)],
] as const;

interface Run {
  readonly stale: StaleAccess[];
  readonly invalidations: number;
  /** Accesses after the unmap that got through. */
  readonly tooLate: number;
}

/** Maps and unmaps at random; every buffer is used while it is live and, if `afterwards`, after that. */
async function run(
  make: (engine: Engine, options: Options) => VtdDriver | SmmuDriver,
  flush: "strict" | "lazy",
  options: Options,
  afterwards: boolean,
): Promise<Run> {
  const random = new Random(7);
  const engine = await newEngine();
  const driver = make(engine, options);
  const host = new DmaHost();
  const domain = new DefaultDomain(driver, host, "default", 1, { flush });
  const other = new DefaultDomain(driver, host, "other", 2, { flush });
  const groups = [new IommuGroup(0, driver, domain), new IommuGroup(1, driver, other)];
  const apis = [domain, other].map(({ dma }, i) => new DmaDevice(dma, { name: `0000:0${i + 1}:00.0` }));
  const devices = groups.map((group, i) => group.addDevice(`0000:0${i + 1}:00.0`, 0x100 * (i + 1)));
  const live: { who: number; address: DmaAddress; length: bigint }[] = [];
  let tooLate = 0;
  const before = driver.invalidations;
  for (let now = 0; now < 250; now++) {
    const context = { cpu: 0, now };
    const who = random.below(2);
    if (live.length < 20 && random.chance(0.6)) {
      const length = PAGE * BigInt(random.chance(0.1) ? 512 + random.below(600) : 1 + random.below(8));
      const physical = physicalAddress(0x4000_0000n + BigInt(random.below(256)) * 0x20_0000n);
      live.push({ who, address: mapPhys(apis[who], context, physical, length, "bidirectional"), length });
    } else if (live.length > 0) {
      const [{ who: owner, address, length }] = live.splice(random.below(live.length), 1);
      unmapPhys(apis[owner], context, address, length, "bidirectional");
      if (afterwards && devices[owner].access(address, true).touches !== "nothing") tooLate++;
    }
    for (const { who: owner, address, length } of live) {
      const page = BigInt(random.below(Number(length / PAGE))) * PAGE;
      expect(devices[owner].access(address + page, true).touches).toBe("own");
    }
    if (random.chance(0.05)) {
      const [group] = groups;
      const claim = {};
      group.claimDmaOwner(claim);
      for (const { address } of live.filter((one) => one.who === 0)) devices[0].access(address);
      group.releaseDmaOwner();
    }
  }
  return { stale: driver.unit.sanitizer?.take() ?? [], invalidations: driver.invalidations - before, tooLate };
}

describe.each(DRIVERS)("%s", (_name, make) => {
  test.each([
    ["direct-mapped IOTLB", { sanitizer: {} }],
    ["all caches", { ...CACHES, sanitizer: {} }],
    ["invalidations that take effect when waited for", { ...CACHES, sanitizer: { invalidatesAtWait: true } }],
  ] as const)("strict, %s: nothing is found", async (_caches, options) => {
    const { stale, tooLate } = await run(make, "strict", options, true);
    expect(stale).toEqual([]);
    expect(tooLate).toBe(0);
  });

  test("lazy: nothing is found of devices that stop in time", async () => {
    expect((await run(make, "lazy", { ...CACHES, sanitizer: {} }, false)).stale).toEqual([]);
  });

  test("lazy: devices that go on are found in the window, and how long it was", async () => {
    let now = 0;
    const sanitizer = { clock: () => now++ };
    const { stale, tooLate } = await run(make, "lazy", { sanitizer, iotlbEntries: 1024 }, true);
    expect(stale.length).toBe(tooLate);
    expect(tooLate).toBeGreaterThan(10);
    for (const { mistake, change, invalidation, operation } of stale) {
      expect(mistake).toBe("lazy-window");
      expect(change?.operation).toBeLessThanOrEqual(operation);
      if (invalidation) expect(invalidation.operation).toBeGreaterThan(operation);
    }
  });

  test("gathered invalidations are fewer, and nothing is found", async () => {
    const count = async (gathered: boolean): Promise<number> => {
      const driver = make(await newEngine(), { ...CACHES, sanitizer: { invalidatesAtWait: true } });
      const domain = new IommuDomain(driver, "unmanaged", 1);
      const group = new IommuGroup(0, driver, "identity");
      const device = group.addDevice("0000:01:00.0", 0x100);
      group.attach(domain);
      // Two runs of pages that touch, apart from one another.
      const addresses = [0n, 1n, 2n, 3n, 64n, 65n].map((page) => privateAddress(IOVA + page * PAGE));
      const mappings = addresses.map((address) => {
        return domain.map(address, physicalAddress(0x4000_0000n + address), PAGE, { read: true, write: true }, [
          device.name,
        ]);
      });
      for (const address of addresses) expect(device.access(address).touches).toBe("own");
      const before = driver.invalidations;
      if (gathered) domain.unmapAll(mappings);
      else for (const mapping of mappings) domain.unmap(mapping);
      for (const address of addresses) expect(device.access(address).touches).toBe("nothing");
      expect(driver.unit.sanitizer?.take()).toEqual([]);
      return driver.invalidations - before;
    };
    expect({ one: await count(false), gathered: await count(true) }).toEqual({ one: 6, gathered: 2 });
  });

  test("lazy gives fewer invalidations than strict", async () => {
    const strict = await run(make, "strict", { sanitizer: {} }, false);
    const lazy = await run(make, "lazy", { sanitizer: {} }, false);
    expect(lazy.invalidations).toBeLessThan(strict.invalidations / 2);
  });
});
