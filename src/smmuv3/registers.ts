/**
 * The memory-mapped registers of an SMMU: Arm SMMU Architecture Specification version 3 (IHI 0070 G.b), chapter 6. The
 * register file owns the address map and what SMMU_CR0 enables; the queues and notifications own their registers. An update
 * is complete at once: SMMU_CR0ACK and SMMU_IRQ_CTRLACK always mirror what was written.
 */
import { type RegisterBehaviour, RegisterSpace } from "../unit/register-space.js";
import type { CommandQueue } from "./command-queue.js";
import type { EventQueue } from "./event-queue.js";
import { IDENTIFICATION_REGISTERS, type Identification } from "./identification.js";
import { IRQ_CTRL, type Notifications } from "./notifications.js";
import type { OutputQueue } from "./output-queue.js";
import type { PageRequestQueue } from "./page-request-queue.js";
import {
  CR0,
  CR2,
  describeRegisters,
  GBPA,
  PRIQ_LO,
  REGISTER_BYTES,
  type RegisterDescription,
} from "./register-map.js";

/** What a register file works with. */
export interface RegisterFileOptions {
  readonly identification: Identification;
  readonly notifications: Notifications;
  readonly commandQueue: CommandQueue;
  readonly eventQueue: EventQueue;
  readonly pageRequestQueue: PageRequestQueue;
  /** SMMU_CR0.SMMUEN changed. When it is cleared, stalled transactions are to be aborted. */
  readonly onTranslation?: (enabled: boolean) => void;
}

/** The stream table as SMMU_STRTAB_BASE and SMMU_STRTAB_BASE_CFG describe it, reserved values as they behave. */
export interface StreamTable {
  /** ADDR; the table is aligned to its size, low bits are to be ignored. */
  readonly address: bigint;
  readonly format: "linear" | "2-level";
  /** StreamIDs have this many bits, at most IDR1.SIDSIZE. */
  readonly log2Size: number;
  /** Bits of the StreamID that index a level 2 table. */
  readonly split: number;
}

/** SMMU_STRTAB_BASE.ADDR; fields of SMMU_STRTAB_BASE_CFG (sections 6.3.24 and 6.3.25). */
const STRTAB_ADDRESS = 0x00ff_ffff_ffff_ffc0n;
const STRTAB_LOG2SIZE = 0x3fn;
const STRTAB_SPLIT = [6n, 0x1fn] as const;
const STRTAB_FMT = [16n, 0x3n] as const;
const FMT_2LEVEL = 1n;
const SPLITS: readonly number[] = [6, 8, 10];

/** SMMU_CMDQ_CONS.ERR, and RD as WR of SMMU_CMDQ_PROD (sections 6.3.27 and 6.3.28). */
const CMDQ_CONS_ERR = [24n, 0x7fn] as const;
const INDEX = 0xf_ffffn;
/** SMMU_CR0.VMW, section 6.3.9. */
const VMW_SHIFT = 6n;

/** All registers of one unit. */
export class RegisterFile extends RegisterSpace<RegisterDescription> {
  protected readonly bytes = REGISTER_BYTES;
  private readonly behaviours: ReadonlyMap<string, RegisterBehaviour>;

  constructor(private readonly options: RegisterFileOptions) {
    super(describeRegisters(options.identification), IDENTIFICATION_REGISTERS);
    this.behaviours = new Map(Object.entries(this.makeBehaviours()));
  }

  /** SMMU_CR0.SMMUEN. */
  get translationEnabled(): boolean {
    return this.isSet("CR0", CR0.SMMUEN);
  }

  /** SMMU_CR0.ATSCHK: translated transactions are checked against their STE. */
  get atsChecked(): boolean {
    return this.isSet("CR0", CR0.ATSCHK);
  }

  /** SMMU_CR2.E2H. */
  get e2h(): boolean {
    return this.isSet("CR2", CR2.E2H);
  }

  /** SMMU_CR2.RECINVSID: C_BAD_STREAMID is recorded. */
  get recordsInvalidStreamIds(): boolean {
    return this.isSet("CR2", CR2.RECINVSID);
  }

  /** SMMU_CR2.REC_CFG_ATS: configuration errors of ATS requests are recorded. */
  get recordsAtsConfigurationErrors(): boolean {
    return this.isSet("CR2", CR2.REC_CFG_ATS);
  }

