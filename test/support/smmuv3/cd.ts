/** The CD and the way to it: Arm IHI 0070, sections 3.4.3, 5.3, 5.4 and 5.4.2 (validity). */
import { bit, field } from "../slow-format.js";
import { C_BAD_CD, C_BAD_SUBSTREAMID, F_CD_FETCH, Fault, type FaultModel } from "./faults.js";
import {
  addressSize,
  endiannessUnsupported,
  type Features,
  type Granule,
  greatestTsz,
  stallContradicts,
  tableBaseInRange,
} from "./features.js";
import { FETCH_CD, translateStage2 } from "./stage2.js";
import { granuleOf } from "./stage2-configuration.js";
import type { FirstStageOfSte, Ste, StreamWorld } from "./ste.js";
import { alignDown, max, readStructure, WORDS_OF_ENTRY } from "./structures.js";
import { startLevelOf, type Tables } from "./table-walk.js";
import type { Attempt, Walk } from "./unit.js";

const CD_BYTES = 64n;
const L1CD_BYTES = 8n;

/** S1Fmt: log2 of the CDs in a leaf table. */
const LEAF_SPLITS: Readonly<Record<string, bigint>> = { "1": 6n, "2": 10n };

/** TG1. */
const TG1_GRANULES: readonly (Granule | null)[] = [null, 14, 12, 16];

/** One of the two address ranges of a CD. */
export interface Half {
  /** Null where EPDx disables walks. */
  readonly tables: Tables | null;
  readonly inputSize: number;
  readonly topByteIgnored: boolean;
  readonly hierarchicalAttributesDisabled: boolean;
  /** E0PDx. */
  readonly unprivilegedDisabled: boolean;
}

export interface Cd {
  readonly world: StreamWorld;
  readonly low: Half;
  /** Null in a stream world with one range. */
  readonly high: Half | null;
  readonly accessFlagFaultDisable: boolean;
  readonly accessFlagUpdate: boolean;
  readonly dirtyStateUpdate: boolean;
  readonly writeExecuteNever: boolean;
  readonly privilegedAccessNever: boolean;
  readonly enhancedPan: boolean;
  readonly faults: FaultModel;
}

/** L1CDs and CDs are at intermediate addresses where there is a stage 2. */
function fetch(walk: Walk, { stage2 }: Ste, address: bigint, words: number): Attempt<bigint> {
  let fetchAddr = address;
  if (stage2 !== null) {
    const mapping = translateStage2(walk, stage2, address, FETCH_CD);
    if (mapping instanceof Fault) return mapping;
    fetchAddr = mapping.address;
  }
  return readStructure(walk.unit.memory, fetchAddr, words) ?? Fault.configuration(F_CD_FETCH, { fetchAddr });
}

/** The CD at an index, not yet looked at. */
export function fetchCd(walk: Walk, ste: Ste, stage1: FirstStageOfSte, index: number): Attempt<bigint> {
  const { contextPointer, cdMax, format } = stage1;
  const cdIndex = BigInt(index);
  const split = LEAF_SPLITS[String(format)];
  if (split === undefined) {
    const table = alignDown(contextPointer, CD_BYTES << BigInt(cdMax));
    return fetch(walk, ste, table + CD_BYTES * cdIndex, WORDS_OF_ENTRY);
  }
  const level1Bytes = BigInt(cdMax) > split ? L1CD_BYTES << (BigInt(cdMax) - split) : L1CD_BYTES;
  const level1 = alignDown(contextPointer, max(64n, level1Bytes));
  const descriptor = fetch(walk, ste, level1 + L1CD_BYTES * (cdIndex >> split), 1);
  if (descriptor instanceof Fault) return descriptor;
  const leafTable = alignDown(field(descriptor, 55, 12) << 12n, CD_BYTES << split);
  const limit = ste.stage2 === null ? walk.features.oas : walk.features.ias;
  if (!bit(descriptor, 0) || leafTable >= 1n << BigInt(limit)) return Fault.configuration(C_BAD_SUBSTREAMID);
  return fetch(walk, ste, leafTable + CD_BYTES * (cdIndex % (1n << split)), WORDS_OF_ENTRY);
}

/** Where the fields of a half are. */
interface HalfBits {
  readonly tsz: number;
  readonly granule: (cd: bigint) => Granule | null;
  readonly epd: number;
  readonly tbi: number;
  readonly had: number;
  readonly e0pd: number;
  readonly ttb: number;
}

