/** Page requests: Arm IHI 0070 G.b, chapter 8 and sections 6.3.9.5 and 6.3.36. */
import { describe, expect, test } from "vitest";
import { EVENT } from "../../src/smmuv3/events.js";
import type { PageRequest } from "../../src/smmuv3/page-request-queue.js";
import { refused } from "../support/errors.js";
import {
  CR0,
  CR2,
  type Machine,
  type MachineOptions,
  openMachine,
  PRIQ_BASE,
  PRIQ_CONS,
  PRIQ_PROD,
  SID,
} from "./machine.js";
import { AT } from "./register-support.js";

const QUEUE = 0x42_0000n;
const OVFLG = 0x8000_0000;
const PRIQ_IRQ_CFG2 = 0x0dc;
const LO = 2 ** 31;
const IRQ_PRIQ = 2;
const PRIQ_ABT = 1 << 3;
const PPS = 1n << 5n;
const IDR3 = 0x0002_2314n;

function page(changes: Partial<PageRequest> = {}): PageRequest {
  return {
    sid: SID.stage1,
    address: 0x1234_5000n,
    read: true,
    write: false,
    last: true,
    pageRequestGroupIndex: 7,
    ...changes,
  };
}

const STOP_MARKER = page({ pasid: 1, read: false });

/** Fills the queue of four entries. */
function fill({ unit }: Machine): void {
  for (let index = 0; index < 4; index++) {
    expect(unit.pageRequest(page({ pageRequestGroupIndex: index }))).toBe("queued");
  }
}

describe("an entry", () => {
  const rows: readonly (readonly [name: string, request: PageRequest, words: readonly [bigint, bigint]])[] = [
    ["read, last", page(), [0x5000_0000_0000_0001n, 0x1234_5007n]],
    ["write, not last", page({ read: false, write: true, last: false }), [0x2000_0000_0000_0001n, 0x1234_5007n]],
    [
      "address and index of all bits",
      page({ address: 0xffff_ffff_ffff_f000n, pageRequestGroupIndex: 511 }),
      [0x5000_0000_0000_0001n, 0xffff_ffff_ffff_f1ffn],
    ],
    ["with PASID", page({ pasid: 0xabcde, execute: true, privileged: true }), [0xdc0a_bcde_0000_0001n, 0x1234_5007n]],
    ["Stop Marker", STOP_MARKER, [0xc000_0001_0000_0001n, 0x1234_5007n]],
    ["execution without PASID", page({ execute: true, privileged: true }), [0x5000_0000_0000_0001n, 0x1234_5007n]],
  ];
  test.each(rows)("%s", async (_name, request, words) => {
    const machine = await openMachine();
    expect(machine.unit.pageRequest(request)).toBe("queued");
    expect([machine.read(QUEUE), machine.read(QUEUE + 8n)]).toEqual(words);
    expect(machine.unit.read32(PRIQ_PROD)).toBe(1);
    const inPasid =
      request.pasid === undefined ? {} : { execute: request.execute ?? false, privileged: request.privileged ?? false };
    const { execute: _x, privileged: _p, ...rest } = request;
    expect(machine.unit.pageRequests.requests).toEqual([{ ...rest, ...inPasid }]);
    expect([machine.responses, machine.events()]).toEqual([[], []]);
  });

  test("has no PASID where there are none", async () => {
    const machine = await openMachine({ registers: { IDR1: 0x0400_0010n | (2n << 11n) } });
    expect(machine.unit.pageRequest(page({ pasid: 3, execute: true }))).toBe("queued");
    expect(machine.read(QUEUE)).toBe(0x5000_0000_0000_0001n);
  });
});

