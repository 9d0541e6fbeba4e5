/**
 * The suite that every format must pass, with every number of levels and every set of leaf sizes; its parts bear the
 * names of the KUnit suite of Linux's generic_pt.
 */
import { afterEach, describe, expect, test } from "vitest";
import type { Engine } from "../../src/engine/engine.js";
import { dumpEngineTable } from "../support/dump.js";
import { newEngine } from "../support/engine.js";
import { refused } from "../support/errors.js";
import { CONFIGURATIONS, type Configuration, FULL_CONFIGURATIONS, SLOW_FORMATS } from "../support/geometries.js";
import { bit, coverage, entriesOf, rootBytes, type SlowFormat } from "../support/slow-format.js";
import { DS } from "../support/slow-vmsav8.js";
import { SlowTable } from "../support/slow-table.js";
import { createTable, iovaOf, Pair, physicalOf, READ_WRITE } from "../support/tables.js";

const KIB = 1024n;
const MIB = 1024n * KIB;

const engine: Engine = await newEngine();

test("there is a slow model of every format of the module, and no model without a format", () => {
  expect(engine.formats.map((format) => format.name).sort()).toEqual(SLOW_FORMATS.map((format) => format.name).sort());
});

/** Number of leaves of each size, as the model's greedy rule gives it. */
function expectedLeaves(
  configuration: Configuration,
  iova: bigint,
  physical: bigint,
  length: bigint,
): Map<bigint, number> {
  const model = new SlowTable(configuration.format, configuration);
  const leaves = new Map(model.leaves);
  for (let done = 0n; done < length; ) {
    const size = model.bestPageSize(iova + done, physical + done, length - done);
    leaves.set(size, (leaves.get(size) ?? 0) + 1);
    done += size;
  }
  return leaves;
}

/** The leaf above the large one, or where the format has none a few large ones. */
function hugeOf(format: SlowFormat): bigint {
  return format.largeLevels.includes(3) ? coverage(3, format) : 4n * coverage(2, format);
}

/** The highest input address: all ones where the format sign-extends. */
function lastInput(configuration: Configuration): bigint {
  return configuration.format.signExtended ? (1n << 64n) - 1n : (1n << BigInt(configuration.inputBits)) - 1n;
}

const open: Pair[] = [];
function pairOf(configuration: Configuration): Pair {
  const pair = new Pair(engine, configuration);
  open.push(pair);
  return pair;
}
afterEach(() => {
  for (const pair of open.splice(0)) pair.release();
  // What a table took it gives back.
  expect(engine.memory.pagesInUse).toBe(0);
});

