/** From the configuration of a stream to the tables that translate it and the tags of its TLB entries. */
import {
  ACCESS_EXECUTE,
  ACCESS_PRIVILEGED,
  TABLE_UPDATES_ACCESSED,
  TABLE_UPDATES_DIRTY,
} from "../../assembly/layout.js";
import type { Regime, Stage } from "../unit/translation.js";
import type { ContextDescriptor, Granule, Half, Stage2, StreamTableEntry } from "./entries.js";
import type { Identification } from "./identification.js";
import type { Configuration } from "./lookup.js";

/** Options of the formats: FLAG_* of assembly/format/vmsav8.ts. */
const ACCESS_FLAG_DISABLE = 1 << 0;
const HIERARCHICAL_DISABLE = 1 << 1;
const EXECUTE_BY_PRIVILEGE = 1 << 1;
const WIDE_ADDRESSES = 1 << 2;

/** TLB owner: ASID in bits 15:0, VMID in 31:16, and which stages took part in bits 32 and 33 (section 3.17). */
export const OWNER_ASID = 0xffffn;
export const OWNER_VMID = 0xffffn << 16n;
export const OWNER_STAGE1 = 1n << 32n;
export const OWNER_STAGE2 = 1n << 33n;

export function tlbOwner(asid: number, vmid: number, stage1: boolean, stage2: boolean): bigint {
  return BigInt(asid) | (BigInt(vmid) << 16n) | (stage1 ? OWNER_STAGE1 : 0n) | (stage2 ? OWNER_STAGE2 : 0n);
}

const FORMATS: Readonly<Record<Granule, string>> = { 12: "vmsav8-4k", 14: "vmsav8-16k", 16: "vmsav8-64k" };

/** Leaf sizes of a granule, and those that wide addresses add. */
const LEAF_SIZES: Readonly<Record<Granule, readonly [always: bigint, wide: bigint]>> = {
  12: [(1n << 12n) | (1n << 21n) | (1n << 30n), 1n << 39n],
  14: [(1n << 14n) | (1n << 25n), 1n << 36n],
  16: [(1n << 16n) | (1n << 29n), 1n << 42n],
};

/** With the 64 KiB granule the width of the output decides, with the others the form of the descriptors. */
function leafSizes({ granule, outputBits, wideAddresses }: Half | Stage2): bigint {
  const [always, more] = LEAF_SIZES[granule];
  return (granule === 16 ? outputBits === 52 : wideAddresses) ? always | more : always;
}

function updates(access: boolean, dirty: boolean): number {
  return (access ? TABLE_UPDATES_ACCESSED : 0) | (dirty ? TABLE_UPDATES_DIRTY : 0);
}

export function stage2Table(stage2: Stage2): Stage {
  return {
    format: `${FORMATS[stage2.granule]}-s2`,
    levels: stage2.levels,
    root: stage2.table,
    inputBits: stage2.inputBits,
    outputBits: stage2.outputBits,
    pageSizes: leafSizes(stage2),
    flags:
      (stage2.accessFlagDisable ? ACCESS_FLAG_DISABLE : 0) |
      (stage2.executeByPrivilege ? EXECUTE_BY_PRIVILEGE : 0) |
      (stage2.wideAddresses && stage2.granule !== 16 ? WIDE_ADDRESSES : 0) |
      updates(stage2.hardwareAccess, stage2.hardwareDirty),
  };
}

function stage1Table(half: Half, context: ContextDescriptor): Stage {
  return {
    format: FORMATS[half.granule],
    levels: half.levels,
    root: half.table,
    inputBits: half.inputBits,
    outputBits: half.outputBits,
    pageSizes: leafSizes(half),
    flags:
      (context.accessFlagDisable ? ACCESS_FLAG_DISABLE : 0) |
      (half.hierarchicalDisable ? HIERARCHICAL_DISABLE : 0) |
      (half.wideAddresses && half.granule !== 16 ? WIDE_ADDRESSES : 0) |
      updates(context.hardwareAccess, context.hardwareDirty),
  };
}

/** PRIVCFG and INSTCFG (section 5.2): what is taken from, then added to, the accesses of every transaction. */
function overrides({ privilege, instruction }: StreamTableEntry): { accessClear: number; accessSet: number } {
  return {
    accessClear: (privilege & 2 ? ACCESS_PRIVILEGED : 0) | (instruction & 2 ? ACCESS_EXECUTE : 0),
    accessSet: (privilege === 3 ? ACCESS_PRIVILEGED : 0) | (instruction === 3 ? ACCESS_EXECUTE : 0),
  };
}

function last(bits: number): bigint {
  return (1n << BigInt(bits)) - 1n;
}

/** What transactions of a configuration go through. */
export function makeRegime({ entry, context }: Configuration, smmu: Identification): Regime {
  const { stage2 } = entry;
  const vmid = stage2?.vmid ?? 0;
  const second = stage2 ? stage2Table(stage2) : null;
  const tags = tlbOwner(context?.asid ?? 0, vmid, context !== null, stage2 !== null);
  const common = { tag: tags, owner: tags, ...overrides(entry) };
  if (!context) {
    return { ...common, first: second, last: last(second ? smmu.iasBits : smmu.oasBits), limitsInput: second !== null };
  }
  const [lower, upper] = context.halves;
  return {
    ...common,
    first: lower && stage1Table(lower, context),
    halves: {
      upper: upper && stage1Table(upper, context),
      lowerIgnoresTopByte: lower?.ignoresTopByte ?? false,
      upperIgnoresTopByte: upper?.ignoresTopByte ?? false,
    },
    ...(second ? { second } : {}),
    last: last(smmu.oasBits),
  };
}
