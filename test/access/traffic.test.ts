/** Accesses between a replay's operations, against the same operations, accesses and invalidations one at a time. */
import { describe, expect, it, test } from "vitest";
import { type MappingAccess, parseAccess, streamOf } from "../../src/access/kinds.js";
import { vtdPasidIotlbSelection, vtdTags } from "../../src/cache/vtd.js";
import type { CacheGeometry } from "../../src/cache/geometry.js";
import { dmaAddress } from "../../src/engine/addresses.js";
import type { PageTable } from "../../src/engine/page-table.js";
import type { Machine } from "../../src/machines/machine.js";
import { findPreset } from "../../src/machines/presets.js";
import type { AccessFigures } from "../../src/replay/access.js";
import type { Replay } from "../../src/replay/replay.js";
import { findStrategy } from "../../src/strategies/strategies.js";
import { encode, KIB, MIB, map, newReplay, type Operation, unmap } from "../replay/support.js";
import { refused } from "../support/errors.js";
import { Random } from "../support/random.js";
import { SlowSimulator } from "../support/slow-simulator.js";
import { slowStream } from "../support/slow-streams.js";

const PAGE = 4096n;

function lru(ways: number): CacheGeometry {
  return { sets: 1, ways, replacement: "lru" };
}

const SMALL: Machine = {
  ...(findPreset("broadwell-e5-2630v4") as Machine),
  name: "small",
  format: "x86_64",
  stage: "first",
  caches: { iotlb: [lru(8)], firstStage: { 2: lru(3), 3: lru(2) } },
};

/** Maps of one to three scattered pieces, of pages and of 2 MiB, and unmaps of all or half of what is live. */
function someOperations(random: Random, count: number): Operation[] {
  const operations: Operation[] = [];
  const live: { readonly slot: number; readonly length: bigint; offset: bigint }[] = [];
  let physical = 512n * MIB;
  for (let slot = 0; operations.length < count; ) {
    if (live.length < 2 || (live.length < 6 && random.below(2) === 0)) {
      const pieces = Array.from({ length: 1 + random.below(3) }, () => {
        const large = random.below(4) === 0;
        const length = large ? 2n * MIB : PAGE * BigInt(1 + random.below(24));
        if (large) physical = ((physical + 2n * MIB - 1n) / (2n * MIB)) * 2n * MIB;
        const piece = { physical, length };
        physical += length + PAGE * BigInt(1 + random.below(700));
        return piece;
      });
      operations.push(map(slot, pieces));
      live.push({ slot, length: pieces.reduce((sum, piece) => sum + piece.length, 0n), offset: 0n });
      slot++;
    } else {
      const index = random.below(live.length);
      const { slot: which, length, offset } = live[index];
      operations.push(unmap(which, offset, length - offset));
      live.splice(index, 1);
    }
  }
  return operations;
}

/** The accesses of mappings, one after another, as offsets within them. */
class SlowAccesses {
  readonly #stream: { -readonly [K in "length"]: bigint } & Record<string, unknown>;
  readonly #random: Generator<{ iova: bigint }>;

  constructor(private readonly access: MappingAccess) {
    this.#stream = { ...streamOf(access).stream } as never;
    // Reads the length anew for every access.
    this.#random = slowStream(this.#stream as never);
  }

