/**
 * Random entries, random accesses: the batch walk, which takes four walks in lock-step, then one by one, then each with
 * all its checks, gives for every request what the slow walker gives; so does iova_to_phys.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Access, Permissions } from "../../src/engine/page-table.js";
import { decodeWalkStatus } from "../../src/engine/page-table.js";
import { newEngine } from "../support/engine.js";
import { CONFIGURATIONS, type Configuration, SLOW_FORMATS, UNUSUAL_CONFIGURATIONS } from "../support/geometries.js";
import { RAM_END, RAM_START, takePage } from "../support/path.js";
import { Random } from "../support/random.js";
import { coverage, entriesOf, rootBytes } from "../support/slow-format.js";
import { DS } from "../support/slow-vmsav8.js";
import { inputInRange, type ReadWord, slowLookup, slowWalk } from "../support/slow-walk.js";
import { createTable, iovaOf, physicalOf } from "../support/tables.js";

const engine = await newEngine();
engine.memory.declareRam(physicalOf(RAM_START), physicalOf(RAM_END));

/** Indices of the entries in use, of a table with so many. */
const indices = (entries: number): readonly number[] => [0, 1, 2, entries - 1].filter((index) => index < entries);
/** How often an entry has a random bit flipped: from tables in perfect order to tables in ruins. */
const DAMAGE = [0, 0.02, 0.2, 0.2];
/** Bits that some format gives a meaning, flipped as often as all others together. */
const MEANINGFUL_BITS = [0, 1, 2, 6, 7, 9, 10, 11, 13, 14, 45, 49, 51, 53, 54, 59, 60, 61, 62];

function randomAccess(random: Random): Access {
  return {
    read: random.chance(0.7),
    write: random.chance(0.4),
    privileged: random.chance(0.4),
    execute: random.chance(0.2),
  };
}

const ALL_RIGHTS: Permissions = { read: true, write: true };

/** What the model reads is memory itself, through the interface that has its own tests. */
const read: ReadWord = (address) => {
  try {
    return engine.memory.read64(physicalOf(address));
  } catch {
    return null;
  }
};

/** Some other width of input and output addresses, and flags: VMSAv8-64 then has shorter, or several, first tables. */
function vary(configuration: Configuration, random: Random): Configuration {
  const { format, levels } = configuration;
  const flags = random.pick(format.flagSets);
  if (format.mostFirstTables === 0)
    return { ...configuration, flags, outputBits: random.pick([42, format.outputBits]) };
  const wide = (configuration.flags & DS) !== 0 || configuration.outputBits === 52 || random.chance(0.2);
  const full = format.granuleShift + format.indexBits * levels;
  const widest = Math.min(full + Math.log2(format.mostFirstTables), wide ? 52 : format.widestInput);
  const narrowest = full - format.indexBits + 1;
  return {
    ...configuration,
    flags: wide && format.granuleShift < 16 ? flags | DS : flags,
    outputBits: wide ? (format.granuleShift === 16 ? 52 : random.pick([42, 50, 52])) : random.pick([42, 48]),
    inputBits: random.chance(0.3) ? configuration.inputBits : narrowest + random.below(widest - narrowest + 1),
  };
}

/** A forest of tables in every kind of memory: its root, and its pages in the arena. */
function plantTables(configuration: Configuration, random: Random): { root: bigint; pages: bigint[] } {
  const { format, levels } = configuration;
  const tableBytes = 8 * entriesOf(format);
  const firstBytes = rootBytes(format, configuration);
  const damage = random.pick(DAMAGE);
  const loose = random.pick([0, 0.3, 1]);
  const perLevel: bigint[][] = [];
  const arenaPages: bigint[] = [];
  for (let level = 1; level <= levels; level++) {
    perLevel[level] = [];
    for (let n = level === levels ? 1 : 3; n > 0; n--) {
      const backing = random.chance(loose) ? random.pick(["frames", "ram"] as const) : "arena";
      const bytes = level === levels ? firstBytes : tableBytes;
      let page = takePage(engine, backing, level, bytes);
      if (backing === "arena" && bytes <= 65536) arenaPages.push(page);
      // A short first table stands anywhere in its page.
      if (bytes < 4096) page += BigInt(bytes * random.below(4096 / bytes));
      perLevel[level].push(page);
      for (const index of indices(bytes / 8)) {
        let entry: bigint;
        if (level === 1 || (level <= 3 && random.chance(0.35))) {
          const size = coverage(level, format);
          const permissions = random.chance(0.8)
            ? ALL_RIGHTS
            : {
                read: random.chance(0.6),
                write: random.chance(0.5),
                privileged: random.chance(0.3),
                noExecute: random.chance(0.3),
              };
          const width = random.chance(0.1) ? 52n : 39n;
          const physical = random.u64() & ((1n << width) - 1n) & ~(size - 1n);
          entry = format.leaf(physical, permissions, level, configuration) ?? 0n;
        } else {
          const target = random.chance(damage) ? 0x6_6600_0000n : random.pick(perLevel[level - 1]);
          entry = format.pointer(target, configuration);
        }
        if (random.chance(0.05)) entry = 0n;
        while (random.chance(damage)) {
          const flipped = random.chance(0.5) ? random.pick(MEANINGFUL_BITS) : random.below(64);
          // Bit 62 of a second-stage entry is reserved in some revisions and ignored in others.
          if (!(format.name === "vtdss" && flipped === 62)) entry ^= 1n << BigInt(flipped);
        }
        engine.memory.write64(physicalOf(page + BigInt(index * 8)), entry);
      }
    }
  }
  return { root: perLevel[levels][0], pages: arenaPages };
}

