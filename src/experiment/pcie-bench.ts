/**
 * pcie-bench (Neugebauer et al., "Understanding PCIe performance for end host networking", SIGCOMM'18): random 64-byte DMA
 * reads over windows of growing size, caches warm, with and without superpages.
 */
import { AccessBatch } from "../access/batch.js";
import { type DeviceTags, TranslationSimulator } from "../access/simulator.js";
import { AccessStream } from "../access/streams.js";
import { physicalAddress, privateAddress } from "../engine/addresses.js";
import type { Engine } from "../engine/engine.js";
import type { Machine } from "../machines/machine.js";
import { readTiming, type TimedCounters, timedCounters } from "../machines/timing.js";

export type Translation = "off" | "small-pages" | "superpages";
export const TRANSLATIONS: readonly Translation[] = ["off", "small-pages", "superpages"];

const KIB = 1024;
const MIB = 1024 * KIB;
/** Bytes of the published windows. */
export const WINDOWS = [4 * KIB, 16 * KIB, 256 * KIB, 512 * KIB].concat(
  [1, 1.5, 2, 3, 4, 8, 16, 32, 64].map((mebibytes) => mebibytes * MIB),
);

/**
 * Gb/s by window, of the raw data of pcie-bench (github pcie-bench/data, Apache-2.0): random 64-byte reads, warm.
 */
const PUBLISHED: Readonly<Record<string, Partial<Record<Translation, readonly number[]>>>> = {
  "broadwell-e5-2630v4": {
    "small-pages": [31.4, 32.1, 32.4, 22.3, 15.2, 13.0, 12.1, 11.3, 10.9, 10.4, 10.1, 9.9, 9.8],
    off: [31.5, 32.2, 32.5, 32.5, 32.5, 32.5, 32.5, 32.6, 32.6, 32.6, 32.6, 29.1, 28.4],
  },
  "ivy-bridge-e5-2620v2": {
    "small-pages": [31.7, 31.8, 31.8, 30.5, 15.2, 12.6, 11.5, 10.5, 10.0, 9.4, 9.1, 9.0, 9.1],
    superpages: [31.8, 31.9, 31.9, 31.9, 31.9, 31.9, 31.9, 31.9, 31.9, 31.9, 29.6, 28.3, 28.1],
    off: [31.9, 32.0, 32.0, 32.0, 32.0, 32.0, 32.0, 32.0, 32.0, 32.0, 29.7, 28.4, 28.2],
  },
};

/** Whether a machine's own figures are published. */
export function isPublished({ name }: Machine): boolean {
  return Object.hasOwn(PUBLISHED, name);
}

export interface WindowResult {
  /** Bytes. */
  readonly window: number;
  readonly gbps: number;
  readonly boundBy: string;
  /** Of all reads. */
  readonly iotlbMissRate: number;
  readonly readsPerMiss: number;
  readonly publishedGbps: number | null;
  /** ours / published - 1. */
  readonly relativeError: number | null;
}

export interface PcieBenchRow {
  readonly machine: string;
  readonly translation: Translation;
  readonly windows: readonly WindowResult[];
  /** Root mean square of the relative errors; null where nothing is published. */
  readonly rms: number | null;
}

const READ_BYTES = 64;
const BATCH = 1 << 14;
const WARM_UP = 1 << 16;
const MEASURED = 1 << 17;
const BUFFER = 64 * MIB;
const IOVA = 1n << 30n;
const PHYSICAL = 1n << 32n;
const SEED = 1;
/** One device and one domain: nothing is to be told apart. */
const ONE = { tag: 0n, owner: 0n };
const TAGS: DeviceTags = { iotlb: ONE, firstStage: ONE, secondStage: ONE, nested: ONE, context: ONE, pasid: ONE };

interface Run {
  readonly timed: TimedCounters;
  readonly misses: number;
}

function run(engine: Engine, machine: Machine, superpages: boolean, window: number): Run {
  const format = engine.format(machine.format);
  const pageSizes = superpages ? format.pageSizes : format.granule;
  const table = engine.createTable(machine.format, { levels: machine.levels, pageSizes });
  const permissions = { read: true, write: true };
  table.map(privateAddress(IOVA), physicalAddress(PHYSICAL), BigInt(BUFFER), permissions);
  const simulator = new TranslationSimulator(engine, machine.caches);
  simulator.addDevice({ ...(machine.stage === "first" ? { firstStage: table } : { secondStage: table }), tags: TAGS });
  const stream = new AccessStream(engine, {
    kind: "random",
    base: IOVA,
    length: BigInt(window),
    bytes: READ_BYTES,
    seed: SEED,
  });
  const batch = new AccessBatch(engine, BATCH);
  simulator.runStream(stream, batch, WARM_UP);
  simulator.clearCounters();
  simulator.runStream(stream, batch, MEASURED);
  const { counters } = simulator;
  for (const each of [batch, stream, simulator, table]) each.release();
  return { timed: timedCounters(counters), misses: counters.iotlbLookups - counters.iotlbHits };
}

/** The root mean square. */
export function rootMeanSquare(values: readonly number[]): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
}

function row(engine: Engine, machine: Machine, translation: Translation, onWindow: () => void): PcieBenchRow {
  const published = PUBLISHED[machine.name]?.[translation];
  const windows = WINDOWS.map((window, index): WindowResult => {
    const { timed, misses } =
      translation === "off"
        ? { timed: { requests: 1, bytes: READ_BYTES, walkerReads: 0 }, misses: 0 }
        : run(engine, machine, translation === "superpages", window);
    const { gbps, boundBy } = readTiming(machine.figures, timed, window);
    const publishedGbps = published?.[index] ?? null;
    onWindow();
    return {
      window,
      gbps,
      boundBy,
      iotlbMissRate: misses / timed.requests,
      readsPerMiss: misses === 0 ? 0 : timed.walkerReads / misses,
      publishedGbps,
      relativeError: publishedGbps === null ? null : gbps / publishedGbps - 1,
    };
  });
  const errors = windows.flatMap(({ relativeError }) => (relativeError === null ? [] : [relativeError]));
  return { machine: machine.name, translation, windows, rms: errors.length === 0 ? null : rootMeanSquare(errors) };
}

/**
 * Every machine without translation, with the smallest pages only, and with superpages.
 * @param onProgress receives the share that is done, after every window
 */
export function pcieBench(
  engine: Engine,
  machines: readonly Machine[],
  onProgress: (share: number) => void = () => {},
): PcieBenchRow[] {
  const total = machines.length * TRANSLATIONS.length * WINDOWS.length;
  let done = 0;
  const onWindow = (): void => onProgress(++done / total);
  return machines.flatMap((machine) => TRANSLATIONS.map((translation) => row(engine, machine, translation, onWindow)));
}
