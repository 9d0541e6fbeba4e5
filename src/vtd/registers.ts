/**
 * The memory-mapped registers of a remapping unit: Intel VT-d Architecture Specification Rev. 5.10, chapter 11. The register
 * file owns the address map and what the global commands do; faults and the queue own their registers.
 */
import { type RegisterBehaviour, RegisterSpace } from "../unit/register-space.js";
import type { Capabilities } from "./capabilities.js";
import type { EventInterrupt } from "./event.js";
import type { FaultRecorder } from "./faults.js";
import type { InvalidationTarget } from "./invalidation.js";
import type { InvalidationQueue } from "./queue.js";
import { contextCommand, iotlbCommand, LAST_MAJOR_VERSION } from "./register-invalidation.js";
import { describeRegisters, GCMD, type RegisterDescription } from "./register-map.js";
import { TTM, tableMode } from "./table-mode.js";

/** What a register file works with. `target` is the one the queue has. */
export interface RegisterFileOptions {
  readonly capabilities: Capabilities;
  readonly faults: FaultRecorder;
  readonly queue: InvalidationQueue;
  readonly target: InvalidationTarget;
  /** Set Root Table Pointer put this value of RTADDR_REG into force. */
  readonly onRootTable?: (rtaddr: bigint) => void;
  /** GSTS_REG.TES changed. */
  readonly onTranslation?: (enabled: boolean) => void;
}

/** PMEN_REG, section 11.4.8.1. */
const PMEN_EPM = 1n << 31n;
const PMEN_PRS = 1n;

/** Registers that a unit cannot take over from another. */
const IDENTIFICATION = ["VER", "CAP", "ECAP"];

const PAGE_BYTES = 4096;

/** All registers of one unit, accessed as section 11.2 says. */
export class RegisterFile extends RegisterSpace<RegisterDescription> {
  protected readonly bytes: number;
  private readonly capabilities: Capabilities;
  private readonly behaviours: ReadonlyMap<string, RegisterBehaviour>;
  private latchedRootTable = 0n;

  /** Throws `invalid` when CAP.FRO or ECAP.IRO puts one register upon another. */
  constructor(private readonly options: RegisterFileOptions) {
    super(describeRegisters(options.capabilities), IDENTIFICATION);
    this.capabilities = options.capabilities;
    const present = this.registers.filter((register) => register.present);
    const end = Math.max(...present.map(({ offset, width }) => offset + width / 8));
    this.bytes = PAGE_BYTES * Math.ceil(end / PAGE_BYTES);
    this.behaviours = new Map(Object.entries(this.makeBehaviours()));
  }

  /** RTADDR_REG as of the last Set Root Table Pointer. */
  get rootTable(): bigint {
    return this.latchedRootTable;
  }

  /** GSTS_REG.TES. */
  get translationEnabled(): boolean {
    return this.status(GCMD.TE);
  }

  /** GSTS_REG.QIES. */
  get queueEnabled(): boolean {
    return this.status(GCMD.QIE);
  }

  /**
   * Takes over registers as read from a unit, by the names of `registers`; the others stay as they are. Nothing is
   * invalidated, processed or sent, and no callback is called. RTADDR is in force when GSTS has RTPS or TES. Throws
   * `invalid` for a name that no unit has, for a value wider than the register, and when VER, CAP or ECAP are another
   * unit's. Values of registers that this unit lacks, and of GCMD, which cannot be read, are ignored.
   */
  restore(values: ReadonlyMap<string, bigint>): void {
    this.restoreRegisters(values);
    if (this.status(GCMD.SRTP | GCMD.TE)) this.latchedRootTable = this.storedValue("RTADDR");
    this.options.queue.restore({ enabled: this.queueEnabled, ttm: this.translationTableMode });
  }

  private get translationTableMode(): number {
    return tableMode(this.latchedRootTable);
  }

  private makeBehaviours(): Readonly<Record<string, RegisterBehaviour>> {
    const { faults, queue } = this.options;
    const behaviours: Record<string, RegisterBehaviour> = {
      GCMD: { write: (value) => this.command(value), restore: () => {} },
      CCMD: { write: (value) => this.writeContextCommand(value) },
      IOTLB: { write: (value) => this.writeIotlbCommand(value) },
      PMEN: { write: (value) => this.stored.set("PMEN", (value & PMEN_EPM) === 0n ? 0n : PMEN_EPM | PMEN_PRS) },
      FSTS: {
        read: () => BigInt(faults.status),
        write: (_value, ones) => {
          faults.clearStatus(Number(ones));
          queue.run();
        },
        restore: (value) => faults.restoreStatus(Number(value)),
      },
      ...eventBehaviours("FE", faults.event),
      IQH: {
        read: () => BigInt(queue.registers.iqh),
        restore: (value) => queue.restore({ iqh: Number(value) }),
      },
      IQT: {
        read: () => BigInt(queue.registers.iqt),
        write: (value) => queue.writeTail(Number(value)),
        restore: (value) => queue.restore({ iqt: Number(value) }),
      },
      IQA: {
        read: () => queue.registers.iqa,
        write: (value) => queue.writeAddress(value),
        restore: (value) => queue.restore({ iqa: value }),
      },
      ICS: {
        read: () => BigInt(queue.registers.ics),
        write: (_value, ones) => queue.clearCompletion(Number(ones)),
        restore: (value) => queue.restore({ ics: Number(value) }),
      },
      ...eventBehaviours("IE", queue.event),
      IQERCD: {
        read: () => queue.registers.iqercd,
        restore: (value) => queue.restore({ iqercd: value }),
      },
    };
    for (let n = 0; n < faults.count; n++) {
      behaviours[`FRCD${n}_LO`] = {
        read: () => faults.word(2 * n),
        restore: (value) => faults.restoreWord(2 * n, value),
      };
      behaviours[`FRCD${n}_HI`] = {
        read: () => faults.word(2 * n + 1),
        write: (_value, ones) => {
          if (ones !== 0n) faults.clearFault(n);
        },
        restore: (value) => faults.restoreWord(2 * n + 1, value),
      };
    }
    return behaviours;
  }

