import { type Engine, type EngineOptions, instantiateEngine } from "./engine.js";

let module: Promise<WebAssembly.Module> | undefined;

/** The compiled WASM module of this package, fetched from beside this file; compiled once a page. */
export function loadModule(): Promise<WebAssembly.Module> {
  module ??= fetch(new URL("../../build/iommu.wasm", import.meta.url))
    .then((response) => {
      if (!response.ok) throw new Error(`fetch ${response.url}: ${response.status} ${response.statusText}`);
      return response.arrayBuffer();
    })
    .then((bytes) => WebAssembly.compile(bytes));
  return module;
}

/** A new engine, in a browser. */
export async function loadEngine(options: EngineOptions = {}): Promise<Engine> {
  return instantiateEngine(await loadModule(), options);
}
