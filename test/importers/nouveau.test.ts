import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { MemoryKind } from "../../src/importers/importer.js";
import { nouveau, type NouveauOptions } from "../../src/importers/nouveau.js";
import { refused } from "../support/errors.js";
import { arbitraryRequest, bytes, checkTables, entriesText, pagesOf, request } from "./support.js";

describe("nouveau page size", () => {
  it.each([
    [2, "system memory is 4 KiB", "2M", "2M@4M", "512x4K"],
    [2, "system memory, scattered", "2M", "4K@1M 8K@5M", "3x4K"],
    [2, "registers of another device are 4 KiB", "2M", "64K@4M:mmio", "16x4K"],
    [2, "a page of VRAM", "4K", "4K@1M:vram", "1x4K"],
    [2, "64 KiB of VRAM aligned", "64K", "64K@1M:vram", "1x64K"],
    [2, "64 KiB of VRAM at an unaligned virtual address", "4K", "64K@1M:vram", "16x4K"],
    [2, "64 KiB of VRAM at an unaligned address", "64K", "64K@1M+4K:vram", "16x4K"],
    [2, "68 KiB: the length is no multiple of 64 KiB", "64K", "68K@1M:vram", "17x4K"],
    [2, "128 KiB", "64K", "128K@1M:vram", "2x64K"],
    [2, "2 MiB of VRAM", "2M", "2M@4M:vram", "1x2M"],
    [2, "2 MiB of VRAM at 64 KiB", "2M", "2M@4M+64K:vram", "32x64K"],
    [2, "2 MiB at a virtual address of 64 KiB", "64K", "2M@4M:vram", "32x64K"],
    [2, "2 MiB and 64 KiB: one size for all of it", "2M", "2M+64K@4M:vram", "33x64K"],
    [2, "2 MiB and a page", "2M", "2M+4K@4M:vram", "513x4K"],
    [2, "4 MiB in two places", "2M", "2M@4M:vram 2M@16M:vram", "2x2M"],
    [2, "one place of two is on 64 KiB", "2M", "2M@4M:vram 2M@16M+64K:vram", "64x64K"],
    [2, "one length of two is 64 KiB", "2M", "64K@4M:vram 2M@16M:vram", "33x64K"],
    [2, "512 MiB are 2 MiB on version 2", "512M", "512M@1G:vram", "256x2M"],
    [3, "512 MiB on version 3", "512M", "512M@1G:vram", "1x512M"],
    [3, "a GiB on version 3", "1G", "1G@1G:vram", "2x512M"],
    [3, "512 MiB at a virtual address of 2 MiB", "2M", "512M@1G:vram", "256x2M"],
    [3, "512 MiB at an address of 2 MiB", "512M", "512M@2M:vram", "256x2M"],
    [3, "514 MiB", "512M", "514M@1G:vram", "257x2M"],
    [3, "system memory on version 3", "512M", "2M@1G", "512x4K"],
    [2, "VRAM and system memory in one buffer", "2M", "2M@4M:vram 4K@0", "513x4K"],
    [2, "the highest virtual page of 49 bits", "512T-4K", "4K@1M", "1x4K"],
    [3, "the highest virtual page of 57 bits", "131072T-4K", "4K@1M", "1x4K"],
    [2, "the highest DMA page of 47 bits", "4K", "4K@128T-4K", "1x4K"],
  ] as const)("version %i: %s", (version, _, va, layout, expected) => {
    expect(entriesText(nouveau({ version }).plan(request(va, layout)))).toBe(expected);
  });

  it.each([
    ["2 MiB of system memory aligned on both sides", "2M", "2M@4M", "1x2M"],
    ["at an unaligned DMA address", "2M", "2M@4M+64K", "512x4K"],
    ["from a page past", "2M+4K", "4M@4M+4K", "512x4K 1x2M"],
    ["a break inside a block", "2M", "1M@4M 3M@9M", "512x4K 1x2M"],
  ])("shared virtual memory: %s", (_, va, layout, expected) => {
    expect(entriesText(nouveau({ svm: true }).plan(request(va, layout)))).toBe(expected);
  });

  it.each([
    ["a DMA address beyond 47 bits", "4K", "8K@128T-4K", "output-range"],
    ["a virtual address beyond 49 bits", "512T", "4K@0", "input-range"],
    ["an unaligned virtual address", "100", "4K@0", "misaligned"],
  ] as const)("refuses %s", (_, va, layout, code) => {
    expect(refused(code, () => nouveau().plan(request(va, layout))).message).toContain("nouveau-v2");
  });
});

