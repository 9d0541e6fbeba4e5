/** What the package exports on every platform. */
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
export * from "./engine/page-table.js";
export { PhysicalMemory } from "./engine/physical-memory.js";
