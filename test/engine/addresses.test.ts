/** Kinds of address: checked when made, and never mixed. The lines marked @ts-expect-error must not compile. */
import { describe, expect, expectTypeOf, test } from "vitest";
import {
  type CpuAddress,
  cpuAddress,
  type DmaAddress,
  dmaAddress,
  hex,
  type Iova,
  type PhysicalAddress,
  type PrivateAddress,
  physicalAddress,
  privateAddress,
} from "../../src/engine/addresses.js";
import type { Engine } from "../../src/engine/engine.js";
import type { IovaSpace } from "../../src/engine/iova-space.js";
import type { PageTable } from "../../src/engine/page-table.js";

const MAKERS = [dmaAddress, privateAddress, physicalAddress, cpuAddress] as const;

describe.each(MAKERS.map((make) => [make.name, make] as const))("%s", (_name, make) => {
  test.each([0n, 1n, (1n << 64n) - 1n])("%i is an address", (value) => {
    expect(make(value)).toBe(value);
  });

  test.each([-1n, 1n << 64n])("%i is none", (value) => {
    expect(() => make(value)).toThrow(RangeError);
    expect(() => make(value)).toThrow(/64-bit address/);
  });
});

test("hex is lower-case, with 0x and without padding", () => {
  expect([0n, 0xdead_beefn, (1n << 64n) - 1n].map(hex)).toEqual(["0x0", "0xdeadbeef", "0xffffffffffffffff"]);
});

test("the kinds are told apart by the compiler", () => {
  expectTypeOf<DmaAddress>().not.toExtend<PrivateAddress>();
  expectTypeOf<PrivateAddress>().not.toExtend<DmaAddress>();
  expectTypeOf<PhysicalAddress>().not.toExtend<Iova>();
  expectTypeOf<CpuAddress>().not.toExtend<PhysicalAddress>();
  expectTypeOf<CpuAddress>().not.toExtend<Iova>();
  expectTypeOf<Iova>().not.toExtend<PhysicalAddress>();
  expectTypeOf<bigint>().not.toExtend<Iova>();
  expectTypeOf<DmaAddress>().toExtend<Iova>();
  expectTypeOf<PrivateAddress>().toExtend<Iova>();
  expectTypeOf<DmaAddress>().toExtend<bigint>();
});

/** Never called: it only has to compile, and its marked lines only not to. */
export function mixtures(
  engine: Engine,
  table: PageTable,
  dma: DmaAddress,
  shared: PrivateAddress,
  physical: PhysicalAddress,
  cpu: CpuAddress,
): void {
  const dmaSpace: IovaSpace = engine.createIovaSpace();
  const privateSpace: IovaSpace<PrivateAddress> = engine.createIovaSpace<PrivateAddress>();
  table.map(dma, physical, 4096n, { read: true });
  table.map(shared, physical, 4096n, { read: true });
  dmaSpace.free(dmaSpace.allocate({ length: 4096n }));
  privateSpace.free(privateSpace.allocate({ length: 4096n }));
  // @ts-expect-error a private address is not free for the DMA API's space to take
  dmaSpace.free(shared);
  // @ts-expect-error nor a DMA address for a private one
  privateSpace.free(dma);
  // @ts-expect-error a private address never becomes a DMA address
  const wrong: DmaAddress = privateSpace.allocate({ length: 4096n });
  // @ts-expect-error IOVA and physical address exchanged
  table.map(physical, dma, 4096n, { read: true });
  // @ts-expect-error a CPU's virtual address is nothing a device can use
  table.walk(cpu);
  // @ts-expect-error nor is it physical
  engine.memory.read64(cpu);
  // @ts-expect-error memory is read at physical addresses, not at those a device uses
  engine.memory.read64(dma);
  // @ts-expect-error a plain number is no address of any kind
  table.unmap(0n, wrong);
}
