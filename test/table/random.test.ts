/** random_map of generic_pt's suite: random changes against the slow model, raw memory and all. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Permissions, Reclaim } from "../../src/engine/page-table.js";
import { newEngine } from "../support/engine.js";
import { CONFIGURATIONS, type Configuration, UNUSUAL_CONFIGURATIONS } from "../support/geometries.js";
import { coverage, entriesOf, type SlowFormat } from "../support/slow-format.js";
import { iovaOf, Pair } from "../support/tables.js";

const engine = await newEngine();

type Step =
  | { kind: "map"; iova: bigint; physical: bigint; length: bigint; permissions: Permissions }
  | { kind: "unmap"; iova: bigint; length: bigint; reclaim: Reclaim }
  | { kind: "walk"; iova: bigint; write: boolean; privileged: boolean };

/** Addresses crowd around a few places, so that ranges meet: low, around 1 GiB, and at the top of the input range. */
function addresses(configuration: Configuration): fc.Arbitrary<bigint> {
  const { format } = configuration;
  const large = coverage(2, format);
  const places = [0n];
  if (configuration.levels > 2) places.push(coverage(3, format) - 4n * large);
  if (configuration.levels > 1) places.push((1n << BigInt(configuration.inputBits - 1)) - 8n * large);
  if (format.signExtended) places.push((1n << 64n) - 8n * large);
  const top = entriesOf(format) - 1;
  return fc
    .tuple(
      fc.constantFrom(...places),
      fc.integer({ min: 0, max: 8 }),
      fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 6 }), fc.integer({ min: top - 6, max: top })),
    )
    .map(([place, blocks, small]) =>
      BigInt.asUintN(64, place + BigInt(blocks) * large + BigInt(small) * coverage(1, format)),
    );
}

function lengthsOf(format: SlowFormat): fc.Arbitrary<bigint> {
  const entries = entriesOf(format);
  return fc
    .tuple(
      // Thousands of pages to a large leaf: fewer of them.
      entries > 512 ? fc.constantFrom(0, 0, 0, 0, 0, 1) : fc.constantFrom(0, 0, 0, 1, 1, 2),
      fc.oneof(
        { weight: 512, arbitrary: fc.integer({ min: 0, max: 8 }) },
        { weight: Math.floor((512 * 512) / entries), arbitrary: fc.integer({ min: entries - 12, max: entries + 4 }) },
      ),
    )
    .map(([large, small]) => BigInt(large) * coverage(2, format) + BigInt(small) * coverage(1, format));
}

function steps(configuration: Configuration): fc.Arbitrary<Step[]> {
  const { format, outputBits } = configuration;
  const iova = addresses(configuration);
  const lengths = lengthsOf(format);
  // With 52-bit addresses also where address bits stand elsewhere, and on either side of where they begin to.
  const bases =
    outputBits === 52 && format.outputBits < 52 ? [0n, 1n << 48n, 11n << 48n, (1n << 48n) - coverage(1, format)] : [0n];
  const permissions = fc.record({
    read: fc.boolean(),
    write: fc.boolean(),
    privileged: fc.boolean(),
    noExecute: fc.boolean(),
    // Where there are no runs, marking them is refused, which need not be tried as often.
    contiguous: fc.integer({ min: 0, max: 9 }).map((n) => n < (Object.keys(format.runs).length > 0 ? 6 : 1)),
  });
  const step: fc.Arbitrary<Step> = fc.oneof(
    {
      weight: 5,
      arbitrary: fc
        .record({
          iova,
          offset: fc.constantFrom(0n, 0n, coverage(3, format), coverage(2, format), coverage(1, format)),
          base: fc.constantFrom(...bases),
          length: lengths,
          permissions,
        })
        .map(({ iova: at, offset, base, length, permissions: granted }): Step => {
          const physical = base + ((at + offset) % (1n << 40n));
          return { kind: "map", iova: at, physical, length, permissions: granted };
        }),
    },
    {
      weight: 4,
      arbitrary: fc
        .record({ iova, length: lengths, reclaim: fc.constantFrom<Reclaim>("covered", "empty") })
        .map((fields): Step => ({ kind: "unmap", ...fields })),
    },
    {
      weight: 2,
      arbitrary: fc
        .record({ iova, write: fc.boolean(), privileged: fc.boolean() })
        .map((fields): Step => ({ kind: "walk", ...fields })),
    },
  );
  return fc.array(step, { minLength: 10, maxLength: 24 });
}

describe.each([...CONFIGURATIONS, ...UNUSUAL_CONFIGURATIONS])("$title", (configuration) => {
  const granule = coverage(1, configuration.format);
  test("random maps and unmaps agree with the model in every word and every figure", () => {
    fc.assert(
      fc.property(steps(configuration), (run) => {
        const pair = new Pair(engine, configuration);
        try {
          let entriesRead = 0;
          const mapped: { iova: bigint; length: bigint }[] = [];
          for (const step of run) {
            if (step.kind === "map") {
              if (pair.map(step.iova, step.physical, step.length, step.permissions)) mapped.push(step);
            } else if (step.kind === "unmap") {
              // Mostly what was once mapped; otherwise anything, which as a rule is refused.
              const target = mapped.length > 0 && step.length % (2n * granule) === 0n ? (mapped.shift() ?? step) : step;
              pair.unmap(target.iova, target.length, step.reclaim);
            } else {
              const access = { write: step.write, privileged: step.privileged };
              const walk = pair.table.walk(iovaOf(step.iova + 0x7n), access);
              const expected = pair.model.walk(step.iova + 0x7n, access);
              entriesRead += expected.entriesRead;
              expect({ ...walk, entryAddress: 0n, entry: 0n }).toEqual({ ...expected, entryAddress: 0n, entry: 0n });
              expect(pair.table.counters.entriesRead).toBe(entriesRead);
              expect(pair.table.iovaToPhys(iovaOf(step.iova))).toBe(pair.model.lookup(step.iova));
              entriesRead = pair.table.counters.entriesRead;
            }
            pair.checkCounters();
          }
          pair.check();
          for (const { iova, length } of mapped) {
            for (const at of [iova, iova + length - 1n]) {
              expect(pair.table.iovaToPhys(iovaOf(at))).toBe(pair.model.lookup(at));
            }
          }
        } finally {
          pair.release();
        }
        expect(engine.memory.pagesInUse).toBe(0);
      }),
      { numRuns: 6, seed: 20_240 },
    );
  });
});
