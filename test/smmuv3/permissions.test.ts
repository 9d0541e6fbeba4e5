/**
 * Permissions, addresses of 52 bits, hardware updates and faults of stage 2 on stage 1 tables, by hand: Arm IHI 0070 G.b
 * sections 3.13, 5.2, 5.4 and 7.3, and Arm DDI 0487 chapter D8.
 */
import { describe, expect, it } from "vitest";
import { encodeAccess } from "../../src/engine/page-table.js";
import { dmaAddress, physicalAddress } from "../../src/engine/addresses.js";
import { EVENT } from "../../src/smmuv3/events.js";
import { SmmuUnit } from "../../src/smmuv3/unit.js";
import { newEngine } from "../support/engine.js";
import type { SlowRequest } from "../support/slow-smmuv3.js";
import { type CdFields, encodeCd, encodeSte, type SteFields, writeEntry } from "../support/smmuv3/encode.js";
import { AT, request, type Setting, SID, smallMachine } from "../support/smmuv3/small-machine.js";
import { answer, openUnit } from "./loaded-unit.js";

function bits(...indices: readonly number[]): bigint {
  return indices.reduce((word, index) => word | (1n << BigInt(index)), 0n);
}

const AF = bits(10);
const DBM = bits(51);

// ---- Stage 1 permissions -------------------------------------------------------------------------------------------

/** AP[2:1]: what unprivileged and privileged accesses may do to data. */
const DATA = {
  0: { unprivileged: "", privileged: "rw" },
  1: { unprivileged: "rw", privileged: "rw" },
  2: { unprivileged: "", privileged: "r" },
  3: { unprivileged: "r", privileged: "r" },
} as const;

interface Controls {
  /** AP[2:1], then UXN and PXN as bits 1 and 0, of the leaf. */
  readonly ap: number;
  readonly xn: number;
  /** APTable: bit 1 no writes, bit 0 no unprivileged accesses; UXNTable and PXNTable. */
  readonly apTable: number;
  readonly xnTable: number;
}

interface Regime {
  readonly name: string;
  readonly cd: CdFields;
  readonly pan: boolean;
  readonly epan: boolean;
  readonly wxn: boolean;
  readonly onePrivilege: boolean;
}

type Kind = "read" | "write" | "execute";

function allowed({ ap, xn, apTable, xnTable }: Controls, regime: Regime, kind: Kind, privileged: boolean): boolean {
  const effective = ((ap & ~(apTable & 1)) | (apTable & 2)) as keyof typeof DATA;
  const { unprivileged, privileged: all } = DATA[effective];
  const uxn = ((xn | xnTable) & 2) !== 0;
  const pxn = ((xn | xnTable) & 1) !== 0;
  const has = (rights: string) => rights.includes(kind === "read" ? "r" : "w");
  if (regime.onePrivilege) return kind === "execute" ? !uxn && !(regime.wxn && all === "rw") : has(all);
  if (!privileged) return kind === "execute" ? !uxn && !(regime.wxn && unprivileged === "rw") : has(unprivileged);
  if (kind === "execute") return !pxn && unprivileged !== "rw" && !(regime.wxn && all === "rw");
  const never = regime.pan && (unprivileged !== "" || (regime.epan && !uxn));
  return !never && has(all);
}

const STREAM_EL1 = 0;
const STREAM_EL2 = 1;
const VALUES = [0, 1, 2, 3] as const;
const LEAF_OUTPUT = 0x5000_0000n;
const PAGE = 4096n;

const REGIMES: readonly Regime[] = [false, true].flatMap((wxn) => [
  ...[
    { pan: false, epan: false },
    { pan: true, epan: false },
    { pan: true, epan: true },
    { pan: false, epan: true },
  ].map(({ pan, epan }) => ({
    name: `PAN ${Number(pan)} EPAN ${Number(epan)} WXN ${Number(wxn)}`,
    cd: { PAN: pan, EPAN: epan, WXN: wxn },
    pan,
    epan,
    wxn,
    onePrivilege: false,
  })),
  {
    name: `EL2 WXN ${Number(wxn)}`,
    cd: { WXN: wxn, PAN: true, E0PD0: true, EPD0: true },
    pan: false,
    epan: false,
    wxn,
    onePrivilege: true,
  },
]);

