/** Runs a suite in worker threads. */
import { dirname } from "node:path";
import { Tinypool } from "tinypool";
import { RegressError } from "./errors.js";
import type { Counters } from "./figures.js";
import type { CaseInputs, Suite } from "./suite.js";
import type { WallFigures } from "./wall.js";
import type { Counted, Outcome, Task } from "./worker.js";

/** A case and what it counted. */
export interface CaseRun {
  readonly name: string;
  readonly inputs: CaseInputs;
  readonly counters: Counters;
  readonly wall: WallFigures | null;
  /** Its part of an HTML report, where that was asked for. */
  readonly chapter: string | null;
}

export interface RunOptions {
  /** Cases at a time. */
  readonly workers: number;
  /** Also measure how long each case takes; one at a time, after all are counted. */
  readonly wall: boolean;
  /** Also report each case as HTML. */
  readonly html?: boolean;
  /** Called after every step with how many are done. */
  readonly onProgress?: (done: number) => void;
}

/** Steps of a run, for its progress. */
export function stepsOf(suite: Suite, { wall }: Pick<RunOptions, "wall">): number {
  return suite.cases.length * (wall ? 2 : 1);
}

/**
 * The runs in the order of the suite, whatever the number of workers.
 * @throws RegressError `case` for the first case of the suite that could not be run
 */
export async function runSuite(suite: Suite, options: RunOptions): Promise<CaseRun[]> {
  const directory = dirname(suite.file);
  const pool = new Tinypool({
    filename: new URL("./worker.js", import.meta.url).href,
    runtime: "worker_threads",
    isolateWorkers: false,
    minThreads: 1,
    maxThreads: Math.min(options.workers, suite.cases.length),
  });
  let done = 0;
  const step = async <T>(name: "count" | "time", { name: of, ...replayed }: Suite["cases"][number]): Promise<T> => {
    const task: Task = { ...replayed, directory, chapter: options.html ? of : null };
    const outcome = (await pool.run(task, { name })) as Outcome<T>;
    options.onProgress?.(++done);
    if ("reason" in outcome) throw new RegressError("case", `${suite.file}: case "${of}"`, outcome.reason);
    return outcome.result;
  };
  try {
    const counted = await Promise.allSettled(suite.cases.map((each) => step<Counted>("count", each)));
    const runs: CaseRun[] = [];
    for (const [index, result] of counted.entries()) {
      if (result.status === "rejected") throw result.reason;
      const { name, inputs } = suite.cases[index];
      const wall = options.wall ? await step<WallFigures>("time", suite.cases[index]) : null;
      runs.push({ name, inputs, ...result.value, wall });
    }
    return runs;
  } finally {
    await pool.destroy();
  }
}
