/** What importers get, beside the IOMMU's figures. */
import type { ImporterFigures } from "../replay/importer-figures.js";
import type { StrategyResult } from "../replay/replays.js";
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

/** The strategy with the fewest entries, then the fewest leaves, then the smallest span; ties go to the earlier row. */
function fewestEntries(results: readonly StrategyResult[], index: number): StrategyResult | null {
  const candidates = results.filter(({ strategy }) => strategy.rule.source === "allocate");
  const order = ({ figures, importers }: StrategyResult): readonly number[] => [
    figures.failed + importers[index].refused,
    importers[index].entriesUsed,
    figures.leavesUsed,
    figures.spanPeak,
  ];
  let best: StrategyResult | null = null;
  for (const candidate of candidates) {
    if (best === null) {
      best = candidate;
      continue;
    }
    const [mine, theirs] = [order(candidate), order(best)];
    const differs = mine.findIndex((value, at) => value !== theirs[at]);
    if (differs >= 0 && mine[differs] < theirs[differs]) best = candidate;
  }
  return best;
}

/** One sentence an importer: which strategy serves it best, or that none matters. */
export function importerVerdict(results: readonly StrategyResult[], index: number): string {
  const { name } = results[0].importers[index];
  const best = fewestEntries(results, index);
  if (best === null) return `No strategy chooses IOVAs for ${name} here.`;
  const placed = results.filter(({ strategy }) => strategy.rule.source === "allocate");
  const { entriesUsed, entriesAttainable } = best.importers[index];
  const alike = placed.every(({ importers }) => importers[index].entriesUsed === entriesUsed);
  if (alike && placed.length > 1) return `For ${name} every IOVA gives ${grouped(entriesUsed)} entries.`;
  const least = entriesUsed === entriesAttainable ? " (no IOVA could give fewer)" : "";
  return (
    `For ${name} ${best.strategy.name} gives the fewest entries: ${grouped(entriesUsed)}${least}, with ` +
    `${grouped(best.figures.leavesUsed)} IOMMU leaves.`
  );
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
