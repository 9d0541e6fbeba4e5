/** Stage 2 translation: Arm IHI 0070, sections 3.4, 3.13, 5.2 and 7.3.22; descriptors: Arm DDI 0487, chapter D8. */
import { bit, field } from "../slow-format.js";
import { F_ACCESS, F_PERMISSION, F_TRANSLATION, Fault } from "./faults.js";
import type { SecondStage } from "./stage2-configuration.js";
import { inTableOrder, type Leaf, walkTables } from "./table-walk.js";
import type { Access, Attempt, FaultClass, Mapping, Walk } from "./unit.js";

const AF = 1n << 10n;
const S2AP_WRITE = 1n << 7n;
const S2AP_WRITE_BIT = 7;
const S2AP_READ_BIT = 6;
const DBM_BIT = 51;

/** What an intermediate address is translated for. */
export interface Purpose {
  readonly class: FaultClass;
  readonly read: boolean;
  readonly write: boolean;
  readonly execute: boolean;
  readonly privileged: boolean;
}

export const FETCH_CD: Purpose = { class: "CD", read: true, write: false, execute: false, privileged: true };
export const READ_TABLE: Purpose = { ...FETCH_CD, class: "TT" };
export const UPDATE_TABLE: Purpose = { ...READ_TABLE, write: true };

/** The transaction itself. */
export function purposeOf({ write, privileged, instruction }: Access): Purpose {
  return { class: "IN", read: !write && !instruction, write, execute: instruction, privileged };
}

function isDevice(stage: SecondStage, descriptor: bigint): boolean {
  return stage.forcedWriteBack ? !bit(descriptor, 4) : field(descriptor, 5, 4) === 0n;
}

function writableClean(stage: SecondStage, descriptor: bigint): boolean {
  return stage.dirtyStateUpdate && bit(descriptor, DBM_BIT) && !bit(descriptor, S2AP_WRITE_BIT);
}

function executable({ features }: Walk, descriptor: bigint, privileged: boolean): boolean {
  const never = bit(descriptor, 54);
  if (!features.executeNeverPerPrivilege || !bit(descriptor, 53)) return !never;
  // XN = 01 takes the right from privileged accesses alone, 11 from the others.
  return never === privileged;
}

function permitted(walk: Walk, stage: SecondStage, { descriptor }: Leaf, purpose: Purpose): boolean {
  if (purpose.class !== "IN" && stage.protectedTableWalk && isDevice(stage, descriptor)) return false;
  if (purpose.read && !bit(descriptor, S2AP_READ_BIT)) return false;
  if (purpose.write && !bit(descriptor, S2AP_WRITE_BIT) && !writableClean(stage, descriptor)) return false;
  return !purpose.execute || executable(walk, descriptor, purpose.privileged);
}

/** HTTU: sets AF and makes a writable-clean leaf dirty. */
function updateLeaf({ unit }: Walk, stage: SecondStage, leaf: Leaf, purpose: Purpose): void {
  let descriptor = leaf.descriptor;
  if (stage.accessFlagUpdate) descriptor |= AF;
  if (purpose.write && writableClean(stage, descriptor)) descriptor |= S2AP_WRITE;
  if (descriptor !== leaf.descriptor) unit.memory.write(leaf.physical, inTableOrder(stage.tables, descriptor));
}

export function translateStage2(walk: Walk, stage: SecondStage, ipa: bigint, purpose: Purpose): Attempt<Mapping> {
  const cause = { class: purpose.class, ipa, ttRnW: !purpose.write };
  const fault = (code: number) => Fault.stage2(walk, code, stage.faults, cause);
  if (ipa >= 1n << BigInt(stage.tables.inputSize)) return fault(F_TRANSLATION);
  const leaf = walkTables(
    {
      memory: walk.unit.memory,
      tables: stage.tables,
      locate: (address) => address,
      fault,
      externalAbort: (physical) => Fault.externalAbort(walk, physical, true, purpose.class),
    },
    ipa,
  );
  if (leaf instanceof Fault) return leaf;
  const accessed = bit(leaf.descriptor, 10) || stage.accessFlagUpdate || stage.accessFlagFaultDisable;
  if (!accessed) return fault(F_ACCESS);
  if (!permitted(walk, stage, leaf, purpose)) return fault(F_PERMISSION);
  updateLeaf(walk, stage, leaf, purpose);
  return { address: leaf.output, pageSize: leaf.pageSize };
}
