/** The register file: access rules of every register, commands, and taking over registers of another unit. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { makeCapabilities } from "../../src/vtd/capabilities.js";
import { describeRegisters, registerNames } from "../../src/vtd/register-map.js";
import { refused } from "../support/errors.js";
import { type Call, makeUnit, type Unit, type UnitOptions } from "./register-support.js";

const GCMD = 0x018;
const GSTS = 0x01c;
const RTADDR = 0x020;
const CCMD = 0x028;
const FSTS = 0x034;
const FECTL = 0x038;
const PMEN = 0x064;
const IQT = 0x088;
const IQA = 0x090;
const ICS = 0x09c;
const IECTL = 0x0a0;
const FRCD = 0x400;
const IVA = 0x500;
const IOTLB = 0x508;

const TE = 0x8000_0000;
const SRTP = 0x4000_0000;
const QIE = 0x0400_0000;
const IRE = 0x0200_0000;
const SIRTP = 0x0100_0000;
const CFI = 0x0080_0000;

/** A unit with every register that can exist. */
const EVERYTHING: UnitOptions = {
  cap: { AFL: 1, RWBF: 1, NFR: 1 },
  ecap: { IR: 1, EIM: 1, PRS: 1 },
};
const ONES = 0xffff_ffff_ffff_ffffn;

/** Reads a register whole, whatever its width. */
function read(unit: Unit, name: string): bigint {
  const register = unit.file.registers.find((candidate) => candidate.name === name);
  if (!register) throw new Error(`no register ${name}`);
  return register.width === 64 ? unit.file.read64(register.offset) : BigInt(unit.file.read32(register.offset));
}

const GLOBAL_CONTEXT: Call = ["ContextCache", { granularity: "global", domain: 0, sid: 0, functionMask: 0 }];
const GLOBAL_TRANSLATIONS: readonly Call[] = [
  GLOBAL_CONTEXT,
  ["PasidCache", { granularity: "global", domain: 0, pasid: 0 }],
  ["Iotlb", { granularity: "global", domain: 0, address: 0n, addressMask: 0, leafOnly: false }],
];
const GLOBAL_INTERRUPTS: Call = ["InterruptEntries", { granularity: "global", index: 0, indexMask: 0 }];

