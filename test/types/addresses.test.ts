/** Kinds of address do not mix: tsc checks every @ts-expect-error, which is an error where nothing is wrong. */
import { expectTypeOf, test } from "vitest";
import {
  type Agreement,
  type DmaContext,
  type DmaDevice,
  type DmaRange,
  type MemoryRange,
  mapMemory,
  mapPhys,
  type PrivateRange,
  unmapMemory,
  unmapPhys,
} from "../../src/dma/index.js";
import type { IommuDomain } from "../../src/domain/domain.js";
import type { IommuDevice } from "../../src/domain/group.js";
import type { CpuAddress, DmaAddress, Iova, PhysicalAddress, PrivateAddress } from "../../src/engine/addresses.js";
import type { Importer } from "../../src/importers/importer.js";
import { kvm } from "../../src/importers/kvm.js";
import { mlx5 } from "../../src/importers/mlx5.js";
import type { allocateHinted } from "../../src/strategies/hinted.js";

test("an address of one kind is none of another", () => {
  expectTypeOf<DmaAddress>().not.toExtend<PrivateAddress>();
  expectTypeOf<PrivateAddress>().not.toExtend<DmaAddress>();
  expectTypeOf<PrivateAddress>().not.toExtend<PhysicalAddress>();
  expectTypeOf<DmaAddress>().not.toExtend<PhysicalAddress>();
  expectTypeOf<CpuAddress>().not.toExtend<Iova>();
  expectTypeOf<bigint>().not.toExtend<DmaAddress>();
  expectTypeOf<bigint>().not.toExtend<PrivateAddress>();
  // What a page table translates, and what a person prints, can be either.
  expectTypeOf<DmaAddress>().toExtend<Iova>();
  expectTypeOf<PrivateAddress>().toExtend<Iova>();
  expectTypeOf<DmaRange>().not.toExtend<PrivateRange>();
  expectTypeOf<PrivateRange>().not.toExtend<DmaRange>();
  expectTypeOf<MemoryRange>().not.toExtend<DmaRange>();
  expectTypeOf<IommuDomain>().toExtend<Agreement>();
  expectTypeOf<ReturnType<typeof kvm>>().not.toExtend<Importer>();
});

/** Never called: what it does must not compile. */
function mixtures(
  device: DmaDevice,
  context: DmaContext,
  hardware: IommuDevice,
  domain: IommuDomain,
  own: { dma: DmaRange; shared: PrivateRange; memory: MemoryRange },
): void {
  const { dma, shared, memory } = own;
  const readWrite = { read: true, write: true };
  // @ts-expect-error a private address is no memory that the DMA API could map
  mapPhys(device, context, shared.address, 1n, "bidirectional");
  // @ts-expect-error nor is a DMA address
  mapMemory(device, context, dma, "bidirectional");
  // @ts-expect-error
  mapMemory(device, context, shared, "bidirectional");
  // @ts-expect-error a private address did not come out of the DMA API
  unmapPhys(device, context, shared.address, 1n, "bidirectional");
  // @ts-expect-error
  unmapMemory(device, context, shared, "bidirectional");
  // @ts-expect-error a DMA address is not private to the drivers of a domain
  domain.map(dma.address, memory.address, 4096n, readWrite, []);
  // @ts-expect-error what a domain maps is physical
  domain.map(shared.address, dma.address, 4096n, readWrite, []);
  // @ts-expect-error an importer of DMA addresses takes no private ones
  mlx5().plan({ va: 0n, segments: [{ address: shared.address, length: 4096n }] });
  // @ts-expect-error KVM takes page frame numbers that it agreed on
  kvm().plan({ va: 0n, segments: [{ address: dma.address, length: 4096n }] });
  // @ts-expect-error a device behind an IOMMU is not given physical addresses
  hardware.program(memory);
  hardware.program(dma);
  hardware.program(shared);
}

test("a hint gives an address of the space's own kind", () => {
  type Given<A extends Iova> = ReturnType<typeof allocateHinted<A>>["iova"];
  expectTypeOf<Given<PrivateAddress>>().toEqualTypeOf<PrivateAddress>();
  expectTypeOf<Given<DmaAddress>>().toEqualTypeOf<DmaAddress>();
});

test("what mixes them does not compile", () => {
  expectTypeOf(mixtures).toBeFunction();
});
