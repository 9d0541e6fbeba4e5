import * as layout from "../../assembly/layout.js";
import type { MappingAccess } from "../access/kinds.js";
import { Traffic } from "../access/traffic.js";
import { INTERRUPT_RANGE } from "../engine/addresses.js";
import type { Engine } from "../engine/engine.js";
import { statusError } from "../engine/errors.js";
import { defaultLevels, type FormatDescription } from "../engine/formats.js";
import type { LinearMemory } from "../engine/linear-memory.js";
import { PageTable, type Reclaim } from "../engine/page-table.js";
import type { Machine } from "../machines/machine.js";
import { ruleFields, type Strategy } from "../strategies/strategies.js";
import type { OperationBatch } from "../trace/batch.js";
import { pagesAt } from "../trace/mappings.js";
import { type AccessFigures, accessFigures } from "./access.js";
import type { MappedSpace } from "./recording.js";

/** Options of a replay; each has the default of a typical machine. */
export interface ReplayOptions {
  readonly strategy: Strategy;
  /** Name of the page-table format. Default `vtdss`. */
  readonly format?: string;
  /** Default 4. */
  readonly levels?: number;
  /** Leaf sizes, bit n = 2^n bytes. Default: all of the format. */
  readonly pageSizes?: bigint;
  readonly reclaim?: Reclaim;
  /** Highest IOVA, where that is less than the tables translate (a device's DMA mask). */
  readonly last?: bigint;
  /** What devices do between map and unmap, and the machine whose caches they go through; its tables are the replay's. */
  readonly traffic?: TrafficChoice;
}

/** What may go with a batch, and come back. */
export interface BatchColumns {
  /** PLACEMENT_* records, one an operation. */
  readonly placements?: Uint8Array;
  /** Set to the IOVA of each map operation in page numbers of 4 KiB, -1 where it has none. */
  readonly iovaPages?: Float64Array;
}

/** A machine and how its devices access what is mapped. */
export interface TrafficChoice {
  readonly machine: Machine;
  readonly access: MappingAccess;
  /** As in `TrafficOptions`. */
  readonly hints?: boolean;
  readonly unmapsPerWait?: number;
}

/** Leaves of one size over a replay. */
export interface LeafFigures {
  /** Bytes. */
  readonly size: number;
  /** Present on average over all operations, at most, and at the end. */
  readonly mean: number;
  readonly peak: number;
  readonly atEnd: number;
}

/** What one strategy did to the tables. Every figure is counted; the same input gives the same figures everywhere. */
export interface ReplayFigures {
  readonly operations: number;
  readonly mappings: number;
  /** Mappings for which no IOVA was found, or whose range was taken. */
  readonly failed: number;
  readonly failedBytes: number;
  /** Unmaps that would have split a leaf. */
  readonly splitUnmaps: number;
  /** Mappings placed with less of a congruence than their strategy preferred. */
  readonly unmetPreferences: number;
  /** Largest size first. */
  readonly leaves: readonly LeafFigures[];
  /** Leaves of all sizes together. */
  readonly leavesMean: number;
  readonly leavesPeak: number;
  /** Leaves used by all mappings, the fewest for their lengths, and the fewest that their physical layout permits. */
  readonly leavesUsed: number;
  readonly leavesFewest: number;
  readonly leavesAttainable: number;
  /** leavesFewest / leavesUsed and leavesFewest / leavesAttainable, at most 1 (shared pages of `identity` count once). */
  readonly tidiness: number;
  readonly attainableTidiness: number;
  readonly tableBytesPeak: number;
  /** Entries set and cleared, leaves and pointers to tables. */
  readonly entriesWritten: number;
  readonly entriesWrittenPerMapping: number;
  /** Widest span of one IOVA space, bytes, and most bytes mapped at a time. */
  readonly spanPeak: number;
  readonly liveBytesPeak: number;
  /** Mean and peak over samples, one at every sixteenth operation on a space. */
  readonly fragmentationMean: number;
  readonly fragmentationPeak: number;
}

/** Bytes of the widest IOVA space, and of all that is mapped. */
export interface Occupied {
  readonly span: number;
  readonly live: number;
}

/** Highest address that tables of this format and depth translate without sign extension. */
function lastInput(format: FormatDescription, levels: number): bigint {
  return (1n << BigInt(format.inputBits(levels) - (format.canonical ? 1 : 0))) - 1n;
}

/** Linear memory for a column of a batch; it grows with the batches. */
class Block {
  #address = 0;
  #bytes = 0;

  constructor(private readonly linear: LinearMemory) {}

