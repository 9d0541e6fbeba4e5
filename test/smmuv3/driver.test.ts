/** A driver's life: the unit is programmed by registers and its queues alone. */
import { describe, expect, it } from "vitest";
import { dmaAddress, type PhysicalAddress, physicalAddress } from "../../src/engine/addresses.js";
import type { Engine } from "../../src/engine/engine.js";
import type { PageTable } from "../../src/engine/page-table.js";
import { EVENT } from "../../src/smmuv3/events.js";
import { SmmuUnit } from "../../src/smmuv3/unit.js";
import { newEngine } from "../support/engine.js";

const CR0 = 0x20;
const CR0ACK = 0x24;
const STRTAB_BASE = 0x80;
const STRTAB_BASE_CFG = 0x88;
const CMDQ_BASE = 0x90;
const CMDQ_PROD = 0x98;
const CMDQ_CONS = 0x9c;
const EVENTQ_BASE = 0xa0;
const EVENTQ_PROD = 0x100a8;
const EVENTQ_CONS = 0x100ac;
const SMMUEN = 1;
const EVENTQEN = 1 << 2;
const CMDQEN = 1 << 3;
const LOG2_QUEUE = 4n;

const CFGI_STE = 0x03n;
const TLBI_NH_ASID = 0x11n;
const TLBI_NH_VA = 0x12n;
const SYNC = 0x46n;

const SID_A = 3;
const SID_B = 5;
const IOVA = dmaAddress(0x40_0000n);
const FIRST = physicalAddress(0x1234_5000n);
const OTHER = physicalAddress(0x2222_2000n);
const READ_WRITE = { read: true, write: true };

class Driver {
  readonly unit: SmmuUnit;
  readonly #memory: Engine["memory"];
  readonly #streams: PhysicalAddress;
  readonly #commands: PhysicalAddress;
  #prod = 0;

  constructor(readonly engine: Engine) {
    const { memory } = engine;
    this.#memory = memory;
    this.unit = new SmmuUnit(engine);
    this.#streams = memory.allocatePage();
    this.#commands = memory.allocatePage();
    const events = memory.allocatePage();
    const { unit } = this;
    unit.write64(STRTAB_BASE, this.#streams);
    unit.write32(STRTAB_BASE_CFG, 6);
    unit.write64(CMDQ_BASE, this.#commands | LOG2_QUEUE);
    unit.write64(EVENTQ_BASE, events | LOG2_QUEUE);
    unit.write32(CR0, CMDQEN);
    unit.write32(CR0, CMDQEN | EVENTQEN);
    unit.write32(CR0, CMDQEN | EVENTQEN | SMMUEN);
  }

  word(address: bigint, value: bigint): void {
    this.#memory.write64(physicalAddress(address), value);
  }

  command(first: bigint, second = 0n): void {
    const at = this.#commands + BigInt(this.#prod % 16) * 16n;
    this.word(at, first);
    this.word(at + 8n, second);
    this.#prod = (this.#prod + 1) % 32;
    this.unit.write32(CMDQ_PROD, this.#prod);
  }

  /** Stage 1 with one context, 48 bits, granule of 4 KiB. */
  attach(sid: number, table: PageTable, asid: bigint): void {
    const context = this.#memory.allocatePage();
    const outputs48 = 5n << 32n;
    const valid = 1n << 31n;
    const aarch64 = 1n << 41n;
    const recordAndAbort = (1n << 45n) | (1n << 46n);
    const noUpperHalf = 1n << 30n;
    this.word(context, 16n | noUpperHalf | valid | outputs48 | aarch64 | recordAndAbort | (asid << 48n));
    this.word(context + 8n, table.root);
    this.word(this.#streams + BigInt(sid) * 64n, context | 0b1011n);
  }
}

describe("a driver's life", () => {
  it("sees stale translations until it invalidates, and events for what is gone", async () => {
    const driver = new Driver(await newEngine());
    const { unit, engine } = driver;
    expect(unit.read32(CR0ACK)).toBe(CMDQEN | EVENTQEN | SMMUEN);

    const a = engine.createTable("vmsav8-4k");
    const b = engine.createTable("vmsav8-4k");
    driver.attach(SID_A, a, 1n);
    driver.attach(SID_B, b, 2n);
    a.map(IOVA, FIRST, 4096n, READ_WRITE);
    expect(unit.translate({ sid: SID_A, iova: IOVA })).toMatchObject({ ok: true, physical: FIRST, pageSize: 4096n });

    // The other device does not see it, and says so in the Event queue.
    expect(unit.translate({ sid: SID_B, iova: IOVA })).toMatchObject({ ok: false, code: EVENT.F_TRANSLATION });
    expect(unit.read32(EVENTQ_PROD)).toBe(1);
    expect(unit.events.records).toMatchObject([
      { code: EVENT.F_TRANSLATION, sid: SID_B, inputAddr: IOVA, rnw: true, s2: false, class: "IN" },
    ]);
    unit.write32(EVENTQ_CONS, 1);
    expect(unit.events.records).toEqual([]);

    // Unmapped and not invalidated: still used. An invalidation of another ASID changes nothing.
    a.unmap(IOVA, 4096n);
    expect(unit.translate({ sid: SID_A, iova: IOVA })).toMatchObject({ ok: true, physical: FIRST });
    driver.command(TLBI_NH_ASID | (2n << 48n));
    expect(unit.translate({ sid: SID_A, iova: IOVA })).toMatchObject({ ok: true, physical: FIRST });
    driver.command(TLBI_NH_VA | (1n << 48n), IOVA);
    driver.command(SYNC);
    expect(unit.read32(CMDQ_CONS)).toBe(3);
    expect(unit.translate({ sid: SID_A, iova: IOVA })).toMatchObject({ ok: false, code: EVENT.F_TRANSLATION });

    // A stream that moves to another table keeps its old configuration until CFGI_STE.
    b.map(IOVA, OTHER, 4096n, READ_WRITE);
    driver.attach(SID_A, b, 2n);
    expect(unit.translate({ sid: SID_A, iova: IOVA })).toMatchObject({ ok: false });
    driver.command(CFGI_STE | (BigInt(SID_A) << 32n));
    expect(unit.translate({ sid: SID_A, iova: IOVA, access: "write" })).toMatchObject({ ok: true, physical: OTHER });

    // A batch of both, and of a stream whose STE is not valid.
    const batch = unit.createBatch(3);
    batch.iova.fill(IOVA);
    batch.source.set([SID_A, SID_B, 7]);
    unit.translateBatch(batch, 3);
    expect([...batch.code]).toEqual([0, 0, EVENT.C_BAD_STE]);
    expect([...batch.physical.subarray(0, 2)]).toEqual([OTHER, OTHER]);

    // Disabled, transactions pass.
    unit.write32(CR0, CMDQEN | EVENTQEN);
    expect(unit.translate({ sid: 7, iova: IOVA })).toMatchObject({ ok: true, physical: IOVA, pageSize: null });
    unit.release();
  });
});
