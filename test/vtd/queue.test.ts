/** The invalidation queue: descriptors, errors, waits and time-outs. */
import { describe, expect, test } from "vitest";
import { refused } from "../support/errors.js";
import { FlatMemory } from "../support/flat-memory.js";
import { type Call, makeUnit, type Unit, type UnitOptions } from "./register-support.js";

const LEGACY = 0;
const SCALABLE = 1;
const RESERVED_MODE = 2;
const ABORT = 3;

const IQE = 0x10;
const ICE = 0x20;
const ITE = 0x40;
const DW = 1n << 11n;
const BASE = 0x10_0000n;
const STATUS = 0x20_0000n;

type Words = readonly bigint[];
type Case = readonly [what: string, words: Words, call: Call, options?: QueueOptions];

/** Cases with all their members, as `test.each` wants them. */
function complete(cases: readonly Case[]) {
  return cases.map(([what, words, call, options = {}]) => [what, words, call, options] as const);
}

interface QueueOptions extends UnitOptions {
  readonly ttm?: number;
  readonly wide?: boolean;
  /** IQA.QS: 2^qs pages. */
  readonly qs?: number;
}

/** An enabled, empty queue. Scalable and abort-DMA mode have 256-bit descriptors unless said otherwise. */
function makeQueue(options: QueueOptions = {}) {
  const unit = makeUnit(options);
  const ttm = options.ttm ?? LEGACY;
  const wide = options.wide ?? ttm !== LEGACY;
  unit.queue.setTranslationTableMode(ttm);
  unit.queue.writeAddress(BASE | (wide ? DW : 0n) | BigInt(options.qs ?? 0));
  unit.queue.setEnabled(true);
  unit.faults.event.writeControl(0);
  const bytes = wide ? 32 : 16;
  const size = 4096 << (options.qs ?? 0);
  /** Puts descriptors behind the tail and moves it. */
  const submit = (...descriptors: readonly Words[]) => {
    let tail = unit.queue.registers.iqt;
    for (const words of descriptors) {
      for (let i = 0; i < bytes / 8; i++) unit.memory.write64(BASE + BigInt(tail + 8 * i), words[i] ?? 0n);
      tail = (tail + bytes) % size;
    }
    unit.queue.writeTail(tail);
  };
  return { ...unit, submit, bytes, size };
}

function iqei({ queue }: Pick<Unit, "queue">): number {
  return Number(queue.registers.iqercd & 0xfn);
}

/** Every capability that a descriptor asks for. HPTS is bit 55 of ECAP. */
const EVERYTHING = { ecap: { DT: 1, PRS: 1, DIT: 1, PDS: 1, IR: 1 } } as const;
const GLOBAL_CONTEXT: Words = [0x11n];
const GLOBAL_IOTLB: Words = [0x12n];
const CONTEXT_CALL: Call = ["ContextCache", { granularity: "global", domain: 0, sid: 0, functionMask: 0 }];

function wait(flags: {
  sw?: boolean;
  if?: boolean;
  fn?: boolean;
  pd?: boolean;
  data?: bigint;
  address?: bigint;
}): Words {
  const first =
    0x5n |
    (flags.if ? 1n << 4n : 0n) |
    (flags.sw ? 1n << 5n : 0n) |
    (flags.fn ? 1n << 6n : 0n) |
    (flags.pd ? 1n << 7n : 0n) |
    ((flags.data ?? 0n) << 32n);
  return [first, flags.address ?? 0n];
}

