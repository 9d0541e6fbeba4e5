/** Fault reasons, fault recording registers and the fault event. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { makeCapabilities } from "../../src/vtd/capabilities.js";
import { FAULT_REASONS, isReported } from "../../src/vtd/fault-reasons.js";
import { type FaultRecord, FaultRecorder, type QueueErrorKind } from "../../src/vtd/faults.js";
import { refused } from "../support/errors.js";
import { makeUnit, type UnitOptions } from "./register-support.js";

const PFO = 0x01;
const PPF = 0x02;
const IQE = 0x10;
const ICE = 0x20;
const ITE = 0x40;
const IM = 0x8000_0000;
const IP = 0x4000_0000;

const FAULT: FaultRecord = { reason: 0x05, sid: 0x0010, address: 0x1000n, access: "write", type: "untranslated" };

function makeFaults(options: UnitOptions = {}) {
  const { faults, messages } = makeUnit({ cap: { NFR: 3 }, ...options });
  return { faults, messages };
}

function numbers(text: string): number[] {
  return text.split(" ").map((code) => Number.parseInt(code, 16));
}

describe("fault reasons", () => {
  const all = numbers(
    "1 2 3 4 5 6 7 8 9 a b c d e 20 21 22 23 24 25 26 27 28 29 2a 2b 30 31 32 33 34 38 39 3a 40 41 42 43 44 45 46 47 48 " +
      "49 50 51 52 58 59 5a 5b 5c 5d 60 70 71 72 73 74 75 76 77 78 79 7a 7b 7c 7d 80 81 82 83 84 85 86 87 89 90 91 a0 a1 " +
      "a2 a3 a4 a5",
  );
  const codesWhere = (holds: (code: number) => boolean) => all.filter(holds);

  test("are these", () => {
    expect([...FAULT_REASONS.keys()]).toEqual(all);
    for (const [code, reason] of FAULT_REASONS) expect(reason.code).toBe(code);
  });

  test("have names of their own", () => {
    expect(new Set([...FAULT_REASONS.values()].map(({ name }) => name)).size).toBe(all.length);
    expect(FAULT_REASONS.get(0x08)?.name).toBe("LRT.1");
    expect(FAULT_REASONS.get(0x71)?.name).toBe("SFS.2");
  });

  test("are qualified but for these", () => {
    const unqualified = numbers("1 8 9 a 20 21 23 25 29 2a 2b 30 31 32 33 34 38 39 3a 40 50 58");
    expect(codesWhere((code) => FAULT_REASONS.get(code)?.qualified === false)).toEqual(unqualified);
  });

  test.each([
    ["UR", "1 2 d 31 33 34 39 41 44 45 46 48 89"],
    ["CA", "3 7 8 9 a b c e 30 38 3a 40 42 43 50 52 58 5a 5b 78 7a 7b 7c 7d 87"],
    ["success", "4 51 59 5c 5d 70 71 72 73 74 75 76 77 79 80 81 83 84 90 91"],
    ["effective", "5 6 85 86"],
    [null, "20 21 22 23 24 25 26 27 28 29 2a 2b 32 47 49 60 82 a0 a1 a2 a3 a4 a5"],
  ])("answer translation requests with %s", (completion, codes) => {
    expect(codesWhere((code) => FAULT_REASONS.get(code)?.translation === completion)).toEqual(numbers(codes));
  });

  test.each([
    ["UR", "1 2 3 4 8 9 a b d e 30 31 33 34 38 39 3a 40 41 42 43 44 46 48 49 51 59 60 83 87 89 a3 a4 a5"],
    ["CA", "50 52 58 5a 5b a0 a1 a2"],
  ])("answer translated requests with %s", (completion, codes) => {
    expect(codesWhere((code) => FAULT_REASONS.get(code)?.translated === completion)).toEqual(numbers(codes));
  });

  test("answer untranslated requests with UR, but for these", () => {
    const others = codesWhere((code) => FAULT_REASONS.get(code)?.untranslated !== "UR");
    expect(others).toEqual(numbers("d 32 44 47 49 60 a0 a1 a2 a3 a4 a5"));
    for (const code of others) expect(FAULT_REASONS.get(code)?.untranslated).toBeNull();
  });

  test("are reported unless a translation request gets a translation", () => {
    const reasons = [...FAULT_REASONS.values()];
    expect(reasons.every((reason) => isReported(reason, "untranslated") && isReported(reason, "translated"))).toBe(
      true,
    );
    const silent = reasons.filter((reason) => !isReported(reason, "translation")).map(({ code }) => code);
    expect(silent).toEqual(numbers("4 5 6 51 59 5c 5d 70 71 72 73 74 75 76 77 79 80 81 83 84 85 86 90"));
  });
});

describe("a fault recording register", () => {
  const cases: readonly (readonly [string, Partial<FaultRecord>, low: bigint, high: bigint])[] = [
    ["a write", {}, 0x1000n, 0x8000_0005_0000_0010n],
    ["a read", { access: "read" }, 0x1000n, 0xc000_0005_0000_0010n],
    ["a page request", { access: "page-request" }, 0x1000n, 0x8000_0005_1000_0010n],
    ["an AtomicOp", { access: "atomic" }, 0x1000n, 0xc000_0005_1000_0010n],
    ["a translation request", { type: "translation" }, 0x1000n, 0x9000_0005_0000_0010n],
    ["a translated request", { type: "translated" }, 0x1000n, 0xa000_0005_0000_0010n],
    ["a PASID", { pasid: 0xabcde }, 0x1000n, 0x8abc_de05_8000_0010n],
    ["PASID 0", { pasid: 0 }, 0x1000n, 0x8000_0005_8000_0010n],
    ["privilege with a PASID", { pasid: 1, privileged: true }, 0x1000n, 0x8000_0105_a000_0010n],
    ["privilege without a PASID", { privileged: true }, 0x1000n, 0x8000_0005_0000_0010n],
    ["execution", { pasid: 1, execute: true, access: "read" }, 0x1000n, 0xc000_0105_c000_0010n],
    ["execution of a write", { pasid: 1, execute: true }, 0x1000n, 0x8000_0105_8000_0010n],
    ["the largest fields", { reason: 0xff, sid: 0xffff }, 0x1000n, 0x8000_00ff_0000_ffffn],
    ["an offset within the page", { address: 0x1fffn }, 0x1000n, 0x8000_0005_0000_0010n],
    [
      "bits above the largest AGAW",
      { address: 0xffff_ffff_ffff_f123n },
      0x01ff_ffff_ffff_f000n,
      0x8000_0005_0000_0010n,
    ],
    [
      "an interrupt index",
      { reason: 0x22, address: 0xabcd_ffff_ffff_ffffn },
      0xabcd_0000_0000_0000n,
      0x8000_0022_0000_0010n,
    ],
  ];

  test.each(cases)("holds %s", (_what, changes, low, high) => {
    const { faults } = makeFaults();
    faults.record({ ...FAULT, ...changes });
    expect([faults.word(0), faults.word(1)]).toEqual([low, high]);
  });

  test("has neither PASID nor address type where the unit has not", () => {
    const { faults } = makeFaults({ ecap: { PASID: 0, DT: 0 } });
    faults.record({ ...FAULT, type: "translated", pasid: 5, privileged: true });
    expect(faults.word(1)).toBe(0x8000_0005_0000_0010n);
  });

  test.each([
    [{ SAGAW: 0b01110 }, 57],
    [{ SAGAW: 0b00110 }, 48],
    [{ SAGAW: 0b00010 }, 39],
    [{ SAGAW: 0, FS5LP: 1 }, 57],
    [{ SAGAW: 0, FS5LP: 0 }, 48],
  ])("of %j keeps addresses of %i bits", (cap, width) => {
    const { faults } = makeFaults({ cap });
    faults.record({ ...FAULT, address: 0xffff_ffff_ffff_ffffn });
    expect(faults.word(0)).toBe((1n << BigInt(width)) - 0x1000n);
    expect(faults.records[0].address).toBe(0xffff_ffff_ffff_f000n);
  });

  test("reads back as it was recorded", () => {
    const page = fc.bigInt({ min: 0n, max: (1n << 52n) - 1n }).map((number) => number << 12n);
    const plain = fc.record({
      reason: fc.constantFrom(...FAULT_REASONS.keys()).filter((code) => code < 0x20 || code > 0x2b),
      sid: fc.integer({ min: 0, max: 0xffff }),
      address: page,
      access: fc.constantFrom("read", "write", "atomic", "page-request"),
      type: fc.constantFrom("untranslated", "translation", "translated"),
    });
    const prefix = fc.record({ pasid: fc.integer({ min: 0, max: 0xfffff }), privileged: fc.boolean() });
    const fault = fc.tuple(plain, fc.option(prefix, { nil: undefined })).map(
      ([rest, pasidPrefix]): FaultRecord => ({
        ...rest,
        ...(pasidPrefix && { ...pasidPrefix, execute: pasidPrefix.privileged && rest.access === "read" }),
      }),
    );
    fc.assert(
      fc.property(fault, (recorded) => {
        const { faults } = makeFaults();
        faults.record(recorded);
        expect(faults.records).toEqual([{ index: 0, ...recorded }]);
      }),
    );
  });

  test.each<[string, Partial<FaultRecord>]>([
    ["fault reason", { reason: 0x100 }],
    ["source ID", { sid: 0x1_0000 }],
    ["source ID", { sid: -1 }],
    ["PASID", { pasid: 1 << 20 }],
    ["PASID", { pasid: 0.5 }],
    ["address", { address: -1n }],
    ["address", { address: 1n << 64n }],
  ])("has no place for such a %s (%#)", (what, changes) => {
    const { faults, messages } = makeFaults();
    faults.event.writeControl(0);
    expect(refused("invalid", () => faults.record({ ...FAULT, ...changes })).message).toContain(what);
    expect([faults.status, messages]).toEqual([0, []]);
  });
});

describe("the registers are a ring", () => {
  test("that overflows, and records again once it is emptied and PFO is clear", () => {
    const { faults } = makeFaults();
    const record = (sid: number) => faults.record({ ...FAULT, sid });
    expect([1, 2, 3, 4].map(record)).toEqual(["recorded", "recorded", "recorded", "recorded"]);
    expect(faults.status).toBe(PPF);
    expect(record(5)).toBe("dropped");
    expect(faults.status).toBe(PPF | PFO);
    for (const index of [0, 1, 2, 3]) faults.clearFault(index);
    expect(faults.status).toBe(PFO);
    expect(record(6)).toBe("dropped");
    faults.clearStatus(PFO);
    expect(faults.status).toBe(0);
    expect(record(7)).toBe("recorded");
    expect(faults.records).toEqual([{ index: 0, ...FAULT, sid: 7 }]);
  });

  test("in which FRI names the oldest of those that are pending", () => {
    const { faults } = makeFaults();
    for (const sid of [1, 2, 3]) faults.record({ ...FAULT, sid });
    faults.clearFault(0);
    expect(faults.status).toBe(PPF);
    faults.clearFault(1);
    faults.clearFault(2);
    for (const sid of [4, 5]) faults.record({ ...FAULT, sid });
    expect(faults.status).toBe((3 << 8) | PPF);
    expect(faults.records.map(({ index, sid }) => [index, sid])).toEqual([
      [3, 4],
      [0, 5],
    ]);
  });

  test("that drops on a register still in use although others are free", () => {
    const { faults } = makeFaults();
    for (const sid of [1, 2, 3, 4]) faults.record({ ...FAULT, sid });
    faults.clearFault(2);
    expect(faults.record(FAULT)).toBe("dropped");
    expect(faults.records.map(({ sid }) => sid)).toEqual([1, 2, 4]);
  });

  test("that begins anew when its index is reset", () => {
    const { faults } = makeFaults();
    faults.record(FAULT);
    faults.clearFault(0);
    faults.resetIndex();
    faults.record(FAULT);
    expect(faults.records.map(({ index }) => index)).toEqual([0]);
  });

  test("of one register", () => {
    const { faults } = makeFaults({ cap: { NFR: 0 } });
    expect([faults.record(FAULT), faults.record(FAULT)]).toEqual(["recorded", "dropped"]);
  });

  test("of which software cannot clear PPF or FRI", () => {
    const { faults } = makeFaults();
    for (const _ of [1, 2]) {
      faults.record(FAULT);
      faults.clearFault(0);
    }
    expect(faults.status).toBe((1 << 8) | PPF);
    faults.clearStatus(0xffff_ffff);
    expect(faults.status).toBe((1 << 8) | PPF);
  });
});

describe("the fault event", () => {
  const KINDS: readonly (readonly [QueueErrorKind, number])[] = [
    ["IQE", IQE],
    ["ICE", ICE],
    ["ITE", ITE],
  ];

  function makeProgrammed(options: UnitOptions = {}) {
    const made = makeFaults(options);
    Object.assign(made.faults.event, { data: 0x4021, address: 0xfee0_1000, upperAddress: 0x12 });
    return made;
  }
  const MESSAGE = { address: 0x12_fee0_1000n, data: 0x4021, cause: "fault" };

  test("is masked after reset", () => {
    expect(makeFaults().faults.event.control).toBe(IM);
  });

  test("is sent at once when it is not masked", () => {
    const { faults, messages } = makeProgrammed();
    faults.event.writeControl(0);
    faults.record(FAULT);
    expect(messages).toEqual([MESSAGE]);
    expect(faults.event.control).toBe(0);
  });

  test("is held back while it is masked, and sent once when the mask is lifted", () => {
    const { faults, messages } = makeProgrammed();
    faults.record(FAULT);
    expect([faults.event.control, messages]).toEqual([(IM | IP) >>> 0, []]);
    faults.event.writeControl(IM);
    expect(messages).toEqual([]);
    faults.event.writeControl(IP);
    expect([faults.event.control, messages]).toEqual([0, [MESSAGE]]);
    faults.event.writeControl(IM);
    faults.event.writeControl(0);
    expect(messages).toHaveLength(1);
  });

  test("is withdrawn when software services everything first", () => {
    const { faults, messages } = makeProgrammed();
    faults.record(FAULT);
    faults.queueError("IQE");
    faults.clearFault(0);
    expect(faults.event.control).toBe((IM | IP) >>> 0);
    faults.clearStatus(IQE);
    expect(faults.event.control).toBe(IM);
    faults.event.writeControl(0);
    expect(messages).toEqual([]);
  });

  test("cannot be made pending by software", () => {
    const { faults, messages } = makeProgrammed();
    faults.event.writeControl((IM | IP) >>> 0);
    faults.event.writeControl(0);
    expect(messages).toEqual([]);
  });

  test.each(KINDS)("tells of %s", (kind, bit) => {
    const { faults, messages } = makeProgrammed();
    faults.event.writeControl(0);
    faults.queueError(kind);
    expect(faults.status).toBe(bit);
    expect(faults.hasQueueError(kind)).toBe(true);
    expect(faults.queueStopped).toBe(kind !== "ICE");
    expect(messages).toEqual([MESSAGE]);
    faults.clearStatus(bit);
    expect([faults.status, faults.queueStopped]).toEqual([0, false]);
  });

  test("does not tell of ICE and ITE where there are no device-TLBs", () => {
    const { faults, messages } = makeProgrammed({ ecap: { DT: 0 } });
    faults.event.writeControl(0);
    faults.queueError("ICE");
    faults.queueError("ITE");
    expect([faults.status, messages]).toEqual([0, []]);
  });

  const fault = (faults: FaultRecorder) => void faults.record(FAULT);
  const errors = KINDS.map(
    ([kind]) =>
      (faults: FaultRecorder) =>
        faults.queueError(kind),
  );
  test.each([fault, ...errors].flatMap((first) => [fault, ...errors].map((second) => [first, second] as const)))(
    "is not sent for a second condition while the first is pending (%#)",
    (first, second) => {
      const { faults, messages } = makeProgrammed();
      faults.event.writeControl(0);
      first(faults);
      second(faults);
      expect(messages).toHaveLength(1);
      faults.clearFault(0);
      faults.clearFault(1);
      faults.clearStatus(0xff);
      second(faults);
      expect(messages).toHaveLength(2);
    },
  );

  test("is not sent while only PFO is pending", () => {
    const { faults, messages } = makeProgrammed({ cap: { NFR: 0 } });
    faults.event.writeControl(0);
    faults.record(FAULT);
    faults.record(FAULT);
    faults.clearFault(0);
    expect(faults.status).toBe(PFO);
    faults.queueError("IQE");
    expect(messages).toHaveLength(1);
  });
});

test("a register that was taken over goes on where its pending faults end", () => {
  const { faults, messages } = makeFaults();
  faults.event.writeControl(0);
  faults.restoreStatus((3 << 8) | PPF | PFO | ITE);
  const F = 1n << 63n;
  for (const [index, sid] of [
    [3, 1n],
    [0, 2n],
  ] as const)
    faults.restoreWord(2 * index + 1, F | sid);
  expect(faults.status).toBe((3 << 8) | PPF | PFO | ITE);
  expect(faults.records.map(({ index, sid }) => [index, sid])).toEqual([
    [3, 1],
    [0, 2],
  ]);
  expect(messages).toEqual([]);
  faults.clearStatus(PFO);
  faults.record({ ...FAULT, sid: 3 });
  expect(faults.records.map(({ index, sid }) => [index, sid])).toEqual([
    [3, 1],
    [0, 2],
    [1, 3],
  ]);
});

test("PPF of a taken-over status counts for nothing without a pending fault", () => {
  const { faults } = makeFaults();
  faults.restoreStatus((2 << 8) | PPF);
  expect(faults.status).toBe(2 << 8);
  faults.record(FAULT);
  expect(faults.records.map(({ index }) => index)).toEqual([0]);
});

/** Section 7.2.1 and 7.3, sentence by sentence, with whole faults in an array and every field kept apart. */
class SlowFaults {
  readonly slots: (number | null)[];
  index = 0;
  fri = 0;
  pfo = false;
  errors = new Set<QueueErrorKind>();
  masked = true;
  pending = false;
  sent = 0;

