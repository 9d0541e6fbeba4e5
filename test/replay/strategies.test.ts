import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { dmaAddress } from "../../src/engine/addresses.js";
import { IommuError } from "../../src/engine/errors.js";
import { findStrategy, strategies } from "../../src/strategies/strategies.js";
import { encode, GIB, KIB, MIB, map, newReplay, type Operation, type Piece, unmap } from "./support.js";

const TOP = 1n << 48n;

async function iovas(
  strategy: string,
  lengths: readonly bigint[],
  physical = 0x1_0000_0000n,
): Promise<(bigint | null)[]> {
  const replay = await newReplay({ strategy: findStrategy(strategy) });
  let at = physical;
  const operations = lengths.map((length, slot) => {
    const operation = map(slot, [{ physical: at, length }]);
    at += length;
    return operation;
  });
  replay.run(encode(operations));
  return lengths.map((_, slot) => replay.iova(slot));
}

describe("where each strategy puts a mapping", () => {
  it("size-aligned: on the next power of two, from the top", async () => {
    expect(await iovas("size-aligned", [4n * KIB, 12n * KIB, 4n * KIB])).toEqual([
      TOP - 4n * KIB,
      TOP - 16n * KIB,
      TOP - 20n * KIB,
    ]);
  });

  it("no-align: packed from the top", async () => {
    expect(await iovas("no-align", [4n * KIB, 12n * KIB, 8n * KIB])).toEqual([
      TOP - 4n * KIB,
      TOP - 16n * KIB,
      TOP - 24n * KIB,
    ]);
  });

  it("iommufd: lowest hole, aligned to the length, to the buffer's own alignment, and never above 2 MiB", async () => {
    expect(await iovas("iommufd", [4n * KIB, 64n * KIB])).toEqual([4n * KIB, 8n * KIB]);
    expect(await iovas("iommufd", [64n * KIB])).toEqual([64n * KIB]);
    expect(await iovas("iommufd", [GIB])).toEqual([2n * MIB]);
  });

  it("identity: at its physical address", async () => {
    expect(await iovas("identity", [8n * KIB, 4n * KIB])).toEqual([0x1_0000_0000n, 0x1_0000_2000n]);
  });

  it("as-recorded: at the trace's address; a second mapping there fails and changes nothing", async () => {
    const replay = await newReplay({ strategy: findStrategy("as-recorded") });
    const first = map(0, [{ physical: 0x10_0000n, length: 8n * KIB }], 0xffff_e000n);
    const second = map(1, [{ physical: 0x20_0000n, length: 8n * KIB }], 0xffff_f000n);
    replay.run(encode([first, second, unmap(1, 0n, 8n * KIB)]));
    expect([replay.iova(0), replay.iova(1)]).toEqual([0xffff_e000n, null]);
    expect(replay.table(0)?.walk(dmaAddress(0xffff_f008n))).toMatchObject({ ok: true, physical: 0x10_1008n });
    expect(replay.finish()).toMatchObject({ mappings: 2, failed: 1, failedBytes: 8192, liveBytesPeak: 8192 });
  });

  it("keeps VT-d's interrupt range free, and only VT-d's", async () => {
    for (const [format, expected] of [
      ["vtdss", 0n],
      ["x86_64", 0n],
      ["vmsav8-4k", 1n],
    ] as const) {
      const replay = await newReplay({ strategy: findStrategy("iommufd"), format });
      // One mapping of all that lies below the interrupt range, then one page more.
      const below = 0xfee0_0000n - 4n * KIB;
      replay.run(
        encode([map(0, [{ physical: 0x1000n, length: below }]), map(1, [{ physical: 0x1000n, length: 4n * KIB }])]),
      );
      expect(replay.iova(0)).toBe(4n * KIB);
      expect(replay.iova(1)).toBe(expected === 1n ? 0xfee0_0000n : 0xfef0_0000n);
    }
  });

  it("counts what finds no room as failed", async () => {
    const replay = await newReplay({ strategy: findStrategy("size-aligned"), levels: 3 });
    const operations = Array.from({ length: 4 }, (_, slot) => map(slot, [{ physical: 0n, length: 256n * GIB }]));
    replay.run(encode(operations));
    // 512 GiB of addresses, but page 0 is never given out: one aligned half is left.
    expect(replay.finish()).toMatchObject({ mappings: 4, failed: 3, failedBytes: 3 * 2 ** 38 });
  });

  it("names the strategies there are when asked for another", () => {
    expect(() => findStrategy("best-fit")).toThrow(IommuError);
    expect(() => findStrategy("best-fit")).toThrow(
      /as-recorded, size-aligned, no-align, pa-congruent, iommufd, identity/,
    );
  });
});

