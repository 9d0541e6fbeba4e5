/** What an order of calls gives when nothing corrects the prediction. */
import type { Allocation } from "./calls.js";
import { Corrections, type SpaceModel, SpaceReplay, type Step } from "./space.js";

export interface OpenLoop {
  /** Allocations that got the recorded IOVA. */
  readonly exact: number;
  readonly misses: readonly {
    readonly allocation: Allocation;
    readonly predicted: number;
    readonly position: number;
  }[];
  /** Bytes from the lowest IOVA below 4 GiB to 4 GiB. */
  readonly span: { readonly recorded: number; readonly predicted: number };
  /** Live allocations after equal shares of the calls, and at most. */
  readonly live: {
    readonly recorded: readonly number[];
    readonly predicted: readonly number[];
    readonly recordedPeak: number;
    readonly predictedPeak: number;
  };
}

const PAGE_BYTES = 4096;
const PFN_4G = 0x100000;
const SAMPLES = 16;

export function openLoop(model: SpaceModel, order: readonly Step[]): OpenLoop {
  const replay = new SpaceReplay(model, new Corrections());
  const misses: { allocation: Allocation; predicted: number; position: number }[] = [];
  const recorded = new Tally();
  const predicted = new Tally();
  /** Allocations that the emulation had no address for. */
  const failed = new Set<Allocation>();
  let exact = 0;
  for (const [position, step] of order.entries()) {
    const pfn = replay.step(step);
    const { kind, allocation } = step.call;
    if (kind === "allocate") {
      if (pfn === allocation.pfn) exact++;
      else misses.push({ allocation, predicted: pfn, position });
      recorded.allocated(allocation.pfn);
      if (pfn > 0) predicted.allocated(pfn);
      else failed.add(allocation);
    } else {
      recorded.freed();
      if (!failed.has(allocation)) predicted.freed();
    }
    const share = Math.floor(((position + 1) * SAMPLES) / order.length);
    recorded.sample(share);
    predicted.sample(share);
  }
  replay.release();
  return {
    exact,
    misses,
    span: { recorded: recorded.span, predicted: predicted.span },
    live: {
      recorded: recorded.samples,
      predicted: predicted.samples,
      recordedPeak: recorded.peak,
      predictedPeak: predicted.peak,
    },
  };
}

class Tally {
  #live = 0;
  #lowest = PFN_4G;
  peak = 0;
  readonly samples: number[] = [];

  get span(): number {
    return (PFN_4G - this.#lowest) * PAGE_BYTES;
  }

  allocated(pfn: number): void {
    this.#lowest = Math.min(this.#lowest, pfn);
    this.peak = Math.max(this.peak, ++this.#live);
  }

  freed(): void {
    this.#live--;
  }

  /** Notes what is live once `share` sixteenths are done. */
  sample(share: number): void {
    while (this.samples.length < share) this.samples.push(this.#live);
  }
}
