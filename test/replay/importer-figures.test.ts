import { readFile } from "node:fs/promises";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { dmaAddress } from "../../src/engine/addresses.js";
import { EntryCounter } from "../../src/importers/depth.js";
import { findImporter } from "../../src/importers/importers.js";
import type { Importer } from "../../src/importers/importer.js";
import { dmaLimit } from "../../src/replay/importer-figures.js";
import { comparable, Replays, type ReplaysOptions, type StrategyResult } from "../../src/replay/replays.js";
import { VirtualAddresses } from "../../src/replay/virtual-addresses.js";
import { findStrategy, strategies } from "../../src/strategies/strategies.js";
import { refused } from "../support/errors.js";
import { encode, KIB, MIB, map, type Operation, unmap } from "./support.js";

let module: WebAssembly.Module;
beforeAll(async () => {
  module = await WebAssembly.compile(await readFile(new URL("../../build/iommu.wasm", import.meta.url)));
});

async function results(operations: readonly Operation[], options: ReplaysOptions): Promise<StrategyResult[]> {
  const replays = await Replays.begin(module, options);
  replays.run(encode(operations));
  return replays.finish();
}

const named = (...names: string[]) => names.map(findImporter);

describe("an entry counter", () => {
  it.each(["mlx5", "mlx5-ksm", "xe", "i915", "i915-gen9", "i915-xehp", "amdgpu", "nouveau-v2-svm", "nvme", "irdma"])(
    "%s: counts what a plan of the same buffer has, wherever the IOVA is",
    (name) => {
      const importer = findImporter(name) as Importer;
      const counter = new EntryCounter(importer);
      const buffer = fc.record({
        page: fc.oneof(fc.integer({ min: 0, max: 2 ** 34 }), fc.integer({ min: 0, max: 2000 })),
        pages: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 500, max: 3000 })),
        depth: fc.integer({ min: 12, max: 32 }),
        high: fc.bigInt({ min: 0n, max: 15n }),
      });
      fc.assert(
        fc.property(buffer, ({ page, pages, depth, high }) => {
          const va = BigInt(page) << 12n;
          // Agrees with the virtual address below bit `depth`, and above bit 32 in nothing.
          const iova = BigInt.asUintN(32, va) ^ (depth === 32 ? 0n : 1n << BigInt(depth)) ^ (high << 34n);
          const segments = [{ address: dmaAddress(iova), length: BigInt(pages) << 12n }];
          const plan = importer.plan({ va, segments });
          expect(counter.count(page, pages, depth)).toEqual({
            ...{ entries: plan.entries, total: plan.total, ideal: plan.ideal },
          });
        }),
      );
    },
  );
});

