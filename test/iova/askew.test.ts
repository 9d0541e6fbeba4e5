/** Crowds of holes that are long enough but askew: the same range as by trying every start, and few tree nodes. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { SPACE_HEIGHT, SPACE_RESIDUES, SPACE_VISITS } from "../../assembly/layout.js";
import { type DmaAddress, dmaAddress } from "../../src/engine/addresses.js";
import type { IovaRequest, IovaSpace } from "../../src/engine/iova-space.js";
import { newEngine } from "../support/engine.js";
import { codeOrNull, refused } from "../support/errors.js";
import { NaiveSpace } from "../support/naive-iova.js";
import { Random } from "../support/random.js";

const engine = await newEngine();
const PAGE = 4096n;
const pages = (count: number | bigint): bigint => BigInt(count) * PAGE;
const isIndexed = (space: IovaSpace): boolean => engine.linear.getU32(space.handle + SPACE_RESIDUES) !== 0;

/** How a space is cut up and what is asked of it; all in granules. */
interface Crowd {
  readonly granules: number;
  /** Where in 64 bits the space begins. */
  readonly first: bigint;
  /** Most holes begin at residue 1 modulo 2^bits, except in the middle; they are at most so long. */
  readonly bits: number;
  readonly hole: number;
  /** Longest request. */
  readonly length: number;
}

const crowds: readonly (readonly [string, Crowd])[] = [
  ["single pages on odd ones", { granules: 900, first: 6n, bits: 1, hole: 1, length: 1 }],
  ["short holes, small moduli", { granules: 2000, first: 0n, bits: 3, hole: 4, length: 3 }],
  ["requests longer than the modulus", { granules: 3000, first: 8n, bits: 2, hole: 9, length: 8 }],
  ["large moduli", { granules: 4000, first: 1n << 30n, bits: 4, hole: 9, length: 7 }],
  ["at the end of 64 bits", { granules: 1024, first: (1n << 52n) - 1024n, bits: 2, hole: 2, length: 2 }],
];

function cutUp(crowd: Crowd, random: Random): { model: NaiveSpace; real: IovaSpace; live: bigint[] } {
  const first = pages(crowd.first);
  const model = new NaiveSpace(PAGE, first, crowd.granules);
  const real = engine.createIovaSpace({ first, last: model.last });
  const live: bigint[] = [];
  const modulus = 1 << crowd.bits;
  for (let at = 0; at < crowd.granules; ) {
    const irregular = random.chance(Math.abs(at / crowd.granules - 0.5) < 0.1 ? 0.6 : 0.003);
    let length = 1 + (irregular ? random.below(modulus) : (modulus - at) & (modulus - 1));
    length = Math.min(length, crowd.granules - at);
    const iova = first + pages(at);
    expect(model.allocateAt(iova, pages(length))).toBeNull();
    real.allocateAt(dmaAddress(iova), pages(length));
    live.push(iova);
    at += length + 1 + random.below(crowd.hole);
  }
  return { model, real, live };
}

describe.each(crowds)("%s", (_name, crowd) => {
  test("random requests, frees and windows equal the naive model", () => {
    let indexed = 0;
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1 << 30 }), (seed) => {
        const random = new Random(seed);
        const { model, real, live } = cutUp(crowd, random);
        const anywhere = (): bigint => model.first + pages(random.below(crowd.granules));
        for (let step = 0; step < 60; step++) {
          if (random.chance(0.3) && live.length > 0) {
            const [iova] = live.splice(random.below(live.length), 1);
            expect({ value: real.free(dmaAddress(iova)) }).toEqual(model.free(iova));
            continue;
          }
          const window = random.chance(0.4) ? [anywhere(), anywhere()].sort((a, b) => (a < b ? -1 : 1)) : null;
          const request: IovaRequest = {
            length: pages(1 + random.below(crowd.length)),
            alignment: PAGE << BigInt(random.chance(0.9) ? crowd.bits : random.below(14)),
            congruentTo: pages(random.below(1 << 14)),
            direction: random.chance(0.5) ? "top-down" : "bottom-up",
            ...(window ? { first: window[0], last: window[1] + PAGE - 1n } : {}),
          };
          const expected = model.allocate(request);
          let value = -1n;
          const code = codeOrNull(() => {
            value = real.allocate(request);
          });
          expect(
            code === null ? { value } : { code },
            JSON.stringify(request, (_, v) => String(v)),
          ).toEqual(expected);
          if (code === null) live.push(value);
        }
        expect(real.report().free).toBe(model.report().free);
        expect(real.report().holes).toBe(model.report().holes);
        if (isIndexed(real)) indexed++;
        real.release();
      }),
      { numRuns: 12, seed: 77 },
    );
    expect(indexed).toBeGreaterThan(0);
  });
});

