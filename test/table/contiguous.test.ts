/** The contiguous bit: Arm DDI 0487, "The Contiguous bit"; how many entries a run has, by granule and level. */
import { describe, expect, test } from "vitest";
import { physicalAddress } from "../../src/engine/addresses.js";
import type { PageTable } from "../../src/engine/page-table.js";
import { newEngine } from "../support/engine.js";
import { refused } from "../support/errors.js";
import { CONTIGUOUS } from "../support/slow-format.js";
import { iovaOf, physicalOf, READ_WRITE } from "../support/tables.js";

const engine = await newEngine();
const MARKED = { ...READ_WRITE, contiguous: true };
const KIB = 1024n;
const MIB = 1024n * KIB;
const GIB = 1024n * MIB;

/** Which of the leaves of one size from an address on are marked. */
function marks(table: PageTable, iova: bigint, size: bigint, count: number): boolean[] {
  return Array.from({ length: count }, (_, i) => {
    // The entry that a write to a read-only page fails at is the leaf.
    const walk = table.walk(iovaOf(iova + BigInt(i) * size), { write: true });
    if (walk.ok) throw new Error("mapped writable");
    return (engine.memory.read64(physicalAddress(walk.entryAddress)) & CONTIGUOUS) !== 0n;
  });
}

const RUNS = [
  { format: "vmsav8-4k", leaf: 4n * KIB, leaves: 16 },
  { format: "vmsav8-4k", leaf: 2n * MIB, leaves: 16 },
  { format: "vmsav8-4k", leaf: GIB, leaves: 16 },
  { format: "vmsav8-4k-s2", leaf: 4n * KIB, leaves: 16 },
  { format: "vmsav8-16k", leaf: 16n * KIB, leaves: 128 },
  { format: "vmsav8-16k", leaf: 32n * MIB, leaves: 32 },
  { format: "vmsav8-64k", leaf: 64n * KIB, leaves: 32 },
  { format: "vmsav8-64k", leaf: 512n * MIB, leaves: 32 },
] as const;

describe.each(RUNS)("$format, leaves of $leaf bytes", ({ format, leaf, leaves }) => {
  const run = leaf * BigInt(leaves);
  const at = 2n * run;
  const smallest = engine.format(format).granule;
  const open = (): PageTable => engine.createTable(format, { pageSizes: leaf | smallest });
  const readOnly = { read: true, contiguous: true };

  test("marks whole runs and nothing at their edges", () => {
    const table = open();
    table.map(iovaOf(at - leaf), physicalOf(3n * run - leaf), run + 2n * leaf, readOnly);
    expect(marks(table, at - leaf, leaf, leaves + 2)).toEqual([false, ...Array(leaves).fill(true), false]);
    expect(table.counters.contiguousRuns).toEqual(new Map([[run, 1]]));
    expect(table.counters.leaves.get(leaf)).toBe(leaves + 2);
    table.release();
  });

  test("marks nothing that is not congruent to the run, lies in two calls, or was not to be marked", () => {
    const table = open();
    table.map(iovaOf(at), physicalOf(3n * run + leaf), run, readOnly);
    table.map(iovaOf(at + run), physicalOf(8n * run), run - leaf, readOnly);
    table.map(iovaOf(at + 2n * run - leaf), physicalOf(9n * run - leaf), leaf, readOnly);
    table.map(iovaOf(at + 2n * run), physicalOf(9n * run), run, { read: true });
    expect(marks(table, at, leaf, 3 * leaves)).toEqual(Array(3 * leaves).fill(false));
    expect(table.counters.contiguousRuns).toEqual(new Map());
    table.release();
  });

  test("unmapping a part takes the mark from the rest, each by a write", () => {
    const table = open();
    table.map(iovaOf(at), physicalOf(at), 2n * run, readOnly);
    const before = table.counters.entriesWritten;
    // The last leaf of the first run and the first of the second.
    table.unmap(iovaOf(at + run - leaf), 2n * leaf);
    expect(marks(table, at, leaf, leaves - 1)).toEqual(Array(leaves - 1).fill(false));
    expect(marks(table, at + run + leaf, leaf, leaves - 1)).toEqual(Array(leaves - 1).fill(false));
    expect(table.counters.contiguousRuns).toEqual(new Map());
    expect(table.counters.entriesWritten - before).toBe(2 * leaves);
    table.release();
  });

  test("unmapping a run whole costs no more than its leaves and leaves the next one", () => {
    const table = open();
    table.map(iovaOf(at), physicalOf(at), 2n * run, readOnly);
    const before = table.counters.entriesWritten;
    const { freedPages } = table.unmap(iovaOf(at), run);
    expect(table.counters.contiguousRuns).toEqual(new Map([[run, 1]]));
    expect(table.counters.entriesWritten - before).toBe(leaves + freedPages.length);
    expect(marks(table, at + run, leaf, leaves)).toEqual(Array(leaves).fill(true));
    table.release();
  });
});

test.each(["vtdss", "x86_64"])("%s has no runs, and refuses to mark them", (format) => {
  const table = engine.createTable(format);
  refused("permissions", () => table.map(iovaOf(0x10000n), physicalOf(0x10000n), 0x10000n, MARKED));
  expect(table.iovaToPhys(iovaOf(0x10000n))).toBeNull();
  table.release();
});
