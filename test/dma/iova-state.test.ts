/** The two-step API, against the results and error numbers of dma_iova_*(). */
import { describe, expect, test } from "vitest";
import {
  type DmaAttributes,
  type DmaDeviceOptions,
  destroy,
  dmaAttributes,
  dmaUseIova,
  DmaDevice,
  free,
  IovaState,
  link,
  NO_ATTRIBUTES,
  sync,
  tryAlloc,
  unlink,
} from "../../src/dma/index.js";
import { dmaAddress } from "../../src/engine/addresses.js";
import { newEngine } from "../support/engine.js";
import { addDomain, CONTEXT, FORMATS, fails, type Machine, makeMachine, misuses, physical } from "./support.js";

const engine = await newEngine();

const DIRECTION = "bidirectional";
const COHERENT = dmaAttributes("REQUIRE_COHERENT");
const MMIO = dmaAttributes("MMIO");

function allocate({ device }: Machine, at: bigint, size: bigint): IovaState {
  const state = new IovaState();
  expect(tryAlloc(device, CONTEXT, state, physical(at), size)).toBe(true);
  return state;
}

describe.each(FORMATS)("%s", (format) => {
  test("a range of links, unlinked one by one", () => {
    const machine = makeMachine(engine, { format });
    const { device, domain, table, iova } = machine;
    const { granule } = domain;
    const quarter = granule / 4n;
    // The range begins a quarter into a granule; the second link ends half way into one.
    const state = allocate(machine, 5n * quarter, 3n * quarter + granule + 2n * quarter);
    expect([...iova.live.values()]).toEqual([3]);
    expect(state.address % granule).toBe(quarter);
    link(device, CONTEXT, state, physical(101n * quarter), 0n, 3n * quarter, DIRECTION);
    link(device, CONTEXT, state, physical(200n * quarter), 3n * quarter, granule + 2n * quarter, DIRECTION);
    sync(device, CONTEXT, state, 0n, state.size);
    const at = (offset: bigint): bigint | null => table.iovaToPhys(dmaAddress(state.address + offset));
    expect([at(0n), at(3n * quarter), at(3n * quarter + granule)]).toEqual([
      101n * quarter,
      200n * quarter,
      204n * quarter,
    ]);
    expect(device.counters).toMatchObject({ maps: 2, iovaAllocations: 1, iotlbInvalidations: 0 });
    unlink(device, CONTEXT, state, 0n, 3n * quarter, DIRECTION);
    expect([at(0n), at(3n * quarter)]).toEqual([null, 200n * quarter]);
    unlink(device, CONTEXT, state, 3n * quarter, granule + 2n * quarter, DIRECTION);
    expect(device.counters.iotlbInvalidations).toBe(2);
    free(device, CONTEXT, state);
    expect([iova.live.size, table.counters.leaves.get(granule)]).toEqual([0, 0]);
  });

  test("what is linked is not linked again", () => {
    const machine = makeMachine(engine, { format });
    const { device, domain } = machine;
    const state = allocate(machine, 0n, 4n * domain.granule);
    link(device, CONTEXT, state, physical(0n), domain.granule, 2n * domain.granule, DIRECTION);
    const arm = format.startsWith("vmsav8");
    for (const offset of [0n, 1n, 2n].map((granules) => granules * domain.granule)) {
      fails(machine, arm ? "EEXIST" : "EADDRINUSE", arm ? -17 : -98, () =>
        link(device, CONTEXT, state, physical(0n), offset, 2n * domain.granule, DIRECTION),
      );
    }
  });
});

test.each([0n, 1n << 63n, (1n << 63n) | 0x1000n])("nothing is allocated for a size of %s", (size) => {
  const { device, iova } = makeMachine(engine);
  const state = new IovaState();
  expect(tryAlloc(device, CONTEXT, state, physical(0n), size)).toBe(false);
  expect([dmaUseIova(state), iova.live.size]).toEqual([false, 0]);
});

test("a failed allocation clears the state, a successful one counts it as used until the next", () => {
  const { device } = makeMachine(engine, { device: { dmaMask: 0x3fffn } });
  const state = new IovaState();
  expect(tryAlloc(device, CONTEXT, state, physical(0x10n), 0x1000n)).toBe(true);
  expect([dmaUseIova(state), state.address, state.size]).toEqual([true, 0x2010n, 0x1000n]);
  free(device, CONTEXT, state);
  expect(dmaUseIova(state)).toBe(true);
  expect(tryAlloc(device, CONTEXT, state, physical(0n), 0x4000n)).toBe(false);
  expect([dmaUseIova(state), state.address, state.size]).toEqual([false, 0n, 0n]);
});

