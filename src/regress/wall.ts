/**
 * How long a case takes, and whether two measurements differ by more than chance. The speed of a whole machine drifts, so a
 * fixed loop is measured in the same rounds, and what is compared is the case's time divided by the loop's.
 */
import Benchmark from "benchmark";

/** Wall-clock figures of one case; each run reads and replays all of it. */
export interface WallFigures {
  /** Mean of the runs, and of the reference loop around them, milliseconds. */
  readonly milliseconds: number;
  readonly reference: number;
  /** Relative margin of error of the mean ratio of both at 95 % confidence, percent: the noise. */
  readonly noise: number;
  /** Milliseconds of each run, and of the reference loop in the same round. */
  readonly runs: readonly number[];
  readonly references: readonly number[];
}

export interface WallComparison {
  readonly before: WallFigures;
  readonly after: WallFigures;
  /** Relative change of the mean ratio to the reference loop, percent. */
  readonly change: number;
  /** Relative change of the reference loop itself, percent: how much slower the machine was. */
  readonly machine: number;
  /**
   * `slower` and `faster` only when the ratios differ by benchmark.js's rank test (Mann-Whitney U, 5 %) and the change is
   * larger than the noise of both together; else `same`.
   */
  readonly verdict: "slower" | "faster" | "same";
}

/** The rank test has no table for fewer. */
const FEWEST_RUNS = 8;
/** Seconds; a case that takes longer runs as often as it must. */
const MOST_TIME = 2;

/** Of the reference loop: 4 MiB, which no first-level cache holds, as tables and text do not fit either. */
const REFERENCE_WORDS = 1 << 20;
const REFERENCE_STEPS = 1 << 21;

const rounded = (value: number): number => Math.round(value * 1000) / 1000;

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;

const relativeChange = (before: number, after: number): number => rounded((100 * (after - before)) / before);

/** Arithmetic and scattered memory accesses, the same every time; returns milliseconds. */
function referenceLoop(words: Uint32Array): number {
  const begin = performance.now();
  let state = 1;
  for (let step = 0; step < REFERENCE_STEPS; step++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    words[state >>> 12] += state;
  }
  return performance.now() - begin;
}

/**
 * Student's t for 95 % on both sides, from the normal quantile (Abramowitz and Stegun 26.7.5): within 0.5 % of the tables
 * from 7 degrees of freedom on.
 */
function studentT(degrees: number): number {
  const z = 1.959964;
  return z + (z ** 3 + z) / (4 * degrees) + (5 * z ** 5 + 16 * z ** 3 + 3 * z) / (96 * degrees ** 2);
}

/** Relative margin of error of the mean at 95 % confidence, percent. */
export function relativeMargin(values: readonly number[]): number {
  const average = mean(values);
  const variance = values.reduce((sum, value) => sum + (value - average) ** 2, 0) / (values.length - 1);
  return (100 * studentT(values.length - 1) * Math.sqrt(variance / values.length)) / average;
}

/** Time of each run as a multiple of the reference loop's in its round. */
function ratios({ runs, references }: Pick<WallFigures, "runs" | "references">): number[] {
  return runs.map((run, index) => run / references[index]);
}

/** Figures of these rounds, two or more. */
export function wallFigures(rounds: Pick<WallFigures, "runs" | "references">): WallFigures {
  const [runs, references] = [rounds.runs.map(rounded), rounds.references.map(rounded)];
  return {
    milliseconds: rounded(mean(runs)),
    reference: rounded(mean(references)),
    noise: rounded(relativeMargin(ratios(rounds))),
    ...{ runs, references },
  };
}

/** Measures runs one after another, once warmed up by one. Rejects with what a run throws. */
export async function measure(run: () => Promise<unknown>): Promise<WallFigures> {
  const words = new Uint32Array(REFERENCE_WORDS);
  const [runs, references]: [number[], number[]] = [[], []];
  const round = async (): Promise<void> => {
    const before = referenceLoop(words);
    const begin = performance.now();
    await run();
    const time = performance.now() - begin;
    runs.push(time);
    references.push((before + referenceLoop(words)) / 2);
  };
  await round();
  runs.length = references.length = 0;
  await new Promise<void>((done, failed) => {
    new Benchmark({
      name: "case",
      defer: true,
      async: true,
      // One run a sample: a case takes far longer than the clock's resolution.
      minTime: 0.001,
      minSamples: FEWEST_RUNS,
      maxTime: MOST_TIME,
      fn: (deferred: { resolve(): void }) => void round().then(() => deferred.resolve(), failed),
      onComplete: () => done(),
      onError: (event: { target: { error?: Error } }) => failed(event.target.error),
    }).run();
  });
  return wallFigures({ runs, references });
}

function measured(values: readonly number[]): Benchmark {
  const benchmark = new Benchmark("case", () => {});
  benchmark.stats.sample = [...values];
  return benchmark;
}

export function compareWall(before: WallFigures, after: WallFigures): WallComparison {
  const [old, now] = [ratios(before), ratios(after)];
  const change = relativeChange(mean(old), mean(now));
  const differs = measured(old).compare(measured(now)) !== 0 && Math.abs(change) > before.noise + after.noise;
  return {
    ...{ before, after, change },
    machine: relativeChange(before.reference, after.reference),
    verdict: !differs ? "same" : change > 0 ? "slower" : "faster",
  };
}
