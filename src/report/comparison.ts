import { stringify } from "csv-stringify/sync";
import type { Reclaim } from "../engine/page-table.js";
import type { Comparison, StrategyComparison } from "../replay/compare.js";
import type { WorkloadComparison } from "../replay/compare-workload.js";
import type { ImporterFigures } from "../replay/importer-figures.js";
import type { ImporterInputs } from "../replay/importer-inputs.js";
import type { ReplayFigures } from "../replay/replay.js";
import type { StrategyResult } from "../replay/replays.js";
import type { TrafficInputs } from "../replay/traffic-inputs.js";
import { accessColumns, accessText } from "./access.js";
import { IMPORTER_LEGEND, importerText, importerVerdict } from "./importers.js";
import { jsonText } from "./json.js";
import { everyCandidate, type Ranking, rank, tieNote } from "./ranking.js";
import { plainTable, wrap } from "./table.js";
import { tradeDocument, tradeText } from "./trade.js";
import { bytes, grouped, significant, sizeName } from "./units.js";

/** What was asked, as it stands at the head of every report, whatever was compared. */
interface ReplayInputs extends ImporterInputs {
  readonly strategies: readonly string[];
  readonly format: string;
  readonly levels: number;
  readonly reclaim: Reclaim;
  readonly traffic?: TrafficInputs;
}

export interface WorkloadInputs extends ReplayInputs {
  readonly workload: string;
  readonly seed: number;
  /** State of physical memory. */
  readonly memory: string;
  readonly operations: number;
}

export interface ComparisonInputs extends ReplayInputs {
  readonly trace: string;
  readonly device: string | null;
  readonly from: number | null;
  readonly to: number | null;
}

/** How well strategies serve the IOMMU: fewest leaves over all mappings, then smallest tables, then smallest span. */
function rankForIommu(results: readonly StrategyResult[]): Ranking | null {
  return rank(results, ({ figures }) => [figures.failed, figures.leavesUsed, figures.tableBytesPeak, figures.spanPeak]);
}

/** The strategy that serves the IOMMU best; null when nothing was mapped. */
export function bestStrategy(results: readonly StrategyResult[]): StrategyResult | null {
  return rankForIommu(results)?.best ?? null;
}

function change(before: number, after: number): string {
  if (before === after) return "as many";
  const percent = before === 0 ? Number.POSITIVE_INFINITY : (100 * Math.abs(after - before)) / before;
  return `${Number.isFinite(percent) ? significant(percent) : "∞"} % ${after < before ? "fewer" : "more"}`;
}

/** What the best strategy changes, against `as-recorded` where it was compared, and which others do as well. */
export function verdict(results: readonly StrategyResult[]): string {
  const ranking = rankForIommu(results);
  if (ranking === null) return "Nothing was mapped that a strategy could place.";
  const { figures, strategy } = ranking.best;
  const all = everyCandidate(ranking);
  const ties = all === null ? tieNote(ranking) : "";
  const recorded = results.find((result) => result.strategy.rule.source === "recorded")?.figures;
  if (!recorded) {
    const entries = `${grouped(figures.leavesUsed)} entries for ${grouped(figures.mappings)} mappings`;
    const tidy = `tidiness ${figures.tidiness.toFixed(2)}`;
    if (all !== null) return `${all} tie: ${entries}, ${tidy}.`;
    if (ranking.candidates.length === 1) return `${strategy.name} needs ${entries}, ${tidy}.`;
    const most = `${grouped(figures.leavesUsed)} for ${grouped(figures.mappings)} mappings`;
    return `${strategy.name} needs the fewest entries of these: ${most}, ${tidy}.${ties}`;
  }
  if (figures.leavesUsed >= recorded.leavesUsed) {
    const attainable = recorded.leavesUsed === recorded.leavesAttainable ? " (no IOVA could need fewer)" : "";
    const who = all === null ? `${strategy.name} needs` : `${all.toLowerCase()} need`;
    return (
      `No strategy saves entries here: ${who} ${grouped(figures.leavesUsed)} for all mappings, ` +
      `${grouped(recorded.leavesUsed)} were recorded${attainable}; ` +
      `${all === null ? "it" : strategy.name} spans ${bytes(figures.spanPeak)} of IOVA space instead of ` +
      `${bytes(recorded.spanPeak)}.${ties}`
    );
  }
  return (
    `${all === null ? `${strategy.name} is best` : `${all} tie`}: ${grouped(figures.leavesUsed)} entries for all mappings ` +
    `instead of ${grouped(recorded.leavesUsed)} as recorded (${change(recorded.leavesUsed, figures.leavesUsed)}), ` +
    `${all === null ? "" : `with ${strategy.name} `}at most ${bytes(figures.tableBytesPeak)} of tables instead of ` +
    `${bytes(recorded.tableBytesPeak)}, tidiness ${figures.tidiness.toFixed(2)} instead of ` +
    `${recorded.tidiness.toFixed(2)}.${ties}`
  );
}

