/** Random operations against models: a naive one that is equal in everything, and a large one that is cheap. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { SPACE_HEIGHT } from "../../assembly/layout.js";
import { dmaAddress } from "../../src/engine/addresses.js";
import type { IovaRequest, IovaSpace } from "../../src/engine/iova-space.js";
import { newEngine } from "../support/engine.js";
import { codeOrNull } from "../support/errors.js";
import { NaiveSpace } from "../support/naive-iova.js";
import { Random } from "../support/random.js";

const engine = await newEngine();

/** No more than 64 holes fit, so first fit is exact whatever the congruence. */
const GRANULES = 128;

type Command = fc.Command<NaiveSpace, IovaSpace>;

function compare(model: NaiveSpace, real: IovaSpace): void {
  const { fragmentation, ...exact } = real.report();
  const { fragmentation: expected, ...counts } = model.report();
  expect(exact).toEqual(counts);
  expect(fragmentation).toBeCloseTo(expected, 12);
}

function command(name: string, run: (model: NaiveSpace, real: IovaSpace) => void): Command {
  return {
    check: () => true,
    run(model, real) {
      run(model, real);
      compare(model, real);
    },
    toString: () => name,
  };
}

function commands(granule: bigint, first: bigint): fc.Arbitrary<Iterable<Command>> {
  const address = fc.integer({ min: -1, max: GRANULES }).map((index) => {
    const iova = first + BigInt(index) * granule;
    return BigInt.asUintN(64, iova < 0n ? 0n : iova);
  });
  const length = fc.oneof(
    { weight: 20, arbitrary: fc.integer({ min: 1, max: 9 }).map((n) => BigInt(n) * granule) },
    {
      weight: 1,
      arbitrary: fc.constantFrom(0n, granule / 2n, BigInt(GRANULES) * granule, BigInt(GRANULES + 1) * granule),
    },
  );
  const window = fc.option(fc.tuple(address, address), { nil: null, freq: 4 });
  const allocate = fc
    .record({
      length,
      alignment: fc.integer({ min: -1, max: 5 }).map((k) => (k < 0 ? granule / 4n : granule << BigInt(k))),
      residue: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 40 })),
      off: fc.integer({ min: 0, max: 30 }),
      window,
      direction: fc.constantFrom("top-down" as const, "bottom-up" as const),
    })
    .map(({ length: bytes, alignment, residue, off, window: limits, direction }): Command => {
      const request: IovaRequest = {
        length: bytes,
        // Rarely nonsense: no power of two, or a residue off the granule.
        alignment: off === 1 ? alignment * 3n : alignment,
        congruentTo: BigInt(residue) * granule + (off === 0 ? 1n : 0n),
        direction,
        ...(limits
          ? { first: limits[0] + (off === 2 ? 1n : 0n), last: limits[1] + granule - 1n - (off === 3 ? 1n : 0n) }
          : {}),
      };
      if (request.last !== undefined && request.last >= 1n << 64n) return command("nothing", () => undefined);
      return command(
        `allocate ${JSON.stringify(request, (_, v) => (typeof v === "bigint" ? `0x${v.toString(16)}` : v))}`,
        (model, real) => {
          const expected = model.allocate(request);
          let value = -1n;
          const code = codeOrNull(() => {
            value = real.allocate(request);
          });
          expect(code === null ? { value } : { code }).toEqual(expected);
          if (code === null) expect(real.lengthAt(dmaAddress(value))).toBe(request.length);
        },
      );
    });
  const allocateAt = fc.tuple(address, length).map(([iova, bytes]): Command => {
    return command(`allocateAt 0x${iova.toString(16)} ${bytes}`, (model, real) => {
      expect(codeOrNull(() => real.allocateAt(dmaAddress(iova), bytes))).toBe(model.allocateAt(iova, bytes));
    });
  });
  const reserve = fc.tuple(address, fc.integer({ min: 1, max: 3 })).map(([iova, n]): Command => {
    const last = BigInt.asUintN(64, iova + BigInt(n) * granule - 1n);
    if (last < iova) return command("nothing", () => undefined);
    return command(`reserve 0x${iova.toString(16)} - 0x${last.toString(16)}`, (model, real) => {
      expect(codeOrNull(() => real.reserve(iova, last))).toBe(model.reserve(iova, last));
    });
  });
  // An address anywhere, and mostly the start of the live range at or below it.
  const free = fc.tuple(address, fc.boolean(), fc.integer({ min: 0, max: 20 })).map(([iova, exact, off]): Command => {
    return command(`free near 0x${iova.toString(16)}${exact ? ", exactly" : ""}`, (model, real) => {
      let at = iova + (off === 0 ? 8n : 0n);
      if (!exact) while (at > first && model.lengthAt(at) === null) at -= granule;
      if (at >= 1n << 64n || at < 0n) return;
      const expected = model.free(at);
      let value = -1n;
      const code = codeOrNull(() => {
        value = real.free(dmaAddress(at));
      });
      expect(code === null ? { value } : { code }).toEqual(expected);
    });
  });
  return fc.commands([allocate, allocate, allocate, allocateAt, allocateAt, reserve, free, free, free], {
    maxCommands: 120,
    size: "max",
  });
}