  constructor(count: number) {
    this.slots = Array.from({ length: count }, () => null);
  }

  get ppf() {
    return this.slots.some((slot) => slot !== null);
  }

  record(sid: number): "recorded" | "dropped" {
    if (this.pfo) return "dropped";
    if (this.slots[this.index] !== null) {
      this.pfo = true;
      return "dropped";
    }
    const unserviced = this.unserviced();
    const ppf = this.ppf;
    this.slots[this.index] = sid;
    if (!ppf) this.fri = this.index;
    this.index = this.index === this.slots.length - 1 ? 0 : this.index + 1;
    if (!unserviced) this.interrupt();
    return "recorded";
  }

  error(kind: QueueErrorKind) {
    const unserviced = this.unserviced();
    this.errors.add(kind);
    if (!unserviced) this.interrupt();
  }

  mask(masked: boolean) {
    this.masked = masked;
    if (this.pending && !masked) this.send();
  }

  serviced(service: () => void) {
    service();
    if (!this.unserviced()) this.pending = false;
  }

  /** Pending source IDs from FRI on until every register was looked at. */
  get sids() {
    return [...this.slots.slice(this.fri), ...this.slots.slice(0, this.fri)].filter((sid) => sid !== null);
  }

  private unserviced() {
    return this.ppf || this.pfo || this.errors.size > 0;
  }

