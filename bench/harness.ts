/**
 * Measures the contenders of one case strictly in turn, many short rounds, and reports ratios of what was measured within
 * one round: whatever slows the machine down for a while slows both sides of a ratio.
 */
import Benchmark from "benchmark";
import type { NativePeer } from "./native.js";
import { type Quartiles, quartiles } from "./statistics.js";
import type { Workload } from "./workload.js";

/** Someone whom the subject of a case is compared with. */
export interface Rival {
  /** Heading of its column. */
  readonly label: string;
  /** Least ratio (rival's time / subject's time) that is claimed. */
  readonly target?: number;
  /** Measured in every n-th round only; for slow ones. */
  readonly every?: number;
  /** Either the variant of the C peer, prepared by the case's `native` command ... */
  readonly variant?: string;
  /** ... or something that runs in this process. */
  readonly make?: () => Workload | Promise<Workload>;
}

export interface BenchCase {
  readonly name: string;
  /** One line that says what is measured. */
  readonly title: string;
  /** Setup command of the C peer (bench/peers/main.c), where a rival needs one. */
  readonly native?: string;
  /** Whether all contenders compute the same and must agree on the checksum. */
  readonly sameResults: boolean;
  readonly subject: () => Workload | Promise<Workload>;
  readonly rivals: readonly Rival[];
}

export interface Comparison {
  readonly label: string;
  readonly target?: number;
  /** Time of the rival / time of the subject: above 1 the subject is faster. */
  readonly ratio: Quartiles;
  /** The same of the least time of either, which a busy machine disturbs least. */
  readonly ratioOfBest: number;
  readonly rounds: number;
  /** How the better of several builds of the rival was compiled. */
  readonly build?: string;
}

export interface CaseResult {
  readonly name: string;
  readonly title: string;
  /** Interquartile range of the subject's own times / their median: how quiet the machine was. */
  readonly spread: number;
  readonly comparisons: readonly Comparison[];
}

/** Contenders of one case that do not agree on the results. */
export class Mismatch extends Error {
  override readonly name = "Mismatch";
}

/** Milliseconds that one contender runs in one round: short, so that few rounds are interrupted on a busy machine. */
const ROUND_MILLISECONDS = 5;
/** The baseline tier of V8 is about half as fast as the optimised code that replaces it after a while. */
const WARM_UP_MILLISECONDS = 150;

interface Contender {
  readonly label: string;
  readonly build?: string;
  readonly every: number;
  readonly target?: number;
  /** One round: nanoseconds per operation. */
  measure(): number | Promise<number>;
  check(): number | Promise<number>;
  warmUp(): void | Promise<void>;
  /** What each round gave; NaN where it was not measured. */
  readonly times: number[];
}

function inProcess(label: string, workload: Workload, rival: Rival | null): Contender {
  let calls = 0;
  let count = 1;
  const call = (): void => {
    calls++;
    workload.call();
  };
  const run = (): number => {
    // One cycle of benchmark.js a round; its count of calls is carried over, so that it need not be found anew.
    const before = workload.timed?.() ?? 0;
    calls = 0;
    const benchmark = new Benchmark(label, call, {
      initCount: count,
      minSamples: 1,
      maxTime: 0,
      minTime: ROUND_MILLISECONDS / 1000,
    });
    benchmark.run();
    if (benchmark.error) throw benchmark.error;
    const whole = benchmark.stats.mean * 1e9;
    count = Math.max(1, Math.round((ROUND_MILLISECONDS * 1.1e6) / whole));
    // Where a call is only partly timed, everything that ran counts, benchmark.js's own trial calls, too.
    return (workload.timed ? (workload.timed() - before) / calls : whole) / workload.operationsPerCall;
  };
  return {
    label,
    every: rival?.every ?? 1,
    ...(rival?.target === undefined ? {} : { target: rival.target }),
    measure: run,
    check: () => workload.check(),
    warmUp: () => {
      const end = performance.now() + WARM_UP_MILLISECONDS;
      do workload.call();
      while (performance.now() < end);
      run();
    },
    times: [],
  };
}

function native(peer: NativePeer, setup: string, rival: Rival, variant: string): Contender {
  let times = 1;
  const run = async (): Promise<number> => {
    const { nanoseconds, operations } = await peer.run(variant, times);
    times = Math.max(1, Math.round((times * ROUND_MILLISECONDS * 1e6) / Math.max(nanoseconds, 1000)));
    return nanoseconds / operations;
  };
  return {
    label: rival.label,
    build: peer.level,
    every: rival.every ?? 1,
    ...(rival.target === undefined ? {} : { target: rival.target }),
    measure: run,
    check: async () => {
      await peer.setup(setup);
      return peer.check(variant);
    },
    warmUp: async () => {
      for (let i = 0; i < 3; i++) await run();
    },
    times: [],
  };
}

/** Prepares the contenders of a case, has them agree on the results, and measures them. */
export async function runCase(bench: BenchCase, peers: readonly NativePeer[], rounds: number): Promise<CaseResult> {
  const subject = inProcess("subject", await bench.subject(), null);
  const contenders = [subject];
  for (const peer of peers) peer.forget();
  for (const rival of bench.rivals) {
    if (rival.make) contenders.push(inProcess(rival.label, await rival.make(), rival));
    if (rival.variant !== undefined && bench.native !== undefined) {
      for (const peer of peers) contenders.push(native(peer, bench.native, rival, rival.variant));
    }
  }

  const expected = await subject.check();
  for (const contender of contenders.slice(1)) {
    const got = await contender.check();
    if (bench.sameResults && got !== expected) {
      const who = contender.build === undefined ? contender.label : `${contender.label} ${contender.build}`;
      throw new Mismatch(`${bench.name}: ${who} has results ${got.toString(16)}, not ${expected.toString(16)} as ours`);
    }
  }
  for (const contender of contenders) await contender.warmUp();

  for (let round = 0; round < rounds; round++) {
    // Another order each time, so that no contender always follows the same other.
    for (let i = 0; i < contenders.length; i++) {
      const contender = contenders[(i + round) % contenders.length];
      contender.times.push(round % contender.every === 0 ? await contender.measure() : Number.NaN);
    }
  }
  return summarise(bench, contenders);
}

function best(times: readonly number[]): number {
  return Math.min(...times.filter((time) => !Number.isNaN(time)));
}

function summarise(bench: BenchCase, [subject, ...others]: readonly Contender[]): CaseResult {
  const comparisons: Comparison[] = [];
  for (const label of new Set(others.map((contender) => contender.label))) {
    // The better build is the peer.
    const builds = others.filter((contender) => contender.label === label);
    const compared = builds.map(({ times, build, target }): Comparison => {
      const ratios = times.flatMap((time, round) => (Number.isNaN(time) ? [] : [time / subject.times[round]]));
      return {
        label,
        ...(target === undefined ? {} : { target }),
        ratio: quartiles(ratios),
        ratioOfBest: best(times) / best(subject.times),
        rounds: ratios.length,
        ...(build === undefined ? {} : { build }),
      };
    });
    comparisons.push(compared.reduce((one, other) => (other.ratio.median < one.ratio.median ? other : one)));
  }
  const own = quartiles(subject.times);
  return { name: bench.name, title: bench.title, spread: (own.upper - own.lower) / own.median, comparisons };
}
