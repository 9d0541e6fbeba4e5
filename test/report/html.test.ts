import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { parseAccess } from "../../src/access/kinds.js";
import { loadModule } from "../../src/engine/load.js";
import type { LeafRange, LeafRanges } from "../../src/engine/leaf-ranges.js";
import { CASCADE_LAKE } from "../../src/machines/presets.js";
import type { Comparison } from "../../src/replay/compare.js";
import { compareWorkload, type WorkloadComparison } from "../../src/replay/compare-workload.js";
import { trafficInputs } from "../../src/replay/traffic-inputs.js";
import type { WorkloadInputs } from "../../src/report/comparison.js";
import { comparisonHtml, comparisonSections } from "../../src/report/html/comparison.js";
import { dataUrl } from "../../src/report/html/data.js";
import { Html, html } from "../../src/report/html/html.js";
import { spaceMaps } from "../../src/report/html/map-figure.js";
import { MAP_COLUMNS, type MapLine, spaceMap } from "../../src/report/html/space-map.js";
import { reportedWorkload } from "../../src/report/html/reported.js";
import { joinAlike } from "../../src/report/html/strategies.js";
import { bytes, grouped, significant } from "../../src/report/units.js";
import { findStrategy } from "../../src/strategies/strategies.js";
import { findWorkload } from "../../src/workloads/workloads.js";
import { PROVENANCE, recordedComparison, reported } from "./support.js";

describe("html", () => {
  it.each([
    ["text", html`<b>${"<script>&\"'"}</b>`, "<b>&lt;script&gt;&amp;&quot;&#39;</b>"],
    ["a number", html`${1.5}`, "1.5"],
    ["Html as it is", html`<p>${new Html("<br>")}</p>`, "<p><br></p>"],
    ["several of them", html`${[html`<i>${"<"}</i>`, html`<i>b</i>`]}`, "<i>&lt;</i>\n<i>b</i>"],
  ])("takes %s", (_, { text }, expected) => {
    expect(text).toBe(expected);
  });
});