describe("every register", () => {
  /** Offset, name, value after reset, and value after all ones were written; null where writing is a command. */
  const table: readonly (readonly [number, string, reset: bigint, ones: bigint | null])[] = [
    [0x000, "VER", 0x50n, 0x50n],
    [0x008, "CAP", makeCapabilities(EVERYTHING).capRegister, makeCapabilities(EVERYTHING).capRegister],
    [0x010, "ECAP", makeCapabilities(EVERYTHING).ecapRegister, makeCapabilities(EVERYTHING).ecapRegister],
    [0x018, "GCMD", 0n, null],
    [0x01c, "GSTS", 0n, 0n],
    [0x020, "RTADDR", 0n, 0xffff_ffff_ffff_fc00n],
    [0x028, "CCMD", 0n, null],
    [0x034, "FSTS", 0n, 0n],
    [0x038, "FECTL", 0x8000_0000n, 0x8000_0000n],
    [0x03c, "FEDATA", 0n, 0xffffn],
    [0x040, "FEADDR", 0n, 0xffff_fffcn],
    [0x044, "FEUADDR", 0n, 0xffff_ffffn],
    [0x058, "AFLOG", 0n, 0xffff_ffff_ffff_fe00n],
    [0x064, "PMEN", 0n, 0x8000_0001n],
    [0x068, "PLMBASE", 0n, 0xfff0_0000n],
    [0x06c, "PLMLIMIT", 0n, 0xfff0_0000n],
    [0x070, "PHMBASE", 0n, 0x000f_ffff_fff0_0000n],
    [0x078, "PHMLIMIT", 0n, 0x000f_ffff_fff0_0000n],
    [0x080, "IQH", 0n, 0n],
    [0x088, "IQT", 0n, 0x7_fff0n],
    [0x090, "IQA", 0n, 0xffff_ffff_ffff_f807n],
    [0x09c, "ICS", 0n, 0n],
    [0x0a0, "IECTL", 0x8000_0000n, 0x8000_0000n],
    [0x0a4, "IEDATA", 0n, 0xffffn],
    [0x0a8, "IEADDR", 0n, 0xffff_fffcn],
    [0x0ac, "IEUADDR", 0n, 0xffff_ffffn],
    [0x0b0, "IQERCD", 0n, 0n],
    [0x0b8, "IRTA", 0n, 0xffff_ffff_ffff_f80fn],
    [0x0c0, "PQH", 0n, 0x7_ffe0n],
    [0x0c8, "PQT", 0n, 0x7_ffe0n],
    [0x0d0, "PQA", 0n, 0xffff_ffff_ffff_f007n],
    [0x0dc, "PRS", 0n, 0n],
    [0x0e0, "PECTL", 0x8000_0000n, 0x8000_0000n],
    [0x0e4, "PEDATA", 0n, 0xffffn],
    [0x0e8, "PEADDR", 0n, 0xffff_fffcn],
    [0x0ec, "PEUADDR", 0n, 0xffff_ffffn],
    [0x400, "FRCD0_LO", 0n, 0n],
    [0x408, "FRCD0_HI", 0n, 0n],
    [0x410, "FRCD1_LO", 0n, 0n],
    [0x418, "FRCD1_HI", 0n, 0n],
    [0x500, "IVA", 0n, 0n],
    [0x508, "IOTLB", 0n, null],
  ];

  test("is in the map", () => {
    const names = [...registerNames(makeCapabilities(EVERYTHING))].sort(([a], [b]) => a - b);
    expect(names).toEqual(table.map(([offset, name]) => [offset, name]));
  });

  test.each(table)("at %i: %s, as it should be after reset", (_offset, name, reset) => {
    expect(read(makeUnit(EVERYTHING), name)).toBe(reset);
  });

  test.each(table.filter(([, , , ones]) => ones !== null))(
    "at %i: %s keeps what may be written",
    (offset, name, _, ones) => {
      const whole = makeUnit(EVERYTHING);
      const halves = makeUnit(EVERYTHING);
      const { width } = describeRegisters(makeCapabilities(EVERYTHING)).find((entry) => entry.name === name) ?? {
        width: 0,
      };
      if (width === 64) {
        whole.file.write64(offset, ONES);
        halves.file.write32(offset + 4, 0xffff_ffff);
        expect(halves.file.read32(offset + 4)).toBe(Number((ones ?? 0n) >> 32n));
      }
      for (const unit of width === 64 ? [halves] : [whole, halves]) unit.file.write32(offset, 0xffff_ffff);
      for (const unit of [whole, halves]) expect(read(unit, name)).toBe(ones);

      // What sticks can be cleared again.
      whole.file.write32(offset, 0);
      if (width === 64) whole.file.write32(offset + 4, 0);
      const readOnly = ["VER", "CAP", "ECAP"].includes(name) ? ones : 0n;
      expect(read(whole, name)).toBe(readOnly);
    },
  );

  test("is reserved where the unit lacks what it is for", () => {
    const poor: UnitOptions = {
      cap: { PLMR: 0, PHMR: 0, NFR: 1 },
      ecap: { QI: 0, DT: 0, SMTS: 0, PASID: 0, IRO: 0 },
    };
    const unit = makeUnit(poor);
    const present = [...registerNames(unit.capabilities).values()];
    expect(present).toEqual([
      ..."VER CAP ECAP GCMD GSTS RTADDR CCMD FSTS FECTL FEDATA FEADDR FEUADDR".split(" "),
      ..."FRCD0_LO FRCD0_HI FRCD1_LO FRCD1_HI".split(" "),
    ]);
    for (const { name, offset } of unit.file.registers.filter(
      (register) => !register.present && register.offset > 0x20,
    )) {
      unit.file.write32(offset, 0xffff_ffff);
      expect([name, read(unit, name)]).toEqual([name, 0n]);
    }
    unit.file.write32(GCMD, QIE);
    expect(unit.file.read32(GSTS)).toBe(0);
  });

  test.each<[string, UnitOptions, string, bigint]>([
    [
      "SSIRWE with SSIRWS",
      { ecapRegister: makeCapabilities().ecapRegister | (1n << 57n) },
      "RTADDR",
      0xffff_ffff_ffff_fc80n,
    ],
    ["EIME without EIM", { ecap: { IR: 1 } }, "IRTA", 0xffff_ffff_ffff_f00fn],
    ["high protected memory of a narrow host", { haw: 39 }, "PHMBASE", 0x7f_fff0_0000n],
  ])("knows %s", (_what, options, name, ones) => {
    const unit = makeUnit(options);
    const offset = unit.file.registers.find((register) => register.name === name)?.offset ?? 0;
    unit.file.write64(offset, ONES);
    expect(unit.file.read64(offset)).toBe(ones);
  });

  test("is written by halves, each on its own", () => {
    const dwords = fc.array(fc.tuple(fc.nat({ max: 0x1f }), fc.nat({ max: 0xffff_ffff })), { maxLength: 40 });
    // Storage only, in this order: RTADDR, PHMBASE, PHMLIMIT, IQA, IRTA, PQH, PQT, PQA.
    const offsets = [0x020, 0x070, 0x078, 0x090, 0x0b8, 0x0c0, 0x0c8, 0x0d0];
    fc.assert(
      fc.property(dwords, (writes) => {
        const unit = makeUnit(EVERYTHING);
        const model = new Map(offsets.map((offset) => [offset, 0n]));
        for (const [place, value] of writes) {
          const offset = offsets[place >> 2];
          const high = place & 1;
          const mask = unit.file.registers.find((register) => register.offset === offset)?.readWrite ?? 0n;
          unit.file.write32(offset + 4 * high, value);
          const [low, up] = [(model.get(offset) ?? 0n) & 0xffff_ffffn, (model.get(offset) ?? 0n) >> 32n];
          const next = high ? (BigInt(value) << 32n) | low : (up << 32n) | BigInt(value);
          model.set(offset, next & mask);
        }
        for (const [offset, value] of model) expect(unit.file.read64(offset)).toBe(value);
      }),
    );
  });
});

