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

/** What one core has: its rings, and the descriptors that the device fills one after another. */
interface Core {
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
  readonly #cores: readonly Core[];
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
    const { cores, receiveRingPages, otherRingPages } = PARAMETERS;
    const { receiveDescriptorBytes, sendDescriptorBytes, completionBytes } = PARAMETERS;
    const ring = (cpu: number, pages: number, entryBytes: number): Ring =>
      new Ring(this.#map(pages, cpu), pages, entryBytes);
    this.#cores = Array.from({ length: cores.value }, (_, cpu) => ({
      cpu,
      receiveRing: ring(cpu, receiveRingPages.value, receiveDescriptorBytes.value),
      receiveCompletions: ring(cpu, otherRingPages.value, completionBytes.value),
      sendRing: ring(cpu, otherRingPages.value, sendDescriptorBytes.value),
      sendCompletions: ring(cpu, otherRingPages.value, completionBytes.value),
      descriptors: [],
      filled: 0,
      acksDue: 0,
    }));
    for (const core of this.#cores) {
      for (let i = 0; i < PARAMETERS.descriptorsPerCore.value; i++) this.#post(core);
    }
  }

  /** One page arrives for a core. */
  receive(index: number): void {
    const core = this.#cores[index];
    if (core.filled === 0) this.#readDescriptor(core.receiveRing);
    this.#access(BigInt(core.descriptors[0][core.filled] * PAGE_BYTES), PARAMETERS.packetBytes.value, true);
    this.#complete(core.receiveCompletions);
    core.filled++;
    core.acksDue += this.acksPerPage;
    for (; core.acksDue >= 1; core.acksDue--) this.#acknowledge(core);
    if (core.filled === PARAMETERS.descriptorPages.value) this.#recycle(core);
  }

  #acknowledge(core: Core): void {
    const pfn = this.#map(1, core.cpu);
    this.#readDescriptor(core.sendRing);
    this.#access(BigInt(pfn * PAGE_BYTES), PARAMETERS.ackBytes.value, false);
    this.#complete(core.sendCompletions);
    this.#unmap(pfn, 1, core.cpu);
  }

  /** The descriptor that is used up gives its pages back, and another is posted. */
  #recycle(core: Core): void {
    const pages = core.descriptors.shift() ?? [];
    core.filled = 0;
    if (this.protection.contiguous) this.#unmap(pages[0], pages.length, core.cpu);
    else for (const pfn of pages) this.#unmap(pfn, 1, core.cpu);
    this.#post(core);
  }

  #post(core: Core): void {
    const pages = PARAMETERS.descriptorPages.value;
    if (this.protection.contiguous) {
      const first = this.#map(pages, core.cpu);
      core.descriptors.push(Array.from({ length: pages }, (_, i) => first + i));
    } else {
      core.descriptors.push(Array.from({ length: pages }, () => this.#map(1, core.cpu)));
    }
  }

  #map(pages: number, cpu: number): number {
    const pfn = this.allocator.allocate(pages, PARAMETERS.limitPfn.value, cpu, false);
    if (pfn === 0) throw new IommuError("space-exhausted", `allocate ${pages} pages on CPU ${cpu}`);
    const iova = BigInt(pfn * PAGE_BYTES);
    this.#table.map(dmaAddress(iova), physicalAddress(PHYSICAL + iova), BigInt(pages * PAGE_BYTES), READ_WRITE);
    return pfn;
  }

  /** Unmaps, invalidates, and frees the IOVA: strict mode. */
  #unmap(pfn: number, pages: number, cpu: number): void {
    this.#flush();
    const address = BigInt(pfn * PAGE_BYTES);
    const { freedPages } = this.#table.unmap(dmaAddress(address), BigInt(pages * PAGE_BYTES));
    const leafOnly = this.protection.iotlbOnly && freedPages.length === 0;
    // A naturally aligned range of 2^addressMask pages, as Linux's calculate_psi_aligned_address finds the smallest.
    let addressMask = 0;
    while (pfn >> addressMask !== (pfn + pages - 1) >> addressMask) addressMask++;
    const request = { granularity: "page", domain: DOMAIN, address, addressMask, leafOnly } as const;
    this.#simulator.invalidate(vtdIotlbSelection(request));
    this.allocator.free(pfn, pages, cpu);
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
