/** What a replay was like on its way, for who draws it: its IOVA space over time, and what was mapped where. */
import type { LeafRanges } from "../engine/leaf-ranges.js";
import type { Occupied, Replay } from "./replay.js";

/** A stretch of operations. */
export interface Sample {
  /** Operations up to its end. */
  readonly operations: number;
  /** Bytes of the widest IOVA space and of all that is mapped: the most that was seen in the stretch. */
  readonly span: number;
  readonly live: number;
}

export interface MappedSpace {
  readonly domain: number;
  readonly leaves: LeafRanges;
}

export interface Recording {
  /** Stretches of the whole replay, all but the last of the same length. */
  readonly samples: readonly Sample[];
  /** Operations after which `spaces` were mapped: where, of all moments looked at, most memory was. */
  readonly moment: number;
  /** Domains with something mapped then. */
  readonly spaces: readonly MappedSpace[];
}

/** Operations of a batch of a replay that is recorded: it is looked at between batches only. */
export const RECORDED_BATCH = 16;

/** Samples at which they become half as many. */
const MOST_SAMPLES = 256;

function widest(a: Sample, b: Sample): Sample {
  return {
    operations: b.operations,
    span: Math.max(a.span, b.span),
    live: Math.max(a.live, b.live),
  };
}

/** Looks at replays of the same operations between their batches. The moment of the map is the same for all of them. */
export class Recorder {
  readonly #tracks: readonly {
    readonly replay: Replay;
    samples: Sample[];
    peak: Occupied;
    spaces: readonly MappedSpace[];
  }[];
  #operations = 0;
  #batches = 0;
  /** Batches from one sample to the next. */
  #interval = 1;
  #moment = 0;
  #most = 0;

  constructor(replays: readonly Replay[]) {
    this.#tracks = replays.map((replay) => ({ replay, samples: [], peak: { span: 0, live: 0 }, spaces: [] }));
  }

  /** To be called when all have run a batch of so many operations. Throws `memory-exhausted`. */
  ran(operations: number): void {
    this.#operations += operations;
    if (++this.#batches % this.#interval === 0) this.#sample();
  }

  /** The recordings, in the order of the replays. To be called once, before their figures are summed up. */
  finish(): Recording[] {
    if (this.#batches % this.#interval !== 0) this.#sample();
    return this.#tracks.map(({ samples, spaces }) => ({ samples, moment: this.#moment, spaces }));
  }

  #sample(): void {
    let live = 0;
    for (const track of this.#tracks) {
      const { now, peak } = track.replay.occupied();
      // A peak between two looks belongs to the stretch too.
      const seen = (what: keyof Occupied): number => (peak[what] > track.peak[what] ? peak : now)[what];
      track.samples.push({ operations: this.#operations, span: seen("span"), live: seen("live") });
      track.peak = peak;
      live = Math.max(live, now.live);
    }
    if (live > this.#most) {
      this.#most = live;
      this.#moment = this.#operations;
      for (const track of this.#tracks) track.spaces = track.replay.spaces();
    }
    if (this.#tracks.every(({ samples }) => samples.length < MOST_SAMPLES)) return;
    this.#interval *= 2;
    for (const track of this.#tracks) {
      const { samples } = track;
      track.samples = samples
        .filter((_, index) => index % 2 === 0)
        .map((sample, index) => (samples[2 * index + 1] ? widest(sample, samples[2 * index + 1]) : sample));
    }
  }
}
