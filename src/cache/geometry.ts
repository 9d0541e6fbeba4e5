/** The geometry of a cache in hardware, as data. */
import * as layout from "../../assembly/layout.js";
import { IommuError } from "../engine/errors.js";

export const REPLACEMENTS = ["lru", "tree-plru", "round-robin", "random"] as const;
/** Which entry of a full set gives way. */
export type Replacement = (typeof REPLACEMENTS)[number];

const CODES: Readonly<Record<Replacement, number>> = {
  lru: layout.REPLACEMENT_LRU,
  "tree-plru": layout.REPLACEMENT_PLRU,
  "round-robin": layout.REPLACEMENT_ROUND_ROBIN,
  random: layout.REPLACEMENT_RANDOM,
};

export interface CacheGeometry {
  /** Power of two; 1: fully associative. */
  readonly sets: number;
  /** With tree-plru a power of two up to 64. */
  readonly ways: number;
  readonly replacement: Replacement;
  /** Of the random policy. Default 1. */
  readonly seed?: number;
}

export const MOST_ENTRIES = 1 << 20;
/** A tree of the ways is one 64-bit word, a list of them has 16-bit links. */
const MOST_TREE_WAYS = 64;
export const MOST_WAYS = 0xffff;

export function isPowerOfTwo(value: number): boolean {
  return Number.isInteger(Math.log2(value)) && value >= 1;
}

/** Why a geometry cannot be, or null. */
export function geometryFault({ sets, ways, replacement, seed = 1 }: CacheGeometry): string | null {
  if (!isPowerOfTwo(sets)) return `${sets} sets: not a power of two`;
  if (!Number.isInteger(ways) || ways < 1 || ways > MOST_WAYS) return `${ways} ways: not 1 to ${MOST_WAYS}`;
  if (sets * ways > MOST_ENTRIES) return `${sets} sets of ${ways} ways: more than ${MOST_ENTRIES} entries`;
  if (!(replacement in CODES)) return `replacement "${replacement}": none of ${REPLACEMENTS.join(", ")}`;
  if (replacement === "tree-plru" && !(isPowerOfTwo(ways) && ways <= MOST_TREE_WAYS)) {
    return `${ways} ways with tree-plru: not a power of two up to ${MOST_TREE_WAYS}`;
  }
  if (!Number.isInteger(seed) || seed < 0 || seed > 0xffff_ffff) return `seed ${seed}: not a 32-bit number`;
  return null;
}

/**
 * The first cache that takes a size of page which one before it takes, or null.
 *
 * @param sizes of each cache, as a bitmap
 */
export function sharedSizes(sizes: readonly bigint[]): number | null {
  const index = sizes.findIndex((size, i) => sizes.slice(0, i).some((before) => (before & size) !== 0n));
  return index < 0 ? null : index;
}

/** The number by which the WASM side knows the policy. Throws `invalid` for an impossible geometry, naming `what`. */
export function replacementCode(geometry: CacheGeometry, what: string): number {
  const fault = geometryFault(geometry);
  if (fault !== null) throw new IommuError("invalid", `make ${what}`, undefined, fault);
  return CODES[geometry.replacement];
}