describe("places", () => {
  test("without a register read as zero and ignore writes", () => {
    const unit = makeUnit(EVERYTHING);
    const taken = new Set(
      unit.file.registers.flatMap(({ offset, width }) => (width === 64 ? [offset, offset + 4] : [offset])),
    );
    const before = unit.file.registers.map(({ name }) => read(unit, name));
    for (let offset = 0; offset < 0x1000; offset += 4) {
      if (taken.has(offset)) continue;
      unit.file.write32(offset, 0xffff_ffff);
      expect([offset, unit.file.read32(offset)]).toEqual([offset, 0]);
    }
    expect(unit.file.registers.map(({ name }) => read(unit, name))).toEqual(before);
    expect(unit.calls).toEqual([]);
  });

  test("of two 32-bit registers are read and written with 64 bits, the lower first", () => {
    const unit = makeUnit();
    unit.file.write64(FECTL + 8, 0x0000_0001_fee0_1004n);
    expect([unit.file.read32(0x040), unit.file.read32(0x044)]).toEqual([0xfee0_1004, 1]);
    expect(unit.file.read64(0x040)).toBe(0x0000_0001_fee0_1004n);
  });

  test.each([1, 2, 3, 0x19, 0x1a, 0x1b])("at %i hold no 32-bit register", (offset) => {
    const { file } = makeUnit();
    for (const access of [() => file.read32(offset), () => file.write32(offset, 0)]) {
      expect(refused("misaligned", access).at).toBe(BigInt(offset));
    }
  });

  test.each([4, 0x1c, 0x34])("at %i hold no 64-bit register", (offset) => {
    const { file } = makeUnit();
    for (const access of [() => file.read64(offset), () => file.write64(offset, 0n)]) {
      expect(refused("misaligned", access).at).toBe(BigInt(offset));
    }
  });

  test.each([-4, 0x1000, 0x1004, 2 ** 40, 0.5, Number.NaN])("at %s lie outside", (offset) => {
    const { file } = makeUnit();
    const accesses = [
      () => file.read32(offset),
      () => file.write32(offset, 0),
      () => file.read64(offset),
      () => file.write64(offset, 0n),
    ];
    for (const access of accesses) expect(refused("invalid", access).message).toContain(`offset ${offset}`);
  });

  test("reach as far as the last register does", () => {
    const { file, faults } = makeUnit({ cap: { FRO: 0x3ff, NFR: 255 } });
    const last = 0x3ff * 16 + 255 * 16;
    for (let i = 0; i < 256; i++)
      faults.record({ reason: 1, sid: i, address: 0n, access: "read", type: "untranslated" });
    expect(file.read64(last + 8) & 0xffffn).toBe(255n);
    refused("invalid", () => file.read32(0x5000));
  });

  test.each([-1, 2 ** 32, 0.5, Number.NaN])("do not take %s", (value) => {
    const { file } = makeUnit();
    expect(refused("invalid", () => file.write32(0x03c, value)).at).toBe(0x03cn);
  });

  test.each([-1n, 1n << 64n])("do not take %s", (value) => {
    const { file } = makeUnit();
    expect(refused("invalid", () => file.write64(RTADDR, value)).at).toBe(BigInt(RTADDR));
  });

  test.each<[string, UnitOptions, string]>([
    ["fault recording registers upon VER", { cap: { FRO: 0 } }, "FRCD0_LO"],
    ["IOTLB registers upon the queue's", { ecap: { IRO: 8 } }, "IVA"],
    ["IOTLB registers upon fault recording registers", { ecap: { IRO: 0x41 } }, "IVA"],
  ])("are not taken twice: %s", (_what, options, name) => {
    expect(refused("invalid", () => makeUnit(options)).message).toContain(name);
  });
});

