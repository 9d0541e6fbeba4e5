/** What the tests of the HTML report share: comparisons of a real trace and of made-up importers. */
import { createReadStream } from "node:fs";
import { createGunzip } from "node:zlib";
import { loadModule } from "../../src/engine/load.js";
import { type Comparison, compareTrace, type StrategyComparison } from "../../src/replay/compare.js";
import { bestStrategy, verdict } from "../../src/report/comparison.js";
import type { Provenance } from "../../src/report/html/comparison.js";
import type { ReportedComparison } from "../../src/report/html/reported.js";
import type { ImporterFigures } from "../../src/replay/importer-figures.js";

export const VFIO = "test/fixtures/traces/vtd-vfio.trace.gz";

/** A fixture's comparison, recorded unless told otherwise. */
export async function recordedComparison(trace = VFIO, recording = true): Promise<Comparison> {
  return compareTrace(await loadModule(), createReadStream(trace).pipe(createGunzip()), { recording });
}

/** What the report is told, `names` of importers with entries that differ from strategy to strategy. */
export function reported({ results, domains }: StrategyComparison, names: readonly string[] = []): ReportedComparison {
  const importers = (row: number): ImporterFigures[] =>
    names.map((name, index) => ({
      name,
      entries: [{ size: 4096, count: 1000 * (row + 1) + index }],
      entriesUsed: 1000 * (row + 1) + index,
      entriesFewest: 1000,
      entriesAttainable: 1000,
      attainableTidiness: 1,
      refused: 0,
      tidiness: row % 3 === 0 ? 1 : 1 / (row + index + 1),
    }));
  return {
    subject: "a trace",
    answer: verdict(results),
    best: bestStrategy(results)?.strategy.name ?? null,
    remarks: [],
    warnings: [],
    domains,
    results: results.map((result, row) => ({ ...result, importers: importers(row) })),
  };
}

export const PROVENANCE: Provenance = {
  version: "1.2.3",
  command: "iommu-lab compare trace.gz --html report.html",
  inputs: { trace: "trace.gz", device: null },
  document: '{"command":"compare"}\n',
  documentName: "comparison.json",
};
