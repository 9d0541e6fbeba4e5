/** Accesses that stale translations let through, and the invalidations that were missing. */
export type { Cause, Change, Mistake } from "./cause.js";
export type { Invalidation, Moment } from "./history.js";
export { staleAccessText } from "./report.js";
export type { DmaSanitizer, SanitizerOptions, StaleAccess, StaleFrom } from "./sanitizer.js";
