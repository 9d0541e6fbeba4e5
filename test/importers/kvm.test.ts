import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { privateAddress } from "../../src/engine/addresses.js";
import type { MapRequest } from "../../src/importers/importer.js";
import { kvm, type KvmOptions } from "../../src/importers/kvm.js";
import { refused } from "../support/errors.js";
import { arbitraryRequest, bytes, checkTables, entriesText, request as dmaRequest } from "./support.js";

type PfnRequest = MapRequest<ReturnType<typeof privateAddress>>;

/** The same numbers as page frames that an exporter and KVM agreed on. */
function frames({ segments, ...rest }: MapRequest): PfnRequest {
  return { ...rest, segments: segments.map((one) => ({ ...one, address: privateAddress(one.address) })) };
}

function request(va: string, layout: string): PfnRequest {
  return frames(dmaRequest(va, layout));
}

const congruent2M = { gpa: bytes("4G"), hva: bytes("0x7f0000200000") };
const congruent4K = { gpa: bytes("4G"), hva: bytes("0x7f0000001000") };

describe("KVM mappings", () => {
  it.each<[string, KvmOptions, string, string, string]>([
    ["a page", {}, "4K", "4K@1M", "1x4K"],
    ["64 KiB have no size of their own", {}, "64K", "64K@1M", "16x4K"],
    ["2 MiB, GFN and PFN aligned", {}, "2M", "2M@4M", "1x2M"],
    ["2 MiB, PFN off by 64 KiB", {}, "2M", "2M@4M+64K", "512x4K"],
    ["2 MiB, GFN off by 64 KiB", {}, "2M+64K", "2M@4M", "512x4K"],
    ["2 MiB, both off alike", {}, "2M+64K", "2M@4M+64K", "512x4K"],
    ["4 MiB, both off alike hold one", {}, "2M+64K", "4M@4M+64K", "512x4K 1x2M"],
    ["2 MiB and a page", {}, "2M", "2M+4K@4M", "1x4K 1x2M"],
    ["2 MiB less a page", {}, "2M", "2M-4K@4M", "511x4K"],
    ["a GiB", {}, "1G", "1G@2G", "1x1G"],
    ["a GiB, PFN off by 2 MiB", {}, "1G", "1G@2G+2M", "512x2M"],
    ["a GiB less 2 MiB", {}, "1G", "1G-2M@2G", "511x2M"],
    ["2 GiB from 2 MiB past", {}, "1G+2M", "2G@3G+2M", "512x2M 1x1G"],
    ["pages apart", {}, "2M", "4K@1M 4K@5M", "2x4K"],
    ["blocks apart", {}, "2M", "2M@4M 2M@16M", "2x2M"],
    ["a break inside a block", {}, "2M", "1M@4M 1M@9M", "512x4K"],
    ["segments that touch are backed apart", {}, "2M", "1M@4M 1M@5M", "512x4K"],
    ["a slot congruent mod 2 MiB has no GiB", { slot: congruent2M }, "4G", "1G@2G", "512x2M"],
    ["a slot congruent mod 4 KiB has no 2 MiB", { slot: congruent4K }, "4G", "2M@2G", "512x4K"],
    ["a slot congruent mod 1 GiB", { slot: { gpa: bytes("4G"), hva: bytes("64T") } }, "4G", "1G@2G", "1x1G"],
    ["the host backs with 2 MiB", { hostPage: bytes("2M") }, "1G", "1G@2G", "512x2M"],
    ["the host backs with 4 KiB", { hostPage: bytes("4K") }, "2M", "2M@4M", "512x4K"],
    ["the host backs with 64 KiB", { hostPage: bytes("64K") }, "2M", "2M@4M", "512x4K"],
    ["dirty logging", { dirtyLogging: true }, "2M", "2M@4M", "512x4K"],
    ["dirty logging, whatever the slot", { dirtyLogging: true, slot: congruent2M }, "4G", "2M@4M", "512x4K"],
    ["backing and slot: the smaller", { hostPage: bytes("1G"), slot: congruent2M }, "4G", "4M@4M", "2x2M"],
    ["device registers", {}, "2M", "2M@4M:mmio", "1x2M"],
    ["guest physical address 0", {}, "0", "2M@4M", "1x2M"],
    ["the highest guest page of 48 bits", {}, "256T-4K", "4K@1M", "1x4K"],
    ["the highest page frame of 52 bits", {}, "4K", "4K@4096T-4K", "1x4K"],
  ])("%s", (_, options, va, layout, expected) => {
    expect(entriesText(kvm(options).plan(request(va, layout)))).toBe(expected);
  });

  it.each([
    ["a page frame beyond 52 bits", "4K", "8K@4096T-4K", "output-range"],
    ["a guest address beyond 48 bits", "256T", "4K@0", "input-range"],
    ["half a page", "4K", "2K@0", "misaligned"],
  ] as const)("refuses %s", (_, va, layout, code) => {
    expect(refused(code, () => kvm().plan(request(va, layout))).message).toContain("kvm");
  });

  it("leads every page to its frame", () => {
    fc.assert(
      fc.property(arbitraryRequest({ maxPages: 1100 }), (wanted) => checkTables(kvm(), frames(wanted))),
      { numRuns: 15 },
    );
  });

  it("maps with 2 MiB exactly the blocks whose frames are aligned and contiguous in one segment", () => {
    fc.assert(
      fc.property(arbitraryRequest({ maxPages: 1100 }), ({ va, segments }) => {
        let blocks = 0;
        let at = va;
        for (const { address, length } of segments) {
          for (
            let start = (at + bytes("2M") - 1n) & -bytes("2M");
            start + bytes("2M") <= at + length;
            start += bytes("2M")
          ) {
            if ((address + start - at) % bytes("2M") === 0n) blocks++;
          }
          at += length;
        }
        const { entries } = kvm().plan(frames({ va, segments }));
        expect(entries.get(bytes("2M")) ?? 0).toBe(blocks);
      }),
      { numRuns: 60 },
    );
  });

  it("writes EPT entries bit for bit", () => {
    const words = (layout: string) => [...kvm().map(request("2M", layout)).memory.words()].map(({ word }) => word);
    expect(words("2M@4M")).toEqual([0x101007n, 0x102007n, 0x4000b7n]);
    expect(words("4K@1M")).toEqual([0x101007n, 0x102007n, 0x103007n, 0x100037n]);
    expect(words("4K@1M:mmio").at(-1)).toBe(0x100007n);
  });

  it("is indifferent to DMA addresses, having none", () => {
    expect(kvm().addresses).toBe("private");
    expect(kvm().hint({ va: 0n, length: 4096n }).indifferent).toBeDefined();
  });
});
