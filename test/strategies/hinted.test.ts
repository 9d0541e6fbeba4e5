import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Hint, must, prefer } from "../../src/importers/hint.js";
import { findImporter } from "../../src/importers/importers.js";
import { allocateHinted, hintedRequest, unmetWishes } from "../../src/strategies/hinted.js";
import { bytes } from "../importers/support.js";
import { newEngine } from "../support/engine.js";
import { refused } from "../support/errors.js";

const why = "a test says so";
const base = { pageSizes: 0x1000n };
const congruent = (address: string, modulus: string) => ({ address: bytes(address), modulus: bytes(modulus) });

describe("what a hint asks of an IOVA's value", () => {
  const musts = {
    align: must(bytes("64K"), why),
    congruence: must(congruent("1M+4K", "2M"), why),
    limit: must(0xffff_ffffn, why),
  };
  const cases: readonly (readonly [string, Hint, string, string, string, string, string[]])[] = [
    ["nothing", base, "8K", "4K", "0", "4K", []],
    ["a preferred alignment", { ...base, align: prefer(bytes("64K"), why) }, "8K", "64K", "0", "4K", []],
    ["an alignment that must be", { ...base, align: musts.align }, "8K", "64K", "0", "64K", []],
    ["a congruence", { ...base, congruentTo: prefer(congruent("3M+4K", "2M"), why) }, "8K", "2M", "1M+4K", "4K", []],
    [
      "a smaller alignment that agrees",
      { ...base, align: musts.align, congruentTo: prefer(congruent("1M", "2M"), why) },
      "8K",
      "2M",
      "1M",
      "64K",
      [],
    ],
    [
      "a preferred congruence against an alignment that must be",
      { ...base, align: musts.align, congruentTo: prefer(congruent("1M+4K", "2M"), why) },
      "8K",
      "64K",
      "0",
      "64K",
      ["congruentTo"],
    ],
    [
      "a preferred alignment against a congruence that must be",
      { ...base, align: prefer(bytes("64K"), why), congruentTo: musts.congruence },
      "8K",
      "2M",
      "1M+4K",
      "2M",
      ["align"],
    ],
    ["inside a boundary", { ...base, boundary: must(0xffffn, why) }, "12K", "16K", "0", "16K", []],
    [
      "inside a boundary, where a congruence puts it",
      { ...base, boundary: prefer(0xf_ffffn, why), congruentTo: prefer(congruent("4K", "8K"), why) },
      "12K",
      "16K",
      "4K",
      "4K",
      [],
    ],
    ["longer than its boundary", { ...base, boundary: prefer(0xffffn, why) }, "68K", "4K", "0", "4K", ["boundary"]],
    [
      "across a boundary, where a congruence puts it",
      { ...base, boundary: must(0xffffn, why), congruentTo: prefer(congruent("60K", "64K"), why) },
      "8K",
      "64K",
      "60K",
      "4K",
      ["boundary"],
    ],
  ];
  it.each(cases)("%s", (_, hint, length, modulus, address, least, unmet) => {
    expect(hintedRequest(hint, bytes(length))).toEqual({
      ...{ modulus: bytes(modulus), address: bytes(address), least: bytes(least), unmet },
    });
  });

  it("takes the offset in the first granule off the virtual address", () => {
    const hint = { ...base, congruentTo: prefer({ address: 0x1234n, modulus: 0x10000n }, why) };
    expect(hintedRequest(hint, 8192n, { offset: 0x234n })).toMatchObject({ modulus: 0x10000n, address: 0x1000n });
    // No multiple of the granule agrees with it: nothing is asked of the rest.
    expect(hintedRequest(hint, 8192n)).toMatchObject({ modulus: 4096n, address: 0n, unmet: ["congruentTo"] });
  });

  it("gives up a preferred congruence that would put a single segment across its boundary", () => {
    const boundaries = { boundary: must(0xffffn, why), singleSegment: must(true as const, why) };
    const hint = { ...base, ...boundaries, congruentTo: prefer(congruent("60K", "64K"), why) };
    const expected = { modulus: 8192n, address: 0n, least: 8192n, unmet: ["congruentTo"] };
    expect(hintedRequest(hint, 8192n)).toEqual(expected);
  });

  it.each<[string, Hint, RegExp]>([
    [
      "two congruences",
      { ...base, align: musts.align, congruentTo: musts.congruence },
      /must congruentTo.*must align/s,
    ],
    [
      "a congruence that no granule has",
      { ...base, congruentTo: must({ address: 1n, modulus: 8192n }, why) },
      /must congruentTo 0x1 modulo 0x2000 \(a test says so\).*granules of 4096/s,
    ],
    [
      "a single segment across its boundary",
      { ...base, boundary: must(0xfffn, why), singleSegment: must(true as const, why) },
      /must boundary 0xfff/,
    ],
  ])("%s that must be are refused by name", (_, hint, message) => {
    expect(refused("invalid", () => hintedRequest(hint, 8192n)).message).toMatch(message);
  });

  it.each<[string, Hint]>([
    ["align", { ...base, align: prefer(0x3000n, why) }],
    ["align", { ...base, align: prefer(0n, why) }],
    ["congruentTo", { ...base, congruentTo: must({ address: 0n, modulus: 0x3000n }, why) }],
    ["boundary", { ...base, boundary: must(0x3000n, why) }],
  ])("a wish to %s by what is no power of two is refused by name", (name, hint) => {
    const { message } = refused("invalid", () => hintedRequest(hint, 4096n));
    expect(message).toMatch(new RegExp(`(must|prefer) ${name} \\(${why}\\).*no power of two`));
  });
});