describe("the Global Command Register", () => {
  test("is write-only and shows in GSTS what it did", () => {
    const unit = makeUnit(EVERYTHING);
    unit.file.write32(GCMD, 0xffff_ffff);
    expect(unit.file.read32(GCMD)).toBe(0);
    // All but WBFS, whose command is done.
    expect(unit.file.read32(GSTS)).toBe(0xf780_0000);
    unit.file.write32(GSTS, 0);
    expect(unit.file.read32(GSTS)).toBe(0xf780_0000);
    unit.file.write32(GCMD, 0);
    expect(unit.file.read32(GSTS)).toBe((SRTP | SIRTP | 0x2000_0000) >>> 0);
  });

  test.each([
    ["TE", TE],
    ["QIE", QIE],
    ["IRE", IRE],
    ["CFI", CFI],
    ["EAFL", 0x1000_0000],
  ])("%s is sticky", (_name, bit) => {
    const unit = makeUnit(EVERYTHING);
    for (const value of [bit, bit, 0, 0]) {
      unit.file.write32(GCMD, value);
      expect(unit.file.read32(GSTS)).toBe(value);
    }
  });

  test.each([
    ["SRTP", SRTP, SRTP],
    ["SFL", 0x2000_0000, 0x2000_0000],
    ["WBF", 0x0800_0000, 0],
    ["SIRTP", SIRTP, SIRTP],
  ])("%s is one-shot", (_name, bit, status) => {
    const unit = makeUnit(EVERYTHING);
    unit.file.write32(GCMD, bit);
    unit.file.write32(GCMD, 0);
    expect(unit.file.read32(GSTS)).toBe(status);
  });

  test.each<[string, UnitOptions, number]>([
    ["QI", { ecap: { QI: 0 } }, QIE],
    ["IR", { ecap: { IR: 0 } }, (IRE | SIRTP | CFI) >>> 0],
    ["AFL", { cap: { AFL: 0 } }, 0x3000_0000],
  ])("has no commands of what the unit lacks: %s", (_what, options, commands) => {
    const unit = makeUnit(options);
    unit.file.write32(GCMD, commands);
    expect(unit.file.read32(GSTS)).toBe(0);
  });

  test("puts RTADDR into force with SRTP and not before", () => {
    const unit = makeUnit();
    unit.file.write64(RTADDR, 0x1234_5400n);
    expect([unit.file.rootTable, unit.rootTables]).toEqual([0n, []]);
    unit.file.write32(GCMD, SRTP);
    expect([unit.file.rootTable, unit.rootTables]).toEqual([0x1234_5400n, [0x1234_5400n]]);
    unit.file.write64(RTADDR, 0x8000n);
    unit.file.write32(GCMD, TE);
    expect([unit.file.rootTable, unit.rootTables.length]).toEqual([0x1234_5400n, 1]);
    expect(unit.file.read64(RTADDR)).toBe(0x8000n);
  });

  test("shows RTPS clear while SRTP is carried out", () => {
    const seen: number[] = [];
    const unit = makeUnit({ cap: { ESRTPS: 1 } });
    const target = unit.calls as unknown as { push: (call: Call) => number };
    target.push = () => seen.push(unit.file.read32(GSTS));
    unit.file.write32(GCMD, SRTP);
    unit.file.write32(GCMD, SRTP);
    expect(seen).toEqual([0, 0, 0, 0, 0, 0]);
    expect(unit.file.read32(GSTS)).toBe(SRTP);
  });

  test("takes a root table and translation in one write, the root table first", () => {
    const order: string[] = [];
    const unit = makeUnit();
    unit.rootTables.push = () => order.push("root table");
    unit.translations.push = () => order.push("translation");
    unit.file.write32(GCMD, (TE | SRTP) >>> 0);
    expect(order).toEqual(["root table", "translation"]);
  });

  test("tells of translation only when it changes", () => {
    const unit = makeUnit();
    for (const value of [0, TE, TE, (TE | QIE) >>> 0, QIE, 0]) unit.file.write32(GCMD, value);
    expect(unit.translations).toEqual([true, false]);
    expect([unit.file.translationEnabled, unit.file.queueEnabled]).toEqual([false, false]);
    unit.file.write32(GCMD, (TE | QIE) >>> 0);
    expect([unit.file.translationEnabled, unit.file.queueEnabled]).toEqual([true, true]);
  });

  const invalidations: readonly (readonly [string, UnitOptions, writes: readonly number[], readonly Call[]])[] = [
    ["SRTP with ESRTPS", { cap: { ESRTPS: 1 } }, [SRTP], GLOBAL_TRANSLATIONS],
    ["SRTP without ESRTPS", { cap: { ESRTPS: 0 } }, [SRTP], []],
    ["TE set", {}, [TE], []],
    ["TE cleared with SMTS", {}, [TE, 0], GLOBAL_TRANSLATIONS],
    ["TE cleared without SMTS", { ecap: { SMTS: 0 } }, [TE, 0], []],
    ["SIRTP with ESIRTPS", { cap: { ESIRTPS: 1 }, ecap: { IR: 1 } }, [SIRTP], [GLOBAL_INTERRUPTS]],
    ["SIRTP without ESIRTPS", { ecap: { IR: 1 } }, [SIRTP], []],
    ["IRE cleared with ESIRTPS", { cap: { ESIRTPS: 1 }, ecap: { IR: 1 } }, [IRE, 0], [GLOBAL_INTERRUPTS]],
    ["IRE cleared without ESIRTPS", { ecap: { IR: 1 } }, [IRE, 0], []],
  ];
  test.each(invalidations)("invalidates: %s", (_what, options, writes, calls) => {
    const unit = makeUnit(options);
    for (const value of writes) unit.file.write32(GCMD, value);
    expect(unit.calls).toEqual(calls);
  });

  test("starts fault recording anew when nothing is remapped any more", () => {
    const unit = makeUnit({ ecap: { IR: 1 } });
    const indexOfNext = () => {
      unit.faults.record({ reason: 1, sid: 0, address: 0n, access: "read", type: "untranslated" });
      const [{ index }] = unit.faults.records;
      unit.faults.clearFault(index);
      return index;
    };
    unit.file.write32(GCMD, (TE | IRE) >>> 0);
    expect([indexOfNext(), indexOfNext()]).toEqual([0, 1]);
    unit.file.write32(GCMD, IRE);
    expect(indexOfNext()).toBe(2);
    unit.file.write32(GCMD, TE);
    expect(indexOfNext()).toBe(3);
    unit.file.write32(GCMD, 0);
    expect(indexOfNext()).toBe(0);
  });
});

