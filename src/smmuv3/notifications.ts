/**
 * How a unit tells software that something happened: interrupts and global errors. Arm SMMU Architecture Specification
 * version 3 (IHI 0070 G.b), sections 3.18, 6.3.16 to 6.3.23 and 7.5.
 */
import type { Identification } from "./identification.js";
import type { QueueMemory } from "./queue.js";

/** A 32-bit write that is an interrupt, or tells of one to whoever polls memory. */
export interface InterruptMessage {
  readonly address: bigint;
  readonly data: number;
}

export type InterruptSource = "CMD_SYNC" | "EVENTQ" | "PRIQ" | "GERROR";

/** `message` null: the unique wired output of the source. */
export interface Interrupt {
  readonly source: InterruptSource;
  readonly message: InterruptMessage | null;
}

/** Takes an interrupt; false: nobody is at the address of the message. */
export type InterruptSink = (interrupt: Interrupt) => boolean;

export interface NotificationsOptions {
  readonly identification: Identification;
  readonly memory: Pick<QueueMemory, "write32">;
  /**
   * Gets wired interrupts, and messages whose address is not that of memory; without it the first go nowhere and the second
   * are aborted. A source that has a message configured leaves its wire alone.
   */
  readonly onInterrupt?: InterruptSink;
}

/** Bits of SMMU_GERROR and SMMU_GERRORN, section 6.3.19. */
export const GERROR = {
  CMDQ_ERR: 1 << 0,
  EVENTQ_ABT_ERR: 1 << 2,
  PRIQ_ABT_ERR: 1 << 3,
  MSI_CMDQ_ABT_ERR: 1 << 4,
  MSI_EVENTQ_ABT_ERR: 1 << 5,
  MSI_PRIQ_ABT_ERR: 1 << 6,
  MSI_GERROR_ABT_ERR: 1 << 7,
  SFM_ERR: 1 << 8,
} as const;

export type GlobalError = keyof typeof GERROR;

/** Bits of SMMU_IRQ_CTRL, section 6.3.16. */
export const IRQ_CTRL = { GERROR: 1 << 0, PRIQ: 1 << 1, EVENTQ: 1 << 2 } as const;

/** Sources whose interrupt is enabled and configured by registers; CMD_SYNC carries its own message. */
export type ConfiguredSource = keyof typeof IRQ_CTRL;

const ABORTED: Readonly<Record<InterruptSource, GlobalError>> = {
  CMD_SYNC: "MSI_CMDQ_ABT_ERR",
  EVENTQ: "MSI_EVENTQ_ABT_ERR",
  PRIQ: "MSI_PRIQ_ABT_ERR",
  GERROR: "MSI_GERROR_ABT_ERR",
};

/** Interrupts and global errors of one unit. */
export class Notifications {
  /** SMMU_IRQ_CTRL. */
  enabled = 0;
  /** SMMU_GERROR and SMMU_GERRORN: an error is active while its bits differ. */
  gerror = 0;
  gerrorn = 0;
  /** SMMU_*_IRQ_CFG0 and SMMU_*_IRQ_CFG1; address 0: no message. */
  readonly messages: Readonly<Record<ConfiguredSource, { address: bigint; data: number }>> = {
    GERROR: { address: 0n, data: 0 },
    PRIQ: { address: 0n, data: 0 },
    EVENTQ: { address: 0n, data: 0 },
  };

  constructor(private readonly options: NotificationsOptions) {}

  isActive(error: GlobalError): boolean {
    return ((this.gerror ^ this.gerrorn) & GERROR[error]) !== 0;
  }

  /** An error arose; one that is active already is not reported again (section 7.5). */
  activate(error: GlobalError): void {
    if (this.isActive(error)) return;
    this.gerror ^= GERROR[error];
    // Another message to the same address might be aborted like the first.
    if (error !== "MSI_GERROR_ABT_ERR") this.raise("GERROR");
  }

  /** Something happened at a source. What happens while its interrupt is disabled is not told later. */
  raise(source: ConfiguredSource): void {
    if ((this.enabled & IRQ_CTRL[source]) !== 0) this.send(source, this.messages[source]);
  }

  /** A CMD_SYNC that asks for an interrupt completed. */
  completeSync(message: InterruptMessage): void {
    this.send("CMD_SYNC", message);
  }

  private send(source: InterruptSource, { address, data }: InterruptMessage): void {
    const { identification, memory, onInterrupt } = this.options;
    if (identification.idr0.MSI === 0 || address === 0n) {
      onInterrupt?.({ source, message: null });
      return;
    }
    const message = { address: BigInt.asUintN(identification.oasBits, address), data };
    if (memory.write32(message.address, data)) return;
    if (!onInterrupt?.({ source, message })) this.activate(ABORTED[source]);
  }
}
