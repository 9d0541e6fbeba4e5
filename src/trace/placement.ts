/**
 * Second half of the assembly: allocations and unmaps, decided and in time order, become operations. Here live the
 * domains, what is mapped in each, and the slots, so that the stream is consistent whatever the trace says: within a
 * domain live allocations never overlap, and an unmap names live bytes only.
 */
import { AddressIndex } from "./address-index.js";
import type { BatchWriter } from "./batch.js";
import { grownFloat64, grownInt32, IndexPool } from "./growable.js";

/** An IOVA space of the stream. */
export interface TraceDomain {
  /** Its number in the operation stream. */
  readonly index: number;
  /** The device that dma events (or the `device` option) name; null for mappings that nothing names. */
  readonly device: string | null;
  /** The device, or `unnamed`, `unnamed-2`, … */
  readonly name: string;
}

/** A mapping that the trace says is made where the same domain has another: events were lost. */
export interface TraceConflict {
  /** Line of the newer mapping. */
  readonly line: number;
  readonly domain: number;
  /** First byte of the newer mapping. */
  readonly iova: bigint;
}

const KEPT_CONFLICTS = 20;

interface Domain extends TraceDomain {
  readonly live: AddressIndex;
}

export class Placement {
  readonly #writer: BatchWriter;
  readonly #deviceName: (device: number) => string;
  readonly #optionDevice: string | null;
  #optionDomain: Domain | null = null;
  readonly #domains: Domain[] = [];
  readonly #unnamed: Domain[] = [];
  readonly #domainOfDevice: Domain[] = [];

  readonly #segments = new IndexPool();
  #segmentCapacity = 1024;
  #segmentStart = new Float64Array(1024);
  #segmentEnd = new Float64Array(1024);
  #segmentSlot = new Int32Array(1024);

  readonly #slots = new IndexPool();
  #slotCapacity = 1024;
  #slotStart = new Float64Array(1024);
  #slotLivePages = new Float64Array(1024);
  #slotPieces = new Int32Array(1024);

  /** Pieces of the allocations that are live. */
  livePieces = 0;
  allocations = 0;
  unnamedDomainsByOverlap = 0;
  unmapsOfUnknown = 0;
  conflicts = 0;
  readonly firstConflicts: TraceConflict[] = [];

  /** @param optionDevice the device that mappings without a name belong to, or null */
  constructor(writer: BatchWriter, deviceName: (device: number) => string, optionDevice: string | null) {
    this.#writer = writer;
    this.#deviceName = deviceName;
    this.#optionDevice = optionDevice;
  }

  get domains(): readonly TraceDomain[] {
    return this.#domains.map(({ index, device, name }) => ({ index, device, name }));
  }

  get liveAllocations(): number {
    return this.#slots.live;
  }

  /** Highest number of allocations that were live at a time. */
  get slots(): number {
    return this.#slots.size;
  }

  /** Writes the map operation of an allocation; its pieces must follow. `device` is −1 when nothing names it. */
  map(device: number, page: number, pages: number, pieceCount: number, line: number): void {
    const end = page + pages;
    let domain: Domain;
    if (device < 0) {
      domain = this.#unnamedDomain(page, end);
    } else {
      domain = this.#deviceDomain(device);
      const segment = domain.live.firstOverlap(page, end);
      if (segment >= 0) {
        this.conflicts++;
        if (this.firstConflicts.length < KEPT_CONFLICTS) {
          this.firstConflicts.push({ line, domain: domain.index, iova: BigInt(page) * 4096n });
        }
        this.#endOverlapping(domain, segment, page, end, line);
      }
    }
    const slot = this.#slots.take();
    if (slot >= this.#slotCapacity) {
      this.#slotCapacity *= 2;
      this.#slotStart = grownFloat64(this.#slotStart, this.#slotCapacity);
      this.#slotLivePages = grownFloat64(this.#slotLivePages, this.#slotCapacity);
      this.#slotPieces = grownInt32(this.#slotPieces, this.#slotCapacity);
    }
    this.#slotStart[slot] = page;
    this.#slotLivePages[slot] = pages;
    this.#slotPieces[slot] = pieceCount;
    this.#addSegment(domain, page, end, slot);
    this.livePieces += pieceCount;
    this.allocations++;
    this.#writer.map(domain.index, slot, pieceCount, page, pages, line);
  }

  /** Writes the unmap operations of [page, page + pages). `device` is −1 when nothing names it. */
  unmap(device: number, page: number, pages: number, line: number): void {
    const end = page + pages;
    let domain: Domain | null;
    if (device >= 0) {
      const named = this.#deviceDomain(device);
      const segment = named.live.firstOverlap(page, end);
      if (segment >= 0) {
        this.#removeRange(named, segment, page, end, line);
        return;
      }
      // The event that names its map may have been lost or not recorded.
      domain = this.#bestUnnamed(page, end, FIT_START);
    } else {
      domain = this.#bestUnnamed(page, end, FIT_OVERLAP) ?? this.#bestNamed(page, end);
    }
    if (domain === null) this.unmapsOfUnknown++;
    else this.#removeRange(domain, domain.live.firstOverlap(page, end), page, end, line);
  }

