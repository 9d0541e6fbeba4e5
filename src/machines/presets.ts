/** Machines that figures were published of. */
import type { StructureCaches } from "../access/simulator.js";
import type { CacheGeometry } from "../cache/geometry.js";
import type { InvalidationFigures, PcieBenchFigures, Preset } from "./machine.js";

function lru(ways: number): CacheGeometry {
  return { sets: 1, ways, replacement: "lru" };
}

/** Of machines of which nothing is published. */
export const COMMON_STRUCTURES: StructureCaches = { 2: lru(64), 3: lru(16), 4: lru(16) };

const DATA = "pcie-bench data set (Neugebauer et al., SIGCOMM'18; github pcie-bench/data)";
const FIT = "two-parameter fit of time = max(base, (1 - entries / pages) * walk / walks in flight) to the whole curve";
const PCIE = "PCI Express 3.0, 8 lanes: 8 GT/s * 8 * 128/130";
const HEADERS = "completion with data: 12 bytes of TLP header, 8 of framing, sequence number and LCRC";
/** One entry of the last level covers 2 MiB, 1 GiB and 512 GiB of the next ones: 64 MiB need 32, 1 and 1. */
const ASSUMED_STRUCTURES =
  "assumed: no size is published; enough for a window of 64 MiB, as the curves have one plateau";

/** EiovaR (FAST'15, the table that rIOMMU has too): an IOTLB invalidation of strict mode, from writing it to its completion. */
const INVALIDATION: InvalidationFigures = { commandNs: 86, waitNs: 600 };
const INVALIDATION_SOURCE =
  "EiovaR (FAST'15), from memory: 2127 cycles of a 3.1 GHz Xeon E3-1220 an invalidation, 686 ns; 86 of it for the command: assumed";
/** What the data set has of every host: random 64-byte reads, warm. */
const WINDOWS = [4, 16, 256, 512, 1024, 1536, 2048, 3072, 4096, 8192, 16_384, 32_768, 65_536].map((kib) => kib * 1024);
export const PCIE_BENCH: PcieBenchFigures = { readBytes: 64, windows: WINDOWS };

function roundRobin(sets: number, ways: number): CacheGeometry {
  return { sets, ways, replacement: "round-robin" };
}

const FAST_AND_SAFE = "Fast & Safe (SOSP'24)";
const ENOUGH = "assumed: the working set needs one";

export const CASCADE_LAKE: Preset = {
  name: "cascade-lake-6234",
  title: "Xeon Gold 6234 (Cascade Lake), 100G ConnectX-5",
  format: "vtdss",
  levels: 4,
  stage: "second",
  caches: { iotlb: [lru(64)], secondStage: COMMON_STRUCTURES },
  figures: {
    memoryReadNs: 197,
    walksInFlight: 1,
    iotlbHitNs: 0,
    linkGbps: 100,
    headerBytes: 0,
    dmaReadNs: 65,
    dmaMemoryNs: 0,
    dmaReadsInFlight: 16,
    lastLevelCacheBytes: 24.75 * 2 ** 20,
    invalidation: INVALIDATION,
  },
  sources: {
    caches: {
      iotlb: "pcie-bench (SIGCOMM'18), an earlier generation; not published for this one",
      level2: `${FAST_AND_SAFE}: 64 or 128 are likely`,
      level3: ENOUGH,
      level4: ENOUGH,
    },
    figures: {
      memoryReadNs: `${FAST_AND_SAFE}: lm of its model, page / (l0 + reads * lm)`,
      walksInFlight: `${FAST_AND_SAFE}: its model adds up the reads of a page`,
      iotlbHitNs: "contained in dmaReadNs",
      linkGbps: `${FAST_AND_SAFE}: the card's; PCI Express has 128`,
      headerBytes: "assumed: none, as the card is slower than its bus",
      dmaReadNs: `${FAST_AND_SAFE}: l0 of its model, for a page of 4096 bytes`,
      dmaMemoryNs: "contained in dmaReadNs: DDIO is off",
      dmaReadsInFlight: "so that l0 is of a page: 16 transactions of 256 bytes",
      lastLevelCacheBytes: "Intel's product data: 24.75 MB",
      invalidation: INVALIDATION_SOURCE,
    },
  },
};

