/** What a reader of a trace's figures should know, on stderr. */
import type { Comparison } from "../replay/compare.js";
import { warnings } from "../report/comparison.js";

/** Ends with status 2 for a trace that could not be read to its end. */
export function warn({ statistics, incomplete = null }: Pick<Comparison, "statistics"> & Partial<Comparison>): void {
  for (const line of warnings({ statistics })) process.stderr.write(`iommu-lab: ${line}\n`);
  if (incomplete === null) return;
  process.stderr.write(`iommu-lab: ${incomplete}; the figures are of what came before\n`);
  process.exitCode = 2;
}