describe("invalidation by register", () => {
  const ICC = 1n << 63n;
  const IVT = 1n << 63n;

  test.each<[string, UnitOptions, ccmd: bigint, after: bigint, readonly Call[]]>([
    ["globally", {}, 0xa000_0000_0000_0000n, 0x2800_0000_0000_0000n, [GLOBAL_CONTEXT]],
    [
      "by domain",
      {},
      0xc000_0000_0000_1234n,
      0x5000_0000_0000_1234n,
      [["ContextCache", { granularity: "domain", domain: 0x1234, sid: 0, functionMask: 0 }]],
    ],
    [
      "by device",
      {},
      0xe000_0003_abcd_1234n,
      0x7800_0000_0000_1234n,
      [["ContextCache", { granularity: "device", domain: 0x1234, sid: 0xabcd, functionMask: 3 }]],
    ],
    [
      "by a domain of more bits than there are",
      { cap: { ND: 0 } },
      0xc000_0000_0000_1234n,
      0x5000_0000_0000_1234n,
      [["ContextCache", { granularity: "domain", domain: 4, sid: 0, functionMask: 0 }]],
    ],
    ["with the reserved granularity", {}, 0x8000_0000_0000_0000n, 0n, []],
    ["without ICC", {}, 0x6000_0000_0000_1234n, 0x6000_0000_0000_1234n, []],
    ["in version 6", { version: { major: 6, minor: 0 } }, 0xa000_0000_0000_0000n, 0x2000_0000_0000_0000n, []],
  ])("of the context cache: %s", (_what, options, ccmd, after, calls) => {
    const whole = makeUnit(options);
    whole.file.write64(CCMD, ccmd);
    const halves = makeUnit(options);
    halves.file.write32(CCMD, Number(ccmd & 0xffff_ffffn));
    expect(halves.calls).toEqual([]);
    halves.file.write32(CCMD + 4, Number(ccmd >> 32n));
    for (const unit of [whole, halves]) {
      expect(unit.calls).toEqual(calls);
      expect(unit.file.read64(CCMD)).toBe(after);
    }
  });

  const page = { granularity: "page", domain: 0x1234, address: 0x8000_0000n, addressMask: 9, leafOnly: false };
  const domain = { ...page, granularity: "domain" };
  test.each<[string, UnitOptions, iva: bigint, iotlb: bigint, after: bigint, readonly Call[]]>([
    [
      "globally",
      {},
      0n,
      0x9003_0000_0000_0000n,
      0x1203_0000_0000_0000n,
      [["Iotlb", { granularity: "global", domain: 0, address: 0n, addressMask: 0, leafOnly: false }]],
    ],
    ["by domain", {}, 0x8000_0009n, 0xa000_1234_0000_0000n, 0x2400_1234_0000_0000n, [["Iotlb", domain]]],
    ["by page", {}, 0x8000_0009n, 0xb000_1234_0000_0000n, 0x3600_1234_0000_0000n, [["Iotlb", page]]],
    [
      "by page, hinted",
      {},
      0x8000_0049n,
      0xb000_1234_0000_0000n,
      0x3600_1234_0000_0000n,
      [["Iotlb", { ...page, leafOnly: true }]],
    ],
    [
      "by page, beyond MGAW",
      { cap: { MGAW: 31 } },
      0xffff_ffff_8000_0009n,
      0xb000_1234_0000_0000n,
      0x3600_1234_0000_0000n,
      [["Iotlb", page]],
    ],
    [
      "by page without PSI: coarser",
      { cap: { PSI: 0 } },
      0x8000_0009n,
      0xb000_1234_0000_0000n,
      0x3400_1234_0000_0000n,
      [["Iotlb", domain]],
    ],
    ["by page beyond MAMV", { cap: { MAMV: 8 } }, 0x9n, 0xb000_1234_0000_0000n, 0x3000_1234_0000_0000n, []],
    ["with the reserved granularity", {}, 0n, 0x8000_1234_0000_0000n, 0x1234_0000_0000n, []],
    ["without IVT", {}, 0n, 0x3000_1234_0000_0000n, 0x3000_1234_0000_0000n, []],
    ["in version 6", { version: { major: 6, minor: 0 } }, 0n, 0x9000_0000_0000_0000n, 0x1000_0000_0000_0000n, []],
  ])("of the IOTLB: %s", (_what, options, iva, iotlb, after, calls) => {
    const unit = makeUnit(options);
    unit.file.write64(IVA, iva);
    expect(unit.file.read64(IVA)).toBe(0n);
    unit.file.write64(IOTLB, iotlb);
    expect(unit.calls).toEqual(calls);
    expect(unit.file.read64(IOTLB)).toBe(after);
  });

  test.each<[string, (unit: Unit) => void]>([
    ["while the queue is enabled", ({ file }) => file.write32(GCMD, QIE)],
    [
      "in scalable mode",
      ({ file }) => {
        file.write64(RTADDR, 0x400n);
        file.write32(GCMD, SRTP);
      },
    ],
  ])("is an incorrect request %s", (_what, prepare) => {
    const unit = makeUnit();
    unit.file.write64(CCMD, ICC | (1n << 61n));
    unit.file.write64(IOTLB, IVT | (1n << 60n));
    expect([unit.file.read64(CCMD), unit.file.read64(IOTLB)]).toEqual([5n << 59n, 9n << 57n]);
    prepare(unit);
    unit.calls.length = 0;
    unit.file.write64(CCMD, ICC | (1n << 61n));
    unit.file.write64(IOTLB, IVT | (1n << 60n));
    expect(unit.calls).toEqual([]);
    expect([unit.file.read64(CCMD), unit.file.read64(IOTLB)]).toEqual([1n << 61n, 1n << 60n]);
  });

  test("goes by the mode in force, not by what RTADDR holds", () => {
    const unit = makeUnit();
    unit.file.write64(RTADDR, 0x400n);
    unit.file.write64(CCMD, ICC | (1n << 61n));
    expect(unit.calls).toEqual([GLOBAL_CONTEXT]);
  });
});

