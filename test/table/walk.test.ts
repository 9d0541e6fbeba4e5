/**
 * Every check of a walk, from the tables of the specifications (Intel VT-d Rev. 5.10 sections 3.6, 3.7 and 9.7, 9.8; Arm
 * IHI 0070 section 3.4 and DDI 0487): which check, at which level, in which entry, after how many reads. What is
 * expected is written here, not computed by a model; every case runs with its tables in the arena, in loose frames,
 * in declared RAM and across all three, and once through a batch of four, which takes another way.
 */
import { describe, expect, test } from "vitest";
import { decodeWalkStatus, type Access, type WalkCheck } from "../../src/engine/page-table.js";
import { newEngine } from "../support/engine.js";
import { type Configuration, FULL_CONFIGURATIONS } from "../support/geometries.js";
import { BACKINGS, type Backing, buildPath, type Path, RAM_END, RAM_START } from "../support/path.js";
import { coverage } from "../support/slow-format.js";
import { HIERARCHICAL_DISABLE, ACCESS_FLAG_DISABLE } from "../support/slow-vmsav8.js";
import { SNOOP_CONTROL } from "../support/slow-vtdss.js";
import { WRITE_PROTECT } from "../support/slow-x86_64.js";
import { iovaOf, physicalOf } from "../support/tables.js";

const engine = await newEngine();
engine.memory.declareRam(physicalOf(RAM_START), physicalOf(RAM_END));

const READ: Access = {};
const WRITE: Access = { write: true };
const BOTH: Access = { read: true, write: true };
const NEITHER: Access = { read: false, write: false };
const PRIVILEGED_READ: Access = { privileged: true };
const PRIVILEGED_WRITE: Access = { write: true, privileged: true };
const EXECUTE: Access = { execute: true };
const PRIVILEGED_EXECUTE: Access = { execute: true, privileged: true };

/** A fault at a level, or null: the walk succeeds. */
type Expectation = { readonly check: WalkCheck; readonly level: number } | null;

interface Case {
  readonly name: string;
  readonly levels: number;
  readonly leafLevel: number;
  /** Bits to set and to clear, by level. */
  readonly set?: Readonly<Record<number, bigint>>;
  readonly clear?: Readonly<Record<number, bigint>>;
  readonly access?: Access;
  readonly expected: Expectation;
  readonly outputBits?: number;
  readonly pageSizes?: bigint;
  readonly flags?: number;
}

const at = (check: WalkCheck, level: number): Expectation => ({ check, level });
const b = (index: number): bigint => 1n << BigInt(index);
const range = (first: number, last: number): number[] => Array.from({ length: last - first + 1 }, (_, i) => first + i);
const ALL = (1n << 64n) - 1n;
const SIZES = coverage(1) | coverage(2) | coverage(3);

function configurationOf(format: string, { levels, outputBits, pageSizes, flags }: Case): Configuration {
  const found = FULL_CONFIGURATIONS.find((each) => each.format.name === format && each.levels === levels);
  if (!found) throw new Error(`no ${format} with ${levels} levels`);
  return {
    ...found,
    outputBits: outputBits ?? found.outputBits,
    pageSizes: pageSizes ?? found.pageSizes,
    flags: flags ?? 0,
  };
}

/** An IOVA with a different index at every level, and the same in the lower half of every format. */
const IOVA = (0x21n << 48n) | (0x43n << 39n) | (0x165n << 30n) | (0x87n << 21n) | (0x1a9n << 12n) | 0xbc8n;
/** Aligned to 1 GiB and within 38 bits. */
const PHYSICAL = 0x2a_4000_0000n;

