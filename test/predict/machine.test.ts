import { describe, expect, it } from "vitest";
import { PredictError } from "../../src/predict/errors.js";
import { parseGroups } from "../../src/predict/groups.js";
import { learnReserved } from "../../src/predict/learn.js";
import { predict } from "../../src/predict/predict.js";
import { parseIoMemory, windowsAbove } from "../../src/predict/reserved.js";
import { flushOf } from "../../src/predict/spaces.js";
import { SlowLinuxIova } from "../support/slow-linux-iova.js";
import { TraceText } from "../trace/support.js";
import { machineOf, readCalls } from "./support.js";

const PAGE = 4096;
const DEVICE = "0000:01:00.0";
const task = { task: "fio-100" };

describe("/proc/iomem", () => {
  const x86 = [
    "00000000-00000fff : Reserved",
    "000a0000-000fffff : Reserved",
    "  000a0000-000bffff : PCI Bus 0000:00",
    "40000000-afffffff : PCI Bus 0000:00",
    "b0000000-bfffffff : PCI ECAM 0000 [bus 00-ff]",
    "c0000000-febfffff : PCI Bus 0000:00",
    "  fe000000-fe1fffff : PCI Bus 0000:02",
    "    fe000000-fe01ffff : 0000:02:00.0",
    "fec00000-fec003ff : IOAPIC 0",
    "100000000-8ffffffff : PCI Bus 0000:40",
    "  100000000-10001ffff : PCI Bus 0000:41",
  ].join("\n");

  it("host bridges' windows are the bus lines within no other, wherever else they are", () => {
    const { windows, x86: isX86 } = parseIoMemory(x86, "iomem");
    expect(isX86).toBe(true);
    expect(windows.map(({ first, last, rootBus }) => [first, last, rootBus?.bus])).toEqual([
      [0xa0, 0xbf, 0],
      [0x40000, 0xaffff, 0],
      [0xc0000, 0xfebff, 0],
      [0x100000, 0x8fffff, 0x40],
    ]);
  });

  it.each([
    ["0000:02:00.0", [0xa0, 0x40000, 0xc0000]],
    ["0000:41:00.0", [0x100000]],
    ["0001:02:00.0", []],
  ])("%s has the windows of its own host bridge", (device, firsts) => {
    const { windows } = parseIoMemory(x86, "iomem");
    expect(windowsAbove(device, windows).map(({ first }) => first)).toEqual(firsts);
  });

  it("a device tree's host bridge is named after its node", () => {
    const text =
      "10000000-3efeffff : pcie@10000000\n  10000000-101fffff : PCI Bus 0000:01\n40000000-7fffffff : System RAM";
    expect(parseIoMemory(text, "iomem")).toEqual({
      windows: [{ first: 0x10000, last: 0x3efef, rootBus: null }],
      x86: false,
    });
  });

  it.each([
    ["another text", "hello", /iomem: line 1: not a line/],
    ["what was read without privileges", "00000000-00000000 : PCI Bus 0000:00\n", /must be read as root/],
  ])("%s is refused", (_, text, message) => {
    expect(() => parseIoMemory(text, "iomem")).toThrow(PredictError);
    expect(() => parseIoMemory(text, "iomem")).toThrow(message);
  });
});

describe("IOMMU groups", () => {
  it.each([
    ["11/devices/0000:01:00.0 DMA 0x1b36 0x0010 nvme", { group: 11, device: DEVICE, type: "DMA", driver: "nvme" }],
    ["11/devices/0000:01:00.0 DMA-FQ 0x1b36 0x0010 ", { group: 11, device: DEVICE, type: "DMA-FQ", driver: null }],
    ["/sys/kernel/iommu_groups/11/devices/0000:01:00.0", { group: 11, device: DEVICE, type: null, driver: null }],
  ])("reads %s", (line, member) => {
    expect(parseGroups(`${line}\n`, "groups")).toEqual([member]);
  });

  it("refuses other text", () => {
    expect(() => parseGroups("11/devices/x\nnvme", "groups")).toThrow(/groups: line 2: not of the form/);
  });

  it.each([
    ["DMA", "lazy", "strict"],
    ["DMA-FQ", "strict", "lazy"],
    ["DMA-FQ", "lazy-single", "lazy-single"],
    [null, "lazy", "lazy"],
  ] as const)("type %s with --flush %s is %s", (type, flush, expected) => {
    const groups = [{ group: 1, device: DEVICE, type, driver: null }];
    expect(flushOf(machineOf(readCalls(""), { groups, flush }), DEVICE)).toBe(expected);
  });
});

describe("what the trace itself tells", () => {
  /** Allocations of a page each, printed as they come. */
  function allocations(iova: SlowLinuxIova, count: number, text = new TraceText()): TraceText {
    for (let index = 0; index < count; index++) {
      const address = iova.allocate(1, 0xfffff, 0, false) * PAGE;
      text.map(task, address, 0x45000000).dmaMap(task, DEVICE, address, PAGE, 0x45000000);
    }
    return text;
  }

  it("reserved ranges are what a space goes around", () => {
    const iova = new SlowLinuxIova({ cpus: 1 });
    iova.reserve(0xfff00, 0xfffef);
    iova.reserve(0xffe00, 0xffef0);
    const trace = readCalls(allocations(iova, 64).text());
    expect(learnReserved(trace, machineOf(trace))).toEqual([
      { first: 0xffe00, last: 0xffef0 },
      { first: 0xfff00, last: 0xfffef },
    ]);
    const { factory, cpus, groups, ioMemory, reserved, masks } = machineOf(trace);
    const machine = { factory, cpus, groups, ioMemory, reserved, masks, flush: "strict" as const };
    const told = predict(trace, { machine });
    expect(told.misses.map(({ reason }) => reason)).toContain("unknown reserved range");
    expect(predict(trace, { machine, learnReserved: true })).toMatchObject({ misses: [], blindExact: 64 });
  });

  it("the way of flushing is the one that predicts better", () => {
    const iova = new SlowLinuxIova({ cpus: 1, flush: "lazy" });
    const text = new TraceText();
    // Nothing comes back before the timer runs, which the whole trace does not last.
    for (let index = 0; index < 100; index++) {
      const address = iova.allocate(1, 0xfffff, 0, false) * PAGE;
      text.map(task, address, 0x45000000).dmaMap(task, DEVICE, address, PAGE, 0x45000000);
      text.unmap(task, address).dmaUnmap(task, DEVICE, address, PAGE);
      iova.queue(address / PAGE, 1, 0, 1e9 + index * 12e3);
    }
    const trace = readCalls(text.text());
    const prediction = predict(trace, { machine: { ...machineOf(trace), flush: "auto" } });
    expect(prediction.spaces.map(({ flush }) => flush)).toEqual(["lazy"]);
    expect(prediction.blindExact).toBe(100);
  });
});
