/**
 * Which TLB entries a command drops: StreamWorlds, VMIDs, ASIDs and global entries. Arm IHI 0070 G.b, sections 3.17 and 4.4.
 */
import { describe, expect, it } from "vitest";
import { AT, request, SID, smallMachine } from "../support/smmuv3/small-machine.js";
import { answer, openUnit } from "./loaded-unit.js";

const CR0 = 0x20;
const CMDQ_BASE = 0x90;
const CMDQ_PROD = 0x98;
const CMDQ_CONS = 0x9c;
const SMMUEN_CMDQEN = 1 | 8;

const QUEUE = 0x80000n;
const LOG2_QUEUE = 3n;
const STREAM = { asid: 5n, vmid: 7n };
const VA = 0x1000n;
/** What input 1000h leads to at first, and after software changed it; nG is set. */
const LEAF = 0x4000_1f43n;
const OLD = 0x4000_1000n;
const NEW = 0x4000_3000n;
const NG = 1n << 11n;

const NH_ALL = 0x10n;
const NH_ASID = 0x11n;
const NH_VA = 0x12n;
const NH_VAA = 0x13n;
const EL2_ALL = 0x20n;
const EL2_ASID = 0x21n;
const EL2_VA = 0x22n;
const EL2_VAA = 0x23n;
const S12_VMALL = 0x28n;
const NSNH_ALL = 0x30n;

const WORLDS = {
  EL1: { STRW: 0, CR2: 0n },
  EL2: { STRW: 2, CR2: 0n },
  "EL2-E2H": { STRW: 2, CR2: 1n },
} as const;

interface Row {
  readonly world: keyof typeof WORLDS;
  readonly command: string;
  readonly words: readonly [first: bigint, second: bigint];
  readonly drops: { readonly nonGlobal: boolean; readonly global: boolean };
}

const BOTH = { nonGlobal: true, global: true };
const NON_GLOBAL = { nonGlobal: true, global: false };
const GLOBAL = { nonGlobal: false, global: true };
const NEITHER = { nonGlobal: false, global: false };

function command(
  opcode: bigint,
  { asid = STREAM.asid, vmid = STREAM.vmid, va = VA }: { asid?: bigint; vmid?: bigint; va?: bigint } = {},
): readonly [bigint, bigint] {
  return [opcode | (vmid << 32n) | (asid << 48n), va];
}