function check(format: string, each: Case, backing: Backing): void {
  const configuration = configurationOf(format, each);
  const { levels } = configuration;
  const iova = IOVA & ((1n << BigInt(configuration.inputBits - 1)) - 1n);
  const path: Path = buildPath(engine, configuration, backing, each.leafLevel, iova, PHYSICAL);
  for (const [level, bits] of Object.entries(each.clear ?? {})) path.write(+level, path.entry(+level) & ~bits);
  for (const [level, bits] of Object.entries(each.set ?? {})) path.write(+level, path.entry(+level) | bits);
  const { table } = path;
  const access = each.access ?? READ;
  const size = coverage(each.leafLevel);
  const expected =
    each.expected === null
      ? {
          ok: true,
          physical: PHYSICAL + (iova % size),
          pageSize: size,
          level: each.leafLevel,
          entriesRead: levels - each.leafLevel + 1,
        }
      : {
          ok: false,
          stage: "own",
          check: each.expected.check,
          level: each.expected.level,
          entryAddress: path.entryAddress(each.expected.level),
          entry: path.entry(each.expected.level),
          entriesRead: levels - each.expected.level + 1,
        };
  expect(table.walk(iovaOf(iova), access)).toEqual(expected);
  expect(table.counters.entriesRead).toBe(expected.entriesRead);

  const batch = table.createWalkBatch(5);
  batch.iova.fill(iova);
  table.walkBatch(batch, 5, access);
  for (let i = 0; i < 5; i++) {
    expect(decodeWalkStatus(batch.status[i])).toEqual({
      check: each.expected?.check ?? null,
      stage: "own",
      level: expected.level,
      entriesRead: expected.entriesRead,
      pageSize: each.expected === null ? size : 0n,
    });
    expect(batch.physical[i]).toBe(
      each.expected === null ? PHYSICAL + (iova % size) : path.entryAddress(expected.level),
    );
  }
  expect(table.counters.entriesRead).toBe(6 * expected.entriesRead);
  batch.release();
  table.release();
}

// ---- Intel VT-d second stage --------------------------------------------------------------------------------------