describe("the queue", () => {
  test("wraps, and uses all its entries", async () => {
    const machine = await openMachine();
    const { unit } = machine;
    fill(machine);
    expect(unit.read32(PRIQ_PROD)).toBe(4);
    for (let index = 4; index < 20; index++) {
      unit.write32(PRIQ_CONS, (index - 3) % 8);
      expect(unit.pageRequest(page({ pageRequestGroupIndex: index }))).toBe("queued");
      const indices = unit.pageRequests.requests.map((request) => request.pageRequestGroupIndex);
      expect(indices).toEqual([index - 3, index - 2, index - 1, index]);
    }
  });

  test("overflows once, and takes nothing until software acknowledges that", async () => {
    const machine = await openMachine();
    const { unit } = machine;
    fill(machine);
    expect(unit.pageRequest(page({ last: false }))).toBe("discarded");
    expect(unit.read32(PRIQ_PROD)).toBe(OVFLG + 4);
    expect(unit.pageRequest(page())).toBe("responded");
    expect(unit.read32(PRIQ_PROD)).toBe(OVFLG + 4);
    // Room alone does not help.
    unit.write32(PRIQ_CONS, 4);
    expect(unit.pageRequest(page())).toBe("responded");
    unit.write32(PRIQ_CONS, OVFLG + 4);
    expect(unit.pageRequest(page())).toBe("queued");
    expect(unit.read32(PRIQ_PROD)).toBe(OVFLG + 5);
    const success = { sid: SID.stage1, ssid: null, pageRequestGroupIndex: 7, response: "success" };
    expect(machine.responses).toEqual([success, success]);
  });

  test("can be set up only while PRIQEN is 0, whatever SMMUEN is", async () => {
    const { unit } = await openMachine();
    const base = unit.read64(PRIQ_BASE);
    unit.write64(PRIQ_BASE, 0x50_0001n);
    unit.write32(AT.CR0, CR0.PRIQEN);
    unit.write64(PRIQ_BASE, 0x50_0001n);
    expect(unit.read64(PRIQ_BASE)).toBe(base);
    unit.write32(AT.CR0, 0);
    unit.write64(PRIQ_BASE, 0x50_0001n);
    expect(unit.read64(PRIQ_BASE)).toBe(0x50_0001n);
  });

  test("is refused what does not fit, and an SMMU without PRI everything", async () => {
    const machine = await openMachine();
    for (const wrong of [{ sid: -1 }, { pasid: 1 << 20 }, { pageRequestGroupIndex: 512 }, { address: 1n << 64n }]) {
      refused("invalid", () => machine.unit.pageRequest(page(wrong)));
    }
    expect(machine.unit.read32(PRIQ_PROD)).toBe(0);
    const without = await openMachine({ registers: { IDR0: 0x084c_168bn } });
    refused("invalid", () => without.unit.pageRequest(page()));
    without.unit.write64(PRIQ_BASE, 0x50_0001n);
    expect(without.unit.read64(PRIQ_BASE)).toBe(0n);
  });
});

