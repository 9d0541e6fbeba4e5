import type { DisputedEntries } from "./disputed.js";
import type { OnRead } from "../trace/open.js";
import { UnsupportedVector } from "./errors.js";
import { answerDifferences, type Difference, wordDifferences } from "./judge.js";
import type { EngineFactory, ModelFactory, VectorModel, VectorOutcome, VectorUnit } from "./model.js";
import { readVectors } from "./reader.js";
import { TableWords } from "./table-words.js";
import type { Expectation, Vector, VectorRequest } from "./vector.js";

/** An entry whose answer is not the expected one. */
export interface Mismatch {
  readonly vector: Vector;
  /** Index of the request in its vector. */
  readonly entry: number;
  readonly request: VectorRequest;
  readonly expectation: Expectation;
  readonly outcome: VectorOutcome;
  readonly differences: readonly Difference[];
}

export interface DisputedMismatch extends Mismatch {
  readonly reason: string;
}

/** What was not judged, and why. */
export interface Skipped {
  readonly reason: string;
  readonly vectors: number;
  readonly entries: number;
}

/** Entries of `expect` by verdict. */
export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly disputed: number;
  readonly skipped: number;
}

export interface Conformance {
  readonly counts: Counts;
  readonly failures: readonly Mismatch[];
  readonly disputed: readonly DisputedMismatch[];
  readonly skipped: readonly Skipped[];
  /** Lines of the list of disputed entries that no longer hold. */
  readonly warnings: readonly string[];
}

export interface ConformOptions {
  readonly models: ReadonlyMap<string, ModelFactory>;
  readonly newEngine: EngineFactory;
  readonly disputed: DisputedEntries;
  /** Called with how many bytes of the files were read since the last time. */
  readonly onRead?: OnRead;
}

/**
 * Judges every entry of the vectors in these files.
 * @throws VectorError, TraceError for a file that cannot be read or understood
 */
export async function conform(files: readonly string[], options: ConformOptions): Promise<Conformance> {
  const run = new ConformanceRun(options);
  for (const file of files) {
    for await (const vector of readVectors(file, options.onRead)) run.add(vector);
  }
  return run.result();
}

class ConformanceRun {
  private passed = 0;
  private readonly failures: Mismatch[] = [];
  private readonly disputed: DisputedMismatch[] = [];
  private readonly skipped = new Map<string, { vectors: number; entries: number }>();
  private readonly warnings: string[] = [];
  private readonly models = new Map<string, VectorModel>();

  constructor(private readonly options: ConformOptions) {}

  add(vector: Vector): void {
    const unit = this.open(vector);
    if (typeof unit === "string") {
      const count = this.skipped.get(unit) ?? { vectors: 0, entries: 0 };
      this.skipped.set(unit, { vectors: count.vectors + 1, entries: count.entries + vector.expect.length });
      return;
    }
    const mismatches = new Map(mismatchesOf(vector, unit).map((mismatch) => [mismatch.entry, mismatch]));
    const reasons = this.options.disputed.get(vector.id) ?? new Map<number, string>();
    this.passed += vector.expect.length - mismatches.size;
    for (const mismatch of mismatches.values()) {
      const reason = reasons.get(mismatch.entry);
      if (reason === undefined) this.failures.push(mismatch);
      else this.disputed.push({ ...mismatch, reason });
    }
    for (const entry of reasons.keys()) {
      if (mismatches.has(entry)) continue;
      const stale = entry < vector.expect.length ? "agrees: it need not be disputed" : "does not exist";
      this.warnings.push(`${vector.id}: disputed entry ${entry} ${stale}`);
    }
  }

  result(): Conformance {
    const skipped = [...this.skipped].map(([reason, count]) => ({ reason, ...count }));
    return {
      counts: {
        passed: this.passed,
        failed: this.failures.length,
        disputed: this.disputed.length,
        skipped: skipped.reduce((sum, { entries }) => sum + entries, 0),
      },
      failures: this.failures,
      disputed: this.disputed,
      skipped,
      warnings: this.warnings,
    };
  }

  /** The unit, or why there is none. */
  private open(vector: Vector): VectorUnit | string {
    const model = this.model(vector.arch);
    if (model === undefined) return `no model of ${vector.arch}`;
    try {
      return model.open(vector);
    } catch (error) {
      if (!(error instanceof UnsupportedVector)) throw error;
      return error.message;
    }
  }

  private model(arch: string): VectorModel | undefined {
    const made = this.models.get(arch) ?? this.options.models.get(arch)?.(this.options.newEngine);
    if (made !== undefined) this.models.set(arch, made);
    return made;
  }
}

function mismatchesOf(vector: Vector, unit: VectorUnit): Mismatch[] {
  const named = [vector.memory, vector.memoryAfter ?? [], ...vector.expect.map(({ writes }) => writes)];
  const words = new TableWords(unit, new Set(named.flat().map(([address]) => address)));
  const mismatches: Mismatch[] = [];
  // Accessed bits set on the way to a fault are the machine's choice, and a machine that departs from the architecture may
  // have set others: after either, what a request changes in the tables can rightly differ.
  let comparable = true;
  vector.requests.forEach((request, entry) => {
    const expectation = vector.expect[entry];
    const outcome = unit.request(request);
    const changes = words.changes();
    const differences = answerDifferences(expectation, outcome);
    if (expectation.deviation !== null || "code" in expectation.answer) comparable = false;
    if (comparable && differences.length === 0) {
      differences.push(...wordDifferences(expectation.writes, changes));
      if (vector.memoryAfter !== null && entry === vector.requests.length - 1) {
        differences.push(...wordDifferences(vector.memoryAfter, words.changesSinceStart()));
      }
    }
    if (differences.length > 0) mismatches.push({ vector, entry, request, expectation, outcome, differences });
  });
  return mismatches;
}
