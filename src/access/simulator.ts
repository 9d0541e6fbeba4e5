/**
 * Accesses of one or more devices through a remapping unit's caches, over real page tables. What is not invalidated stays in
 * the caches and is used.
 */
import * as layout from "../../assembly/layout.js";
import type { Engine } from "../engine/engine.js";
import { IommuError } from "../engine/errors.js";
import type { PageTable } from "../engine/page-table.js";
import type { AccessBatch } from "./batch.js";
import { type CacheName, Caches, type CachesGeometry, type Selection, type TagAndOwner } from "./caches.js";
import { readCounters, type TranslationCounters } from "./counters.js";
import type { AccessStream } from "./streams.js";

export type { CacheName, CachesGeometry, IotlbGeometry, Selection, StructureCaches, TagAndOwner } from "./caches.js";

/** The caches that tell entries apart; `vtdTags` and `smmuv3Tags` make them as the architectures say. */
export interface DeviceTags {
  readonly iotlb: TagAndOwner;
  readonly firstStage: TagAndOwner;
  readonly secondStage: TagAndOwner;
  readonly nested: TagAndOwner;
  readonly context: TagAndOwner;
  readonly pasid: TagAndOwner;
}

/** One requester with one address space. */
export interface SimulatedDevice {
  /** The tables of its stages; at least one. They stay the caller's. */
  readonly firstStage?: PageTable;
  readonly secondStage?: PageTable;
  readonly tags: DeviceTags;
  /** Entries that a miss of the context and of the PASID cache reads. Default 0: the cache is not asked. */
  readonly contextReads?: number;
  readonly pasidReads?: number;
  /** Runs of leaves that one entry of the IOTLB holds: the bit of a leaf, and log2 of the leaves of a run, by level. */
  readonly contiguous?: { readonly bit: bigint; readonly run: ReadonlyMap<number, number> };
}

const MOST_DEVICES = 1 << 16;
/** Flags of tables whose walks do more than read. */
const UPDATES = layout.TABLE_UPDATES_ACCESSED | layout.TABLE_UPDATES_DIRTY | layout.TABLE_REFUSES_INTERRUPT_RANGE;
const TAG_FIELDS: readonly (readonly [CacheName, number])[] = [
  ["iotlb", layout.DEVICE_IOTLB],
  ["firstStage", layout.DEVICE_FIRST_TAG],
  ["secondStage", layout.DEVICE_SECOND_TAG],
  ["nested", layout.DEVICE_NESTED_TAG],
  ["context", layout.DEVICE_CONTEXT_TAG],
  ["pasid", layout.DEVICE_PASID_TAG],
];

export class TranslationSimulator {
  readonly #caches: Caches;
  readonly #handle: number;
  readonly #devices: number[] = [];
  #room = 0;

  /** Throws `invalid` for an impossible geometry, naming the cache; `memory-exhausted`. */
  constructor(
    private readonly engine: Engine,
    geometry: CachesGeometry,
  ) {
    this.#caches = new Caches(engine, geometry);
    this.#handle = this.#caches.handle;
  }

  /** For use by what runs accesses in WASM: linear address of the simulator. */
  get handle(): number {
    return this.#handle;
  }

  /**
   * Adds a device; returns its index. Throws `invalid` when it has no table, a table whose walks would write or refuse
   * interrupt addresses, or a second stage of a smaller granule than the first; `space-exhausted` beyond 65,536 devices.
   */
  addDevice(device: SimulatedDevice): number {
    const { linear } = this.engine;
    const { firstStage, secondStage, tags, contiguous } = device;
    if (!firstStage && !secondStage) throw invalid("add a device", "it has no page table");
    for (const table of [firstStage, secondStage]) {
      if (table && linear.getU32(table.handle + layout.TABLE_FLAGS) & UPDATES) {
        throw invalid("add a device", `its ${table.format.name} table has flags that hardware writes or checks`);
      }
    }
    if (firstStage && secondStage && firstStage.format.granule > secondStage.format.granule) {
      throw invalid("add a device", "the tables of its first stage are larger than pages of the second");
    }
    if (this.#devices.length === MOST_DEVICES) {
      throw new IommuError("space-exhausted", "add a device", undefined, `there are ${MOST_DEVICES} already`);
    }
    if (this.#devices.length === this.#room) this.#grow();
    const handle = linear.allocate(layout.DEVICE_BYTES);
    linear.setU32(handle + layout.DEVICE_FIRST, firstStage?.handle ?? 0);
    linear.setU32(handle + layout.DEVICE_SECOND, secondStage?.handle ?? 0);
    linear.setU32(handle + layout.DEVICE_CONTEXT_READS, device.contextReads ?? 0);
    linear.setU32(handle + layout.DEVICE_PASID_READS, device.pasidReads ?? 0);
    for (const [name, field] of TAG_FIELDS) linear.u64(handle + field, 2).set([tags[name].tag, tags[name].owner]);
    if (contiguous) {
      linear.setU64(handle + layout.DEVICE_CONTIGUOUS, contiguous.bit);
      for (const [level, run] of contiguous.run) linear.setU32(handle + layout.DEVICE_CONTIGUOUS_RUN + 4 * level, run);
    }
    const index = this.#devices.push(handle) - 1;
    linear.setU32(linear.getU32(this.#handle + layout.SIMULATOR_DEVICES) + 4 * index, handle);
    linear.setU32(this.#handle + layout.SIMULATOR_DEVICE_COUNT, index + 1);
    return index;
  }

  #grow(): void {
    const { linear } = this.engine;
    const room = Math.max(4, this.#room * 2);
    const block = linear.allocate(room * 4);
    linear.u32(block, this.#devices.length).set(this.#devices);
    linear.free(linear.getU32(this.#handle + layout.SIMULATOR_DEVICES), this.#room * 4);
    linear.setU32(this.#handle + layout.SIMULATOR_DEVICES, block);
    this.#room = room;
  }

  /** Runs the first `count` accesses of a batch, in order. Throws `invalid` when one is of a device that there is not. */
  run(batch: AccessBatch, count: number): void {
    const status = this.engine.exports.simulatorRun(this.#handle, batch.prepare(count));
    if (status !== layout.STATUS_OK) throw invalid("run a batch of accesses", "one of them is of an unknown device");
  }

  /** Runs the next `count` accesses of a stream, a batch at a time. */
  runStream(stream: AccessStream, batch: AccessBatch, count: number): void {
    for (let left = count; left > 0; left -= batch.capacity) {
      const now = Math.min(left, batch.capacity);
      stream.fill(batch, now);
      this.run(batch, now);
    }
  }

  /** Drops what a selection names and nothing else; returns how many entries that were. */
  invalidate(selection: Selection): number {
    return this.#caches.invalidate(selection);
  }

  get counters(): TranslationCounters {
    return readCounters(this.engine, this.#handle);
  }

  /** Sets all counters to 0; caches stay as they are, warm. */
  clearCounters(): void {
    this.engine.exports.simulatorClearCounters(this.#handle);
  }

  release(): void {
    const { linear } = this.engine;
    for (const device of this.#devices) linear.free(device, layout.DEVICE_BYTES);
    linear.free(linear.getU32(this.#handle + layout.SIMULATOR_DEVICES), this.#room * 4);
    this.#caches.release();
  }
}

function invalid(operation: string, why: string): IommuError {
  return new IommuError("invalid", operation, undefined, why);
}
