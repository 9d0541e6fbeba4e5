/** What becomes of a transaction that faults: Arm IHI 0070 G.b, sections 3.12.2, 4.7.1, 4.7.2, 5.5 and 6.3.9.6. */
import { describe, expect, test } from "vitest";
import { EVENT } from "../../src/smmuv3/events.js";
import type { CdFields, SteFields } from "../support/smmuv3/encode.js";
import { CR0, type Machine, type MachineOptions, openMachine, requestOf, SID, TABLES } from "./machine.js";
import { AT } from "./register-support.js";

const UNMAPPED = 0x7000n;
const RESUME = { terminate: 0n, retry: 1n << 12n, abort: 1n << 13n } as const;
const STALLING: MachineOptions = { cd: { S: 1 } };
const LOG2_ONE = 0n;

function resume(machine: Machine, action: keyof typeof RESUME, stag: number, sid: number = SID.stage1): void {
  machine.command(0x44n | RESUME[action] | (BigInt(sid) << 32n), BigInt(stag));
}

function stall(machine: Machine, sid: number = SID.stage1): number {
  const result = machine.unit.translate(requestOf(sid, { iova: UNMAPPED }));
  expect(result).toMatchObject({ ok: false, stalled: true, completion: null, event: { stall: true } });
  if (result.ok || result.event?.stag === undefined) throw new Error("a stall without STAG");
  return result.event.stag;
}

describe("A, R and S of a CD", () => {
  type Row = readonly [ars: string, cd: CdFields, completion: "abort" | "RAZ/WI" | null, recorded: boolean];
  const rows: readonly Row[] = [
    ["000", { A: 0, R: 0 }, "RAZ/WI", false],
    ["010", { A: 0, R: 1 }, "RAZ/WI", true],
    ["001", { A: 0, R: 0, S: 1 }, null, true],
    ["011", { A: 0, R: 1, S: 1 }, null, true],
    ["100", { A: 1, R: 0 }, "abort", false],
    ["110", { A: 1, R: 1 }, "abort", true],
    ["101", { A: 1, R: 0, S: 1 }, null, true],
    ["111", { A: 1, R: 1, S: 1 }, null, true],
  ];
  const causes = [
    [EVENT.F_TRANSLATION, { iova: UNMAPPED }, {}],
    [EVENT.F_ADDR_SIZE, {}, { words: [[TABLES.s1[2], 0x4000_1f43n | (1n << 46n)]] }],
    [EVENT.F_ACCESS, {}, { words: [[TABLES.s1[2], 0x4000_1b43n]] }],
    [EVENT.F_PERMISSION, { iova: 0x2000n, access: "write" }, {}],
  ] as const;
  const settings = rows.flatMap((row) => causes.map((cause) => [...row, ...cause] as const));
  test.each(settings)(
    "%s: %o ends in %s, recorded %s, event %d",
    async (_ars, cd, completion, recorded, code, request, setting) => {
      const machine = await openMachine({ cd, ...setting });
      const result = machine.unit.translate(requestOf(SID.stage1, request));
      expect(result).toMatchObject({
        ok: false,
        completion,
        stalled: completion === null,
        code: recorded ? code : null,
      });
      const events = recorded ? [{ code, stall: completion === null }] : [];
      expect(machine.events()).toMatchObject(events);
    },
  );

  test("say nothing of other events, which abort and are recorded", async () => {
    const machine = await openMachine({ cd: { A: 0, R: 0 }, words: [[TABLES.s1[0], 0x800_0003n]] });
    const result = machine.unit.translate(requestOf(SID.stage1));
    expect(result).toMatchObject({ ok: false, code: EVENT.F_WALK_EABT, completion: "abort" });
  });

  test("TERM_MODEL 1: a CD with A 0 is illegal", async () => {
    const registers = { IDR0: 0x084c_168bn | (1n << 26n) };
    const codeOf = async (cd: CdFields) => (await openMachine({ registers, cd })).unit.translate(requestOf(SID.stage1));
    expect(await codeOf({ A: 0 })).toMatchObject({ ok: false, code: EVENT.C_BAD_CD });
    expect(await codeOf({ A: 1 })).toMatchObject({ ok: true });
  });
});

describe("S2R and S2S of an STE, with A as 1", () => {
  const rows: readonly (readonly [name: string, ste: SteFields, completion: "abort" | null, recorded: boolean])[] = [
    ["00", { S2R: 0 }, "abort", false],
    ["10", { S2R: 1 }, "abort", true],
    ["01", { S2R: 0, S2S: 1 }, null, true],
    ["11", { S2R: 1, S2S: 1 }, null, true],
  ];
  const causes = [
    ["the input", SID.stage2, UNMAPPED, "IN", undefined],
    ["the output of stage 1", SID.nested, 0x1000n, "IN", TABLES.s2[2]],
    ["a descriptor of stage 1", SID.nested, 0x1000n, "TT", TABLES.s2OfS1[1]],
    ["a context descriptor", SID.nested, 0x1000n, "CD", TABLES.s2OfContexts],
  ] as const;
  const settings = rows.flatMap((row) => causes.map((cause) => [...row, ...cause] as const));
  test.each(settings)(
    "%s: %o ends in %s, recorded %s: %s",
    async (_name, ste, completion, recorded, _of, sid, iova, faultClass, hole) => {
      // What the CD says does not matter.
      const machine = await openMachine({ ste, cd: { A: 0, R: 0 }, words: hole === undefined ? [] : [[hole, 0n]] });
      const result = machine.unit.translate(requestOf(sid, { iova }));
      expect(result).toMatchObject({ ok: false, completion, stalled: completion === null });
      const event = { code: EVENT.F_TRANSLATION, s2: true, class: faultClass, stall: completion === null };
      expect(machine.events()).toMatchObject(recorded ? [event] : []);
    },
  );
});