describe("automatic responses", () => {
  const FAILURE = { response: "failure", ssid: null } as const;
  const SUCCESS = { response: "success", ssid: null } as const;
  interface Row extends MachineOptions {
    readonly name: string;
    readonly request?: Partial<PageRequest>;
    readonly full?: boolean;
    readonly expected: { readonly response: string; readonly ssid: number | null } | null;
    readonly event?: number;
  }
  const RECORDING = CR2.REC_CFG_ATS | CR2.RECINVSID;
  const rows: readonly Row[] = [
    { name: "PRIQEN is 0", without: CR0.PRIQEN, expected: FAILURE },
    { name: "PRIQEN is 0, not the last", without: CR0.PRIQEN, request: { last: false }, expected: FAILURE },
    {
      name: "PRIQEN is 0, with PASID",
      without: CR0.PRIQEN,
      request: { pasid: 1 },
      ste: { PPAR: 1 },
      expected: FAILURE,
    },
    { name: "SMMUEN is 0", without: CR0.SMMUEN, expected: FAILURE },
    { name: "PRIQEN is 0, Stop Marker", without: CR0.PRIQEN, request: STOP_MARKER, expected: null },
    { name: "overflow", full: true, expected: SUCCESS },
    { name: "overflow, not the last", full: true, request: { last: false }, expected: null },
    { name: "overflow, Stop Marker", full: true, request: STOP_MARKER, expected: null },
    { name: "overflow, last of nothing without PASID", full: true, request: { read: false }, expected: SUCCESS },
    { name: "overflow, with PASID", full: true, request: { pasid: 1 }, expected: SUCCESS },
    {
      name: "overflow, with PASID and PPAR",
      full: true,
      request: { pasid: 1 },
      ste: { PPAR: 1 },
      expected: { ...SUCCESS, ssid: 1 },
    },
    {
      name: "overflow, with PASID and PPS",
      full: true,
      request: { pasid: 1 },
      registers: { IDR3: IDR3 | PPS },
      expected: { ...SUCCESS, ssid: 1 },
    },
    { name: "overflow, with PASID, STE not valid", full: true, request: { pasid: 1, sid: 7 }, expected: FAILURE },
    {
      name: "overflow, with PASID, STE not valid, recorded",
      full: true,
      request: { pasid: 1, sid: 7 },
      cr2: RECORDING,
      expected: FAILURE,
      event: EVENT.C_BAD_STE,
    },
    {
      name: "overflow, with PASID, StreamID out of range",
      full: true,
      request: { pasid: 1, sid: 99 },
      cr2: CR2.REC_CFG_ATS,
      expected: FAILURE,
    },
    {
      name: "overflow, with PASID, StreamID out of range, recorded",
      full: true,
      request: { pasid: 1, sid: 99 },
      cr2: RECORDING,
      expected: FAILURE,
      event: EVENT.C_BAD_STREAMID,
    },
    {
      name: "overflow, STE not valid without PASID",
      full: true,
      request: { sid: 7 },
      cr2: RECORDING,
      expected: SUCCESS,
    },
  ];
  test.each(rows)("$name", async ({ request, full, expected, event, ...options }) => {
    const machine = await openMachine(options);
    if (full) fill(machine);
    const message = page(request);
    const { sid, pageRequestGroupIndex } = message;
    expect(machine.unit.pageRequest(message)).toBe(expected ? "responded" : "discarded");
    expect(machine.responses).toEqual(expected ? [{ sid, pageRequestGroupIndex, ...expected }] : []);
    expect(machine.events().map(({ code }) => code)).toEqual(event === undefined ? [] : [event]);
    expect(machine.unit.pageRequests.requests).toHaveLength(full ? 4 : 0);
  });

  test("an abort of the queue, until it is acknowledged", async () => {
    const machine = await openMachine({ without: CR0.PRIQEN });
    const { unit } = machine;
    unit.write64(PRIQ_BASE, 0x800_0000n | 2n);
    unit.write32(AT.CR0, CR0.SMMUEN | CR0.PRIQEN);
    expect(unit.pageRequest(page({ pasid: 1 }))).toBe("responded");
    expect(unit.read32(AT.GERROR)).toBe(PRIQ_ABT);
    expect(unit.read32(PRIQ_PROD)).toBe(0);
    expect(unit.pageRequest(page({ last: false }))).toBe("responded");
    expect(unit.pageRequest(STOP_MARKER)).toBe("discarded");
    const failure = { sid: SID.stage1, pageRequestGroupIndex: 7, ...FAILURE };
    expect(machine.responses).toEqual([failure, failure]);
    unit.write32(AT.CR0, CR0.SMMUEN);
    unit.write64(PRIQ_BASE, QUEUE | 2n);
    unit.write32(AT.CR0, CR0.SMMUEN | CR0.PRIQEN);
    unit.write32(AT.GERRORN, PRIQ_ABT);
    expect(unit.pageRequest(page())).toBe("queued");
  });
});

describe("the interrupt", () => {
  const rows: readonly (readonly [
    name: string,
    lastOnly: boolean,
    lasts: readonly boolean[],
    interrupts: readonly number[],
  ])[] = [
    ["when the queue is not empty any more", false, [false, true, true], [1, 1, 1]],
    ["when the last of a group arrives", true, [false, true, true], [0, 1, 2]],
    [
      "when the last of a group is lost to an overflow",
      true,
      [false, false, false, false, false, true],
      [0, 0, 0, 0, 0, 1],
    ],
    ["not for an overflow alone", false, [true, true, true, true, true], [1, 1, 1, 1, 1]],
  ];
  test.each(rows)("%s", async (_name, lastOnly, lasts, interrupts) => {
    const machine = await openMachine();
    machine.unit.write32(PRIQ_IRQ_CFG2, lastOnly ? LO : 0);
    machine.unit.write32(AT.IRQ_CTRL, IRQ_PRIQ);
    const counts = lasts.map((last) => {
      machine.unit.pageRequest(page({ last }));
      return machine.interrupts.length;
    });
    expect(counts).toEqual(interrupts);
    expect(machine.interrupts.every(({ source, message }) => source === "PRIQ" && message === null)).toBe(true);
  });
});

test("software's response reaches the device, while the SMMU is enabled", async () => {
  const machine = await openMachine();
  const respond = () => machine.command(0x41n | (BigInt(SID.stage1) << 32n), 7n | (2n << 12n));
  respond();
  const sent = [{ sid: SID.stage1, ssid: null, pageRequestGroupIndex: 7, response: "success" }];
  expect(machine.responses).toEqual(sent);
  machine.unit.write32(AT.CR0, CR0.CMDQEN);
  respond();
  expect(machine.responses).toEqual(sent);
});
