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

describe("a small recorded trace", () => {
  it("is predicted whole by the slow model and by the one in WASM, whatever is begun before it", () => {
    for (const factory of [slow, fast]) {
      const trace = readFixture("test/fixtures/traces/vtd-vfio.trace.gz");
      const prediction = predict(trace, { machine: machineOf(trace, { factory }), recoverOrder: true });
      // Of what user space mapped with VFIO nothing is an allocation of the DMA API.
      expect(prediction.private).toBe(20);
      expect(prediction.unattributed).toBe(0);
      expect(prediction.blindExact / prediction.allocations).toBeGreaterThan(0.99);
      console.log(
        prediction.recovered,
        prediction.recoveredMisses.slice(0, 5).map((m) => [m.allocation.event.line, m.device, m.predicted, m.reason]),
      );
    }
  });
});