describe("descriptors", () => {
  const CONTEXT = { granularity: "device", domain: 0x1234, sid: 0xabcd, functionMask: 3 };
  const cases: readonly Case[] = [
    ["1, global", [0x11n], CONTEXT_CALL],
    [
      "1, domain",
      [0x1234_0021n],
      ["ContextCache", { ...(CONTEXT_CALL[1] as object), granularity: "domain", domain: 0x1234 }],
    ],
    ["1, device", [0x0003_abcd_1234_0031n], ["ContextCache", CONTEXT]],
    [
      "1, with bits of the domain ID that the unit has not",
      [0xffff_0021n],
      ["ContextCache", { ...(CONTEXT_CALL[1] as object), granularity: "domain", domain: 0xff }],
      { cap: { ND: 2 } },
    ],
    [
      "2, global, draining",
      [0xd2n],
      ["Iotlb", { granularity: "global", domain: 0, address: 0n, addressMask: 0, leafOnly: false }],
    ],
    [
      "2, domain",
      [0x1234_0022n],
      ["Iotlb", { granularity: "domain", domain: 0x1234, address: 0n, addressMask: 0, leafOnly: false }],
    ],
    [
      "2, page, IH",
      [0x1234_0032n, 0x0000_7fff_ffff_f052n],
      ["Iotlb", { granularity: "page", domain: 0x1234, address: 0x7fff_ffff_f000n, addressMask: 18, leafOnly: true }],
    ],
    [
      "2, page, beyond MGAW",
      [0x32n, 0xffff_ffff_ffff_f000n],
      ["Iotlb", { granularity: "page", domain: 0, address: 0x7f_ffff_f000n, addressMask: 0, leafOnly: false }],
      { cap: { MGAW: 38 } },
    ],
    [
      "3, one page",
      [0x0000_abcd_001f_0003n, 0x5000n],
      ["DeviceTlb", { sid: 0xabcd, pasid: null, address: 0x5000n, size: 0x1000n }],
    ],
    [
      "3, 8 KiB",
      [0x0000_0001_0000_0003n, 0x4001n],
      ["DeviceTlb", { sid: 1, pasid: null, address: 0x4000n, size: 0x2000n }],
    ],
    [
      "3, 2 MiB",
      [0x0000_0001_0000_0003n, 0x4_000f_f001n],
      ["DeviceTlb", { sid: 1, pasid: null, address: 0x4_0000_0000n, size: 0x20_0000n }],
    ],
    [
      "3, upper half of all addresses",
      [0x0000_0001_0000_0003n, 0xbfff_ffff_ffff_f001n],
      ["DeviceTlb", { sid: 1, pasid: null, address: 0x8000_0000_0000_0000n, size: 1n << 63n }],
    ],
    [
      "3, everything",
      [0x0000_0001_0000_0003n, 0x7fff_ffff_ffff_f001n],
      ["DeviceTlb", { sid: 1, pasid: null, address: 0n, size: null }],
    ],
    [
      "3, all ones",
      [0x0000_0001_0000_0003n, 0xffff_ffff_ffff_f001n],
      ["DeviceTlb", { sid: 1, pasid: null, address: 0n, size: null }],
    ],
    [
      "3, with the physical function",
      [0xabc0_0001_0000_d003n, 0x1000n],
      ["DeviceTlb", { sid: 1, pasid: null, address: 0x1000n, size: 0x1000n }],
      EVERYTHING,
    ],
    ["4, global", [0x4n], ["InterruptEntries", { granularity: "global", index: 0, indexMask: 0 }]],
    [
      "4, index",
      [0x0000_1234_a800_0014n],
      ["InterruptEntries", { granularity: "index", index: 0x1234, indexMask: 21 }],
    ],
  ];
  test.each(complete(cases))("of type %s", (_what, words, call, options) => {
    const narrow = makeQueue(options);
    narrow.submit(words);
    const wide = makeQueue({ ...options, wide: true });
    wide.submit(words);
    const scalable = makeQueue({ ...options, ttm: SCALABLE });
    scalable.submit(words);
    for (const unit of [narrow, wide, scalable]) {
      expect(unit.calls).toEqual([call]);
      expect([unit.queue.registers.iqh, unit.faults.status]).toEqual([unit.bytes, 0]);
    }
  });

  const PASID = 0xfedcbn;
  const wideCases: readonly Case[] = [
    [
      "6, PASID",
      [(PASID << 32n) | 0x1234_0026n],
      [
        "PasidIotlb",
        { granularity: "pasid", domain: 0x1234, pasid: 0xfedcb, address: 0n, addressMask: 0, leafOnly: false },
      ],
    ],
    [
      "6, page, with an AM beyond MAMV where there is no page-selective type 2",
      [(PASID << 32n) | 0x1234_0036n, 0xffff_ffff_ffff_f07fn],
      [
        "PasidIotlb",
        {
          granularity: "page",
          domain: 0x1234,
          pasid: 0xfedcb,
          address: 0xffff_ffff_ffff_f000n,
          addressMask: 63,
          leafOnly: true,
        },
      ],
      { cap: { PSI: 0, MAMV: 0 } },
    ],
    ["7, domain", [0x1234_0007n], ["PasidCache", { granularity: "domain", domain: 0x1234, pasid: 0 }]],
    [
      "7, PASID",
      [(PASID << 32n) | 0x1234_0017n],
      ["PasidCache", { granularity: "pasid", domain: 0x1234, pasid: 0xfedcb }],
    ],
    ["7, global", [0x37n], ["PasidCache", { granularity: "global", domain: 0, pasid: 0 }]],
    [
      "8, 16 KiB",
      [(PASID << 32n) | 0xabcd_01f8n, 0x8000_1800n],
      ["DeviceTlb", { sid: 0xabcd, pasid: 0xfedcb, address: 0x8000_0000n, size: 0x4000n, globalInvalidate: false }],
    ],
    [
      "8, every PASID",
      [0xabcd_0008n, 0x7fff_ffff_ffff_f801n],
      ["DeviceTlb", { sid: 0xabcd, pasid: 0, address: 0n, size: null, globalInvalidate: true }],
    ],
    [
      "8, with the physical function",
      [0xabc0_0000_0001_d008n, 0x1000n],
      ["DeviceTlb", { sid: 1, pasid: 0, address: 0x1000n, size: 0x1000n, globalInvalidate: false }],
      EVERYTHING,
    ],
  ];
  test.each(complete(wideCases))("of type %s", (_what, words, call, options) => {
    for (const ttm of [SCALABLE, ABORT]) {
      const unit = makeQueue({ ...options, ttm });
      unit.submit(words);
      expect(unit.calls).toEqual([call]);
      expect([unit.queue.registers.iqh, unit.faults.status]).toEqual([32, 0]);
    }
  });

  test.each([
    [
      "with a PASID",
      (PASID << 32n) | 0xabcd_f019n,
      { rid: 0xabcd, pasid: 0xfedcb, pageRequestGroupIndex: 0x1ff, responseCode: 15 },
    ],
    [
      "without",
      (PASID << 32n) | 0xabcd_1009n,
      { rid: 0xabcd, pasid: null, pageRequestGroupIndex: 0x1ff, responseCode: 1 },
    ],
  ])("of type 9, %s", (_what, first, response) => {
    const unit = makeQueue({ ...EVERYTHING, ttm: SCALABLE });
    unit.submit([first, 0xffcn]);
    expect(unit.responses).toEqual([response]);
    expect([unit.queue.registers.iqh, unit.faults.status]).toEqual([32, 0]);
  });

  test("of type Ah", () => {
    const unit = makeQueue({ ecapRegister: makeUnit().capabilities.ecapRegister | (1n << 55n), ttm: SCALABLE });
    unit.submit([0x1234_003an, 0xffff_ffff_ffff_f0ffn]);
    expect([unit.queue.registers.iqh, unit.faults.status, unit.calls]).toEqual([32, 0, []]);
  });
});

