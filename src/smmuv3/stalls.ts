/** Stalled transactions: Arm SMMU Architecture Specification version 3 (IHI 0070 G.b), sections 3.12.2, 4.7.1, 4.7.2. */
import type { EventQueue } from "./event-queue.js";
import type { ResumeRequest } from "./invalidation.js";

/** STAG has 16 bits. */
const STAGS = 2 ** 16;

/** The transactions that wait for software, by STAG. */
export class StalledTransactions {
  private readonly sids = new Map<number, number>();
  private readonly returned: number[] = [];
  private unused = 0;
  private readonly limit: number;

  /**
   * @param most IDR5.STALL_MAX; 0, which says nothing, is as many as there are STAGs
   * @param onResume learns what becomes of each transaction
   */
  constructor(
    most: number,
    private readonly events: EventQueue,
    private readonly onResume?: (request: ResumeRequest) => void,
  ) {
    this.limit = most === 0 ? STAGS : most;
  }

  /** Stalls a transaction of a stream. Returns its STAG, or null when as many are stalled as can be. */
  stall(sid: number): number | null {
    if (this.sids.size >= this.limit) return null;
    const stag = this.returned.pop() ?? this.unused++;
    this.sids.set(stag, sid);
    return stag;
  }

  /** CMD_RESUME: without effect when no such transaction of that stream is stalled. */
  resume(request: ResumeRequest): void {
    if (this.sids.get(request.stag) === request.sid) this.end(request);
  }

  /** CMD_STALL_TERM of a stream; null: SMMUEN was cleared, which ends those of all streams (section 6.3.9.6). */
  abort(sid: number | null): void {
    for (const [stag, stalled] of [...this.sids]) {
      if (sid === null || sid === stalled) this.end({ sid: stalled, stag, action: "abort" });
    }
  }

  /** Forgets every stalled transaction, and tells nobody. */
  forget(): void {
    this.events.discardPending(() => true);
    this.sids.clear();
    this.returned.length = 0;
    this.unused = 0;
  }

  private end(request: ResumeRequest): void {
    this.sids.delete(request.stag);
    this.returned.push(request.stag);
    this.events.discardPending(({ stag }) => stag === request.stag);
    this.onResume?.(request);
  }
}
