import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { MapRequest } from "../../src/importers/importer.js";
import { nvme, nvmeUsesSgl } from "../../src/importers/nvme.js";
import { refused } from "../support/errors.js";
import { arbitraryRequest, bytes, checkTables, segments } from "./support.js";

const DATA_POINTER = 16;

describe("NVMe PRP", () => {
  it.each([
    // segments, PRP entries, bytes of lists
    ["512 bytes in a page", "512@1M", 1, 0],
    ["512 bytes behind an offset", "512@1M+512", 1, 0],
    ["8 bytes to the end of a page", "8@1M+4088", 1, 0],
    ["8 bytes across a page boundary", "8@1M+4092", 2, 0],
    ["a page", "4K@1M", 1, 0],
    ["a page behind an offset takes two", "4K@1M+4", 2, 0],
    ["two pages: PRP2 is the second", "8K@1M", 2, 0],
    ["two pages apart", "4K@1M 4K@5M", 2, 0],
    ["two pages behind an offset: a list of two", "8K@1M+512", 3, 256],
    ["three pages", "12K@1M", 3, 256],
    ["three pages apart", "4K@1M 4K@5M 4K@9M", 3, 256],
    ["33 pages: a list of 32", "132K@1M", 33, 256],
    ["34 pages: a list of a page", "136K@1M", 34, 4096],
    ["128 KiB", "128K@1M", 32, 256],
    ["1 MiB", "1M@1M", 256, 4096],
    ["2 MiB less a page", "2M-4K@4M", 511, 4096],
    ["2 MiB: 511 in the list", "2M@4M", 512, 4096],
    ["513 pages: the list is just full", "2M+4K@4M", 513, 4096],
    ["514 pages: the last entry chains, two in the next", "2M+8K@4M", 514, 8192],
    ["544 pages: 32 in the second, a whole page all the same", "2M+128K@4M", 544, 8192],
    ["4 MiB: 1,023 in lists, 511 and 512", "4M@8M", 1024, 8192],
    ["4 MiB and a page: 511, 511 and 2", "4M+4K@8M", 1025, 3 * 4096],
    ["4 MiB behind an offset", "4M@8M+512", 1025, 3 * 4096],
    ["a short first and a short last segment", "1K@1M+3K 4K@3M 100@9M", 3, 256],
    ["a last segment of one byte's worth", "4K@1M 4@9M", 2, 0],
    ["an unaligned IOVA of 2 MiB changes nothing", "2M@1M+4K", 512, 4096],
    ["segments that touch", "4K@1M 4K@1M+4K", 2, 0],
    ["above 4 GiB", "8K@5G", 2, 0],
    ["the highest page", "4K@0xfffffffffffff000", 1, 0],
    ["registers of another device", "8K@1M:mmio", 2, 0],
  ])("%s", (_, layout, pages, listBytes) => {
    const mapping = nvme().map({ segments: segments(layout) });
    expect([mapping.total, mapping.tableBytes - DATA_POINTER]).toEqual([pages, listBytes]);
    expect(nvme().plan({ segments: segments(layout) }).entries).toEqual(new Map([[4096n, pages]]));
  });

  it.each([
    ["a break inside a page", "6K@1M 4K@9M", "segment 0"],
    ["a second segment behind an offset", "4K@1M 4K@9M+512", "segment 1"],
    ["a first byte off a dword", "4K@1M+2", "segment 0"],
    ["no data", "0@1M", "segment 0"],
  ])("refuses %s", (_, layout, what) => {
    expect(refused("misaligned", () => nvme().map({ segments: segments(layout) })).message).toContain(what);
  });

  it("refuses a transfer without segments", () => {
    refused("invalid", () => nvme().plan({ segments: [] }));
  });

  it("leads every page of a transfer to its segment", () => {
    fc.assert(
      fc.property(arbitraryRequest({ maxPages: 900 }), ({ segments: given }) =>
        checkTables(nvme(), { segments: given }),
      ),
      { numRuns: 20 },
    );
  });

  it.each(["2M", "2M+4K", "2M+8K", "4M-4K", "4M", "4M+4K"])("leads every page of %s, where lists end", (length) => {
    checkTables(nvme(), { segments: segments(`${length}@16M`) });
  });

  it("leads every byte behind an offset", () => {
    const mapping = nvme().map({ segments: segments("3K@1M+1K 4K@3M 100@9M") });
    for (const [offset, address] of [
      ["0", "1M+1K"],
      ["3071", "1M+4095"],
      ["3072", "3M"],
      ["7167", "3M+4095"],
      ["7168", "9M"],
      ["7267", "9M+99"],
    ]) {
      expect(mapping.translate(bytes(offset))).toMatchObject({ address: bytes(address) });
    }
    expect(mapping.translate(7268n)).toHaveProperty("fault");
  });
});

describe("NVMe SGL", () => {
  it.each([
    ["one segment is in the command", 1, 0],
    ["two segments", 2, 256],
    ["16 segments", 16, 256],
    ["17 segments", 17, 4096],
    ["256 segments: one list", 256, 4096],
    ["257 segments: 255, then 2", 257, 2 * 4096],
    ["600 segments: 255, 255, 90", 600, 3 * 4096],
  ])("%s", (_, count, listBytes) => {
    const layout = Array.from({ length: count }, (_unused, index) => `${index * 7 + 1}@${index * 100_000}`).join(" ");
    const wanted: MapRequest = { segments: segments(layout) };
    const mapping = nvme({ mode: "sgl" }).map(wanted);
    expect([mapping.total, mapping.tableBytes - DATA_POINTER]).toEqual([count, listBytes]);
    let offset = 0n;
    const read = new Set<bigint>();
    for (const { address, length } of wanted.segments) {
      const translation = mapping.translate(offset + length - 1n);
      expect(translation).toMatchObject({ address: address + length - 1n, pageSize: length });
      for (const slot of translation.slots) read.add(slot);
      offset += length;
    }
    expect(mapping.translate(offset)).toHaveProperty("fault");
    expect([...mapping.memory.words()].filter(({ address }) => !read.has(address))).toEqual([]);
  });

  it("writes descriptors bit for bit", () => {
    const { memory } = nvme({ mode: "sgl" }).map({ segments: segments("512@0x12345 4K@0x200000") });
    const words = [...memory.words()].map(({ word }) => word);
    expect(words).toEqual([0x100100n, (0x30n << 56n) | 32n, 0x12345n, 512n, 0x200000n, 4096n]);
  });

  it("refuses a descriptor of 4 GiB", () => {
    refused("invalid", () => nvme({ mode: "sgl" }).plan({ segments: segments("4G@0") }));
  });

  it.each([
    ["32 KiB in one", "32K@1M", true],
    ["28 KiB in one", "28K@1M", false],
    ["64 KiB in two", "4K@1M 60K@3M", true],
    ["60 KiB in two", "4K@1M 56K@3M", false],
  ])("is used from an average of 32 KiB on: %s", (_, layout, expected) => {
    expect(nvmeUsesSgl(segments(layout))).toBe(expected);
    expect(nvmeUsesSgl(segments(layout), 0n)).toBe(false);
  });

  it("cares for contiguity, PRP for page boundaries, neither for the address", () => {
    expect(nvme({ mode: "sgl" }).hint({ length: 4096n })).toMatchObject({
      indifferent: {},
      singleSegment: { value: true },
    });
    expect(nvme().hint({ length: 4096n })).toMatchObject({
      indifferent: {},
      singleSegment: { strength: "prefer" },
    });
  });
});
