/**
 * The invalidation queue: Intel VT-d Architecture Specification Rev. 5.10, sections 6.5.2 and 11.4.9. It runs as soon as
 * there is something to run and finishes each descriptor before the next.
 */
import { IommuError } from "../engine/errors.js";
import type { Capabilities } from "./capabilities.js";
import {
  type Descriptor,
  decodeDescriptor,
  type InvalidationWait,
  IQEI,
  type PageGroupResponse,
  type QueueErrorInfo,
} from "./descriptors.js";
import { EventInterrupt, type MessageSink } from "./event.js";
import type { FaultRecorder } from "./faults.js";
import type { InvalidationTarget } from "./invalidation.js";
import { TTM } from "./table-mode.js";

/** Memory as the queue sees it. */
export interface QueueMemory {
  /** A little-endian 64-bit word at an 8-byte boundary; null when nobody backs the address. */
  read64(address: bigint): bigint | null;
  /** Writes 32 bits at a 4-byte boundary; false when nobody backs the address. */
  write32(address: bigint, value: number): boolean;
}

/** What a queue works with. */
export interface InvalidationQueueOptions {
  readonly capabilities: Capabilities;
  readonly faults: FaultRecorder;
  readonly memory: QueueMemory;
  readonly target: InvalidationTarget;
  /** Where invalidation completion events go; without it they go nowhere. */
  readonly onMessage?: MessageSink;
  /** Whether a device answers device-TLB invalidations; default: all do. One that does not causes a time-out. */
  readonly responds?: (sid: number) => boolean;
  /** Gets the page group responses to be sent to devices. */
  readonly onPageGroupResponse?: (response: PageGroupResponse) => void;
}

/** The registers of a queue. */
export interface QueueState {
  readonly iqh: number;
  readonly iqt: number;
  readonly iqa: bigint;
  readonly ics: number;
  readonly iqercd: bigint;
  /** GSTS_REG.QIES. */
  readonly enabled: boolean;
  /** Translation Table Mode in force. */
  readonly ttm: number;
}

/** IQA_REG, section 11.4.9.3. */
const IQA_BASE = ~0xfffn;
const IQA_DW = 1n << 11n;
const IQA_QS = 0x7n;
/** ICS_REG, section 11.4.9.4. */
const ICS_IWC = 1;
/** IQERCD_REG, section 11.4.9.9. */
const IQERCD_IQEI = 0xfn;
const IQERCD_ITESID = [32n, 0xffffn << 32n] as const;
const IQERCD_ICESID = [48n, 0xffffn << 48n] as const;

const PAGE_BYTES = 4096;
const NARROW_BYTES = 16;
const WIDE_BYTES = 32;

/** The invalidation queue of one unit, and the invalidation completion event. */
export class InvalidationQueue {
  /** IECTL_REG, IEDATA_REG, IEADDR_REG and IEUADDR_REG. */
  readonly event: EventInterrupt;
  private state: QueueState = { iqh: 0, iqt: 0, iqa: 0n, ics: 0, iqercd: 0n, enabled: false, ttm: TTM.LEGACY };
  /** A device whose answer to an invalidation is outstanding and will never come. */
  private unanswered: number | null = null;

  constructor(private readonly options: InvalidationQueueOptions) {
    this.event = new EventInterrupt("invalidation-complete", options.onMessage);
  }

  get registers(): QueueState {
    return this.state;
  }

  /** GCMD_REG.QIE: disabling resets the head, enabling processes what is there. */
  setEnabled(enabled: boolean): void {
    this.change({ enabled, iqh: 0 });
    this.run();
  }

  /** Set Root Table Pointer put a Translation Table Mode into force (RTADDR_REG bits 11:10). */
  setTranslationTableMode(ttm: number): void {
    this.change({ ttm });
  }

  /** Software writes IQT_REG: processes descriptors up to there. */
  writeTail(iqt: number): void {
    this.change({ iqt });
    this.run();
  }

  /** Software writes IQA_REG. */
  writeAddress(iqa: bigint): void {
    this.change({ iqa });
  }

  /** Software writes ones to ICS_REG. */
  clearCompletion(ones: number): void {
    this.change({ ics: this.state.ics & ~ones });
    if (this.state.ics === 0) this.event.withdraw();
  }

  /** Takes over registers as read from a unit; processes nothing. */
  restore(registers: Partial<QueueState>): void {
    this.change(registers);
  }

  /** A device answered an invalidation that nobody asked of it, or wrongly. The queue goes on (section 6.5.2.11). */
  invalidCompletion(sid: number): void {
    if (!Number.isInteger(sid) || sid < 0 || sid > 0xffff) {
      throw new IommuError("invalid", `invalidation completion from ${sid}`, undefined, "a source ID has 16 bits");
    }
    if (!this.options.faults.hasQueueError("ICE")) this.recordErrorSource(IQERCD_ICESID, sid);
    this.options.faults.queueError("ICE");
  }