/** `askew` single-granule holes on odd granules of a space that is live for the rest. */
function oddHoles(askew: number): { space: IovaSpace; live: (index: number) => DmaAddress } {
  const space = engine.createIovaSpace({ first: 0n, last: pages(2 * askew) - 1n });
  for (let i = 0; i < askew; i++) space.allocateAt(dmaAddress(pages(2 * i)), PAGE);
  return { space, live: (index) => dmaAddress(pages(2 * index)) };
}
test("as many changes without a search as there are holes, and the index is gone; the next search makes it again", () => {
  const { space, live } = oddHoles(300);
  const request: IovaRequest = { length: PAGE, alignment: pages(2) };
  refused("space-exhausted", () => space.allocate(request));
  expect(isIndexed(space)).toBe(true);
  for (let i = 0; i < 5000 && isIndexed(space); i++) {
    space.free(live(7));
    space.allocateAt(live(7), PAGE);
  }
  expect(isIndexed(space)).toBe(false);
  space.free(live(200));
  expect(space.allocate(request)).toBe(live(200));
  refused("space-exhausted", () => space.allocate(request));
  expect(isIndexed(space)).toBe(true);
  space.release();
});

describe("tree nodes that an operation looks at", () => {
  const visits = (space: IovaSpace): number => engine.linear.getU32(space.handle + SPACE_VISITS);

  test.each([3000, 60_000])("%i askew holes: a bound by the trees' height, not by their number", (askew) => {
    const { space, live } = oddHoles(askew);
    const random = new Random(askew);
    const height = engine.linear.getU32(space.handle + SPACE_HEIGHT);
    // Every hole is at an odd granule, so that for an even residue nothing fits until something is freed there.
    for (const bits of [1, 4, 9, 16]) {
      const modulus = 1 << bits;
      // A search for the residue's ranges: at most 7 in each tree of 3 bits. One goes down to what it finds and along
      // both ends of its range. The search before it refuses 64 holes, and turns round once a leaf.
      const searches = 1 + 7 * Math.ceil(bits / 3) + 1;
      const bound = (searches + 64 / 12 + 4) * 4 * (height + 1);
      const ask = (congruent: number, direction: "top-down" | "bottom-up"): { code: string | null; cost: number } => {
        const before = visits(space);
        const code = codeOrNull(() =>
          space.allocate({ length: PAGE, alignment: pages(modulus), congruentTo: pages(congruent), direction }),
        );
        return { code, cost: (visits(space) - before) >>> 0 };
      };
      ask(0, "top-down"); // makes the index
      expect(isIndexed(space)).toBe(true);
      let worst = 0;
      for (let i = 0; i < 50; i++) {
        const direction = i % 2 === 0 ? "top-down" : "bottom-up";
        const index = random.below(askew);
        const residue = (2 * index) % modulus;
        const refusal = ask(residue, direction);
        expect(refusal.code).toBe("space-exhausted");
        const before = visits(space);
        space.free(live(index));
        const freed = (visits(space) - before) >>> 0;
        const success = ask(residue, direction);
        expect(success.code).toBeNull();
        expect(space.lengthAt(live(index))).toBe(PAGE);
        worst = Math.max(worst, refusal.cost, freed, success.cost);
      }
      expect(worst).toBeLessThan(bound);
    }
    space.release();
  });
});