  /** SMMU_GBPA.ABORT: transactions are aborted while translation is disabled. */
  get bypassAborts(): boolean {
    return this.isSet("GBPA", GBPA.ABORT);
  }

  get streamTable(): StreamTable {
    const { idr0, sidBits, oasBits } = this.options.identification;
    const configuration = this.storedValue("STRTAB_BASE_CFG");
    const split = Number((configuration >> STRTAB_SPLIT[0]) & STRTAB_SPLIT[1]);
    const twoLevel = idr0.ST_LEVEL !== 0 && ((configuration >> STRTAB_FMT[0]) & STRTAB_FMT[1]) === FMT_2LEVEL;
    return {
      address: BigInt.asUintN(oasBits, this.storedValue("STRTAB_BASE") & STRTAB_ADDRESS),
      format: twoLevel ? "2-level" : "linear",
      log2Size: Math.min(Number(configuration & STRTAB_LOG2SIZE), sidBits),
      split: SPLITS.includes(split) ? split : SPLITS[0],
    };
  }

  /**
   * Takes over registers as read from a unit, by the names of `registers`; the others stay as they are. Nothing is
   * invalidated, processed, recorded or sent, and no callback is called. Throws `invalid` for a name that no unit has, for a
   * value wider than the register, and when an identification register is another unit's. Values of registers that this unit
   * lacks are ignored, and those of CR0ACK and IRQ_CTRLACK, which mirror others.
   */
  restore(values: ReadonlyMap<string, bigint>): void {
    this.restoreRegisters(values);
    const { commandQueue, eventQueue, pageRequestQueue } = this.options;
    commandQueue.restore({ ...this.commandQueueControl, e2h: this.e2h });
    eventQueue.restore({ enabled: this.isSet("CR0", CR0.EVENTQEN) });
    pageRequestQueue.restore({ enabled: this.pageRequestsEnabled });
    pageRequestQueue.lastOnly = this.isSet("PRIQ_IRQ_CFG2", PRIQ_LO);
  }

  /** The effective value of SMMU_CR0.PRIQEN (section 6.3.9.5). */
  private get pageRequestsEnabled(): boolean {
    return this.translationEnabled && this.isSet("CR0", CR0.PRIQEN);
  }

  private get commandQueueControl() {
    const cr0 = this.storedValue("CR0");
    return {
      enabled: this.isSet("CR0", CR0.CMDQEN),
      smmuEnabled: this.translationEnabled,
      vmw: Number((cr0 & CR0.VMW) >> VMW_SHIFT),
    };
  }

  private makeBehaviours(): Readonly<Record<string, RegisterBehaviour>> {
    const { notifications, commandQueue, eventQueue, pageRequestQueue } = this.options;
    const ignore = () => {};
    const behaviours: Record<string, RegisterBehaviour> = {
      CR0: { write: (value) => this.control(value) },
      CR0ACK: { read: () => this.storedValue("CR0"), restore: ignore },
      CR2: {
        write: (value) => {
          this.stored.set("CR2", value);
          commandQueue.setE2h(this.e2h);
        },
      },
      GBPA: {
        write: (value) => {
          if ((value & GBPA.Update) !== 0n) this.stored.set("GBPA", value & ~GBPA.Update);
        },
      },
      IRQ_CTRL: number(
        () => notifications.enabled,
        (value) => {
          notifications.enabled = value;
        },
      ),
      IRQ_CTRLACK: { read: () => BigInt(notifications.enabled), restore: ignore },
      GERROR: number(
        () => notifications.gerror,
        (value) => {
          notifications.gerror = value;
        },
      ),
      GERRORN: {
        read: () => BigInt(notifications.gerrorn),
        write: (value) => this.acknowledgeErrors(Number(value)),
        restore: (value) => {
          notifications.gerrorn = Number(value);
        },
      },
      CMDQ_BASE: {
        read: () => commandQueue.registers.base,
        write: (value) => commandQueue.writeBase(value),
        restore: (base) => commandQueue.restore({ base }),
      },
      CMDQ_PROD: {
        read: () => BigInt(commandQueue.registers.prod),
        write: (value) => commandQueue.writeProducer(Number(value)),
        restore: (value) => commandQueue.restore({ prod: Number(value & INDEX) }),
      },
      CMDQ_CONS: {
        read: () => BigInt(commandQueue.registers.cons) | (BigInt(commandQueue.registers.error) << CMDQ_CONS_ERR[0]),
        write: (value) => commandQueue.writeConsumer(Number(value & INDEX)),
        restore: (value) =>
          commandQueue.restore({
            cons: Number(value & INDEX),
            error: Number((value >> CMDQ_CONS_ERR[0]) & CMDQ_CONS_ERR[1]),
          }),
      },
      ...outputQueue("EVENTQ", eventQueue),
      ...outputQueue("PRIQ", pageRequestQueue),
      PRIQ_IRQ_CFG2: {
        write: (value) => {
          this.stored.set("PRIQ_IRQ_CFG2", value);
          pageRequestQueue.lastOnly = (value & PRIQ_LO) !== 0n;
        },
      },
    };
    for (const source of Object.keys(IRQ_CTRL) as (keyof typeof IRQ_CTRL)[]) {
      const message = notifications.messages[source];
      behaviours[`${source}_IRQ_CFG0`] = storage(
        () => message.address,
        (value) => {
          message.address = value;
        },
      );
      behaviours[`${source}_IRQ_CFG1`] = number(
        () => message.data,
        (value) => {
          message.data = value;
        },
      );
    }
    return behaviours;
  }

