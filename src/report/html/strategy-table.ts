/** The figures of all strategies as a table, and what its columns mean. */
import { bytes, grouped, significant, sizeName } from "../units.js";
import { type Html, html } from "./html.js";
import { definitions } from "./page.js";
import type { AccessFigures } from "../../replay/access.js";
import type { StrategyResult } from "../../replay/replays.js";

interface Column {
  readonly head: string;
  readonly cell: (result: StrategyResult) => string;
}

const TIDINESS: readonly Column[] = [
  { head: "IOMMU entries", cell: ({ figures }) => grouped(figures.leavesUsed) },
  { head: "tidiness", cell: ({ figures }) => figures.tidiness.toFixed(3) },
];

/** None where devices accessed nothing. */
function accessColumns(results: readonly StrategyResult[]): Column[] {
  if (results.every(({ access }) => access === null)) return [];
  const column = (head: string, cell: (access: AccessFigures) => string): Column => ({
    head,
    cell: ({ access }) => (access === null ? "" : cell(access)),
  });
  return [
    column("IOTLB misses per page", ({ iotlbMissesPerPage }) => iotlbMissesPerPage.toFixed(3)),
    column("memory reads per page", ({ memoryReadsPerPage }) => memoryReadsPerPage.toFixed(3)),
    column("modelled Gb/s", ({ timing }) => (timing === null ? "" : significant(timing.gbps))),
  ];
}

function columnsOf(results: readonly StrategyResult[]): Column[] {
  const sizes = results[0].figures.leaves
    .map(({ size }, index) => ({ size, index }))
    .filter(({ index }) => results.some(({ figures }) => figures.leaves[index].peak > 0));
  return [
    ...TIDINESS,
    { head: "table memory", cell: ({ figures }) => bytes(figures.tableBytesPeak) },
    { head: "entries written", cell: ({ figures }) => significant(figures.entriesWrittenPerMapping) },
    { head: "IOVA space", cell: ({ figures }) => bytes(figures.spanPeak) },
    { head: "fragmentation", cell: ({ figures }) => figures.fragmentationMean.toFixed(3) },
    ...sizes.map(
      ({ size, index }): Column => ({
        head: `${sizeName(size)}\u00a0mean /\u00a0peak`,
        cell: ({ figures }) => `${significant(figures.leaves[index].mean)} / ${grouped(figures.leaves[index].peak)}`,
      }),
    ),
    { head: "failed", cell: ({ figures }) => grouped(figures.failed) },
  ];
}

/** What importers and devices get, beside the IOMMU's; none where there are neither. */
function deviceColumns(results: readonly StrategyResult[]): Column[] {
  const columns = [
    ...results[0].importers.flatMap(({ name }, index): Column[] => [
      { head: `${name} entries`, cell: (result) => grouped(result.importers[index].entriesUsed) },
      { head: `${name} tidiness`, cell: (result) => result.importers[index].tidiness.toFixed(3) },
    ]),
    ...accessColumns(results),
  ];
  return columns.length === 0 ? [] : [...TIDINESS, ...columns];
}

function table(
  title: string,
  columns: readonly Column[],
  results: readonly StrategyResult[],
  best: string | null,
): Html {
  const rows = results.map((result) => {
    const { name } = result.strategy;
    const cells = columns.map(({ cell }) => html`<td>${cell(result)}</td>`);
    return html`<tr${name === best ? html` class="best"` : ""}><th scope="row">${name}</th>${cells}</tr>`;
  });
  return html`<div class="scroll" role="region" aria-label="${title}" tabindex="0">
<table class="strategies">
<thead><tr><th scope="col">strategy</th>${columns.map(({ head }) => html`<th scope="col">${head}</th>`)}</tr></thead>
<tbody>
${rows}
</tbody>
</table>
</div>`;
}

/**
 * Two tables where there are importers or accesses: one would be too wide for paper.
 * @param best name of the strategy to stand out, if any
 */
export function strategyTable(results: readonly StrategyResult[], best: string | null): Html {
  const ofDevices = deviceColumns(results);
  const importers = results[0].importers.map(({ name }): [string, string] => [
    `${name} entries, tidiness`,
    "what this importer would use for the addresses it is given, and the fewest for their lengths divided by that",
  ]);
  const access: [string, string][] = results.every((result) => result.access === null)
    ? []
    : [
        ["misses, reads per page", "IOTLB misses, and entries that the walker read, per 4096 bytes that devices moved"],
        ["modelled Gb/s", "derived from the counted reads and the machine's latencies, not measured"],
      ];
  return html`${table("Figures of the IOMMU by strategy", columnsOf(results), results, best)}
${ofDevices.length === 0 ? "" : table("Figures of devices by strategy", ofDevices, results, best)}
${definitions([
  ["IOMMU entries", "leaves of all mappings together"],
  ["tidiness", "fewest leaves that their lengths could take, divided by the leaves used; 1 is tidy"],
  ...importers,
  ["table memory", "bytes of table pages at their peak"],
  ["entries written", "entries set or cleared per mapping"],
  ["IOVA space", "widest span, highest end minus lowest start of what is mapped"],
  ["fragmentation", "1 - largest hole / free space within the span, mean over samples"],
  ["4K, 2M, ...", "leaves of that size, mean over all operations and peak"],
  ...access,
  ["failed", "mappings for which there was no IOVA, or whose recorded range was taken"],
])}`;
}
