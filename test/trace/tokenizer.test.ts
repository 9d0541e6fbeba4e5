import { describe, expect, it } from "vitest";
import { TraceError } from "../../src/trace/errors.js";
import { newInstance, read, TraceText } from "./support.js";
import { TraceReader } from "../../src/trace/reader.js";

const range = "iova=0x00000000fffff000 - 0x0000000100000000";
const map = `map: IOMMU: ${range} paddr=0x0000000008090000 size=4096`;
const header = "             fio-198     [001] .....    18.472928: ";

describe("text forms", () => {
  it.each([
    ["tracefs", `${header}${map}`],
    ["a task with spaces and slashes", `  kworker/u8:3 x-48      [001] .....     6.935721: ${map}`],
    ["the idle task", `          <idle>-0       [000] ..s1.     6.956836: ${map}`],
    ["brackets in the task", `        a [0] b]-0       [000] ..s1.     6.956836: ${map}`],
    ["a task that looks like a header", ` x [000] 1.0: y-12       [000] d.h1.     6.956836: ${map}`],
    ["dashes and colons in the task", `     -a-:b:[x]--17       [011] d.h1.     6.956836: ${map}`],
    ["record-tgid", `             rio-196     (    188) [001] d.h..    34.849608: ${map}`],
    ["record-tgid, not known", `          <idle>-0       (-------) [001] d.h1.    34.850718: ${map}`],
    ["no irq-info", `             rio-199     [001]     36.102120: ${map}`],
    ["trace-cmd report", `             rio-162   [000] dLh1.    10.304374: map:                  ${map.slice(5)}`],
    ["perf script", `             rio     176 [000]    23.574131:                      iommu:${map}`],
    ["nanoseconds", `             rio     176 [000]    23.574131001: iommu:${map}`],
    ["a clock without a point", `             fio-198     [001] .....  18472928: ${map}`],
    ["carriage returns", `${header}${map}\r`],
    ["many CPUs", `             fio-198     [1023] .....    18.472928: ${map}`],
  ])("reads %s", (_name, line) => {
    const { statistics, operations } = read(`${line}\n`);
    expect(statistics.firstMalformed).toEqual([]);
    expect(operations).toMatchObject([{ kind: "map", iova: 0xfffff000n, pieces: [{ physical: 0x8090000n }], line: 1 }]);
  });

  it("reads lines alike whatever line was before them", () => {
    const dma = `dma_unmap_phys: D dir=NONE dma_addr=fffff000 size=4096 attrs=`;
    const columns = "             fio-198     [001] .....    ";
    const lines = [
      `${columns}18.472928: ${map}`,
      `${columns}18.472928: ${dma}`,
      `${columns}18.472928: : ${map}`,
      `${columns}18.472928: dma_unmap_physical: D`,
      `${columns}18.472928: dma_unmap: D`,
      `${columns}18.472928: sys: D`,
      `${columns}[002] d.h..    18.472928: ${dma}`,
      `${columns}x18.472928: ${dma}`,
      `${columns.replace("001", "000")}18.472928: ${dma.replace("D", "DD")}`,
      `${columns} 8.472928: ${dma.replace("D", "DDD")}`,
      `${columns}18.472928: dma_unmap_sg: D dir=NONE phys_addrs={}`,
      columns,
    ];
    const count = (text: string) => {
      const { events, malformed } = read(text).statistics;
      return { ...events, malformed };
    };
    for (const before of lines) {
      for (const line of lines) {
        const sum: Record<string, number> = count(`${before}\n`);
        for (const [name, number] of Object.entries(count(`${line}\n`))) sum[name] = (sum[name] ?? 0) + number;
        expect(count(`${before}\n${line}\n`), `${before}\n${line}`).toEqual(sum);
      }
    }
  });

  it("understands every dma event of both kernels", () => {
    const tail = "dma_addr=fffff000 size=4096";
    for (const named of [
      `dma_map_page: D dir=TO_DEVICE ${tail} phys_addr=8090000 attrs=`,
      `dma_map_phys: D dir=TO_DEVICE ${tail} phys_addr=8090000 attrs=`,
      `dma_map_resource: D dir=NONE ${tail} phys_addr=8090000 attrs=MMIO`,
      `dma_alloc: D dir=BIDIRECTIONAL ${tail} virt_addr=00000000ada25b8b flags=GFP_KERNEL attrs=`,
      `dma_alloc_pages: D dir=BIDIRECTIONAL ${tail} virt_addr=00000000ada25b8b flags=GFP_KERNEL attrs=`,
      `dma_alloc_sgt: D dir=BIDIRECTIONAL ${tail} phys_addrs={0x8090000} flags=GFP_KERNEL attrs=`,
      `dma_map_sg: D dir=TO_DEVICE dma_addrs={0xfffff000} sizes={0x1000} phys_addrs={0x8090000} attrs=`,
    ]) {
      expect(read(`${header}${map}\n${header}${named}\n`).domains, named).toEqual(["D"]);
    }
    const other = `${header}map: IOMMU: ${range} paddr=0x0000000000001000 size=4096\n${header}dma_map_phys: E dir=TO_DEVICE ${tail} phys_addr=1000 attrs=\n`;
    const mapped = `${header}${map}\n${header}dma_map_phys: D dir=TO_DEVICE ${tail} phys_addr=8090000 attrs=\n${other}`;
    const unmap = `${header}unmap: IOMMU: ${range} size=4096 unmapped_size=4096\n`;
    for (const [named, before] of [
      [`dma_unmap_page: E dir=TO_DEVICE ${tail} attrs=`, false],
      [`dma_unmap_phys: E dir=TO_DEVICE ${tail} attrs=`, false],
      [`dma_unmap_resource: E dir=TO_DEVICE ${tail} attrs=`, false],
      [`dma_free: E dir=BIDIRECTIONAL ${tail} virt_addr=00000000eb34ae2d attrs=`, true],
      [`dma_free_pages: E dir=BIDIRECTIONAL ${tail} virt_addr=00000000eb34ae2d attrs=`, true],
      [`dma_free_sgt: E dir=BIDIRECTIONAL ${tail} phys_addrs={0x1000}`, true],
      [`dma_unmap_sg: E dir=TO_DEVICE phys_addrs={0x1000} attrs=`, true],
    ] as const) {
      const event = `${header}${named}\n`;
      const { operations, domains } = read(mapped + (before ? event + unmap : unmap + event));
      expect(domains, named).toEqual(["D", "E"]);
      expect(operations.at(-1), named).toMatchObject({ kind: "unmap", domain: 1 });
    }
  });

  it("counts other events and remarks without complaint", () => {
    const text = [
      "# tracer: nop",
      "cpus=2",
      "CPU 1 is empty",
      "##### CPU 0 buffer started ####",
      "",
      `${header}tracing_mark_write: WORKLOAD-DONE`,
      `${header}attach_device_to_domain: IOMMU: device=0000:00:08.0`,
      `${header}dma_map_sg_err: D dir=TO_DEVICE dma_addrs={0x1} err=-5 attrs=`,
      `${header}mutex_unlock <-rb_simple_write`,
      " => iommu_map",
      `${header}dma_map_phys: D dir=TO_DEVICE dma_addr=ffffffffffffffff size=4096 phys_addr=8090000 attrs=`,
    ].join("\n");
    const { statistics, operations } = read(`${text}\n`);
    expect(operations).toEqual([]);
    expect(statistics.firstMalformed).toEqual([]);
    expect(statistics.lines).toBe(11);
    expect(statistics.events).toEqual({
      tracing_mark_write: 1,
      attach_device_to_domain: 1,
      dma_map_sg_err: 1,
      dma_map_phys: 1,
    });
  });
});

