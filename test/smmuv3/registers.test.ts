/** The register file: access rules of every register, what enables guard, and taking over registers of another unit. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { EVENT } from "../../src/smmuv3/events.js";
import { type IdentificationRegister, makeIdentification } from "../../src/smmuv3/identification.js";
import { describeRegisters, REGISTER_BYTES, registerNames } from "../../src/smmuv3/register-map.js";
import { refused } from "../support/errors.js";
import { AT, EN, makeUnit, type Unit, type UnitOptions } from "./register-support.js";

/** A unit with every register that can exist. */
const EVERYTHING: UnitOptions = { idr0: { PRI: 1, VMW: 1 } };
const ONES = 0xffff_ffff_ffff_ffffn;

/** Reads a register whole, whatever its width. */
function read(unit: Unit, name: string): bigint {
  const register = unit.file.registers.find((candidate) => candidate.name === name);
  if (!register) throw new Error(`no register ${name}`);
  return register.width === 64 ? unit.file.read64(register.offset) : BigInt(unit.file.read32(register.offset));
}

function write(unit: Unit, name: string, value: bigint): void {
  const register = unit.file.registers.find((candidate) => candidate.name === name);
  if (!register) throw new Error(`no register ${name}`);
  if (register.width === 64) unit.file.write64(register.offset, value);
  else unit.file.write32(register.offset, Number(BigInt.asUintN(32, value)));
}

const { registers: IDENTIFICATION } = makeIdentification(EVERYTHING);
const BASE_ONES = 0x4000_ffff_ffff_ffe0n | 0x1fn;
const MESSAGE = 0x0000_ffff_ffff_fffcn;

