import { readFile } from "node:fs/promises";
import { type Engine, type EngineOptions, instantiateEngine } from "../../src/engine/engine.js";
import { loadEngine } from "../../src/engine/load.js";

/**
 * A new engine. The environment variable IOMMU_LAB_WASM chooses another build of the module: `debug` is
 * build/iommu.debug.wasm, which has AssemblyScript's assertions; anything else is the path of a file.
 */
export async function newEngine(options: EngineOptions = {}): Promise<Engine> {
  const build = process.env.IOMMU_LAB_WASM;
  if (!build) return loadEngine(options);
  const file = build === "debug" ? new URL("../../build/iommu.debug.wasm", import.meta.url) : build;
  return instantiateEngine(await readFile(file), options);
}
