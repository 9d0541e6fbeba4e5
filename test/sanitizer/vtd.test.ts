/** Mistakes of a VT-d driver, each found and named, and the same driver without it. */
import { describe, expect, test } from "vitest";
import type { PageTable } from "../../src/engine/page-table.js";
import { type StaleAccess, staleAccessText } from "../../src/sanitizer/index.js";
import type { VtdUnitOptions } from "../../src/vtd/unit.js";
import { newEngine } from "../support/engine.js";
import { iovaOf, physicalOf, READ_WRITE } from "../support/tables.js";
import {
  contextCache,
  type Descriptor,
  Driver,
  DTE,
  iotlb,
  outcome,
  PGTT,
  pasidCache,
  pasidIotlb,
} from "../vtd/machine.js";

const NIC = 0x0100;
const DISK = 0x0108;
const NIC_DOMAIN = 0x11;
const DISK_DOMAIN = 0x12;
const PASID = 5;
const PASID_DOMAIN = 0x13;
const PAGE = 0x1000n;
const LARGE = 0x20_0000n;
const IOVA = 0x7f00_0000n;
const BUFFER = 0x1000_0000n;
const OTHER = 0x2000_0000n;
/** IH of an IOTLB invalidation. */
const HINT = 1n << 6n;
/** Device-TLB invalidation of everything (type 3, S). */
const DEVICE_TLB = (sid: number): Descriptor => [0x3n | (BigInt(sid) << 32n), 0x7fff_ffff_ffff_f001n];

const CACHE = { sets: 1, ways: 16, replacement: "lru" } as const;
const CACHES: VtdUnitOptions = {
  caches: {
    iotlb: [{ ...CACHE, ways: 64 }],
    firstStage: { 2: CACHE, 3: CACHE },
    secondStage: { 2: CACHE, 3: CACHE },
    context: CACHE,
    pasid: CACHE,
  },
};
const DEFERRED: VtdUnitOptions = { sanitizer: { invalidatesAtWait: true } };

interface Machine {
  readonly driver: Driver;
  readonly nic: PageTable;
  readonly disk: PageTable;
  /** What requests with PASID go through. */
  readonly process: PageTable;
}

async function boot(options: VtdUnitOptions): Promise<Machine> {
  const driver = new Driver(await newEngine(), "scalable", { sanitizer: {}, ...options });
  driver.start();
  const { engine } = driver;
  const nic = engine.createTable("vtdss");
  const disk = engine.createTable("vtdss");
  const process = engine.createTable("x86_64");
  nic.map(iovaOf(IOVA), physicalOf(BUFFER), LARGE - 2n * PAGE, READ_WRITE);
  nic.map(iovaOf(IOVA + LARGE - 2n * PAGE), physicalOf(BUFFER + LARGE), 2n * PAGE, READ_WRITE);
  // Its upper tables are there already.
  disk.map(iovaOf(IOVA + LARGE), physicalOf(OTHER), PAGE, READ_WRITE);
  process.map(iovaOf(IOVA), physicalOf(BUFFER), 4n * PAGE, READ_WRITE);
  driver.attach(NIC, NIC_DOMAIN, nic.root);
  driver.attach(DISK, DISK_DOMAIN, disk.root);
  driver.setPasid(NIC, PASID, { type: PGTT.first, domain: PASID_DOMAIN, firstTable: process.root });
  driver.setBits(driver.contextAt(NIC), DTE);
  return { driver, nic, disk, process };
}

interface Case {
  readonly name: string;
  readonly options?: VtdUnitOptions;
  readonly pasid?: number;
  /** The change, with what is wrong of its invalidations, and as it must be. */
  readonly wrong: (machine: Machine) => void;
  readonly right: (machine: Machine) => void;
  readonly expected: Partial<StaleAccess>;
  /** What the access reaches, when it is not the buffer. */
  readonly reaches?: bigint;
}

