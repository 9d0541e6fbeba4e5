/** Mistakes of an SMMUv3's driver, each found and named, and the same driver without it. */
import { describe, expect, test } from "vitest";
import type { Engine } from "../../src/engine/engine.js";
import type { PageTable } from "../../src/engine/page-table.js";
import type { StaleAccess } from "../../src/sanitizer/index.js";
import { SmmuUnit, type SmmuUnitOptions } from "../../src/smmuv3/unit.js";
import { newEngine } from "../support/engine.js";
import { iovaOf, physicalOf, READ_WRITE } from "../support/tables.js";

/** Registers: section 6.3. Commands: chapter 4. */
const AT = { CR0: 0x20, STRTAB_BASE: 0x80, STRTAB_BASE_CFG: 0x88, CMDQ_BASE: 0x90, CMDQ_PROD: 0x98 } as const;
const SMMUEN_CMDQEN = 9;
const LOG2_COMMANDS = 6n;
const CFGI_STE = 0x03n;
const CFGI_CD = 0x05n;
const TLBI_NH_ASID = 0x11n;
const TLBI_NH_VA = 0x12n;
const SYNC = 0x46n;
const LEAF = 1n;

const SID = 3;
const ASID = 1n;
const OTHER_ASID = 2n;
const PAGE = 0x1000n;
const LARGE = 0x20_0000n;
const IOVA = 0x40_0000n;
const BUFFER = 0x1000_0000n;
const OTHER = 0x2000_0000n;
/** nG of a page descriptor: section 3.2 of the facts of VMSAv8-64, D8.3 of the Arm ARM. */
const NOT_GLOBAL = 1n << 11n;

const CACHE = { sets: 1, ways: 16, replacement: "lru" } as const;
const CACHES: SmmuUnitOptions = {
  caches: { iotlb: [{ ...CACHE, ways: 64 }], firstStage: { 2: CACHE, 3: CACHE }, context: CACHE, pasid: CACHE },
};

class Machine {
  readonly unit: SmmuUnit;
  readonly table: PageTable;
  readonly other: PageTable;
  readonly #commands: bigint;
  readonly #streams: bigint;
  readonly context: bigint;
  #prod = 0;

