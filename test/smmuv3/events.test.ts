/** Records of the Event queue: where every field is. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeEvent, EVENT, type EventRecord, encodeEvent, eventName } from "../../src/smmuv3/events.js";
import { refused } from "../support/errors.js";

type Words = readonly [bigint, bigint, bigint, bigint];

const SID = 0x1234_5678;
const SSID = 0xfedcb;
/** The common part with SSV, without the event number. */
const COMMON = 0x1234_5678_fedc_b800n;
const ADDRESS = 0x8123_4567_89ab_cdefn;
const PAGE = 0x8123_4567_89ab_c000n;
const PAGE_56 = 0x00ed_cba9_8765_4000n;
const FETCH = 0x00ed_cba9_8765_4328n;

const access = { pnu: true, ind: false, rnw: true } as const;
const fetch = { reason: 0xbeef, gpcf: true, fetchAddr: FETCH } as const;
const translation = {
  stag: 0xabcd,
  stall: true,
  nsipa: false,
  ...access,
  s2: true,
  class: "IN",
  implementationDefined: 0x5a5a,
  inputAddr: ADDRESS,
  ipa: PAGE_56,
} as const;
const TRANSLATION: Words = [COMMON, 0x5a5a_028a_8000_abcdn, ADDRESS, PAGE_56];

const cases: readonly (readonly [keyof typeof EVENT, Omit<EventRecord, "code" | "sid" | "ssid">, Words])[] = [
  ["F_UUT", { reason: 0xbeef, ...access, inputAddr: ADDRESS }, [COMMON, 0xa_0000_beefn, ADDRESS, 0n]],
  ["C_BAD_STREAMID", {}, [COMMON, 0n, 0n, 0n]],
  ["F_STE_FETCH", fetch, [COMMON, 0x1_beefn, 0n, FETCH]],
  ["C_BAD_STE", {}, [COMMON, 0n, 0n, 0n]],
  [
    "F_BAD_ATS_TREQ",
    { span: 9, privileged: true, execute: false, write: false, read: true, inputAddr: PAGE },
    [COMMON, 0x9000_0009n, PAGE, 0n],
  ],
  ["F_STREAM_DISABLED", {}, [COMMON, 0n, 0n, 0n]],
  ["F_TRANSL_FORBIDDEN", { rnw: true, inputAddr: ADDRESS }, [COMMON, 0x8_0000_0000n, ADDRESS, 0n]],
  ["C_BAD_SUBSTREAMID", {}, [COMMON & ~0x800n, 0n, 0n, 0n]],
  ["F_CD_FETCH", fetch, [COMMON, 0x1_beefn, 0n, FETCH]],
  ["C_BAD_CD", {}, [COMMON, 0n, 0n, 0n]],
  [
    "F_WALK_EABT",
    { ...fetch, ...access, ind: true, s2: true, class: "TT", inputAddr: ADDRESS },
    [COMMON, 0x18e_0001_beefn, ADDRESS, FETCH],
  ],
  ["F_TRANSLATION", translation, TRANSLATION],
  ["F_ADDR_SIZE", translation, TRANSLATION],
  ["F_ACCESS", translation, TRANSLATION],
  [
    "F_PERMISSION",
    { ...translation, class: "TT", assuredOnly: true, dirtyBit: false, ttRnW: true, overlay: false },
    [COMMON, 0x5a5a_158a_8000_abcdn, ADDRESS, PAGE_56],
  ],
  [
    "F_TLB_CONFLICT",
    { reason: 0xdead_beef, ...access, s2: true, inputAddr: ADDRESS, ipa: PAGE_56 },
    [COMMON, 0x8a_dead_beefn, ADDRESS, PAGE_56],
  ],
  ["F_CFG_CONFLICT", { reason: 0xdead_beef }, [COMMON, 0xdead_beefn, 0n, 0n]],
  [
    "E_PAGE_REQUEST",
    { uX: true, uW: false, uR: false, pX: true, pW: true, pR: false, span: 0xa5, inputAddr: PAGE },
    [COMMON, 0xa_5062_0000_0000n, PAGE, 0n],
  ],
  ["F_VMS_FETCH", fetch, [COMMON, 0x1_beefn, 0n, FETCH]],
];

