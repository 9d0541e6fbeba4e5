import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { physicalAddress } from "../../src/engine/addresses.js";
import { attainable, type Domain, dmaSegments, iovaSpan, type Piece } from "../../src/importers/attainable.js";
import { i915 } from "../../src/importers/i915.js";
import type { Importer } from "../../src/importers/importer.js";
import { mlx5 } from "../../src/importers/mlx5.js";
import { xe } from "../../src/importers/xe.js";
import { refused } from "../support/errors.js";
import { bytes } from "./support.js";

function pieces(text: string): Piece[] {
  return text.split(" ").map((part) => {
    const [length, place] = part.split("@");
    return { physical: physicalAddress(bytes(place)), length: bytes(length) };
  });
}

describe("DMA segments of a buffer", () => {
  it.each([
    ["scattered pages are one segment", "4K@1M 4K@3M 8K@7M", "4K", undefined, ["16K@64K"], "16K"],
    ["the first piece keeps its offset", "3K@1M+1K 4K@3M", "4K", undefined, ["7K@65K"], "8K"],
    ["a piece that ends inside a granule ends the segment", "2K@1M 4K@3M", "4K", undefined, ["2K@64K", "4K@68K"], "8K"],
    ["4 KiB pieces under granules of 64 KiB", "4K@1M 4K@3M", "64K", undefined, ["4K@64K", "4K@128K"], "128K"],
    ["the longest segment", "8K@1M 8K@3M 8K@7M", "4K", "16K", ["16K@64K", "8K@80K"], "24K"],
  ])("%s", (_, layout, granule, maxSegment, expected, span) => {
    const domain = { granule: bytes(granule), ...(maxSegment === undefined ? {} : { maxSegment: bytes(maxSegment) }) };
    const made = dmaSegments(pieces(layout), 65536n, domain);
    expect(made.map(({ address, length }) => [length, address])).toEqual(
      expected.map((part) => part.split("@").map(bytes)),
    );
    expect(iovaSpan(pieces(layout), domain.granule)).toBe(bytes(span));
  });
});

describe("attainable", () => {
  const wide: Domain = { granule: 4096n, last: (1n << 46n) - 1n };

  it.each([
    ["scattered pages, joined by the IOMMU", xe(), "2M", "1M@1M+4K 1M@64M+8K", wide, 1],
    ["a virtual address off a block", xe(), "2M+4K", "4M@4M", wide, 48],
    [
      "no congruent IOVA in a small domain",
      xe(),
      "2M",
      "2M@4M",
      { granule: 4096n, first: 4096n, last: bytes("2M+512K") },
      32,
    ],
    ["just enough room for a congruent one", xe(), "2M", "2M@4M", { granule: 4096n, last: bytes("4M-1") }, 1],
    ["segments that may not join", xe(), "2M", "1M@1M 1M@64M", { ...wide, maxSegment: bytes("1M") }, 32],
    ["a region in one page", mlx5(), "4K", "64M@4M", wide, 1],
    ["gaps between pieces under granules of 64 KiB", mlx5(), "0", "4K@0 4K@64K", { ...wide, granule: 65536n }, 2],
    [
      "a page and a MiB behind a gap: the IOVA follows the MiB",
      xe(),
      "2M",
      "4K@0 1M@4K",
      { ...wide, granule: 16384n },
      1 + 16 + 15,
    ],
    ["an i915 table of 64 KiB pages", i915({ generation: "gen9" }), "2M", "2M@1M+4K", wide, 32],
  ])("%s", (_, importer, va, layout, domain, expected) => {
    expect(attainable(importer, { va: bytes(va), pieces: pieces(layout) }, domain).total).toBe(expected);
  });

  it("without an IOMMU is what the physical addresses give", () => {
    const buffer = { va: bytes("2M"), pieces: pieces("1M@4M 1M@9M+4K") };
    expect(attainable(xe(), buffer, null)).toEqual({ total: 16 + 256, iova: null });
  });

  it("says so when the domain has no room", () => {
    const buffer = { va: bytes("2M"), pieces: pieces("2M@4M") };
    const small = { granule: 4096n, last: bytes("2M-1") };
    expect(refused("space-exhausted", () => attainable(xe(), buffer, small)).message).toContain("0x200000");
  });

  it("throws what the importer refuses everywhere", () => {
    const buffer = { va: 0x1080n, pieces: pieces("4K@4M") };
    refused("misaligned", () => attainable(mlx5(), buffer, wide));
  });

  const importers: [string, Importer][] = [
    ["mlx5", mlx5()],
    ["mlx5-ksm", mlx5({ mode: "ksm" })],
    ["xe", xe()],
    ["i915", i915()],
    ["i915 xehp", i915({ generation: "xehp" })],
  ];

  it.each(importers)("no IOVA of a small domain does better, and the one named attains it: %s", (_, importer) => {
    const buffer = fc.record({
      va: fc.tuple(fc.bigInt({ min: 0n, max: 2n }), fc.constantFrom(0n, 1n, 16n, 496n)),
      parts: fc.array(
        fc.record({
          length: fc.constantFrom(1n, 15n, 16n, 17n, 32n, 512n, 528n),
          physical: fc.bigInt({ min: 0n, max: 4096n }),
        }),
        { minLength: 1, maxLength: 4 },
      ),
      first: fc.bigInt({ min: 0n, max: 600n }),
      room: fc.constantFrom(0n, 5n, 40n, 520n),
      granule: fc.constantFrom(4096n, 4096n, 16384n, 65536n),
      maxSegment: fc.constantFrom(undefined, 65536n, 1n << 20n),
    });
    fc.assert(
      fc.property(buffer, ({ va: [block, page], parts, first, room, granule, maxSegment }) => {
        const va = (block * 512n + page) * 4096n;
        const made = parts.map(({ length, physical }) => ({
          physical: physicalAddress(physical * 4096n),
          length: length * 4096n,
        }));
        const last = (first + room) * 4096n + iovaSpan(made, granule) + 2n * granule;
        const domain = { granule, first: first * 4096n, last, ...(maxSegment === undefined ? {} : { maxSegment }) };
        const totalAt = (iova: bigint): number =>
          importer.plan({ va, segments: dmaSegments(made, iova, domain) }).total;
        let fewest = Number.POSITIVE_INFINITY;
        for (let iova = 0n; iova + iovaSpan(made, granule) <= last + 1n; iova += granule) {
          if (iova >= domain.first) fewest = Math.min(fewest, totalAt(iova));
        }
        const best = attainable(importer, { va, pieces: made }, domain);
        expect(best.total).toBe(fewest);
        expect(totalAt(best.iova as bigint)).toBe(fewest);
      }),
      { numRuns: 40 },
    );
  });
});
