/**
 * What a domain must map, granule by granule, in plain sets: the slow model beside src/dma. It is told which IOVA was
 * given and works out by itself what then lies behind it.
 */
import type { DmaDevice, DmaDirection, ScatterlistEntry } from "../../src/dma/index.js";
import { SLOT_BYTES } from "../../src/dma/swiotlb.js";

/** Behind a granule: the physical granule, or "pool" for one in the bounce pool. */
type Behind = bigint | "pool";

/** What one live mapping put there. */
export interface Footprint {
  readonly granules: Map<bigint, Behind>;
  /** Ranges of IOVA, first address and bytes. */
  readonly ranges: Map<bigint, bigint>;
  slots: bigint;
}

export class DmaModel {
  readonly live = new Set<Footprint>();

  constructor(readonly granule: bigint) {}

  footprint(): Footprint {
    return { granules: new Map(), ranges: new Map(), slots: 0n };
  }

  down(address: bigint): bigint {
    return address - (address % this.granule);
  }

  up(address: bigint): bigint {
    return this.down(address + this.granule - 1n);
  }

  /** The device may not touch what shares a granule with the buffer. */
  isBounced(device: DmaDevice, physical: bigint, size: bigint): boolean {
    return device.untrusted && (physical % this.granule !== 0n || size % this.granule !== 0n);
  }

  /** `size` bytes of memory at an address of the device. */
  put(into: Footprint, address: bigint, physical: bigint, size: bigint, bounced: boolean): void {
    const shift = this.down(physical) - this.down(address);
    for (let at = this.down(address); at < address + size; at += this.granule) {
      into.granules.set(at, bounced ? "pool" : at + shift);
    }
    if (bounced) into.slots += this.up(size + (physical % this.granule)) / SLOT_BYTES;
  }

  /** One range mapped by itself, with its IOVA. */
  putSingle(into: Footprint, device: DmaDevice, address: bigint, physical: bigint, size: bigint): void {
    this.put(into, address, physical, size, this.isBounced(device, physical, size));
    into.ranges.set(this.down(address), this.up(address + size) - this.down(address));
  }

  /**
   * A scatterlist behind one IOVA: entry behind entry, in whole granules. An entry that would cross a segment boundary
   * waits for it; what is skipped is memory behind the entry before.
   */
  putList(into: Footprint, device: DmaDevice, base: bigint, entries: readonly ScatterlistEntry[]): void {
    const boundary = device.segmentBoundaryMask + 1n;
    let at = base;
    let behindLast = 0n;
    for (const { physical, length, p2p } of entries) {
      if (p2p === "bus-addr") continue;
      const bytes = this.up(physical + length) - this.down(physical);
      const rest = (boundary - ((at - base) % boundary)) % boundary;
      if (rest < bytes - 1n) {
        for (const end = at + rest; at < end; at += this.granule, behindLast += this.granule) {
          into.granules.set(at, behindLast);
        }
      }
      behindLast = this.down(physical);
      for (const end = at + bytes; at < end; at += this.granule, behindLast += this.granule) {
        into.granules.set(at, behindLast);
      }
    }
    if (at > base) into.ranges.set(base, at - base);
  }

  /** A link: only what shares a granule with other data is bounced. */
  putLink(into: Footprint, device: DmaDevice, address: bigint, physical: bigint, size: bigint): void {
    const bounced = this.isBounced(device, physical, size);
    for (let at = physical; at < physical + size; ) {
      const next = this.down(at) + this.granule;
      const end = next < physical + size ? next : physical + size;
      const partly = at % this.granule !== 0n || end % this.granule !== 0n;
      this.put(into, address + (at - physical), at, end - at, bounced && partly);
      at = end;
    }
  }

  /** Everything mapped. */
  granules(): Map<bigint, Behind> {
    return new Map([...this.live].flatMap(({ granules }) => [...granules]));
  }

  ranges(): Map<bigint, bigint> {
    return new Map([...this.live].flatMap(({ ranges }) => [...ranges]));
  }

  slots(): number {
    return Number([...this.live].reduce((sum, { slots }) => sum + slots, 0n));
  }
}

export const DIRECTIONS: readonly DmaDirection[] = ["to-device", "from-device", "bidirectional"];
