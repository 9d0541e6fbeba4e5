/** JSON files that a schema describes. */
import { readFile } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import type { ZodError, ZodType } from "zod";
import { suggestion } from "../names.js";
import { RegressError, type RegressErrorCode } from "./errors.js";

/** A path that a file in `directory` names. */
export function pathFrom(directory: string, path: string): string {
  return isAbsolute(path) ? path : join(directory, path);
}

type Issue = ZodError["issues"][number];

/** A path within a document as people write it: `cases[2].strategies[0]`. */
export function jsonPath(path: readonly PropertyKey[]): string {
  return path
    .map((key) => (typeof key === "number" ? `[${key}]` : `.${String(key)}`))
    .join("")
    .replace(/^\./, "");
}

/** @param known names of the fields of the object in which a field is unknown */
function reasonOf(issue: Issue, known: readonly string[]): string {
  if (issue.code !== "unrecognized_keys") return issue.message.replace(/^Invalid input: /, "");
  const [key] = issue.keys;
  return `unknown field "${key}"${suggestion(key, known)}`;
}

/**
 * Reads a file and checks it. `fieldsAt` names the fields of the object at a path, for a field that is mistyped.
 * @throws RegressError `file` when it cannot be read; `code` when it is not JSON, or not what the schema says, naming the
 * first path that is not
 */
export async function readDocument<T>(
  file: string,
  code: RegressErrorCode,
  schema: ZodType<T>,
  fieldsAt: (path: readonly PropertyKey[]) => readonly string[],
): Promise<T> {
  const text = await readFile(file, "utf8").catch((cause: Error) => {
    throw new RegressError("file", file, `cannot be read: ${cause.message}`, { cause });
  });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new RegressError(code, file, `not JSON: ${(cause as SyntaxError).message.replaceAll(/\s+/g, " ")}`, {
      cause,
    });
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const where = [file, jsonPath(issue.path)].filter((part) => part !== "").join(": ");
  throw new RegressError(code, where, reasonOf(issue, fieldsAt(issue.path)));
}
