/**
 * Batches against single requests, on two machines made alike. The single requests are made while the entries they read
 * are noted, which has every walk made precisely, so that nothing of a batch's short cuts is common to both sides.
 */
import { describe, expect, it } from "vitest";
import * as layout from "../../assembly/layout.js";
import type { Engine } from "../../src/engine/engine.js";
import { IommuError } from "../../src/engine/errors.js";
import type { PageTable } from "../../src/engine/page-table.js";
import {
  type Regime,
  type RegimeHandle,
  type Stage,
  Translation,
  type TranslationHandler,
  UnitBatch,
  type UnitCounters,
} from "../../src/unit/translation.js";
import { newEngine } from "../support/engine.js";
import { Random } from "../support/random.js";
import { iovaOf, physicalOf } from "../support/tables.js";

const PAGE = 0x1000n;
const LARGE = 0x20_0000n;
const INTERRUPT_FIRST = 0xfee0_0000n;
const INTERRUPT_LAST = 0xfeef_ffffn;
const UPDATES = layout.TABLE_UPDATES_ACCESSED | layout.TABLE_UPDATES_DIRTY;
const ACCESS_KINDS = 16;
/** What the handler answers for a source without a regime. */
const UNKNOWN_SOURCE = 7;
const MOST_REQUESTS = 1 << 14;

/** Where devices map: regions of one last table each, some 16 and 4096 regions apart, and those next to the interrupts. */
const REGIONS = [0n, 1n, 16n, 17n, 512n, 4096n, 4112n, 0x7f6n, 0x7f7n, 0x7f8n].map((region) => region * LARGE);
/** Pages of each region that are mapped or asked for, on both sides of where the interrupts end. */
const PAGES = [0n, 1n, 2n, 3n, 0x100n, 0x101n].map((page) => page * PAGE);

interface Device {
  readonly source: number;
  readonly pasid: number | null;
  readonly regime: Regime;
  /** The tables that software may change, by what the device's addresses go through first. */
  readonly tables: readonly PageTable[];
}

interface Request {
  readonly source: number;
  readonly pasid: number | null;
  readonly iova: bigint;
  readonly access: number;
}

interface Answers {
  readonly physical: bigint[];
  readonly status: number[];
  readonly code: number[];
  /** Requests that went to the handler, in order: by index and what was asked of it. */
  readonly handled: string[];
  readonly counters: UnitCounters;
}

function randomIova(random: Random): bigint {
  return random.pick(REGIONS) + random.pick(PAGES) + BigInt(random.below(4096));
}

/** What is refused (a hole, a leaf in the way) is refused on both machines. */
function attempt(change: () => void): void {
  try {
    change();
  } catch (error) {
    if (!(error instanceof IommuError)) throw error;
  }
}

/** Maps a single page or a large one, in the place of what was there. */
function mapSomething(table: PageTable, random: Random): void {
  const large = random.chance(0.3);
  const bytes = large ? LARGE : PAGE;
  const iova = random.pick(REGIONS) + (large ? 0n : random.pick(PAGES));
  const physical = random.chance(0.15) ? INTERRUPT_FIRST : BigInt(1 + random.below(64)) * LARGE;
  const read = random.chance(0.8);
  const permissions = {
    read,
    write: !read || random.chance(0.7),
    privileged: random.chance(0.2),
    noExecute: random.chance(0.3),
  };
  attempt(() => table.unmap(iovaOf(iova), bytes));
  attempt(() => table.map(iovaOf(iova), physicalOf(physical), bytes, permissions));
}

/** One engine with a unit's translation and its devices: the same seed makes the same machine. */
class Machine {
  readonly translation: Translation;
  readonly #random: Random;
  readonly #devices: Device[] = [];
  readonly #handles = new Map<Device, RegimeHandle>();
  readonly #batch: UnitBatch;
  #handled: string[] = [];

