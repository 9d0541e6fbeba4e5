/** What `compare` says of devices' accesses. */
import type { StrategyResult } from "../replay/replays.js";
import type { TrafficInputs } from "../replay/traffic-inputs.js";
import { plainTable, wrap } from "./table.js";
import { significant } from "./units.js";

/** What accessed the mappings, through which machine's caches. */
export function trafficSubject({ machine, access, invalidationHints }: TrafficInputs): string {
  return (
    `accesses: ${access.kind}, ${access.bytes} bytes; machine: ${machine.title}` +
    (invalidationHints ? "" : "; no invalidation hints: each drops paging-structure entries")
  );
}

/** The strategies' figures as an aligned table, with what it is of. */
export function accessText(traffic: TrafficInputs, results: readonly StrategyResult[]): string {
  const levels = results[0]?.access?.walkCacheMisses.map(({ level }) => level) ?? [];
  const head = [
    "strategy",
    "IOTLB",
    ...levels.map((level) => `L${level}`),
    "reads",
    "invalidations",
    "flushes",
    "Gb/s",
  ];
  const rows = results.flatMap(({ strategy, access: figures }) => {
    if (figures === null) return [];
    const { timing } = figures;
    return [
      [
        strategy.name,
        figures.iotlbMissesPerPage.toFixed(3),
        ...figures.walkCacheMisses.map(({ perPage }) => perPage.toFixed(3)),
        figures.memoryReadsPerPage.toFixed(3),
        String(figures.rangeInvalidations),
        String(figures.domainInvalidations),
        timing === null ? "" : `${significant(timing.gbps)} (${timing.boundBy})`,
      ],
    ];
  });
  return [
    trafficSubject(traffic),
    "",
    plainTable(head, rows),
    "",
    ...wrap(
      "Per 4096-byte page: IOTLB misses; misses of the cache of entries of level n (Ln); memory reads of the walker. " +
        "Invalidations: of a range, of a domain (flushes). Gb/s: modelled, and what bounds it.",
      100,
    ),
  ].join("\n");
}

/** Of one strategy, as columns of CSV. */
export function accessColumns({ access }: StrategyResult): Readonly<Record<string, number>> {
  if (access === null) return {};
  return {
    iotlbMissesPerPage: access.iotlbMissesPerPage,
    memoryReadsPerPage: access.memoryReadsPerPage,
    ...Object.fromEntries(
      access.walkCacheMisses.map(({ level, perPage }) => [`walkCacheMissesLevel${level}PerPage`, perPage]),
    ),
    rangeInvalidations: access.rangeInvalidations,
    domainInvalidations: access.domainInvalidations,
    gbps: access.timing?.gbps ?? 0,
  };
}
