import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { runWorkload, type Workload, type WorkloadOptions } from "../../src/workloads/workload.js";
import { findWorkload, workloads } from "../../src/workloads/workloads.js";
import type { WorkloadBatch, WorkloadStatistics } from "../../src/workloads/writer.js";
import { refused } from "../support/errors.js";
import { decode, type Operation } from "../trace/support.js";

const GIB = 2n ** 30n;
const HUGE = 2n ** 21n;

interface Run {
  readonly operations: Operation[];
  readonly virtualAddresses: bigint[];
  readonly statistics: WorkloadStatistics;
}

function run(workload: Workload, options: WorkloadOptions = {}): Run {
  const batches: WorkloadBatch[] = [];
  const statistics = runWorkload(workload, options, (batch) => batches.push(batch));
  const virtualAddresses = batches.flatMap((batch) => [...batch.virtualAddresses]);
  return { operations: decode(batches), virtualAddresses, statistics };
}

type Map = Operation & { kind: "map" };

function maps({ operations }: Run): Map[] {
  return operations.filter((operation): operation is Map => operation.kind === "map");
}

function forEachPage({ pieces }: Map, use: (page: number) => void): void {
  for (const { physical, length } of pieces) {
    const first = Number(physical / 4096n);
    const end = first + Number(length / 4096n);
    for (let page = first; page < end; page++) use(page);
  }
}

/** Counted once: operations, allocations, pieces, pages, live at the end; and what the stream hashes to. */
const PINNED: readonly (readonly [name: string, memory: string, figures: readonly number[], sha: string])[] = [
  ["rdma-mr", "fresh", [400, 266, 1811, 1032215, 132], "14e56e4401c390b2"],
  ["rdma-mr", "fragmented", [400, 266, 193770, 1032215, 132], "4abc02d2187bdd3c"],
  ["gpu-share", "fresh", [400, 271, 1573, 1310703, 142], "4240d1be9b07f28e"],
  ["gpu-share", "fragmented", [400, 271, 5576, 1310703, 142], "671772277b302ffe"],
  ["nvme", "fresh", [4000, 2068, 2235, 25453, 136], "0ee918c645d2181f"],
  ["nvme", "fragmented", [4000, 2068, 2374, 25453, 136], "7c5e2b286d148c25"],
  ["net-rx-ring", "fresh", [4000, 3283, 3283, 3283, 2566], "0361bfa842b7d1f0"],
  ["net-rx-ring", "fragmented", [4000, 3283, 3283, 3283, 2566], "8aec49cbe5c348b0"],
  ["vfio-guest", "fresh", [400, 245, 389, 1030004, 90], "de9c2b3cc601a73e"],
  ["vfio-guest", "fragmented", [400, 245, 162450, 1030004, 90], "764b899c634876d4"],
];

describe.each(workloads.map((workload) => [workload.name, workload] as const))("workload %s", (name, workload) => {
  const options = { operations: workload.operations / 5, memory: "fragmented" };
  const made = run(workload, options);

  it("delivers as many operations as asked for, each well formed", () => {
    const { operations, virtualAddresses, statistics } = made;
    const live = new Map<number, { domain: number; length: bigint }>();
    const wrong: unknown[] = [];
    let pieces = 0;
    let bytes = 0n;
    operations.forEach((operation, index) => {
      const { domain, slot, length, line } = operation;
      const before = live.get(slot);
      if (line !== index + 1 || domain >= workload.domains.length) wrong.push(operation);
      if (operation.kind === "unmap") {
        const whole = before?.domain === domain && before.length === length && operation.offset === 0n;
        if (!whole || virtualAddresses[index] !== 0n) wrong.push(operation);
        live.delete(slot);
        return;
      }
      const total = operation.pieces.reduce((sum, piece) => sum + piece.length, 0n);
      const aligned = operation.pieces.every(
        ({ physical, length }) => physical % 4096n === 0n && length % 4096n === 0n,
      );
      if (before !== undefined || total !== length || !aligned) wrong.push(operation);
      live.set(slot, { domain, length });
      pieces += operation.pieces.length;
      bytes += length;
    });
    expect(wrong).toEqual([]);
    expect(virtualAddresses).toHaveLength(options.operations);
    expect(statistics).toEqual({
      operations: options.operations,
      allocations: maps(made).length,
      pieces,
      mappedPages: Number(bytes / 4096n),
      liveAtEnd: live.size,
    });
    expect(live.size).toBeGreaterThan(0);
  });

  it("has each page of memory in one live mapping of a domain", () => {
    const live = new Map<number, Map>();
    const used = workload.domains.map(() => new Set<number>());
    const twice: Operation[] = [];
    for (const operation of made.operations) {
      const pages = used[operation.domain];
      if (operation.kind === "unmap") {
        forEachPage(live.get(operation.slot) as Map, (page) => pages.delete(page));
        continue;
      }
      live.set(operation.slot, operation);
      const before = pages.size;
      forEachPage(operation, (page) => pages.add(page));
      if (pages.size - before !== Number(operation.length / 4096n)) twice.push(operation);
    }
    expect(twice).toEqual([]);
  });

  it("is another for another seed; more operations go on where fewer ended", () => {
    const few = { memory: "fresh", memoryBytes: 2 ** 33, operations: 100 };
    const { operations } = run(workload, few);
    expect(run(workload, { ...few, seed: 2 }).operations).not.toEqual(operations);
    expect(run(workload, { ...few, operations: 50 }).operations).toEqual(operations.slice(0, 50));
  });

  it.each(["aged", "fragmented"])("has the same lengths and lifetimes in fresh and %s memory", (other) => {
    const shape = (memory: string) =>
      run(workload, { memory, memoryBytes: 2 ** 33, operations: 60 }).operations.map(
        ({ kind, domain, slot, length }) => [...[kind, domain, slot, length]],
      );
    expect(shape(other)).toEqual(shape("fresh"));
  });

  it.each(PINNED.filter(([of]) => of === name))(
    "%s, %s memory: the same on every machine",
    (_, memory, figures, sha) => {
      const hash = createHash("sha256");
      const operations = workload.operations / 5;
      const statistics = runWorkload(workload, { memory, operations }, (batch) => {
        hash.update(batch.operations).update(batch.pieces);
        hash.update(new Uint8Array(batch.virtualAddresses.buffer, 0, batch.virtualAddresses.byteLength));
      });
      expect(Object.values(statistics)).toEqual(figures);
      expect(hash.digest("hex").slice(0, 16)).toBe(sha);
    },
  );
});

