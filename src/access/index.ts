/** Accesses of devices through a unit's caches. */
export { AccessBatch, type DeviceAccess, encodeDeviceAccess } from "./batch.js";
export * from "./counters.js";
export * from "./kinds.js";
export * from "./simulator.js";
export * from "./streams.js";
export * from "./traffic.js";
