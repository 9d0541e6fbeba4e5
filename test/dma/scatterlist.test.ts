/** iommu_dma_map_sg() and __finalise_sg(), worked by hand. */
import { describe, expect, test } from "vitest";
import { type DmaDeviceOptions, dmaAttributes, mapSg, type ScatterlistEntry, unmapSg } from "../../src/dma/index.js";
import { dmaAddress } from "../../src/engine/addresses.js";
import { newEngine } from "../support/engine.js";
import { CONTEXT, FORMATS, fails, makeMachine, misuses, physical } from "./support.js";

const engine = await newEngine();

function entry(at: bigint, length: bigint, rest: Partial<ScatterlistEntry> = {}): ScatterlistEntry {
  return { physical: physical(at), length, ...rest };
}

/** Lengths and places are in quarters of a granule; the place of a segment is counted from the start of the IOVA. */
interface LayOut {
  readonly title: string;
  readonly entries: readonly (readonly [at: number, length: number])[];
  readonly segments: readonly (readonly [at: number, length: number])[];
  /** Granules of IOVA. */
  readonly granules: number;
  readonly device?: (granule: bigint) => Partial<DmaDeviceOptions>;
}

const LAY_OUTS: readonly LayOut[] = [
  {
    title: "whole granules become one segment, wherever they lie",
    entries: [
      [400, 8],
      [40, 4],
      [800, 12],
    ],
    segments: [[0, 24]],
    granules: 6,
  },
  {
    title: "an end inside a granule ends the segment",
    entries: [
      [400, 5],
      [40, 4],
    ],
    segments: [
      [0, 5],
      [8, 4],
    ],
    granules: 3,
  },
  {
    title: "a start inside a granule begins a segment, as far into it as in memory",
    entries: [
      [400, 8],
      [43, 5],
      [80, 4],
    ],
    segments: [
      [0, 8],
      [11, 9],
    ],
    granules: 5,
  },
  {
    title: "the offset above the granule counts for nothing",
    entries: [[4097, 1]],
    segments: [[1, 1]],
    granules: 1,
  },
  {
    title: "no segment grows beyond the longest",
    entries: [
      [400, 8],
      [40, 4],
      [800, 4],
    ],
    segments: [
      [0, 12],
      [12, 4],
    ],
    granules: 4,
    device: (granule) => ({ maxSegmentSize: 3n * granule }),
  },
  {
    title: "a segment ends at a boundary",
    entries: [
      [400, 8],
      [40, 8],
      [800, 4],
    ],
    segments: [
      [0, 16],
      [16, 4],
    ],
    granules: 5,
    device: (granule) => ({ segmentBoundaryMask: 4n * granule - 1n }),
  },
  {
    title: "what would cross a boundary moves behind it",
    entries: [
      [400, 12],
      [40, 8],
    ],
    segments: [
      [0, 12],
      [16, 8],
    ],
    granules: 6,
    device: (granule) => ({ segmentBoundaryMask: 4n * granule - 1n }),
  },
];

describe.each(FORMATS)("%s", (format) => {
  test.each(LAY_OUTS)("$title", ({ entries, segments, granules, device: options }) => {
    const quarter = engine.format(format).granule / 4n;
    const device = { maxSegmentSize: 64n * quarter, ...options?.(4n * quarter) };
    const machine = makeMachine(engine, { format, device });
    const list = entries.map(([at, length]) => entry(BigInt(at) * quarter, BigInt(length) * quarter));
    const mapped = mapSg(machine.device, CONTEXT, list, "bidirectional");
    const [[pfn, pages]] = [...machine.iova.live];
    expect(pages).toBe(granules);
    const base = BigInt(pfn) * 4n * quarter;
    expect(mapped.segments).toEqual(
      segments.map(([at, length]) => ({
        address: base + BigInt(at) * quarter,
        length: BigInt(length) * quarter,
        busAddress: false,
      })),
    );
    // Walking the segments gives the bytes of the entries, in order.
    const expected = list.flatMap(({ physical: at, length }) =>
      Array.from({ length: Number(length / quarter) }, (_, i) => at + BigInt(i) * quarter),
    );
    const seen = mapped.segments.flatMap(({ address, length }) =>
      Array.from({ length: Number(length / quarter) }, (_, i) =>
        machine.table.iovaToPhys(dmaAddress(address + BigInt(i) * quarter)),
      ),
    );
    expect(seen).toEqual(expected);
    unmapSg(machine.device, CONTEXT, mapped, "bidirectional");
    expect(machine.iova.live.size).toBe(0);
    expect([...machine.table.counters.leaves.values()].every((count) => count === 0)).toBe(true);
    expect(machine.device.counters).toMatchObject({ maps: 1, unmaps: 1, iovaAllocations: 1, iotlbInvalidations: 1 });
  });
});

test("neighbours in memory share large leaves", () => {
  const { device, table } = makeMachine(engine);
  const half = 1n << 20n;
  mapSg(device, CONTEXT, [entry(1n << 30n, half), entry((1n << 30n) + half, half)], "to-device");
  expect(table.counters.leaves.get(1n << 21n)).toBe(1);
});

