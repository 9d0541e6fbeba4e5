import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { physicalAddress } from "../../src/engine/addresses.js";
import { findImporter } from "../../src/importers/importers.js";
import { caseText, parseCase } from "../../src/validate/case.js";
import { CaseSource, enumeratedCases } from "../../src/validate/cases.js";
import { shrink } from "../../src/validate/shrink.js";
import { refused } from "../support/errors.js";

const WIDEST = 2n ** 48n - 1n;
const PAGE = 4096n;

describe("a case as text", () => {
  it("is read as it was written", () => {
    for (const importer of ["mlx5", "nvme-sgl"]) {
      const source = new CaseSource(findImporter(importer), 3);
      for (let count = 0; count < 1500; count++) {
        const window = { last: 2n ** BigInt(24 + (count % 20)) - 1n };
        const each = source.next();
        expect(parseCase(caseText(each, window), WIDEST)).toEqual({ case: each, window });
      }
    }
  });

  it("is what the README shows", () => {
    const each = {
      va: 0x1000n,
      pieces: [{ physical: physicalAddress(0x4000_0000n), length: 8192n }],
      earlier: [
        { pages: 1, gone: false },
        { pages: 512, gone: true },
      ],
      maxSegment: 65536n,
    };
    const text = "va=0x1000 pa=0x40000000+8K earlier=4K,2M- last=0xffffffff max-segment=64K";
    expect(caseText(each, { last: 0xffff_ffffn })).toBe(text);
    expect(parseCase("pa=0x40000000+8192", WIDEST)).toMatchObject({ case: { va: 0n }, window: { last: WIDEST } });
  });

  it.each([
    ["va=0x1000", /no pa=/],
    ["pa=0x1000", /"pa=0x1000".*size/],
    ["pa=0x1000+3", /multiple of 4096/],
    ["pa=0x1001+4K", /address is a multiple of 4096/],
    ["pa=0x1000+4K earlier=4X", /"earlier=4X"/],
    ["pa=0x1000+4K last=0x1000", /last is one less/],
    ["pa=0x1000+4K last=0xffffffffffffff", /at most 0xffffffffffff/],
    ["pa=0x1000+4K colour=red", /"colour=red"/],
    ["pa=0x1000+4K last=0xfff", /at least 0x1fff/],
    ["pa=0x1000+4K pa=0x3000+4K", /"pa=0x3000\+4K".*once/],
    ["pa=0x1000+4K=1", /"pa=0x1000\+4K=1".*NAME=VALUE/],
  ])("%s is refused", (text, message) => {
    expect(refused("invalid", () => parseCase(text, WIDEST)).message).toMatch(message);
  });
});

describe("the cases", () => {
  it("are the same for a seed, and others for another", () => {
    const take = (seed: number) => {
      const source = new CaseSource(findImporter("xe"), seed);
      return Array.from({ length: 2000 }, () => caseText(source.next(), { last: WIDEST }));
    };
    const enumerated = [...enumeratedCases()].length;
    const [one, same, other] = [take(1), take(1), take(2)];
    expect(same).toEqual(one);
    expect(other.slice(0, enumerated)).toEqual(one.slice(0, enumerated));
    expect(other.slice(enumerated)).not.toEqual(one.slice(enumerated));
    expect(new Set(one).size).toBeGreaterThan(1900);
  });

  it("have pieces, earlier mappings that went and that stayed, cut segments, and beginnings inside 2 MiB", () => {
    const source = new CaseSource(findImporter("xe"), 1);
    const cases = Array.from({ length: 3000 }, () => source.next());
    for (const property of [
      (each: (typeof cases)[number]) => each.pieces.length > 3,
      (each: (typeof cases)[number]) => each.earlier.some(({ gone }) => gone),
      (each: (typeof cases)[number]) => each.earlier.some(({ gone }) => !gone),
      (each: (typeof cases)[number]) => each.maxSegment !== null,
      (each: (typeof cases)[number]) => each.va % (512n * PAGE) === 511n * PAGE,
      (each: (typeof cases)[number]) => each.pieces.reduce((sum, { length }) => sum + length, 0n) > 2n ** 25n,
    ]) {
      expect(cases.filter(property).length).toBeGreaterThan(10);
    }
  });
});

describe("shrinking", () => {
  it("ends with the smallest case that fails", async () => {
    const thresholds = fc.record({ pages: fc.bigInt({ min: 1n, max: 700n }), earlier: fc.integer({ min: 0, max: 2 }) });
    await fc.assert(
      fc.asyncProperty(thresholds, async ({ pages, earlier }) => {
        const source = new CaseSource(findImporter("xe"), 5);
        const fails = ({ case: each }: { case: ReturnType<CaseSource["next"]> }): boolean =>
          each.pieces.reduce((sum, { length }) => sum + length, 0n) >= pages * PAGE && each.earlier.length >= earlier;
        let failing = source.next();
        while (!fails({ case: failing })) failing = source.next();
        const window = { last: 0xffff_ffffn };
        const least = await shrink({ case: failing, window }, WIDEST, async (candidate) => fails(candidate));
        expect(fails(least)).toBe(true);
        expect(least.case.pieces.map(({ length }) => length)).toEqual([pages * PAGE]);
        expect(least.case.earlier.map((each) => each.pages)).toEqual(Array.from({ length: earlier }, () => 1));
        expect(least.case).toMatchObject({ va: 0n, maxSegment: null });
      }),
      { numRuns: 20 },
    );
  });
});