const rdma = run(findWorkload("rdma-mr"), { memory: "aged" });

describe("rdma-mr", () => {
  it("has regions of 64 KiB to 128 MiB, a twentieth of them 100 MiB, at most 2 GiB at a time", () => {
    const lengths = maps(rdma).map(({ length }) => length);
    for (const length of lengths) {
      expect(length >= 2n ** 16n && length <= 2n ** 27n).toBe(true);
    }
    const examples = lengths.filter((length) => length === 100n * 2n ** 20n).length;
    expect(Math.abs(examples / lengths.length - 1 / 20)).toBeLessThan(0.02);
    expect(peak(rdma.operations)).toBeLessThanOrEqual(2n * GIB);
  });

  it("backs aligned virtual 2 MiB with huge pages or single ones: VA = PA modulo 2 MiB in long pieces", () => {
    let congruent = 0;
    rdma.operations.forEach((operation, index) => {
      if (operation.kind === "unmap") return;
      let address = rdma.virtualAddresses[index];
      expect(address >> 47n).toBe(0n);
      for (const { physical, length } of operation.pieces) {
        if (length === HUGE && (address - physical) % HUGE === 0n) congruent++;
        address += length;
      }
    });
    expect(congruent).toBeGreaterThan(1000);
  });

  it("begins one page into a huge page where it is the example", () => {
    const starts = rdma.operations.flatMap((operation, index) =>
      operation.kind === "map" && operation.length === 100n * 2n ** 20n ? [rdma.virtualAddresses[index] % HUGE] : [],
    );
    expect(new Set(starts)).toEqual(new Set([4096n]));
  });
});

describe("gpu-share", () => {
  const shared = run(findWorkload("gpu-share"));
  const NIC = 2;
  const inVram = ({ pieces }: Map) => pieces[0].physical >= 2n ** 40n;

  it("maps system memory for two importers with the same pages, and VRAM for the one that does not export it", () => {
    const all = maps(shared);
    for (let index = 0; index < all.length; index++) {
      const operation = all[index];
      if (inVram(operation)) {
        const exporter = operation.pieces[0].physical < 2n ** 40n + 16n * GIB ? 0 : 1;
        expect(operation.domain).not.toBe(exporter);
        expect(operation.length % 2n ** 16n).toBe(0n);
      } else {
        const other = all[++index];
        if (other === undefined) break;
        expect(other.pieces).toEqual(operation.pieces);
        expect(other.domain).not.toBe(operation.domain);
      }
    }
    expect(all.some(inVram)).toBe(true);
  });

  it("has frames of both sizes, and GPU addresses aligned to 64 KiB or 2 MiB", () => {
    const lengths = new Set(maps(shared).map(({ length }) => length));
    expect([1920n * 1080n * 4n, 3840n * 2160n * 4n].filter((length) => lengths.has(length))).toHaveLength(2);
    shared.operations.forEach(({ kind, domain, length }, index) => {
      if (kind === "unmap" || domain === NIC) return;
      expect(shared.virtualAddresses[index] % (length >= HUGE ? HUGE : 2n ** 16n)).toBe(0n);
    });
  });
});

