/** Stage 1 translation: Arm IHI 0070, sections 3.4, 3.13, 5.4 and 7.3.22; descriptors: Arm DDI 0487, chapter D8. */
import { bit, field } from "../slow-format.js";
import type { Cd, Half } from "./cd.js";
import { F_ACCESS, F_PERMISSION, F_TRANSLATION, Fault } from "./faults.js";
import { READ_TABLE, translateStage2, UPDATE_TABLE } from "./stage2.js";
import type { SecondStage } from "./stage2-configuration.js";
import { inTableOrder, type Leaf, type Tables, walkTables } from "./table-walk.js";
import type { Access, Attempt, Mapping, Walk } from "./unit.js";

const AF = 1n << 10n;
const AP2 = 1n << 7n;
const DBM_BIT = 51;

/** Bits of table descriptors that restrict what lies below. */
const PXN_TABLE_BIT = 59;
const UXN_TABLE_BIT = 60;
const AP_TABLE_UNPRIVILEGED_BIT = 61;
const AP_TABLE_READ_ONLY_BIT = 62;

interface Rights {
  readonly read: boolean;
  readonly write: boolean;
  readonly execute: boolean;
}

/** The half an address belongs to; null when it is outside of both. */
function halfOf(cd: Cd, address: bigint): Half | null {
  const upper = cd.high !== null && bit(address, 55);
  const half = upper ? cd.high : cd.low;
  if (half === null) return null;
  const top = half.topByteIgnored ? 55 : 63;
  const sign = field(address, top, half.inputSize);
  const allOnes = (1n << BigInt(top - half.inputSize + 1)) - 1n;
  return sign === (upper ? allOnes : 0n) ? half : null;
}

function writableClean(cd: Cd, descriptor: bigint): boolean {
  return cd.dirtyStateUpdate && bit(descriptor, DBM_BIT) && bit(descriptor, 7);
}

/** The rights of a leaf, hierarchical restrictions included. */
function rightsOf(cd: Cd, half: Half, { descriptor, path }: Leaf, { privileged }: Access): Rights {
  const restricted = (index: number) => !half.hierarchicalAttributesDisabled && path.some((table) => bit(table, index));
  const writable = (!bit(descriptor, 7) || writableClean(cd, descriptor)) && !restricted(AP_TABLE_READ_ONLY_BIT);
  const unprivilegedNever = bit(descriptor, 54) || restricted(UXN_TABLE_BIT);
  const executeNever = cd.writeExecuteNever && writable;
  if (cd.world === "EL2") return { read: true, write: writable, execute: !unprivilegedNever && !executeNever };

  const unprivileged = bit(descriptor, 6) && !restricted(AP_TABLE_UNPRIVILEGED_BIT);
  if (!privileged) {
    const write = unprivileged && writable;
    return { read: unprivileged, write, execute: !unprivilegedNever && !(cd.writeExecuteNever && write) };
  }
  const unprivilegedAccess = unprivileged || (cd.enhancedPan && !unprivilegedNever);
  const never = cd.privilegedAccessNever && unprivilegedAccess;
  const privilegedNever = bit(descriptor, 53) || restricted(PXN_TABLE_BIT) || (unprivileged && writable);
  return { read: !never, write: writable && !never, execute: !privilegedNever && !executeNever };
}

function permitted(rights: Rights, { write, instruction }: Access): boolean {
  if (write) return rights.write;
  return instruction ? rights.execute : rights.read;
}

/** HTTU: sets AF and makes a writable-clean leaf dirty. The write is one of stage 2, too. */
function updateLeaf(walk: Walk, cd: Cd, tables: Tables, stage2: SecondStage | null, leaf: Leaf): Fault | null {
  let descriptor = leaf.descriptor;
  if (cd.accessFlagUpdate) descriptor |= AF;
  if (walk.access.write && writableClean(cd, descriptor)) descriptor &= ~AP2;
  if (descriptor === leaf.descriptor) return null;
  if (stage2 !== null) {
    const mapping = translateStage2(walk, stage2, leaf.descriptorAddress, UPDATE_TABLE);
    if (mapping instanceof Fault) return mapping;
  }
  walk.unit.memory.write(leaf.physical, inTableOrder(tables, descriptor));
  return null;
}

/** @param stage2 the stage below, through which descriptors are reached */
export function translateStage1(walk: Walk, cd: Cd, stage2: SecondStage | null): Attempt<Mapping> {
  const { access, request, unit } = walk;
  const fault = (code: number) => Fault.stage1(walk, code, cd.faults);
  const half = halfOf(cd, request.iova);
  if (half === null || half.tables === null) return fault(F_TRANSLATION);
  const { tables } = half;
  if (half.unprivilegedDisabled && !access.privileged) return fault(F_TRANSLATION);
  const leaf = walkTables(
    {
      memory: unit.memory,
      tables,
      locate(address) {
        if (stage2 === null) return address;
        const mapping = translateStage2(walk, stage2, address, READ_TABLE);
        return mapping instanceof Fault ? mapping : mapping.address;
      },
      fault,
      externalAbort: (physical) => Fault.externalAbort(walk, physical, false, "TT"),
    },
    request.iova,
  );
  if (leaf instanceof Fault) return leaf;
  const accessed = bit(leaf.descriptor, 10) || cd.accessFlagUpdate || cd.accessFlagFaultDisable;
  if (!accessed) return fault(F_ACCESS);
  if (!permitted(rightsOf(cd, half, leaf, access), access)) return fault(F_PERMISSION);
  const failed = updateLeaf(walk, cd, tables, stage2, leaf);
  return failed ?? { address: leaf.output, pageSize: leaf.pageSize };
}
