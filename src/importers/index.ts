/** Importers: what devices do with the addresses they get, and what they ask for. */
export { type AmdgpuOptions, amdgpu } from "./amdgpu.js";
export {
  type Attainable,
  attainable,
  type Buffer,
  type Domain,
  dmaSegments,
  iovaSpan,
  type Piece,
} from "./attainable.js";
export * from "./hint.js";
export { type Host1xOptions, host1x } from "./host1x.js";
export { type I915Options, i915 } from "./i915.js";
export type {
  DeviceMapping,
  HintRequest,
  Importer,
  LeafRun,
  MapRequest,
  MemoryKind,
  Plan,
  Segment,
  Tables,
} from "./importer.js";
export { type AnyImporter, findImporter, importers } from "./importers.js";
export { type KvmOptions, kvm } from "./kvm.js";
export { type Mlx5Options, mlx5, mlx5QueueHint, mlx5QueuePages, type QueuePages } from "./mlx5.js";
export { type NouveauOptions, nouveau } from "./nouveau.js";
export { type NvmeOptions, nvme } from "./nvme.js";
export { rdmaDevice, rdmaDevices } from "./rdma-devices.js";
export { TableMemory } from "./table-memory.js";
export type { Translation } from "./table-tree.js";
export { type XeOptions, xe } from "./xe.js";
