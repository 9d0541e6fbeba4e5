/** The prediction as a whole: blind, with the order recovered, and why what is wrong is wrong. */
import { type BlindPrediction, predictBlind, type Space } from "./blind.js";
import type { Allocation, Call, TraceCalls } from "./calls.js";
import { type OpenLoop, openLoop } from "./figures.js";
import { learnReserved } from "./learn.js";
import { type MissReason, reasonOf } from "./reasons.js";
import { type Recovered, recoverOrder } from "./recover.js";
import type { PageRange } from "./reserved.js";
import type { Flush, Machine } from "./spaces.js";

export interface PredictOptions {
  /** The machine; `auto` where nothing tells how frees are flushed: whichever predicts better. */
  readonly machine: Omit<Machine, "flush"> & { readonly flush: Flush | "auto" };
  readonly recoverOrder?: boolean | undefined;
  readonly learnReserved?: boolean | undefined;
  /** Receives the share of the work that is done, of each stage. */
  readonly onProgress?: ((stage: "predicting" | "recovering", share: number) => void) | undefined;
}

/** A wrong prediction. */
export interface PredictedMiss {
  readonly allocation: Allocation;
  /** The device, or the one whose space it was found to be. */
  readonly device: string;
  /** Page frame, 0: none. */
  readonly predicted: number;
  readonly reason: MissReason;
}

/** One IOVA space. */
export interface SpacePrediction extends OpenLoop {
  readonly name: string;
  readonly flush: Flush;
  readonly allocations: number;
  /** Allocations that no dma event names. */
  readonly unnamed: number;
  /** Right, blind. */
  readonly blindExact: number;
  /** null when the order was not looked for: not asked, or lazy. */
  readonly recovered: Pick<Recovered, "moves" | "unexplained"> | null;
}

export interface Prediction {
  readonly allocations: number;
  /** Left out: addresses that user space or a driver chose; those of a device that cannot be told. */
  readonly private: number;
  readonly unattributed: number;
  readonly blindExact: number;
  /** Of all spaces, the lazy ones in the order of the trace; null when no order was looked for. */
  readonly recovered: { readonly exact: number; readonly moves: number; readonly unexplained: number } | null;
  readonly spaces: readonly SpacePrediction[];
  /** Of the blind prediction. */
  readonly misses: readonly PredictedMiss[];
  /** What is left wrong with the recovered order. */
  readonly recoveredMisses: readonly PredictedMiss[];
  /** Ranges that the trace told; null when it was not asked. */
  readonly learned: readonly PageRange[] | null;
}

export function predict(trace: TraceCalls, options: PredictOptions): Prediction {
  const onProgress = options.onProgress ?? (() => {});
  const { learned, blind } = settle(trace, options);
  const total = blind.spaces.reduce((sum, { order }) => sum + order.length, 0);
  const moved = new Set<Call>();
  const spaces: SpacePrediction[] = [];
  const recoveredMisses: PredictedMiss[] = [];
  let done = 0;
  for (const space of blind.spaces) {
    const { description, order, allocations, unnamed } = space;
    const searched = options.recoverOrder === true && description.flush === "strict";
    const recovered = searched
      ? recoverOrder(description.model, order, trace.events.events, (steps) =>
          onProgress("recovering", (done + steps) / total),
        )
      : null;
    done += order.length;
    for (const call of recovered?.movedCalls ?? []) moved.add(call);
    const figures = openLoop(description.model, recovered?.order ?? order);
    if (recovered !== null) {
      for (const miss of figures.misses) {
        recoveredMisses.push(explained({ ...miss, space }, trace, new Set(), recovered.order));
      }
    }
    const blindExact = allocations - blind.misses.filter((miss) => miss.space === space).length;
    const { name, flush } = description;
    const counts = recovered === null ? null : { moves: recovered.moves, unexplained: recovered.unexplained };
    spaces.push({ ...figures, name, flush, allocations, unnamed, blindExact, recovered: counts });
    space.release();
  }
  const found = spaces.flatMap(({ recovered }) => (recovered === null ? [] : [recovered]));
  return {
    allocations: blind.allocations,
    private: blind.private,
    unattributed: blind.unattributed,
    blindExact: blind.allocations - blind.misses.length,
    recovered:
      found.length === 0
        ? null
        : {
            exact: spaces.reduce((sum, { exact }) => sum + exact, 0),
            moves: found.reduce((sum, { moves }) => sum + moves, 0),
            unexplained: found.reduce((sum, { unexplained }) => sum + unexplained, 0),
          },
    spaces,
    misses: blind.misses.map((miss) => explained(miss, trace, moved, miss.space.order)),
    recoveredMisses,
    learned,
  };
}

/** Finds out what nobody told: how frees are flushed, and what is reserved. */
function settle(trace: TraceCalls, options: PredictOptions) {
  const onProgress = (share: number): void => options.onProgress?.("predicting", share);
  const attempt = (flush: Flush) => {
    const machine: Machine = { ...options.machine, flush };
    const learned = options.learnReserved === true ? learnReserved(trace, machine) : null;
    const reserved = [...machine.reserved, ...(learned ?? [])];
    const complete = { ...machine, reserved };
    return { machine: complete, learned, blind: predictBlind(trace, complete, onProgress) };
  };
  const { flush } = options.machine;
  if (flush !== "auto") return attempt(flush);
  const strict = attempt("strict");
  const told = new Set(options.machine.groups.map(({ device }) => device));
  if (strict.blind.misses.length === 0 || strict.blind.spaces.every(({ description }) => told.has(description.name))) {
    return strict;
  }
  const lazy = attempt("lazy");
  const [better, worse] = strict.blind.misses.length <= lazy.blind.misses.length ? [strict, lazy] : [lazy, strict];
  for (const space of worse.blind.spaces) space.release();
  return better;
}

function explained(
  miss: { allocation: Allocation; predicted: number; position: number; space: Space },
  trace: TraceCalls,
  moved: ReadonlySet<Call>,
  order: Space["order"] | Recovered["order"],
): PredictedMiss {
  const { allocation, predicted, position, space } = miss;
  const reason = reasonOf({ allocation, predicted, position }, space, order, trace, moved);
  return { allocation, device: allocation.device ?? space.description.name, predicted, reason };
}

export type { BlindPrediction };