describe("reserved fields", () => {
  const ALL = 0xffff_ffff_ffff_ffffn;
  const { ecapRegister } = makeUnit(EVERYTHING).capabilities;
  const rich: QueueOptions = { ecapRegister: ecapRegister | (1n << 55n) };
  const poor: QueueOptions = { ecap: { DIT: 0, PDS: 0 } };
  /** First and second word of a valid descriptor, and their reserved bits. */
  const layouts: readonly (readonly [string, Words, first: bigint, second: bigint, QueueOptions])[] = [
    ["1", [0x11n], 0xfffc_0000_0000_f1c0n, ALL, rich],
    ["2", [0x12n], 0xffff_ffff_0000_f100n, 0xf80n, rich],
    ["3", [0x03n], 0x000f_0000_ffe0_01f0n, 0xffen, rich],
    ["3 without DIT", [0x03n], 0xffff_0000_ffe0_f1f0n, 0xffen, poor],
    ["4", [0x04n], 0xffff_0000_07ff_f1e0n, ALL, rich],
    ["5", [0x05n], 0xffff_f100n, 0x3n, rich],
    ["5 without PDS", [0x05n], 0xffff_f180n, 0x3n, poor],
    ["6", [0x26n], 0xfff0_0000_0000_f1c0n, 0xf80n, rich],
    ["7", [0x07n], 0xfff0_0000_0000_f1c0n, ALL, rich],
    ["8", [0x08n], 0n, 0x7fen, rich],
    ["8 without DIT", [0x08n], 0xfff0_0000_0000_f000n, 0x7fen, poor],
    ["9", [0x09n], 0xfff0_0000_0000_01e0n, 0xffff_ffff_ffff_f003n, rich],
    ["Ah", [0x1an], 0xffff_ffff_0000_f1c0n, 0xf00n, rich],
  ];
  const TYPE_BITS = 0xe0fn;
  /** Granularities are tested by value, not by bit. */
  const GRANULARITY_BITS: Readonly<Record<string, bigint>> = { 1: 0x30n, 2: 0x30n, 6: 0x30n, 7: 0x30n, Ah: 0x30n };

  test.each(layouts)("of type %s are refused, and no other bits", (type, words, first, second, options) => {
    for (let bit = 0n; bit < 256n; bit++) {
      const word = Number(bit / 64n);
      const mask = 1n << (bit % 64n);
      if (word === 0 && (mask & (TYPE_BITS | (GRANULARITY_BITS[type] ?? 0n))) !== 0n) continue;
      const unit = makeQueue({ ...options, ttm: SCALABLE });
      unit.submit([0, 1, 2, 3].map((i) => (words[i] ?? 0n) ^ (i === word ? mask : 0n)));
      const isReserved = [(first & mask) !== 0n, (second & mask) !== 0n, true, true][word];
      expect([bit, unit.faults.status, iqei(unit)]).toEqual([bit, isReserved ? IQE : 0, isReserved ? 4 : 0]);
    }
  });

  test.each([
    ["1", 0x1n, [0]],
    ["2", 0x2n, [0]],
    ["6", 0x6n, [0, 1]],
    ["7", 0x7n, [2]],
    ["Ah", 0xan, [0]],
  ])("include some granularities of type %s", (_type, first, reserved) => {
    for (const granularity of [0, 1, 2, 3]) {
      const unit = makeQueue({ ...rich, ttm: SCALABLE });
      unit.submit([first | (BigInt(granularity) << 4n)]);
      expect([granularity, iqei(unit)]).toEqual([granularity, reserved.includes(granularity) ? 4 : 0]);
    }
  });

  test.each([
    [{ PSI: 1, MAMV: 9 }, 0x32n, 9n, 0],
    [{ PSI: 1, MAMV: 9 }, 0x32n, 10n, 4],
    [{ PSI: 1, MAMV: 9 }, 0x22n, 10n, 0],
    [{ PSI: 0, MAMV: 9 }, 0x32n, 0n, 4],
    [{ PSI: 0, MAMV: 9 }, 0x22n, 0n, 0],
  ])("with %j: type 2 (%#)", (cap, first, second, info) => {
    const unit = makeQueue({ cap });
    unit.submit([first, second]);
    expect(iqei(unit)).toBe(info);
  });

  test("a 128-bit descriptor in a queue of 256-bit ones is refused for what follows it", () => {
    const unit = makeQueue({ wide: true });
    unit.submit([...GLOBAL_CONTEXT, 0n, ...GLOBAL_IOTLB, 0n]);
    expect([iqei(unit), unit.calls]).toEqual([4, []]);
  });
});