/**
 * A unit with one table in the arena: 16 level 2 descriptors, one for every APTable and XNTable, lead to one last table of
 * 16 pages, one for every AP and XN.
 */
async function permissionUnit({ cd, onePrivilege }: Regime): Promise<SmmuUnit> {
  const engine = await newEngine();
  const page = (): bigint => engine.memory.allocatePage();
  const write = (address: bigint, word: bigint) => engine.memory.write64(physicalAddress(address), word);
  const [streams, contexts, level1, level2, level3] = [page(), page(), page(), page(), page()];
  write(level1, level2 | 3n);
  for (const table of VALUES.flatMap((apTable) => VALUES.map((xnTable) => ({ apTable, xnTable })))) {
    const controls = (BigInt(table.apTable) << 61n) | (BigInt(table.xnTable) << 59n);
    write(level2 + BigInt(8 * (4 * table.apTable + table.xnTable)), level3 | controls | 3n);
  }
  for (const leaf of VALUES.flatMap((ap) => VALUES.map((xn) => ({ ap, xn })))) {
    const index = BigInt(4 * leaf.ap + leaf.xn);
    const controls = (BigInt(leaf.ap) << 6n) | (BigInt(leaf.xn) << 53n);
    write(level3 + 8n * index, (LEAF_OUTPUT + PAGE * index) | controls | AF | 3n);
  }
  const common = { V: 1, AA64: 1, A: 1, R: 1, IPS: 5, T0SZ: 25, TTB0: level1, EPD1: 1, T1SZ: 25, TG1: 2 };
  writeEntry(encodeCd({ ...common, ...cd }), contexts, write);
  const ste: SteFields = { V: 1, Config: 0b101, S1ContextPtr: contexts, STRW: onePrivilege ? 2 : 0 };
  writeEntry(encodeSte(ste), streams + BigInt(64 * (onePrivilege ? STREAM_EL2 : STREAM_EL1)), write);
  const unit = new SmmuUnit(engine, { idr3: { EPAN: 1 } });
  unit.write64(0x80, streams);
  unit.write32(0x88, 1);
  unit.write32(0x20, 1);
  return unit;
}

describe("stage 1 permissions: AP, APTable, XN, XNTable, privilege and kind of access", () => {
  it.each(REGIMES)("$name", async (regime) => {
    const unit = await permissionUnit(regime);
    const sid = regime.onePrivilege ? STREAM_EL2 : STREAM_EL1;
    const cases = VALUES.flatMap((ap) =>
      VALUES.flatMap((xn) =>
        VALUES.flatMap((apTable) =>
          VALUES.flatMap((xnTable) =>
            (["read", "write", "execute"] as const).flatMap((kind) =>
              [false, true].map((privileged) => ({ controls: { ap, xn, apTable, xnTable }, kind, privileged })),
            ),
          ),
        ),
      ),
    );
    const batch = unit.createBatch(cases.length);
    const wanted = cases.map(({ controls, kind, privileged }, index) => {
      const inTable = BigInt(4 * controls.ap + controls.xn);
      const iova = (BigInt(4 * controls.apTable + controls.xnTable) << 21n) | (inTable << 12n) | 0x123n;
      batch.iova[index] = iova;
      batch.source[index] = sid;
      batch.access[index] = encodeAccess({ write: kind === "write", execute: kind === "execute", privileged });
      const granted = allowed(controls, regime, kind, privileged);
      const said = `AP ${controls.ap} XN ${controls.xn} APTable ${controls.apTable} XNTable ${controls.xnTable} ${kind}`;
      // Singly, without a TLB entry: what the walk says.
      unit.invalidateCaches();
      const access = kind === "write" ? "write" : "read";
      const single = unit.translate({ sid, iova: dmaAddress(iova), access, execute: kind === "execute", privileged });
      const expected = granted
        ? { ok: true, physical: LEAF_OUTPUT + PAGE * inTable + 0x123n }
        : { code: EVENT.F_PERMISSION, event: { s2: false, class: "IN", pnu: privileged, ind: kind === "execute" } };
      expect({ said, privileged, ...single }).toMatchObject({ said, privileged, ...expected });
      return granted ? 0 : EVENT.F_PERMISSION;
    });
    // Together: short cuts of walks, and TLB entries that were filled for another kind of access.
    unit.translateBatch(batch, cases.length, "each");
    expect([...batch.code]).toEqual(wanted);
    unit.translateBatch(batch, cases.length, "each");
    expect([...batch.code]).toEqual(wanted);
  });
});