  *of(length: bigint): Generator<bigint> {
    const { bytes, kind } = this.access;
    const block = BigInt(streamOf(this.access).block);
    const blocks = length - (length % block);
    this.#stream.length = blocks;
    const whole =
      kind === "random"
        ? this.#random
        : slowStream({ ...this.#stream, rows: Number(blocks) / 8192, length: blocks } as never);
    for (let at = 0n; at < blocks; at += BigInt(bytes)) yield whole.next().value.iova;
    for (let at = blocks; at < length; at += BigInt(bytes)) yield at;
  }
}

interface Range {
  readonly iova: bigint;
  readonly length: bigint;
}

interface Mapped {
  readonly length: bigint;
  /** IOVA ranges, one behind the other. */
  readonly pieces: readonly Range[];
}

function iovaAt({ pieces }: Mapped, offset: bigint): bigint {
  let left = offset;
  for (const { iova, length } of pieces) {
    if (left < length) return iova + left;
    left -= length;
  }
  throw new Error(`no byte ${offset}`);
}

function mappedBy(replay: Replay, operation: Operation & { kind: "map" }, identity: boolean): Mapped {
  const { slot, length, pieces } = operation;
  if (identity) return { length, pieces: pieces.map((piece) => ({ iova: piece.physical, length: piece.length })) };
  return { length, pieces: [{ iova: replay.iova(slot) ?? 0n, length }] };
}

function invalidate(simulator: SlowSimulator, { iova, length }: Range, leafOnly: boolean): void {
  let addressMask = 0;
  while ((iova ^ (iova + length - 1n)) >> BigInt(12 + addressMask)) addressMask++;
  const request = { domain: 0, pasid: 0, address: iova, addressMask, leafOnly, granularity: "page" } as const;
  simulator.invalidate(vtdPasidIotlbSelection(request));
}

/** Whether a large leaf of a range stands where there was a table of the last level, without entries. */
function freesTables(after: PageTable, before: PageTable, { iova, length }: Range): boolean {
  for (let at = iova; at < iova + length; at += PAGE) {
    const now = after.walk(dmaAddress(at));
    const then = before.walk(dmaAddress(at));
    if (now.ok && now.level > 1 && !then.ok && then.level < now.level) return true;
  }
  return false;
}

async function slowly(strategyName: string, operations: readonly Operation[], access: MappingAccess, hints: boolean) {
  const strategy = findStrategy(strategyName);
  const replay = await newReplay({ strategy, format: SMALL.format, levels: SMALL.levels });
  /** The same tables, an operation behind. */
  const before = await newReplay({ strategy, format: SMALL.format, levels: SMALL.levels });
  const accesses = new SlowAccesses(access);
  const mapped = new Map<number, Mapped>();
  let simulator: SlowSimulator | null = null;
  const figures = { requests: 0, hits: 0, invalidations: 0, waits: 0 };
  for (const operation of operations) {
    const pagesBefore = replay.table(0)?.counters.tablePages ?? 0;
    replay.run(encode([operation]));
    const tableBefore = before.table(0);
    const table = replay.table(0);
    if (table === null) throw new Error("no table");
    simulator ??= new SlowSimulator(
      table,
      SMALL.caches,
      SMALL.caches.firstStage ?? {},
      vtdTags({ sid: 0, domain: 0, pasid: null, firstStage: true }),
    );
    if (operation.kind === "map") {
      const here = mappedBy(replay, operation, strategy.rule.source === "identity");
      mapped.set(operation.slot, here);
      const freed = tableBefore !== null && here.pieces.some((piece) => freesTables(table, tableBefore, piece));
      if (freed) for (const piece of here.pieces) invalidate(simulator, piece, false);
      if (freed) figures.invalidations += here.pieces.length;
      if (freed) figures.waits++;
      before.run(encode([operation]));
      for (const offset of accesses.of(here.length)) {
        figures.requests++;
        if (simulator.access({ iova: iovaAt(here, offset), bytes: access.bytes, write: false, device: 0 }).hit) {
          figures.hits++;
        }
      }
      continue;
    }
    const leafOnly = hints && table.counters.tablePages >= pagesBefore;
    before.run(encode([operation]));
    figures.waits++;
    for (const piece of mapped.get(operation.slot)?.pieces ?? []) {
      invalidate(simulator, piece, leafOnly);
      figures.invalidations++;
    }
  }
  return { ...figures, lookups: simulator?.lookups, walkHits: simulator?.hits, reads: simulator?.reads };
}

async function inBatches(strategy: string, operations: readonly Operation[], access: MappingAccess, hints: boolean) {
  const { format, levels } = SMALL;
  const traffic = { machine: SMALL, access, hints };
  const replay = await newReplay({ strategy: findStrategy(strategy), format, levels, traffic });
  for (let i = 0; i < operations.length; i += 7) replay.run(encode(operations.slice(i, i + 7)));
  const figures = replay.access;
  if (figures === null) throw new Error("no traffic");
  return figures;
}

describe("counts as the slow model does", () => {
  const kinds = ["sequential:512", "random:512", "interleaved:512", "tiled:512"];
  const strategies = ["pa-congruent", "no-align", "linux", "identity"];
  const cases = kinds.flatMap((kind) => strategies.map((strategy) => [kind, strategy] as const));
  test.each(cases)("%s, %s", async (kind, strategy) => {
    for (const hints of [true, false]) {
      const operations = someOperations(new Random(kind.length * 31 + strategy.length), 40);
      const access = parseAccess(kind);
      const slow = await slowly(strategy, operations, access, hints);
      const { counters, walkCacheMisses, pages, ...ours } = await inBatches(strategy, operations, access, hints);
      expect(ours.faults).toBe(0);
      expect(counters.iommu_requests).toBe(slow.requests);
      expect(counters.iotlb_hit).toBe(slow.hits);
      expect(counters.iommu_mrds).toBe(slow.reads?.reduce((sum, n) => sum + n, 0));
      expect(ours.rangeInvalidations + ours.domainInvalidations).toBe(slow.invalidations);
      expect(ours.invalidationWaits).toBe(slow.waits);
      for (const { level, perPage } of walkCacheMisses) {
        expect(perPage * pages).toBeCloseTo((slow.lookups?.[level] ?? 0) - (slow.walkHits?.[level] ?? 0), 6);
      }
    }
  });
});

const page = (slot: number, domain = 0): Operation => map(slot, [{ physical: 0x10_0000n, length: PAGE }], 0n, domain);

describe("figures", () => {
  it("is one IOTLB miss a page of small leaves, and one a large leaf", async () => {
    const large = map(0, [{ physical: 1024n * MIB, length: 2n * MIB }]);
    const access = parseAccess("sequential");
    const operations = [page(1), large];
    expect((await inBatches("pa-congruent", operations, access, true)).iotlbMissesPerPage).toBe(2 / 513);
    expect((await inBatches("no-align", operations, access, true)).iotlbMissesPerPage).toBe(1);
  });

  it("has a descriptor and a completion for every mapping but the ring itself", async () => {
    const ring = map(0, [{ physical: 1024n * MIB, length: 64n * KIB }]);
    const { counters } = await inBatches("linux", [ring, page(1), page(2)], parseAccess("ring"), true);
    expect(counters.iommu_requests).toBe(2 * (1 + 16 + 1));
    const again = [ring, page(1), unmap(0, 0n, 64n * KIB), page(2), page(3)];
    expect((await inBatches("linux", again, parseAccess("ring"), true)).counters.iommu_requests).toBe(2 * 18);
  });

  it("waits for the flush queue with linux-lazy, and for nothing with linux", async () => {
    const at = (operation: Operation, time: number): Operation => ({ ...operation, time });
    const operations = [at(page(0), 0), at(unmap(0, 0n, PAGE), 1), at(page(1), 2), at(page(2), 20e6)];
    const access = parseAccess("sequential");
    expect(await inBatches("linux", operations, access, true)).toMatchObject({
      rangeInvalidations: 1,
      domainInvalidations: 0,
    });
    expect(await inBatches("linux-lazy", operations, access, true)).toMatchObject({
      rangeInvalidations: 0,
      domainInvalidations: 1,
      invalidationWaits: 1,
    });
  });

  it("has a core wait for every unmap, for some together, or for the flush queue", async () => {
    const operations = Array.from({ length: 100 }, (_, slot) => [page(slot), unmap(slot, 0n, PAGE)]).flat();
    const invalidation = { commandNs: 100, waitNs: 900 };
    const machine: Machine = { ...SMALL, figures: { ...SMALL.figures, invalidation } };
    const time = async (strategy: string, unmapsPerWait: number): Promise<AccessFigures> => {
      const traffic = { machine, access: parseAccess("sequential:512"), unmapsPerWait };
      const { format, levels } = machine;
      const replay = await newReplay({ strategy: findStrategy(strategy), format, levels, traffic });
      replay.run(encode(operations));
      return replay.access as AccessFigures;
    };
    const strict = await time("linux", 1);
    expect(strict).toMatchObject({ rangeInvalidations: 100, invalidationWaits: 100 });
    // A page of 8 transactions, a command and a wait.
    expect(strict.timing).toMatchObject({ boundBy: "invalidations", invalidationNs: 1000 / 8 });
    const batched = await time("linux", 30);
    expect(batched).toMatchObject({ rangeInvalidations: 100, invalidationWaits: 4 });
    expect(batched.timing?.invalidationNs).toBe((100 * 100 + 4 * 900) / 800);
    const lazy = await time("linux-lazy", 30);
    expect(lazy).toMatchObject({ rangeInvalidations: 0, invalidationWaits: lazy.domainInvalidations });
    expect(lazy.timing?.invalidationNs).toBeLessThan(batched.timing?.invalidationNs ?? 0);
    await expect(time("linux", 0)).rejects.toThrow("0 unmaps a wait: not a whole number from 1");
  });

  it("keeps domains apart and changes no figure of the tables", async () => {
    const operations = [page(0), page(1, 1), page(2, 40), unmap(1, 0n, PAGE, 1), page(3, 1)];
    const strategy = findStrategy("size-aligned");
    const machine = findPreset("broadwell-e5-2630v4") as Machine;
    const replay = await newReplay({ strategy, traffic: { machine, access: parseAccess("sequential:64") } });
    replay.run(encode(operations));
    const plain = await newReplay({ strategy });
    plain.run(encode(operations));
    expect(replay.access).toMatchObject({ pages: 4, iotlbMissesPerPage: 1, faults: 0 });
    expect(replay.finish()).toEqual(plain.finish());
    expect(plain.access).toBeNull();
  });

  it("has no rates and no time when nothing was accessed", async () => {
    const machine = findPreset("broadwell-e5-2630v4") as Machine;
    const replay = await newReplay({
      strategy: findStrategy("linux"),
      traffic: { machine, access: parseAccess("sequential") },
    });
    expect(replay.access).toMatchObject({ pages: 0, iotlbMissesPerPage: 0, timing: null });
  });
});

test.each([
  ["backwards", /the kinds are sequential, random, ring, interleaved, tiled/],
  ["random:", /power of two up to 512/],
  ["random:1024", /power of two up to 512/],
  ["random:64:1", /power of two up to 512/],
])("refuses %j", (text, message) => {
  expect(refused("invalid", () => parseAccess(text)).message).toMatch(message);
});
