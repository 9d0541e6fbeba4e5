import { describe, expect, it } from "vitest";
import { findImporter, importers } from "../../src/importers/importers.js";
import { refused } from "../support/errors.js";

describe("importers by name", () => {
  it("finds each, and every name is its own", () => {
    expect(importers.size).toBeGreaterThanOrEqual(36);
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
});