describe("every register", () => {
  /** Offset, name, value after reset, and value after all ones were written. */
  const table: readonly (readonly [offset: number, name: string, reset: bigint, ones: bigint])[] = [
    ...(Object.entries(IDENTIFICATION) as [IdentificationRegister, bigint][]).map(
      ([name, value], i) => [4 * i, name, value, value] as const,
    ),
    [0x020, "CR0", 0n, 0x1dfn],
    [0x024, "CR0ACK", 0n, 0n],
    [0x028, "CR1", 0n, 0xfffn],
    [0x02c, "CR2", 0n, 0xfn],
    [0x040, "STATUSR", 0n, 0n],
    [0x044, "GBPA", 0x1000n, 0x1f_3f1fn],
    [0x050, "IRQ_CTRL", 0n, 0x7n],
    [0x054, "IRQ_CTRLACK", 0n, 0n],
    [0x060, "GERROR", 0n, 0n],
    [0x064, "GERRORN", 0n, 0x1fdn],
    [0x068, "GERROR_IRQ_CFG0", 0n, MESSAGE],
    [0x070, "GERROR_IRQ_CFG1", 0n, 0xffff_ffffn],
    [0x074, "GERROR_IRQ_CFG2", 0n, 0x3fn],
    [0x080, "STRTAB_BASE", 0n, 0x4000_ffff_ffff_ffc0n],
    [0x088, "STRTAB_BASE_CFG", 0n, 0x3_07ffn],
    [0x090, "CMDQ_BASE", 0n, BASE_ONES],
    [0x098, "CMDQ_PROD", 0n, 0xf_ffffn],
    [0x09c, "CMDQ_CONS", 0n, 0xf_ffffn],
    [0x0a0, "EVENTQ_BASE", 0n, BASE_ONES],
    [0x0b0, "EVENTQ_IRQ_CFG0", 0n, MESSAGE],
    [0x0b8, "EVENTQ_IRQ_CFG1", 0n, 0xffff_ffffn],
    [0x0bc, "EVENTQ_IRQ_CFG2", 0n, 0x3fn],
    [0x0c0, "PRIQ_BASE", 0n, BASE_ONES],
    [0x0d0, "PRIQ_IRQ_CFG0", 0n, MESSAGE],
    [0x0d8, "PRIQ_IRQ_CFG1", 0n, 0xffff_ffffn],
    [0x0dc, "PRIQ_IRQ_CFG2", 0n, 0x8000_003fn],
    [0x100a8, "EVENTQ_PROD", 0n, 0x800f_ffffn],
    [0x100ac, "EVENTQ_CONS", 0n, 0x800f_ffffn],
    [0x100c8, "PRIQ_PROD", 0n, 0x800f_ffffn],
    [0x100cc, "PRIQ_CONS", 0n, 0x800f_ffffn],
  ];

  test("is in the map", () => {
    const names = [...registerNames(makeIdentification(EVERYTHING))].sort(([a], [b]) => a - b);
    expect(names).toEqual(table.map(([offset, name]) => [offset, name]));
  });

  test.each(table)("at %i: %s, as it should be after reset", (_offset, name, reset) => {
    expect(read(makeUnit(EVERYTHING), name)).toBe(reset);
  });

  test.each(table)("at %i: %s keeps what may be written", (offset, name, reset, ones) => {
    const whole = makeUnit(EVERYTHING);
    const halves = makeUnit(EVERYTHING);
    const { width } = describeRegisters(halves.identification).find((entry) => entry.name === name) ?? { width: 0 };
    if (width === 64) {
      whole.file.write64(offset, ONES);
      halves.file.write32(offset + 4, 0xffff_ffff);
      expect(halves.file.read32(offset + 4)).toBe(Number(ones >> 32n));
    } else whole.file.write32(offset, 0xffff_ffff);
    halves.file.write32(offset, 0xffff_ffff);
    for (const unit of [whole, halves]) expect(read(unit, name)).toBe(ones);

    // What sticks can be cleared again.
    write(whole, name, name === "GBPA" ? 1n << 31n : 0n);
    expect(read(whole, name)).toBe(ones === reset ? reset : 0n);
  });

  /** Registers, the enable bit that guards them, and the bits that it guards. */
  const guarded: readonly (readonly [string, enable: "CR0" | "IRQ_CTRL", bit: number, bits: bigint])[] = [
    ["CR1", "CR0", EN.SMMU, 0xfc0n],
    ["CR1", "CR0", EN.CMDQ, 0x3fn],
    ["CR1", "CR0", EN.EVENTQ, 0x3fn],
    ["CR1", "CR0", EN.PRIQ, 0x3fn],
    ["CR2", "CR0", EN.SMMU, ONES],
    ["STRTAB_BASE", "CR0", EN.SMMU, ONES],
    ["STRTAB_BASE_CFG", "CR0", EN.SMMU, ONES],
    ["CMDQ_BASE", "CR0", EN.CMDQ, ONES],
    ["CMDQ_CONS", "CR0", EN.CMDQ, ONES],
    ["EVENTQ_BASE", "CR0", EN.EVENTQ, ONES],
    ["EVENTQ_PROD", "CR0", EN.EVENTQ, ONES],
    ["PRIQ_BASE", "CR0", EN.PRIQ, ONES],
    ["PRIQ_PROD", "CR0", EN.PRIQ, ONES],
    ...(["GERROR", "PRIQ", "EVENTQ"] as const).flatMap((source, bit) =>
      [0, 1, 2].map((n) => [`${source}_IRQ_CFG${n}`, "IRQ_CTRL", 1 << bit, ONES] as const),
    ),
  ];
  test.each(guarded)("%s: %s bit %i guards it", (name, enable, bit, bits) => {
    const every = enable === "CR0" ? 0xf : 0x7;
    const enabled = makeUnit(EVERYTHING);
    write(enabled, enable, BigInt(bit));
    write(enabled, name, ONES);
    const writable = table.find(([, row]) => row === name)?.[3] ?? 0n;
    expect(read(enabled, name)).toBe(writable & ~bits);
    write(enabled, enable, 0n);
    write(enabled, name, ONES);
    expect(read(enabled, name)).toBe(writable);
    write(enabled, enable, BigInt(bit));
    write(enabled, name, 0n);
    // An enabled Command queue adds its error to CMDQ_CONS: there are no commands where it reads.
    expect(read(enabled, name) & writable).toBe(writable & bits);

    // Other enables leave those bits alone.
    const others = makeUnit(EVERYTHING);
    const otherBits = guarded
      .filter(([row, , , mask]) => row === name && (mask & bits) !== 0n)
      .reduce((left, [, , used]) => left & ~used, every);
    write(others, enable, BigInt(otherBits));
    write(others, name, bits);
    expect(read(others, name)).toBe(writable & bits);
  });

  test("that no enable guards can be written at any time", () => {
    const names = new Set(guarded.map(([name]) => name));
    for (const [, name, , ones] of table.filter(([, row]) => !names.has(row) && !row.startsWith("CMDQ"))) {
      const unit = makeUnit(EVERYTHING);
      write(unit, "IRQ_CTRL", 0x7n);
      write(unit, "CR0", 0xfn);
      write(unit, name, ONES);
      const mirrored = { CR0ACK: 0xfn, IRQ_CTRLACK: 0x7n }[name];
      expect([name, read(unit, name)]).toEqual([name, mirrored ?? ones]);
    }
  });

  test("is reserved where the unit lacks what it is for", () => {
    const unit = makeUnit({ idr0: { MSI: 0, PRI: 0 } });
    const missing = unit.file.registers.filter(({ present }) => !present).map(({ name }) => name);
    expect(missing.sort()).toEqual(
      [
        ...["EVENTQ", "GERROR", "PRIQ"].flatMap((source) => [0, 1, 2].map((n) => `${source}_IRQ_CFG${n}`)),
        ...["PRIQ_BASE", "PRIQ_CONS", "PRIQ_PROD"],
      ].sort(),
    );
    for (const name of missing) {
      write(unit, name, ONES);
      expect([name, read(unit, name)]).toEqual([name, 0n]);
    }
  });

  const poor: readonly (readonly [string, UnitOptions, name: string, bits: bigint])[] = [
    ["PRI", { idr0: { PRI: 0 } }, "CR0", 0xdn],
    ["ATS", { idr0: { ATS: 0, PRI: 1 } }, "CR0", 0xfn],
    ["VMID wildcards", { idr0: { ATS: 0, VMW: 0 } }, "CR0", 0xdn],
    ["EL2", { idr0: { Hyp: 0 } }, "CR2", 0xen],
    ["records of ATS errors", { idr0: { ATSRECERR: 0 } }, "CR2", 0x7n],
    ["2-level stream tables", { idr0: { ST_LEVEL: 0 } }, "STRTAB_BASE_CFG", 0x3fn],
    ["a stream table of its own choice", { idr1: { TABLES_PRESET: 1 } }, "STRTAB_BASE", 0n],
    ["queues of its own choice", { idr1: { QUEUES_PRESET: 1 } }, "CMDQ_BASE", 0n],
    ["attributes of its own choice", { idr1: { QUEUES_PRESET: 1, TABLES_PRESET: 1 } }, "CR1", 0n],
    ["more than 32 address bits", { idr5: { OAS: 0 } }, "STRTAB_BASE", 0x4000_0000_ffff_ffc0n],
    ["MSIs", { idr0: { MSI: 0, PRI: 1 } }, "PRIQ_IRQ_CFG2", 0x8000_0000n],
    ["MSIs and PRI", { idr0: { MSI: 0 } }, "GERRORN", 0x105n],
    ["PRI", { idr0: { PRI: 0 } }, "IRQ_CTRL", 0x5n],
  ];
  test.each(poor)("of a unit without %s lacks fields", (_what, options, name, bits) => {
    const unit = makeUnit({ ...options, idr0: { ATS: name === "CR0" ? 0 : 1, ...options.idr0 } });
    write(unit, name, ONES);
    expect(read(unit, name)).toBe(bits);
  });
});

