/** Random remapping units that are mostly well programmed, and requests that mostly hit what they map. */
import fc from "fast-check";
import { type CapabilityOptions, makeCapabilities } from "../../../src/vtd/capabilities.js";
import { Random } from "../random.js";
import { randomCapabilities } from "./random-capabilities.js";
import { makeLegacyDevices } from "./random-legacy.js";
import { RandomMemory } from "./random-memory.js";
import { type Device, randomRequest } from "./random-requests.js";
import { makeScalableDevices } from "./random-scalable.js";
import type { Range } from "./sparse-memory.js";
import type { SlowRequest } from "./unit.js";

/** Everything there is to a unit, to be loaded into any model of one. */
export interface RandomUnit {
  readonly capabilities: CapabilityOptions;
  readonly rtaddr: bigint;
  /** Words of RAM by address, a multiple of 8; the others are zero. */
  readonly words: ReadonlyMap<bigint, bigint>;
  /** RAM; anything outside is an access error. */
  readonly ram: readonly Range[];
  readonly requests: readonly SlowRequest[];
}

/** RTADDR_REG.TTM. */
const LEGACY = 0n;
const SCALABLE = 1n;
const RESERVED = 2n;
const ABORT = 3n;

/** The unit of a seed, with so many requests. */
export function randomUnit(seed: number, requestCount = 40): RandomUnit {
  const random = new Random(seed);
  const options = randomCapabilities(random);
  const capabilities = makeCapabilities(options);
  const memory = new RandomMemory(random, capabilities.haw);
  const root = memory.allocate();
  const legacy = random.chance(0.3);
  const devices: readonly Device[] = legacy
    ? makeLegacyDevices(memory, capabilities, root)
    : makeScalableDevices(memory, capabilities, root);
  const mode = random.chance(0.02) ? random.pick([RESERVED, ABORT, ABORT]) : legacy ? LEGACY : SCALABLE;
  const requests = Array.from({ length: requestCount }, () => randomRequest(random, capabilities, devices));
  return {
    capabilities: options,
    rtaddr: (random.chance(0.015) ? memory.hole() : root) | (mode << 10n),
    words: memory.words,
    ram: memory.ram,
    requests,
  };
}

export const randomUnits: fc.Arbitrary<RandomUnit> = fc.nat().map((seed) => randomUnit(seed));