test("memory of peers: bus addresses take no IOVA, the host bridge is MMIO", () => {
  const { device, iova, table } = makeMachine(engine);
  const entries = [
    entry(0x10_0000n, 0x1000n),
    entry(0xe000_0000n, 0x2000n, { p2p: "bus-addr", busOffset: 0x1000_0000n }),
    entry(0xd000_0000n, 0x1000n, { p2p: "thru-host-bridge" }),
  ];
  const mapped = mapSg(device, CONTEXT, entries, "bidirectional");
  expect(mapped.segments).toEqual([
    { address: 0xffff_e000n, length: 0x1000n, busAddress: false },
    { address: 0xf000_0000n, length: 0x2000n, busAddress: true },
    { address: 0xffff_f000n, length: 0x1000n, busAddress: false },
  ]);
  expect([...iova.live]).toEqual([[0xffffe, 2]]);
  expect(table.iovaToPhys(dmaAddress(0xffff_f000n))).toBe(0xd000_0000n);
  expect(device.counters.mmioBytes).toBe(0x1000n);
  unmapSg(device, CONTEXT, mapped, "bidirectional");
  expect(iova.live.size).toBe(0);
});

test("a list of bus addresses only maps nothing", () => {
  const { device, iova, domain } = makeMachine(engine);
  const mapped = mapSg(device, CONTEXT, [entry(0xe000_0000n, 0x1000n, { p2p: "bus-addr" })], "to-device");
  expect([iova.live.size, domain.live.size, device.counters.iovaAllocations]).toEqual([0, 0, 0]);
  unmapSg(device, CONTEXT, mapped, "to-device");
  expect(device.counters.iotlbInvalidations).toBe(0);
});

const PAGE = entry(0x1000n, 0x1000n);

test.each<[Parameters<typeof fails>[1], number, string, Partial<DmaDeviceOptions>, ScatterlistEntry[]]>([
  ["EREMOTEIO", -121, "a peer out of reach", {}, [PAGE, entry(0n, 0x1000n, { p2p: "not-supported" })]],
  ["ENOMEM", -12, "no IOVA", { dmaMask: 0x1fffn }, [PAGE, PAGE]],
  ["EINVAL", -22, "no dma_mask", { dmaMask: null }, [PAGE]],
  ["EINVAL", -22, "the second range is beyond an entry's width", {}, [PAGE, entry(1n << 60n, 0x1000n)]],
  ["EOPNOTSUPP", -95, "coherence that is not there", { coherent: false }, [PAGE]],
])("%s (%i): %s", (code, errno, _, options, entries) => {
  const machine = makeMachine(engine, { device: options });
  const attributes = options.coherent === false ? dmaAttributes("REQUIRE_COHERENT") : dmaAttributes();
  fails(machine, code, errno, () => mapSg(machine.device, CONTEXT, entries, "to-device", attributes));
});

test("of an untrusted device every entry is mapped by itself, and a failure takes all back", () => {
  const swiotlb = { bytes: 256n << 10n };
  const machine = makeMachine(engine, { host: { swiotlb }, device: { untrusted: true } });
  const { device, iova, host } = machine;
  const mapped = mapSg(device, CONTEXT, [PAGE, entry(0x8200n, 0x100n), PAGE], "from-device");
  expect(mapped.segments.map(({ length }) => length)).toEqual([0x1000n, 0x100n, 0x1000n]);
  expect([...iova.live.values()]).toEqual([1, 1, 1]);
  expect(host.swiotlb.usedSlots).toBe(2);
  fails(machine, "EIO", -5, () =>
    mapSg(device, CONTEXT, [entry(0x200n, 0x100n), entry(0x200n, 0x4_0000n)], "to-device"),
  );
  unmapSg(device, CONTEXT, mapped, "from-device");
  expect([iova.live.size, host.swiotlb.usedSlots]).toEqual([0, 0]);
  // In at both maps of an unaligned entry, out at the one unmap that was not a roll-back.
  expect(device.counters.bouncedBytes).toBe(0x100n + 0x100n + 0x100n);
});

test("a list is taken back once, as it was mapped, by who mapped it", () => {
  const machine = makeMachine(engine);
  const other = makeMachine(engine, { device: { name: "eth0" } }).device;
  const { device } = machine;
  const mapped = mapSg(device, CONTEXT, [PAGE, PAGE], "to-device");
  misuses(machine, "foreign-device", () => unmapSg(other, CONTEXT, mapped, "to-device"));
  misuses(machine, "wrong-direction", () => unmapSg(device, CONTEXT, mapped, "bidirectional"));
  misuses(machine, "wrong-attributes", () => unmapSg(device, CONTEXT, mapped, "to-device", dmaAttributes("MMIO")));
  misuses(machine, "invalid", () => mapSg(device, CONTEXT, [], "to-device"));
  misuses(machine, "invalid", () => mapSg(device, CONTEXT, [PAGE, entry(0n, 0n)], "to-device"));
  unmapSg(device, CONTEXT, mapped, "to-device");
  misuses(machine, "not-allocated", () => unmapSg(device, CONTEXT, mapped, "to-device"));
});