/** No latency of a walk is published of any SMMU. */
const NOT_PUBLISHED = "assumed: not published; as on the Broadwell host of pcie-bench";
const SMMU_FIGURES = {
  memoryReadNs: 303,
  iotlbHitNs: 0,
  linkGbps: 63,
  headerBytes: 20,
  dmaReadNs: 418.3,
  dmaMemoryNs: 57,
  dmaReadsInFlight: 26.5,
  lastLevelCacheBytes: 25 << 20,
};
const SMMU_SOURCES = {
  memoryReadNs: NOT_PUBLISHED,
  iotlbHitNs: NOT_PUBLISHED,
  linkGbps: PCIE,
  headerBytes: HEADERS,
  dmaReadNs: NOT_PUBLISHED,
  dmaMemoryNs: NOT_PUBLISHED,
  dmaReadsInFlight: NOT_PUBLISHED,
  lastLevelCacheBytes: NOT_PUBLISHED,
};
const GEM5 = "gem5, src/dev/arm/SMMUv3.py";
const AGILEX = "Intel's documentation of the MMU-600 in Agilex 5";

const SMMUS: readonly Preset[] = [
  {
    name: "smmuv3-gem5",
    title: "SMMUv3 with gem5's default caches",
    format: "vmsav8-4k",
    levels: 4,
    stage: "first",
    caches: {
      iotlb: [roundRobin(512, 4)],
      firstStage: { 2: roundRobin(1, 348), 3: roundRobin(1, 28), 4: roundRobin(1, 4) },
    },
    figures: { ...SMMU_FIGURES, walksInFlight: 16 },
    sources: {
      caches: {
        iotlb: `${GEM5}: TLB of a device interface, 2048 entries of 4 ways; the micro-TLB of 32 before it is left out`,
        firstStage: `${GEM5}: walk caches of stage 1, 4 entries of level 0, 28 of level 1, 348 of level 2; full: assumed`,
      },
      figures: { ...SMMU_SOURCES, walksInFlight: `${GEM5}: ptw_slots` },
    },
  },
  {
    name: "mmu-600",
    title: "Arm MMU-600, caches as in Agilex 5 and a public configuration",
    format: "vmsav8-4k",
    levels: 4,
    stage: "first",
    caches: {
      iotlb: [{ sets: 64, ways: 4, replacement: "random" }],
      firstStage: { 2: roundRobin(64, 4), 3: roundRobin(64, 4), 4: roundRobin(64, 4) },
    },
    figures: { ...SMMU_FIGURES, walksInFlight: 64 },
    sources: {
      caches: {
        iotlb: "a public MMU-600 configuration: main TLB of 256; TRM: 4 ways, random; the micro-TLB of 32 is left out",
        firstStage: `${AGILEX}: 256 entries a walk cache; TRM: 4 ways, round-robin`,
      },
      figures: { ...SMMU_SOURCES, walksInFlight: `${AGILEX}: 64 translation slots` },
    },
  },
];

