/** dma_map_phys(), dma_map_page() and their counterparts. */
import { describe, expect, test } from "vitest";
import {
  type DmaAttributes,
  type DmaDeviceOptions,
  type DmaDirection,
  DmaDevice,
  dmaAttributes,
  mapPage,
  mapPhys,
  NO_ATTRIBUTES,
  unmapPage,
  unmapPhys,
} from "../../src/dma/index.js";
import { dmaAddress, hex, type Iova } from "../../src/engine/addresses.js";
import { newEngine } from "../support/engine.js";
import { addDomain, CONTEXT, FORMATS, fails, type MachineOptions, makeMachine, misuses, physical } from "./support.js";

const engine = await newEngine();

describe.each(FORMATS)("%s", (format) => {
  test("an address is congruent to memory modulo the granule, and whole granules are mapped", () => {
    const { device, domain, table, iova } = makeMachine(engine, { format });
    const { granule } = domain;
    const at = physical(0x1_0000_0000n + granule - 0x10n);
    const address = mapPhys(device, CONTEXT, at, 0x20n, "bidirectional");
    expect(address % granule).toBe(granule - 0x10n);
    expect(table.iovaToPhys(address)).toBe(at);
    expect([...iova.live.values()]).toEqual([2]);
    expect(table.counters.leaves.get(granule)).toBe(2);
    expect(device.counters).toMatchObject({ maps: 1, iovaAllocations: 1, iotlbInvalidations: 0 });
    unmapPhys(device, CONTEXT, address, 0x20n, "bidirectional");
    expect(table.counters.leaves.get(granule)).toBe(0);
    expect(iova.live.size).toBe(0);
    expect(device.counters).toMatchObject({ unmaps: 1, iotlbInvalidations: 1 });
    expect(device.counters.pteEntries).toBe(table.counters.entriesWritten);
  });

  test.each<[DmaDirection, boolean, boolean]>([
    ["to-device", true, false],
    ["from-device", false, true],
    ["bidirectional", true, true],
  ])("%s allows reading: %s, writing: %s", (direction, read, write) => {
    const { device, table } = makeMachine(engine, { format });
    const address = mapPhys(device, CONTEXT, physical(0x10_0000n), 64n, direction);
    // A format that cannot forbid reading lets a write-only mapping be read.
    const readsAnyway = format !== "vtdss";
    expect(table.walk(address, { read: true }).ok).toBe(read || readsAnyway);
    expect(table.walk(address, { read: false, write: true }).ok).toBe(write);
  });
});

test("the first addresses of a PCI device lie at the top of 4 GiB, until that is full once", () => {
  const { device, domain, iova } = makeMachine(engine, { device: { dmaMask: (1n << 48n) - 1n } });
  const map = (bytes: bigint): string => hex(mapPhys(device, CONTEXT, physical(0n), bytes, "to-device"));
  expect(map(4096n)).toBe("0xfffff000");
  // With page 0xfffff taken there is no hole of 4 GiB; then the flag is off for good.
  expect(map(1n << 32n)).toBe("0xffff00000000");
  expect(device.pci32BitWorkaround).toBe(false);
  expect(map(4096n)).toBe("0xfffefffff000");
  const other = new DmaDevice(domain, { name: "eth0", dmaMask: (1n << 48n) - 1n });
  expect(hex(mapPhys(other, CONTEXT, physical(0n), 4096n, "to-device"))).toBe("0xffffe000");
  expect(iova.live.size).toBe(4);
});

test.each<[string, Partial<DmaDeviceOptions>, string]>([
  ["the device's mask", { dmaMask: 0xff_ffffn }, "0xfff000"],
  ["the bus's limit", { dmaMask: 0xffff_ffffn, busDmaLimit: 0x7fff_ffffn }, "0x7ffff000"],
  ["4 GiB for PCI", { dmaMask: (1n << 64n) - 1n }, "0xfffff000"],
  ["the aperture for others", { dmaMask: (1n << 64n) - 1n, pci: false }, "0xfffffffff000"],
  ["the aperture with forcedac", { dmaMask: (1n << 64n) - 1n, forceDac: true }, "0xfffffffff000"],
])("the limit is %s", (_, options, expected) => {
  const { device } = makeMachine(engine, { device: options });
  expect(hex(mapPhys(device, CONTEXT, physical(0n), 1n, "to-device"))).toBe(expected);
});

test("reserved ranges and what lies below the aperture are not given out", () => {
  const domain = {
    aperture: { first: 0x2000n, last: 0x7fffn },
    reserved: [{ first: 0x4800n, last: 0x5000n }],
  };
  const machine = makeMachine(engine, { domain, device: { dmaMask: 0xffff_ffffn } });
  const addresses: string[] = [];
  for (let i = 0; i < 4; i++) addresses.push(hex(mapPhys(machine.device, CONTEXT, physical(0n), 1n, "to-device")));
  expect(addresses).toEqual(["0x7000", "0x6000", "0x3000", "0x2000"]);
  fails(machine, "DMA_MAPPING_ERROR", -12, () => mapPhys(machine.device, CONTEXT, physical(0n), 1n, "to-device"));
});

const UNTRUSTED = { untrusted: true };