describe("types", () => {
  const { ecapRegister } = makeUnit(EVERYTHING).capabilities;
  const VALID: readonly Words[] = [[0x11n], [0x12n], [0x3n], [0x4n], [0x5n], [0x26n], [0x37n], [0x8n], [0x9n], [0x1an]];
  const legacy = VALID.map((_, index) => index < 5);
  const all = VALID.map(() => true);

  test.each([
    ["legacy mode, 128 bits", LEGACY, false, legacy],
    ["legacy mode, 256 bits", LEGACY, true, legacy],
    ["scalable mode", SCALABLE, true, all],
    ["abort-DMA mode", ABORT, true, all],
  ])("of %s", (_what, ttm, wide, known) => {
    const isKnown = VALID.map((words) => {
      const unit = makeQueue({ ecapRegister: ecapRegister | (1n << 55n), ttm, wide });
      unit.submit(words);
      expect([0, 3]).toContain(iqei(unit));
      return iqei(unit) === 0;
    });
    expect(isKnown).toEqual(known);
  });

  test("that nobody knows are refused: type bits are 11:9 and 3:0", () => {
    for (let type = 0; type < 128; type++) {
      if (type >= 1 && type <= 10) continue;
      const unit = makeQueue({ ecapRegister: ecapRegister | (1n << 55n), ttm: SCALABLE });
      unit.submit([(BigInt(type >> 4) << 9n) | BigInt(type & 15)]);
      expect([type, iqei(unit)]).toEqual([type, 3]);
    }
  });

  test.each([
    ["3", { DT: 0 }, 0x3n],
    ["8", { DT: 0 }, 0x8n],
    ["9", { PRS: 0 }, 0x9n],
    ["Ah", {}, 0x1an],
  ])("%s is unknown with ECAP %j", (_type, ecap, first) => {
    const unit = makeQueue({ ecap, ttm: SCALABLE });
    unit.submit([first]);
    expect(iqei(unit)).toBe(3);
  });
});