// ---- Addresses of 52 bits ------------------------------------------------------------------------------------------

/** OAS of 52 bits and 52-bit descriptors. */
const WIDE_IDR5 = 0xf6n;
const ABOVE = 0x000a_0000_0000_0000n;

describe("descriptors of 52-bit addresses", () => {
  // A last table for 25 bits of input; the leaf of its page 1.
  it.each([
    { name: "4 KiB", cd: { TG0: 0, DS: 1 }, levels: [0x20000n], page: 12n, place: (2n << 8n) | (2n << 48n) },
    { name: "16 KiB", cd: { TG0: 2, DS: 1 }, levels: [], page: 14n, place: (2n << 8n) | (2n << 48n) },
    { name: "64 KiB", cd: { TG0: 1 }, levels: [], page: 16n, place: 10n << 12n },
    { name: "4 KiB without DS", cd: { TG0: 0 }, levels: [0x20000n], page: 12n, place: 0n },
    {
      name: "64 KiB with IPS 48",
      cd: { TG0: 1, IPS: 5 },
      levels: [],
      page: 16n,
      place: 10n << 12n,
      code: EVENT.F_ADDR_SIZE,
    },
  ])("$name", async ({ cd, levels, page, place, code }) => {
    const table = 0x40000n;
    const { unit, memory } = smallMachine({
      registers: { IDR5: WIDE_IDR5 },
      cd: { T0SZ: 39, IPS: 6, TTB0: levels[0] ?? table, EPD1: 1, ...cd },
      words: [
        ...levels.map((level): [bigint, bigint] => [level, table | 3n]),
        [table + 8n, (1n << page) | place | AF | bits(6, 0, 1)],
      ],
    });
    const loaded = await openUnit(unit.registers, memory.ram, memory.words);
    const iova = (1n << page) | 0x321n;
    const output = (place === 0n ? 0n : ABOVE) | iova;
    const expected = code
      ? { kind: "fault", code, fields: { s2: false, class: "IN", addr: iova } }
      : { kind: "translated", pa: place === 0n ? iova : output, pageSize: 1n << page };
    expect(answer(loaded.unit, request({ iova }))).toMatchObject(expected);
  });
});

// ---- Hardware updates, and stage 2 on the way to stage 1 tables ----------------------------------------------------

interface Row extends Setting {
  readonly name: string;
  readonly ask?: Partial<SlowRequest>;
  readonly expected: object;
  /** Words afterwards. */
  readonly after?: readonly (readonly [address: bigint, word: bigint])[];
}

