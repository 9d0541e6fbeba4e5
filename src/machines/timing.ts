/**
 * Time from counters. Three things go on at once, and the slowest decides: the link carries transactions, the device has so
 * many reads under way, and the unit so many walks. Nothing here is random: the same counters give the same time.
 */
import type { TranslationCounters } from "../access/counters.js";
import { walkReads } from "../access/counters.js";
import type { MachineFigures } from "./machine.js";

export interface Timing {
  /** Nanoseconds per transaction: by the link, by the latency of reads, by walks. */
  readonly linkNs: number;
  readonly latencyNs: number;
  readonly walkNs: number;
  /** The largest of the three. */
  readonly transactionNs: number;
  readonly boundBy: "link" | "latency" | "walks";
  readonly gbps: number;
}

/** What counters of translation say of a run; of a run without translation, 0 reads. */
export type TimedCounters = Pick<TranslationCounters, "requests" | "bytes"> & { readonly walkerReads: number };

export function timedCounters(counters: TranslationCounters): TimedCounters {
  const { requests, bytes, configurationReads } = counters;
  return { requests, bytes, walkerReads: walkReads(counters) + configurationReads };
}

/**
 * @param footprint bytes of memory that the reads are spread over evenly; as much of it as fits is in the last-level cache
 */
export function readTiming(figures: MachineFigures, counters: TimedCounters, footprint: number): Timing {
  const bytes = counters.bytes / counters.requests;
  const walkerReads = counters.walkerReads / counters.requests;
  const behindCache = 1 - Math.min(1, figures.lastLevelCacheBytes / footprint);
  const translation = figures.iotlbHitNs + walkerReads * figures.memoryReadNs;
  const linkNs = ((bytes + figures.headerBytes) * 8) / figures.linkGbps;
  const latencyNs = (figures.dmaReadNs + behindCache * figures.dmaMemoryNs + translation) / figures.dmaReadsInFlight;
  const walkNs = (walkerReads * figures.memoryReadNs) / figures.walksInFlight;
  const transactionNs = Math.max(linkNs, latencyNs, walkNs);
  const boundBy = transactionNs === walkNs ? "walks" : transactionNs === latencyNs ? "latency" : "link";
  return { linkNs, latencyNs, walkNs, transactionNs, boundBy, gbps: (bytes * 8) / transactionNs };
}