describe("a queue that is set up wrongly stops", () => {
  const none = { SMTS: 0, ADMS: 0 };
  const cases: readonly (readonly [string, QueueOptions, tail: number, info: number])[] = [
    ["in the reserved mode", { ttm: RESERVED_MODE }, 32, 7],
    ["in scalable mode that the unit has not", { ttm: SCALABLE, ecap: { SMTS: 0 } }, 32, 7],
    ["in abort-DMA mode that the unit has not", { ttm: ABORT, ecap: { ADMS: 0 } }, 32, 7],
    ["with 128-bit descriptors in scalable mode", { ttm: SCALABLE, wide: false }, 16, 5],
    ["with 128-bit descriptors in abort-DMA mode", { ttm: ABORT, wide: false }, 16, 5],
    ["with 256-bit descriptors that the unit has not", { wide: true, ecap: none }, 32, 5],
    ["at a misaligned tail", { wide: true }, 48, 6],
    ["at a tail beyond the end", {}, 4096, 1],
    ["at a tail beyond the end of two pages", { qs: 1 }, 8192, 1],
  ];
  test.each(cases)("%s", (_what, options, tail, info) => {
    const unit = makeQueue(options);
    unit.queue.writeTail(tail);
    expect([iqei(unit), unit.faults.status, unit.queue.registers.iqh, unit.calls]).toEqual([info, IQE, 0, []]);
    expect(unit.messages).toHaveLength(1);
  });

  const right: readonly (readonly [string, QueueOptions])[] = [
    ["256-bit descriptors with scalable mode alone", { wide: true, ecap: { ADMS: 0 } }],
    ["256-bit descriptors with abort-DMA mode alone", { wide: true, ecap: { SMTS: 0 } }],
    ["abort-DMA mode", { ttm: ABORT }],
  ];
  test.each(right)("but not with %s", (_what, options) => {
    const unit = makeQueue(options);
    unit.submit(GLOBAL_CONTEXT);
    expect([unit.faults.status, unit.calls]).toEqual([0, [CONTEXT_CALL]]);
  });

  test.each([
    [0, 255],
    [7, 32767],
  ])("but not within its size (QS %i): %i descriptors", (qs, count) => {
    const unit = makeQueue({ qs });
    unit.submit(...Array.from({ length: count }, () => GLOBAL_CONTEXT));
    expect([unit.faults.status, unit.calls.length]).toEqual([0, count]);
  });
});

