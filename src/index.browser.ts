/** The package in a browser: the same as in Node, without what needs a file system. */
export * from "./api.js";
export { loadEngine, loadModule } from "./engine/load.browser.js";
