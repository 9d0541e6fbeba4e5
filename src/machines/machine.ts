/**
 * A machine as data: the geometry of its remapping unit's caches, and latencies and rates from which time is derived. Every
 * figure of a preset has a source; "assumed" says that there is none.
 */
import type { CachesGeometry } from "../access/simulator.js";

/** What a core spends on an invalidation. Nanoseconds. */
export interface InvalidationFigures {
  /** Writing a command to the queue and telling the unit of it. */
  readonly commandNs: number;
  /** From the wait (VT-d: wait descriptor; SMMUv3: CMD_SYNC) to its completion, for which the core spins. */
  readonly waitNs: number;
}

/** Figures that time is derived from. Times in nanoseconds. */
export interface MachineFigures {
  /** One read by the walker: of an entry of a page table or of the configuration. */
  readonly memoryReadNs: number;
  /** Walks under way at a time; a fraction is a mean. */
  readonly walksInFlight: number;
  /** What translation adds to an access that hits the IOTLB. */
  readonly iotlbHitNs: number;
  /** Rate of the link in one direction, and what it carries beside the bytes of every transaction. */
  readonly linkGbps: number;
  readonly headerBytes: number;
  /** From a device's read to its data, out of the last-level cache, translation not counted. */
  readonly dmaReadNs: number;
  /** What a read of memory behind the last-level cache adds. */
  readonly dmaMemoryNs: number;
  /** Reads that the device keeps under way. */
  readonly dmaReadsInFlight: number;
  /** Bytes of the last-level cache that hold what devices read; 0: there is none. */
  readonly lastLevelCacheBytes: number;
  /** Default: nothing is said of the time that invalidations take. */
  readonly invalidation?: InvalidationFigures;
}

export const TRANSLATIONS = ["off", "small-pages", "superpages"] as const;
/** How pcie-bench was run: without translation, with the smallest pages only, with all sizes. */
export type Translation = (typeof TRANSLATIONS)[number];

/** What pcie-bench is run over, and what others measured with it: Gb/s by window, null where nothing is published. */
export interface PcieBenchFigures extends Partial<Readonly<Record<Translation, readonly (number | null)[]>>> {
  /** Bytes of a read. */
  readonly readBytes: number;
  /** Bytes that reads are spread over. */
  readonly windows: readonly number[];
}

export interface Machine {
  readonly name: string;
  readonly title: string;
  /** Page-table format, its levels, and whether devices go through its first or its second stage. */
  readonly format: string;
  readonly levels: number;
  readonly stage: "first" | "second";
  readonly caches: CachesGeometry;
  readonly figures: MachineFigures;
  readonly pcieBench?: PcieBenchFigures;
}

/** Where a preset's figures come from. */
export interface MachineSources {
  readonly caches: Readonly<Record<string, string>>;
  readonly figures: Readonly<Partial<Record<keyof MachineFigures, string>>>;
  readonly pcieBench?: string;
}

export interface Preset extends Machine {
  readonly sources: MachineSources;
}
