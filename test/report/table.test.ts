import fc from "fast-check";
import { expect, it } from "vitest";
import { plainTable, TERMINAL_WIDTH } from "../../src/report/table.js";

const word = fc.stringMatching(/^[a-z]{1,24}$/);

it("no line of a table is wider than a terminal, and every cell is in it, beside its row's name", () => {
  const tables = fc.integer({ min: 1, max: 12 }).chain((columns) => {
    const row = fc.array(word, { minLength: columns, maxLength: columns });
    return fc.tuple(row, fc.array(row, { minLength: 1, maxLength: 5 }));
  });
  fc.assert(
    fc.property(tables, ([head, rows]) => {
      const text = plainTable(head, rows);
      for (const line of text.split("\n")) expect(line.length).toBeLessThanOrEqual(TERMINAL_WIDTH);
      const parts = text.split("\n\n").map((part) => part.split("\n").map((line) => line.trim().split(/ {2,}/)));
      for (const [index, row] of [head, ...rows].entries()) {
        for (const part of parts) expect(part[index][0]).toBe(row[0]);
        expect(parts.flatMap((part) => part[index].slice(1))).toEqual(row.slice(1));
      }
    }),
  );
});

it("what fits is one table", () => {
  const row = Array.from({ length: 10 }, () => "12345678");
  expect(plainTable(row, [row]).split("\n")).toHaveLength(2);
  expect(plainTable([...row, "1"], [[...row, "1"]]).split("\n\n")).toHaveLength(2);
});
