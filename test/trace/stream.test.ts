import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { TraceError } from "../../src/trace/errors.js";
import { openTrace } from "../../src/trace/open.js";
import { type OperationBatch, TraceReader } from "../../src/trace/reader.js";
import { check, decode, newInstance, read, summary, TraceText, type Where } from "./support.js";

const fixtures = fileURLToPath(new URL("../fixtures/traces/", import.meta.url));
const shared = fileURLToPath(new URL("../../../shared/", import.meta.url));
const fixture = (name: string) => gunzipSync(readFileSync(join(fixtures, name)));
const scratch = mkdtempSync(join(tmpdir(), "iommu-lab-trace-"));
afterAll(() => rmSync(scratch, { recursive: true }));

/** Pages of all map lines, found without the reader. */
function pagesOfMaps(text: Buffer): number {
  let pages = 0;
  for (const [, size] of text.toString("latin1").matchAll(/ (?:iommu:)?map: .*size=(\d+)/g))
    pages += Number(size) / 4096;
  return pages;
}

describe("fixtures", () => {
  // name, lines, map lines, allocations, domains
  it.each([
    ["vtd-vfio.trace.gz", 19459, 14137, 2352, 6],
    ["smmuv3-nvme.trace.gz", 65400, 24117, 14446, 2],
    ["trace_pipe.txt.gz", 400, 102, 102, 1],
    ["perf-script.txt.gz", 400, 102, 102, 1],
    ["trace-cmd-report.txt.gz", 401, 101, 101, 1],
    ["noirqinfo.trace.gz", 406, 100, 100, 1],
    ["overrun-tgid.trace.gz", 620, 151, 151, 1],
  ])("%s gives a consistent stream", (name, lines, maps, allocations, domains) => {
    const text = fixture(name);
    const { operations, statistics } = read(text);
    const { live, mappedPages } = check(operations);
    expect(statistics.firstMalformed).toEqual([]);
    expect(mappedPages).toBe(pagesOfMaps(text));
    expect([mappedPages, live]).toEqual([statistics.mappedPages, statistics.liveAtEnd]);
    expect([lines, maps, allocations, domains]).toEqual([
      statistics.lines,
      statistics.maps,
      statistics.allocations,
      statistics.domains,
    ]);
  });

  it("tells what an overrun ring lost", () => {
    const { statistics } = read(fixture("overrun-tgid.trace.gz"));
    expect([statistics.lostEvents, statistics.unmapsOfUnknown]).toEqual([3074, 2]);
  });
});

// Allocations of facts/linux-iova.md's table, found there by other means.
const ALLOCATIONS: Record<string, number> = {
  "vtd-7.2-net-virtio-strict": 12024,
  "vtd-7.2-net-e1000e-strict": 28755,
  "vtd-7.2-mixed-strict": 48708,
  "vtd-7.2-nvme-4k-rand-strict": 60023,
  "vtd-7.2-nvme-bs-sweep-strict": 24612,
  "vtd-7.2-nvme-seq-strict": 12311,
  "vtd-7.2-dmabench-strict": 4618,
  "vtd-6.12-nvme-4k-rand-strict": 30023,
  "vtd-6.12-nvme-seq-strict": 12311,
  "smmuv3-7.2-mixed-strict": 29113,
  "smmuv3-7.2-nvme-strict": 14446,
};

describe.skipIf(!existsSync(join(shared, "traces")))("recorded traces", () => {
  const files = existsSync(join(shared, "traces"))
    ? [
        ...readdirSync(join(shared, "traces")).map((name) => join("traces", name)),
        ...readdirSync(join(shared, "traces/formats")).map((name) => join("traces/formats", name)),
      ].filter((name) => name.endsWith(".gz"))
    : [];
  it.each(files)("%s gives a consistent stream", (file) => {
    const text = gunzipSync(readFileSync(join(shared, file)));
    const { operations, statistics } = read(text, /nvme/.test(file) ? { device: "0000:01:00.0" } : {});
    const { live, mappedPages } = check(operations);
    expect([statistics.malformed, statistics.conflicts]).toEqual([0, 0]);
    expect(mappedPages).toBe(statistics.mappedPages);
    expect(live).toBe(statistics.liveAtEnd);
    const expected = ALLOCATIONS[file.replace("traces/", "").replace(".trace.gz", "")];
    if (expected !== undefined) expect(statistics.allocations).toBe(expected);
  });
});

