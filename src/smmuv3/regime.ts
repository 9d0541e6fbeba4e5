/** From the configuration of a stream to the tables that translate it and the tags of its TLB entries. */
import {
  ACCESS_EXECUTE,
  ACCESS_PRIVILEGED,
  OWNER_GLOBAL_BIT,
  TABLE_IS_SECOND_STAGE,
  TABLE_UPDATES_ACCESSED,
  TABLE_UPDATES_DIRTY,
} from "../../assembly/layout.js";
import type { Selection } from "../access/caches.js";
import type { Access } from "../engine/page-table.js";
import type { Regime, Stage } from "../unit/translation.js";
import type { ContextDescriptor, Granule, Half, Stage2, StreamTableEntry } from "./entries.js";
import type { EventRecord } from "./events.js";
import type { Identification } from "./identification.js";
import type { StreamWorld, TlbInvalidation } from "./invalidation.js";
import type { Configuration } from "./lookup.js";

/** Options of the formats: FLAG_* of assembly/format/vmsav8.ts. */
const ACCESS_FLAG_DISABLE = 1 << 0;
const HIERARCHICAL_DISABLE = 1 << 1;
const EXECUTE_BY_PRIVILEGE = 1 << 1;
const WIDE_ADDRESSES = 1 << 2;
const PAN = 1 << 3;
const EPAN = 1 << 4;
const WXN = 1 << 5;
const ONE_PRIVILEGE = 1 << 6;
const PROTECTED_WALK = 1 << 3;
const FORCED_WRITE_BACK = 1 << 4;
const BIG_ENDIAN = 1 << 7;

/**
 * TLB owner: ASID in bits 15:0, VMID in 31:16, which stages took part in bits 32 and 33, StreamWorld in 35:34 (section
 * 3.17); the engine adds whether an entry is global.
 */
const OWNER_ASID = 0xffffn;
const OWNER_VMID = 0xffffn << 16n;
const OWNER_STAGE1 = 1n << 32n;
const OWNER_STAGE2 = 1n << 33n;
const OWNER_WORLD = 3n << 34n;
const OWNER_GLOBAL = 1n << BigInt(OWNER_GLOBAL_BIT);

/** Fields of owners, for who compares them. */
export const SMMU_OWNER = {
  ASID: OWNER_ASID,
  VMID: OWNER_VMID,
  STAGES: OWNER_STAGE1 | OWNER_STAGE2,
  WORLD: OWNER_WORLD,
  GLOBAL: OWNER_GLOBAL,
} as const;

const WORLDS: Readonly<Record<StreamWorld, bigint>> = { "NS-EL1": 0n, "NS-EL2": 1n << 34n, "NS-EL2-E2H": 2n << 34n };

function tlbOwner(asid: number, vmid: number, world: StreamWorld): bigint {
  return BigInt(asid) | (BigInt(vmid) << 16n) | WORLDS[world];
}

/** TLB entries by their owner: those that agree with `owner` in the bits of `mask`. */
export interface OwnerMatch {
  readonly mask: bigint;
  readonly owner: bigint;
}

const STAGES: Readonly<Record<TlbInvalidation["stages"], OwnerMatch>> = {
  "stage-1": { mask: OWNER_STAGE1, owner: OWNER_STAGE1 },
  "stage-2": { mask: OWNER_STAGE1 | OWNER_STAGE2, owner: OWNER_STAGE2 },
  both: { mask: 0n, owner: 0n },
};

/** What an invalidation drops of the caches of translations (section 4.4). */
export function tlbSelection(request: TlbInvalidation): Selection {
  const within = request.range === null ? {} : { first: request.range.first, last: request.range.last };
  const those = ownersOf(request).map((match) => ({ ...match, ...within }));
  return { iotlb: those, nested: those, ...(request.leafOnly ? {} : { firstStage: those, secondStage: those }) };
}

/** Whose TLB entries an invalidation drops: those of any of the matches (section 4.4). */
export function ownersOf({ stages, streamWorlds, vmid, asid, global }: TlbInvalidation): OwnerMatch[] {
  const vmidMask = vmid === null ? 0n : (OWNER_VMID << BigInt(vmid.ignoredBits)) & OWNER_VMID;
  const stage = STAGES[stages];
  return streamWorlds.flatMap((world) => {
    const owner = tlbOwner(0, vmid?.vmid ?? 0, world) | stage.owner;
    const mask = OWNER_WORLD | vmidMask | stage.mask;
    if (asid === null) return [{ mask, owner }];
    const ofAsid = { mask: mask | OWNER_ASID | OWNER_GLOBAL, owner: owner | BigInt(asid) };
    return global ? [ofAsid, { mask: mask | OWNER_GLOBAL, owner: owner | OWNER_GLOBAL }] : [ofAsid];
  });
}

