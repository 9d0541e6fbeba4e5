/** Replays of the same operations, one a strategy, and what their IOVAs mean to importers. */
import { instantiateEngine } from "../engine/engine.js";
import type { Reclaim } from "../engine/page-table.js";
import { EntryCounter } from "../importers/depth.js";
import type { AnyImporter } from "../importers/importers.js";
import type { Weights } from "../strategies/joint.js";
import { JointPlacer, type Trade } from "../strategies/joint-placer.js";
import { PlacementColumn, type Placer } from "../strategies/placement.js";
import { newPlacer, withImporters } from "../strategies/placer.js";
import { asksImporter, type Strategy } from "../strategies/strategies.js";
import type { OperationBatch } from "../trace/batch.js";
import type { AccessFigures } from "./access.js";
import { dmaLimit, ImporterAccount, type ImporterFigures } from "./importer-figures.js";
import { BatchMappings } from "../trace/mappings.js";
import { Recorder, type Recording } from "./recording.js";
import { Replay, type ReplayFigures, type TrafficChoice } from "./replay.js";
import { type VirtualAddressOptions, VirtualAddresses } from "./virtual-addresses.js";

/** What to compare. */
export interface ReplaysOptions {
  readonly strategies: readonly Strategy[];
  readonly format?: string;
  readonly levels?: number;
  readonly reclaim?: Reclaim;
  /** Whose entries are counted; strategies that ask an importer run once for each. IOVAs stay within what all can reach. */
  readonly importers?: readonly AnyImporter[];
  /** Of `joint`. */
  readonly weights?: Weights;
  readonly virtualAddresses?: VirtualAddressOptions;
  /** Record the way to the figures, too. */
  readonly recording?: boolean;
  /** Have devices access what is mapped. Format and levels are then the machine's. */
  readonly traffic?: TrafficChoice;
}

export interface StrategyResult {
  readonly strategy: Strategy;
  readonly figures: ReplayFigures;
  /** One for each importer, in their order. */
  readonly importers: readonly ImporterFigures[];
  /** Of `joint`: what each candidate would have cost. */
  readonly trade: Trade | null;
  /** What devices met with, null where they did nothing. */
  readonly access: AccessFigures | null;
  /** Where it was asked for. */
  readonly recording?: Recording;
}

interface Run {
  readonly strategy: Strategy;
  readonly replay: Replay;
  readonly placer: Placer | null;
  readonly accounts: readonly ImporterAccount[];
}

export class Replays {
  readonly #runs: readonly Run[];
  readonly #looksAtMappings: boolean;
  readonly #virtualAddresses: VirtualAddresses;
  readonly #column = new PlacementColumn();
  readonly #recorder: Recorder | null;
  #iovaPages = new Float64Array(0);

  private constructor(runs: readonly Run[], virtualAddresses: VirtualAddresses, recording: boolean) {
    this.#runs = runs;
    this.#recorder = recording ? new Recorder(runs.map(({ replay }) => replay)) : null;
    this.#looksAtMappings = runs.some(({ placer, accounts }) => placer !== null || accounts.length > 0);
    this.#virtualAddresses = virtualAddresses;
  }

  /**
   * Each replay has an engine of its own. Throws `invalid` for an impossible geometry and for a strategy that has no
   * importer to ask, `memory-exhausted`.
   */
  static async begin(module: WebAssembly.Module, options: ReplaysOptions): Promise<Replays> {
    const { importers = [], weights } = options;
    const counters = importers.map((importer) => new EntryCounter(importer));
    const last = dmaLimit(importers);
    const runs: Run[] = [];
    for (const { strategy, importer } of withImporters(options.strategies, importers)) {
      const engine = await instantiateEngine(module);
      const replay = new Replay(engine, { ...options, strategy, ...(last === undefined ? {} : { last }) });
      const placer = newPlacer(strategy, {
        pageSizes: engine.format(options.format ?? "vtdss").pageSizes,
        ...(importer === undefined ? {} : { importer }),
        ...(weights === undefined ? {} : { weights }),
      });
      const isIdentity = strategy.rule.source === "identity";
      const accounts = importers.map((each, index) => new ImporterAccount(each, counters[index], isIdentity));
      runs.push({ strategy, replay, placer, accounts });
    }
    return new Replays(runs, new VirtualAddresses(options.virtualAddresses), options.recording ?? false);
  }

  get count(): number {
    return this.#runs.length;
  }

  /** Throws `memory-exhausted`. */
  run(batch: OperationBatch): void {
    if (this.#looksAtMappings) this.#runPlaced(batch);
    else for (const { replay } of this.#runs) replay.run(batch);
    this.#recorder?.ran(batch.count);
  }

  #runPlaced(batch: OperationBatch): void {
    if (this.#iovaPages.length < batch.count) this.#iovaPages = new Float64Array(batch.count);
    const mappings = new BatchMappings(batch, (read) => this.#virtualAddresses.of(read, batch));
    for (const { replay, placer, accounts } of this.#runs) {
      if (placer !== null) {
        this.#column.reset(batch.count);
        placer.place(mappings, this.#column);
      }
      replay.run(batch, {
        ...(placer === null ? {} : { placements: this.#column.bytes }),
        ...(accounts.length === 0 ? {} : { iovaPages: this.#iovaPages }),
      });
      for (const account of accounts) account.count(mappings, this.#iovaPages);
    }
  }

  finish(): StrategyResult[] {
    const recordings = this.#recorder?.finish();
    return this.#runs.map(({ strategy, replay, placer, accounts }, index) => ({
      strategy,
      figures: replay.finish(),
      importers: accounts.map((account) => account.figures()),
      trade: placer instanceof JointPlacer ? placer.trade() : null,
      access: replay.access,
      ...(recordings === undefined ? {} : { recording: recordings[index] }),
    }));
  }
}

/** The strategies that can be compared when none is named: those that ask an importer only where there is one. */
export function comparable(all: readonly Strategy[], importers: readonly AnyImporter[] = []): readonly Strategy[] {
  return importers.length > 0 ? all : all.filter((strategy) => !asksImporter(strategy));
}
