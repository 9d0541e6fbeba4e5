/** A batch does what the same requests do one by one. */
import { describe, expect, test } from "vitest";
import { dmaAddress, physicalAddress } from "../../src/engine/addresses.js";
import { decodeWalkStatus, encodeAccess } from "../../src/engine/page-table.js";
import { dumpEngineTable } from "../support/dump.js";
import { newEngine } from "../support/engine.js";
import { codeOrNull } from "../support/errors.js";
import { FULL_CONFIGURATIONS, UNUSUAL_CONFIGURATIONS } from "../support/geometries.js";
import { Random } from "../support/random.js";
import { coverage } from "../support/slow-format.js";
import { createTable, iovaOf, physicalOf, READ_WRITE } from "../support/tables.js";

const engine = await newEngine();

describe.each([...FULL_CONFIGURATIONS, ...UNUSUAL_CONFIGURATIONS])("$title", (configuration) => {
  const { format, levels } = configuration;
  const PAGE = coverage(1, format);
  const LARGE = coverage(2, format);
  // A table of one level covers one large leaf.
  const places = levels === 1 ? 1 : 6;
  const refusals = levels === 1 ? ["overlap", "misaligned", "input-range"] : ["overlap", "misaligned"];
  test.each([0, 1, 3, 64])("map and unmap, %i requests, good ones and refused ones", (count) => {
    const random = new Random(count + 1);
    const requests = Array.from({ length: count }, () => ({
      iova: BigInt(random.below(places)) * LARGE + BigInt(random.below(3)) * PAGE,
      physical: BigInt(random.below(4)) * LARGE + BigInt(random.below(2)) * PAGE + (random.chance(0.05) ? 5n : 0n),
      length: random.chance(0.3) ? LARGE : BigInt(random.below(4)) * PAGE,
    }));
    const single = createTable(engine, configuration);
    const batched = createTable(engine, configuration);
    const batch = batched.createChangeBatch(64);

    for (const [i, { iova, physical, length }] of requests.entries()) {
      batch.iova[i] = iova;
      batch.physical[i] = physical;
      batch.length[i] = length;
    }
    const codes = requests.map(({ iova, physical, length }) =>
      codeOrNull(() => single.map(iovaOf(iova), physicalOf(physical), length, READ_WRITE)),
    );
    expect(batched.mapBatch(batch, count, READ_WRITE)).toBe(codes.filter((code) => code !== null).length);
    expect(requests.map((_, i) => batch.code(i))).toEqual(codes);
    expect(requests.map((_, i) => batch.length[i])).toEqual(requests.map((each, i) => (codes[i] ? 0n : each.length)));
    expect(dumpEngineTable(engine, batched, configuration.format)).toEqual(
      dumpEngineTable(engine, single, configuration.format),
    );
    if (count === 64) expect(new Set(codes)).toEqual(new Set([null, ...refusals]));

    for (const reclaim of ["covered", "empty"] as const) {
      for (const [i, { iova, length }] of requests.entries()) {
        batch.iova[i] = iova;
        batch.length[i] = length;
      }
      const results = requests.map(({ iova, length }) => {
        let bytes = 0n;
        let freed = 0;
        const code = codeOrNull(() => {
          const unmapped = single.unmap(iovaOf(iova), length, reclaim);
          bytes = unmapped.length;
          freed = unmapped.freedPages.length;
        });
        return { code, bytes, freed };
      });
      expect(batched.unmapBatch(batch, count, reclaim)).toBe(results.filter(({ code }) => code !== null).length);
      expect(
        requests.map((_, i) => ({ code: batch.code(i), bytes: batch.length[i], freed: batch.freedPages(i) })),
      ).toEqual(results);
      expect(dumpEngineTable(engine, batched, configuration.format)).toEqual(
        dumpEngineTable(engine, single, configuration.format),
      );
      expect(batched.counters).toEqual(single.counters);
    }
    expect(() => batched.mapBatch(batch, 65, READ_WRITE)).toThrow(RangeError);
    expect(() => batched.unmapBatch(batch, 65)).toThrow(RangeError);
    expect(() => batched.walkBatch(batched.createWalkBatch(4), 5)).toThrow(RangeError);
    batch.release();
    single.release();
    batched.release();
  });
});

test("walks a batch with an access kind of its own for each request", () => {
  const table = engine.createTable("vtdss");
  table.map(dmaAddress(0x1000n), physicalAddress(0x5000n), 0x1000n, { read: true });
  table.map(dmaAddress(0x2000n), physicalAddress(0x9000n), 0x1000n, { write: true });
  const batch = table.createWalkBatch(6);
  const requests = [0x1000n, 0x1000n, 0x2000n, 0x2000n, 0x3000n].map((iova, i) => ({ iova, write: i % 2 === 1 }));
  requests.forEach(({ iova, write }, i) => {
    batch.iova[i] = iova;
    batch.access[i] = encodeAccess({ write });
  });
  table.walkBatch(batch, requests.length, "each");
  const checks = requests.map((_, i) => decodeWalkStatus(batch.status[i]).check);
  expect(checks).toEqual([null, "no-write", "no-read", null, "not-present"]);
  expect(requests.map(({ iova, write }) => table.walk(dmaAddress(iova), { write }).ok)).toEqual(
    checks.map((check) => check === null),
  );
});
