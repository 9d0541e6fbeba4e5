/** Writes the operation stream of a workload: the same as a trace's, and where the importers see the buffers. */
import { BatchWriter, type OperationBatch } from "../trace/batch.js";
import type { PageRuns } from "./page-runs.js";

/** Part of a workload's operations. No IOVA is recorded in them; `lines` has each operation's number, from 1. */
export interface WorkloadBatch extends OperationBatch {
  /**
   * Per operation, of a map: the buffer's virtual address for its importer (of the process, the GPU or the hypervisor), a
   * multiple of 4096; 0 when there is none, as of an unmap.
   */
  readonly virtualAddresses: BigUint64Array;
}

/** A live mapping, to be unmapped. */
export interface Mapping {
  readonly domain: number;
  readonly slot: number;
  readonly pages: number;
}

/** Counts of a workload's operations. */
export interface WorkloadStatistics {
  readonly operations: number;
  readonly allocations: number;
  /** Physically contiguous runs of all mappings, and their pages of 4 KiB. */
  readonly pieces: number;
  readonly mappedPages: number;
  readonly liveAtEnd: number;
}

// Few, because an operation of a fragmented buffer has many pieces.
const BATCH_OPERATIONS = 256;
const PAGE_BYTES = 4096n;
/** Assumed: operations follow each other by 1 µs, on all CPUs together. */
const OPERATION_NANOSECONDS = 1000;

/** Delivers batches of operations up to a limit; what comes after it is passed over. */
export class WorkloadWriter {
  readonly #writer: BatchWriter;
  readonly #limit: number;
  readonly #freeSlots: number[] = [];
  #slots = 0;
  #virtualAddresses: BigUint64Array;
  #pending = 0;
  #maps = 0;
  #mappedPages = 0;

  /**
   * @param limit operations to deliver
   * @param batchSize operations of a batch
   */
  constructor(onBatch: (batch: WorkloadBatch) => void, limit: number, batchSize = BATCH_OPERATIONS) {
    this.#limit = limit;
    this.#virtualAddresses = new BigUint64Array(batchSize);
    this.#writer = new BatchWriter((batch) => {
      onBatch({ ...batch, virtualAddresses: this.#virtualAddresses.subarray(0, batch.count) });
      this.#virtualAddresses = new BigUint64Array(batchSize);
      this.#pending = 0;
    }, batchSize);
  }

  /** Whether the limit is reached. */
  get done(): boolean {
    return this.#writer.total >= this.#limit;
  }

  /** The CPU that makes the operations from here on; 0 at first. */
  set cpu(cpu: number) {
    this.#writer.cpu = cpu;
  }

  /** @param virtualPage number of the buffer's first virtual page, 0 when it has no virtual address */
  map(domain: number, runs: PageRuns, virtualPage = 0): Mapping {
    const slot = this.#freeSlots.pop() ?? this.#slots++;
    const mapping = { domain, slot, pages: runs.pages };
    if (this.done) return mapping;
    this.#writer.map(domain, slot, runs.count, 0, runs.pages, this.#nextLine());
    for (let run = 0; run < runs.count; run++) this.#writer.piece(runs.start(run), runs.length(run));
    this.#virtualAddresses[this.#pending++] = BigInt(virtualPage) * PAGE_BYTES;
    this.#maps++;
    this.#mappedPages += runs.pages;
    return mapping;
  }

  /** Unmaps all of a mapping; its slot is free then. */
  unmap({ domain, slot, pages }: Mapping): void {
    if (this.done) return;
    this.#writer.unmap(domain, slot, 0, pages, this.#nextLine());
    this.#virtualAddresses[this.#pending++] = 0n;
    this.#freeSlots.push(slot);
  }

  /** Number of the operation that comes now, and its time. */
  #nextLine(): number {
    this.#writer.time = this.#writer.total * OPERATION_NANOSECONDS;
    return this.#writer.total + 1;
  }

  /** Delivers the rest. */
  finish(): WorkloadStatistics {
    this.#writer.flush();
    const operations = this.#writer.total;
    return {
      operations,
      allocations: this.#maps,
      pieces: this.#writer.totalPieces,
      mappedPages: this.#mappedPages,
      liveAtEnd: 2 * this.#maps - operations,
    };
  }
}