describe("nouveau page size on version 1", () => {
  it.each([
    // log2 of a big page, virtual address, segments, entries
    [17, "a page of system memory", "4K", "4K@1M", "1x4K"],
    [17, "system memory is 4 KiB, however aligned", "128M", "128M@4G", "32768x4K"],
    [17, "system memory, scattered", "128K", "4K@1M 8K@5M", "3x4K"],
    [17, "a big page of system memory", "128K", "128K@1M", "32x4K"],
    [17, "registers of another device", "128K", "128K@4M:mmio", "32x4K"],
    [17, "a page of VRAM", "4K", "4K@1M:vram", "1x4K"],
    [17, "128 KiB of VRAM aligned", "128K", "128K@1M:vram", "1x128K"],
    [17, "64 KiB of VRAM is half a big page", "64K", "64K@1M:vram", "16x4K"],
    [17, "124 KiB, a page less", "128K", "124K@1M:vram", "31x4K"],
    [17, "132 KiB, a page more: one size for all of it", "128K", "132K@1M:vram", "33x4K"],
    [17, "192 KiB are no multiple of 128 KiB", "128K", "192K@1M:vram", "48x4K"],
    [17, "256 KiB", "256K", "256K@1M:vram", "2x128K"],
    [17, "at a virtual address of 64 KiB", "64K", "128K@1M:vram", "32x4K"],
    [17, "at a virtual address of 4 KiB", "132K", "128K@1M:vram", "32x4K"],
    [17, "at an address of 64 KiB", "128K", "128K@1M+64K:vram", "32x4K"],
    [17, "at an address of 4 KiB", "128K", "128K@1M+4K:vram", "32x4K"],
    [17, "at virtual and other address of 64 KiB alike", "64K", "128K@64K:vram", "32x4K"],
    [17, "2 MiB: there is no larger page", "2M", "2M@4M:vram", "16x128K"],
    [17, "a whole table", "128M", "128M@128M:vram", "1024x128K"],
    [17, "across a boundary of tables", "128M-128K", "256K@1M:vram", "2x128K"],
    [17, "two places", "128K", "128K@1M:vram 256K@4M:vram", "3x128K"],
    [17, "two places, the second at 64 KiB", "128K", "128K@1M:vram 128K@4M+64K:vram", "64x4K"],
    [17, "two places, a length of 64 KiB", "128K", "64K@1M:vram 64K@4M:vram", "32x4K"],
    [17, "two places that touch, a length of 64 KiB", "128K", "64K@1M:vram 64K@1M+64K:vram", "32x4K"],
    [17, "VRAM and system memory", "128K", "128K@1M:vram 4K@0", "33x4K"],
    [17, "the highest virtual page of 40 bits", "1T-4K", "4K@1M", "1x4K"],
    [17, "the highest big page of 40 bits", "1T-128K", "128K@1T-128K:vram", "1x128K"],
    [17, "the highest DMA page of 40 bits", "4K", "4K@1T-4K", "1x4K"],
    [16, "64 KiB of VRAM aligned", "64K", "64K@1M:vram", "1x64K"],
    [16, "128 KiB", "64K", "128K@1M:vram", "2x64K"],
    [16, "60 KiB, a page less", "64K", "60K@1M:vram", "15x4K"],
    [16, "68 KiB, a page more", "64K", "68K@1M:vram", "17x4K"],
    [16, "at a virtual address of 32 KiB", "32K", "64K@1M:vram", "16x4K"],
    [16, "at an address of 32 KiB", "64K", "64K@1M+32K:vram", "16x4K"],
    [16, "2 MiB", "2M", "2M@4M:vram", "32x64K"],
    [16, "across a boundary of tables", "64M-64K", "128K@1M:vram", "2x64K"],
    [16, "system memory", "64K", "64K@1M", "16x4K"],
    [16, "the highest big page of 40 bits", "1T-64K", "64K@1T-64K:vram", "1x64K"],
  ] as const)("big pages of 2^%i: %s", (bigPageShift, _, va, layout, expected) => {
    expect(entriesText(nouveau({ version: 1, bigPageShift }).plan(request(va, layout)))).toBe(expected);
  });

  it.each([
    ["a DMA address beyond 40 bits", "4K", "8K@1T-4K", "output-range"],
    ["VRAM beyond 40 bits", "128K", "128K@1T:vram", "output-range"],
    ["a virtual address beyond 40 bits", "1T-4K", "8K@0", "input-range"],
    ["a length of bytes", "4K", "100@0", "misaligned"],
  ] as const)("refuses %s", (_, va, layout, code) => {
    expect(refused(code, () => nouveau({ version: 1 }).plan(request(va, layout))).message).toContain("nouveau-v1");
  });
});