describe("faults by register", () => {
  const FAULT = { reason: 0x05, sid: 0x0010, address: 0x1000n, access: "read", type: "untranslated" } as const;
  const RECORD = 0xc000_0005_0000_0010n;

  test("are read from their registers, whole and by halves", () => {
    const unit = makeUnit();
    unit.faults.record(FAULT);
    unit.faults.record({ ...FAULT, sid: 0x0020 });
    expect([unit.file.read64(FRCD), unit.file.read64(FRCD + 8)]).toEqual([0x1000n, RECORD]);
    expect([0, 4, 8, 12].map((at) => unit.file.read32(FRCD + at))).toEqual([0x1000, 0, 0x10, 0xc000_0005]);
    expect(unit.file.read64(FRCD + 24) & 0xffffn).toBe(0x0020n);
    expect(unit.file.read32(FSTS)).toBe(2);
  });

  test.each<[string, (unit: Unit) => void, cleared: boolean]>([
    ["F in the last dword", ({ file }) => file.write32(FRCD + 12, 0x8000_0000), true],
    ["F in the upper half", ({ file }) => file.write64(FRCD + 8, 1n << 63n), true],
    ["all but F in the last dword", ({ file }) => file.write32(FRCD + 12, 0x7fff_ffff), false],
    ["all of the third dword", ({ file }) => file.write32(FRCD + 8, 0xffff_ffff), false],
    ["all of the lower half", ({ file }) => file.write64(FRCD, ONES), false],
    ["zeros", ({ file }) => file.write64(FRCD + 8, 0n), false],
    ["F of the next register", ({ file }) => file.write32(FRCD + 28, 0x8000_0000), false],
  ])("are cleared or not by %s", (_what, write, cleared) => {
    const unit = makeUnit();
    unit.faults.record(FAULT);
    write(unit);
    expect(unit.file.read64(FRCD + 8)).toBe(cleared ? RECORD & ~(1n << 63n) : RECORD);
    expect([unit.file.read64(FRCD), unit.file.read32(FSTS)]).toEqual([0x1000n, cleared ? 0 : 2]);
  });

  test("overflow is cleared in FSTS, what is read-only there is not", () => {
    const unit = makeUnit({ cap: { NFR: 0 } });
    unit.faults.record(FAULT);
    unit.faults.record(FAULT);
    expect(unit.file.read32(FSTS)).toBe(3);
    unit.file.write32(FSTS, 0xffff_fffe);
    expect(unit.file.read32(FSTS)).toBe(3);
    unit.file.write32(FSTS, 0xffff_ffff);
    expect(unit.file.read32(FSTS)).toBe(2);
  });

  test("send the message that the event registers hold", () => {
    const unit = makeUnit();
    unit.faults.record(FAULT);
    unit.file.write32(0x03c, 0x4021);
    unit.file.write32(0x040, 0xfee0_1000);
    unit.file.write32(0x044, 0x7);
    expect([unit.file.read32(FECTL), unit.messages]).toEqual([0xc000_0000, []]);
    unit.file.write32(FECTL, 0);
    expect(unit.messages).toEqual([{ address: 0x7_fee0_1000n, data: 0x4021, cause: "fault" }]);
    expect(unit.file.read32(FECTL)).toBe(0);
  });
});

