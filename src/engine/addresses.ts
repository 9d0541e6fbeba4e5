import * as layout from "../../assembly/layout.js";

/**
 * Four kinds of address that are all 64-bit numbers and must never be taken for each other. The brand exists at compile
 * time only; the functions of this file are the one place where a plain number becomes an address of a kind.
 */
declare const kind: unique symbol;

type Address<Kind extends string> = bigint & { readonly [kind]: Kind };

/** An address that came out of the DMA API: any generic driver may hand it to its device. */
export type DmaAddress = Address<"dma">;
/** An address that only the drivers who agreed on it may use: an IOVA of a shared iommu_domain, a PFN for KVM. */
export type PrivateAddress = Address<"private">;
/** What a device puts on the bus and a page table translates. */
export type Iova = DmaAddress | PrivateAddress;
/** A host physical address. */
export type PhysicalAddress = Address<"physical">;
/** A virtual address of a CPU. */
export type CpuAddress = Address<"cpu">;

function address(value: bigint, what: string): bigint {
  if (value < 0n || value > 0xffff_ffff_ffff_ffffn) throw new RangeError(`${what} ${value} is not a 64-bit address`);
  return value;
}

export function dmaAddress(value: bigint): DmaAddress {
  return address(value, "DMA address") as DmaAddress;
}

export function privateAddress(value: bigint): PrivateAddress {
  return address(value, "private address") as PrivateAddress;
}

export function physicalAddress(value: bigint): PhysicalAddress {
  return address(value, "physical address") as PhysicalAddress;
}

export function cpuAddress(value: bigint): CpuAddress {
  return address(value, "CPU address") as CpuAddress;
}

/** Lower-case hex with "0x", no padding: how addresses are printed everywhere. */
export function hex(value: bigint): string {
  return value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
}

/** Addresses of interrupt messages, FEE0_0000h-FEEF_FFFFh (VT-d section 3.14): no DMA reaches memory there. */
export const INTERRUPT_RANGE = {
  first: BigInt(layout.INTERRUPT_FIRST),
  last: BigInt(layout.INTERRUPT_FIRST + layout.INTERRUPT_SPAN - 1),
} as const;

export function inInterruptRange(address: bigint): boolean {
  return address >= INTERRUPT_RANGE.first && address <= INTERRUPT_RANGE.last;
}
