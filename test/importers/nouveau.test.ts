import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { nouveau } from "../../src/importers/nouveau.js";
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

describe("nouveau tables", () => {
  it.each([
    [2, "system", false],
    [2, "vram", false],
    [2, "system", true],
    [3, "system", false],
    [3, "vram", false],
    [3, "mmio", true],
  ] as const)(
    "version %i leads every page of %s memory to its segment, shared virtual memory %s",
    (version, memory, svm) => {
      const page = memory === "vram" ? 65536n : 4096n;
      fc.assert(
        fc.property(arbitraryRequest({ maxPages: memory === "vram" ? 40 : 600, memory, page }), (wanted) =>
          checkTables(nouveau({ version, svm }), wanted),
        ),
        { numRuns: 15 },
      );
    },
  );

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
    expect(words("4K@0x123456000").at(-1)?.word).toBe(0x1_2345_6005n);
    expect(words("512M@1G:vram").map(({ word }) => word)).toEqual([0x101002n, 0x102002n, 0x103002n, 0x4000_0001n]);
  });

  it("hints only where pages can be larger than 4 KiB", () => {
    const buffer = { va: bytes("2M"), length: bytes("4M") };
    expect(nouveau().hint(buffer).indifferent?.reason).toContain("4 KiB");
    expect(nouveau().hint({ ...buffer, memory: "vram" }).indifferent).toBeDefined();
    expect(nouveau({ svm: true }).hint(buffer).congruentTo?.value).toEqual({
      address: buffer.va,
      modulus: bytes("2M"),
    });
  });
});
