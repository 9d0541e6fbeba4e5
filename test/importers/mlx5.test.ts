import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { attainable } from "../../src/importers/attainable.js";
import { physicalAddress } from "../../src/engine/addresses.js";
import { mlx5, mlx5PageSizes, mlx5QueueHint, mlx5QueuePages, umrBytes } from "../../src/importers/mlx5.js";
import { umemOf } from "../../src/importers/rdma.js";
import { refused } from "../support/errors.js";
import { arbitraryRequest, bytes, checkTables, entriesText, request, segments } from "./support.js";

describe("a 100 MiB memory region at 0x7f0000001000", () => {
  const va = 0x7f0000001000n;
  const pieces = [{ physical: physicalAddress(0x1_2345_6000n), length: bytes("100M") }];
  const domain = { granule: 4096n, last: (1n << 48n) - 1n };

  it("takes 204,800 bytes of MTT where the DMA address is aligned, not congruent", () => {
    const mapping = mlx5().map(request("0x7f0000001000", "100M@0xf0000000"));
    expect(mapping.total).toBe(25_600);
    expect(mapping.tableBytes).toBe(204_800);
    expect(mapping.tidiness).toBe(1 / 25_600);
  });

  it.each(["128M", "256M", "1G"])("takes 8 bytes, 16 with rounding, where it is congruent modulo %s", (modulus) => {
    const mapping = mlx5().map(request("0x7f0000001000", `100M@${va % bytes(modulus)}`));
    expect(entriesText(mapping)).toBe("1x128M");
    expect([mapping.tableBytes, mapping.deviceBytes]).toEqual([8, 16]);
  });

  it("asks for that congruence, and one IOVA is found that attains it", () => {
    const { congruentTo } = mlx5().hint({ va, length: bytes("100M") });
    expect(congruentTo).toMatchObject({ value: { address: va, modulus: bytes("128M") }, strength: "prefer" });
    const best = attainable(mlx5(), { va, pieces }, domain);
    expect(best.total).toBe(1);
    expect(((best.iova as bigint) - va) % bytes("128M")).toBe(0n);
  });
});

describe("mlx5 entries", () => {
  it.each([
    ["mtt", "a page", "64K", "4K@1M", "1x4K", 8],
    ["mtt", "64 KiB in one page", "64K", "64K@1M", "1x64K", 8],
    ["mtt", "bytes inside a page", "64K+100", "200@1M+100", "1x4K", 8],
    ["mtt", "bytes across a page boundary", "64K+4000", "200@1M+4000", "1x8K", 8],
    ["mtt", "the same, DMA off by a page", "64K+4000", "200@1M+8096", "2x4K", 16],
    ["mtt", "12 KiB at a 16 KiB boundary", "64K", "12K@1M", "1x16K", 8],
    ["mtt", "2 MiB congruent mod 1 MiB", "2M", "2M@5M", "2x1M", 16],
    ["mtt", "64 MiB, IOVA aligned to 64 MiB, VA off by a page", "4K", "64M@64M", "16384x4K", 131072],
    ["mtt", "a break on 1 MiB", "0", "1M@4M 1M@9M", "2x1M", 16],
    ["mtt", "a break on 4 KiB", "0", "4K@4M 2M@8M+4K", "513x4K", 4104],
    ["mtt", "a tail of one byte", "0", "2M@4M 1@8M", "2x2M", 16],
    ["mtt", "8 GiB: 2 GiB is the largest", "0", "8G@16G", "4x2G", 32],
    ["mtt", "8 GiB across boundaries", "1G", "8G@17G", "5x2G", 40],
    ["ksm", "a page", "64K", "4K@1M", "1x4K", 16],
    ["ksm", "2 MiB, start on 2 MiB", "2M", "2M@4M", "1x2M", 16],
    ["ksm", "2 MiB, start on 64 KiB: no page larger than that", "64K", "2M@4M+64K", "32x64K", 512],
    ["ksm", "a start of 0 limits nothing", "0", "2M@4M", "1x2M", 16],
    ["ksm", "a break on 1 MiB", "4M", "1M@4M 1M@9M", "2x1M", 32],
    ["klm", "one segment", "64K", "1M@3", "1x1M", 16],
    ["klm", "any byte", "65537", "100@3 100@1000", "2x100", 32],
    ["klm", "different lengths", "0", "100@3 200@1000 100@7", "2x100 1x200", 48],
  ] as const)("%s: %s", (mode, _, va, layout, expected, listBytes) => {
    const mapping = mlx5({ mode }).map(request(va, layout));
    expect([entriesText(mapping), mapping.tableBytes]).toEqual([expected, listBytes]);
  });

  it.each([
    ["by default", {}, "4K", "2G"],
    ["with a smallest entity", { minLogEntitySize: 16 }, "64K", "2G"],
    ["a smallest entity below the adapter's page", { minLogEntitySize: 8 }, "4K", "2G"],
    ["with a largest entity", { maxLogEntitySize: 21 }, "4K", "2M"],
    ["beyond 31 without the sixth bit in a UMR", { maxLogEntitySize: 40 }, "4K", "2G"],
    ["of an on-demand region", { onDemand: true, maxLogEntitySize: 21 }, "4K", "4K"],
    ["beyond 31 with it", { maxLogEntitySize: 40, umrLogEntitySize5: true }, "4K", "1T"],
  ] as const)("has page sizes %s", (_, options, smallest, largest) => {
    expect(mlx5PageSizes(options, 4096n)).toBe(2n * bytes(largest) - bytes(smallest));
  });

  it.each([
    ["a region that wraps", {}, "0xfffffffffffff000", "8K@0", "input-range"],
    ["DMA and virtual address that differ inside a page", {}, "0x1080", "4K@1M", "misaligned"],
    ["a break inside a page", {}, "0", "6K@1M 6K@3M", "misaligned"],
    ["a KSM that starts inside a page", { mode: "ksm" }, "0x1080", "4K@1M+0x80", "misaligned"],
    ["a page below the smallest entity", { minLogEntitySize: 16 }, "4K", "4K@8K", "misaligned"],
    ["a KLM of 4 GiB", { mode: "klm" }, "0", "4G@0", "invalid"],
  ] as const)("refuses %s", (_, options, va, layout, code) => {
    expect(refused(code, () => mlx5(options).plan(request(va, layout))).message).toContain("0x");
  });

  it.each([
    ["mtt", 1, 64],
    ["mtt", 8, 64],
    ["mtt", 9, 128],
    ["ksm", 4, 64],
    ["klm", 5, 128],
  ] as const)("writes %s translations in multiples of 64 bytes: %i entries", (mode, entries, written) => {
    expect(umrBytes(entries, mode)).toBe(written);
  });

  it("lays entries out big endian, with read and write enabled", () => {
    const mtt = mlx5().map(request("2M", "2M@0x123400000"));
    expect([...mtt.memory.slice(mtt.memory.base, 8)]).toEqual([0, 0, 0, 1, 0x23, 0x40, 0, 3]);
    const klm = mlx5({ mode: "klm", key: 0x1234 }).map(request("0", "256@0x5000"));
    expect([...klm.memory.slice(klm.memory.base, 16)]).toEqual([
      0, 0, 1, 0, 0, 0, 0x12, 0x34, 0, 0, 0, 0, 0, 0, 0x50, 0,
    ]);
    const ksm = mlx5({ mode: "ksm", key: 7 }).map(request("0", "4K@0x5000"));
    expect([...ksm.memory.slice(ksm.memory.base, 16)]).toEqual([0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0x50, 0]);
  });
});

