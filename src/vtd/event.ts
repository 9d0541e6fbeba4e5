/**
 * An interrupt that a remapping unit sends by itself, with the four registers that govern it: control, data, address and
 * upper address. Intel VT-d Architecture Specification Rev. 5.10, sections 11.4.7.2 to 11.4.7.5 (fault event) and 11.4.9.5
 * to 11.4.9.8 (invalidation completion event).
 */

/** A memory write that is an interrupt, and what it tells of. */
export interface InterruptMessage {
  readonly address: bigint;
  readonly data: number;
  readonly cause: "fault" | "invalidation-complete";
}

export type MessageSink = (message: InterruptMessage) => void;

/** Interrupt Mask and Interrupt Pending of FECTL_REG, IECTL_REG and PECTL_REG. */
export const IM = 0x8000_0000;
const IP = 0x4000_0000;

/** One event. Masked after reset. */
export class EventInterrupt {
  data = 0;
  address = 0;
  upperAddress = 0;
  private masked = true;
  private pending = false;

  constructor(
    private readonly cause: InterruptMessage["cause"],
    private readonly onMessage: MessageSink | undefined,
  ) {}

  /** The control register: IM and IP. */
  get control(): number {
    return ((this.masked ? IM : 0) | (this.pending ? IP : 0)) >>> 0;
  }

  /** Software writes IM; an interrupt held back goes out as soon as it is clear. */
  writeControl(value: number): void {
    this.masked = (value & IM) !== 0;
    this.sendPending();
  }

  /** A condition arose while none was pending (sections 7.3 and 6.5.2.10). */
  raise(): void {
    this.pending = true;
    this.sendPending();
  }

  /** Software serviced every condition: what was held back is not sent any more. */
  withdraw(): void {
    this.pending = false;
  }

  /** Takes over a control register as read from a unit; sends nothing. */
  restoreControl(value: number): void {
    this.masked = (value & IM) !== 0;
    this.pending = (value & IP) !== 0;
  }

  private sendPending(): void {
    if (this.masked || !this.pending) return;
    this.pending = false;
    const address = (BigInt(this.upperAddress) << 32n) | BigInt(this.address);
    this.onMessage?.({ address, data: this.data, cause: this.cause });
  }
}
