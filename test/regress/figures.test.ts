import { describe, expect, it } from "vitest";
import { parseAccess } from "../../src/access/kinds.js";
import { loadModule } from "../../src/engine/load.js";
import { CASCADE_LAKE } from "../../src/machines/presets.js";
import { replayCase } from "../../src/regress/figures.js";
import type { CaseInputs } from "../../src/regress/suite.js";

const inputs: CaseInputs = {
  ...{ workload: "nvme", seed: 1, memory: "fresh", operations: 500, strategies: ["linux", "pa-congruent"] },
  ...{ format: CASCADE_LAKE.format, levels: CASCADE_LAKE.levels, reclaim: "covered" },
};

describe("a case whose devices access what is mapped", () => {
  const traffic = { machine: CASCADE_LAKE, access: parseAccess("sequential:512") };

  it("counts what each strategy's accesses met with, and reports the machine", async () => {
    const { counters, reported } = await replayCase(await loadModule(), { inputs, traffic }, "");
    for (const { strategy, access } of reported.results) {
      if (access === null) throw new Error("it was accessed");
      const of = `${strategy.name}.access`;
      expect(access.pages).toBeGreaterThan(0);
      expect(counters).toMatchObject({
        [`${of}.iotlbMissesPerPage`]: access.iotlbMissesPerPage,
        [`${of}.memoryReadsPerPage`]: access.memoryReadsPerPage,
        [`${of}.gbps`]: access.timing?.gbps,
        [`${of}.iommu_requests`]: (access.pages * 4096) / 512,
      });
    }
    expect(reported.subject).toContain(`machine: ${CASCADE_LAKE.title}`);
  });

  it("counts the same of the tables as without accesses", async () => {
    const module = await loadModule();
    const { counters } = await replayCase(module, { inputs }, "");
    const { counters: accessed } = await replayCase(module, { inputs, traffic }, "");
    expect(Object.keys(counters).filter((name) => name.includes(".access."))).toEqual([]);
    expect(Object.fromEntries(Object.entries(accessed).filter(([name]) => !name.includes(".access.")))).toEqual(
      counters,
    );
  });
});

it("counts the trade of joint: what serving each side alone would cost, and what was chosen", async () => {
  const module = await loadModule();
  const importers = { importers: ["mlx5"], va: "the workload's own", vaOffset: 0 };
  const weights = { iommu: 1, importer: 1, space: 0 };
  const asked = { ...inputs, ...importers, weights, strategies: ["joint", "linux"] };
  const { counters, reported } = await replayCase(module, { inputs: asked }, "");
  const [{ strategy, trade }] = reported.results;
  if (trade === null) throw new Error("joint trades");
  expect(trade.sums.joint.chosen).toBeGreaterThan(0);
  const names = Object.keys(counters).filter((name) => name.includes(".trade."));
  expect(names).toHaveLength(4 * 5);
  for (const [side, sums] of Object.entries(trade.sums)) {
    expect(counters).toMatchObject(
      Object.fromEntries(
        Object.entries(sums).map(([name, value]) => [`${strategy.name}.trade.${side}.${name}`, value]),
      ),
    );
  }
});