describe("the ring", () => {
  test("wraps around", () => {
    const unit = makeQueue();
    for (let i = 0; i < 3; i++) unit.submit(...Array.from({ length: 200 }, () => GLOBAL_CONTEXT));
    expect([unit.calls.length, unit.queue.registers.iqh]).toEqual([600, (600 % 256) * 16]);
  });

  test("is empty when its tail has come back to zero", () => {
    const unit = makeQueue();
    for (let i = 0; i < 2; i++) unit.submit(...Array.from({ length: 128 }, () => GLOBAL_CONTEXT));
    expect([unit.calls.length, unit.queue.registers.iqh]).toEqual([256, 0]);
  });

  test("wraps around with 256-bit descriptors", () => {
    const unit = makeQueue({ ttm: SCALABLE });
    for (let i = 0; i < 3; i++) unit.submit(...Array.from({ length: 100 }, () => GLOBAL_CONTEXT));
    expect([unit.calls.length, unit.queue.registers.iqh]).toEqual([300, (300 % 128) * 32]);
  });

  test("is not read while it is disabled, and its head returns to zero", () => {
    const unit = makeQueue();
    unit.submit(GLOBAL_CONTEXT, GLOBAL_CONTEXT);
    unit.queue.setEnabled(false);
    expect(unit.queue.registers.iqh).toBe(0);
    unit.queue.writeTail(48);
    expect(unit.calls).toHaveLength(2);
    unit.queue.writeTail(16);
    unit.queue.setEnabled(true);
    expect([unit.calls.length, unit.queue.registers.iqh]).toEqual([3, 16]);
  });

  test("stops where memory ends", () => {
    const unit = makeQueue();
    unit.queue.writeAddress(FlatMemory.END);
    unit.queue.writeTail(16);
    expect([iqei(unit), unit.faults.status, unit.queue.registers.iqh]).toEqual([2, IQE, 0]);
  });

  test("takes its head into a queue that became smaller", () => {
    const unit = makeQueue({ qs: 1 });
    unit.submit(...Array.from({ length: 300 }, () => GLOBAL_CONTEXT));
    unit.queue.writeAddress(BASE);
    unit.queue.writeTail(300 * 16 - 4096 + 16);
    expect([unit.calls.length, unit.faults.status, unit.queue.registers.iqh]).toEqual([301, 0, 300 * 16 - 4096 + 16]);
  });
});

describe("an invalidation queue error", () => {
  test("leaves the head on the descriptor; what came before it is done, what follows waits", () => {
    const unit = makeQueue();
    unit.submit(GLOBAL_CONTEXT, [0xfn], GLOBAL_IOTLB);
    expect([unit.queue.registers.iqh, unit.calls]).toEqual([16, [CONTEXT_CALL]]);
    unit.submit(GLOBAL_IOTLB);
    expect(unit.queue.registers.iqh).toBe(16);
    expect(unit.messages).toHaveLength(1);
  });

  test("comes back when software clears it without mending the descriptor", () => {
    const unit = makeQueue();
    unit.submit([0xfn]);
    unit.faults.clearStatus(IQE);
    unit.queue.run();
    expect([unit.faults.status, iqei(unit), unit.messages.length]).toEqual([IQE, 3, 2]);
  });

  test("says why of the latest", () => {
    const unit = makeQueue();
    unit.submit([0xfn]);
    unit.memory.write64(BASE, 0x1n);
    unit.faults.clearStatus(IQE);
    unit.queue.run();
    expect(iqei(unit)).toBe(4);
  });

  test("ends when software mends the descriptor and clears it", () => {
    const unit = makeQueue();
    unit.submit([0xfn], GLOBAL_IOTLB);
    unit.memory.write64(BASE, 0x11n);
    unit.faults.clearStatus(IQE);
    unit.queue.run();
    expect([unit.faults.status, unit.queue.registers.iqh, unit.calls.map(([method]) => method)]).toEqual([
      0,
      32,
      ["ContextCache", "Iotlb"],
    ]);
  });

  test("may be mended by whoever gets the message", () => {
    const unit = makeQueue({
      onMessage: () => {
        unit.memory.write64(BASE, 0x11n);
        unit.faults.clearStatus(IQE);
        unit.queue.run();
      },
    });
    unit.submit([0xfn], GLOBAL_IOTLB);
    expect([unit.faults.status, unit.calls.map(([method]) => method)]).toEqual([0, ["ContextCache", "Iotlb"]]);
  });
});

