/** Whether a strategy serves an importer as well as any IOVA could, over many cases. */
import { dmaAddress, hex } from "../engine/addresses.js";
import { instantiateEngine } from "../engine/engine.js";
import { IommuError } from "../engine/errors.js";
import { defaultLevels } from "../engine/formats.js";
import type { AnyImporter } from "../importers/importers.js";
import type { Importer } from "../importers/importer.js";
import { Random } from "../random.js";
import { dmaLimit } from "../replay/importer-figures.js";
import type { Strategy } from "../strategies/strategies.js";
import { caseWeight, parseCase, type ValidationCase, type Window } from "./case.js";
import { CaseSource } from "./cases.js";
import { type Failure, Judge, type Property } from "./judge.js";
import { shrink, type WindowedCase } from "./shrink.js";
import { placeCases, type TrialOptions } from "./trial.js";

export interface ValidateOptions {
  readonly module: WebAssembly.Module;
  readonly importer: AnyImporter;
  readonly strategy: Strategy;
  /** Default `tidy`. */
  readonly property?: Property;
  readonly cases?: number;
  readonly seed?: number;
  /** Name of the page-table format. Default `vtdss`. */
  readonly format?: string;
  /** One case in place of many, as `caseText` writes it. */
  readonly only?: string;
  /** Called now and then with the cases judged so far. */
  readonly onProgress?: (cases: number) => void;
}

export interface Counterexample extends WindowedCase {
  readonly failure: Failure;
}

export interface Validation {
  readonly property: Property;
  /** Cases tried; it ends with the cases among which the first failed. */
  readonly cases: number;
  /** Those of them that say nothing: the buffer got no IOVA, and for `placed` no hole was long enough either. */
  readonly unplaced: number;
  /** Whether the property holds of every case that says something; null when none does. */
  readonly holds: boolean | null;
  /** Whether the importer's entries were the same at every IOVA in all cases, and why it says that is so. */
  readonly indifferent: boolean;
  readonly indifference: string | null;
  /** The smallest counterexample that shrinking the first led to; null when it holds. */
  readonly counterexample: Counterexample | null;
}

export const DEFAULT_CASES = 10_000;
/** Cases that share a replay, and so a window. */
const TOGETHER = 256;
/** A buffer, 1 GiB, for which an importer uses its largest pages if it ever does. */
const LONG = 2n ** 30n;

/**
 * Throws `invalid` for a strategy that needs recorded IOVAs, for no cases and for a case that makes no sense; what the
 * importer throws for a case whose virtual addresses it has not; `output-range` for memory that the tables cannot map.
 */
export async function validate(options: ValidateOptions): Promise<Validation> {
  const { module, importer, strategy, property = "tidy", seed = 1, format: name = "vtdss", only, onProgress } = options;
  if (strategy.rule.source === "recorded") {
    throw new IommuError("invalid", `validate strategy "${strategy.name}"`, undefined, "cases have no recorded IOVAs");
  }
  const format = (await instantiateEngine(module)).format(name);
  const tables = (1n << BigInt(format.inputBits(defaultLevels(format)) - (format.canonical ? 1 : 0))) - 1n;
  const limit = dmaLimit([importer]) ?? tables;
  const widest = limit < tables ? limit : tables;
  const trial: TrialOptions = { module, importer, strategy, format: format.name };
  const reservesInterruptRange = format.reservesInterruptRange && strategy.rule.source !== "identity";
  const judge = new Judge({ importer, strategy, property, reservesInterruptRange });
  const source = new CaseSource(importer, seed);
  const windows = new Random(seed);
  const given = only === undefined ? null : parseCase(only, widest);
  if (given !== null) checkCase(given.case, importer, format.outputBits);
  const total = given === null ? (options.cases ?? DEFAULT_CASES) : 1;
  if (!(total > 0)) throw new IommuError("invalid", `judge ${total} cases`, undefined, "nothing is shown by none");

  let cases = 0;
  let unplaced = 0;
  let indifferent = true;
  const indifference = importer.hint({ va: 0n, length: LONG }).indifferent?.reason ?? null;
  while (cases < total) {
    const window = given?.window ?? (cases < 2 * TOGETHER ? { last: widest } : someWindow(windows, widest));
    const count = Math.min(TOGETHER, total - cases);
    const batch = given === null ? Array.from({ length: count }, () => source.next()) : [given.case];
    const placed = await placeCases(trial, batch, window);
    const failing: Counterexample[] = [];
    batch.forEach((each, index) => {
      const verdict = judge.judge(each, placed[index], window);
      if (verdict === "unplaced") unplaced++;
      else if (verdict !== "holds") failing.push({ case: each, window, failure: verdict });
      indifferent &&= judge.isIndifferent(each);
    });
    cases += count;
    onProgress?.(cases);
    if (failing.length === 0) continue;
    const counterexample = given === null ? await smallest(failing) : failing[0];
    return { property, cases, unplaced, holds: false, indifferent, indifference, counterexample };
  }
  const holds = unplaced < cases ? true : null;
  return { property, cases, unplaced, holds, indifferent, indifference, counterexample: null };

  async function failureOf({ case: each, window }: WindowedCase): Promise<Failure | null> {
    const [placed] = await placeCases(trial, [each], window);
    const verdict = judge.judge(each, placed, window);
    return typeof verdict === "string" ? null : verdict;
  }

  async function smallest(failing: readonly Counterexample[]): Promise<Counterexample> {
    const weight = ({ case: each, window }: WindowedCase): number => caseWeight(each, window);
    const first = failing.reduce((least, each) => (weight(each) < weight(least) ? each : least));
    let failure = first.failure;
    const least = await shrink(first, widest, async (candidate) => {
      const still = await failureOf(candidate);
      if (still !== null) failure = still;
      return still !== null;
    });
    return { ...least, failure };
  }
}

function checkCase({ va, pieces }: ValidationCase, importer: AnyImporter, outputBits: number): void {
  for (const { physical, length } of pieces) {
    const last = physical + length - 1n;
    if (last >> BigInt(outputBits) !== 0n) {
      const what = `map ${hex(length)} bytes of memory at ${hex(physical)}`;
      throw new IommuError("output-range", what, last, `the tables hold ${outputBits} address bits`);
    }
  }
  // The virtual address of an importer of physical memory is the IOVA that it gets.
  if (importer.addresses === "physical") return;
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0n);
  (importer as Importer).plan({ va, segments: [{ address: dmaAddress(0n), length }] });
}

/** Half of them all that the device reaches, the others 4 GiB or so little that mappings are in each other's way. */
function someWindow(random: Random, widest: bigint): Window {
  const choice = random.below(4);
  const last = choice < 2 ? widest : choice === 2 ? 2n ** 32n - 1n : 2n ** BigInt(24 + random.below(6)) - 1n;
  return { last: last < widest ? last : widest };
}