/** What a reader of the figures should know about the trace, a line each. */
export function warnings({ statistics }: Pick<Comparison, "statistics">): string[] {
  const lines: string[] = [];
  const { entries } = statistics;
  if (statistics.lostEvents > 0 || statistics.lostPlaces > 0) {
    const known = entries ? ` (${grouped(entries.inBuffer)} of ${grouped(entries.written)} are in the buffer)` : "";
    lines.push(`${grouped(statistics.lostEvents)} events were lost${known}: figures are of what is left`);
  }
  if (statistics.unmapsOfUnknown > 0) {
    lines.push(`${grouped(statistics.unmapsOfUnknown)} unmaps of what was mapped before the recording began`);
  }
  if (statistics.unnamedDomains > 0) {
    lines.push(`${grouped(statistics.unnamedDomains)} more unnamed domains, for unnamed maps that overlap live ones`);
  }
  if (statistics.conflicts > 0) {
    lines.push(`${grouped(statistics.conflicts)} maps of what was mapped already: the older mapping is taken as ended`);
    for (const conflict of statistics.firstConflicts.slice(0, 3)) lines.push(`  line ${conflict.line}`);
  }
  if (statistics.forcedDecisions > 0) {
    lines.push(
      `${grouped(statistics.forcedDecisions)} unnamed runs of maps taken as one mapping each: nothing unmapped them`,
    );
  }
  if (statistics.malformed > 0) {
    lines.push(`${grouped(statistics.malformed)} malformed line${statistics.malformed === 1 ? "" : "s"}`);
    for (const { line, reason, text } of statistics.firstMalformed.slice(0, 5)) {
      lines.push(`  line ${line}: ${reason}: ${text.length > 80 ? `${text.slice(0, 77)}...` : text}`);
    }
  }
  return lines;
}

/** What was compared, in a line. */
export function comparisonSubject({ trace }: ComparisonInputs, { statistics }: Comparison): string {
  const { allocations, maps, mappedPages, domains } = statistics;
  const mappings = `${grouped(allocations)} mappings in ${grouped(maps)} pieces, ${grouped(mappedPages)} pages`;
  return `${trace}: ${mappings}, ${domains} domains`;
}

/** The same of a workload. */
export function workloadSubject(
  { workload, seed, memory }: WorkloadInputs,
  { statistics }: WorkloadComparison,
): string {
  const { allocations, pieces, mappedPages } = statistics;
  return (
    `${workload}, seed ${seed}, ${memory} memory: ${grouped(allocations)} mappings in ` +
    `${grouped(pieces)} pieces, ${grouped(mappedPages)} pages`
  );
}

/** The comparison of a trace as an aligned table of at most 100 columns, with what it is of and its verdict. */
export function comparisonText(inputs: ComparisonInputs, comparison: Comparison): string {
  return strategiesText(comparisonSubject(inputs, comparison), inputs, comparison);
}

/** The comparison of a workload, likewise. */
export function workloadText(inputs: WorkloadInputs, comparison: WorkloadComparison): string {
  return strategiesText(workloadSubject(inputs, comparison), inputs, comparison);
}

/** Longer names of strategies, which have parameters, take two lines. */
const WIDEST_NAME = 16;

function strategiesText(title: string, inputs: ReplayInputs, { results, domains }: StrategyComparison): string {
  const sizes = results[0]?.figures.leaves.map(({ size }) => size) ?? [];
  // A leaf size that nobody used is not worth two columns.
  const shown = sizes.filter(
    (_, index) => index === sizes.length - 1 || results.some(({ figures }) => figures.leaves[index].peak > 0),
  );
  const head = ["strategy", ...shown.map(sizeName), "tidy", "tables", "writes", "span", "fragm.", "failed"];
  const rows = results.map(({ strategy, figures }) => [
    strategy.name.length > WIDEST_NAME ? strategy.name.replace(/-(?=[^-]*$)/, "\n-") : strategy.name,
    ...figures.leaves
      .filter(({ size }) => shown.includes(size))
      .map(({ mean, peak }) => `${significant(mean)}/${peak}`),
    figures.tidiness.toFixed(3),
    bytes(figures.tableBytesPeak),
    significant(figures.entriesWrittenPerMapping),
    bytes(figures.spanPeak),
    figures.fragmentationMean.toFixed(3),
    String(figures.failed),
  ]);
  const importers = (results[0]?.importers ?? []).flatMap(({ name }, index) => [
    importerText(results, index, `importer ${name}, virtual addresses: ${inputs.va}`),
    "",
  ]);
  const trades = results.flatMap(({ strategy, trade }) => (trade ? [tradeText(strategy.name, trade), ""] : []));
  const names = domains.map((domain) => domain.name).join(", ");
  const attainable = results[0]?.figures.attainableTidiness ?? 1;
  return [
    ...wrap(title, 100),
    ...(names === "" ? [] : wrap(`domains: ${names}`, 100)),
    `tables: ${inputs.format}, ${inputs.levels} levels; attainable tidiness ${attainable.toFixed(3)}`,
    "",
    plainTable(head, rows),
    "",
    ...wrap(
      `${shown.map(sizeName).join(", ")}: leaves of that size, mean over operations / peak. tidy: fewest leaves possible / ` +
        "leaves used. tables: bytes at their peak. writes: entries written per mapping. span: widest IOVA space. " +
        "fragm.: mean fragmentation.",
      100,
    ),
    "",
    ...importers,
    ...(importers.length > 0 ? [...wrap(IMPORTER_LEGEND, 100), ""] : []),
    ...trades,
    ...[verdict(results), ...(results[0]?.importers ?? []).map((_, index) => importerVerdict(results, index))].flatMap(
      (sentence) => wrap(sentence, 100),
    ),
    ...(inputs.traffic ? ["", accessText(inputs.traffic, results)] : []),
  ].join("\n");
}