describe("SMMU_CR0", () => {
  test("is mirrored by CR0ACK, and IRQ_CTRL by IRQ_CTRLACK", () => {
    const unit = makeUnit();
    unit.file.write32(AT.CR0, 0xffff_ffff);
    unit.file.write32(AT.IRQ_CTRL, 0xffff_ffff);
    expect([AT.CR0ACK, AT.IRQ_CTRLACK].map((offset) => unit.file.read32(offset))).toEqual([0x1d, 0x5]);
  });

  test("enables translation", () => {
    const unit = makeUnit();
    const write = (value: number) => unit.file.write32(AT.CR0, value);
    write(EN.SMMU);
    write(EN.SMMU | EN.EVENTQ | 0x10);
    expect([unit.file.translationEnabled, unit.file.atsChecked]).toEqual([true, true]);
    write(0);
    expect([unit.file.translationEnabled, unit.file.atsChecked]).toEqual([false, false]);
    expect(unit.translations).toEqual([true, false]);
  });

  test("lets commands be processed after everything else", () => {
    const unit = makeUnit();
    unit.file.write64(AT.CMDQ_BASE, 0x10_0000n);
    unit.memory.write64(0x10_0000n, 0x40n);
    unit.file.write32(AT.CMDQ_PROD, 1);
    unit.file.write32(AT.CR0, EN.CMDQ | EN.SMMU);
    expect(unit.calls.map(([method]) => method)).toEqual(["Atc"]);
  });
});

