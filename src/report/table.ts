import Table from "cli-table3";

/** Lines of a plain table: the first `words` columns to the left, numbers to the right, two spaces between, no rules. */
export function plainTable(head: readonly string[], rows: readonly (readonly string[])[], words = 1): string {
  const nothing = Object.fromEntries(
    ["top", "bottom", "left", "right", "mid"].flatMap((side) =>
      ["", "-mid", "-left", "-right"].map((part) => [`${side}${part}`, ""]),
    ),
  );
  const table = new Table({
    head: [...head],
    chars: { ...nothing, middle: "  " },
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
