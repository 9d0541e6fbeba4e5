/**
 * The Event queue: Arm SMMU Architecture Specification version 3 (IHI 0070 G.b), sections 6.3.29 to 6.3.33, 7.2 and 7.4.
 * Events are never merged.
 */
import { decodeEvent, type EventRecord, encodeEvent } from "./events.js";
import type { Identification } from "./identification.js";
import type { Notifications } from "./notifications.js";
import { QueueGeometry, type QueueMemory, readEntry } from "./queue.js";

/** What an Event queue works with. */
export interface EventQueueOptions {
  readonly identification: Identification;
  readonly memory: QueueMemory;
  readonly notifications: Notifications;
}

/** The registers of the queue. */
export interface EventQueueState {
  /** SMMU_EVENTQ_BASE. */
  readonly base: bigint;
  /** SMMU_EVENTQ_PROD and SMMU_EVENTQ_CONS, with OVFLG and OVACKFLG. */
  readonly prod: number;
  readonly cons: number;
  /** SMMU_CR0.EVENTQEN. */
  readonly enabled: boolean;
}

const ENTRY_WORDS = 4;
const ENTRY_BYTES = 32;
/** OVFLG of SMMU_EVENTQ_PROD and OVACKFLG of SMMU_EVENTQ_CONS. */
const OVERFLOW_FLAG = 0x8000_0000;

/** The Event queue of one unit. */
export class EventQueue {
  private state: EventQueueState = { base: 0n, prod: 0, cons: 0, enabled: false };
  private geometry: QueueGeometry;
  /** Events of stalled transactions that could not be written. */
  private readonly pending: EventRecord[] = [];

  constructor(private readonly options: EventQueueOptions) {
    this.geometry = this.makeGeometry();
  }

  get registers(): EventQueueState {
    return this.state;
  }

  /** What software has yet to read, oldest first. */
  get records(): readonly EventRecord[] {
    const { prod, cons } = this.state;
    const records: EventRecord[] = [];
    for (let index = cons; !this.geometry.isEmpty(prod, index); index = this.geometry.next(index)) {
      const words = readEntry(this.options.memory, this.geometry.entry(index), ENTRY_WORDS);
      if (words !== null) records.push(decodeEvent(words));
    }
    return records;
  }

  /**
   * Writes an event. While the queue is not writable (section 7.2.1), events of stalled transactions wait and others are
   * dropped; those that a full queue has no room for are an overflow. Throws `invalid` as `encodeEvent` does.
   */
  record(event: EventRecord): "recorded" | "pending" | "dropped" {
    const words = encodeEvent(event);
    if (this.writable && this.write(words)) return "recorded";
    if (event.stall) {
      this.pending.push(event);
      return "pending";
    }
    if (this.state.enabled && this.full) this.overflow();
    return "dropped";
  }

  /** Writes the events that wait, as far as there is room. Called when an abort of the queue was acknowledged. */
  flush(): void {
    // An event leaves the list before it is written: software may answer the interrupt, and that flushes the rest.
    for (let event = this.takePending(); event !== undefined; event = this.takePending()) {
      if (this.write(encodeEvent(event))) continue;
      this.pending.unshift(event);
      return;
    }
  }

  /** Forgets waiting events whose transactions were terminated (sections 4.7.2 and 6.3.9.6). */
  discardPending(isTerminated: (event: EventRecord) => boolean): void {
    const waiting = this.pending.filter((event) => !isTerminated(event));
    this.pending.splice(0, this.pending.length, ...waiting);
  }

  /** SMMU_CR0.EVENTQEN. */
  setEnabled(enabled: boolean): void {
    this.change({ enabled });
    this.flush();
  }

  /** Software writes SMMU_EVENTQ_BASE. */
  writeBase(base: bigint): void {
    this.change({ base });
  }

  /** Software writes SMMU_EVENTQ_PROD, while the queue is disabled. */
  writeProducer(prod: number): void {
    this.change({ prod });
  }

  /** Software writes SMMU_EVENTQ_CONS: it has read up to there. */
  writeConsumer(cons: number): void {
    this.change({ cons });
    this.flush();
  }

  /** Takes over registers as read from a unit; writes and sends nothing. */
  restore(registers: Partial<EventQueueState>): void {
    this.change(registers);
  }

  private takePending(): EventRecord | undefined {
    return this.writable ? this.pending.shift() : undefined;
  }

  private get full(): boolean {
    return this.geometry.isFull(this.state.prod, this.state.cons);
  }

  private get writable(): boolean {
    return this.state.enabled && !this.full && !this.options.notifications.isActive("EVENTQ_ABT_ERR");
  }

  /** False when nobody backs the entry: the write is aborted and the index stays (section 7.2.2). */
  private write(words: readonly bigint[]): boolean {
    const { memory, notifications } = this.options;
    const { prod, cons } = this.state;
    const address = this.geometry.entry(prod);
    if (!words.every((word, i) => memory.write64(address + BigInt(8 * i), word))) {
      notifications.activate("EVENTQ_ABT_ERR");
      return false;
    }
    this.change({ prod: ((prod & OVERFLOW_FLAG) | this.geometry.next(prod)) >>> 0 });
    if (this.geometry.isEmpty(prod, cons)) notifications.raise("EVENTQ");
    return true;
  }

  /** Software that did not acknowledge one overflow is not told of the next (section 7.4). */
  private overflow(): void {
    const { prod, cons } = this.state;
    if (((prod ^ cons) & OVERFLOW_FLAG) === 0) this.change({ prod: (prod ^ OVERFLOW_FLAG) >>> 0 });
  }

  private makeGeometry(): QueueGeometry {
    const { identification } = this.options;
    return new QueueGeometry(this.state.base, ENTRY_BYTES, identification.idr1.EVENTQS, identification);
  }

  private change(changes: Partial<EventQueueState>): void {
    this.state = { ...this.state, ...changes };
    if (changes.base !== undefined) this.geometry = this.makeGeometry();
  }
}