/**
 * The comparison of a trace as one JSON document: command, version and inputs first, no time of day, sizes in bytes. Keys
 * are stable; the README documents them.
 */
export function comparisonJson(
  version: string,
  inputs: ComparisonInputs,
  comparison: Comparison,
  command: "compare" | "replay" = "compare",
): string {
  const { statistics, domains, results } = comparison;
  return strategiesJson(command, version, inputs, results, {
    trace: {
      lines: statistics.lines,
      bytes: statistics.bytes,
      events: statistics.events,
      maps: statistics.maps,
      unmaps: statistics.unmaps,
      mappedPages: statistics.mappedPages,
      allocations: statistics.allocations,
      operations: statistics.operations,
      domains: domains.map(({ name, device }) => ({ name, device })),
      unnamedDomainsByOverlap: statistics.unnamedDomains,
      unmapsOfUnknown: statistics.unmapsOfUnknown,
      lostEvents: statistics.lostEvents,
      conflicts: statistics.conflicts,
      forcedDecisions: statistics.forcedDecisions,
      malformed: statistics.malformed,
      firstMalformed: statistics.firstMalformed,
      liveAtEnd: statistics.liveAtEnd,
      incomplete: comparison.incomplete,
    },
  });
}

/** The comparison of a workload, likewise. */
export function workloadJson(version: string, inputs: WorkloadInputs, comparison: WorkloadComparison): string {
  const { statistics, domains, results } = comparison;
  return strategiesJson("compare", version, inputs, results, {
    workload: { ...statistics, domains: domains.map(({ name }) => ({ name })) },
  });
}

function strategiesJson(
  command: "compare" | "replay",
  version: string,
  inputs: ReplayInputs,
  results: readonly StrategyResult[],
  source: Readonly<Record<string, unknown>>,
): string {
  const best = bestStrategy(results);
  const document = {
    command,
    version,
    inputs,
    ...source,
    strategies: results.map(({ strategy, figures, importers, trade, access }) => ({
      name: strategy.name,
      ...figures,
      ...(importers.length > 0 ? { importers } : {}),
      ...(trade ? { trade: tradeDocument(trade) } : {}),
      ...(access ? { access } : {}),
    })),
    best: { name: best?.strategy.name ?? null, sentence: verdict(results) },
  };
  return `${jsonText(document, 2)}\n`;
}

/** Every figure by a name of its own: leaves of a size are `leaves2MMean`, `leaves2MPeak` and `leaves2MAtEnd`. */
export function figureColumns({ leaves, ...rest }: ReplayFigures): Record<string, number> {
  const bySize = leaves.flatMap(({ size, mean, peak, atEnd }) => [
    [`leaves${sizeName(size)}Mean`, mean],
    [`leaves${sizeName(size)}Peak`, peak],
    [`leaves${sizeName(size)}AtEnd`, atEnd],
  ]);
  return { ...Object.fromEntries(bySize), ...rest };
}

/** An importer's figures likewise: entries of a size are `entries2M`. */
export function importerColumns({ name: _, entries, ...rest }: ImporterFigures): Record<string, number> {
  return { ...Object.fromEntries(entries.map(({ size, count }) => [`entries${sizeName(size)}`, count])), ...rest };
}

/** The comparison as CSV (RFC 4180), one row a strategy. */
export function comparisonCsv(results: readonly StrategyResult[]): string {
  const rows = results.map((result) => {
    const { strategy, figures, importers } = result;
    const ofImporters = importers.flatMap(({ name, entriesUsed, entriesAttainable, tidiness, refused }) =>
      Object.entries({ entriesUsed, entriesAttainable, tidiness, refused }).map(([key, value]) => [
        `${name} ${key}`,
        value,
      ]),
    );
    const columns = { ...figureColumns(figures), ...Object.fromEntries(ofImporters), ...accessColumns(result) };
    return { strategy: strategy.name, ...columns };
  });
  // A row may lack a figure that another has.
  const widestFirst = rows.toSorted((a, b) => Object.keys(b).length - Object.keys(a).length);
  return stringify(rows, { header: true, columns: [...new Set(widestFirst.flatMap(Object.keys))] });
}
