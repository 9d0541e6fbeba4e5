import { describe, expect, it, test } from "vitest";
import { TranslationSimulator } from "../../src/access/simulator.js";
import { isPublished, pcieBench, rootMeanSquare } from "../../src/experiment/pcie-bench.js";
import type { Machine } from "../../src/machines/machine.js";
import { parseMachine } from "../../src/machines/parse.js";
import { DEFAULT_MACHINE, findPreset, PRESETS } from "../../src/machines/presets.js";
import { readTiming } from "../../src/machines/timing.js";
import { newEngine } from "../support/engine.js";
import { refused } from "../support/errors.js";

const OWN = {
  name: "own",
  caches: { iotlb: [{ ways: 64 }], secondStage: { 2: { sets: 4, ways: 8, replacement: "tree-plru" } } },
  figures: {
    memoryReadNs: 300,
    walksInFlight: 6,
    iotlbHitNs: 2,
    linkGbps: 63,
    headerBytes: 20,
    dmaReadNs: 400,
    dmaMemoryNs: 60,
    dmaReadsInFlight: 25,
    lastLevelCacheBytes: 1 << 24,
  },
};

function parse(machine: object): Machine {
  return parseMachine(JSON.stringify(machine), "own.json");
}

describe("a machine of the user's own", () => {
  it("has defaults for what most machines share", () => {
    expect(parse(OWN)).toEqual({
      name: "own",
      title: "own",
      format: "vtdss",
      levels: 4,
      stage: "second",
      caches: {
        iotlb: [{ sets: 1, ways: 64, replacement: "lru" }],
        secondStage: { 2: { sets: 4, ways: 8, replacement: "tree-plru" } },
      },
      figures: OWN.figures,
    });
    const split = parse({
      ...OWN,
      caches: {
        iotlb: [
          { ways: 4, pageSizes: [4096] },
          { ways: 2, pageSizes: [2 ** 21, 2 ** 30] },
        ],
      },
    });
    expect(split.caches.iotlb.map(({ pageSizes }) => pageSizes)).toEqual([0x1000n, 0x4020_0000n]);
  });

  test.each(PRESETS)("may be $name, written down", (preset) => {
    const { sources, ...machine } = preset;
    expect(parse(machine)).toEqual(machine);
    expect(parse(preset)).toEqual(machine);
    // A source for each cache: of a stage for all its levels at once, or level by level.
    const { secondStage = {}, ...others } = machine.caches;
    const levels = Object.keys(secondStage).map((level) => `level${level}`);
    const stage = "secondStage" in machine.caches && !("level2" in sources.caches) ? ["secondStage"] : levels;
    expect(Object.keys(sources.caches).sort()).toEqual([...Object.keys(others), ...stage].sort());
  });

  const without = ({ figures: { memoryReadNs: _, ...figures }, ...rest }: typeof OWN): object => ({ ...rest, figures });
  test.each<[string, object]>([
    ["name is not a text", { ...OWN, name: 7 }],
    ["colour is not known", { ...OWN, colour: "red" }],
    ["stage is neither", { ...OWN, stage: "third" }],
    ["levels is not a whole number", { ...OWN, levels: 3.5 }],
    ["figures is not an object", { ...OWN, figures: [] }],
    ["figures.memoryReadNs is not a number", without(OWN)],
    ["figures.memoryReadNs is not a number from 0", { ...OWN, figures: { ...OWN.figures, memoryReadNs: -1 } }],
    ["figures.walksInFlight is 0", { ...OWN, figures: { ...OWN.figures, walksInFlight: 0 } }],
    ["figures.speed is not known", { ...OWN, figures: { ...OWN.figures, speed: 0 } }],
    ["caches.iotlb is not a list", { ...OWN, caches: { iotlb: {} } }],
    ["caches.iotlb[0].ways is not a number", { ...OWN, caches: { iotlb: [{}] } }],
    ["caches.iotlb[1] cannot be: 3 sets", { ...OWN, caches: { iotlb: [{ ways: 1 }, { sets: 3, ways: 1 }] } }],
    [
      'caches.iotlb[0] cannot be: replacement "fifo"',
      { ...OWN, caches: { iotlb: [{ ways: 1, replacement: "fifo" }] } },
    ],
    ["caches.iotlb[0].pageSizes has 5000", { ...OWN, caches: { iotlb: [{ ways: 1, pageSizes: [5000] }] } }],
    [
      "caches.secondStage.6 is not known",
      { ...OWN, caches: { iotlb: [{ ways: 1 }], secondStage: { 6: { ways: 1 } } } },
    ],
  ])("is refused where %s", (why, machine) => {
    expect(refused("invalid", () => parse(machine)).message).toContain(`read the machine of own.json: invalid: ${why}`);
  });

  it("is refused where it is no JSON", () => {
    expect(refused("invalid", () => parseMachine("{", "own.json")).message).toContain("own.json");
  });
});

