import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { i915, type I915Options } from "../../src/importers/i915.js";
import type { MapRequest } from "../../src/importers/importer.js";
import { refused } from "../support/errors.js";
import { arbitraryRequest, bytes, checkTables, entriesText, pagesOf, request } from "./support.js";

type Generation = NonNullable<I915Options["generation"]>;

function entries(generation: Generation, va: string, layout: string): string {
  return entriesText(i915({ generation }).plan(request(va, layout)));
}

describe("i915 entries before Xe-HP", () => {
  it.each([
    ["gen8", "gen 8 has pages of 4 KiB only", "2M", "2M@4M", "512x4K"],
    ["gen9", "gen 9 has no 2 MiB", "2M", "2M@4M", "32x64K"],
    ["gen11", "2 MiB aligned", "2M", "2M@4M", "1x2M"],
    ["gen11", "2 MiB congruent mod 64 KiB only", "2M", "2M@4M+64K", "32x64K"],
    ["gen11", "2 MiB congruent mod 4 KiB only", "2M", "2M@4M+4K", "512x4K"],
    ["gen11", "64 KiB at a table's start, padded", "2M", "64K@1M", "1x64K"],
    ["gen11", "68 KiB: the last chunk is cut, so no 64 KiB at all", "2M", "68K@1M", "17x4K"],
    ["gen11", "64 KiB not at a table's start", "2M+64K", "64K@1M", "16x4K"],
    ["gen11", "2 MiB and 64 KiB", "2M", "2M+64K@4M", "1x64K 1x2M"],
    ["gen11", "2 MiB and a page", "2M", "2M+4K@4M", "1x4K 1x2M"],
    ["gen11", "4 MiB from the middle of a block: 4 KiB to its end", "1M", "4M@3M", "256x4K 16x64K 1x2M"],
    ["gen11", "two segments fill a table", "2M", "1M@4M 1M@9M", "32x64K"],
    ["gen11", "the second is unaligned: the whole table is 4 KiB", "2M", "1M@4M 1M@9M+4K", "512x4K"],
    ["gen11", "the first is cut inside a chunk", "2M", "1M+4K@4M 1M-4K@9M+4K", "512x4K"],
    ["gen11", "a long second segment fills the table", "2M", "1M@4M 1M+4K@9M", "1x4K 32x64K"],
    ["gen11", "three segments of one chunk", "2M", "64K@1M 64K@3M 64K@6M", "3x64K"],
    ["gen11", "a page at the end spoils a padded table", "2M", "64K@1M 64K@3M 4K@6M", "33x4K"],
    ["gen11", "blocks behind a page", "2M-4K", "4K@1M 2M@4M", "1x4K 1x2M"],
    ["gen11", "blocks off by a page", "2M", "4K@1M 2M@4M", "513x4K"],
    ["gen11", "two aligned blocks apart", "2M", "2M@4M 2M@8M", "2x2M"],
    ["gen11", "a GiB is 512 blocks", "1G", "1G@2G", "512x2M"],
    ["gen11", "a GiB off by 64 KiB", "1G", "1G@2G+64K", "16384x64K"],
    ["gen11", "segments that touch do not join", "2M", "1M@4M 1M@5M", "32x64K"],
    ["gen11", "the highest DMA page of 39 bits", "2M", "4K@512G-4K", "1x4K"],
  ] as const)("%s: %s", (generation, _, va, layout, expected) => {
    expect(entries(generation, va, layout)).toBe(expected);
  });

  it("leaves a table that is not full to 4 KiB where nothing is padded", () => {
    const bare = i915({ scratch64K: false });
    expect(entriesText(bare.plan(request("2M", "64K@1M")))).toBe("16x4K");
    expect(entriesText(bare.plan(request("2M", "2M@4M+64K")))).toBe("32x64K");
  });
});

describe("i915 entries on Xe-HP", () => {
  it.each([
    ["64 KiB anywhere aligned", "2M+64K", "64K@1M", "1x64K"],
    ["68 KiB", "2M", "68K@1M", "1x4K 1x64K"],
    ["64 KiB at an unaligned DMA address", "2M", "64K@1M+4K", "16x4K"],
    ["from 4 KiB past: 4 KiB to the end of the table", "2M+4K", "2M@4M+4K", "512x4K"],
    ["from 4 KiB past, into the next table", "2M+4K", "4M@4M+4K", "512x4K 1x2M"],
    ["from 64 KiB past", "2M+64K", "2M-64K@4M+64K", "31x64K"],
    ["2 MiB aligned", "2M", "2M@4M", "1x2M"],
    ["2 MiB off by 64 KiB", "2M", "2M@4M+64K", "32x64K"],
    ["a page between: 4 KiB from there to the end of the table", "2M", "64K@1M 4K@3M 64K@6M", "17x4K 1x64K"],
    ["an unaligned second segment", "2M", "64K@1M 64K@3M+4K", "16x4K 1x64K"],
    ["a cut chunk inside a segment", "2M", "1M+4K@4M 1M-4K@9M+4K", "256x4K 16x64K"],
    ["local memory fills a table", "2M", "1M@4M:vram 1M@9M+64K:vram", "32x64K"],
    ["local memory, part of a table", "2M", "1M@4M:vram", "16x64K"],
    ["local memory in blocks", "2M", "4M@4M:vram", "2x2M"],
  ])("%s", (_, va, layout, expected) => {
    expect(entries("xehp", va, layout)).toBe(expected);
  });

  it("writes local memory that fills a table as a compact one, the rest with PS64", () => {
    const importer = i915({ generation: "xehp" });
    expect(importer.map(request("2M", "2M@4M+64K:vram")).leafWords).toBe(32);
    expect(importer.map(request("2M", "2M@4M+64K")).leafWords).toBe(512);
    expect(importer.map(request("2M", "1M@4M:vram")).leafWords).toBe(256);
  });

  it.each([
    ["local memory that is not in 64 KiB", "2M", "68K@4M:vram", "misaligned", "segment 0"],
    ["an object half in local memory", "2M", "64K@4M:vram 64K@1M", "invalid", "segment 1"],
    ["a DMA address beyond 46 bits", "2M", "4K@64T", "output-range", "segment 0"],
  ] as const)("refuses %s", (_, va, layout, code, what) => {
    expect(refused(code, () => i915({ generation: "xehp" }).plan(request(va, layout))).message).toContain(what);
  });

  it("refuses a DMA address beyond the 39 bits of older generations", () => {
    expect(refused("output-range", () => i915().plan(request("2M", "8K@512G-4K"))).at).toBe(bytes("512G+4K-1"));
  });
});

