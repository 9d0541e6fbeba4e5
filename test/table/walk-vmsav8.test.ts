/**
 * What VMSAv8-64 has and no other format: stage 2 rights, flags that hardware keeps, blocks of every granule, 52-bit
 * addresses, first tables of a size of their own, tables of more than one frame. From Arm IHI 0070 G.b sections 3.4 and
 * 3.13 and Arm DDI 0487; what is expected is written here, not computed by a model.
 */
import { describe, expect, test } from "vitest";
import type { Engine } from "../../src/engine/engine.js";
import {
  type Access,
  decodeWalkStatus,
  type PageTable,
  type PageTableOptions,
  type WalkCheck,
} from "../../src/engine/page-table.js";
import { newEngine } from "../support/engine.js";
import { refused } from "../support/errors.js";
import { ACCESS_FLAG_DISABLE, DS, HA, HD, XNX } from "../support/slow-vmsav8.js";
import { iovaOf, physicalOf, READ_WRITE } from "../support/tables.js";

const engine = await newEngine();
const RAM = 0x40_0000_0000n + (1n << 33n);
const RAM_BYTES = 1n << 28n;
engine.memory.declareRam(physicalOf(RAM), physicalOf(RAM + RAM_BYTES));
/** RAM that only 52-bit addresses reach. */
const HIGH_RAM = 0xd_0000_4000_0000n;
engine.memory.declareRam(physicalOf(HIGH_RAM), physicalOf(HIGH_RAM + RAM_BYTES));

/** RAM that no test has used, on a boundary of 1 MiB, the largest first table. */
let nextRam = RAM;
function takeRam(): bigint {
  nextRam += 1n << 20n;
  return nextRam;
}

const b = (index: number): bigint => 1n << BigInt(index);
const AF = b(10);
const DBM = b(51);
const TABLE = 3n;

/** A table whose first table is given by its entries, in the arena (64 KiB of it) or in RAM. */
function firstTable(
  format: string,
  entries: Record<number, bigint>,
  options: PageTableOptions,
  root?: bigint,
): PageTable {
  const at = root ?? engine.memory.allocatePage(65536);
  for (const [index, entry] of Object.entries(entries)) {
    engine.memory.write64(physicalOf(at + 8n * BigInt(index)), entry);
  }
  return engine.createTable(format, { ...options, root: physicalOf(at) });
}

/** One request as single walk and in a batch of five, which takes another way; both must agree. */
function walk(table: PageTable, iova: bigint, access: Access = {}): ReturnType<PageTable["walk"]> {
  const single = table.walk(iovaOf(iova), access);
  const batch = table.createWalkBatch(5);
  batch.iova.fill(iova);
  table.walkBatch(batch, 5, access);
  for (let i = 0; i < 5; i++) {
    const { check, level, entriesRead } = decodeWalkStatus(batch.status[i]);
    const { level: expectedLevel, entriesRead: expectedReads } = single;
    expect({ check, level, entriesRead }).toEqual({
      check: single.ok ? null : single.check,
      level: expectedLevel,
      entriesRead: expectedReads,
    });
    expect(batch.physical[i]).toBe(single.ok ? single.physical : single.entryAddress);
  }
  batch.release();
  return single;
}

const GRANULES = [
  { name: "4k", shift: 12, bits: 9 },
  { name: "16k", shift: 14, bits: 11 },
  { name: "64k", shift: 16, bits: 13 },
];

