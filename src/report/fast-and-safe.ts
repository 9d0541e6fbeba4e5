/** What `experiment fast-and-safe` prints. */
import type { JudgedCase, Judgement } from "../experiment/fast-and-safe/experiment.js";
import { ASSUMPTIONS, PARAMETERS } from "../experiment/fast-and-safe/workload.js";
import { plainTable, TERMINAL_WIDTH, wrap } from "./table.js";
import { percent } from "./units.js";

const NAMES: Readonly<Record<Judgement["figure"], string>> = {
  l1: "L1 misses",
  l2: "L2 misses",
  l3: "L3 misses",
  iotlb: "IOTLB misses",
  reads: "memory reads",
  gbps: "Gb/s, their model",
};

function verdict({ bound, met }: Judgement): string {
  if (bound === null) return "";
  const asked = bound === "at most" ? "at most that" : `within ${bound.relative * 100} %`;
  return `${asked}: ${met ? "met" : "missed"}`;
}

/** Lines of an entry of a list. */
function listed(text: string): string[] {
  return wrap(text, TERMINAL_WIDTH - 4).map((line, index) => `${index === 0 ? "  " : "    "}${line}`);
}

export function fastAndSafeText(cases: readonly JudgedCase[]): string {
  const lines = cases.flatMap(({ name, judgements }) =>
    judgements.map((judgement, index) => [
      index === 0 ? name : "",
      NAMES[judgement.figure],
      judgement.ours.toFixed(judgement.figure === "gbps" ? 1 : 3),
      judgement.published.toFixed(judgement.figure === "gbps" ? 1 : 3),
      percent(judgement.relativeError),
      verdict(judgement),
    ]),
  );
  const accesses = cases.map(({ name, acksPerPage, rings }) => [
    name,
    acksPerPage.toFixed(3),
    rings.descriptorReads.toFixed(3),
    rings.completionWrites.toFixed(3),
  ]);
  const parameters = Object.entries(PARAMETERS).map(([name, { value, source }]) => `${name} ${value}: ${source}`);
  return [
    "Fast & Safe (SOSP'24), per 4096-byte page received",
    plainTable(["case", "figure", "ours", "published", "error", "bound"], lines, 2),
    "",
    plainTable(["case", "ACKs (solved)", "descriptor reads", "completion writes"], accesses),
    "",
    "parameters, the same for every case:",
    ...parameters.flatMap(listed),
    "assumed beside these:",
    ...ASSUMPTIONS.flatMap(listed),
  ].join("\n");
}

export function fastAndSafeJson(version: string, cases: readonly JudgedCase[]): string {
  const document = {
    command: "experiment fast-and-safe",
    version,
    inputs: { parameters: PARAMETERS, assumptions: ASSUMPTIONS },
    cases,
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}
