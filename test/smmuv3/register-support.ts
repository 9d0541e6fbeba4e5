/** A unit's registers with everything around them that tests look at. */
import { CommandQueue } from "../../src/smmuv3/command-queue.js";
import { EventQueue } from "../../src/smmuv3/event-queue.js";
import { type IdentificationOptions, makeIdentification } from "../../src/smmuv3/identification.js";
import type { InvalidationTarget, PageGroupResponse, ResumeRequest } from "../../src/smmuv3/invalidation.js";
import { type Interrupt, Notifications } from "../../src/smmuv3/notifications.js";
import { PageRequestQueue } from "../../src/smmuv3/page-request-queue.js";
import { RegisterFile } from "../../src/smmuv3/registers.js";
import { FlatMemory } from "../support/flat-memory.js";

/** A request that reached the target, under the name of the method without "invalidate". */
export type Call = readonly [method: string, request: unknown];

/** Somebody takes the messages written here, beyond memory. */
export const DOORBELL = 0x0808_0040n;
/** Nobody is here. */
export const NOWHERE = 0x0900_0000n;

export interface UnitOptions extends IdentificationOptions {
  readonly responds?: (sid: number) => boolean;
  readonly onInterrupt?: (interrupt: Interrupt) => void;
}

export function makeUnit(options: UnitOptions = {}) {
  const identification = makeIdentification(options);
  const memory = new FlatMemory();
  const calls: Call[] = [];
  const interrupts: Interrupt[] = [];
  const responses: PageGroupResponse[] = [];
  const resumes: ResumeRequest[] = [];
  const stallTerminations: number[] = [];
  const wakeUps: number[] = [];
  const translations: boolean[] = [];
  const notifications = new Notifications({
    identification,
    memory,
    onInterrupt: (interrupt) => {
      if (interrupt.message?.address === NOWHERE) return false;
      interrupts.push(interrupt);
      options.onInterrupt?.(interrupt);
      return true;
    },
  });
  const target: InvalidationTarget = {
    invalidateConfiguration: (request) => calls.push(["Configuration", request]),
    invalidateTlb: (request) => calls.push(["Tlb", request]),
    invalidateAtc: (request) => calls.push(["Atc", request]),
  };
  const commandQueue = new CommandQueue({
    identification,
    memory,
    notifications,
    target,
    onPageGroupResponse: (response) => responses.push(response),
    onResume: (request) => resumes.push(request),
    onStallTermination: (sid) => stallTerminations.push(sid),
    onWakeUp: () => wakeUps.push(commandQueue.registers.cons),
    ...(options.responds && { responds: options.responds }),
  });
  const eventQueue = new EventQueue({ identification, memory, notifications });
  const pageRequestQueue = new PageRequestQueue({
    identification,
    memory,
    notifications,
    onOverflow: ({ pasid }) => ({ ssid: pasid ?? null, response: "success" }),
    onResponse: (response) => responses.push(response),
  });
  const file = new RegisterFile({
    identification,
    notifications,
    commandQueue,
    eventQueue,
    pageRequestQueue,
    onTranslation: (enabled) => translations.push(enabled),
  });
  return {
    identification,
    memory,
    calls,
    interrupts,
    responses,
    resumes,
    stallTerminations,
    wakeUps,
    translations,
    notifications,
    commandQueue,
    eventQueue,
    pageRequestQueue,
    file,
  };
}

export type Unit = ReturnType<typeof makeUnit>;

/** Offsets of registers that tests write. */
export const AT = {
  CR0: 0x020,
  CR0ACK: 0x024,
  CR1: 0x028,
  CR2: 0x02c,
  GBPA: 0x044,
  IRQ_CTRL: 0x050,
  IRQ_CTRLACK: 0x054,
  GERROR: 0x060,
  GERRORN: 0x064,
  GERROR_IRQ_CFG0: 0x068,
  GERROR_IRQ_CFG1: 0x070,
  STRTAB_BASE: 0x080,
  STRTAB_BASE_CFG: 0x088,
  CMDQ_BASE: 0x090,
  CMDQ_PROD: 0x098,
  CMDQ_CONS: 0x09c,
  EVENTQ_BASE: 0x0a0,
  EVENTQ_IRQ_CFG0: 0x0b0,
  EVENTQ_IRQ_CFG1: 0x0b8,
  EVENTQ_PROD: 0x100a8,
  EVENTQ_CONS: 0x100ac,
} as const;

/** Bits of SMMU_CR0. */
export const EN = { SMMU: 1, PRIQ: 2, EVENTQ: 4, CMDQ: 8 } as const;
/** Bits of SMMU_GERROR. */
export const ERR = {
  CMDQ: 1,
  EVENTQ_ABT: 1 << 2,
  MSI_CMDQ_ABT: 1 << 4,
  MSI_EVENTQ_ABT: 1 << 5,
  MSI_GERROR_ABT: 1 << 7,
} as const;