const unmap = ({ nic }: Machine, pages = 1n): void => void nic.unmap(iovaOf(IOVA), pages * PAGE);
const unmapProcess = ({ process }: Machine): void => void process.unmap(iovaOf(IOVA), PAGE);
const page = (domain: number, addressMask = 0): Descriptor => iotlb("page", { domain, address: IOVA, addressMask });
const hinted = ([first, second]: Descriptor): Descriptor => [first, second | HINT];
/** The whole table page below IOVA goes, and becomes another table's. */
function freeTable({ nic, disk }: Machine): void {
  expect(nic.unmap(iovaOf(IOVA), LARGE).freedPages.length).toBe(1);
  disk.map(iovaOf(IOVA), physicalOf(OTHER), PAGE, READ_WRITE);
}
function move({ driver, disk }: Machine): void {
  disk.map(iovaOf(IOVA), physicalOf(OTHER), PAGE, READ_WRITE);
  driver.setPasid(NIC, 0, { type: PGTT.second, domain: DISK_DOMAIN, secondTable: disk.root });
}

const CASES: readonly Case[] = [
  {
    name: "no invalidation",
    wrong: unmap,
    right: (machine) => {
      unmap(machine);
      machine.driver.invalidate(page(NIC_DOMAIN));
    },
    expected: { mistake: "forgotten", from: "IOTLB", now: null },
  },
  {
    name: "another domain",
    wrong: (machine) => {
      unmap(machine);
      machine.driver.invalidate(page(DISK_DOMAIN));
    },
    right: (machine) => {
      unmap(machine);
      machine.driver.invalidate(iotlb("domain", { domain: NIC_DOMAIN }));
    },
    expected: { mistake: "wrong-domain" },
  },
  {
    name: "another PASID",
    pasid: PASID,
    wrong: (machine) => {
      unmapProcess(machine);
      machine.driver.invalidate(pasidIotlb("page", { domain: PASID_DOMAIN, pasid: PASID + 1, address: IOVA }));
    },
    right: (machine) => {
      unmapProcess(machine);
      machine.driver.invalidate(pasidIotlb("page", { domain: PASID_DOMAIN, pasid: PASID, address: IOVA }));
    },
    expected: { mistake: "wrong-pasid", pasid: PASID },
  },
  {
    name: "a PASID-based invalidation of second-stage translations",
    wrong: (machine) => {
      unmap(machine);
      machine.driver.invalidate(pasidIotlb("page", { domain: NIC_DOMAIN, pasid: 0, address: IOVA }));
    },
    right: (machine) => {
      unmap(machine);
      machine.driver.invalidate(page(NIC_DOMAIN));
    },
    expected: { mistake: "wrong-stage" },
  },
  {
    name: "an address mask one too small",
    wrong: (machine) => {
      unmap(machine, 2n);
      machine.driver.invalidate(iotlb("page", { domain: NIC_DOMAIN, address: IOVA + PAGE, addressMask: 0 }));
    },
    right: (machine) => {
      unmap(machine, 2n);
      machine.driver.invalidate(page(NIC_DOMAIN, 1));
    },
    expected: { mistake: "range-too-small" },
  },
  {
    name: "leaves only, although a table page was freed",
    options: CACHES,
    wrong: (machine) => {
      freeTable(machine);
      machine.driver.invalidate(hinted(page(NIC_DOMAIN, 9)));
    },
    right: (machine) => {
      freeTable(machine);
      machine.driver.invalidate(page(NIC_DOMAIN, 9));
    },
    expected: { mistake: "leaf-only", from: "paging-structure cache" },
    reaches: OTHER,
  },
  {
    name: "the invalidation before the unmap",
    wrong: (machine) => {
      machine.driver.invalidate(page(NIC_DOMAIN));
      outcome(machine.driver.unit, { sid: NIC, iova: IOVA });
      unmap(machine);
    },
    right: (machine) => {
      machine.driver.invalidate(page(NIC_DOMAIN));
      unmap(machine);
      machine.driver.invalidate(page(NIC_DOMAIN));
    },
    expected: { mistake: "before-unmap" },
  },
  {
    name: "an invalidation that nobody waits for",
    options: DEFERRED,
    wrong: (machine) => {
      unmap(machine);
      machine.driver.submit(page(NIC_DOMAIN));
    },
    right: (machine) => {
      unmap(machine);
      machine.driver.invalidate(page(NIC_DOMAIN));
    },
    expected: { mistake: "not-waited-for" },
  },
  {
    name: "a PASID cache that still has the old domain",
    wrong: (machine) => {
      move(machine);
      machine.driver.invalidate(iotlb("domain", { domain: NIC_DOMAIN }));
    },
    right: (machine) => {
      move(machine);
      machine.driver.invalidate(pasidCache("pasid", { domain: NIC_DOMAIN }), iotlb("domain", { domain: NIC_DOMAIN }));
    },
    expected: { mistake: "configuration", cache: "PASID cache", from: "configuration", now: OTHER },
  },
  {
    name: "a context cache that still has the old directory",
    wrong: ({ driver }) => driver.clearPresent(driver.contextAt(NIC)),
    right: ({ driver }) => {
      driver.clearPresent(driver.contextAt(NIC));
      driver.invalidate(contextCache("device", { sid: NIC }), pasidCache("global"), iotlb("global"));
    },
    expected: { mistake: "configuration", cache: "context cache", now: null },
  },
  {
    name: "an IOTLB that answers a device which was detached",
    options: CACHES,
    wrong: ({ driver }) => {
      driver.clearPresent(driver.pasidAt(NIC, 0));
      driver.invalidate(pasidCache("pasid", { domain: NIC_DOMAIN }));
    },
    right: ({ driver }) => {
      driver.clearPresent(driver.pasidAt(NIC, 0));
      driver.invalidate(pasidCache("pasid", { domain: NIC_DOMAIN }), iotlb("domain", { domain: NIC_DOMAIN }));
    },
    expected: { mistake: "forgotten", from: "IOTLB", now: null, change: expect.objectContaining({ kind: "moved" }) },
  },
  {
    name: "an IOTLB that was invalidated before the PASID cache",
    options: CACHES,
    wrong: ({ driver }) => {
      driver.clearPresent(driver.pasidAt(NIC, 0));
      driver.invalidate(iotlb("domain", { domain: NIC_DOMAIN }));
      outcome(driver.unit, { sid: NIC, iova: IOVA, access: "write" });
      expect(driver.unit.sanitizer?.take()).toMatchObject([{ mistake: "configuration" }]);
      driver.invalidate(pasidCache("pasid", { domain: NIC_DOMAIN }));
    },
    right: ({ driver }) => {
      driver.clearPresent(driver.pasidAt(NIC, 0));
      driver.invalidate(pasidCache("pasid", { domain: NIC_DOMAIN }), iotlb("domain", { domain: NIC_DOMAIN }));
    },
    expected: {
      mistake: "before-configuration",
      from: "IOTLB",
      change: expect.objectContaining({ kind: "moved" }),
      invalidation: expect.objectContaining({ text: `IOTLB invalidation, domain, domain ${NIC_DOMAIN}` }),
    },
  },
  {
    name: "an IOTLB that still has the domain that the device left",
    wrong: (machine) => {
      move(machine);
      machine.driver.invalidate(pasidCache("pasid", { domain: NIC_DOMAIN }), iotlb("domain", { domain: DISK_DOMAIN }));
    },
    right: (machine) => {
      move(machine);
      machine.driver.invalidate(pasidCache("pasid", { domain: NIC_DOMAIN }), iotlb("domain", { domain: NIC_DOMAIN }));
    },
    expected: { mistake: "wrong-domain", from: "IOTLB", now: OTHER },
  },
  {
    name: "an address that is mapped elsewhere before its invalidation",
    wrong: (machine) => {
      unmap(machine);
      machine.nic.map(iovaOf(IOVA), physicalOf(OTHER), PAGE, READ_WRITE);
    },
    right: (machine) => {
      unmap(machine);
      machine.driver.invalidate(page(NIC_DOMAIN));
      machine.nic.map(iovaOf(IOVA), physicalOf(OTHER), PAGE, READ_WRITE);
    },
    expected: { mistake: "forgotten", now: OTHER },
  },
];

