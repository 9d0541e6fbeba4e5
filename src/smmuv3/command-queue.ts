/**
 * The Command queue: Arm SMMU Architecture Specification version 3 (IHI 0070 G.b), chapter 4 and sections 6.3.26 to 6.3.28
 * and 7.1. It runs as soon as there is something to run and finishes each command before the next.
 */
import { type Command, type Completion, decodeCommand } from "./commands.js";
import type { Identification } from "./identification.js";
import type { InvalidationTarget, PageGroupResponse, ResumeRequest } from "./invalidation.js";
import type { Notifications } from "./notifications.js";
import { QueueGeometry, type QueueMemory, readEntry } from "./queue.js";

/** What a Command queue works with. */
export interface CommandQueueOptions {
  readonly identification: Identification;
  readonly memory: QueueMemory;
  readonly notifications: Notifications;
  readonly target: InvalidationTarget;
  /** Whether a device answers ATC invalidations; default: all do. One that does not causes a time-out. */
  readonly responds?: (sid: number) => boolean;
  /** Gets the page group responses to be sent to devices. */
  readonly onPageGroupResponse?: (response: PageGroupResponse) => void;
  readonly onResume?: (request: ResumeRequest) => void;
  /** All stalled transactions of a stream are to be aborted, and their events forgotten. */
  readonly onStallTermination?: (sid: number) => void;
  /** The unit sends an event that wakes processors from WFE. */
  readonly onWakeUp?: () => void;
}

/** The registers of the queue, and the fields of others that its commands depend on. */
export interface CommandQueueState {
  /** SMMU_CMDQ_BASE. */
  readonly base: bigint;
  /** SMMU_CMDQ_PROD.WR. */
  readonly prod: number;
  /** SMMU_CMDQ_CONS.RD and ERR. */
  readonly cons: number;
  readonly error: number;
  /** SMMU_CR0.CMDQEN, SMMUEN and VMW. */
  readonly enabled: boolean;
  readonly smmuEnabled: boolean;
  readonly vmw: number;
  /** SMMU_CR2.E2H. */
  readonly e2h: boolean;
}

/** SMMU_CMDQ_CONS.ERR (section 7.1). */
export const CERROR = { NONE: 0, ILL: 1, ABT: 2, ATC_INV_SYNC: 3 } as const;

const ENTRY_WORDS = 2;
const ENTRY_BYTES = 16;

/** The Command queue of one unit. */
export class CommandQueue {
  private state: CommandQueueState = {
    base: 0n,
    prod: 0,
    cons: 0,
    error: CERROR.NONE,
    enabled: false,
    smmuEnabled: false,
    vmw: 0,
    e2h: false,
  };
  private geometry: QueueGeometry;
  private running = false;
  /** An ATC invalidation since the last CMD_SYNC is never answered. */
  private unanswered = false;

  constructor(private readonly options: CommandQueueOptions) {
    this.geometry = this.makeGeometry();
  }

  get registers(): CommandQueueState {
    return this.state;
  }

  /** SMMU_CR0: CMDQEN, SMMUEN and VMW. Enabling processes what is there. */
  setControl(control: Pick<CommandQueueState, "enabled" | "smmuEnabled" | "vmw">): void {
    this.change(control);
    this.run();
  }

  /** SMMU_CR2.E2H. */
  setE2h(e2h: boolean): void {
    this.change({ e2h });
  }

  /** Software writes SMMU_CMDQ_BASE. */
  writeBase(base: bigint): void {
    this.change({ base });
  }

  /** Software writes SMMU_CMDQ_PROD: processes commands up to there. */
  writeProducer(prod: number): void {
    this.change({ prod });
    this.run();
  }

  /** Software writes SMMU_CMDQ_CONS.RD, while the queue is disabled. */
  writeConsumer(cons: number): void {
    this.change({ cons });
  }

  /** Takes over registers as read from a unit; processes nothing. */
  restore(registers: Partial<CommandQueueState>): void {
    this.change(registers);
  }

  /** Processes commands until the queue is empty or an error stops it. Software acknowledging the error calls this again. */
  run(): void {
    // What a command tells of may write registers: then this loop goes on, not another inside it.
    if (this.running) return;
    this.running = true;
    try {
      while (this.canRun()) this.step();
    } finally {
      this.running = false;
    }
  }

  private canRun(): boolean {
    const { enabled, prod, cons } = this.state;
    return enabled && !this.options.notifications.isActive("CMDQ_ERR") && !this.geometry.isEmpty(prod, cons);
  }

  private step(): void {
    const command = this.fetch();
    if (typeof command === "number") {
      this.stop(command);
      return;
    }
    const { prod, cons } = this.state;
    const wasFull = this.geometry.isFull(prod, cons);
    // Who learns of a CMD_SYNC's completion sees it consumed (section 4.7.3).
    this.change({ cons: this.geometry.next(cons) });
    this.execute(command);
    if (wasFull) this.wakeUp();
  }

  /** The next command, or the CERROR code that keeps it from being consumed. */
  private fetch(): Command | number {
    const { identification, memory } = this.options;
    const words = readEntry(memory, this.geometry.entry(this.state.cons), ENTRY_WORDS);
    if (words === null) return CERROR.ABT;
    const command = decodeCommand(words, { identification, ...this.state });
    if (command === null) return CERROR.ILL;
    if (command.kind !== "sync" || !this.unanswered) return command;
    this.unanswered = false;
    return CERROR.ATC_INV_SYNC;
  }

  private execute(command: Command): void {
    const { target, responds, onPageGroupResponse, onResume, onStallTermination } = this.options;
    switch (command.kind) {
      case "configuration":
        target.invalidateConfiguration(command.request);
        break;
      case "tlb":
        target.invalidateTlb(command.request);
        break;
      case "atc":
        if (!this.state.smmuEnabled) break;
        target.invalidateAtc(command.request);
        if (responds?.(command.request.sid) === false) this.unanswered = true;
        break;
      case "page-group-response":
        if (this.state.smmuEnabled) onPageGroupResponse?.(command.response);
        break;
      case "resume":
        onResume?.(command.request);
        break;
      case "stall-termination":
        onStallTermination?.(command.sid);
        break;
      case "sync":
        target.waited?.();
        this.complete(command.completion);
        break;
      case "prefetch-configuration":
      case "prefetch-address":
        // No unit has to prefetch what it is asked to (section 4.2).
        break;
      case "partid-map":
      case "device-permission-table":
        // Neither is cached, so nothing can be stale.
        break;
    }
  }

  private complete(completion: Completion): void {
    if (completion.signal === "interrupt") this.options.notifications.completeSync(completion.message);
    if (completion.signal === "event") this.wakeUp();
  }

  private wakeUp(): void {
    if (this.options.identification.idr0.SEV === 1) this.options.onWakeUp?.();
  }

  /** RD stays on the command. */
  private stop(error: number): void {
    this.change({ error });
    this.options.notifications.activate("CMDQ_ERR");
  }

  private makeGeometry(): QueueGeometry {
    const { identification } = this.options;
    return new QueueGeometry(this.state.base, ENTRY_BYTES, identification.idr1.CMDQS, identification);
  }

  private change(changes: Partial<CommandQueueState>): void {
    this.state = { ...this.state, ...changes };
    if (changes.base !== undefined) this.geometry = this.makeGeometry();
  }
}