describe("nvme", () => {
  const requests = run(findWorkload("nvme"));

  it("maps its queues, then at most 128 requests of at most 128 KiB at a time", () => {
    const queues = maps(requests).slice(0, 8);
    expect(queues.map(({ length }) => length)).toEqual([1, 2, 3, 4].flatMap(() => [65536n, 16384n]));
    const live = new Set<number>();
    for (const { kind, slot, length } of requests.operations.slice(8)) {
      expect(length).toBeLessThanOrEqual(131072n);
      if (kind === "map") live.add(slot);
      else live.delete(slot);
      expect(live.size).toBeLessThanOrEqual(128);
    }
  });

  it("has half of its requests from a process, at the addresses of 128 buffers", () => {
    const direct = requests.virtualAddresses.filter((address) => address !== 0n);
    expect(Math.abs(direct.length / maps(requests).length - 1 / 2)).toBeLessThan(0.02);
    expect(new Set(direct).size).toBeLessThanOrEqual(128);
  });
});

describe("net-rx-ring", () => {
  const ring = run(findWorkload("net-rx-ring"));

  it("holds the paper's working set, 2 x cores x MTU x ring, beside 5 ring pages and one acknowledgement", () => {
    for (const { length } of ring.operations) expect(length).toBe(4096n);
    const workingSet = 2n * 5n * 4096n * 256n;
    expect(peak(ring.operations)).toBe(workingSet + 6n * 4096n);
  });

  it("unmaps 64 pages together and maps 64 new ones, then 8 acknowledgements by themselves", () => {
    const setUp = 5 + 5 * 512;
    const kinds = ring.operations.slice(setUp, setUp + 2 * 64 + 16).map(({ kind }) => kind);
    const [map, unmap] = ["map", "unmap"];
    expect(kinds).toEqual([
      ...new Array(64).fill(unmap),
      ...new Array(64).fill(map),
      ...[1, 2, 3, 4, 5, 6, 7, 8].flatMap(() => [map, unmap]),
    ]);
  });
});

describe("vfio-guest", () => {
  const guests = run(findWorkload("vfio-guest"));

  it("boots every guest with its sections of memory and two BARs", () => {
    for (const domain of [0, 1, 2]) {
      const boot = maps(guests).slice(domain * 5, domain * 5 + 5);
      expect(boot.map((operation) => operation.domain)).toEqual(new Array(5).fill(domain));
      const [low, bios, high, registers, memory] = boot.map(({ length }) => length);
      expect([low, bios, registers, memory]).toEqual([0xa0000n, 0x40000n, 16384n, 2n ** 28n]);
      expect([2n ** 28n, 2n ** 29n, 2n ** 30n]).toContain(high + 2n ** 20n);
      for (const { pieces, length } of boot.slice(3)) {
        expect(pieces).toHaveLength(1);
        expect(pieces[0].physical % length).toBe(0n);
      }
    }
  });

  it("plugs blocks of 2 MiB, and restarts guests", () => {
    const later = maps(guests).slice(15);
    const blocks = later.filter(({ length }) => length === HUGE).length;
    expect(blocks / later.length).toBeGreaterThan(0.9);
    expect(later.filter(({ length }) => length === 0xa0000n).length).toBeGreaterThan(0);
  });
});

describe("options", () => {
  const workload = findWorkload("net-rx-ring");

  it.each<[string, WorkloadOptions, RegExp]>([
    ["a negative seed", { seed: -1 }, /seed -1.*below 2\^32/],
    ["a seed of 33 bits", { seed: 2 ** 32 }, /seed 4294967296/],
    ["no operations", { operations: 0 }, /0 operations/],
    ["half an operation", { operations: 0.5 }, /0.5 operations/],
    ["an unknown state of memory", { memory: "new" }, /"new".*fresh/],
    ["too little memory", { memoryBytes: 2 ** 25 }, /33554432 bytes/],
    ["too much memory", { memoryBytes: 2 ** 37 }, /64 GiB/],
    ["memory of no whole block", { memoryBytes: 2 ** 30 + 4096 }, /multiple of 4 MiB/],
  ])("%s is refused before anything is delivered", (_, options, message) => {
    const error = refused("invalid", () =>
      runWorkload(workload, options, () => {
        throw new Error("delivered");
      }),
    );
    expect(error.message).toMatch(message);
  });

  it("buffers that do not fit into the memory are refused, naming it", () => {
    const error = refused("memory-exhausted", () =>
      runWorkload(findWorkload("rdma-mr"), { memoryBytes: 2 ** 28 }, () => {}),
    );
    expect(error.message).toMatch(/65536 pages/);
  });

  it("an unknown workload is refused with the names there are", () => {
    expect(refused("invalid", () => findWorkload("disk")).message).toMatch(/rdma-mr, gpu-share, nvme/);
  });
});

/** Most bytes mapped at a time. */
function peak(operations: readonly Operation[]): bigint {
  let live = 0n;
  let most = 0n;
  for (const { kind, length } of operations) {
    live += kind === "map" ? length : -length;
    if (live > most) most = live;
  }
  return most;
}