/** Every case that the caches do not matter to, with both kinds of them. */
const ALL_CASES = CASES.flatMap((one) =>
  one.options ? [one] : [one, { ...one, name: `${one.name}, set-associative caches`, options: CACHES }],
);

describe.each(ALL_CASES)("$name", ({ options = {}, pasid, wrong, right, expected, reaches = BUFFER }) => {
  const request = { sid: NIC, iova: IOVA, access: "write", ...(pasid === undefined ? {} : { pasid }) } as const;

  test("is found and named", async () => {
    const machine = await boot(options);
    const { unit } = machine.driver;
    expect(outcome(unit, request)).toBe(`0x${BUFFER.toString(16)}`);
    wrong(machine);
    expect(outcome(unit, request)).toBe(`0x${reaches.toString(16)}`);
    const taken = unit.sanitizer?.take() ?? [];
    expect(taken).toEqual([expect.objectContaining({ source: NIC, iova: IOVA, physical: reaches, ...expected })]);
    expect(taken[0].change?.operation).toBeLessThanOrEqual(taken[0].operation);
    expect(staleAccessText(taken[0], () => "the NIC")).toContain("the NIC");
  });

  test("is found in a batch, and only where it is looked for", async () => {
    const machine = await boot(options);
    const { unit } = machine.driver;
    const batch = unit.createBatch(4);
    const run = (sanitized: boolean): void => {
      batch.sanitized = sanitized;
      batch.source.set([DISK, NIC, DISK, NIC]);
      batch.iova.set([IOVA + PAGE, IOVA, IOVA + 2n * PAGE, IOVA + 3n * PAGE]);
      batch.pasid.fill(pasid ?? 0xffff_ffff);
      unit.translateBatch(batch, 4, { write: true }, pasid !== undefined);
    };
    run(true);
    wrong(machine);
    run(false);
    expect(unit.sanitizer?.take()).toEqual([]);
    run(true);
    const ofPage = unit.sanitizer?.take().filter(({ iova }) => iova === IOVA);
    expect(ofPage).toEqual([expect.objectContaining({ source: NIC, physical: reaches })]);
  });

  test("is not found in the right driver", async () => {
    const machine = await boot(options);
    const { unit } = machine.driver;
    outcome(unit, request);
    right(machine);
    outcome(unit, request);
    expect(unit.sanitizer?.take()).toEqual([]);
  });
});

