import { readFile } from "node:fs/promises";
import { type Engine, type EngineOptions, instantiateEngine } from "./engine.js";

let module: Promise<WebAssembly.Module> | undefined;

/** The compiled WASM module of this package; compiled once a process. */
export function loadModule(): Promise<WebAssembly.Module> {
  module ??= readFile(new URL("../../build/iommu.wasm", import.meta.url)).then((bytes) => WebAssembly.compile(bytes));
  return module;
}

/** A new engine, in Node. */
export async function loadEngine(options: EngineOptions = {}): Promise<Engine> {
  return instantiateEngine(await loadModule(), options);
}
