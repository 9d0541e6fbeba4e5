import { readFile } from "node:fs/promises";
import { beforeAll, describe, expect, it } from "vitest";
import { attainable } from "../../src/importers/attainable.js";
import { findImporter, importers } from "../../src/importers/importers.js";
import type { Importer } from "../../src/importers/importer.js";
import { findStrategy } from "../../src/strategies/strategies.js";
import { caseText } from "../../src/validate/case.js";
import type { Property } from "../../src/validate/judge.js";
import { type ValidateOptions, validate } from "../../src/validate/validate.js";

let module: WebAssembly.Module;
beforeAll(async () => {
  module = await WebAssembly.compile(await readFile(new URL("../../build/iommu.wasm", import.meta.url)));
});

function run(importer: string, strategy: string, options: Partial<ValidateOptions> = {}) {
  const asked = { importer: findImporter(importer), strategy: findStrategy(strategy) };
  return validate({ module, ...asked, cases: 1000, ...options });
}

describe("validate", { timeout: 60_000 }, () => {
  it.each(["mlx5", "mlx5-ksm", "xe", "i915", "i915-xehp", "irdma", "nouveau-v2-svm"])(
    "%s: hinted is at its best in every case, and always finds a place",
    async (importer) => {
      expect(await run(importer, "hinted")).toMatchObject({ cases: 1000, indifferent: false, counterexample: null });
      expect(await run(importer, "hinted", { property: "placed" })).toMatchObject({ counterexample: null });
      expect(await run(importer, "hinted", { property: "must" })).toMatchObject({ counterexample: null });
    },
  );

  it.each([
    ["mlx5", "linux", 2],
    ["xe", "linux", 17],
    ["i915", "linux", 17],
    ["xe", "no-align", 17],
    ["xe", "pa-congruent", 17],
    ["xe", "identity", 17],
    ["i915", "iommufd", 17],
  ])("%s: %s has a counterexample of at most %i pages, which fails alone as well", async (importer, strategy, most) => {
    const { counterexample } = await run(importer, strategy);
    if (counterexample === null) throw new Error("there is none");
    const { case: each, window, failure } = counterexample;
    expect(each.pieces).toHaveLength(1);
    expect(each.earlier).toEqual([]);
    expect(Number(each.pieces[0].length / 4096n)).toBeLessThanOrEqual(most);
    const domain = { granule: 4096n, last: window.last };
    const best = attainable(findImporter(importer) as Importer, { va: each.va, pieces: each.pieces }, domain);
    expect(failure.attainable).toBe(best.total);
    expect(failure.entries).toBeGreaterThan(best.total);
    const again = await run(importer, strategy, { only: caseText(each, window) });
    expect(again).toMatchObject({ cases: 1, counterexample: { failure } });
  });

  it.each(["amdgpu", "amdgpu-gfx12", "nvme", "nvme-sgl", "mlx5-klm", "nouveau", "kvm", "host1x", "i915-gen8", "hfi1"])(
    "%s: its entries are the same at every IOVA, so that even linux is at its best, and it says why",
    async (importer) => {
      const found = await run(importer, "linux", { cases: 700 });
      expect(found).toMatchObject({ indifferent: true, counterexample: null });
      expect(found.indifference).toEqual(expect.any(String));
      expect(await run(importer, "linux", { property: "indifferent", cases: 700 })).toMatchObject({
        counterexample: null,
      });
    },
  );

  it("shows that no other importer is indifferent", async () => {
    const said = new Set<string>();
    const shown = new Set<string>();
    for (const [name, importer] of importers) {
      if (importer.hint({ va: 0n, length: 2n ** 30n }).indifferent) said.add(name);
      if ((await run(name, "no-align", { property: "indifferent", cases: 468 })).counterexample === null)
        shown.add(name);
    }
    expect(shown).toEqual(said);
  });

  it.each<[string, string, Property, RegExp]>([
    // 34 pages at the end of 16 MiB: Linux aligns to 64.
    ["va=0 pa=0x100000000+12M earlier=4K last=0xffffff", "linux", "placed", /no IOVA was found, although 0x1000 to/],
    ["va=0 pa=0x40001000+64K", "identity", "tidy", /16 entries at IOVA 0x40001000, but 1 entry at 0x/],
    ["va=0 pa=0x40000000+64K", "no-align", "indifferent", /gives 1, another 16/],
  ])("%s fails for %s by %s", async (only, strategy, property, reason) => {
    const { counterexample } = await run("xe", strategy, { only, property });
    expect(counterexample?.failure.reason).toMatch(reason);
  });

  it("judges by the holes that are left: what nothing free could give is not asked for", async () => {
    // 2 MiB at 2 MiB is the only aligned place below 4 MiB, and the earlier mapping, top down, is in it: 32 of 64 KiB.
    const text = "va=0x200000 pa=0x40000000+2M earlier=4K last=0x3fffff";
    expect(await run("xe", "hinted", { only: text })).toMatchObject({ counterexample: null, unplaced: 0 });
    expect(await run("xe", "no-align", { only: text })).toMatchObject({
      counterexample: { failure: { entries: 512, attainable: 32 } },
    });
    const tooLong = "va=0x200000 pa=0x40000000+2M last=0x1fffff";
    expect(await run("xe", "hinted", { only: tooLong })).toMatchObject({ holds: null, unplaced: 1 });
  });

  it("tells how far it is, and refuses recorded addresses", async () => {
    const seen: number[] = [];
    await run("xe", "hinted", { cases: 600, onProgress: (done) => seen.push(done) });
    expect(seen).toEqual([256, 512, 600]);
    await expect(run("xe", "as-recorded")).rejects.toThrow(/no recorded IOVAs/);
  });

  it.each([
    ["mlx5", "va=0xfffffffffffff000 pa=0x1000+8K", /mlx5: map 0x2000 bytes.*64 bits/],
    ["xe", "va=0xfffffffff000 pa=0x1000+8K", /xe: map 0x2000 bytes.*: input-range at 0xfffffffff000: .*48 bits/],
    ["nouveau-v1", "va=0x10000000000 pa=0x1000+4K", /input-range at 0x10000000000: .*40 bits/],
    ["kvm", "va=0x1000000000000 pa=0x1000+4K", /input-range/],
    ["xe", "va=0x1000 pa=0x1000+64T", /"pa=0x1000\+64T"/],
    ["xe", "va=0x1000 pa=0xffffffffff000+8K", /output-range at 0x10000000000fff: the tables hold 52 address bits/],
    ["xe", "va=0x1000 pa=0xfffffffffffff000+8K", /output-range/],
  ])("%s refuses a case that cannot be: %s", async (importer, only, message) => {
    await expect(run(importer, "hinted", { only })).rejects.toThrow(message);
  });

  it("refuses to judge no cases", async () => {
    await expect(run("xe", "hinted", { cases: 0 })).rejects.toThrow("judge 0 cases");
  });
});
