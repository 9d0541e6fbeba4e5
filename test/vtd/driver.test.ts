/**
 * A driver's life: a unit programmed by its registers, its queue and structures in memory alone, from boot to shutdown. Intel
 * VT-d Architecture Specification Rev. 5.10, sections 6.5, 7.2, 7.3 and 11.4.
 */
import { describe, expect, test } from "vitest";
import { type PageTable, encodeAccess } from "../../src/engine/page-table.js";
import type { InterruptMessage } from "../../src/vtd/event.js";
import type { VtdUnitOptions } from "../../src/vtd/unit.js";
import { newEngine } from "../support/engine.js";
import { iovaOf, physicalOf, READ_WRITE } from "../support/tables.js";
import {
  CCMD,
  contextCache,
  Driver,
  FEADDR,
  FECTL,
  FEDATA,
  FEUADDR,
  FRCD_F,
  FSTS,
  GSTS,
  IQH,
  IQT,
  iotlb,
  type Mode,
  outcome,
  PFO,
  PPF,
  pasidCache,
  QIE,
  SRTP,
  TE,
} from "./machine.js";

const PAGE = 0x1000n;
const NIC = 0x0100;
/** In the upper half of its bus: UP in scalable mode. */
const DISK = 0x03f8;
const NIC_DOMAIN = 0x11;
const DISK_DOMAIN = 0x12;
const NIC_BUFFER = 0x1234_5000n;
const DISK_BUFFER = 0x5678_9000n;
const IOVA = 0x7f00_0000n;
const DISK_IOVA = 0x1_0000_0000n;

const CODES = {
  legacy: { noContext: 0x2, noRead: 0x6, noWrite: 0x5 },
  scalable: { noContext: 0x41, noRead: 0x79, noWrite: 0x79 },
} as const;

/** FECTL_REG.IM; FSTS_REG.FRI. */
const IM = 2 ** 31;
const FRI_SHIFT = 8;

/** One pending fault as FSTS and its fault recording register say, which is then cleared. */
function takeFault({ unit }: Driver): { reason: number; sid: number; page: bigint; access: string } {
  const status = unit.read32(FSTS);
  expect(status & (PPF | PFO)).toBe(PPF);
  const at = unit.capabilities.faultRecordOffset + 16 * ((status >>> FRI_SHIFT) & 0xff);
  const high = unit.read64(at + 8);
  expect(high & FRCD_F).toBe(FRCD_F);
  const page = unit.read64(at);
  // The upper half of the register alone, as Linux does.
  unit.write32(at + 12, Number(FRCD_F >> 32n));
  expect(unit.read64(at + 8) & FRCD_F).toBe(0n);
  expect(unit.read32(FSTS) & PPF).toBe(0);
  const read = (high >> 62n) & 1n;
  return { reason: Number((high >> 32n) & 0xffn), sid: Number(high & 0xffffn), page, access: read ? "read" : "write" };
}

async function makeDriver(mode: Mode, options: VtdUnitOptions = {}): Promise<Driver> {
  return new Driver(await newEngine(), mode, { iotlbEntries: 256, ...options });
}

/** A started driver with two devices in two domains, a buffer of 16 pages mapped for each. */
async function boot(
  mode: Mode,
  options: VtdUnitOptions = {},
): Promise<{ driver: Driver; nic: PageTable; disk: PageTable }> {
  const driver = await makeDriver(mode, options);
  driver.start();
  const nic = driver.engine.createTable("vtdss");
  const disk = driver.engine.createTable("vtdss");
  nic.map(iovaOf(IOVA), physicalOf(NIC_BUFFER), 16n * PAGE, READ_WRITE);
  disk.map(iovaOf(DISK_IOVA), physicalOf(DISK_BUFFER), 16n * PAGE, { read: true });
  driver.attach(NIC, NIC_DOMAIN, nic.root);
  driver.attach(DISK, DISK_DOMAIN, disk.root);
  return { driver, nic, disk };
}

const at = (base: bigint, page: number): bigint => base + BigInt(page) * PAGE;
const hexOf = (address: bigint): string => `0x${address.toString(16)}`;
const faultOf = (code: number): string => `fault ${hexOf(BigInt(code))}`;

