/** iommu_domains, groups and who owns their devices, above the drivers of the emulated units. */
export { DefaultDomain, type DefaultDomainOptions } from "./default-domain.js";
export { type AttachableDomain, IommuDomain } from "./domain.js";
export { OwnershipError, type OwnershipErrorCode } from "./errors.js";
export { type AccessReport, type AnyDomain, type IommuDevice, IommuGroup, type Programmed } from "./group.js";
export type { DomainMapping } from "./mappings.js";
export type { DeviceAccess, FaultReport, RemappingDriver, StreamTarget } from "./remapping-driver.js";
export { SmmuDriver } from "./smmuv3-driver.js";
export { VtdDriver } from "./vtd-driver.js";
