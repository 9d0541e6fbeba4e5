import { answerText, fieldText, specificationText } from "../conform/judge.js";
import type { Expectation, VectorRequest } from "../conform/vector.js";
import { hex } from "../engine/addresses.js";
import { sizeName } from "../report/units.js";
import { fieldLine } from "../unit/fields.js";
import type { StructureRead } from "../unit/request.js";
import type { Explanation, Step } from "./explain.js";
import type { Reached, Refused } from "./unit.js";
import type { ExplainedEntry, ExplainedVector } from "./vector.js";

/** A PCI requester as lspci prints it. */
function requester(sid: number): string {
  const digits = (value: number) => value.toString(16).padStart(2, "0");
  return `${digits(sid >>> 8)}:${digits((sid >>> 3) & 0x1f)}.${sid & 7}`;
}

function requestLine({ sid, iova, access, pasid, privileged, execute, type }: VectorRequest): string {
  return [
    `${requester(sid)} ${access === "r" ? "reads" : "writes"} ${hex(iova)}`,
    ...(pasid === undefined ? [] : [`PASID ${hex(BigInt(pasid))}`]),
    ...(privileged ? ["privileged"] : []),
    ...(execute ? ["execute"] : []),
    ...(type === undefined ? [] : [type]),
  ].join(", ");
}

function wordsText(words: readonly (bigint | null)[]): string {
  return words.map((word) => (word === null ? "not backed" : hex(word))).join(" ");
}

function placeText({ structure, address }: StructureRead): string {
  return `${structure} at ${hex(address)}`;
}

function stepLines({ fields, words, written, ...read }: Step): string[] {
  return [
    `${placeText({ ...read, words })}: ${words === null ? "nobody backs this address" : wordsText(words)}`,
    ...fields.map((field) => `  ${fieldLine(field)}`),
    ...(written === null ? [] : [`  becomes ${wordsText(written)}`]),
  ];
}

type Row = readonly [label: string, text: string];

/** Indented, the texts below each other. */
function rowLines(rows: readonly Row[]): string[] {
  const width = Math.max(...rows.map(([label]) => label.length));
  return rows.map(([label, text]) => `  ${label.padEnd(width)}  ${text}`);
}

function fieldsText(fields: Readonly<Record<string, bigint | number | string | boolean>>): string {
  return Object.entries(fields)
    .map(([name, value]) => `, ${name} ${fieldText(value)}`)
    .join("");
}

function reachedLines({ physical, pageSize, note }: Reached, last: Step | undefined): string[] {
  const how = pageSize === null ? "untranslated" : `in a ${sizeName(Number(pageSize))} page`;
  return [
    `reaches ${hex(physical)}, ${how}${note === null ? "" : `: ${note}`}`,
    ...rowLines(last ? [[pageSize === null ? "decided by" : "leaf", placeText(last)]] : []),
  ];
}

function refusedLines(refused: Refused, last: Step | undefined): string[] {
  const { code, name, condition, record, unrecorded, completion } = refused;
  return [
    `faults${code === null ? "" : ` with code ${code} (${hex(BigInt(code))})`}: ${name}, ${condition}`,
    ...rowLines([
      ["decided by", last ? placeText(last) : "the request: no structure was read"],
      ["fault record", record ? `${record.place}${fieldsText(record.fields)}` : `none: ${unrecorded}`],
      ...(completion === null ? [] : [["completion", completion] as const]),
    ]),
  ];
}

/** One request: a block of lines for it, for every structure that was read, and for what came of it. */
export function explanationText({ request, steps, verdict }: Explanation): string {
  const last = steps.at(-1);
  const outcome = verdict.ok ? reachedLines(verdict, last) : refusedLines(verdict, last);
  return [[requestLine(request)], ...steps.map(stepLines), outcome].map((lines) => lines.join("\n")).join("\n\n");
}

function expectationRows({ answer, writes, deviation }: Expectation): Row[] {
  const changed = writes.map(([address, word]) => `, word ${hex(address)} becomes ${hex(word)}`).join("");
  const seen = `${answerText(answer)}${"code" in answer ? fieldsText(answer.fields) : ""}${changed}`;
  if (deviation === null) return [["expected", seen]];
  return [
    ["expected", `${specificationText(deviation.specification)}, by the specification`],
    ["recorded", `${seen}${deviation.why === null ? "" : ` (${deviation.why})`}`],
  ];
}

function judgementText({ expectation, differences, disputed }: ExplainedEntry): string {
  return [
    differences.length === 0 ? "as the vector expects" : "not as the vector expects",
    ...rowLines([
      ...expectationRows(expectation),
      ...differences.map(({ what, expected, got }): Row => ["differs", `${what}: ${got}, not ${expected}`]),
      ...(disputed === null ? [] : [["disputed", disputed] as const]),
    ]),
  ].join("\n");
}

/** Every entry under a line that says where it is from. */
export function explainedVectorText({ vector, entries }: ExplainedVector): string {
  const { place, id, tags } = vector;
  return entries
    .map((explained) => {
      const heading = `${place.file}:${place.line}: ${id} entry ${explained.entry}`;
      const tagged = tags.length === 0 ? heading : `${heading} [${tags.join(", ")}]`;
      return `${tagged}\n${explanationText(explained)}\n\n${judgementText(explained)}`;
    })
    .join("\n\n\n");
}

/** What was asked; printed at the head of the JSON document. */
export type ExplainInputs = Readonly<Record<string, string | number | bigint | null>>;

/** 64-bit values and requester IDs as hex strings, codes, PASIDs and sizes in bytes as numbers. */
function documentText(version: string, inputs: ExplainInputs, rest: object): string {
  const document = { command: "explain", version, inputs, ...rest };
  return `${JSON.stringify(document, (_, value: unknown) => (typeof value === "bigint" ? hex(value) : value), 2)}\n`;
}

function explanationJson({ request, steps, verdict }: Explanation): object {
  const last = steps.at(-1);
  const decidedBy = last ? { structure: last.structure, address: last.address } : null;
  const outcome = verdict.ok
    ? { ...verdict, pageSize: verdict.pageSize === null ? null : Number(verdict.pageSize) }
    : { ...verdict, record: verdict.record && { ...verdict.record, fields: hexFields(verdict.record.fields) } };
  return { request: { ...request, sid: BigInt(request.sid) }, steps, verdict: { ...outcome, decidedBy } };
}

function hexFields(fields: NonNullable<Refused["record"]>["fields"]): Record<string, bigint | string> {
  return Object.fromEntries(
    Object.entries(fields).map(([name, value]) => [name, typeof value === "number" ? BigInt(value) : value]),
  );
}

/** One request as one JSON document. */
export function explanationDocument(version: string, inputs: ExplainInputs, explanation: Explanation): string {
  return documentText(version, inputs, explanationJson(explanation));
}

/** The entries of a vector as one JSON document. */
export function explainedVectorDocument(
  version: string,
  inputs: ExplainInputs,
  { vector, entries }: ExplainedVector,
): string {
  const { place, id, tags } = vector;
  return documentText(version, inputs, {
    vector: { ...place, id, tags },
    entries: entries.map(
      ({ entry, expectation: { answer, writes, deviation }, differences, disputed, ...explanation }) => ({
        entry,
        ...explanationJson(explanation),
        expected: { ...answer, writes, ...deviation },
        agrees: differences.length === 0,
        differences,
        disputed,
      }),
    ),
  });
}
