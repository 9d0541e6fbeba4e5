/** Tables rebuilt from listings: recorded ones against the dump they were taken with, and random ones byte for byte. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { DumpErrorCode } from "../../src/dump/errors.js";
import { type ListingSection, parseListing } from "../../src/dump/listing.js";
import { readListing } from "../../src/dump/listing-files.js";
import { type ListingOptions, loadListing, rebuildListing } from "../../src/dump/listing-table.js";
import { readMaps } from "../../src/dump/maps.js";
import { arenaBaseFor } from "../../src/dump/pages.js";
import type { Engine } from "../../src/engine/engine.js";
import { tablePages } from "../support/dump.js";
import { newEngine } from "../support/engine.js";
import { refused } from "../support/errors.js";
import { coverage, type SlowFormat } from "../support/slow-format.js";
import { slowVtdss } from "../support/slow-vtdss.js";
import { slowX8664 } from "../support/slow-x86_64.js";
import { iovaOf, physicalOf } from "../support/tables.js";
import { checkLeaves, failure, printListing, SHARED_DUMPS, scratchDirectory, VTD } from "./support.js";

const scratch = scratchDirectory();

/** Every section's rows are the leaves of maps.txt, and walks of the rebuilt table find those. Returns the rows walked. */
async function compareWithMaps(sections: readonly ListingSection[], mapsFile: string): Promise<number> {
  const maps = new Map((await readMaps(mapsFile)).map((device) => [device.sid, device]));
  let rows = 0;
  for (const section of sections) {
    const device = maps.get(section.sid);
    expect(device?.info.ss).toBe(`0x${section.root.toString(16)}`);
    const leaves = device?.leaves ?? [];
    expect(section.rows.map((row) => [row.iova, coverage(6 - row.entries.length), row.entries.at(-1)])).toEqual(
      leaves.map((leaf) => [leaf.iova, leaf.size, leaf.entry]),
    );
    const options: ListingOptions = section.rows.length === 0 ? { format: "vtdss", levels: 4 } : {};
    const engine = await newEngine({ arenaBase: arenaBaseFor(rebuildListing(section, options)) });
    const table = loadListing(engine, section, options);
    expect(table).toMatchObject({ format: { name: "vtdss" }, levels: 4, root: section.root });
    checkLeaves(table, leaves);
    rows += section.rows.length;
  }
  return rows;
}

describe("recorded listings", () => {
  test("of the fixture", async () => {
    const sections = await readListing(join(VTD, "intel"));
    expect(sections.map(({ sid, rows }) => [sid, rows.length])).toEqual([
      [0x00, 0],
      [0x30, 4],
      [0x40, 5005],
      [0x48, 133],
      [0x100, 44],
    ]);
    expect(await compareWithMaps(sections, join(VTD, "maps.txt.gz"))).toBe(5186);
  });

  const recorded = SHARED_DUMPS.filter((directory) => existsSync(join(directory, "debugfs.tar.gz")));
  test.runIf(recorded.length > 0).each(recorded)("of every device: %s", async (directory) => {
    const tree = await mkdtemp(join(scratch, "debugfs-"));
    execFileSync("tar", ["-xzf", join(directory, "debugfs.tar.gz"), "-C", tree]);
    const sections = await readListing(tree);
    const maps = join(directory, "maps.txt.gz");
    expect(sections.map(({ sid }) => sid).sort()).toEqual((await readMaps(maps)).map(({ sid }) => sid).sort());
    expect(await compareWithMaps(sections, maps)).toBeGreaterThan(0);
  });

  test("of devices that share a table can be loaded into one engine", async () => {
    const sections = await readListing(join(VTD, "intel"));
    const engine = await newEngine();
    for (const section of [...sections, ...sections]) {
      const table = loadListing(engine, section, { format: "vtdss", levels: 4 });
      for (const { iova, entries } of section.rows) {
        const leaf = entries[entries.length - 1] & slowVtdss.addressMask;
        expect(table.iovaToPhys(iova)).toBe(leaf);
      }
    }
  });
});