describe("an invalidation wait", () => {
  test("writes 32 bits of status and leaves the other half of the word", () => {
    const unit = makeQueue();
    unit.memory.write64(STATUS, 0x1111_1111_2222_2222n);
    unit.submit(wait({ sw: true, data: 0xdead_beefn, address: STATUS + 4n }));
    expect(unit.memory.read64(STATUS)).toBe(0xdead_beef_2222_2222n);
    expect([unit.queue.registers.ics, unit.messages]).toEqual([0, []]);
  });

  test("ignores address bits above the host address width", () => {
    const unit = makeQueue({ haw: 40 });
    unit.submit(wait({ sw: true, data: 1n, address: STATUS | (1n << 40n) | (1n << 63n) }));
    expect(unit.memory.read64(STATUS)).toBe(1n);
  });

  test("completes although nobody backs the status address", () => {
    const unit = makeQueue();
    unit.submit(wait({ sw: true, if: true, address: FlatMemory.END }), GLOBAL_CONTEXT);
    expect([unit.faults.status, unit.queue.registers.ics, unit.calls]).toEqual([0, 1, [CONTEXT_CALL]]);
  });

  test.each([
    ["nothing", wait({})],
    ["a fence alone", wait({ fn: true })],
    ["status without SW", wait({ data: 5n, address: STATUS })],
  ])("with %s has no effect", (_what, words) => {
    const unit = makeQueue();
    unit.submit(words);
    expect([unit.queue.registers.iqh, unit.faults.status, unit.queue.registers.ics]).toEqual([16, 0, 0]);
    expect([unit.memory.read64(STATUS), unit.messages]).toEqual([0n, []]);
  });

  test("completes after what is ahead of it and before what follows", () => {
    const order: string[] = [];
    const unit = makeQueue({ onMessage: () => order.push(`message after ${unit.calls.length}`) });
    unit.queue.event.writeControl(0);
    unit.submit(GLOBAL_CONTEXT, wait({ if: true, sw: true, data: 7n, address: STATUS, fn: true }), GLOBAL_IOTLB);
    expect([order, unit.calls.length, unit.memory.read64(STATUS)]).toEqual([["message after 1"], 2, 7n]);
  });

  test("sends no second message while IWC is set", () => {
    const unit = makeQueue();
    Object.assign(unit.queue.event, { data: 0x31, address: 0xfee0_0000 });
    unit.queue.event.writeControl(0);
    unit.submit(wait({ if: true }), wait({ if: true }));
    expect(unit.messages).toEqual([{ address: 0xfee0_0000n, data: 0x31, cause: "invalidation-complete" }]);
    unit.queue.clearCompletion(0);
    unit.submit(wait({ if: true }));
    expect(unit.messages).toHaveLength(1);
    unit.queue.clearCompletion(1);
    expect(unit.queue.registers.ics).toBe(0);
    unit.submit(wait({ if: true }));
    expect(unit.messages).toHaveLength(2);
  });

  test("holds its message back while it is masked", () => {
    const unit = makeQueue();
    unit.submit(wait({ if: true }));
    expect([unit.queue.event.control, unit.messages]).toEqual([0xc000_0000, []]);
    unit.queue.event.writeControl(0);
    expect([unit.queue.event.control, unit.messages.length]).toEqual([0, 1]);
  });

  test("withdraws its message when software clears IWC first", () => {
    const unit = makeQueue();
    unit.submit(wait({ if: true }));
    unit.queue.clearCompletion(1);
    unit.queue.event.writeControl(0);
    expect(unit.messages).toEqual([]);
  });

  test("may lead to more descriptors from whoever gets the message", () => {
    let rounds = 0;
    const unit = makeQueue({
      onMessage: () => {
        unit.queue.clearCompletion(1);
        if (++rounds < 3) unit.submit(GLOBAL_IOTLB, wait({ if: true }));
      },
    });
    unit.queue.event.writeControl(0);
    unit.submit(GLOBAL_CONTEXT, wait({ if: true }), GLOBAL_CONTEXT);
    expect(rounds).toBe(3);
    expect(unit.calls.map(([method]) => method)).toEqual(["ContextCache", "ContextCache", "Iotlb", "Iotlb"]);
    expect(unit.queue.registers.iqh).toBe(unit.queue.registers.iqt);
  });
});