describe("importers in a comparison", () => {
  const buffers = [
    map(0, [{ physical: 0x4000_0000n, length: 4n * MIB }]),
    map(1, [
      { physical: 0x8001_0000n, length: 64n * KIB },
      { physical: 0x9000_3000n, length: 64n * KIB },
    ]),
    map(2, [{ physical: 0x5000_0000n, length: 4n * KIB }]),
    unmap(0, 0n, 4n * MIB),
  ];

  it.each([
    { importer: "nvme", physical: 0x4020_3000n, length: 8n * MIB, congruent: 515, hinted: 515 },
    // i915 has no larger page than 2 MiB.
    { importer: "i915", physical: 0x6000_0000n, length: 2048n * MIB, congruent: 513, hinted: 513 },
    { importer: "xe", physical: 0x4020_3000n, length: 8n * MIB, congruent: 515, hinted: 2048 },
  ])("hinted, $importer: as few IOMMU leaves as the hint allows", async ({ importer, physical, length, ...leaves }) => {
    const [congruent, hinted] = await results([map(0, [{ physical, length }])], {
      strategies: [findStrategy("pa-congruent"), findStrategy("hinted")],
      importers: named(importer),
    });
    expect({ congruent: congruent.figures.leavesUsed, hinted: hinted.figures.leavesUsed }).toEqual(leaves);
  });

  it("counts entries, those of the best IOVA, and tidiness", async () => {
    const [aligned, packed] = await results(buffers, {
      strategies: [findStrategy("size-aligned"), findStrategy("no-align")],
      importers: named("xe"),
    });
    expect(aligned.importers).toEqual([
      {
        name: "xe",
        entries: [
          { size: 4096, count: 1 },
          { size: 65536, count: 2 },
          { size: 2 ** 21, count: 2 },
        ],
        ...{ entriesUsed: 5, entriesFewest: 5, entriesAttainable: 5, tidiness: 1, attainableTidiness: 1, refused: 0 },
      },
    ]);
    // Packed from the top: 4 MiB is aligned by chance, the next too; the page is a page.
    expect(packed.importers[0]).toMatchObject({ entriesUsed: 5, entriesAttainable: 5 });
  });

  it("does not join the pieces of identity, and gives KVM its frames whatever the IOVA", async () => {
    const [identity, linux] = await results(buffers, {
      strategies: [findStrategy("identity"), findStrategy("linux")],
      importers: named("xe", "kvm"),
    });
    // 2 MiB twice; 64 KiB and 16 pages, since the second piece is askew; a page.
    expect(identity.importers[0]).toMatchObject({ entriesUsed: 2 + 1 + 16 + 1, entriesAttainable: 5 });
    expect(identity.importers[1]).toEqual(linux.importers[1]);
    expect(linux.importers[1].entries).toEqual([
      { size: 4096, count: 33 },
      { size: 2 ** 21, count: 2 },
    ]);
  });

  it("keeps IOVAs within what every importer reaches; recorded ones that are not are refused", async () => {
    expect(dmaLimit(named("mlx5", "i915", "kvm"))).toBe(2n ** 39n - 1n);
    expect(dmaLimit(named("kvm"))).toBeUndefined();
    const recorded = buffers.slice(0, 1).map((operation) => ({ ...operation, iova: 1n << 40n }) as Operation);
    const [asRecorded, packed] = await results(recorded, {
      strategies: [findStrategy("as-recorded"), findStrategy("no-align")],
      importers: named("i915", "mlx5"),
    });
    expect(asRecorded.importers.map(({ refused: count, entriesUsed }) => [count, entriesUsed])).toEqual([
      [1, 0],
      [0, 1],
    ]);
    expect(packed.importers.map(({ refused: count }) => count)).toEqual([0, 0]);
    expect(packed.figures.failed).toBe(0);
  });

  it("takes virtual addresses as told: aligned, those of the physical memory, any, and further on", async () => {
    const entries = async (virtualAddresses: ReplaysOptions["virtualAddresses"]) => {
      const options = { importers: named("xe"), ...(virtualAddresses === undefined ? {} : { virtualAddresses }) };
      const [hinted, identity] = await results(buffers.slice(0, 1), {
        ...{ ...options, strategies: [findStrategy("hinted"), findStrategy("identity")] },
      });
      return [hinted.importers[0].entriesUsed, identity.importers[0].entriesUsed];
    };
    expect(await entries({ mode: "aligned" })).toEqual([2, 2]);
    expect(await entries({ mode: "same-as-pa" })).toEqual([2, 2]);
    // 64 KiB further: 31 entries of 64 KiB before, one of 2 MiB, one of 64 KiB behind; and none agrees with identity.
    expect(await entries({ mode: "aligned", offset: 65536 })).toEqual([33, 64]);
    const [one, same, other] = await Promise.all([7, 7, 8].map((seed) => entries({ mode: "random", seed })));
    expect(same).toEqual(one);
    expect(other).not.toEqual(one);
    refused("invalid", () => new VirtualAddresses({ offset: 100 }));
  });

  it("leaves out what asks an importer where there is none", () => {
    const names = (importers: Parameters<typeof comparable>[1]) =>
      comparable(strategies, importers).map(({ name }) => name);
    expect(names([])).toContain("ring-contiguous");
    expect(names([])).not.toContain("hinted");
    expect(names(named("xe"))).toEqual(strategies.map(({ name }) => name));
  });

  it("joint shows its trade, single pages included", async () => {
    const [joint] = await results(
      [map(0, [{ physical: 0x4000_1000n, length: 4n * MIB }]), map(1, [{ physical: 0x4000_0000n, length: 4n * KIB }])],
      { strategies: [findStrategy("joint")], importers: named("xe"), weights: { iommu: 2, importer: 1, space: 0 } },
    );
    expect(joint.trade?.sums).toEqual({
      nobody: { iommuLeaves: 1025, importerEntries: 1025, spacePages: 1025, score: 3075, chosen: 1 },
      importer: { iommuLeaves: 1025, importerEntries: 3, spacePages: 1536, score: 2053, chosen: 1 },
      iommu: { iommuLeaves: 514, importerEntries: 1025, spacePages: 1536, score: 2053, chosen: 0 },
      joint: { iommuLeaves: 1025, importerEntries: 3, spacePages: 1536, score: 2053, chosen: 2 },
    });
    expect(joint.trade?.widest?.chosen).toMatchObject({ serves: "importer", modulus: 512, score: 2 * 1024 + 2 });
    expect(joint.figures.leavesUsed).toBe(1025);
    expect(joint.importers[0].entriesUsed).toBe(3);
  });
});
