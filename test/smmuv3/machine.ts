/** A unit in an engine, with the small machine's tables in memory and its three queues enabled. */
import type { UnitCachesGeometry } from "../../src/access/caches.js";
import { physicalAddress } from "../../src/engine/addresses.js";
import type { Engine } from "../../src/engine/engine.js";
import type { EventRecord } from "../../src/smmuv3/events.js";
import type { AtcInvalidation, PageGroupResponse, ResumeRequest } from "../../src/smmuv3/invalidation.js";
import type { Interrupt } from "../../src/smmuv3/notifications.js";
import { SmmuUnit } from "../../src/smmuv3/unit.js";
import type { DmaRequest } from "../../src/unit/request.js";
import { loadVectorMemory, VECTOR_ARENA_BASE } from "../../src/unit/vector-memory.js";
import { newEngine } from "../support/engine.js";
import { type CdFields, encodeCd, encodeSte, type SteFields, writeEntry } from "../support/smmuv3/encode.js";
import { AT as TABLES, type Setting, SID, smallMachine } from "../support/smmuv3/small-machine.js";
import { iovaOf } from "../support/tables.js";
import { AT } from "./register-support.js";

export { SID, TABLES };

/** Bits of SMMU_CR0 and SMMU_CR2. */
export const CR0 = { SMMUEN: 1, PRIQEN: 2, EVENTQEN: 4, CMDQEN: 8, ATSCHK: 16 } as const;
export const CR2 = { RECINVSID: 2, REC_CFG_ATS: 8 } as const;

export const PRIQ_BASE = 0x0c0;
export const PRIQ_PROD = 0x100c8;
export const PRIQ_CONS = 0x100cc;

/** PRI, ATSRECERR and MSI; of the queues 16 entries, of the PRI queue 4. */
const IDR0 = 0x084c_168bn | (1n << 13n) | (1n << 16n) | (1n << 23n);
const IDR1 = 0x0400_0510n | (2n << 11n) | (4n << 16n) | (4n << 21n);
const QUEUES = { commands: 0x40_0000n, events: 0x41_0000n, requests: 0x42_0000n } as const;
const LOG2_ENTRIES = 4n;
const LOG2_REQUESTS = 2n;
const ALL = CR0.SMMUEN | CR0.PRIQEN | CR0.EVENTQEN | CR0.CMDQEN;

export interface MachineOptions extends Setting {
  /** Bits of SMMU_CR0 besides the enables of SMMU and queues, and those that are left out. */
  readonly cr0?: number;
  readonly without?: number;
  /** SMMU_CR2; default: RECINVSID. */
  readonly cr2?: number;
  readonly deviceResponds?: (sid: number) => boolean;
  readonly caches?: UnitCachesGeometry;
}

export class Machine {
  readonly atc: AtcInvalidation[] = [];
  readonly responses: PageGroupResponse[] = [];
  readonly resumes: ResumeRequest[] = [];
  readonly interrupts: Interrupt[] = [];
  readonly unit: SmmuUnit;
  #prod = 0;

  constructor(
    readonly engine: Engine,
    { registers, cr0 = 0, without = 0, cr2 = CR2.RECINVSID, deviceResponds, caches, ...setting }: MachineOptions,
  ) {
    const machine = smallMachine({ ...setting, registers: { IDR0, IDR1, ...registers } });
    loadVectorMemory(engine, machine.memory.ram, [...machine.words]);
    const { STRTAB_BASE, STRTAB_BASE_CFG, ...identification } = machine.unit.registers;
    const { IDR0: idr0, IDR1: idr1, IDR3, IDR5 } = identification;
    this.unit = new SmmuUnit(engine, {
      registers: { IDR0: idr0, IDR1: idr1, IDR3, IDR5 },
      onAtcInvalidation: (request) => this.atc.push(request),
      onPageGroupResponse: (response) => this.responses.push(response),
      onResume: (request) => this.resumes.push(request),
      onInterrupt: (interrupt) => this.interrupts.push(interrupt) > 0,
      ...(deviceResponds ? { deviceResponds } : {}),
      ...(caches ? { caches } : {}),
    });
    const { unit } = this;
    unit.write32(AT.CR2, cr2);
    unit.write64(AT.STRTAB_BASE, STRTAB_BASE);
    unit.write32(AT.STRTAB_BASE_CFG, Number(STRTAB_BASE_CFG));
    unit.write64(AT.CMDQ_BASE, QUEUES.commands | LOG2_ENTRIES);
    unit.write64(AT.EVENTQ_BASE, QUEUES.events | LOG2_ENTRIES);
    unit.write64(PRIQ_BASE, QUEUES.requests | LOG2_REQUESTS);
    unit.write32(AT.CR0, (ALL & ~without) | cr0);
  }

  /** The events since the last time. */
  events(): readonly EventRecord[] {
    const { records } = this.unit.events;
    this.unit.write32(AT.EVENTQ_CONS, this.unit.read32(AT.EVENTQ_PROD));
    return records;
  }

  /** Hands a command over; it is done on return. */
  command(first: bigint, second = 0n): void {
    const at = QUEUES.commands + BigInt(this.#prod % 16) * 16n;
    this.write(at, first);
    this.write(at + 8n, second);
    this.#prod = (this.#prod + 1) % 32;
    this.unit.write32(AT.CMDQ_PROD, this.#prod);
  }

  read(address: bigint): bigint {
    return this.engine.memory.read64(physicalAddress(address));
  }

  write(address: bigint, word: bigint): void {
    this.engine.memory.write64(physicalAddress(address), word);
  }

  writeSte(sid: number, fields: SteFields): void {
    writeEntry(encodeSte(fields), TABLES.streamTable + BigInt(64 * sid), (at, word) => this.write(at, word));
  }

  writeCd(index: number, fields: CdFields): void {
    writeEntry(encodeCd(fields), TABLES.contexts + BigInt(64 * index), (at, word) => this.write(at, word));
  }
}

export async function openMachine(options: MachineOptions = {}): Promise<Machine> {
  return new Machine(await newEngine({ arenaBase: physicalAddress(VECTOR_ARENA_BASE) }), options);
}

/** Of input 1000h, which the small machine maps. */
export function requestOf(
  sid: number,
  changes: Partial<Omit<DmaRequest, "iova">> & { iova?: bigint } = {},
): DmaRequest {
  return { sid, ...changes, iova: iovaOf(changes.iova ?? 0x1000n) };
}
