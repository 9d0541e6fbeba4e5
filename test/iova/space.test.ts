/** The allocator, operation by operation: what it grants, what it refuses, what it reports. */
import { describe, expect, test } from "vitest";
import { dmaAddress } from "../../src/engine/addresses.js";
import { newEngine } from "../support/engine.js";
import { codeOrNull, refused } from "../support/errors.js";
import { Random } from "../support/random.js";

const engine = await newEngine();
const PAGE = 4096n;
const TOP = (1n << 64n) - 1n;

describe("a new space", () => {
  test("by default from one granule to 2^48 - 1, all of it free", () => {
    const space = engine.createIovaSpace();
    expect(space.report()).toEqual({
      free: (1n << 48n) - PAGE,
      live: 0n,
      ranges: 0,
      holes: 1,
      largestHole: (1n << 48n) - PAGE,
      span: 0n,
      fragmentation: 0,
    });
    expect(space.allocate({ length: PAGE })).toBe((1n << 48n) - PAGE);
    expect(space.allocate({ length: PAGE, direction: "bottom-up" })).toBe(PAGE);
    space.release();
  });

  test.each([
    ["granule no power of two", { granule: 12288n }],
    ["granule 0", { granule: 0n }],
    ["granule too small", { granule: 512n }],
    ["first off the granule", { first: 4097n }],
    ["last off the granule", { last: 0x1_0000n }],
    ["empty", { first: 0x2000n, last: 0x1fffn }],
    ["first above last", { first: 0x4000n, last: 0x1fffn }],
  ])("invalid: %s", (_name, options) => {
    expect(refused("invalid", () => engine.createIovaSpace(options)).message).toContain("make an IOVA space");
  });

  test.each([4096n, 16384n, 65536n])("granule %i", (granule) => {
    const space = engine.createIovaSpace({ granule, first: 0n, last: 16n * granule - 1n });
    const iova = space.allocate({ length: granule });
    expect(iova).toBe(15n * granule);
    refused("misaligned", () => space.allocate({ length: granule / 2n }));
    refused("misaligned", () => space.allocateAt(dmaAddress(granule / 2n), granule));
    refused("misaligned", () => space.reserve(0n, granule));
    refused("misaligned", () => space.free(dmaAddress(granule / 2n)));
    expect(space.lengthAt(dmaAddress(15n * granule + 1n))).toBeNull();
    expect(space.free(iova)).toBe(granule);
    space.release();
  });

  test("all 64 bits: address 0 and the last byte", () => {
    const space = engine.createIovaSpace({ first: 0n, last: TOP });
    expect(space.report().free).toBe(1n << 64n);
    expect(space.allocate({ length: 2n * PAGE })).toBe(TOP - 2n * PAGE + 1n);
    expect(space.allocate({ length: PAGE, direction: "bottom-up" })).toBe(0n);
    space.allocateAt(dmaAddress(TOP - 3n * PAGE + 1n), PAGE);
    expect(space.allocate({ length: PAGE, alignment: 1n << 63n, congruentTo: 1n << 63n })).toBe(1n << 63n);
    expect(space.allocate({ length: PAGE, first: TOP - PAGE + 1n - 8n * PAGE })).toBe(TOP - 4n * PAGE + 1n);
    expect(space.report()).toMatchObject({ ranges: 5, live: 6n * PAGE, span: 1n << 64n });
    expect(space.free(dmaAddress(0n))).toBe(PAGE);
    refused("overlap", () => space.allocateAt(dmaAddress(TOP - PAGE + 1n), PAGE));
    refused("input-range", () => space.allocateAt(dmaAddress(TOP - PAGE + 1n), 2n * PAGE));
    expect(space.free(dmaAddress(TOP - 2n * PAGE + 1n))).toBe(2n * PAGE);
    space.release();
  });
});