  constructor(
    readonly engine: Engine,
    options: SmmuUnitOptions,
  ) {
    const { memory } = engine;
    this.unit = new SmmuUnit(engine, { sanitizer: {}, ...options });
    this.#streams = memory.allocatePage();
    this.#commands = memory.allocatePage();
    this.context = memory.allocatePage();
    this.table = engine.createTable("vmsav8-4k");
    this.other = engine.createTable("vmsav8-4k");
    this.table.map(iovaOf(IOVA), physicalOf(BUFFER), LARGE - 2n * PAGE, READ_WRITE);
    this.table.map(iovaOf(IOVA + LARGE - 2n * PAGE), physicalOf(BUFFER + LARGE), 2n * PAGE, READ_WRITE);
    // Its upper tables are there already.
    this.other.map(iovaOf(IOVA + LARGE), physicalOf(OTHER), PAGE, READ_WRITE);
    this.#writeContext(this.table, ASID);
    this.word(this.#streams + BigInt(SID) * 64n, this.context | 0b1011n);
    const { unit } = this;
    unit.write64(AT.STRTAB_BASE, this.#streams);
    unit.write32(AT.STRTAB_BASE_CFG, 6);
    unit.write64(AT.CMDQ_BASE, this.#commands | LOG2_COMMANDS);
    unit.write32(AT.CR0, SMMUEN_CMDQEN);
  }

  word(address: bigint, value: bigint): void {
    this.engine.memory.write64(physicalOf(address), value);
  }

  /** 48 bits, granule of 4 KiB, the upper half disabled; faults are recorded and abort. */
  #writeContext(table: PageTable, asid: bigint): void {
    const fields = 16n | (1n << 30n) | (1n << 31n) | (5n << 32n) | (1n << 41n) | (3n << 45n);
    this.word(this.context + 8n, table.root);
    this.word(this.context, fields | (asid << 48n));
  }

  move(asid: bigint): void {
    this.other.map(iovaOf(IOVA), physicalOf(OTHER), PAGE, READ_WRITE);
    this.#writeContext(this.other, asid);
  }

  block(): void {
    this.word(this.#streams + BigInt(SID) * 64n, 0b0001n);
  }

  command(first: bigint, second = 0n): void {
    const count = 1 << Number(LOG2_COMMANDS);
    const at = this.#commands + BigInt(this.#prod % count) * 16n;
    this.word(at, first);
    this.word(at + 8n, second);
    this.#prod = (this.#prod + 1) % (2 * count);
    this.unit.write32(AT.CMDQ_PROD, this.#prod);
  }

  sync(...commands: readonly (readonly [bigint, bigint])[]): void {
    for (const [first, second] of commands) this.command(first, second);
    this.command(SYNC);
  }

  unmap(pages = 1n): void {
    this.table.unmap(iovaOf(IOVA), pages * PAGE);
  }

  /** The last table page goes, and becomes another table's. */
  freeTable(): void {
    expect(this.table.unmap(iovaOf(IOVA), LARGE).freedPages.length).toBe(1);
    this.other.map(iovaOf(IOVA), physicalOf(OTHER), PAGE, READ_WRITE);
  }

  /** Clears nG of the leaf. */
  makeGlobal(): void {
    const { reads } = this.unit.trace(() => this.unit.translate({ sid: SID, iova: iovaOf(IOVA) }));
    const leaf = reads.at(-1);
    if (!leaf?.words) throw new Error("the walk read no leaf");
    this.word(leaf.address, leaf.words[0] & ~NOT_GLOBAL);
    this.sync(va(ASID));
  }
}

const va = (asid: bigint, address = IOVA, leaf = 0n): readonly [bigint, bigint] => [
  TLBI_NH_VA | (asid << 48n),
  address | leaf,
];
const byAsid = (asid: bigint): readonly [bigint, bigint] => [TLBI_NH_ASID | (asid << 48n), 0n];
const ofStream = (command: bigint): readonly [bigint, bigint] => [command | (BigInt(SID) << 32n), LEAF];

interface Case {
  readonly name: string;
  readonly options?: SmmuUnitOptions;
  readonly prepare?: (machine: Machine) => void;
  readonly wrong: (machine: Machine) => void;
  readonly right: (machine: Machine) => void;
  readonly expected: Partial<StaleAccess>;
  readonly reaches?: bigint;
}

const CASES: readonly Case[] = [
  {
    name: "no invalidation",
    wrong: (machine) => machine.unmap(),
    right: (machine) => {
      machine.unmap();
      machine.sync(va(ASID, IOVA, LEAF));
    },
    expected: { mistake: "forgotten", from: "IOTLB", now: null },
  },
  {
    name: "another ASID",
    wrong: (machine) => {
      machine.unmap();
      machine.sync(va(OTHER_ASID));
    },
    right: (machine) => {
      machine.unmap();
      machine.sync(byAsid(ASID));
    },
    expected: { mistake: "wrong-asid" },
  },
  {
    name: "a global translation, by ASID",
    prepare: (machine) => machine.makeGlobal(),
    wrong: (machine) => {
      machine.unmap();
      machine.sync(byAsid(ASID));
    },
    right: (machine) => {
      machine.unmap();
      machine.sync(va(ASID));
    },
    expected: { mistake: "global-entry" },
  },
  {
    name: "a page too few",
    wrong: (machine) => {
      machine.unmap(2n);
      machine.sync(va(ASID, IOVA + PAGE));
    },
    right: (machine) => {
      machine.unmap(2n);
      machine.sync(va(ASID, IOVA + PAGE), va(ASID));
    },
    expected: { mistake: "range-too-small" },
  },
  {
    name: "Leaf, although a table page was freed",
    options: CACHES,
    wrong: (machine) => {
      machine.freeTable();
      machine.sync(va(ASID, IOVA, LEAF));
    },
    right: (machine) => {
      machine.freeTable();
      machine.sync(va(ASID, IOVA));
    },
    expected: { mistake: "leaf-only", from: "paging-structure cache" },
    reaches: OTHER,
  },
  {
    name: "the invalidation before the unmap",
    wrong: (machine) => {
      machine.sync(va(ASID));
      machine.unit.translate({ sid: SID, iova: iovaOf(IOVA) });
      machine.unmap();
    },
    right: (machine) => {
      machine.unmap();
      machine.sync(va(ASID));
    },
    expected: { mistake: "before-unmap" },
  },
  {
    name: "no CMD_SYNC",
    options: { sanitizer: { invalidatesAtWait: true } },
    wrong: (machine) => {
      machine.unmap();
      machine.command(...va(ASID));
    },
    right: (machine) => {
      machine.unmap();
      machine.sync(va(ASID));
    },
    expected: { mistake: "not-waited-for" },
  },
  {
    name: "a context descriptor that was changed",
    wrong: (machine) => {
      machine.move(OTHER_ASID);
      machine.sync(byAsid(ASID));
    },
    right: (machine) => {
      machine.move(OTHER_ASID);
      machine.sync(ofStream(CFGI_CD), byAsid(ASID));
    },
    expected: { mistake: "configuration", cache: "CD", now: OTHER },
  },
  {
    name: "a stream table entry that was changed",
    wrong: (machine) => machine.block(),
    right: (machine) => {
      machine.block();
      machine.sync(ofStream(CFGI_STE), byAsid(ASID));
    },
    expected: { mistake: "configuration", cache: "STE", now: null },
  },
  {
    name: "an ASID that another table was given",
    wrong: (machine) => {
      machine.move(ASID);
      machine.sync(ofStream(CFGI_CD));
    },
    right: (machine) => {
      machine.move(ASID);
      machine.sync(ofStream(CFGI_CD), byAsid(ASID));
    },
    expected: { mistake: "forgotten", from: "IOTLB", now: OTHER },
  },
];

/** Every case that the caches do not matter to, with both kinds of them. */
const ALL_CASES = CASES.flatMap((one) =>
  one.options ? [one] : [one, { ...one, name: `${one.name}, set-associative caches`, options: CACHES }],
);

describe.each(ALL_CASES)("$name", ({ options = {}, prepare, wrong, right, expected, reaches = BUFFER }) => {
  const reach = ({ unit }: Machine) => unit.translate({ sid: SID, iova: iovaOf(IOVA) });

  test("is found and named", async () => {
    const machine = new Machine(await newEngine(), options);
    prepare?.(machine);
    expect(reach(machine)).toMatchObject({ ok: true, physical: BUFFER });
    wrong(machine);
    expect(reach(machine)).toMatchObject({ ok: true, physical: reaches });
    const found = expect.objectContaining({ source: SID, iova: IOVA, physical: reaches, ...expected });
    expect(machine.unit.sanitizer?.take()).toEqual([found]);
  });

  test("is not found in the right driver", async () => {
    const machine = new Machine(await newEngine(), options);
    prepare?.(machine);
    reach(machine);
    right(machine);
    reach(machine);
    expect(machine.unit.sanitizer?.take()).toEqual([]);
  });
});
