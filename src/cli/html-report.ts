/** `--html FILE`: writes a report beside what is printed. */
import { writeFile } from "node:fs/promises";
import { IommuError } from "../engine/errors.js";
import type { Provenance } from "../report/html/comparison.js";
import type { ReportedComparison } from "../report/html/reported.js";
import { version } from "./version.js";

/** Options that do not change what a report says: with a value, and without. */
const WITH_VALUE = ["--html", "--workers", "--save-baseline", "--junit", "--benchmark-json", "--markdown"];
const WITHOUT_VALUE = ["--json", "--csv", "--timing"];

/** A word as a POSIX shell reads it back. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** The command that makes the same report, from the arguments of this one. */
export function repeatingCommand(args: readonly string[]): string {
  const kept = args.filter((word, index) => {
    if (WITHOUT_VALUE.includes(word) || WITH_VALUE.includes(word.split("=")[0])) return false;
    return !WITH_VALUE.includes(args[index - 1]);
  });
  return ["iommu-lab", ...kept, "--html", "report.html"].map(quoted).join(" ");
}

/** How the report of the running command is made. */
export function provenance(inputs: object, document: string, documentName: string): Provenance {
  return {
    ...{ version, command: repeatingCommand(process.argv.slice(2)) },
    inputs: { ...inputs },
    ...{ document, documentName },
  };
}

/** Throws `invalid` when the file cannot be written. */
export async function writeHtmlReport(
  file: string,
  comparison: ReportedComparison,
  { inputs, document }: { readonly inputs: object; readonly document: string },
): Promise<void> {
  // The charting library takes longer to load than a short trace to replay.
  const { comparisonHtml } = await import("../report/html/comparison.js");
  const text = comparisonHtml(comparison, provenance(inputs, document, "comparison.json"));
  await writeFile(file, text).catch((error: NodeJS.ErrnoException) => {
    throw new IommuError("invalid", `write the report ${file}`, undefined, error.message);
  });
}