export const PRESETS: readonly Preset[] = [
  {
    name: "broadwell-e5-2630v4",
    title: "Xeon E5-2630 v4 (Broadwell), Dell T430",
    format: "vtdss",
    levels: 4,
    stage: "second",
    caches: { iotlb: [lru(72)], secondStage: COMMON_STRUCTURES },
    figures: {
      memoryReadNs: 303,
      walksInFlight: 6,
      iotlbHitNs: 0,
      linkGbps: 63,
      headerBytes: 20,
      dmaReadNs: 418.3,
      dmaMemoryNs: 57,
      dmaReadsInFlight: 26.5,
      lastLevelCacheBytes: 25 << 20,
      invalidation: INVALIDATION,
    },
    sources: {
      caches: {
        iotlb: `72 entries: ${FIT}; the paper says 64. Fully associative: assumed (no matter for random reads)`,
        secondStage: ASSUMED_STRUCTURES,
      },
      figures: {
        memoryReadNs: `6 walks in flight at 50.5 ns a walk of one read (${FIT}); 8-byte reads take 280 (median) to 320 ns (mean) longer`,
        walksInFlight: "latency of a miss over time per miss, of the same data",
        iotlbHitNs: "assumed: contained in dmaReadNs",
        linkGbps: PCIE,
        headerBytes: HEADERS,
        dmaReadNs: `${DATA}: 8-byte reads, warm, window of 256 KiB`,
        dmaMemoryNs: "assumed: as measured on the Ivy Bridge host of the same data set",
        dmaReadsInFlight: "dmaReadNs over 15.8 ns a transaction, window of 256 KiB of the same data (Little's law)",
        lastLevelCacheBytes: "Intel's product data: 25 MB",
        invalidation: INVALIDATION_SOURCE,
      },
      pcieBench: DATA,
    },
    pcieBench: {
      ...PCIE_BENCH,
      "small-pages": [31.4, 32.1, 32.4, 22.3, 15.2, 13.0, 12.1, 11.3, 10.9, 10.4, 10.1, 9.9, 9.8],
      off: [31.5, 32.2, 32.5, 32.5, 32.5, 32.5, 32.5, 32.6, 32.6, 32.6, 32.6, 29.1, 28.4],
    },
  },
  {
    name: "ivy-bridge-e5-2620v2",
    title: "Xeon E5-2620 v2 (Ivy Bridge), Dell T620",
    format: "vtdss",
    levels: 4,
    stage: "second",
    caches: { iotlb: [lru(106)], secondStage: COMMON_STRUCTURES },
    figures: {
      memoryReadNs: 342,
      walksInFlight: 6,
      iotlbHitNs: 0,
      linkGbps: 63,
      headerBytes: 20,
      dmaReadNs: 424.2,
      dmaMemoryNs: 57,
      dmaReadsInFlight: 26.5,
      lastLevelCacheBytes: 15 << 20,
      invalidation: INVALIDATION,
    },
    sources: {
      caches: {
        iotlb: `106 entries: ${FIT}. Fully associative: assumed (no matter for random reads)`,
        secondStage: ASSUMED_STRUCTURES,
      },
      figures: {
        memoryReadNs: `6 walks in flight at 57 ns a walk of one read (${FIT}); 8-byte reads take 340 ns longer`,
        walksInFlight: "latency of a miss over time per miss, of the same data",
        iotlbHitNs: "assumed: contained in dmaReadNs",
        linkGbps: PCIE,
        headerBytes: HEADERS,
        dmaReadNs: `${DATA}: 8-byte reads, warm, superpages, windows up to 1 MiB`,
        dmaMemoryNs: "the same at 64 MiB: 44.1 ns more on average, 77 % of the reads behind the last-level cache",
        dmaReadsInFlight: "dmaReadNs over 16.0 ns a transaction, window of 256 KiB of the same data (Little's law)",
        lastLevelCacheBytes: "Intel's product data: 15 MB",
        invalidation: INVALIDATION_SOURCE,
      },
      pcieBench: DATA,
    },
    pcieBench: {
      ...PCIE_BENCH,
      "small-pages": [31.7, 31.8, 31.8, 30.5, 15.2, 12.6, 11.5, 10.5, 10.0, 9.4, 9.1, 9.0, 9.1],
      superpages: [31.8, 31.9, 31.9, 31.9, 31.9, 31.9, 31.9, 31.9, 31.9, 31.9, 29.6, 28.3, 28.1],
      off: [31.9, 32.0, 32.0, 32.0, 32.0, 32.0, 32.0, 32.0, 32.0, 32.0, 29.7, 28.4, 28.2],
    },
  },
  CASCADE_LAKE,
  ...SMMUS,
];

/** Where no machine is named. */
export const DEFAULT_MACHINE = "broadwell-e5-2630v4";

export function findPreset(name: string): Preset | null {
  return PRESETS.find((preset) => preset.name === name) ?? null;
}