describe.each(CONFIGURATIONS)("$title", (configuration) => {
  const { format, levels, pageSizes } = configuration;
  const PAGE = coverage(1, format);
  const LARGE = coverage(2, format);
  const HUGE = hugeOf(format);
  const levelOf = (size: bigint): number => [1, 2, 3].find((level) => coverage(level, format) === size) ?? 0;
  const sizes = [1, 2, 3].map((level) => coverage(level, format)).filter((size) => (pageSizes & size) !== 0n);
  const largest = sizes[sizes.length - 1];

  test("init: a new table translates nothing and holds one page", () => {
    const pair = pairOf(configuration);
    pair.check();
    expect(pair.table.counters).toEqual({
      leaves: new Map([...sizes].reverse().map((size) => [size, 0])),
      contiguousRuns: new Map(),
      tablePages: 1,
      tableBytes: Number(PAGE),
      entriesWritten: 0,
      entriesRead: 0,
    });
    expect(pair.table.walk(iovaOf(0n))).toMatchObject({
      ok: false,
      stage: "own",
      check: "not-present",
      level: levels,
      entriesRead: 1,
    });
    expect(pair.table.iovaToPhys(iovaOf(0n))).toBeNull();
  });

  test.each([
    { name: "everything congruent", iova: 0n, physical: 0n, length: 2n * HUGE },
    { name: "one granule", iova: PAGE, physical: 2n * PAGE, length: PAGE },
    { name: "aligned, but too short for a large leaf", iova: LARGE, physical: 2n * LARGE, length: LARGE - PAGE },
    { name: "aligned IOVA, physical a page off", iova: 0n, physical: PAGE, length: 2n * LARGE },
    { name: "congruent modulo a large leaf, not a huge one", iova: 0n, physical: LARGE, length: HUGE },
    {
      name: "congruent modulo a huge leaf, begins a page before",
      iova: HUGE - PAGE,
      physical: 3n * HUGE - PAGE,
      length: HUGE + 2n * PAGE,
    },
    {
      name: "small, large, small",
      iova: LARGE - 2n * PAGE,
      physical: 3n * LARGE - 2n * PAGE,
      length: 2n * LARGE + 3n * PAGE,
    },
    { name: "ends one page short of a huge leaf", iova: 0n, physical: HUGE, length: HUGE - PAGE },
  ])("best_pgsize, pgsz_count: $name", ({ iova, physical, length }) => {
    const pair = pairOf(configuration);
    // Pages by the hundred thousand are the model's business elsewhere; here their number is counted.
    pair.table.map(iovaOf(iova), physicalOf(physical), length, READ_WRITE);
    expect(pair.table.counters.leaves).toEqual(expectedLeaves(configuration, iova, physical, length));
    for (const offset of [0n, length / 2n, length - 1n]) {
      expect(pair.table.iovaToPhys(iovaOf(iova + offset))).toBe(physical + offset);
    }
    expect(pair.table.iovaToPhys(iovaOf(iova + length))).toBeNull();
    expect(pair.table.unmap(iovaOf(iova), length).length).toBe(length);
  });

  test("max_va: the first and the last byte that the levels give, and nothing beyond", () => {
    const pair = pairOf(configuration);
    const last = lastInput(configuration);
    pair.map(0n, 4n * LARGE, PAGE);
    pair.map(last - PAGE + 1n, 6n * LARGE, PAGE);
    pair.check();
    expect(pair.table.iovaToPhys(iovaOf(last))).toBe(6n * LARGE + PAGE - 1n);
    expect(pair.table.walk(iovaOf(last))).toMatchObject({
      ok: true,
      physical: 6n * LARGE + PAGE - 1n,
      entriesRead: levels,
    });
    const beyond = 1n << BigInt(format.signExtended ? configuration.inputBits - 1 : configuration.inputBits);
    for (const iova of [beyond, beyond + PAGE, 1n << 63n]) {
      if (format.signExtended && iova === 1n << 63n && configuration.inputBits === 64) continue;
      expect(pair.table.walk(iovaOf(iova))).toEqual({
        ok: false,
        stage: "own",
        check: "input-range",
        level: 0,
        entryAddress: 0n,
        entry: 0n,
        entriesRead: 0,
      });
      expect(pair.table.iovaToPhys(iovaOf(iova))).toBeNull();
      expect(pair.map(iova, 0n, PAGE)).toBe(false);
      expect(pair.unmap(iova, PAGE)).toBe(0n);
    }
    // One granule too long at either end of what is translated.
    expect(pair.map(beyond - PAGE, 0n, 2n * PAGE)).toBe(false);
    expect(pair.map(last - 2n * PAGE + 1n, 0n, 3n * PAGE)).toBe(false);
    pair.check();
  });

  test("table_radix: one step per level, at the place that the address bits say", () => {
    for (let level = 1; level <= levels; level++) {
      const pair = pairOf(configuration);
      // Index 1 at this level, 0 at all others, and the last index likewise (the sign-extended half in the root).
      const entries =
        level === levels ? Math.min(rootBytes(format, configuration) / 8, entriesOf(format)) : entriesOf(format);
      const last = BigInt(entries - 1);
      const several = (1n << BigInt(configuration.inputBits)) / coverage(level, format) > 2n;
      for (const index of several ? [1n, last] : [1n]) {
        let iova = coverage(level, format) * index;
        if (format.signExtended && level === levels && index > last / 2n) {
          iova = BigInt.asUintN(64, BigInt.asIntN(configuration.inputBits, iova));
        }
        pair.map(iova, 8n * LARGE + index * PAGE, PAGE);
        expect(pair.table.iovaToPhys(iovaOf(iova + 5n))).toBe(8n * LARGE + index * PAGE + 5n);
      }
      const { counters } = pair.table;
      // The two share the tables above this level's own.
      const paths = several ? 2 : 1;
      expect(counters.tablePages).toBe(1 + (levels - level) + paths * (level - 1));
      expect(counters.entriesWritten).toBe(counters.tablePages - 1 + paths);
      pair.check();
    }
  });

  test("entry_oa: every bit of the output address, for every leaf size", () => {
    for (const size of sizes) {
      const pair = pairOf(configuration);
      let iova = 0n;
      for (let shift = BigInt(size.toString(2).length - 1); shift < BigInt(format.outputBits); shift++) {
        const physical = 1n << shift;
        pair.map(iova, physical, size);
        expect(pair.table.walk(iovaOf(iova + size - 1n))).toMatchObject({
          ok: true,
          physical: physical + size - 1n,
          pageSize: size,
        });
        iova += size;
      }
      expect(pair.table.counters.leaves.get(size)).toBe(Number(iova / size));
      pair.check();
    }
  });

  test("entry_oa: up to the last byte of the output range, and not beyond", () => {
    const pair = pairOf(configuration);
    const end = 1n << BigInt(format.outputBits);
    expect(pair.map(0n, end - largest, largest)).toBe(true);
    expect(pair.table.iovaToPhys(iovaOf(largest - 1n))).toBe(end - 1n);
    expect(pair.map(largest, end - largest, largest + PAGE)).toBe(false);
    expect(pair.map(largest, end, PAGE)).toBe(false);
    pair.check();
  });

  test("map_simple: each leaf size on its own, mapped, walked, unmapped", () => {
    for (const size of sizes) {
      const pair = pairOf(configuration);
      const level = levelOf(size);
      expect(pair.map(4n * size, 8n * size, size)).toBe(true);
      pair.check();
      expect(pair.table.walk(iovaOf(4n * size + 0x123n))).toEqual({
        ok: true,
        physical: 8n * size + 0x123n,
        pageSize: size,
        level,
        entriesRead: levels - level + 1,
      });
      expect(pair.table.counters.entriesRead).toBe(levels - level + 1);
      expect(pair.table.walk(iovaOf(5n * size))).toMatchObject({ ok: false, check: "not-present" });
      expect(pair.unmap(4n * size, size)).toBe(size);
      pair.check();
      expect(pair.table.iovaToPhys(iovaOf(4n * size))).toBeNull();
    }
  });

  test("unmap_split: a large leaf that a range begins with goes whole; inside one no range begins", () => {
    for (const size of sizes.slice(1)) {
      const pair = pairOf(configuration);
      pair.map(size, 2n * size, size);
      expect(pair.unmap(size + PAGE, PAGE)).toBe(0n);
      expect(pair.unmap(size + size / 2n, size / 2n)).toBe(0n);
      expect(pair.unmap(size, PAGE)).toBe(size);
      pair.check();
      // Two pages before it, and a range that ends inside it.
      pair.map(size - 2n * PAGE, 2n * size - 2n * PAGE, size + 2n * PAGE);
      expect(pair.unmap(size - 2n * PAGE, 3n * PAGE)).toBe(size + 2n * PAGE);
      pair.check();
    }
  });

  test("pgsize_boundary: ranges that begin and end around every boundary between page sizes", () => {
    const pair = pairOf(configuration);
    // With large leaves; around huge ones the same rule would cost the model hundreds of thousands of leaves.
    for (const size of sizes.filter((each) => each === LARGE)) {
      for (const before of [0n, PAGE, 2n * PAGE]) {
        for (const after of [0n, PAGE, 3n * PAGE]) {
          for (const skew of [0n, PAGE]) {
            const iova = 8n * size - before;
            const length = before + size + after;
            expect(pair.map(iova, 16n * size - before + skew, length)).toBe(true);
            pair.check();
            expect(pair.table.iovaToPhys(iovaOf(iova - 1n))).toBeNull();
            expect(pair.table.iovaToPhys(iovaOf(iova + length))).toBeNull();
            expect(pair.unmap(iova, length)).toBe(length);
            pair.check();
          }
        }
      }
    }
  });

  test("mixed: neighbours of different sizes, unmapped in one call", () => {
    const pair = pairOf(configuration);
    const iova = LARGE - PAGE;
    pair.map(iova, 2n * LARGE - PAGE, PAGE);
    pair.map(LARGE, 16n * LARGE, 2n * LARGE);
    pair.map(3n * LARGE, 32n * LARGE + PAGE, 2n * PAGE, { read: true });
    pair.check();
    expect(pair.unmap(iova, 2n * LARGE + 3n * PAGE)).toBe(2n * LARGE + 3n * PAGE);
    pair.check();
  });

  test("a large leaf takes the place of tables that earlier unmaps left empty", () => {
    for (const size of sizes.slice(1)) {
      const pair = pairOf(configuration);
      pair.map(size, size, 2n * PAGE);
      expect(pair.unmap(size, PAGE)).toBe(PAGE);
      // Something is still mapped there.
      expect(pair.map(size, 4n * size, size)).toBe(false);
      pair.check();
      expect(pair.unmap(size + PAGE, PAGE)).toBe(PAGE);
      expect(pair.map(size, 4n * size, size)).toBe(true);
      pair.check();
      expect(pair.table.walk(iovaOf(size))).toMatchObject({ ok: true, pageSize: size, physical: 4n * size });
      expect(pair.engine.memory.pagesInUse).toBe(
        open.reduce((sum, each) => sum + each.table.counters.tableBytes / 4096, 0),
      );
    }
  });
});

