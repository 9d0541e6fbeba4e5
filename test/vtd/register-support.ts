/** A unit's registers with everything around them that tests look at. */
import { type CapabilityOptions, makeCapabilities } from "../../src/vtd/capabilities.js";
import type { PageGroupResponse } from "../../src/vtd/descriptors.js";
import type { InterruptMessage } from "../../src/vtd/event.js";
import { FaultRecorder } from "../../src/vtd/faults.js";
import type { InvalidationTarget } from "../../src/vtd/invalidation.js";
import { InvalidationQueue, type QueueMemory } from "../../src/vtd/queue.js";
import { RegisterFile } from "../../src/vtd/registers.js";

/** A request that reached the target, under the name of the method without "invalidate". */
export type Call = readonly [method: string, request: unknown];

/** 16 MiB of memory from address 0, all zero at first. */
export class FlatMemory implements QueueMemory {
  static readonly END = 1n << 24n;
  private readonly words = new Map<bigint, bigint>();

  read64(address: bigint): bigint | null {
    return address < FlatMemory.END ? (this.words.get(address) ?? 0n) : null;
  }

  write64(address: bigint, value: bigint): void {
    this.words.set(address, value);
  }

  write32(address: bigint, value: number): boolean {
    if (address >= FlatMemory.END) return false;
    const word = address & ~7n;
    const shift = (address & 4n) * 8n;
    const kept = (this.words.get(word) ?? 0n) & ~(0xffff_ffffn << shift);
    this.words.set(word, kept | (BigInt(value) << shift));
    return true;
  }
}

export interface UnitOptions extends CapabilityOptions {
  readonly responds?: (sid: number) => boolean;
  readonly onMessage?: (message: InterruptMessage) => void;
}

export function makeUnit(options: UnitOptions = {}) {
  const capabilities = makeCapabilities(options);
  const memory = new FlatMemory();
  const calls: Call[] = [];
  const messages: InterruptMessage[] = [];
  const responses: PageGroupResponse[] = [];
  const rootTables: bigint[] = [];
  const translations: boolean[] = [];
  const target: InvalidationTarget = {
    invalidateContextCache: (request) => calls.push(["ContextCache", request]),
    invalidatePasidCache: (request) => calls.push(["PasidCache", request]),
    invalidateIotlb: (request) => calls.push(["Iotlb", request]),
    invalidatePasidIotlb: (request) => calls.push(["PasidIotlb", request]),
    invalidateDeviceTlb: (request) => calls.push(["DeviceTlb", request]),
    invalidateInterruptEntries: (request) => calls.push(["InterruptEntries", request]),
  };
  const onMessage = (message: InterruptMessage) => {
    messages.push(message);
    options.onMessage?.(message);
  };
  const faults = new FaultRecorder({ capabilities, onMessage });
  const queue = new InvalidationQueue({
    capabilities,
    faults,
    memory,
    target,
    onMessage,
    onPageGroupResponse: (response) => responses.push(response),
    ...(options.responds && { responds: options.responds }),
  });
  const file = new RegisterFile({
    capabilities,
    faults,
    queue,
    target,
    onRootTable: (rtaddr) => rootTables.push(rtaddr),
    onTranslation: (enabled) => translations.push(enabled),
  });
  return { capabilities, memory, calls, messages, responses, rootTables, translations, faults, queue, file };
}

export type Unit = ReturnType<typeof makeUnit>;
