/**
 * Time from counters. Some things go on at once, and the slowest decides: the link carries transactions, the device has so
 * many reads under way, the unit so many walks, and a core invalidates. Nothing here is random: the same counters give the
 * same time.
 */
import type { TranslationCounters } from "../access/counters.js";
import { walkReads } from "../access/counters.js";
import type { MachineFigures } from "./machine.js";

export interface Timing {
  /** Nanoseconds per transaction: by the link, by the latency of reads, by walks. */
  readonly linkNs: number;
  readonly latencyNs: number;
  readonly walkNs: number;
  /** By the invalidations, all of one core; null where the machine does not say what they take. */
  readonly invalidationNs: number | null;
  /** The largest of these. */
  readonly transactionNs: number;
  readonly boundBy: "link" | "latency" | "walks" | "invalidations";
  readonly gbps: number;
}

/** What software invalidated meanwhile: commands, and how often it waited for their completion. */
export interface InvalidationCounts {
  readonly commands: number;
  readonly waits: number;
}

export const NO_INVALIDATIONS: InvalidationCounts = { commands: 0, waits: 0 };

/** What counters of translation say of a run; of a run without translation, 0 reads. */
export type TimedCounters = Pick<TranslationCounters, "requests" | "bytes"> & { readonly walkerReads: number };

export function timedCounters(counters: TranslationCounters): TimedCounters {
  const { requests, bytes, configurationReads } = counters;
  return { requests, bytes, walkerReads: walkReads(counters) + configurationReads };
}

/** Share of the reads that the last-level cache does not hold. */
function behindCache(cacheBytes: number, footprint: number): number {
  if (cacheBytes === 0) return 1;
  return footprint <= cacheBytes ? 0 : 1 - cacheBytes / footprint;
}

/**
 * @param footprint bytes of memory that the reads are spread over evenly; as much of it as fits is in the last-level cache
 */
export function readTiming(
  figures: MachineFigures,
  counters: TimedCounters,
  footprint: number,
  { commands, waits }: InvalidationCounts = NO_INVALIDATIONS,
): Timing {
  const { requests } = counters;
  const bytes = counters.bytes / requests;
  const walkerReads = counters.walkerReads / requests;
  const memoryNs = behindCache(figures.lastLevelCacheBytes, footprint) * figures.dmaMemoryNs;
  const translation = figures.iotlbHitNs + walkerReads * figures.memoryReadNs;
  const linkNs = ((bytes + figures.headerBytes) * 8) / figures.linkGbps;
  const latencyNs = (figures.dmaReadNs + memoryNs + translation) / figures.dmaReadsInFlight;
  const walkNs = (walkerReads * figures.memoryReadNs) / figures.walksInFlight;
  const { invalidation } = figures;
  const invalidationNs = invalidation
    ? (commands * invalidation.commandNs + waits * invalidation.waitNs) / requests
    : null;
  const bounds = [
    ["invalidations", invalidationNs ?? 0],
    ["walks", walkNs],
    ["latency", latencyNs],
    ["link", linkNs],
  ] as const;
  const [boundBy, transactionNs] = bounds.reduce((slowest, bound) => (bound[1] > slowest[1] ? bound : slowest));
  return { linkNs, latencyNs, walkNs, invalidationNs, transactionNs, boundBy, gbps: (bytes * 8) / transactionNs };
}