  constructor(
    readonly engine: Engine,
    seed: number,
  ) {
    this.#random = new Random(seed);
    this.#batch = new UnitBatch(engine, MOST_REQUESTS);
    this.translation = new Translation(engine, { iotlbEntries: 2 ** this.#random.below(7) });
    if (this.#random.chance(0.8)) this.translation.intercept(INTERRUPT_FIRST, INTERRUPT_LAST);
    for (let i = 2 + this.#random.below(5); i > 0; i--) this.#devices.push(this.#makeDevice());
  }

  #makeDevice(): Device {
    const random = this.#random;
    const index = this.#devices.length;
    const tables: PageTable[] = [];
    const stage = (format: string, flags: number): Stage => {
      const { minLevels, maxLevels, pageSizes } = this.engine.format(format);
      const levels = minLevels + random.below(maxLevels - minLevels + 1);
      const table = this.engine.createTable(format, { levels, flags });
      for (let i = 0; i < 12; i++) mapSomething(table, random);
      tables.push(table);
      const inputBits = this.engine.format(format).inputBits(levels);
      return { format, levels, root: table.root, inputBits, outputBits: 46, pageSizes, flags };
    };
    const flags = random.chance(0.5) ? UPDATES : 0;
    const firsts: readonly (() => Pick<Regime, "first" | "second">)[] = [
      () => ({ first: stage("vtdss", flags) }),
      () => ({ first: stage("vtdss", flags | layout.TABLE_RIGHTS_FIRST) }),
      () => ({ first: stage("x86_64", flags) }),
      () => ({ first: stage("vmsav8-4k", 0) }),
      () => ({ first: stage("x86_64", flags), second: this.#identity() }),
      () => ({ first: null }),
    ];
    // Some go through the tables of another, whose flags they find changed.
    const shared = index > 0 && random.chance(0.4) ? random.pick(this.#devices).regime : random.pick(firsts)();
    const privileged = random.below(3);
    return {
      source: random.pick([index, 0x100 + index, 0x2_0000 + index]),
      pasid: random.chance(0.3) ? index : null,
      regime: {
        first: shared.first,
        ...(shared.second ? { second: shared.second } : {}),
        last: 0x1_ffff_ffffn,
        tag: BigInt(index) << BigInt(random.pick([0, 3, 20])),
        owner: BigInt(index >> 1),
        refusesPrivileged: random.chance(0.2),
        refusesExecute: random.chance(0.3),
        refusesInterruptRange: random.chance(0.8),
        accessClear: privileged === 1 ? layout.ACCESS_PRIVILEGED : 0,
        accessSet: privileged === 2 ? layout.ACCESS_PRIVILEGED : 0,
      },
      tables,
    };
  }

  /** A second stage that leaves every address as it is, so that the first stage's tables are where they are. */
  #identity(): Stage {
    const { pageSizes, inputBits } = this.engine.format("vtdss");
    const table = this.engine.createTable("vtdss", { levels: 4 });
    for (const at of [0n, this.engine.memory.arenaBase]) {
      table.map(iovaOf(at), physicalOf(at), 1n << 33n, { read: true, write: true });
    }
    return {
      format: "vtdss",
      levels: 4,
      root: table.root,
      inputBits: inputBits(4),
      outputBits: 46,
      pageSizes,
      flags: 0,
    };
  }

  get #handler(): TranslationHandler {
    return {
      resolve: (batch, index, source, pasid) => {
        const device = this.#devices.find((one) => one.source === source && one.pasid === pasid);
        this.#handled.push(`resolve ${source} ${pasid}`);
        if (device) this.#handles.set(device, this.translation.setRegime(source, pasid, device.regime));
        else {
          batch.status[index] = layout.UNIT_OTHER;
          batch.code[index] = UNKNOWN_SOURCE;
        }
        return device !== undefined;
      },
      intercepted: (batch, index, source) => {
        this.#handled.push(`intercepted ${source}`);
        batch.physical[index] = batch.iova[index];
        batch.status[index] = layout.WALK_OK;
      },
      faulted: (batch, index, source, pasid) => {
        this.#handled.push(`faulted ${source} ${pasid} ${batch.status[index]}`);
        batch.code[index] = batch.status[index] & layout.WALK_OUTCOME_MASK;
      },
    };
  }

  /** Requests of a round: with one kind of access and no PASID, or of every kind. */
  requests(): { readonly requests: Request[]; readonly uniform: boolean } {
    const random = this.#random;
    const uniform = random.chance(0.5);
    const kind = random.below(ACCESS_KINDS);
    const iovas = Array.from({ length: 1 + random.below(40) }, () => randomIova(random));
    const asked = this.#devices.filter(({ pasid }) => !uniform || pasid === null);
    const requests = Array.from({ length: 1 + random.below(200) }, (): Request => {
      const known = asked.length > 0 && !random.chance(0.02);
      const { source, pasid } = known ? random.pick(asked) : { source: 0xff, pasid: null };
      return { source, pasid, iova: random.pick(iovas), access: uniform ? kind : random.below(ACCESS_KINDS) };
    });
    return { requests, uniform };
  }

  /** Every page with every kind of access, of every device. */
  everything(): Request[] {
    const pages = REGIONS.flatMap((region) => PAGES.map((page) => region + page));
    return this.#devices.flatMap(({ source, pasid }) =>
      pages.flatMap((iova) => [1, 2, 5, 9, 10, 13].map((access) => ({ source, pasid, iova, access }))),
    );
  }

  #translate(requests: readonly Request[], uniform: boolean, into: Omit<Answers, "counters">): void {
    const batch = this.#batch;
    requests.forEach(({ source, pasid, iova, access }, i) => {
      batch.iova[i] = iova;
      batch.physical[i] = 0n;
      batch.source[i] = source;
      batch.pasid[i] = pasid ?? layout.NO_PASID;
      batch.access[i] = access;
    });
    const [{ access }] = requests;
    const has = (bit: number): boolean => (access & bit) !== 0;
    const common = {
      read: has(layout.ACCESS_READ),
      write: has(layout.ACCESS_WRITE),
      privileged: has(layout.ACCESS_PRIVILEGED),
      execute: has(layout.ACCESS_EXECUTE),
    };
    this.translation.translate(batch, requests.length, uniform ? common : "each", !uniform, this.#handler);
    into.physical.push(...batch.physical.subarray(0, requests.length));
    into.status.push(...batch.status.subarray(0, requests.length));
    into.code.push(...batch.code.subarray(0, requests.length));
  }

  answer(requests: readonly Request[], uniform: boolean, together: boolean): Answers {
    this.#handled = [];
    const answers = { physical: [], status: [], code: [], handled: this.#handled };
    if (together) this.#translate(requests, uniform, answers);
    else for (const one of requests) this.translation.logReads(() => this.#translate([one], uniform, answers));
    return { ...answers, counters: this.translation.counters };
  }

  /** What software does between two rounds: changes tables, mostly without the invalidations that belong to it. */
  change(): void {
    const random = this.#random;
    const { memory } = this.engine;
    const tables = this.#devices.flatMap((device) => device.tables);
    for (let i = random.below(6); i > 0 && tables.length > 0; i--) mapSomething(random.pick(tables), random);
    for (let i = random.below(6); i > 0 && tables.length > 0; i--) {
      const at = memory.arenaBase + BigInt(random.below(memory.pagesInUse) * 512 + random.below(8)) * 8n;
      const word = memory.read64(physicalOf(at));
      if (word !== 0n)
        memory.write64(physicalOf(at), word ^ (1n << BigInt(random.pick([0, 1, 2, 5, 6, 8, 9, 10, 50]))));
    }
    if (random.chance(0.4)) {
      const first = random.chance(0.5) ? 0n : random.pick(REGIONS);
      const those = {
        mask: random.pick([0n, 1n, 3n]),
        owner: BigInt(random.below(4)),
        first,
        last: first + LARGE - 1n,
      };
      this.translation.invalidate({ iotlb: [those], firstStage: [those], secondStage: [those], nested: [those] });
    }
    for (const [device, handle] of random.chance(0.3) ? [...this.#handles] : []) {
      this.#handles.delete(device);
      this.translation.forgetRegime(device.source, device.pasid, handle);
    }
  }

  /** Empties all tables: what is still answered, the IOTLB knows. */
  clearTables(): void {
    const { memory } = this.engine;
    const zeroes = new Uint8Array(4096);
    for (let page = 0; page < memory.pagesInUse; page++) {
      memory.load(physicalOf(memory.arenaBase + BigInt(page) * PAGE), zeroes);
    }
  }

  /** What is in the table pages. */
  get tables(): Buffer {
    const { memory } = this.engine;
    return Buffer.from(memory.read(memory.arenaBase, memory.pagesInUse * 4096));
  }
}

async function compare(seed: number): Promise<void> {
  const batches = new Machine(await newEngine(), seed);
  const singles = new Machine(await newEngine(), seed);
  for (let round = 0; round < 6; round++) {
    const { requests, uniform } = batches.requests();
    singles.requests();
    const expected = singles.answer(requests, uniform, false);
    expect({ seed, round, ...batches.answer(requests, uniform, true) }).toEqual({ seed, round, ...expected });
    expect(batches.tables.equals(singles.tables)).toBe(true);
    for (const machine of [batches, singles]) machine.change();
  }
  for (const machine of [batches, singles]) machine.clearTables();
  const requests = batches.everything();
  const expected = singles.answer(requests, false, false);
  expect({ seed, ...batches.answer(requests, false, true) }).toEqual({ seed, ...expected });
}

describe("a batch answers as its requests would one by one", () => {
  it.each(Array.from({ length: 10 }, (_, i) => i * 100))("on the random machines from seed %i", async (from) => {
    for (let seed = from; seed < from + 5; seed++) await compare(seed);
  });
});

/** A machine whose devices read only what is mapped. */
async function makeReaders(): Promise<{
  add: (source: number, pages: readonly (readonly [iova: bigint, physical: bigint])[]) => void;
  read: (requests: readonly (readonly [source: number, iova: bigint])[]) => bigint[];
}> {
  const engine = await newEngine();
  const { pageSizes, outputBits, inputBits } = engine.format("vtdss");
  const translation = new Translation(engine, { iotlbEntries: 1 });
  const batch = new UnitBatch(engine, MOST_REQUESTS);
  const unexpected = (): never => {
    throw new Error("neither an unknown source nor a fault was expected");
  };
  const handler = { resolve: unexpected, intercepted: unexpected, faulted: unexpected };
  return {
    add: (source, pages) => {
      const table = engine.createTable("vtdss", { levels: 4 });
      for (const [iova, physical] of pages) table.map(iovaOf(iova), physicalOf(physical), PAGE, { read: true });
      const stage: Stage = {
        format: "vtdss",
        levels: 4,
        root: table.root,
        inputBits: inputBits(4),
        outputBits,
        pageSizes,
        flags: 0,
      };
      translation.setRegime(source, null, { first: stage, last: 0n, tag: BigInt(source), owner: 0n });
    },
    read: (requests) => {
      requests.forEach(([source, iova], i) => {
        batch.source[i] = source;
        batch.iova[i] = iova;
      });
      translation.translate(batch, requests.length, {}, false, handler);
      return Array.from(batch.physical.subarray(0, requests.length));
    },
  };
}

describe("a batch translates to what was mapped", () => {
  it("over more last tables than there are shortcuts", async () => {
    const { add, read } = await makeReaders();
    const pages = Array.from({ length: 4500 }, (_, i) => [BigInt(i) * LARGE, BigInt(i + 1) * PAGE] as const);
    add(1, pages);
    const random = new Random(1);
    const shuffled = Array.from({ length: MOST_REQUESTS }, () => random.pick(pages));
    for (const asked of [pages, shuffled, pages.toReversed()]) {
      expect(read(asked.map(([iova]) => [1, iova]))).toEqual(asked.map(([, physical]) => physical));
    }
  });

  it("for many sources that use the same addresses", async () => {
    const { add, read } = await makeReaders();
    const random = new Random(2);
    const sources = [...new Set(Array.from({ length: 500 }, () => random.below(1 << 20)))];
    for (const source of sources) add(source, [[0n, BigInt(source + 1) * PAGE]]);
    const asked = Array.from({ length: MOST_REQUESTS }, () => random.pick(sources));
    expect(read(asked.map((source) => [source, 0n]))).toEqual(asked.map((source) => BigInt(source + 1) * PAGE));
  });
});

describe("a write whose translation was stored before the dirty flag was set", () => {
  it("walks, although somebody else has set the flag meanwhile", async () => {
    const engine = await newEngine();
    const { pageSizes, outputBits, inputBits } = engine.format("vtdss");
    const table = engine.createTable("vtdss", { levels: 4 });
    table.map(iovaOf(0n), physicalOf(PAGE), PAGE, { read: true, write: true });
    const first: Stage = {
      format: "vtdss",
      levels: 4,
      root: table.root,
      inputBits: inputBits(4),
      outputBits,
      pageSizes,
      flags: UPDATES,
    };
    const translation = new Translation(engine);
    for (const source of [1, 2]) {
      translation.setRegime(source, null, { first, last: 0n, tag: BigInt(source), owner: 0n });
    }
    const batch = new UnitBatch(engine, 4);
    batch.source.set([1, 2, 1, 1]);
    batch.access.set([layout.ACCESS_READ, layout.ACCESS_WRITE, layout.ACCESS_WRITE, layout.ACCESS_WRITE]);
    translation.translate(batch, 4, "each", false, {
      resolve: () => false,
      intercepted: () => {},
      faulted: () => {},
    });
    const { iotlbLookup, iotlbHit, iommuMrds } = translation.counters;
    expect({ iotlbLookup, iotlbHit, iommuMrds }).toEqual({ iotlbLookup: 4, iotlbHit: 1, iommuMrds: 12 });
  });
});
