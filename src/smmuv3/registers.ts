/**
 * The memory-mapped registers of an SMMU: Arm SMMU Architecture Specification version 3 (IHI 0070 G.b), chapter 6. The
 * register file owns the address map and what SMMU_CR0 enables; the queues and notifications own their registers. An update
 * is complete at once: SMMU_CR0ACK and SMMU_IRQ_CTRLACK always mirror what was written.
 */
import { hex } from "../engine/addresses.js";
import { IommuError } from "../engine/errors.js";
import type { CommandQueue } from "./command-queue.js";
import type { EventQueue } from "./event-queue.js";
import { IDENTIFICATION_REGISTERS, type Identification } from "./identification.js";
import { IRQ_CTRL, type Notifications } from "./notifications.js";
import { CR0, CR2, describeRegisters, GBPA, REGISTER_BYTES, type RegisterDescription } from "./register-map.js";

/** What a register file works with. */
export interface RegisterFileOptions {
  readonly identification: Identification;
  readonly notifications: Notifications;
  readonly commandQueue: CommandQueue;
  readonly eventQueue: EventQueue;
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

/** How a register that is more than storage behaves. */
interface Behaviour {
  /** What the register holds; default: what is stored. */
  readonly read?: () => bigint;
  /** Software wrote it; default: it is stored. */
  readonly write?: (value: bigint) => void;
  /** Takes over a value without anything that follows from it; default: it is stored. */
  readonly restore?: (value: bigint) => void;
}

const DWORD = 0xffff_ffffn;

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

/** All registers of one unit. A 64-bit access is two of 32 bits, the lower one first. */
export class RegisterFile {
  /** Every register, also those that this unit lacks. */
  readonly registers: readonly RegisterDescription[];
  private readonly byDword = new Map<number, RegisterDescription>();
  private readonly stored = new Map<string, bigint>();
  private readonly behaviours: ReadonlyMap<string, Behaviour>;

