/** Wishes for the low bits of an IOVA, and which of them go together. */
import { hex } from "../engine/addresses.js";
import { IommuError } from "../engine/errors.js";

/** A wish of a hint that was not met, or only in part. */
export interface UnmetWish {
  readonly wish: "congruentTo" | "align" | "addressLimit" | "singleSegment";
  /** What was asked, and what there is instead. */
  readonly explanation: string;
}

/** IOVA ≡ residue modulo a power of two. */
export interface Congruence {
  readonly residue: bigint;
  readonly modulus: bigint;
  /** Least modulus that will do: the modulus itself where it must be. */
  readonly floor: bigint;
  /** The wish of a hint that it comes from, null for what is best for the IOMMU. */
  readonly wish: "congruentTo" | "align" | null;
}

/** Several congruences as one. */
export interface JointCongruence extends Congruence {
  /** The largest modulus that the hint asked for; what the IOMMU would like can be larger. */
  readonly wished: bigint;
}

/**
 * All of them as one, the first the most important. Two agree when their residues do modulo the lesser modulus; one that
 * does not agree with those before it is dropped. Throws IommuError `invalid` when it must not be.
 *
 * @param forIommu what is kept if it agrees with the wishes, and else forgotten
 */
export function joinCongruences(
  wishes: readonly Congruence[],
  forIommu: Congruence,
  operation: string,
): { readonly congruence: JointCongruence; readonly dropped: readonly UnmetWish[] } {
  const dropped: UnmetWish[] = [];
  let joined: JointCongruence = { residue: 0n, modulus: 1n, floor: 1n, wish: null, wished: 1n };
  for (const next of [...wishes, forIommu]) {
    const common = agreement(joined, next);
    if (common === lesser(joined.modulus, next.modulus)) {
      const { residue, modulus } = next.modulus > joined.modulus ? next : joined;
      joined = {
        residue,
        modulus,
        floor: next.floor > joined.floor ? next.floor : joined.floor,
        wish: joined.wish ?? next.wish,
        wished: next.wish === null ? joined.wished : modulus,
      };
    } else if (next.wish !== null) {
      const asked = `${hex(next.residue)} modulo ${hex(next.modulus)}`;
      const explanation = `${asked} agrees with what came first modulo ${hex(common)} only`;
      if (common < next.floor) throw new IommuError("invalid", operation, undefined, `${next.wish}: ${explanation}`);
      dropped.push({ wish: next.wish, explanation });
    }
  }
  return { congruence: joined, dropped };
}

/** The largest modulus, of those that both have, by which they agree. */
function agreement(one: Congruence, other: Congruence): bigint {
  let modulus = lesser(one.modulus, other.modulus);
  while (((one.residue ^ other.residue) & (modulus - 1n)) !== 0n) modulus >>= 1n;
  return modulus;
}

function lesser(one: bigint, other: bigint): bigint {
  return one < other ? one : other;
}
