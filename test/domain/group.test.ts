/** Domains, groups and owners over both architectures: every attach is seen in what the unit then does. */
import { beforeEach, describe, expect, test } from "vitest";
import { IommuDomain } from "../../src/domain/domain.js";
import { OwnershipError, type OwnershipErrorCode } from "../../src/domain/errors.js";
import { IommuGroup } from "../../src/domain/group.js";
import type { RemappingDriver } from "../../src/domain/remapping-driver.js";
import { SmmuDriver } from "../../src/domain/smmuv3-driver.js";
import { VtdDriver } from "../../src/domain/vtd-driver.js";
import {
  type DmaAddress,
  dmaAddress,
  physicalAddress,
  type PrivateAddress,
  privateAddress,
} from "../../src/engine/addresses.js";
import { newEngine } from "../support/engine.js";

const PAGE = 0x1000n;
const ADDRESS = 0x7f00_0000n;
const BUFFER = physicalAddress(0x1234_5000n);
const OTHER = physicalAddress(0x5678_9000n);
const READ_WRITE = { read: true, write: true };

function codeOf(work: () => void): OwnershipErrorCode | null {
  try {
    work();
    return null;
  } catch (error) {
    if (error instanceof OwnershipError) return error.code;
    throw error;
  }
}

const drivers = [
  ["Intel VT-d", async () => new VtdDriver(await newEngine()), 0x79],
  ["Arm SMMUv3", async () => new SmmuDriver(await newEngine()), 0x10],
  ["Arm SMMUv3 without range invalidation", async () => new SmmuDriver(await newEngine(), { idr3: { RIL: 0 } }), 0x10],
] as const;