describe("protected memory", () => {
  test("is on as soon as it is enabled", () => {
    const unit = makeUnit();
    unit.file.write32(PMEN, 0x7fff_ffff);
    expect(unit.file.read32(PMEN)).toBe(0);
    unit.file.write32(PMEN, 0x8000_0000);
    expect(unit.file.read32(PMEN)).toBe(0x8000_0001);
    unit.file.write32(PMEN, 1);
    expect(unit.file.read32(PMEN)).toBe(0);
  });
});

describe("the queue by register", () => {
  /** As Linux brings a unit up in scalable mode: queue, root table, global invalidations, translation. */
  test("serves a driver that brings a unit up", () => {
    const unit = makeUnit();
    const { file, memory } = unit;
    const BASE = 0x10_0000n;
    const STATUS = 0x20_0000n;
    file.write32(FECTL, 0);
    file.write64(IQT, 0n);
    file.write64(IQA, BASE | 0x800n);
    file.write32(GCMD, QIE);
    expect(file.read32(GSTS)).toBe(QIE);
    file.write64(RTADDR, 0x7f_5400n);
    file.write32(GCMD, (QIE | SRTP) >>> 0);
    let tail = 0n;
    for (const [index, first] of [0x11n, 0x37n, 0x12n].entries()) {
      memory.write64(BASE + tail, first);
      memory.write64(BASE + tail + 32n, 0x2_0000_0025n);
      memory.write64(BASE + tail + 40n, STATUS + BigInt(4 * index));
      tail += 64n;
      file.write64(IQT, tail);
      expect(file.read64(0x080)).toBe(tail);
    }
    file.write32(GCMD, (TE | QIE) >>> 0);
    expect(file.read32(GSTS)).toBe((TE | SRTP | QIE) >>> 0);
    expect(unit.calls).toEqual(GLOBAL_TRANSLATIONS);
    expect([memory.read64(STATUS), memory.read64(STATUS + 8n)]).toEqual([0x2_0000_0002n, 2n]);
    expect([unit.rootTables, unit.translations, unit.messages]).toEqual([[0x7f_5400n], [true], []]);
  });

  test("goes on when FSTS is cleared, and ends when QIE is", () => {
    const unit = makeUnit();
    const { file, memory } = unit;
    memory.write64(0x1000n, 0xfn);
    memory.write64(0x1010n, 0x12n);
    file.write64(IQA, 0x1000n);
    file.write32(GCMD, QIE);
    file.write64(IQT, 32n);
    expect([file.read32(FSTS), file.read64(0x0b0), file.read64(0x080)]).toEqual([0x10, 3n, 0n]);
    memory.write64(0x1000n, 0x11n);
    file.write32(FSTS, 0x01);
    expect(unit.calls).toEqual([]);
    file.write32(FSTS, 0x10);
    expect([file.read32(FSTS), file.read64(0x080), unit.calls.length]).toEqual([0, 32n, 2]);
    file.write32(GCMD, 0);
    expect([file.read64(0x080), file.read64(IQT), file.read32(GSTS)]).toEqual([0n, 32n, 0]);
  });

  test("completes with an interrupt", () => {
    const unit = makeUnit();
    const { file, memory } = unit;
    memory.write64(0x1000n, 0x15n);
    file.write64(IQA, 0x1000n);
    file.write32(0x0a4, 0x31);
    file.write32(0x0a8, 0xfee0_0000);
    file.write32(IECTL, 0);
    file.write32(GCMD, QIE);
    file.write64(IQT, 16n);
    expect(unit.messages).toEqual([{ address: 0xfee0_0000n, data: 0x31, cause: "invalidation-complete" }]);
    expect(file.read32(ICS)).toBe(1);
    file.write32(ICS, 0);
    expect(file.read32(ICS)).toBe(1);
    file.write32(ICS, 1);
    expect(file.read32(ICS)).toBe(0);
  });
});

