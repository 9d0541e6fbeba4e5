import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { packagedList, readDisputed } from "../../src/conform/disputed.js";
import { VECTOR_MODELS } from "../../src/conform/models.js";
import { conform } from "../../src/conform/run.js";
import { newEngine, VECTORS } from "../explain/support.js";

const shared = fileURLToPath(new URL("../../../shared/vectors/", import.meta.url));
/** Vectors outside the repository, where there are any. */
const SHARED = existsSync(shared) ? readdirSync(shared).filter((name) => /^vtd-.*\.jsonl$/.test(name)) : [];

describe("vectors of VT-d hold", () => {
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
