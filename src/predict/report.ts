/** The prediction for people and as JSON. */
import { plainTable } from "../report/table.js";
import { bytes, grouped } from "../report/units.js";
import type { TraceCalls } from "./calls.js";
import type { PredictedMiss, Prediction, SpacePrediction } from "./predict.js";
import type { PageRange } from "./reserved.js";

/** What was asked, as it stands at the head of the report. */
export interface PredictionInputs {
  readonly trace: string;
  readonly strategy: string;
  readonly iomem: string | null;
  readonly groups: string | null;
  readonly reserve: readonly string[];
  readonly dmaMask: readonly string[];
  readonly flush: string;
  readonly learnReserved: boolean;
  readonly recoverOrder: boolean;
}

const PAGE_BYTES = 4096;

const share = (exact: number, of: number): number => (of === 0 ? 1 : exact / of);
// Rounded down: 100 % is said of all only.
const percent = (exact: number, of: number): string => `${(Math.floor(share(exact, of) * 1e5) / 1e3).toFixed(3)} %`;
const hex = (pfn: number): string => `0x${(BigInt(pfn) * BigInt(PAGE_BYTES)).toString(16)}`;

function rangeText({ first, last }: PageRange): string {
  return `${hex(first)}-0x${(BigInt(last + 1) * BigInt(PAGE_BYTES) - 1n).toString(16)}`;
}

/** At most `limit` misses are listed, of those that are left with the recovered order where it was looked for. */
export function predictionText(
  inputs: PredictionInputs,
  trace: TraceCalls,
  prediction: Prediction,
  limit: number,
): string {
  const { allocations, blindExact, recovered, spaces, learned } = prediction;
  const rows = spaces.map((space) => [
    space.name,
    space.flush,
    grouped(space.allocations),
    percent(space.blindExact, space.allocations),
    space.recovered === null ? "-" : grouped(space.recovered.moves),
    space.recovered === null ? "-" : percent(space.exact, space.allocations),
    `${bytes(space.span.predicted)} / ${bytes(space.span.recorded)}`,
    `${grouped(space.live.predictedPeak)} / ${grouped(space.live.recordedPeak)}`,
  ]);
  const lines = [
    `${inputs.trace}: ${grouped(allocations)} allocations in ${grouped(spaces.length)} IOVA space${spaces.length === 1 ? "" : "s"}, ${trace.cpus} CPUs`,
    ...leftOut(prediction),
    ...(learned === null
      ? []
      : [`reserved, learned from the trace: ${learned.map(rangeText).join(", ") || "nothing"}`]),
    "",
    `blind      ${percent(blindExact, allocations)} of the IOVAs are the recorded ones, in the order of the trace`,
    ...(recovered === null
      ? []
      : [
          `recovered  ${percent(recovered.exact, allocations)}, never corrected, ` +
            `with ${grouped(recovered.moves)} calls moved within their windows`,
        ]),
    ...(spaces.some(({ flush }) => flush !== "strict")
      ? ["lazy       when and where the flush timer ran is not in a trace, so exact IOVAs cannot be had"]
      : []),
    "",
    plainTable(
      ["space", "flush", "allocations", "blind", "moves", "recovered", "span pred./rec.", "live pred./rec."],
      rows,
      2,
    ),
  ];
  const misses = recovered === null ? prediction.misses : prediction.recoveredMisses;
  if (misses.length > 0 && limit > 0) {
    lines.push(
      "",
      `The first misses${recovered === null ? "" : " that are left"}:`,
      plainTable(
        ["line", "device", "CPU", "size", "recorded", "predicted", "likely reason"],
        misses
          .slice(0, limit)
          .map((miss) => [
            String(miss.allocation.event.line),
            miss.device,
            String(miss.allocation.event.cpu),
            bytes(miss.allocation.pages * PAGE_BYTES),
            hex(miss.allocation.pfn),
            miss.predicted === 0 ? "none" : hex(miss.predicted),
            miss.reason,
          ]),
        2,
      ),
    );
  }
  return lines.join("\n");
}

function leftOut({ private: own, unattributed }: Prediction): string[] {
  const lines: string[] = [];
  if (own > 0) lines.push(`${grouped(own)} mappings left out: their IOVAs were chosen by user space or a driver`);
  if (unattributed > 0) lines.push(`${grouped(unattributed)} mappings left out: no event tells their device`);
  return lines;
}

/** One JSON document: command, version and inputs first, no time of day. */
export function predictionJson(
  version: string,
  inputs: PredictionInputs,
  trace: TraceCalls,
  prediction: Prediction,
  limit: number,
): string {
  const { allocations, blindExact, recovered } = prediction;
  const { statistics } = trace;
  const document = {
    command: "replay",
    version,
    inputs,
    trace: {
      lines: statistics.lines,
      maps: statistics.maps,
      unmaps: statistics.unmaps,
      cpus: trace.cpus,
      malformed: statistics.malformed,
      lostEvents: statistics.lostEvents,
      conflicts: statistics.conflicts,
    },
    allocations,
    private: prediction.private,
    unattributed: prediction.unattributed,
    learnedReserved: prediction.learned?.map(rangeText) ?? null,
    blind: { exact: blindExact, share: share(blindExact, allocations) },
    recovered:
      recovered === null
        ? null
        : {
            exact: recovered.exact,
            share: share(recovered.exact, allocations),
            moves: recovered.moves,
            misses: prediction.recoveredMisses.slice(0, limit).map(missJson),
          },
    misses: prediction.misses.slice(0, limit).map(missJson),
    spaces: prediction.spaces.map(spaceJson),
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

function missJson({ allocation, device, predicted, reason }: PredictedMiss) {
  return {
    line: allocation.event.line,
    device,
    cpu: allocation.event.cpu,
    size: allocation.pages * PAGE_BYTES,
    recorded: hex(allocation.pfn),
    predicted: predicted === 0 ? null : hex(predicted),
    reason,
  };
}

function spaceJson({ name, flush, allocations, unnamed, blindExact, exact, recovered, span, live }: SpacePrediction) {
  return {
    name,
    flush,
    allocations,
    unnamed,
    blind: { exact: blindExact, share: share(blindExact, allocations) },
    recovered: recovered === null ? null : { exact, share: share(exact, allocations), moves: recovered.moves },
    span,
    live,
  };
}