describe("malformed lines", () => {
  const cases: [string, string, string][] = [
    ["no hexadecimal number", map.replace("fffff000", "fffxf000"), "a number is malformed"],
    ["end that does not fit", map.replace("size=4096", "size=8192"), "the range's end is not its start plus its size"],
    ["zero size", map.replace("size=4096", "size=0"), "the size is zero"],
    ["missing size", map.replace(" size=4096", ""), "a field of the event is missing"],
    ["missing paddr", map.replace(" paddr=0x0000000008090000", ""), "a field of the event is missing"],
    ["junk behind the size", map.replace("size=4096", "size=4096x"), "a number is malformed"],
    ["negative size", map.replace("size=4096", "size=-4096"), "a number is malformed"],
    ["17 digits", map.replace("fffff000 ", "fffff0000 "), "a number exceeds"],
    [
      "a range past 64 bits",
      `map: IOMMU: iova=0xfffffffffffff000 - 0x0000000000001000 paddr=0x0000000000000000 size=8192`,
      "exceeds 64 bits",
    ],
    ["a size past 64 bits", map.replace("size=4096", "size=99999999999999999999"), "exceeds 64 bits"],
    [
      "an odd address",
      `map: IOMMU: iova=0x0000000000000800 - 0x0000000000001800 paddr=0x0000000000000000 size=4096`,
      "not a multiple of 4096",
    ],
    ["an unmap without unmapped_size", `unmap: IOMMU: ${range} size=4096`, "a field of the event is missing"],
    ["a dma event without address", "dma_map_phys: D dir=TO_DEVICE size=4096 phys_addr=8090000 attrs=", "a field"],
    [
      "lists of different lengths",
      "dma_map_sg: D dir=TO_DEVICE dma_addrs={0x1000,0x2000} sizes={0x1000} phys_addrs={0x1} attrs=",
      "differ in length",
    ],
    ["an open list", "dma_map_sg: D dir=TO_DEVICE dma_addrs={0x1000,0x2000", "a number is malformed"],
    ["no payload", "map:", "a field of the event is missing"],
  ];
  it.each(cases)("reports %s", (_name, payload, reason) => {
    const { statistics } = read(`\n${header}${map}\n${header}${payload}\n${header}${map.replace("map:", "other:")}\n`);
    expect(statistics.malformed).toBe(1);
    const [first] = statistics.firstMalformed;
    expect(first.line).toBe(3);
    expect(first.text).toBe(`${header}${payload}`.slice(0, 200));
    expect(first.reason).toContain(reason.replace("a number exceeds", "exceeds 64 bits"));
    expect(statistics.maps).toBe(1);
  });

  it("reports lines without a header, and cut ones", () => {
    const text = `garbage\n${header}ma\n             fio-198     [001] .....    18.47\n             fio-198     [0\n`;
    const { statistics } = read(text);
    expect(statistics.firstMalformed.map(({ line, reason }) => [line, reason])).toEqual([
      [1, "no event header (TASK-PID [CPU] timestamp: event:)"],
      [2, "the event header is incomplete"],
      [3, "the event header is incomplete"],
      [4, "no event header (TASK-PID [CPU] timestamp: event:)"],
    ]);
  });

  it("reports a last line cut anywhere, and reads a whole one without a line feed", () => {
    const unmap = `unmap: IOMMU: ${range} size=4096 unmapped_size=4096`;
    const dma = "dma_unmap_phys: D dir=TO_DEVICE dma_addr=fffff000 size=4096 attrs=";
    for (const line of [header + map, header + unmap, header + dma]) {
      expect(read(line).statistics.malformed).toBe(0);
      const end = line === header + dma ? line.length - " attrs=".length : line.length - 1;
      for (let length = 17; length <= end; length++) {
        const { statistics } = read(`${header}${map}\n${line.slice(0, length)}`);
        expect(
          statistics.firstMalformed.map((malformed) => malformed.line),
          line.slice(0, length),
        ).toEqual([2]);
      }
    }
  });

  it("does not take a whole list at the end of the file for a number that is cut", () => {
    const line = `${header}dma_unmap_sg: D dir=NONE phys_addrs={}`;
    for (const before of ["", `${header}${map}\n`]) {
      expect(read(before + line, {}, [before.length || line.length, line.length]).statistics.malformed).toBe(0);
    }
  });

  it("passes over a line longer than the buffer", () => {
    const text = `${header}${map}\n${"x".repeat(3 << 20)}\n${header}${map.replaceAll("map:", "unmap:")}\n`;
    const { statistics } = read(text, {}, [70_000]);
    expect(statistics.firstMalformed.map(({ line, reason }) => [line, reason])).toEqual([
      [2, "the line is longer than 1 MiB"],
      [3, "a field of the event is missing"],
    ]);
    expect(statistics.lines).toBe(3);
  });

  it("reads a scatterlist longer than the first buffer", () => {
    const list = Array.from({ length: 9000 }, (_, index) => `0x${(index * 4096).toString(16)}`).join(",");
    const sizes = Array.from({ length: 9000 }, () => "0x1000").join(",");
    const sg = `dma_map_sg: D dir=TO_DEVICE dma_addrs={${list}} sizes={${sizes}} phys_addrs={${list}} attrs=`;
    const { domains, operations } = read(
      `${header}${map.replaceAll(range, "iova=0x0000000000000000 - 0x0000000000001000")}\n${header}${sg}\n`,
    );
    expect(domains).toEqual(["D"]);
    expect(operations).toHaveLength(1);
  });

  it("stops at the first with strict, after what came before it", () => {
    const trace = new TraceText().map({}, 0x10000, 0x8000).map({ cpu: 1 }, 0x20000, 0x9000);
    let count = 0;
    const reader = new TraceReader(newInstance(), { strict: true, onBatch: (batch) => (count += batch.count) });
    const bytes = new TextEncoder().encode(`${trace.text()}${header}map: nothing\n${trace.text()}`);
    let error: unknown;
    try {
      reader.push(bytes);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toBeInstanceOf(TraceError);
    expect(error).toMatchObject({ code: "malformed", line: 3, reason: "a field of the event is missing" });
    expect((error as TraceError).message).toBe("line 3: a field of the event is missing");
    expect(count).toBe(2);
    reader.close();
  });
});

describe("options", () => {
  it("rejects an empty window and an empty batch", () => {
    const instance = newInstance();
    expect(() => new TraceReader(instance, { from: 2, to: 2, onBatch() {} })).toThrow(TraceError);
    expect(() => new TraceReader(instance, { batchSize: 0, onBatch() {} })).toThrow("batchSize");
  });

  it("lets the receiver of a batch grow linear memory", () => {
    const instance = newInstance();
    const trace = new TraceText();
    for (let index = 0; index < 900; index++) {
      trace.map({}, 0x10000, 0x8000).dmaMap({}, "D", 0x10000, 4096, 0x8000);
      trace.unmap({}, 0x10000).dmaUnmap({}, "D", 0x10000, 4096);
    }
    let count = 0;
    const reader = new TraceReader(instance, {
      batchSize: 10,
      onBatch(batch) {
        count += batch.count;
        instance.memory.grow(1);
      },
    });
    reader.push(new TextEncoder().encode(`${trace.text()}garbage\n`));
    const { maps, unmaps, firstMalformed } = reader.end();
    expect([maps, unmaps, count, firstMalformed[0].text]).toEqual([900, 900, 1800, "garbage"]);
    reader.close();
  });

  it("gives linear memory back", () => {
    const instance = newInstance();
    const readOnce = () => {
      const reader = new TraceReader(instance, { onBatch() {} });
      reader.push(new TextEncoder().encode(new TraceText().map({}, 0x10000, 0x8000).text()));
      reader.end();
      reader.close();
    };
    readOnce();
    const { byteLength } = instance.memory.buffer;
    for (let round = 0; round < 50; round++) readOnce();
    expect(instance.memory.buffer.byteLength).toBe(byteLength);
  });
});
