/** `--html FILE`: writes the report of a comparison beside what is printed. */
import { writeFile } from "node:fs/promises";
import { IommuError } from "../engine/errors.js";
import type { StrategyResult } from "../replay/replays.js";
import { bestStrategy, verdict } from "../report/comparison.js";
import type { Provenance, ReportedComparison } from "../report/html/comparison.js";
import { importerVerdict } from "../report/importers.js";
import { version } from "./version.js";

/** Options that do not change what the report says; the first has a value. */
const OF_OUTPUT = ["--html", "--json", "--csv", "--timing"];

/** A word as a POSIX shell reads it back. */
function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** The command that makes the same report, from the arguments of this one. */
export function repeatingCommand(args: readonly string[]): string {
  const kept = args.filter((word, index) => {
    if (OF_OUTPUT.includes(word) || word.startsWith("--html=")) return false;
    return args[index - 1] !== OF_OUTPUT[0];
  });
  return ["iommu-lab", ...kept, "--html", "report.html"].map(quoted).join(" ");
}

/** Throws `invalid` when the file cannot be written. */
export async function writeHtmlReport(
  file: string,
  comparison: Omit<ReportedComparison, "answer" | "remarks" | "best" | "results"> & {
    readonly results: readonly StrategyResult[];
  },
  { inputs, document }: Pick<Provenance, "document"> & { readonly inputs: object },
): Promise<void> {
  // The charting library takes longer to load than a short trace to replay.
  const { comparisonHtml } = await import("../report/html/comparison.js");
  const { results } = comparison;
  const best = bestStrategy(results)?.strategy.name ?? null;
  const remarks = results[0].importers.map((_, index) => importerVerdict(results, index));
  const text = comparisonHtml(
    { ...comparison, answer: verdict(results), remarks, best },
    { version, command: repeatingCommand(process.argv.slice(2)), inputs: { ...inputs }, document },
  );
  await writeFile(file, text).catch((error: NodeJS.ErrnoException) => {
    throw new IommuError("invalid", `write the report ${file}`, undefined, error.message);
  });
}