interface Refusal {
  readonly title: string;
  readonly code: Parameters<typeof fails>[1];
  readonly errno: number;
  readonly device?: Partial<DmaDeviceOptions>;
  readonly at: bigint;
  readonly offset?: bigint;
  readonly size?: bigint;
  readonly attributes?: DmaAttributes;
}

const UNTRUSTED = { untrusted: true, minAlignMask: 0xfffn };

/** Each on a range of four pages for memory that begins at a page. */
const REFUSALS: readonly Refusal[] = [
  { title: "inside a granule at an offset", code: "EIO", errno: -5, at: 0x1200n, offset: 0x1000n },
  {
    title: "inside a granule at an offset, of any device",
    code: "EIO",
    errno: -5,
    device: UNTRUSTED,
    at: 0x1200n,
    offset: 0x1000n,
  },
  {
    title: "coherence that is not there",
    code: "EOPNOTSUPP",
    errno: -95,
    device: { coherent: false },
    at: 0n,
    attributes: COHERENT,
  },
  { title: "bouncing of MMIO", code: "EPERM", errno: -1, device: UNTRUSTED, at: 0n, size: 0x10n, attributes: MMIO },
  {
    title: "bouncing of what must be coherent",
    code: "EPERM",
    errno: -1,
    device: UNTRUSTED,
    at: 0n,
    size: 0x10n,
    attributes: COHERENT,
  },
  { title: "memory beyond an entry's width", code: "ERANGE", errno: -34, at: 1n << 60n },
  { title: "an offset inside a granule", code: "EINVAL", errno: -22, at: 0n, offset: 0x800n },
  { title: "not as far into a granule as the range was allocated for", code: "EINVAL", errno: -22, at: 0x1200n },
];

test.each(REFUSALS)("$code ($errno): $title", ({ code, errno, device, at, offset, size, attributes }) => {
  const machine = makeMachine(engine, { device });
  const state = allocate(machine, 0n, 0x4000n);
  fails(machine, code, errno, () =>
    link(machine.device, CONTEXT, state, physical(at), offset ?? 0n, size ?? 0x1000n, DIRECTION, attributes),
  );
  expect(state.usesSwiotlb).toBe(false);
});