describe("partial unmaps", () => {
  it("keeps a leaf that a partial unmap would split until the rest goes, and counts it", async () => {
    const replay = await newReplay({ strategy: findStrategy("pa-congruent") });
    replay.run(encode([map(0, [{ physical: 0x20_0000n, length: 4n * MIB }]), unmap(0, MIB, MIB)]));
    const iova = replay.iova(0) ?? 0n;
    expect(replay.table(0)?.walk(dmaAddress(iova + MIB)).ok).toBe(true);
    replay.run(encode([unmap(0, 0n, MIB), unmap(0, 2n * MIB, 2n * MIB)]));
    expect(replay.table(0)?.walk(dmaAddress(iova)).ok).toBe(false);
    expect(replay.table(0)?.walk(dmaAddress(iova + 3n * MIB)).ok).toBe(false);
    const figures = replay.finish();
    expect(figures.splitUnmaps).toBe(2);
    expect(figures.leaves.map(({ atEnd }) => atEnd)).toEqual([0, 0, 0]);
  });

  it("unmaps parts at page boundaries one by one", async () => {
    const replay = await newReplay({ strategy: findStrategy("no-align") });
    replay.run(encode([map(0, [{ physical: 0x5000n, length: 12n * KIB }]), unmap(0, 4n * KIB, 4n * KIB)]));
    const iova = replay.iova(0) ?? 0n;
    const seen = [0n, 4n * KIB, 8n * KIB].map((offset) => replay.table(0)?.walk(dmaAddress(iova + offset)).ok);
    expect(seen).toEqual([true, false, true]);
    expect(replay.finish()).toMatchObject({ splitUnmaps: 0 });
  });
});

describe("every strategy over random mappings", () => {
  interface Plan {
    readonly pieces: Piece[];
    /** How many of the live mappings to unmap afterwards. */
    readonly unmaps: number;
  }

  const length = fc.oneof(
    fc.bigInt({ min: 1n, max: 40n }).map((pages) => pages * 4n * KIB),
    fc.bigInt({ min: 1n, max: 3n }).map((blocks) => blocks * 2n * MIB),
  );
  // Few physical pages, so that identity has much to share.
  const piece = fc.record({ physical: fc.bigInt({ min: 0n, max: 1600n }).map((page) => page * 4n * KIB), length });
  const plan: fc.Arbitrary<Plan[]> = fc.array(
    fc.record({ pieces: fc.array(piece, { minLength: 1, maxLength: 3 }), unmaps: fc.integer({ min: 0, max: 2 }) }),
    { minLength: 1, maxLength: 25 },
  );

  it.each(strategies.map(({ name }) => name).filter((name) => name !== "as-recorded"))(
    "%s: translates every live page to its physical page, nothing else, and counts exactly",
    async (name) => {
      await fc.assert(
        fc.asyncProperty(plan, fc.boolean(), async (plans, empty) => {
          const replay = await newReplay({ strategy: findStrategy(name), reclaim: empty ? "empty" : "covered" });
          const live = new Map<number, Piece[]>();
          let slot = 0;
          let peak = 0;
          const leavesNow = (): number =>
            [...(replay.table(0)?.counters.leaves.values() ?? [])].reduce((sum, count) => sum + count, 0);
          const run = (operation: Operation): void => {
            replay.run(encode([operation]));
            peak = Math.max(peak, leavesNow());
          };
          for (const { pieces, unmaps } of plans) {
            run(map(slot, pieces));
            live.set(slot++, pieces);
            for (let n = 0; n < unmaps && live.size > 0; n++) {
              const [victim] = live.keys();
              const bytes = (live.get(victim) ?? []).reduce((sum, each) => sum + each.length, 0n);
              run(unmap(victim, 0n, bytes));
              live.delete(victim);
            }
          }
          const table = replay.table(0);
          if (!table) throw new Error("nothing was mapped");
          let pages = 0n;
          const physicalPages = new Set<bigint>();
          for (const [each, pieces] of live) {
            let at = replay.iova(each) ?? -1n;
            for (const { physical, length: bytes } of pieces) {
              const begin = name === "identity" ? physical : at;
              for (const offset of [0n, bytes / 2n, bytes - 1n]) {
                expect(table.walk(dmaAddress(begin + offset))).toMatchObject({ ok: true, physical: physical + offset });
              }
              for (let page = 0n; page < bytes; page += 4096n) physicalPages.add(physical + page);
              pages += bytes / 4096n;
              at += bytes;
            }
          }
          let mapped = 0n;
          for (const [size, count] of table.counters.leaves) mapped += (size / 4096n) * BigInt(count);
          // A large identity leaf stays while one page of it is used; every other mapping is exact.
          if (name === "identity") expect(mapped).toBeGreaterThanOrEqual(BigInt(physicalPages.size));
          else expect(mapped).toBe(pages);
          const figures = replay.finish();
          expect(figures.leavesPeak).toBe(peak);
          expect(figures.mappings).toBe(plans.length);
          expect(figures.failed).toBe(0);
          if (live.size === 0) expect(mapped).toBe(0n);
        }),
        { numRuns: 40 },
      );
    },
  );
});
