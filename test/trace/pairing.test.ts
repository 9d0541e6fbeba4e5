import { describe, expect, it } from "vitest";
import { check, type ReadResult, read, summary, TraceText, type Where } from "./support.js";

const A = "0000:01:00.0";
const B = "0000:02:00.0";
const cpu0: Where = {};
const cpu1: Where = { task: "nc-200", cpu: 1 };
const irq0: Where = { flags: "d.h1." };

function operationsOf(trace: TraceText, options = {}): ReadResult {
  const result = read(trace.text(), options);
  const { live } = check(result.operations);
  expect(live).toBe(result.statistics.liveAtEnd);
  return result;
}

describe("named allocations", () => {
  it("takes the device from the dma event and pages from the map", () => {
    const trace = new TraceText()
      .map(cpu0, 0xfffff000, 0x8000)
      .dmaMap(cpu0, A, 0xfffff040, 100, 0x8040)
      .unmap(irq0, 0xfffff000)
      .dmaUnmap(irq0, A, 0xfffff040, 100);
    const { operations, domains } = operationsOf(trace);
    expect(domains).toEqual([A]);
    expect(operations).toEqual([
      {
        kind: "map",
        domain: 0,
        slot: 0,
        iova: 0xfffff000n,
        length: 4096n,
        line: 1,
        cpu: 0,
        time: 1_000_000_000,
        pieces: [{ physical: 0x8000n, length: 4096n }],
      },
      { kind: "unmap", domain: 0, slot: 0, offset: 0n, length: 4096n, line: 3, cpu: 0, time: 1_000_006_000 },
    ]);
  });

  it("gives every operation the CPU and the time of its own first map or unmap", () => {
    const trace = new TraceText()
      .map({ cpu: 2 }, 0x10000, 0x8000)
      .map({ cpu: 2 }, 0x11000, 0xa000)
      .map({ cpu: 5 }, 0x90000, 0x5000)
      .dmaMapSg({ cpu: 2 }, A, 0x10000, 0x2000, [0x8000, 0xa000])
      .dmaUnmapSg({ cpu: 5 }, A, [0x8000, 0xa000])
      .unmap({ cpu: 5 }, 0x10000, 2)
      .dmaMap({ cpu: 5 }, A, 0x90000, 4096, 0x5000);
    const { operations } = operationsOf(trace);
    expect(operations.map(({ kind, cpu, time }) => [kind, cpu, time - 1e9])).toEqual([
      ["map", 2, 0],
      ["map", 5, 6000],
      ["unmap", 5, 15_000],
    ]);
  });

  it("makes a scatterlist one allocation although an interrupt comes between", () => {
    for (const form of ["irq", "plain"] as const) {
      const trace = new TraceText(form)
        .map(cpu0, 0x10000, 0x8000)
        .map(cpu0, 0x11000, 0xa000)
        .map(irq0, 0x90000, 0x5000)
        .dmaMap(irq0, B, 0x90000, 4096, 0x5000)
        .map(cpu0, 0x12000, 0x1c000)
        .dmaMapSg(cpu0, A, 0x10000, 0x3000, [0x8000, 0xa000, 0x1c000])
        .dmaUnmapSg(cpu0, A, [0x8000, 0xa000, 0x1c000])
        .unmap(cpu0, 0x10000, 3);
      const { operations, domains } = operationsOf(trace);
      expect(domains).toEqual([A, B]);
      expect(summary(operations)).toEqual([
        "map D0 0x10000+0x3000 (3)",
        "map D1 0x90000+0x1000 (1)",
        "unmap D0 0x10000+0x3000",
      ]);
    }
  });

  it("ends neighbours where the dma event says", () => {
    const trace = new TraceText()
      .map(cpu0, 0x10000, 0x8000)
      .dmaMap(cpu0, A, 0x10000, 4096, 0x8000)
      .map(cpu0, 0x11000, 0x9000)
      .dmaMap(cpu0, A, 0x11000, 4096, 0x9000);
    expect(summary(operationsOf(trace).operations)).toEqual(["map D0 0x10000+0x1000 (1)", "map D0 0x11000+0x1000 (1)"]);
  });

  it("follows a task that migrates between map and dma event", () => {
    const trace = new TraceText()
      .map({ task: "fio-100", cpu: 0 }, 0x10000, 0x8000)
      .map(cpu1, 0x10000, 0x9000)
      .dmaMap({ task: "fio-100", cpu: 1 }, A, 0x10000, 4096, 0x8000)
      .dmaMap(cpu1, B, 0x10000, 4096, 0x9000);
    const { operations, domains } = operationsOf(trace);
    expect(domains).toEqual([A, B]);
    expect(summary(operations)).toEqual(["map D0 0x10000+0x1000 (1)", "map D1 0x10000+0x1000 (1)"]);
  });

  it("accepts a dma address inside a granule of 64 KiB", () => {
    const trace = new TraceText().map(cpu0, 0x10000, 0x80000, 16).dmaMap(cpu0, A, 0x15000, 4096, 0x85000);
    expect(operationsOf(trace).domains).toEqual([A]);
  });

  it("takes a list that the kernel cut to the end of its run", () => {
    const trace = new TraceText().map(cpu0, 0x10000, 0x8000).map(cpu0, 0x11000, 0xa000).map(cpu0, 0x12000, 0xc000);
    trace.line(
      cpu0,
      `dma_map_sg: ${A} dir=TO_DEVICE nents=1/3 ents=1/3 [TRUNCATED] dma_addrs={0x10000} sizes={0x1000} phys_addrs={0x8000} attrs=`,
    );
    expect(summary(operationsOf(trace).operations)).toEqual(["map D0 0x10000+0x3000 (3)"]);
  });
});