describe("chunks", () => {
  it("may be cut anywhere", () => {
    const text = fixture("overrun-tgid.trace.gz").subarray(0, 20_000);
    const whole = read(text);
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 8 }), (sizes) => {
        const { operations, statistics } = read(text, {}, sizes);
        expect(operations).toEqual(whole.operations);
        expect(statistics).toEqual(whole.statistics);
      }),
      { numRuns: 30 },
    );
    expect(read(text, {}, [1]).operations).toEqual(whole.operations);
  });

  it("and batches do not change what is read", () => {
    const text = fixture("vtd-vfio.trace.gz");
    const whole = read(text);
    const odd = read(text, { batchSize: 7 }, [65_535, 3, 100_001]);
    expect(odd.batches.slice(0, -1).every(({ count }) => count === 7)).toBe(true);
    expect(odd.operations).toEqual(whole.operations);
    expect(odd.statistics).toEqual(whole.statistics);
  });
});

describe("files", () => {
  const text = Buffer.from(fixture("trace_pipe.txt.gz"));
  const write = (name: string, content: Uint8Array) => {
    const path = join(scratch, name);
    writeFileSync(path, content);
    return path;
  };
  const load = async (source: string | AsyncIterable<Uint8Array>) => {
    const chunks: Uint8Array[] = [];
    for await (const chunk of openTrace(source)) chunks.push(chunk);
    return Buffer.concat(chunks);
  };

  it("may be plain, gzip whatever the name, of several members, or empty", async () => {
    expect(await load(write("plain.gz", text))).toEqual(text);
    expect(await load(write("packed.txt", gzipSync(text)))).toEqual(text);
    const members = Buffer.concat([gzipSync(text.subarray(0, 5000)), gzipSync(text.subarray(5000))]);
    expect(await load(write("members.gz", members))).toEqual(text);
    expect(await load(write("empty", new Uint8Array(0)))).toHaveLength(0);
    expect(await load(write("byte", new Uint8Array([0x1f])))).toHaveLength(1);
  });

  it("tell how much of them was read, as they are stored", async () => {
    const packed = gzipSync(text);
    for (const content of [text, packed]) {
      const reads: number[] = [];
      for await (const _ of openTrace(write("counted", content), (bytes) => reads.push(bytes)));
      expect(reads.reduce((sum, bytes) => sum + bytes, 0)).toBe(content.length);
    }
  });

  it("may come byte by byte from elsewhere", async () => {
    async function* bytes(): AsyncGenerator<Uint8Array> {
      for (const byte of gzipSync(text)) yield new Uint8Array([byte]);
    }
    expect(await load(bytes())).toEqual(text);
  });

  it("that end too early deliver what they have, then an error that names them", async () => {
    const packed = gzipSync(text);
    const path = write("cut.gz", packed.subarray(0, packed.length >> 1));
    const batches: OperationBatch[] = [];
    const reader = new TraceReader(newInstance(), { onBatch: (batch) => batches.push(batch) });
    const reading = async () => {
      for await (const chunk of openTrace(path)) reader.push(chunk);
    };
    await expect(reading()).rejects.toMatchObject({
      name: "TraceError",
      code: "gzip",
      file: path,
      message: `${path}: the gzip data ends too early`,
    });
    reader.end();
    reader.close();
    const whole = read(text).operations;
    const operations = decode(batches);
    expect(operations.length).toBeGreaterThan(20);
    expect(summary(operations)).toEqual(summary(whole).slice(0, operations.length));
  });

  it("that are damaged or missing are typed errors", async () => {
    const packed = gzipSync(text);
    packed.fill(0xff, packed.length >> 1, (packed.length >> 1) + 40);
    await expect(load(write("damaged.gz", packed))).rejects.toMatchObject({ code: "gzip" });
    const missing = join(scratch, "missing");
    await expect(load(missing)).rejects.toThrow(TraceError);
    await expect(load(missing)).rejects.toMatchObject({ code: "open", file: missing });
  });
});

