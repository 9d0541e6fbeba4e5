import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { physicalAddress } from "../../src/engine/addresses.js";
import { host1x } from "../../src/importers/host1x.js";
import type { MapRequest } from "../../src/importers/importer.js";
import { refused } from "../support/errors.js";
import { arbitraryRequest, checkTables, request as dmaRequest } from "./support.js";

type PhysicalRequest = MapRequest<ReturnType<typeof physicalAddress>>;

function physical({ segments, ...rest }: MapRequest): PhysicalRequest {
  return { ...rest, segments: segments.map((one) => ({ ...one, address: physicalAddress(one.address) })) };
}

function request(va: string, layout: string): PhysicalRequest {
  return physical(dmaRequest(va, layout));
}

describe("host1x in the shared domain", () => {
  it.each([
    // private IOVA, memory, pages, tables of 4 KiB: the directory and page tables of 4 MiB
    ["a page", "0", "4K@1M", 1, 2],
    ["a page at the end of a page table", "4M-4K", "4K@1M", 1, 2],
    ["two pages", "1M", "8K@1M", 2, 2],
    ["two pages across page tables", "4M-4K", "8K@1M", 2, 3],
    ["64 KiB aligned on both sides are 16 pages", "64K", "64K@1M", 16, 2],
    ["2 MiB aligned on both sides", "2M", "2M@4M", 512, 2],
    ["4 MiB aligned: a page table full", "4M", "4M@8M", 1024, 2],
    ["4 MiB and a page", "4M", "4M+4K@8M", 1025, 3],
    ["4 MiB from a page past", "4M+4K", "4M@8M", 1024, 3],
    ["8 MiB", "8M", "8M@16M", 2048, 3],
    ["12 MiB from 2 MiB past", "2M", "12M@16M", 3072, 5],
    ["scattered pages", "1M", "4K@1M 4K@5M 4K@9M", 3, 2],
    ["scattered chunks", "1M", "64K@1M 64K@5M", 32, 2],
    ["segments that touch", "1M", "4K@1M 4K@1M+4K", 2, 2],
    ["a break at a page table's end", "4M-8K", "8K@1M 8K@5M", 4, 3],
    ["the last page of 32 bits", "4G-4K", "4K@1M", 1, 2],
    ["the last page table", "4G-4M", "4M@1M", 1024, 2],
    ["memory above 4 GiB", "1M", "4K@5G", 1, 2],
    ["the last physical page of 34 bits", "1M", "4K@16G-4K", 1, 2],
    ["page 0 of physical memory", "1M", "4K@0", 1, 2],
    ["registers of another device", "1M", "4K@0x50000000:mmio", 1, 2],
    ["an IOVA that agrees with nothing", "0x12345000", "16K@0x98760000", 4, 2],
    ["congruent modulo 4 MiB", "0x40400000", "4M@0x80400000", 1024, 2],
    ["four page tables", "0", "16M@64M", 4096, 5],
  ])("%s", (_, va, layout, pages, tables) => {
    const mapping = host1x().map(request(va, layout));
    expect([mapping.total, mapping.leafWords, mapping.tableBytes]).toEqual([pages, pages, tables * 4096]);
    expect(mapping.tidiness).toBe(1);
  });

  it.each([
    ["an IOVA of 32 bits that overflows", "4G-4K", "8K@1M", 34, "input-range"],
    ["an IOVA above 32 bits", "4G", "4K@1M", 34, "input-range"],
    ["an IOVA inside a page", "100", "4K@1M", 34, "misaligned"],
    ["memory inside a page", "1M", "4K@1M+2K", 34, "misaligned"],
    ["memory above 34 bits", "1M", "4K@16G", 34, "output-range"],
    ["memory above 32 bits on Tegra30", "1M", "4K@4G", 32, "output-range"],
    ["half a page", "1M", "2K@1M", 34, "misaligned"],
    ["memory of a graphics card", "1M", "4K@1M:vram", 34, "invalid"],
  ] as const)("refuses %s", (_, va, layout, addressBits, code) => {
    expect(refused(code, () => host1x({ addressBits }).map(request(va, layout))).message).toContain("host1x");
  });

  it("leads every page to its memory", () => {
    fc.assert(
      fc.property(arbitraryRequest({ maxPages: 1100 }), (wanted) => checkTables(host1x(), physical(wanted))),
      { numRuns: 15 },
    );
  });

  it("writes 4-byte entries bit for bit", () => {
    const { memory } = host1x().map(request("4M+4K", "4K@0x123456000"));
    expect([...memory.words()]).toEqual([
      { address: 0x100004n, word: 0xf0000101n },
      { address: 0x101004n, word: 0xe0123456n },
    ]);
  });

  it("takes physical memory at a private IOVA, and does not care which", () => {
    expect(host1x().addresses).toBe("physical");
    expect(host1x().hint({ va: 0n, length: 4096n }).indifferent?.reason).toContain("4 KiB");
  });
});
