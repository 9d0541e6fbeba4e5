/**
 * Context cache, PASID cache and IOTLB: what is stale until it is invalidated, and what each invalidation drops. Intel VT-d
 * Architecture Specification Rev. 5.10, sections 6.1, 6.2 and 6.5, Tables 17, 23 and 24.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { NO_PASID } from "../../assembly/layout.js";
import { encodeAccess, type PageTable } from "../../src/engine/page-table.js";
import type { DmaRequest } from "../../src/unit/request.js";
import { UNREPORTED, type VtdUnitOptions } from "../../src/vtd/unit.js";
import { newEngine } from "../support/engine.js";
import { iovaOf, physicalOf, READ_WRITE } from "../support/tables.js";
import {
  clear,
  contextCache,
  Driver,
  type Descriptor,
  FS_A,
  FS_D,
  FSTS,
  iotlb,
  type MachineOptions,
  type Mode,
  openMachine,
  outcome,
  P,
  PGTT,
  pasidCache,
  pasidIotlb,
  SS_A,
  SS_D,
  SSADE,
  set,
} from "./machine.js";

const PAGE = 0x1000n;
/** Devices 1 and 2 of bus 1, several functions. */
const FUNCTION_0 = 0x108;
const FUNCTION_1 = 0x109;
const FUNCTION_4 = 0x10c;
const FUNCTION_7 = 0x10f;
const OTHER_DEVICE = 0x110;

/** A started driver, and nothing attached. */
async function start(mode: Mode, options: VtdUnitOptions = {}): Promise<Driver> {
  const driver = new Driver(await newEngine(), mode, options);
  driver.start();
  return driver;
}

/** A second-stage table with one page, at 0. */
function onePage({ engine }: Driver, physical: bigint): PageTable {
  const table = engine.createTable("vtdss");
  table.map(iovaOf(0n), physicalOf(physical), PAGE, READ_WRITE);
  return table;
}

const readAt0 = (sid: number): DmaRequest => ({ sid, iova: iovaOf(0n) });

describe.each(["legacy", "scalable"] as const)("the context cache in %s mode", (mode) => {
  const domains: readonly (readonly [sid: number, domain: number])[] = [
    [FUNCTION_0, 1],
    [FUNCTION_1, 1],
    [FUNCTION_4, 2],
    [FUNCTION_7, 1],
    [OTHER_DEVICE, 1],
  ];
  const all = domains.map(([sid]) => sid);
  const notPresent = mode === "legacy" ? "fault 0x2" : "fault 0x41";

  /** Every device has been translated for, and then lost its context entry. */
  async function lost(): Promise<Driver> {
    const driver = await start(mode);
    const table = onePage(driver, 0x5000n);
    for (const [sid, domain] of domains) driver.attach(sid, domain, table.root);
    for (const sid of all) expect(outcome(driver.unit, readAt0(sid))).toBe("0x5000");
    for (const sid of all) driver.clearPresent(driver.contextAt(sid));
    for (const sid of all) expect(outcome(driver.unit, readAt0(sid))).toBe("0x5000");
    return driver;
  }

  const device = (sid: number, functionMask: number): Descriptor =>
    contextCache("device", { domain: 1, sid, functionMask });
  const onlyInLegacy = (legacy: readonly number[], scalable: readonly number[]): readonly number[] =>
    mode === "legacy" ? legacy : scalable;
  const rows: readonly (readonly [name: string, descriptor: Descriptor, dropped: readonly number[]])[] = [
    ["global", contextCache("global"), all],
    // Scalable-mode entries are tagged with the source alone.
    [
      "domain 1",
      contextCache("domain", { domain: 1 }),
      onlyInLegacy(
        all.filter((sid) => sid !== FUNCTION_4),
        all,
      ),
    ],
    ["domain 3", contextCache("domain", { domain: 3 }), onlyInLegacy([], all)],
    ["one function", device(FUNCTION_0, 0), [FUNCTION_0]],
    ["function mask 1", device(FUNCTION_0, 1), onlyInLegacy([FUNCTION_0], [FUNCTION_0, FUNCTION_4])],
    ["function mask 2", device(FUNCTION_1, 2), [FUNCTION_1, FUNCTION_7]],
    [
      "function mask 3",
      device(FUNCTION_4, 3),
      onlyInLegacy([FUNCTION_0, FUNCTION_1, FUNCTION_7], [FUNCTION_0, FUNCTION_1, FUNCTION_4, FUNCTION_7]),
    ],
    ["another source", device(0x208, 3), []],
    ["nothing but the IOTLB", iotlb("global"), []],
  ];

  test.each(rows)("%s", async (_name, descriptor, dropped) => {
    const driver = await lost();
    driver.invalidate(descriptor);
    const found = all.filter((sid) => outcome(driver.unit, readAt0(sid)) === notPresent);
    expect(found).toEqual(dropped);
  });

  test("reset empties it", async () => {
    const driver = await lost();
    driver.unit.invalidateCaches();
    for (const sid of all) expect(outcome(driver.unit, readAt0(sid))).toBe(notPresent);
  });

  test("the least capacity keeps the last entry", async () => {
    const driver = await start(mode, { contextCacheEntries: 1 });
    const table = onePage(driver, 0x5000n);
    for (const sid of [FUNCTION_0, OTHER_DEVICE]) {
      driver.attach(sid, 1, table.root);
      expect(outcome(driver.unit, readAt0(sid))).toBe("0x5000");
    }
    for (const sid of [FUNCTION_0, OTHER_DEVICE]) driver.clearPresent(driver.contextAt(sid));
    expect(outcome(driver.unit, readAt0(OTHER_DEVICE))).toBe("0x5000");
    expect(outcome(driver.unit, readAt0(FUNCTION_0))).toBe(notPresent);
  });

  test.each([
    { CM: 0, kept: false },
    { CM: 1, kept: true },
  ])("CAP.CM $CM: an entry that is not present is kept: $kept", async ({ CM, kept }) => {
    const driver = await start(mode, { cap: { CM } });
    driver.attach(FUNCTION_0, 1, onePage(driver, 0x5000n).root);
    const entry = driver.contextAt(FUNCTION_0);
    driver.clearPresent(entry);
    const read = (): string => outcome(driver.unit, readAt0(FUNCTION_0));
    expect(read()).toBe(notPresent);
    driver.setBits(entry, P);
    expect(read()).toBe(kept ? notPresent : "0x5000");
    // Faulting entries of legacy mode are tagged with domain 0.
    driver.invalidate(contextCache("domain", { domain: mode === "legacy" ? 1 : 5 }));
    expect(read()).toBe(kept && mode === "legacy" ? notPresent : "0x5000");
    driver.invalidate(contextCache("domain", { domain: 0 }));
    expect(read()).toBe("0x5000");
  });
});

