/**
 * Recovers the order in which calls really came. A trace is in the order of its events, but a call is anywhere between
 * two events of its context: an interrupt between an allocation and its `map` frees first in the trace and second in
 * truth. Where the prediction fails, a call (or a few at once) may go elsewhere within its window, when the prediction
 * then holds for what follows.
 */
import type { TraceEvent } from "./events.js";
import { applied, type Move, movesAround, undone } from "./moves.js";
import { Corrections, type SpaceModel, SpaceReplay, type Step } from "./space.js";

/** Steps that must be right behind a miss before a change is believed. */
const HORIZON = 160;
/** Changes that may be needed at once, and how many of the best are followed up. */
const DEPTH = 3;
const BREADTH = 6;
/** Distances at which states are kept behind the present, so that what lies further back can be tried as well. */
const LAGS = [128, 2048, 32768];

export interface Recovered {
  /** The steps in the order that was found. */
  readonly order: readonly Step[];
  /** Steps that were moved. */
  readonly moves: number;
  /** Misses that no change could explain; the search went on with the recorded IOVA. */
  readonly unexplained: number;
}

/** @param onProgress receives the number of steps that are done, from time to time */
export function recoverOrder(
  model: SpaceModel,
  steps: readonly Step[],
  events: readonly TraceEvent[],
  onProgress: (done: number) => void = () => {},
): Recovered {
  const search = new Search(model, [...steps], events);
  search.run(onProgress);
  return search;
}

/** Changes that belong together, and the first step that is wrong with them. */
interface Explanation {
  readonly moves: readonly Move[];
  readonly reach: number;
}

class Search implements Recovered {
  readonly order: Step[];
  unexplained = 0;
  readonly #model: SpaceModel;
  readonly #events: readonly TraceEvent[];
  readonly #corrections = new Corrections();
  /** By lag; the first is also the one that goes ahead. */
  readonly #replays: SpaceReplay[];
  readonly #moved = new Set<Step["call"]>();

  constructor(model: SpaceModel, order: Step[], events: readonly TraceEvent[]) {
    this.#model = model;
    this.order = order;
    this.#events = events;
    this.#replays = LAGS.map(() => this.#newReplay());
  }

  get moves(): number {
    return this.#moved.size;
  }

  run(onProgress: (done: number) => void): void {
    const { order } = this;
    for (;;) {
      const miss = this.#goAhead(onProgress);
      if (miss === order.length) break;
      const explanation = this.#explain(miss, miss + HORIZON, DEPTH);
      if (explanation === null) {
        this.unexplained++;
        this.#goBack(miss);
        this.#replays[0].correct(order);
        continue;
      }
      for (const move of explanation.moves) {
        this.#moved.add(order[move.from].call);
        applied(order, move);
      }
      const changed = Math.min(...explanation.moves.map(({ from, to }) => Math.min(from, to)));
      this.#forgetFrom(changed);
      this.#goBack(changed);
    }
    for (const replay of this.#replays) replay.release();
  }

  /** Goes on until a prediction is wrong: where, or the end. Keeps states on the way. */
  #goAhead(onProgress: (done: number) => void): number {
    const { order } = this;
    const [head] = this.#replays;
    while (head.position < order.length) {
      const block = Math.min(order.length, head.position + LAGS[0]);
      const miss = head.runToMiss(order, block);
      if (miss < block) return miss;
      for (const [index, replay] of this.#replays.entries()) {
        if (block - replay.saved < 2 * LAGS[index]) continue;
        replay.restore();
        replay.run(order, block - LAGS[index]);
        replay.save();
        if (replay === head) head.run(order, block);
      }
      onProgress(block);
    }
    return order.length;
  }

  /** The best change for a miss; null when none makes it right. */
  #explain(miss: number, goal: number, depth: number): Explanation | null {
    const { order } = this;
    const partial: Explanation[] = [];
    for (const move of movesAround(order, miss, this.#events)) {
      const reach = this.#reach(move, miss, goal);
      if (reach >= Math.min(goal, order.length)) return { moves: [move], reach };
      if (reach > miss) partial.push({ moves: [move], reach });
    }
    partial.sort((one, other) => other.reach - one.reach);
    let best = partial[0] ?? null;
    if (depth === 1) return best;
    for (const { moves, reach } of partial.slice(0, BREADTH)) {
      const [move] = moves;
      const original = order[move.from];
      applied(order, move);
      const further = this.#explain(reach, goal, depth - 1);
      undone(order, move, original);
      if (further === null) continue;
      if (further.reach > best.reach) best = { moves: [move, ...further.moves], reach: further.reach };
      if (further.reach >= Math.min(goal, order.length)) break;
    }
    return best;
  }

  /** The first step that is wrong with a change, at most `goal`. */
  #reach(move: Move, miss: number, goal: number): number {
    const { order } = this;
    const original = order[move.from];
    applied(order, move);
    const replay = this.#replayAt(Math.min(move.from, move.to));
    const reach = replay === null ? miss : replay.runToMiss(order, Math.min(goal, order.length));
    undone(order, move, original);
    return reach;
  }

  /** A replay that is at its kept state, at or before `position` and as near as there is. */
  #replayAt(position: number): SpaceReplay | null {
    const replay = this.#replays.find(({ saved }) => saved <= position) ?? null;
    replay?.restore();
    return replay;
  }

  /** Brings the head to `position`. */
  #goBack(position: number): void {
    const [head] = this.#replays;
    head.restore();
    head.run(this.order, position);
  }

  /** Makes anew the kept states that a change at `position` has made wrong. */
  #forgetFrom(position: number): void {
    for (const [index, replay] of this.#replays.entries()) {
      if (replay.saved <= position) continue;
      replay.release();
      const fresh = this.#newReplay();
      fresh.run(this.order, Math.max(0, position - LAGS[index]));
      fresh.save();
      this.#replays[index] = fresh;
    }
  }

  #newReplay(): SpaceReplay {
    return new SpaceReplay(this.#model, this.#corrections);
  }
}
