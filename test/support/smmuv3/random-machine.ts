/** Random SMMUs that are mostly well programmed, and requests that mostly hit what they map. */
import fc from "fast-check";
import { Random } from "../random.js";
import { randomBits } from "../vtd/random-memory.js";
import type { Range } from "../vtd/sparse-memory.js";
import { type Features, featuresOf } from "./features.js";
import { randomFeatures } from "./random-features.js";
import { HostSpace } from "./random-space.js";
import type { Implementation } from "./random-stages.js";
import { makeStream, type Stream } from "./random-streams.js";
import { max } from "./structures.js";
import type { SlowRegisters, SlowRequest } from "./unit.js";

/** Everything there is to a unit, to be loaded into any model of one. */
export interface RandomMachine {
  readonly registers: SlowRegisters;
  /** Words of RAM by address, a multiple of 8; the others are zero. */
  readonly words: ReadonlyMap<bigint, bigint>;
  /** RAM; anything outside is an external abort. */
  readonly ram: readonly Range[];
  readonly requests: readonly SlowRequest[];
}

const STE_BYTES = 64n;
const L1STD_BYTES = 8n;
const STREAMS = 5;
const LINEAR = 0b00n;
const TWO_LEVEL = 0b01n;

interface StreamTable {
  readonly base: bigint;
  readonly configuration: bigint;
  readonly streams: readonly Stream[];
}

function linearTable(implementation: Implementation): StreamTable {
  const { host, features } = implementation;
  const { random } = host;
  const log2Size = 3 + random.below(Math.min(features.sidSize, 10) - 2);
  const base = host.allocateSurely(STE_BYTES << BigInt(log2Size));
  const sids = new Set(Array.from({ length: STREAMS }, () => random.below(2 ** log2Size)));
  const streams = [...sids].map((sid) => makeStream(implementation, sid, base + STE_BYTES * BigInt(sid)));
  return { base, configuration: BigInt(log2Size) | (LINEAR << 16n), streams };
}

function twoLevelTable(implementation: Implementation): StreamTable {
  const { host, features } = implementation;
  const { random } = host;
  const log2Size = 4 + random.below(features.sidSize - 3);
  const written = random.chance(0.9) ? random.pick([6, 8, 10]) : random.below(32);
  const split = written === 8 || written === 10 ? written : 6;
  const entries = 1n << BigInt(Math.max(0, log2Size - split));
  const base = host.allocateSurely(max(64n, L1STD_BYTES * entries));
  const streams: Stream[] = [];
  for (let count = 0; count < STREAMS; count++) {
    const index = random.below(Number(entries));
    const descriptor = base + L1STD_BYTES * BigInt(index);
    if (host.taken(descriptor)) continue;
    const span = random.chance(0.96) ? 1 + random.below(split + 1) : random.pick([0, split + 2, 12, 31]);
    const log2Stes = span >= 1 && span <= split + 1 ? span - 1 : split;
    const table = host.allocateSurely(STE_BYTES << BigInt(log2Stes));
    host.write(descriptor, table | BigInt(span));
    const ste = random.below(2 ** log2Stes);
    streams.push(makeStream(implementation, index * 2 ** split + ste, table + STE_BYTES * BigInt(ste)));
  }
  return { base, configuration: BigInt(log2Size) | (BigInt(written) << 6n) | (TWO_LEVEL << 16n), streams };
}

function randomInput(random: Random, { ias }: Features, targets: readonly bigint[]): bigint {
  if (targets.length === 0) return randomBits(random, random.chance(0.9) ? ias : 64);
  const target = random.pick(targets) + randomBits(random, 12);
  const choice = random.below(100);
  if (choice < 84) return target;
  if (choice < 88) return target ^ (randomBits(random, 8) << 56n);
  if (choice < 97) return target ^ (1n << BigInt(random.below(64)));
  return random.pick([random.u64(), randomBits(random, 40), (1n << 64n) - 1n]);
}

function randomSsid(random: Random, { substreams }: Stream): number | undefined {
  if (substreams.size === 0) return random.chance(0.97) ? undefined : random.below(4);
  if (random.chance(0.35)) return undefined;
  return random.chance(0.93) ? random.pick([...substreams.keys()]) : random.below(2 ** random.pick([3, 12, 20]));
}

function randomRequest(random: Random, features: Features, streams: readonly Stream[]): SlowRequest {
  const stream = random.pick(streams);
  const ssid = randomSsid(random, stream);
  const space = (ssid === undefined ? null : stream.substreams.get(ssid)) ?? stream.withoutSubstream;
  return {
    sid: random.chance(0.97) ? stream.sid : random.below(2 ** random.pick([4, 10, 20])),
    ...(ssid === undefined ? {} : { ssid }),
    iova: randomInput(random, features, space.targets),
    access: random.pick(["read", "write"] as const),
    privileged: random.chance(0.4),
    instruction: random.chance(0.15),
    type: "untranslated",
  };
}

/** The machine of a seed, with so many requests. */
export function randomMachine(seed: number, requestCount = 40): RandomMachine {
  const random = new Random(seed);
  const identification = randomFeatures(random);
  const CR2 = randomBits(random, 2);
  const GBPA = random.chance(0.5) ? 1n << 20n : 0n;
  const partial = { ...identification, CR0: random.chance(0.98) ? 1n : 0n, CR2, GBPA };
  const features = featuresOf({ ...partial, STRTAB_BASE: 0n, STRTAB_BASE_CFG: 0n });
  const host = new HostSpace(random, features.oas);
  const twoLevel = features.twoLevelStreamTables && random.chance(0.6);
  const { base, configuration, streams } = (twoLevel ? twoLevelTable : linearTable)({ host, features });
  const requests = Array.from({ length: requestCount }, () => randomRequest(random, features, streams));
  const STRTAB_BASE = random.chance(0.99) ? base : host.hole();
  return {
    registers: { ...partial, STRTAB_BASE, STRTAB_BASE_CFG: configuration },
    words: host.words,
    ram: host.ram,
    requests,
  };
}

export const randomMachines: fc.Arbitrary<RandomMachine> = fc.nat().map((seed) => randomMachine(seed));
