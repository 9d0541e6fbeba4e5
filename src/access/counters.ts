/**
 * Exact counters of a simulator, and the names that hardware gives them. Levels are those of the entry that was read,
 * 1 being the last table.
 */
import * as layout from "../../assembly/layout.js";
import type { Engine } from "../engine/engine.js";

/** One level of one stage. */
export interface LevelCounters {
  readonly level: number;
  /** Look-ups and hits of the cache that keeps what entries of this level point to. */
  readonly lookups: number;
  readonly hits: number;
  /** Entries of this level that were read from memory. */
  readonly reads: number;
}

export interface StageCounters {
  readonly walks: number;
  /** Walks that a paging-structure cache shortened. */
  readonly nonleafHits: number;
  /** Levels 1 to 5. */
  readonly levels: readonly LevelCounters[];
}

export interface TranslationCounters {
  readonly requests: number;
  readonly bytes: number;
  readonly iotlbLookups: number;
  readonly iotlbHits: number;
  readonly contextLookups: number;
  readonly contextHits: number;
  readonly pasidLookups: number;
  readonly pasidHits: number;
  /** Second-stage translations of the first stage's tables and outputs. */
  readonly nestedLookups: number;
  readonly nestedHits: number;
  readonly configurationReads: number;
  /** Requests that read any. */
  readonly configurationMisses: number;
  readonly faults: number;
  readonly firstStage: StageCounters;
  readonly secondStage: StageCounters;
}

const LEVELS = [1, 2, 3, 4, 5] as const;

export function readCounters(engine: Engine, simulator: number): TranslationCounters {
  const read = (field: number): number => Number(engine.linear.getU64(simulator + field));
  const stage = (at: number): StageCounters => {
    const levels = LEVELS.map((level) => ({
      level,
      lookups: read(at + layout.STAGE_LOOKUPS + level * 8),
      hits: read(at + layout.STAGE_HITS + level * 8),
      reads: read(at + layout.STAGE_READS + level * 8),
    }));
    const nonleafHits = levels.reduce((sum, { hits }) => sum + hits, 0);
    return { walks: read(at + layout.STAGE_WALKS), nonleafHits, levels };
  };
  return {
    requests: read(layout.SIMULATOR_REQUESTS),
    bytes: read(layout.SIMULATOR_BYTES_MOVED),
    iotlbLookups: read(layout.SIMULATOR_IOTLB_LOOKUPS),
    iotlbHits: read(layout.SIMULATOR_IOTLB_HITS),
    contextLookups: read(layout.SIMULATOR_CONTEXT_LOOKUPS),
    contextHits: read(layout.SIMULATOR_CONTEXT_HITS),
    pasidLookups: read(layout.SIMULATOR_PASID_LOOKUPS),
    pasidHits: read(layout.SIMULATOR_PASID_HITS),
    nestedLookups: read(layout.SIMULATOR_NESTED_LOOKUPS),
    nestedHits: read(layout.SIMULATOR_NESTED_HITS),
    configurationReads: read(layout.SIMULATOR_CONFIGURATION_READS),
    configurationMisses: read(layout.SIMULATOR_CONFIGURATION_MISSES),
    faults: read(layout.SIMULATOR_FAULTS),
    firstStage: stage(layout.SIMULATOR_FIRST_STAGE),
    secondStage: stage(layout.SIMULATOR_SECOND_STAGE),
  };
}

const NO_STAGE: StageCounters = {
  walks: 0,
  nonleafHits: 0,
  levels: LEVELS.map((level) => ({ level, lookups: 0, hits: 0, reads: 0 })),
};

/** Of a unit that counts none of them. */
export const NO_COUNTERS: TranslationCounters = {
  requests: 0,
  bytes: 0,
  iotlbLookups: 0,
  iotlbHits: 0,
  contextLookups: 0,
  contextHits: 0,
  pasidLookups: 0,
  pasidHits: 0,
  nestedLookups: 0,
  nestedHits: 0,
  configurationReads: 0,
  configurationMisses: 0,
  faults: 0,
  firstStage: NO_STAGE,
  secondStage: NO_STAGE,
};

/** Entries of page tables that were read, of both stages. */
export function walkReads({ firstStage, secondStage }: TranslationCounters): number {
  return [...firstStage.levels, ...secondStage.levels].reduce((sum, { reads }) => sum + reads, 0);
}

/** By the names of the VT-d performance monitor (Linux: drivers/iommu/intel/perfmon.c). */
export function vtdNames(counters: TranslationCounters): Readonly<Record<string, number>> {
  return {
    iommu_requests: counters.requests,
    iotlb_lookup: counters.iotlbLookups,
    iotlb_hit: counters.iotlbHits,
    fs_nonleaf_lookup: counters.firstStage.walks,
    fs_nonleaf_hit: counters.firstStage.nonleafHits,
    ss_nonleaf_lookup: counters.secondStage.walks,
    ss_nonleaf_hit: counters.secondStage.nonleafHits,
    ctxt_cache_lookup: counters.contextLookups,
    ctxt_cache_hit: counters.contextHits,
    pasid_cache_lookup: counters.pasidLookups,
    pasid_cache_hit: counters.pasidHits,
    iommu_mrds: walkReads(counters) + counters.configurationReads,
  };
}

/** By the names of the SMMUv3 performance monitor counter group (IHI 0070, section 10.4). */
export function smmuv3Names(counters: TranslationCounters): Readonly<Record<string, number>> {
  return {
    transaction: counters.requests,
    tlb_miss: counters.iotlbLookups - counters.iotlbHits,
    config_cache_miss: counters.configurationMisses,
    trans_table_walk_access: walkReads(counters),
    config_struct_access: counters.configurationReads,
  };
}