const vtdss: Case[] = [];
for (const levels of [3, 4, 5]) {
  const ss = (name: string, leafLevel: number, expected: Expectation, rest: Partial<Case> = {}): void => {
    vtdss.push({ name, levels, leafLevel, expected, outputBits: 46, ...rest });
  };
  for (const leafLevel of [1, 2, 3]) {
    ss("everything granted", leafLevel, null, { access: BOTH });
    for (const level of range(leafLevel, levels)) {
      ss(`R = W = 0 at level ${level}`, leafLevel, at("not-present", level), { clear: { [level]: 3n } });
      ss(
        `every bit but R and W set at level ${level}: reserved bits do not count`,
        leafLevel,
        at("not-present", level),
        {
          set: { [level]: ALL & ~3n },
          clear: { [level]: 3n },
        },
      );
      ss(`W = 0 at level ${level}, read`, leafLevel, null, { clear: { [level]: 2n } });
      ss(`W = 0 at level ${level}, write`, leafLevel, at("no-write", leafLevel), {
        clear: { [level]: 2n },
        access: WRITE,
      });
      ss(`W = 0 at level ${level}, both`, leafLevel, at("no-write", leafLevel), {
        clear: { [level]: 2n },
        access: BOTH,
      });
      ss(`R = 0 at level ${level}, read`, leafLevel, at("no-read", leafLevel), { clear: { [level]: 1n } });
      ss(`R = 0 at level ${level}, write`, leafLevel, null, { clear: { [level]: 1n }, access: WRITE });
      ss(`R = 0 at level ${level}, both`, leafLevel, at("no-read", leafLevel), {
        clear: { [level]: 1n },
        access: BOTH,
      });
      ss(`R = 0 at level ${level}, neither`, leafLevel, null, { clear: { [level]: 1n }, access: NEITHER });
      ss(`nothing at level ${level}, neither`, leafLevel, at("not-present", level), {
        clear: { [level]: 3n },
        access: NEITHER,
      });
      if (level > leafLevel) {
        ss(
          `R = 0 at level ${level}, W = 0 below: the accumulated rights grant nothing`,
          leafLevel,
          at("not-present", level - 1),
          {
            clear: { [level]: 1n, [level - 1]: 2n },
          },
        );
        ss(`table bit 11 at level ${level}`, leafLevel, at("reserved", level), { set: { [level]: b(11) } });
        ss(`table bit 11 at level ${level}, with snoop control`, leafLevel, at("reserved", level), {
          set: { [level]: b(11) },
          flags: SNOOP_CONTROL,
        });
        for (const ignored of [2, 3, 4, 5, 6, 8, 9, 10, ...range(52, 61), 63]) {
          ss(`bit ${ignored} is ignored at level ${level}`, leafLevel, null, { set: { [level]: b(ignored) } });
        }
      }
      for (const bit of range(46, 51)) {
        ss(`bit ${bit} of 46 at level ${level}`, leafLevel, at("reserved", level), { set: { [level]: b(bit) } });
      }
      if (level >= 4) ss(`bit 7 at level ${level}`, leafLevel, at("reserved", level), { set: { [level]: b(7) } });
    }
    ss("leaf bit 11 without snoop control", leafLevel, at("reserved", leafLevel), { set: { [leafLevel]: b(11) } });
    ss("leaf bit 11 with snoop control", leafLevel, null, { set: { [leafLevel]: b(11) }, flags: SNOOP_CONTROL });
    for (const ignored of [2, 3, 4, 5, 6, 8, 9, 10, ...range(52, 61), 63]) {
      ss(`bit ${ignored} of a leaf is ignored`, leafLevel, null, { set: { [leafLevel]: b(ignored) } });
    }
    if (leafLevel === 1) ss("bit 7 of a page is ignored", 1, null, { set: { 1: b(7) } });
    for (const low of leafLevel > 1 ? range(12, 11 + 9 * (leafLevel - 1)) : []) {
      ss(`leaf bit ${low}, below the address`, leafLevel, at("reserved", leafLevel), { set: { [leafLevel]: b(low) } });
    }
    ss("a reserved bit goes before a missing right", leafLevel, at("reserved", leafLevel), {
      set: { [leafLevel]: b(11) },
      clear: { [leafLevel]: 2n },
      access: WRITE,
    });
  }
  ss("2 MiB leaves not supported", 2, at("reserved", 2), { pageSizes: SIZES & ~coverage(2) });
  ss("1 GiB leaves not supported", 3, at("reserved", 3), { pageSizes: SIZES & ~coverage(3) });
  ss("1 GiB leaves not supported, 2 MiB are", 2, null, { pageSizes: SIZES & ~coverage(3) });
}

// ---- Intel VT-d first stage ---------------------------------------------------------------------------------------

