import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { MapRequest } from "../../src/importers/importer.js";
import { xe } from "../../src/importers/xe.js";
import { refused } from "../support/errors.js";
import { arbitraryRequest, bytes, checkTables, entriesText, pagesOf, request } from "./support.js";

describe("xe entries", () => {
  it.each([
    // One segment, virtual and DMA address aligned alike.
    ["a page", "4K", "4K@1M", "1x4K"],
    ["60 KiB have no 64 KiB", "1M", "60K@2M", "15x4K"],
    ["64 KiB aligned on both sides", "1M", "64K@2M", "1x64K"],
    ["64 KiB at an unaligned DMA address", "1M", "64K@2M+4K", "16x4K"],
    ["64 KiB at an unaligned virtual address", "1M+4K", "64K@2M", "16x4K"],
    ["64 KiB unaligned alike hold no aligned 64 KiB", "1M+4K", "64K@2M+4K", "16x4K"],
    ["124 KiB from 4 KiB past: head of 60, one of 64", "1M+4K", "124K@2M+4K", "15x4K 1x64K"],
    ["128 KiB from 4 KiB past: head 60, 64, tail 4", "1M+4K", "128K@2M+4K", "16x4K 1x64K"],
    ["congruent mod 32 KiB only", "1M", "128K@2M+32K", "32x4K"],
    ["2 MiB aligned", "2M", "2M@4M", "1x2M"],
    ["2 MiB congruent mod 64 KiB only", "2M", "2M@4M+64K", "32x64K"],
    ["2 MiB congruent mod 4 KiB only", "2M", "2M@4M+4K", "512x4K"],
    ["2 MiB less a page: 31 of 64 KiB, 15 pages", "2M", "2M-4K@4M", "15x4K 31x64K"],
    ["2 MiB and a page", "2M", "2M+4K@4M", "1x4K 1x2M"],
    ["2 MiB and 68 KiB", "2M", "2M+68K@4M", "1x4K 1x64K 1x2M"],
    ["4 MiB from the middle of a block", "1M", "4M@3M", "32x64K 1x2M"],
    ["4 MiB from 4 KiB past: 15 pages, 31x64K, 2 MiB, a page", "2M+4K", "4M@4M+4K", "16x4K 31x64K 1x2M"],
    ["a GiB", "1G", "1G@2G", "1x1G"],
    ["a GiB congruent mod 2 MiB only", "1G", "1G@2G+2M", "512x2M"],
    ["a GiB less a block", "1G", "1G-2M@2G", "511x2M"],
    ["2 GiB from 2 MiB past", "1G+2M", "2G@3G+2M", "512x2M 1x1G"],
    // Breaks inside the buffer.
    ["a break on a 2 MiB boundary", "2M", "2M@4M 2M@8M", "2x2M"],
    ["a break on a 64 KiB boundary inside a block", "2M", "1M@4M 1M@9M", "32x64K"],
    ["segments that touch do not join", "2M", "1M@4M 1M@5M", "32x64K"],
    ["a break inside 64 KiB: 31 whole ones", "2M", "1M+4K@4M 1M-4K@9M+4K", "16x4K 31x64K"],
    ["the second segment is not congruent", "2M", "2M@4M 2M@8M+4K", "512x4K 1x2M"],
    ["scattered 64 KiB chunks", "2M", "64K@1M 64K@3M 64K@6M", "3x64K"],
    ["scattered pages", "2M", "4K@1M 4K@3M 4K@6M", "3x4K"],
    ["a page, then aligned blocks: the VA is off", "2M", "4K@1M 2M@4M", "513x4K"],
    ["a page before blocks that are off alike", "2M-4K", "4K@1M 2M@4M", "1x4K 1x2M"],
    // Limits.
    ["the highest virtual page", "256T-4K", "4K@1M", "1x4K"],
    ["the highest DMA page of 46 bits", "1M", "4K@64T-4K", "1x4K"],
    ["VRAM and system memory in one buffer", "2M", "2M@4M:vram 64K@0", "1x64K 1x2M"],
  ])("%s", (_, va, layout, expected) => {
    const wanted = request(va, layout);
    expect(entriesText(xe().plan(wanted))).toBe(expected);
  });

  it.each([
    ["an unaligned DMA address", "1M", "4K@2M+2K", "misaligned", bytes("2M+2K")],
    ["an unaligned length", "1M", "4K@2M 6K@4M", "misaligned", bytes("4M+6K")],
    ["an unaligned virtual address", "1M+1K", "4K@2M", "misaligned", bytes("1M+1K")],
    ["a DMA address beyond 46 bits", "1M", "8K@64T-4K", "output-range", bytes("64T+4K-1")],
    ["a virtual address beyond 48 bits", "256T-4K", "8K@0", "input-range", bytes("256T-4K")],
  ] as const)("refuses %s", (_, va, layout, code, at) => {
    expect(refused(code, () => xe().map(request(va, layout))).at).toBe(at);
  });

  it("refuses 4 KiB of VRAM where the device needs 64 KiB", () => {
    const strict = xe({ vramNeeds64K: true });
    expect(entriesText(strict.plan(request("2M", "128K@1M:vram")))).toBe("2x64K");
    const error = refused("misaligned", () => strict.plan(request("2M", "64K@0 68K@1M:vram")));
    expect(error.message).toContain("segment 1");
  });
});

