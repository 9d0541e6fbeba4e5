import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { packagedList, readDisputed } from "../../src/conform/disputed.js";
import { VECTOR_MODELS } from "../../src/conform/models.js";
import { conform } from "../../src/conform/run.js";
import { newEngine } from "../explain/support.js";

const VECTORS = fileURLToPath(new URL("../fixtures/vectors/smmuv3.jsonl", import.meta.url));
const shared = fileURLToPath(new URL("../../../shared/vectors/", import.meta.url));
/** Vectors outside the repository, where there are any. */
const SHARED = existsSync(shared) ? readdirSync(shared).filter((name) => /^smmuv3-.*\.jsonl$/.test(name)) : [];

describe("vectors of SMMUv3 hold", () => {
  test.each([VECTORS, ...SHARED.map((name) => `${shared}${name}`)])("%s", async (file) => {
    const { counts, failures, warnings } = await conform([file], {
      models: VECTOR_MODELS,
      newEngine,
      disputed: await readDisputed(packagedList()),
    });
    expect(failures.map(({ vector, entry, differences }) => ({ id: vector.id, entry, differences }))).toEqual([]);
    expect(counts).toMatchObject({ failed: 0, skipped: 0 });
    expect(counts.passed).toBeGreaterThan(200);
    expect(warnings.filter((warning) => warning.includes("agrees"))).toEqual([]);
  });
});