  private interrupt() {
    this.pending = true;
    if (!this.masked) this.send();
  }

  private send() {
    this.pending = false;
    this.sent++;
  }
}

type Action =
  | { readonly do: "record"; readonly sid: number }
  | { readonly do: "clear"; readonly slot: number }
  | { readonly do: "clearStatus"; readonly bits: number }
  | { readonly do: "mask"; readonly masked: boolean }
  | { readonly do: "error"; readonly kind: QueueErrorKind }
  | { readonly do: "resetIndex" };

test("the ring and its event do what the specification says step by step", () => {
  const action = fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant("record"), sid: fc.integer({ min: 0, max: 0xffff }) }) },
    { weight: 5, arbitrary: fc.record({ do: fc.constant("clear"), slot: fc.nat({ max: 7 }) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("clearStatus"), bits: fc.nat({ max: 0xff }) }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("mask"), masked: fc.boolean() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("error"), kind: fc.constantFrom("IQE", "ICE", "ITE") }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("resetIndex") }) },
  ) as fc.Arbitrary<Action>;
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 8 }), fc.array(action, { maxLength: 60 }), (count, actions) => {
      let sent = 0;
      const capabilities = makeCapabilities({ cap: { NFR: count - 1 } });
      const faults = new FaultRecorder({ capabilities, onMessage: () => sent++ });
      const slow = new SlowFaults(count);
      for (const step of actions) {
        switch (step.do) {
          case "record":
            expect(faults.record({ ...FAULT, sid: step.sid })).toBe(slow.record(step.sid));
            break;
          case "clear": {
            const slot = step.slot % count;
            faults.clearFault(slot);
            slow.serviced(() => {
              slow.slots[slot] = null;
            });
            break;
          }
          case "clearStatus":
            faults.clearStatus(step.bits);
            slow.serviced(() => {
              if (step.bits & PFO) slow.pfo = false;
              if (step.bits & IQE) slow.errors.delete("IQE");
              if (step.bits & ICE) slow.errors.delete("ICE");
              if (step.bits & ITE) slow.errors.delete("ITE");
            });
            break;
          case "mask":
            faults.event.writeControl(step.masked ? IM : 0);
            slow.mask(step.masked);
            break;
          case "error":
            faults.queueError(step.kind);
            slow.error(step.kind);
            break;
          case "resetIndex":
            faults.resetIndex();
            slow.index = 0;
            break;
        }
        const status = faults.status;
        expect((status & PFO) !== 0).toBe(slow.pfo);
        expect((status & PPF) !== 0).toBe(slow.ppf);
        if (slow.ppf) expect(status >>> 8).toBe(slow.fri);
        expect([IQE, ICE, ITE].map((bit) => (status & bit) !== 0)).toEqual(
          (["IQE", "ICE", "ITE"] as const).map((kind) => slow.errors.has(kind)),
        );
        expect(faults.records.map(({ sid }) => sid)).toEqual(slow.sids);
        expect(faults.event.control).toBe(((slow.masked ? IM : 0) | (slow.pending ? IP : 0)) >>> 0);
        expect(sent).toBe(slow.sent);
      }
    }),
    { numRuns: 300 },
  );
});
