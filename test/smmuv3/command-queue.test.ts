/** The Command queue: processing, errors, completion. */
import { describe, expect, test } from "vitest";
import { FlatMemory } from "../support/flat-memory.js";
import { AT, type Call, DOORBELL, EN, ERR, makeUnit, NOWHERE, type UnitOptions } from "./register-support.js";

const BASE = 0x10_0000n;
const ILL = 1 << 24;
const ABT = 2 << 24;
const ATC_INV_SYNC = 3 << 24;

type Words = readonly [bigint, bigint];

const SYNC: Words = [0x46n, 0n];
const ILLEGAL: Words = [0xffn, 0n];

function cfgi(sid: number): Words {
  return [(BigInt(sid) << 32n) | 0x03n, 0n];
}

function atc(sid: number): Words {
  return [(BigInt(sid) << 32n) | 0x40n, 0n];
}

function dropped(sid: number): Call {
  return ["Configuration", { scope: "ste", sid, leafOnly: false }];
}

interface QueueOptions extends UnitOptions {
  readonly log2Size?: number;
  readonly cr0?: number;
}

/** An enabled, empty queue of 4 entries. */
function makeQueue(options: QueueOptions = {}) {
  const unit = makeUnit(options);
  const { log2Size = 2, cr0 = EN.CMDQ | EN.SMMU } = options;
  unit.file.write64(AT.CMDQ_BASE, BASE | BigInt(log2Size));
  unit.file.write32(AT.CR0, cr0);
  const entries = 1 << log2Size;
  const put = (index: number, [first, second]: Words) => {
    const address = BASE + BigInt(16 * (index % entries));
    unit.memory.write64(address, first);
    unit.memory.write64(address + 8n, second);
  };
  /** Puts commands behind the producer index and moves it. */
  const submit = (...commands: readonly Words[]) => {
    let index = unit.file.read32(AT.CMDQ_PROD);
    for (const words of commands) {
      put(index, words);
      index = (index + 1) % (2 * entries);
    }
    unit.file.write32(AT.CMDQ_PROD, index);
  };
  const cons = () => unit.file.read32(AT.CMDQ_CONS);
  const acknowledge = () => unit.file.write32(AT.GERRORN, unit.file.read32(AT.GERROR));
  return { ...unit, put, submit, cons, acknowledge };
}

