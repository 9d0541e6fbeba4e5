/** An SMMUv3 under a random driver: stage 1, stage 2 and nested, with several ASIDs and VMIDs, and global translations. */
import type { PageTable } from "../../src/engine/page-table.js";
import { SmmuUnit, type SmmuUnitOptions } from "../../src/smmuv3/unit.js";
import { newEngine } from "../support/engine.js";
import { encodeCd, encodeSte, type SteFields, writeEntry } from "../support/smmuv3/encode.js";
import { iovaOf, physicalOf, READ_WRITE } from "../support/tables.js";
import {
  type Change,
  DeviceTlbs,
  type Order,
  PAGE,
  type RandomMachine,
  SlowStage,
  type Source,
} from "./random-model.js";

/** Registers: section 6.3. Commands: chapter 4. */
const AT = { CR0: 0x20, STRTAB_BASE: 0x80, STRTAB_BASE_CFG: 0x88, CMDQ_BASE: 0x90, CMDQ_PROD: 0x98 } as const;
const SMMUEN_CMDQEN = 9;
const LOG2_COMMANDS = 6;
const TLBI = {
  NH_ALL: 0x10n,
  NH_ASID: 0x11n,
  NH_VA: 0x12n,
  NH_VAA: 0x13n,
  S12_VMALL: 0x28n,
  S2_IPA: 0x2an,
  ALL: 0x30n,
};
const ATC_INV = 0x40n;
const SYNC = 0x46n;
const LEAF = 1n;
/** TG of a range of granules of 4 KiB, and Size of an ATC invalidation of everything. */
const TG_4K = 1n << 10n;
const SIZE_ALL = 52n;
const SUBSTREAM_VALID = 1n << 11n;
/** nG of a page descriptor. */
const NOT_GLOBAL = 1n << 11n;
const ADDRESS = 0x0000_ffff_ffff_f000n;
/** Where stage-1 tables and CDs may be: stage 2 maps that memory to itself. */
const TABLES = 16n << 20n;

/** One address space of a stage 1. */
interface Space {
  readonly vmid: number;
  readonly asid: number;
}

/** Commands by address: of a range where that is more than a page. */
function ranges(command: bigint, { first, count }: Change, leaf: bigint): Order[] {
  const address = BigInt(first) * PAGE;
  if (count === 1) return [[command, address | leaf]];
  // NUM + 1 granules, 32 at most at once.
  return Array.from({ length: Math.ceil(count / 32) }, (_, i): Order => {
    const now = BigInt(Math.min(32, count - 32 * i) - 1);
    return [command | (now << 12n), (address + BigInt(32 * i) * PAGE) | TG_4K | leaf];
  });
}