describe("the PASID cache", () => {
  type Source = readonly [name: string, sid: number, pasid: number | null, domain: number];
  const sources: readonly Source[] = [
    ["A", FUNCTION_0, null, 1],
    ["A5", FUNCTION_0, 5, 1],
    ["A6", FUNCTION_0, 6, 2],
    ["B", OTHER_DEVICE, null, 2],
    ["B5", OTHER_DEVICE, 5, 2],
    ["B6", OTHER_DEVICE, 6, 1],
  ];
  const names = sources.map(([name]) => name);
  const read = ({ unit }: Driver, [, sid, pasid]: Source): string =>
    outcome(unit, { ...readAt0(sid), ...(pasid === null ? {} : { pasid }) });

  function attach(driver: Driver, table: PageTable): void {
    for (const [, sid, pasid, domain] of sources) {
      driver.setScalableContext(sid);
      driver.setPasid(sid, pasid ?? 0, { type: PGTT.second, domain, secondTable: table.root });
    }
  }

  async function lost(options: VtdUnitOptions = {}): Promise<Driver> {
    const driver = await start("scalable", options);
    attach(driver, onePage(driver, 0x5000n));
    for (const source of sources) expect(read(driver, source)).toBe("0x5000");
    for (const [, sid, pasid] of sources) driver.clearPresent(driver.pasidAt(sid, pasid ?? 0));
    return driver;
  }

  const rows: readonly (readonly [name: string, descriptor: Descriptor, dropped: readonly string[]])[] = [
    ["global", pasidCache("global"), names],
    ["domain 1", pasidCache("domain", { domain: 1 }), ["A", "A5", "B6"]],
    ["domain 2", pasidCache("domain", { domain: 2, pasid: 5 }), ["A6", "B", "B5"]],
    ["domain 3", pasidCache("domain", { domain: 3 }), []],
    ["PASID 5 in domain 1", pasidCache("pasid", { domain: 1, pasid: 5 }), ["A5"]],
    ["PASID 5 in domain 2", pasidCache("pasid", { domain: 2, pasid: 5 }), ["B5"]],
    ["PASID 6 in domain 1", pasidCache("pasid", { domain: 1, pasid: 6 }), ["B6"]],
    ["RID_PASID in domain 1", pasidCache("pasid", { domain: 1, pasid: 0 }), ["A"]],
    ["nothing but the IOTLB", iotlb("global"), []],
    ["nothing but the context cache", contextCache("global"), []],
  ];

  test.each(rows)("%s", async (_name, descriptor, dropped) => {
    const driver = await lost();
    for (const source of sources) expect(read(driver, source)).toBe("0x5000");
    driver.invalidate(descriptor);
    const found = sources.filter((source) => read(driver, source) === "fault 0x59");
    expect(found.map(([name]) => name)).toEqual(dropped);
  });

  test("the least capacity keeps the last entry", async () => {
    const driver = await lost({ pasidCacheEntries: 1 });
    expect(read(driver, sources[5])).toBe("0x5000");
    for (const source of sources.slice(0, 5)) expect(read(driver, source)).toBe("fault 0x59");
    expect(read(driver, sources[5])).toBe("0x5000");
  });

  test.each([
    { CM: 0, kept: false },
    { CM: 1, kept: true },
  ])("CAP.CM $CM: an entry that is not present is kept: $kept", async ({ CM, kept }) => {
    const driver = await start("scalable", { cap: { CM } });
    attach(driver, onePage(driver, 0x5000n));
    const [, source] = sources;
    const entry = driver.pasidAt(FUNCTION_0, 5);
    driver.clearPresent(entry);
    expect(read(driver, source)).toBe("fault 0x59");
    driver.setBits(entry, P);
    expect(read(driver, source)).toBe(kept ? "fault 0x59" : "0x5000");
    // Faulting entries are tagged with domain 0.
    driver.invalidate(pasidCache("domain", { domain: 1 }));
    expect(read(driver, source)).toBe(kept ? "fault 0x59" : "0x5000");
    driver.invalidate(pasidCache("domain", { domain: 0 }));
    expect(read(driver, source)).toBe("0x5000");
  });
});

