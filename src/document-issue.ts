/** What is wrong with a JSON document that a schema describes. */
import { type ZodError, type ZodType, z } from "zod";
import { suggestion } from "./names.js";

/** A path within a document as people write it: `cases[2].strategies[0]`. */
export function jsonPath(path: readonly PropertyKey[]): string {
  return path
    .map((key) => (typeof key === "number" ? `[${key}]` : `.${String(key)}`))
    .join("")
    .replace(/^\./, "");
}

/** Names of the fields of the object at a path. */
function fieldsAt(schema: ZodType, path: readonly PropertyKey[]): string[] {
  let at: z.core.JSONSchema.BaseSchema | undefined = z.toJSONSchema(schema, { io: "input" });
  for (const key of path) {
    const next: unknown = typeof key === "number" ? at?.items : at?.properties?.[String(key)];
    at = next as z.core.JSONSchema.BaseSchema | undefined;
  }
  return Object.keys(at?.properties ?? {});
}

/** The first thing that is not as the schema says: where, and what was expected, or what a mistyped field may mean. */
export function firstIssue(schema: ZodType, { issues }: ZodError): { readonly path: string; readonly reason: string } {
  const [issue] = issues;
  const path = jsonPath(issue.path);
  if (issue.code !== "unrecognized_keys") {
    const reason = issue.message.replace(/^Invalid input: /, "").replace(/, received undefined$/, ", which is missing");
    return { path, reason };
  }
  const [key] = issue.keys;
  return { path, reason: `unknown field "${key}"${suggestion(key, fieldsAt(schema, issue.path))}` };
}
