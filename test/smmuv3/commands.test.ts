/** Commands: where every field is, what each asks for, and which are illegal on which unit. */
import { describe, expect, test } from "vitest";
import { type Command, type CommandContext, decodeCommand } from "../../src/smmuv3/commands.js";
import { type IdentificationOptions, makeIdentification } from "../../src/smmuv3/identification.js";
import type { TlbInvalidation } from "../../src/smmuv3/invalidation.js";

type Words = readonly [bigint, bigint];

interface ContextOptions extends IdentificationOptions {
  readonly e2h?: boolean;
  readonly vmw?: number;
}

function decode(words: Words, options: ContextOptions = {}): Command | null {
  const { e2h = false, vmw = 0 } = options;
  const context: CommandContext = { identification: makeIdentification(options), e2h, vmw };
  return decodeCommand(words, context);
}

/** Every command that a Non-secure queue may hold. */
const EVERYTHING = { idr0: { PRI: 1 }, idr3: { MPAM: 1, DPT: 1 } } as const;

const SID = 0x1234_5678;
const ON_SID = 0x1234_5678_0000_0000n;
const SSID = 0xfedcb;
const WITH_SSID = 0xfedc_b800n;
const ADDRESS = 0x8123_4567_89ab_c000n;
const ADDRESS_56 = 0x0023_4567_89ab_c000n;
const LEAF = 1n;

describe("commands", () => {
  const cases: readonly (readonly [string, Words, Command])[] = [
    ["PREFETCH_CONFIG", [ON_SID | WITH_SSID | 0x01n, 0n], { kind: "prefetch-configuration", sid: SID, ssid: SSID }],
    [
      "PREFETCH_ADDR",
      [ON_SID | 0x02n, ADDRESS | (9n << 5n) | 4n],
      { kind: "prefetch-address", sid: SID, ssid: null, address: ADDRESS, strideBytes: 0x20_0000n, count: 16 },
    ],
    ["CFGI_STE", [ON_SID | 0x03n, 0n], { kind: "configuration", request: { scope: "ste", sid: SID, leafOnly: false } }],
    [
      "CFGI_STE, leaf",
      [ON_SID | 0x03n, LEAF],
      { kind: "configuration", request: { scope: "ste", sid: SID, leafOnly: true } },
    ],
    [
      "CFGI_STE_RANGE",
      [ON_SID | 0x04n, 7n],
      { kind: "configuration", request: { scope: "ste-range", firstSid: 0x1234_5600, lastSid: 0x1234_56ff } },
    ],
    [
      "CFGI_STE_RANGE, two",
      [0xffff_ffff_0000_0004n, 0n],
      { kind: "configuration", request: { scope: "ste-range", firstSid: 0xffff_fffe, lastSid: 0xffff_ffff } },
    ],
    [
      "CFGI_STE_RANGE, half",
      [0xffff_ffff_0000_0004n, 30n],
      { kind: "configuration", request: { scope: "ste-range", firstSid: 0x8000_0000, lastSid: 0xffff_ffff } },
    ],
    ["CFGI_ALL", [ON_SID | 0x04n, 31n], { kind: "configuration", request: { scope: "all" } }],
    [
      "CFGI_CD",
      [ON_SID | 0xfedc_b000n | 0x05n, LEAF],
      { kind: "configuration", request: { scope: "cd", sid: SID, ssid: SSID, leafOnly: true } },
    ],
    ["CFGI_CD_ALL", [ON_SID | 0x06n, 0n], { kind: "configuration", request: { scope: "cd-all", sid: SID } }],
    ["CFGI_VMS_PIDM", [0xabcd_0000_0007n, 0n], { kind: "partid-map", vmid: 0xabcd }],
    [
      "ATC_INV, one page",
      [ON_SID | 0x40n, ADDRESS],
      { kind: "atc", request: { sid: SID, ssid: null, global: false, address: ADDRESS, size: 0x1000n } },
    ],
    [
      "ATC_INV, aligned",
      [ON_SID | WITH_SSID | 0x40n, 0xffff_ffff_ffff_f000n | 9n],
      {
        kind: "atc",
        request: { sid: SID, ssid: SSID, global: false, address: 0xffff_ffff_ffe0_0000n, size: 0x20_0000n },
      },
    ],
    [
      "ATC_INV, half",
      [ON_SID | WITH_SSID | 0x240n, 0xffff_ffff_ffff_f000n | 51n],
      { kind: "atc", request: { sid: SID, ssid: SSID, global: true, address: 1n << 63n, size: 1n << 63n } },
    ],
    [
      "ATC_INV, everything",
      [ON_SID | 0x240n, 0xffff_ffff_ffff_f000n | 52n],
      { kind: "atc", request: { sid: SID, ssid: null, global: false, address: 0n, size: null } },
    ],
    ...(["failure", "invalid-request", "success"] as const).map((response, resp): readonly [string, Words, Command] => [
      `PRI_RESP, ${response}`,
      [ON_SID | WITH_SSID | 0x41n, 0x1a5n | (BigInt(resp) << 12n)],
      { kind: "page-group-response", response: { sid: SID, ssid: SSID, pageRequestGroupIndex: 0x1a5, response } },
    ]),
    ...(["terminate", "retry", "abort", "retry"] as const).map((action, resp): readonly [string, Words, Command] => [
      `RESUME, ${resp}`,
      [ON_SID | (BigInt(resp) << 12n) | 0x44n, 0xabcdn],
      { kind: "resume", request: { sid: SID, stag: 0xabcd, action } },
    ]),
    ["STALL_TERM", [ON_SID | 0x45n, 0n], { kind: "stall-termination", sid: SID }],
    ["SYNC", [0x46n, ADDRESS_56], { kind: "sync", completion: { signal: "none" } }],
    [
      "SYNC, interrupt",
      [0xdead_beef_0f00_1046n, 0xff12_3456_789a_bcdfn],
      {
        kind: "sync",
        completion: { signal: "interrupt", message: { address: 0x12_3456_789a_bcdcn, data: 0xdead_beef } },
      },
    ],
    ["SYNC, event", [0x2046n, 0n], { kind: "sync", completion: { signal: "event" } }],
    ["DPTI_ALL", [0x70n, 0n], { kind: "device-permission-table" }],
    ["DPTI_PA", [0x73n, ADDRESS_56], { kind: "device-permission-table" }],
  ];
  test.each(cases)("%s", (_name, words, command) => {
    expect(decode(words, EVERYTHING)).toEqual(command);
  });

  test("RESUME never reads zero where transactions can only be aborted", () => {
    expect(decode([0x44n, 0n], { idr0: { TERM_MODEL: 1 } })).toMatchObject({ request: { action: "abort" } });
  });
});