describe("an allocation as hinted", () => {
  it("names the must that leaves no room, and allocates nothing", async () => {
    const space = (await newEngine()).createIovaSpace({ last: (1n << 48n) - 1n });
    const hint: Hint = { ...base, addressLimit: must(0xffffn, "the device addresses 16 bits") };
    const error = refused("space-exhausted", () => allocateHinted(space, hint, 0x10000n));
    expect(error.message).toMatch(/must addressLimit \(the device addresses 16 bits\)/);
    expect(space.report().ranges).toBe(0);
    expect(allocateHinted(space, hint, 0xf000n)).toEqual({ iova: 0x1000n, unmet: [] });
  });

  it("halves what is preferred, not what must be", async () => {
    const space = (await newEngine()).createIovaSpace({ first: 0x1000n, last: 0xf_ffffn });
    const wish = { address: 0x3000n, modulus: 0x20_0000n };
    expect(allocateHinted(space, { ...base, congruentTo: prefer(wish, why) }, 0x2000n)).toEqual({
      ...{ iova: 0x3000n, unmet: [] },
    });
    // The next such address is beyond the space; half the modulus is too; a quarter is not.
    expect(allocateHinted(space, { ...base, congruentTo: prefer(wish, why) }, 0x2000n)).toEqual({
      ...{ iova: 0x8_3000n, unmet: ["congruentTo"] },
    });
    refused("space-exhausted", () => allocateHinted(space, { ...base, congruentTo: must(wish, why) }, 0x2000n));
  });

  it("gives an importer the deepest agreement that any free range has", async () => {
    const engine = await newEngine();
    const importer = findImporter("mlx5");
    const PAGES = 256;
    const scene = fc.record({
      taken: fc.uniqueArray(fc.integer({ min: 1, max: PAGES - 1 }), { maxLength: 60 }),
      pages: fc.integer({ min: 2, max: 24 }),
      page: fc.integer({ min: 0, max: 4 * PAGES }),
    });
    fc.assert(
      fc.property(scene, ({ taken, pages, page }) => {
        const space = engine.createIovaSpace({ first: 0x1000n, last: BigInt(PAGES) * 4096n - 1n });
        for (const each of taken) space.allocateAt((BigInt(each) * 4096n) as never, 4096n);
        const [va, length] = [BigInt(page) * 4096n, BigInt(pages) * 4096n];
        const hint = importer.hint({ va, length });
        const modulus = Number((hint.congruentTo?.value.modulus ?? 4096n) / 4096n);
        const depth = (first: number): number => {
          let size = 1;
          while (size < modulus && (first - page) % (2 * size) === 0) size *= 2;
          return size;
        };
        const starts = Array.from({ length: PAGES - pages }, (_, index) => index + 1).filter(
          (first) => !taken.some((each) => each >= first && each < first + pages),
        );
        if (starts.length === 0) {
          refused("space-exhausted", () => allocateHinted(space, hint, length));
        } else {
          const { iova, unmet } = allocateHinted(space, hint, length);
          const first = Number(iova / 4096n);
          expect(starts).toContain(first);
          expect(depth(first)).toBe(Math.max(...starts.map(depth)));
          expect(unmet).toEqual(unmetWishes(hint, iova, length));
          expect(unmet.length === 0).toBe(depth(first) === modulus);
        }
        space.release();
      }),
    );
  });
});