const PAGES_OF_4_KIB = FULL_CONFIGURATIONS.filter(({ format }) => format.granuleShift === 12);

describe.each(PAGES_OF_4_KIB)("$title: the figures of the documentation", (configuration) => {
  const physical = 0x1_0020_1000n;
  const length = 64n * MIB;

  test.each([
    { name: "IOVA aligned to 64 MiB", iova: 128n * MIB, leaves: 16384 },
    { name: "IOVA congruent to the physical address modulo 2 MiB", iova: 128n * MIB + 4n * KIB, leaves: 543 },
  ])("64 MiB at 0x100201000, $name: $leaves leaves", ({ iova, leaves }) => {
    const pair = pairOf(configuration);
    pair.map(iova, physical, length);
    pair.check();
    expect([...pair.table.counters.leaves.values()].reduce((sum, count) => sum + count)).toBe(leaves);
    expect(pair.unmap(iova, length)).toBe(length);
  });
});

describe("attr_from_entry: each permission, in the bits of the specification", () => {
  const stage1: readonly (readonly [object, bigint])[] = [
    [{ read: true }, 0xfc7n],
    [{ write: true }, 0xf47n],
    [{ read: true, write: true }, 0xf47n],
    [{ read: true, write: true, privileged: true }, 0xf07n],
    [{ read: true, noExecute: true }, 0x60_0000_0000_0fc7n],
  ];
  const stage2: readonly (readonly [object, bigint])[] = [
    [{ read: true }, 0x77fn],
    [{ write: true }, 0x7bfn],
    [{ read: true, write: true }, 0x7ffn],
    [{ read: true, write: true, privileged: true }, 0x7ffn],
    [{ read: true, noExecute: true }, 0x40_0000_0000_077fn],
  ];
  const expected: Record<string, readonly (readonly [object, bigint])[]> = {
    vtdss: [
      [{ read: true }, 0x1n],
      [{ write: true }, 0x2n],
      [{ read: true, write: true }, 0x3n],
      [{ read: true, write: true, privileged: true, noExecute: true }, 0x3n],
    ],
    x86_64: [
      [{ read: true }, 0x25n],
      [{ write: true }, 0x67n],
      [{ read: true, write: true }, 0x67n],
      [{ read: true, write: true, privileged: true }, 0x63n],
      [{ read: true, noExecute: true }, 0x25n],
    ],
    "vmsav8-4k": stage1,
    "vmsav8-16k": stage1,
    "vmsav8-64k": stage1,
    "vmsav8-4k-s2": stage2,
    "vmsav8-16k-s2": stage2,
    "vmsav8-64k-s2": stage2,
  };
  const largeOf = (name: string, page: bigint): bigint => (name.startsWith("vmsav8") ? page & ~0x2n : page | 0x80n);

  test.each(FULL_CONFIGURATIONS)("$title", (configuration) => {
    const PAGE = coverage(1, configuration.format);
    const LARGE = coverage(2, configuration.format);
    for (const [permissions, bits] of expected[configuration.format.name]) {
      const pair = pairOf(configuration);
      pair.map(0n, 0x1234_0000n, PAGE, permissions);
      pair.map(LARGE, 9n * LARGE, LARGE, permissions);
      const leaves = dumpEngineTable(engine, pair.table, configuration.format).filter((line) => line.includes("leaf"));
      const largeBits = largeOf(configuration.format.name, bits);
      expect(leaves).toEqual([
        `1 0 leaf ${(0x1234_0000n | bits).toString(16)}`,
        `2 ${LARGE.toString(16)} leaf ${((9n * LARGE) | largeBits).toString(16)}`,
      ]);
      pair.check();
    }
    const pair = pairOf(configuration);
    for (const permissions of [{}, { privileged: true }, { noExecute: true }]) {
      expect(pair.map(0n, 0n, PAGE, permissions)).toBe(false);
    }
    pair.check();
  });

  test("a pointer to a table grants everything, so that only leaves decide", () => {
    for (const configuration of FULL_CONFIGURATIONS) {
      const pair = pairOf(configuration);
      pair.map(0n, 0n, coverage(1, configuration.format), { read: true });
      const root = engine.memory.read64(pair.table.root);
      const bits = configuration.format.name === "x86_64" ? 0x27n : 0x3n;
      expect(root & ~configuration.format.addressMask).toBe(bits);
      expect(bit(root, 0)).toBe(true);
    }
  });
});

