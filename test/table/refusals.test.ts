/** What map and unmap refuse, and that a refusal leaves the table as it was, byte for byte. */
import { describe, expect, test } from "vitest";
import type { ErrorCode, IommuError } from "../../src/engine/errors.js";
import type { Permissions } from "../../src/engine/page-table.js";
import { snapshot } from "../support/dump.js";
import { newEngine } from "../support/engine.js";
import { refused } from "../support/errors.js";
import { CONFIGURATIONS, type Configuration, FULL_CONFIGURATIONS } from "../support/geometries.js";
import { coverage } from "../support/slow-format.js";
import { createTable, iovaOf, physicalOf, READ_WRITE } from "../support/tables.js";

/** Bytes of a page, of a large leaf, and of the next larger one or of a few large ones. */
interface Sizes {
  readonly PAGE: bigint;
  readonly LARGE: bigint;
  readonly HUGE: bigint;
}

function sizesOf({ format }: Configuration): Sizes {
  const LARGE = coverage(2, format);
  return { PAGE: coverage(1, format), LARGE, HUGE: format.largeLevels.includes(3) ? coverage(3, format) : 4n * LARGE };
}

const engine = await newEngine();

function outputEnd(configuration: Configuration): bigint {
  return 1n << BigInt(configuration.outputBits);
}

function inputEnd(configuration: Configuration): bigint {
  return 1n << BigInt(configuration.inputBits - (configuration.format.signExtended ? 1 : 0));
}

interface MapCase {
  readonly name: string;
  readonly code: ErrorCode;
  readonly iova: (configuration: Configuration) => bigint;
  readonly physical: (configuration: Configuration) => bigint;
  readonly length: bigint;
  readonly permissions?: Permissions;
  /** Where the error says it failed; default: the IOVA. */
  readonly at?: bigint;
}

/** In place before every case: the third page, the third large leaf, two pages at the end of the eighth table. */
const mapped = ({ PAGE, LARGE }: Sizes): readonly (readonly [bigint, bigint, bigint])[] => [
  [2n * PAGE, 5n * PAGE, PAGE],
  [2n * LARGE, 8n * LARGE, LARGE],
  [8n * LARGE - 2n * PAGE, 9n * PAGE, 2n * PAGE],
];

