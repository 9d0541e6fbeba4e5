/** The package in Node. */
export * from "./api.js";
export { loadEngine, loadModule } from "./engine/load.js";
