/**
 * The blind prediction: calls in the order of the trace, every space at once. A miss is corrected by the recorded IOVA
 * and counted. It is here that allocations which no dma event names find their space.
 */
import { TOKEN_DMA_MAP } from "../../assembly/layout.js";
import type { Allocation, Call, TraceCalls } from "./calls.js";
import type { TraceEvent } from "./events.js";
import { Corrections, SpaceReplay, type Step, stepOf } from "./space.js";
import { describeSpace, type Machine, type SpaceDescription, spaceKey } from "./spaces.js";

/** A wrong prediction. */
export interface Miss {
  readonly allocation: Allocation;
  readonly space: Space;
  /** Its place in the order of the space. */
  readonly position: number;
  /** Page frame, 0: none. */
  readonly predicted: number;
}

/** Steps between two states that are kept. */
const SAVE_INTERVAL = 64;
/** Events within which a task names the device that it sets up. */
const NAMED_WITHIN = 1024;

/** An IOVA space and its calls, in the order of the trace. */
export class Space {
  readonly description: SpaceDescription;
  readonly order: Step[] = [];
  readonly corrections = new Corrections();
  /** Allocations that no dma event names. */
  unnamed = 0;
  allocations = 0;
  readonly #replay: SpaceReplay;

  constructor(description: SpaceDescription) {
    this.description = description;
    this.#replay = new SpaceReplay(description.model, this.corrections);
  }

  /** Performs a free, or an allocation that is this space's. Its prediction, null for a free. */
  take(step: Step): number | null {
    const replay = this.#replay;
    if (replay.position - replay.saved >= SAVE_INTERVAL) replay.save();
    this.order.push(step);
    const pfn = replay.step(step);
    if (step.call.kind === "free") return null;
    this.allocations++;
    if (pfn !== step.call.allocation.pfn) {
      replay.restore();
      replay.run(this.order, this.order.length - 1);
      replay.correct(this.order);
    }
    return pfn;
  }

  /** Performs an allocation if the prediction for it is right here. */
  takeIfExact(step: Step): boolean {
    const replay = this.#replay;
    if (replay.position - replay.saved >= SAVE_INTERVAL) replay.save();
    if (replay.step(step) === step.call.allocation.pfn) {
      this.order.push(step);
      this.allocations++;
      return true;
    }
    replay.restore();
    replay.run(this.order, this.order.length);
    return false;
  }

  release(): void {
    this.#replay.release();
  }
}

export interface BlindPrediction {
  readonly spaces: readonly Space[];
  readonly misses: readonly Miss[];
  readonly allocations: number;
  /** Allocations at addresses that user space or a driver chose, not the DMA API. */
  readonly private: number;
  /** Allocations that may be of the DMA API, of a device that cannot be told. */
  readonly unattributed: number;
}

/** @param onProgress receives the share of the calls that are done, from time to time */
export function predictBlind(
  trace: TraceCalls,
  machine: Machine,
  onProgress: (share: number) => void = () => {},
): BlindPrediction {
  const prediction = new Blind(trace, machine);
  for (const [index, call] of trace.calls.entries()) {
    if (index % 4096 === 0) onProgress(index / trace.calls.length);
    prediction.take(call);
  }
  return prediction;
}

class Blind implements BlindPrediction {
  readonly spaces: Space[] = [];
  readonly misses: Miss[] = [];
  private = 0;
  unattributed = 0;
  readonly #trace: TraceCalls;
  readonly #machine: Machine;
  readonly #byKey = new Map<string, Space>();
  /** The space of each allocation, by its index; none for those that are left out. */
  readonly #spaceOf = new Map<number, Space>();
  /** Line from which on a task that attaches devices owns a private domain. */
  readonly #attachedFrom = new Map<string, number>();

  constructor(trace: TraceCalls, machine: Machine) {
    this.#trace = trace;
    this.#machine = machine;
    for (const { task, line } of trace.attaches.toReversed()) this.#attachedFrom.set(task, line);
  }

  get allocations(): number {
    return this.spaces.reduce((sum, { allocations }) => sum + allocations, 0);
  }

  take(call: Call): void {
    const step = stepOf(call);
    const { allocation } = call;
    if (call.kind === "free") {
      this.#spaceOf.get(allocation.index)?.take(step);
      return;
    }
    let space: Space | null;
    if (allocation.device !== null) {
      space = this.#spaceOfDevice(allocation.device);
    } else {
      space = this.#spaceOfUnnamed(step);
      if (space === null) return;
      if (this.#spaceOf.has(allocation.index)) return;
    }
    this.#spaceOf.set(allocation.index, space);
    const predicted = space.take(step) ?? 0;
    if (predicted !== allocation.pfn) {
      this.misses.push({ allocation, space, position: space.order.length - 1, predicted });
    }
  }

  #spaceOfDevice(device: string): Space {
    const key = spaceKey(this.#machine, device);
    let space = this.#byKey.get(key);
    if (space === undefined) {
      space = new Space(describeSpace(this.#machine, device));
      this.#byKey.set(key, space);
      this.spaces.push(space);
    }
    return space;
  }

  /**
   * The space of an allocation that no dma event names (two-step API, MSI doorbell): the one whose prediction is right.
   * When it is right nowhere it is the one that has most of them; null when it is nobody's.
   */
  #spaceOfUnnamed(step: Step): Space | null {
    const { allocation, event } = step.call;
    const attachedFrom = this.#attachedFrom.get(this.#trace.events.taskName(event.task));
    if (allocation.partial || (attachedFrom !== undefined && attachedFrom < event.line)) {
      this.private++;
      return null;
    }
    const candidates = [...this.spaces].sort((one, other) => other.unnamed - one.unnamed);
    // A driver sets up MSI before its first dma event: the page is the first of a space that is yet to be seen.
    const coming = allocation.free === null ? this.#nextNewDevice(event) : null;
    if (coming !== null) candidates.unshift(this.#spaceOfDevice(coming));
    for (const space of candidates) {
      if (!space.takeIfExact(step)) continue;
      space.unnamed++;
      this.#spaceOf.set(allocation.index, space);
      return space;
    }
    const [most] = candidates;
    if (most === undefined || most.unnamed === 0) {
      this.unattributed++;
      return null;
    }
    most.unnamed++;
    return most;
  }

  /** A device whose space is yet to be seen: the one that the task of this event names next, else the trace's next. */
  #nextNewDevice({ index, task }: TraceEvent): string | null {
    const { events, devices } = this.#trace.events;
    const isNew = (device: string): boolean => !this.#byKey.has(spaceKey(this.#machine, device));
    for (const event of events.slice(index + 1, index + 1 + NAMED_WITHIN)) {
      if (event.task !== task || event.kind !== TOKEN_DMA_MAP) continue;
      if (isNew(devices[event.device])) return devices[event.device];
      break;
    }
    // Numbers of devices are given in the order in which events name them.
    return devices.find(isNew) ?? null;
  }
}
