/** Seeded choices in whole numbers, so that they are the same on every machine. */
import type { Random } from "../random.js";

/** Values with their weights. */
export type Weighted<T> = readonly (readonly [weight: number, value: T])[];

/** A value, as often as its weight says. */
export function pick<T>(random: Random, choices: Weighted<T>): T {
  let left = random.below(choices.reduce((sum, [weight]) => sum + weight, 0));
  for (const [weight, value] of choices) {
    left -= weight;
    if (left < 0) return value;
  }
  throw new RangeError("weights must be whole numbers above 0");
}

/** Lengths in pages from 2^low up to but without 2^high: each power of two as likely, and within it each length. */
export interface LengthRange {
  readonly low: number;
  readonly high: number;
}

export function lengthIn(random: Random, { low, high }: LengthRange): number {
  const exponent = low + random.below(high - low);
  return 2 ** exponent + random.below(2 ** exponent);
}
