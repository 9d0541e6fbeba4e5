/** The fields of an STE that govern stage 2: Arm IHI 0070, sections 5.2 and 5.2.2; start levels: Arm DDI 0487, chapter D8. */
import { bit, field } from "../slow-format.js";
import type { FaultModel } from "./faults.js";
import {
  addressSize,
  endiannessUnsupported,
  type Features,
  type Granule,
  greatestTsz,
  stallContradicts,
  tableBaseInRange,
} from "./features.js";
import { lowestIndexBit, type Tables } from "./table-walk.js";

/** S2TG; TG0 of a CD has the same encoding. */
const GRANULES: readonly (Granule | null)[] = [12, 16, 14, null];

/** At most 16 tables are concatenated at the start level. */
const LOG2_CONCATENATED = 4;

export interface SecondStage {
  readonly tables: Tables;
  readonly accessFlagFaultDisable: boolean;
  readonly accessFlagUpdate: boolean;
  readonly dirtyStateUpdate: boolean;
  readonly protectedTableWalk: boolean;
  readonly forcedWriteBack: boolean;
  readonly faults: FaultModel;
}

export function granuleOf(encoding: bigint): Granule | null {
  return GRANULES[Number(encoding)];
}

/** The start level that S2SL0_2 and S2SL0 select; null when it is reserved or the implementation lacks it. */
export function startLevelSelected(
  granule: Granule,
  startLevel: { sl0: bigint; sl2: boolean },
  ds: boolean,
  features: Features,
): number | null {
  const sl0 = Number(startLevel.sl0);
  const { oas, smallTables } = features;
  if (granule === 12) {
    if (ds && startLevel.sl2) return sl0 === 0 && oas >= 52 ? -1 : null;
    if (sl0 === 3) return smallTables ? 3 : null;
    return sl0 === 2 && oas < 44 ? null : 2 - sl0;
  }
  if (granule === 14) {
    if (sl0 === 3) return ds && oas >= 52 ? 0 : null;
    return sl0 === 2 && oas < 42 ? null : 3 - sl0;
  }
  if (sl0 === 3) return null;
  return sl0 === 2 && oas < 44 ? null : 3 - sl0;
}

/** Whether tables from this level on, concatenated or not, resolve exactly this input. */
export function startLevelConsistent(granule: Granule, inputSize: number, startLevel: number): boolean {
  const resolved = inputSize - lowestIndexBit(granule, startLevel);
  return resolved >= 1 && resolved <= granule - 3 + LOG2_CONCATENATED;
}

/** Least S2T0SZ. */
export function leastS2t0sz({ ias }: Features, granule: Granule, ds: boolean): number {
  return Math.max(granule === 16 || ds ? 12 : 16, 64 - ias);
}

interface Layout {
  readonly granule: Granule;
  readonly ds: boolean;
  readonly t0sz: number;
  readonly startLevel: number;
}

/** Null when S2TG, S2T0SZ and S2SL0 do not fit. */
function layoutOf(ste: bigint, features: Features): Layout | null {
  const granule = granuleOf(field(ste, 175, 174));
  if (granule === null || !features.granules.has(granule)) return null;
  const ds = features.ds && granule !== 16 && bit(ste, 195);
  const t0sz = Number(field(ste, 165, 160));
  if (t0sz < leastS2t0sz(features, granule, ds) || t0sz > greatestTsz(features, granule)) return null;
  const startLevel = startLevelSelected(granule, { sl0: field(ste, 167, 166), sl2: bit(ste, 194) }, ds, features);
  if (startLevel === null || !startLevelConsistent(granule, 64 - t0sz, startLevel)) return null;
  return { granule, ds, t0sz, startLevel };
}

function outputSizeOf(ste: bigint, { oas }: Features): number {
  return Math.min(addressSize(field(ste, 178, 176)), oas);
}

function baseOf(ste: bigint): bigint {
  return field(ste, 243, 196) << 4n;
}

export function secondStageIllegal(ste: bigint, features: Features): boolean {
  if (stallContradicts(features, bit(ste, 185))) return true;
  const aarch64 = bit(ste, 179);
  if (!aarch64 && features.aarch32) throw new RangeError("the model has no AArch32 tables");
  if (!aarch64 || !features.aarch64) return true;
  const accessFlagUpdate = bit(ste, 184);
  const dirtyStateUpdate = bit(ste, 183);
  if (accessFlagUpdate && !features.accessFlagUpdate) return true;
  if (dirtyStateUpdate && !features.dirtyStateUpdate) return true;
  if (features.tableFlagUpdate && bit(ste, 187)) {
    if (accessFlagUpdate) throw new RangeError("the model does not update table descriptors (S2HAFT)");
    return true;
  }
  const layout = layoutOf(ste, features);
  if (layout === null) return true;
  if (!tableBaseInRange(baseOf(ste), layout.granule, layout.ds, outputSizeOf(ste, features))) return true;
  return endiannessUnsupported(features, bit(ste, 180));
}

/** Of a legal STE. */
export function readSecondStage(ste: bigint, features: Features): SecondStage {
  const layout = layoutOf(ste, features);
  if (layout === null) throw new RangeError("the STE is illegal");
  const accessFlagUpdate = bit(ste, 184);
  return {
    tables: {
      granule: layout.granule,
      inputSize: 64 - layout.t0sz,
      startLevel: layout.startLevel,
      ds: layout.ds,
      oas52: features.oas >= 52,
      base: baseOf(ste),
      outputSize: outputSizeOf(ste, features),
      bigEndian: bit(ste, 180),
    },
    accessFlagFaultDisable: bit(ste, 181),
    accessFlagUpdate,
    // S2HD without S2HA is reserved and behaves as neither.
    dirtyStateUpdate: accessFlagUpdate && bit(ste, 183),
    protectedTableWalk: bit(ste, 182),
    forcedWriteBack: features.forcedWriteBack && bit(ste, 89),
    faults: { abort: true, record: bit(ste, 186), stall: bit(ste, 185) },
  };
}