describe("a table that cannot be", () => {
  const cases: readonly (readonly [string, string, Parameters<Engine["createTable"]>[1]])[] = [
    ["vtdss with 2 levels", "vtdss", { levels: 2 }],
    ["vtdss with 6 levels", "vtdss", { levels: 6 }],
    ["x86_64 with 3 levels", "x86_64", { levels: 3 }],
    ["x86_64 with 6 levels", "x86_64", { levels: 6 }],
    ["vmsav8-4k with 0 levels", "vmsav8-4k", { levels: 0 }],
    ["vmsav8-4k with 5 levels", "vmsav8-4k", { levels: 5 }],
    ["vmsav8-4k with 6 levels and 52-bit addresses", "vmsav8-4k", { levels: 6, flags: DS }],
    ["vmsav8-16k with 5 levels and 52-bit addresses", "vmsav8-16k", { levels: 5, flags: DS }],
    ["vmsav8-64k with 4 levels", "vmsav8-64k", { levels: 4 }],
    ["input wider than 48 bits", "vmsav8-16k", { levels: 4, inputBits: 49 }],
    ["input wider than 52 bits", "vmsav8-16k-s2", { levels: 4, inputBits: 53, flags: DS }],
    ["more than 16 first tables", "vmsav8-4k-s2", { levels: 3, inputBits: 44, root: physicalOf(0x10_0000n) }],
    ["several first tables in stage 1", "vmsav8-4k", { levels: 3, inputBits: 40, root: physicalOf(0x10_0000n) }],
    ["several first tables of its own", "vmsav8-4k-s2", { levels: 3, inputBits: 40 }],
    ["several first tables, not aligned", "vmsav8-4k-s2", { levels: 3, inputBits: 40, root: physicalOf(0x1000n) }],
    ["a short first table, not aligned", "vmsav8-4k", { levels: 4, inputBits: 43, root: physicalOf(0x1040n) }],
    ["the shortest first table, not aligned", "vmsav8-4k", { levels: 4, inputBits: 40, root: physicalOf(0x1008n) }],
    ["a first table of 16 KiB, not aligned", "vmsav8-16k", { levels: 3, root: physicalOf(0x1000n) }],
    ["a first table of 64 KiB, not aligned", "vmsav8-64k", { levels: 2, root: physicalOf(0x4000n) }],
    ["output of 50 bits", "vmsav8-64k", { outputBits: 50 }],
    ["output wider than 52 bits", "vmsav8-4k", { outputBits: 53, flags: DS }],
    ["512 GiB leaves without 52-bit addresses", "vmsav8-4k", { pageSizes: (1n << 12n) | (1n << 39n) }],
    ["64 GiB leaves without 52-bit addresses", "vmsav8-16k", { pageSizes: (1n << 14n) | (1n << 36n) }],
    ["4 TiB leaves without 52-bit addresses", "vmsav8-64k", { pageSizes: (1n << 16n) | (1n << 42n) }],
    ["4 KiB leaves with a granule of 16 KiB", "vmsav8-16k", { pageSizes: (1n << 14n) | (1n << 12n) }],
    ["input wider than the levels", "vtdss", { levels: 3, inputBits: 40 }],
    ["input narrower than a page", "vtdss", { inputBits: 11 }],
    ["output wider than an entry", "vtdss", { outputBits: 53 }],
    ["output wider than an entry", "vmsav8-4k", { outputBits: 49 }],
    ["a leaf size that the format lacks", "vtdss", { pageSizes: 0x11000n }],
    ["no 4 KiB leaves", "vtdss", { pageSizes: 0x20_0000n }],
    ["a root that is not on a page boundary", "vtdss", { root: physicalOf(0x1008n) }],
  ];
  test.each(cases)("%s (%s)", (_name, format, options) => {
    const inUse = engine.memory.pagesInUse;
    expect(refused("invalid", () => engine.createTable(format, options)).message).toContain(format);
    expect(engine.memory.pagesInUse).toBe(inUse);
  });
});

