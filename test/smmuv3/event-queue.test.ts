/** The Event queue: room, overflow, events of stalled transactions, aborts and interrupts. */
import { describe, expect, test } from "vitest";
import { EVENT, type EventRecord, encodeEvent } from "../../src/smmuv3/events.js";
import { refused } from "../support/errors.js";
import { AT, DOORBELL, EN, ERR, makeUnit, NOWHERE, type UnitOptions } from "./register-support.js";

const BASE = 0x10_0000n;
const OVFLG = 0x8000_0000;

interface QueueOptions extends UnitOptions {
  readonly log2Size?: number;
  readonly base?: bigint;
  readonly enabled?: boolean;
}

/** A queue of 4 entries, enabled unless said otherwise. */
function makeQueue(options: QueueOptions = {}) {
  const unit = makeUnit(options);
  const { log2Size = 2, base = BASE, enabled = true } = options;
  unit.file.write64(AT.EVENTQ_BASE, base | BigInt(log2Size));
  if (enabled) unit.file.write32(AT.CR0, EN.EVENTQ | EN.SMMU);
  const record = (sid: number) => unit.eventQueue.record({ code: EVENT.C_BAD_STE, sid });
  const stall = (stag: number) => unit.eventQueue.record(stalled(stag));
  /** Software reads one event. */
  const consume = () => {
    const cons = unit.file.read32(AT.EVENTQ_CONS);
    unit.file.write32(AT.EVENTQ_CONS, ((cons & OVFLG) | ((cons + 1) % (2 << log2Size))) >>> 0);
  };
  const prod = () => unit.file.read32(AT.EVENTQ_PROD);
  const sids = () => unit.eventQueue.records.map(({ sid }) => sid);
  return { ...unit, record, stall, consume, prod, sids };
}

function stalled(stag: number): EventRecord {
  return { code: EVENT.F_TRANSLATION, sid: 0x100 + stag, stall: true, stag };
}

describe("the Event queue", () => {
  test("holds what was recorded, where the registers say", () => {
    const unit = makeQueue();
    const event = { code: EVENT.F_ACCESS, sid: 5, ssid: 9, inputAddr: 0x1234n, rnw: true } as const;
    expect(unit.record(1)).toBe("recorded");
    expect(unit.eventQueue.record(event)).toBe("recorded");
    expect(unit.prod()).toBe(2);
    const words = [0n, 8n, 16n, 24n].map((byte) => unit.memory.read64(BASE + 32n + byte));
    expect(words).toEqual(encodeEvent(event));
    expect(unit.eventQueue.records).toMatchObject([{ sid: 1 }, event]);
  });

  test("wraps, and uses all its entries", () => {
    const unit = makeQueue();
    for (let sid = 0; sid < 4; sid++) expect(unit.record(sid)).toBe("recorded");
    expect(unit.prod()).toBe(4);
    for (let sid = 4; sid < 20; sid++) {
      unit.consume();
      expect(unit.record(sid)).toBe("recorded");
      expect(unit.sids()).toEqual([sid - 3, sid - 2, sid - 1, sid]);
      expect(unit.prod()).toBe((sid + 1) % 8);
    }
  });

  test("can have one entry", () => {
    const unit = makeQueue({ log2Size: 0 });
    expect([unit.record(1), unit.record(2)]).toEqual(["recorded", "dropped"]);
    expect(unit.prod()).toBe((OVFLG | 1) >>> 0);
    unit.consume();
    expect([unit.record(3), unit.sids()]).toEqual(["recorded", [3]]);
    expect(unit.prod()).toBe(OVFLG);
  });

  test.each([
    ["is aligned to its size", {}, (BASE + 0x20n) | 2n, BASE],
    ["has at most IDR1.EVENTQS", { idr1: { EVENTQS: 2 } }, (BASE + 0x100n) | 19n, BASE + 0x100n],
    ["is aligned to 32 bytes", {}, (BASE + 0x20n) | 0n, BASE + 0x20n],
    ["lies within OAS", { idr5: { OAS: 0 } }, (1n << 40n) | BASE | 2n, BASE],
  ] as const)("%s", (_what, options, register, address) => {
    const unit = makeUnit(options);
    unit.file.write64(AT.EVENTQ_BASE, register);
    unit.file.write32(AT.CR0, EN.EVENTQ);
    unit.eventQueue.record({ code: EVENT.C_BAD_CD, sid: 3 });
    expect(unit.memory.read64(address)).toBe(0x3_0000_000an);
  });

  test("tells of an overflow once, until software acknowledges it", () => {
    const unit = makeQueue();
    for (let sid = 0; sid < 4; sid++) unit.record(sid);
    expect(unit.record(4)).toBe("dropped");
    expect(unit.prod()).toBe((OVFLG | 4) >>> 0);
    expect(unit.record(5)).toBe("dropped");
    expect(unit.prod()).toBe((OVFLG | 4) >>> 0);
    // An overflow that is not acknowledged keeps nothing out.
    unit.file.write32(AT.EVENTQ_CONS, 1);
    expect(unit.record(6)).toBe("recorded");
    expect(unit.record(7)).toBe("dropped");
    expect(unit.prod()).toBe((OVFLG | 5) >>> 0);
    unit.file.write32(AT.EVENTQ_CONS, (OVFLG | 1) >>> 0);
    expect(unit.record(8)).toBe("dropped");
    expect(unit.prod()).toBe(5);
    expect(unit.sids()).toEqual([1, 2, 3, 6]);
  });

  test("keeps events of stalled transactions until there is room", () => {
    const unit = makeQueue();
    for (let sid = 0; sid < 4; sid++) unit.record(sid);
    expect([unit.stall(1), unit.stall(2), unit.stall(3)]).toEqual(["pending", "pending", "pending"]);
    expect(unit.prod()).toBe(4);
    unit.consume();
    expect(unit.sids()).toEqual([1, 2, 3, 0x101]);
    unit.eventQueue.discardPending(({ sid }) => sid === 0x102);
    unit.consume();
    unit.consume();
    expect(unit.sids()).toEqual([3, 0x101, 0x103]);
  });

  test("drops events while it is disabled, which is no overflow, and keeps those of stalled transactions", () => {
    const unit = makeQueue({ enabled: false });
    expect([unit.record(1), unit.stall(2)]).toEqual(["dropped", "pending"]);
    expect(unit.prod()).toBe(0);
    unit.file.write32(AT.CR0, EN.EVENTQ);
    expect(unit.sids()).toEqual([0x102]);
  });

  test("forgets events of stalled transactions when SMMUEN is cleared", () => {
    const unit = makeQueue();
    unit.file.write32(AT.CR0, EN.SMMU);
    unit.stall(1);
    unit.file.write32(AT.CR0, 0);
    unit.file.write32(AT.CR0, EN.EVENTQ);
    expect(unit.sids()).toEqual([]);
  });

  test("is aborted where there is no memory", () => {
    const unit = makeQueue({ base: NOWHERE });
    expect(unit.record(1)).toBe("dropped");
    expect([unit.prod(), unit.file.read32(AT.GERROR)]).toEqual([0, ERR.EVENTQ_ABT]);
    unit.file.write32(AT.CR0, 0);
    unit.file.write64(AT.EVENTQ_BASE, BASE | 2n);
    unit.file.write32(AT.CR0, EN.EVENTQ);
    // The error is active still.
    expect([unit.record(2), unit.stall(3)]).toEqual(["dropped", "pending"]);
    unit.file.write32(AT.GERRORN, ERR.EVENTQ_ABT);
    expect(unit.sids()).toEqual([0x103]);
    expect(unit.record(4)).toBe("recorded");
  });

  test("keeps the order of events of stalled transactions when it is aborted", () => {
    const unit = makeQueue({ base: NOWHERE });
    expect([unit.stall(1), unit.stall(2)]).toEqual(["pending", "pending"]);
    // Acknowledged, it is tried again, and aborted again.
    unit.file.write32(AT.GERRORN, ERR.EVENTQ_ABT);
    expect(unit.file.read32(AT.GERROR)).toBe(0);
    unit.file.write32(AT.CR0, EN.SMMU);
    unit.file.write64(AT.EVENTQ_BASE, BASE | 2n);
    unit.file.write32(AT.CR0, EN.SMMU | EN.EVENTQ);
    expect(unit.sids()).toEqual([]);
    unit.file.write32(AT.GERRORN, 0);
    expect(unit.sids()).toEqual([0x101, 0x102]);
  });

  test("refuses an event that is none, and changes nothing", () => {
    const unit = makeQueue();
    refused("invalid", () => unit.eventQueue.record({ code: 0, sid: 0 }));
    expect(unit.prod()).toBe(0);
  });
});

