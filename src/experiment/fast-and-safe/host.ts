/** The host and its device: mappings, accesses and invalidations, one page received after another. */
import { AccessBatch } from "../../access/batch.js";
import type { TranslationCounters } from "../../access/counters.js";
import { TranslationSimulator } from "../../access/simulator.js";
import { vtdIotlbSelection, vtdTags } from "../../cache/vtd.js";
import { dmaAddress, physicalAddress } from "../../engine/addresses.js";
import type { Engine } from "../../engine/engine.js";
import { IommuError } from "../../engine/errors.js";
import type { PageTable } from "../../engine/page-table.js";
import { CACHES, type PageAllocator, PARAMETERS, type Protection } from "./workload.js";

const PAGE_SHIFT = 12;
const PAGE_BYTES = 1 << PAGE_SHIFT;
const DOMAIN = 1;
const READ_WRITE = { read: true, write: true };
/** Physical pages do not matter: every page maps the one of its own number, above what tables take. */
const PHYSICAL = 1n << 40n;

/** A ring of entries in pages of its own. */
class Ring {
  #next = 0;
  readonly #entries: number;

  constructor(
    private readonly firstPfn: number,
    pages: number,
    readonly entryBytes: number,
  ) {
    this.#entries = (pages * PAGE_BYTES) / entryBytes;
  }

  /** IOVA of the next entry. */
  next(): bigint {
    const offset = (this.#next++ % this.#entries) * this.entryBytes;
    return BigInt(this.firstPfn * PAGE_BYTES + offset);
  }
}

/** One channel of the card: its rings, the descriptors that the device fills one after another, and its core. */
interface Channel {
  readonly cpu: number;
  readonly receiveRing: Ring;
  readonly receiveCompletions: Ring;
  readonly sendRing: Ring;
  readonly sendCompletions: Ring;
  /** Pages of every posted descriptor; the first one is being filled. */
  readonly descriptors: number[][];
  /** Pages of the first descriptor that are filled. */
  filled: number;
  /** ACKs that are due, in parts of one. */
  acksDue: number;
  /** Pages of ACKs that were sent; the core's next poll finds them completed. */
  readonly acksSent: number[];
}

/** What the device did to its rings, since `clearCounters`. */
export interface RingAccesses {
  readonly descriptorReads: number;
  readonly completionWrites: number;
}

export class Host {
  readonly #table: PageTable;
  readonly #simulator: TranslationSimulator;
  readonly #batch: AccessBatch;
  readonly #channels: readonly Channel[];
  /** Before `start` IOVAs are handed out and taken back, and nothing else is done with them. */
  #started = false;
  #queued = 0;
  #descriptorReads = 0;
  #completionWrites = 0;