const [, , LEAF] = AT.s1;
const [, , LEAF_2] = AT.s2;
const [S2_OF_TABLE, , S2_OF_LEAF] = AT.s2OfS1;
/** Leaves of input 1000h (stage 1, and stage 2 of its output), readable and writable. */
const S1 = 0x4000_1f43n;
const S2 = 0x5000_14ffn;
const CLEAN = S1 | bits(7) | DBM;
const S2_CLEAN = (S2 & ~bits(7)) | DBM;
const WRITE = { access: "write" } as const;
const NESTED = { sid: SID.nested } as const;
const NESTED_WRITE = { ...NESTED, ...WRITE } as const;
const TRANSLATED = { kind: "translated" };
const OF_TABLE = { s2: true, class: "TT" } as const;

function fault(code: number, fields: object): object {
  return { kind: "fault", code, fields };
}

describe("hardware updates of flags", () => {
  it.each<Row>([
    { name: "AF is clear", words: [[LEAF, S1 & ~AF]], expected: fault(EVENT.F_ACCESS, { s2: false, class: "IN" }) },
    {
      name: "AF is clear, AFFD",
      cd: { AFFD: 1 },
      words: [[LEAF, S1 & ~AF]],
      expected: TRANSLATED,
      after: [[LEAF, S1 & ~AF]],
    },
    { name: "AF is set with HA", cd: { HA: 1 }, words: [[LEAF, S1 & ~AF]], expected: TRANSLATED, after: [[LEAF, S1]] },
    {
      name: "DBM without HD",
      cd: { HA: 1 },
      words: [[LEAF, CLEAN]],
      ask: WRITE,
      expected: fault(EVENT.F_PERMISSION, { s2: false }),
    },
    {
      name: "DBM with HD, read",
      cd: { HA: 1, HD: 1 },
      words: [[LEAF, CLEAN]],
      expected: TRANSLATED,
      after: [[LEAF, CLEAN]],
    },
    {
      name: "DBM with HD, write",
      cd: { HA: 1, HD: 1 },
      words: [[LEAF, CLEAN]],
      ask: WRITE,
      expected: TRANSLATED,
      after: [[LEAF, CLEAN & ~bits(7)]],
    },
    {
      name: "big-endian, write",
      cd: { HA: 1, HD: 1, ENDI: 1 },
      words: bigEndian([[LEAF, CLEAN]]),
      ask: WRITE,
      expected: TRANSLATED,
      after: bigEndianAfter([[LEAF, CLEAN & ~bits(7)]]),
    },
    {
      name: "stage 2, AF",
      ste: { S2HA: 1 },
      words: [[LEAF_2, S2 & ~AF]],
      ask: NESTED,
      expected: TRANSLATED,
      after: [[LEAF_2, S2]],
    },
    {
      name: "stage 2, write of a clean page",
      ste: { S2HA: 1, S2HD: 1 },
      words: [[LEAF_2, S2_CLEAN]],
      ask: NESTED_WRITE,
      expected: TRANSLATED,
      after: [[LEAF_2, S2_CLEAN | bits(7)]],
    },
    {
      name: "the update of a stage 1 descriptor makes its stage 2 page dirty",
      cd: { HA: 1 },
      ste: { S2HA: 1, S2HD: 1 },
      words: [
        [LEAF, S1 & ~AF],
        [S2_OF_LEAF, 0x2247fn | DBM],
      ],
      ask: NESTED,
      expected: TRANSLATED,
      after: [
        [LEAF, S1],
        [S2_OF_LEAF, 0x224ffn | DBM],
      ],
    },
    {
      name: "stage 2 forbids the update of a stage 1 descriptor",
      cd: { HA: 1 },
      words: [
        [LEAF, S1 & ~AF],
        [S2_OF_LEAF, 0x2247fn],
      ],
      ask: NESTED,
      expected: fault(EVENT.F_PERMISSION, { ...OF_TABLE, ipa: 0x22000n, ttRnW: false }),
      after: [[LEAF, S1 & ~AF]],
    },
  ])("$name", check);
});