describe("narrower tables", () => {
  test("fewer input bits than the levels give (MGAW, T0SZ)", () => {
    for (const [name, levels, inputBits] of [
      ["vtdss", 4, 40],
      ["vmsav8-4k", 4, 42],
      ["vmsav8-4k", 3, 33],
      ["vmsav8-4k", 1, 16],
      ["vmsav8-16k", 4, 48],
      ["vmsav8-16k-s2", 3, 40],
      ["vmsav8-64k", 3, 43],
      ["vmsav8-64k-s2", 2, 36],
    ] as const) {
      const table = engine.createTable(name, { levels, inputBits });
      const page = table.format.granule;
      const end = 1n << BigInt(inputBits);
      table.map(iovaOf(end - page), physicalOf(0n), page, READ_WRITE);
      expect(table.walk(iovaOf(end - 1n))).toMatchObject({ ok: true });
      expect(table.walk(iovaOf(end))).toMatchObject({ ok: false, check: "input-range" });
      refused("input-range", () => table.map(iovaOf(end), physicalOf(0n), page, READ_WRITE));
      table.release();
    }
  });

  test("fewer output bits (HAW, OAS)", () => {
    for (const configuration of FULL_CONFIGURATIONS) {
      const table = createTable(engine, { ...configuration, outputBits: 40 });
      const PAGE = coverage(1, configuration.format);
      table.map(iovaOf(0n), physicalOf((1n << 40n) - PAGE), PAGE, READ_WRITE);
      refused("output-range", () => table.map(iovaOf(PAGE), physicalOf(1n << 40n), PAGE, READ_WRITE));
      refused("output-range", () => table.map(iovaOf(PAGE), physicalOf((1n << 40n) - PAGE), 2n * PAGE, READ_WRITE));
      table.release();
    }
  });
});
