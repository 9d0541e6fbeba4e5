/** random_map of generic_pt's suite: random changes against the slow model, raw memory and all. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Permissions, Reclaim } from "../../src/engine/page-table.js";
import { newEngine } from "../support/engine.js";
import { CONFIGURATIONS, type Configuration } from "../support/geometries.js";
import { coverage } from "../support/slow-format.js";
import { iovaOf, Pair } from "../support/tables.js";

const engine = await newEngine();

type Step =
  | { kind: "map"; iova: bigint; physical: bigint; length: bigint; permissions: Permissions }
  | { kind: "unmap"; iova: bigint; length: bigint; reclaim: Reclaim }
  | { kind: "walk"; iova: bigint; write: boolean; privileged: boolean };

/** Addresses crowd around a few places, so that ranges meet: low, around 1 GiB, and at the top of the input range. */
function addresses(configuration: Configuration): fc.Arbitrary<bigint> {
  const places = [0n, coverage(3) - 4n * coverage(2), (1n << BigInt(configuration.inputBits - 1)) - 8n * coverage(2)];
  if (configuration.format.signExtended) places.push((1n << 64n) - 8n * coverage(2));
  return fc
    .tuple(
      fc.constantFrom(...places),
      fc.integer({ min: 0, max: 8 }),
      fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 6 }), fc.integer({ min: 505, max: 511 })),
    )
    .map(([place, large, small]) =>
      BigInt.asUintN(64, place + BigInt(large) * coverage(2) + BigInt(small) * coverage(1)),
    );
}

const lengths = fc
  .tuple(
    fc.constantFrom(0, 0, 0, 1, 1, 2),
    fc.oneof(fc.integer({ min: 0, max: 8 }), fc.integer({ min: 500, max: 516 })),
  )
  .map(([large, small]) => BigInt(large) * coverage(2) + BigInt(small) * coverage(1));

function steps(configuration: Configuration): fc.Arbitrary<Step[]> {
  const iova = addresses(configuration);
  const permissions = fc.record({
    read: fc.boolean(),
    write: fc.boolean(),
    privileged: fc.boolean(),
    noExecute: fc.boolean(),
  });
  const step: fc.Arbitrary<Step> = fc.oneof(
    {
      weight: 5,
      arbitrary: fc
        .record({
          iova,
          offset: fc.constantFrom(0n, 0n, coverage(3), coverage(2), coverage(1)),
          length: lengths,
          permissions,
        })
        .map(({ iova: at, offset, length, permissions: granted }): Step => {
          const physical = (at + offset) % (1n << 40n);
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

describe.each(CONFIGURATIONS)("$title", (configuration) => {
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
              const target = mapped.length > 0 && step.length % 8192n === 0n ? (mapped.shift() ?? step) : step;
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
