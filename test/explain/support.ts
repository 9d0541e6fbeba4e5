import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { EngineFactory } from "../../src/conform/model.js";
import { Engine } from "../../src/engine/engine.js";
import type { WasmExports } from "../../src/engine/instance.js";
import { loadModule } from "../../src/engine/load.js";

const module = await loadModule();

export const newEngine: EngineFactory = (options) =>
  new Engine(new WebAssembly.Instance(module, {}).exports as unknown as WasmExports, options);

export const VECTORS = fileURLToPath(new URL("../fixtures/vectors/vtd.jsonl", import.meta.url));

interface VectorJson {
  readonly config: { readonly ECAP_REG: string };
  readonly memory: readonly (readonly [address: string, word: string])[];
  readonly expect: readonly object[];
}

/** A vector of the fixture as the JSON that it is written in, and its line, from 1. */
export function fixtureVector(id: string): { readonly line: number; readonly json: VectorJson } {
  const lines = readFileSync(VECTORS, "utf8").split("\n");
  const index = lines.findIndex((text) => text.includes(`"${id}"`));
  return { line: index + 1, json: JSON.parse(lines[index]) };
}
