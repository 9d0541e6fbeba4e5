/**
 * Reporting of faults that are not recoverable: the fault recording registers, the Fault Status Register and the fault
 * event. Intel VT-d Architecture Specification Rev. 5.10, sections 7.2, 7.3 and 11.4.7.
 */
import { hex } from "../engine/addresses.js";
import { IommuError } from "../engine/errors.js";
import type { AddressType } from "../unit/request.js";
import { unpack } from "../unit/bit-fields.js";
import type { Capabilities } from "./capabilities.js";
import { EventInterrupt, type MessageSink } from "./event.js";

/** One fault, as the unit reports it and as software reads it back. */
export interface FaultRecord {
  /** Fault reason, a key of FAULT_REASONS. */
  readonly reason: number;
  /** Requester ID. */
  readonly sid: number;
  /** The request's address, of which the page is kept; for interrupt faults (20h to 2Bh) the index in bits 63:48. */
  readonly address: bigint;
  readonly access: "read" | "write" | "atomic" | "page-request";
  readonly type: AddressType;
  readonly pasid?: number;
  /** Privileged mode and execute permission requested; recorded only with a PASID, the second only of reads. */
  readonly privileged?: boolean;
  readonly execute?: boolean;
}

/** A pending fault and the index of the fault recording register that holds it. */
export interface PendingFault extends FaultRecord {
  readonly index: number;
}

/** What a fault recorder needs. */
export interface FaultRecorderOptions {
  readonly capabilities: Capabilities;
  /** Where fault event messages go; without it they go nowhere. */
  readonly onMessage?: MessageSink;
}

/** Fault Status Register, section 11.4.7.1. */
const PFO = 1 << 0;
const PPF = 1 << 1;
const QUEUE_ERRORS = { IQE: 1 << 4, ICE: 1 << 5, ITE: 1 << 6 } as const;
const FRI_SHIFT = 8;

/** Errors of the invalidation queue that the Fault Status Register reports. */
export type QueueErrorKind = keyof typeof QUEUE_ERRORS;

/** Upper half of a fault recording register, section 11.4.7.6; bit 0 here is bit 64 there. */
const FRCD_HIGH = {
  SID: [0, 16],
  T2: [28, 1],
  PRIV: [29, 1],
  EXE: [30, 1],
  PP: [31, 1],
  FR: [32, 8],
  PV: [40, 20],
  AT: [60, 2],
  T1: [62, 1],
  F: [63, 1],
} as const;
const F = 1n << 63n;

/** T1 and T2, and AT, by position. */
const ACCESSES = ["write", "page-request", "read", "atomic"] as const;
const ADDRESS_TYPES = ["untranslated", "translation", "translated"] as const;

/** First and last reason of Table 15, whose Fault Info is an interrupt index; the rest of the field is clear. */
const FIRST_INTERRUPT_REASON = 0x20;
const LAST_INTERRUPT_REASON = 0x2b;
const PAGE_MASK = 0xffff_ffff_ffff_f000n;
const INTERRUPT_INDEX_MASK = 0xffff_0000_0000_0000n;

/** Fault recording registers, FSTS_REG and the fault event of one unit. */
export class FaultRecorder {
  /** FECTL_REG, FEDATA_REG, FEADDR_REG and FEUADDR_REG. */
  readonly event: EventInterrupt;
  /** Two words a register, the lower half first. */
  private readonly registers: BigUint64Array;
  /** PFO, IQE, ICE and ITE; PPF is computed. */
  private sticky = 0;
  private fri = 0;
  /** Index of the register for the next fault. */
  private next = 0;
  private readonly capabilities: Capabilities;
  /** Page addresses with the bits that the registers have no place for. */
  private readonly pages: bigint[];
  private readonly recordedBits: bigint;

  constructor(options: FaultRecorderOptions) {
    this.capabilities = options.capabilities;
    this.event = new EventInterrupt("fault", options.onMessage);
    this.registers = new BigUint64Array(2 * this.count);
    this.pages = Array.from({ length: this.count }, () => 0n);
    this.recordedBits = (1n << largestWidth(options.capabilities)) - 1n;
  }

  /** How many fault recording registers there are. */
  get count(): number {
    return this.capabilities.faultRecords;
  }

  /** FSTS_REG. */
  get status(): number {
    return this.sticky | (this.anyFault ? PPF : 0) | (this.fri << FRI_SHIFT);
  }

  /** Whether an error holds the invalidation queue: IQE or ITE (section 6.5.2). */
  get queueStopped(): boolean {
    return (this.sticky & (QUEUE_ERRORS.IQE | QUEUE_ERRORS.ITE)) !== 0;
  }

  /**
   * Pending faults, in the order in which software is to process them. Their addresses are whole; the registers keep only
   * the bits of the largest AGAW.
   */
  get records(): readonly PendingFault[] {
    const pending: PendingFault[] = [];
    for (let i = 0; i < this.count; i++) {
      const index = (this.fri + i) % this.count;
      if (this.isSet(index)) pending.push({ index, ...this.decode(index) });
    }
    return pending;
  }

  /**
   * Logs a fault and raises the fault event (section 7.2.1); faults of one requester are not compressed. Dropped when all
   * registers are in use. Throws `invalid` for a field that does not fit its place.
   */
  record(fault: FaultRecord): "recorded" | "dropped" {
    const { page, low, high } = this.encode(fault);
    if ((this.sticky & PFO) !== 0) return "dropped";
    if (this.isSet(this.next)) {
      this.sticky |= PFO;
      return "dropped";
    }
    const wasPending = this.conditionPending;
    if (!this.anyFault) this.fri = this.next;
    this.pages[this.next] = page;
    this.registers[2 * this.next] = low;
    this.registers[2 * this.next + 1] = high;
    this.next = (this.next + 1) % this.count;
    if (!wasPending) this.event.raise();
    return "recorded";
  }

