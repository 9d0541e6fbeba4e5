/** What a driver may put into its device, on both architectures. */
import { beforeEach, describe, expect, test } from "vitest";
import {
  type AddressMisuse,
  AddressMisuseError,
  DmaDevice,
  DmaHost,
  type DmaRange,
  type MemoryRange,
  mapMemory,
  type OwnedRange,
  PfnAgreement,
  type PrivateRange,
  unmapMemory,
} from "../../src/dma/index.js";
import { DefaultDomain } from "../../src/domain/default-domain.js";
import { IommuDomain } from "../../src/domain/domain.js";
import { IommuGroup } from "../../src/domain/group.js";
import type { RemappingDriver } from "../../src/domain/remapping-driver.js";
import { SmmuDriver } from "../../src/domain/smmuv3-driver.js";
import { VtdDriver } from "../../src/domain/vtd-driver.js";
import { dmaAddress, physicalAddress, privateAddress } from "../../src/engine/addresses.js";
import { newEngine } from "../support/engine.js";

const NOW = { cpu: 0, now: 0 };
const MEMORY = { kind: "memory", address: physicalAddress(0x1234_5000n), length: 0x3000n } as const;
const READ_WRITE = { read: true, write: true };
const NIC = "0000:01:00.0";
const SIBLING = "0000:01:00.1";
const OTHER = "0000:02:00.0";

function misuse(work: () => unknown): AddressMisuse | null {
  try {
    work();
    return null;
  } catch (error) {
    if (error instanceof AddressMisuseError) return error.code;
    throw error;
  }
}

describe.each([
  ["Intel VT-d", async () => new VtdDriver(await newEngine())],
  ["Arm SMMUv3", async () => new SmmuDriver(await newEngine())],
] as const)("%s", (_name, make) => {
  let driver: RemappingDriver;
  let group: IommuGroup;
  let shared: IommuDomain;
  let range: DmaRange;
  let privateRange: PrivateRange;
  let nic: DmaDevice;

  beforeEach(async () => {
    driver = await make();
    const domain = new DefaultDomain(driver, new DmaHost(), "default", 1);
    group = new IommuGroup(0, driver, domain);
    group.addDevice(NIC, 0x100);
    group.addDevice(SIBLING, 0x101);
    nic = new DmaDevice(domain.dma, { name: NIC });
    range = mapMemory(nic, NOW, MEMORY, "bidirectional");
    shared = new IommuDomain(driver, "shared", 2);
    privateRange = shared.mapRange(privateAddress(0x7000_0000n), MEMORY, READ_WRITE, [NIC]);
  });

  const program = (which: DmaRange | PrivateRange, index = 0): AddressMisuse | null =>
    misuse(() => group.devices[index].program(which));

  test("DMA addresses: of this device, in the domain that it is attached to, while they are mapped", () => {
    const programmed = group.devices[0].program(range);
    expect(programmed.access(0x2008n, true)).toMatchObject({ touches: "own", access: { physical: 0x1234_7008n } });
    expect(program(range, 1)).toBe("foreign-device");
    expect(program(privateRange)).toBe("not-a-party");
    expect(program({ ...range, length: 0x4000n })).toBe("not-mapped");
    expect(() => group.devices[0].program({ ...range, length: 0x4000n })).toThrow(
      `not mapped at 0x${(range.address + 0x3000n).toString(16)}, wanted`,
    );
    group.attach(shared);
    expect(program(range)).toBe("not-attached");
    expect(programmed.access(0n).touches).toBe("nothing");
    group.detach();
    unmapMemory(nic, NOW, range, "bidirectional");
    expect(program(range)).toBe("not-mapped");
    expect(programmed.access(0n).touches).toBe("nothing");
  });

  test("private addresses: of the members of the domain, for whom they were mapped", () => {
    expect(shared.has(NIC)).toBe(false);
    group.attach(shared);
    expect([shared.has(NIC), shared.has(SIBLING), shared.has(OTHER)]).toEqual([true, true, false]);
    expect(group.devices[0].program(privateRange).access(8n)).toMatchObject({
      touches: "own",
      access: { physical: 0x1234_5008n },
    });
    expect(program(privateRange, 1)).toBe("not-mapped");
    expect(group.devices[1].access(privateRange.address).touches).toBe("foreign");
    const late = group.addDevice(OTHER, 0x200);
    expect(shared.has(OTHER)).toBe(true);
    expect(misuse(() => late.program(privateRange))).toBe("not-mapped");
    group.detach();
    expect(shared.has(NIC)).toBe(false);
    expect(program(privateRange)).toBe("not-a-party");
  });

  test("a member of another domain, or of an agreement about no domain", () => {
    const another = new IommuDomain(driver, "another", 3);
    group.attach(another);
    expect(program(privateRange)).toBe("not-a-party");
    const agreement = new PfnAgreement("frames", [NIC]);
    expect(program({ ...privateRange, agreement })).toBe("not-attached");
    group.detach();
    group.claimDmaOwner({});
    expect(program(range)).toBe("not-attached");
  });

  test("physical memory and DMA addresses are no private ones, nor the other way round, whatever a cast says", () => {
    expect(program(MEMORY as OwnedRange as DmaRange)).toBe("wrong-kind");
    const asMemory = (given: OwnedRange) => given as MemoryRange;
    for (const given of [range, privateRange]) {
      expect(misuse(() => mapMemory(nic, NOW, asMemory(given), "bidirectional"))).toBe("wrong-kind");
      expect(misuse(() => shared.mapRange(privateAddress(0x1000n), asMemory(given), READ_WRITE, [NIC]))).toBe(
        "wrong-kind",
      );
    }
    expect(misuse(() => unmapMemory(nic, NOW, privateRange as OwnedRange as DmaRange, "bidirectional"))).toBe(
      "wrong-kind",
    );
    expect(shared.mappings).toHaveLength(1);
  });

  test("several mappings behind each other are as good as one", () => {
    group.attach(shared);
    const behind = privateAddress(privateRange.address + privateRange.length);
    const next = shared.mapRange(behind, { ...MEMORY, address: physicalAddress(0x8000_0000n) }, READ_WRITE, [NIC]);
    const both = { ...privateRange, length: privateRange.length + next.length };
    expect(group.devices[0].program(both).access(privateRange.length)).toMatchObject({
      access: { physical: 0x8000_0000n },
    });
    expect(program({ ...both, length: both.length + 1n })).toBe("not-mapped");
  });

  test("a peer's bus address reaches it past the unit", () => {
    const bus: DmaRange = { ...range, address: dmaAddress(0x90_0000_0000n), busAddress: true };
    expect(group.devices[0].program(bus).access(16n)).toEqual({
      touches: "untranslated",
      access: { ok: true, physical: 0x90_0000_0010n },
    });
    expect(program(bus, 1)).toBe("foreign-device");
  });
});
