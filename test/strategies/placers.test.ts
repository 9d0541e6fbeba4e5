import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { findImporter } from "../../src/importers/importers.js";
import { BatchMappings } from "../../src/trace/mappings.js";
import type { Replay } from "../../src/replay/replay.js";
import { PlacementColumn, type Placer } from "../../src/strategies/placement.js";
import { newPlacer, withImporters } from "../../src/strategies/placer.js";
import { findStrategy } from "../../src/strategies/strategies.js";
import { encode, GIB, KIB, MIB, map, newReplay, type Operation, unmap } from "../replay/support.js";
import { refused } from "../support/errors.js";

const TOP = 1n << 48n;
const PAGE_SIZES = 0x4020_1000n;

function runPlaced(
  replay: Replay,
  placer: Placer,
  operations: readonly Operation[],
  vas: readonly bigint[],
): Float64Array {
  const batch = encode(operations);
  const column = new PlacementColumn();
  column.reset(batch.count);
  const virtualPages = Float64Array.from(operations, (_, index) => Number((vas[index] ?? 0n) / 4096n));
  placer.place(new BatchMappings(batch, () => virtualPages), column);
  const iovaPages = new Float64Array(batch.count);
  replay.run(batch, { placements: column.bytes, iovaPages });
  return iovaPages;
}

async function iovasOf(
  strategy: string,
  importer: string,
  buffers: readonly (readonly [va: bigint, length: bigint])[],
): Promise<bigint[]> {
  const found = findStrategy(strategy);
  const placer = newPlacer(found, { importer: findImporter(importer), pageSizes: PAGE_SIZES }) as Placer;
  const operations = buffers.map(([, length], slot) => map(slot, [{ physical: 0x1_0000_0000n, length }]));
  const vas = buffers.map(([va]) => va);
  const iovaPages = runPlaced(await newReplay({ strategy: found }), placer, operations, vas);
  return [...iovaPages].map((page) => BigInt(page) * 4096n);
}

describe("va-congruent", () => {
  it.each([
    ["xe", 0x7000n, 8n * KIB, TOP - GIB + 0x7000n],
    ["i915", 0x7000n, 8n * KIB, TOP - 2n * MIB + 0x7000n],
    ["mlx5", 0x7000n, 8n * KIB, TOP - 2n * GIB + 0x7000n],
    ["hfi1", 0x7000n, 8n * KIB, TOP - 8n * KIB],
    ["nvme-sgl", 0x7000n, 8n * KIB, TOP - 8n * KIB],
  ])("%s: congruent modulo its largest page, whatever the length", async (importer, va, length, expected) => {
    expect(await iovasOf("va-congruent", importer, [[va, length]])).toEqual([expected]);
  });
});

describe("hinted", () => {
  it.each([
    ["mlx5: one page for the whole region", "mlx5", 0x1000n, 8n * KIB, TOP - 16n * KIB + 0x1000n],
    ["mlx5: the 100 MiB region at an odd page", "mlx5", 0x7f00_0000_1000n, 100n * MIB, TOP - 128n * MIB + 0x1000n],
    ["xe: 64 KiB fits", "xe", 0x1_f000n, 68n * KIB, TOP - 128n * KIB + 0xf000n],
    ["xe: 64 KiB does not fit", "xe", 0x1_f000n, 64n * KIB, TOP - 64n * KIB],
    ["i915: 64 KiB only at the start of a table", "i915", 64n * KIB, 128n * KIB, TOP - 128n * KIB],
    ["i915: at the start of a table", "i915", 4n * MIB, 128n * KIB, TOP - 128n * KIB],
    ["amdgpu: anywhere", "amdgpu", 0x1_f000n, 12n * KIB, TOP - 12n * KIB],
  ])("%s", async (_, importer, va, length, expected) => {
    expect(await iovasOf("hinted", importer, [[va, length]])).toEqual([expected]);
  });

  it("takes less of a preference where there is no room for it, and counts that", async () => {
    const strategy = findStrategy("hinted");
    const replay = await newReplay({ strategy, last: 32n * KIB - 1n });
    const placer = newPlacer(strategy, { importer: findImporter("mlx5"), pageSizes: PAGE_SIZES }) as Placer;
    const operations = [0, 1, 2, 3].map((slot) => map(slot, [{ physical: 0n, length: 8n * KIB }]));
    // Odd starts, modulo 4 pages: 5 is one, 1 is the other; then no odd one is left with room behind it, but 3.
    const iovas = runPlaced(replay, placer, operations, [4096n, 4096n, 4096n, 4096n]);
    expect([...iovas]).toEqual([5, 1, 3, -1]);
    expect(replay.finish()).toMatchObject({ failed: 1, unmetPreferences: 1 });
  });

  it("needs an importer to ask", () => {
    expect(refused("invalid", () => newPlacer(findStrategy("hinted"), { pageSizes: 4096n })).message).toMatch(
      /importer/,
    );
  });

  it("runs once for each importer, under a name that tells which", () => {
    const both = [findImporter("mlx5"), findImporter("xe")];
    const names = (importers: typeof both) =>
      withImporters([findStrategy("linux"), findStrategy("hinted")], importers).map(({ strategy }) => strategy.name);
    expect(names(both)).toEqual(["linux", "hinted/mlx5", "hinted/xe"]);
    expect(names(both.slice(0, 1))).toEqual(["linux", "hinted"]);
  });
});