/** Enough that no two of these tests' translations have the same place. */
const ROOMY = { iotlbEntries: 2 ** 20 } as const;

describe("the IOTLB", () => {
  /** One translation that is cached: source, tables and domain, and the number of its page. */
  type Cached = readonly [name: string, sid: number, pasid: number | null, type: bigint, domain: number, page: bigint];
  const cached: readonly Cached[] = [
    ["A page 0", FUNCTION_0, null, PGTT.second, 1, 0n],
    ["A page 1", FUNCTION_0, null, PGTT.second, 1, 1n],
    ["A page 8", FUNCTION_0, null, PGTT.second, 1, 8n],
    ["B page 0", OTHER_DEVICE, null, PGTT.second, 2, 0n],
    ["A first 5 page 0", FUNCTION_0, 5, PGTT.first, 1, 0n],
    ["A first 5 page 1", FUNCTION_0, 5, PGTT.first, 1, 1n],
    ["A first 6 page 0", FUNCTION_0, 6, PGTT.first, 1, 0n],
    ["A nested 7 page 0", FUNCTION_0, 7, PGTT.nested, 1, 0n],
    ["A nested 7 page 8", FUNCTION_0, 7, PGTT.nested, 1, 8n],
    ["A second 8 page 0", FUNCTION_0, 8, PGTT.second, 1, 0n],
    ["B first 5 page 0", OTHER_DEVICE, 5, PGTT.first, 2, 0n],
  ];
  const names = cached.map(([name]) => name);
  const requestOf = ([, sid, pasid, , , page]: Cached): DmaRequest => ({
    sid,
    iova: iovaOf(page * PAGE),
    ...(pasid === null ? {} : { pasid }),
  });
  const OLD = 0x10_0000n;
  const NEW = 0x20_0000n;

  interface Filled {
    readonly driver: Driver;
    /** What is not dropped gives what was mapped when the request was made. */
    dropped(): string[];
  }

  /** All of `cached` is in the IOTLB, and every page has been mapped elsewhere since. */
  async function filled(): Promise<Filled> {
    const driver = await start("scalable", ROOMY);
    const { engine, unit } = driver;
    // Guest addresses are host addresses: the lowest GiB, and the tables themselves.
    const identity = engine.createTable("vtdss");
    for (const start of [0n, engine.memory.arenaBase]) {
      identity.map(iovaOf(start), physicalOf(start), 1n << 30n, READ_WRITE);
    }
    const tables = new Map<string, PageTable>();
    for (const [, sid, pasid, type, domain, page] of cached) {
      const key = `${sid} ${pasid}`;
      const table = tables.get(key) ?? engine.createTable(type === PGTT.second ? "vtdss" : "x86_64");
      tables.set(key, table);
      const root =
        type === PGTT.second
          ? { secondTable: table.root }
          : { firstTable: table.root, ...(type === PGTT.nested ? { secondTable: identity.root } : {}) };
      driver.setPasid(sid, pasid ?? 0, { type, domain, ...root });
      driver.setScalableContext(sid);
      table.map(iovaOf(page * PAGE), physicalOf(OLD + page * PAGE), PAGE, READ_WRITE);
    }
    const mapped = (base: bigint, [, , , , , page]: Cached): string => `0x${(base + page * PAGE).toString(16)}`;
    for (const item of cached) expect(outcome(unit, requestOf(item))).toBe(mapped(OLD, item));
    for (const [, sid, pasid, , , page] of cached) {
      const table = tables.get(`${sid} ${pasid}`);
      table?.unmap(iovaOf(page * PAGE), PAGE);
      table?.map(iovaOf(page * PAGE), physicalOf(NEW + page * PAGE), PAGE, READ_WRITE);
    }
    for (const item of cached) expect(outcome(unit, requestOf(item))).toBe(mapped(OLD, item));
    return {
      driver,
      dropped: () => {
        const found = cached.map((item) => [item, outcome(unit, requestOf(item))] as const);
        for (const [item, physical] of found) expect([mapped(OLD, item), mapped(NEW, item)]).toContain(physical);
        return found.filter(([item, physical]) => physical === mapped(NEW, item)).map(([[name]]) => name);
      },
    };
  }

  /** What has a first stage in domain 1. */
  const FIRST = names.filter((name) => /^A (first|nested)/.test(name));
  const inDomain1 = names.filter((name) => name.startsWith("A"));
  const rows: readonly (readonly [name: string, descriptor: Descriptor, dropped: readonly string[]])[] = [
    ["2 global", iotlb("global"), names],
    ["2 domain 1", iotlb("domain", { domain: 1 }), inDomain1],
    ["2 domain 2", iotlb("domain", { domain: 2 }), ["B page 0", "B first 5 page 0"]],
    ["2 domain 3", iotlb("domain", { domain: 3 }), []],
    ["2 page 0", iotlb("page", { domain: 1 }), ["A page 0", ...FIRST, "A second 8 page 0"]],
    ["2 page 1", iotlb("page", { domain: 1, address: PAGE }), ["A page 1", ...FIRST]],
    ["2 page 2, not cached", iotlb("page", { domain: 1, address: 2n * PAGE }), FIRST],
    [
      "2 two pages from page 1's",
      iotlb("page", { domain: 1, address: PAGE, addressMask: 1 }),
      ["A page 0", "A page 1", ...FIRST, "A second 8 page 0"],
    ],
    [
      "2 eight pages",
      iotlb("page", { domain: 1, addressMask: 3 }),
      ["A page 0", "A page 1", ...FIRST, "A second 8 page 0"],
    ],
    ["2 sixteen pages", iotlb("page", { domain: 1, addressMask: 4 }), inDomain1],
    ["2 page 0 of domain 2", iotlb("page", { domain: 2 }), ["B page 0", "B first 5 page 0"]],
    ["6 PASID 5", pasidIotlb("pasid", { domain: 1, pasid: 5 }), ["A first 5 page 0", "A first 5 page 1"]],
    ["6 PASID 5 of domain 2", pasidIotlb("pasid", { domain: 2, pasid: 5 }), ["B first 5 page 0"]],
    ["6 PASID 7", pasidIotlb("pasid", { domain: 1, pasid: 7 }), ["A nested 7 page 0", "A nested 7 page 8"]],
    ["6 PASID 8, second stage", pasidIotlb("pasid", { domain: 1, pasid: 8 }), ["A second 8 page 0"]],
    ["6 RID_PASID", pasidIotlb("pasid", { domain: 1, pasid: 0 }), ["A page 0", "A page 1", "A page 8"]],
    ["6 PASID 9", pasidIotlb("pasid", { domain: 1, pasid: 9 }), []],
    ["6 page 0 of PASID 5", pasidIotlb("page", { domain: 1, pasid: 5 }), ["A first 5 page 0"]],
    [
      "6 two pages of PASID 5",
      pasidIotlb("page", { domain: 1, pasid: 5, addressMask: 1 }),
      ["A first 5 page 0", "A first 5 page 1"],
    ],
    ["6 page 8 of PASID 7", pasidIotlb("page", { domain: 1, pasid: 7, address: 8n * PAGE }), ["A nested 7 page 8"]],
    ["6 page 0 of PASID 8, second stage", pasidIotlb("page", { domain: 1, pasid: 8 }), []],
    ["6 page 0 of RID_PASID, second stage", pasidIotlb("page", { domain: 1, pasid: 0 }), []],
    ["6 page 0 of PASID 5 in domain 3", pasidIotlb("page", { domain: 3, pasid: 5 }), []],
  ];

  test.each(rows)("%s", async (_name, descriptor, dropped) => {
    const { driver, dropped: found } = await filled();
    driver.invalidate(descriptor);
    expect(found()).toEqual(cached.map(([name]) => name).filter((name) => dropped.includes(name)));
  });

  test("is emptied by reset, and not by context and PASID cache invalidations", async () => {
    const { driver, dropped } = await filled();
    driver.invalidate(contextCache("global"), pasidCache("global"));
    expect(dropped()).toEqual([]);
    driver.unit.invalidateCaches();
    expect(dropped()).toEqual(names);
  });

  test("a page within a large one goes with it", async () => {
    const driver = await start("legacy", ROOMY);
    const table = driver.engine.createTable("vtdss");
    const LARGE = 1n << 21n;
    table.map(iovaOf(0n), physicalOf(LARGE), LARGE, READ_WRITE);
    driver.attach(FUNCTION_0, 1, table.root);
    const read = (iova: bigint): string => outcome(driver.unit, { sid: FUNCTION_0, iova });
    expect(read(0x1_2345n)).toBe("0x212345");
    table.unmap(iovaOf(0n), LARGE);
    expect(read(LARGE - 1n)).toBe("0x3fffff");
    driver.invalidate(iotlb("page", { domain: 1, address: 0n, addressMask: 9 }));
    expect(read(LARGE - 1n)).toBe("fault 0x6");
  });

  test("the least capacity keeps the last translation", async () => {
    const driver = await start("legacy", { iotlbEntries: 1 });
    const table = driver.engine.createTable("vtdss");
    table.map(iovaOf(0n), physicalOf(OLD), 2n * PAGE, READ_WRITE);
    driver.attach(FUNCTION_0, 1, table.root);
    const read = (page: bigint): string => outcome(driver.unit, { sid: FUNCTION_0, iova: page * PAGE });
    expect([read(0n), read(1n)]).toEqual(["0x100000", "0x101000"]);
    table.unmap(iovaOf(0n), 2n * PAGE);
    expect([read(1n), read(0n), read(1n)]).toEqual(["0x101000", "fault 0x6", "0x101000"]);
  });

  test.each([0, 1])("CAP.CM %d: what a first stage does not map is never kept", async (CM) => {
    const driver = await start("scalable", { ...ROOMY, cap: { CM } });
    const table = driver.engine.createTable("x86_64");
    driver.setPasid(FUNCTION_0, 0, { type: PGTT.first, domain: 1, firstTable: table.root });
    driver.setScalableContext(FUNCTION_0);
    const read = (): string => outcome(driver.unit, readAt0(FUNCTION_0));
    expect(read()).toBe("fault 0x71");
    table.map(iovaOf(0n), physicalOf(OLD), PAGE, READ_WRITE);
    expect(read()).toBe("0x100000");
  });

  test("CAP.CM 0: what a second stage does not map is not kept", async () => {
    const driver = await start("legacy", ROOMY);
    const table = driver.engine.createTable("vtdss");
    driver.attach(FUNCTION_0, 1, table.root);
    const read = (): string => outcome(driver.unit, readAt0(FUNCTION_0));
    expect(read()).toBe("fault 0x6");
    table.map(iovaOf(0n), physicalOf(OLD), PAGE, READ_WRITE);
    expect(read()).toBe("0x100000");
  });

  test("rights are those of the walk that filled it", async () => {
    const driver = await start("legacy", ROOMY);
    const table = driver.engine.createTable("vtdss");
    table.map(iovaOf(0n), physicalOf(OLD), PAGE, { read: true });
    driver.attach(FUNCTION_0, 1, table.root);
    const request = readAt0(FUNCTION_0);
    expect(outcome(driver.unit, request)).toBe("0x100000");
    expect(outcome(driver.unit, { ...request, access: "write" })).toBe("fault 0x5");
    expect(outcome(driver.unit, { ...request, access: "atomic" })).toBe("fault 0x5");
    expect(outcome(driver.unit, { ...request, access: "zero-length-read" })).toBe("0x100000");
  });
});