const mapCases = ({ PAGE, LARGE, HUGE }: Sizes): readonly MapCase[] => [
  { name: "length 0", code: "misaligned", iova: () => 0n, physical: () => 0n, length: 0n },
  { name: "length not in pages", code: "misaligned", iova: () => 0n, physical: () => 0n, length: PAGE + 1n },
  { name: "IOVA not on a page", code: "misaligned", iova: () => 1n, physical: () => 0n, length: PAGE },
  { name: "physical address not on a page", code: "misaligned", iova: () => 0n, physical: () => 0x800n, length: PAGE },
  { name: "begins beyond the input range", code: "input-range", iova: inputEnd, physical: () => 0n, length: PAGE },
  {
    name: "ends beyond the input range",
    code: "input-range",
    iova: (c) => inputEnd(c) - PAGE,
    physical: () => 0n,
    length: 2n * PAGE,
  },
  {
    name: "wraps around 64 bits",
    code: "input-range",
    iova: () => (1n << 64n) - PAGE,
    physical: () => 0n,
    length: 2n * PAGE,
  },
  {
    name: "longer than 64 bits hold",
    code: "input-range",
    iova: () => PAGE,
    physical: () => 0n,
    length: (1n << 64n) + PAGE,
  },
  { name: "negative length", code: "input-range", iova: () => 64n * LARGE, physical: () => 0n, length: -PAGE },
  { name: "begins beyond the output range", code: "output-range", iova: () => 0n, physical: outputEnd, length: PAGE },
  {
    name: "ends beyond the output range",
    code: "output-range",
    iova: () => 0n,
    physical: (c) => outputEnd(c) - PAGE,
    length: 2n * PAGE,
  },
  {
    name: "no permission at all",
    code: "permissions",
    iova: () => 0n,
    physical: () => 0n,
    length: PAGE,
    permissions: {},
  },
  {
    name: "privileged, but neither read nor write",
    code: "permissions",
    iova: () => 0n,
    physical: () => 0n,
    length: PAGE,
    permissions: { privileged: true },
  },
  { name: "the very page", code: "overlap", iova: () => 2n * PAGE, physical: () => 0n, length: PAGE },
  {
    name: "the page is the last of the range",
    code: "overlap",
    iova: () => 0n,
    physical: () => 0n,
    length: 3n * PAGE,
    at: 2n * PAGE,
  },
  {
    name: "the page is in a long run",
    code: "overlap",
    iova: () => 0n,
    physical: () => PAGE,
    length: 300n * PAGE,
    at: 2n * PAGE,
  },
  {
    name: "a large leaf over a page",
    code: "overlap",
    iova: () => 0n,
    physical: () => 0n,
    length: LARGE,
    at: 2n * PAGE,
  },
  { name: "a huge leaf over all", code: "overlap", iova: () => 0n, physical: () => 0n, length: HUGE, at: 2n * PAGE },
  {
    name: "inside the 2 MiB mapping",
    code: "overlap",
    iova: () => 2n * LARGE + PAGE,
    physical: () => 0n,
    length: PAGE,
  },
  {
    name: "runs into the 2 MiB mapping",
    code: "overlap",
    iova: () => 2n * LARGE - PAGE,
    physical: () => 0n,
    length: 2n * PAGE,
    at: 2n * LARGE,
  },
  {
    name: "long, occupied only at its end",
    code: "overlap",
    iova: () => 3n * LARGE,
    physical: () => 64n * LARGE,
    length: 5n * LARGE,
    at: 8n * LARGE - 2n * PAGE,
  },
  {
    name: "long and askew, occupied only at its end",
    code: "overlap",
    iova: () => 3n * LARGE,
    physical: () => PAGE,
    length: 5n * LARGE,
    at: 8n * LARGE - 2n * PAGE,
  },
];

interface UnmapCase {
  readonly name: string;
  readonly code: ErrorCode;
  readonly iova: (configuration: Configuration) => bigint;
  readonly length: bigint;
  readonly at?: bigint;
}

const unmapCases = ({ PAGE, LARGE }: Sizes): readonly UnmapCase[] => [
  { name: "length 0", code: "misaligned", iova: () => 2n * PAGE, length: 0n },
  { name: "length not in pages", code: "misaligned", iova: () => 2n * PAGE, length: 100n },
  { name: "IOVA not on a page", code: "misaligned", iova: () => 2n * PAGE + 8n, length: PAGE },
  { name: "beyond the input range", code: "input-range", iova: inputEnd, length: PAGE },
  { name: "wraps around 64 bits", code: "input-range", iova: () => (1n << 64n) - PAGE, length: 2n * PAGE },
  { name: "longer than 64 bits hold", code: "input-range", iova: () => 2n * PAGE, length: (1n << 64n) + PAGE },
  { name: "nothing at all", code: "hole", iova: () => 64n * LARGE, length: PAGE },
  { name: "a page never mapped beside one that is", code: "hole", iova: () => 3n * PAGE, length: PAGE },
  { name: "begins well, then a hole", code: "hole", iova: () => 2n * PAGE, length: 2n * PAGE, at: 3n * PAGE },
  {
    name: "begins well, then a hole in a run of many",
    code: "hole",
    iova: () => 2n * PAGE,
    length: 64n * PAGE,
    at: 3n * PAGE,
  },
  {
    name: "begins well, then a hole in the table above",
    code: "hole",
    iova: () => 8n * LARGE - 2n * PAGE,
    length: 4n * PAGE,
    at: 8n * LARGE,
  },
  { name: "a hole, then a mapping", code: "hole", iova: () => PAGE, length: 2n * PAGE },
];