/** Page by page: the largest block around it that lies in one segment and is aligned on both sides. */
function slowSizes(wanted: MapRequest): Map<bigint, number> {
  const pages = new Map(pagesOf(wanted).map((page) => [page.va, page]));
  const pagesBySize = new Map<bigint, number>();
  for (const { va } of pages.values()) {
    const size = [2n << 20n, 64n << 10n, 4096n].find((candidate) => {
      const start = va - (va % candidate);
      const first = pages.get(start);
      if (!first || first.address % candidate !== 0n) return false;
      for (let offset = 0n; offset < candidate; offset += 4096n) {
        if (pages.get(start + offset)?.segment !== first.segment) return false;
      }
      return true;
    }) as bigint;
    pagesBySize.set(size, (pagesBySize.get(size) ?? 0) + 1);
  }
  return new Map([...pagesBySize].map(([size, count]) => [size, count / Number(size / 4096n)]));
}

describe("xe tables", () => {
  it("chooses sizes as the page-by-page model does", () => {
    fc.assert(
      fc.property(arbitraryRequest({ maxPages: 1100 }), (wanted) => {
        const { entries } = xe().plan(wanted);
        expect(new Map([...entries].sort())).toEqual(new Map([...slowSizes(wanted)].sort()));
      }),
      { numRuns: 60 },
    );
  });

  it.each([1255, 1200])("leads every page to its segment, graphics %i", (graphics) => {
    fc.assert(
      fc.property(arbitraryRequest({ maxPages: 600 }), (wanted) => checkTables(xe({ graphics }), wanted)),
      { numRuns: 20 },
    );
  });

  it("writes a compact table only where 64 KiB entries fill a block, and only from 12.50 on", () => {
    const full = request("2M", "1M@4M 1M@9M");
    expect(xe().map(full).leafWords).toBe(32);
    expect(xe({ graphics: 1200 }).map(full).leafWords).toBe(512);
    expect(xe().map(request("2M", "2M-64K@4M+64K")).leafWords).toBe(31 * 16);
    checkTables(xe(), full);
    checkTables(xe({ vaBits: 57 }), request("256T", "2M+4K@4M"));
  });

  it("writes entries bit for bit", () => {
    const { memory } = xe().map(request("2M", "2M@4M:vram 64K@1M 4K@3M"));
    const words = [...memory.words()].map(({ word }) => word);
    // Root, then the level-2 table, the level-1 table with a 2 MiB page in VRAM, and the page table.
    expect(words.slice(0, 4)).toEqual([0x101003n, 0x102003n, 0x400883n, 0x103003n]);
    expect(words.slice(4)).toEqual([
      ...Array.from({ length: 16 }, (_, index) => 0x100103n + BigInt(index) * 0x1000n),
      0x300003n,
    ]);
  });

  it("hints at the largest entry that fits between aligned virtual addresses", () => {
    const { hint } = xe();
    expect(hint({ va: bytes("1G+4K"), length: bytes("64M") }).congruentTo?.value).toEqual({
      address: bytes("1G+4K"),
      modulus: bytes("2M"),
    });
    expect(hint({ va: bytes("1G"), length: bytes("1G") }).congruentTo?.value.modulus).toBe(bytes("1G"));
    expect(hint({ va: bytes("4K"), length: bytes("124K") }).congruentTo?.value.modulus).toBe(bytes("64K"));
    expect(hint({ va: bytes("4K"), length: bytes("64K") }).indifferent).toBeDefined();
    expect(hint({ va: bytes("1G"), length: bytes("1G"), memory: "vram" }).indifferent).toBeDefined();
  });
});