describe("counters", () => {
  test("requests, look-ups, hits and entries read", async () => {
    const driver = await start("legacy", ROOMY);
    const { unit } = driver;
    driver.attach(FUNCTION_0, 1, onePage(driver, 0x5000n).root);
    const counted = (work: () => void): readonly number[] => {
      const before = unit.counters;
      work();
      const after = unit.counters;
      const names = ["iommuRequests", "iotlbLookup", "iotlbHit", "iommuMrds"] as const;
      return names.map((name) => after[name] - before[name]);
    };
    const read = (iova = 0n, sid = FUNCTION_0): string => outcome(unit, { sid, iova });
    expect(counted(() => {})).toEqual([0, 0, 0, 0]);
    expect(counted(read)).toEqual([1, 1, 0, 4]);
    expect(counted(() => [read(), read(0xfffn)])).toEqual([2, 2, 2, 0]);
    // A last table without the page; an upper table without the next; no context entry; an interrupt.
    expect(counted(() => read(PAGE))).toEqual([1, 1, 0, 4]);
    expect(counted(() => read(1n << 40n))).toEqual([1, 1, 0, 1]);
    expect(counted(() => read(0n, OTHER_DEVICE))).toEqual([1, 0, 0, 0]);
    expect(
      counted(() => unit.translate({ ...readAt0(FUNCTION_0), iova: iovaOf(0xfee0_0000n), access: "write" })),
    ).toEqual([1, 0, 0, 0]);
    const batch = unit.createBatch(4);
    batch.iova.set([0n, 8n, PAGE, 0n]);
    batch.source.set([FUNCTION_0, FUNCTION_0, FUNCTION_0, OTHER_DEVICE]);
    expect(counted(() => unit.translateBatch(batch, 4))).toEqual([4, 3, 2, 4]);
  });
});

