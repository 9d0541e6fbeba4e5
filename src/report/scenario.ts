/** A scenario's outcome, for people and as one JSON document. */
import { holds, type Column, type Scenario, type ScenarioResult, type Step } from "../scenarios/scenario.js";
import { plainTable } from "./table.js";
import { bytes, grouped, sizeName } from "./units.js";

const WIDTH = 100;

function cell(value: string | number | null, { kind }: Column): string {
  if (value === null) return "-";
  if (typeof value === "string") return value;
  if (kind === "size") return sizeName(value);
  return kind === "bytes" ? bytes(value) : grouped(value);
}

function tableText({ columns, rows }: NonNullable<ScenarioResult["table"]>): string {
  const words = columns.filter(({ kind }) => kind === "text" || kind === "size").length;
  const lines = rows.map((row) => columns.map((column) => cell(row[column.key], column)));
  return plainTable(
    columns.map(({ title }) => title),
    lines,
    words,
  );
}

/** Text in lines of at most 100 columns. */
function wrap(text: string, first: string, others: string): string {
  const lines: string[] = [];
  let line = first;
  let words = 0;
  for (const word of text.split(" ")) {
    if (words > 0 && line.length + 1 + word.length > WIDTH) {
      lines.push(line);
      line = others;
      words = 0;
    }
    line += words++ === 0 ? word : ` ${word}`;
  }
  return [...lines, line].join("\n");
}

function stepText({ does, outcome, record }: Step): string {
  const fields = Object.entries(record ?? {}).map(([name, value]) => `${name} ${value}`);
  const recorded = record ? [wrap(`recorded: ${fields.join(", ")}`, "    ", "      ")] : [];
  return [wrap(does, "", "  "), wrap(outcome, "  → ", "    "), ...recorded].join("\n");
}

export function scenarioText({ name, summary }: Scenario, result: ScenarioResult): string {
  const { table, steps, claims } = result;
  const shown = claims.map(({ claim, holds: does }) => wrap(claim, does ? "holds  " : "FAILS  ", "       "));
  return [
    wrap(`${name}: ${summary}`, "", "  "),
    ...(table ? [tableText(table), wrap(table.note, "", "")] : []),
    ...(steps.length > 0 ? [steps.map(stepText).join("\n")] : []),
    shown.join("\n"),
  ].join("\n\n");
}

/** One document, ended by a newline. */
export function scenarioJson(version: string, { name, summary }: Scenario, result: ScenarioResult): string {
  const { table, steps, claims } = result;
  const document = {
    command: "scenario",
    version,
    inputs: { name },
    summary,
    holds: holds(result),
    claims,
    steps,
    rows: table?.rows ?? [],
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

/** The list of all, a line each. */
export function scenarioList(all: readonly Scenario[]): string {
  return plainTable(
    ["scenario", "what it shows"],
    all.map(({ name, summary }) => [name, summary]),
    2,
  );
}

export function scenarioListJson(version: string, all: readonly Scenario[]): string {
  const scenarios = all.map(({ name, summary }) => ({ name, summary }));
  return `${JSON.stringify({ command: "scenario", version, inputs: {}, scenarios }, null, 2)}\n`;
}
