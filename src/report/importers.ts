/** What importers get, beside the IOMMU's figures. */
import type { ImporterFigures } from "../replay/importer-figures.js";
import type { StrategyResult } from "../replay/replays.js";
import { everyCandidate, rank, tieNote } from "./ranking.js";
import { plainTable } from "./table.js";
import { grouped, sizeName } from "./units.js";

/** Entry sizes that are named in a row. */
const SHOWN_SIZES = 3;

/** "4K:12 2M:31", the sizes that cover most bytes; what is left is summed up. */
function bySize({ entries }: ImporterFigures): string {
  const shown = [...entries]
    .sort((a, b) => b.size * b.count - a.size * a.count)
    .slice(0, SHOWN_SIZES)
    .sort((a, b) => a.size - b.size);
  const rest = entries.filter((entry) => !shown.includes(entry));
  const text = shown.map(({ size, count }) => `${sizeName(size)}:${count}`);
  if (rest.length > 0) text.push(`other:${rest.reduce((sum, { count }) => sum + count, 0)}`);
  return text.join(" ");
}

/** Which strategy serves an importer best, and which do as well: fewest entries, then leaves, then the smallest span. */
export function importerVerdict(results: readonly StrategyResult[], index: number): string {
  const { name } = results[0].importers[index];
  const ranking = rank(results, ({ figures, importers }) => [
    figures.failed + importers[index].refused,
    importers[index].entriesUsed,
    figures.leavesUsed,
    figures.spanPeak,
  ]);
  if (ranking === null) return `No strategy placed anything for ${name} here.`;
  const { best, candidates } = ranking;
  const { entriesUsed, entriesAttainable } = best.importers[index];
  const entries = entriesUsed === 1 ? "1 entry" : `${grouped(entriesUsed)} entries`;
  const least = entriesUsed === entriesAttainable ? " (no IOVA could give fewer)" : "";
  const all = everyCandidate(ranking);
  if (all !== null) return `For ${name} ${all.toLowerCase()} tie: ${entries}${least}.`;
  const leaves = `with ${grouped(best.figures.leavesUsed)} IOMMU leaves`;
  if (candidates.length === 1) return `For ${name} ${best.strategy.name} gives ${entries}${least}, ${leaves}.`;
  const fewest = `gives the fewest entries: ${grouped(entriesUsed)}${least}, ${leaves}`;
  return `For ${name} ${best.strategy.name} ${fewest}.${tieNote(ranking)}`;
}

/** One importer's table: the IOMMU's leaves and tidiness, then its own. */
export function importerText(results: readonly StrategyResult[], index: number, title: string): string {
  // Most comparisons have nothing unmet and nothing refused.
  const unmet = results.some(({ figures }) => figures.unmetPreferences > 0);
  const refused = results.some(({ importers }) => importers[index].refused > 0);
  const rows = results.map(({ strategy, figures, importers }) => [
    strategy.name,
    String(figures.leavesUsed),
    figures.tidiness.toFixed(3),
    String(importers[index].entriesUsed),
    importers[index].tidiness.toFixed(3),
    ...(unmet ? [String(figures.unmetPreferences)] : []),
    ...(refused ? [String(importers[index].refused)] : []),
    bySize(importers[index]),
  ]);
  const head = [
    ...["strategy", "IOMMU leaves", "tidy", "entries", "tidy"],
    ...(unmet ? ["unmet"] : []),
    ...(refused ? ["refused"] : []),
    "entries by size",
  ];
  const attainable = results[0].importers[index].attainableTidiness.toFixed(3);
  return [`${title}; attainable tidiness ${attainable}`, "", plainTable(head, rows)].join("\n");
}

/** What the columns of `importerText` are. */
export const IMPORTER_LEGEND =
  "IOMMU leaves, entries: over all mappings. unmet: mappings placed with less than their strategy preferred. refused: " +
  "mappings whose addresses the importer cannot use.";
