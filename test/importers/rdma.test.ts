import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { dmaBlocks, dmaOffset, findBestPageOffset, findBestPageSize, umemOf } from "../../src/importers/rdma.js";
import { rdmaDevice, rdmaDevices } from "../../src/importers/rdma-devices.js";
import { refused } from "../support/errors.js";
import { arbitraryRequest, bytes, checkTables, entriesText, pagesOf, request, segments } from "./support.js";

const LARGE = bytes("4K") | bytes("2M") | bytes("1G");
const EVERY = bytes("4G") - bytes("4K");

describe("ib_umem_find_best_pgsz", () => {
  it.each([
    // sizes, I/O virtual address, segments, page size
    ["a page", LARGE, "0", "4K@1M", "4K"],
    ["2 MiB aligned alike", LARGE, "2M", "2M@4M", "2M"],
    ["2 MiB that begin anywhere, congruent", LARGE, "2M+12K", "2M@8M+12K", "2M"],
    ["2 MiB congruent mod 1 MiB only", LARGE, "2M", "2M@5M", "4K"],
    ["a byte more than a page, unaligned", LARGE, "0x1080", "4K@0x3080", "4K"],
    ["4 KiB need no 2 MiB", LARGE, "0", "4K@0", "4K"],
    ["8 KiB in one 2 MiB page: two bits change, 4 KiB would need two", LARGE, "0", "8K@0", "2M"],
    ["8 KiB with no address bits in common above", LARGE, "0", "8K@4K", "4K"],
    ["64 MiB congruent mod 2 MiB", LARGE, "0x7f0000001000", "64M@2M+4K", "2M"],
    ["64 MiB congruent mod 1 GiB", LARGE, "0x7f0000001000", "64M@1G+4K", "1G"],
    ["across a GiB boundary", LARGE, "1G-2M", "4M@3G-2M", "1G"],
    ["every power: one page that holds the region", EVERY, "0", "64M@128M", "64M"],
    ["every power: no larger than that", EVERY, "0", "64M@1G", "64M"],
    ["every power: the start is off a page, so twice as large", EVERY, "4K", "64M@1G+4K", "128M"],
    ["every power: congruent mod 32 MiB only", EVERY, "4K", "64M@32M+4K", "32M"],
    ["every power: across a boundary of 128 MiB", EVERY, "128M-4K", "8K@1G+128M-4K", "256M"],
    ["every power: one page cannot, congruence of 1 MiB", EVERY, "0", "3M@1M", "1M"],
    ["two segments that touch join", LARGE, "2M", "1M@4M 1M@5M", "2M"],
    ["a break on a 2 MiB boundary", LARGE, "2M", "2M@4M 2M@8M", "2M"],
    ["a break off a 2 MiB boundary", LARGE, "2M", "1M@4M 1M@9M", "4K"],
    ["a break on a boundary of the virtual address, behind an unaligned start", LARGE, "3M", "1M@5M 2M@8M", "2M"],
    ["the second run is not congruent", LARGE, "2M", "2M@4M 2M@9M", "4K"],
    ["every power: a break at 1 MiB", EVERY, "0", "1M@4M 1M@9M", "1M"],
    ["every power: a break at 64 KiB", EVERY, "0", "64K@4M 1M@9M+64K", "64K"],
    ["every power: the last run may end anywhere", EVERY, "0", "2M@4M 4K@8M", "2M"],
    ["every power: the last run of bytes", EVERY, "0", "2M@4M 100@8M", "2M"],
    ["only sizes above what fits", bytes("2M"), "0", "4K@4K", "0"],
    ["only 2 MiB, congruent", bytes("2M"), "4K", "4K@4K", "2M"],
    ["virtual address and DMA differ inside a page", LARGE, "0x1080", "4K@0x3000", "0"],
    ["64 KiB and 4 KiB", bytes("4K") | bytes("64K"), "64K", "1M@3M", "64K"],
    ["the end of the virtual addresses", LARGE, "0xfffffffffffff000", "4K@4K", "4K"],
    ["past the end of the virtual addresses", LARGE, "0xfffffffffffff000", "8K@4K", "0"],
  ])("%s", (_, sizes, virt, layout, expected) => {
    expect(findBestPageSize(umemOf(segments(layout)), sizes, bytes(virt))).toBe(bytes(expected));
  });

  it("adds the offset in the first page, as pinned memory has it", () => {
    const umem = { address: 0x7080n, length: 0x2000n, segments: [{ address: 0x10_0000n, length: 0x3000n }] };
    expect(findBestPageSize(umem, EVERY, 0x80n)).toBe(0x4000n);
    expect(findBestPageSize(umem, EVERY, 0x7080n)).toBe(0x1000n);
    expect(dmaOffset(umem, 0x4000n)).toBe(0x80n);
    // The second run begins 0xf80 bytes behind the first byte: on a page, and congruent.
    const second = { address: 0x20_0000n + 0x1000n, length: 0x1000n };
    const broken = { ...umem, segments: [{ address: 0x10_0000n, length: 0x1000n }, second] };
    expect(findBestPageSize(broken, EVERY, 0x80n)).toBe(0x1000n);
  });

  it("has one page size for an on-demand region", () => {
    const umem = { ...umemOf(segments("2M@4M")), odpPageShift: 12 };
    expect(findBestPageSize(umem, EVERY, bytes("2M"))).toBe(4096n);
    expect(findBestPageSize(umem, bytes("2M"), bytes("2M"))).toBe(0n);
  });

  it.each([
    ["4 KiB at 0", "0", "4K", "4K", 1],
    ["4 KiB across a boundary", "2K", "4K", "4K", 2],
    ["100 MiB from a page past", "0x7f0000001000", "100M", "4K", 25600],
    ["100 MiB from a page past, 2 MiB pages", "0x7f0000001000", "100M", "2M", 51],
    ["100 MiB in one page", "0x7f0000001000", "100M", "128M", 1],
  ])("counts pages: %s", (_, virt, length, page, pages) => {
    expect(dmaBlocks(bytes(virt), bytes(length), bytes(page))).toBe(pages);
  });

  it("is what the page-by-page model says", () => {
    const sizes = fc.subarray([12n, 13n, 14n, 16n, 18n, 20n, 21n, 22n, 30n], { minLength: 1 });
    fc.assert(
      fc.property(arbitraryRequest({ maxPages: 1100 }), sizes, (wanted, shifts) => {
        const bitmap = shifts.reduce((sum, shift) => sum | (1n << shift), 0n);
        const pages = pagesOf(wanted);
        const last = (pages.at(-1) as { va: bigint }).va;
        const ordered = shifts.map((shift) => 1n << shift).sort((a, b) => (a < b ? -1 : 1));
        // Larger than the smallest that holds all of it is never chosen.
        const enough = ordered.findIndex((size) => wanted.va / size === last / size);
        const candidates = enough < 0 ? ordered : ordered.slice(0, enough + 1);
        const fits = (size: bigint): boolean => {
          const differences = new Map<bigint, bigint>();
          return pages.every(({ va, address }) => {
            const block = va / size;
            const difference = address - va;
            const known = differences.get(block) ?? difference;
            differences.set(block, known);
            return known === difference && difference % size === 0n;
          });
        };
        expect(findBestPageSize(umemOf(wanted.segments), bitmap, wanted.va)).toBe(candidates.findLast(fits) ?? 0n);
      }),
      { numRuns: 60 },
    );
  });
});