describe("allocate", () => {
  test.each([
    ["length 0", "misaligned", { length: 0n }],
    ["length off the granule", "misaligned", { length: 4097n }],
    ["alignment no power of two", "invalid", { length: PAGE, alignment: 12288n }],
    ["alignment 0", "invalid", { length: PAGE, alignment: 0n }],
    ["congruence off the granule", "invalid", { length: PAGE, alignment: 65536n, congruentTo: 100n }],
    ["longer than the space", "space-exhausted", { length: 1n << 40n }],
    ["longer than 64 bits hold", "space-exhausted", { length: (1n << 64n) + PAGE }],
    ["window outside the space", "space-exhausted", { length: PAGE, first: 1n << 40n, last: 1n << 41n }],
    ["window upside down", "space-exhausted", { length: PAGE, first: 0x8000n, last: 0x4fffn }],
    ["window within a granule", "space-exhausted", { length: PAGE, first: 0x8001n, last: 0x9ffen }],
    [
      "no such residue within the window",
      "space-exhausted",
      { length: PAGE, alignment: 1n << 20n, first: 0x1000n, last: 0x9fffn },
    ],
  ] as const)("%s: %s", (_name, code, request) => {
    const space = engine.createIovaSpace({ first: PAGE, last: (1n << 32n) - 1n });
    const before = space.report();
    expect(refused(code, () => space.allocate(request)).message).toContain(`allocate ${request.length} bytes of IOVA`);
    expect(space.report()).toEqual(before);
    space.release();
  });

  test.each([
    ["top-down", {}, 0xf_f000n],
    ["bottom-up", { direction: "bottom-up" }, 0x1000n],
    ["aligned", { alignment: 0x1_0000n }, 0xf_0000n],
    ["aligned, bottom-up", { alignment: 0x1_0000n, direction: "bottom-up" }, 0x1_0000n],
    ["congruent", { alignment: 0x1_0000n, congruentTo: 0x123_4000n }, 0xf_4000n],
    ["congruent, bottom-up", { alignment: 0x1_0000n, congruentTo: 0x123_4000n, direction: "bottom-up" }, 0x4000n],
    ["below a limit", { last: 0x7_ffffn }, 0x7_f000n],
    ["below a limit that cuts a granule", { last: 0x7_fffen }, 0x7_e000n],
    ["from a first address that cuts a granule", { first: 0x3_0001n, direction: "bottom-up" }, 0x3_1000n],
    ["alignment finer than the granule", { alignment: 16n }, 0xf_f000n],
  ] as const)("%s", (_name, rest, expected) => {
    const space = engine.createIovaSpace({ first: PAGE, last: 0xf_ffffn });
    expect(space.allocate({ length: PAGE, ...rest })).toBe(expected);
    space.release();
  });

  test("until nothing is left, and again after freeing", () => {
    const space = engine.createIovaSpace({ first: 0n, last: 64n * PAGE - 1n });
    for (let i = 63n; i >= 0n; i--) expect(space.allocate({ length: PAGE })).toBe(i * PAGE);
    expect(space.report()).toMatchObject({ free: 0n, holes: 0, largestHole: 0n, ranges: 64, fragmentation: 0 });
    refused("space-exhausted", () => space.allocate({ length: PAGE }));
    refused("overlap", () => space.allocateAt(dmaAddress(0n), PAGE));
    for (let i = 0n; i < 64n; i++) expect(space.free(dmaAddress(i * PAGE))).toBe(PAGE);
    expect(space.report()).toMatchObject({ free: 64n * PAGE, holes: 1, ranges: 0, span: 0n });
    expect(space.allocate({ length: 64n * PAGE })).toBe(0n);
    space.release();
  });
});