describe("a flush queue", () => {
  const request = { sid: NIC, iova: IOVA, access: "write" } as const;

  test.each([
    ["has not flushed yet", false, "lazy-window"],
    ["had not flushed when the address was given out again", true, "reused-before-flush"],
  ] as const)("%s", async (_name, again, mistake) => {
    let now = 0;
    const machine = await boot({ sanitizer: { clock: () => now } });
    const { driver, nic } = machine;
    outcome(driver.unit, request);
    unmap(machine);
    driver.unit.sanitizer?.deferred(nic.root, IOVA, PAGE);
    if (again) nic.map(iovaOf(IOVA), physicalOf(OTHER), PAGE, READ_WRITE);
    outcome(driver.unit, request);
    now = 10;
    driver.invalidate(iotlb("domain", { domain: NIC_DOMAIN }));
    outcome(driver.unit, request);
    const expected = { mistake, now: again ? OTHER : null, change: { time: 0 }, invalidation: { time: 10 } };
    expect(driver.unit.sanitizer?.take()).toMatchObject([expected]);
  });

  test("that nobody spoke of is an invalidation that came too late", async () => {
    const machine = await boot({});
    const { driver } = machine;
    outcome(driver.unit, request);
    unmap(machine);
    outcome(driver.unit, request);
    driver.invalidate(page(NIC_DOMAIN));
    expect(driver.unit.sanitizer?.take()).toMatchObject([{ mistake: "late", change: { kind: "unmapped" } }]);
  });
});

test("an invalidation that another unmap of the table needed is no early one", async () => {
  const machine = await boot({});
  const { driver, nic } = machine;
  unmap(machine);
  driver.invalidate(iotlb("domain", { domain: NIC_DOMAIN }));
  outcome(driver.unit, { sid: NIC, iova: IOVA + PAGE });
  nic.unmap(iovaOf(IOVA + PAGE), PAGE);
  outcome(driver.unit, { sid: NIC, iova: IOVA + PAGE });
  expect(driver.unit.sanitizer?.take()).toMatchObject([{ mistake: "forgotten", change: { kind: "unmapped" } }]);
});

