/** A vector of a file, explained entry by entry and judged as `conform` judges it. */
import type { DisputedEntries } from "../conform/disputed.js";
import { UnsupportedVector, VectorError } from "../conform/errors.js";
import type { Difference } from "../conform/judge.js";
import type { EngineFactory, ModelFactory, VectorOutcome, VectorUnit } from "../conform/model.js";
import { conform } from "../conform/run.js";
import type { Expectation, Vector } from "../conform/vector.js";
import { type Explanation, explainRequest } from "./explain.js";
import type { ExplainableUnit, Explainer } from "./unit.js";

export interface ExplainVectorOptions {
  readonly explainers: ReadonlyMap<string, Explainer>;
  readonly newEngine: EngineFactory;
  readonly disputed: DisputedEntries;
  /** Default: the first vector of the file. */
  readonly id?: string;
  /** Index of the only request to return; default: all. Those before it are made all the same. */
  readonly entry?: number;
}

/** One request of the vector, and whether it came out as expected. */
export interface ExplainedEntry extends Explanation {
  readonly entry: number;
  readonly expectation: Expectation;
  /** Empty when it agrees. */
  readonly differences: readonly Difference[];
  /** Why a difference is no failure, where somebody disputes what is expected. */
  readonly disputed: string | null;
}

export interface ExplainedVector {
  readonly vector: Vector;
  readonly entries: readonly ExplainedEntry[];
}

/** A unit under judgement that keeps what it did. */
class ExplainedUnit implements VectorUnit {
  readonly explanations: Explanation[] = [];

  constructor(
    readonly vector: Vector,
    private readonly unit: ExplainableUnit,
  ) {}

  request(request: Vector["requests"][number]): VectorOutcome {
    const explanation = explainRequest(this.unit, request);
    this.explanations.push(explanation);
    const { steps: reads, verdict } = explanation;
    if (verdict.ok) return { pa: verdict.physical, reads };
    return { code: verdict.record ? verdict.code : null, fields: verdict.record?.fields ?? {}, reads };
  }

  readWord(address: bigint): bigint | null {
    return this.unit.readWord(address);
  }
}

/** Explains a vector of a file; the others are read and passed over. */
class Search {
  found: ExplainedUnit | null = null;

  constructor(private readonly options: ExplainVectorOptions) {}

  /** Models for `conform` that open nothing but the vector looked for. */
  get models(): ReadonlyMap<string, ModelFactory> {
    const { explainers } = this.options;
    return new Map(
      [...explainers].map(([arch, explainer]) => [
        arch,
        () => ({ arch, open: (vector) => this.open(explainer, vector) }),
      ]),
    );
  }

  private open(explainer: Explainer, vector: Vector): VectorUnit {
    const { id, newEngine } = this.options;
    if (this.found || (id !== undefined && id !== vector.id)) throw new UnsupportedVector("not looked for");
    try {
      this.found = new ExplainedUnit(vector, explainer.fromVector(newEngine, vector));
    } catch (error) {
      if (!(error instanceof UnsupportedVector)) throw error;
      throw new VectorError(`${vector.id}: ${error.message}`, vector.place, { cause: error });
    }
    return this.found;
  }
}

/**
 * @throws VectorError when the file has no such vector or entry, or the vector asks for what is not emulated; VectorError,
 * TraceError for a file that cannot be read or understood
 */
export async function explainVector(file: string, options: ExplainVectorOptions): Promise<ExplainedVector> {
  const { explainers, newEngine, disputed, id, entry: asked } = options;
  const search = new Search(options);
  const judged = await conform([file], { models: search.models, newEngine, disputed });
  if (search.found === null) {
    const named = id === undefined ? "" : ` "${id}"`;
    throw new VectorError(`there is no vector${named} of ${[...explainers.keys()].join(", ")}`, { file });
  }
  const { vector, explanations } = search.found;
  const { place, expect } = vector;
  if (asked !== undefined && asked >= expect.length) {
    throw new VectorError(`${vector.id} has no entry ${asked}; its last is ${expect.length - 1}`, place);
  }
  const entries = explanations.map((explanation, entry): ExplainedEntry => {
    const failure = judged.failures.find((mismatch) => mismatch.entry === entry);
    const dispute = judged.disputed.find((mismatch) => mismatch.entry === entry);
    return {
      ...explanation,
      entry,
      expectation: expect[entry],
      differences: (failure ?? dispute)?.differences ?? [],
      disputed: dispute?.reason ?? null,
    };
  });
  return { vector, entries: asked === undefined ? entries : [entries[asked]] };
}