describe.each(["legacy", "scalable"] as const)("in %s mode", (mode) => {
  const codes = CODES[mode];

  test("boot", async () => {
    const driver = await makeDriver(mode);
    const { unit } = driver;
    expect(unit.read32(GSTS)).toBe(0);
    expect(unit.read32(FSTS)).toBe(0);
    expect(outcome(unit, { sid: NIC, iova: IOVA })).toBe(hexOf(IOVA));

    unit.write32(FEDATA, 0x4021);
    unit.write32(FEADDR, 0xfee0_0000);
    unit.write32(FEUADDR, 0);
    expect(unit.read32(FECTL)).toBe(IM);
    unit.write32(FECTL, 0);

    expect(driver.enableQueue()).toBe(true);
    expect([unit.read64(IQH), unit.read64(IQT)]).toEqual([0n, 0n]);
    expect(driver.setRootTable()).toBe(true);
    driver.invalidateAll();
    expect(unit.read32(GSTS)).toBe(QIE + SRTP);
    expect(driver.command(TE)).toBe(true);
    expect(unit.read32(GSTS) >>> 0).toBe(TE + QIE + SRTP);
    expect(unit.read32(FSTS)).toBe(0);
    expect(driver.messages).toEqual([]);
  });

  test("two devices, each with its own domain", async () => {
    const { driver } = await boot(mode);
    const { unit } = driver;
    for (const page of [0, 1, 15]) {
      expect(outcome(unit, { sid: NIC, iova: at(IOVA, page) + 4n, access: "write" })).toBe(
        hexOf(at(NIC_BUFFER, page) + 4n),
      );
      expect(outcome(unit, { sid: DISK, iova: at(DISK_IOVA, page) })).toBe(hexOf(at(DISK_BUFFER, page)));
    }
    expect(unit.read32(FSTS)).toBe(0);

    expect(outcome(unit, { sid: NIC, iova: DISK_IOVA })).toBe(faultOf(codes.noRead));
    expect(takeFault(driver)).toEqual({ reason: codes.noRead, sid: NIC, page: DISK_IOVA, access: "read" });
    expect(outcome(unit, { sid: DISK, iova: IOVA + 8n, access: "write" })).toBe(faultOf(codes.noWrite));
    expect(takeFault(driver)).toEqual({ reason: codes.noWrite, sid: DISK, page: IOVA, access: "write" });
    expect(outcome(unit, { sid: DISK + 1, iova: IOVA })).toBe(faultOf(codes.noContext));
    expect(takeFault(driver)).toEqual({ reason: codes.noContext, sid: DISK + 1, page: IOVA, access: "read" });
  });

  test("a batch of both", async () => {
    const { driver } = await boot(mode);
    const { unit } = driver;
    const COUNT = 64;
    const batch = unit.createBatch(COUNT);
    const expected = Array.from({ length: COUNT }, (_, i) => {
      const sid = i % 3 === 0 ? DISK : NIC;
      const page = i % 20;
      const write = i % 5 === 0;
      batch.source[i] = sid;
      batch.iova[i] = at(sid === NIC ? IOVA : DISK_IOVA, page);
      batch.access[i] = encodeAccess({ write });
      const unmapped = write ? codes.noWrite : codes.noRead;
      if (page >= 16) return [unmapped, null];
      if (sid === DISK && write) return [mode === "legacy" ? 0x5 : 0x85, null];
      return [0, at(sid === NIC ? NIC_BUFFER : DISK_BUFFER, page)];
    });
    unit.translateBatch(batch, COUNT, "each");
    expect(expected.map(([code], i) => [batch.code[i], code === 0 ? batch.physical[i] : null])).toEqual(expected);
    // More faults than the 8 registers hold.
    const faults = expected.flatMap(([code], i) => (code === 0 ? [] : [i]));
    expect(faults.length).toBeGreaterThan(8);
    expect(unit.faults.records.map(({ sid, address }) => [sid, address])).toEqual(
      faults.slice(0, 8).map((i) => [batch.source[i], batch.iova[i]]),
    );
    expect(unit.read32(FSTS)).toBe(PFO | PPF);
  });

  test("an unmapped page is stale until its invalidation, then a fault that raises an interrupt", async () => {
    const { driver, nic } = await boot(mode);
    const { unit, messages } = driver;
    unit.write32(FEDATA, 0x4021);
    unit.write32(FEADDR, 0xfee0_1000);
    unit.write32(FECTL, 0);
    const read = (page: number): string => outcome(unit, { sid: NIC, iova: at(IOVA, page) });
    const pages = [0, 1, 2, 3, 4];
    const mapped = pages.map((page) => hexOf(at(NIC_BUFFER, page)));
    expect(pages.map(read)).toEqual(mapped);

    nic.unmap(iovaOf(IOVA), 16n * PAGE);
    expect(pages.map(read)).toEqual(mapped);
    expect(messages).toEqual([]);

    // Of another domain, then of two pages, then of eight.
    driver.invalidate(iotlb("page", { domain: DISK_DOMAIN, address: IOVA, addressMask: 4 }));
    expect(pages.map(read)).toEqual(mapped);
    driver.invalidate(iotlb("page", { domain: NIC_DOMAIN, address: at(IOVA, 2), addressMask: 1 }));
    const message: InterruptMessage = { address: 0xfee0_1000n, data: 0x4021, cause: "fault" };
    expect([0, 1, 4].map(read)).toEqual([mapped[0], mapped[1], mapped[4]]);
    expect(messages).toEqual([]);
    expect(read(2)).toBe(faultOf(codes.noRead));
    expect(messages).toEqual([message]);
    expect(takeFault(driver)).toEqual({ reason: codes.noRead, sid: NIC, page: at(IOVA, 2), access: "read" });

    driver.invalidate(iotlb("page", { domain: NIC_DOMAIN, address: IOVA, addressMask: 3 }));
    for (const page of pages) {
      expect(read(page)).toBe(faultOf(codes.noRead));
      expect(takeFault(driver)).toMatchObject({ sid: NIC, page: at(IOVA, page) });
    }
    expect(messages).toEqual(Array.from({ length: 6 }, () => message));
  });

  test("faults while one is pending send no further interrupt; a masked one waits", async () => {
    const { driver } = await boot(mode);
    const { unit, messages } = driver;
    const fault = (): string => outcome(unit, { sid: NIC, iova: 0n });
    fault();
    fault();
    expect(messages).toEqual([]);
    unit.write32(FECTL, 0);
    expect(messages).toHaveLength(1);
    fault();
    expect(messages).toHaveLength(1);
    for (const { index } of unit.faults.records) {
      unit.write64(unit.capabilities.faultRecordOffset + 16 * index + 8, FRCD_F);
    }
    expect(unit.read32(FSTS) & PPF).toBe(0);
    fault();
    expect(messages).toHaveLength(2);
  });

  test("a device moves to another domain", async () => {
    const { driver, disk } = await boot(mode);
    const { unit } = driver;
    const own = (): string => outcome(unit, { sid: NIC, iova: IOVA });
    const other = (): string => outcome(unit, { sid: NIC, iova: DISK_IOVA });
    const [oldPage, newPage] = [hexOf(NIC_BUFFER), hexOf(DISK_BUFFER)];
    expect(own()).toBe(oldPage);

    driver.attach(NIC, DISK_DOMAIN, disk.root);
    expect([own(), other()]).toEqual([oldPage, faultOf(codes.noRead)]);
    // The IOTLB alone does not do: the entries are cached too.
    driver.invalidate(iotlb("domain", { domain: NIC_DOMAIN }));
    expect([own(), other()]).toEqual([oldPage, faultOf(codes.noRead)]);

    if (mode === "legacy") driver.invalidate(contextCache("device", { domain: NIC_DOMAIN, sid: NIC }));
    else driver.invalidate(pasidCache("pasid", { domain: NIC_DOMAIN, pasid: 0 }));
    // Now the new tables are used, except for what the IOTLB still has of the old ones.
    expect([own(), other()]).toEqual([oldPage, newPage]);
    driver.invalidate(iotlb("domain", { domain: NIC_DOMAIN }));
    expect([own(), other()]).toEqual([faultOf(codes.noRead), newPage]);
    expect(outcome(unit, { sid: DISK, iova: DISK_IOVA })).toBe(newPage);
  });

  test("a device is detached", async () => {
    const { driver } = await boot(mode);
    const read = (sid: number, iova: bigint): string => outcome(driver.unit, { sid, iova });
    expect(read(NIC, IOVA)).toBe(hexOf(NIC_BUFFER));
    driver.clearPresent(driver.contextAt(NIC));
    expect(read(NIC, IOVA)).toBe(hexOf(NIC_BUFFER));
    driver.invalidate(contextCache("device", { domain: NIC_DOMAIN, sid: NIC }));
    expect(read(NIC, IOVA)).toBe(faultOf(codes.noContext));
    expect(takeFault(driver)).toEqual({ reason: codes.noContext, sid: NIC, page: IOVA, access: "read" });
    expect(read(DISK, DISK_IOVA)).toBe(hexOf(DISK_BUFFER));
  });

  test("shutdown", async () => {
    const { driver } = await boot(mode);
    const { unit } = driver;
    expect(outcome(unit, { sid: NIC, iova: IOVA })).toBe(hexOf(NIC_BUFFER));
    driver.clearPresent(driver.contextAt(NIC));
    driver.invalidateAll();
    expect(driver.command(TE, false)).toBe(false);
    for (const sid of [NIC, DISK, 0xffff]) expect(outcome(unit, { sid, iova: IOVA })).toBe(hexOf(IOVA));
    expect(driver.command(QIE, false)).toBe(false);
    expect(unit.read32(GSTS)).toBe(SRTP);
    expect(unit.read64(IQH)).toBe(0n);
    expect(unit.read32(FSTS)).toBe(0);

    // And up again: nothing of before is known, and what is in memory holds.
    driver.start();
    expect(outcome(unit, { sid: NIC, iova: IOVA })).toBe(faultOf(codes.noContext));
    expect(outcome(unit, { sid: DISK, iova: DISK_IOVA })).toBe(hexOf(DISK_BUFFER));
    unit.release();
  });
});