/** Mappings for a table of some width: page numbers as fractions of it, sizes up to 1 GiB. */
const mappings = fc.array(
  fc.record({
    place: fc.bigInt({ min: 0n, max: (1n << 45n) - 1n }),
    near: fc.boolean(),
    frame: fc.bigInt({ min: 0n, max: (1n << 35n) - 1n }),
    size: fc.constantFrom(12n, 12n, 12n, 13n, 14n, 20n, 21n, 22n, 30n),
    read: fc.boolean(),
  }),
  { minLength: 1, maxLength: 12 },
);

describe("tables that Linux lists", () => {
  const geometries: [string, number, boolean, SlowFormat][] = [
    ["vtdss", 3, false, slowVtdss],
    ["vtdss", 4, true, slowVtdss],
    ["vtdss", 5, false, slowVtdss],
    ["x86_64", 4, false, slowX8664],
    ["x86_64", 5, true, slowX8664],
  ];
  test.each(geometries)("come back byte for byte: %s, %i levels, older kernel: %s", async (_, levels, old, format) => {
    const machine = await newEngine();
    // Not where the machine's tables are, which are to be at the same addresses here.
    const engine = await newEngine({ arenaBase: physicalOf(1n << 45n) });
    const width = BigInt(12 + 9 * levels);
    const extend = (iova: bigint): bigint =>
      format.signExtended && iova >> (width - 1n) !== 0n ? BigInt.asUintN(64, iova - (1n << width)) : iova;
    await fc.assert(
      fc.asyncProperty(mappings, async (requests) => {
        const table = machine.createTable(format.name, { levels });
        for (const { place, near, frame, size, read } of requests) {
          const iova = (((near ? (place % 4096n) << 12n : place << 12n) % (1n << width)) >> size) << size;
          const physical = ((frame << 12n) >> size) << size;
          try {
            table.map(iovaOf(extend(iova)), physicalOf(physical), 1n << size, { read, write: true });
          } catch (error) {
            expect(error).toMatchObject({ code: "overlap" });
          }
        }
        const text = printListing(machine, table, format, `Device 0000:00:02.0 @0x${table.root.toString(16)}`, old);
        const [section] = await parseListing(text.split("\n"));
        const rebuilt = loadListing(engine, section);
        expect(rebuilt).toMatchObject({ format: { name: format.name }, levels, root: table.root });
        const pages = [...tablePages(machine, table, format).keys()];
        expect(new Set<bigint>(rebuildListing(section).pages.map((page) => page.address))).toEqual(new Set(pages));
        for (const page of pages.map(physicalOf)) {
          expect(Buffer.compare(engine.memory.read(page, 4096), machine.memory.read(page, 4096))).toBe(0);
        }
        for (const row of section.rows) {
          const iova = iovaOf(extend(row.iova));
          expect(rebuilt.walk(iova, { write: true })).toEqual(table.walk(iova, { write: true }));
          expect(rebuilt.walk(iova, { write: true }).ok).toBe(true);
        }
        rebuilt.release();
        table.release();
      }),
      { numRuns: 60 },
    );
  });
});

const HEADER = "Device 0000:00:02.0 @0x1000";

async function sectionOf(...rows: string[]): Promise<ListingSection> {
  const [section] = await parseListing([HEADER, ...rows], "listing");
  return section;
}