const FORMATS: Readonly<Record<Granule, string>> = { 12: "vmsav8-4k", 14: "vmsav8-16k", 16: "vmsav8-64k" };

/** Leaf sizes of a granule, and those that wide addresses add. */
const LEAF_SIZES: Readonly<Record<Granule, readonly [always: bigint, wide: bigint]>> = {
  12: [(1n << 12n) | (1n << 21n) | (1n << 30n), 1n << 39n],
  14: [(1n << 14n) | (1n << 25n), 1n << 36n],
  16: [(1n << 16n) | (1n << 29n), 1n << 42n],
};

function leafSizes({ granule, wideAddresses }: Half | Stage2): bigint {
  const [always, wide] = LEAF_SIZES[granule];
  return wideAddresses ? always | wide : always;
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
      TABLE_IS_SECOND_STAGE |
      (stage2.accessFlagDisable ? ACCESS_FLAG_DISABLE : 0) |
      (stage2.executeByPrivilege ? EXECUTE_BY_PRIVILEGE : 0) |
      (stage2.wideAddresses ? WIDE_ADDRESSES : 0) |
      (stage2.protectedTableWalk ? PROTECTED_WALK : 0) |
      (stage2.forcedWriteBack ? FORCED_WRITE_BACK : 0) |
      (stage2.bigEndian ? BIG_ENDIAN : 0) |
      updates(stage2.hardwareAccess, stage2.hardwareDirty),
  };
}

function stage1Table(half: Half, context: ContextDescriptor, world: StreamWorld): Stage {
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
      (half.wideAddresses ? WIDE_ADDRESSES : 0) |
      (context.privilegedAccessNever ? PAN : 0) |
      (context.enhancedPrivilegedAccessNever ? EPAN : 0) |
      (context.writableExecuteNever ? WXN : 0) |
      (world === "NS-EL2" ? ONE_PRIVILEGE : 0) |
      (context.bigEndian ? BIG_ENDIAN : 0) |
      updates(context.hardwareAccess, context.hardwareDirty),
  };
}

/** PRIVCFG and INSTCFG (section 5.2): what is taken from, then added to, the accesses of every transaction. */
function overrides({ privilege, instruction }: StreamTableEntry) {
  return {
    oneKind: true,
    accessClear: (privilege & 2 ? ACCESS_PRIVILEGED : 0) | (instruction & 2 ? ACCESS_EXECUTE : 0),
    accessSet: (privilege === 3 ? ACCESS_PRIVILEGED : 0) | (instruction === 3 ? ACCESS_EXECUTE : 0),
  };
}

/** A transaction's attributes as they are checked and recorded, after PRIVCFG and INSTCFG; writes are data (section 13.1.2). */
export function overridden(
  { privilege, instruction }: StreamTableEntry,
  { write, privileged, execute }: Omit<Required<Access>, "read">,
): Pick<EventRecord, "rnw" | "pnu" | "ind"> {
  return {
    rnw: !write,
    pnu: privilege & 2 ? privilege === 3 : privileged,
    ind: !write && (instruction & 2 ? instruction === 3 : execute),
  };
}

function last(bits: number): bigint {
  return (1n << BigInt(bits)) - 1n;
}

/** What transactions of a configuration go through. */
export function makeRegime({ entry, context }: Configuration, smmu: Identification): Regime {
  const { stage2, streamWorld } = entry;
  const second = stage2 ? stage2Table(stage2) : null;
  const stages = (context ? OWNER_STAGE1 : 0n) | (stage2 ? OWNER_STAGE2 : 0n);
  const tags = tlbOwner(context?.asid ?? 0, entry.vmid, streamWorld) | stages;
  const byVa = { tag: tags, owner: tags };
  const byIpa = tlbOwner(0, entry.vmid, streamWorld) | OWNER_STAGE2;
  const secondStage = { tag: byIpa, owner: byIpa };
  const walkTags = { firstStage: byVa, secondStage, nested: secondStage };
  const common = { ...byVa, walkTags, ...overrides(entry) };
  if (!context) {
    return { ...common, first: second, last: last(second ? smmu.iasBits : smmu.oasBits), limitsInput: second !== null };
  }
  const [lower, upper] = context.halves;
  return {
    ...common,
    first: lower && stage1Table(lower, context, streamWorld),
    halves: {
      upper: upper && stage1Table(upper, context, streamWorld),
      lowerIgnoresTopByte: lower?.ignoresTopByte ?? false,
      upperIgnoresTopByte: upper?.ignoresTopByte ?? false,
      lowerUnprivilegedDisabled: lower?.unprivilegedDisabled ?? false,
      upperUnprivilegedDisabled: upper?.unprivilegedDisabled ?? false,
    },
    ...(second ? { second } : {}),
    last: last(smmu.oasBits),
  };
}
