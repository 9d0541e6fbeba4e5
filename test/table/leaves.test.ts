/** The leaves of a table by address, against those that the slow model's walk finds. */
import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import { newEngine } from "../support/engine.js";
import { FULL_CONFIGURATIONS } from "../support/geometries.js";
import { coverage, entriesOf } from "../support/slow-format.js";
import { iovaOf, Pair, physicalOf, READ_WRITE } from "../support/tables.js";

const engine = await newEngine();

interface Range {
  readonly iova: bigint;
  length: bigint;
  readonly size: bigint;
}

/** Every address of these ranges, leaf by leaf, neighbours of one size joined. */
function expectedRanges({ model }: Pair, ranges: readonly { iova: bigint; length: bigint }[]): Range[] {
  const found: Range[] = [];
  for (const { iova, length } of [...ranges].sort((a, b) => (a.iova < b.iova ? -1 : 1))) {
    for (let at = iova; at < iova + length; ) {
      const size = model.leafAt(at)?.size;
      if (size === undefined) throw new Error(`nothing is mapped at 0x${at.toString(16)}`);
      const last = found.at(-1);
      if (last && last.size === size && last.iova + last.length === at) last.length += size;
      else found.push({ iova: at, length: size, size });
      at += size;
    }
  }
  return found;
}

describe.each(FULL_CONFIGURATIONS.map((configuration) => ({ title: configuration.title, configuration })))(
  "$title",
  ({ configuration }) => {
    const { format, levels, inputBits } = configuration;
    const [granule, large] = [coverage(1, format), coverage(2, format)];
    const half = 1n << BigInt(inputBits - 1);

    test("leaves come in ranges by address", () => {
      const places = [
        0n,
        half - 4n * large,
        ...(format.signExtended ? [(1n << 64n) - half, (1n << 64n) - 4n * large] : [half]),
      ];
      const request = fc.record({
        place: fc.constantFrom(...places),
        at: fc.tuple(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 6 })),
        congruent: fc.boolean(),
        length: fc.tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 0, max: 5 })),
      });
      fc.assert(
        fc.property(fc.array(request, { maxLength: 12 }), (requests) => {
          const pair = new Pair(engine, configuration);
          const ranges: { iova: bigint; length: bigint }[] = [];
          for (const { place, at, congruent, length } of requests) {
            const iova = place + BigInt(at[0]) * large + BigInt(at[1]) * granule;
            const bytes = BigInt(length[0]) * large + BigInt(length[1]) * granule;
            const physical = 16n * large + (congruent ? iova % large : granule);
            if (pair.map(iova, physical, bytes)) ranges.push({ iova, length: bytes });
          }
          expect([...pair.table.leafRanges()]).toEqual(expectedRanges(pair, ranges));
          pair.table.release();
        }),
        { numRuns: Math.max(3, Math.floor((levels * 2048) / entriesOf(format))) },
      );
    });
  },
);

it("finds as many ranges as there are, whatever one call brings", () => {
  const table = engine.createTable("vtdss", { levels: 4 });
  for (const count of [0, 1, 1023, 1024, 1025, 3000]) {
    const ranges = Array.from({ length: count }, (_, i) => ({ iova: BigInt(i) << 13n, length: 4096n, size: 4096n }));
    for (let i = table.leafRanges().count; i < count; i++) {
      table.map(iovaOf(ranges[i].iova), physicalOf(0n), 4096n, READ_WRITE);
    }
    expect(table.leafRanges().count).toBe(count);
    expect([...table.leafRanges()]).toEqual(ranges);
  }
});