test.each([
  { name: "4 KiB granule from 0", granule: 4096n, first: 0n },
  { name: "4 KiB granule from one page", granule: 4096n, first: 4096n },
  { name: "16 KiB granule in the middle", granule: 16384n, first: 0x7f_ff00_0000n },
  { name: "64 KiB granule at the top of 64 bits", granule: 65536n, first: (1n << 64n) - BigInt(GRANULES) * 65536n },
  { name: "4 KiB granule across 2^63", granule: 4096n, first: (1n << 63n) - 64n * 4096n },
])("random operations equal the naive model: $name", ({ granule, first }) => {
  fc.assert(
    fc.property(commands(granule, first), (run) => {
      const last = first + BigInt(GRANULES) * granule - 1n;
      const real = engine.createIovaSpace({ granule, first, last });
      fc.modelRun(() => ({ model: new NaiveSpace(granule, first, GRANULES), real }), run);
      real.release();
    }),
    { numRuns: 25, seed: 4242 },
  );
});

test("more than 20,000 live ranges: first fit, neighbours and reports stay right in a tree of several levels", () => {
  const GRANULE = 4096n;
  const TOTAL = 60_000;
  const random = new Random(99);
  const space = engine.createIovaSpace({ first: 0n, last: BigInt(TOTAL) * GRANULE - 1n });
  const lengthOf = new Map<number, number>();
  const taken = new Uint8Array(TOTAL);
  const take = (index: number, n: number): void => {
    taken.fill(1, index, index + n);
    lengthOf.set(index, n);
  };
  const free = (index: number): void => {
    const n = lengthOf.get(index) ?? 0;
    expect(space.free(dmaAddress(BigInt(index) * GRANULE))).toBe(BigInt(n) * GRANULE);
    taken.fill(0, index, index + n);
    lengthOf.delete(index);
  };
  const isFree = (index: number, n: number): boolean => {
    for (let i = index; i < index + n; i++) if (taken[i]) return false;
    return true;
  };
  const check = (): void => {
    let holes = 0;
    let largest = 0;
    let live = 0;
    for (let i = 0, run = 0; i < TOTAL; i++) {
      live += taken[i];
      run = taken[i] ? 0 : run + 1;
      if (run === 1) holes++;
      largest = Math.max(largest, run);
    }
    expect(space.report()).toMatchObject({
      ranges: lengthOf.size,
      live: BigInt(live) * GRANULE,
      free: BigInt(TOTAL - live) * GRANULE,
      holes,
      largestHole: BigInt(largest) * GRANULE,
      span: BigInt(taken.lastIndexOf(1) + 1 - taken.indexOf(1)) * GRANULE,
    });
  };
  const height = (): number => engine.linear.getU32(space.handle + SPACE_HEIGHT);

  for (let i = TOTAL - 1; i >= 0; i--) {
    expect(space.allocate({ length: GRANULE })).toBe(BigInt(i) * GRANULE);
    take(i, 1);
  }
  // Every other one goes, in a random order: as many holes as ranges.
  const odd = Array.from({ length: TOTAL / 2 }, (_, i) => 2 * i + 1);
  for (let i = odd.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [odd[i], odd[j]] = [odd[j], odd[i]];
  }
  for (const index of odd) free(index);
  expect(height()).toBeGreaterThanOrEqual(3);
  check();
  expect(lengthOf.size).toBeGreaterThan(20_000);

  for (let step = 0; step < 4000; step++) {
    const roll = random.below(10);
    if (roll < 4) {
      const starts = random.below(TOTAL);
      let index = starts;
      while (index < TOTAL && !lengthOf.has(index)) index++;
      if (index < TOTAL) free(index);
    } else if (roll < 6) {
      const index = random.below(TOTAL - 4);
      const n = 1 + random.below(3);
      const code = codeOrNull(() => space.allocateAt(dmaAddress(BigInt(index) * GRANULE), BigInt(n) * GRANULE));
      expect(code).toBe(isFree(index, n) ? null : "overlap");
      if (code === null) take(index, n);
    } else {
      const n = 1 + random.below(4);
      const up = random.chance(0.5);
      // A window, so that the first fit is anywhere and not only at the ends.
      const from = random.below(TOTAL - 2000);
      const to = from + 2000;
      let index = up ? from : to - n;
      while (index >= from && index + n <= to && !isFree(index, n)) index += up ? 1 : -1;
      const fits = index >= from && index + n <= to;
      let value = -1n;
      const code = codeOrNull(() => {
        value = space.allocate({
          length: BigInt(n) * GRANULE,
          first: BigInt(from) * GRANULE,
          last: BigInt(to) * GRANULE - 1n,
          direction: up ? "bottom-up" : "top-down",
        });
      });
      expect(code).toBe(fits ? null : "space-exhausted");
      if (fits) {
        expect(value).toBe(BigInt(index) * GRANULE);
        take(index, n);
      }
    }
    if (step % 1000 === 999) check();
  }
  for (const index of [...lengthOf.keys()]) free(index);
  expect(height()).toBe(1);
  expect(space.report()).toMatchObject({ holes: 1, ranges: 0, live: 0n, free: BigInt(TOTAL) * GRANULE });
  space.release();
});
