import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parseGroups } from "../../src/predict/groups.js";
import { predict } from "../../src/predict/predict.js";
import { parseIoMemory } from "../../src/predict/reserved.js";
import { fast, machineOf, readFixture, slow } from "./support.js";

const shared = new URL("../../../shared/traces/", import.meta.url).pathname;

function optional<T>(path: string, parse: (text: string, file: string) => T): T | undefined {
  return existsSync(path) ? parse(readFileSync(path, "utf8"), path) : undefined;
}

function predictShared(name: string, options: { factory: typeof slow; recoverOrder: boolean }) {
  const trace = readFixture(`${shared}${name}.trace.gz`);
  const machine = {
    ...machineOf(trace, { factory: options.factory }),
    groups: optional(`${shared}${name}.groups.txt`, parseGroups) ?? [],
    ioMemory: optional(`${shared}${name}.iomem.txt`, parseIoMemory) ?? null,
    flush: "auto" as const,
  };
  return predict(trace, { machine, recoverOrder: options.recoverOrder });
}

// Allocations; least share that is right blind, with the emulation in WASM.
const STRICT: readonly [string, number, number][] = [
  ["vtd-7.2-net-virtio-strict", 12024, 1],
  ["vtd-7.2-net-e1000e-strict", 28755, 0.98],
  ["vtd-7.2-mixed-strict", 48708, 0.9995],
  ["vtd-7.2-nvme-4k-rand-strict", 60023, 0.988],
  ["vtd-7.2-nvme-bs-sweep-strict", 24612, 0.993],
  ["vtd-7.2-nvme-seq-strict", 12311, 0.992],
  ["vtd-7.2-dmabench-strict", 4618, 0.998],
  ["vtd-6.12-nvme-4k-rand-strict", 30023, 0.957],
  ["vtd-6.12-nvme-seq-strict", 12311, 0.993],
  ["smmuv3-7.2-mixed-strict", 29113, 0.999],
  ["smmuv3-7.2-nvme-strict", 14446, 0.97],
];

describe.runIf(existsSync(shared))("recorded traces", () => {
  it.each(STRICT)(
    "%s: %d allocations, all of them with the order recovered",
    (name, allocations, blind) => {
      const prediction = predictShared(name, { factory: fast, recoverOrder: true });
      expect(prediction).toMatchObject({ allocations, private: 0, unattributed: 0 });
      expect(prediction.blindExact / allocations).toBeGreaterThanOrEqual(blind);
      expect(prediction.recovered).toMatchObject({ exact: allocations, unexplained: 0 });
      expect((prediction.recovered?.moves ?? 0) / allocations).toBeLessThan(0.03);
    },
    60_000,
  );

  it.each([
    ["vtd-7.2-nvme-seq-lazy", 12311],
    ["vtd-7.2-nvme-4k-rand-lazy", 60023],
  ])(
    "%s: the span and what is live agree, as far as a lazy flush can be predicted",
    (name, allocations) => {
      for (const factory of [slow, fast]) {
        const { spaces, ...prediction } = predictShared(name, { factory, recoverOrder: true });
        expect(prediction).toMatchObject({ allocations, recovered: null });
        expect(spaces.map(({ flush }) => flush)).toEqual(["lazy"]);
        const [{ span, live }] = spaces;
        expect(Math.abs(span.predicted / span.recorded - 1)).toBeLessThan(0.1);
        expect(live.predicted).toEqual(live.recorded);
        expect(live.predicted).toHaveLength(16);
      }
    },
    60_000,
  );
});

describe("small recorded traces", () => {
  it("NVMe behind an SMMUv3, with MSI and two-step allocations: every IOVA, with the order recovered", () => {
    const trace = readFixture("test/fixtures/traces/smmuv3-nvme.trace.gz");
    const prediction = predict(trace, { machine: machineOf(trace, { factory: fast }), recoverOrder: true });
    const { allocations, blindExact, recovered, spaces } = prediction;
    expect(allocations).toBe(14446);
    expect(spaces.map(({ name, unnamed }) => [name, unnamed])).toEqual([["0000:01:00.0", 1025]]);
    expect(blindExact / allocations).toBeGreaterThan(0.97);
    expect(recovered).toMatchObject({ exact: allocations, unexplained: 0 });
    expect((recovered?.moves ?? 0) / allocations).toBeLessThan(0.03);
  });

  it("one that begins when devices are in use already, and whose private mappings are VFIO's", () => {
    const trace = readFixture("test/fixtures/traces/vtd-vfio.trace.gz");
    for (const factory of [slow, fast]) {
      const prediction = predict(trace, { machine: machineOf(trace, { factory }) });
      expect(prediction).toMatchObject({ private: 20, unattributed: 0 });
      expect(prediction.blindExact / prediction.allocations).toBeGreaterThan(0.99);
      expect(prediction.misses.map(({ device, reason }) => [device, reason])).toContainEqual([
        "0000:00:09.0",
        "in use before the recording",
      ]);
    }
  });
});
