/** The cases of a validation: small ones enumerated, then random and adversarial ones by turns, the same for a seed. */
import { bitLength, pageSizesOf } from "../bits.js";
import { physicalAddress } from "../engine/addresses.js";
import type { Piece } from "../importers/attainable.js";
import type { AnyImporter } from "../importers/importers.js";
import { Random } from "../random.js";
import type { Earlier, ValidationCase } from "./case.js";

const PAGE_SHIFT = 12n;
/** Beside and on the boundaries of every common page size, pages of 4 KiB. */
const SMALL_LENGTHS = [1, 2, 3, 15, 16, 17, 32, 33, 511, 512, 513, 528, 1024];
const SMALL_OFFSETS = [0, 1, 8, 15, 16, 511];
const SMALL_EARLIER: readonly (readonly Earlier[])[] = [
  [],
  [{ pages: 1, gone: false }],
  [
    { pages: 3, gone: true },
    { pages: 1, gone: false },
  ],
];
/** Pages of virtual and physical memory where buffers begin: aligned to anything. */
const VIRTUAL_BASE = 2 ** 20;
const PHYSICAL_BASE = 2 ** 18;
/** Most pages of a buffer, 64 MiB, but for one in LONG_EVERY, which may have 1 GiB. */
const MOST_BITS = 14;
const LONGEST_BITS = 18;
const LONG_EVERY = 500;
const MOST_PIECES = 6;
const MOST_EARLIER = 8;

function piece(page: number, pages: number): Piece {
  return { physical: physicalAddress(BigInt(page) << PAGE_SHIFT), length: BigInt(pages) << PAGE_SHIFT };
}

/** Every small buffer at every small offset, in an empty and in a used domain. */
export function* enumeratedCases(): Generator<ValidationCase> {
  for (const pages of SMALL_LENGTHS) {
    for (const virtual of SMALL_OFFSETS) {
      for (const physical of [0, 1]) {
        for (const earlier of SMALL_EARLIER) {
          yield {
            va: BigInt(VIRTUAL_BASE + virtual) << PAGE_SHIFT,
            pieces: [piece(PHYSICAL_BASE + physical, pages)],
            earlier,
            maxSegment: null,
          };
        }
      }
    }
  }
}

export class CaseSource {
  readonly #random: Random;
  readonly #enumerated = enumeratedCases();
  /** Page sizes of the importer, pages of 4 KiB. */
  readonly #sizes: readonly number[];
  #count = 0;

  constructor(importer: AnyImporter, seed: number) {
    this.#random = new Random(seed);
    const sizes = pageSizesOf(importer.pageSizes).map((size) => Math.max(1, Number(size >> PAGE_SHIFT)));
    this.#sizes = sizes.filter((size) => size <= 2 ** LONGEST_BITS);
  }

  next(): ValidationCase {
    const small = this.#enumerated.next();
    if (!small.done) return small.value;
    return this.#count++ % 2 === 0 ? this.#randomCase() : this.#adversarialCase();
  }

  /** Lengths of every order of magnitude, addresses anywhere. */
  #randomCase(): ValidationCase {
    const pages = this.#pages();
    return {
      va: BigInt(VIRTUAL_BASE + this.#random.below(2 ** 20)) << PAGE_SHIFT,
      pieces: this.#pieces(pages, () => this.#random.below(2 ** 21)),
      earlier: this.#earlier(() => 1 + this.#random.below(2 ** (1 + this.#random.below(10)))),
      maxSegment: null,
    };
  }

  /** Lengths, offsets and neighbours a page beside the sizes that matter, and segments cut where it hurts. */
  #adversarialCase(): ValidationCase {
    const random = this.#random;
    const size = this.#size();
    const pages = Math.max(1, size * (1 + random.below(3)) + random.below(3) - 1);
    const offset = this.#size() + random.below(3) - 1;
    const physical = (): number => this.#size() * random.below(8) + random.below(3);
    const cut = random.below(4) === 0 ? BigInt(this.#size()) << PAGE_SHIFT : null;
    return {
      va: BigInt(VIRTUAL_BASE + Math.max(0, offset)) << PAGE_SHIFT,
      pieces: this.#pieces(pages, physical),
      earlier: this.#earlier(() => Math.max(1, this.#size() + random.below(3) - 1)),
      maxSegment: cut,
    };
  }

  #pages(): number {
    const bits = this.#random.below(LONG_EVERY) === 0 ? LONGEST_BITS : MOST_BITS;
    return 1 + this.#random.below(2 ** this.#random.below(bits + 1));
  }

  /** A page size, seldom a large one. */
  #size(): number {
    if (this.#sizes.length === 0) return 1;
    const most = this.#random.below(LONG_EVERY) === 0 ? LONGEST_BITS : MOST_BITS - 3;
    const usable = this.#sizes.filter((each) => bitLength(BigInt(each)) <= most + 1);
    return usable.length === 0 ? 1 : usable[this.#random.below(usable.length)];
  }

  #pieces(pages: number, place: () => number): Piece[] {
    const pieces: Piece[] = [];
    let left = pages;
    const count = 1 + this.#random.below(MOST_PIECES);
    for (let index = 1; left > 0; index++) {
      const part = index >= count ? left : 1 + this.#random.below(Math.min(left, 2 ** 24));
      pieces.push(piece(PHYSICAL_BASE * (1 + index) + place(), part));
      left -= part;
    }
    return pieces;
  }

  #earlier(length: () => number): Earlier[] {
    const count = this.#random.below(MOST_EARLIER + 1);
    return Array.from({ length: count }, () => ({ pages: length(), gone: this.#random.below(3) === 0 }));
  }
}
