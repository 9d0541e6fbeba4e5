/** Scalable mode: Intel VT-d Architecture Specification Rev. 5.10, sections 9.2 and 9.4 to 9.6. */
import { bit, field } from "../slow-format.js";
import { deliverUnchanged } from "./delivery.js";
import { Fault } from "./faults.js";
import { deliverFirstStage } from "./first-stage.js";
import { agaw, beyondInputLimit, deliverSecondStage, levelsOf, SCALABLE_CODES } from "./second-stage.js";
import type { Attempt, SlowMemory, SlowOutcome, Walk } from "./unit.js";

/** Reads consecutive words; null when any of them is an access error. */
function readWords(memory: SlowMemory, address: bigint, count: number): readonly bigint[] | null {
  const words: bigint[] = [];
  for (let index = 0; index < count; index++) {
    const word = memory.read(address + BigInt(8 * index));
    if (word === null) return null;
    words.push(word);
  }
  return words;
}

/** Bits high:low where the capability is missing, which reserves them; otherwise 0. */
function unless(capability: number, word: bigint, high: number, low = high): bigint {
  return capability === 1 ? 0n : field(word, high, low);
}

function pointer(word: bigint): bigint {
  return field(word, 63, 12) << 12n;
}

/** The context table of the function: LCTP or UCTP. Of the half that does not serve it only reserved bits matter. */
function readRootEntry(walk: Walk): Attempt<bigint> {
  const { memory, rtaddr, capabilities } = walk.unit;
  const { sid } = walk.request;
  const entry = readWords(memory, pointer(rtaddr) + BigInt(sid >> 8) * 16n, 2);
  if (entry === null) return new Fault(0x38);
  const half = entry[(sid >> 7) & 1];
  if (!bit(half, 0)) return new Fault(0x39);
  for (const each of entry) {
    if (bit(each, 0) && (field(each, 11, 1) | field(each, 63, capabilities.haw)) !== 0n) return new Fault(0x3a);
  }
  return pointer(half);
}

interface ContextEntry {
  readonly pasidDirectory: bigint;
  /** PASIDs that the directory has room for, from PDTS. */
  readonly pasidLimit: number;
  readonly deviceTlbEnable: boolean;
  readonly pasidEnable: boolean;
  readonly ridPasid: number;
  readonly ridPrivileged: boolean;
}

function readContextEntry(walk: Walk, table: bigint): Attempt<ContextEntry> {
  const { ecap, haw } = walk.unit.capabilities;
  const entry = readWords(walk.unit.memory, table + BigInt(walk.request.sid & 0x7f) * 32n, 4);
  if (entry === null) return new Fault(0x40);
  const [word0, word1, word2, word3] = entry;
  walk.faultProcessingDisabled ||= bit(word0, 1);
  if (!bit(word0, 0)) return new Fault(0x41);
  const reserved =
    unless(ecap.DT, word0, 2) |
    unless(ecap.PASID, word0, 3) |
    unless(ecap.PRS, word0, 4) |
    // HPTE and EPTR: the model's unit has no host permission tables.
    field(word0, 8, 5) |
    field(word0, 63, haw) |
    unless(ecap.RPRIVS, word1, 20) |
    field(word1, 63, 21) |
    word2 |
    word3;
  if (reserved !== 0n) return new Fault(0x42);
  const deviceTlbEnable = bit(word0, 2);
  const pasidLimit = 2 ** (Number(field(word0, 11, 9)) + 13);
  const ridPasid = ecap.RPS === 1 ? Number(field(word1, 19, 0)) : 0;
  if (!deviceTlbEnable && bit(word0, 4)) return new Fault(0x43);
  if (ridPasid >= pasidLimit) return new Fault(0x43);
  return {
    pasidDirectory: pointer(word0),
    pasidLimit,
    deviceTlbEnable,
    pasidEnable: bit(word0, 3),
    ridPasid,
    ridPrivileged: bit(word1, 20),
  };
}

/** Whether the context allows a request of this type with this PASID. */
function checkType(walk: Walk, context: ContextEntry): Fault | null {
  const { type, pasid } = walk.request;
  if (type !== "untranslated" && !context.deviceTlbEnable) return new Fault(0x44);
  if (pasid === undefined) return null;
  if (type !== "translated" && !context.pasidEnable) return new Fault(0x45);
  if (pasid >= context.pasidLimit) return new Fault(0x46);
  if (pasid >= 2 ** (walk.unit.capabilities.ecap.PSS + 1)) return new Fault(0x89);
  if (pasid === context.ridPasid) return new Fault(0x48);
  if (type === "translated") return new Fault(0x49);
  return null;
}

function readDirectoryEntry(walk: Walk, directory: bigint, pasid: number): Attempt<bigint> {
  const entry = walk.unit.memory.read(directory + BigInt(pasid >> 6) * 8n);
  if (entry === null) return new Fault(0x50);
  walk.faultProcessingDisabled ||= bit(entry, 1);
  if (!bit(entry, 0)) return new Fault(0x51);
  if ((field(entry, 11, 2) | field(entry, 63, walk.unit.capabilities.haw)) !== 0n) return new Fault(0x52);
  return pointer(entry);
}

/** PGTT. */
const FIRST_STAGE = 0b001n;
const SECOND_STAGE = 0b010n;
const NESTED = 0b011n;
const PASS_THROUGH = 0b100n;