export async function openSmmu(options: SmmuUnitOptions): Promise<RandomMachine> {
  const engine = await newEngine();
  const { memory } = engine;
  const deviceTlbs = new DeviceTlbs();
  const unit = new SmmuUnit(engine, { ...options, onAtcInvalidation: ({ sid, ssid }) => deviceTlbs.drop(sid, ssid) });
  const write = (address: bigint, word: bigint): void => memory.write64(physicalOf(address), word);
  const [streams, commands] = [memory.allocatePage(), memory.allocatePage()];
  let prod = 0;
  const give = (orders: readonly Order[]): void => {
    for (const [first, second] of orders) {
      const at = commands + BigInt(prod % (1 << LOG2_COMMANDS)) * 16n;
      write(at, first);
      write(at + 8n, second);
      prod = (prod + 1) % (2 << LOG2_COMMANDS);
      unit.write32(AT.CMDQ_PROD, prod);
    }
  };

  const all: Order[] = [[TLBI.ALL, 0n]];
  const stage1 = (nested: boolean, { vmid, asid }: Space): SlowStage =>
    new SlowStage(engine.createTable("vmsav8-4k"), nested, (change, leafOnly) => {
      const ofVmid = BigInt(vmid) << 32n;
      const ofAsid = ofVmid | (BigInt(asid) << 48n);
      const leaf = leafOnly && !change.freed ? LEAF : 0n;
      const byAsid: Order[][] = change.global ? [] : [[[TLBI.NH_ASID | ofAsid, 0n]]];
      return [
        ranges(TLBI.NH_VA | ofAsid, change, leaf),
        ranges(TLBI.NH_VAA | ofVmid, change, leaf),
        ...byAsid,
        [[TLBI.NH_ALL | ofVmid, 0n]],
        [[TLBI.S12_VMALL | ofVmid, 0n]],
        all,
      ];
    });
  const stage2 = (vmid: number, hasStage1: boolean): SlowStage =>
    new SlowStage(engine.createTable("vmsav8-4k-s2"), false, (change, leafOnly) => {
      const ofVmid = BigInt(vmid) << 32n;
      const byIpa = ranges(TLBI.S2_IPA | ofVmid, change, leafOnly && !change.freed ? LEAF : 0n);
      // What combines both stages is found by VA.
      const combined: Order[] = hasStage1 ? [[TLBI.NH_ALL | ofVmid, 0n]] : [];
      return [[...byIpa, ...combined], [[TLBI.S12_VMALL | ofVmid, 0n]], all];
    });

  const identity = (stage: SlowStage): void => {
    const low = (streams / TABLES) * TABLES;
    stage.table.map(iovaOf(low), physicalOf(low), TABLES, READ_WRITE);
  };
  const STAGE_2: SteFields = { S2AA64: 1, S2T0SZ: 16, S2SL0: 2, S2PS: 5, S2R: 1 };
  const contextsOf = (tables: readonly (readonly [PageTable, number])[]): bigint => {
    const contexts = memory.allocatePage();
    for (const [index, [table, asid]] of tables.entries()) {
      const cd = { V: 1, AA64: 1, A: 1, R: 1, IPS: 5, T0SZ: 16, EPD1: 1, TTB0: table.root, ASID: asid };
      writeEntry(encodeCd(cd), contexts + BigInt(64 * index), write);
    }
    return contexts;
  };

  const sources: Source[] = [];
  /** A stream whose substreams go through these, the first of them without SubstreamID. */
  const attach = (
    sid: number,
    vmid: number,
    inner: readonly (readonly [SlowStage, number])[],
    outer?: SlowStage,
  ): void => {
    const ste: SteFields = {
      V: 1,
      Config: 4 | (inner.length > 0 ? 1 : 0) | (outer ? 2 : 0),
      EATS: 1,
      S2VMID: vmid,
      ...(inner.length > 0 && {
        S1ContextPtr: contextsOf(inner.map(([stage, asid]) => [stage.table, asid] as const)),
        S1CDMax: 2,
        S1DSS: 2,
      }),
      ...(outer && { ...STAGE_2, S2TTB: outer.table.root }),
    };
    writeEntry(encodeSte(ste), streams + BigInt(64 * sid), write);
    const behind = outer ? [outer] : [];
    if (inner.length === 0) sources.push({ sid, stages: behind });
    for (const [index, [stage]] of inner.entries()) {
      sources.push({ sid, stages: [stage, ...behind], ...(index === 0 ? {} : { pasid: index }) });
    }
  };

  const [kernel, user] = [stage1(false, { vmid: 5, asid: 1 }), stage1(false, { vmid: 5, asid: 2 })];
  const guests = [stage1(true, { vmid: 7, asid: 1 }), stage1(true, { vmid: 7, asid: 2 })];
  const lonely = stage1(true, { vmid: 8, asid: 1 });
  for (const twins of [[kernel, user], guests]) for (const twin of twins) twin.twins = twins;
  const [plain, parent, lonelyParent] = [stage2(6, false), stage2(7, true), stage2(8, true)];
  for (const stage of [parent, lonelyParent]) identity(stage);
  const asids = (stages: readonly SlowStage[]) => stages.map((stage, i) => [stage, i + 1] as const);
  attach(1, 5, asids([kernel, user]));
  attach(2, 6, [], plain);
  attach(3, 7, asids(guests), parent);
  attach(4, 5, asids([kernel]));
  attach(5, 8, asids([lonely]), lonelyParent);
  attach(6, 7, [], parent);

  unit.write64(AT.STRTAB_BASE, streams);
  unit.write32(AT.STRTAB_BASE_CFG, 6);
  unit.write64(AT.CMDQ_BASE, commands | BigInt(LOG2_COMMANDS));
  unit.write32(AT.CR0, SMMUEN_CMDQEN);
  if (!unit.sanitizer) throw new Error("a unit without a sanitizer");
  return {
    engine,
    sanitizer: unit.sanitizer,
    stages: [kernel, user, ...guests, lonely, plain, parent, lonelyParent],
    sources,
    deviceTlbs,
    everything: all,
    give,
    wait: () => give([[SYNC, 0n]]),
    dropAts: ({ sid, pasid }) => {
      const substream = pasid === undefined ? 0n : SUBSTREAM_VALID | (BigInt(pasid) << 12n);
      return [ATC_INV | substream | (BigInt(sid) << 32n), SIZE_ALL];
    },
    createBatch: (capacity) => unit.createBatch(capacity),
    translateBatch: (batch, count) => unit.translateBatch(batch, count, "each", true),
    translate: (request) => unit.translate(request),
    requestTranslation: (request) => unit.requestTranslation(request),
    makeGlobal: ({ table }, page) => {
      let at: bigint = table.root;
      for (let level = 3; ; level--) {
        const entry = at + BigInt((page >> (9 * level)) & 511) * 8n;
        const word = memory.read64(physicalOf(entry));
        if (level === 0) return write(entry, word & ~NOT_GLOBAL);
        at = word & ADDRESS;
      }
    },
  };
}
