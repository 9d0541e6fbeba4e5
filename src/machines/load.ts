/** Machines by name or file. */
import { readFile } from "node:fs/promises";
import { IommuError, UnknownNameError } from "../engine/errors.js";
import type { FormatDescription } from "../engine/formats.js";
import type { Machine } from "./machine.js";
import { findPreset, PRESETS } from "./presets.js";

/** The preset with this name, or else the machine of this file. Throws `invalid`. */
export async function loadMachine(nameOrFile: string, formats: readonly FormatDescription[]): Promise<Machine> {
  const preset = findPreset(nameOrFile);
  if (preset) return preset;
  const text = await readFile(nameOrFile, "utf8").catch((cause: Error) => {
    const presets = PRESETS.map(({ name }) => name);
    // Without a folder or an extension it was hardly meant to be a file.
    if (/^[\w-]+$/.test(nameOrFile)) throw new UnknownNameError("machine", "presets", nameOrFile, presets);
    const why = `${cause.message}; the presets are ${presets.join(", ")}`;
    throw new IommuError("invalid", `use machine "${nameOrFile}"`, undefined, why);
  });
  const { parseMachine } = await import("./parse.js");
  return parseMachine(text, nameOrFile, formats);
}