describe("the Command queue", () => {
  test("processes what is submitted, in order", () => {
    const unit = makeQueue();
    unit.submit(cfgi(1), [0x30n, 0n], cfgi(2));
    expect(unit.calls.map(([method]) => method)).toEqual(["Configuration", "Tlb", "Configuration"]);
    expect([unit.calls[0], unit.calls[2]]).toEqual([dropped(1), dropped(2)]);
    expect([unit.cons(), unit.file.read32(AT.GERROR)]).toEqual([3, 0]);
  });

  test("wraps, and uses all its entries", () => {
    const unit = makeQueue();
    for (let round = 0; round < 6; round++) {
      const sids = [0, 1, 2, 3].map((n) => 4 * round + n);
      unit.submit(...sids.map(cfgi));
      expect(unit.calls.splice(0)).toEqual(sids.map(dropped));
      unit.submit(cfgi(99));
      expect(unit.calls.splice(0)).toEqual([dropped(99)]);
      expect(unit.cons()).toBe(unit.file.read32(AT.CMDQ_PROD));
    }
    expect(unit.cons()).toBe(30 % 8);
  });

  test("does nothing while it is disabled", () => {
    const unit = makeQueue({ cr0: 0 });
    unit.submit(cfgi(1), cfgi(2));
    expect([unit.calls, unit.cons()]).toEqual([[], 0]);
    unit.file.write32(AT.CMDQ_CONS, 1);
    unit.file.write32(AT.CR0, EN.CMDQ);
    expect([unit.calls, unit.cons()]).toEqual([[dropped(2)], 2]);
  });

  test.each([
    ["is aligned to its size", {}, (BASE + 0x20n) | 2n, BASE],
    ["has at most IDR1.CMDQS", { idr1: { CMDQS: 2 } }, (BASE + 0x40n) | 19n, BASE + 0x40n],
    ["is aligned to 32 bytes", {}, (BASE + 0x20n) | 0n, BASE + 0x20n],
    ["lies within OAS", { idr5: { OAS: 0 } }, (1n << 40n) | BASE | 2n, BASE],
  ] as const)("%s", (_what, options, register, address) => {
    const unit = makeUnit(options);
    unit.file.write64(AT.CMDQ_BASE, register);
    unit.file.write32(AT.CR0, EN.CMDQ);
    unit.memory.write64(address, cfgi(7)[0]);
    unit.file.write32(AT.CMDQ_PROD, 1);
    expect(unit.calls).toEqual([dropped(7)]);
  });

  test("hands responses and stalled transactions on", () => {
    const unit = makeQueue({ idr0: { PRI: 1 } });
    unit.submit([0x5_0000_0041n, 0x2007n], [0x5_0000_1044n, 0x9n], [0x6_0000_0045n, 0n]);
    expect(unit.responses).toEqual([{ sid: 5, ssid: null, pageRequestGroupIndex: 7, response: "success" }]);
    expect(unit.resumes).toEqual([{ sid: 5, stag: 9, action: "retry" }]);
    expect(unit.stallTerminations).toEqual([6]);
  });

  test("ignores what is for ATS while SMMUEN is clear", () => {
    const unit = makeQueue({ cr0: EN.CMDQ, idr0: { PRI: 1 }, responds: () => false });
    unit.submit(atc(1), [0x41n, 0n], SYNC);
    expect([unit.calls, unit.responses, unit.cons()]).toEqual([[], [], 3]);
  });

  test("consumes what there is nothing to do for", () => {
    const unit = makeQueue({ idr3: { MPAM: 1, DPT: 1 }, log2Size: 3 });
    unit.submit([0x01n, 0n], [0x02n, 0n], [0x07n, 0n], [0x70n, 0n], [0x73n, 0n]);
    expect([unit.calls, unit.cons(), unit.file.read32(AT.GERROR)]).toEqual([[], 5, 0]);
  });

  test("heeds SMMU_CR2.E2H and SMMU_CR0.VMW", () => {
    const unit = makeUnit({ idr0: { VMW: 1 } });
    unit.file.write32(AT.CR2, 1);
    unit.file.write64(AT.CMDQ_BASE, BASE | 2n);
    unit.file.write32(AT.CR0, EN.CMDQ | (2 << 6));
    unit.memory.write64(BASE, 0x22n);
    unit.memory.write64(BASE + 16n, 0x10n);
    unit.file.write32(AT.CMDQ_PROD, 2);
    expect(unit.calls).toMatchObject([
      ["Tlb", { streamWorlds: ["NS-EL2-E2H"], asid: 0 }],
      ["Tlb", { vmid: { vmid: 0, ignoredBits: 2 } }],
    ]);
  });

  test("is not entered twice when what it tells of writes registers", () => {
    const unit: ReturnType<typeof makeQueue> = makeQueue({
      onInterrupt: () => {
        if (unit.calls.length < 2) unit.submit(cfgi(2));
      },
    });
    unit.submit(cfgi(1), [0x1046n, 0n]);
    expect(unit.calls).toEqual([dropped(1), dropped(2)]);
    expect([unit.cons(), unit.interrupts.length]).toEqual([3, 1]);
  });

  test("goes on after a callback that threw", () => {
    const responds = (sid: number) => {
      if (sid === 1) throw new Error("no such device");
      return true;
    };
    const unit = makeQueue({ responds });
    expect(() => unit.submit(atc(1))).toThrow("no such device");
    unit.submit(cfgi(2));
    expect(unit.calls.slice(1)).toEqual([dropped(2)]);
  });
});

