import Table from "cli-table3";

/** Columns of a terminal that every table fits. */
export const TERMINAL_WIDTH = 100;
const GAP = "  ";

/** Indices of columns for tables that each fit, the first column in all of them. */
function splitColumns(widths: readonly number[]): number[][] {
  const parts: number[][] = [[]];
  let used = widths[0];
  for (let column = 1; column < widths.length; column++) {
    const more = GAP.length + widths[column];
    if (used + more > TERMINAL_WIDTH && parts[parts.length - 1].length > 0) {
      parts.push([]);
      used = widths[0];
    }
    parts[parts.length - 1].push(column);
    used += more;
  }
  return parts.map((columns) => [0, ...columns]);
}

/**
 * Lines of a plain table: the first `words` columns to the left, numbers to the right, two spaces between, no rules. What is
 * too wide for a terminal becomes several tables, one below the other, each beginning with the first column.
 */
export function plainTable(head: readonly string[], rows: readonly (readonly string[])[], words = 1): string {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column].length)));
  return splitColumns(widths)
    .map((columns) => {
      const of = (row: readonly string[]): string[] => columns.map((column) => row[column]);
      return oneTable(of(head), rows.map(of), columns.filter((column) => column < words).length);
    })
    .join("\n\n");
}

function oneTable(head: readonly string[], rows: readonly (readonly string[])[], words: number): string {
  const nothing = Object.fromEntries(
    ["top", "bottom", "left", "right", "mid"].flatMap((side) =>
      ["", "-mid", "-left", "-right"].map((part) => [`${side}${part}`, ""]),
    ),
  );
  const table = new Table({
    head: [...head],
    chars: { ...nothing, middle: GAP },
    style: { "padding-left": 0, "padding-right": 0, head: [], border: [] },
    colAligns: head.map((_, column) => (column < words ? "left" : "right")),
  });
  for (const row of rows) table.push(row.map((content) => ({ content, vAlign: "bottom" as const })));
  return table
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}

/** Lines of at most `width` characters, broken between words. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + word.length + 1 > width) {
      lines.push(line);
      line = "";
    }
    line += line === "" ? word : ` ${word}`;
  }
  return [...lines, line];
}