  #deviceDomain(device: number): Domain {
    let domain = this.#domainOfDevice[device];
    if (domain === undefined) {
      const name = this.#deviceName(device);
      domain = name === this.#optionDevice ? this.#openOptionDomain(name) : this.#open(name);
      this.#domainOfDevice[device] = domain;
    }
    return domain;
  }

  #openOptionDomain(name: string): Domain {
    this.#optionDomain ??= this.#open(name);
    return this.#optionDomain;
  }

  #unnamedDomain(page: number, end: number): Domain {
    if (this.#optionDevice !== null) {
      const domain = this.#openOptionDomain(this.#optionDevice);
      if (domain.live.firstOverlap(page, end) < 0) return domain;
    }
    for (const domain of this.#unnamed) if (domain.live.firstOverlap(page, end) < 0) return domain;
    if (this.#unnamed.length > 0 || this.#optionDevice !== null) this.unnamedDomainsByOverlap++;
    const domain = this.#open(null);
    this.#unnamed.push(domain);
    return domain;
  }

  #open(device: string | null): Domain {
    const ordinal = this.#unnamed.length + 1;
    const name = device ?? (ordinal === 1 ? "unnamed" : `unnamed-${ordinal}`);
    const domain: Domain = { index: this.#domains.length, device, name, live: new AddressIndex() };
    this.#domains.push(domain);
    return domain;
  }

  /** Among the domains that nothing names and the option's, the one where the range fits best, and at least `least`. */
  #bestUnnamed(page: number, end: number, least: number): Domain | null {
    let best: Domain | null = null;
    let bestFit = least - 1;
    if (this.#optionDomain !== null) {
      const fit = this.#fit(this.#optionDomain, page, end);
      if (fit > bestFit) {
        best = this.#optionDomain;
        bestFit = fit;
      }
    }
    for (const domain of this.#unnamed) {
      if (bestFit === FIT_EXACT) break;
      const fit = this.#fit(domain, page, end);
      if (fit > bestFit) {
        best = domain;
        bestFit = fit;
      }
    }
    return best;
  }

  /** The DMA API unmaps whole allocations, so only an exact fit makes an unnamed unmap that of a named mapping. */
  #bestNamed(page: number, end: number): Domain | null {
    for (const domain of this.#domains) {
      if (domain.device !== null && this.#fit(domain, page, end) === FIT_EXACT) return domain;
    }
    return null;
  }

  #fit(domain: Domain, page: number, end: number): number {
    const segment = domain.live.firstOverlap(page, end);
    if (segment < 0) return FIT_NONE;
    const start = this.#segmentStart[segment];
    if (start > page) return FIT_OVERLAP;
    if (start < page) return FIT_INSIDE;
    return this.#segmentEnd[segment] === end ? FIT_EXACT : FIT_START;
  }

  #addSegment(domain: Domain, start: number, end: number, slot: number): void {
    const segment = this.#segments.take();
    if (segment >= this.#segmentCapacity) {
      this.#segmentCapacity *= 2;
      this.#segmentStart = grownFloat64(this.#segmentStart, this.#segmentCapacity);
      this.#segmentEnd = grownFloat64(this.#segmentEnd, this.#segmentCapacity);
      this.#segmentSlot = grownInt32(this.#segmentSlot, this.#segmentCapacity);
    }
    this.#segmentStart[segment] = start;
    this.#segmentEnd[segment] = end;
    this.#segmentSlot[segment] = slot;
    domain.live.insert(start, end, segment);
  }

  /** Unmaps [page, end) from `segment` on, the first live one there or −1. */
  #removeRange(domain: Domain, segment: number, page: number, end: number, line: number): void {
    while (segment >= 0) {
      const start = this.#segmentStart[segment];
      const stop = this.#segmentEnd[segment];
      const slot = this.#segmentSlot[segment];
      const from = Math.max(start, page);
      const to = Math.min(stop, end);
      domain.live.remove(start, stop);
      this.#segments.give(segment);
      if (start < from) this.#addSegment(domain, start, from, slot);
      if (to < stop) this.#addSegment(domain, to, stop, slot);
      this.#writer.unmap(domain.index, slot, from - this.#slotStart[slot], to - from, line);
      this.#slotLivePages[slot] -= to - from;
      if (this.#slotLivePages[slot] === 0) {
        this.livePieces -= this.#slotPieces[slot];
        this.#slots.give(slot);
      }
      segment = stop < end ? domain.live.firstOverlap(stop, end) : -1;
    }
  }

  /** Unmaps whole every live segment that has a byte in [page, end), from `segment` on. */
  #endOverlapping(domain: Domain, segment: number, page: number, end: number, line: number): void {
    while (segment >= 0) {
      this.#removeRange(domain, segment, this.#segmentStart[segment], this.#segmentEnd[segment], line);
      segment = domain.live.firstOverlap(page, end);
    }
  }
}

const FIT_NONE = 0;
const FIT_OVERLAP = 1;
const FIT_INSIDE = 2;
const FIT_START = 3;
const FIT_EXACT = 4;
