import { readFileSync } from "node:fs";
import { describe, expect, it, test } from "vitest";
import { TranslationSimulator } from "../../src/access/simulator.js";
import { isPublished, pcieBench, rootMeanSquare } from "../../src/experiment/pcie-bench.js";
import type { Machine } from "../../src/machines/machine.js";
import { parseMachine } from "../../src/machines/parse.js";
import { COMMON_STRUCTURES, DEFAULT_MACHINE, findPreset, PRESETS } from "../../src/machines/presets.js";
import { machineSchemaJson } from "../../src/machines/schema.js";
import { readTiming } from "../../src/machines/timing.js";
import { jsonText } from "../../src/report/json.js";
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
/** Nothing but what has no default. */
const LEAST = { name: "least", caches: { iotlb: [{ ways: 64 }] }, figures: { memoryReadNs: 300, linkGbps: 63 } };

const { formats } = await newEngine();

function parse(machine: object): Machine {
  return parseMachine(JSON.stringify(machine), "own.json", formats);
}

describe("a machine of the user's own", () => {
  it("is what its file says", () => {
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
    expect(parse(JSON.parse(jsonText(split)))).toEqual(split);
  });

  it("has defaults for all but an IOTLB, the walker's latency and the link", () => {
    expect(parse(LEAST)).toEqual({
      name: "least",
      title: "least",
      format: "vtdss",
      levels: 4,
      stage: "second",
      caches: { iotlb: [{ sets: 1, ways: 64, replacement: "lru" }], secondStage: COMMON_STRUCTURES },
      figures: {
        memoryReadNs: 300,
        linkGbps: 63,
        walksInFlight: 6,
        iotlbHitNs: 0,
        headerBytes: 20,
        dmaReadNs: 420,
        dmaReadsInFlight: 26.5,
        lastLevelCacheBytes: 0,
        dmaMemoryNs: 0,
      },
    });
    const cached = parse({ ...LEAST, figures: { ...LEAST.figures, lastLevelCacheBytes: 1 << 20 } });
    expect(cached.figures.dmaMemoryNs).toBe(57);
  });

  test.each([
    ["vtdss", "second", 4],
    ["x86_64", "first", 4],
    ["vmsav8-4k", "first", 4],
    ["vmsav8-64k", "first", 3],
    ["vmsav8-4k-s2", "second", 4],
  ])("of %s has a %s stage of %i levels", (format, stage, levels) => {
    const machine = parse({ ...LEAST, format });
    expect(machine).toMatchObject({ format, stage, levels });
    const structures = stage === "first" ? machine.caches.firstStage : machine.caches.secondStage;
    expect(Object.keys(structures ?? {})).toEqual(["2", "3", "4"].slice(0, levels - 1));
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
  const withIotlb = (...iotlb: object[]): object => ({ ...OWN, caches: { iotlb } });
  const measured = (pcieBench: object): object => ({ ...OWN, pcieBench });
  test.each<[string, object]>([
    ["name: expected string, received number", { ...OWN, name: 7 }],
    ['unknown field "figure" (did you mean "figures"?)', { ...OWN, figure: {} }],
    ['stage: Invalid option: expected one of "first"|"second"', { ...OWN, stage: "third" }],
    ["levels: expected int", { ...OWN, levels: 3.5 }],
    ["levels: expected 3 to 5, which vtdss has", { ...OWN, levels: 2 }],
    ["caches: expected object, which is missing", { name: "own" }],
    ["figures: expected object, received array", { ...OWN, figures: [] }],
    ["figures.memoryReadNs: expected number, which is missing", without(OWN)],
    ["figures.memoryReadNs: Too small", { ...OWN, figures: { ...OWN.figures, memoryReadNs: -1 } }],
    ["figures.walksInFlight: Too small", { ...OWN, figures: { ...OWN.figures, walksInFlight: 0 } }],
    [
      'figures: unknown field "linkGbs" (did you mean "linkGbps"?)',
      { ...OWN, figures: { ...OWN.figures, linkGbs: 0 } },
    ],
    [
      "figures.invalidation.waitNs: expected number, which is missing",
      { ...OWN, figures: { ...OWN.figures, invalidation: { commandNs: 1 } } },
    ],
    ["caches.iotlb: expected array, received object", { ...OWN, caches: { iotlb: {} } }],
    ["caches.iotlb: Too small: expected array to have >=1 items", withIotlb()],
    ["caches.iotlb[0].ways: expected number, which is missing", withIotlb({})],
    ["caches.iotlb[1]: 3 sets: not a power of two", withIotlb({ ways: 1 }, { sets: 3, ways: 1 })],
    ["caches.iotlb[0].replacement: Invalid option", withIotlb({ ways: 1, replacement: "fifo" })],
    [
      "caches.iotlb[0].pageSizes[1]: expected a power of two from 4096",
      withIotlb({ ways: 1, pageSizes: [4096, 5000] }),
    ],
    [
      'caches.secondStage: unknown field "6"',
      { ...OWN, caches: { iotlb: [{ ways: 1 }], secondStage: { 6: { ways: 1 } } } },
    ],
    ["caches.iotlb[1]: it takes a size of page that one before it takes", withIotlb({ ways: 64 }, { ways: 512 })],
    [
      "caches.iotlb[2]: it takes a size of page that one before it takes",
      withIotlb(
        { ways: 4, pageSizes: [4096] },
        { ways: 2, pageSizes: [2 ** 30] },
        { ways: 2, pageSizes: [2 ** 21, 2 ** 30] },
      ),
    ],
    [
      "caches.secondStage.4: the tables have 3 levels",
      { ...LEAST, levels: 3, caches: { iotlb: [{ ways: 1 }], secondStage: { 2: { ways: 1 }, 4: { ways: 1 } } } },
    ],
    ["caches.secondStage: expected firstStage", { ...OWN, format: "x86_64" }],
    ["stage: expected second, as vtdss is", { ...LEAST, stage: "first" }],
    ["stage: expected first, as vmsav8-4k is", { ...LEAST, format: "vmsav8-4k", stage: "second" }],
    ["pcieBench.windows: expected array, which is missing", measured({})],
    ["pcieBench.windows[1]: expected a multiple of readBytes, 64", measured({ windows: [4096, 100] })],
    ["pcieBench.off: expected a figure for each of 2 windows, found 1", measured({ windows: [4096, 8192], off: [1] })],
    ["pcieBench.off[0]: expected number, received string", measured({ windows: [4096], off: ["1"] })],
    ["pcieBench.readBytes: expected a power of two", measured({ readBytes: 100, windows: [4096] })],
  ])("is refused: %s", (why, machine) => {
    expect(refused("invalid", () => parse(machine)).message).toContain(`read the machine of own.json: invalid: ${why}`);
  });

  it("is refused with a format that nobody has", () => {
    const { message } = refused("invalid", () => parse({ ...LEAST, format: "vtds" }));
    expect(message).toContain('use page-table format "vtds"');
  });

  it("is refused where it is no JSON", () => {
    expect(refused("invalid", () => parseMachine("{", "own.json", formats)).message).toContain("own.json");
  });

  it("comes with a schema, as the code has it", () => {
    const schema = new URL("../../iommu-lab.machine.schema.json", import.meta.url);
    expect(readFileSync(schema, "utf8")).toBe(machineSchemaJson());
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
    const uncached = { ...figures, lastLevelCacheBytes: 0 };
    for (const footprint of [0, 1 << 26]) {
      expect(readTiming(uncached, { ...counters, walkerReads: 0 }, footprint).latencyNs).toBe((400 + 60 + 2) / 25);
    }
  });

  it("is a core's where that invalidates longer than anything else takes", () => {
    const invalidation = { commandNs: 100, waitNs: 500 };
    const idle = { ...counters, walkerReads: 0 };
    const time = (waits: number) => readTiming({ ...figures, invalidation }, idle, CACHED, { commands: 1000, waits });
    const strict = time(1000);
    expect(strict).toMatchObject({ invalidationNs: 600, transactionNs: 600, boundBy: "invalidations" });
    expect(strict.gbps).toBe(512 / 600);
    expect(time(10)).toMatchObject({ invalidationNs: 105, boundBy: "invalidations" });
    const unknown = readTiming(figures, idle, CACHED, { commands: 1000, waits: 1000 });
    expect(unknown).toMatchObject({ invalidationNs: null, boundBy: "latency" });
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
    const own = parse({
      ...OWN,
      format: "vmsav8-16k",
      stage: "first",
      caches: { iotlb: [{ ways: 64 }], firstStage: {} },
    });
    const [off, small] = pcieBench(engine, [own]);
    expect(off.rms).toBeNull();
    // 4,096 pages of 16 KiB, four entries a walk without paging-structure caches.
    expect(small.windows.at(-1)?.iotlbMissRate).toBeCloseTo(1 - 64 / 4096, 2);
    expect(small.windows.at(-1)?.readsPerMiss).toBe(4);
  });

  it("misses nothing of a window that the IOTLB holds, however large", () => {
    const windows = [2 ** 26, 2 ** 26 + 64];
    const own = parse({ ...LEAST, caches: { iotlb: [{ sets: 2 ** 14, ways: 1 }] }, pcieBench: { windows } });
    const [, small] = pcieBench(engine, [own]);
    expect(small.windows[0]).toMatchObject({ iotlbMissRate: 0, readsPerMiss: 0 });
    // A page more than there are sets: two of them take turns, at one read in a million.
    expect(small.windows[1].iotlbMissRate).toBeLessThan(2 ** -12);
  });

  it("adds nothing for translation where there is none", () => {
    const [off, small] = pcieBench(engine, [parse({ ...OWN, pcieBench: { windows: [4096] } })]);
    const withoutHits = (OWN.figures.dmaReadNs * 1000) / OWN.figures.dmaReadsInFlight;
    expect(off.windows[0].gbps).toBeCloseTo(512_000 / withoutHits, 9);
    expect(small.windows[0].gbps).toBeLessThan(off.windows[0].gbps);
  });

  it("sets what was measured on the user's machine beside it, over his windows", () => {
    const windows = [96 * 1024, 2 ** 27];
    const own = parse({ ...LEAST, pcieBench: { readBytes: 256, windows, superpages: [null, 100] } });
    expect(isPublished(own)).toBe(true);
    const [off, small, superpages] = pcieBench(engine, [own]);
    expect([off.rms, small.rms]).toEqual([null, null]);
    for (const row of [off, small, superpages]) expect(row.windows.map(({ window }) => window)).toEqual(windows);
    expect(small.windows[1].iotlbMissRate).toBeCloseTo(1 - 64 / 2 ** 15, 2);
    const [unpublished, { gbps, publishedGbps, relativeError }] = superpages.windows;
    expect(unpublished).toMatchObject({ publishedGbps: null, relativeError: null });
    expect([publishedGbps, relativeError]).toEqual([100, gbps / 100 - 1]);
    expect(superpages.rms).toBe(Math.abs(gbps / 100 - 1));
  });
});
