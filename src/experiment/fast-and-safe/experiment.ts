/** The whole experiment: both published cases under Linux's own allocator, ours beside the paper's, judged by bounds. */
import type { Engine } from "../../engine/engine.js";
import {
  type Misses,
  modelledGbps,
  PUBLISHED_CASES,
  PUBLISHED_CONTIGUOUS_L3,
  type PublishedCase,
} from "./published.js";
import { type CaseResult, LENGTH, type Length, runCase, solveCase } from "./run.js";
import { FAST_AND_SAFE, PARAMETERS } from "./workload.js";

/** One of our figures beside a published one. */
export interface Judgement {
  readonly figure: keyof Misses | "gbps";
  readonly ours: number;
  readonly published: number;
  /** ours / published - 1; null beside a published 0. */
  readonly relativeError: number | null;
  /** What it is to be within: that relative error, or at most the published figure; null where nothing is judged. */
  readonly bound: { readonly relative: number } | "at most" | null;
  readonly met: boolean | null;
}

export interface JudgedCase {
  readonly name: string;
  readonly acksPerPage: number;
  readonly rings: CaseResult["rings"];
  readonly judgements: readonly Judgement[];
}

/** Relative errors that are good enough. L1 is what ACKs per page are solved from; L2 follows it. */
const BOUNDS: Readonly<Partial<Record<Judgement["figure"], number>>> = { l3: 0.3, iotlb: 0.3, reads: 0.2 };

function judge(figure: Judgement["figure"], ours: number, published: number): Judgement {
  const relativeError = ours / published - 1;
  const relative = BOUNDS[figure];
  const bound = relative === undefined ? null : { relative };
  return { figure, ours, published, relativeError, bound, met: bound && Math.abs(relativeError) <= bound.relative };
}

function atMost(figure: keyof Misses, ours: number, published: number): Judgement {
  const relativeError = published === 0 ? null : ours / published - 1;
  return { figure, ours, published, relativeError, bound: "at most", met: ours <= published };
}

const FIGURES: readonly (keyof Misses)[] = ["l1", "l2", "l3", "iotlb", "reads"];

function judgeStrict({ name, misses }: PublishedCase, result: CaseResult): JudgedCase {
  const judgements = FIGURES.map((figure) => judge(figure, result.misses[figure], misses[figure]));
  return {
    name: `${name}, strict`,
    acksPerPage: result.acksPerPage,
    rings: result.rings,
    judgements: [...judgements, judge("gbps", result.gbps, modelledGbps(misses.reads))],
  };
}

function judgeContiguous({ name }: PublishedCase, { acksPerPage, rings, misses }: CaseResult): JudgedCase {
  const bounds = { l1: 0, l2: 0, l3: PUBLISHED_CONTIGUOUS_L3 } as const;
  const judgements = (["l1", "l2", "l3"] as const).map((figure) => atMost(figure, misses[figure], bounds[figure]));
  return { name: `${name}, ${FAST_AND_SAFE.name}`, acksPerPage, rings, judgements };
}

/** Runs that a case takes, about: how many solving needs is only known when it is solved. */
const RUNS_OF_A_CASE = 6;

/**
 * Every case as Linux protects in strict mode, with ACKs per page solved from its L1 misses, and with as many ACKs as Fast
 * & Safe protects. Throws as `solveCase`.
 * @param newEngine a fresh engine: every run has one of its own
 * @param onProgress receives an estimate of the share that is done, at the beginning of every run
 */
export async function fastAndSafe(
  newEngine: () => Promise<Engine>,
  length: Length = LENGTH,
  onProgress: (share: number) => void = () => {},
): Promise<JudgedCase[]> {
  const judged: JudgedCase[] = [];
  for (const [index, published] of PUBLISHED_CASES.entries()) {
    let runs = 0;
    const setup = async () => {
      onProgress((index + Math.min(1, runs++ / RUNS_OF_A_CASE)) / PUBLISHED_CASES.length);
      const engine = await newEngine();
      return { engine, allocator: engine.createLinuxIovaDomain({ cpus: PARAMETERS.channels.value }) };
    };
    const strict = await solveCase(setup, published, length);
    const contiguous = await runCase(setup, published.flows, FAST_AND_SAFE, strict.acksPerPage, length);
    judged.push(judgeStrict(published, strict), judgeContiguous(published, contiguous));
  }
  return judged;
}
