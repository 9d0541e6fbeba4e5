/** Trace text to the calls of Linux's IOVA allocator: what was asked, by whom, and what the kernel answered. */
import {
  OPERATION_ADDRESS,
  OPERATION_BYTES,
  OPERATION_DOMAIN,
  OPERATION_KIND,
  OPERATION_LENGTH,
  OPERATION_MAP,
  OPERATION_SLOT,
} from "../../assembly/layout.js";
import type { TraceInstance } from "../trace/tokenizer.js";
import { type OperationBatch, TraceReader, type TraceReaderOptions, type TraceStatistics } from "../trace/reader.js";
import { EventLog, neighbours, type TraceEvent } from "./events.js";
import { type AttachEvent, Remarks } from "./remarks.js";

/** One allocation of the trace, and what became of it. */
export interface Allocation {
  /** Its place among the trace's allocations, from 0. */
  readonly index: number;
  /** Its first `map`. */
  readonly event: TraceEvent;
  /** As dma events print it; null when none names it. */
  readonly device: string | null;
  /** First page frame and pages that the kernel mapped. */
  readonly pfn: number;
  readonly pages: number;
  /** Unmapped in parts, or as a part of something larger: the DMA API does neither. */
  partial: boolean;
  free: Call | null;
}

/**
 * A call of the allocator. Its true time is strictly between two events of its context, `earliest` and `latest`; the
 * trace tells no more of it.
 */
export interface Call {
  readonly kind: "allocate" | "free";
  readonly allocation: Allocation;
  /** The `map` or `unmap` that it belongs to. */
  readonly event: TraceEvent;
  /** Indices of events. */
  readonly earliest: number;
  readonly latest: number;
}

export interface TraceCalls {
  /** In the order of their events. */
  readonly calls: readonly Call[];
  readonly allocations: readonly Allocation[];
  readonly events: EventLog;
  readonly attaches: readonly AttachEvent[];
  /** CPUs that are online. */
  readonly cpus: number;
  readonly statistics: TraceStatistics;
}

const PAGE_BYTES = 4096n;

/** Takes trace text in chunks cut anywhere. */
export class CallReader {
  readonly #reader: TraceReader;
  readonly #log: EventLog;
  readonly #remarks = new Remarks();
  readonly #batches: OperationBatch[] = [];

  /** @throws TraceError as TraceReader */
  constructor(newInstance: () => TraceInstance, options: Pick<TraceReaderOptions, "strict" | "device"> = {}) {
    this.#reader = new TraceReader(newInstance(), { ...options, onBatch: (batch) => this.#batches.push(batch) });
    this.#log = new EventLog(newInstance());
  }

  /** @throws TraceError as TraceReader */
  push(chunk: Uint8Array): void {
    this.#reader.push(chunk);
    this.#log.push(chunk);
    this.#remarks.push(chunk);
  }

  /** @throws TraceError as TraceReader */
  end(): TraceCalls {
    const statistics = this.#reader.end();
    const domains = this.#reader.domains.map(({ device }) => device);
    this.#reader.close();
    this.#log.end();
    this.#remarks.end();
    const cpus = Math.max(this.#remarks.cpus, this.#log.cpus, 1);
    const { calls, allocations } = pair(this.#batches, domains, this.#log);
    return { calls, allocations, events: this.#log, attaches: this.#remarks.attaches, cpus, statistics };
  }
}

function pair(batches: readonly OperationBatch[], domains: readonly (string | null)[], log: EventLog) {
  const calls: Call[] = [];
  const allocations: Allocation[] = [];
  /** The live allocation of each slot, and its live pages. */
  const slots: Allocation[] = [];
  const { before, behind } = neighbours(log.events);
  for (const batch of batches) {
    const view = new DataView(batch.operations.buffer, batch.operations.byteOffset, batch.count * OPERATION_BYTES);
    for (let index = 0; index < batch.count; index++) {
      const at = index * OPERATION_BYTES;
      const slot = view.getUint32(at + OPERATION_SLOT, true);
      const page = Number(view.getBigUint64(at + OPERATION_ADDRESS, true) / PAGE_BYTES);
      const pages = Number(view.getBigUint64(at + OPERATION_LENGTH, true) / PAGE_BYTES);
      const event = log.at(batch.lines[index]);
      if (view.getUint32(at + OPERATION_KIND, true) === OPERATION_MAP) {
        const device = domains[view.getUint32(at + OPERATION_DOMAIN, true)];
        const allocation = { index: allocations.length, event, device, pfn: page, pages, partial: false, free: null };
        allocations.push(allocation);
        slots[slot] = allocation;
        calls.push({ kind: "allocate", allocation, event, earliest: before[event.index], latest: event.index });
        continue;
      }
      const allocation = slots[slot];
      if (page > 0 || pages < allocation.pages) allocation.partial = true;
      if (allocation.free !== null) continue;
      allocation.free = { kind: "free", allocation, event, earliest: event.index, latest: behind[event.index] };
      calls.push(allocation.free);
    }
  }
  // An allocation that is cut out late leaves the reader late.
  calls.sort((one, other) => one.event.index - other.event.index);
  return { calls, allocations };
}
