/**
 * What the Event queue and the PRI queue have in common: Arm SMMU Architecture Specification version 3 (IHI 0070 G.b),
 * sections 3.5, 7.2 and 8.1.
 */
import type { Identification } from "./identification.js";
import type { ConfiguredSource, GlobalError, Notifications } from "./notifications.js";
import { QueueGeometry, type QueueMemory, readEntry } from "./queue.js";

/** What an output queue works with. */
export interface OutputQueueOptions {
  readonly identification: Identification;
  readonly memory: QueueMemory;
  readonly notifications: Notifications;
}

/** The registers of a queue. */
export interface OutputQueueState {
  /** SMMU_*Q_BASE. */
  readonly base: bigint;
  /** SMMU_*Q_PROD and SMMU_*Q_CONS, with OVFLG and OVACKFLG. */
  readonly prod: number;
  readonly cons: number;
  /** SMMU_CR0.*QEN; of the PRI queue its effective value. */
  readonly enabled: boolean;
}

/** Of one of the two queues. */
export interface OutputQueueKind {
  readonly source: ConfiguredSource;
  readonly abort: GlobalError;
  readonly entryWords: number;
  /** The most that LOG2SIZE may say, a field of IDR1. */
  readonly log2Limit: (identification: Identification) => number;
}

/** OVFLG of SMMU_*Q_PROD and OVACKFLG of SMMU_*Q_CONS. */
const OVERFLOW_FLAG = 0x8000_0000;

/** A queue that the SMMU writes and software reads. */
export class OutputQueue {
  private state: OutputQueueState = { base: 0n, prod: 0, cons: 0, enabled: false };
  private geometry: QueueGeometry;

  constructor(
    private readonly kind: OutputQueueKind,
    protected readonly options: OutputQueueOptions,
  ) {
    this.geometry = this.makeGeometry();
  }

  get registers(): OutputQueueState {
    return this.state;
  }

  /** SMMU_CR0.*QEN. */
  setEnabled(enabled: boolean): void {
    this.change({ enabled });
  }

  /** Software writes SMMU_*Q_BASE. */
  writeBase(base: bigint): void {
    this.change({ base });
  }

  /** Software writes SMMU_*Q_PROD, while the queue is disabled. */
  writeProducer(prod: number): void {
    this.change({ prod });
  }

  /** Software writes SMMU_*Q_CONS: it has read up to there. */
  writeConsumer(cons: number): void {
    this.change({ cons });
  }

  /** Takes over registers as read from a unit; writes and sends nothing. */
  restore(registers: Partial<OutputQueueState>): void {
    this.change(registers);
  }

  /** The words of what software has yet to read, oldest first. What nobody backs is left out. */
  protected get entries(): readonly (readonly bigint[])[] {
    const { prod, cons } = this.state;
    const entries: (readonly bigint[])[] = [];
    for (let index = cons; !this.geometry.isEmpty(prod, index); index = this.geometry.next(index)) {
      const words = readEntry(this.options.memory, this.geometry.entry(index), this.kind.entryWords);
      if (words !== null) entries.push(words);
    }
    return entries;
  }

  protected get full(): boolean {
    return this.geometry.isFull(this.state.prod, this.state.cons);
  }

  /** An abort of the queue is not acknowledged. */
  protected get aborted(): boolean {
    return this.options.notifications.isActive(this.kind.abort);
  }

  /** An overflow is not acknowledged. */
  protected get overflowing(): boolean {
    return ((this.state.prod ^ this.state.cons) & OVERFLOW_FLAG) !== 0;
  }

  protected overflow(): void {
    if (!this.overflowing) this.change({ prod: (this.state.prod ^ OVERFLOW_FLAG) >>> 0 });
  }

  /**
   * Writes an entry. Null when nobody backs it: the write is aborted and the index stays (section 7.2.2). Otherwise whether
   * the queue was empty before.
   */
  protected write(words: readonly bigint[]): { readonly wasEmpty: boolean } | null {
    const { memory, notifications } = this.options;
    const { prod, cons } = this.state;
    const address = this.geometry.entry(prod);
    if (!words.every((word, i) => memory.write64(address + BigInt(8 * i), word))) {
      notifications.activate(this.kind.abort);
      return null;
    }
    this.change({ prod: ((prod & OVERFLOW_FLAG) | this.geometry.next(prod)) >>> 0 });
    return { wasEmpty: this.geometry.isEmpty(prod, cons) };
  }

  protected raise(): void {
    this.options.notifications.raise(this.kind.source);
  }

  private makeGeometry(): QueueGeometry {
    const { identification } = this.options;
    const { entryWords, log2Limit } = this.kind;
    return new QueueGeometry(this.state.base, 8 * entryWords, log2Limit(identification), identification);
  }

  private change(changes: Partial<OutputQueueState>): void {
    this.state = { ...this.state, ...changes };
    if (changes.base !== undefined) this.geometry = this.makeGeometry();
  }
}