const ROWS: readonly Row[] = [
  { world: "EL1", command: "NH_ALL", words: command(NH_ALL), drops: BOTH },
  { world: "EL1", command: "NH_ALL of another VMID", words: command(NH_ALL, { vmid: 8n }), drops: NEITHER },
  { world: "EL1", command: "NH_ASID", words: command(NH_ASID), drops: NON_GLOBAL },
  { world: "EL1", command: "NH_ASID of another ASID", words: command(NH_ASID, { asid: 6n }), drops: NEITHER },
  { world: "EL1", command: "NH_VA", words: command(NH_VA), drops: BOTH },
  { world: "EL1", command: "NH_VA of another ASID", words: command(NH_VA, { asid: 6n }), drops: GLOBAL },
  { world: "EL1", command: "NH_VA of another VMID", words: command(NH_VA, { vmid: 8n }), drops: NEITHER },
  { world: "EL1", command: "NH_VA of another address", words: command(NH_VA, { va: 0x5000n }), drops: NEITHER },
  { world: "EL1", command: "NH_VAA", words: command(NH_VAA, { asid: 6n }), drops: BOTH },
  { world: "EL1", command: "S12_VMALL", words: command(S12_VMALL), drops: BOTH },
  { world: "EL1", command: "NSNH_ALL", words: command(NSNH_ALL), drops: BOTH },
  { world: "EL1", command: "EL2_ALL", words: command(EL2_ALL), drops: NEITHER },
  { world: "EL1", command: "EL2_VAA", words: command(EL2_VAA), drops: NEITHER },
  // Neither ASIDs nor VMIDs.
  { world: "EL2", command: "NH_ALL", words: command(NH_ALL, { vmid: 0n }), drops: NEITHER },
  { world: "EL2", command: "NH_VAA", words: command(NH_VAA, { vmid: 0n }), drops: NEITHER },
  { world: "EL2", command: "NSNH_ALL", words: command(NSNH_ALL), drops: NEITHER },
  { world: "EL2", command: "EL2_ALL", words: command(EL2_ALL), drops: BOTH },
  { world: "EL2", command: "EL2_ASID", words: command(EL2_ASID), drops: NEITHER },
  { world: "EL2", command: "EL2_VA", words: command(EL2_VA, { asid: 9n }), drops: BOTH },
  { world: "EL2", command: "EL2_VA of another address", words: command(EL2_VA, { va: 0x5000n }), drops: NEITHER },
  { world: "EL2", command: "EL2_VAA", words: command(EL2_VAA), drops: BOTH },
  { world: "EL2-E2H", command: "NH_ASID", words: command(NH_ASID, { vmid: 0n }), drops: NEITHER },
  { world: "EL2-E2H", command: "EL2_ALL", words: command(EL2_ALL), drops: BOTH },
  { world: "EL2-E2H", command: "EL2_ASID", words: command(EL2_ASID), drops: NON_GLOBAL },
  { world: "EL2-E2H", command: "EL2_ASID of another ASID", words: command(EL2_ASID, { asid: 6n }), drops: NEITHER },
  { world: "EL2-E2H", command: "EL2_VA", words: command(EL2_VA), drops: BOTH },
  { world: "EL2-E2H", command: "EL2_VA of another ASID", words: command(EL2_VA, { asid: 6n }), drops: GLOBAL },
  { world: "EL2-E2H", command: "EL2_VAA", words: command(EL2_VAA, { asid: 6n }), drops: BOTH },
];

/** Whether a translation that was cached is gone after the command. By `batch`, it gets into the TLB by a batch. */
async function drops({ world, words }: Row, global: boolean, batch: boolean): Promise<boolean> {
  const leaf = global ? LEAF & ~NG : LEAF;
  const { STRW, CR2 } = WORLDS[world];
  const { unit: machine, memory } = smallMachine({
    registers: { CR2 },
    ste: { STRW, S2VMID: STREAM.vmid },
    cd: { ASID: STREAM.asid },
    words: [[AT.s1[2], leaf]],
  });
  const { unit, memory: ram } = await openUnit(machine.registers, memory.ram, memory.words);
  unit.write64(CMDQ_BASE, QUEUE | LOG2_QUEUE);
  unit.write32(CR0, SMMUEN_CMDQEN);
  const read = request({ sid: SID.stage1, iova: VA });
  const old = { kind: "translated", pa: OLD };
  if (batch) {
    const one = unit.createBatch(1);
    one.iova[0] = VA;
    one.source[0] = SID.stage1;
    unit.translateBatch(one, 1);
    expect(one.physical[0]).toBe(OLD);
  } else {
    expect(answer(unit, read)).toMatchObject(old);
  }
  ram.write64(AT.s1[2], leaf - OLD + NEW);
  expect(answer(unit, read)).toMatchObject(old);
  ram.write64(QUEUE, words[0]);
  ram.write64(QUEUE + 8n, words[1]);
  unit.write32(CMDQ_PROD, 1);
  expect(unit.read32(CMDQ_CONS)).toBe(1);
  const after = answer(unit, read);
  expect(after).toMatchObject({ kind: "translated" });
  return after.kind === "translated" && after.pa === NEW;
}

describe("TLB invalidation by StreamWorld", () => {
  it.each(ROWS)("$world: $command", async (row) => {
    for (const batch of [false, true]) {
      expect({ nonGlobal: await drops(row, false, batch), global: await drops(row, true, batch) }).toEqual(row.drops);
    }
  });
});