describe("the format and the levels", () => {
  test.each<[string, string[], ListingOptions, string, number]>([
    ["R and W only", ["0x0 | 0 0x2003 0x3003 0x4003 0x5003"], {}, "vtdss", 4],
    ["write-only", ["0x0 | 0 0x2007 0x3007 0x4007 0x5006"], {}, "vtdss", 4],
    ["read-only", ["0x0 | 0 0x2003 0x3003 0x4003 0x5001"], {}, "vtdss", 4],
    ["an ignored bit of a leaf", ["0x0 | 0 0x2003 0x3003 0x4003 0x5023"], {}, "vtdss", 4],
    ["three levels", ["0x0 | 0 0 0x3007 0x4007 0x5007"], {}, "vtdss", 3],
    ["five levels", ["0x0 | 0x7003 0x2003 0x3003 0x4003 0x5003"], {}, "vtdss", 5],
    ["U/S in every entry", ["0x0 | 0 0x2007 0x3007 0x4007 0x5007"], {}, "x86_64", 4],
    [
      "A in every table entry",
      ["0x0 | 0 0x2067 0x3067 0x4067 0x5067", "0x1ff | 0 0x2067 0x3067 0x4067 0x8163"],
      {},
      "x86_64",
      4,
    ],
    ["five levels, first stage", ["0x0 | 0x7027 0x2027 0x3027 0x4027 0x5067"], {}, "x86_64", 5],
    ["what is said, when both fit", ["0x0 | 0 0x2007 0x3003 0x4003 0x5003"], { format: "x86_64" }, "x86_64", 4],
    ["what is said, against the bits", ["0x0 | 0 0x2007 0x3007 0x4007 0x5007"], { format: "vtdss" }, "vtdss", 4],
    ["what is said of an empty table", [], { format: "vtdss", levels: 3 }, "vtdss", 3],
    ["what is said of an empty table of 3 levels", [], { levels: 3 }, "vtdss", 3],
  ])("follow from: %s", async (_, rows, options, format, levels) => {
    const section = await sectionOf(...rows.map((row) => row.replace(/ 0(?= )/g, " 0x0")));
    expect(rebuildListing(section, options)).toMatchObject({ format, levels });
    const table = loadListing(await newEngine(), section, options);
    expect(table).toMatchObject({ format: { name: format }, levels, root: 0x1000n });
  });

  test.each<[string, string[], ListingOptions, DumpErrorCode, number | undefined, string]>([
    ["an empty listing", [], {}, "ambiguous", 1, "an empty listing: say how many levels and which format"],
    ["an empty listing, levels known", [], { levels: 4 }, "ambiguous", 1, "say which format"],
    ["U/S in some entries", ["0x0 | 0x0 0x2007 0x3003 0x4003 0x5003"], {}, "ambiguous", 1, "say which format"],
    ["A in some table entries", ["0x0 | 0x0 0x2023 0x3003 0x4003 0x5003"], {}, "ambiguous", 1, "say which format"],
    ["two levels", ["0x0 | 0x0 0x0 0x0 0x4003 0x5003"], {}, "inconsistent", 1, "a table of 2 levels is no vtdss table"],
    [
      "three levels of first stage",
      ["0x0 | 0x0 0x0 0x3007 0x4007 0x5007"],
      { format: "x86_64" },
      "inconsistent",
      1,
      "no x86_64 table",
    ],
    [
      "other levels than said",
      ["0x0 | 0x0 0x2003 0x3003 0x4003 0x5003"],
      { levels: 5 },
      "inconsistent",
      2,
      "the first entry is a PML4E, in a table of 5 levels",
    ],
    ["six levels", [], { format: "vtdss", levels: 6 }, "option", undefined, "6 levels; a table has 3 to 5"],
    [
      "an unknown format",
      [],
      { format: "toString" as "vtdss", levels: 4 },
      "option",
      undefined,
      `format "toString" is none of vtdss, x86_64`,
    ],
  ])("cannot be had from: %s", async (_, rows, options, code, line, message) => {
    const section = await sectionOf(...rows);
    const error = await failure(code, () => rebuildListing(section, options));
    expect(error.line).toBe(line);
    expect(error.reason).toContain(message);
  });
});

/** Nothing is at the root or at the first table below it. */
function expectUntouched(engine: Engine): void {
  for (const address of [0x1000n, 0x2000n]) refused("bus-error", () => engine.memory.read(physicalOf(address), 1));
}

