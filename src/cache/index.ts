/** Set-associative caches, and what architectures find and drop in them. */
export { type CachePredicate, type CacheTag, type CacheUse, type CacheOutcome, SetAssociativeCache } from "./cache.js";
export type { CacheGeometry, Replacement } from "./geometry.js";
export * from "./smmuv3.js";
export * from "./vtd.js";
