/** What `compare` says of devices' accesses. */
import type { Timing } from "../machines/timing.js";
import type { StrategyResult } from "../replay/replays.js";
import type { TrafficInputs } from "../replay/traffic-inputs.js";
import { plainTable, wrap } from "./table.js";
import { significant } from "./units.js";

/** What accessed the mappings, through which machine's caches. */
export function trafficSubject({ machine, access, invalidationHints, unmapsPerWait }: TrafficInputs): string {
  return (
    `accesses: ${access.kind}, ${access.bytes} bytes; machine: ${machine.title}` +
    (invalidationHints ? "" : "; no invalidation hints: each drops paging-structure entries") +
    (unmapsPerWait === 1 ? "" : `; one wait for the invalidations of ${unmapsPerWait} unmaps`)
  );
}

/** What the core that invalidates can keep up with, null where nothing is known of it or it has nothing to do. */
function cpuGbps(timing: Timing | null): number | null {
  if (!timing?.invalidationNs) return null;
  return (timing.gbps * timing.transactionNs) / timing.invalidationNs;
}

/** The strategies' figures as an aligned table, with what it is of. */
export function accessText(traffic: TrafficInputs, results: readonly StrategyResult[]): string {
  const levels = results[0]?.access?.walkCacheMisses.map(({ level }) => level) ?? [];
  const statesCpu = traffic.machine.figures.invalidation !== undefined;
  const head = [
    "strategy",
    "IOTLB",
    ...levels.map((level) => `L${level}`),
    "reads",
    "ranges",
    "flushes",
    "waits",
    ...(statesCpu ? ["CPU Gb/s"] : []),
    "Gb/s",
  ];
  const rows = results.flatMap(({ strategy, access: figures }) => {
    if (figures === null) return [];
    const { timing } = figures;
    const cpu = cpuGbps(timing);
    return [
      [
        strategy.name,
        figures.iotlbMissesPerPage.toFixed(3),
        ...figures.walkCacheMisses.map(({ perPage }) => perPage.toFixed(3)),
        figures.memoryReadsPerPage.toFixed(3),
        String(figures.rangeInvalidations),
        String(figures.domainInvalidations),
        String(figures.invalidationWaits),
        ...(statesCpu ? [cpu === null ? "" : significant(cpu)] : []),
        timing === null ? "" : `${significant(timing.gbps)} (${timing.boundBy})`,
      ],
    ];
  });
  return [
    ...wrap(trafficSubject(traffic), 100),
    "",
    plainTable(head, rows),
    "",
    ...wrap(
      "Per 4096-byte page: IOTLB misses; misses of the cache of entries of level n (Ln); memory reads of the walker. " +
        "Invalidations of ranges, of domains (flushes), and how often one core, which makes them all, waits for them. " +
        `${statesCpu ? "CPU Gb/s: as many as that core can keep up with. " : ""}Gb/s: modelled, and what bounds it.`,
      100,
    ),
  ].join("\n");
}

/** Of one strategy, as columns of CSV. */
export function accessColumns({ access }: StrategyResult): Readonly<Record<string, number>> {
  if (access === null) return {};
  const { timing } = access;
  const cpu = cpuGbps(timing);
  return {
    iotlbMissesPerPage: access.iotlbMissesPerPage,
    memoryReadsPerPage: access.memoryReadsPerPage,
    ...Object.fromEntries(
      access.walkCacheMisses.map(({ level, perPage }) => [`walkCacheMissesLevel${level}PerPage`, perPage]),
    ),
    rangeInvalidations: access.rangeInvalidations,
    domainInvalidations: access.domainInvalidations,
    invalidationWaits: access.invalidationWaits,
    ...(cpu === null ? {} : { cpuGbps: cpu }),
    gbps: timing?.gbps ?? 0,
  };
}