describe("dirty flags behind the IOTLB", () => {
  const allAccessed = ["SS4", "SS3", "SS2"].map((place) => [place, SS_A]);
  test.each([
    ["first stage", { translator: "first" }, [clear("FS1", FS_A | FS_D)], { FS1: FS_A }, { FS1: FS_A | FS_D }],
    [
      "second stage",
      { translator: "second" },
      [set("pasid 0", SSADE)],
      { ...Object.fromEntries(allAccessed), SS1: SS_A },
      { ...Object.fromEntries(allAccessed), SS1: SS_A | SS_D },
    ],
    ["first stage of two", { translator: "nested" }, [clear("FS1", FS_A | FS_D)], { FS1: FS_A }, { FS1: FS_A | FS_D }],
  ] as const)(
    "%s: a read fills it, and a later write still sets D, once",
    async (_name, base, edits, read, written) => {
      const { unit, request, written: changed } = await openMachine(base satisfies MachineOptions, { edits });
      const translates = (access: "read" | "write"): void => {
        expect(unit.translate({ ...request, access })).toMatchObject({ ok: true });
      };
      translates("read");
      expect(changed()).toEqual(read);
      translates("write");
      expect(changed()).toEqual(written);
      const { iotlbHit } = unit.counters;
      for (const access of ["write", "read"] as const) translates(access);
      expect(unit.counters.iotlbHit).toBe(iotlbHit + 2);
      expect(changed()).toEqual(written);
    },
  );
});