describe("allocateAt, reserve, free", () => {
  test("what may not be taken or freed, and that nothing changes then", () => {
    const space = engine.createIovaSpace({ first: 0x1_0000n, last: 0x7_ffffn });
    space.reserve(0x4_0000n, 0x4_ffffn);
    space.allocateAt(dmaAddress(0x2_0000n), 0x4000n);
    const before = space.report();
    const cases: readonly (readonly [string, () => unknown])[] = [
      ["input-range", () => space.allocateAt(dmaAddress(0xf000n), PAGE)],
      ["input-range", () => space.allocateAt(dmaAddress(0xf000n), 2n * PAGE)],
      ["input-range", () => space.allocateAt(dmaAddress(0x8_0000n), PAGE)],
      ["input-range", () => space.allocateAt(dmaAddress(0x7_f000n), 2n * PAGE)],
      ["input-range", () => space.allocateAt(dmaAddress(0x5_0000n), (1n << 64n) + PAGE)],
      ["misaligned", () => space.allocateAt(dmaAddress(0x5_0000n), 0n)],
      ["misaligned", () => space.allocateAt(dmaAddress(0x5_0001n), PAGE)],
      ["misaligned", () => space.allocateAt(dmaAddress(0x5_0000n), 100n)],
      ["overlap", () => space.allocateAt(dmaAddress(0x1_f000n), 2n * PAGE)],
      ["overlap", () => space.allocateAt(dmaAddress(0x2_3000n), PAGE)],
      ["overlap", () => space.allocateAt(dmaAddress(0x3_f000n), 2n * PAGE)],
      ["overlap", () => space.reserve(0x2_0000n, 0x2_0fffn)],
      ["overlap", () => space.reserve(0x4_0000n, 0x4_0fffn)],
      ["input-range", () => space.reserve(0n, 0xffffn)],
      ["input-range", () => space.reserve(0x7_0000n, 0x8_ffffn)],
      ["misaligned", () => space.reserve(0x5_0001n, 0x5_0fffn)],
      ["misaligned", () => space.reserve(0x5_0000n, 0x5_0ffen)],
      ["misaligned", () => space.reserve(0x6_0000n, 0x5_ffffn)],
      ["not-allocated", () => space.free(dmaAddress(0x4_0000n))],
      ["not-allocated", () => space.free(dmaAddress(0x2_1000n))],
      ["not-allocated", () => space.free(dmaAddress(0x5_0000n))],
      ["not-allocated", () => space.free(dmaAddress(0n))],
      ["misaligned", () => space.free(dmaAddress(0x2_0001n))],
    ];
    for (const [code, operation] of cases) {
      expect(codeOrNull(operation)).toBe(code);
      expect(space.report()).toEqual(before);
    }
    expect(space.lengthAt(dmaAddress(0x2_0000n))).toBe(0x4000n);
    expect(space.lengthAt(dmaAddress(0x2_1000n))).toBeNull();
    expect(space.lengthAt(dmaAddress(0x4_0000n))).toBeNull();
    expect(space.free(dmaAddress(0x2_0000n))).toBe(0x4000n);
    expect(refused("not-allocated", () => space.free(dmaAddress(0x2_0000n))).at).toBe(0x2_0000n);
    space.release();
  });

  test("the largest hole of many is filled: the next largest is reported, and no longer one is found", () => {
    const space = engine.createIovaSpace({ first: 0n, last: 4000n * PAGE - 1n });
    for (let index = 0n; index < 4000n; index += index === 1000n ? 7n : 2n) {
      space.allocateAt(dmaAddress(index * PAGE), PAGE);
    }
    expect(space.report().largestHole).toBe(6n * PAGE);
    expect(space.allocate({ length: 6n * PAGE })).toBe(1001n * PAGE);
    expect(space.report().largestHole).toBe(PAGE);
    refused("space-exhausted", () => space.allocate({ length: 2n * PAGE }));
    space.release();
  });

  test("many reserved ranges, in any order, and a span between them", () => {
    const space = engine.createIovaSpace({ first: 0n, last: 1024n * PAGE - 1n });
    for (const at of [500n, 20n, 800n, 0n, 1023n, 300n, 21n, 400n, 700n, 600n, 100n, 900n]) {
      space.reserve(at * PAGE, (at + 1n) * PAGE - 1n);
    }
    space.allocateAt(dmaAddress(1n * PAGE), 19n * PAGE);
    space.allocateAt(dmaAddress(1022n * PAGE), PAGE);
    expect(space.report()).toMatchObject({ span: 1022n * PAGE, free: 992n * PAGE, ranges: 2 });
    space.free(dmaAddress(1n * PAGE));
    space.free(dmaAddress(1022n * PAGE));
    space.allocateAt(dmaAddress(301n * PAGE), PAGE);
    space.allocateAt(dmaAddress(499n * PAGE), PAGE);
    // Within the span: 303..399 and 401..498 are free, 400 is reserved.
    expect(space.report().fragmentation).toBeCloseTo(1 - 98 / (98 + 98), 12);
    space.release();
  });
});

