import type { Capabilities } from "../../../src/vtd/capabilities.js";
import type { Random } from "../random.js";
import { randomBits } from "./random-memory.js";
import type { Target } from "./random-tables.js";
import type { SlowRequest } from "./unit.js";

/** What addresses of one device, or of one of its PASIDs, lead to. */
export interface AddressSpace {
  /** Mapped addresses; empty in pass-through. */
  readonly targets: readonly Target[];
}

export interface Device {
  readonly sid: number;
  /** RID_PASID as the unit uses it; null in legacy mode. */
  readonly ridPasid: number | null;
  readonly withoutPasid: AddressSpace;
  /** The address spaces of requests with PASID. */
  readonly pasids: ReadonlyMap<number, AddressSpace>;
}

function randomInput(random: Random, capabilities: Capabilities, space: AddressSpace): bigint {
  const interrupt = 0xfee0_0000n + randomBits(random, 20);
  if (space.targets.length === 0) {
    if (random.chance(0.06)) return interrupt;
    return randomBits(random, random.chance(0.85) ? Math.min(capabilities.haw, 39) : 64);
  }
  const { address, size } = random.pick(space.targets);
  const choice = random.below(100);
  if (choice < 82) return address + randomBits(random, 12);
  if (choice < 88) return address - (address % size) + (random.u64() % size);
  if (choice < 96) return address ^ (1n << BigInt(random.below(64)));
  return random.pick([interrupt, random.u64(), randomBits(random, 48), (1n << 64n) - 1n]);
}

function randomPasid(random: Random, { pasids, ridPasid }: Device): number | undefined {
  if (random.chance(ridPasid === null ? 0.97 : 0.5)) return undefined;
  if (pasids.size > 0 && random.chance(0.92)) return random.pick([...pasids.keys()]);
  if (ridPasid !== null && random.chance(0.3)) return ridPasid;
  return random.below(2 ** random.pick([6, 10, 14, 20]));
}

export function randomRequest(random: Random, capabilities: Capabilities, devices: readonly Device[]): SlowRequest {
  const device = random.pick(devices);
  const pasid = randomPasid(random, device);
  const space = (pasid === undefined ? null : device.pasids.get(pasid)) ?? device.withoutPasid;
  const kind = random.below(100);
  // A translated request with PASID needs an EPTR, which no unit here has.
  const type =
    kind < 72 ? "untranslated" : kind < 93 || (pasid !== undefined && kind < 98) ? "translation" : "translated";
  const hostAddress = randomBits(random, random.chance(0.85) ? capabilities.haw : 64);
  const request = {
    sid: random.chance(0.98) ? device.sid : random.below(0x10000),
    iova: type === "translated" && random.chance(0.9) ? hostAddress : randomInput(random, capabilities, space),
    access:
      type === "untranslated"
        ? random.pick(["read", "read", "write", "write", "atomic", "zero-length-read"] as const)
        : random.pick(["read", "write"] as const),
    type,
  } as const;
  if (pasid === undefined) return request;
  return { ...request, pasid, privileged: random.chance(0.3), execute: random.chance(0.05) };
}
