/** Machines that figures were published of. */
import type { CacheGeometry } from "../cache/geometry.js";
import type { Preset } from "./machine.js";

function lru(ways: number): CacheGeometry {
  return { sets: 1, ways, replacement: "lru" };
}

const DATA = "pcie-bench data set (Neugebauer et al., SIGCOMM'18; github pcie-bench/data)";
const FIT = "two-parameter fit of time = max(base, (1 - entries / pages) * walk / walks in flight) to the whole curve";
const PCIE = "PCI Express 3.0, 8 lanes: 8 GT/s * 8 * 128/130";
const HEADERS = "completion with data: 12 bytes of TLP header, 8 of framing, sequence number and LCRC";
/** One entry of the last level covers 2 MiB, 1 GiB and 512 GiB of the next ones: 64 MiB need 32, 1 and 1. */
const ASSUMED_STRUCTURES =
  "assumed: no size is published; enough for a window of 64 MiB, as the curves have one plateau";

export const PRESETS: readonly Preset[] = [
  {
    name: "broadwell-e5-2630v4",
    title: "Xeon E5-2630 v4 (Broadwell), Dell T430",
    format: "vtdss",
    levels: 4,
    stage: "second",
    caches: { iotlb: [lru(72)], secondStage: { 2: lru(64), 3: lru(16), 4: lru(16) } },
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
      },
    },
  },
  {
    name: "ivy-bridge-e5-2620v2",
    title: "Xeon E5-2620 v2 (Ivy Bridge), Dell T620",
    format: "vtdss",
    levels: 4,
    stage: "second",
    caches: { iotlb: [lru(106)], secondStage: { 2: lru(64), 3: lru(16), 4: lru(16) } },
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
      },
    },
  },
];

/** Where no machine is named. */
export const DEFAULT_MACHINE = "broadwell-e5-2630v4";

export function findPreset(name: string): Preset | null {
  return PRESETS.find((preset) => preset.name === name) ?? null;
}