  /** Reports an error of the invalidation queue. Units without device-TLBs have neither ICE nor ITE. */
  queueError(kind: QueueErrorKind): void {
    if (kind !== "IQE" && this.capabilities.ecap.DT === 0) return;
    const wasPending = this.conditionPending;
    this.sticky |= QUEUE_ERRORS[kind];
    if (!wasPending) this.event.raise();
  }

  /** Whether FSTS_REG shows an error of the queue. */
  hasQueueError(kind: QueueErrorKind): boolean {
    return (this.sticky & QUEUE_ERRORS[kind]) !== 0;
  }

  /** Software writes ones to FSTS_REG. PPF and FRI are read-only. */
  clearStatus(ones: number): void {
    this.sticky &= ~ones;
    this.withdrawIfServiced();
  }

  /** Software writes a one to F of a fault recording register. */
  clearFault(index: number): void {
    this.registers[2 * index + 1] &= ~F;
    this.withdrawIfServiced();
  }

  /** Neither DMA nor interrupts are remapped any more: the next fault goes to the first register. */
  resetIndex(): void {
    this.next = 0;
  }

  /** A half of a fault recording register: word 2n is bits 63:0 of register n, word 2n+1 bits 127:64. */
  word(index: number): bigint {
    return this.registers[index];
  }

  /** Takes over FSTS_REG as read from a unit; sends nothing. PPF follows from the registers. */
  restoreStatus(status: number): void {
    this.sticky = status & (PFO | QUEUE_ERRORS.IQE | QUEUE_ERRORS.ICE | QUEUE_ERRORS.ITE);
    this.fri = ((status >>> FRI_SHIFT) & 0xff) % this.count;
    this.resumeAfterPending();
  }

  /** Takes over half a fault recording register, as `word` numbers them; sends nothing. */
  restoreWord(index: number, value: bigint): void {
    this.registers[index] = value;
    if (index % 2 === 0) this.pages[index / 2] = value & PAGE_MASK;
    this.resumeAfterPending();
  }

  /** A unit does not show where its next fault goes: it is taken to follow those that are pending. */
  private resumeAfterPending(): void {
    this.next = this.anyFault ? this.fri : 0;
    for (let i = 0; i < this.count && this.isSet(this.next); i++) this.next = (this.next + 1) % this.count;
  }

  private get anyFault(): boolean {
    for (let index = 0; index < this.count; index++) if (this.isSet(index)) return true;
    return false;
  }

  /** Whether software has yet to service a condition that raises the event (section 7.3). */
  private get conditionPending(): boolean {
    return this.sticky !== 0 || this.anyFault;
  }

  private withdrawIfServiced(): void {
    if (!this.conditionPending) this.event.withdraw();
  }

  private isSet(index: number): boolean {
    return (this.registers[2 * index + 1] & F) !== 0n;
  }

  private encode(fault: FaultRecord): { page: bigint; low: bigint; high: bigint } {
    const { reason, sid, address, access, type, pasid } = fault;
    requireField("fault reason", reason, 8);
    requireField("source ID", sid, 16);
    if (pasid !== undefined) requireField("PASID", pasid, 20);
    if (BigInt.asUintN(64, address) !== address) {
      throw new IommuError("invalid", `record a fault at ${address}`, undefined, "an address has 64 bits");
    }
    const interrupt = reason >= FIRST_INTERRUPT_REASON && reason <= LAST_INTERRUPT_REASON;
    const { DT, PASID } = this.capabilities.ecap;
    const request = ACCESSES.indexOf(access);
    let high = F | (BigInt(reason) << 32n) | BigInt(sid);
    high |= (BigInt(request >> 1) << 62n) | (BigInt(request & 1) << 28n);
    if (DT !== 0) high |= BigInt(ADDRESS_TYPES.indexOf(type)) << 60n;
    if (pasid !== undefined && PASID !== 0) {
      high |= (BigInt(pasid) << 40n) | (1n << 31n);
      if (fault.privileged) high |= 1n << 29n;
      if (fault.execute && access === "read") high |= 1n << 30n;
    }
    const page = address & (interrupt ? INTERRUPT_INDEX_MASK : PAGE_MASK);
    return { page, low: interrupt ? page : page & this.recordedBits, high };
  }

  private decode(index: number): FaultRecord {
    const fields = unpack(FRCD_HIGH, this.registers[2 * index + 1]);
    return {
      reason: fields.FR,
      sid: fields.SID,
      address: this.pages[index],
      access: ACCESSES[2 * fields.T1 + fields.T2],
      // 11b is reserved; only a register taken over from elsewhere can hold it.
      type: ADDRESS_TYPES[fields.AT] ?? "untranslated",
      ...(fields.PP === 1 && { pasid: fields.PV, privileged: fields.PRIV === 1, execute: fields.EXE === 1 }),
    };
  }
}

/** Width of the addresses that are recorded: the largest AGAW, or without a second stage what the first translates. */
function largestWidth({ cap }: Capabilities): bigint {
  if (cap.SAGAW & 0b01000) return 57n;
  if (cap.SAGAW & 0b00100) return 48n;
  if (cap.SAGAW & 0b00010) return 39n;
  return cap.FS5LP ? 57n : 48n;
}

function requireField(what: string, value: number, width: number): void {
  if (Number.isInteger(value) && value >= 0 && value < 2 ** width) return;
  const shown = Number.isInteger(value) ? hex(BigInt(value)) : value;
  throw new IommuError("invalid", `record a fault with ${what} ${shown}`, undefined, `it has ${width} bits`);
}