  /** @param acksPerPage ACKs for every page received, on average. Throws `space-exhausted`. */
  constructor(
    engine: Engine,
    private readonly allocator: PageAllocator,
    private readonly protection: Protection,
    private readonly acksPerPage: number,
  ) {
    this.#table = engine.createTable("vtdss", { levels: 4, pageSizes: BigInt(PAGE_BYTES) });
    this.#simulator = new TranslationSimulator(engine, CACHES);
    this.#simulator.addDevice({
      secondStage: this.#table,
      tags: vtdTags({ sid: 0, domain: DOMAIN, pasid: null, firstStage: false }),
    });
    this.#batch = new AccessBatch(engine, 64);
    const { channels, receiveRingPages, otherRingPages, descriptorsPerChannel } = PARAMETERS;
    const { receiveDescriptorBytes, sendDescriptorBytes, completionBytes } = PARAMETERS;
    const ring = (cpu: number, pages: number, entryBytes: number): Ring => {
      const pfn = this.#allocate(pages, cpu);
      this.#map(pfn, pages);
      return new Ring(pfn, pages, entryBytes);
    };
    this.#channels = Array.from({ length: channels.value }, (_, cpu) => ({
      cpu,
      receiveRing: ring(cpu, receiveRingPages.value, receiveDescriptorBytes.value),
      receiveCompletions: ring(cpu, otherRingPages.value, completionBytes.value),
      sendRing: ring(cpu, otherRingPages.value, sendDescriptorBytes.value),
      sendCompletions: ring(cpu, otherRingPages.value, completionBytes.value),
      descriptors: Array.from({ length: descriptorsPerChannel.value }, () => []),
      filled: 0,
      acksDue: 0,
      acksSent: [],
    }));
    this.#postAll();
  }

  /** When the card is brought up, every channel's core fills its ring at the same time: they take IOVAs in turn. */
  #postAll(): void {
    for (let i = 0; i < PARAMETERS.descriptorsPerChannel.value; i++) {
      while (this.#channels[0].descriptors[i].length < PARAMETERS.descriptorPages.value) {
        for (const { descriptors, cpu } of this.#channels) descriptors[i].push(...this.#allocateForDescriptor(cpu));
      }
    }
  }

  /** The device begins to work: everything posted is mapped from here on. */
  start(): void {
    this.#started = true;
    for (const { descriptors, acksSent } of this.#channels) {
      for (const pfn of [...descriptors.flat(), ...acksSent]) this.#map(pfn, 1);
    }
  }

  /** One page arrives for a channel. */
  receive(index: number): void {
    const channel = this.#channels[index];
    for (const pfn of channel.acksSent.splice(0)) this.#release(pfn, 1, channel.cpu);
    if (channel.filled === 0) this.#readDescriptor(channel.receiveRing);
    this.#access(BigInt(channel.descriptors[0][channel.filled] * PAGE_BYTES), PARAMETERS.packetBytes.value, true);
    this.#complete(channel.receiveCompletions);
    channel.filled++;
    const used = channel.filled === PARAMETERS.descriptorPages.value;
    if (used) this.#releaseDescriptor(channel);
    channel.acksDue += this.acksPerPage;
    for (; channel.acksDue >= 1; channel.acksDue--) this.#acknowledge(channel);
    if (used) this.#post(channel);
  }

  #acknowledge(channel: Channel): void {
    const pfn = this.#allocate(1, channel.cpu);
    if (this.#started) this.#map(pfn, 1);
    this.#readDescriptor(channel.sendRing);
    this.#access(BigInt(pfn * PAGE_BYTES), PARAMETERS.ackBytes.value, false);
    this.#complete(channel.sendCompletions);
    channel.acksSent.push(pfn);
  }

  /** The descriptor that is used up gives its pages back. */
  #releaseDescriptor(channel: Channel): void {
    const pages = channel.descriptors.shift() ?? [];
    channel.filled = 0;
    if (this.protection.contiguous) this.#release(pages[0], pages.length, channel.cpu);
    else for (const pfn of pages) this.#release(pfn, 1, channel.cpu);
  }

  #post({ descriptors, cpu }: Channel): void {
    const pages: number[] = [];
    while (pages.length < PARAMETERS.descriptorPages.value) pages.push(...this.#allocateForDescriptor(cpu));
    if (this.#started) for (const pfn of pages) this.#map(pfn, 1);
    descriptors.push(pages);
  }

  /** Pages for a descriptor, as many as are allocated at once. */
  #allocateForDescriptor(cpu: number): number[] {
    const pages = this.protection.contiguous ? PARAMETERS.descriptorPages.value : 1;
    const first = this.#allocate(pages, cpu);
    return Array.from({ length: pages }, (_, i) => first + i);
  }

  #allocate(pages: number, cpu: number): number {
    const pfn = this.allocator.allocate(pages, PARAMETERS.limitPfn.value, cpu, false);
    if (pfn === 0) throw new IommuError("space-exhausted", `allocate ${pages} pages on CPU ${cpu}`);
    return pfn;
  }

  #map(pfn: number, pages: number): void {
    const iova = BigInt(pfn * PAGE_BYTES);
    this.#table.map(dmaAddress(iova), physicalAddress(PHYSICAL + iova), BigInt(pages * PAGE_BYTES), READ_WRITE);
  }

  /** Unmaps, invalidates, and frees the IOVA: strict mode. */
  #release(pfn: number, pages: number, cpu: number): void {
    if (this.#started) this.#unmap(pfn, pages);
    this.allocator.free(pfn, pages, cpu);
  }

  #unmap(pfn: number, pages: number): void {
    this.#flush();
    const address = BigInt(pfn * PAGE_BYTES);
    const { freedPages } = this.#table.unmap(dmaAddress(address), BigInt(pages * PAGE_BYTES));
    const leafOnly = this.protection.iotlbOnly && freedPages.length === 0;
    // A naturally aligned range of 2^addressMask pages, as Linux's calculate_psi_aligned_address finds the smallest.
    let addressMask = 0;
    while (pfn >> addressMask !== (pfn + pages - 1) >> addressMask) addressMask++;
    const request = { granularity: "page", domain: DOMAIN, address, addressMask, leafOnly } as const;
    this.#simulator.invalidate(vtdIotlbSelection(request));
  }

  #readDescriptor(ring: Ring): void {
    this.#descriptorReads++;
    this.#access(ring.next(), ring.entryBytes, false);
  }

  #complete(ring: Ring): void {
    this.#completionWrites++;
    this.#access(ring.next(), ring.entryBytes, true);
  }

  /** One access of the device. Those to one page in a row would find the first one's IOTLB entry: they count as one. */
  #access(iova: bigint, bytes: number, write: boolean): void {
    if (!this.#started) return;
    this.#batch.set(this.#queued++, { iova, bytes, write, device: 0 });
    if (this.#queued === this.#batch.capacity) this.#flush();
  }

  #flush(): void {
    this.#simulator.run(this.#batch, this.#queued);
    this.#queued = 0;
  }

  clearCounters(): void {
    this.#flush();
    this.#simulator.clearCounters();
    this.#descriptorReads = 0;
    this.#completionWrites = 0;
  }

  get counters(): TranslationCounters {
    this.#flush();
    return this.#simulator.counters;
  }

  get ringAccesses(): RingAccesses {
    return { descriptorReads: this.#descriptorReads, completionWrites: this.#completionWrites };
  }

  release(): void {
    this.#simulator.release();
    this.#batch.release();
    this.#table.release();
  }
}
