/**
 * pcie-bench (Neugebauer et al., "Understanding PCIe performance for end host networking", SIGCOMM'18): random DMA reads over
 * windows of growing size, 64 bytes each where they are the published ones, caches warm, with and without superpages.
 */
import { AccessBatch } from "../access/batch.js";
import { type DeviceTags, TranslationSimulator } from "../access/simulator.js";
import { AccessStream } from "../access/streams.js";
import { physicalAddress, privateAddress } from "../engine/addresses.js";
import type { Engine } from "../engine/engine.js";
import { type Machine, type PcieBenchFigures, TRANSLATIONS, type Translation } from "../machines/machine.js";
import { PCIE_BENCH } from "../machines/presets.js";
import { readTiming, type TimedCounters, timedCounters } from "../machines/timing.js";

/** Whether anything measured on the machine is published. */
export function isPublished({ pcieBench }: Machine): boolean {
  return TRANSLATIONS.some((translation) => pcieBench?.[translation] !== undefined);
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

const BATCH = 1 << 14;
const WARM_UP = 1 << 16;
const MEASURED = 1 << 17;
const IOVA = 1n << 30n;
const PHYSICAL = 1n << 32n;
const SEED = 1;
const PAGE = 4096;
/** Buffers are multiples of it: superpages that are larger have no part in it. */
const BUFFER = 64 << 20;
/** One device and one domain: nothing is to be told apart. */
const ONE = { tag: 0n, owner: 0n };
const TAGS: DeviceTags = { iotlb: ONE, firstStage: ONE, secondStage: ONE, nested: ONE, context: ONE, pasid: ONE };

/** Bytes of the window and of a read, and of the buffer that every window is the beginning of. */
interface Reads {
  readonly window: number;
  readonly readBytes: number;
  readonly mapped: number;
}

interface Run {
  readonly timed: TimedCounters;
  readonly misses: number;
}

function run(engine: Engine, machine: Machine, superpages: boolean, { window, readBytes, mapped }: Reads): Run {
  const format = engine.format(machine.format);
  const pageSizes = superpages ? format.pageSizes : format.granule;
  const table = engine.createTable(machine.format, { levels: machine.levels, pageSizes });
  const permissions = { read: true, write: true };
  table.map(privateAddress(IOVA), physicalAddress(PHYSICAL), BigInt(mapped), permissions);
  const simulator = new TranslationSimulator(engine, machine.caches);
  simulator.addDevice({ ...(machine.stage === "first" ? { firstStage: table } : { secondStage: table }), tags: TAGS });
  const pages = Math.ceil(window / PAGE);
  const everyPage = new AccessStream(engine, {
    kind: "sequential",
    base: IOVA,
    length: BigInt(pages * PAGE),
    bytes: PAGE,
  });
  const stream = new AccessStream(engine, {
    kind: "random",
    base: IOVA,
    length: BigInt(window),
    bytes: readBytes,
    seed: SEED,
  });
  const batch = new AccessBatch(engine, BATCH);
  // Of a window that the caches hold, random reads alone would leave pages out.
  simulator.runStream(everyPage, batch, pages);
  simulator.runStream(stream, batch, WARM_UP);
  simulator.clearCounters();
  simulator.runStream(stream, batch, MEASURED);
  const { counters } = simulator;
  for (const each of [batch, everyPage, stream, simulator, table]) each.release();
  return { timed: timedCounters(counters), misses: counters.iotlbLookups - counters.iotlbHits };
}

/** The root mean square. */
export function rootMeanSquare(values: readonly number[]): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
}

function figuresOf({ pcieBench }: Machine): PcieBenchFigures {
  return pcieBench ?? PCIE_BENCH;
}

function row(engine: Engine, machine: Machine, translation: Translation, onWindow: () => void): PcieBenchRow {
  const figures = figuresOf(machine);
  const { readBytes } = figures;
  const mapped = Math.ceil(Math.max(...figures.windows) / BUFFER) * BUFFER;
  const windows = figures.windows.map((window, index): WindowResult => {
    const isOff = translation === "off";
    const { timed, misses } = isOff
      ? { timed: { requests: 1, bytes: readBytes, walkerReads: 0 }, misses: 0 }
      : run(engine, machine, translation === "superpages", { window, readBytes, mapped });
    const machineFigures = isOff ? { ...machine.figures, iotlbHitNs: 0 } : machine.figures;
    const { gbps, boundBy } = readTiming(machineFigures, timed, window);
    const publishedGbps = figures[translation]?.[index] ?? null;
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
  const windows = machines.reduce((sum, machine) => sum + figuresOf(machine).windows.length, 0);
  const total = windows * TRANSLATIONS.length;
  let done = 0;
  const onWindow = (): void => onProgress(++done / total);
  return machines.flatMap((machine) => TRANSLATIONS.map((translation) => row(engine, machine, translation, onWindow)));
}