describe.each(drivers)("%s", (_name, make, notMapped) => {
  let driver: RemappingDriver;
  let dma: IommuDomain<DmaAddress>;
  let group: IommuGroup;

  beforeEach(async () => {
    driver = await make();
    dma = new IommuDomain<DmaAddress>(driver, "default", 1);
    group = new IommuGroup(0, driver, dma);
  });

  test("devices reach what is mapped in their domain, and nothing else", () => {
    const device = group.addDevice("0000:01:00.0", 0x100);
    const elsewhere = new IommuGroup(1, driver, "identity").addDevice("0000:82:10.1", 0x8281);
    const nowhere = new IommuGroup(2, driver, null).addDevice("0000:03:00.0", 0x300);
    const mapping = dma.map(dmaAddress(ADDRESS), BUFFER, 4n * PAGE, READ_WRITE, ["0000:01:00.0"]);
    const inBuffer = { ok: true, physical: BUFFER + PAGE + 8n };
    expect(device.access(ADDRESS + PAGE + 8n)).toEqual({ touches: "own", access: inBuffer, mapping });
    expect(device.access(ADDRESS + 4n * PAGE, true)).toMatchObject({
      touches: "nothing",
      access: { ok: false, code: notMapped, record: { [notMapped === 0x10 ? "InputAddr" : "FI"]: "0x7f004000" } },
    });
    const untranslated = { ok: true, physical: ADDRESS };
    expect(elsewhere.access(ADDRESS)).toEqual({ touches: "untranslated", access: untranslated });
    expect(nowhere.access(ADDRESS).touches).toBe("nothing");
  });

  test("what is unmapped stays in use until it is invalidated", () => {
    const device = group.addDevice("0000:01:00.0", 0x100);
    const mapping = dma.map(dmaAddress(ADDRESS), BUFFER, 7n * PAGE, READ_WRITE, ["0000:01:00.0"]);
    const neighbour = dma.map(dmaAddress(ADDRESS + 7n * PAGE), OTHER, PAGE, READ_WRITE, ["0000:01:00.0"]);
    for (let page = 0n; page < 8n; page++) device.access(ADDRESS + page * PAGE);
    dma.unmap(mapping, false);
    expect(device.access(ADDRESS + 3n * PAGE).touches).toBe("stale");
    driver.invalidate(1, ADDRESS, 7n * PAGE, true);
    for (let page = 0n; page < 7n; page++) expect(device.access(ADDRESS + page * PAGE).touches).toBe("nothing");
    expect(device.access(ADDRESS + 7n * PAGE)).toMatchObject({ touches: "own", mapping: neighbour });
    expect(() => dma.unmap(mapping)).toThrow(/no live mapping/);
  });

  test("an address of one domain in another: a fault, or somebody else's memory", () => {
    const nic = group.addDevice("0000:01:00.0", 0x100);
    const shared = new IommuDomain<PrivateAddress>(driver, "shared", 2);
    const display = new IommuGroup(1, driver, dma);
    const engine = display.addDevice("0000:02:00.0", 0x200);
    display.claimDmaOwner(shared);
    display.attach(shared);
    shared.map(privateAddress(ADDRESS), BUFFER, PAGE, READ_WRITE, ["0000:02:00.0"]);
    expect(engine.access(ADDRESS).touches).toBe("own");
    expect(nic.access(ADDRESS)).toMatchObject({ touches: "nothing", access: { code: notMapped } });
    dma.map(dmaAddress(ADDRESS), OTHER, PAGE, READ_WRITE, ["0000:05:00.0"]);
    expect(nic.access(ADDRESS)).toMatchObject({ touches: "foreign", access: { physical: OTHER } });
  });

  test("a claim takes the device from the DMA API and gives it back", () => {
    const device = group.addDevice("0000:01:00.0", 0x100);
    dma.map(dmaAddress(ADDRESS), BUFFER, PAGE, READ_WRITE, ["0000:01:00.0"]);
    expect(device.access(ADDRESS).touches).toBe("own");
    const owner = {};
    group.claimDmaOwner(owner);
    expect(group.owner).toBe(owner);
    expect(device.access(ADDRESS).touches).toBe("nothing");
    const mine = new IommuDomain<PrivateAddress>(driver, "mine", 2);
    group.attach(mine);
    mine.map(privateAddress(ADDRESS), OTHER, PAGE, READ_WRITE, ["0000:01:00.0"]);
    expect(device.access(ADDRESS)).toMatchObject({ touches: "own", access: { physical: OTHER } });
    expect(codeOf(() => group.attach(mine))).toBe("EBUSY");
    group.detach();
    expect(device.access(ADDRESS).touches).toBe("nothing");
    group.releaseDmaOwner();
    expect(device.access(ADDRESS)).toMatchObject({ touches: "own", access: { physical: BUFFER } });
    mine.release();
  });

  describe("refusals, as Linux's", () => {
    const owner = { name: "owner" };
    const claim = (g: IommuGroup) => g.claimDmaOwner(owner);
    const claimByOther = (g: IommuGroup) => g.claimDmaOwner({});
    const release = (g: IommuGroup) => g.releaseDmaOwner();
    const use = (g: IommuGroup) => g.useDefaultDomain();
    const unuse = (g: IommuGroup) => g.unuseDefaultDomain();
    const claimDevice = (g: IommuGroup) => g.claimDeviceDmaOwner(g.devices[0], owner);
    const claimDeviceByOther = (g: IommuGroup) => g.claimDeviceDmaOwner(g.devices[0], {});
    const claimDeviceByNobody = (g: IommuGroup) => g.claimDeviceDmaOwner(g.devices[0], null);

    test.each<[string, OwnershipErrorCode | null, ((g: IommuGroup) => void)[]]>([
      ["a claim of an idle group", null, [claim]],
      ["a claim of a group that a bound driver uses", "EPERM", [use, claim]],
      ["a claim after the driver has gone", null, [use, unuse, claim]],
      ["a claim while one of two drivers is left", "EPERM", [use, use, unuse, claim]],
      ["a second claim", "EPERM", [claim, claimByOther]],
      ["a second claim by the same owner", "EPERM", [claim, claim]],
      ["a driver that wants the DMA API meanwhile", "EBUSY", [claim, use]],
      ["a driver after the release", null, [claim, release, use]],
      ["a claim by device", null, [claimDevice]],
      ["a nested claim by device", null, [claimDevice, claimDevice]],
      ["a claim by device of another owner", "EPERM", [claimDevice, claimDeviceByOther]],
      ["a claim by device without owner", "EINVAL", [claimDeviceByNobody]],
    ])("%s: %s", (_what, code, steps) => {
      group.addDevice("0000:01:00.0", 0x100);
      for (const step of steps.slice(0, -1)) step(group);
      expect(codeOf(() => steps.at(-1)?.(group))).toBe(code);
    });

    test("a nested claim is given back as often as it was made", () => {
      const device = group.addDevice("0000:01:00.0", 0x100);
      group.claimDeviceDmaOwner(device, owner);
      group.claimDeviceDmaOwner(device, owner);
      group.releaseDmaOwner();
      expect(group.owner).toBe(owner);
      group.releaseDmaOwner();
      expect([group.owner, group.domain]).toEqual([null, dma]);
    });

    test("a device of another group", () => {
      const other = new IommuGroup(1, driver, dma).addDevice("0000:02:00.0", 0x200);
      expect(codeOf(() => group.claimDeviceDmaOwner(other, owner))).toBe("ENODEV");
    });

    test("a group that has no default domain yet", () => {
      expect(codeOf(() => new IommuGroup(1, driver, null).useDefaultDomain())).toBe("EPROBE_DEFER");
    });

    test("a claim of a group that is attached elsewhere", () => {
      const elsewhere = new IommuDomain<PrivateAddress>(driver, "elsewhere", 3);
      group.attach(elsewhere);
      expect(codeOf(() => group.claimDmaOwner(owner))).toBe("EBUSY");
      expect(codeOf(() => group.useDefaultDomain())).toBe(null);
      expect(codeOf(() => group.useDefaultDomain())).toBe("EBUSY");
    });
  });
});
