/**
 * The Event queue: Arm SMMU Architecture Specification version 3 (IHI 0070 G.b), sections 6.3.29 to 6.3.33, 7.2 and 7.4.
 * Events are never merged.
 */
import { decodeEvent, type EventRecord, encodeEvent } from "./events.js";
import { OutputQueue, type OutputQueueKind, type OutputQueueOptions } from "./output-queue.js";

const EVENTQ: OutputQueueKind = {
  source: "EVENTQ",
  abort: "EVENTQ_ABT_ERR",
  entryWords: 4,
  log2Limit: ({ idr1 }) => idr1.EVENTQS,
};

/** The Event queue of one unit. */
export class EventQueue extends OutputQueue {
  /** Events of stalled transactions that could not be written. */
  private readonly pending: EventRecord[] = [];

  constructor(options: OutputQueueOptions) {
    super(EVENTQ, options);
  }

  /** What software has yet to read, oldest first. */
  get records(): readonly EventRecord[] {
    return this.entries.map(decodeEvent);
  }

  /**
   * Writes an event. While the queue is not writable (section 7.2.1), events of stalled transactions wait and others are
   * dropped; those that a full queue has no room for are an overflow. Throws `invalid` as `encodeEvent` does.
   */
  record(event: EventRecord): "recorded" | "pending" | "dropped" {
    const words = encodeEvent(event);
    if (this.writable && this.writeEvent(words)) return "recorded";
    if (event.stall) {
      this.pending.push(event);
      return "pending";
    }
    if (this.registers.enabled && this.full) this.overflow();
    return "dropped";
  }

  /** Writes the events that wait, as far as there is room. Called when an abort of the queue was acknowledged. */
  flush(): void {
    // An event leaves the list before it is written: software may answer the interrupt, and that flushes the rest.
    for (let event = this.takePending(); event !== undefined; event = this.takePending()) {
      if (this.writeEvent(encodeEvent(event))) continue;
      this.pending.unshift(event);
      return;
    }
  }

  /** Forgets waiting events whose transactions were terminated (sections 4.7.2 and 6.3.9.6). */
  discardPending(isTerminated: (event: EventRecord) => boolean): void {
    const waiting = this.pending.filter((event) => !isTerminated(event));
    this.pending.splice(0, this.pending.length, ...waiting);
  }

  override setEnabled(enabled: boolean): void {
    super.setEnabled(enabled);
    this.flush();
  }

  override writeConsumer(cons: number): void {
    super.writeConsumer(cons);
    this.flush();
  }

  private takePending(): EventRecord | undefined {
    return this.writable ? this.pending.shift() : undefined;
  }

  private get writable(): boolean {
    return this.registers.enabled && !this.full && !this.aborted;
  }

  private writeEvent(words: readonly bigint[]): boolean {
    const written = this.write(words);
    if (written?.wasEmpty) this.raise();
    return written !== null;
  }
}
