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
import { bit, coverage } from "../support/slow-format.js";
import { SlowTable } from "../support/slow-table.js";
import { createTable, iovaOf, Pair, physicalOf, READ_WRITE } from "../support/tables.js";

const KIB = 1024n;
const MIB = 1024n * KIB;
const GIB = 1024n * MIB;

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
  const sizes = [coverage(1), coverage(2), coverage(3)].filter((size) => (pageSizes & size) !== 0n);
  const largest = sizes[sizes.length - 1];

  test("init: a new table translates nothing and holds one page", () => {
    const pair = pairOf(configuration);
    pair.check();
    expect(pair.table.counters).toEqual({
      leaves: new Map([...sizes].reverse().map((size) => [size, 0])),
      tablePages: 1,
      tableBytes: 4096,
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
    { name: "everything congruent", iova: 0n, physical: 0n, length: 2n * GIB },
    { name: "one granule", iova: 4n * KIB, physical: 8n * KIB, length: 4n * KIB },
    { name: "aligned, but too short for 2 MiB", iova: 2n * MIB, physical: 4n * MIB, length: 2n * MIB - 4n * KIB },
    { name: "aligned IOVA, physical 4 KiB off", iova: 0n, physical: 4n * KIB, length: 4n * MIB },
    { name: "congruent modulo 2 MiB, not 1 GiB", iova: 0n, physical: 2n * MIB, length: GIB },
    {
      name: "congruent modulo 1 GiB, begins 4 KiB before",
      iova: GIB - 4n * KIB,
      physical: 3n * GIB - 4n * KIB,
      length: GIB + 8n * KIB,
    },
    {
      name: "small, large, small",
      iova: 2n * MIB - 8n * KIB,
      physical: 6n * MIB - 8n * KIB,
      length: 4n * MIB + 12n * KIB,
    },
    { name: "ends one granule short of 1 GiB", iova: 0n, physical: GIB, length: GIB - 4n * KIB },
  ])("best_pgsize, pgsz_count: $name", ({ iova, physical, length }) => {
    const pair = pairOf(configuration);
    // 4 KiB leaves by the hundred thousand are the model's business elsewhere; here their number is counted.
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
    pair.map(0n, 8n * MIB, 4n * KIB);
    pair.map(last - 4095n, 12n * MIB, 4n * KIB);
    pair.check();
    expect(pair.table.iovaToPhys(iovaOf(last))).toBe(12n * MIB + 4095n);
    expect(pair.table.walk(iovaOf(last))).toMatchObject({ ok: true, physical: 12n * MIB + 4095n, entriesRead: levels });
    const beyond = 1n << BigInt(format.signExtended ? configuration.inputBits - 1 : configuration.inputBits);
    for (const iova of [beyond, beyond + 4n * KIB, 1n << 63n]) {
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
      expect(pair.map(iova, 0n, 4n * KIB)).toBe(false);
      expect(pair.unmap(iova, 4n * KIB)).toBe(0n);
    }
    // One granule too long at either end of what is translated.
    expect(pair.map(beyond - 4n * KIB, 0n, 8n * KIB)).toBe(false);
    expect(pair.map(last - 8n * KIB + 1n, 0n, 12n * KIB)).toBe(false);
    pair.check();
  });

  test("table_radix: one step per level, at the place that the address bits say", () => {
    for (let level = 1; level <= levels; level++) {
      const pair = pairOf(configuration);
      // Index 1 at this level, 0 at all others, and index 511 likewise (the sign-extended half in the root).
      for (const index of [1n, 511n]) {
        let iova = coverage(level) * index;
        if (format.signExtended && level === levels && index > 255n) {
          iova = BigInt.asUintN(64, BigInt.asIntN(configuration.inputBits, iova));
        }
        pair.map(iova, 16n * MIB + index * 4096n, 4n * KIB);
        expect(pair.table.iovaToPhys(iovaOf(iova + 5n))).toBe(16n * MIB + index * 4096n + 5n);
      }
      const { counters } = pair.table;
      // The two share the tables above this level's own.
      expect(counters.tablePages).toBe(1 + (levels - level) + 2 * (level - 1));
      expect(counters.entriesWritten).toBe(counters.tablePages - 1 + 2);
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
    expect(pair.map(largest, end - largest, largest + 4n * KIB)).toBe(false);
    expect(pair.map(largest, end, 4n * KIB)).toBe(false);
    pair.check();
  });

  test("map_simple: each leaf size on its own, mapped, walked, unmapped", () => {
    for (const size of sizes) {
      const pair = pairOf(configuration);
      const level = size === coverage(1) ? 1 : size === coverage(2) ? 2 : 3;
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
      expect(pair.unmap(size + 4n * KIB, 4n * KIB)).toBe(0n);
      expect(pair.unmap(size + size / 2n, size / 2n)).toBe(0n);
      expect(pair.unmap(size, 4n * KIB)).toBe(size);
      pair.check();
      // Two 4 KiB leaves before it, and a range that ends inside it.
      pair.map(size - 8n * KIB, 2n * size - 8n * KIB, size + 8n * KIB);
      expect(pair.unmap(size - 8n * KIB, 12n * KIB)).toBe(size + 8n * KIB);
      pair.check();
    }
  });

  test("pgsize_boundary: ranges that begin and end around every boundary between page sizes", () => {
    const pair = pairOf(configuration);
    // With 2 MiB leaves; around 1 GiB the same rule would cost the model hundreds of thousands of leaves.
    for (const size of sizes.filter((each) => each === coverage(2))) {
      for (const before of [0n, 4n * KIB, 8n * KIB]) {
        for (const after of [0n, 4n * KIB, 12n * KIB]) {
          for (const skew of [0n, 4n * KIB]) {
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
    const iova = 2n * MIB - 4n * KIB;
    pair.map(iova, 4n * MIB - 4n * KIB, 4n * KIB);
    pair.map(2n * MIB, 32n * MIB, 4n * MIB);
    pair.map(6n * MIB, 64n * MIB + 4n * KIB, 8n * KIB, { read: true });
    pair.check();
    expect(pair.unmap(iova, 4n * MIB + 12n * KIB)).toBe(4n * MIB + 12n * KIB);
    pair.check();
  });

  test("a large leaf takes the place of tables that earlier unmaps left empty", () => {
    for (const size of sizes.slice(1)) {
      const pair = pairOf(configuration);
      pair.map(size, size, 8n * KIB);
      expect(pair.unmap(size, 4n * KIB)).toBe(4n * KIB);
      // Something is still mapped there.
      expect(pair.map(size, 4n * size, size)).toBe(false);
      pair.check();
      expect(pair.unmap(size + 4n * KIB, 4n * KIB)).toBe(4n * KIB);
      expect(pair.map(size, 4n * size, size)).toBe(true);
      pair.check();
      expect(pair.table.walk(iovaOf(size))).toMatchObject({ ok: true, pageSize: size, physical: 4n * size });
      expect(pair.engine.memory.pagesInUse).toBe(open.reduce((sum, each) => sum + each.table.counters.tablePages, 0));
    }
  });
});

describe.each(FULL_CONFIGURATIONS)("$title: the figures of the documentation", (configuration) => {
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
    "vmsav8-4k": [
      [{ read: true }, 0xfc7n],
      [{ write: true }, 0xf47n],
      [{ read: true, write: true }, 0xf47n],
      [{ read: true, write: true, privileged: true }, 0xf07n],
      [{ read: true, noExecute: true }, 0x60_0000_0000_0fc7n],
    ],
  };
  const large: Record<string, (page: bigint) => bigint> = {
    vtdss: (page) => page | 0x80n,
    x86_64: (page) => page | 0x80n,
    "vmsav8-4k": (page) => page & ~0x2n,
  };

  test.each(FULL_CONFIGURATIONS)("$title", (configuration) => {
    for (const [permissions, bits] of expected[configuration.format.name]) {
      const pair = pairOf(configuration);
      pair.map(0n, 0x1234_5000n, 4n * KIB, permissions);
      pair.map(2n * MIB, 0x1240_0000n, 2n * MIB, permissions);
      const leaves = dumpEngineTable(engine, pair.table, configuration.format).filter((line) => line.includes("leaf"));
      const largeBits = large[configuration.format.name](bits);
      expect(leaves).toEqual([
        `1 0 leaf ${(0x1234_5000n | bits).toString(16)}`,
        `2 200000 leaf ${(0x1240_0000n | largeBits).toString(16)}`,
      ]);
      pair.check();
    }
    const pair = pairOf(configuration);
    for (const permissions of [{}, { privileged: true }, { noExecute: true }]) {
      expect(pair.map(0n, 0n, 4n * KIB, permissions)).toBe(false);
    }
    pair.check();
  });

  test("a pointer to a table grants everything, so that only leaves decide", () => {
    for (const configuration of FULL_CONFIGURATIONS) {
      const pair = pairOf(configuration);
      pair.map(0n, 0n, 4n * KIB, { read: true });
      const root = engine.memory.read64(pair.table.root);
      const bits = { vtdss: 0x3n, x86_64: 0x27n, "vmsav8-4k": 0x3n }[configuration.format.name];
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
    ["vmsav8-4k with 2 levels", "vmsav8-4k", { levels: 2 }],
    ["vmsav8-4k with 5 levels", "vmsav8-4k", { levels: 5 }],
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
    ] as const) {
      const table = engine.createTable(name, { levels, inputBits });
      const end = 1n << BigInt(inputBits);
      table.map(iovaOf(end - 4096n), physicalOf(0n), 4096n, READ_WRITE);
      expect(table.walk(iovaOf(end - 1n))).toMatchObject({ ok: true });
      expect(table.walk(iovaOf(end))).toMatchObject({ ok: false, check: "input-range" });
      refused("input-range", () => table.map(iovaOf(end), physicalOf(0n), 4096n, READ_WRITE));
      table.release();
    }
  });

  test("fewer output bits (HAW, OAS)", () => {
    for (const configuration of FULL_CONFIGURATIONS) {
      const table = createTable(engine, { ...configuration, outputBits: 40 });
      table.map(iovaOf(0n), physicalOf((1n << 40n) - 4096n), 4096n, READ_WRITE);
      refused("output-range", () => table.map(iovaOf(4096n), physicalOf(1n << 40n), 4096n, READ_WRITE));
      refused("output-range", () => table.map(iovaOf(4096n), physicalOf((1n << 40n) - 4096n), 8192n, READ_WRITE));
      table.release();
    }
  });
});
