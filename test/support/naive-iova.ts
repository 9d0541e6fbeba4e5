/** An IOVA allocator as naive as can be: one number per granule, every candidate tried in turn. */
import type { ErrorCode } from "../../src/engine/errors.js";
import type { IovaRequest, IovaSpaceReport } from "../../src/engine/iova-space.js";

const FREE = 0;
const RESERVED = -1;

/** Holes with room enough but askew that a search passes before it looks for one where any alignment fits. */
const ASKEW_LIMIT = 64;

export type NaiveResult = { readonly value: bigint } | { readonly code: ErrorCode };

interface Hole {
  begin: number;
  end: number;
}

export class NaiveSpace {
  /** FREE, RESERVED, or the number of the live range that holds the granule. */
  readonly #owner: Int32Array;
  #nextRange = 1;

  /** The space of `granules` granules from `first`. */
  constructor(
    readonly granule: bigint,
    readonly first: bigint,
    granules: number,
  ) {
    this.#owner = new Int32Array(granules);
  }

  get last(): bigint {
    return this.first + BigInt(this.#owner.length) * this.granule - 1n;
  }

  allocate(request: IovaRequest): NaiveResult {
    const { length } = request;
    const alignment = request.alignment ?? this.granule;
    const congruentTo = request.congruentTo ?? 0n;
    const first = request.first ?? this.first;
    const last = request.last ?? this.last;
    if (length <= 0n || length % this.granule !== 0n) return { code: "misaligned" };
    let power = 1n;
    while (power < alignment) power *= 2n;
    if (power !== alignment) return { code: "invalid" };
    // Only starts on the granule exist: a residue off it can never be met.
    let step = this.granule;
    if (alignment < step) step = alignment;
    if (congruentTo % step !== 0n) return { code: "invalid" };
    const count = Number(length / this.granule);
    const down = request.direction !== "bottom-up";
    const holes = this.#holes(0, this.#owner.length);
    if (down) holes.reverse();
    const starts = (hole: Hole): number[] => {
      const inWindow: number[] = [];
      for (let index = hole.begin; index + count <= hole.end; index++) {
        const start = this.#address(index);
        if (start >= first && start + length - 1n <= last) inWindow.push(index);
      }
      return down ? inWindow.reverse() : inWindow;
    };
    const fits = (index: number): boolean => (this.#address(index) - congruentTo) % alignment === 0n;
    const certain = (hole: Hole): boolean => BigInt(hole.end - hole.begin) * this.granule >= length + alignment - step;
    let found: number | undefined;
    let askew = 0;
    for (const hole of holes) {
      const possible = starts(hole);
      const index = possible.find(fits);
      if (index === undefined) {
        if (possible.length > 0) askew++;
      } else if (askew <= ASKEW_LIMIT || certain(hole)) {
        found = index;
        break;
      } else {
        found ??= index;
      }
    }
    if (found === undefined) return { code: "space-exhausted" };
    this.#owner.fill(this.#nextRange++, found, found + count);
    return { value: this.#address(found) };
  }

  allocateAt(iova: bigint, length: bigint): ErrorCode | null {
    return this.#take(iova, iova + length - 1n, length, this.#nextRange++);
  }

  reserve(first: bigint, last: bigint): ErrorCode | null {
    return this.#take(first, last, last - first + 1n, RESERVED);
  }

  free(iova: bigint): NaiveResult {
    if (iova % this.granule !== 0n) return { code: "misaligned" };
    const length = this.lengthAt(iova);
    if (length === null) return { code: "not-allocated" };
    const index = this.#index(iova);
    this.#owner.fill(FREE, index, index + Number(length / this.granule));
    return { value: length };
  }

  lengthAt(iova: bigint): bigint | null {
    const index = this.#index(iova);
    if (iova % this.granule !== 0n || index < 0 || index >= this.#owner.length) return null;
    const range = this.#owner[index];
    if (range <= 0 || this.#owner[index - 1] === range) return null;
    let end = index;
    while (this.#owner[end] === range) end++;
    return BigInt(end - index) * this.granule;
  }

  report(): IovaSpaceReport {
    const owner = this.#owner;
    const lowest = owner.findIndex((each) => each > 0);
    let highest = owner.length - 1;
    while (highest >= 0 && owner[highest] <= 0) highest--;
    const lengths = (from: number, to: number): number[] => this.#holes(from, to).map(({ begin, end }) => end - begin);
    const all = lengths(0, owner.length);
    const inSpan = lowest < 0 ? [] : lengths(lowest, highest + 1);
    const freeInSpan = inSpan.reduce((sum, hole) => sum + hole, 0);
    const bytes = (granules: number): bigint => BigInt(granules) * this.granule;
    return {
      free: bytes(owner.filter((each) => each === FREE).length),
      live: bytes(owner.filter((each) => each > 0).length),
      ranges: new Set(owner.filter((each) => each > 0)).size,
      holes: all.length,
      largestHole: bytes(Math.max(0, ...all)),
      span: lowest < 0 ? 0n : bytes(highest + 1 - lowest),
      fragmentation: freeInSpan === 0 ? 0 : 1 - Math.max(...inSpan) / freeInSpan,
    };
  }

  #take(first: bigint, last: bigint, length: bigint, range: number): ErrorCode | null {
    if (length <= 0n || first % this.granule !== 0n || length % this.granule !== 0n) return "misaligned";
    if (first < this.first || last > this.last) return "input-range";
    const index = this.#index(first);
    const count = Number(length / this.granule);
    if (!this.#isFree(index, count)) return "overlap";
    this.#owner.fill(range, index, index + count);
    return null;
  }

  #isFree(index: number, count: number): boolean {
    for (let i = index; i < index + count; i++) if (this.#owner[i] !== FREE) return false;
    return true;
  }

  /** The free runs within [from, to), indices of granules. */
  #holes(from: number, to: number): Hole[] {
    const holes: Hole[] = [];
    for (let i = from; i < to; i++) {
      if (this.#owner[i] !== FREE) continue;
      if (i === from || this.#owner[i - 1] !== FREE) holes.push({ begin: i, end: i });
      holes[holes.length - 1].end = i + 1;
    }
    return holes;
  }

  #address(index: number): bigint {
    return this.first + BigInt(index) * this.granule;
  }

  #index(iova: bigint): number {
    return Number((iova - this.first) / this.granule);
  }
}