describe.each(GRANULES)("$name", ({ name, shift, bits }) => {
  const PAGE = 1n << BigInt(shift);
  const page = (level: number): bigint => 1n << BigInt(shift + bits * (level - 1));
  const oneLevel = { levels: 1 };

  describe("stage 2, one page", () => {
    const OUTPUT = 0x12_3400_0000n;
    const R = b(6);
    const W = b(7);
    const cases: readonly (readonly [string, bigint, number, Access, WalkCheck | null])[] = [
      ["S2AP 00, read", AF, 0, {}, "no-read"],
      ["S2AP 00, write", AF, 0, { write: true }, "no-write"],
      ["S2AP 00, neither", AF, 0, { read: false }, null],
      ["S2AP 01, read", AF | R, 0, {}, null],
      ["S2AP 01, write", AF | R, 0, { write: true }, "no-write"],
      ["S2AP 10, write", AF | W, 0, { write: true }, null],
      ["S2AP 10, read", AF | W, 0, {}, "no-read"],
      ["S2AP 10, both", AF | W, 0, { read: true, write: true }, "no-read"],
      ["S2AP 11, both, privileged", AF | R | W, 0, { read: true, write: true, privileged: true }, null],
      ["AF clear goes before rights", 0n, 0, {}, "access-flag"],
      ["AF clear, S2AFFD", R, ACCESS_FLAG_DISABLE, {}, null],
      ["XN 00, fetch", AF | R, 0, { execute: true }, null],
      ["XN 10, fetch", AF | R | b(54), 0, { execute: true }, "no-execute"],
      ["XN 10, read", AF | R | b(54), 0, {}, null],
      ["XN 01 without XNX, privileged fetch", AF | R | b(53), 0, { execute: true, privileged: true }, null],
      [
        "XN 11 without XNX, privileged fetch",
        AF | R | b(53) | b(54),
        0,
        { execute: true, privileged: true },
        "no-execute",
      ],
      ["XN 00 with XNX, privileged fetch", AF | R, XNX, { execute: true, privileged: true }, null],
      ["XN 01 with XNX, fetch", AF | R | b(53), XNX, { execute: true }, null],
      ["XN 01 with XNX, privileged fetch", AF | R | b(53), XNX, { execute: true, privileged: true }, "no-execute"],
      ["XN 10 with XNX, fetch", AF | R | b(54), XNX, { execute: true }, "no-execute"],
      ["XN 10 with XNX, privileged fetch", AF | R | b(54), XNX, { execute: true, privileged: true }, "no-execute"],
      ["XN 11 with XNX, fetch", AF | R | b(53) | b(54), XNX, { execute: true }, "no-execute"],
      ["XN 11 with XNX, privileged fetch", AF | R | b(53) | b(54), XNX, { execute: true, privileged: true }, null],
      ["read and fetch of what cannot be read", AF | W, 0, { execute: true }, "no-read"],
      ["fetch of what cannot be read", AF | W, 0, { read: false, execute: true }, null],
      ["contiguous bit", AF | R | b(52), 0, {}, null],
      ["DBM without HD, write", AF | R | DBM, HA, { write: true }, "no-write"],
      ["DBM with HD but without HA, write", AF | R | DBM, HD, { write: true }, "no-write"],
    ];
    test.each(cases)("%s", (_name, leaf, flags, access, check) => {
      const table = firstTable(`vmsav8-${name}-s2`, { 3: OUTPUT | TABLE | leaf }, { ...oneLevel, flags });
      const expected = { level: 1, entriesRead: 1 };
      expect(walk(table, 3n * PAGE + 9n, access)).toMatchObject(
        check ? { ok: false, check, ...expected } : { ok: true, physical: OUTPUT + 9n, pageSize: PAGE, ...expected },
      );
      table.release();
    });

    test("hierarchical bits of a table descriptor mean nothing", () => {
      const leaves = engine.memory.allocatePage(65536);
      engine.memory.write64(leaves, OUTPUT | TABLE | AF | R | W);
      const table = firstTable(`vmsav8-${name}-s2`, { 0: leaves | TABLE | (31n << 59n) }, { levels: 2 });
      expect(walk(table, 1n, { read: true, write: true, execute: true })).toMatchObject({ ok: true });
      expect(walk(table, 1n, { read: true, write: true })).toMatchObject({ ok: true, entriesRead: 2 });
      table.release();
    });
  });

  describe("flags that hardware keeps", () => {
    /** Stage 1: AP[1] set, AP[2] says read-only; stage 2: S2AP[0] set, S2AP[1] says writable. */
    const s1 = { format: `vmsav8-${name}`, user: b(6), readOnly: b(7), writable: 0n };
    const s2 = { format: `vmsav8-${name}-s2`, user: b(6), readOnly: 0n, writable: b(7) };
    const both = HA | HD;
    for (const { format, user, readOnly, writable } of [s1, s2]) {
      const cases: readonly (readonly [string, number, bigint, Access, bigint | WalkCheck])[] = [
        ["HA: a read sets AF", HA, readOnly, {}, AF | readOnly],
        ["HA with AFFD: the same", HA | ACCESS_FLAG_DISABLE, readOnly, {}, AF | readOnly],
        ["AFFD alone: AF stays", ACCESS_FLAG_DISABLE, readOnly, {}, readOnly],
        ["HA: a write sets AF", HA, writable, { write: true }, AF | writable],
        ["HA: a denied write sets nothing", HA, readOnly, { write: true }, "no-write"],
        ["HD: a write of a clean leaf makes it dirty", both, AF | DBM | readOnly, { write: true }, AF | DBM | writable],
        ["HD: and sets AF too", both, DBM | readOnly, { write: true }, AF | DBM | writable],
        ["HD: a read leaves it clean", both, AF | DBM | readOnly, {}, AF | DBM | readOnly],
        ["HD: a write of a dirty leaf", both, AF | DBM | writable, { write: true }, AF | DBM | writable],
        ["HD: no DBM", both, AF | readOnly, { write: true }, "no-write"],
        ["HD without HA", HD, AF | DBM | readOnly, { write: true }, "no-write"],
        ["HD: a denied fetch changes nothing", both, DBM | b(54), { execute: true }, "no-execute"],
      ];
      test.each(cases)(`${format}: %s`, (_name, flags, bits, access, expected) => {
        for (const root of [undefined, takeRam()]) {
          const leaf = 0x8000_0000n | TABLE | user | bits;
          const table = firstTable(format, { 2: leaf }, { ...oneLevel, flags }, root);
          const first = table.walk(iovaOf(2n * PAGE), access);
          const after = engine.memory.read64(physicalOf(table.root + 16n));
          if (typeof expected === "bigint") {
            expect(first).toMatchObject({ ok: true, physical: 0x8000_0000n });
            expect(after).toBe(0x8000_0000n | TABLE | user | expected);
          } else {
            expect(first).toMatchObject({ ok: false, check: expected });
            expect(after).toBe(leaf);
          }
          // And in a batch, from the beginning and again with what the first pass left.
          engine.memory.write64(physicalOf(table.root + 16n), leaf);
          for (let pass = 0; pass < 2; pass++) {
            walk(table, 2n * PAGE, access);
            expect(engine.memory.read64(physicalOf(table.root + 16n))).toBe(after);
          }
          table.release();
        }
      });
    }

    test("an implied PXN: what an unprivileged write would make dirty counts as writable", () => {
      const leaf = 0x8000_0000n | TABLE | b(6) | b(7) | AF | DBM;
      const fetch = { execute: true, privileged: true };
      const kept = firstTable(`vmsav8-${name}`, { 0: leaf }, { ...oneLevel, flags: both });
      expect(walk(kept, 0n, fetch)).toMatchObject({ ok: false, check: "no-execute" });
      kept.release();
      const plain = firstTable(`vmsav8-${name}`, { 0: leaf }, oneLevel);
      expect(walk(plain, 0n, fetch)).toMatchObject({ ok: true });
      plain.release();
    });

    test("APTable[1] denies the write of a clean leaf, which stays clean", () => {
      const leaves = engine.memory.allocatePage(65536);
      const leaf = 0x8000_0000n | TABLE | b(6) | b(7) | AF | DBM;
      engine.memory.write64(leaves, leaf);
      const table = firstTable(`vmsav8-${name}`, { 0: leaves | TABLE | b(62) }, { levels: 2, flags: both });
      expect(walk(table, 0n, { write: true })).toMatchObject({ ok: false, check: "no-write", level: 1 });
      expect(engine.memory.read64(leaves)).toBe(leaf);
      table.release();
    });
  });

  describe.each(["", "-s2"])("stage%s", (stage) => {
    const format = `vmsav8-${name}${stage}`;
    const leafBits = AF | b(6) | b(7);
    const access = stage === "" ? {} : { read: true, write: true };
    const wideFlags = shift === 16 ? {} : { flags: DS };

    const blockCases = (shift === 12 ? [1, 2, 3, 4, 5] : shift === 14 ? [1, 2, 3, 4] : [1, 2, 3]).flatMap((level) => [
      { level, wide: false, exists: level === 2 || (level === 3 && shift === 12) },
      { level, wide: true, exists: level === 2 || level === 3 || (level === 4 && shift === 12) },
    ]);
    test.each(blockCases)("a block at level $level, 52-bit addresses $wide: $exists", ({ level, wide, exists }) => {
      // Without 52-bit addresses there is no fifth level to begin with.
      if (level === 5 && !wide) return;
      const start = wide && shift === 14 && level === 3 ? { inputBits: 47 } : {};
      const options = { levels: level, outputBits: wide ? 52 : 48, ...(wide ? wideFlags : {}), ...start };
      const entry = (exists ? page(level) : 0n) | 1n | leafBits;
      const table = firstTable(format, { 0: entry }, options);
      const found = walk(table, 0x1234n, access);
      if (exists) {
        // 4 KiB granule, level 4: 2^39 is below 48 bits, too.
        expect(found).toMatchObject({ ok: true, physical: page(level) + 0x1234n, pageSize: page(level), level });
      } else {
        expect(found).toMatchObject({ ok: false, check: "not-present", level, entriesRead: 1 });
      }
      table.release();
    });

    test("52-bit output, from a page and through a table", () => {
      const highest = 0xf_ffff_ffff_0000n;
      const options = { outputBits: 52, ...wideFlags };
      const place = (address: bigint): bigint =>
        shift === 16
          ? (address & 0xffff_ffff_0000n) | ((address >> 48n) << 12n)
          : (address & 0x3_ffff_ffff_ffffn) | ((address >> 50n) << 8n);
      for (const output of [highest, 0x5_0000_0000_0000n, 0x8_1234_5678_0000n, 0x3_0000_0000_0000n]) {
        const table = firstTable(format, { 1: place(output) | TABLE | leafBits }, { levels: 1, ...options });
        expect(walk(table, PAGE + 5n, access)).toMatchObject({ ok: true, physical: output + 5n });
        expect(table.iovaToPhys(iovaOf(PAGE + 5n))).toBe(output + 5n);
        table.release();
      }
      engine.memory.write64(physicalOf(HIGH_RAM + 24n), 0x7000_0000n | TABLE | leafBits);
      const table = firstTable(format, { 0: place(HIGH_RAM) | TABLE }, { levels: 2, ...options });
      expect(walk(table, 3n * PAGE + 1n, access)).toMatchObject({ ok: true, physical: 0x7000_0001n, entriesRead: 2 });
      expect(table.iovaToPhys(iovaOf(3n * PAGE))).toBe(0x7000_0000n);
      table.release();
    });

    test("output size: of a table, of a page, and before the access flag", () => {
      const options = { outputBits: 40 };
      for (const bit of [40, 44, 47]) {
        const toTable = firstTable(format, { 0: b(bit) | TABLE }, { levels: 2, ...options });
        expect(walk(toTable, 0n, access)).toMatchObject({ ok: false, check: "output-range", level: 2 });
        toTable.release();
        const toPage = firstTable(format, { 0: b(bit) | TABLE }, { levels: 1, ...options });
        expect(walk(toPage, 0n, access)).toMatchObject({ ok: false, check: "output-range", level: 1 });
        toPage.release();
      }
      // Bits that hold an address only with 52 bits are RES0 otherwise, and do not fault.
      const res0 = b(48) | b(49) | b(50) | (shift === 16 ? 0xf000n : 0n);
      const table = firstTable(format, { 0: 0x5_0000_0000n | TABLE | leafBits | res0 }, { levels: 1, ...options });
      expect(walk(table, 0n, access)).toMatchObject({ ok: true, physical: 0x5_0000_0000n });
      table.release();
      if (shift < 16) {
        for (const bit of [49, 9]) {
          const wide = firstTable(format, { 0: b(bit) | TABLE | AF }, { levels: 1, outputBits: 48, flags: DS });
          expect(walk(wide, 0n, access)).toMatchObject({ ok: false, check: "output-range" });
          wide.release();
        }
      }
    });

    test("a short first table at the end of its page", () => {
      const inputBits = shift + bits + 3;
      const root = engine.memory.allocatePage(65536) + 65536n - 64n;
      const leaves = engine.memory.allocatePage(65536);
      engine.memory.write64(physicalOf(leaves + 8n), 0x7000_0000n | TABLE | leafBits);
      const table = firstTable(format, { 7: leaves | TABLE }, { levels: 2, inputBits }, root);
      const iova = 7n * page(2) + PAGE;
      expect(walk(table, iova, access)).toMatchObject({ ok: true, physical: 0x7000_0000n, entriesRead: 2 });
      expect(walk(table, 8n * page(2) + PAGE, access)).toMatchObject({ ok: false, check: "input-range" });
      expect(table.iovaToPhys(iovaOf(iova + 1n))).toBe(0x7000_0001n);
      // What stands there can be changed like any other table.
      table.map(iovaOf(6n * page(2)), physicalOf(0n), page(2), READ_WRITE);
      expect(engine.memory.read64(physicalOf(root + 48n)) & 3n).toBe(1n);
      refused("overlap", () => table.map(iovaOf(iova), physicalOf(0n), PAGE, READ_WRITE));
      expect(table.unmap(iovaOf(iova), PAGE).length).toBe(PAGE);
      expect(walk(table, iova, access)).toMatchObject({ ok: false, check: "not-present", level: 1 });
      table.release();
    });
  });

  test.each([2, 4, 16])("stage 2: %i first tables side by side", (several) => {
    const format = `vmsav8-${name}-s2`;
    const tables = BigInt(several);
    const span = page(2);
    const inputBits = shift + bits + Math.log2(several);
    const bytes = PAGE * tables;
    // In RAM, which becomes frames one by one as it is written, and in the arena.
    const roots = [takeRam()];
    if (bytes <= 65536n) roots.push(engine.memory.allocatePage(65536));
    for (const root of roots) {
      const at = (iova: bigint): bigint => root + (iova / PAGE) * 8n;
      const last = tables * span - PAGE;
      for (const [iova, output] of [
        [0n, 0x1000_0000n],
        [span, 0x2000_0000n],
        [last, 0x3000_0000n],
      ]) {
        engine.memory.write64(physicalOf(at(iova)), output | TABLE | AF | b(6) | b(7));
      }
      const table = firstTable(format, {}, { levels: 1, inputBits }, root);
      expect(walk(table, 3n)).toMatchObject({ ok: true, physical: 0x1000_0003n, entriesRead: 1 });
      expect(walk(table, span + 3n)).toMatchObject({ ok: true, physical: 0x2000_0003n });
      expect(walk(table, last + 3n)).toMatchObject({ ok: true, physical: 0x3000_0003n });
      expect(walk(table, last - PAGE)).toMatchObject({
        ok: false,
        check: "not-present",
        entryAddress: at(last - PAGE),
      });
      expect(walk(table, tables * span)).toMatchObject({ ok: false, check: "input-range" });
      expect(table.iovaToPhys(iovaOf(last))).toBe(0x3000_0000n);
      // A range over the border of two tables, and what the rest of the tables says of it.
      table.unmap(iovaOf(span), PAGE);
      table.map(iovaOf(span - 2n * PAGE), physicalOf(0x5000_0000n), 4n * PAGE, READ_WRITE);
      expect(walk(table, span + PAGE, { write: true })).toMatchObject({ ok: true, physical: 0x5000_0000n + 3n * PAGE });
      refused("overlap", () => table.map(iovaOf(0n), physicalOf(0n), PAGE, READ_WRITE));
      refused("overlap", () => table.map(iovaOf(span + 2n * PAGE), physicalOf(0n), last - span - PAGE, READ_WRITE));
      expect(table.unmap(iovaOf(span - 2n * PAGE), 4n * PAGE).length).toBe(4n * PAGE);
      expect(refused("hole", () => table.unmap(iovaOf(last - PAGE), 2n * PAGE)).at).toBe(last - PAGE);
      expect(engine.memory.read64(physicalOf(at(last))) & 0xffff_f000n).toBe(0x3000_0000n);
      table.release();
    }
  });

  test("two levels, two first tables: blocks and pages on either side of the border", () => {
    const border = page(3);
    const large = page(2);
    for (const root of shift === 16 ? [takeRam()] : [takeRam(), engine.memory.allocatePage(65536)]) {
      const table = firstTable(`vmsav8-${name}-s2`, {}, { levels: 2, inputBits: shift + 2 * bits + 1 }, root);
      table.map(iovaOf(border - large), physicalOf(4n * large), 2n * large, READ_WRITE);
      table.map(iovaOf(border + large + 5n * PAGE), physicalOf(8n * large), PAGE, READ_WRITE);
      table.map(iovaOf(2n * border - PAGE), physicalOf(9n * large), PAGE, READ_WRITE);
      expect([...table.counters.leaves.values()]).toEqual([2, 2]);
      for (const [iova, physical, level] of [
        [border - large + 7n, 4n * large + 7n, 2],
        [border + large - 1n, 6n * large - 1n, 2],
        [border + large + 5n * PAGE, 8n * large, 1],
        [2n * border - 1n, 9n * large + PAGE - 1n, 1],
      ] as const) {
        expect(walk(table, iova, { write: true })).toMatchObject({ ok: true, physical, level, entriesRead: 3 - level });
        expect(table.iovaToPhys(iovaOf(iova))).toBe(physical);
      }
      // The entries stand behind each other, whatever table they are in.
      const middle = root + (border / large) * 8n;
      expect(engine.memory.read64(physicalOf(middle - 8n)) & 0xffff_ffff_f000n).toBe(4n * large);
      expect(engine.memory.read64(physicalOf(middle)) & 0xffff_ffff_f000n).toBe(5n * large);
      expect(table.unmap(iovaOf(border - large), 2n * large).leaves).toEqual(new Map([[large, 2]]));
      expect(walk(table, border)).toMatchObject({ ok: false, check: "not-present", level: 2 });
      table.release();
    }
  });

  test("tables in loose frames are brought together when software changes them, and say the same", async () => {
    const machine: Engine = await newEngine();
    const at = 0x9000_0000n;
    // Frame by frame from the last, so that no two are neighbours in the right order.
    for (let offset = 2n * PAGE - 4096n; offset >= 0n; offset -= 4096n) {
      machine.memory.load(physicalOf(at + offset), new Uint8Array(4096).fill(0));
    }
    const format = `vmsav8-${name}`;
    const last = (1n << BigInt(bits)) - 1n;
    machine.memory.write64(physicalOf(at + last * 8n), (at + PAGE) | TABLE);
    machine.memory.write64(physicalOf(at + PAGE + last * 8n), 0x7000_0000n | TABLE | AF | b(6));
    const table = machine.createTable(format, { levels: 2, root: physicalOf(at) });
    const end = page(3);
    expect(table.walk(iovaOf(end - PAGE))).toMatchObject({ ok: true, physical: 0x7000_0000n });
    table.map(iovaOf(end - 2n * PAGE), physicalOf(0x5000_0000n), PAGE, READ_WRITE);
    expect(machine.memory.read64(physicalOf(at + PAGE + (last - 1n) * 8n)) & 0xffff_0000n).toBe(0x5000_0000n);
    expect(machine.memory.read64(physicalOf(at + last * 8n))).toBe((at + PAGE) | TABLE);
    expect(table.walk(iovaOf(end - PAGE))).toMatchObject({ ok: true, physical: 0x7000_0000n });
    expect(table.unmap(iovaOf(end - 2n * PAGE), 2n * PAGE).length).toBe(2n * PAGE);
    // A frame that nobody stores: nothing can be changed there, and nothing is.
    if (shift > 12) {
      machine.memory.load(physicalOf(at + 0x100_0000n), new Uint8Array(4096));
      machine.memory.write64(physicalOf(at), (at + 0x100_0000n) | TABLE);
      expect(refused("bus-error", () => table.map(iovaOf(0n), physicalOf(0n), PAGE, READ_WRITE)).at).toBe(0n);
      expect(table.counters.entriesWritten).toBe(3);
    }
  });
});

