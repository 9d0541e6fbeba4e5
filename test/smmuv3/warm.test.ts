/** While tables stay as they are nobody sees the TLB: a unit answers as one without, event by event. */
import { describe, expect, it, test } from "vitest";
import { EVENT } from "../../src/smmuv3/events.js";
import type { SlowRequest } from "../support/slow-smmuv3.js";
import { type RandomMachine, randomMachine } from "../support/smmuv3/random-machine.js";
import { answer, openUnit } from "./loaded-unit.js";
import { type Machine, openMachine, requestOf, SID, TABLES } from "./machine.js";

/** Each request of a substream, then to the same addresses other accesses, then again. */
function repeated(requests: readonly SlowRequest[]): readonly SlowRequest[] {
  const opposite = requests.map((request) => ({
    ...request,
    access: request.access === "read" ? ("write" as const) : ("read" as const),
  }));
  const other = requests.map((request) => ({ ...request, privileged: !request.privileged, instruction: false }));
  return [...requests, ...opposite, ...other, ...requests];
}

/** The requests by substream: random contexts may have each other's ASIDs, and would find each other's TLB entries. */
function bySubstream({ requests }: RandomMachine): readonly (readonly SlowRequest[])[] {
  const groups = new Map<string, SlowRequest[]>();
  for (const request of requests) {
    const substream = `${request.sid}.${request.ssid}`;
    groups.set(substream, [...(groups.get(substream) ?? []), request]);
  }
  return [...groups.values()].map(repeated);
}

/** Returns how many faults were met that a TLB entry led to. */
async function compare(seed: number): Promise<number> {
  const machine = randomMachine(seed);
  const { registers, ram, words } = machine;
  const cold = await openUnit(registers, ram, words);
  const warm = await openUnit(registers, ram, words);
  let denied = 0;
  for (const requests of bySubstream(machine)) {
    warm.unit.invalidateCaches();
    for (const request of requests) {
      cold.unit.invalidateCaches();
      const expected = answer(cold.unit, request);
      const hits = warm.unit.counters.iotlbHit;
      expect({ seed, request, ...answer(warm.unit, request) }).toEqual({ seed, request, ...expected });
      if (expected.kind === "fault" && expected.fields.s2 && warm.unit.counters.iotlbHit > hits) denied++;
    }
  }
  for (const address of words.keys()) {
    const word = warm.memory.read64(address);
    const expected = cold.memory.read64(address);
    if (word !== expected) expect({ seed, address, word }).toEqual({ seed, address, word: expected });
  }
  for (const { unit } of [cold, warm]) unit.release();
  return denied;
}

describe("answers with a warm TLB are those with a cold one", () => {
  it.each(Array.from({ length: 6 }, (_, i) => i * 1000))("on the random machines from seed %i", async (from) => {
    let denied = 0;
    for (let seed = from; seed < from + 6; seed++) denied += await compare(seed);
    expect(denied).toBeGreaterThan(0);
  });
});

const NSNH_ALL = 0x30n;
/** Leaves of stage 2 for the page of input 1000h: read-only, and with DBM, so that a write may make it dirty. */
const READ_ONLY = 0x5000_147fn;
const WRITABLE_CLEAN = READ_ONLY | (1n << 51n);
const WRITABLE = READ_ONLY | 0x80n;

describe("a TLB entry of both stages that stage 2 made read-only", () => {
  const IPA = 0x4000_1000n;
  const write = requestOf(SID.nested, { access: "write" });

  async function warm(): Promise<Machine> {
    const machine = await openMachine({
      ste: { S2HA: 1, S2HD: 1 },
      cd: { HA: 1, HD: 1 },
      words: [[TABLES.s2[2], READ_ONLY]],
    });
    expect(machine.unit.translate(requestOf(SID.nested))).toMatchObject({ ok: true });
    return machine;
  }

  test("has stage 2 fault, and says for which intermediate address", async () => {
    const machine = await warm();
    const { iommuMrds } = machine.unit.counters;
    const event = { code: EVENT.F_PERMISSION, s2: true, class: "IN", ipa: IPA, rnw: false };
    expect(machine.unit.translate(write)).toMatchObject({ ok: false, event });
    expect(machine.unit.counters).toMatchObject({ iotlbLookup: 2, iotlbHit: 1, iommuMrds });
  });

  test.each([
    ["writable", WRITABLE],
    ["writable-clean", WRITABLE_CLEAN],
  ])("denies the write as before when the page has become %s, until it is invalidated", async (_name, leaf) => {
    const machine = await warm();
    machine.write(TABLES.s2[2], leaf);
    const event = { code: EVENT.F_PERMISSION, s2: false, class: "IN" };
    expect(machine.unit.translate(write)).toMatchObject({ ok: false, event });
    expect(machine.read(TABLES.s2[2])).toBe(leaf);
    machine.command(NSNH_ALL);
    expect(machine.unit.translate(write)).toMatchObject({ ok: true });
    expect(machine.read(TABLES.s2[2])).toBe(leaf | 0x80n);
  });

  test("has a page that is no longer there not found, though reads still hit", async () => {
    const machine = await warm();
    machine.write(TABLES.s2[2], 0n);
    const event = { code: EVENT.F_TRANSLATION, s2: true, class: "IN", ipa: IPA };
    expect(machine.unit.translate(write)).toMatchObject({ ok: false, event });
    expect(machine.unit.translate(requestOf(SID.nested))).toMatchObject({ ok: true });
  });
});
