/** What follows a translation: rights, the interrupt range, accessed and dirty flags, the answer. */
import { Fault } from "./faults.js";
import type { Attempt, EntryUpdate, Mapping, Rights, SlowMemory, SlowOutcome, SlowRequest, Walk } from "./unit.js";

export const PAGE = 4096n;

/** FEE0_0000h to FEEF_FFFFh: section 5.1.4, table 30 (LGN.4, SGN.8). */
export function inInterruptRange(address: bigint): boolean {
  return address >= 0xfee0_0000n && address <= 0xfeef_ffffn;
}

export function wantsWrite(request: SlowRequest): boolean {
  return request.access === "write" || request.access === "atomic";
}

/** The right an untranslated request lacks. Other requests lack none: a translation request is told what it may do. */
export function missingRight(walk: Walk, rights: Rights): "write" | "read" | null {
  const { unit, request } = walk;
  if (request.type !== "untranslated") return null;
  if (wantsWrite(request) && !rights.write) return "write";
  if (request.access === "zero-length-read" && unit.capabilities.cap.ZLR === 1) {
    return rights.read || rights.write ? null : "read";
  }
  if (request.access !== "write" && !rights.read) return "read";
  return null;
}

/** What a request with these rights does to the flags of the entries used. */
export function usage(request: SlowRequest, rights: Rights): { accessed: boolean; dirty: boolean } {
  return { accessed: rights.read || rights.write, dirty: wantsWrite(request) && rights.write };
}

export function setFlags(memory: SlowMemory, { address, flags }: EntryUpdate): void {
  const entry = memory.read(address);
  if (entry !== null) memory.write(address, entry | flags);
}

/** Answers a request whose rights are checked. `interruptRange` is the code for an output in the interrupt range. */
export function deliver(
  walk: Walk,
  mapping: Mapping,
  interruptRange: number,
  updates: readonly EntryUpdate[] = [],
): Attempt<SlowOutcome> {
  const { pa, pageSize, read, write } = mapping;
  if (inInterruptRange(pa)) return new Fault(interruptRange);
  for (const update of updates) setFlags(walk.unit.memory, update);
  if (walk.request.type !== "translation") return { kind: "translated", pa, pageSize };
  return { kind: "completion", read, write, untranslatedOnly: false, size: pageSize, pa };
}

/** Pass-through and translated requests: the address is a host address. */
export function deliverUnchanged(walk: Walk, beyondHaw: number, interruptRange: number): Attempt<SlowOutcome> {
  const { unit, request } = walk;
  if (request.iova >= 1n << BigInt(unit.capabilities.haw)) return new Fault(beyondHaw);
  return deliver(walk, { pa: request.iova, pageSize: PAGE, read: true, write: true }, interruptRange);
}