test("table pages of three sizes share the arena: each aligned to its size, all given back", async () => {
  const machine = await newEngine();
  const formats = ["vmsav8-4k", "vmsav8-16k", "vmsav8-64k", "vmsav8-16k-s2", "x86_64"];
  for (let round = 0; round < 3; round++) {
    const tables = formats.map((format) => machine.createTable(format));
    const seen = new Map<bigint, bigint>();
    for (let i = 1n; i <= 20n; i++) {
      for (const table of tables) {
        const { granule, levelShift } = table.format;
        const large = 1n << BigInt(levelShift(2));
        table.map(iovaOf(i * 2n * large), physicalOf(i * granule), granule, READ_WRITE);
        expect(table.walk(iovaOf(i * 2n * large))).toMatchObject({ ok: true, physical: i * granule });
      }
    }
    for (const table of tables) {
      const { granule, levelShift } = table.format;
      const large = 1n << BigInt(levelShift(2));
      seen.set(table.root, granule);
      for (let i = 1n; i <= 20n; i += 2n) {
        const { freedPages } = table.unmap(iovaOf(i * 2n * large), granule, "empty");
        expect(freedPages.map(({ level }) => level)).toEqual([1]);
        for (const { address } of freedPages) seen.set(address, granule);
      }
    }
    const pages = [...seen].sort(([one], [other]) => (one < other ? -1 : 1));
    expect(pages).toHaveLength(11 * tables.length);
    pages.forEach(([address, bytes], i) => {
      expect(address % bytes).toBe(0n);
      if (i > 0) expect(address).toBeGreaterThanOrEqual(pages[i - 1][0] + pages[i - 1][1]);
    });
    const bytes = tables.reduce((sum, table) => sum + table.counters.tableBytes, 0);
    expect(machine.memory.pagesInUse).toBe(bytes / 4096);
    for (const table of tables) table.release();
    expect(machine.memory.pagesInUse).toBe(0);
  }
});