describe.each(CONFIGURATIONS)("$title", (configuration) => {
  const sizes = sizesOf(configuration);
  const { PAGE, LARGE } = sizes;

  function unchanged(operation: (table: ReturnType<typeof createTable>) => IommuError): void {
    const table = createTable(engine, configuration);
    for (const [iova, physical, length] of mapped(sizes))
      table.map(iovaOf(iova), physicalOf(physical), length, READ_WRITE);
    const before = snapshot(engine, table, configuration.format);
    operation(table);
    expect(snapshot(engine, table, configuration.format)).toEqual(before);
    table.release();
  }

  test.each(mapCases(sizes))("map: $name: $code", ({ code, iova, physical, length, permissions, at }) => {
    unchanged((table) => {
      const address = iovaOf(iova(configuration));
      const error = refused(code, () =>
        table.map(address, physicalOf(physical(configuration)), length, permissions ?? READ_WRITE),
      );
      expect(error.at).toBe(at ?? address);
      expect(error.message).toContain(`map 0x${address.toString(16)}`);
      return error;
    });
  });

  test.each(unmapCases(sizes))("unmap: $name: $code", ({ code, iova, length, at }) => {
    for (const reclaim of ["covered", "empty"] as const) {
      unchanged((table) => {
        const address = iovaOf(iova(configuration));
        const error = refused(code, () => table.unmap(address, length, reclaim));
        expect(error.at).toBe(at ?? address);
        expect(error.message).toContain(`unmap 0x${address.toString(16)}`);
        return error;
      });
    }
  });

  test("more table pages than wasm32 can hold: memory-exhausted, and nothing has changed", () => {
    const table = createTable(engine, { ...configuration, pageSizes: PAGE });
    table.map(iovaOf(0n), physicalOf(0n), PAGE, READ_WRITE);
    const before = snapshot(engine, table, configuration.format);
    const bytes = engine.exports.memory.buffer.byteLength;
    const half = 1n << BigInt(Math.min(configuration.inputBits - 1, configuration.outputBits - 1));
    // One table page to each large leaf's worth.
    const tooMuch = ((1n << 32n) / PAGE) * LARGE;
    for (const length of half > tooMuch ? [tooMuch, half - PAGE] : []) {
      refused("memory-exhausted", () => table.map(iovaOf(PAGE), physicalOf(0n), length, READ_WRITE));
      expect(snapshot(engine, table, configuration.format)).toEqual(before);
    }
    // Nor has linear memory grown for something that could never fit.
    expect(engine.exports.memory.buffer.byteLength).toBe(bytes);
    table.map(iovaOf(PAGE), physicalOf(0n), PAGE, READ_WRITE);
    table.release();
  });
});