describe("a device that does not answer", () => {
  const SILENT = 0x0300;
  const responds = (sid: number) => sid !== SILENT;
  const invalidate = (sid: number): Words => [0x3n | (BigInt(sid) << 32n), 0x1000n];

  function itesid({ queue }: Pick<Unit, "queue">): number {
    return Number((queue.registers.iqercd >> 32n) & 0xffffn);
  }

  test("aborts the next wait and stops the queue behind it", () => {
    const unit = makeQueue({ responds });
    unit.queue.event.writeControl(0);
    const status = wait({ sw: true, if: true, data: 1n, address: STATUS });
    unit.submit(invalidate(SILENT), GLOBAL_CONTEXT, status, GLOBAL_IOTLB);
    expect([unit.faults.status, itesid(unit), unit.queue.registers.iqh]).toEqual([ITE, SILENT, 48]);
    expect([unit.memory.read64(STATUS), unit.queue.registers.ics]).toEqual([0n, 0]);
    expect(unit.messages.map(({ cause }) => cause)).toEqual(["fault"]);
    expect(unit.calls.map(([method]) => method)).toEqual(["DeviceTlb", "ContextCache"]);

    unit.submit(status);
    expect(unit.queue.registers.iqh).toBe(48);
    unit.faults.clearStatus(ITE);
    unit.queue.run();
    expect([unit.queue.registers.iqh, unit.calls.length, unit.memory.read64(STATUS)]).toEqual([80, 3, 1n]);
  });

  test("is noticed at the end of the queue too", () => {
    const unit = makeQueue({ responds });
    unit.submit(invalidate(SILENT));
    expect([unit.faults.status, itesid(unit), unit.queue.registers.iqh]).toEqual([ITE, SILENT, 16]);
  });

  test("is noticed where another error stops the queue", () => {
    const unit = makeQueue({ responds });
    unit.submit(invalidate(SILENT), [0xfn]);
    expect([unit.faults.status, iqei(unit), itesid(unit)]).toEqual([IQE | ITE, 3, SILENT]);
    expect(unit.messages).toHaveLength(1);
  });

  test("is the first of several", () => {
    const unit = makeQueue({ responds: () => false });
    unit.submit(invalidate(5), invalidate(6), wait({}));
    expect(itesid(unit)).toBe(5);
  });

  test("does not stop the others", () => {
    const unit = makeQueue({ responds });
    unit.submit(invalidate(1), wait({ sw: true, data: 1n, address: STATUS }));
    expect([unit.faults.status, unit.memory.read64(STATUS)]).toEqual([0, 1n]);
  });

  test("is found by PASID-based invalidations as well", () => {
    const unit = makeQueue({ responds, ttm: SCALABLE });
    unit.submit([0x8n | (BigInt(SILENT) << 16n), 0x1000n]);
    expect([unit.faults.status, itesid(unit)]).toEqual([ITE, SILENT]);
  });
});

describe("an invalid completion", () => {
  test("is recorded, the first source of several, and the queue goes on", () => {
    const unit = makeQueue();
    unit.queue.invalidCompletion(0x0108);
    unit.queue.invalidCompletion(0x0200);
    expect([unit.faults.status, unit.queue.registers.iqercd >> 48n]).toEqual([ICE, 0x0108n]);
    unit.submit(GLOBAL_CONTEXT);
    expect([unit.calls, unit.messages.length]).toEqual([[CONTEXT_CALL], 1]);
    unit.faults.clearStatus(ICE);
    unit.queue.invalidCompletion(0x0200);
    expect(unit.queue.registers.iqercd >> 48n).toBe(0x0200n);
  });

  test.each([-1, 0x1_0000, 1.5])("does not come from %s", (sid) => {
    const unit = makeQueue();
    expect(refused("invalid", () => unit.queue.invalidCompletion(sid)).message).toContain(String(sid));
    expect(unit.faults.status).toBe(0);
  });
});
