/**
 * Recovers the order in which calls really came. A trace is in the order of its events, but a call is anywhere between
 * two events of its context: an interrupt between an allocation and its `map` frees first in the trace and second in
 * truth. Where the prediction fails, a call (or a few at once) may go elsewhere within its window, when the prediction
 * then holds for what follows.
 */
import type { TraceEvent } from "./events.js";
import { applied, type Move, movesAround, undone } from "./moves.js";
import { Corrections, type SpaceModel, SpaceReplay, type Step } from "./space.js";

/** Steps that must be right behind a miss before a change is believed; */
const HORIZON = 80;
/** unless more is wrong among them, which further changes explain: so many in all, the last one for so many steps. */
const DEPTH = 3;
const LAST_HORIZON = 16;
/** Changes of the same miss that are followed up. */
const BREADTH = 6;
/** Changes tried for one miss, after which the best so far has to do; and for all, by step. */
const TRIALS = 2000;
const TRIALS_PER_STEP = 8;
/** Distances at which states are kept behind the present, so that what lies further back can be tried as well. */
const LAGS = [32, 192, 2048, 32768];
/** Steps between two looks at which states to keep. */
const BLOCK = 256;

export interface Recovered {
  /** The steps in the order that was found. */
  readonly order: readonly Step[];
  /** Steps that were moved, and their calls. */
  readonly moves: number;
  readonly movedCalls: ReadonlySet<Step["call"]>;
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

/** The change that a miss calls for. */
interface Explanation {
  readonly move: Move;
  /** The first step that is wrong with it, or with those that it leads to. */
  readonly reach: number;
  /** It holds for long enough to be believed. */
  readonly complete: boolean;
}

class Search implements Recovered {
  readonly order: Step[];
  unexplained = 0;
  readonly #model: SpaceModel;
  readonly #events: readonly TraceEvent[];
  readonly #corrections = new Corrections();
  /** By lag; the first is also the one that goes ahead. */
  readonly #replays: SpaceReplay[];
  #trials = 0;
  readonly movedCalls = new Set<Step["call"]>();

  constructor(model: SpaceModel, order: Step[], events: readonly TraceEvent[]) {
    this.#model = model;
    this.order = order;
    this.#events = events;
    this.#replays = LAGS.map(() => this.#newReplay());
  }

  get moves(): number {
    return this.movedCalls.size;
  }

  run(onProgress: (done: number) => void): void {
    const { order } = this;
    let left = TRIALS + TRIALS_PER_STEP * order.length;
    for (;;) {
      const miss = this.#goAhead(onProgress);
      if (miss === order.length) break;
      this.#keepUp(miss);
      const allowance = Math.min(TRIALS, left);
      this.#trials = allowance;
      const explanation = this.#explain(miss, Math.min(order.length, miss + HORIZON), DEPTH, order.length);
      left -= allowance - Math.max(0, this.#trials);
      if (explanation === null) {
        this.unexplained++;
        this.#goBack(miss);
        this.#replays[0].correct(order);
        continue;
      }
      const { move } = explanation;
      this.movedCalls.add(order[move.from].call);
      applied(order, move);
      this.#forgetFrom(Math.min(move.from, move.to));
      this.#goBack(Math.min(move.from, move.to));
    }
    for (const replay of this.#replays) replay.release();
  }

  /** Goes on until a prediction is wrong: where, or the end. Keeps states on the way. */
  #goAhead(onProgress: (done: number) => void): number {
    const { order } = this;
    const [head] = this.#replays;
    while (head.position < order.length) {
      const block = Math.min(order.length, head.position + BLOCK);
      const miss = head.runToMiss(order, block);
      if (miss < block) return miss;
      this.#keepUp(block);
      head.run(order, block);
      onProgress(block);
    }
    return order.length;
  }

  /** Brings the kept states as near to `position`, which is settled, as their lags are. */
  #keepUp(position: number): void {
    for (const [index, replay] of this.#replays.entries()) {
      if (position - replay.saved < 2 * LAGS[index]) continue;
      replay.restore();
      replay.run(this.order, position - LAGS[index]);
      replay.save();
    }
  }

  /**
   * Looks for the change that makes a miss right, and with further ones, `depth` in all, what is behind it. `changed` is
   * the first place at which the order is being tried otherwise already.
   */
  #explain(miss: number, goal: number, depth: number, changed: number): Explanation | null {
    const enough = depth === 1 ? Math.min(goal, miss + LAST_HORIZON) : goal;
    let best: Explanation | null = null;
    for (const moves of movesAround(this.order, miss, this.#events)) {
      const partial: Explanation[] = [];
      for (const move of moves) {
        if (this.#trials-- <= 0) break;
        const reach = this.#reach(move, miss, goal, changed);
        if (reach >= enough) return { move, reach, complete: true };
        if (reach > miss) partial.push({ move, reach, complete: false });
      }
      partial.sort((one, other) => other.reach - one.reach);
      for (const explanation of partial.slice(0, BREADTH)) {
        const further = depth === 1 ? null : this.#explainBehind(explanation, goal, depth - 1, changed);
        const found = further === null ? explanation : { ...further, move: explanation.move };
        if (found.complete) return found;
        if (found.reach > (best?.reach ?? miss)) best = found;
      }
    }
    return best;
  }

  /** What explains the miss that is left with a change. */
  #explainBehind({ move, reach }: Explanation, goal: number, depth: number, changed: number): Explanation | null {
    const original = this.order[move.from];
    applied(this.order, move);
    const further = this.#explain(reach, goal, depth, Math.min(changed, move.from, move.to));
    undone(this.order, move, original);
    return further;
  }

  /** The first step that is wrong with a change, at most `goal`. */
  #reach(move: Move, miss: number, goal: number, changed: number): number {
    const { order } = this;
    const original = order[move.from];
    applied(order, move);
    const replay = this.#replayAt(Math.min(changed, move.from, move.to));
    const reach = replay === null ? miss : replay.runToMiss(order, goal);
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