function randomIova(configuration: Configuration, random: Random): bigint {
  const { format, levels } = configuration;
  let iova = random.u64() & (coverage(1, format) - 1n);
  for (let level = 1; level <= levels; level++) {
    const entries = level === levels ? rootBytes(format, configuration) / 8 : entriesOf(format);
    const index = random.chance(0.03) ? 7 : random.pick(indices(entries));
    iova |= BigInt(index) * coverage(level, format);
  }
  if (format.signExtended) iova = BigInt.asUintN(64, BigInt.asIntN(configuration.inputBits, iova));
  if (random.chance(0.02))
    iova ^= 1n << BigInt(configuration.inputBits - 1 + random.below(64 - configuration.inputBits));
  return iova;
}

describe.each([...CONFIGURATIONS, ...UNUSUAL_CONFIGURATIONS])("$title", (configuration) => {
  const { format } = configuration;

  test("batches of random length over random entries", () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        const random = new Random(seed);
        const geometry = vary(configuration, random);
        const { root, pages } = plantTables(geometry, random);
        const table = createTable(engine, geometry, root);
        const batch = table.createWalkBatch(64);
        let entriesRead = 0;
        for (let round = 0; round < 6; round++) {
          const count = random.below(65);
          const access = round === 0 ? {} : randomAccess(random);
          // A batch of one leaf size only, now and then, stays in lock-step.
          const few = Array.from({ length: random.pick([1, 4, 64]) }, () => randomIova(geometry, random));
          const iovas = Array.from({ length: count }, () => random.pick(few));
          batch.iova.set(iovas);
          batch.status.fill(0xdead_beef);
          table.walkBatch(batch, count, access);
          const expected = iovas.map((iova) => {
            const walk = slowWalk(format, geometry, read, root, iova, access);
            entriesRead += walk.entriesRead;
            return {
              check: walk.ok ? null : walk.check,
              stage: "own",
              level: walk.level,
              entriesRead: walk.entriesRead,
              pageSize: walk.ok ? walk.pageSize : 0n,
              physical: walk.ok ? walk.physical : walk.entryAddress,
            };
          });
          const { status, physical } = batch;
          expect(iovas.map((_, i) => ({ ...decodeWalkStatus(status[i]), physical: physical[i] }))).toEqual(expected);
          if (count < 64) expect(batch.status[count]).toBe(0xdead_beef);
          expect(table.counters.entriesRead).toBe(entriesRead);

          for (const iova of iovas.slice(0, 3)) {
            const { ok, ...rest } = slowWalk(format, geometry, read, root, iova, access);
            expect(table.walk(iovaOf(iova), access)).toEqual({ ok, ...rest });
            entriesRead += rest.entriesRead;
          }

          const readsBefore = table.counters.entriesRead;
          let looked = 0;
          const counting: ReadWord = (address) => {
            const word = read(address);
            if (word !== null) looked++;
            return word;
          };
          const physicals = iovas.map((iova) => slowLookup(format, geometry, counting, root, iova));
          batch.status.fill(0xdead_beef);
          table.iovaToPhysBatch(batch, count);
          expect([...batch.physical.subarray(0, count)]).toEqual(
            physicals.map((each) => each ?? 0xffff_ffff_ffff_ffffn),
          );
          expect(batch.status.every((word) => word === 0xdead_beef)).toBe(true);
          expect(table.counters.entriesRead - readsBefore).toBe(looked);
          entriesRead += looked;
        }
        batch.release();
        // The pages are the test's own: cleared, so that no later table meets them by accident.
        engine.exports.tableRelease(table.handle);
        for (const page of pages) {
          try {
            engine.memory.freePage(physicalOf(page));
          } catch {
            // Reachable from the root, so release has freed it.
          }
        }
      }),
      { numRuns: 12, seed: 77 },
    );
  });
});

test("the generator reaches every outcome and every way through the batch", () => {
  const seen = new Set<string>();
  for (const configuration of CONFIGURATIONS) {
    for (let seed = 0; seed < 20; seed++) {
      const random = new Random(seed);
      const geometry = { ...configuration, outputBits: 42 };
      const { root } = plantTables(geometry, random);
      for (let n = 0; n < 60; n++) {
        const iova = randomIova(geometry, random);
        const walk = slowWalk(configuration.format, geometry, read, root, iova, randomAccess(random));
        seen.add(`${configuration.format.name} ${walk.ok ? `leaf at ${walk.level}` : walk.check}`);
        if (!inputInRange(configuration.format, geometry, iova)) seen.add("input");
      }
    }
  }
  const common = ["leaf at 1", "leaf at 2", "leaf at 3", "not-present", "table-access", "input-range", "no-write"];
  for (const outcome of common) {
    for (const name of ["vtdss", "x86_64", "vmsav8-4k", "vmsav8-4k-s2"]) expect(seen).toContain(`${name} ${outcome}`);
  }
  for (const { name } of SLOW_FORMATS.filter((each) => each.granuleShift > 12)) {
    for (const outcome of common.filter((each) => each !== "leaf at 3")) expect(seen).toContain(`${name} ${outcome}`);
  }
  for (const outcome of ["vtdss reserved", "vtdss no-read", "x86_64 reserved", "x86_64 no-user"])
    expect(seen).toContain(outcome);
  for (const outcome of ["output-range", "access-flag", "no-user", "no-execute"])
    for (const granule of ["4k", "16k", "64k"]) expect(seen).toContain(`vmsav8-${granule} ${outcome}`);
  for (const outcome of ["output-range", "access-flag", "no-read", "no-execute"])
    for (const granule of ["4k", "16k", "64k"]) expect(seen).toContain(`vmsav8-${granule}-s2 ${outcome}`);
});
