/** Second-stage translation: Intel VT-d Architecture Specification Rev. 5.10, sections 3.7 and 9.8. */
import { bit, coverage, field } from "../slow-format.js";
import { deliver, missingRight, setFlags, usage } from "./delivery.js";
import { Fault } from "./faults.js";
import type { Attempt, EntryUpdate, Mapping, Rights, SlowOutcome, Walk } from "./unit.js";

const R = 0;
const W = 1;
const PS = 7;
const A = 1n << 8n;
const D = 1n << 9n;
const SNP = 11;
/** IW: reserved unless RTADDR.SSIRWE is set, which the model's unit lacks. */
const IW = 62;

/** The fields of a context or PASID table entry that govern the second stage. */
export interface SecondStage {
  /** SSPTPTR. */
  readonly pointer: bigint;
  /** Levels of tables, from AW. */
  readonly levels: number;
  /** Whether SNP is reserved in leaves: in legacy mode where ECAP.SC is 0. */
  readonly snoopReserved: boolean;
  /** SSADE. */
  readonly accessedDirty: boolean;
  /** Whether hardware can update entries: false when ECAP.SMPWCS is 1 and PWSNP 0. */
  readonly updatable: boolean;
}

/** The fault codes of a walk. */
export interface WalkCodes {
  readonly firstTable: number;
  readonly lowerTable: number;
  readonly reserved: number;
  /** Judges, at every entry, the rights that all entries so far grant together. */
  notPresent(rights: Rights): number | null;
}

export const SCALABLE_CODES: WalkCodes = {
  firstTable: 0x7b,
  lowerTable: 0x78,
  reserved: 0x7a,
  notPresent: ({ read, write }) => (read || write ? null : 0x79),
};

/** A mapping, and where its leaf lies. */
export interface SecondStageMapping extends Mapping {
  readonly leafAddress: bigint;
  readonly leaf: bigint;
}

/** Levels of the tables that an AW names; null when it is reserved or not in CAP.SAGAW. */
export function levelsOf(aw: bigint, sagaw: number): number | null {
  if (aw < 1n || aw > 3n || !bit(BigInt(sagaw), Number(aw))) return null;
  return Number(aw) + 2;
}

/** Width of the addresses that tables of this height translate, bits. */
export function agaw(levels: number): number {
  return 12 + 9 * levels;
}

/** Whether an address exceeds min(MGAW, AGAW). */
export function beyondInputLimit(walk: Walk, stage: SecondStage, address: bigint): boolean {
  return address >= 1n << BigInt(Math.min(walk.unit.capabilities.mgaw, agaw(stage.levels)));
}

function isLeaf(entry: bigint, level: number): boolean {
  return level === 1 || bit(entry, PS);
}

function hasReservedBit(walk: Walk, stage: SecondStage, entry: bigint, level: number): boolean {
  const { cap, haw } = walk.unit.capabilities;
  if (haw < 52 && field(entry, 51, haw) !== 0n) return true;
  if (bit(entry, IW)) return true;
  if (level >= 4 && bit(entry, PS)) return true;
  if (!isLeaf(entry, level)) return bit(entry, SNP);
  if (bit(entry, SNP) && stage.snoopReserved) return true;
  if (level === 3) return !bit(BigInt(cap.SSLPS), 1) || field(entry, 29, 12) !== 0n;
  if (level === 2) return !bit(BigInt(cap.SSLPS), 0) || field(entry, 20, 12) !== 0n;
  return false;
}

function hostAddress(entry: bigint): bigint {
  return field(entry, 51, 12) << 12n;
}

/**
 * Walks the tables for an address within the input limit; rights and the leaf's flags are left to the caller, but a right
 * that is `denied` by then outranks a reserved bit and a table that cannot be read.
 */
export function walkSecondStage(
  walk: Walk,
  stage: SecondStage,
  address: bigint,
  codes: WalkCodes,
  denied: (rights: Rights) => number | null,
): Attempt<SecondStageMapping> {
  const memory = walk.unit.memory;
  let table = stage.pointer;
  let read = true;
  let write = true;
  for (let level = stage.levels; ; level--) {
    const entryAddress = table + ((address / coverage(level)) % 512n) * 8n;
    const entry = memory.read(entryAddress);
    if (entry === null) {
      return new Fault(denied({ read, write }) ?? (level === stage.levels ? codes.firstTable : codes.lowerTable));
    }
    read &&= bit(entry, R);
    write &&= bit(entry, W);
    const notPresent = codes.notPresent({ read, write });
    if (notPresent !== null) return new Fault(notPresent);
    if (hasReservedBit(walk, stage, entry, level)) return new Fault(denied({ read, write }) ?? codes.reserved);
    if (isLeaf(entry, level)) {
      const pageSize = coverage(level);
      const pa = hostAddress(entry) + (address % pageSize);
      return { pa, pageSize, read, write, leafAddress: entryAddress, leaf: entry };
    }
    if (stage.accessedDirty && (entry & A) === 0n) {
      if (!stage.updatable) return new Fault(0x7c);
      setFlags(memory, { address: entryAddress, flags: A });
    }
    table = hostAddress(entry);
  }
}

/** What a use of the mapping sets in its leaf; fault 7Ch when something is to be set and cannot be. */
export function leafUpdate(
  stage: SecondStage,
  mapping: SecondStageMapping,
  use: { accessed: boolean; dirty: boolean },
): Attempt<EntryUpdate> {
  let flags = 0n;
  if (stage.accessedDirty && use.accessed) flags |= A;
  if (stage.accessedDirty && use.dirty) flags |= D;
  if ((mapping.leaf & flags) !== flags && !stage.updatable) return new Fault(0x7c);
  return { address: mapping.leafAddress, flags };
}

/** Second stage alone: rights, flags, delivery. */
export function deliverSecondStage(
  walk: Walk,
  stage: SecondStage,
  codes: WalkCodes & { noWrite: number; noRead: number; interruptRange: number },
): Attempt<SlowOutcome> {
  const denied = (rights: Rights): number | null => {
    const missing = missingRight(walk, rights);
    if (missing === null) return null;
    return missing === "write" ? codes.noWrite : codes.noRead;
  };
  const mapping = walkSecondStage(walk, stage, walk.request.iova, codes, denied);
  if (mapping instanceof Fault) return mapping;
  const missing = denied(mapping);
  if (missing !== null) return new Fault(missing);
  const update = leafUpdate(stage, mapping, usage(walk.request, mapping));
  if (update instanceof Fault) return update;
  return deliver(walk, mapping, codes.interruptRange, [update]);
}

/** The rights that a second-stage mapping gives to the reading of first-stage tables. */
export function canReadTables(stage: SecondStage, rights: Rights): boolean {
  return rights.read && (rights.write || !stage.accessedDirty);
}
