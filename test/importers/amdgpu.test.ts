import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { amdgpu } from "../../src/importers/amdgpu.js";
import { refused } from "../support/errors.js";
import { arbitraryRequest, bytes, checkTables, entriesText, pagesOf, request } from "./support.js";

describe("amdgpu fragments", () => {
  it.each([
    ["a page", "4K", "4K@1M", "1x4K"],
    ["two pages at an even page", "8K", "8K@1M", "1x8K"],
    ["two pages at an odd page", "4K", "8K@1M", "2x4K"],
    ["three pages at an even page", "8K", "12K@1M", "1x4K 1x8K"],
    ["three pages at an odd page", "4K", "12K@1M", "1x4K 1x8K"],
    ["four pages at an odd page", "4K", "16K@1M", "2x4K 1x8K"],
    ["virtual address 0 limits nothing", "0", "1M@4K", "1x1M"],
    ["64 KiB aligned, wherever it is", "64K", "64K@1M+4K", "1x64K"],
    ["60 KiB aligned: falling", "64K", "60K@1M", "1x4K 1x8K 1x16K 1x32K"],
    ["60 KiB from 4 KiB past: rising", "4K", "60K@1M", "1x4K 1x8K 1x16K 1x32K"],
    ["rising and falling", "4K", "28K@1M", "1x4K 1x8K 1x16K"],
    ["rising to 64 KiB, falling again", "4K", "184K@1M", "2x4K 2x8K 2x16K 2x32K 1x64K"],
    ["2 MiB aligned", "2M", "2M@1M+4K", "1x2M"],
    ["2 MiB from a MiB past", "1M", "2M@4M", "2x1M"],
    ["4 MiB at an odd block", "2M", "4M@8M", "2x2M"],
    ["3 MiB aligned", "4M", "3M@8M", "1x1M 1x2M"],
    ["a GiB", "1G", "1G@4K", "1x1G"],
    ["a GiB from 512 MiB past", "512M", "1G@4K", "2x512M"],
    ["512 MiB", "512M", "512M@4K", "1x512M"],
    ["4 GiB", "4G", "4G@8G", "1x4G"],
    // Runs.
    ["segments that touch are one run", "64K", "32K@1M 32K@1M+32K", "1x64K"],
    ["segments apart", "64K", "32K@1M 32K@2M", "2x32K"],
    ["a break off a boundary", "64K", "20K@1M 44K@2M", "2x4K 1x8K 1x16K 1x32K"],
    ["scattered pages have no fragments", "64K", "4K@1M 4K@3M 4K@6M 4K@9M", "4x4K"],
    ["a run behind a single page", "64K", "4K@1M 8K@3M 4K@9M", "4x4K"],
    ["a run behind two single pages", "64K", "4K@1M 4K@3M 8K@9M", "2x4K 1x8K"],
    ["VRAM comes block by block", "64K", "32K@1M:vram 32K@1M+32K:vram", "2x32K"],
    ["VRAM is no part of a run of system memory", "64K", "32K@1M 32K@1M+32K:vram", "2x32K"],
    ["registers of another device", "64K", "64K@1M:mmio", "1x64K"],
    ["the highest virtual page", "256T-4K", "4K@1M", "1x4K"],
    ["the highest DMA page of 44 bits", "4K", "4K@16T-4K", "1x4K"],
  ])("%s", (_, va, layout, expected) => {
    expect(entriesText(amdgpu().plan(request(va, layout)))).toBe(expected);
  });

  it.each([
    ["a DMA address beyond 44 bits", "4K", "8K@16T-4K", "output-range"],
    ["an unaligned segment", "4K", "4K@1M+512", "misaligned"],
    ["a virtual address beyond 48 bits", "256T", "4K@1M", "input-range"],
  ] as const)("refuses %s", (_, va, layout, code) => {
    expect(refused(code, () => amdgpu().plan(request(va, layout))).message).toContain("amdgpu");
  });

  it("takes a virtual address of 57 bits on GFX12.1", () => {
    const importer = amdgpu({ generation: "gfx12.1" });
    checkTables(importer, request("256T", "2M+4K@1M"));
    refused("input-range", () => importer.plan(request("128G+131072T", "4K@1M")));
  });
});

describe("amdgpu tables", () => {
  it("chooses fragments as the page-by-page model does", () => {
    fc.assert(
      fc.property(arbitraryRequest({ maxPages: 1100 }), (wanted) => {
        const pages = pagesOf(wanted);
        const counts = new Map<bigint, number>();
        for (let index = 0; index < pages.length; ) {
          // The longest aligned power of two of pages from here that stay contiguous.
          let size = 1;
          const contiguous = (count: number): boolean =>
            pages[index].va % (BigInt(count) * 4096n) === 0n &&
            index + count <= pages.length &&
            pages
              .slice(index, index + count)
              .every(({ address }, at) => address === pages[index].address + BigInt(at) * 4096n);
          while (contiguous(size * 2)) size *= 2;
          const key = BigInt(size) * 4096n;
          counts.set(key, (counts.get(key) ?? 0) + 1);
          index += size;
        }
        expect(new Map([...amdgpu().plan(wanted).entries].sort())).toEqual(new Map([...counts].sort()));
      }),
      { numRuns: 60 },
    );
  });

  it.each(["gfx9", "gfx10", "gfx11", "gfx12", "gfx12.1"] as const)(
    "leads every page to its segment, %s",
    (generation) => {
      fc.assert(
        fc.property(arbitraryRequest({ maxPages: 600 }), (wanted) => checkTables(amdgpu({ generation }), wanted)),
        { numRuns: 15 },
      );
    },
  );

  it.each([
    ["64K", "64K@1M", 16],
    ["2M", "2M@4M", 1],
    ["4M", "4M@8M", 2],
    ["1G", "1G@2G", 1],
    ["2G", "2G@2G", 2],
  ])("writes a fragment at %s into the highest level that it fills: %s in %i words", (va, layout, words) => {
    expect(amdgpu().map(request(va, layout)).leafWords).toBe(words);
    checkTables(amdgpu(), request(va === "1G" || va === "2G" ? "2M" : va, layout.replace(/\dG@/, "2M@")));
  });

  it.each([
    // FRAG 9, address, write, read, execute, snooped, system, valid; PDE_PTE.
    ["gfx9", 0x0040_0000_0000_0000n | 0x40_04f7n],
    ["gfx11", 0x0040_0000_0000_0000n | 0x40_04f7n],
    ["gfx12", 0x8000_0000_0000_0000n | 0x40_04f7n],
  ] as const)("writes a directory entry that is a page, %s", (generation, word) => {
    const { memory } = amdgpu({ generation }).map(request("2M", "2M@4M"));
    expect([...memory.words()].map((at) => at.word)).toEqual([0x101001n, 0x102001n, word]);
  });

  it("marks every page on GFX12", () => {
    const { memory } = amdgpu({ generation: "gfx12" }).map(request("4K", "4K@1M:vram"));
    expect([...memory.words()].at(-1)?.word).toBe(0x8000_0000_0010_0071n);
  });

  it("asks for contiguity and for no address", () => {
    const hint = amdgpu().hint({ va: bytes("2M"), length: bytes("2M") });
    expect(hint.indifferent?.reason).toContain("wherever");
    expect(hint.singleSegment?.strength).toBe("prefer");
    expect(hint.addressLimit?.value).toBe(bytes("16T-1"));
  });
});