describe("a stalled transaction", () => {
  test.each(["retry", "terminate", "abort"] as const)("ends by CMD_RESUME: %s", async (action) => {
    const machine = await openMachine(STALLING);
    const stag = stall(machine);
    resume(machine, action, stag);
    expect(machine.resumes).toEqual([{ sid: SID.stage1, stag, action }]);
    resume(machine, action, stag);
    expect(machine.resumes).toHaveLength(1);
  });

  test("is named by its STAG and its stream together", async () => {
    const machine = await openMachine(STALLING);
    const stag = stall(machine);
    resume(machine, "retry", stag, SID.nested);
    resume(machine, "retry", stag + 1);
    expect(machine.resumes).toEqual([]);
    resume(machine, "retry", stag);
    expect(machine.resumes).toHaveLength(1);
  });

  test("ends with all of its stream by CMD_STALL_TERM", async () => {
    const machine = await openMachine(STALLING);
    const stags = [stall(machine), stall(machine, SID.nested), stall(machine)];
    expect(new Set(stags).size).toBe(3);
    machine.command(0x45n | (BigInt(SID.stage1) << 32n));
    const ended = (stag: number, sid: number = SID.stage1) => ({ sid, stag, action: "abort" });
    expect(machine.resumes).toEqual([ended(stags[0]), ended(stags[2])]);
    machine.command(0x45n | (BigInt(SID.nested) << 32n));
    expect(machine.resumes[2]).toEqual(ended(stags[1], SID.nested));
  });

  test("ends when SMMUEN is cleared", async () => {
    const machine = await openMachine(STALLING);
    const stags = [stall(machine), stall(machine, SID.nested)];
    machine.unit.write32(AT.CR0, CR0.EVENTQEN | CR0.CMDQEN);
    expect(machine.resumes.map(({ stag, action }) => [stag, action])).toEqual(stags.map((stag) => [stag, "abort"]));
  });

  test("is not touched by invalidations", async () => {
    const machine = await openMachine(STALLING);
    const stag = stall(machine);
    machine.command(0x04n, 31n);
    machine.command(0x30n);
    expect(machine.resumes).toEqual([]);
    resume(machine, "retry", stag);
    expect(machine.resumes).toHaveLength(1);
  });

  test("gives its STAG back, and never shares it", async () => {
    const machine = await openMachine({ ...STALLING, registers: { IDR5: 0x74n | (3n << 16n) } });
    const first = [stall(machine), stall(machine), stall(machine)];
    expect(new Set(first).size).toBe(3);
    // As many as STALL_MAX says: one more waits without an event.
    machine.events();
    const waiting = machine.unit.translate(requestOf(SID.stage1, { iova: UNMAPPED }));
    expect(waiting).toMatchObject({ ok: false, stalled: true, event: null });
    expect(machine.events()).toEqual([]);
    resume(machine, "retry", first[1]);
    expect(stall(machine)).toBe(first[1]);
  });
});

describe("the event of a stalled transaction that waits for room", () => {
  /** A queue of one entry, which is taken. */
  async function full(): Promise<Machine> {
    const machine = await openMachine({ ...STALLING, without: CR0.EVENTQEN });
    machine.unit.write64(AT.EVENTQ_BASE, 0x41_0000n | LOG2_ONE);
    machine.unit.write32(AT.CR0, CR0.SMMUEN | CR0.EVENTQEN | CR0.CMDQEN);
    machine.unit.translate(requestOf(7));
    return machine;
  }
  const sidsOf = (machine: Machine) => machine.unit.events.records.map(({ sid }) => sid);

  test("is written when there is room", async () => {
    const machine = await full();
    stall(machine);
    expect(sidsOf(machine)).toEqual([7]);
    machine.events();
    expect(sidsOf(machine)).toEqual([SID.stage1]);
  });

  const ends: readonly (readonly [name: string, end: (machine: Machine, stag: number) => void])[] = [
    ["CMD_RESUME", (machine, stag) => resume(machine, "terminate", stag)],
    ["CMD_STALL_TERM", (machine) => machine.command(0x45n | (BigInt(SID.stage1) << 32n))],
  ];
  test.each(ends)("is discarded by %s, and only that of the transaction", async (_name, end) => {
    const machine = await full();
    const stag = stall(machine);
    stall(machine, SID.nested);
    end(machine, stag);
    machine.events();
    expect(sidsOf(machine)).toEqual([SID.nested]);
    machine.events();
    expect(sidsOf(machine)).toEqual([]);
  });

  test("is discarded when SMMUEN is cleared", async () => {
    const machine = await full();
    stall(machine);
    machine.unit.write32(AT.CR0, CR0.EVENTQEN | CR0.CMDQEN);
    machine.events();
    expect(sidsOf(machine)).toEqual([]);
  });
});