describe("domains", () => {
  it("keeps the same IOVA of two devices apart, whichever is unmapped first", () => {
    const trace = new TraceText()
      .map(cpu0, 0x10000, 0x8000)
      .dmaMap(cpu0, A, 0x10000, 4096, 0x8000)
      .map(cpu1, 0x10000, 0x9000)
      .dmaMap(cpu1, B, 0x10000, 4096, 0x9000)
      .unmap(irq0, 0x10000)
      .dmaUnmap(irq0, B, 0x10000, 4096)
      .unmap(irq0, 0x10000)
      .dmaUnmap(irq0, A, 0x10000, 4096);
    expect(summary(operationsOf(trace).operations).slice(2)).toEqual([
      "unmap D1 0x10000+0x1000",
      "unmap D0 0x10000+0x1000",
    ]);
  });

  it("lets another CPU map the IOVA again before the dma_unmap event prints", () => {
    const trace = new TraceText()
      .map(cpu0, 0x10000, 0x8000)
      .dmaMap(cpu0, A, 0x10000, 4096, 0x8000)
      .unmap(irq0, 0x10000)
      .map(cpu1, 0x10000, 0x9000)
      .dmaMap(cpu1, A, 0x10000, 4096, 0x9000)
      .dmaUnmap(irq0, A, 0x10000, 4096);
    const { operations, statistics } = operationsOf(trace);
    expect(statistics.conflicts).toBe(0);
    expect(summary(operations)).toEqual([
      "map D0 0x10000+0x1000 (1)",
      "unmap D0 0x10000+0x1000",
      "map D0 0x10000+0x1000 (1)",
    ]);
  });

  it("opens another unnamed domain for an unnamed overlap, and counts it", () => {
    const trace = new TraceText().map(cpu0, 0x10000, 0x8000, 4).map(cpu1, 0x12000, 0x20000, 4);
    const { statistics, names, operations } = operationsOf(trace);
    expect(names).toEqual(["unnamed", "unnamed-2"]);
    expect(statistics.unnamedDomains).toBe(1);
    expect(summary(operations)).toEqual(["map D0 0x10000+0x4000 (1)", "map D1 0x12000+0x4000 (1)"]);
  });

  it("gives unnamed mappings to the device option where nothing of it is live", () => {
    const trace = new TraceText()
      .map(cpu0, 0x10000, 0x8000)
      .dmaMap(cpu0, A, 0x10000, 4096, 0x8000)
      .map(cpu0, 0x20000, 0x9000)
      .map(cpu1, 0x10000, 0xa000);
    const { statistics, domains } = operationsOf(trace, { device: A });
    expect(domains).toEqual([A, null]);
    expect(statistics.unnamedDomains).toBe(1);
  });

  it("ends the older mapping when a named domain overlaps itself", () => {
    const trace = new TraceText()
      .map(cpu0, 0x10000, 0x8000, 2)
      .dmaMap(cpu0, A, 0x10000, 8192, 0x8000)
      .map(cpu0, 0x11000, 0x9000)
      .dmaMap(cpu0, A, 0x11000, 4096, 0x9000);
    const { statistics, operations } = operationsOf(trace);
    expect(statistics.conflicts).toBe(1);
    expect(statistics.firstConflicts).toEqual([{ line: 3, domain: 0, iova: 0x11000n }]);
    expect(summary(operations)[1]).toBe("unmap D0 0x10000+0x2000");
  });
});

