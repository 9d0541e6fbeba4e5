/** Which table pages an unmap frees, and what it says of them. */
import { describe, expect, test } from "vitest";
import { newEngine } from "../support/engine.js";
import { FULL_CONFIGURATIONS } from "../support/geometries.js";
import { coverage, entriesOf } from "../support/slow-format.js";
import { createTable, iovaOf, Pair, physicalOf, READ_WRITE } from "../support/tables.js";

const engine = await newEngine();

describe.each(FULL_CONFIGURATIONS)("$title", (configuration) => {
  const { format, levels } = configuration;
  const PAGE = coverage(1, format);
  const LARGE = coverage(2, format);
  const HUGE = coverage(3, format);
  const entries = entriesOf(format);
  const deep = levels > 2;

  test("covered: a table whose whole range is unmapped in one call is freed, one that is not stays", () => {
    const pair = new Pair(engine, configuration);
    pair.map(0n, PAGE, 3n * LARGE);
    pair.unmap(0n, LARGE - PAGE);
    expect(pair.table.counters.tablePages).toBe(levels + 2);
    // The rest of the first table: that call does not cover it whole. The second it does.
    pair.unmap(LARGE - PAGE, LARGE + PAGE);
    expect(pair.table.counters.tablePages).toBe(levels + 1);
    pair.unmap(2n * LARGE, LARGE);
    expect(pair.table.counters.tablePages).toBe(levels);
    pair.check();
    pair.release();
  });

  test.runIf(deep)("covered: whole tables of two levels at once", () => {
    const pair = new Pair(engine, configuration);
    pair.map(HUGE, HUGE + LARGE, HUGE);
    pair.map(2n * HUGE, PAGE, 2n * LARGE);
    const unmapped = pair.table.unmap(iovaOf(HUGE), HUGE);
    expect(unmapped).toMatchObject({ length: HUGE, leaves: new Map([[LARGE, entries]]) });
    expect(unmapped.freedPages.map((page) => page.level)).toEqual([2]);
    const rest = pair.table.unmap(iovaOf(2n * HUGE), 2n * LARGE);
    expect(rest.leaves).toEqual(new Map([[PAGE, 2 * entries]]));
    expect(rest.freedPages.map((page) => page.level)).toEqual([1, 1]);
    pair.release();
  });

  test.runIf(deep)(
    "covered: a range that is removed whole only because its last leaf is large does not cover the table",
    () => {
      const pair = new Pair(engine, configuration);
      pair.map(HUGE, LARGE, HUGE);
      expect(pair.unmap(HUGE, HUGE - PAGE)).toBe(HUGE);
      pair.check();
      expect(pair.table.counters.tablePages).toBe(levels - 1);
      pair.release();
    },
  );

  test("empty: one page mapped and unmapped leaves the root only", () => {
    const pair = new Pair(engine, configuration);
    pair.map(HUGE - PAGE, 0n, PAGE);
    const written = pair.table.counters.entriesWritten;
    expect(written).toBe(levels);
    const unmapped = pair.table.unmap(iovaOf(HUGE - PAGE), PAGE, "empty");
    expect(unmapped.freedPages.map((page) => page.level)).toEqual(Array.from({ length: levels - 1 }, (_, i) => i + 1));
    expect(pair.table.counters).toMatchObject({ tablePages: 1, entriesWritten: 2 * written });
    pair.release();
  });

  test("empty: a table that still maps something stays, and so do all above it", () => {
    const pair = new Pair(engine, configuration);
    pair.map(0n, 0n, 2n * PAGE);
    pair.map(LARGE, PAGE, PAGE);
    pair.unmap(0n, PAGE, "empty");
    expect(pair.table.counters.tablePages).toBe(levels + 1);
    pair.unmap(PAGE, PAGE, "empty");
    expect(pair.table.counters.tablePages).toBe(levels);
    pair.unmap(LARGE, PAGE, "empty");
    expect(pair.table.counters.tablePages).toBe(1);
    pair.check();
    pair.release();
  });

  test("a freed page is all zero when it is taken again", () => {
    const pair = new Pair(engine, configuration);
    pair.map(0n, PAGE, LARGE);
    pair.unmap(0n, LARGE);
    pair.map(8n * LARGE, 0n, PAGE);
    pair.check();
    expect(pair.table.iovaToPhys(iovaOf(8n * LARGE + PAGE))).toBeNull();
    pair.release();
  });

  test("release gives back every page, whatever is mapped", () => {
    const inUse = engine.memory.pagesInUse;
    const table = createTable(engine, configuration);
    table.map(iovaOf(0n), physicalOf(PAGE), 4n * LARGE, READ_WRITE);
    const far = deep ? HUGE : 8n * LARGE;
    table.map(iovaOf(far), physicalOf(far), far, READ_WRITE);
    expect(engine.memory.pagesInUse).toBe(inUse + table.counters.tableBytes / 4096);
    table.release();
    expect(engine.memory.pagesInUse).toBe(inUse);
    const next = new Pair(engine, configuration);
    next.map(0n, 0n, PAGE);
    next.check();
    next.release();
  });

  test("two tables of one engine do not see each other", () => {
    const one = new Pair(engine, configuration);
    const two = new Pair(engine, configuration);
    one.map(0n, 0n, LARGE + PAGE);
    two.map(PAGE, LARGE, LARGE);
    one.check();
    two.check();
    one.unmap(0n, LARGE);
    two.check();
    one.release();
    two.check();
    two.release();
  });
});
