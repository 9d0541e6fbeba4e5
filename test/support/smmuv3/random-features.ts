import type { Random } from "../random.js";
import { flag } from "./random-tables.js";
import type { SlowRegisters } from "./unit.js";

/** OAS: 32, 36, 40, 44, 48 and 52 bits. */
const SIZES = [0n, 1n, 2n, 4n, 4n, 5n, 6n, 6n];

type IdRegisters = Pick<SlowRegisters, "IDR0" | "IDR1" | "IDR3" | "IDR5">;

/** Identification registers of an implementation with VMSAv8-64 tables. */
export function randomFeatures(random: Random): IdRegisters {
  const stages = random.pick([0b11n, 0b11n, 0b11n, 0b11n, 0b11n, 0b11n, 0b10n, 0b01n]);
  const formats = random.chance(0.9) ? 0b10n : 0b11n;
  const httu = random.pick([0n, 1n, 2n, 2n, 2n]);
  const endian = random.pick([0b10n, 0b10n, 0b10n, 0b00n, 0b11n]);
  const stallModel = random.pick([0b00n, 0b00n, 0b00n, 0b01n, 0b10n]);
  const IDR0 =
    stages |
    (formats << 2n) |
    (httu << 6n) |
    flag(random, 9, 0.6) |
    flag(random, 10, 0.5) |
    flag(random, 11, 0.2) |
    flag(random, 12, 0.8) |
    flag(random, 18, 0.8) |
    flag(random, 19, 0.85) |
    (endian << 21n) |
    (stallModel << 24n) |
    flag(random, 26, 0.3) |
    flag(random, 27, 0.85);
  const sidSize = BigInt(8 + random.below(13));
  const ssidSize = random.pick([0n, 6n, 12n, 16n, 20n]);
  const IDR1 = sidSize | (ssidSize << 6n) | flag(random, 26, 0.7);
  const IDR3 =
    flag(random, 2, 0.8) |
    flag(random, 4, 0.8) |
    flag(random, 8, 0.5) |
    flag(random, 9, 0.6) |
    flag(random, 13, 0.7) |
    flag(random, 17, 0.6);
  const granules = random.pick([0b111n, 0b111n, 0b111n, 0b001n, 0b100n, 0b101n, 0b011n, 0b010n]);
  const oas = random.pick(SIZES);
  const ds = oas === 6n ? flag(random, 7, 0.8) : 0n;
  const vax = random.chance(0.5) ? 1n << 10n : 0n;
  return { IDR0, IDR1, IDR3, IDR5: oas | (granules << 4n) | ds | vax };
}
