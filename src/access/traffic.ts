/** Accesses between the operations of a replay, through a machine's caches (assembly/access/traffic.ts). */
import * as layout from "../../assembly/layout.js";
import { smmuv3Tags, smmuv3TlbSelection } from "../cache/smmuv3.js";
import { vtdIotlbSelection, vtdPasidIotlbSelection, vtdTags } from "../cache/vtd.js";
import type { Engine } from "../engine/engine.js";
import { IommuError } from "../engine/errors.js";
import type { Machine } from "../machines/machine.js";
import type { OperationBatch } from "../trace/batch.js";
import { AccessBatch } from "./batch.js";
import type { TranslationCounters } from "./counters.js";
import { type MappingAccess, streamOf } from "./kinds.js";
import { type DeviceTags, type Selection, TranslationSimulator } from "./simulator.js";
import { AccessStream } from "./streams.js";

export interface TrafficOptions {
  readonly machine: Machine;
  readonly access: MappingAccess;
  /** Unmaps wait for a flush of their domain, as with Linux's flush queues, instead of invalidating their range. */
  readonly lazy: boolean;
  /**
   * Whether the invalidation of a range leaves the paging-structure caches alone unless a table page was freed. Default
   * true. Linux means to (VT-d: the invalidation hint, IH; SMMUv3: Leaf), but its VT-d driver did not pass the hint on
   * before `qi_desc_iotlb` took it from bit 0 of the address (2025).
   */
  readonly hints?: boolean;
  /** Unmaps whose invalidations are waited for together (batched), where `lazy` is not. Default 1: strict. */
  readonly unmapsPerWait?: number;
}

export interface TrafficCounters extends TranslationCounters {
  /** Invalidations of a range of pages, and of a whole domain. */
  readonly rangeInvalidations: number;
  readonly domainInvalidations: number;
  /** How often a core waits for the invalidations that it gave. */
  readonly invalidationWaits: number;
}

const BATCH = 4096;
/** CAP.MAMV: log2 of the most pages that a VT-d invalidation names. 18 is what QEMU and most machines have. */
const MOST_ADDRESS_MASK = 18;
const ANY_RANGE = 0xffff_ffff;

/** What a domain's entries are told apart by, and what Linux's invalidation of a range selects. */
interface Architecture {
  tags(domain: number): DeviceTags;
  readonly selection: Selection;
  readonly mostAddressMask: number;
}

/** The architecture of a machine, by its page tables: Arm's are an SMMU's. */
export function isSmmu(machine: Machine): boolean {
  return machine.format.startsWith("vmsav8");
}

function architectureOf(machine: Machine): Architecture {
  const firstStage = machine.stage === "first";
  const page = { domain: 0, address: 0n, addressMask: 0, leafOnly: false };
  if (isSmmu(machine)) {
    const world = "NS-EL1";
    const range = { first: 0n, last: 0xfffn, granule: null, level: null };
    const request = { streamWorlds: [world], global: false, range, leafOnly: false } as const;
    return {
      tags: (domain) =>
        smmuv3Tags({
          sid: domain,
          ssid: null,
          streamWorld: world,
          vmid: firstStage ? null : domain,
          asid: firstStage ? domain : null,
          firstStage,
        }),
      selection: smmuv3TlbSelection(
        firstStage
          ? { ...request, stages: "stage-1", vmid: null, asid: 0 }
          : { ...request, stages: "stage-2", vmid: { vmid: 0, ignoredBits: 0 }, asid: null },
      ),
      mostAddressMask: ANY_RANGE,
    };
  }
  return {
    tags: (domain) => vtdTags({ sid: domain, domain, pasid: null, firstStage }),
    selection: firstStage
      ? vtdPasidIotlbSelection({ ...page, granularity: "page", pasid: 0 })
      : vtdIotlbSelection({ ...page, granularity: "page" }),
    mostAddressMask: MOST_ADDRESS_MASK,
  };
}

/** The traffic of one replay. It lives as long as the replay's engine. */
export class Traffic {
  readonly #handle: number;
  readonly #simulator: TranslationSimulator;
  readonly #architecture: Architecture;
  readonly #machine: Machine;
  readonly #stage: "firstStage" | "secondStage";
  readonly #unmapsPerWait: number;
  #devices = 0;
  #room = 0;