describe("ib_umem_find_best_pgoff", () => {
  it.each([
    ["one page of the whole queue, 64 KiB aligned", "64K@1M", "64K"],
    ["across a boundary of its own size", "64K@1M+32K", "128K"],
    ["a break on 64 KiB", "64K@1M 64K@3M", "64K"],
    ["a break on 4 KiB", "4K@1M 64K@3M", "4K"],
  ])("%s", (_, layout, expected) => {
    expect(findBestPageOffset(umemOf(segments(layout)), EVERY, 0xffff_ffc0n)).toBe(bytes(expected));
  });
});

describe("other HCAs", () => {
  it.each([
    ["bnxt_re", "64M", "64M@1G", "1x64M"],
    ["bnxt_re", "0", "2G@4G", "2x1G"],
    ["bnxt_re", "64M", "64M@1G+4K", "16384x4K"],
    ["irdma", "64M", "64M@1G", "32x2M"],
    ["irdma", "0", "64M@1G", "1x1G"],
    ["irdma", "64M", "64M@1G+64K", "16384x4K"],
    ["i40iw", "1G", "1G@2G", "512x2M"],
    ["mana", "64M", "64M@1G", "32x2M"],
    ["mana", "64M", "64M@1G+64K", "1024x64K"],
    ["mana-large", "64M", "64M@1G", "16x4M"],
    ["mana-large", "0", "2G@4G", "1x2G"],
    ["erdma", "64M", "64M@1G", "1x64M"],
    ["erdma", "0", "2G@4G", "2x1G"],
    ["erdma", "64M+4K", "8K@1G+4K", "1x16K"],
    ["hns", "64M", "64M@1G+64K", "1024x64K"],
    ["hns", "0", "2G@4G", "1x2G"],
    ["hns", "0", "4G@4G", "2x2G"],
    ["mlx4", "0", "2G@4G", "1x2G"],
    ["mlx4", "64M", "1M@1G 1M@3G", "2x1M"],
    ["mlx4", "64M", "64M@1G+4K", "16384x4K"],
    ["mthca", "64M", "1M@1G", "256x4K"],
    ["mthca", "2M+512", "4K@4M+512", "2x4K"],
    ["cxgb4", "64M", "64M@1G", "16384x4K"],
    ["cxgb4", "2M", "4K@4M 4K@9M", "2x4K"],
    ["ocrdma", "64M", "1M@1G", "256x4K"],
    ["hfi1", "64M", "1M@1G", "256x4K"],
    ["usnic", "64M", "1M@1G", "256x4K"],
  ])("%s at %s: %s", (name, va, layout, expected) => {
    expect(entriesText(rdmaDevice(name).plan(request(va, layout)))).toBe(expected);
  });

  it("asks for the page sizes that a device reports", () => {
    for (const name of ["efa", "ionic"]) {
      expect(refused("invalid", () => rdmaDevice(name)).message).toContain("reports");
      expect(entriesText(rdmaDevice(name, bytes("4K") | bytes("2M")).plan(request("2M", "2M@4M")))).toBe("1x2M");
    }
    expect(entriesText(rdmaDevice("hns", bytes("4K")).plan(request("64K", "64K@1M")))).toBe("16x4K");
    expect(refused("invalid", () => rdmaDevice("tulip")).message).toContain("bnxt_re");
  });

  it.each(rdmaDevices.map(({ name }) => name))("%s leads every page to its segment", (name) => {
    fc.assert(
      fc.property(arbitraryRequest({ maxPages: 300 }), (wanted) => checkTables(rdmaDevice(name, LARGE), wanted)),
      { numRuns: 8 },
    );
  });

  it("refuses a region that is longer than the HCA takes", () => {
    const plan = (length: string) => rdmaDevice("bnxt_re").plan(request("0", `${length}@512G`));
    expect(entriesText(plan("512G"))).toBe("512x1G");
    expect(refused("invalid", () => plan("512G+4K")).message).toContain("bnxt_re: map a region of 0x8000001000 bytes");
  });

  it("builds no list that is longer than its memory", () => {
    const wanted = request("0", "2T@2T");
    expect(refused("memory-exhausted", () => rdmaDevice("cxgb4").map(wanted)).message).toContain("4294967296 bytes");
    expect(rdmaDevice("erdma").map(wanted).tableBytes).toBe(2048 * 8);
  });

  it.each([
    // Bytes of the page list from its start, as they lie in memory.
    ["bnxt_re", [0x01, 0x00, 0x40, 0, 0, 0, 0, 0]],
    ["erdma", [0x00, 0x00, 0x40, 0, 0, 0, 0, 0]],
    ["mlx4", [0, 0, 0, 0, 0, 0x40, 0x00, 0x01]],
    ["mthca", [0, 0, 0, 0, 0, 0x40, 0x00, 0x01]],
    ["cxgb4", [0, 0, 0, 0, 0, 0x40, 0x00, 0x00]],
    ["ocrdma", [0x00, 0x00, 0x40, 0, 0, 0, 0, 0]],
  ])("writes an entry of %s in its order with its flags", (name, expected) => {
    const { memory } = rdmaDevice(name).map(request("2M", "4K@4M"));
    expect([...memory.slice(memory.base, 8)]).toEqual(expected);
  });
});