  /** Linear address of at least so many bytes. Throws `memory-exhausted`. */
  reserve(bytes: number): number {
    if (bytes > this.#bytes) {
      if (this.#address !== 0) this.linear.free(this.#address, this.#bytes);
      this.#address = this.linear.allocate(bytes);
      this.#bytes = bytes;
    }
    return this.#address;
  }

  /** Linear address of a copy. Throws `memory-exhausted`. */
  copy(source: Uint8Array, bytes: number): number {
    const address = this.reserve(bytes);
    this.linear.u8(address, bytes).set(source.subarray(0, bytes));
    return address;
  }
}

/** Replays operation batches under one strategy, in an engine of its own. */
export class Replay {
  readonly #engine: Engine;
  readonly #format: FormatDescription;
  readonly #levels: number;
  readonly #pageSizes: bigint;
  readonly #handle: number;
  readonly #tables = new Map<number, PageTable>();
  readonly #traffic: { readonly running: Traffic; readonly machine: Machine } | null;
  readonly #operations: Block;
  readonly #pieces: Block;
  readonly #placements: Block;
  readonly #iovas: Block;

  /** Throws `invalid` for an impossible geometry, `memory-exhausted`. */
  constructor(engine: Engine, options: ReplayOptions) {
    const format = engine.format(options.format ?? "vtdss");
    const levels = options.levels ?? defaultLevels(format);
    const pageSizes = options.pageSizes ?? format.pageSizes;
    // The same checks as for any table, before a domain needs one.
    engine.createTable(format.name, { levels, pageSizes }).release();
    const { last } = options;
    const rule = ruleFields(options.strategy.rule);
    const { linear, exports } = engine;
    const setup = linear.allocate(layout.REPLAY_SETUP_BYTES);
    const anywhere = rule.policy === layout.POLICY_RECORDED || rule.policy === layout.POLICY_IDENTITY;
    const reserves = !anywhere && format.reservesInterruptRange;
    linear.setU32(setup + layout.REPLAY_FORMAT, format.index);
    linear.setU32(setup + layout.REPLAY_LEVELS, levels);
    linear.setU32(setup + layout.REPLAY_OUTPUT_BITS, format.outputBits);
    linear.setU64(setup + layout.REPLAY_PAGE_SIZES, pageSizes);
    linear.setU32(setup + layout.REPLAY_POLICY, rule.policy);
    linear.setU32(setup + layout.REPLAY_ALIGN, rule.align);
    linear.setU32(setup + layout.REPLAY_ALIGN_CAP, rule.alignCap);
    linear.setU32(setup + layout.REPLAY_CONGRUENT, rule.congruent);
    linear.setU32(setup + layout.REPLAY_DIRECTION, rule.direction);
    linear.setU32(setup + layout.REPLAY_UNMAP_FLAGS, options.reclaim === "empty" ? layout.RECLAIM_EMPTY : 0);
    linear.setU64(setup + layout.REPLAY_FIRST, anywhere ? 0n : format.granule);
    const widest = lastInput(format, levels);
    linear.setU64(setup + layout.REPLAY_LAST, anywhere || last === undefined || last > widest ? widest : last);
    linear.setU64(setup + layout.REPLAY_RESERVED_FIRST, reserves ? INTERRUPT_RANGE.first : 1n);
    linear.setU64(setup + layout.REPLAY_RESERVED_LAST, reserves ? INTERRUPT_RANGE.last : 0n);
    linear.setU32(setup + layout.REPLAY_LEAST_ALIGNMENT, rule.leastAlignment);
    linear.setU32(setup + layout.REPLAY_MOST_ALIGNMENT, rule.mostAlignment);
    linear.setU32(setup + layout.REPLAY_FLUSH, rule.flush);
    this.#handle = exports.replayCreate(setup) >>> 0;
    linear.free(setup, layout.REPLAY_SETUP_BYTES);
    if (this.#handle === 0) throw statusError(layout.STATUS_MEMORY_EXHAUSTED, "begin a replay");
    const { traffic, strategy } = options;
    const lazy = strategy.rule.source === "linux" && (strategy.rule.linux?.flush ?? "strict") !== "strict";
    this.#traffic = traffic
      ? { running: new Traffic(engine, this.#handle, { ...traffic, lazy }), machine: traffic.machine }
      : null;
    this.#engine = engine;
    this.#format = format;
    this.#levels = levels;
    this.#pageSizes = pageSizes;
    [this.#operations, this.#pieces] = [new Block(linear), new Block(linear)];
    [this.#placements, this.#iovas] = [new Block(linear), new Block(linear)];
  }

  /** Replays a batch in one call. Throws `memory-exhausted`. */
  run(batch: OperationBatch, { placements, iovaPages }: BatchColumns = {}): void {
    const { linear, exports } = this.#engine;
    const operations = this.#operations.copy(batch.operations, batch.count * layout.OPERATION_BYTES);
    const pieces = this.#pieces.copy(batch.pieces, batch.pieceCount * layout.PIECE_BYTES);
    const wanted = placements ? this.#placements.copy(placements, batch.count * layout.PLACEMENT_BYTES) : 0;
    const chosen = iovaPages ? this.#iovas.reserve(batch.count * 8) : 0;
    const status = this.#traffic
      ? this.#traffic.running.run(batch, operations, pieces, wanted, chosen)
      : exports.replayRun(this.#handle, operations, batch.count, pieces, wanted, chosen);
    if (status !== layout.STATUS_OK) throw statusError(status, "replay a batch of operations");
    if (!iovaPages) return;
    const words = linear.u32(chosen, batch.count * 2);
    for (let index = 0; index < batch.count; index++) {
      const isNone = words[2 * index + 1] === 0xffff_ffff;
      iovaPages[index] = isNone ? -1 : pagesAt(words, 2 * index);
    }
  }

  /** The table of a domain, null when nothing was mapped in it. It belongs to the replay: look, do not change. */
  table(domain: number): PageTable | null {
    const known = this.#tables.get(domain);
    if (known) return known;
    const { exports, linear } = this.#engine;
    const handle = exports.replayTable(this.#handle, domain) >>> 0;
    if (handle === 0) return null;
    const table = new PageTable(exports, linear, this.#format, handle, this.#levels, this.#pageSizes);
    this.#tables.set(domain, table);
    return table;
  }

  /** IOVA that the strategy gave to the live allocation in this slot, null when it failed. */
  iova(slot: number): bigint | null {
    const iova = BigInt.asUintN(64, this.#engine.exports.replayIova(this.#handle, slot));
    return iova === 0xffff_ffff_ffff_ffffn ? null : iova;
  }

  /** At present, and at most so far. */
  occupied(): { readonly now: Occupied; readonly peak: Occupied } {
    const { linear, exports } = this.#engine;
    const at = exports.replayResult(this.#handle) >>> 0;
    const result = (offset: number): number => Number(linear.getU64(at + offset));
    return {
      now: { span: Number(exports.replaySpan(this.#handle)), live: result(layout.RESULT_LIVE) },
      peak: { span: result(layout.RESULT_SPAN_PEAK), live: result(layout.RESULT_LIVE_PEAK) },
    };
  }

  /** What is mapped at present, of every domain with a leaf. Throws `memory-exhausted`. */
  spaces(): MappedSpace[] {
    const spaces: MappedSpace[] = [];
    for (let domain = 0; domain < this.#engine.exports.replayDomains(this.#handle); domain++) {
      const leaves = this.table(domain)?.leafRanges();
      if (leaves && leaves.count > 0) spaces.push({ domain, leaves });
    }
    return spaces;
  }

  /** What devices met with, null when the replay has no traffic. */
  get access(): AccessFigures | null {
    return this.#traffic && accessFigures(this.#traffic.machine, this.#traffic.running.counters);
  }

  /** The figures, once everything has been replayed. */
  finish(): ReplayFigures {
    const { linear, exports } = this.#engine;
    exports.replaySummarize(this.#handle);
    const at = exports.replayResult(this.#handle) >>> 0;
    const count = (offset: number): number => Number(linear.getU64(at + offset));
    const operations = count(layout.RESULT_OPERATIONS);
    const mappings = count(layout.RESULT_MAPPINGS);
    const mean = (sum: number): number => (operations === 0 ? 0 : sum / operations);
    const leaves: LeafFigures[] = [];
    let sum = 0;
    for (let level = this.#levels; level >= 1; level--) {
      const size = 2 ** this.#format.levelShift(level);
      if ((this.#pageSizes & BigInt(size)) === 0n) continue;
      const levelSum = count(layout.RESULT_LEAVES_SUM + level * 8);
      sum += levelSum;
      leaves.push({
        size,
        mean: mean(levelSum),
        peak: count(layout.RESULT_LEAVES_PEAK + level * 8),
        atEnd: count(layout.RESULT_LEAVES + level * 8),
      });
    }
    const used = count(layout.RESULT_USED);
    const fewest = count(layout.RESULT_FEWEST);
    const attainable = count(layout.RESULT_ATTAINABLE);
    const entriesWritten = count(layout.RESULT_ENTRIES_WRITTEN);
    const samples = count(layout.RESULT_FRAGMENTATION_SAMPLES);
    const placed = mappings - count(layout.RESULT_FAILED);
    return {
      operations,
      mappings,
      failed: count(layout.RESULT_FAILED),
      failedBytes: count(layout.RESULT_FAILED_BYTES),
      splitUnmaps: count(layout.RESULT_SPLIT),
      unmetPreferences: count(layout.RESULT_UNMET),
      leaves,
      leavesMean: mean(sum),
      leavesPeak: count(layout.RESULT_TOTAL_PEAK),
      leavesUsed: used,
      leavesFewest: fewest,
      leavesAttainable: attainable,
      tidiness: used === 0 ? 1 : Math.min(1, fewest / used),
      attainableTidiness: attainable === 0 ? 1 : Math.min(1, fewest / attainable),
      tableBytesPeak: count(layout.RESULT_PAGES_PEAK) * 4096,
      entriesWritten,
      entriesWrittenPerMapping: placed === 0 ? 0 : entriesWritten / placed,
      spanPeak: count(layout.RESULT_SPAN_PEAK),
      liveBytesPeak: count(layout.RESULT_LIVE_PEAK),
      fragmentationMean:
        samples === 0 ? 0 : linear.data.getFloat64(at + layout.RESULT_FRAGMENTATION_SUM, true) / samples,
      fragmentationPeak: linear.data.getFloat64(at + layout.RESULT_FRAGMENTATION_PEAK, true),
    };
  }
}