const x86: Case[] = [];
for (const levels of [4, 5]) {
  const fs = (name: string, leafLevel: number, expected: Expectation, rest: Partial<Case> = {}): void => {
    x86.push({ name, levels, leafLevel, expected, outputBits: 46, ...rest });
  };
  for (const leafLevel of [1, 2, 3]) {
    fs("everything granted", leafLevel, null, { access: BOTH });
    for (const level of range(leafLevel, levels)) {
      const lacksRw = { clear: { [level]: b(1) } };
      const lacksUs = { clear: { [level]: b(2) } };
      fs(`P = 0 and every other bit set at level ${level}`, leafLevel, at("not-present", level), {
        set: { [level]: ALL & ~1n },
        clear: { [level]: 1n },
      });
      fs(`R/W = 0 at level ${level}, user read`, leafLevel, null, lacksRw);
      fs(`R/W = 0 at level ${level}, user write`, leafLevel, at("no-write", leafLevel), { ...lacksRw, access: WRITE });
      fs(`R/W = 0 at level ${level}, privileged write`, leafLevel, null, { ...lacksRw, access: PRIVILEGED_WRITE });
      fs(`R/W = 0 at level ${level}, privileged write, WPE`, leafLevel, at("no-write", leafLevel), {
        ...lacksRw,
        access: PRIVILEGED_WRITE,
        flags: WRITE_PROTECT,
      });
      fs(`R/W = 0 at level ${level}, privileged read, WPE`, leafLevel, null, {
        ...lacksRw,
        access: PRIVILEGED_READ,
        flags: WRITE_PROTECT,
      });
      fs(`U/S = 0 at level ${level}, user read`, leafLevel, at("no-user", leafLevel), lacksUs);
      fs(`U/S = 0 at level ${level}, user write`, leafLevel, at("no-user", leafLevel), { ...lacksUs, access: WRITE });
      fs(`U/S = 0 at level ${level}, privileged`, leafLevel, null, { ...lacksUs, access: PRIVILEGED_WRITE });
      fs(`U/S = 0 at level ${level}, privileged, WPE`, leafLevel, null, {
        ...lacksUs,
        access: PRIVILEGED_WRITE,
        flags: WRITE_PROTECT,
      });
      fs(`U/S and R/W = 0 at level ${level}, user write: U/S first`, leafLevel, at("no-user", leafLevel), {
        clear: { [level]: b(1) | b(2) },
        access: WRITE,
      });
      for (const bit of range(46, 51)) {
        fs(`bit ${bit} of 46 at level ${level}`, leafLevel, at("reserved", level), { set: { [level]: b(bit) } });
      }
      if (level >= 4) fs(`PS at level ${level}`, leafLevel, at("reserved", level), { set: { [level]: b(7) } });
      for (const ignored of [3, 4, 6, 8, 9, 10, 11, ...range(52, 63)]) {
        fs(`bit ${ignored} makes no difference at level ${level}`, leafLevel, null, { set: { [level]: b(ignored) } });
      }
      fs(`software bit 9 at level ${level} is no WPE`, leafLevel, null, {
        set: { [level]: b(9) },
        clear: { [level]: b(1) },
        access: PRIVILEGED_WRITE,
      });
    }
    if (leafLevel === 1) fs("bit 7 of a page is PAT", 1, null, { set: { 1: b(7) } });
    else
      fs("bit 12 of a large leaf is PAT and no part of the address", leafLevel, null, { set: { [leafLevel]: b(12) } });
    for (const low of leafLevel > 1 ? range(13, 11 + 9 * (leafLevel - 1)) : []) {
      fs(`leaf bit ${low}, below the address`, leafLevel, at("reserved", leafLevel), { set: { [leafLevel]: b(low) } });
    }
    fs("a reserved bit goes before a missing right", leafLevel, at("reserved", leafLevel), {
      set: { [leafLevel]: b(50) },
      clear: { [leafLevel]: b(2) },
    });
  }
  fs("2 MiB leaves not supported", 2, at("reserved", 2), { pageSizes: SIZES & ~coverage(2) });
  fs("1 GiB leaves not supported (FS1GP = 0)", 3, at("reserved", 3), { pageSizes: SIZES & ~coverage(3) });
}

// ---- Arm VMSAv8-64, 4 KiB granule, stage 1 ------------------------------------------------------------------------

const AP1 = b(6);
const AP2 = b(7);
const AF = b(10);
const PXN = b(53);
const UXN = b(54);
const PXN_TABLE = b(59);
const UXN_TABLE = b(60);
const AP_TABLE0 = b(61);
const AP_TABLE1 = b(62);

