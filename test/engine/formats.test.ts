/** What the module says of its formats, against the specifications. */
import { expect, test } from "vitest";
import { newEngine } from "../support/engine.js";
import { refused } from "../support/errors.js";

const engine = await newEngine();
const TABLES_OF_4K = { granule: 4096n, pageSizes: (1n << 12n) | (1n << 21n) | (1n << 30n) };
const SHIFTS_OF_4K = [12, 21, 30, 39, 48];
const VTD = { outputBits: 52, maxLevels: 5, ...TABLES_OF_4K };
const VMSA = { minLevels: 1, outputBits: 48, canonical: false, reservesInterruptRange: false };
const VMSA_4K = { ...VMSA, maxLevels: 4, ...TABLES_OF_4K };
const VMSA_16K = { ...VMSA, maxLevels: 4, granule: 16384n, pageSizes: (1n << 14n) | (1n << 25n) };
const VMSA_64K = { ...VMSA, maxLevels: 3, granule: 65536n, pageSizes: (1n << 16n) | (1n << 29n) };
const SHIFTS_OF_16K = [14, 25, 36, 47, 58];
const SHIFTS_OF_64K = [16, 29, 42, 55, 68];

test.each([
  {
    name: "vtdss",
    title: /VT-d second stage/,
    facts: { ...VTD, minLevels: 3, canonical: false },
    widths: [39, 48, 57],
    shifts: SHIFTS_OF_4K,
  },
  {
    name: "x86_64",
    title: /x86-64/,
    facts: { ...VTD, minLevels: 4, canonical: true },
    widths: [39, 48, 57],
    shifts: SHIFTS_OF_4K,
  },
  ...[1, 2].flatMap((stage) =>
    [
      { granule: "4", facts: VMSA_4K, widths: [39, 48, 48], shifts: SHIFTS_OF_4K },
      { granule: "16", facts: VMSA_16K, widths: [47, 48, 48], shifts: SHIFTS_OF_16K },
      { granule: "64", facts: VMSA_64K, widths: [52, 52, 52], shifts: SHIFTS_OF_64K },
    ].map(({ granule, ...rest }) => ({
      name: `vmsav8-${granule}k${stage === 2 ? "-s2" : ""}`,
      title: new RegExp(`VMSAv8-64 stage ${stage}, ${granule} KiB`),
      ...rest,
    })),
  ),
])("$name", ({ name, title, facts, widths, shifts }) => {
  const format = engine.format(name);
  expect(format).toMatchObject({ name, ...facts });
  expect(format.title).toMatch(title);
  expect(engine.formats[format.index]).toBe(format);
  expect([3, 4, 5].map((levels) => format.inputBits(levels))).toEqual(widths);
  expect([1, 2, 3, 4, 5].map((level) => format.levelShift(level))).toEqual(shifts);
});

test("a format that does not exist, and the names of those that do", () => {
  const error = refused("invalid", () => engine.createTable("riscv-sv39"));
  for (const { name } of engine.formats) expect(error.message).toContain(name);
});

test("a table has four levels if the format has so many, all leaf sizes and the widest addresses unless told otherwise", () => {
  for (const format of engine.formats) {
    const table = engine.createTable(format.name);
    expect(table).toMatchObject({ levels: Math.min(4, format.maxLevels), pageSizes: format.pageSizes });
    const sizes = [3, 2, 1].map((level) => 1n << BigInt(format.levelShift(level)));
    expect([...table.counters.leaves.keys()]).toEqual(sizes.filter((size) => (format.pageSizes & size) !== 0n));
    table.release();
  }
});