describe("TLB invalidations", () => {
  const FIRST = 0xabcd_1234_0000_0000n;
  const vmid = { vmid: 0x1234, ignoredBits: 0 };
  const everything: TlbInvalidation = {
    stages: "stage-1",
    streamWorlds: ["NS-EL1"],
    vmid,
    asid: null,
    global: true,
    range: null,
    leafOnly: false,
  };
  const page = { first: ADDRESS, last: ADDRESS + 0xfffn, granule: null, level: null };
  const ipaPage = { ...page, first: ADDRESS_56, last: ADDRESS_56 + 0xfffn };
  const el2: TlbInvalidation = { ...everything, streamWorlds: ["NS-EL2"], vmid: null };
  const el2e2h: TlbInvalidation = { ...el2, streamWorlds: ["NS-EL2-E2H"] };
  const cases: readonly (readonly [string, bigint, TlbInvalidation, ContextOptions?])[] = [
    ["NH_ALL", 0x10n, everything],
    ["NH_ASID", 0x11n, { ...everything, asid: 0xabcd, global: false }],
    ["NH_VA", 0x12n, { ...everything, asid: 0xabcd, range: page, leafOnly: true }],
    ["NH_VAA", 0x13n, { ...everything, range: page, leafOnly: true }],
    ["EL2_ALL", 0x20n, { ...el2, streamWorlds: ["NS-EL2", "NS-EL2-E2H"] }],
    ["EL2_ASID", 0x21n, { ...el2e2h, asid: 0xabcd, global: false }],
    ["EL2_VA", 0x22n, { ...el2, range: page, leafOnly: true }],
    ["EL2_VA with E2H", 0x22n, { ...el2e2h, asid: 0xabcd, range: page, leafOnly: true }, { e2h: true }],
    ["EL2_VAA", 0x23n, { ...el2, range: page, leafOnly: true }],
    ["EL2_VAA with E2H", 0x23n, { ...el2e2h, range: page, leafOnly: true }, { e2h: true }],
    ["S12_VMALL", 0x28n, { ...everything, stages: "both" }],
    ["S2_IPA", 0x2an, { ...everything, stages: "stage-2", range: ipaPage, leafOnly: true }],
    ["NSNH_ALL", 0x30n, { ...everything, stages: "both", vmid: null }],
    ["NH_ALL without stage 2", 0x10n, { ...everything, vmid: null }, { idr0: { S2P: 0 } }],
    [
      "NH_ALL with a VMID wildcard",
      0x10n,
      { ...everything, vmid: { vmid: 0x1234, ignoredBits: 3 } },
      { idr0: { VMW: 1 }, vmw: 3 },
    ],
    ["NH_ALL with a reserved VMID wildcard", 0x10n, everything, { idr0: { VMW: 1 }, vmw: 5 }],
  ];
  test.each(cases.map(([name, opcode, request, options = {}]) => [name, opcode, request, options] as const))(
    "%s",
    (_name, opcode, request, options) => {
      expect(decode([FIRST | opcode, ADDRESS | LEAF], options)).toEqual({ kind: "tlb", request });
    },
  );

  test("without Leaf mean the levels above too", () => {
    expect(decode([0x12n, ADDRESS])).toMatchObject({ request: { leafOnly: false } });
  });

  /** First word, second word without the address, and what follows; null: illegal. */
  const ranges: readonly (readonly [
    string,
    ContextOptions,
    { num?: number; scale?: number; ttl?: number; tg?: number; address?: bigint },
    object | null,
  ])[] = [
    ["TG 0 is one page, whatever else", {}, { num: 31, scale: 63, ttl: 3 }, page],
    ["4 KiB x 1 with a level", {}, { tg: 1, ttl: 3 }, { ...page, granule: 0x1000n, level: 3 }],
    ["4 KiB x 2", {}, { tg: 1, num: 1 }, { first: ADDRESS, last: ADDRESS + 0x1fffn, granule: 0x1000n, level: null }],
    [
      "4 KiB x 2 x 2^10",
      {},
      { tg: 1, num: 1, scale: 10, ttl: 2 },
      { first: ADDRESS, last: ADDRESS + 0x7f_ffffn, granule: 0x1000n, level: 2 },
    ],
    [
      "16 KiB, aligned",
      {},
      { tg: 2, num: 31, address: 0x7000n },
      { first: 0x4000n, last: 0x4000n + 0x7_ffffn, granule: 0x4000n, level: null },
    ],
    [
      "64 KiB, aligned",
      {},
      { tg: 3, num: 0, scale: 1, ttl: 1, address: 0x1_f000n },
      { first: 0x1_0000n, last: 0x2_ffffn, granule: 0x1_0000n, level: 1 },
    ],
    ["NUM, SCALE and TTL 0", {}, { tg: 1 }, null],
    ["NUM, SCALE and TTL 0 with 16 KiB", {}, { tg: 2 }, null],
    ["16 KiB at level 1, alone", {}, { tg: 2, ttl: 1 }, null],
    [
      "16 KiB at level 1 is any level",
      {},
      { tg: 2, ttl: 1, num: 1, address: 0n },
      { first: 0n, last: 0x7fffn, granule: 0x4000n, level: null },
    ],
    [
      "16 KiB at level 1 with 52-bit addresses",
      { idr5: { DS: 1 } },
      { tg: 2, ttl: 1, address: 0n },
      { first: 0n, last: 0x3fffn, granule: 0x4000n, level: 1 },
    ],
    [
      "SCALE has 5 bits",
      {},
      { tg: 1, scale: 33, address: 0n },
      { first: 0n, last: 0x1fffn, granule: 0x1000n, level: null },
    ],
    [
      "SCALE has 6 bits with 52-bit addresses, and is at most 39",
      { idr5: { DS: 1 } },
      { tg: 1, scale: 63, address: 0n },
      { first: 0n, last: (1n << 51n) - 1n, granule: 0x1000n, level: null },
    ],
    [
      "a range does not wrap",
      {},
      { tg: 3, num: 31, scale: 31, address: 0xffff_ffff_0000_0000n },
      { first: 0xffff_ffff_0000_0000n, last: 0xffff_ffff_ffff_ffffn, granule: 0x1_0000n, level: null },
    ],
    ["without RIL, all of it is ignored", { idr3: { RIL: 0 } }, { num: 9, scale: 9, ttl: 1, tg: 1 }, page],
  ];
  test.each(ranges)("%s", (_what, options, { num = 0, scale = 0, ttl = 0, tg = 0, address = ADDRESS }, range) => {
    const first = (BigInt(num) << 12n) | (BigInt(scale) << 20n);
    const second = address | (BigInt(ttl) << 8n) | (BigInt(tg) << 10n);
    for (const opcode of [0x12n, 0x13n, 0x22n, 0x23n]) {
      const command = decode([first | opcode, second], options);
      if (range === null) expect(command).toBeNull();
      else expect(command).toMatchObject({ request: { range } });
    }
  });
});

