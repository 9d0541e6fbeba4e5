import { expect } from "vitest";
import {
  type DmaContext,
  DmaDevice,
  type DmaDeviceOptions,
  DmaDomain,
  type DmaDomainOptions,
  DmaError,
  type DmaErrorCode,
  DmaHost,
  type DmaHostOptions,
  type DmaMisuse,
  DmaMisuseError,
} from "../../src/dma/index.js";
import { type PhysicalAddress, physicalAddress } from "../../src/engine/addresses.js";
import type { Engine } from "../../src/engine/engine.js";
import type { PageTable } from "../../src/engine/page-table.js";
import { PlainIova } from "../support/plain-iova.js";

export const CONTEXT: DmaContext = { cpu: 0, now: 0 };

/** Formats whose pages differ in size and in the driver that fills their tables. */
export const FORMATS = ["vtdss", "x86_64", "vmsav8-4k", "vmsav8-64k"] as const;

export function physical(value: bigint): PhysicalAddress {
  return physicalAddress(value);
}

export interface Machine {
  readonly host: DmaHost;
  readonly table: PageTable;
  readonly iova: PlainIova;
  readonly domain: DmaDomain;
  readonly device: DmaDevice;
}

export interface MachineOptions {
  readonly format?: string | undefined;
  readonly host?: DmaHostOptions | undefined;
  readonly domain?: DmaDomainOptions | undefined;
  readonly device?: Partial<DmaDeviceOptions> | undefined;
}

/** A host with the CPU pages of the format, one domain and one device in it. */
export function makeMachine(engine: Engine, options: MachineOptions = {}): Machine {
  const table = engine.createTable(options.format ?? "vtdss");
  const host = new DmaHost({ pageSize: table.format.granule, ...options.host });
  return addDomain(host, table, options);
}

export function addDomain(host: DmaHost, table: PageTable, options: MachineOptions = {}): Machine {
  const iova = new PlainIova();
  const domain = new DmaDomain(host, table, iova, { queueFlushes: () => iova.flushes, ...options.domain });
  const device = new DmaDevice(domain, { name: "nvme0", ...options.device });
  return { host, table, iova, domain, device };
}

/** Everything that a refused call must leave alone. */
export function stateOf({ host, table, iova, domain }: Machine): unknown {
  const { leaves } = table.counters;
  return {
    leaves,
    iova: iova.inUse,
    slots: host.swiotlb.usedSlots,
    live: [...domain.live],
    states: [...domain.states].map(([state, { links }]) => [state.address, state.size, [...links]]),
    scatterlists: domain.scatterlists.size,
  };
}

/** Runs what Linux must refuse and returns the error, having checked that nothing changed but empty table pages. */
export function fails(machine: Machine, code: DmaErrorCode, errno: number, operation: () => unknown): DmaError {
  const error = thrown(machine, operation);
  expect(error).toBeInstanceOf(DmaError);
  const refusal = error as DmaError;
  expect([refusal.code, refusal.errno]).toEqual([code, errno]);
  return refusal;
}

/** Runs what breaks the rules of the API and returns the error, having checked that nothing changed. */
export function misuses(machine: Machine, code: DmaMisuse, operation: () => unknown): DmaMisuseError {
  const error = thrown(machine, operation);
  expect(error).toBeInstanceOf(DmaMisuseError);
  expect((error as DmaMisuseError).code).toBe(code);
  return error as DmaMisuseError;
}

function thrown(machine: Machine, operation: () => unknown): unknown {
  const before = stateOf(machine);
  try {
    operation();
  } catch (error) {
    expect(stateOf(machine)).toEqual(before);
    return error;
  }
  throw new Error("nothing was refused");
}
