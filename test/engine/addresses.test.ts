/** Kinds of address: checked when made, and never mixed (see also address-mixtures.ts, which the compiler checks). */
import { describe, expect, expectTypeOf, test } from "vitest";
import {
  type CpuAddress,
  cpuAddress,
  type DmaAddress,
  dmaAddress,
  hex,
  type Iova,
  type PhysicalAddress,
  type PrivateAddress,
  physicalAddress,
  privateAddress,
} from "../../src/engine/addresses.js";

const MAKERS = [dmaAddress, privateAddress, physicalAddress, cpuAddress] as const;

describe.each(MAKERS.map((make) => [make.name, make] as const))("%s", (_name, make) => {
  test.each([0n, 1n, (1n << 64n) - 1n])("%i is an address", (value) => {
    expect(make(value)).toBe(value);
  });

  test.each([-1n, 1n << 64n])("%i is none", (value) => {
    expect(() => make(value)).toThrow(RangeError);
    expect(() => make(value)).toThrow(/64-bit address/);
  });
});

test("hex is lower-case, with 0x and without padding", () => {
  expect([0n, 0xdead_beefn, (1n << 64n) - 1n].map(hex)).toEqual(["0x0", "0xdeadbeef", "0xffffffffffffffff"]);
});

test("the kinds are told apart by the compiler", () => {
  expectTypeOf<DmaAddress>().not.toExtend<PrivateAddress>();
  expectTypeOf<PrivateAddress>().not.toExtend<DmaAddress>();
  expectTypeOf<PhysicalAddress>().not.toExtend<Iova>();
  expectTypeOf<CpuAddress>().not.toExtend<PhysicalAddress>();
  expectTypeOf<CpuAddress>().not.toExtend<Iova>();
  expectTypeOf<Iova>().not.toExtend<PhysicalAddress>();
  expectTypeOf<bigint>().not.toExtend<Iova>();
  expectTypeOf<DmaAddress>().toExtend<Iova>();
  expectTypeOf<PrivateAddress>().toExtend<Iova>();
  expectTypeOf<DmaAddress>().toExtend<bigint>();
});
