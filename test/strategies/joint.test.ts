import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { dmaAddress } from "../../src/engine/addresses.js";
import { findImporter } from "../../src/importers/importers.js";
import type { Importer } from "../../src/importers/importer.js";
import { candidateName, whyChosen } from "../../src/report/trade.js";
import { JointScorer, parseWeights } from "../../src/strategies/joint.js";

const LEAVES = 0x20_1000n;
const xe = findImporter("xe") as Importer;
const scorer = (weights = { iommu: 1, importer: 1, space: 0 }) =>
  new JointScorer({ importer: xe, weights, pageSizes: LEAVES });

/** Leaves and entries of one piece at one IOVA, page by page. */
function exactly(virtualPage: number, physicalPage: number, pages: number, iovaPage: number): [number, number] {
  let leaves = 0;
  for (let at = 0; at < pages; ) {
    const fits = (iovaPage + at) % 512 === 0 && (physicalPage + at) % 512 === 0 && pages - at >= 512;
    at += fits ? 512 : 1;
    leaves++;
  }
  const segment = { address: dmaAddress(BigInt(iovaPage) * 4096n), length: BigInt(pages) * 4096n };
  return [leaves, xe.plan({ va: BigInt(virtualPage) * 4096n, segments: [segment] }).total];
}

describe("joint", () => {
  it("scores what each side wants, and chooses by the weights", () => {
    // 4 MiB, one 64 KiB into its virtual 2 MiB, one 4 KiB into its physical.
    const pieces = [{ physicalPage: 512 + 1, pages: 1024 }];
    const candidates = scorer().candidates(16, pieces);
    expect(
      candidates.map((each) => [
        candidateName(each),
        each.address,
        each.iommuLeaves,
        each.importerEntries,
        each.spacePages,
      ]),
    ).toEqual([
      ["anywhere", 0, 1024, 1024, 1024],
      ["VA modulo 64K", 0, 1024, 64, 1039],
      ["VA modulo 2M", 16, 1024, 33, 1535],
      ["PA modulo 2M", 1, 513, 1024, 1535],
    ]);
    const chosen = (iommu: number, importer: number, space: number) =>
      candidateName(JointScorer.best(scorer({ iommu, importer, space }).candidates(16, pieces)));
    expect(chosen(1, 1, 0)).toBe("VA modulo 2M");
    expect(chosen(3, 1, 0)).toBe("PA modulo 2M");
    expect(chosen(1, 1, 1)).toBe("VA modulo 64K");
    expect(chosen(0, 0, 1)).toBe("anywhere");
  });

  it("says why: the runner-up and its score, or that it takes more space", () => {
    const candidates = scorer().candidates(16, [{ physicalPage: 513, pages: 1024 }]);
    expect(whyChosen(candidates, JointScorer.best(candidates))).toMatch(
      /^score \d+ is the lowest; VA modulo 64K would score 1088$/,
    );
    const free = scorer({ iommu: 0, importer: 0, space: 0 }).candidates(16, [{ physicalPage: 513, pages: 1024 }]);
    expect(whyChosen(free, JointScorer.best(free))).toBe(
      "score 0 is shared with VA modulo 64K, which takes more space",
    );
    expect(whyChosen(free.slice(0, 1), free[0])).toBe("there is no other candidate");
  });

  it("promises no less than any IOVA has, and its best is the best of all IOVAs", () => {
    const buffer = fc.record({
      virtualPage: fc.integer({ min: 0, max: 1500 }),
      physicalPage: fc.integer({ min: 0, max: 1500 }),
      pages: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 500, max: 1600 })),
      iommu: fc.integer({ min: 0, max: 3 }),
      importer: fc.integer({ min: 0, max: 3 }),
    });
    fc.assert(
      fc.property(buffer, ({ virtualPage, physicalPage, pages, iommu, importer }) => {
        const candidates = scorer({ iommu, importer, space: 0 }).candidates(virtualPage, [{ physicalPage, pages }]);
        const best = JointScorer.best(candidates);
        let least = Number.POSITIVE_INFINITY;
        for (let residue = 0; residue < 512; residue++) {
          const [leaves, entries] = exactly(virtualPage, physicalPage, pages, 2 ** 20 + residue);
          least = Math.min(least, iommu * leaves + importer * entries);
          for (const { modulus, address, iommuLeaves, importerEntries } of candidates) {
            if (residue % modulus !== address) continue;
            expect(leaves).toBeLessThanOrEqual(iommuLeaves);
            expect(entries).toBeLessThanOrEqual(importerEntries);
          }
        }
        expect(best.score).toBe(least);
      }),
      { numRuns: 25 },
    );
  });

  it.each([
    ["iommu=2", { iommu: 2, importer: 1, space: 0 }],
    ["space=0.25,importer=0", { iommu: 1, importer: 0, space: 0.25 }],
    ["iommu", null],
    ["iommu=-1", null],
    ["leaves=1", null],
    ["", null],
  ])("weights %j", (text, expected) => {
    expect(parseWeights(text)).toEqual(expected);
  });
});