const vmsav8: Case[] = [];
for (const levels of [3, 4]) {
  const s1 = (name: string, leafLevel: number, expected: Expectation, rest: Partial<Case> = {}): void => {
    vmsav8.push({ name, levels, leafLevel, expected, outputBits: 44, ...rest });
  };
  for (const leafLevel of [1, 2, 3]) {
    const leaf = (bits: bigint): Readonly<Record<number, bigint>> => ({ [leafLevel]: bits });
    s1("everything granted", leafLevel, null, { access: BOTH });
    for (const level of range(leafLevel, levels)) {
      s1(`invalid (00) at level ${level}`, leafLevel, at("not-present", level), { clear: { [level]: 3n } });
      s1(`invalid (10) at level ${level}, every other bit set`, leafLevel, at("not-present", level), {
        clear: { [level]: 1n },
        set: { [level]: ALL & ~1n },
      });
      if (level === 4 || level === 1) {
        s1(`no block exists at level ${level}`, leafLevel, at("not-present", level), { clear: { [level]: 2n } });
      }
      for (const bit of range(44, 47)) {
        s1(`address bit ${bit} of 44 at level ${level}`, leafLevel, at("output-range", level), {
          set: { [level]: b(bit) },
        });
      }
      for (const bit of [48, 49, 50, 51]) {
        s1(`RES0 bit ${bit} at level ${level} does not fault`, leafLevel, null, { set: { [level]: b(bit) } });
      }
      if (level > leafLevel) {
        const above = (bits: bigint): Partial<Case> => ({ set: { [level]: bits } });
        s1(`APTable[0] at level ${level}, unprivileged`, leafLevel, at("no-user", leafLevel), above(AP_TABLE0));
        s1(`APTable[0] at level ${level}, privileged`, leafLevel, null, {
          ...above(AP_TABLE0),
          access: PRIVILEGED_WRITE,
        });
        s1(`APTable[1] at level ${level}, read`, leafLevel, null, above(AP_TABLE1));
        s1(`APTable[1] at level ${level}, write`, leafLevel, at("no-write", leafLevel), {
          ...above(AP_TABLE1),
          access: WRITE,
        });
        s1(`APTable[1] at level ${level}, privileged write`, leafLevel, at("no-write", leafLevel), {
          ...above(AP_TABLE1),
          access: PRIVILEGED_WRITE,
        });
        s1(`APTable at level ${level}, HAD`, leafLevel, null, {
          ...above(AP_TABLE0 | AP_TABLE1),
          access: WRITE,
          flags: HIERARCHICAL_DISABLE,
        });
        s1(`UXNTable at level ${level}, fetch`, leafLevel, at("no-execute", leafLevel), {
          ...above(UXN_TABLE),
          access: EXECUTE,
        });
        s1(`UXNTable at level ${level}, read`, leafLevel, null, above(UXN_TABLE));
        s1(`PXNTable at level ${level}, fetch`, leafLevel, null, { ...above(PXN_TABLE), access: EXECUTE });
        s1(`PXNTable at level ${level}, privileged fetch`, leafLevel, at("no-execute", leafLevel), {
          ...above(PXN_TABLE),
          clear: leaf(AP1),
          access: PRIVILEGED_EXECUTE,
        });
        s1(`XNTable at level ${level}, HAD`, leafLevel, null, {
          ...above(UXN_TABLE | PXN_TABLE),
          clear: leaf(AP1),
          access: PRIVILEGED_EXECUTE,
          flags: HIERARCHICAL_DISABLE,
        });
        s1(`NSTable and software bits at level ${level}`, leafLevel, null, above(b(63) | b(55) | b(58) | b(10) | b(2)));
      }
    }
    for (const low of leafLevel > 1 ? range(12, 11 + 9 * (leafLevel - 1)) : []) {
      s1(`block bit ${low}, below the address, does not fault`, leafLevel, null, { set: leaf(b(low)) });
    }
    s1("AF clear", leafLevel, at("access-flag", leafLevel), { clear: leaf(AF) });
    s1("AF clear, AFFD", leafLevel, null, { clear: leaf(AF), flags: ACCESS_FLAG_DISABLE, access: WRITE });
    s1("the output range goes before the access flag", leafLevel, at("output-range", leafLevel), {
      clear: leaf(AF),
      set: leaf(b(45)),
    });
    s1("the access flag goes before permissions", leafLevel, at("access-flag", leafLevel), { clear: leaf(AF | AP1) });
    s1("AP[1] = 0, unprivileged", leafLevel, at("no-user", leafLevel), { clear: leaf(AP1) });
    s1("AP[1] = 0, privileged", leafLevel, null, { clear: leaf(AP1), access: PRIVILEGED_WRITE });
    s1("AP[2] = 1, read", leafLevel, null, { set: leaf(AP2) });
    s1("AP[2] = 1, write", leafLevel, at("no-write", leafLevel), { set: leaf(AP2), access: WRITE });
    s1("AP[2] = 1, privileged write", leafLevel, at("no-write", leafLevel), {
      set: leaf(AP2),
      access: PRIVILEGED_WRITE,
    });
    s1("fetch from what unprivileged software may write", leafLevel, null, { access: EXECUTE });
    s1("privileged fetch from what unprivileged software may write", leafLevel, at("no-execute", leafLevel), {
      access: PRIVILEGED_EXECUTE,
    });
    s1("privileged fetch from what is read-only", leafLevel, null, { set: leaf(AP2), access: PRIVILEGED_EXECUTE });
    s1("UXN, fetch", leafLevel, at("no-execute", leafLevel), { set: leaf(UXN), access: EXECUTE });
    s1("UXN, read", leafLevel, null, { set: leaf(UXN) });
    s1("UXN, privileged fetch", leafLevel, null, { set: leaf(UXN), clear: leaf(AP1), access: PRIVILEGED_EXECUTE });
    s1("PXN, privileged fetch", leafLevel, at("no-execute", leafLevel), {
      set: leaf(PXN),
      clear: leaf(AP1),
      access: PRIVILEGED_EXECUTE,
    });
    s1("PXN, fetch", leafLevel, null, { set: leaf(PXN), access: EXECUTE });
    s1("unprivileged fetch from privileged memory", leafLevel, at("no-user", leafLevel), {
      clear: leaf(AP1),
      access: EXECUTE,
    });
  }
  s1("leaf sizes are not the hardware's to restrict: 1 GiB", 3, null, { pageSizes: coverage(1) });
  s1("leaf sizes are not the hardware's to restrict: 2 MiB", 2, null, { pageSizes: coverage(1) });
}