test("pages for the caller, of three sizes", async () => {
  const { memory } = await newEngine();
  const pages = ([4096, 16384, 4096, 65536, 16384] as const).map((bytes) => ({
    bytes,
    at: memory.allocatePage(bytes),
  }));
  for (const { bytes, at } of pages) expect(at % BigInt(bytes)).toBe(0n);
  expect(memory.pagesInUse).toBe(1 + 4 + 1 + 16 + 4);
  for (const { bytes, at } of pages) {
    memory.write64(physicalOf(at + BigInt(bytes - 8)), 1n);
    memory.freePage(at);
    refused("invalid", () => memory.freePage(at));
  }
  expect(memory.pagesInUse).toBe(0);
  expect(memory.allocatePage(65536)).toBe(pages[3].at);
  expect(memory.read(pages[3].at, 65536).every((byte) => byte === 0)).toBe(true);
});

test("a 16 or 64 KiB table as second stage of a 4 KiB one", () => {
  for (const [name, granule] of [
    ["vmsav8-16k-s2", 16384n],
    ["vmsav8-64k-s2", 65536n],
  ] as const) {
    const second = engine.createTable(name);
    const first = engine.createTable("vmsav8-4k", { levels: 3, secondStage: second });
    const large = 1n << BigInt(second.format.levelShift(2));
    // The first stage's own tables stand where they are; its output goes elsewhere.
    const arena = engine.memory.arenaBase;
    second.map(iovaOf(arena), physicalOf(arena), large, READ_WRITE);
    second.map(iovaOf(0n), physicalOf(0x5000_0000n), granule, { read: true });
    first.map(iovaOf(0x3000n), physicalOf(0x2000n), 4096n, READ_WRITE);
    expect(first.walk(iovaOf(0x3004n))).toMatchObject({ ok: true, physical: 0x5000_2004n, pageSize: 4096n });
    expect(first.walk(iovaOf(0x3004n), { write: true })).toMatchObject({
      ok: false,
      check: "no-write",
      stage: "second-output",
    });
    first.release();
    second.release();
  }
});