test.each<[string, MachineOptions, DmaAttributes, bigint]>([
  ["a device without dma_mask", { device: { dmaMask: null } }, NO_ATTRIBUTES, 0n],
  ["coherence that is not there", { device: { coherent: false } }, dmaAttributes("REQUIRE_COHERENT"), 0n],
  ["DMA_ATTR_CC_SHARED", {}, dmaAttributes("CC_SHARED"), 0n],
  ["bouncing of MMIO", { device: UNTRUSTED }, dmaAttributes("MMIO"), 0x200n],
  ["bouncing of what must be coherent", { device: UNTRUSTED }, dmaAttributes("REQUIRE_COHERENT"), 0x200n],
  ["bouncing without a pool", { host: { swiotlb: { bytes: 0n } }, device: UNTRUSTED }, NO_ATTRIBUTES, 0x200n],
  ["min_align_mask beyond the granule", { device: { minAlignMask: 0x1fffn } }, NO_ATTRIBUTES, 0n],
  ["no IOVA", { device: { dmaMask: 0xfffn } }, NO_ATTRIBUTES, 0n],
  ["no IOVA for a bounce buffer", { device: { ...UNTRUSTED, dmaMask: 0xfffn } }, NO_ATTRIBUTES, 0x200n],
  ["memory beyond an entry's width", {}, NO_ATTRIBUTES, 1n << 60n],
])("DMA_MAPPING_ERROR: %s", (_, options, attributes, at) => {
  const machine = makeMachine(engine, options);
  fails(machine, "DMA_MAPPING_ERROR", -12, () =>
    mapPhys(machine.device, CONTEXT, physical(at), 0x400n, "bidirectional", attributes),
  );
});

test("a page is mapped as memory at its offset; MMIO is not a page", () => {
  const machine = makeMachine(engine);
  const { device, table } = machine;
  const address = mapPage(device, CONTEXT, physical(0x5000n), 0x123n, 0x100n, "to-device");
  expect(table.iovaToPhys(address)).toBe(0x5123n);
  misuses(machine, "wrong-attributes", () =>
    unmapPage(device, CONTEXT, address, 0x100n, "to-device", dmaAttributes("MMIO")),
  );
  unmapPage(device, CONTEXT, address, 0x100n, "to-device");
  fails(machine, "DMA_MAPPING_ERROR", -12, () =>
    mapPage(device, CONTEXT, physical(0x5000n), 0n, 1n, "to-device", dmaAttributes("MMIO")),
  );
  misuses(machine, "invalid", () => mapPage(device, CONTEXT, physical(0x5001n), 0n, 1n, "to-device"));
});

test("MMIO is counted; attributes that only concern the CPU may differ at the unmap", () => {
  const { device } = makeMachine(engine);
  const mmio = dmaAttributes("MMIO");
  const address = mapPhys(device, CONTEXT, physical(0xe000_0000n), 0x3000n, "bidirectional", mmio);
  expect(device.counters.mmioBytes).toBe(0x3000n);
  unmapPhys(device, CONTEXT, address, 0x3000n, "bidirectional", dmaAttributes("MMIO", "SKIP_CPU_SYNC"));
  expect(device.counters.unmaps).toBe(1);
});

test("lazy: the IOVA is queued, and the flush is the domain's one invalidation", () => {
  const { device, domain, iova } = makeMachine(engine, { domain: { flush: "lazy" } });
  for (let i = 0; i < 3; i++) {
    const address = mapPhys(device, CONTEXT, physical(0n), 4096n, "to-device");
    unmapPhys(device, CONTEXT, address, 4096n, "to-device");
  }
  expect(iova.live.size).toBe(3);
  expect([device.counters.iotlbInvalidations, domain.iotlbInvalidations]).toEqual([0, 0]);
  mapPhys(device, { cpu: 1, now: 10_000_000 }, physical(0n), 4096n, "to-device");
  expect(iova.live.size).toBe(1);
  expect([device.counters.iotlbInvalidations, domain.iotlbInvalidations]).toEqual([0, 1]);
});

describe("a mapping is taken back as it was made", () => {
  const machine = makeMachine(engine);
  const { device, domain, host } = machine;
  const sibling = new DmaDevice(domain, { name: "nvme1" });
  const stranger = addDomain(host, engine.createTable("vtdss"), { device: { name: "eth0" } }).device;
  const SIZE = 0x3000n;
  const address = mapPhys(device, CONTEXT, physical(0x8000n), SIZE, "to-device");

  test.each<[Parameters<typeof misuses>[1], string, () => void]>([
    ["foreign-device", "of the same group", () => unmapPhys(sibling, CONTEXT, address, SIZE, "to-device")],
    ["foreign-device", "of another domain", () => unmapPhys(stranger, CONTEXT, address, SIZE, "to-device")],
    ["wrong-size", "a page less", () => unmapPhys(device, CONTEXT, address, SIZE - 4096n, "to-device")],
    ["wrong-size", "a byte more", () => unmapPhys(device, CONTEXT, address, SIZE + 1n, "to-device")],
    ["wrong-direction", "the other one", () => unmapPhys(device, CONTEXT, address, SIZE, "from-device")],
    ["not-allocated", "inside it", () => unmapPhys(device, CONTEXT, dmaAddress(address + 4096n), 4096n, "to-device")],
    ["wrong-attributes", "MMIO", () => unmapPhys(device, CONTEXT, address, SIZE, "to-device", dmaAttributes("MMIO"))],
    ["invalid", "nothing", () => mapPhys(device, CONTEXT, physical(0n), 0n, "to-device")],
  ])("%s: %s", (code, _, operation) => {
    misuses(machine, code, operation);
  });

  test("the error names who mapped it", () => {
    const error = misuses(machine, "foreign-device", () => unmapPhys(stranger, CONTEXT, address, SIZE, "to-device"));
    expect(error.message).toContain("nvme0");
    expect(error.message).toContain(hex(address as Iova));
  });

  test("once", () => {
    unmapPhys(device, CONTEXT, address, SIZE, "to-device");
    misuses(machine, "not-allocated", () => unmapPhys(device, CONTEXT, address, SIZE, "to-device"));
  });
});