describe("errors of the Command queue", () => {
  test("stop it at the illegal command until they are acknowledged", () => {
    const unit = makeQueue();
    unit.submit(cfgi(1), ILLEGAL, cfgi(2));
    expect(unit.calls).toEqual([dropped(1)]);
    expect([unit.cons(), unit.file.read32(AT.GERROR)]).toEqual([ILL | 1, ERR.CMDQ]);
    unit.submit(cfgi(3));
    unit.file.write32(AT.CR0, EN.SMMU);
    unit.file.write32(AT.CR0, EN.CMDQ | EN.SMMU);
    expect(unit.calls).toEqual([dropped(1)]);
    // Software puts another command in its place.
    unit.put(1, SYNC);
    unit.acknowledge();
    expect(unit.calls).toEqual([dropped(1), dropped(2), dropped(3)]);
    expect(unit.cons() & 0xf_ffff).toBe(4);
  });

  test("toggle GERROR each time", () => {
    const unit = makeQueue();
    unit.submit(ILLEGAL);
    expect(unit.file.read32(AT.GERROR)).toBe(ERR.CMDQ);
    unit.acknowledge();
    expect([unit.cons(), unit.file.read32(AT.GERROR)]).toEqual([ILL, 0]);
    expect(unit.file.read32(AT.GERRORN)).toBe(ERR.CMDQ);
  });

  test("can be mended by moving the producer back", () => {
    const unit = makeQueue();
    unit.submit(ILLEGAL, cfgi(1));
    unit.file.write32(AT.CMDQ_PROD, 0);
    unit.acknowledge();
    expect([unit.calls, unit.file.read32(AT.GERROR)]).toEqual([[], ERR.CMDQ]);
  });

  test("are aborts where there is no memory", () => {
    const unit = makeUnit();
    unit.file.write64(AT.CMDQ_BASE, FlatMemory.END | 1n);
    unit.file.write32(AT.CR0, EN.CMDQ);
    unit.file.write32(AT.CMDQ_PROD, 1);
    expect([unit.file.read32(AT.CMDQ_CONS), unit.file.read32(AT.GERROR)]).toEqual([ABT, ERR.CMDQ]);
  });

  test("raise the interrupt of global errors", () => {
    const unit = makeQueue();
    unit.file.write64(AT.GERROR_IRQ_CFG0, DOORBELL);
    unit.file.write32(AT.GERROR_IRQ_CFG1, 0x55);
    unit.file.write32(AT.IRQ_CTRL, 1);
    unit.submit(ILLEGAL);
    expect(unit.interrupts).toEqual([{ source: "GERROR", message: { address: DOORBELL, data: 0x55 } }]);
  });

  test("raise no second interrupt when the first was aborted", () => {
    const unit = makeQueue();
    unit.file.write64(AT.GERROR_IRQ_CFG0, NOWHERE);
    unit.file.write32(AT.IRQ_CTRL, 1);
    unit.submit(ILLEGAL);
    expect(unit.file.read32(AT.GERROR)).toBe(ERR.CMDQ | ERR.MSI_GERROR_ABT);
    expect(unit.interrupts).toEqual([]);
  });

  test("are time-outs of devices, at the next SYNC", () => {
    const unit = makeQueue({ log2Size: 3, responds: (sid) => sid !== 2 });
    unit.submit(atc(1), SYNC, atc(2), cfgi(7), [0x1046n, 0n], cfgi(8));
    expect(unit.calls.slice(2)).toEqual([dropped(7)]);
    expect([unit.cons(), unit.file.read32(AT.GERROR)]).toEqual([ATC_INV_SYNC | 4, ERR.CMDQ]);
    expect(unit.interrupts).toEqual([]);
    // The same SYNC has nothing left to wait for.
    unit.acknowledge();
    expect([unit.cons() & 0xf_ffff, unit.interrupts.length]).toEqual([6, 1]);
    expect(unit.calls.slice(3)).toEqual([dropped(8)]);
  });
});

describe("completion of SYNC", () => {
  const interrupt = (address: bigint): Words => [0xabcd_0000_1046n, address];

  test.each([
    ["no address", {}, 0n, [{ source: "CMD_SYNC", message: null }], 0],
    ["a doorbell", {}, DOORBELL, [{ source: "CMD_SYNC", message: { address: DOORBELL, data: 0xabcd } }], 0],
    ["memory", {}, 0x4004n, [], 0],
    ["nowhere", {}, NOWHERE, [], ERR.MSI_CMDQ_ABT],
    ["a doorbell, without MSIs", { idr0: { MSI: 0 } }, DOORBELL, [{ source: "CMD_SYNC", message: null }], 0],
    ["memory beyond OAS", { idr5: { OAS: 0 } }, (1n << 40n) | 0x4004n, [], 0],
  ] as const)("interrupts: %s", (_what, options, address, interrupts, gerror) => {
    const unit = makeQueue(options);
    unit.submit(interrupt(address));
    expect(unit.interrupts).toEqual(interrupts);
    expect([unit.cons(), unit.file.read32(AT.GERROR)]).toEqual([1, gerror]);
    expect(unit.memory.read64(0x4000n)).toBe((address & 0xffff_ffffn) === 0x4004n ? 0xabcd_0000_0000n : 0n);
  });

  test("is seen only after the SYNC was consumed", () => {
    const seen: number[] = [];
    const unit: ReturnType<typeof makeQueue> = makeQueue({ onInterrupt: () => seen.push(unit.cons()) });
    unit.submit(cfgi(1), interrupt(0n));
    expect(seen).toEqual([2]);
  });

  test("can wake processors", () => {
    const unit = makeQueue();
    unit.submit([0x2046n, 0n]);
    expect([unit.wakeUps, unit.interrupts]).toEqual([[1], []]);
    const deaf = makeQueue({ idr0: { SEV: 0 } });
    deaf.submit([0x2046n, 0n]);
    expect([deaf.wakeUps, deaf.cons()]).toEqual([[], 1]);
  });

  test("is not needed to wake who waits for room", () => {
    const unit = makeQueue();
    unit.submit(cfgi(1), cfgi(2), cfgi(3), cfgi(4));
    expect(unit.wakeUps).toEqual([1]);
  });

  test("of other kinds tells nobody", () => {
    const unit = makeQueue();
    unit.submit([0x46n, DOORBELL]);
    expect([unit.interrupts, unit.wakeUps, unit.cons()]).toEqual([[], [], 1]);
  });
});