  constructor(private readonly options: RegisterFileOptions) {
    this.registers = describeRegisters(options.identification);
    for (const register of this.registers) {
      this.stored.set(register.name, register.present ? register.reset : 0n);
      if (!register.present) continue;
      for (let byte = 0; byte < register.width / 8; byte += 4) this.byDword.set(register.offset + byte, register);
    }
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

  /** Reads 32 bits; reserved places read as zero. Throws `misaligned`, or `invalid` outside the registers. */
  read32(offset: number): number {
    checkOffset("read", offset, 4);
    return Number(this.readDword(offset));
  }

  /** Reads 64 bits. Throws as `read32` does. */
  read64(offset: number): bigint {
    checkOffset("read", offset, 8);
    return this.readDword(offset) | (this.readDword(offset + 4) << 32n);
  }

  /**
   * Writes 32 bits, with everything that follows from it; reserved places and guarded bits ignore it. Throws `misaligned`,
   * or `invalid` outside the registers or for a value that is none.
   */
  write32(offset: number, value: number): void {
    checkOffset("write", offset, 4);
    if (!Number.isInteger(value) || value < 0 || value > 0xffff_ffff) {
      throw new IommuError("invalid", `write ${value} to a register`, BigInt(offset), "not a 32-bit value");
    }
    this.writeDword(offset, BigInt(value));
  }

  /** Writes 64 bits. Throws as `write32` does. */
  write64(offset: number, value: bigint): void {
    checkOffset("write", offset, 8);
    if (BigInt.asUintN(64, value) !== value) {
      throw new IommuError("invalid", `write ${value} to a register`, BigInt(offset), "not a 64-bit value");
    }
    this.writeDword(offset, value & DWORD);
    this.writeDword(offset + 4, value >> 32n);
  }

  /**
   * Takes over registers as read from a unit, by the names of `registers`; the others stay as they are. Nothing is
   * invalidated, processed, recorded or sent, and no callback is called. Throws `invalid` for a name that no unit has, for a
   * value wider than the register, and when an identification register is another unit's. Values of registers that this unit
   * lacks are ignored, and those of CR0ACK and IRQ_CTRLACK, which mirror others.
   */
  restore(values: ReadonlyMap<string, bigint>): void {
    const checked = [...values].map(([name, value]) => [this.checkRestored(name, value), value] as const);
    for (const [{ name, present }, value] of checked) {
      if (!present) continue;
      const behaviour = this.behaviours.get(name);
      if (behaviour?.restore) behaviour.restore(value);
      else this.stored.set(name, value);
    }
    const { commandQueue, eventQueue } = this.options;
    commandQueue.restore({ ...this.commandQueueControl, e2h: this.e2h });
    eventQueue.restore({ enabled: this.isSet("CR0", CR0.EVENTQEN) });
  }

  private get commandQueueControl() {
    const cr0 = this.storedValue("CR0");
    return {
      enabled: this.isSet("CR0", CR0.CMDQEN),
      smmuEnabled: this.translationEnabled,
      vmw: Number((cr0 & CR0.VMW) >> VMW_SHIFT),
    };
  }

  private makeBehaviours(): Readonly<Record<string, Behaviour>> {
    const { notifications, commandQueue, eventQueue } = this.options;
    const ignore = () => {};
    const behaviours: Record<string, Behaviour> = {
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
      EVENTQ_BASE: {
        read: () => eventQueue.registers.base,
        write: (value) => eventQueue.writeBase(value),
        restore: (base) => eventQueue.restore({ base }),
      },
      EVENTQ_PROD: {
        read: () => BigInt(eventQueue.registers.prod),
        write: (value) => eventQueue.writeProducer(Number(value)),
        restore: (value) => eventQueue.restore({ prod: Number(value) }),
      },
      EVENTQ_CONS: {
        read: () => BigInt(eventQueue.registers.cons),
        write: (value) => eventQueue.writeConsumer(Number(value)),
        restore: (value) => eventQueue.restore({ cons: Number(value) }),
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
    const { commandQueue, eventQueue, onTranslation } = this.options;
    const changed = this.storedValue("CR0") ^ value;
    this.stored.set("CR0", value);
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

  private isSet(name: string, bit: bigint): boolean {
    return (this.storedValue(name) & bit) !== 0n;
  }

  private readDword(offset: number): bigint {
    const register = this.byDword.get(offset);
    if (!register) return 0n;
    return (this.contents(register) >> BigInt(8 * (offset - register.offset))) & DWORD;
  }

  private writeDword(offset: number, value: bigint): void {
    const register = this.byDword.get(offset);
    if (!register) return;
    const shift = BigInt(8 * (offset - register.offset));
    const writable = this.writable(register) & (DWORD << shift);
    if (writable === 0n) return;
    const next = (this.contents(register) & ~writable) | ((value << shift) & writable);
    const behaviour = this.behaviours.get(register.name);
    if (behaviour?.write) behaviour.write(next);
    else this.stored.set(register.name, next);
  }

  /** The bits that software can write now. */
  private writable({ readWrite, guards }: RegisterDescription): bigint {
    return guards.reduce((writable, { mask, register, enables }) => {
      const enabled = register === "CR0" ? this.storedValue("CR0") : BigInt(this.options.notifications.enabled);
      return (enabled & enables) === 0n ? writable : writable & ~mask;
    }, readWrite);
  }

  private contents({ name }: RegisterDescription): bigint {
    return this.behaviours.get(name)?.read?.() ?? this.storedValue(name);
  }

  private storedValue(name: string): bigint {
    return this.stored.get(name) ?? 0n;
  }

  private checkRestored(name: string, value: bigint): RegisterDescription {
    const register = this.registers.find((candidate) => candidate.name === name);
    const operation = `restore ${name} = ${hex(value)}`;
    if (!register) throw new IommuError("invalid", operation, undefined, "no such register");
    const at = BigInt(register.offset);
    if (BigInt.asUintN(register.width, value) !== value) {
      throw new IommuError("invalid", operation, at, `it has ${register.width} bits`);
    }
    if ((IDENTIFICATION_REGISTERS as readonly string[]).includes(name) && value !== register.reset) {
      throw new IommuError("invalid", operation, at, `this unit has ${hex(register.reset)}`);
    }
    return register;
  }
}

/** A register that another object holds, and whose restoring is its writing. */
function storage(read: () => bigint, write: (value: bigint) => void): Behaviour {
  return { read, write, restore: write };
}

function number(read: () => number, write: (value: number) => void): Behaviour {
  return storage(
    () => BigInt(read()),
    (value) => write(Number(value)),
  );
}

function checkOffset(access: string, offset: number, size: number): void {
  const operation = `${access} ${8 * size} bits of a register`;
  if (!Number.isInteger(offset) || offset < 0 || offset + size > REGISTER_BYTES) {
    const explanation = `the registers take ${hex(BigInt(REGISTER_BYTES))} bytes`;
    throw new IommuError("invalid", `${operation} at offset ${offset}`, undefined, explanation);
  }
  if (offset % size !== 0) throw new IommuError("misaligned", operation, BigInt(offset), "not naturally aligned");
}