  /** Throws `invalid` for caches that cannot be, `memory-exhausted`. */
  constructor(
    private readonly engine: Engine,
    replay: number,
    { machine, access, lazy, hints = true, unmapsPerWait = 1 }: TrafficOptions,
  ) {
    const { linear } = engine;
    if (!Number.isInteger(unmapsPerWait) || unmapsPerWait < 1) {
      const why = `${unmapsPerWait} unmaps a wait: not a whole number from 1`;
      throw new IommuError("invalid", "have devices access what is mapped", undefined, why);
    }
    this.#simulator = new TranslationSimulator(engine, machine.caches);
    this.#machine = machine;
    this.#unmapsPerWait = lazy ? 1 : unmapsPerWait;
    this.#architecture = architectureOf(machine);
    this.#stage = machine.stage === "first" ? "firstStage" : "secondStage";
    const { stream, block } = streamOf(access);
    const batch = new AccessBatch(engine, BATCH);
    const { selection, mostAddressMask } = this.#architecture;
    const words: readonly (readonly [field: number, value: number])[] = [
      [layout.TRAFFIC_REPLAY, replay],
      [layout.TRAFFIC_SIMULATOR, this.#simulator.handle],
      [layout.TRAFFIC_STREAM, new AccessStream(engine, stream).handle],
      [layout.TRAFFIC_BATCH, batch.prepare(0)],
      [layout.TRAFFIC_CAPACITY, BATCH],
      [layout.TRAFFIC_BLOCK, block],
      [layout.TRAFFIC_RING, access.kind === "ring" ? 1 : 0],
      [layout.TRAFFIC_FIRST_STAGE, machine.stage === "first" ? 1 : 0],
      [layout.TRAFFIC_LAZY, lazy ? 1 : 0],
      [layout.TRAFFIC_MOST_ADDRESS_MASK, mostAddressMask],
      [layout.TRAFFIC_HINTS, hints ? 1 : 0],
    ];
    this.#handle = linear.allocate(layout.TRAFFIC_BYTES);
    for (const [field, value] of words) linear.setU32(this.#handle + field, value);
    linear.setU64(this.#handle + layout.TRAFFIC_IOTLB_MASK, selection.iotlb?.[0].mask ?? 0n);
    linear.setU64(this.#handle + layout.TRAFFIC_WALK_MASK, selection[this.#stage]?.[0].mask ?? 0n);
  }

  /** Replays a batch whose records and columns (0: none) stand at these linear addresses; returns a status. */
  run(batch: OperationBatch, operations: number, pieces: number, placements: number, iovas: number): number {
    const records = new Uint32Array(batch.operations.buffer, batch.operations.byteOffset, (batch.count * WORDS) | 0);
    let domains = this.#devices;
    for (let at = DOMAIN; at < records.length; at += WORDS) domains = Math.max(domains, records[at] + 1);
    while (this.#devices < domains) this.#addDevice();
    return this.engine.exports.trafficRun(this.#handle, operations, batch.count, pieces, placements, iovas);
  }

  /** Of the next domain, whose table the replay makes with its first operation: until then another one stands there. */
  #addDevice(): void {
    if (this.#devices === this.#room) this.#grow();
    const tags = this.#architecture.tags(this.#devices);
    const { format, levels } = this.#machine;
    const placeholder = this.engine.createTable(format, { levels });
    this.#devices = this.#simulator.addDevice({ [this.#stage]: placeholder, tags }) + 1;
    placeholder.release();
  }

  #grow(): void {
    const { linear } = this.engine;
    const bytes = this.#room * layout.TRAFFIC_DOMAIN_BYTES;
    const room = Math.max(16, this.#room * 2);
    const block = linear.allocate(room * layout.TRAFFIC_DOMAIN_BYTES);
    const known = linear.getU32(this.#handle + layout.TRAFFIC_DOMAINS);
    if (known !== 0) {
      linear.u8(block, bytes).set(linear.u8(known, bytes));
      linear.free(known, bytes);
    }
    linear.setU32(this.#handle + layout.TRAFFIC_DOMAINS, block);
    this.#room = room;
  }

  get counters(): TrafficCounters {
    const count = (field: number): number => Number(this.engine.linear.getU64(this.#handle + field));
    return {
      ...this.#simulator.counters,
      rangeInvalidations: count(layout.TRAFFIC_INVALIDATIONS),
      domainInvalidations: count(layout.TRAFFIC_FLUSHES),
      invalidationWaits: Math.ceil(count(layout.TRAFFIC_WAITS) / this.#unmapsPerWait),
    };
  }
}

const WORDS = layout.OPERATION_BYTES >>> 2;
const DOMAIN = layout.OPERATION_DOMAIN >>> 2;
