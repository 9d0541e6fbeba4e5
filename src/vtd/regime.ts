/** From what governs a request to the tables that translate it and the tags of its IOTLB entries. */
import {
  ACCESS_PRIVILEGED,
  TABLE_IS_SECOND_STAGE,
  TABLE_READS_AS_WRITES,
  TABLE_REFUSES_INTERRUPT_RANGE,
  TABLE_RIGHTS_FIRST,
  TABLE_UPDATES_ACCESSED,
  TABLE_UPDATES_DIRTY,
  TABLE_UPDATES_REFUSED,
} from "../../assembly/layout.js";
import { type VtdRequester, vtdTags } from "../cache/vtd.js";
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
const SECOND_STAGE = TABLE_IS_SECOND_STAGE | TABLE_REFUSES_INTERRUPT_RANGE | TABLE_RIGHTS_FIRST;

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

/** Tags and owners as the caches of translations have them (section 6.2). */
function tagsOf(requester: VtdRequester): Pick<Regime, "tag" | "owner" | "walkTags"> {
  const { iotlb, ...walkTags } = vtdTags(requester);
  return { ...iotlb, walkTags };
}

function legacyRegime(entry: LegacyContext, capabilities: Capabilities, sid: number): VtdRegime {
  const { haw, mgaw, ecap, secondStagePageSizes } = capabilities;
  const passes = entry.translationType === TT_PASS_THROUGH;
  const first: Stage = {
    format: "vtdss",
    levels: (entry.width - 12) / 9,
    root: entry.table,
    inputBits: Math.min(mgaw, entry.width),
    outputBits: haw,
    pageSizes: secondStagePageSizes,
    flags: SECOND_STAGE | (ecap.SC ? SNOOP_CONTROL : 0),
  };
  return {
    regime: {
      first: passes ? null : first,
      last: lastAddress(Math.min(haw, entry.width)),
      ...tagsOf({ sid, domain: entry.domain, pasid: null, firstStage: false, legacy: true }),
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
      SECOND_STAGE |
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
  if (!entry) {
    if (!context.legacy) throw new Error("neither a legacy context entry nor a PASID entry");
    return legacyRegime(context.legacy, capabilities, sid);
  }
  const usesFirst = entry.type === PGTT_FIRST || entry.type === PGTT_NESTED;
  const second = entry.type === PGTT_NESTED ? secondStage(entry, capabilities) : undefined;
  const only = entry.type === PGTT_SECOND ? secondStage(entry, capabilities) : null;
  return {
    regime: {
      first: usesFirst ? firstStage(entry, capabilities) : only,
      ...(second ? { second } : {}),
      last: lastAddress(capabilities.haw),
      ...tagsOf({ sid, domain: entry.domain, pasid, ridPasid: governing.pasid, firstStage: usesFirst }),
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
