/** Replays under Linux's own allocator: what depends on CPU, time and the device. */
import { describe, expect, it } from "vitest";
import { findStrategy } from "../../src/strategies/strategies.js";
import { refused } from "../support/errors.js";
import { encode, GIB, KIB, MIB, map, newReplay, type Operation, unmap } from "./support.js";

const FOUR_GIB = 4n * GIB;
const MILLISECOND = 1e6;

const on = (operation: Operation, cpu: number, time = 0): Operation => ({ ...operation, cpu, time });
const pageAt = (slot: number): Operation => map(slot, [{ physical: 0x10_0000n, length: 4n * KIB }]);
const unmapPage = (slot: number): Operation => unmap(slot, 0n, 4n * KIB);

/** How far below 4 GiB each slot's mapping begins, in KiB. */
async function below4G(
  strategy: string,
  operations: readonly Operation[],
  slots: readonly number[],
): Promise<number[]> {
  const replay = await newReplay({ strategy: findStrategy(strategy) });
  replay.run(encode(operations));
  return slots.map((slot) => Number((FOUR_GIB - (replay.iova(slot) ?? 0n)) / KIB));
}

describe("linux", () => {
  it("gives a freed range to the CPU that freed it", async () => {
    const operations = [on(pageAt(0), 0), on(unmapPage(0), 3), on(pageAt(1), 0), on(pageAt(2), 3), on(pageAt(3), 3)];
    expect(await below4G("linux", operations, [1, 2, 3])).toEqual([8, 4, 12]);
  });

  it("goes above 4 GiB for good after the first mapping that does not fit below", async () => {
    const replay = await newReplay({ strategy: findStrategy("linux") });
    replay.run(encode([pageAt(0), map(1, [{ physical: 8n * GIB, length: FOUR_GIB }]), pageAt(2)]));
    expect([0, 1, 2].map((slot) => replay.iova(slot))).toEqual([
      FOUR_GIB - 4n * KIB,
      (1n << 48n) - FOUR_GIB,
      (1n << 48n) - FOUR_GIB - 4n * KIB,
    ]);
  });

  it("avoids the interrupt range, where the format has one", async () => {
    const replay = await newReplay({ strategy: findStrategy("linux") });
    replay.run(encode([map(0, [{ physical: 0n, length: 16n * MIB }]), map(1, [{ physical: 0n, length: 16n * MIB }])]));
    expect([replay.iova(0), replay.iova(1)]).toEqual([0xff00_0000n, 0xfd00_0000n]);
  });

  it("gives back what could not be mapped", async () => {
    const replay = await newReplay({ strategy: findStrategy("linux") });
    const beyond = map(0, [{ physical: 1n << 60n, length: 4n * KIB }]);
    replay.run(encode([beyond, pageAt(1)]));
    expect([replay.iova(0), replay.iova(1)]).toEqual([null, FOUR_GIB - 4n * KIB]);
    expect(replay.finish().failed).toBe(1);
  });
});

describe("linux-lazy", () => {
  it("frees after the flush timer only, into the magazines of the CPU that was active last", async () => {
    const begin = [on(pageAt(0), 0), on(unmapPage(0), 0), on(pageAt(1), 1, 15 * MILLISECOND)];
    expect(await below4G("linux-lazy", begin, [1])).toEqual([8]);
    const later = [...begin, on(pageAt(2), 0, 16 * MILLISECOND), on(pageAt(3), 1, 16 * MILLISECOND)];
    expect(await below4G("linux-lazy", later, [2, 3])).toEqual([12, 4]);
  });
});

describe("alignment", () => {
  it.each([
    ["linux", 33n, 64n],
    ["linux-noalign", 33n, 33n],
    ["linux-pmd", 33n, 512n],
    ["linux-pud", 33n, 262_144n],
    ["linux:max-align-shift=4", 33n, 48n],
    ["linux:max-align-shift=9", 513n, 1024n],
  ])("%s: %i pages begin %i below 4 GiB", async (strategy, pages, below) => {
    const operation = map(0, [{ physical: 0x10_0000n, length: pages * 4n * KIB }]);
    expect(await below4G(strategy, [operation], [0])).toEqual([Number(below * 4n)]);
  });

  it.each(["linux:max-align-shift=", "linux:max-align-shift=x", "linux:max-align-shift=53", "linux:4"])(
    "%s is no strategy",
    (name) => {
      expect(refused("invalid", () => findStrategy(name)).message).toContain("linux:max-align-shift=N");
    },
  );
});
