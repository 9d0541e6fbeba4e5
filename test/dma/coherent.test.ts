/** iommu_dma_alloc(): blocks by the sizes of the IOMMU's pages. */
import { expect, test } from "vitest";
import {
  allocCoherent,
  BuddyPages,
  type DmaAttributes,
  dmaAttributes,
  freeCoherent,
  mapPhys,
} from "../../src/dma/index.js";
import { dmaAddress } from "../../src/engine/addresses.js";
import { newEngine } from "../support/engine.js";
import { CONTEXT, fails, type Machine, type MachineOptions, makeMachine, misuses, physical } from "./support.js";

const engine = await newEngine();

const BASE = 1n << 32n;

function machineWithPages(
  bytes: bigint,
  options: MachineOptions = {},
  first = BASE,
): { machine: Machine; pages: BuddyPages } {
  const pageSize = options.host?.pageSize ?? engine.format(options.format ?? "vtdss").granule;
  const pages = new BuddyPages(physical(first), bytes, pageSize);
  return { machine: makeMachine(engine, { ...options, host: { pageSize, ...options.host, pages } }), pages };
}

interface Case {
  readonly title: string;
  readonly format?: string;
  readonly pageSize?: bigint;
  readonly memory: bigint;
  /** Where it begins. Default: on a 4 GiB boundary. */
  readonly first?: bigint;
  readonly size: bigint;
  readonly attributes?: DmaAttributes;
  readonly sleep?: boolean;
  readonly orders: readonly number[];
  /** Granules of IOVA. */
  readonly granules: number;
}

const MIB = 1n << 20n;

const CASES: readonly Case[] = [
  {
    title: "2 MiB blocks, then pages",
    memory: 8n * MIB,
    size: 4n * MIB + 0x1001n,
    orders: [9, 9, 0, 0],
    granules: 1026,
  },
  { title: "pages where no block of 2 MiB is left", memory: MIB, size: 0x3000n, orders: [0, 0, 0], granules: 3 },
  {
    title: "pages, and no other size, where memory has no block of 2 MiB",
    memory: 2n * MIB,
    first: BASE + MIB,
    size: 2n * MIB,
    orders: new Array<number>(512).fill(0),
    granules: 512,
  },
  {
    title: "single pages on request",
    memory: 8n * MIB,
    size: 0x4000n,
    attributes: dmaAttributes("ALLOC_SINGLE_PAGES"),
    orders: [0, 0, 0, 0],
    granules: 4,
  },
  {
    title: "one block on request",
    memory: 8n * MIB,
    size: 0x5000n,
    attributes: dmaAttributes("FORCE_CONTIGUOUS"),
    orders: [3],
    granules: 5,
  },
  {
    title: "one block when the caller may not sleep",
    memory: 8n * MIB,
    size: 1n,
    sleep: false,
    orders: [0],
    granules: 1,
  },
  { title: "pages of 64 KiB", format: "vmsav8-64k", memory: 8n * MIB, size: 0x1_0001n, orders: [0, 0], granules: 2 },
  {
    title: "a CPU with larger pages than the IOMMU: no more is mapped than asked, in the IOMMU's pages",
    pageSize: 0x1_0000n,
    memory: 8n * MIB,
    size: 0x1_2800n,
    orders: [0, 0],
    granules: 0x13,
  },
];

test.each(CASES)("$title", ({ format, pageSize, memory, first, size, attributes, sleep, orders, granules }) => {
  const host = pageSize === undefined ? {} : { pageSize };
  const { machine, pages } = machineWithPages(memory, { format, host }, first);
  const { device, domain, iova, table } = machine;
  const buffer = allocCoherent(device, CONTEXT, size, attributes, sleep);
  expect(buffer.blocks.map(({ order }) => order)).toEqual(orders);
  expect([...iova.live.values()]).toEqual([granules]);
  let at: bigint = buffer.address;
  const end = buffer.address + BigInt(granules) * domain.granule;
  for (const { physical: block, order } of buffer.blocks) {
    const blockEnd = block + (domain.host.pageSize << BigInt(order));
    for (let memoryAt: bigint = block; memoryAt < blockEnd && at < end; memoryAt += domain.granule) {
      expect(table.iovaToPhys(dmaAddress(at))).toBe(memoryAt);
      at += domain.granule;
    }
  }
  expect(at).toBe(end);
  expect(table.iovaToPhys(dmaAddress(end & 0xffff_ffffn))).toBe(null);
  freeCoherent(device, CONTEXT, size, buffer.address, attributes);
  expect([pages.used, iova.live.size]).toEqual([0n, 0]);
  expect([...table.counters.leaves.values()].every((count) => count === 0)).toBe(true);
});

test("blocks that are aligned in memory and in IOVA space are large leaves", () => {
  const { machine } = machineWithPages(8n * MIB);
  allocCoherent(machine.device, CONTEXT, 4n * MIB);
  expect(machine.table.counters.leaves.get(2n * MIB)).toBe(2);
});

test("the coherent mask limits it, not the other", () => {
  const { machine } = machineWithPages(8n * MIB, {
    device: { dmaMask: (1n << 48n) - 1n, coherentDmaMask: 0xff_ffffn },
  });
  expect(allocCoherent(machine.device, CONTEXT, 0x1000n).address).toBe(0xff_f000n);
});

test.each<[string, MachineOptions, bigint, boolean]>([
  ["no memory", {}, MIB + 0x1000n, true],
  ["no block so large", {}, MIB / 2n + 1n, false],
  ["no block is ever so large", {}, 1n << 40n, false],
  ["no IOVA", { device: { coherentDmaMask: 0x1fffn } }, 0x2000n, true],
  ["no IOVA for a block", { device: { coherentDmaMask: 0x1fffn } }, 0x2000n, false],
  ["no coherent mask", { device: { coherentDmaMask: 0n } }, 0x1000n, true],
])("ENOMEM: %s", (_, options, size, sleep) => {
  const { machine, pages } = machineWithPages(MIB, options);
  // Half the memory is one block that is in use elsewhere, when it is not all asked for.
  if (!sleep) pages.allocate(7);
  const { used } = pages;
  fails(machine, "ENOMEM", -12, () => allocCoherent(machine.device, CONTEXT, size, dmaAttributes(), sleep));
  expect(pages.used).toBe(used);
});

test("ENOMEM: a host without pages", () => {
  const machine = makeMachine(engine);
  fails(machine, "ENOMEM", -12, () => allocCoherent(machine.device, CONTEXT, 1n));
});

test("it is freed as it was allocated", () => {
  const { machine } = machineWithPages(MIB);
  const { device } = machine;
  const { address } = allocCoherent(device, CONTEXT, 0x2000n);
  const mapped = mapPhys(device, CONTEXT, physical(0n), 0x2000n, "bidirectional");
  misuses(machine, "wrong-size", () => freeCoherent(device, CONTEXT, 0x1000n, address));
  misuses(machine, "wrong-function", () => freeCoherent(device, CONTEXT, 0x2000n, mapped));
  freeCoherent(device, CONTEXT, 0x2000n, address);
  misuses(machine, "not-allocated", () => freeCoherent(device, CONTEXT, 0x2000n, address));
});
