/** What the module says of its formats, against the specifications. */
import { expect, test } from "vitest";
import { newEngine } from "../support/engine.js";
import { refused } from "../support/errors.js";

const engine = await newEngine();
const SIZES = (1n << 12n) | (1n << 21n) | (1n << 30n);

test.each([
  { name: "vtdss", minLevels: 3, maxLevels: 5, outputBits: 52, canonical: false, title: /VT-d second stage/ },
  { name: "x86_64", minLevels: 4, maxLevels: 5, outputBits: 52, canonical: true, title: /x86-64/ },
  { name: "vmsav8-4k", minLevels: 3, maxLevels: 4, outputBits: 48, canonical: false, title: /VMSAv8-64.*4 KiB/ },
])("$name", ({ name, title, ...facts }) => {
  const format = engine.format(name);
  expect(format).toMatchObject({ name, granule: 4096n, pageSizes: SIZES, ...facts });
  expect(format.title).toMatch(title);
  expect(engine.formats[format.index]).toBe(format);
  expect([3, 4, 5].map((levels) => format.inputBits(levels))).toEqual([39, 48, 57]);
  expect([1, 2, 3, 4, 5].map((level) => format.levelShift(level))).toEqual([12, 21, 30, 39, 48]);
});

test("a format that does not exist, and the names of those that do", () => {
  const error = refused("invalid", () => engine.createTable("riscv-sv39"));
  for (const { name } of engine.formats) expect(error.message).toContain(name);
});

test("a table has four levels, all leaf sizes and the widest addresses unless told otherwise", () => {
  for (const format of engine.formats) {
    const table = engine.createTable(format.name);
    expect(table).toMatchObject({ levels: 4, pageSizes: format.pageSizes });
    expect([...table.counters.leaves.keys()]).toEqual([1n << 30n, 1n << 21n, 1n << 12n]);
    table.release();
  }
});
