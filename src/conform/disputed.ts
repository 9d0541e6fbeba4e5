import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { VectorError } from "./errors.js";
import { parseJson } from "./reader.js";
import { JsonRecord } from "./record.js";

/** Why entries are disputed: vector id, then index of the entry. */
export type DisputedEntries = ReadonlyMap<string, ReadonlyMap<number, string>>;

/** The list that comes with the package; the package finds itself by its own name, wherever this file was compiled to. */
export function packagedList(): string {
  const manifest = createRequire(import.meta.url).resolve("iommu-lab/package.json");
  return join(dirname(manifest), "test", "fixtures", "vectors", "disputed.json");
}

/**
 * Reads a list of entries whose expectation is held to be wrong: a JSON array of `{id, entries, reason}`, `entries` being
 * indices into the vector's `expect`. Throws `VectorError`.
 */
export async function readDisputed(file: string): Promise<DisputedEntries> {
  const text = await readFile(file, "utf8").catch((cause: Error) => {
    throw new VectorError(`cannot be read: ${cause.message}`, { file }, { cause });
  });
  const list = new JsonRecord({ list: parseJson(text, { file }) }, "", { file });
  const disputed = new Map<string, Map<number, string>>();
  for (const item of list.records("list")) {
    const id = item.text("id");
    const entries = disputed.get(id) ?? new Map<number, string>();
    for (const entry of item.numbers("entries")) entries.set(entry, item.text("reason"));
    disputed.set(id, entries);
  }
  return disputed;
}