function hasReservedBit(walk: Walk, entry: readonly bigint[]): boolean {
  const { ecap, haw } = walk.unit.capabilities;
  const [word0, word1, word2, ...rest] = entry;
  // AW, reserved without SSTS, is not here: whatever PGTT makes use of it is unsupported then (5Bh).
  const reserved =
    field(word0, 5, 5) |
    unless(ecap.SSTS & ecap.SSADS, word0, 9) |
    field(word0, 11, 10) |
    field(word0, 63, haw) |
    field(word1, 22, 16) |
    unless(ecap.SMPWCS, word1, 23) |
    unless(ecap.SC, word1, 24) |
    unless(ecap.MTS, word1, 26, 25) |
    field(word1, 31, 27) |
    unless(ecap.MTS, word1, 63, 32) |
    unless(ecap.SRS, word2, 0) |
    field(word2, 1, 1) |
    unless(ecap.EAFS, word2, 7) |
    field(word2, 11, 8) |
    field(word2, 63, haw) |
    rest.reduce((all, word) => all | word);
  return reserved !== 0n;
}

/** What the PASID table entry asks for and the unit supports. */
interface PasidEntry {
  readonly type: bigint;
  readonly words: readonly bigint[];
  readonly firstStageLevels: number;
  readonly secondStageLevels: number;
}

function readPasidEntry(walk: Walk, table: bigint, pasid: number): Attempt<PasidEntry> {
  const { cap, ecap } = walk.unit.capabilities;
  const words = readWords(walk.unit.memory, table + BigInt(pasid & 63) * 64n, 8);
  if (words === null) return new Fault(0x58);
  walk.faultProcessingDisabled ||= bit(words[0], 1);
  if (!bit(words[0], 0)) return new Fault(0x59);
  if (hasReservedBit(walk, words)) return new Fault(0x5a);

  const type = field(words[0], 8, 6);
  const typeSupported =
    (type === FIRST_STAGE && ecap.FSTS === 1) ||
    (type === SECOND_STAGE && ecap.SSTS === 1) ||
    (type === NESTED && ecap.NEST === 1) ||
    (type === PASS_THROUGH && ecap.PT === 1);
  if (!typeSupported) return new Fault(0x5b);
  const pagingMode = field(words[2], 3, 2);
  const pagingModeSupported = pagingMode === 0n || (pagingMode === 1n && cap.FS5LP === 1);
  if ((type === FIRST_STAGE || type === NESTED) && !pagingModeSupported) return new Fault(0x5b);
  const firstStageLevels = 4 + Number(pagingMode);
  if (type === FIRST_STAGE || type === PASS_THROUGH) return { type, words, firstStageLevels, secondStageLevels: 0 };
  const secondStageLevels = levelsOf(field(words[0], 4, 2), cap.SAGAW);
  if (secondStageLevels === null) return new Fault(0x5b);
  if (type === NESTED && pointer(words[2]) >= 1n << BigInt(agaw(secondStageLevels))) return new Fault(0x5b);
  return { type, words, firstStageLevels, secondStageLevels };
}

export function translateScalable(walk: Walk): Attempt<SlowOutcome> {
  const { request } = walk;
  const { ecap, version } = walk.unit.capabilities;
  const contextTable = readRootEntry(walk);
  if (contextTable instanceof Fault) return contextTable;
  const context = readContextEntry(walk, contextTable);
  if (context instanceof Fault) return context;
  const refused = checkType(walk, context);
  if (refused !== null) return refused;

  const withPasid = request.pasid !== undefined;
  const pasid = request.pasid ?? context.ridPasid;
  const supervisor = withPasid ? request.privileged === true : context.ridPrivileged;
  const pasidTable = readDirectoryEntry(walk, context.pasidDirectory, pasid);
  if (pasidTable instanceof Fault) return pasidTable;
  const entry = readPasidEntry(walk, pasidTable, pasid);
  if (entry instanceof Fault) return entry;
  const [word0, word1, word2] = entry.words;

  if (request.type === "translated") return deliverUnchanged(walk, 0x83, 0x87);
  if (withPasid && request.execute === true && version.major <= 7 && ecap.ERS === 0) return new Fault(0x5c);
  if (supervisor && !bit(word2, 0)) return new Fault(0x5d);
  if (entry.type === PASS_THROUGH) return deliverUnchanged(walk, 0x83, 0x87);

  const updatable = ecap.SMPWCS === 0 || bit(word1, 23);
  const second = {
    pointer: pointer(word0),
    levels: entry.secondStageLevels,
    snoopReserved: false,
    accessedDirty: bit(word0, 9),
    updatable,
  };
  if (entry.type === SECOND_STAGE) {
    if (beyondInputLimit(walk, second, request.iova)) return new Fault(0x84);
    return deliverSecondStage(walk, second, {
      ...SCALABLE_CODES,
      noWrite: 0x85,
      noRead: 0x86,
      interruptRange: 0x87,
    });
  }
  return deliverFirstStage(walk, {
    pointer: pointer(word2),
    levels: entry.firstStageLevels,
    writeProtect: bit(word2, 4),
    extendedAccessed: bit(word2, 7),
    updatable,
    second: entry.type === NESTED ? second : null,
    supervisor,
  });
}