describe.each([
  ["vtdss", vtdss],
  ["x86_64", x86],
  ["vmsav8-4k", vmsav8],
] as const)("%s", (format, cases) => {
  const groups = [...new Set(cases.map(({ levels, leafLevel }) => `${levels} levels, leaf at level ${leafLevel}`))];
  describe.each(groups)("%s", (group) => {
    const members = cases.filter(({ levels, leafLevel }) => `${levels} levels, leaf at level ${leafLevel}` === group);
    test.each(members)("$name", (each) => {
      for (const backing of BACKINGS) check(format, each, backing);
    });
  });
});

describe.each(FULL_CONFIGURATIONS)("$title: tables that cannot be read", (configuration) => {
  const { format, levels } = configuration;
  const nowhere = 0x5_5000_0000n;

  test("the first table", () => {
    const path = buildPath(engine, configuration, "frames", 1, 0n, 0n);
    path.table.release();
    const table = engine.createTable(format.name, { levels, root: physicalOf(nowhere) });
    expect(table.walk(iovaOf(0x3008n))).toEqual({
      ok: false,
      stage: "own",
      check: "root-access",
      level: levels,
      entryAddress: nowhere,
      entry: 0n,
      entriesRead: 0,
    });
    expect(table.iovaToPhys(iovaOf(0x3008n))).toBeNull();
    expect(table.counters.entriesRead).toBe(0);
    table.release();
  });

  test.each(BACKINGS)("each table below it (%s)", (backing) => {
    for (let level = levels - 1; level >= 1; level--) {
      const iova = 0x7n * coverage(level, format);
      const path = buildPath(engine, configuration, backing, 1, iova, 0n);
      path.write(level + 1, format.pointer(nowhere, configuration));
      expect(path.table.walk(iovaOf(iova))).toEqual({
        ok: false,
        stage: "own",
        check: "table-access",
        level,
        entryAddress: nowhere + 0x38n,
        entry: 0n,
        entriesRead: levels - level,
      });
      expect(path.table.iovaToPhys(iovaOf(iova))).toBeNull();
      path.table.release();
    }
  });
});