describe("mlx5 queues", () => {
  it.each([
    ["a queue of one page", "4K@1M", "4K", 0, 1],
    ["64 KiB aligned", "64K@1M", "64K", 0, 1],
    ["64 KiB in the middle of 128", "64K@1M+32K", "128K", 16, 1],
    ["16 KiB, 1/64 of a page past", "16K@1M+512", "32K", 1, 1],
    ["a break on 4 KiB", "4K@1M 4K@3M", "4K", 0, 2],
    ["an offset that only small pages express", "64K@1M+64", "4K", 1, 17],
  ])("%s", (_, layout, pageSize, pageOffset, pages) => {
    const sizes = mlx5PageSizes({}, 0n);
    expect(mlx5QueuePages(umemOf(segments(layout)), sizes)).toEqual({ pageSize: bytes(pageSize), pageOffset, pages });
  });

  it("asks for an IOVA aligned to the page that holds it", () => {
    const sizes = mlx5PageSizes({}, 0n);
    expect(mlx5QueueHint(bytes("48K"), sizes).align?.value).toBe(bytes("64K"));
    expect(mlx5QueueHint(bytes("4G"), sizes).align).toBeUndefined();
  });

  it("is refused where no page expresses the offset", () => {
    expect(mlx5QueuePages(umemOf(segments("4K@1M+32")), mlx5PageSizes({}, 0n))).toBeNull();
  });
});

describe("mlx5 tables", () => {
  it.each(["mtt", "ksm", "klm"] as const)("%s lead every page to its segment", (mode) => {
    fc.assert(
      fc.property(arbitraryRequest({ maxPages: 300 }), (wanted) => {
        if (mode !== "klm") return checkTables(mlx5({ mode }), wanted);
        const mapping = mlx5({ mode }).map(wanted);
        let va = wanted.va;
        for (const { address, length } of wanted.segments) {
          expect(mapping.translate(va)).toMatchObject({ address, pageSize: length });
          expect(mapping.translate(va + length - 1n)).toMatchObject({ address: address + length - 1n });
          va += length;
        }
        expect(mapping.translate(va)).toHaveProperty("fault");
        expect(mapping.translate(wanted.va - 1n)).toHaveProperty("fault");
        expect(mapping.total).toBe(wanted.segments.length);
      }),
      { numRuns: 20 },
    );
  });

  it("leads bytes at the edges of a region, and faults just outside", () => {
    const mapping = mlx5().map(request("64K+100", "12345@1M+100"));
    expect(mapping.translate(bytes("64K+100"))).toMatchObject({ address: bytes("1M+100") });
    expect(mapping.translate(bytes("64K+12444"))).toMatchObject({ address: bytes("1M+12444") });
    expect(mapping.translate(bytes("64K+99"))).toHaveProperty("fault");
    expect(mapping.translate(bytes("64K+12445"))).toHaveProperty("fault");
  });

  it("has an ideal for more bytes than a KLM holds", () => {
    const { total, ideal } = mlx5({ mode: "klm" }).plan(request("0", "3G@0 3G@8G"));
    expect([total, ideal]).toEqual([2, 2]);
  });

  it("hints by mode", () => {
    expect(mlx5({ mode: "klm" }).hint({ va: 0n, length: 4096n }).indifferent).toBeDefined();
    expect(mlx5().hint({ va: 4096n, length: 4096n }).congruentTo?.value.modulus).toBeUndefined();
    expect(mlx5({ mode: "ksm" }).hint({ va: 65536n, length: bytes("2M") }).congruentTo?.value.modulus).toBe(65536n);
    expect(refused("invalid", () => mlx5().hint({ length: 4096n })).message).toContain("virtual address");
  });
});