  /** Processes descriptors until the queue is empty or an error stops it. Software clearing an error calls this again. */
  run(): void {
    while (this.state.enabled && !this.options.faults.queueStopped && this.state.iqh !== this.state.iqt) {
      const descriptor = this.fetchNext();
      if (typeof descriptor === "number") this.stop(descriptor);
      else this.execute(descriptor);
    }
    if (this.unanswered !== null) this.timeOut(this.unanswered);
  }

  /** The descriptor at the head, or why there is none. */
  private fetchNext(): Descriptor | QueueErrorInfo {
    const bytes = (this.state.iqa & IQA_DW) === 0n ? NARROW_BYTES : WIDE_BYTES;
    const size = PAGE_BYTES << Number(this.state.iqa & IQA_QS);
    const setup = this.setupError(bytes, size);
    if (setup !== null) return setup;

    // Only a queue whose width or size changed under it can have a head that is not in its place.
    const head = (this.state.iqh & -bytes) % size;
    const words = this.readWords((this.state.iqa & IQA_BASE) + BigInt(head), bytes / 8);
    if (words === null) return IQEI.FETCH_ERROR;
    const descriptor = decodeDescriptor(words, this.options.capabilities, this.state.ttm);
    // The head moves before the descriptor takes effect: what that leads to may run the queue again.
    if (typeof descriptor !== "number") this.change({ iqh: (head + bytes) % size });
    return descriptor;
  }

  private execute(descriptor: Descriptor): void {
    const { target } = this.options;
    switch (descriptor.kind) {
      case "context-cache":
        target.invalidateContextCache(descriptor.request);
        break;
      case "pasid-cache":
        target.invalidatePasidCache(descriptor.request);
        break;
      case "iotlb":
        target.invalidateIotlb(descriptor.request);
        break;
      case "pasid-iotlb":
        target.invalidatePasidIotlb(descriptor.request);
        break;
      case "interrupt-entry-cache":
        target.invalidateInterruptEntries(descriptor.request);
        break;
      case "device-tlb":
        target.invalidateDeviceTlb(descriptor.request);
        if (this.options.responds?.(descriptor.request.sid) === false) this.unanswered ??= descriptor.request.sid;
        break;
      case "page-group-response":
        this.options.onPageGroupResponse?.(descriptor.response);
        break;
      case "hpt-cache":
        // Host permission tables are not cached, so nothing can be stale.
        break;
      case "wait":
        // A wait behind an invalidation that is never answered is aborted by the time-out.
        if (this.unanswered === null) this.complete(descriptor.wait);
        else this.timeOut(this.unanswered);
        break;
    }
  }

  /** Why no descriptor can be fetched at all. The specification ranks none of these before another. */
  private setupError(bytes: number, size: number): QueueErrorInfo | null {
    const { ttm, iqt } = this.state;
    const { SMTS, ADMS } = this.options.capabilities.ecap;
    const modeSupported = ttm === TTM.LEGACY || (ttm === TTM.SCALABLE && SMTS) || (ttm === TTM.ABORT_DMA && ADMS);
    if (!modeSupported) return IQEI.INVALID_TTM;
    const widthSupported = bytes === WIDE_BYTES ? SMTS || ADMS : ttm === TTM.LEGACY;
    if (!widthSupported) return IQEI.INVALID_WIDTH;
    if (iqt % bytes !== 0) return IQEI.TAIL_MISALIGNED;
    if (iqt >= size) return IQEI.INVALID_TAIL;
    return null;
  }

  private readWords(address: bigint, count: number): readonly bigint[] | null {
    const words: bigint[] = [];
    for (let i = 0; i < count; i++) {
      const word = this.options.memory.read64(address + BigInt(8 * i));
      if (word === null) return null;
      words.push(word);
    }
    return words;
  }

  /**
   * Completes a wait. A status address that nobody backs is undefined behaviour (section 6.5.2.9): the write is lost, as
   * posted writes to nowhere are, and the wait completes all the same.
   */
  private complete({ statusWrite, interrupt }: InvalidationWait): void {
    this.options.target.waited?.();
    if (statusWrite) this.options.memory.write32(statusWrite.address, statusWrite.data);
    if (!interrupt || this.state.ics !== 0) return;
    this.change({ ics: ICS_IWC });
    this.event.raise();
  }

  /** An invalidation queue error: the head stays on the descriptor. */
  private stop(info: QueueErrorInfo): void {
    this.change({ iqercd: (this.state.iqercd & ~IQERCD_IQEI) | BigInt(info) });
    this.options.faults.queueError("IQE");
  }

  /**
   * A device did not answer in time. Waiting takes far longer than anything else the queue does, so it is noticed when the
   * queue can go no further: at the next wait, which has been fetched and is aborted, or when the queue is empty or stopped.
   */
  private timeOut(sid: number): void {
    this.recordErrorSource(IQERCD_ITESID, sid);
    this.unanswered = null;
    this.options.faults.queueError("ITE");
  }

  private recordErrorSource([shift, mask]: readonly [bigint, bigint], sid: number): void {
    this.change({ iqercd: (this.state.iqercd & ~mask) | (BigInt(sid) << shift) });
  }

  private change(changes: Partial<QueueState>): void {
    this.state = { ...this.state, ...changes };
  }
}