// A model of several contexts that map, print and unmap; the reader must find exactly the model's allocations.
interface Planned {
  device: number;
  named: "phys" | "sg" | "alloc" | "no";
  pages: number;
  map: Where;
  unmap: Where;
  unmapped: boolean;
}

const planned: fc.Arbitrary<Planned> = fc.record({
  device: fc.integer({ min: 0, max: 2 }),
  named: fc.constantFrom("phys", "sg", "alloc", "no"),
  pages: fc.integer({ min: 1, max: 5 }),
  map: fc.constantFrom<Where>(
    { task: "a-1", cpu: 0 },
    { task: "b-2", cpu: 1 },
    { task: "a-1", cpu: 0, flags: "..s1." },
  ),
  unmap: fc.constantFrom<Where>(
    { task: "a-1", cpu: 0, flags: "d.h1." },
    { task: "b-2", cpu: 1, flags: "d.h1." },
    { task: "c-3", cpu: 1 },
  ),
  unmapped: fc.boolean(),
});

const sameContext = (one: Where, other: Where) =>
  one.task === other.task && one.cpu === other.cpu && (one.flags ?? ".") === (other.flags ?? ".");

describe("random traces", () => {
  it("are recovered exactly", () => {
    fc.assert(
      fc.property(fc.array(planned, { minLength: 1, maxLength: 40 }), fc.infiniteStream(fc.nat()), (plans, choices) => {
        const trace = new TraceText();
        const choose = (count: number) => (choices.next().value as number) % count;
        let unnamedIova = 0x40000000;
        const expected: string[] = [];
        // Steps of an allocation's life; contexts print one call's lines together, other contexts in between.
        type Step = { where: Where; print: () => void };
        const lives: Step[][] = plans.map((plan, index) => {
          const device = `0000:0${plan.device}:00.0`;
          // Each allocation has its own IOVA apart from its neighbours, the same for every device.
          const unnamed = plan.named === "no";
          // The same IOVAs for every device; unnamed allocations follow each other, so that they run together.
          const iova = unnamed ? unnamedIova : 0x100000 + Math.floor(index / 3) * 0x18000;
          if (unnamed) unnamedIova += plan.pages * 4096;
          const physical = Array.from({ length: plan.pages }, (_, page) => 0x1000000 + (index * 16 + page * 2) * 4096);
          const size = plan.pages * 4096;
          const steps: Step[] = [];
          const add = (where: Where, print: () => void) => steps.push({ where, print });
          const one = plan.named === "phys";
          if (one) {
            add(plan.map, () => trace.map(plan.map, iova, physical[0], plan.pages));
            add(plan.map, () => trace.dmaMap(plan.map, device, iova + 5, size - 9, physical[0] + 5));
          } else {
            for (const [page, at] of physical.entries()) {
              add(plan.map, () => trace.map(plan.map, iova + page * 4096, at));
            }
            if (plan.named === "sg")
              add(plan.map, () => trace.dmaMapSg(plan.map, device, iova + 3, size - 3, physical));
            if (plan.named === "alloc") {
              const tail = `dma_addr=${iova.toString(16)} size=${size} virt_addr=00000000ada25b8b flags=GFP_KERNEL attrs=`;
              add(plan.map, () => trace.line(plan.map, `dma_alloc: ${device} dir=BIDIRECTIONAL ${tail}`));
            }
          }
          const calls = steps.length;
          if (plan.unmapped || unnamed) {
            const unmap = () => trace.unmap(plan.unmap, iova, plan.pages);
            if (plan.named === "sg") add(plan.unmap, () => trace.dmaUnmapSg(plan.unmap, device, physical));
            if (plan.named === "alloc") {
              const tail = `dma_addr=${iova.toString(16)} size=${size} virt_addr=00000000ada25b8b attrs=`;
              add(plan.unmap, () => trace.line(plan.unmap, `dma_free: ${device} dir=BIDIRECTIONAL ${tail}`));
            }
            add(plan.unmap, unmap);
            if (one) add(plan.unmap, () => trace.dmaUnmap(plan.unmap, device, iova + 5, size - 9));
          }
          const owner = plan.named === "no" ? "-" : device;
          expected.push(`${owner} ${iova.toString(16)} ${one ? 1 : plan.pages} ${size} ${plan.unmapped || unnamed}`);
          return Object.assign(steps, { calls });
        });
        // Within a device the IOVA must be free; the model lets one allocation of an IOVA and device live at a time.
        const key = (plan: Planned, index: number) =>
          plan.named === "no" ? `no${index}` : `${plan.device} ${Math.floor(index / 3)}`;
        const holders = new Map<string, number>();
        const busy: { where: Where; life: number }[] = [];
        const at = plans.map(() => 0);
        let left = lives.length;
        for (let guard = 0; left > 0 && guard < 5000; guard++) {
          const ready = lives.flatMap((life, index) => {
            if (at[index] >= life.length) return [];
            const { where } = life[at[index]];
            const holder = busy.find((other) => sameContext(other.where, where));
            if (holder !== undefined && holder.life !== index) return [];
            // What was begun on a context's CPU at an interrupt level must finish before a lower level runs there.
            const above = busy.some(
              ({ where: other, life: owner }) =>
                owner !== index && other.cpu === where.cpu && level(other) >= level(where),
            );
            if (above) return [];
            const same = holders.get(key(plans[index], index));
            if (at[index] === 0 && same !== undefined) return [];
            return [index];
          });
          if (ready.length === 0) break;
          const index = ready[choose(ready.length)];
          const life = lives[index] as Step[] & { calls: number };
          const step = life[at[index]];
          if (at[index] === 0) holders.set(key(plans[index], index), index);
          step.print();
          at[index]++;
          const position = busy.findIndex(({ life: owner }) => owner === index);
          if (position >= 0) busy.splice(position, 1);
          const callEnds = at[index] === life.calls || at[index] === life.length;
          if (!callEnds) busy.push({ where: step.where, life: index });
          if (at[index] === life.length) {
            left--;
            if (plans[index].unmapped || plans[index].named === "no") holders.delete(key(plans[index], index));
          }
        }
        const printed = expected.filter((_, index) => at[index] === lives[index].length);
        // An allocation that never got its turn is no part of the trace; one that is half printed would be an error here.
        fc.pre(at.every((steps, index) => steps === 0 || steps === lives[index].length));
        const { operations, domains, statistics } = read(trace.text());
        const { live } = check(operations);
        expect(live).toBe(statistics.liveAtEnd);
        const unmapped = new Map<number, number>();
        const found: string[] = [];
        operations.forEach((operation, index) => {
          if (operation.kind !== "map") return;
          const end = operations.findIndex(
            (other, later) => later > index && other.kind === "unmap" && other.slot === operation.slot,
          );
          if (end >= 0) {
            const whole = operations[end];
            expect([whole.kind === "unmap" && whole.offset, whole.length]).toEqual([0n, operation.length]);
            unmapped.set(index, end);
          }
          const owner = domains[operation.domain] ?? "-";
          const { iova, pieces, length } = operation;
          found.push(`${owner} ${iova.toString(16)} ${pieces.length} ${length} ${end >= 0}`);
        });
        expect(found.sort()).toEqual(printed.sort());
        expect([statistics.conflicts, statistics.unmapsOfUnknown, statistics.malformed]).toEqual([0, 0, 0]);
      }),
      { numRuns: 150 },
    );
  });
});

function level({ flags }: Where): number {
  return flags === undefined ? 0 : flags[2] === "s" ? 1 : 2;
}
