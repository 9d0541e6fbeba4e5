/** How long a case takes, and whether two measurements differ by more than chance. */
import Benchmark from "benchmark";

/** Wall-clock figures of one case; each run reads and replays all of it. */
export interface WallFigures {
  /** Mean of the runs, milliseconds. */
  readonly milliseconds: number;
  /** Relative margin of error of the mean at 95 % confidence, percent: the noise. */
  readonly noise: number;
  /** Milliseconds of each run. */
  readonly runs: readonly number[];
}

export interface WallComparison {
  readonly before: WallFigures;
  readonly after: WallFigures;
  /** Relative change of the mean, percent. */
  readonly change: number;
  /**
   * `slower` and `faster` only when the runs differ by benchmark.js's rank test (Mann-Whitney U, 5 %) and the change is
   * larger than the noise of both together; else `same`.
   */
  readonly verdict: "slower" | "faster" | "same";
}

/** The rank test has no table for fewer. */
const FEWEST_RUNS = 8;
/** Seconds; a case that takes longer runs as often as it must. */
const MOST_TIME = 2;

const rounded = (value: number): number => Math.round(value * 1000) / 1000;

/** Measures runs one after another, once warmed up by one. Rejects with what a run throws. */
export async function measure(run: () => Promise<unknown>): Promise<WallFigures> {
  await run();
  const benchmark = await new Promise<Benchmark>((done, failed) => {
    new Benchmark({
      name: "case",
      defer: true,
      async: true,
      // One run a sample: a case takes far longer than the clock's resolution.
      minTime: 0.001,
      minSamples: FEWEST_RUNS,
      maxTime: MOST_TIME,
      fn: (deferred: { resolve(): void }) => void run().then(() => deferred.resolve(), failed),
      onComplete: (event: { target: Benchmark }) => done(event.target),
      onError: (event: { target: { error?: Error } }) => failed(event.target.error),
    }).run();
  });
  const { mean, rme, sample } = benchmark.stats;
  return {
    milliseconds: rounded(mean * 1000),
    noise: rounded(rme),
    runs: sample.map((seconds) => rounded(seconds * 1000)),
  };
}

function measured(runs: readonly number[]): Benchmark {
  const benchmark = new Benchmark("case", () => {});
  benchmark.stats.sample = [...runs];
  return benchmark;
}

export function compareWall(before: WallFigures, after: WallFigures): WallComparison {
  const change = rounded((100 * (after.milliseconds - before.milliseconds)) / before.milliseconds);
  const ranks = measured(before.runs).compare(measured(after.runs));
  const differs = ranks !== 0 && Math.abs(change) > before.noise + after.noise;
  return { before, after, change, verdict: !differs ? "same" : change > 0 ? "slower" : "faster" };
}
