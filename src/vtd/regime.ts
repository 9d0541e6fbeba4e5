/** From what governs a request to the tables that translate it and the tags of its IOTLB entries. */
import {
  ACCESS_PRIVILEGED,
  TABLE_READS_AS_WRITES,
  TABLE_REFUSES_INTERRUPT_RANGE,
  TABLE_RIGHTS_FIRST,
  TABLE_UPDATES_ACCESSED,
  TABLE_UPDATES_DIRTY,
  TABLE_UPDATES_REFUSED,
} from "../../assembly/layout.js";
import type { Regime, Stage } from "../unit/translation.js";
import type { Capabilities } from "./capabilities.js";
import {
  type LegacyContext,
  type PasidEntry,
  PGTT_FIRST,
  PGTT_NESTED,
  PGTT_PASS_THROUGH,
  PGTT_SECOND,
  TT_PASS_THROUGH,
} from "./entries.js";
import type { Governing } from "./lookup.js";
import type { Translator } from "./walk-faults.js";

/** Options of the formats: FLAG_* of assembly/format/vtdss.ts and x86_64.ts. */
const SNOOP_CONTROL = 1 << 0;
const WRITE_PROTECT = 1 << 0;
const EXTENDED_ACCESSED = 1 << 1;
const UPDATES = TABLE_UPDATES_ACCESSED | TABLE_UPDATES_DIRTY;

/** IOTLB owner: domain in bits 15:0, PASID in 35:16, and whether a first stage took part in bit 36 (section 6.2.1). */
export const OWNER_DOMAIN = 0xffffn;
export const OWNER_PASID = 0xfffffn << 16n;
export const OWNER_FIRST_STAGE = 1n << 36n;

export function iotlbOwner(domain: number, pasid: number, firstStage: boolean): bigint {
  return BigInt(domain) | (BigInt(pasid) << 16n) | (firstStage ? OWNER_FIRST_STAGE : 0n);
}

/** A regime and how to read what its walks report. */
export interface VtdRegime {
  readonly regime: Regime;
  readonly translator: Translator;
  readonly legacy: boolean;
  /** Levels of the first stage, 0 without one. */
  readonly firstLevels: number;
}

function lastAddress(width: number): bigint {
  return (1n << BigInt(width)) - 1n;
}

function legacyRegime(entry: LegacyContext, capabilities: Capabilities, tag: bigint): VtdRegime {
  const { haw, mgaw, ecap, secondStagePageSizes } = capabilities;
  const passes = entry.translationType === TT_PASS_THROUGH;
  const first: Stage = {
    format: "vtdss",
    levels: (entry.width - 12) / 9,
    root: entry.table,
    inputBits: Math.min(mgaw, entry.width),
    outputBits: haw,
    pageSizes: secondStagePageSizes,
    flags: TABLE_REFUSES_INTERRUPT_RANGE | TABLE_RIGHTS_FIRST | (ecap.SC ? SNOOP_CONTROL : 0),
  };
  return {
    regime: {
      first: passes ? null : first,
      last: lastAddress(Math.min(haw, entry.width)),
      tag,
      owner: iotlbOwner(entry.domain, 0, false),
      refusesInterruptRange: true,
    },
    translator: passes ? "pass-through" : "legacy",
    legacy: true,
    firstLevels: 0,
  };
}

/** In scalable mode SNP of a leaf is not reserved, whatever ECAP.SC says: PGSNP of the PASID entry governs snooping. */
function secondStage(entry: PasidEntry, { haw, secondStagePageSizes }: Capabilities): Stage {
  return {
    format: "vtdss",
    levels: entry.secondStageLevels,
    root: entry.secondStageTable,
    inputBits: entry.secondStageWidth,
    outputBits: haw,
    pageSizes: secondStagePageSizes,
    flags:
      TABLE_REFUSES_INTERRUPT_RANGE |
      TABLE_RIGHTS_FIRST |
      SNOOP_CONTROL |
      (entry.secondStageUpdates ? UPDATES : 0) |
      (entry.snooped ? 0 : TABLE_UPDATES_REFUSED),
  };
}

function firstStage(entry: PasidEntry, { haw, firstStagePageSizes }: Capabilities): Stage {
  const nested = entry.type === PGTT_NESTED;
  return {
    format: "x86_64",
    levels: entry.firstStageLevels,
    root: entry.firstStageTable,
    inputBits: 12 + 9 * entry.firstStageLevels,
    outputBits: haw,
    pageSizes: firstStagePageSizes,
    flags:
      TABLE_REFUSES_INTERRUPT_RANGE |
      UPDATES |
      (entry.writeProtect ? WRITE_PROTECT : 0) |
      (entry.extendedAccessed ? EXTENDED_ACCESSED : 0) |
      (entry.snooped ? 0 : TABLE_UPDATES_REFUSED) |
      (nested && entry.secondStageUpdates ? TABLE_READS_AS_WRITES : 0),
  };
}

const TRANSLATORS: Readonly<Record<number, Translator>> = {
  [PGTT_FIRST]: "first",
  [PGTT_SECOND]: "second",
  [PGTT_NESTED]: "nested",
  [PGTT_PASS_THROUGH]: "pass-through",
};

/** What requests that `governing` governs go through. `pasid` is the one the request carries, if any. */
export function makeRegime(
  governing: Governing,
  capabilities: Capabilities,
  sid: number,
  pasid: number | null,
): VtdRegime {
  const { context, pasidEntry: entry } = governing;
  const tag = BigInt(sid) | (BigInt(pasid === null ? 0 : pasid + 1) << 16n);
  if (!entry) {
    if (!context.legacy) throw new Error("neither a legacy context entry nor a PASID entry");
    return legacyRegime(context.legacy, capabilities, tag);
  }
  const usesFirst = entry.type === PGTT_FIRST || entry.type === PGTT_NESTED;
  const second = entry.type === PGTT_NESTED ? secondStage(entry, capabilities) : undefined;
  const only = entry.type === PGTT_SECOND ? secondStage(entry, capabilities) : null;
  return {
    regime: {
      first: usesFirst ? firstStage(entry, capabilities) : only,
      ...(second ? { second } : {}),
      last: lastAddress(capabilities.haw),
      tag,
      owner: iotlbOwner(entry.domain, governing.pasid, usesFirst),
      refusesPrivileged: !entry.supervisorRequests,
      refusesExecute: !capabilities.ecap.ERS,
      refusesInterruptRange: true,
      // A request without PASID is as privileged as the context entry says (RID_PRIV).
      ...(pasid === null
        ? {
            accessClear: ACCESS_PRIVILEGED,
            accessSet: context.scalable?.ridPrivileged ? ACCESS_PRIVILEGED : 0,
          }
        : {}),
    },
    translator: TRANSLATORS[entry.type],
    legacy: false,
    firstLevels: usesFirst ? entry.firstStageLevels : 0,
  };
}
