/** Slots of the bounce pool, and copies into and out of it. */
import { expect, test } from "vitest";
import { DmaMisuseError, mapPhys, unmapPhys } from "../../src/dma/index.js";
import { Swiotlb } from "../../src/dma/swiotlb.js";
import { newEngine } from "../support/engine.js";
import { CONTEXT, fails, makeMachine, physical } from "./support.js";

const engine = await newEngine();

const SEGMENT = 256n << 10n;
const ANYWHERE = { minAlignMask: 0n, segmentBoundaryMask: 0xffff_ffffn };
const BASE = physical(0x8000_0000n);

test.each<[string, bigint, bigint, bigint, bigint, number, bigint]>([
  // title, original, size, alignMask, minAlignMask, slots, offset of the buffer from the pool's base
  ["a granule at least", 0x123n, 1n, 0xfffn, 0n, 2, 0n],
  ["one slot where the granule is no matter", 0x123n, 1n, 0n, 0n, 1, 0n],
  ["the low bits that the device needs are kept", 0x1a34n, 0x100n, 0xfffn, 0xfffn, 2, 0xa34n],
  ["kept bits can cost a granule more", 0xf00n, 0x200n, 0xfffn, 0xfffn, 4, 0xf00n],
  ["only the bits of the mask are kept", 0xf34n, 0x10n, 0xfffn, 0xffn, 2, 0x34n],
  ["bits above the alignment choose the slot", 0x3010n, 0x10n, 0x7ffn, 0x3fffn, 1, 0x3010n],
  ["a whole segment", 0n, SEGMENT, 0xfffn, 0n, 128, 0n],
])("%s", (_, original, size, alignMask, minAlignMask, slots, offset) => {
  const pool = new Swiotlb(4096n, { bytes: 2n * SEGMENT, base: BASE });
  const at = pool.map(original, size, alignMask, { ...ANYWHERE, minAlignMask });
  expect(at).toBe(BASE + offset);
  expect(pool.usedSlots).toBe(slots);
  expect(pool.unmap(BASE + offset)).toBe(size);
  expect([pool.usedSlots, pool.usedSlotsHighest]).toEqual([0, slots]);
  expect(pool.unmap(BASE + offset)).toBe(0n);
});

test("no buffer is longer than a segment, crosses one, or crosses the device's boundary", () => {
  const pool = new Swiotlb(4096n, { bytes: 2n * SEGMENT, base: BASE });
  expect(pool.map(0n, SEGMENT + 1n, 0xfffn, ANYWHERE)).toBe(null);
  expect(pool.map(0n, SEGMENT - 0x1000n, 0xfffn, ANYWHERE)).toBe(BASE);
  expect(pool.map(0n, 0x2000n, 0xfffn, ANYWHERE)).toBe(BASE + SEGMENT);
  const narrow = { minAlignMask: 0n, segmentBoundaryMask: 0x3fffn };
  expect(pool.map(0n, 0x4000n, 0xfffn, narrow)).toBe(BASE + SEGMENT + 0x4000n);
  expect(pool.map(0n, 0x8000n, 0xfffn, narrow)).toBe(null);
});

test("the search goes round: what was just freed comes last", () => {
  const pool = new Swiotlb(4096n, { bytes: SEGMENT, base: BASE });
  const first = pool.map(0n, 0x1000n, 0xfffn, ANYWHERE);
  pool.unmap(first ?? 0n);
  const order = Array.from({ length: 64 }, () => pool.map(0n, 0x1000n, 0xfffn, ANYWHERE));
  expect(order[0]).toBe(BASE + 0x1000n);
  expect(order[63]).toBe(BASE);
  expect(pool.map(0n, 1n, 0xfffn, ANYWHERE)).toBe(null);
});

test("the pool has 64 MiB: 16384 bounced pages, then DMA_MAPPING_ERROR", () => {
  const machine = makeMachine(engine, { device: { untrusted: true, minAlignMask: 0xfffn, dmaMask: 0xffff_ffffn } });
  const { swiotlb } = machine.host;
  expect(swiotlb.slots).toBe(32_768);
  while (swiotlb.map(0n, 0x800n, 0xfffn, ANYWHERE) !== null);
  expect(swiotlb.usedSlots).toBe(32_768);
  const error = fails(machine, "DMA_MAPPING_ERROR", -12, () =>
    mapPhys(machine.device, CONTEXT, physical(0x100n), 0x100n, "to-device"),
  );
  expect(error.reason).toContain("bounce");
});

test.each([
  ["to-device", 0x100n],
  ["from-device", 0x200n],
  ["bidirectional", 0x200n],
] as const)("%s: %s bytes are copied for a buffer of 0x100", (direction, copied) => {
  const machine = makeMachine(engine, { device: { untrusted: true, minAlignMask: 0xfffn } });
  const { device, table, host } = machine;
  const address = mapPhys(device, CONTEXT, physical(0x1_0123n), 0x100n, direction);
  expect(address & 0xfffn).toBe(0x123n);
  expect(table.iovaToPhys(address)).toBe(host.swiotlb.base + 0x123n);
  expect(host.swiotlb.usedSlots).toBe(2);
  unmapPhys(device, CONTEXT, address, 0x100n, direction);
  expect([device.counters.bouncedBytes, host.swiotlb.usedSlots]).toEqual([copied, 0]);
});

test("whole granules are never bounced", () => {
  const { device, host } = makeMachine(engine, { device: { untrusted: true } });
  mapPhys(device, CONTEXT, physical(0x1_0000n), 0x2000n, "bidirectional");
  expect([device.counters.bouncedBytes, host.swiotlb.usedSlots]).toEqual([0n, 0]);
});

test("a pool is made of whole segments, on a page", () => {
  expect(() => new Swiotlb(4096n, { bytes: SEGMENT + 1n })).toThrow(DmaMisuseError);
  expect(() => new Swiotlb(4096n, { base: physical(0x800n) })).toThrow(DmaMisuseError);
});