describe("time", () => {
  const { figures } = OWN;
  const counters = { requests: 1000, bytes: 64_000 };
  const CACHED = 1 << 20;

  it("is that of the slowest of link, latency and walks", () => {
    const idle = readTiming(figures, { ...counters, walkerReads: 0 }, CACHED);
    expect(idle).toMatchObject({ linkNs: (84 * 8) / 63, latencyNs: 402 / 25, walkNs: 0, boundBy: "latency" });
    expect(idle.gbps).toBe(512 / (402 / 25));
    const walking = readTiming(figures, { ...counters, walkerReads: 1000 }, CACHED);
    expect(walking).toMatchObject({ latencyNs: 702 / 25, walkNs: 50, transactionNs: 50, boundBy: "walks" });
    const slow = readTiming({ ...figures, linkGbps: 1 }, { ...counters, walkerReads: 1000 }, CACHED);
    expect(slow).toMatchObject({ transactionNs: 672, boundBy: "link" });
  });

  it("grows by the share of reads behind the last-level cache", () => {
    const far = readTiming(figures, { ...counters, walkerReads: 0 }, 1 << 26);
    expect(far.latencyNs).toBe((400 + 0.75 * 60 + 2) / 25);
  });
});

describe("presets", async () => {
  const engine = await newEngine();

  test.each(PRESETS)("$name has caches and tables that can be, a cache for every level, and sources", (preset) => {
    const { caches, stage, format, levels, figures, sources } = preset;
    new TranslationSimulator(engine, caches).release();
    engine.createTable(format, { levels }).release();
    const structures = stage === "first" ? caches.firstStage : caches.secondStage;
    expect(Object.keys(structures ?? {})).toEqual(["2", "3", "4"]);
    expect(Object.keys(sources.figures).sort()).toEqual(Object.keys(figures).sort());
    for (const source of [...Object.values(sources.figures), ...Object.values(sources.caches)]) {
      expect(source).toMatch(/./);
    }
  });

  it("have names of their own, the default among them", () => {
    expect(new Set(PRESETS.map(({ name }) => name)).size).toBe(PRESETS.length);
    expect(findPreset(DEFAULT_MACHINE)).not.toBeNull();
  });
});

describe("pcie-bench", async () => {
  const engine = await newEngine();
  const rows = pcieBench(engine, PRESETS.filter(isPublished));

  test.each(rows.map((row) => [row.machine, row.translation, row] as const))("%s, %s", (_, translation, row) => {
    // The misses of random reads: what the IOTLB does not hold of the window.
    const entries = findPreset(row.machine)?.caches.iotlb[0].ways ?? 0;
    for (const { window, iotlbMissRate, readsPerMiss } of row.windows) {
      const pages = translation === "superpages" ? Math.ceil(window / 2 ** 21) : window / 4096;
      const expected = translation === "off" ? 0 : Math.max(0, 1 - entries / pages);
      expect(Math.abs(iotlbMissRate - expected)).toBeLessThan(0.01);
      expect(readsPerMiss).toBe(expected === 0 ? 0 : 1);
    }
    const errors = row.windows.flatMap(({ gbps, publishedGbps }) => (publishedGbps ? [gbps / publishedGbps - 1] : []));
    expect(row.rms).toBe(errors.length === 0 ? null : rootMeanSquare(errors));
    expect(row.rms ?? 0).toBeLessThan(0.05);
  });

  it("has published figures for both machines", () => {
    const compared = rows
      .filter(({ rms }) => rms !== null)
      .map(({ machine, translation }) => `${machine} ${translation}`);
    expect(compared).toEqual([
      "broadwell-e5-2630v4 off",
      "broadwell-e5-2630v4 small-pages",
      "ivy-bridge-e5-2620v2 off",
      "ivy-bridge-e5-2620v2 small-pages",
      "ivy-bridge-e5-2620v2 superpages",
    ]);
  });

  it("runs on any machine, where the tables have another format", () => {
    const own = parse({ ...OWN, format: "vmsav8-16k", stage: "first", caches: { iotlb: [{ ways: 64 }] } });
    const [off, small] = pcieBench(engine, [own]);
    expect(off.rms).toBeNull();
    // 4,096 pages of 16 KiB, four entries a walk without paging-structure caches.
    expect(small.windows.at(-1)?.iotlbMissRate).toBeCloseTo(1 - 64 / 4096, 2);
    expect(small.windows.at(-1)?.readsPerMiss).toBe(4);
  });
});
