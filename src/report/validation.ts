import { hex } from "../engine/addresses.js";
import { caseText } from "../validate/case.js";
import type { Counterexample, Validation } from "../validate/validate.js";
import { TERMINAL_WIDTH, wrap } from "./table.js";
import { grouped } from "./units.js";

/** What was asked. */
export interface ValidationInputs {
  readonly importer: string;
  readonly strategy: string;
  readonly property: string;
  readonly cases: number;
  readonly seed: number;
  readonly format: string;
  readonly case: string | null;
}

const HELD: Readonly<Record<Validation["property"], string>> = {
  tidy: "the importer got as few entries as any IOVA could give",
  indifferent: "the importer's entries were the same at every IOVA",
  must: "everything that the hint says must be was",
  placed: "there was an IOVA whenever a hole was long enough",
};

/** The command line that shows a counterexample again. */
export function reproduction(inputs: ValidationInputs, { case: each, window }: Counterexample): string {
  const { importer, strategy, property, format } = inputs;
  const options = [
    `--importer ${importer}`,
    `--strategy ${strategy}`,
    ...(property === "tidy" ? [] : [`--property ${property}`]),
    ...(format === "vtdss" ? [] : [`--format ${format}`]),
  ];
  return `iommu-lab validate ${options.join(" ")} --case '${caseText(each, window)}'`;
}

export function validationText(inputs: ValidationInputs, validation: Validation): string {
  const { cases, unplaced, holds, indifferent, indifference, counterexample, property } = validation;
  const title = `${inputs.strategy} for ${inputs.importer}, ${property}, seed ${inputs.seed}`;
  const judged = cases === 1 ? "1 case" : `${grouped(cases)} cases`;
  const without = unplaced === 0 ? "" : ` (${grouped(unplaced)} got no IOVA)`;
  const lines = wrap(
    holds === null
      ? `${title}: not judged: ${cases === 1 ? "the buffer got no" : `none of ${judged} got an`} IOVA.`
      : holds
        ? `${title}: holds in ${judged}${without}: ${HELD[property]}.`
        : `${title}: fails within ${judged}.`,
    TERMINAL_WIDTH,
  );
  if (indifferent) {
    const why = indifference === null ? "" : `: ${indifference}`;
    lines.push(...wrap(`Its entries were the same at every IOVA tried, in every case${why}.`, TERMINAL_WIDTH));
  }
  if (counterexample !== null) {
    lines.push("", counterexample.failure.reason, reproduction(inputs, counterexample));
  }
  return lines.join("\n");
}

/** One JSON document: command, version and inputs first; addresses as hex strings. */
export function validationJson(version: string, inputs: ValidationInputs, validation: Validation): string {
  const { counterexample, holds, ...rest } = validation;
  const address = (iova: bigint | null): string | null => (iova === null ? null : hex(iova));
  const document = {
    command: "validate",
    version,
    inputs,
    holds,
    ...rest,
    counterexample: counterexample && {
      case: caseText(counterexample.case, counterexample.window),
      command: reproduction(inputs, counterexample),
      ...counterexample.failure,
      iova: address(counterexample.failure.iova),
      betterIova: address(counterexample.failure.betterIova),
    },
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}
