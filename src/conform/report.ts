import { hex } from "../engine/addresses.js";
import { grouped } from "../report/units.js";
import { answerText, fieldText, specificationText } from "./judge.js";
import type { Faulted, VectorOutcome } from "./model.js";
import type { Conformance, Counts, DisputedMismatch, Mismatch, Skipped } from "./run.js";
import type { Expectation, VectorRequest } from "./vector.js";

/** What was judged; printed at the head of the JSON document. */
export interface ConformanceInputs {
  readonly files: readonly string[];
  /** List of disputed entries; null for the one that comes with the package. */
  readonly disputed: string | null;
}

/** The mismatches (at most `limit` of them), what is disputed, what was skipped, and in the last line the counts. */
export function conformanceText({ failures, disputed, skipped, counts }: Conformance, limit: number): string {
  const more = failures.length - limit;
  return [
    ...failures.slice(0, limit).flatMap((mismatch) => [...mismatchLines(mismatch), ""]),
    ...(more > 0 ? [`… and ${grouped(more)} more`, ""] : []),
    ...disputedLines(disputed),
    ...skipped.map(skippedLine),
    countsLine(counts),
  ].join("\n");
}

function countsLine({ passed, failed, disputed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed, ${disputed} disputed, ${skipped} skipped`;
}

function mismatchLines({ vector, entry, request, expectation, outcome, differences }: Mismatch): string[] {
  const { place, id, tags } = vector;
  return [
    `${place.file}:${place.line}: ${id} entry ${entry}${tags.length === 0 ? "" : ` [${tags.join(", ")}]`}`,
    `  request   ${requestText(request)}`,
    ...expectationLines(expectation),
    `  got       ${outcomeText(outcome)}`,
    ...differences.map(({ what, expected, got }) => `  differs   ${what}: ${got}, not ${expected}`),
    ...outcome.reads.map(
      ({ structure, address, words }) =>
        `  read      ${structure} at ${hex(address)}: ${words === null ? "not backed" : words.map(hex).join(" ")}`,
    ),
  ];
}

/** A PCI requester as lspci prints it. */
function requester(sid: number): string {
  const digits = (value: number) => value.toString(16).padStart(2, "0");
  return `${digits(sid >>> 8)}:${digits((sid >>> 3) & 0x1f)}.${sid & 7}`;
}

function requestText({ sid, iova, access, pasid, privileged, execute, type }: VectorRequest): string {
  return [
    `${access === "r" ? "read" : "write"} ${hex(iova)} from ${requester(sid)} (${hex(BigInt(sid))})`,
    ...(pasid === undefined ? [] : [`PASID ${hex(BigInt(pasid))}`]),
    ...(privileged ? ["privileged"] : []),
    ...(execute ? ["execute"] : []),
    ...(type === undefined ? [] : [type]),
  ].join(", ");
}

function expectationLines({ answer, writes, deviation }: Expectation): string[] {
  const fields = "code" in answer ? fieldsText(answer.fields) : "";
  const changed = writes.map(([address, word]) => `, word ${hex(address)} becomes ${hex(word)}`).join("");
  const recorded = `${answerText(answer)}${fields}${changed}`;
  if (deviation === null) return [`  expected  ${recorded}`];
  const why = deviation.why === null ? "" : ` (${deviation.why})`;
  return [
    `  expected  ${specificationText(deviation.specification)}, by the specification`,
    `  recorded  ${recorded}${why}`,
  ];
}

function outcomeText(outcome: VectorOutcome): string {
  return `${answerText(outcome)}${"code" in outcome ? fieldsText(outcome.fields) : ""}`;
}

function fieldsText(fields: Readonly<Record<string, bigint | number | string | boolean>>): string {
  return Object.entries(fields)
    .map(([name, value]) => `, ${name} ${fieldText(value)}`)
    .join("");
}

/** One line for the entries of a vector that share a reason. */
function disputedLines(disputed: readonly DisputedMismatch[]): string[] {
  const groups = new Map<string, { readonly first: DisputedMismatch; readonly entries: number[] }>();
  for (const mismatch of disputed) {
    const { file, line } = mismatch.vector.place;
    const key = JSON.stringify([file, line, mismatch.reason]);
    const group = groups.get(key);
    if (group) group.entries.push(mismatch.entry);
    else groups.set(key, { first: mismatch, entries: [mismatch.entry] });
  }
  return [...groups.values()].map(({ first, entries }) => {
    const { place, id } = first.vector;
    const which = `${entries.length === 1 ? "entry" : "entries"} ${entries.join(", ")}`;
    return `disputed: ${place.file}:${place.line}: ${id} ${which}: ${first.reason}`;
  });
}

function skippedLine({ reason, vectors, entries }: Skipped): string {
  return `skipped: ${reason} (entries: ${grouped(entries)}, vectors: ${grouped(vectors)})`;
}

/**
 * The whole run as one JSON document: command, version and inputs first; 64-bit values, requester IDs and fields of fault
 * records as hex strings, codes and counts as numbers. Every mismatch is there.
 */
export function conformanceJson(version: string, inputs: ConformanceInputs, conformance: Conformance): string {
  const document = {
    command: "conform",
    version,
    inputs,
    counts: conformance.counts,
    failures: conformance.failures.map(mismatchJson),
    disputed: conformance.disputed.map((mismatch) => ({ reason: mismatch.reason, ...mismatchJson(mismatch) })),
    skipped: conformance.skipped,
  };
  return `${JSON.stringify(document, (_, value: unknown) => (typeof value === "bigint" ? hex(value) : value), 2)}\n`;
}

function hexFields(fields: Faulted["fields"]): Record<string, bigint | string> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, typeof value === "number" ? BigInt(value) : value]),
  );
}

function mismatchJson({ vector, entry, request, expectation, outcome, differences }: Mismatch): object {
  const { answer, writes, deviation } = expectation;
  return {
    ...vector.place,
    vector: vector.id,
    tags: vector.tags,
    entry,
    request: { ...request, sid: BigInt(request.sid) },
    expected: { ...answer, writes, ...deviation },
    got: "pa" in outcome ? { pa: outcome.pa } : { code: outcome.code, fields: hexFields(outcome.fields) },
    differences,
    reads: outcome.reads,
  };
}