describe("ring-contiguous", () => {
  const strategy = findStrategy("ring-contiguous");
  const placer = () => newPlacer(strategy, { pageSizes: PAGE_SIZES }) as Placer;
  const page = (slot: number, pages = 1n) => map(slot, [{ physical: 0x1_0000_0000n, length: pages * 4096n }]);
  const on = (cpu: number, operation: Operation): Operation => ({ ...operation, cpu });
  const first = Number(TOP / 4096n) - 64;

  it("puts mappings behind each other in a chunk of 64 pages for each CPU", async () => {
    const operations = [on(0, page(0)), on(1, page(1)), on(0, page(2, 3n)), on(0, page(3)), on(1, page(4))];
    const iovas = runPlaced(await newReplay({ strategy }), placer(), operations, []);
    expect([...iovas]).toEqual([first, first - 64, first + 1, first + 4, first - 63]);
  });

  it("begins a new chunk when one is full, and gives what is longer a range of its own", async () => {
    const operations = [page(0, 60n), page(1, 5n), page(2, 65n), page(3, 1n)];
    const iovas = runPlaced(await newReplay({ strategy }), placer(), operations, []);
    expect([...iovas]).toEqual([first, first - 64, first - 64 - 65, first - 59]);
  });

  it("gives a chunk back with its last mapping, also when that was unmapped in parts", async () => {
    const operations = [
      ...[page(0, 60n), page(1, 4n), page(2, 8n)],
      ...[unmap(1, 0n, 4096n * 4n), unmap(0, 0n, 4096n * 20n), unmap(0, 4096n * 20n, 4096n * 40n)],
      page(3, 63n),
    ];
    const replay = await newReplay({ strategy });
    const iovas = runPlaced(replay, placer(), operations, []);
    expect([iovas[0], iovas[1], iovas[2], iovas[6]]).toEqual([first, first + 60, first - 64, first]);
    expect(replay.finish()).toMatchObject({ failed: 0 });
  });

  it("fails what a chunk without room would hold, and goes on", async () => {
    const replay = await newReplay({ strategy, last: 128n * 4096n - 1n });
    const operations = [page(0, 40n), page(1, 30n), page(2, 3n), unmap(1, 0n, 30n * 4096n), unmap(0, 0n, 40n * 4096n)];
    const iovas = runPlaced(replay, placer(), [...operations, unmap(2, 0n, 3n * 4096n), page(3)], []);
    expect([iovas[0], iovas[1], iovas[2], iovas[6]]).toEqual([64, -1, -1, 64]);
    expect(replay.finish()).toMatchObject({ failed: 2 });
  });

  it("never overlaps, and holds nothing when all is unmapped", async () => {
    const steps = fc.array(
      fc.record({ pages: fc.integer({ min: 1, max: 80 }), cpu: fc.integer({ min: 0, max: 2 }), gone: fc.nat(9) }),
      { minLength: 1, maxLength: 60 },
    );
    await fc.assert(
      fc.asyncProperty(steps, async (each) => {
        const operations: Operation[] = [];
        const live: number[] = [];
        each.forEach(({ pages, cpu, gone }, slot) => {
          operations.push(on(cpu, page(slot, BigInt(pages))));
          live.push(slot);
          if (gone < 5) {
            const [victim] = live.splice(gone % live.length, 1);
            operations.push(on(cpu, unmap(victim, 0n, BigInt(each[victim].pages) * 4096n)));
          }
        });
        for (const slot of live) operations.push(unmap(slot, 0n, BigInt(each[slot].pages) * 4096n));
        // A last mapping of the whole space shows that everything is free again.
        operations.push(page(each.length, 4095n));
        const replay = await newReplay({ strategy, last: 4096n * 4096n - 1n });
        const iovas = runPlaced(replay, placer(), operations, []);
        const taken = new Map<number, { first: number; end: number }>();
        operations.forEach((operation, index) => {
          if (operation.kind === "unmap") {
            taken.delete(operation.slot);
            return;
          }
          const range = { first: iovas[index], end: iovas[index] + Number(operation.length / 4096n) };
          expect(range.first).toBeGreaterThan(0);
          const others = [...taken.values()].filter(({ first, end }) => first < range.end && range.first < end);
          expect(others).toEqual([]);
          taken.set(operation.slot, range);
        });
        expect(iovas[operations.length - 1]).toBe(1);
      }),
      { numRuns: 25 },
    );
  });
});