describe("rows that contradict each other", () => {
  const good = "0x0000000000201 |	0x0	0x2003	0x3003	0x4003	0x9003";
  test.each<[string, string[], string]>([
    [
      "another PML4E",
      [good.replace("0x201", "0x202").replace("0x2003", "0x6003")],
      "PML4E is 0x6003, in an earlier row 0x2003",
    ],
    ["another PDE", ["0x0000000000202 | 0x0 0x2003 0x3003 0x5003 0x9003"], "PDE is 0x5003, in an earlier row 0x4003"],
    ["another PTE", ["0x0000000000201 | 0x0 0x2003 0x3003 0x4003 0x9001"], "PTE is 0x9001, in an earlier row 0x9003"],
    [
      "a leaf over a table",
      ["0x0000000000200 | 0x0 0x2003 0x3003 0x200083"],
      "PDE is 0x200083, in an earlier row 0x4003",
    ],
    [
      "another depth",
      ["0x0000000000202 | 0x1003 0x2003 0x3003 0x4003 0x9003"],
      "the first entry is a PML5E, in a table of 4 levels",
    ],
    ["an entry left out", ["0x0000000000202 | 0x0 0x2003 0x0 0x4003 0x9003"], "PDPE 0x0 is not present"],
    ["no R and no W", ["0x0000000000202 | 0x0 0x2003 0x3003 0x4003 0x9800"], "PTE 0x9800 is not present"],
    [
      "a large leaf without PS",
      ["0x0000000000400 | 0x0 0x2003 0x3003 0x200003"],
      "the row ends with PDE 0x200003, which is no leaf",
    ],
    [
      "PS above a leaf",
      ["0x0000000000400 | 0x0 0x2003 0x3003 0x200083 0x9003"],
      "PDE 0x200083 is a leaf (PS), yet a PTE follows",
    ],
    [
      "a 2 MiB leaf off its boundary",
      ["0x0000000000401 | 0x0 0x2003 0x3003 0x200083"],
      "IOVA_PFN 0x401 is not where a PDE maps",
    ],
    [
      "a 1 GiB leaf off its boundary",
      ["0x0000000040200 | 0x0 0x2003 0x40000083"],
      "IOVA_PFN 0x40200 is not where a PDPE maps",
    ],
    [
      "an IOVA_PFN too large",
      ["0x0001000000000 | 0x0 0x2003 0x3003 0x4003 0x9003"],
      "IOVA_PFN 0x1000000000 is beyond 4 levels",
    ],
    [
      "an IOVA_PFN of elsewhere",
      ["0x0000000000a02 | 0x0 0x2003 0x3003 0x4003 0x9003"],
      "the rows from IOVA_PFN 0xa02 and from line 2 list table page 0x4000 differently",
    ],
    [
      "a table page as the root",
      ["0x0000000040000 | 0x0 0x2003 0x1003 0x4003 0x9003"],
      "the rows from IOVA_PFN 0x40000 and from line 2 list table page 0x1000 differently",
    ],
  ])("%s", async (_, rows, message) => {
    const section = await sectionOf(good, ...rows);
    const engine = await newEngine();
    const error = await failure("inconsistent", () => loadListing(engine, section));
    expect(error).toMatchObject({ file: "listing", line: 3 });
    expect(error.message).toContain(`listing: line 3: ${message}`);
    expectUntouched(engine);
  });

  test("but not a row twice, nor a page at two places with the same entries", async () => {
    const rows = [good, good, good.replace("0x0000000000201", "0x0000000000a01")];
    const table = loadListing(await newEngine(), await sectionOf(...rows));
    for (const pfn of [0x201n, 0xa01n])
      expect(table.walk(iovaOf(pfn << 12n))).toMatchObject({ ok: true, physical: 0x9000n });
    expect(table.walk(iovaOf(0xa02_000n))).toMatchObject({ ok: false, check: "not-present", level: 1 });
  });
});

describe("a rebuilt table", () => {
  test("has snoop control, which Linux uses only where there is any", async () => {
    const section = await sectionOf("0x0 | 0x0 0x2003 0x3003 0x4003 0x5803", "0x200 | 0x0 0x2003 0x3003 0x600883");
    const table = loadListing(await newEngine(), section);
    expect(table.walk(iovaOf(0xfffn))).toMatchObject({ ok: true, physical: 0x5fffn, pageSize: 0x1000n });
    expect(table.walk(iovaOf(0x3f_ffffn))).toMatchObject({ ok: true, physical: 0x7f_ffffn, pageSize: 0x20_0000n });
  });

  test("faults where hardware would: PS in a PML4E", async () => {
    const table = loadListing(await newEngine(), await sectionOf("0x0 | 0x0 0x2083"));
    expect(table.walk(iovaOf(0n))).toMatchObject({ ok: false, check: "reserved", level: 4 });
  });

  test("that lies in the engine's arena is refused before anything is loaded", async () => {
    const section = await sectionOf("0x0 | 0x0 0x2003 0x3003 0x4000004003 0x5003");
    const engine = await newEngine();
    const error = await failure("arena", () => loadListing(engine, section));
    expect(error.message).toContain("listing: page 0x4000004000 lies in");
    expectUntouched(engine);
    const other = await newEngine({ arenaBase: arenaBaseFor(rebuildListing(section)) });
    expect(loadListing(other, section).walk(iovaOf(0n))).toMatchObject({ ok: true, physical: 0x5000n });
  });
});