describe("nouveau tables", () => {
  it.each<[NouveauOptions, MemoryKind, string]>([
    [{ version: 1 }, "system", "4K"],
    [{ version: 1 }, "vram", "128K"],
    [{ version: 1 }, "mmio", "4K"],
    [{ version: 1, bigPageShift: 16 }, "system", "4K"],
    [{ version: 1, bigPageShift: 16 }, "vram", "64K"],
    [{ version: 1, bigPageShift: 16 }, "vram", "4K"],
    [{}, "system", "4K"],
    [{}, "vram", "64K"],
    [{ svm: true }, "system", "4K"],
    [{ version: 3 }, "system", "4K"],
    [{ version: 3 }, "vram", "64K"],
    [{ version: 3 }, "mmio", "4K"],
  ])("%j: every page of %s memory, in %s, leads to its segment", (options, memory, unit) => {
    const page = bytes(unit);
    const maxPages = Math.min(400, Number(bytes("2M") / page));
    fc.assert(
      fc.property(arbitraryRequest({ maxPages, memory, page }), (wanted) => checkTables(nouveau(options), wanted)),
      { numRuns: 10 },
    );
  });

  it("takes the largest size that everything is a multiple of", () => {
    const sizes = [bytes("2M"), bytes("64K"), bytes("4K")];
    const unit = fc.constantFrom(...sizes);
    const part = fc.record({
      unit,
      count: fc.bigInt({ min: 1n, max: 2n }),
      place: fc.bigInt({ min: 1n, max: 40n }),
      at: unit,
    });
    fc.assert(
      fc.property(fc.array(part, { minLength: 1, maxLength: 3 }), unit, (parts, first) => {
        const layout = parts.map((one) => `${one.unit * one.count}@${one.place * one.at}:vram`).join(" ");
        const wanted = request(`${first}`, layout);
        const pages = pagesOf(wanted);
        const size = sizes.find((candidate) => {
          const perPage = Number(candidate / 4096n);
          if (pages.length % perPage !== 0) return false;
          return pages.every(({ va, address, segment }, index) => {
            const head = pages[index - (index % perPage)];
            if (head.segment !== segment || head.va % candidate !== 0n || head.address % candidate !== 0n) return false;
            return address - head.address === va - head.va;
          });
        });
        expect([...nouveau().plan(wanted).entries.keys()]).toEqual([size]);
      }),
      { numRuns: 200 },
    );
  });

  it.each([
    // Both directories are at 0x100000; the tables follow, aligned to their size.
    [17, "128M", "4K@0x123456000", [0x10_0008n, 0x1401_0000_0000n], [0x14_0000n, 0x5_0123_4561n]],
    [17, "128M+4K", "4K@0xfffffff000:vram", [0x10_0008n, 0x1401_0000_0000n], [0x14_0008n, 0xffff_fff1n]],
    [17, "128M+128K", "128K@256K:vram", [0x10_0008n, 0x1101n], [0x11_0008n, 0x401n]],
    [16, "64M", "4K@0x123456000:mmio", [0x10_0008n, 0x1201_0000_0000n], [0x12_0000n, 0x5_0123_4561n]],
    [16, "64M+64K", "64K@192K:vram", [0x10_0008n, 0x1201n], [0x12_0008n, 0x301n]],
  ] as const)("writes version 1 bit for bit: big pages of 2^%i, %s, %s", (bigPageShift, va, layout, ...expected) => {
    const { memory } = nouveau({ version: 1, bigPageShift }).map(request(va, layout));
    expect([...memory.words()].map(({ address, word }) => [address, word])).toEqual(expected);
  });

  it("gives what is not its own memory the aperture of coherent system memory", () => {
    for (const version of [2, 3] as const) {
      const [system, mmio] = ["4K@1M", "4K@1M:mmio"].map((layout) =>
        [...nouveau({ version }).map(request("2M", layout)).memory.words()].map(({ word }) => word),
      );
      expect(mmio).toEqual(system);
    }
  });

  it("writes version 2 bit for bit: addresses four bits lower, dual entries in PD0", () => {
    const words = (layout: string) => [...nouveau().map(request("2M", layout)).memory.words()];
    const small = words("4K@0x123456000");
    // PD3, PD2, PD1, PD0 (second half), SPT: system coherent, volatile, valid.
    expect(small.map(({ word }) => word)).toEqual([0x10102n, 0x10202n, 0x10302n, 0x10402n, 0x1234_560dn]);
    expect(small[3].address % 16n).toBe(8n);
    const big = words("64K@0x30000:vram");
    expect(big.at(-1)?.word).toBe(0x3001n);
    expect(big[3].address % 16n).toBe(0n);
    expect(words("2M@4M:vram").at(-1)?.word).toBe(0x4_0001n);
  });

  it("writes version 3 bit for bit", () => {
    const words = (layout: string) => [...nouveau({ version: 3 }).map(request("512M", layout)).memory.words()];
    // System coherent, uncached; VRAM and tables, cached.
    expect(words("4K@0x123456000").at(-1)?.word).toBe(0x1_2345_608dn);
    expect(words("512M@1G:vram").map(({ word }) => word)).toEqual([0x101012n, 0x102012n, 0x103012n, 0x4000_0081n]);
  });

  it("hints only where pages can be larger than 4 KiB", () => {
    const buffer = { va: bytes("2M"), length: bytes("4M") };
    expect(nouveau().hint(buffer).indifferent?.reason).toContain("4 KiB");
    expect(nouveau({ version: 1 }).hint(buffer).indifferent?.reason).toContain("4 KiB");
    expect(nouveau().hint({ ...buffer, memory: "vram" }).indifferent).toBeDefined();
    expect(nouveau({ svm: true }).hint(buffer).congruentTo?.value).toEqual({
      address: buffer.va,
      modulus: bytes("2M"),
    });
  });
});