describe("stage 2 on the way to stage 1 tables", () => {
  it.each<Row>([
    {
      name: "no mapping",
      words: [[S2_OF_TABLE, 0n]],
      ask: NESTED_WRITE,
      expected: fault(EVENT.F_TRANSLATION, { ...OF_TABLE, ipa: 0x20000n, type: "w" }),
    },
    {
      name: "AF is clear",
      words: [[S2_OF_TABLE, 0x2_00ffn]],
      ask: NESTED,
      expected: fault(EVENT.F_ACCESS, { ...OF_TABLE, ipa: 0x20000n }),
    },
    {
      name: "not readable",
      words: [[S2_OF_TABLE, 0x2_04bfn]],
      ask: NESTED,
      expected: fault(EVENT.F_PERMISSION, { ...OF_TABLE, ipa: 0x20000n, ttRnW: true }),
    },
    {
      name: "beyond S2PS",
      words: [[S2_OF_TABLE, bits(45) | 0x4ffn]],
      ask: NESTED,
      expected: fault(EVENT.F_ADDR_SIZE, { ...OF_TABLE, ipa: 0x20000n }),
    },
    { name: "device memory", words: [[S2_OF_TABLE, 0x2_04c3n]], ask: NESTED, expected: TRANSLATED },
    {
      name: "device memory, S2PTW",
      ste: { S2PTW: 1 },
      words: [[S2_OF_TABLE, 0x2_04c3n]],
      ask: NESTED,
      expected: fault(EVENT.F_PERMISSION, { ...OF_TABLE, ipa: 0x20000n, ttRnW: true }),
    },
    {
      name: "S2PTW with S2FWB: MemAttr[2] says normal",
      ste: { S2PTW: 1, S2FWB: 1 },
      words: [[S2_OF_TABLE, 0x2_04dbn]],
      ask: NESTED,
      expected: TRANSLATED,
    },
    {
      name: "S2PTW with S2FWB: MemAttr[3] does not",
      ste: { S2PTW: 1, S2FWB: 1 },
      words: [[S2_OF_TABLE, 0x2_04e3n]],
      ask: NESTED,
      expected: fault(EVENT.F_PERMISSION, OF_TABLE),
    },
    {
      name: "S2PTW and the page itself in device memory",
      ste: { S2PTW: 1 },
      words: [[LEAF_2, S2 & ~0x3cn]],
      ask: NESTED,
      expected: TRANSLATED,
    },
    {
      name: "context descriptor in device memory, S2PTW",
      ste: { S2PTW: 1 },
      words: [[AT.s2OfContexts, 0x124c3n]],
      ask: NESTED,
      expected: fault(EVENT.F_PERMISSION, { s2: true, class: "CD", ipa: AT.contexts }),
    },
  ])("$name", check);
});

function swapped(word: bigint): bigint {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, word, true);
  return view.getBigUint64(0, false);
}

/** The tables on the way to input 1000h, byte by byte the other way round, with the given leaf. */
function bigEndian(words: readonly (readonly [bigint, bigint])[]): (readonly [bigint, bigint])[] {
  return bigEndianAfter([[AT.s1[0], AT.s1[1] | 3n], [AT.s1[1], (LEAF & ~0xfffn) | 3n], ...words]);
}

function bigEndianAfter(words: readonly (readonly [bigint, bigint])[]): (readonly [bigint, bigint])[] {
  return words.map(([address, word]) => [address, swapped(word)]);
}

async function check({ ask, expected, after = [], ...setting }: Row): Promise<void> {
  // TTENDIAN 0: tables of both byte orders. IDR3.FWB.
  const { unit, memory } = smallMachine(setting);
  const { IDR0, IDR3 } = unit.registers;
  const registers = { ...unit.registers, IDR0: IDR0 & ~(3n << 21n), IDR3: IDR3 | bits(8) };
  const loaded = await openUnit(registers, memory.ram, memory.words);
  expect(answer(loaded.unit, request(ask))).toMatchObject(expected);
  for (const [address, word] of after) expect(loaded.memory.read64(address)).toBe(word);
}
