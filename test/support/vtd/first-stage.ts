/**
 * First-stage and nested translation: Intel VT-d Architecture Specification Rev. 5.10, sections 3.6, 3.8 and 9.7. In
 * nested translation every table and the final address are guest addresses, which the second stage translates.
 */
import { bit, coverage, field } from "../slow-format.js";
import { deliver, missingRight, setFlags, usage, wantsWrite } from "./delivery.js";
import { Fault } from "./faults.js";
import {
  beyondInputLimit,
  canReadTables,
  leafUpdate,
  SCALABLE_CODES,
  type SecondStage,
  type SecondStageMapping,
  walkSecondStage,
} from "./second-stage.js";
import type { Attempt, EntryUpdate, Mapping, Rights, SlowOutcome, Walk } from "./unit.js";

const P = 0;
const RW = 1;
const US = 2;
const A = 1n << 5n;
const D = 1n << 6n;
const PS = 7;
const EA = 1n << 10n;

/** The fields of a PASID table entry that govern the first stage. */
export interface FirstStage {
  /** FSPTPTR: a host address, in nested translation a guest address. */
  readonly pointer: bigint;
  /** Levels of tables, from FSPM. */
  readonly levels: number;
  readonly writeProtect: boolean;
  /** EAFE. */
  readonly extendedAccessed: boolean;
  /** Whether hardware can update entries: false when ECAP.SMPWCS is 1 and PWSNP 0. */
  readonly updatable: boolean;
  /** The stage below; null unless nested. */
  readonly second: SecondStage | null;
  /** Supervisor privilege of the request. */
  readonly supervisor: boolean;
}

/** The host address of a first-stage entry, and whether the entry may be written. */
interface Located {
  readonly address: bigint;
  readonly writable: boolean;
}

interface FirstStageMapping extends Mapping {
  readonly leaf: bigint;
  readonly leafLocation: Located;
}

function isCanonical(address: bigint, levels: number): boolean {
  return BigInt.asUintN(64, BigInt.asIntN(12 + 9 * levels, address)) === address;
}

function isLeaf(entry: bigint, level: number): boolean {
  return level === 1 || bit(entry, PS);
}

function hasReservedBit(walk: Walk, entry: bigint, level: number): boolean {
  const { cap, haw } = walk.unit.capabilities;
  if (haw < 52 && field(entry, 51, haw) !== 0n) return true;
  if (level >= 4) return bit(entry, PS);
  if (level === 3 && bit(entry, PS)) return cap.FS1GP === 0 || field(entry, 29, 13) !== 0n;
  if (level === 2 && bit(entry, PS)) return field(entry, 20, 13) !== 0n;
  return false;
}

/** Where the second stage puts an address that the first stage produced. */
function translateGuest(
  walk: Walk,
  second: SecondStage,
  address: bigint,
  denied: (rights: Rights) => number | null,
): Attempt<SecondStageMapping> {
  if (beyondInputLimit(walk, second, address)) return new Fault(0x74);
  return walkSecondStage(walk, second, address, SCALABLE_CODES, denied);
}

function locate(walk: Walk, stage: FirstStage, address: bigint, level: number): Attempt<Located> {
  if (stage.second === null) return { address, writable: true };
  const { second } = stage;
  const denied = (rights: Rights): number | null =>
    canReadTables(second, rights) ? null : level === stage.levels ? 0x75 : 0x76;
  const mapping = translateGuest(walk, second, address, denied);
  if (mapping instanceof Fault) return mapping;
  const missing = denied(mapping);
  if (missing !== null) return new Fault(missing);
  // With SSADE the reading of a first-stage entry counts as a write of it: that is why it needs W.
  const update = leafUpdate(stage.second, mapping, { accessed: true, dirty: true });
  if (update instanceof Fault) return update;
  setFlags(walk.unit.memory, update);
  return { address: mapping.pa, writable: mapping.write };
}

function usedFlags(stage: FirstStage, dirty: boolean): bigint {
  return A | (stage.extendedAccessed ? EA : 0n) | (dirty ? D : 0n);
}

/** What a use of the entry sets in it; a fault when something is to be set and cannot be. */
function entryUpdate(stage: FirstStage, entry: bigint, location: Located, dirty: boolean): Attempt<EntryUpdate> {
  const flags = usedFlags(stage, dirty);
  if ((entry & flags) !== flags) {
    if (!location.writable) return new Fault(0x77);
    if (!stage.updatable) return new Fault(0x90);
  }
  return { address: location.address, flags };
}

function walkFirstStage(walk: Walk, stage: FirstStage): Attempt<FirstStageMapping> {
  const { unit, request } = walk;
  if (!isCanonical(request.iova, stage.levels)) return new Fault(0x80);
  let table = stage.pointer;
  let user = true;
  let writable = true;
  for (let level = stage.levels; ; level--) {
    const location = locate(walk, stage, table + ((request.iova / coverage(level)) % 512n) * 8n, level);
    if (location instanceof Fault) return location;
    const entry = unit.memory.read(location.address);
    if (entry === null) return new Fault(level === stage.levels ? 0x73 : 0x70);
    if (!bit(entry, P)) return new Fault(0x71);
    if (hasReservedBit(walk, entry, level)) return new Fault(0x72);
    user &&= bit(entry, US);
    writable &&= bit(entry, RW);
    const address = field(entry, 51, 12) << 12n;
    if (isLeaf(entry, level)) {
      if (!stage.supervisor && !user) return new Fault(0x81);
      const pageSize = coverage(level);
      // Bit 12 of a 1-GByte or 2-MByte leaf is PAT.
      const pa = address - (address % pageSize) + (request.iova % pageSize);
      const write = writable || (stage.supervisor && !stage.writeProtect);
      return { pa, pageSize, read: true, write, leaf: entry, leafLocation: location };
    }
    const update = entryUpdate(stage, entry, location, false);
    if (update instanceof Fault) return update;
    setFlags(unit.memory, update);
    table = address;
  }
}

/** First-stage and nested translation of a request. */
export function deliverFirstStage(walk: Walk, stage: FirstStage): Attempt<SlowOutcome> {
  const { request } = walk;
  const first = walkFirstStage(walk, stage);
  if (first instanceof Fault) return first;
  if (missingRight(walk, first) !== null) return new Fault(0x85);
  const dirty = wantsWrite(request) && first.write;
  const firstUpdate = entryUpdate(stage, first.leaf, first.leafLocation, dirty);
  if (firstUpdate instanceof Fault) return firstUpdate;
  if (stage.second === null) return deliver(walk, first, 0x87, [firstUpdate]);

  const denied = ({ read, write }: Rights): number | null => {
    const missing = missingRight(walk, { read, write: first.write && write });
    if (missing === null) return null;
    return missing === "write" ? 0x85 : 0x86;
  };
  const second = translateGuest(walk, stage.second, first.pa, denied);
  if (second instanceof Fault) return second;
  const rights = { read: second.read, write: first.write && second.write };
  const missing = denied(rights);
  if (missing !== null) return new Fault(missing);
  const use = usage(request, rights);
  const secondUpdate = leafUpdate(stage.second, second, use);
  if (secondUpdate instanceof Fault) return secondUpdate;
  const pageSize = first.pageSize < second.pageSize ? first.pageSize : second.pageSize;
  const flags = use.accessed ? usedFlags(stage, use.dirty) : 0n;
  return deliver(walk, { ...rights, pa: second.pa, pageSize }, 0x87, [{ ...firstUpdate, flags }, secondUpdate]);
}