describe.each(FULL_CONFIGURATIONS)("$title", (configuration) => {
  const { format, levels } = configuration;
  const { PAGE, LARGE, HUGE } = sizesOf(configuration);

  test.runIf(format.largeLevels.includes(3))(
    "a range that begins inside a large leaf, or a large leaf where the range has one: inside-leaf",
    () => {
      const table = createTable(engine, configuration);
      table.map(iovaOf(0n), physicalOf(0n), HUGE, READ_WRITE);
      table.map(iovaOf(HUGE), physicalOf(HUGE), LARGE, READ_WRITE);
      const before = snapshot(engine, table, configuration.format);
      for (const [iova, length] of [
        [PAGE, PAGE],
        [LARGE, LARGE],
        [HUGE - PAGE, PAGE],
        [HUGE - PAGE, LARGE],
        [HUGE + PAGE, PAGE],
        [HUGE + LARGE - PAGE, PAGE],
      ]) {
        expect(refused("inside-leaf", () => table.unmap(iovaOf(iova), length)).at).toBe(iova);
      }
      expect(snapshot(engine, table, configuration.format)).toEqual(before);
      table.release();
    },
  );

  test.runIf(configuration.format.signExtended)("a range across the hole between the canonical halves", () => {
    const table = createTable(engine, configuration);
    const low = 1n << BigInt(configuration.inputBits - 1);
    const high = (1n << 64n) - low;
    table.map(iovaOf(low - PAGE), physicalOf(0n), PAGE, READ_WRITE);
    table.map(iovaOf(high), physicalOf(PAGE), PAGE, READ_WRITE);
    const before = snapshot(engine, table, configuration.format);
    const across = high - low + 2n * PAGE;
    refused("input-range", () => table.map(iovaOf(low - PAGE), physicalOf(0n), across, READ_WRITE));
    refused("input-range", () => table.unmap(iovaOf(low - PAGE), across));
    refused("input-range", () => table.unmap(iovaOf(low - PAGE), 2n * PAGE));
    refused("input-range", () => table.map(iovaOf(high - PAGE), physicalOf(0n), PAGE, READ_WRITE));
    expect(snapshot(engine, table, configuration.format)).toEqual(before);
    expect(table.iovaToPhys(iovaOf(high))).toBe(PAGE);
    expect(table.iovaToPhys(iovaOf(high - 1n))).toBeNull();
    table.release();
  });

  test("a root that nobody backs, and a table below it: bus-error, and nothing has changed", async () => {
    const machine = await newEngine();
    const nowhere = createTable(machine, configuration, 0x7000_0000n);
    refused("bus-error", () => nowhere.map(iovaOf(0n), physicalOf(0n), PAGE, READ_WRITE));
    refused("bus-error", () => nowhere.unmap(iovaOf(0n), PAGE));
    expect(nowhere.counters.entriesWritten).toBe(0);

    const table = createTable(machine, configuration);
    machine.memory.write64(table.root, format.pointer(0x7000_0000n, configuration));
    const above = coverage(levels, format);
    table.map(iovaOf(above), physicalOf(0n), PAGE, READ_WRITE);
    const entries = machine.memory.read(table.root, 4096);
    const { counters } = table;
    expect(refused("bus-error", () => table.map(iovaOf(8n * PAGE), physicalOf(0n), PAGE, READ_WRITE)).at).toBe(
      8n * PAGE,
    );
    refused("bus-error", () => table.unmap(iovaOf(8n * PAGE), PAGE));
    refused("bus-error", () => table.map(iovaOf(above - PAGE), physicalOf(0n), PAGE, READ_WRITE));
    expect(machine.memory.read(table.root, 4096)).toEqual(entries);
    expect(table.counters).toEqual(counters);
  });

  test("a table in declared RAM that nobody wrote yet is empty, not absent", async () => {
    const machine = await newEngine();
    machine.memory.declareRam(physicalOf(0x10_0000n), physicalOf(0x20_0000n));
    const table = createTable(machine, configuration, 0x10_0000n);
    expect(table.walk(iovaOf(0n))).toMatchObject({ ok: false, check: "not-present", entriesRead: 1 });
    machine.memory.write64(physicalOf(0x10_0000n), format.pointer(0x11_0000n, configuration));
    expect(refused("hole", () => table.unmap(iovaOf(PAGE), PAGE)).at).toBe(PAGE);
    expect(table.counters.tablePages).toBe(0);
    machine.memory.write64(physicalOf(0x10_0000n), format.pointer(0x12_0000n, configuration));
    table.map(iovaOf(PAGE), physicalOf(5n * PAGE), PAGE, READ_WRITE);
    expect(table.walk(iovaOf(PAGE + 1n))).toMatchObject({
      ok: true,
      physical: 5n * PAGE + 1n,
      entriesRead: levels,
    });
    expect(machine.memory.read64(physicalOf(levels > 2 ? 0x12_0000n : 0x12_0008n))).not.toBe(0n);
    // Only what was taken from the arena is the table's.
    expect(table.counters.tablePages).toBe(levels - 2);
    expect(table.unmap(iovaOf(PAGE), PAGE, "empty").freedPages.length).toBe(levels - 2);
    expect(table.counters.tablePages).toBe(0);
  });
});