test("two tables under one domain ID are found where the walk for one meets entries of the other", async () => {
  const machine = await boot(CACHES);
  const { driver, nic, disk } = machine;
  disk.map(iovaOf(IOVA), physicalOf(OTHER), PAGE, READ_WRITE);
  for (const sid of [DISK, NIC]) outcome(driver.unit, { sid, iova: IOVA });
  driver.setPasid(DISK, 0, { type: PGTT.second, domain: NIC_DOMAIN, secondTable: disk.root });
  driver.invalidate(pasidCache("pasid", { domain: DISK_DOMAIN }), iotlb("global"));
  for (const sid of [DISK, NIC]) outcome(driver.unit, { sid, iova: IOVA });
  const taken = driver.unit.sanitizer?.take() ?? [];
  const expected = { source: NIC, mistake: "shared-tag", physical: OTHER, now: BUFFER, from: "paging-structure cache" };
  expect(taken).toMatchObject([{ ...expected, change: { kind: "moved" } }]);
  expect(staleAccessText(taken[0], () => "the NIC")).toContain("another table's translations bear the same tag");

  driver.setPasid(DISK, 0, { type: PGTT.second, domain: NIC_DOMAIN, secondTable: nic.root });
  driver.invalidate(pasidCache("pasid", { domain: NIC_DOMAIN }), iotlb("global"));
  for (const sid of [DISK, NIC]) outcome(driver.unit, { sid, iova: IOVA });
  expect(driver.unit.sanitizer?.take()).toEqual([]);
});

test("another domain's own invalidation of the same address is no failed one", async () => {
  const machine = await boot({});
  const { driver, disk } = machine;
  disk.map(iovaOf(IOVA), physicalOf(OTHER), PAGE, READ_WRITE);
  for (const sid of [NIC, DISK]) outcome(driver.unit, { sid, iova: IOVA });
  unmap(machine);
  disk.unmap(iovaOf(IOVA), PAGE);
  driver.invalidate(page(DISK_DOMAIN));
  for (const sid of [NIC, DISK]) outcome(driver.unit, { sid, iova: IOVA });
  expect(driver.unit.sanitizer?.take()).toMatchObject([{ source: NIC, mistake: "forgotten" }]);
});

describe("a device that keeps translations", () => {
  const ask = async () => {
    const machine = await boot({});
    const { unit } = machine.driver;
    const answer = unit.requestTranslation({ sid: NIC, iova: iovaOf(IOVA) });
    expect(answer).toMatchObject({ ok: true, physical: BUFFER });
    const use = () => unit.translate({ sid: NIC, iova: iovaOf(BUFFER + 8n), type: "translated", access: "write" });
    expect(use()).toMatchObject({ ok: true });
    unmap(machine);
    machine.driver.invalidate(page(NIC_DOMAIN));
    return { machine, use };
  };

  test("is found when its TLB was not invalidated", async () => {
    const { machine, use } = await ask();
    use();
    const expected = { mistake: "device-tlb", from: "device TLB", source: NIC, iova: IOVA + 8n, physical: BUFFER + 8n };
    const [stale] = machine.driver.unit.sanitizer?.take() ?? [];
    expect(stale).toMatchObject({ ...expected, change: { kind: "unmapped", first: IOVA } });
    expect(stale.change?.operation).toBeLessThan(stale.operation);
  });

  test("is not found when it was", async () => {
    const { machine } = await ask();
    machine.driver.invalidate(DEVICE_TLB(NIC));
    expect(machine.driver.unit.sanitizer?.take()).toEqual([]);
  });
});

test("a ring that is full loses the oldest, and says how many", async () => {
  const machine = await boot({ sanitizer: { records: 4 } });
  const { unit } = machine.driver;
  outcome(unit, { sid: NIC, iova: IOVA });
  unmap(machine);
  for (let i = 0n; i < 6n; i++) outcome(unit, { sid: NIC, iova: IOVA + i });
  expect(unit.sanitizer?.take().map(({ iova }) => iova)).toEqual([2n, 3n, 4n, 5n].map((i) => IOVA + i));
  expect(unit.sanitizer?.lost).toBe(2);
  expect(unit.sanitizer?.take()).toEqual([]);
});
