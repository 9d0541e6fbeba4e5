/** A unit's registers with everything around them that tests look at. */
import { type CapabilityOptions, makeCapabilities } from "../../src/vtd/capabilities.js";
import type { PageGroupResponse } from "../../src/vtd/descriptors.js";
import type { InterruptMessage } from "../../src/vtd/event.js";
import { FaultRecorder } from "../../src/vtd/faults.js";
import type { InvalidationTarget } from "../../src/vtd/invalidation.js";
import { InvalidationQueue } from "../../src/vtd/queue.js";
import { RegisterFile } from "../../src/vtd/registers.js";
import { FlatMemory } from "../support/flat-memory.js";

/** A request that reached the target, under the name of the method without "invalidate". */
export type Call = readonly [method: string, request: unknown];

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
