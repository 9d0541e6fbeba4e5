/** What the package exports on every platform. */
export * from "./access/index.js";
export * from "./cache/index.js";
export * as dma from "./dma/index.js";
export * from "./engine/addresses.js";
export { Engine, type EngineOptions, instantiateEngine } from "./engine/engine.js";
export { type ErrorCode, IommuError } from "./engine/errors.js";
export type { FormatDescription } from "./engine/formats.js";
export {
  IovaBatch,
  type IovaRequest,
  IovaSpace,
  type IovaSpaceOptions,
  type IovaSpaceReport,
} from "./engine/iova-space.js";
export {
  dmaLimitPfn,
  type LinuxDmaDevice,
  type LinuxDmaDeviceOptions,
  type LinuxIova,
  type LinuxIovaCounters,
  LinuxIovaDomain,
  type LinuxIovaOptions,
} from "./engine/linux-iova.js";
export * from "./engine/page-table.js";
export { PhysicalMemory } from "./engine/physical-memory.js";
export { type Capabilities, type CapabilityOptions, makeCapabilities } from "./vtd/capabilities.js";
export type { InterruptMessage } from "./vtd/event.js";
export type { FaultRecord, PendingFault } from "./vtd/faults.js";
export * from "./vtd/unit.js";
export * from "./sanitizer/index.js";
export type { SmmuCompletion } from "./smmuv3/ats.js";
export type { PageRequest } from "./smmuv3/page-request-queue.js";
export { SmmuUnit, type SmmuFault, type SmmuTranslation, type SmmuUnitOptions } from "./smmuv3/unit.js";
export * from "./unit/request.js";
export { UnitBatch, type UnitCounters } from "./unit/translation.js";
