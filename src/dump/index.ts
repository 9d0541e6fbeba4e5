/** Readers of what users have in their hands, in Node: table dumps and the kernel's own listings. */
export * from "./dump.js";
export { DumpError } from "./errors.js";
export { readListing } from "./listing-files.js";
export { loadListing } from "./listing-table.js";
export { readMaps } from "./maps.js";
export { vtdUnitFromDump } from "../vtd/dump-unit.js";
