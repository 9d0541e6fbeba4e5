/** Files that a command is to write: looked at before it runs, so that nothing is lost and no time either. */
import { access, constants, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { IommuError } from "../engine/errors.js";

/** The same for all names of a file; null for what is none, such as /dev/null. */
async function identity(path: string): Promise<string | null> {
  return stat(path).then(
    (found) => (found.isFile() || found.isDirectory() ? `${found.dev}:${found.ino}` : null),
    () => resolve(path),
  );
}

async function refusal(path: string): Promise<string | null> {
  const found = await stat(path).catch(() => null);
  if (found?.isDirectory()) return "it is a directory";
  return access(found === null ? dirname(path) : path, constants.W_OK).then(
    () => null,
    (cause: Error) => cause.message,
  );
}

/**
 * @param outputs by option; undefined where it was not given
 * @throws IommuError `invalid` for a file that cannot be written, that is read as well, or that two options name
 */
export async function checkOutputs(
  outputs: Readonly<Record<string, string | undefined>>,
  inputs: readonly string[],
): Promise<void> {
  const read = new Set(await Promise.all(inputs.filter((path) => path !== "-").map(identity)));
  const written = new Map<string, string>();
  for (const [option, path] of Object.entries(outputs)) {
    if (path === undefined) continue;
    const refuse = (why: string): never => {
      throw new IommuError("invalid", `write ${path}`, undefined, why);
    };
    const why = await refusal(path);
    if (why !== null) refuse(why);
    const file = await identity(path);
    if (file === null) continue;
    if (read.has(file)) refuse(`--${option} would replace what is read`);
    const other = written.get(file);
    if (other !== undefined) refuse(`--${other} writes it, too`);
    written.set(file, option);
  }
}