describe("event records", () => {
  test("are tested all", () => {
    expect(cases.map(([name]) => name)).toEqual(Object.keys(EVENT));
  });

  test.each(cases)("%s is written and read", (name, fields, [first, ...rest]) => {
    const event = { code: EVENT[name], sid: SID, ssid: SSID, ...fields };
    const words = [first | BigInt(EVENT[name]), ...rest];
    expect(encodeEvent(event)).toEqual(words);
    expect(decodeEvent(words)).toEqual(event);
    expect(eventName(EVENT[name])).toBe(name);
  });

  test("say whether there was a SubstreamID", () => {
    const without = { code: EVENT.C_BAD_CD, sid: 7 };
    expect(encodeEvent(without)).toEqual([0x7_0000_000an, 0n, 0n, 0n]);
    expect(decodeEvent(encodeEvent(without))).toEqual(without);
    const zero = { ...without, ssid: 0 };
    expect(encodeEvent(zero)[0]).toBe(0x7_0000_080an);
    expect(decodeEvent(encodeEvent(zero))).toEqual(zero);
  });

  test("leave out low bits of addresses that they have no place for", () => {
    const event = { code: EVENT.F_TRANSLATION, sid: 0, ipa: 0x1234_5fffn };
    expect(decodeEvent(encodeEvent(event)).ipa).toBe(0x1234_5000n);
    const walk = { code: EVENT.F_WALK_EABT, sid: 0, fetchAddr: 0x1007n };
    expect(decodeEvent(encodeEvent(walk)).fetchAddr).toBe(0x1000n);
  });

  test("that are not architected say only what all do", () => {
    const words = [COMMON | 0xe5n, 0xffn, 0xffn, 0xffn];
    expect(decodeEvent(words)).toEqual({ code: 0xe5, sid: SID, ssid: SSID });
    expect([0xdf, 0xe0, 0xef, 0xf0, 0].map(eventName)).toEqual([
      "reserved",
      "IMPDEF_EVENT",
      "IMPDEF_EVENT",
      "reserved",
      "reserved",
    ]);
  });

  test("with any value of CLASS are read", () => {
    const classes = [0n, 1n, 2n, 3n].map((value) => decodeEvent([0x10n, value << 40n, 0n, 0n]).class);
    expect(classes).toEqual(["CD", "TT", "IN", undefined]);
  });

  test("come back as they were", () => {
    const flags = { stall: fc.boolean(), pnu: fc.boolean(), ind: fc.boolean(), rnw: fc.boolean(), s2: fc.boolean() };
    const event = fc.record({
      code: fc.constantFrom(EVENT.F_TRANSLATION, EVENT.F_ADDR_SIZE, EVENT.F_ACCESS),
      sid: fc.integer({ min: 0, max: 0xffff_ffff }),
      ssid: fc.integer({ min: 0, max: 0xf_ffff }),
      stag: fc.integer({ min: 0, max: 0xffff }),
      ...flags,
      class: fc.constantFrom("CD" as const, "TT" as const, "IN" as const),
      inputAddr: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      ipa: fc.bigInt({ min: 0n, max: (1n << 44n) - 1n }).map((page) => page << 12n),
    });
    fc.assert(
      fc.property(event, (given) => {
        expect(decodeEvent(encodeEvent(given))).toMatchObject(given);
      }),
    );
  });

  const wrong: readonly (readonly [string, EventRecord, RegExp])[] = [
    ["an unknown event", { code: 0x0c, sid: 0 }, /event 12.*no such event/],
    ["a StreamID too large", { code: 0x10, sid: 2 ** 32 }, /F_TRANSLATION with sid 4294967296.*32 bits/],
    ["a SubstreamID too large", { code: 0x10, sid: 0, ssid: 1 << 20 }, /ssid 1048576.*20 bits/],
    ["a STAG too large", { code: 0x10, sid: 0, stag: 0x1_0000 }, /stag 65536.*16 bits/],
    ["a field of another event", { code: 0x10, sid: 0, fetchAddr: 0n }, /F_TRANSLATION with fetchAddr.*no such field/],
    ["an address too large", { code: 0x10, sid: 0, inputAddr: 1n << 64n }, /inputAddr.*64 bits/],
    ["an intermediate address too large", { code: 0x10, sid: 0, ipa: 1n << 56n }, /ipa.*56 bits/],
    ["a negative address", { code: 0x0b, sid: 0, fetchAddr: -8n }, /fetchAddr -8.*56 bits/],
    ["an unknown class", { code: 0x10, sid: 0, class: "XX" as "IN" }, /class XX.*CD, TT, IN/],
    ["a flag that is none", { code: 0x10, sid: 0, rnw: 1 as unknown as boolean }, /rnw 1.*true or false/],
  ];
  test.each(wrong)("refuse %s", (_what, event, message) => {
    expect(refused("invalid", () => encodeEvent(event)).message).toMatch(message);
  });
});
