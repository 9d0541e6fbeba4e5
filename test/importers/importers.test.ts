import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { dmaAddress } from "../../src/engine/addresses.js";
import type { Importer } from "../../src/importers/importer.js";
import { findImporter, importers } from "../../src/importers/importers.js";
import { refused } from "../support/errors.js";
import { arbitraryRequest } from "./support.js";

describe("importers by name", () => {
  it("finds each, and every name is its own", () => {
    expect(importers.size).toBeGreaterThanOrEqual(35);
    for (const [name, importer] of importers) expect(findImporter(name)).toBe(importer);
  });

  it("names the ones there are", () => {
    expect(refused("invalid", () => findImporter("voodoo")).message).toContain("mlx5, mlx5-ksm");
  });

  it.each([...importers])("%s hints with a reason for every wish", (_, importer) => {
    const hint = importer.hint({ va: 0x7f00_0020_1000n, length: 64n << 20n });
    expect(hint.indifferent !== undefined || hint.congruentTo !== undefined).toBe(true);
    for (const wish of [hint.align, hint.congruentTo, hint.singleSegment, hint.boundary, hint.addressLimit]) {
      if (wish !== undefined) expect(wish.reason.length).toBeGreaterThan(10);
    }
  });

  it.each([...importers])("%s refuses to hint for what is no buffer, naming it", (name, importer) => {
    const empty = refused("invalid", () => importer.hint({ va: 0x1000n, length: 0n }));
    expect(empty.message).toBe(`${name}: hint for 0x0 bytes: invalid at 0x1000: the buffer is empty`);
    const below = refused("invalid", () => importer.hint({ va: -0x1000n, length: 4096n }));
    expect(below.message).toMatch(/invalid at -0x1000: a virtual address has 64 bits/);
  });

  it.each(["i915-gen8", "cxgb4", "hfi1"])("%s, whose entries are all alike, says so of every buffer", (name) => {
    const reasons = [4096n, 1n << 30n].map((length) => findImporter(name).hint({ va: 0n, length }).indifferent?.reason);
    expect(new Set(reasons).size).toBe(1);
    expect(reasons[0]).toContain("of 4096 bytes");
  });

  it.each(["mlx5", "mlx5-klm", "bnxt_re", "irdma", "mana", "hns", "mlx4", "mthca", "cxgb4", "nvme", "nvme-sgl"])(
    "%s: a buffer that begins and ends inside pages has the entries of its whole pages",
    (name) => {
      const importer = findImporter(name) as Importer;
      const words = fc.integer({ min: 0, max: 1023 }).map((count) => BigInt(count) * 4n);
      fc.assert(
        fc.property(arbitraryRequest({ maxPages: 600 }), words, words, ({ va, segments }, before, after) => {
          const last = segments.length - 1;
          fc.pre(last > 0 || segments[0].length > before + after);
          const parts = segments.map(({ address, length, ...rest }, index) => {
            const cut = index === 0 ? before : 0n;
            const end = index === last ? after : 0n;
            return { ...rest, address: dmaAddress(address + cut), length: length - cut - end };
          });
          const whole = importer.plan({ va, segments });
          expect(importer.plan({ va: va + before, segments: parts }).total).toBe(whole.total);
        }),
        { numRuns: 60 },
      );
    },
  );
});
