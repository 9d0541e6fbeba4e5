/** What devices met with while a strategy's mappings were replayed: rates per page, time, counters by hardware's names. */
import { smmuv3Names, vtdNames, walkReads } from "../access/counters.js";
import { isSmmu, type TrafficCounters } from "../access/traffic.js";
import type { Machine } from "../machines/machine.js";
import { readTiming, type Timing, timedCounters } from "../machines/timing.js";

/** Misses of the paging-structure cache that keeps what entries of this level point to. */
export interface WalkCacheMisses {
  readonly level: number;
  readonly perPage: number;
}

export interface AccessFigures {
  /** Pages of 4096 bytes that devices moved: the rates' denominator. */
  readonly pages: number;
  readonly iotlbMissesPerPage: number;
  /** Entries of tables read by the walker. */
  readonly memoryReadsPerPage: number;
  /** Lowest level first; of the caches that the machine has. */
  readonly walkCacheMisses: readonly WalkCacheMisses[];
  /** Null when nothing was accessed. */
  readonly timing: Timing | null;
  readonly rangeInvalidations: number;
  readonly domainInvalidations: number;
  readonly invalidationWaits: number;
  readonly faults: number;
  /** By the names of the machine's performance monitor. */
  readonly counters: Readonly<Record<string, number>>;
}

const PAGE_BYTES = 4096;
/** Devices write into, and read from, what was just used: the last-level cache holds it. */
const IN_CACHE = 0;

export function accessFigures(machine: Machine, counters: TrafficCounters): AccessFigures {
  const pages = counters.bytes / PAGE_BYTES;
  const { rangeInvalidations, domainInvalidations, invalidationWaits } = counters;
  const commands = rangeInvalidations + domainInvalidations;
  const perPage = (n: number): number => (pages === 0 ? 0 : n / pages);
  const { levels } = machine.stage === "first" ? counters.firstStage : counters.secondStage;
  const caches = machine.stage === "first" ? machine.caches.firstStage : machine.caches.secondStage;
  return {
    pages,
    iotlbMissesPerPage: perPage(counters.iotlbLookups - counters.iotlbHits),
    memoryReadsPerPage: perPage(walkReads(counters)),
    walkCacheMisses: levels
      .filter(({ level }) => Object.hasOwn(caches ?? {}, level))
      .map(({ level, lookups, hits }) => ({ level, perPage: perPage(lookups - hits) })),
    timing:
      counters.requests === 0
        ? null
        : readTiming(machine.figures, timedCounters(counters), IN_CACHE, { commands, waits: invalidationWaits }),
    rangeInvalidations,
    domainInvalidations,
    invalidationWaits,
    faults: counters.faults,
    counters: isSmmu(machine) ? smmuv3Names(counters) : vtdNames(counters),
  };
}