it("a data URL holds any text, without what would end an attribute or a URL", async () => {
  await fc.assert(
    fc.asyncProperty(fc.string({ unit: "grapheme" }), async (text) => {
      const url = dataUrl("text/csv", text);
      expect(url).not.toMatch(/[\s"<>#\\]/);
      expect(await (await fetch(url)).text()).toBe(text.replace(/^\ufeff/, ""));
    }),
  );
});

describe("the map of an IOVA space", () => {
  const PAGE = 4096;
  const MIB = 512;

  /** Ranges of leaves one behind the other, in pages. */
  const spaces = fc
    .array(
      fc.record({
        hole: fc.oneof(fc.constant(0), fc.nat(600), fc.nat(100_000), fc.nat(2 ** 34)),
        size: fc.constantFrom(1, MIB),
        count: fc.integer({ min: 1, max: 700 }),
      }),
      { minLength: 1, maxLength: 40 },
    )
    .map((parts) => {
      let at = 0;
      return parts.map(({ hole, size, count }) => {
        const first = Math.ceil((at + hole) / size) * size;
        at = first + size * count;
        return { first, end: at, size };
      });
    });

  const ranges = (space: readonly { first: number; end: number; size: number }[]): LeafRanges => {
    const all: LeafRange[] = space.map(({ first, end, size }) => ({
      iova: BigInt(first) * BigInt(PAGE),
      length: BigInt(end - first) * BigInt(PAGE),
      size: BigInt(size * PAGE),
    }));
    return { count: all.length, [Symbol.iterator]: () => all[Symbol.iterator]() } as LeafRanges;
  };

  it("shows every page where it is, by size, and the length of every hole that it folds", () => {
    fc.assert(
      fc.property(spaces, (space) => {
        const { cellPages, lines } = spaceMap(ranges(space));
        expect(lines.length).toBeLessThanOrEqual(18);
        const rows = lines.filter((line): line is MapLine & { kind: "row" } => line.kind === "row");
        // Cell by cell, counted the slow way.
        for (const { page, fields } of rows) {
          for (let column = 0; column < MAP_COLUMNS; column++) {
            const [from, to] = [page + column * cellPages, page + (column + 1) * cellPages];
            let filled = 0;
            for (const size of [MIB, 1]) {
              const pages = space
                .filter((range) => range.size === size)
                .reduce((sum, { first, end }) => sum + Math.max(0, Math.min(end, to) - Math.max(first, from)), 0);
              const field = fields.find(
                (each) => each.size === size * PAGE && each.column <= column && column < each.column + each.columns,
              );
              expect(field ? [field.from, field.to] : [0, 0]).toEqual(
                pages > 0 ? [filled, filled + pages / cellPages] : [0, 0],
              );
              filled += pages / cellPages;
            }
          }
        }
        const shown = rows
          .flatMap(({ fields }) => fields)
          .reduce((sum, { columns, from, to }) => sum + columns * (to - from), 0);
        const mapped = space.reduce((sum, { first, end }) => sum + end - first, 0);
        expect(shown * cellPages).toBeCloseTo(mapped, 3);
        lines.forEach((line, index) => {
          if (line.kind === "row") return;
          const next = lines[index + 1];
          if (next?.kind !== "row") throw new Error("a row follows a hole");
          const after = space.find(({ end }) => end > next.page);
          const before = space.findLast(({ first }) => first < (after?.first ?? 0));
          expect(line.pages).toBe((after?.first ?? 0) - (before?.end ?? 0));
        });
      }),
      { numRuns: 40 },
    );
  });

  it.each([
    ["a page at the top of 57 bits", [{ first: 2 ** 45 - 1, end: 2 ** 45, size: 1 }], 1, 1],
    [
      "two pages with all of 48 bits between",
      [
        { first: 0, end: 1, size: 1 },
        { first: 2 ** 36 - 1, end: 2 ** 36, size: 1 },
      ],
      1,
      3,
    ],
    ["64 pages", [{ first: 0, end: 64, size: 1 }], 1, 1],
    ["eighteen rows of pages", [{ first: 0, end: 18 * 64, size: 1 }], 1, 18],
    ["a page more", [{ first: 0, end: 18 * 64 + 1, size: 1 }], 2, 10],
  ])("%s", (_, space, cellPages, lines) => {
    const map = spaceMap(ranges(space));
    expect([map.cellPages, map.lines.length]).toEqual([cellPages, lines]);
  });
});

describe("a report", () => {
  let comparison: Comparison;
  beforeAll(async () => {
    comparison = await recordedComparison();
  });

  it("begins with the answer, and has every strategy's figures as they were counted", () => {
    const text = comparisonHtml(reported(comparison), PROVENANCE);
    expect(/<h1>(.*?)<\/h1>/.exec(text)?.[1]).toMatch(/^pa-congruent is best: 19,687 entries/);
    for (const { strategy, figures } of comparison.results) {
      const row = new RegExp(`<th scope="row">${strategy.name}</th>(.*?)</tr>`, "s").exec(text)?.[1] ?? "";
      const cells = [...row.matchAll(/<td>(.*?)<\/td>/g)].map(([, cell]) => cell);
      expect(cells.slice(0, 3)).toEqual([
        grouped(figures.leavesUsed),
        figures.tidiness.toFixed(3),
        bytes(figures.tableBytesPeak),
      ]);
      expect(cells).toContain(bytes(figures.spanPeak));
    }
  });

  it("is the same byte for byte, and less than 2 MB", () => {
    const [first, second] = [1, 2].map(() => comparisonHtml(reported(comparison, ["mlx5"]), PROVENANCE));
    expect(second === first).toBe(true);
    expect(first.length).toBeLessThan(2e6);
    expect(first.match(/ id="|url\(/)).toBeNull();
  });

  it("has an importer's entries and tidiness beside the IOMMU's, and a chart of both", () => {
    const text = comparisonHtml(reported(comparison, ["mlx5", "xe"]), PROVENANCE);
    for (const heading of ["mlx5 entries", "mlx5 tidiness", "xe entries", "xe tidiness"]) {
      expect(text).toContain(`<th scope="col">${heading}</th>`);
    }
    expect(text).toMatch(/<th scope="row">as-recorded<\/th><td>39,616<\/td>\s*<td>0.484<\/td>\s*<td>1,000<\/td>/);
    expect(text.match(/<h3>Tidiness.*?<\/h3>/g)).toEqual([
      "<h3>Tidiness of the IOMMU and of mlx5</h3>",
      "<h3>Tidiness of the IOMMU and of xe</h3>",
    ]);
  });

  it("of several on a page, names the data of each after it", () => {
    const downloadsOf = (name?: string): string[] =>
      comparisonSections(
        reported(comparison, ["mlx5"]),
        name === undefined ? undefined : { level: 3, of: name },
      ).flatMap(({ text }) => [...text.matchAll(/download="(.*?)"/g)].map(([, file]) => file));
    const alone = downloadsOf();
    expect(alone).toContain("tidiness-mlx5.csv");
    expect(downloadsOf("a")).toEqual(alone.map((file) => `a.${file}`));
  });

  it("escapes whatever names there are", () => {
    const evil = "<script>alert(1)</script>\"'&";
    const { results, ...rest } = reported(comparison, [evil]);
    const text = comparisonHtml(
      {
        ...rest,
        subject: evil,
        answer: evil,
        remarks: [evil],
        warnings: [evil],
        domains: comparison.domains.map(() => ({ name: evil })),
        results: results.map((result) => ({ ...result, strategy: { ...result.strategy, name: evil } })),
      },
      { version: evil, command: evil, inputs: { trace: evil }, document: evil, documentName: evil },
    );
    expect(text).not.toContain("<script");
    expect(text).not.toMatch(/(?:href|download|class|title)="[^"]*[<>]/);
  });

  it("maps the fullest domains, and says in words what the others hold", () => {
    const { results } = reported(comparison);
    const [{ leaves }] = results[0].recording?.spaces ?? [];
    const withDomains = (count: number) =>
      results.slice(0, 2).map((result) => ({
        ...result,
        recording: {
          samples: [],
          moment: 7,
          spaces: Array.from({ length: count }, (_, domain) => ({ domain, leaves })),
        },
      }));
    const domains = Array.from({ length: 13 }, (_, index) => ({ name: `d${index}` }));
    const drawn = (count: number) => spaceMaps(withDomains(count), domains);
    expect(drawn(3)?.domains.map(({ name, figures }) => [name, figures.length])).toEqual([
      ["d0", 2],
      ["d1", 2],
      ["d2", 2],
    ]);
    expect(drawn(3)?.caption).toMatch(/long the hole is\. Nothing was mapped then in 10 more\.$/);
    expect(drawn(6)?.domains).toHaveLength(4);
    expect(drawn(6)?.caption).toMatch(/ Not drawn: d4 \([\d.]+ \wiB\), d5 \([\d.]+ \wiB\)\. Nothing was/);
    expect(drawn(13)?.caption).toMatch(/, d8 \([\d.]+ \wiB\), 4 more \([\d.]+ \wiB together\)\.$/);
    const many = Array.from({ length: 30 }, () => withDomains(3)[0]);
    expect(spaceMaps(many, domains)?.domains).toHaveLength(1);
  });

  it("leaves out what needs a recording when there is none", async () => {
    const text = comparisonHtml(reported(await recordedComparison(undefined, false)), PROVENANCE);
    expect([...text.matchAll(/<h[23]>(.*?)<\/h[23]>/g)].map(([, title]) => title)).toEqual([
      ...["Strategies", "Charts", "Leaves by size", "Tidiness of the IOMMU", "Table memory", "How this was made"],
    ]);
  });
});

describe("a report of devices' accesses", () => {
  const traffic = { machine: CASCADE_LAKE, access: parseAccess("random:64"), hints: false };
  const source = { seed: 1, memory: "fresh", operations: 2000 };
  const inputs: WorkloadInputs = {
    ...{ workload: "nvme", ...source, strategies: ["identity", "linux", "pa-congruent"] },
    ...{ format: CASCADE_LAKE.format, levels: CASCADE_LAKE.levels, reclaim: "covered" },
  };
  let comparison: WorkloadComparison;
  beforeAll(async () => {
    comparison = await compareWorkload(await loadModule(), findWorkload(inputs.workload), {
      ...source,
      strategies: inputs.strategies.map(findStrategy),
      traffic,
    });
  });

  it("has misses, reads and the modelled rate of every strategy in its table", () => {
    const text = comparisonHtml(reported(comparison), PROVENANCE);
    const heads = [...text.matchAll(/<th scope="col">(.*?)<\/th>/g)].map(([, head]) => head);
    expect(heads.slice(-3)).toEqual(["IOTLB misses per page", "memory reads per page", "modelled Gb/s"]);
    for (const { strategy, access } of comparison.results) {
      const rows = [...text.matchAll(new RegExp(`<th scope="row">${strategy.name}</th>(.*?)</tr>`, "gs"))];
      const cells = [...(rows.at(-1)?.[1] ?? "").matchAll(/<td>(.*?)<\/td>/g)].map(([, cell]) => cell);
      expect(cells.slice(-3)).toEqual([
        access?.iotlbMissesPerPage.toFixed(3),
        access?.memoryReadsPerPage.toFixed(3),
        significant(access?.timing?.gbps ?? Number.NaN),
      ]);
    }
  });

  it("has a chart of the misses of every cache, with its data", async () => {
    const text = comparisonHtml(reported(comparison), PROVENANCE);
    expect(text).toContain("<h3>Misses per page</h3>");
    const link = /download="misses-per-page.json" href="(.*?)"/.exec(text)?.[1] ?? "";
    expect(await (await fetch(link)).json()).toEqual({
      columns: ["strategy", "iotlb", "level2", "level3", "level4"],
      rows: comparison.results.map(({ strategy, access }) => [
        strategy.name,
        access?.iotlbMissesPerPage,
        ...(access?.walkCacheMisses.map(({ perPage }) => perPage) ?? []),
      ]),
    });
    expect(comparison.results.some(({ access }) => (access?.iotlbMissesPerPage ?? 0) > 0)).toBe(true);
  });

  it("says the machine and the access in its head, and has nothing of them where there was none", () => {
    const withTraffic = { ...inputs, ...trafficInputs(traffic) };
    expect(reportedWorkload(withTraffic, comparison).subject).toContain(
      `; accesses: random, 64 bytes; machine: ${CASCADE_LAKE.title}; no invalidation hints`,
    );
    expect(reportedWorkload(inputs, comparison).subject).not.toContain("machine");
    const none = { ...comparison, results: comparison.results.map((result) => ({ ...result, access: null })) };
    expect(comparisonHtml(reported(none), PROVENANCE)).not.toMatch(/per page|modelled/i);
  });

  it("lists the inputs of any machine, sizes of page as in its file", () => {
    const caches = { ...CASCADE_LAKE.caches, iotlb: [{ ...CASCADE_LAKE.caches.iotlb[0], pageSizes: 0x1000n }] };
    const asked = trafficInputs({ ...traffic, machine: { ...CASCADE_LAKE, caches } });
    const text = comparisonHtml(reported(comparison), { ...PROVENANCE, inputs: { ...inputs, ...asked } });
    expect(text).toContain("&quot;pageSizes&quot;:[4096]");
  });
});

it("strategies with the same values are drawn once, under all their names", async () => {
  const { results } = await recordedComparison(undefined, false);
  const alike = joinAlike(results, ({ strategy }) => [strategy.name.startsWith("linux") ? 1 : strategy.name.length]);
  expect(alike.find(({ values }) => values[0] === 1)?.name).toBe(
    "linux, linux-lazy, linux-noalign, linux-pmd, linux-pud",
  );
  expect(alike.flatMap(({ name }) => name.split(", ")).sort()).toEqual(
    results.map(({ strategy }) => strategy.name).sort(),
  );
});
