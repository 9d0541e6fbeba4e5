import { describe, expect, it } from "vitest";
import type { CongruenceCase } from "../../src/report/congruence.js";
import { newEngine } from "../support/engine.js";
import { run } from "./run.js";

describe("iommu-lab experiment congruence", () => {
  it("counts 16,384 against 543 and 15,873 against 32 leaves in every format and depth", async () => {
    const { status, stdout } = await run(["experiment", "congruence", "--json"]);
    expect(status).toBe(0);
    const { command, cases } = JSON.parse(stdout) as { command: string; cases: CongruenceCase[] };
    expect(command).toBe("experiment congruence");
    const { formats } = await newEngine();
    const depths = formats.flatMap(({ name, minLevels, maxLevels }) =>
      Array.from({ length: maxLevels - minLevels + 1 }, (_, i) => `${name}/${minLevels + i}`),
    );
    expect([...new Set(cases.map(({ format, levels }) => `${format}/${levels}`))]).toEqual(depths);
    for (const { pieces, placements } of cases) {
      expect(placements.map(({ leaves }) => leaves)).toEqual(pieces === 1 ? [16384, 543] : [15873, 32]);
    }
    expect(cases).toHaveLength(2 * depths.length);
  });

  it("prints a table", async () => {
    const { stdout } = await run(["experiment", "congruence"]);
    expect(stdout).toMatch(/x86_64\/4 .*aligned to 64M +16,384 +16384 x 4K/);
    expect(stdout).toMatch(/IOVA = PA mod 2M +543 +31 x 2M \+ 512 x 4K/);
  });
});
