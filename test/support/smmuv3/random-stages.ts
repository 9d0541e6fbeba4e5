/** What random STEs and CDs say of their tables. */
import type { Random } from "../random.js";
import { type CdFields, encodeCd, type SteFields } from "./encode.js";
import { addressSize, type Features, type Granule, greatestTsz, STALL_CONFIGURABLE, STALL_FORCED } from "./features.js";
import type { HostSpace } from "./random-space.js";
import { RandomFirstStage, RandomSecondStage, type TablesWithoutBase } from "./random-tables.js";
import { leastS2t0sz, startLevelConsistent, startLevelSelected } from "./stage2-configuration.js";
import { startLevelOf } from "./table-walk.js";

/** S2TG and TG0, and TG1, of a granule. */
const TG0: Readonly<Record<Granule, number>> = { 12: 0, 14: 2, 16: 1 };
const TG1: Readonly<Record<Granule, number>> = { 12: 2, 14: 1, 16: 3 };

const OUTPUT_SIZES = [0n, 1n, 2n, 3n, 4n, 5n, 6n, 7n];

/** What a stage needs to be chosen. */
export interface Implementation {
  readonly host: HostSpace;
  readonly features: Features;
}

function randomStall(random: Random, { stallModel }: Features): boolean {
  return stallModel === STALL_CONFIGURABLE ? random.chance(0.15) : stallModel === STALL_FORCED;
}

function randomEndianness(random: Random, { endian }: Features): boolean {
  return endian === 0b11n || (endian === 0b00n && random.chance(0.4));
}

/** IPS or S2PS: mostly no less than the OAS. */
function randomOutputSize(random: Random, { oas }: Features): bigint {
  const sufficient = OUTPUT_SIZES.filter((encoding) => addressSize(encoding) >= oas);
  return random.pick(random.chance(0.75) ? sufficient : OUTPUT_SIZES);
}

/** HA and HD, or S2HA and S2HD. */
function randomUpdates(random: Random, features: Features): { ha: boolean; hd: boolean } {
  const ha = features.accessFlagUpdate && random.chance(0.6);
  return { ha, hd: features.dirtyStateUpdate && random.chance(ha ? 0.7 : 0.05) };
}

export interface ChosenSecondStage {
  readonly second: RandomSecondStage;
  readonly fields: SteFields;
}

export function randomSecondStage({ host, features }: Implementation): ChosenSecondStage {
  const { random } = host;
  for (;;) {
    const granule = random.pick([...features.granules]);
    const ds = features.ds && granule !== 16 && random.chance(0.6);
    const least = leastS2t0sz(features, granule, ds);
    const t0sz = least + random.below(greatestTsz(features, granule) - least + 1);
    const sl0 = BigInt(random.below(4));
    const sl2 = ds && random.chance(0.4);
    const startLevel = startLevelSelected(granule, { sl0, sl2 }, ds, features);
    const inputSize = 64 - t0sz;
    if (startLevel === null || !startLevelConsistent(granule, inputSize, startLevel)) continue;

    const ps = randomOutputSize(random, features);
    const outputSize = Math.min(addressSize(ps), features.oas);
    const bigEndian = randomEndianness(random, features);
    const tables = { granule, inputSize, startLevel, ds, oas52: features.oas >= 52, outputSize, bigEndian };
    const second = new RandomSecondStage(host, tables);
    if (second.base === null) continue;
    second.fill(8);
    const { ha, hd } = randomUpdates(random, features);
    const fields = {
      S2T0SZ: t0sz,
      S2SL0: sl0,
      S2SL0_2: sl2,
      S2DS: ds,
      S2TG: TG0[granule],
      S2PS: ps,
      S2AA64: 1,
      S2ENDI: bigEndian,
      S2AFFD: random.chance(0.2),
      S2PTW: random.chance(0.4),
      S2FWB: random.chance(0.3),
      S2HA: ha,
      S2HD: hd,
      S2S: randomStall(random, features),
      S2R: random.chance(0.85),
      S2TTB: second.base,
    };
    return { second, fields };
  }
}

function randomHalf(
  { host, features }: Implementation,
  common: Pick<TablesWithoutBase, "ds" | "oas52" | "outputSize" | "bigEndian">,
  second: RandomSecondStage | null,
): RandomFirstStage {
  const { random } = host;
  const granule = random.pick([...features.granules]);
  const ds = common.ds && granule !== 16;
  const least = features.largeVirtualAddresses && (granule === 16 || ds) ? 12 : 16;
  const inputSize = 64 - least - random.below(greatestTsz(features, granule) - least + 1);
  const half = new RandomFirstStage(
    host,
    { ...common, granule, ds, inputSize, startLevel: startLevelOf(granule, inputSize) },
    second,
  );
  half.fill(8);
  return half;
}

export interface ChosenCd {
  readonly cd: bigint;
  /** Mapped input addresses. */
  readonly targets: readonly bigint[];
}

/** A CD with its tables, which are mapped by the second stage if there is one. */
export function randomCd(
  implementation: Implementation,
  second: RandomSecondStage | null,
  stream: { el2: boolean; stallDisabled: boolean },
): ChosenCd {
  const { host, features } = implementation;
  const { random } = host;
  const ips = randomOutputSize(random, features);
  const outputSize = Math.min(addressSize(ips), features.oas);
  const ds = features.ds && random.chance(0.6);
  const bigEndian = randomEndianness(random, features);
  const common = { ds, oas52: features.oas >= 52, outputSize, bigEndian };
  const low = randomHalf(implementation, common, second);
  const high = randomHalf(implementation, common, second);
  const { ha, hd } = randomUpdates(random, features);
  const stall = randomStall(random, features) && !stream.stallDisabled;
  const fields: CdFields = {
    V: 1,
    AA64: 1,
    IPS: ips,
    DS: ds,
    ENDI: bigEndian,
    T0SZ: 64 - low.tables.inputSize,
    TG0: TG0[low.tables.granule],
    TTB0: low.base ?? 0n,
    EPD0: low.base === null || random.chance(0.06),
    T1SZ: 64 - high.tables.inputSize,
    TG1: TG1[high.tables.granule],
    TTB1: high.base ?? 0n,
    EPD1: high.base === null || random.chance(0.1),
    TBI0: random.chance(0.3),
    TBI1: random.chance(0.3),
    HAD0: random.chance(0.2),
    HAD1: random.chance(0.2),
    E0PD0: random.chance(0.06),
    E0PD1: random.chance(0.06),
    AFFD: random.chance(0.2),
    WXN: random.chance(0.2),
    PAN: random.chance(0.25),
    EPAN: random.chance(0.4),
    HA: ha,
    HD: hd,
    S: stall,
    R: random.chance(0.85),
    A: features.alwaysAborts || random.chance(0.7),
    ASID: random.below(features.asid16 ? 0x10000 : 0x100),
  };
  const upper = (address: bigint) => BigInt.asUintN(64, address - (1n << BigInt(high.tables.inputSize)));
  const targets = stream.el2 ? low.targets : [...low.targets, ...high.targets.map(upper)];
  return { cd: encodeCd(fields), targets };
}