describe("what a unit asks of its registers", () => {
  test("is what SMMU_CR2 and SMMU_GBPA say", () => {
    const unit = makeUnit();
    const answers = () => {
      const { e2h, recordsInvalidStreamIds, recordsAtsConfigurationErrors, bypassAborts } = unit.file;
      return [e2h, recordsInvalidStreamIds, recordsAtsConfigurationErrors, bypassAborts];
    };
    expect(answers()).toEqual([false, false, false, false]);
    for (const [bit, expected] of [
      [1, [true, false, false, false]],
      [2, [false, true, false, false]],
      [8, [false, false, true, false]],
    ] as const) {
      unit.file.write32(AT.CR2, bit);
      expect(answers()).toEqual(expected);
    }
    unit.file.write32(AT.GBPA, 0x8010_0000);
    expect(answers()).toEqual([false, false, true, true]);
  });

  test("is where the stream table lies", () => {
    const unit = makeUnit({ idr1: { SIDSIZE: 12 } });
    const table = (base: bigint, configuration: number) => {
      unit.file.write64(AT.STRTAB_BASE, base);
      unit.file.write32(AT.STRTAB_BASE_CFG, configuration);
      return unit.file.streamTable;
    };
    const BASE = 0x4000_1234_5678_9ac0n;
    const address = 0x1234_5678_9ac0n;
    expect(table(BASE, 5)).toEqual({ address, format: "linear", log2Size: 5, split: 6 });
    expect(table(BASE, 0x1_0208)).toEqual({ address, format: "2-level", log2Size: 8, split: 8 });
    expect(table(BASE, 0x1_0290)).toEqual({ address, format: "2-level", log2Size: 12, split: 10 });
    // Reserved values of FMT and SPLIT.
    expect(table(BASE, 0x2_01c3)).toEqual({ address, format: "linear", log2Size: 3, split: 6 });
  });
});

describe("SMMU_GBPA", () => {
  test.each([
    [0x8010_0000, 0x0010_0000],
    [0x0010_0000, 0x1000],
    [0x9fff_ffff, 0x001f_3f1f],
  ])("takes %i only with Update", (written, expected) => {
    const unit = makeUnit();
    unit.file.write32(AT.GBPA, written);
    expect(unit.file.read32(AT.GBPA)).toBe(expected);
  });
});

describe("an access", () => {
  const wrong: readonly (readonly ["invalid" | "misaligned", string, (unit: Unit) => void, RegExp])[] = [
    ["misaligned", "32 bits at 2", ({ file }) => file.read32(2), /read 32 bits.*misaligned at 0x2/],
    ["misaligned", "64 bits at 4", ({ file }) => file.read64(4), /read 64 bits.*0x4/],
    ["misaligned", "64 bits written at 12", ({ file }) => file.write64(12, 0n), /write 64 bits.*0xc/],
    ["invalid", "the end", ({ file }) => file.read32(REGISTER_BYTES), /offset 131072.*0x20000 bytes/],
    ["invalid", "beyond the end", ({ file }) => file.write64(REGISTER_BYTES, 0n), /offset 131072/],
    ["invalid", "before the beginning", ({ file }) => file.read32(-4), /offset -4/],
    ["invalid", "half an offset", ({ file }) => file.read32(1.5), /offset 1.5/],
    ["invalid", "33 bits", ({ file }) => file.write32(AT.CR1, 2 ** 32), /4294967296.*not a 32-bit value/],
    ["invalid", "a negative value", ({ file }) => file.write32(AT.CR1, -1), /-1.*not a 32-bit value/],
    ["invalid", "65 bits", ({ file }) => file.write64(AT.STRTAB_BASE, 1n << 64n), /not a 64-bit value/],
  ];
  test.each(wrong)("is refused as %s: %s", (code, _what, access, message) => {
    const unit = makeUnit();
    expect(refused(code, () => access(unit)).message).toMatch(message);
    expect([read(unit, "CR1"), read(unit, "STRTAB_BASE")]).toEqual([0n, 0n]);
  });

  test("of 64 bits reaches both of two registers", () => {
    const unit = makeUnit();
    unit.file.write64(AT.CR1, 0x2_0000_0abcn);
    expect([read(unit, "CR1"), read(unit, "CR2")]).toEqual([0xabcn, 2n]);
    expect(unit.file.read64(AT.CR1)).toBe(0x2_0000_0abcn);
  });

  test("of a reserved place reads zero and changes nothing", () => {
    const unit = makeUnit(EVERYTHING);
    const places = fc.integer({ min: 0, max: REGISTER_BYTES / 4 - 1 }).map((dword) => 4 * dword);
    const taken = new Set(
      unit.file.registers.flatMap(({ offset, width }) => (width === 64 ? [offset, offset + 4] : [offset])),
    );
    fc.assert(
      fc.property(places, (offset) => {
        fc.pre(!taken.has(offset));
        unit.file.write32(offset, 0xffff_ffff);
        expect(unit.file.read32(offset)).toBe(0);
      }),
    );
  });
});

