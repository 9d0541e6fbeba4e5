/** The identification registers: defaults, values as read from hardware, what follows from them. */
import { describe, expect, test } from "vitest";
import { type IdentificationOptions, makeIdentification } from "../../src/smmuv3/identification.js";
import { refused } from "../support/errors.js";

describe("identification", () => {
  test("of the default unit", () => {
    const { idr0, idr1, idr3, registers, ...derived } = makeIdentification();
    expect(derived).toMatchObject({ oasBits: 48, iasBits: 48, sidBits: 16, ssidBits: 20, granules: 0x1_5000n });
    expect(idr0).toMatchObject({ S1P: 1, S2P: 1, TTF: 2, HTTU: 2, ATS: 1, STALL_MODEL: 0, ST_LEVEL: 1, CD2L: 1 });
    expect(idr0).toMatchObject({ VMID16: 1, ASID16: 1, Hyp: 1, TTENDIAN: 2 });
    expect(idr1).toMatchObject({ SIDSIZE: 16, SSIDSIZE: 20, CMDQS: 19, EVENTQS: 19 });
    expect(idr3).toMatchObject({ RIL: 1, XNX: 1, HAD: 1, E0PD: 1 });
    expect(registers).toEqual({
      IDR0: 0x08cc_769bn,
      IDR1: 0x0e73_9d10n,
      IDR2: 0n,
      IDR3: 0x7514n,
      IDR4: 0n,
      IDR5: 0xffff_0075n,
      IIDR: 0n,
      AIDR: 3n,
    });
  });

  test("as a QEMU machine has it", () => {
    const IDR0 = 0x0d44_101bn;
    const identification = makeIdentification({
      registers: { IDR0, IDR1: 0x0273_0010n, IDR3: 0x1414n, IDR5: 0x74n, AIDR: 1n },
    });
    expect(identification.idr0).toMatchObject({
      S2P: 1,
      S1P: 1,
      TTF: 2,
      COHACC: 1,
      HTTU: 0,
      Hyp: 0,
      ATS: 0,
      ASID16: 1,
      MSI: 0,
      VMID16: 1,
      TTENDIAN: 2,
      STALL_MODEL: 1,
      TERM_MODEL: 1,
      ST_LEVEL: 1,
    });
    expect(identification.idr1).toMatchObject({ SIDSIZE: 16, SSIDSIZE: 0, EVENTQS: 19, CMDQS: 19 });
    expect(identification.idr3).toMatchObject({ HAD: 1, XNX: 1, RIL: 1, BBML: 2 });
    expect(identification.registers.IDR0).toBe(IDR0);
    expect(identification).toMatchObject({ oasBits: 44, ssidBits: 0, granules: 0x1_5000n });
  });

  test.each([0, 1, 2, 3, 4, 5, 6, 7])("knows address size %i", (OAS) => {
    const bits = [32, 36, 40, 42, 44, 48, 52, 56][OAS];
    expect(makeIdentification({ idr5: { OAS } })).toMatchObject({ oasBits: bits, iasBits: bits });
    const lpae = makeIdentification({ idr0: { TTF: 3 }, idr5: { OAS } });
    expect(lpae.iasBits).toBe(Math.max(40, bits));
  });

  test.each([
    ["GRAN4K", 1n << 12n],
    ["GRAN16K", 1n << 14n],
    ["GRAN64K", 1n << 16n],
  ] as const)("knows granule %s", (name, size) => {
    const none = { GRAN4K: 0, GRAN16K: 0, GRAN64K: 0 };
    expect(makeIdentification({ idr5: { ...none, [name]: 1 } }).granules).toBe(size);
  });

  test("takes named fields over registers as read", () => {
    const { idr1, registers } = makeIdentification({ registers: { IDR1: 0x0273_0010n }, idr1: { SIDSIZE: 8 } });
    expect([idr1.SIDSIZE, idr1.CMDQS, registers.IDR1]).toEqual([8, 19, 0x0273_0008n]);
  });

  const wrong: readonly (readonly [string, IdentificationOptions, RegExp])[] = [
    ["a field too large", { idr0: { S1P: 2 } }, /IDR0 field S1P=2.*1 bits/],
    ["no whole number", { idr5: { OAS: 1.5 } }, /IDR5 field OAS=1.5/],
    ["an unknown field", { idr3: { NOPE: 1 } as object }, /IDR3 field NOPE.*no such field/],
    ["a register too wide", { registers: { IIDR: 1n << 32n } }, /IIDR=4294967296.*32 bits/],
    ["too many StreamID bits", { idr1: { SIDSIZE: 33 } }, /SIDSIZE=33.*at most 32/],
    ["too many SubstreamID bits", { idr1: { SSIDSIZE: 21 } }, /SSIDSIZE=21.*at most 20/],
    ["too large a queue", { registers: { IDR1: 20n << 21n } }, /CMDQS=20.*at most 19/],
  ];
  test.each(wrong)("refuses %s", (_what, options, message) => {
    expect(refused("invalid", () => makeIdentification(options)).message).toMatch(message);
  });
});