/** Pages of each size, from what the rules say of each block of 2 MiB and each chunk of 64 KiB in it. */
function slowPages(wanted: MapRequest, generation: "gen11" | "xehp"): Map<bigint, number> {
  const pages = new Map(pagesOf(wanted).map((page) => [page.va, page]));
  const whole = (start: bigint, size: bigint): boolean => {
    const first = pages.get(start);
    if (!first || first.address % size !== 0n) return false;
    for (let offset = 0n; offset < size; offset += 4096n) {
      if (pages.get(start + offset)?.segment !== first.segment) return false;
    }
    return true;
  };
  const counts = new Map<bigint, number>();
  const count = (size: bigint): void => void counts.set(size, (counts.get(size) ?? 0) + 1);
  const first = wanted.va as bigint;
  const last = first + BigInt(pages.size) * 4096n;
  for (let block = first - (first % bytes("2M")); block < last; block += bytes("2M")) {
    const start = block > first ? block : first;
    const end = block + bytes("2M") < last ? block + bytes("2M") : last;
    if (whole(block, bytes("2M"))) {
      count(bytes("2M"));
      continue;
    }
    let large = generation === "xehp" || (start === block && (end - start) % 65536n === 0n);
    for (let at = start; generation === "gen11" && at < end; at += 65536n) large &&= whole(at, 65536n);
    for (let at = start; at < end; ) {
      large &&= at % 65536n === 0n && at + 65536n <= end && whole(at, 65536n);
      count(large ? 65536n : 4096n);
      at += large ? 65536n : 4096n;
    }
  }
  return counts;
}

describe("i915 tables", () => {
  it.each(["gen11", "xehp"] as const)("chooses sizes as the slow model does, %s", (generation) => {
    fc.assert(
      fc.property(arbitraryRequest({ maxPages: 1100 }), (wanted) => {
        const planned = i915({ generation }).plan(wanted).entries;
        expect(new Map([...planned].sort())).toEqual(new Map([...slowPages(wanted, generation)].sort()));
      }),
      { numRuns: 60 },
    );
  });

  it.each([
    ["gen8", 0],
    ["gen9", 15],
    ["gen11", 15],
    ["xehp", 0],
  ] as const)("leads every page to its segment, %s", (generation, unread) => {
    const wanted = arbitraryRequest({ maxPages: 600 });
    fc.assert(
      fc.property(wanted, (one) => checkTables(i915({ generation }), one, unread)),
      { numRuns: 15 },
    );
  });

  it("leads every page of local memory to its place", () => {
    const wanted = arbitraryRequest({ maxPages: 48, page: 65536n, memory: "vram" });
    fc.assert(
      fc.property(wanted, (one) => checkTables(i915({ generation: "xehp" }), one)),
      { numRuns: 15 },
    );
  });

  it.each([
    [{}, "68K@1M", 2],
    [{ scratch64K: false }, "68K@1M", 17],
    [{ scratch64K: false }, "2M+64K@1M", 17],
    [{ generation: "gen9", scratch64K: false }, "2M+64K@1M", 48],
    [{ generation: "gen9" }, "2M+68K@1M", 34],
    [{ generation: "gen8" }, "2M@1M", 512],
    [{ generation: "xehp" }, "2M+68K@1M", 3],
  ] as const)("has the fewest entries that any place gives, %j for %s", (options, layout, ideal) => {
    expect(i915(options).plan(request("2M", layout)).ideal).toBe(ideal);
  });

  it("reaches them with odd pages in front", () => {
    expect(i915().plan(request("2M-4K", "68K@4M-4K"))).toMatchObject({ total: 2, ideal: 2, tidiness: 1 });
  });

  it("asks for 64 KiB only where a table begins in the buffer", () => {
    const inside = { va: bytes("2M+64K"), length: bytes("1M") };
    expect(i915().hint(inside).indifferent).toBeDefined();
    expect(i915({ generation: "xehp" }).hint(inside).congruentTo?.value.modulus).toBe(65536n);
    expect(i915().hint({ ...inside, va: bytes("2M-64K") }).congruentTo?.value.modulus).toBe(65536n);
  });

  it("marks the directory entry of a table of 64 KiB pages", () => {
    const ips = i915().map(request("2M", "64K@1M"));
    const words = [...ips.memory.words()].map(({ word }) => word);
    expect(words.slice(0, 4)).toEqual([0x101003n, 0x102003n, 0x103803n, 0x100003n]);
    expect(ips.leafWords).toBe(16);
    const compact = i915({ generation: "xehp" }).map(request("2M", "2M@4M+64K:vram"));
    expect([...compact.memory.words()].map(({ word }) => word).slice(2, 4)).toEqual([0x103043n, 0x410803n]);
  });
});