  /** SMMU_CR0. Commands are processed last: what they do depends on the rest. */
  private control(value: bigint): void {
    const { commandQueue, eventQueue, pageRequestQueue, onTranslation } = this.options;
    const changed = this.storedValue("CR0") ^ value;
    this.stored.set("CR0", value);
    pageRequestQueue.setEnabled(this.pageRequestsEnabled);
    if ((changed & CR0.SMMUEN) !== 0n) {
      if (!this.translationEnabled) eventQueue.discardPending(() => true);
      onTranslation?.(this.translationEnabled);
    }
    if ((changed & CR0.EVENTQEN) !== 0n) eventQueue.setEnabled(this.isSet("CR0", CR0.EVENTQEN));
    commandQueue.setControl(this.commandQueueControl);
  }

  /** SMMU_GERRORN: the queues go on behind errors that are not active any more. */
  private acknowledgeErrors(gerrorn: number): void {
    const { notifications, commandQueue, eventQueue } = this.options;
    notifications.gerrorn = gerrorn;
    eventQueue.flush();
    commandQueue.run();
  }

  protected behaviour(name: string): RegisterBehaviour | undefined {
    return this.behaviours.get(name);
  }

  protected masks({ readWrite, guards }: RegisterDescription) {
    const writable = guards.reduce((bits, { mask, register, enables }) => {
      const enabled = register === "CR0" ? this.storedValue("CR0") : BigInt(this.options.notifications.enabled);
      return (enabled & enables) === 0n ? bits : bits & ~mask;
    }, readWrite);
    return { hidden: 0n, writable, ones: 0n };
  }
}

function outputQueue(prefix: "EVENTQ" | "PRIQ", queue: OutputQueue): Readonly<Record<string, RegisterBehaviour>> {
  return {
    [`${prefix}_BASE`]: {
      read: () => queue.registers.base,
      write: (value) => queue.writeBase(value),
      restore: (base) => queue.restore({ base }),
    },
    [`${prefix}_PROD`]: {
      read: () => BigInt(queue.registers.prod),
      write: (value) => queue.writeProducer(Number(value)),
      restore: (value) => queue.restore({ prod: Number(value) }),
    },
    [`${prefix}_CONS`]: {
      read: () => BigInt(queue.registers.cons),
      write: (value) => queue.writeConsumer(Number(value)),
      restore: (value) => queue.restore({ cons: Number(value) }),
    },
  };
}

/** A register that another object holds, and whose restoring is its writing. */
function storage(read: () => bigint, write: (value: bigint) => void): RegisterBehaviour {
  return { read, write, restore: write };
}

function number(read: () => number, write: (value: number) => void): RegisterBehaviour {
  return storage(
    () => BigInt(read()),
    (value) => write(Number(value)),
  );
}