const LOW: HalfBits = {
  tsz: 0,
  granule: (cd) => granuleOf(field(cd, 7, 6)),
  epd: 14,
  tbi: 38,
  had: 65,
  e0pd: 66,
  ttb: 68,
};
const HIGH: HalfBits = {
  tsz: 16,
  granule: (cd) => TG1_GRANULES[Number(field(cd, 23, 22))],
  epd: 30,
  tbi: 39,
  had: 129,
  e0pd: 130,
  ttb: 132,
};

function leastTsz({ largeVirtualAddresses }: Features, granule: Granule, ds: boolean): number {
  return largeVirtualAddresses && (granule === 16 || ds) ? 12 : 16;
}

/** Null when the CD is illegal for the sake of this half. */
function readHalf(walk: Walk, cd: bigint, bits: HalfBits, world: StreamWorld): Half | null {
  const { features } = walk;
  const tsz = Number(field(cd, bits.tsz + 5, bits.tsz));
  const common = {
    inputSize: 64 - tsz,
    topByteIgnored: bit(cd, bits.tbi),
    hierarchicalAttributesDisabled: features.hierarchicalAttributeDisable && bit(cd, bits.had),
    unprivilegedDisabled: features.e0pd && world !== "EL2" && bit(cd, bits.e0pd),
  };
  if (world !== "EL2" && bit(cd, bits.epd)) return { ...common, tables: null };
  const granule = bits.granule(cd);
  if (granule === null || !features.granules.has(granule)) return null;
  const ds = features.ds && granule !== 16 && bit(cd, 186);
  if (tsz < leastTsz(features, granule, ds) || tsz > greatestTsz(features, granule)) return null;
  const base = field(cd, bits.ttb + 47, bits.ttb) << 4n;
  const outputSize = Math.min(addressSize(field(cd, 34, 32)), features.oas);
  if (!tableBaseInRange(base, granule, ds, outputSize)) return null;
  return {
    ...common,
    tables: {
      granule,
      inputSize: common.inputSize,
      startLevel: startLevelOf(granule, common.inputSize),
      ds,
      oas52: features.oas >= 52,
      base,
      outputSize,
      bigEndian: bit(cd, 15),
    },
  };
}

function illegal({ features }: Walk, { stallDisabled, world }: FirstStageOfSte, cd: bigint): boolean {
  if (!bit(cd, 31)) return true;
  const stall = bit(cd, 44);
  if (stallDisabled && stall) return true;
  if (features.alwaysAborts && !bit(cd, 46)) return true;
  if (stallContradicts(features, stall)) return true;
  const walksDisabled = world !== "EL2" && bit(cd, 14) && bit(cd, 30);
  if (!walksDisabled && endiannessUnsupported(features, bit(cd, 15))) return true;
  const aarch64 = bit(cd, 41);
  if (!aarch64 && features.aarch32) throw new RangeError("the model has no AArch32 tables");
  if (!aarch64 || !features.aarch64) return true;
  if (bit(cd, 43) && !features.accessFlagUpdate) return true;
  if (bit(cd, 42) && !features.dirtyStateUpdate) return true;
  if (features.tableFlagUpdate && bit(cd, 67)) {
    if (bit(cd, 43)) throw new RangeError("the model does not update table descriptors (HAFT)");
    return true;
  }
  return world !== "EL2" && !features.asid16 && field(cd, 63, 56) !== 0n;
}

export function checkCd(walk: Walk, stage1: FirstStageOfSte, cd: bigint): Attempt<Cd> {
  const bad = Fault.configuration(C_BAD_CD);
  const { world } = stage1;
  if (illegal(walk, stage1, cd)) return bad;
  const low = readHalf(walk, cd, LOW, world);
  if (low === null) return bad;
  const high = world === "EL2" ? null : readHalf(walk, cd, HIGH, world);
  if (high === null && world !== "EL2") return bad;
  const privilegedAccessNever = world !== "EL2" && bit(cd, 40);
  const accessFlagUpdate = bit(cd, 43);
  return {
    world,
    low,
    high,
    accessFlagFaultDisable: bit(cd, 35),
    accessFlagUpdate,
    // HD without HA is reserved and behaves as neither.
    dirtyStateUpdate: accessFlagUpdate && bit(cd, 42),
    writeExecuteNever: bit(cd, 36),
    privilegedAccessNever,
    enhancedPan: walk.features.epan && bit(cd, 123),
    faults: { abort: bit(cd, 46), record: bit(cd, 45), stall: bit(cd, 44) },
  };
}