describe("more than 64 holes that are long enough but askew", () => {
  /** `askew` holes of two granules that begin on odd ones, from the top; below them what a test adds. */
  function build(askew: number): ReturnType<typeof engine.createIovaSpace> {
    const granules = 4 * askew + 64;
    const space = engine.createIovaSpace({ first: 0n, last: BigInt(granules) * PAGE - 1n });
    for (let k = 0; k < askew; k++) {
      // Two live, two free: the free ones at 4k + 1 and 4k + 2 above the lower part.
      space.allocateAt(dmaAddress(BigInt(64 + 4 * k + 3) * PAGE), k === askew - 1 ? PAGE : 2n * PAGE);
    }
    space.allocateAt(dmaAddress(0n), 65n * PAGE);
    return space;
  }
  const aligned = { length: 2n * PAGE, alignment: 2n * PAGE };

  test.each([1, 63, 64])("%i of them: still the first fit", (askew) => {
    const space = build(askew);
    space.free(dmaAddress(0n));
    space.allocateAt(dmaAddress(62n * PAGE), 3n * PAGE);
    space.allocateAt(dmaAddress(32n * PAGE), 28n * PAGE);
    // An exact fit at 60, room for any alignment further down.
    expect(space.allocate(aligned)).toBe(60n * PAGE);
    space.release();
  });

  test("65: a longer hole further on is taken, and it fits", () => {
    const space = build(65);
    space.free(dmaAddress(0n));
    space.allocateAt(dmaAddress(62n * PAGE), 3n * PAGE);
    space.allocateAt(dmaAddress(32n * PAGE), 28n * PAGE);
    expect(space.allocate(aligned)).toBe(30n * PAGE);
    space.release();
  });

  test("300, and only an exact fit: found all the same", () => {
    for (const direction of ["top-down", "bottom-up"] as const) {
      const space = build(300);
      space.free(dmaAddress(0n));
      space.allocateAt(dmaAddress(62n * PAGE), 3n * PAGE);
      space.allocateAt(dmaAddress(0n), 60n * PAGE);
      expect(space.allocate({ ...aligned, direction })).toBe(60n * PAGE);
      refused("space-exhausted", () => space.allocate({ ...aligned, direction }));
      expect(space.allocate({ ...aligned, congruentTo: PAGE, direction })).toBe(
        (direction === "top-down" ? 64n + 4n * 299n + 1n : 65n) * PAGE,
      );
      space.release();
    }
  });
});

describe("batches", () => {
  test.each(["top-down", "bottom-up"] as const)("equal single requests (%s)", (direction) => {
    const random = new Random(7);
    const single = engine.createIovaSpace({ first: 0n, last: 256n * PAGE - 1n });
    const batched = engine.createIovaSpace({ first: 0n, last: 256n * PAGE - 1n });
    const batch = batched.createBatch(100);
    const common = { alignment: 8n * PAGE, direction, first: 16n * PAGE };
    const lengths = Array.from({ length: 100 }, () => BigInt(random.below(4)) * PAGE);
    const residues = lengths.map(() => BigInt(random.below(8)) * PAGE + (random.chance(0.1) ? 1n : 0n));
    for (const perRequest of [true, false]) {
      batch.length.set(lengths);
      batch.congruentTo.set(residues);
      const expected = lengths.map((length, i) => {
        let iova = TOP;
        const request = { ...common, length, ...(perRequest ? { congruentTo: residues[i] } : {}) };
        const code = codeOrNull(() => {
          iova = single.allocate(request);
        });
        return { code, iova };
      });
      const failed = expected.filter(({ code }) => code !== null).length;
      expect(batched.allocateBatch(batch, 100, common, perRequest)).toBe(failed);
      expect(lengths.map((_, i) => ({ code: batch.code(i), iova: batch.iova[i] }))).toEqual(expected);
      expect(failed).toBeGreaterThan(0);
      expect(batched.report()).toEqual(single.report());

      // The failed ones are not allocated: freeing them fails, and so does freeing anything twice.
      const iovas = [...batch.iova].map((iova, i) => (i % 9 === 8 ? batch.iova[i - 1] : iova & ~0xfffn));
      batch.iova.set(iovas);
      const freed = iovas.map((iova) => {
        let length = 0n;
        const code = codeOrNull(() => {
          length = single.free(dmaAddress(iova));
        });
        return { code, length };
      });
      expect(batched.freeBatch(batch, 100)).toBe(freed.filter(({ code }) => code !== null).length);
      expect(iovas.map((_, i) => ({ code: batch.code(i), length: batch.length[i] }))).toEqual(freed);
      expect(batched.report()).toEqual(single.report());
    }
    expect(() => batched.allocateBatch(batch, 101)).toThrow(RangeError);
    expect(() => batched.freeBatch(batch, 101)).toThrow(RangeError);
    batch.release();
    single.release();
    batched.release();
  });
});