describe("registers taken over", () => {
  /** Of a unit of QEMU 11 under Linux in scalable mode. */
  const CAP_REGISTER = 0x80d2_008c_222f_0606n;
  const ECAP_REGISTER = 0x0000_4800_80f0_0f4an;
  const dumped: UnitOptions = {
    capRegister: CAP_REGISTER,
    ecapRegister: ECAP_REGISTER,
    version: { major: 1, minor: 0 },
  };
  const VALUES: Readonly<Record<string, bigint>> = {
    VER: 0x10n,
    CAP: CAP_REGISTER,
    ECAP: ECAP_REGISTER,
    GCMD: 0n,
    GSTS: 0xc700_0000n,
    RTADDR: 0x7f_5400n,
    CCMD: 0n,
    FSTS: 0n,
    FECTL: 0n,
    FEDATA: 0x20n,
    FEADDR: 0xfee0_0000n,
    PMEN: 0n,
    IQH: 0x700n,
    IQT: 0x700n,
    IQA: 0x41_8801n,
    ICS: 0n,
    IECTL: 0x8000_0000n,
    IRTA: 0x50_000fn,
    PQA: 0n,
    FRCD0_LO: 0n,
    FRCD0_HI: 0n,
  };
  const values = (changes: Readonly<Record<string, bigint>> = {}) => new Map(Object.entries({ ...VALUES, ...changes }));

  test("read as they did there", () => {
    const unit = makeUnit(dumped);
    unit.file.restore(values());
    for (const [name, value] of values()) expect([name, read(unit, name)]).toEqual([name, value]);
  });

  test("are in force, and nothing follows from them", () => {
    const unit = makeUnit(dumped);
    unit.memory.write64(0x41_8000n + 0x700n, 0x37n);
    unit.file.restore(values({ IQT: 0x720n, FECTL: 0x4000_0000n }));
    expect([unit.file.rootTable, unit.file.translationEnabled, unit.file.queueEnabled]).toEqual([
      0x7f_5400n,
      true,
      true,
    ]);
    expect([unit.calls, unit.messages, unit.rootTables, unit.translations]).toEqual([[], [], [], []]);
    expect(unit.file.read64(0x080)).toBe(0x700n);

    unit.file.write64(IQT, 0x720n);
    expect([unit.calls, unit.file.read64(0x080), unit.file.read32(FSTS)]).toEqual([
      [["PasidCache", { granularity: "global", domain: 0, pasid: 0 }]],
      0x720n,
      0,
    ]);
  });

  test("bring pending faults along", () => {
    const unit = makeUnit(dumped);
    unit.file.restore(values({ FSTS: 0x2n, FRCD0_LO: 0x5000n, FRCD0_HI: 0xc000_0005_0000_0010n }));
    expect(unit.faults.records).toEqual([
      { index: 0, reason: 5, sid: 0x10, address: 0x5000n, access: "read", type: "untranslated" },
    ]);
    expect(unit.file.read32(FSTS)).toBe(2);
    expect(unit.faults.record({ reason: 6, sid: 0, address: 0n, access: "read", type: "untranslated" })).toBe(
      "dropped",
    );
  });

  test("leave RTADDR out of force when no root table was set", () => {
    const unit = makeUnit(dumped);
    unit.file.restore(values({ GSTS: 0n }));
    expect([unit.file.rootTable, unit.file.read64(RTADDR)]).toEqual([0n, 0x7f_5400n]);
  });

  test("put an RTADDR of before into force when only GSTS is given", () => {
    const unit = makeUnit(dumped);
    unit.file.write64(RTADDR, 0x9400n);
    unit.file.restore(new Map([["GSTS", 0x8000_0000n]]));
    expect(unit.file.rootTable).toBe(0x9400n);
  });

  test("do not include commands, which cannot be read", () => {
    const unit = makeUnit(dumped);
    unit.file.restore(values({ GCMD: 0xffff_ffffn }));
    unit.file.write32(GCMD, (TE | QIE | IRE) >>> 0);
    expect(unit.file.read32(GSTS)).toBe(0xc700_0000);
  });

  test("of page requests are cleared by ones", () => {
    const unit = makeUnit(EVERYTHING);
    unit.file.restore(new Map([["PRS", 3n]]));
    unit.file.write32(0x0dc, 1);
    expect(unit.file.read32(0x0dc)).toBe(2);
  });

  test("of a queue that the unit lacks are ignored", () => {
    const unit = makeUnit({ ecap: { QI: 0 } });
    const before = unit.queue.registers;
    unit.file.restore(
      new Map([
        ["IQT", 0x20n],
        ["IQA", 0x1000n],
        ["IQH", 0x10n],
      ]),
    );
    expect(unit.queue.registers).toEqual(before);
  });

  test("of what the unit lacks are ignored", () => {
    const unit = makeUnit(dumped);
    unit.file.restore(values({ PQA: 0x1000n, PECTL: 0x8000_0000n }));
    expect([unit.file.read64(0x0d0), unit.file.read32(0x0e0)]).toEqual([0n, 0]);
  });

  test.each([
    ["an unknown name", { MMIO_BASE: 0xfed9_0000n }, "MMIO_BASE"],
    ["a fault recording register too many", { FRCD1_LO: 0n }, "FRCD1_LO"],
    ["a value too wide", { FSTS: 1n << 32n }, "FSTS"],
    ["a negative value", { RTADDR: -1n }, "RTADDR"],
    ["another version", { VER: 0x20n }, "VER"],
    ["other capabilities", { CAP: CAP_REGISTER ^ 1n }, "CAP"],
    ["other extended capabilities", { ECAP: ECAP_REGISTER ^ 1n }, "ECAP"],
  ])("are refused, and nothing is changed, for %s", (_what, changes, name) => {
    const unit = makeUnit(dumped);
    const before = unit.file.registers.map((register) => read(unit, register.name));
    expect(refused("invalid", () => unit.file.restore(values(changes as Record<string, bigint>))).message).toContain(
      name,
    );
    expect(unit.file.registers.map((register) => read(unit, register.name))).toEqual(before);
    expect(unit.file.rootTable).toBe(0n);
  });
});