describe("invalidation by register, in legacy mode", () => {
  const ICC = 1n << 63n;
  const IVT = 1n << 63n;
  const GLOBAL = 1n;
  const DOMAIN = 2n;
  const SELECTIVE = 3n;

  function contextCommand({ unit }: Driver, granularity: bigint, fields = 0n): void {
    unit.write64(CCMD, ICC | (granularity << 61n) | fields);
    const ccmd = unit.read64(CCMD);
    expect(ccmd & ICC).toBe(0n);
    expect((ccmd >> 59n) & 3n).toBe(granularity);
  }

  function iotlbCommand({ unit }: Driver, granularity: bigint, domain = 0, address = 0n, addressMask = 0): void {
    const { iotlbOffset } = unit.capabilities;
    unit.write64(iotlbOffset, address | BigInt(addressMask));
    unit.write64(iotlbOffset + 8, IVT | (granularity << 60n) | (BigInt(domain) << 32n));
    const done = unit.read64(iotlbOffset + 8);
    expect(done & IVT).toBe(0n);
    expect((done >> 57n) & 3n).toBe(granularity);
  }

  /** Booted without the queue. */
  async function bootByRegister(): Promise<{ driver: Driver; nic: PageTable }> {
    const { driver, nic } = await boot("legacy");
    expect(driver.command(QIE, false)).toBe(false);
    contextCommand(driver, GLOBAL);
    iotlbCommand(driver, GLOBAL);
    return { driver, nic };
  }

  test("pages of a domain, a domain, everything", async () => {
    const { driver, nic } = await bootByRegister();
    const read = (page: number): string => outcome(driver.unit, { sid: NIC, iova: at(IOVA, page) });
    const pages = [0, 1, 2, 3];
    const mapped = pages.map((page) => hexOf(at(NIC_BUFFER, page)));
    const gone = faultOf(0x6);
    expect(pages.map(read)).toEqual(mapped);
    nic.unmap(iovaOf(IOVA), 16n * PAGE);
    iotlbCommand(driver, SELECTIVE, DISK_DOMAIN, IOVA, 2);
    expect(pages.map(read)).toEqual(mapped);
    iotlbCommand(driver, SELECTIVE, NIC_DOMAIN, at(IOVA, 2), 1);
    expect(pages.map(read)).toEqual([mapped[0], mapped[1], gone, gone]);
    iotlbCommand(driver, SELECTIVE, NIC_DOMAIN, IOVA);
    expect(pages.map(read)).toEqual([gone, mapped[1], gone, gone]);
    iotlbCommand(driver, DOMAIN, DISK_DOMAIN);
    expect(read(1)).toBe(mapped[1]);
    iotlbCommand(driver, DOMAIN, NIC_DOMAIN);
    expect(read(1)).toBe(gone);
  });

  test.each([
    ["global", GLOBAL, 0n],
    ["domain", DOMAIN, BigInt(NIC_DOMAIN)],
    ["device", SELECTIVE, BigInt(NIC_DOMAIN) | (BigInt(NIC) << 16n)],
  ] as const)("context entries: %s", async (_name, granularity, fields) => {
    const { driver } = await bootByRegister();
    const read = (): string => outcome(driver.unit, { sid: NIC, iova: IOVA });
    expect(read()).toBe(hexOf(NIC_BUFFER));
    driver.clearPresent(driver.contextAt(NIC));
    if (granularity !== GLOBAL) contextCommand(driver, granularity, BigInt(DISK_DOMAIN) | (BigInt(DISK) << 16n));
    expect(read()).toBe(hexOf(NIC_BUFFER));
    contextCommand(driver, granularity, fields);
    expect(read()).toBe(faultOf(0x2));
  });
});
