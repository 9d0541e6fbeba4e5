/** What the package exports on every platform. */
export * from "./access/index.js";
export * from "./cache/index.js";
export * as dma from "./dma/index.js";
export * as dmabuf from "./dmabuf/index.js";
export * as domain from "./domain/index.js";
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
export type { LeafRange, LeafRanges } from "./engine/leaf-ranges.js";
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
export { BuddyAllocator, type BuddyOptions } from "./linux/buddy.js";
export { ERRNO, type Errno, LinuxError } from "./linux/errno.js";
export { PhysicalMemory } from "./engine/physical-memory.js";
export * as importers from "./importers/index.js";
export { allocateHinted, type HintedOptions, type HintedRequest, hintedRequest } from "./strategies/hinted.js";
export { type Capabilities, type CapabilityOptions, makeCapabilities } from "./vtd/capabilities.js";
export type { InterruptMessage } from "./vtd/event.js";
export type { FaultRecord, PendingFault } from "./vtd/faults.js";
export * from "./vtd/unit.js";
export * from "./sanitizer/index.js";
export type { SmmuCompletion } from "./smmuv3/ats.js";
export type { PageRequest } from "./smmuv3/page-request-queue.js";
export { RAZ_WI, type SmmuFault, type SmmuTranslation, STALLED, UNRECORDED } from "./smmuv3/outcome.js";
export { SmmuUnit, type SmmuUnitOptions } from "./smmuv3/unit.js";
export * from "./unit/request.js";
export { UnitBatch, type UnitCounters } from "./unit/translation.js";
export type { Scenario, ScenarioResult } from "./scenarios/scenario.js";
export { findScenario, scenarios } from "./scenarios/scenarios.js";
export { Vram } from "./workloads/device-memory.js";
