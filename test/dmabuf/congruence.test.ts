/** Which wishes for an IOVA go together, against trying every residue. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { type Congruence, joinCongruences } from "../../src/dmabuf/congruence.js";
import { refused } from "../support/errors.js";

const GRANULE = 4n;
const NONE: Congruence = { residue: 0n, modulus: GRANULE, floor: GRANULE, wish: null };

const meets = ({ residue, modulus }: Congruence, iova: bigint): boolean => iova % modulus === residue;

const wish = (must: boolean, name: Congruence["wish"]): fc.Arbitrary<Congruence> =>
  fc.record({ bits: fc.integer({ min: 3, max: 7 }), at: fc.nat(31) }).map(({ bits, at }) => {
    const modulus = 1n << BigInt(bits);
    return { residue: (BigInt(at) * GRANULE) % modulus, modulus, floor: must ? modulus : GRANULE, wish: name };
  });

test("every IOVA of the result meets what was kept, and what was dropped no such IOVA could meet", () => {
  fc.assert(
    fc.property(wish(true, "align"), wish(false, "congruentTo"), wish(false, null), (first, second, forIommu) => {
      const { congruence, dropped } = joinCongruences([first, second], forIommu, "try");
      const all = Array.from({ length: 64 }, (_, index) => BigInt(index) * GRANULE);
      const chosen = all.filter((iova) => meets(congruence, iova));
      expect(chosen.every((iova) => meets(first, iova))).toBe(true);
      const both = all.filter((iova) => meets(first, iova) && meets(second, iova));
      expect(dropped.map((unmet) => unmet.wish)).toEqual(both.length > 0 ? [] : ["congruentTo"]);
      expect(chosen.every((iova) => meets(second, iova))).toBe(both.length > 0);
      const kept = both.length > 0 ? both : all.filter((iova) => meets(first, iova));
      const best = kept.filter((iova) => meets(forIommu, iova));
      expect(chosen).toEqual(best.length > 0 ? best : kept);
      expect(congruence.floor).toBe(first.modulus);
      expect(congruence.wished).toBe(
        both.length > 0 && second.modulus > first.modulus ? second.modulus : first.modulus,
      );
    }),
    { numRuns: 500 },
  );
});

test("two that must be and cannot", () => {
  const one: Congruence = { residue: 0n, modulus: 16n, floor: 16n, wish: "align" };
  const other: Congruence = { residue: 4n, modulus: 8n, floor: 8n, wish: "congruentTo" };
  expect(refused("invalid", () => joinCongruences([one, other], NONE, "map")).message).toBe(
    "map: invalid: congruentTo: 0x4 modulo 0x8 agrees with what came first modulo 0x4 only",
  );
});
