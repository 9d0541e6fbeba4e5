/** Domains, groups and owners over both architectures: every attach is seen in what the unit then does. */
import { beforeEach, describe, expect, test } from "vitest";
import { DmaDevice, DmaHost, mapPhys, unmapPhys } from "../../src/dma/index.js";
import { DefaultDomain } from "../../src/domain/default-domain.js";
import { IommuDomain } from "../../src/domain/domain.js";
import { OwnershipError, type OwnershipErrorCode } from "../../src/domain/errors.js";
import { IommuGroup } from "../../src/domain/group.js";
import type { RemappingDriver } from "../../src/domain/remapping-driver.js";
import { SmmuDriver } from "../../src/domain/smmuv3-driver.js";
import { VtdDriver } from "../../src/domain/vtd-driver.js";
import { hex, physicalAddress, privateAddress } from "../../src/engine/addresses.js";
import { newEngine } from "../support/engine.js";

const PAGE = 0x1000n;
const ADDRESS = privateAddress(0x7f00_0000n);
/** In a page that the DMA API gives to nobody. */
const UNMAPPED = 0x1000n;
const CONTEXT = { cpu: 0, now: 0 };
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
  let host: DmaHost;
  let domain: DefaultDomain;
  let group: IommuGroup;
  let nic: DmaDevice;

  beforeEach(async () => {
    driver = await make();
    host = new DmaHost();
    domain = new DefaultDomain(driver, host, "default", 1);
    group = new IommuGroup(0, driver, domain);
    nic = new DmaDevice(domain.dma, { name: "0000:01:00.0" });
  });

  const map = (pages: bigint, physical = BUFFER) => mapPhys(nic, CONTEXT, physical, pages * PAGE, "bidirectional");

  test("devices reach what is mapped in their domain, and nothing else", () => {
    const device = group.addDevice("0000:01:00.0", 0x100);
    const elsewhere = new IommuGroup(1, driver, "identity").addDevice("0000:82:10.1", 0x8281);
    const nowhere = new IommuGroup(2, driver, null).addDevice("0000:03:00.0", 0x300);
    const address = map(4n);
    const mapping = { address, physical: BUFFER, length: 4n * PAGE, users: new Set(["0000:01:00.0"]) };
    const inBuffer = { ok: true, physical: BUFFER + PAGE + 8n };
    expect(device.access(address + PAGE + 8n)).toEqual({ touches: "own", access: inBuffer, mapping });
    expect(device.access(UNMAPPED, true)).toMatchObject({
      touches: "nothing",
      access: { ok: false, code: notMapped, record: { [notMapped === 0x10 ? "InputAddr" : "FI"]: hex(UNMAPPED) } },
    });
    const untranslated = { ok: true, physical: UNMAPPED };
    expect(elsewhere.access(UNMAPPED)).toEqual({ touches: "untranslated", access: untranslated });
    expect(nowhere.access(UNMAPPED).touches).toBe("nothing");
  });

  test("what the DMA API unmaps is gone from the device, page by page", () => {
    const device = group.addDevice("0000:01:00.0", 0x100);
    const address = map(7n);
    const neighbour = map(1n, OTHER);
    for (let page = 0n; page < 7n; page++) expect(device.access(address + page * PAGE).touches).toBe("own");
    expect(device.access(neighbour).touches).toBe("own");
    unmapPhys(nic, CONTEXT, address, 7n * PAGE, "bidirectional");
    for (let page = 0n; page < 7n; page++) expect(device.access(address + page * PAGE).touches).toBe("nothing");
    expect(device.access(neighbour)).toMatchObject({ touches: "own", access: { physical: OTHER } });
  });

  test("a lazy domain leaves translations in use until its flush queue is flushed", () => {
    const lazy = new DefaultDomain(driver, host, "lazy", 2, { flush: "lazy" });
    const device = new IommuGroup(1, driver, lazy).addDevice("0000:02:00.0", 0x200);
    const disk = new DmaDevice(lazy.dma, { name: "0000:02:00.0" });
    const address = mapPhys(disk, CONTEXT, BUFFER, PAGE, "bidirectional");
    expect(device.access(address).touches).toBe("own");
    unmapPhys(disk, CONTEXT, address, PAGE, "bidirectional");
    expect(device.access(address)).toEqual({ touches: "stale", access: { ok: true, physical: BUFFER } });
    mapPhys(disk, { cpu: 0, now: 50_000_000 }, OTHER, PAGE, "bidirectional");
    expect(device.access(address).touches).not.toBe("stale");
  });

  test("what a driver unmaps stays in use until it invalidates", () => {
    const device = group.addDevice("0000:01:00.0", 0x100);
    const mine = new IommuDomain(driver, "mine", 3);
    group.attach(mine);
    const mapping = mine.map(ADDRESS, BUFFER, 7n * PAGE, READ_WRITE, ["0000:01:00.0"]);
    const neighbour = mine.map(privateAddress(ADDRESS + 7n * PAGE), OTHER, PAGE, READ_WRITE, ["0000:01:00.0"]);
    for (let page = 0n; page < 8n; page++) device.access(ADDRESS + page * PAGE);
    mine.unmap(mapping, false);
    expect(device.access(ADDRESS + 3n * PAGE).touches).toBe("stale");
    driver.invalidate(3, ADDRESS, 7n * PAGE, true);
    for (let page = 0n; page < 7n; page++) expect(device.access(ADDRESS + page * PAGE).touches).toBe("nothing");
    expect(device.access(ADDRESS + 7n * PAGE)).toMatchObject({ touches: "own", mapping: neighbour });
    expect(() => mine.unmap(mapping)).toThrow(/no live mapping/);
    expect(mine.mappings).toEqual([neighbour]);
  });

  test("an address of one domain in another: a fault, or somebody else's memory", () => {
    const device = group.addDevice("0000:01:00.0", 0x100);
    const shared = new IommuDomain(driver, "shared", 2);
    const display = new IommuGroup(1, driver, domain);
    const engine = display.addDevice("0000:02:00.0", 0x200);
    display.claimDmaOwner(shared);
    display.attach(shared);
    const other = new DmaDevice(domain.dma, { name: "0000:05:00.0" });
    const taken = mapPhys(other, CONTEXT, OTHER, PAGE, "bidirectional");
    shared.map(ADDRESS, BUFFER, PAGE, READ_WRITE, ["0000:02:00.0"]);
    shared.map(privateAddress(taken), BUFFER, PAGE, READ_WRITE, ["0000:02:00.0"]);
    expect(engine.access(ADDRESS).touches).toBe("own");
    expect(device.access(ADDRESS)).toMatchObject({ touches: "nothing", access: { code: notMapped } });
    expect(engine.access(taken)).toMatchObject({ touches: "own", access: { physical: BUFFER } });
    expect(device.access(taken)).toMatchObject({ touches: "foreign", access: { physical: OTHER } });
  });

  test("a claim takes the device from the DMA API and gives it back", () => {
    const device = group.addDevice("0000:01:00.0", 0x100);
    const address = map(1n);
    expect(device.access(address).touches).toBe("own");
    const owner = {};
    group.claimDmaOwner(owner);
    expect(group.owner).toBe(owner);
    expect(device.access(address).touches).toBe("nothing");
    const mine = new IommuDomain(driver, "mine", 2);
    group.attach(mine);
    mine.map(privateAddress(address), OTHER, PAGE, READ_WRITE, ["0000:01:00.0"]);
    expect(device.access(address)).toMatchObject({ touches: "own", access: { physical: OTHER } });
    expect(codeOf(() => group.attach(mine))).toBe("EBUSY");
    expect(codeOf(() => mine.release())).toBe("EBUSY");
    group.detach();
    expect(device.access(address).touches).toBe("nothing");
    group.releaseDmaOwner();
    expect(device.access(address)).toMatchObject({ touches: "own", access: { physical: BUFFER } });
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
    const claimByNobody = (g: IommuGroup) => g.claimDmaOwner(null);
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
      ["a claim without owner", "EINVAL", [claimByNobody]],
      ["a driver after a claim without owner", null, [(g) => codeOf(() => claimByNobody(g)), use]],
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
      group.releaseDeviceDmaOwner();
      expect(group.owner).toBe(owner);
      group.releaseDeviceDmaOwner();
      expect([group.owner, group.domain]).toEqual([null, domain]);
    });

    test("the group's release ends nested claims all at once", () => {
      const device = group.addDevice("0000:01:00.0", 0x100);
      group.claimDeviceDmaOwner(device, owner);
      group.claimDeviceDmaOwner(device, owner);
      group.releaseDmaOwner();
      expect([group.owner, group.ownerCount, group.domain]).toEqual([null, 0, domain]);
    });

    test("a device of another group", () => {
      const other = new IommuGroup(1, driver, domain).addDevice("0000:02:00.0", 0x200);
      expect(codeOf(() => group.claimDeviceDmaOwner(other, owner))).toBe("ENODEV");
    });

    test("a group that has no default domain yet", () => {
      expect(codeOf(() => new IommuGroup(1, driver, null).useDefaultDomain())).toBe("EPROBE_DEFER");
    });

    test("a claim of a group that is attached elsewhere", () => {
      const elsewhere = new IommuDomain(driver, "elsewhere", 3);
      group.attach(elsewhere);
      expect(codeOf(() => group.claimDmaOwner(owner))).toBe("EBUSY");
      expect(codeOf(() => group.useDefaultDomain())).toBe(null);
      expect(codeOf(() => group.useDefaultDomain())).toBe("EBUSY");
    });
  });
});
