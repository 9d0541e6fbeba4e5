/** dma_buf_phys_vec_to_sgt() of 7.2: every range of a peer is linked at offset 0, so a second one cannot be. */
import { describe, expect, test } from "vitest";
import { mapPhysVec, type PhysVec, unmapPhysVec } from "../../src/dma/phys-vec.js";
import { dmaAddress } from "../../src/engine/addresses.js";
import { newEngine } from "../support/engine.js";
import { CONTEXT, FORMATS, fails, makeMachine, physical } from "./support.js";

const engine = await newEngine();

const MIB = 1n << 20n;
const TWO: readonly PhysVec[] = [
  { physical: physical(0x38_0000_0000n), length: 2n * MIB },
  { physical: physical(0x38_1000_0000n), length: 4n * MIB },
];

describe.each(FORMATS)("%s", (format) => {
  const granule = Number(engine.format(format).granule);

  test("the second link is refused, the first is undone", () => {
    const machine = makeMachine(engine, { format });
    const { device, iova } = machine;
    const arm = format.startsWith("vmsav8");
    const error = fails(machine, arm ? "EEXIST" : "EADDRINUSE", arm ? -17 : -98, () =>
      mapPhysVec(device, CONTEXT, TWO, "thru-host-bridge", "bidirectional"),
    );
    expect(error.operation).toContain("link 0x3810000000");
    expect(device.counters).toMatchObject({ maps: 1, unmaps: 1, iovaAllocations: 1, iotlbInvalidations: 1 });
    // 6 MiB were allocated, 2 MiB are said to be freed.
    expect(iova.freed.map(([, pages]) => pages * granule)).toEqual([2 * 2 ** 20]);
  });

  test("one range, and two when each is linked behind the other", () => {
    const { device, iova, table } = makeMachine(engine, { format });
    const one = mapPhysVec(device, CONTEXT, TWO.slice(0, 1), "thru-host-bridge", "to-device");
    unmapPhysVec(device, CONTEXT, one, "to-device");
    const two = mapPhysVec(device, CONTEXT, TWO, "thru-host-bridge", "to-device", "running");
    expect(two.segments.map(({ length }) => length)).toEqual([6n * MIB]);
    const [{ address }] = two.segments;
    expect(table.iovaToPhys(address)).toBe(TWO[0].physical);
    expect(table.iovaToPhys(dmaAddress(address + 2n * MIB))).toBe(TWO[1].physical);
    expect(device.counters.mmioBytes).toBe(8n * MIB);
    unmapPhysVec(device, CONTEXT, two, "to-device");
    expect(iova.live.size).toBe(0);
  });
});

test("a first link that fails leaves its range allocated, as the kernel's error path does", () => {
  const { device, iova, domain } = makeMachine(engine);
  const beyond = [{ physical: physical(1n << 60n), length: MIB }];
  expect(() => mapPhysVec(device, CONTEXT, beyond, "thru-host-bridge", "to-device")).toThrow("ERANGE");
  expect([iova.live.size, domain.states.size]).toEqual([1, 1]);
});

test("bus addresses take no IOVA; a peer out of reach is refused", () => {
  const machine = makeMachine(engine);
  const { device } = machine;
  const vec = [{ physical: physical(0x1000n), length: 0x1_0000_2000n, busOffset: 0x10_0000n }];
  const mapped = mapPhysVec(device, CONTEXT, vec, "bus-addr", "to-device");
  expect(mapped.segments).toEqual([
    { address: 0x10_1000n, length: 0xffff_f000n, busAddress: true },
    { address: 0x1_0010_0000n, length: 0x3000n, busAddress: true },
  ]);
  unmapPhysVec(device, CONTEXT, mapped, "to-device");
  expect(device.counters).toMatchObject({ iovaAllocations: 0, unmaps: 0 });
  fails(machine, "EINVAL", -22, () => mapPhysVec(device, CONTEXT, TWO, "not-supported", "to-device"));
});

test("without room for one range each is mapped by itself, or none", () => {
  const machine = makeMachine(engine, { device: { dmaMask: 0x3fffn } });
  const { device, iova } = machine;
  const page = (at: bigint): PhysVec => ({ physical: physical(at), length: 0x1000n });
  const three = [page(0x1000n), page(0x5000n), page(0x9000n)];
  const mapped = mapPhysVec(device, CONTEXT, three, "thru-host-bridge", "to-device");
  expect(mapped.segments.map(({ address }) => address)).toEqual([0x3000n, 0x2000n, 0x1000n]);
  unmapPhysVec(device, CONTEXT, mapped, "to-device");
  expect(iova.live.size).toBe(0);
  fails(machine, "ENOMEM", -12, () =>
    mapPhysVec(device, CONTEXT, [...three, page(0xd000n)], "thru-host-bridge", "to-device"),
  );
});