describe("bouncing", () => {
  const slots = (machine: Machine): number => machine.host.swiotlb.usedSlots;

  test("head and tail are bounced, what is between them is mapped as it is", () => {
    const machine = makeMachine(engine, { device: UNTRUSTED });
    const { device, table } = machine;
    const state = allocate(machine, 0x1_0e00n, 0x2300n);
    link(device, CONTEXT, state, physical(0x1_0e00n), 0n, 0x2300n, DIRECTION);
    expect(state.usesSwiotlb).toBe(true);
    expect(state.size).toBe(0x2300n);
    const at = (offset: bigint): bigint => table.iovaToPhys(dmaAddress(state.address + offset)) ?? -1n;
    const { base } = machine.host.swiotlb;
    // The head keeps its place in the page; the tail, of 0x100 bytes, begins one.
    expect([at(0n), at(0x200n), at(0x1200n), at(0x2200n)]).toEqual([
      base + 0xe00n,
      0x1_1000n,
      0x1_2000n,
      base + 0x1000n,
    ]);
    expect(slots(machine)).toBe(4);
    expect(device.counters.bouncedBytes).toBe(0x300n);
    fails(machine, "EOPNOTSUPP", -95, () =>
      link(device, CONTEXT, state, physical(0n), 0n, 0x200n, DIRECTION, COHERENT),
    );
    destroy(device, CONTEXT, state, 0x2300n, DIRECTION);
    expect(device.counters.bouncedBytes).toBe(0x600n);
    expect([slots(machine), machine.iova.live.size]).toEqual([0, 0]);
  });

  test.each<[string, bigint, bigint, number]>([
    ["within one granule", 0x200n, 0x100n, 2],
    ["up to a granule's end", 0x200n, 0xe00n, 2],
    ["head and tail and nothing between", 0x800n, 0x1000n, 4],
    ["only a tail", 0n, 0x1100n, 2],
    ["aligned, so not at all", 0x1000n, 0x2000n, 0],
  ])("%s", (_, at, size, expected) => {
    const machine = makeMachine(engine, { device: UNTRUSTED });
    const { device } = machine;
    const state = allocate(machine, at, size);
    link(device, CONTEXT, state, physical(at), 0n, size, "to-device");
    expect([slots(machine), state.usesSwiotlb]).toEqual([expected, expected > 0]);
    unlink(device, CONTEXT, state, 0n, size, "to-device");
    expect(slots(machine)).toBe(0);
    free(device, CONTEXT, state);
    expect(machine.table.counters.leaves.get(0x1000n)).toBe(0);
  });

  test("-ENOMEM when the pool is full; the head of the link is then undone, but the state says bounced", () => {
    const host = { swiotlb: { bytes: 256n << 10n } };
    const machine = makeMachine(engine, { host, device: UNTRUSTED });
    const { device } = machine;
    // 126 of 128 slots: 63 pages, each for a head.
    const states = Array.from({ length: 63 }, () => {
      const state = allocate(machine, 0x800n, 0x800n);
      link(device, CONTEXT, state, physical(0x800n), 0n, 0x800n, DIRECTION);
      return state;
    });
    const state = allocate(machine, 0x800n, 0x2000n);
    fails(machine, "ENOMEM", -12, () => link(device, CONTEXT, state, physical(0x800n), 0n, 0x2000n, DIRECTION));
    expect([slots(machine), state.usesSwiotlb]).toEqual([126, true]);
    free(device, CONTEXT, state);
    for (const each of states) destroy(device, CONTEXT, each, 0x800n, DIRECTION);
    expect([slots(machine), machine.iova.live.size]).toEqual([0, 0]);
  });

  test("-ENOMEM for a tail undoes its own link, not the one before", () => {
    const machine = makeMachine(engine, { host: { swiotlb: { bytes: 0n } }, device: UNTRUSTED });
    const { device } = machine;
    const state = allocate(machine, 0n, 0x3100n);
    link(device, CONTEXT, state, physical(0x8000n), 0n, 0x1000n, DIRECTION);
    fails(machine, "ENOMEM", -12, () => link(device, CONTEXT, state, physical(0x9000n), 0x1000n, 0x2100n, DIRECTION));
    expect(machine.table.iovaToPhys(state.address)).toBe(0x8000n);
    expect(state.usesSwiotlb).toBe(false);
    destroy(device, CONTEXT, state, 0x1000n, DIRECTION);
    expect(machine.table.counters.leaves.get(0x1000n)).toBe(0);
  });

  test("a head needs a min_align_mask that covers the granule, or its buffer lies wrong: -EINVAL", () => {
    const machine = makeMachine(engine, { device: { untrusted: true } });
    const state = allocate(machine, 0x200n, 0x1000n);
    fails(machine, "EINVAL", -22, () => link(machine.device, CONTEXT, state, physical(0x200n), 0n, 0x1000n, DIRECTION));
    expect(slots(machine)).toBe(0);
  });

  test("of a device that is not coherent, small buffers that kmalloc packs are bounced", () => {
    const kmalloc = { coherent: false, kmallocAlignment: 64n, minAlignMask: 0xfffn };
    // With cache lines of 64 bytes, buffers from kmalloc-8, -16, -32 and -96 share a line with others.
    const cases: [size: bigint, bounced: boolean][] = [
      [8n, true],
      [33n, false],
      [65n, true],
      [96n, true],
      [97n, false],
      [256n, false],
    ];
    for (const [size, bounced] of cases) {
      const machine = makeMachine(engine, { device: kmalloc });
      const state = allocate(machine, 0x40n, size);
      link(machine.device, CONTEXT, state, physical(0x40n), 0n, size, "from-device");
      expect([size, state.usesSwiotlb]).toEqual([size, bounced]);
      unlink(machine.device, CONTEXT, state, 0n, size, "from-device");
      link(machine.device, CONTEXT, state, physical(0x40n), 0n, size, "to-device");
      expect(slots(machine)).toBe(0);
    }
  });
});