describe("registers of another unit", () => {
  const dump = JSON.parse(
    readFileSync(new URL("../fixtures/dumps/smmuv3-s1-7.2-vfio/tables.json", import.meta.url), "utf8"),
  ) as { regs: Readonly<Record<string, string>> };
  const { MMIO_BASE: _base, ...regs } = dump.regs;
  const values = new Map(Object.entries(regs).map(([name, value]) => [name, BigInt(value)]));
  const registers = Object.fromEntries([...values].filter(([name]) => name in IDENTIFICATION));

  test("are taken over as they were dumped", () => {
    const unit = makeUnit({ registers });
    unit.file.restore(values);
    for (const [name, value] of values) expect([name, read(unit, name)]).toEqual([name, value]);
    expect(unit.file.translationEnabled).toBe(true);
    expect(unit.file.streamTable).toEqual({ address: 0x48bd_c000n, format: "2-level", log2Size: 16, split: 8 });
    expect([unit.calls, unit.interrupts, unit.translations]).toEqual([[], [], []]);
  });

  test("go on where they stood", () => {
    const unit = makeUnit({ registers });
    unit.file.restore(
      new Map([...values, ["CMDQ_BASE", 0x10_0004n], ["CMDQ_PROD", 0x13n], ["CMDQ_CONS", 0x0100_0012n]]),
    );
    unit.file.restore(new Map([["EVENTQ_BASE", 0x20_0002n]]));
    expect([unit.calls, unit.file.read32(AT.CMDQ_CONS)]).toEqual([[], 0x0100_0012]);
    unit.memory.write64(0x10_0020n, 0x30n);
    unit.memory.write64(0x10_0030n, 0x46n);
    unit.file.write32(AT.CMDQ_PROD, 0x14);
    expect(unit.calls.map(([method]) => method)).toEqual(["Tlb"]);
    expect(unit.eventQueue.record({ code: EVENT.C_BAD_STE, sid: 1 })).toBe("recorded");
    expect(unit.memory.read64(0x20_0000n)).toBe(0x1_0000_0004n);
  });

  test("send and process nothing, even behind an error", () => {
    const unit = makeUnit();
    unit.file.restore(
      new Map([
        ["CR0", 0xdn],
        ["IRQ_CTRL", 0x5n],
        ["GERROR", 0x1n],
        ["CMDQ_PROD", 1n],
        ["EVENTQ_PROD", 0x8000_0003n],
        ["EVENTQ_CONS", 0x2n],
        ["EVENTQ_IRQ_CFG0", 0x0808_0000n],
        ["EVENTQ_IRQ_CFG1", 0x7n],
      ]),
    );
    expect([unit.calls, unit.interrupts, unit.file.read32(AT.CMDQ_CONS)]).toEqual([[], [], 0]);
    expect(unit.file.read32(AT.EVENTQ_PROD)).toBe(0x8000_0003);
    expect(unit.notifications.messages.EVENTQ).toEqual({ address: 0x0808_0000n, data: 7 });
    expect(unit.notifications.isActive("CMDQ_ERR")).toBe(true);
  });

  test("that mirror others, or that the unit lacks, are left out", () => {
    const unit = makeUnit();
    unit.file.restore(
      new Map([
        ["CR0", 0x1n],
        ["CR0ACK", 0xdn],
        ["PRIQ_BASE", 0x1000n],
      ]),
    );
    expect([read(unit, "CR0ACK"), read(unit, "PRIQ_BASE")]).toEqual([1n, 0n]);
  });

  test.each([
    ["a name that no unit has", "MMIO_BASE", 0n, /MMIO_BASE.*no such register/],
    ["a value too wide", "CR0", 1n << 32n, /CR0.*32 bits/],
    ["another unit's identification", "IDR1", 0n, /IDR1.*this unit has 0xe739d10/],
  ])("are refused: %s", (_what, name, value, message) => {
    const unit = makeUnit();
    const values = new Map([
      ["CR1", 0x55n],
      [name, value],
    ]);
    expect(refused("invalid", () => unit.file.restore(values)).message).toMatch(message);
    expect(read(unit, "CR1")).toBe(0n);
  });
});