describe("a batch", () => {
  const SIDS = [FUNCTION_0, FUNCTION_1, FUNCTION_4, FUNCTION_7, OTHER_DEVICE] as const;
  const PASIDS = [null, 0, 5, 6] as const;
  /** Pages of last tables that lie near to each other and far apart, and a large page. */
  const MAPPED = [0n, 0x1008n, 0x2000n, 1n << 25n, (1n << 25n) + 0x1008n, 1n << 26n, 1n << 34n, 1n << 21n];
  const IOVAS = [...MAPPED, 0x8010n, (1n << 21n) + 0x1_2340n, 1n << 47n, 0xfee0_0010n];
  const ACCESSES = [
    ["read", { read: true }],
    ["write", { read: false, write: true }],
    ["atomic", { read: true, write: true }],
    ["zero-length-read", { read: false }],
  ] as const;

  const PLAIN: VtdUnitOptions = { iotlbEntries: 16, pasidCacheEntries: 4, contextCacheEntries: 2 };
  const CACHE = { sets: 1, ways: 2, replacement: "lru" } as const;
  const LARGE = 1n << 21n;
  /** An IOTLB of one size of page, so that hits follow each other. */
  const associative = (pageSizes: bigint): VtdUnitOptions => ({
    caches: { iotlb: [{ ...CACHE, sets: 8, pageSizes }], secondStage: { 2: CACHE }, context: CACHE, pasid: CACHE },
  });

  /** Devices of every kind: first stage, nested, second stage with flags; one has no entries. */
  async function machine(options: VtdUnitOptions = PLAIN): Promise<Driver> {
    const driver = await start("scalable", options);
    const { engine } = driver;
    const identity = engine.createTable("vtdss");
    for (const start of [0n, engine.memory.arenaBase]) {
      identity.map(iovaOf(start), physicalOf(start), 1n << 32n, READ_WRITE);
    }
    const mapped = (format: string): bigint => {
      const table = engine.createTable(format);
      table.map(iovaOf(0n), physicalOf(0x10_0000n), 2n * PAGE, READ_WRITE);
      table.map(iovaOf(2n * PAGE), physicalOf(0x20_0000n), PAGE, { read: true });
      table.map(iovaOf(8n * PAGE), physicalOf(0xfee0_0000n), PAGE, READ_WRITE);
      for (const far of [25n, 26n, 34n]) table.map(iovaOf(1n << far), physicalOf(far << 20n), 2n * PAGE, READ_WRITE);
      table.map(iovaOf(LARGE), physicalOf(1n << 22n), LARGE, { ...READ_WRITE, privileged: format === "x86_64" });
      // The lower halves of these pages are interrupts, before and after translation.
      table.map(iovaOf(0xfee0_0000n), physicalOf(1n << 23n), LARGE, READ_WRITE);
      table.map(iovaOf(1n << 22n), physicalOf(0xfee0_0000n), LARGE, READ_WRITE);
      return table.root;
    };
    const secondTable = mapped("vtdss");
    const firstTable = mapped("x86_64");
    driver.attach(FUNCTION_0, 1, secondTable);
    driver.setBits(driver.pasidAt(FUNCTION_0, 0), SSADE);
    driver.setPasid(FUNCTION_0, 5, { type: PGTT.first, domain: 1, firstTable });
    driver.setPasid(FUNCTION_1, 0, { type: PGTT.nested, domain: 2, firstTable, secondTable: identity.root });
    driver.setPasid(FUNCTION_1, 6, { type: PGTT.passThrough, domain: 3 });
    driver.setScalableContext(FUNCTION_1);
    driver.attach(FUNCTION_4, 3, secondTable);
    driver.clearPresent(driver.pasidAt(FUNCTION_4, 0));
    driver.attach(FUNCTION_7, 1, secondTable);
    return driver;
  }

  const anything = fc.record({
    sid: fc.constantFrom(...SIDS),
    pasid: fc.constantFrom(...PASIDS),
    iova: fc.constantFrom(...IOVAS),
    access: fc.nat(ACCESSES.length - 1),
    privileged: fc.boolean(),
  });
  /** Long runs without anything out of the ordinary, which a unit takes together. */
  const ordinary = fc.record({
    sid: fc.constant(FUNCTION_0),
    pasid: fc.constantFrom(null, 5),
    iova: fc.constantFrom(...MAPPED),
    access: fc.nat(1),
    privileged: fc.constant(false),
  });
  /** Few pages again and again: two that may be written, one that may not. */
  const pages = fc.record({
    sid: fc.constantFrom(FUNCTION_0, FUNCTION_7),
    pasid: fc.constantFrom(null, 5),
    iova: fc.constantFrom(0n, 0x1008n, 0x2000n),
    access: fc.nat(1),
    privileged: fc.boolean(),
  });
  /** Both halves of pages that interrupts are in. */
  const HALVES = [0xfee0_0010n, 0xfef0_0010n, 0xfef0_2010n, (1n << 22n) + 0x10n, (1n << 22n) + 0x10_0010n, LARGE];
  const halves = fc.record({
    sid: fc.constantFrom(FUNCTION_0, FUNCTION_7),
    pasid: fc.constantFrom(null, 5),
    iova: fc.constantFrom(...HALVES, ...HALVES.slice(1, 3)),
    access: fc.nat(1),
    privileged: fc.boolean(),
  });

  test.each([
    ["any requests", anything, false, PLAIN],
    ["any requests, some with PASID", anything, true, PLAIN],
    ["ordinary requests", ordinary, false, PLAIN],
    ["ordinary requests, some with PASID", ordinary, true, PLAIN],
    ["any requests, set-associative caches", anything, true, associative(PAGE)],
    ["ordinary requests, set-associative caches", ordinary, true, associative(PAGE)],
    ["requests to few pages, set-associative caches", pages, true, associative(PAGE)],
    ["requests to large pages, set-associative caches", halves, true, associative(LARGE)],
  ] as const)("of %s gives what they give singly", async (_name, request, pasids, options) => {
    await fc.assert(
      fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 80, size: "max" }), async (requests) => {
        const [together, singly] = [(await machine(options)).unit, (await machine(options)).unit];
        const count = requests.length;
        const batch = together.createBatch(count);
        for (const [i, { sid, pasid, iova, access, privileged }] of requests.entries()) {
          batch.iova[i] = iova;
          batch.source[i] = sid;
          batch.pasid[i] = pasid ?? NO_PASID;
          batch.access[i] = encodeAccess({ ...ACCESSES[access][1], privileged });
        }
        together.translateBatch(batch, count, "each", pasids);
        const got = requests.map((_, i) => (batch.code[i] === 0 ? [0, batch.physical[i]] : [batch.code[i], 0n]));

        const expected = requests.map(({ sid, pasid, iova, access, privileged }) => {
          const result = singly.translate({
            sid,
            iova: iovaOf(iova),
            access: ACCESSES[access][0],
            privileged,
            ...(pasids && pasid !== null ? { pasid } : {}),
          });
          return result.ok ? [0, result.physical] : [result.code | (result.reported ? 0 : UNREPORTED), 0n];
        });
        expect(got).toEqual(expected);
        expect(together.faults.records).toEqual(singly.faults.records);
        expect(together.read32(FSTS)).toBe(singly.read32(FSTS));
        expect(together.counters).toEqual(singly.counters);
        expect(together.detailedCounters).toEqual(singly.detailedCounters);
      }),
      { numRuns: 60 },
    );
  });

  test("keeps kinds of access and regions of memory apart", async () => {
    const driver = await machine();
    const { unit } = driver;
    driver.setBits(driver.pasidAt(FUNCTION_4, 0), P);
    const READ = encodeAccess({});
    const WRITE = encodeAccess({ write: true });
    const rows: readonly (readonly [iova: bigint, access: number, code: number, physical: bigint])[] = [
      [0n, READ, 0, 0x10_0000n],
      [1n << 25n, READ, 0, 25n << 20n],
      [1n << 34n, READ, 0, 34n << 20n],
      [0x1000n, READ, 0, 0x10_1000n],
      [0x2000n, WRITE, 0x85, 0n],
      [0x2000n, READ, 0, 0x20_0000n],
      [1n << 26n, WRITE, 0, 26n << 20n],
      [0x1000n, READ, 0, 0x10_1000n],
    ];
    const batch = unit.createBatch(rows.length);
    batch.iova.set(rows.map(([iova]) => iova));
    batch.access.set(rows.map(([, access]) => access));
    batch.source.fill(FUNCTION_4);
    unit.translateBatch(batch, rows.length, "each");
    expect([...batch.code]).toEqual(rows.map(([, , code]) => code));
    const translated = rows.flatMap(([, , code, physical], i) => (code === 0 ? [[i, physical]] : []));
    expect(translated.map(([i]) => [i, batch.physical[Number(i)]])).toEqual(translated);
  });

  test("records its faults in the order of its requests", async () => {
    const { unit } = await machine();
    const sids = [OTHER_DEVICE, FUNCTION_0, FUNCTION_4, FUNCTION_1, FUNCTION_0, OTHER_DEVICE];
    const iovas = [0n, 0x3000n, 0n, 0x8000n, 0n, 0x1000n];
    const batch = unit.createBatch(sids.length);
    batch.iova.set(iovas);
    batch.source.set(sids);
    unit.translateBatch(batch, sids.length);
    const faults = [0x41, 0x79, 0x59, 0x87, 0, 0x41];
    expect([...batch.code]).toEqual(faults);
    const records = unit.faults.records.map(({ index, reason, sid, address }) => [index, reason, sid, address]);
    const faulting = faults.flatMap((code, i) => (code === 0 ? [] : [i]));
    expect(records).toEqual(faulting.map((i, index) => [index, faults[i], sids[i], iovas[i]]));
  });

  test("passes while translation is not enabled", async () => {
    const { unit } = new Driver(await newEngine(), "legacy");
    const batch = unit.createBatch(3);
    batch.iova.set([0n, 0x1234n, 1n << 60n]);
    batch.source.fill(OTHER_DEVICE);
    unit.translateBatch(batch, 3, { write: true });
    expect([...batch.physical]).toEqual([0n, 0x1234n, 1n << 60n]);
    expect([...batch.code]).toEqual([0, 0, 0]);
    expect(unit.read32(FSTS)).toBe(0);
  });
});