describe("the flush queue", () => {
  const lazy = { domain: { flush: "lazy" as const } };

  test("unlink never uses it, destroy does", () => {
    const machine = makeMachine(engine, lazy);
    const { device, iova, domain } = machine;
    const state = allocate(machine, 0n, 0x2000n);
    link(device, CONTEXT, state, physical(0n), 0n, 0x1000n, DIRECTION);
    link(device, CONTEXT, state, physical(0x5000n), 0x1000n, 0x1000n, DIRECTION);
    unlink(device, CONTEXT, state, 0x1000n, 0x1000n, DIRECTION);
    expect(device.counters.iotlbInvalidations).toBe(1);
    destroy(device, CONTEXT, state, 0x1000n, DIRECTION);
    expect(device.counters.iotlbInvalidations).toBe(1);
    expect([iova.live.size, iova.inUse.size, domain.iotlbInvalidations]).toEqual([1, 0, 1]);
  });

  test("free does not", () => {
    const machine = makeMachine(engine, lazy);
    const state = allocate(machine, 0n, 0x2000n);
    destroy(machine.device, CONTEXT, state, 0n, DIRECTION);
    expect(machine.iova.live.size).toBe(0);
  });
});

test("destroy tells the allocator what was linked, not what was allocated", () => {
  const machine = makeMachine(engine);
  const state = allocate(machine, 0n, 0x8000n);
  link(machine.device, CONTEXT, state, physical(0n), 0n, 0x3000n, DIRECTION);
  destroy(machine.device, CONTEXT, state, 0x3000n, DIRECTION);
  expect(machine.iova.freed).toEqual([[0xffff8, 3]]);
});

describe("misuse", () => {
  const machine = makeMachine(engine);
  const { device, domain, host } = machine;
  const sibling = new DmaDevice(domain, { name: "nvme1" });
  const stranger = addDomain(host, engine.createTable("vtdss"), { device: { name: "eth0" } }).device;
  const state = allocate(machine, 0n, 0x6000n);
  link(device, CONTEXT, state, physical(0n), 0n, 0x2000n, DIRECTION);
  link(device, CONTEXT, state, physical(0x8000n), 0x3000n, 0x2000n, DIRECTION);

  test.each<[Parameters<typeof misuses>[1], string, () => void]>([
    ["state-in-use", "allocating again", () => tryAlloc(device, CONTEXT, state, physical(0n), 0x1000n)],
    ["not-allocated", "a state without range", () => free(device, CONTEXT, new IovaState())],
    ["foreign-device", "of the group", () => unlink(sibling, CONTEXT, state, 0n, 0x2000n, DIRECTION)],
    ["foreign-device", "of another domain", () => free(stranger, CONTEXT, state)],
    ["outside-state", "link", () => link(device, CONTEXT, state, physical(0n), 0x5000n, 0x1001n, DIRECTION)],
    ["outside-state", "a negative offset", () => sync(device, CONTEXT, state, -1n, 0x1000n)],
    ["outside-state", "sync", () => sync(device, CONTEXT, state, 0n, 0x6001n)],
    ["invalid", "a link of nothing", () => link(device, CONTEXT, state, physical(0n), 0x2000n, 0n, DIRECTION)],
    ["not-linked", "a hole", () => unlink(device, CONTEXT, state, 0x2000n, 0x1000n, DIRECTION)],
    ["not-linked", "over a hole", () => unlink(device, CONTEXT, state, 0n, 0x5000n, DIRECTION)],
    ["not-linked", "half a link", () => unlink(device, CONTEXT, state, 0n, 0x1000n, DIRECTION)],
    ["not-linked", "the other half", () => unlink(device, CONTEXT, state, 0x1000n, 0x1000n, DIRECTION)],
    ["not-linked", "destroying too much", () => destroy(device, CONTEXT, state, 0x3000n, DIRECTION)],
    ["still-linked", "destroying too little", () => destroy(device, CONTEXT, state, 0x2000n, DIRECTION)],
    ["still-linked", "freeing", () => free(device, CONTEXT, state)],
    ["still-linked", "destroying as if nothing was linked", () => destroy(device, CONTEXT, state, 0n, DIRECTION)],
  ])("%s: %s", (code, _, operation) => {
    misuses(machine, code, operation);
  });

  test("not-allocated: freed twice", () => {
    const other = allocate(machine, 0n, 0x1000n);
    free(device, CONTEXT, other);
    misuses(machine, "not-allocated", () => free(device, CONTEXT, other));
    misuses(machine, "not-allocated", () =>
      link(device, CONTEXT, other, physical(0n), 0n, 1n, DIRECTION, NO_ATTRIBUTES),
    );
  });
});