describe("illegal", () => {
  const LEGAL = [
    ...[0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x10, 0x11, 0x12, 0x13, 0x20, 0x21, 0x22, 0x23, 0x28, 0x2a, 0x30],
    ...[0x40, 0x41, 0x44, 0x45, 0x46, 0x70, 0x73],
  ];

  test("are all other opcodes, those of EL3 and of Secure state among them", () => {
    const opcodes = Array.from({ length: 256 }, (_, opcode) => opcode);
    const legal = opcodes.filter((opcode) => decode([BigInt(opcode), 0n], EVERYTHING) !== null);
    expect(legal).toEqual(LEGAL);
  });

  const lacking: readonly (readonly [string, IdentificationOptions, readonly number[]])[] = [
    ["stage 1", { idr0: { S1P: 0 } }, [0x05, 0x06, 0x10, 0x11, 0x12, 0x13, 0x20, 0x21, 0x22, 0x23]],
    ["stage 2", { idr0: { S2P: 0 } }, [0x28, 0x2a]],
    ["EL2", { idr0: { Hyp: 0 } }, [0x20, 0x21, 0x22, 0x23]],
    ["ATS", { idr0: { ATS: 0 } }, [0x40]],
    ["PRI", { idr0: { PRI: 0 } }, [0x41]],
    ["stalls", { idr0: { STALL_MODEL: 1 } }, [0x44, 0x45]],
    ["MPAM", { idr3: { MPAM: 0 } }, [0x07]],
    ["device permission tables", { idr3: { DPT: 0 } }, [0x70, 0x73]],
  ];
  test.each(lacking)("is what a unit without %s does not know", (_what, { idr0, idr3 }, illegal) => {
    const options = { idr0: { ...EVERYTHING.idr0, ...idr0 }, idr3: { ...EVERYTHING.idr3, ...idr3 } };
    expect(LEGAL.filter((opcode) => decode([BigInt(opcode), 0n], options) === null)).toEqual(illegal);
  });

  test("is what names a Secure stream", () => {
    const illegal = LEGAL.filter((opcode) => decode([BigInt(opcode) | (1n << 10n), 0n], EVERYTHING) === null);
    expect(illegal).toEqual([0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x44, 0x45]);
  });

  test.each([
    ["PRI_RESP with the reserved response", [0x41n, 3n << 12n]],
    ["ATC_INV of more than everything", [0x40n, 53n]],
    ["SYNC with the reserved signal", [0x3046n, 0n]],
  ] as const)("is %s", (_what, words) => {
    expect(decode(words, EVERYTHING)).toBeNull();
  });
});
