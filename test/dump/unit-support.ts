/** What the tests of units from dumps share, whatever the architecture. */
import { expect, test } from "vitest";
import type { Dump } from "../../src/dump/dump.js";
import type { DumpErrorCode } from "../../src/dump/errors.js";
import type { MapsLeaf } from "../../src/dump/maps.js";
import type { Engine } from "../../src/engine/engine.js";
import type { PlacedRegister } from "../../src/unit/register-space.js";
import { newEngine } from "../support/engine.js";
import { refused } from "../support/errors.js";
import { physicalOf } from "../support/tables.js";
import { failure } from "./support.js";

/** A dump with other registers; undefined takes one away. */
export function withRegisters(dump: Dump, changes: Readonly<Record<string, bigint | undefined>>): Dump {
  const changed = Object.entries({ ...Object.fromEntries(dump.registers), ...changes });
  const registers = new Map(changed.filter((entry): entry is [string, bigint] => entry[1] !== undefined));
  return { ...dump, registers };
}

interface Registers {
  read32(offset: number): number;
  read64(offset: number): bigint;
  readonly registers: { readonly registers: readonly PlacedRegister[] };
}

/** The unit's registers and the engine's memory are those of the dump. */
export function expectContents(engine: Engine, unit: Registers, from: Dump): void {
  const known = unit.registers.registers.filter(({ name, present }) => present && from.registers.has(name));
  expect(known.length).toBeGreaterThan(15);
  const read = known.map(({ name, offset, width }) => [
    name,
    width === 64 ? unit.read64(offset) : BigInt(unit.read32(offset)),
  ]);
  expect(read).toEqual(known.map(({ name }) => [name, from.registers.get(name)]));
  for (const { address, bytes } of from.pages) {
    expect(Buffer.compare(engine.memory.read(address, from.pageBytes), bytes)).toBe(0);
  }
}

export interface Probe {
  /** The address is translated so. */
  mapped(address: bigint, access: "read" | "write", physical: bigint, size: bigint): void;
  /** A leaf is there, without the permission. */
  denied(address: bigint, access: "read" | "write"): void;
  /** No leaf is there. */
  nothing(address: bigint): void;
}

/** Every leaf translates as it says, from its first byte to its last, and nothing next to the leaves does. */
export function probeLeaves(leaves: readonly MapsLeaf[], end: bigint, probe: Probe): void {
  let next = 0n;
  for (const { iova, physical, size, permissions } of leaves.toSorted((a, b) => (a.iova < b.iova ? -1 : 1))) {
    if (iova > next) for (const address of [next, iova - 1n]) probe.nothing(address);
    for (const offset of [0n, size / 2n, size - 1n]) {
      for (const [access, letter] of [
        ["read", "R"],
        ["write", "W"],
      ] as const) {
        if (permissions.includes(letter)) probe.mapped(iova + offset, access, physical + offset, size);
        else probe.denied(iova + offset, access);
      }
    }
    next = iova + size;
  }
  for (const address of [next, end - 1n]) if (address < end) probe.nothing(address);
}

/** Tests of dumps that no unit can be had from; none of their pages is in the engine's memory afterwards. */
export function testRefusals(
  dump: Dump,
  open: (engine: Engine, from: Dump) => unknown,
  other: string,
  needed: readonly string[],
  tooWide: string,
): void {
  const rows: readonly [string, Dump, DumpErrorCode, string][] = [
    ["of another kind", { ...dump, arch: other }, "inconsistent", `"arch" is "${other}", not "${dump.arch}"`],
    ...needed.map((name): [string, Dump, DumpErrorCode, string] => [
      `without ${name}`,
      withRegisters(dump, { [name]: undefined }),
      "inconsistent",
      `register ${name} is missing`,
    ]),
  ];
  test.each(rows)("%s", async (_, from, code, message) => {
    const engine = await newEngine();
    const error = await failure(code, () => open(engine, from));
    expect(error.message).toBe(`${from.directory}: ${message}`);
    refused("bus-error", () => engine.memory.read(dump.pages[0].address, 1));
  });

  test("because a register cannot hold its value", async () => {
    const engine = await newEngine();
    const error = refused("invalid", () => open(engine, withRegisters(dump, { [tooWide]: 1n << 32n })));
    expect(error.message).toContain(`restore ${tooWide} = 0x100000000`);
    refused("bus-error", () => engine.memory.read(dump.pages[0].address, 1));
  });

  test("because a page lies in the engine's arena", async () => {
    const engine = await newEngine({ arenaBase: physicalOf(0n) });
    await failure("arena", () => open(engine, dump));
  });
}
