import { describe, expect, it } from "vitest";
import type { Allocation, TraceCalls } from "../../src/predict/calls.js";
import { TraceText } from "../trace/support.js";
import { machineOf, readCalls } from "./support.js";
import { predictBlind } from "../../src/predict/blind.js";

const PAGE = 4096;
const DEVICE = "0000:01:00.0";
const OTHER = "0000:02:00.0";
const task = { task: "fio-100", cpu: 1 };
const interrupt = { task: "<idle>-0", cpu: 1, flags: "d.h1." };

/** Lines of the allocation and of its free. */
const lines = ({ event, free }: Allocation) => [event.line, free?.event.line ?? null];
/** `[earliest, latest]` of each call as lines, null at either end of the trace. */
const windows = ({ calls, events }: TraceCalls) =>
  calls.map(({ kind, earliest, latest }) => [
    kind,
    events.events[earliest]?.line ?? null,
    events.events[latest]?.line ?? null,
  ]);

describe("calls of a trace", () => {
  it("a coherent allocation of several pieces is one call, at its first piece", () => {
    const text = new TraceText()
      .map(task, 0xffff0000, 0x45000000, 1)
      .map(task, 0xffff1000, 0x46000000, 3)
      .line(task, `dma_alloc: ${DEVICE} dir=BIDIRECTIONAL dma_addr=ffff0000 size=16384 virt_addr=0 flags=0 attrs=`);
    const { allocations } = readCalls(text.text());
    expect(allocations).toMatchObject([{ device: DEVICE, pfn: 0xffff0, pages: 4, free: null }]);
    expect(allocations.map(lines)).toEqual([[1, null]]);
  });

  it("a scatterlist's event comes before its unmap, so nothing but the context's next event ends the free", () => {
    const text = new TraceText()
      .map(task, 0xffffe000, 0x45000000, 1)
      .map(task, 0xfffff000, 0x47000000, 1)
      .dmaMapSg(task, DEVICE, 0xffffe000, 2 * PAGE, [0x45000000, 0x47000000])
      .dmaUnmapSg(interrupt, DEVICE, [0x45000000, 0x47000000])
      .unmap(interrupt, 0xffffe000, 2)
      .map({ ...task, cpu: 0 }, 0xffffd000, 0x48000000)
      .map({ task: "sh-1", cpu: 1 }, 0xffffc000, 0x49000000);
    const trace = readCalls(text.text());
    expect(lines(trace.allocations[0])).toEqual([1, 5]);
    expect(windows(trace)).toEqual([
      ["allocate", null, 1],
      ["free", 5, 7],
      ["allocate", 3, 6],
      ["allocate", null, 7],
    ]);
  });

  it("two-step allocations without dma events are cut by their unmaps, and take the device that predicts them", () => {
    const text = new TraceText();
    text.map(task, 0xfffff000, 0x45000000).dmaMap(task, DEVICE, 0xfffff000, PAGE, 0x45000000);
    // Four pages and two, whose pieces run together.
    text.map(task, 0xffff8000, 0x50000000, 2).map(task, 0xffffa000, 0x52000000, 2).map(task, 0xffffc000, 0x54000000, 2);
    text.unmap(interrupt, 0xffffc000, 2).unmap(interrupt, 0xffff8000, 4);
    text.map(task, 0xffff8000, 0x50000000, 4).unmap(interrupt, 0xffff8000, 4);
    const trace = readCalls(text.text());
    expect(trace.allocations.map(({ device, pfn, pages }) => [device, pfn, pages])).toEqual([
      [DEVICE, 0xfffff, 1],
      [null, 0xffff8, 4],
      [null, 0xffffc, 2],
      [null, 0xffff8, 4],
    ]);
    const blind = predictBlind(trace, machineOf(trace));
    expect(blind.spaces.map(({ description, unnamed }) => [description.name, unnamed])).toEqual([[DEVICE, 3]]);
    // In the order of their lines the four pages come first; the kernel had allocated the two before them.
    expect(blind).toMatchObject({ allocations: 4, private: 0, unattributed: 0 });
  });

  it("the MSI doorbell of a device comes before its first dma event, and takes an IOVA of its space", () => {
    const doorbell = 0x08090000;
    const other = { task: "insmod-7", cpu: 0 };
    const text = new TraceText();
    text.map(task, 0xfffff000, doorbell).map(task, 0xffffe000, 0x45000000);
    text.dmaMap(task, DEVICE, 0xffffe000, PAGE, 0x45000000);
    text.map(other, 0xfffff000, doorbell);
    // The second driver maps from another task.
    text.map(task, 0xffffe000, 0x46000000).dmaMap(task, OTHER, 0xffffe000, PAGE, 0x46000000);
    const trace = readCalls(text.text());
    const { spaces, misses } = predictBlind(trace, machineOf(trace));
    expect(spaces.map(({ description, allocations, unnamed }) => [description.name, allocations, unnamed])).toEqual([
      [DEVICE, 2, 1],
      [OTHER, 2, 1],
    ]);
    expect(misses).toEqual([]);
  });

  it("mappings of a private domain are left out and counted", () => {
    const user = { task: "vfiomap-128", cpu: 0 };
    const text = new TraceText();
    text.map(task, 0xfffff000, 0x45000000).dmaMap(task, DEVICE, 0xfffff000, PAGE, 0x45000000);
    text.line(user, `attach_device_to_domain: IOMMU: device=${OTHER}`);
    text.map(user, 0x100000, 0x300000, 256).map(user, 0x400000, 0x8a400000, 512);
    text.map(task, 0xffffe000, 0x46000000).dmaMap(task, DEVICE, 0xffffe000, PAGE, 0x46000000);
    const trace = readCalls(text.text(), 7);
    expect(trace.attaches).toEqual([{ line: 3, task: "vfiomap-128", device: OTHER }]);
    expect(predictBlind(trace, machineOf(trace))).toMatchObject({ allocations: 2, private: 2, misses: [] });
  });

  it("devices of a group share an IOVA space", () => {
    const text = new TraceText();
    text.map(task, 0xfffff000, 0x45000000).dmaMap(task, DEVICE, 0xfffff000, PAGE, 0x45000000);
    text.map(task, 0xffffe000, 0x46000000).dmaMap(task, OTHER, 0xffffe000, PAGE, 0x46000000);
    const trace = readCalls(text.text());
    const groups = [DEVICE, OTHER].map((device) => ({ group: 3, device, type: "DMA", driver: null }));
    expect(predictBlind(trace, machineOf(trace)).misses).toHaveLength(1);
    expect(predictBlind(trace, machineOf(trace, { groups })).misses).toEqual([]);
  });

  it.each([
    ["of 64 bits asks below 4 GiB first", 64, 0xfffff],
    ["of 30 bits is its limit", 30, 0x3ffff],
  ])("a DMA mask %s", (_, bits, pfn) => {
    const text = new TraceText();
    text.map(task, pfn * PAGE, 0x45000000).dmaMap(task, DEVICE, pfn * PAGE, PAGE, 0x45000000);
    const trace = readCalls(text.text());
    expect(predictBlind(trace, machineOf(trace, { masks: new Map([[DEVICE, bits]]) })).misses).toEqual([]);
  });

  it("the first failure below 4 GiB switches that off for the device for good", () => {
    const text = new TraceText();
    // Twice 2 GiB: the first fits below (with page 0 taken no second does), and from then on everything is above.
    const half = 0x80000;
    const top = 2 ** 28;
    for (const [pfn, pages] of [
      [half, half],
      [top - half, half],
      [top - half - 1, 1],
    ]) {
      text.map(task, pfn * PAGE, 0x100000000, pages).dmaMap(task, DEVICE, pfn * PAGE, pages * PAGE, 0x100000000);
    }
    const trace = readCalls(text.text());
    const ioMemory = { windows: [], x86: false };
    const blind = predictBlind(trace, machineOf(trace, { ioMemory, masks: new Map([[null, 40]]) }));
    expect(blind.misses.map(({ predicted }) => predicted)).toEqual([]);
  });

  it("reads the number of CPUs from the header, else from who printed", () => {
    const text = new TraceText().map(task, 0xfffff000, 0x45000000).text();
    expect(readCalls(text).cpus).toBe(2);
    expect(readCalls(`# entries-in-buffer/entries-written: 1/1   #P:8\n${text}`).cpus).toBe(8);
  });

  it("windows nest: a task's call lasts across interrupts of its CPU, an interrupt's ends when its CPU goes on", () => {
    const softirq = { task: "fio-100", cpu: 1, flags: "..s1." };
    const text = new TraceText();
    text.map(task, 0xfffff000, 1 * PAGE); // line 1
    text.map(softirq, 0xffffe000, 2 * PAGE); // 2
    text.unmap({ ...interrupt, task: "fio-100" }, 0xfffff000); // 3
    text.unmap(softirq, 0xffffe000); // 4
    text.map(task, 0xffffd000, 3 * PAGE); // 5
    expect(windows(readCalls(text.text()))).toEqual([
      ["allocate", null, 1],
      ["allocate", 1, 2],
      ["free", 3, 4],
      ["free", 4, 5],
      ["allocate", 1, 5],
    ]);
  });
});
