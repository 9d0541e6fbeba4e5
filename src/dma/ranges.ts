/**
 * Addresses together with those for whom they mean something. A plain number has forgotten it; these have not, so that
 * whoever is handed one can tell whether it is meant for him.
 */
import { type DmaAddress, hex, type PhysicalAddress, type PrivateAddress } from "../engine/addresses.js";
import { type DmaAttributes, type DmaDirection, NO_ATTRIBUTES } from "./attributes.js";
import type { DmaDevice } from "./device.js";
import type { DmaContext } from "./iova-allocator.js";
import { mapPhys, unmapPhys } from "./map-phys.js";
import type { DmaSegment } from "./scatterlist.js";

/** Parties, by name, that agreed on what an address means: the members of a shared iommu_domain, KVM and an exporter. */
export interface Agreement {
  readonly name: string;
  has(party: string): boolean;
}

/** Parties that pass each other page frame numbers, as byte addresses. */
export class PfnAgreement implements Agreement {
  readonly #parties: ReadonlySet<string>;

  constructor(
    readonly name: string,
    parties: Iterable<string>,
  ) {
    this.#parties = new Set(parties);
  }

  has(party: string): boolean {
    return this.#parties.has(party);
  }
}

/** What the DMA API gave to one device, in one domain. */
export interface DmaRange {
  readonly kind: "dma";
  readonly address: DmaAddress;
  /** Bytes. */
  readonly length: bigint;
  readonly device: DmaDevice;
  /** A peer's address on the bus, which no IOMMU translates. */
  readonly busAddress: boolean;
}

/** What only the parties of an agreement may use. */
export interface PrivateRange {
  readonly kind: "private";
  readonly address: PrivateAddress;
  /** Bytes. */
  readonly length: bigint;
  readonly agreement: Agreement;
}

/** Physical memory: what the DMA API takes. */
export interface MemoryRange {
  readonly kind: "memory";
  readonly address: PhysicalAddress;
  /** Bytes. */
  readonly length: bigint;
}

export type OwnedRange = DmaRange | PrivateRange | MemoryRange;

/**
 * - `wrong-kind`: one kind of address for another
 * - `foreign-device`: a DMA address of another device
 * - `not-a-party`: a private address of an agreement that whoever got it is not of
 * - `not-attached`: an address of a domain that the device is not attached to now
 * - `not-mapped`: it was unmapped, or never mapped for this device
 */
export type AddressMisuse = "wrong-kind" | "foreign-device" | "not-a-party" | "not-attached" | "not-mapped";

/** An address came to somebody for whom it means nothing. Nothing was changed. */
export class AddressMisuseError extends Error {
  override readonly name = "AddressMisuseError";

  /**
   * @param operation what was asked, and of whom
   * @param given the address, with those for whom it is valid
   * @param wanted what would have been right
   */
  constructor(
    readonly code: AddressMisuse,
    readonly operation: string,
    readonly given: string,
    readonly wanted: string,
  ) {
    super(`${operation}: ${code}: given ${given}, wanted ${wanted}`);
  }
}

/** "private address 0x1000 of the shared domain". */
export function describeRange(range: OwnedRange): string {
  const at = hex(range.address);
  if (range.kind === "dma") return `DMA address ${at} of ${range.device.name} in domain "${range.device.domain.name}"`;
  if (range.kind === "private") return `private address ${at} of "${range.agreement.name}"`;
  return `physical address ${at}`;
}

/** What `mapSg` or `mapPhysVec` gave a device. */
export function rangesOf(device: DmaDevice, segments: readonly DmaSegment[]): DmaRange[] {
  return segments.map((segment) => ({ kind: "dma", device, ...segment }));
}

/** The range as a DMA address of this device. Throws AddressMisuseError `wrong-kind`, `foreign-device`. */
export function expectDma(range: OwnedRange, device: DmaDevice, operation: string): DmaRange {
  const wanted = `a DMA address of ${device.name} in domain "${device.domain.name}"`;
  if (range.kind !== "dma") throw new AddressMisuseError("wrong-kind", operation, describeRange(range), wanted);
  if (range.device !== device) {
    throw new AddressMisuseError("foreign-device", operation, describeRange(range), wanted);
  }
  return range;
}

/** The range as one that `party` agreed on. Throws AddressMisuseError `wrong-kind`, `not-a-party`. */
export function expectPrivate(range: OwnedRange, party: string, operation: string): PrivateRange {
  const wanted = `a private address of an agreement with ${party}`;
  if (range.kind !== "private") throw new AddressMisuseError("wrong-kind", operation, describeRange(range), wanted);
  if (!range.agreement.has(party)) {
    throw new AddressMisuseError("not-a-party", operation, describeRange(range), wanted);
  }
  return range;
}

/** The range as physical memory. Throws AddressMisuseError `wrong-kind`. */
export function expectMemory(range: OwnedRange, operation: string): MemoryRange {
  if (range.kind === "memory") return range;
  throw new AddressMisuseError("wrong-kind", operation, describeRange(range), "a physical address");
}

/** `mapPhys`, for physical memory and nothing else. Throws as it does, and AddressMisuseError `wrong-kind`. */
export function mapMemory(
  device: DmaDevice,
  context: DmaContext,
  memory: MemoryRange,
  direction: DmaDirection,
  attributes: DmaAttributes = NO_ATTRIBUTES,
): DmaRange {
  const { address: physical, length } = expectMemory(memory, `${device.name}: map ${bytesOf(memory)} for DMA`);
  const address = mapPhys(device, context, physical, length, direction, attributes);
  return { kind: "dma", address, length, device, busAddress: false };
}

/** `unmapPhys`, for what `mapMemory` gave this device. Throws as it does, and AddressMisuseError. */
export function unmapMemory(
  device: DmaDevice,
  context: DmaContext,
  range: DmaRange,
  direction: DmaDirection,
  attributes: DmaAttributes = NO_ATTRIBUTES,
): void {
  const { address, length } = expectDma(range, device, `${device.name}: unmap ${bytesOf(range)}`);
  unmapPhys(device, context, address, length, direction, attributes);
}

function bytesOf({ length }: OwnedRange): string {
  return `${hex(length)} bytes`;
}
