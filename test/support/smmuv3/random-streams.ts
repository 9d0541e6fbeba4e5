/** Random streams: an STE, its CDs and everything below them. Mostly legal. */
import { bit } from "../slow-format.js";
import { randomBits } from "../vtd/random-memory.js";
import { encodeSte, type SteFields, writeEntry } from "./encode.js";
import { STALL_CONFIGURABLE } from "./features.js";
import type { Space } from "./random-space.js";
import { type Implementation, randomCd, randomSecondStage } from "./random-stages.js";
import type { RandomSecondStage } from "./random-tables.js";
import { max } from "./structures.js";

const CD_BYTES = 64n;
const L1CD_BYTES = 8n;
/** S1Fmt: log2 of the CDs in a leaf table. */
const SPLITS = [null, 6, 10] as const;

const ABORT = 0b000n;
const BYPASS = 0b100n;
const STAGE_1 = 0b101n;
const STAGE_2 = 0b110n;
const NESTED = 0b111n;

const DAMAGE = 0.05;
/** S2AA64 and AA64: the model has no AArch32 tables. */
const STE_FIXED_BIT = 179;
const CD_FIXED_BIT = 41;
/** The part of a CD that holds no memory attributes. */
const CD_BITS = 192;
/** The part of an STE that a Non-secure stream uses. */
const STE_BITS = 248;

/** Mapped addresses of a substream, or of a stream without one. */
export interface AddressSpace {
  readonly targets: readonly bigint[];
}

export interface Stream {
  readonly sid: number;
  readonly withoutSubstream: AddressSpace;
  readonly substreams: ReadonlyMap<number, AddressSpace>;
}

/** The entry, or seldom one with a wrong bit. */
function withDamage({ host, features }: Implementation, entry: bigint, bits: number, fixedBit: number): bigint {
  const { random } = host;
  if (!random.chance(DAMAGE)) return entry;
  const wrong = random.chance(0.15) ? 0 : random.below(bits);
  return wrong === fixedBit && features.aarch32 ? entry : entry ^ (1n << BigInt(wrong));
}

interface Contexts {
  readonly fields: SteFields;
  readonly withoutSubstream: AddressSpace;
  readonly substreams: ReadonlyMap<number, AddressSpace>;
}

/** A CD table with some CDs. */
function makeContexts(implementation: Implementation, second: RandomSecondStage | null, el2: boolean): Contexts | null {
  const { host, features } = implementation;
  const { random } = host;
  const space: Space = second ?? host;
  const cdMax = features.ssidSize > 0 && random.chance(0.6) ? 1 + random.below(Math.min(features.ssidSize, 12)) : 0;
  const format = cdMax > 0 && features.twoLevelCdTables ? random.below(3) : 0;
  const split = cdMax > 0 ? SPLITS[format] : null;
  const entries = split === null ? CD_BYTES << BigInt(cdMax) : L1CD_BYTES << BigInt(Math.max(0, cdMax - split));
  const base = space.allocate(max(entries, 64n), features.oas);
  if (base === null) return null;

  const leafTables = new Map<number, bigint | null>();
  const leafTableOf = (index: number, bits: number): bigint | null => {
    const made = leafTables.get(index);
    if (made !== undefined) return made;
    const table = space.allocate(CD_BYTES << BigInt(bits), features.oas);
    leafTables.set(index, table);
    const valid = random.chance(0.97) ? 1n : 0n;
    if (table !== null) space.write(base + L1CD_BYTES * BigInt(index), table | valid);
    return table;
  };
  const addressOf = (index: number): bigint | null => {
    if (split === null) return base + CD_BYTES * BigInt(index);
    const table = leafTableOf(index >> split, split);
    return table === null ? null : table + CD_BYTES * BigInt(index % 2 ** split);
  };

  const stallDisabled = features.stallModel === STALL_CONFIGURABLE && random.chance(0.2);
  const spaces = new Map<number, AddressSpace>();
  for (const index of new Set([0, ...Array.from({ length: 3 }, () => random.below(2 ** cdMax))])) {
    const address = addressOf(index);
    if (address === null) continue;
    const { cd, targets } = randomCd(implementation, second, { el2, stallDisabled });
    const stored = withDamage(implementation, cd, CD_BITS, CD_FIXED_BIT);
    writeEntry(stored, address, (at, word) => space.write(at, word));
    spaces.set(index, { targets });
  }
  return {
    fields: {
      S1Fmt: format,
      S1ContextPtr: base,
      S1CDMax: cdMax,
      S1DSS: random.pick([0b00, 0b01, 0b01, 0b10, 0b10, 0b10, 0b10, 0b10, 0b10, 0b11]),
      S1STALLD: stallDisabled,
    },
    withoutSubstream: spaces.get(0) ?? { targets: [] },
    substreams: cdMax === 0 ? new Map() : spaces,
  };
}

function randomConfig({ host, features }: Implementation): bigint {
  const configs = [ABORT, BYPASS, BYPASS];
  if (features.stage1) configs.push(...Array<bigint>(10).fill(STAGE_1));
  if (features.stage2) configs.push(...Array<bigint>(6).fill(STAGE_2));
  if (features.stage1 && features.stage2) configs.push(...Array<bigint>(12).fill(NESTED));
  return host.random.pick(configs);
}

/** Writes an STE and everything below it. */
export function makeStream(implementation: Implementation, sid: number, steAddress: bigint): Stream {
  const { host, features } = implementation;
  const { random } = host;
  const config = randomConfig(implementation);
  const usesStage1 = bit(config, 2) && bit(config, 0);
  const usesStage2 = bit(config, 2) && bit(config, 1);
  const el2 = config === STAGE_1 && features.hypervisor && random.chance(0.25);
  const chosen = usesStage2 ? randomSecondStage(implementation) : null;
  const contexts = usesStage1 ? makeContexts(implementation, chosen?.second ?? null, el2) : null;
  // EATS = 10 is for nested translation without stalls, 01 of a stage 2 without stalls.
  const eats =
    chosen?.fields.S2S === true || features.stage1Ats || config !== NESTED ? 0b00 : random.pick([0b01, 0b10]);
  const ste = encodeSte({
    V: 1,
    Config: config,
    PRIVCFG: random.chance(0.7) ? 0 : random.below(4),
    INSTCFG: random.chance(0.7) ? 0 : random.below(4),
    S2VMID: randomBits(random, features.vmid16 ? 16 : 8),
    EATS: eats,
    STRW: el2 ? 0b10 : 0b00,
    ...contexts?.fields,
    ...chosen?.fields,
  });
  const stored = withDamage(implementation, ste, STE_BITS, STE_FIXED_BIT);
  writeEntry(stored, steAddress, (address, word) => host.write(address, word));
  return {
    sid,
    withoutSubstream: contexts?.withoutSubstream ?? chosen?.second ?? { targets: [] },
    substreams: contexts?.substreams ?? new Map(),
  };
}
