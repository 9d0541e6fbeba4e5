/** The vectors in the fixtures, and those outside the repository where there are any. */
import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { packagedList, readDisputed } from "../../src/conform/disputed.js";
import { VECTOR_MODELS } from "../../src/conform/models.js";
import { conform } from "../../src/conform/run.js";
import { newEngine } from "../explain/support.js";

const FIXTURES = fileURLToPath(new URL("../fixtures/vectors/", import.meta.url));
const SHARED = fileURLToPath(new URL("../../../shared/vectors/", import.meta.url));
const names = existsSync(SHARED) ? readdirSync(SHARED).filter((name) => name.endsWith(".jsonl")) : [];

describe.each([
  ["VT-d", "vtd"],
  ["SMMUv3", "smmuv3"],
])("vectors of %s hold", (_architecture, prefix) => {
  const shared = names.filter((name) => name.startsWith(`${prefix}-`)).map((name) => `${SHARED}${name}`);

  test.each([`${FIXTURES}${prefix}.jsonl`, ...shared])("%s", async (file) => {
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