  /** GCMD_REG: the one-shot commands first, so that a root table is in force before translation is. */
  private command(value: bigint): void {
    if (value & GCMD.SRTP) this.setRootTablePointer();
    if (value & GCMD.SIRTP) this.setInterruptTablePointer();
    // WBF is done at once: nothing is buffered. Rev. 5.10 has no advanced fault log any more; faults are recorded in FRCD.
    if (value & GCMD.SFL) this.setStatus(GCMD.SFL, true);
    this.setStatus(GCMD.EAFL, (value & GCMD.EAFL) !== 0n);
    this.setStatus(GCMD.CFI, (value & GCMD.CFI) !== 0n);
    const { queue, faults, onTranslation } = this.options;
    if (this.setStatus(GCMD.QIE, (value & GCMD.QIE) !== 0n)) queue.setEnabled(this.queueEnabled);
    const { SMTS } = this.capabilities.ecap;
    const interruptsChanged = this.setStatus(GCMD.IRE, (value & GCMD.IRE) !== 0n);
    const translationChanged = this.setStatus(GCMD.TE, (value & GCMD.TE) !== 0n);
    if (interruptsChanged && !this.status(GCMD.IRE) && this.capabilities.cap.ESIRTPS) this.invalidateInterrupts();
    if (translationChanged && !this.translationEnabled && SMTS) this.invalidateTranslations();
    if (!this.status(GCMD.TE | GCMD.IRE)) faults.resetIndex();
    if (translationChanged) onTranslation?.(this.translationEnabled);
  }

  /** Section 6.6. RTPS is clear while the caches are dropped. */
  private setRootTablePointer(): void {
    this.setStatus(GCMD.SRTP, false);
    this.latchedRootTable = this.storedValue("RTADDR");
    this.options.queue.setTranslationTableMode(this.translationTableMode);
    if (this.capabilities.cap.ESRTPS) this.invalidateTranslations();
    this.setStatus(GCMD.SRTP, true);
    this.options.onRootTable?.(this.latchedRootTable);
  }

  /** Section 6.7. */
  private setInterruptTablePointer(): void {
    this.setStatus(GCMD.SIRTP, false);
    if (this.capabilities.cap.ESIRTPS) this.invalidateInterrupts();
    this.setStatus(GCMD.SIRTP, true);
  }

  private invalidateTranslations(): void {
    const { target } = this.options;
    target.invalidateContextCache({ granularity: "global", domain: 0, sid: 0, functionMask: 0 });
    target.invalidatePasidCache({ granularity: "global", domain: 0, pasid: 0 });
    target.invalidateIotlb({ granularity: "global", domain: 0, address: 0n, addressMask: 0, leafOnly: false });
  }

  private invalidateInterrupts(): void {
    this.options.target.invalidateInterruptEntries({ granularity: "global", index: 0, indexMask: 0 });
  }

  /**
   * Whether invalidation by register is obeyed. Section 11.4.6 names the version and the mode; while the queue is enabled
   * software must not use the registers at all.
   */
  private get registerInvalidation(): boolean {
    const supported = this.capabilities.version.major <= LAST_MAJOR_VERSION;
    return supported && this.translationTableMode === TTM.LEGACY && !this.queueEnabled;
  }

  private writeContextCommand(ccmd: bigint): void {
    const { register, request } = contextCommand(ccmd, this.capabilities, this.registerInvalidation);
    this.stored.set("CCMD", register);
    if (request) this.options.target.invalidateContextCache(request);
  }

  private writeIotlbCommand(iotlb: bigint): void {
    const iva = this.storedValue("IVA");
    const { register, request } = iotlbCommand(iotlb, iva, this.capabilities, this.registerInvalidation);
    this.stored.set("IOTLB", register);
    if (request) this.options.target.invalidateIotlb(request);
  }

  /** Whether any of these bits of GSTS_REG is set. */
  private status(bits: bigint): boolean {
    return this.isSet("GSTS", bits);
  }

  /** Sets or clears a bit of GSTS_REG; whether that changed it. */
  private setStatus(bit: bigint, set: boolean): boolean {
    if (this.status(bit) === set) return false;
    this.stored.set("GSTS", this.storedValue("GSTS") ^ bit);
    return true;
  }

  protected behaviour(name: string): RegisterBehaviour | undefined {
    return this.behaviours.get(name);
  }

  protected masks({ readWrite, writeOnly, writeOneToClear }: RegisterDescription) {
    return { hidden: writeOnly, writable: readWrite | writeOnly, ones: writeOneToClear };
  }
}

function eventBehaviours(prefix: string, event: EventInterrupt): Readonly<Record<string, RegisterBehaviour>> {
  const behaviours: Record<string, RegisterBehaviour> = {
    [`${prefix}CTL`]: {
      read: () => BigInt(event.control),
      write: (value) => event.writeControl(Number(value)),
      restore: (value) => event.restoreControl(Number(value)),
    },
  };
  const message = { DATA: "data", ADDR: "address", UADDR: "upperAddress" } as const;
  for (const [suffix, field] of Object.entries(message)) {
    const set = (value: bigint) => {
      event[field] = Number(value);
    };
    behaviours[`${prefix}${suffix}`] = { read: () => BigInt(event[field]), write: set, restore: set };
  }
  return behaviours;
}