describe("the interrupt of the Event queue", () => {
  const WIRED = { source: "EVENTQ", message: null } as const;

  test("comes when the queue is no longer empty", () => {
    const unit = makeQueue();
    unit.file.write32(AT.IRQ_CTRL, 4);
    unit.record(1);
    unit.record(2);
    expect(unit.interrupts).toEqual([WIRED]);
    unit.consume();
    unit.record(3);
    expect(unit.interrupts).toEqual([WIRED]);
    unit.consume();
    unit.consume();
    unit.record(4);
    expect(unit.interrupts).toEqual([WIRED, WIRED]);
  });

  test("is lost while it is disabled", () => {
    const unit = makeQueue();
    unit.record(1);
    unit.file.write32(AT.IRQ_CTRL, 4);
    expect(unit.interrupts).toEqual([]);
  });

  test.each([
    ["a message to a doorbell", {}, DOORBELL, [{ source: "EVENTQ", message: { address: DOORBELL, data: 0xabcd } }], 0],
    ["a message to memory", {}, 0x4000n, [], 0],
    ["a message that is aborted", {}, NOWHERE, [], ERR.MSI_EVENTQ_ABT],
    ["a wire without MSIs", { idr0: { MSI: 0 } }, DOORBELL, [WIRED], 0],
  ] as const)("can be %s", (_what, options, address, interrupts, gerror) => {
    const unit = makeQueue(options);
    unit.file.write64(AT.EVENTQ_IRQ_CFG0, address);
    unit.file.write32(AT.EVENTQ_IRQ_CFG1, 0xabcd);
    unit.file.write32(AT.IRQ_CTRL, 4);
    unit.record(1);
    expect(unit.interrupts).toEqual(interrupts);
    expect(unit.file.read32(AT.GERROR)).toBe(gerror);
    expect(unit.memory.read64(0x4000n)).toBe(address === 0x4000n ? 0xabcdn : 0n);
  });

  test("may be answered at once", () => {
    const unit: ReturnType<typeof makeQueue> = makeQueue({
      log2Size: 0,
      onInterrupt: () => unit.consume(),
    });
    unit.record(1);
    for (const stag of [2, 3, 4]) unit.stall(stag);
    unit.file.write32(AT.IRQ_CTRL, 4);
    unit.consume();
    expect([unit.prod(), unit.file.read32(AT.EVENTQ_CONS), unit.interrupts.length]).toEqual([0, 0, 3]);
  });
});