describe("unnamed runs", () => {
  it("are cut by their unmaps", () => {
    const trace = new TraceText();
    for (let piece = 0; piece < 8; piece++) trace.map(cpu0, 0x10000 + piece * 4096, 0x80000 + piece * 8192);
    trace.unmap(irq0, 0x12000, 3).unmap(irq0, 0x15000, 2).unmap(irq0, 0x10000, 2);
    expect(summary(operationsOf(trace).operations)).toEqual([
      "map D0 0x10000+0x2000 (2)",
      "map D0 0x12000+0x3000 (3)",
      "map D0 0x15000+0x2000 (2)",
      "map D0 0x17000+0x1000 (1)",
      "unmap D0 0x12000+0x3000",
      "unmap D0 0x15000+0x2000",
      "unmap D0 0x10000+0x2000",
    ]);
  });

  it("joins the pieces that an interrupt in the same context separates", () => {
    const trace = new TraceText("plain")
      .map(cpu0, 0x10000, 0x8000)
      .map(cpu0, 0x90000, 0x5000)
      .dmaMap(cpu0, B, 0x90000, 4096, 0x5000)
      .map(cpu0, 0x11000, 0x20000)
      .unmap(cpu0, 0x10000, 2);
    expect(summary(operationsOf(trace).operations)).toContain("map D0 0x10000+0x2000 (2)");
  });

  it("are several operations when one unmap spans them, and a part when it covers less", () => {
    const trace = new TraceText()
      .map(cpu0, 0x10000, 0x80000, 4)
      .map(cpu1, 0x14000, 0x90000, 4)
      .unmap(cpu0, 0x10000, 6)
      .unmap(cpu0, 0x17000, 1);
    expect(summary(operationsOf(trace).operations)).toEqual([
      "map D0 0x10000+0x4000 (1)",
      "map D0 0x14000+0x4000 (1)",
      "unmap D0 0x10000+0x4000",
      "unmap D0 0x14000+0x2000",
      "unmap D0 0x17000+0x1000",
    ]);
  });

  it("are decided as they stand when nothing unmaps them for long", () => {
    const trace = new TraceText().map(cpu1, 0x10000, 0x8000).map(cpu1, 0x11000, 0x9000);
    for (let index = 0; index < 9000; index++) {
      trace.map(cpu0, 0x100000, 0x20000).dmaMap(cpu0, A, 0x100000, 4096, 0x20000);
      trace.unmap(irq0, 0x100000).dmaUnmap(irq0, A, 0x100000, 4096);
    }
    trace.unmap(cpu1, 0x11000, 1);
    const { statistics, operations } = operationsOf(trace);
    expect(statistics.forcedDecisions).toBe(1);
    expect(statistics.maxPending).toBeLessThan(17_000);
    expect(summary(operations)[0]).toBe("map D0 0x10000+0x2000 (2)");
    expect(summary(operations).at(-1)).toBe("unmap D0 0x11000+0x1000");
  });
});

describe("incomplete recordings", () => {
  it("counts unmaps of what was mapped before", () => {
    const trace = new TraceText().unmap(irq0, 0x10000).dmaUnmap(irq0, A, 0x10000, 4096).unmap(cpu1, 0x20000, 8);
    const { statistics, operations } = operationsOf(trace);
    expect(operations).toEqual([]);
    expect(statistics.unmapsOfUnknown).toBe(2);
  });

  it("unmaps nothing when the driver unmapped nothing", () => {
    const trace = new TraceText().map(cpu0, 0x10000, 0x8000).unmap(cpu0, 0x10000, 1, 0);
    const { statistics } = operationsOf(trace);
    expect([statistics.emptyUnmaps, statistics.liveAtEnd]).toEqual([1, 1]);
  });

  it("tells of lost events", () => {
    const header = "# tracer: nop\n#\n# entries-in-buffer/entries-written: 9726/12800   #P:2\n#\n";
    const trace = new TraceText().map(cpu0, 0x10000, 0x8000);
    const pipe = "CPU:1 [LOST 17 EVENTS]\nCPU:0 [LOST EVENTS]\nCPU:0 [3 EVENTS DROPPED]\n";
    const { statistics } = read(header + trace.text() + pipe);
    expect(statistics.entries).toEqual({ inBuffer: 9726, written: 12800 });
    expect([statistics.lostEvents, statistics.lostPlaces, statistics.malformed]).toEqual([3074 + 20, 3, 0]);
  });

  it("reads a window of time as if the recording were it", () => {
    const trace = new TraceText()
      .map(cpu0, 0x10000, 0x8000) // 1.000000
      .map(cpu1, 0x20000, 0x9000) // 1.000003
      .unmap(cpu0, 0x10000) // 1.000006
      .unmap(cpu1, 0x20000); // 1.000009
    const { statistics, operations } = operationsOf(trace, { from: 1.000003, to: 1.000009 });
    expect(summary(operations)).toEqual(["map D0 0x20000+0x1000 (1)"]);
    expect([statistics.maps, statistics.unmaps, statistics.unmapsOfUnknown]).toEqual([1, 1, 1]);
  });
});
