/** JSON files that a schema describes. */
import { readFile } from "node:fs/promises";
import { isAbsolute, join } from "node:path";
import type { ZodType } from "zod";
import { firstIssue } from "../document-issue.js";
import { RegressError, type RegressErrorCode } from "./errors.js";

/** A path that a file in `directory` names. */
export function pathFrom(directory: string, path: string): string {
  return isAbsolute(path) ? path : join(directory, path);
}

/**
 * Reads a file and checks it.
 * @throws RegressError `file` when it cannot be read; `code` when it is not JSON, or not what the schema says, naming the
 * first path that is not
 */
export async function readDocument<T>(file: string, code: RegressErrorCode, schema: ZodType<T>): Promise<T> {
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
  const { path, reason } = firstIssue(schema, parsed.error);
  throw new RegressError(code, [file, path].filter((part) => part !== "").join(": "), reason);
}
