/** Judges where a case's buffer was put. */
import { dmaAddress, hex, INTERRUPT_RANGE } from "../engine/addresses.js";
import { IommuError } from "../engine/errors.js";
import { attainable, dmaSegments } from "../importers/attainable.js";
import { agreement, DEEPEST, EntryCounter } from "../importers/depth.js";
import type { AnyImporter } from "../importers/importers.js";
import type { Importer, Plan } from "../importers/importer.js";
import { unmetWishes } from "../strategies/hinted.js";
import type { Strategy } from "../strategies/strategies.js";
import type { ValidationCase, Window } from "./case.js";
import type { PageRange, Placed } from "./trial.js";

/**
 * What must hold of every case. `tidy`: at its IOVA the importer gets as few entries as the layout and the domain permit for
 * any. `indifferent`: it gets as many at every IOVA. `must`: what its hint says must be, is. `placed`: there is an IOVA
 * whenever a hole is long enough.
 */
export const properties = ["tidy", "indifferent", "must", "placed"] as const;

export type Property = (typeof properties)[number];

/** Why a case fails. */
export interface Failure {
  readonly reason: string;
  /** Entries that the importer got and could have got, where that is what failed. */
  readonly entries: number | null;
  readonly attainable: number | null;
  readonly iova: bigint | null;
  readonly betterIova: bigint | null;
}

/** `holds`; `unplaced`, so that there is nothing to judge; or a failure. */
export type Verdict = "holds" | "unplaced" | Failure;

const PAGE = 4096n;
const PAGE_SHIFT = 12n;
/** Depths of agreement that differ for some importer: page, 64 KiB, 2 MiB, everything. */
const DEPTHS = [12, 16, 21, DEEPEST];

export interface JudgeOptions {
  readonly importer: AnyImporter;
  readonly strategy: Strategy;
  readonly property: Property;
  /** Whether the domain keeps VT-d's interrupt range free. */
  readonly reservesInterruptRange: boolean;
}

export class Judge {
  readonly #options: JudgeOptions;
  readonly #importer: Importer;
  readonly #counter: EntryCounter;

  constructor(options: JudgeOptions) {
    this.#options = options;
    this.#importer = options.importer as Importer;
    this.#counter = new EntryCounter(options.importer);
  }

  judge(each: ValidationCase, placed: Placed, window: Window): Verdict {
    switch (this.#options.property) {
      case "tidy":
        return this.#tidy(each, placed, window);
      case "must":
        return this.#must(each, placed);
      case "indifferent":
        return this.#indifferent(each);
      case "placed":
        return this.#isPlaced(each, placed, window);
    }
  }

  /** Whether the entries of a case are the same at every IOVA. */
  isIndifferent(each: ValidationCase): boolean {
    return this.#indifferent(each) === "holds";
  }

  #indifferent({ va, pieces }: ValidationCase): Verdict {
    if (this.#importer.addresses !== "dma") return "holds";
    const pages = pieces.reduce((sum, { length }) => sum + Number(length >> PAGE_SHIFT), 0);
    const plans = DEPTHS.map((depth) => this.#counter.count(Number(va >> PAGE_SHIFT), pages, depth));
    const least = plans[DEPTHS.length - 1];
    const other = plans.find((plan) => plan.total !== least.total);
    if (other === undefined) return "holds";
    const reason = `an IOVA that agrees with the virtual address gives ${least.total}, another ${other.total}`;
    return { reason, entries: other.total, attainable: least.total, iova: null, betterIova: va };
  }

  #must({ va, pieces }: ValidationCase, { iovaPage }: Placed): Verdict {
    if (iovaPage < 0) return "unplaced";
    const iova = BigInt(iovaPage) << PAGE_SHIFT;
    const length = pieces.reduce((sum, piece) => sum + piece.length, 0n);
    const hint = this.#importer.hint({ va, length });
    const missed = unmetWishes(hint, iova, length).flatMap((name) => {
      const wish = hint[name as "align" | "congruentTo" | "boundary" | "addressLimit"];
      return wish?.strength === "must" ? [`${name} (${wish.reason})`] : [];
    });
    if (missed.length === 0) return "holds";
    return { reason: `the hint's must ${missed.join(" and ")} is not met`, ...NOTHING, iova };
  }

  #isPlaced({ pieces }: ValidationCase, { iovaPage, live }: Placed, { last }: Window): Verdict {
    if (iovaPage >= 0) return "holds";
    const bytes = BigInt(pagesOf(pieces)) << PAGE_SHIFT;
    const hole = this.#holes(live, last).find((each) => each.last - each.first + 1n >= bytes);
    if (hole === undefined) return "unplaced";
    const reason = `no IOVA was found, although ${hex(hole.first)} to ${hex(hole.last)} is free`;
    return { reason, ...NOTHING, betterIova: hole.first };
  }

  #tidy(each: ValidationCase, placed: Placed, window: Window): Verdict {
    if (placed.iovaPage < 0) return "unplaced";
    const iova = BigInt(placed.iovaPage) << PAGE_SHIFT;
    const got = this.#entries(each, iova);
    if (got !== null && got === this.#leastOfOneSegment(each)) return "holds";
    const best = this.#attainable(each, placed.live, window);
    if (best === null || (got !== null && got <= best.total)) return "holds";
    const found = { entries: got, attainable: best.total, iova, betterIova: best.iova };
    if (got === null) return { reason: `the importer refuses ${hex(iova)}`, ...found };
    return {
      reason: `${entries(got)} at IOVA ${hex(iova)}, but ${entries(best.total)} at ${place(best.iova)}`,
      ...found,
    };
  }

  /** A bound that most good cases meet, without a search. */
  #leastOfOneSegment({ va, pieces, maxSegment }: ValidationCase): number | null {
    if (this.#importer.addresses !== "dma" || maxSegment !== null) return null;
    return this.#counter.fewest(Number(va >> PAGE_SHIFT), pagesOf(pieces)).total;
  }

  /** Null where the importer refuses. */
  #entries({ va, pieces, maxSegment }: ValidationCase, iova: bigint): number | null {
    const { addresses, addressBits } = this.#importer;
    const isIdentity = this.#options.strategy.rule.source === "identity";
    if (addresses === "dma" && maxSegment === null && !(isIdentity && pieces.length > 1)) {
      const [page, pages] = [Number(va >> PAGE_SHIFT), pagesOf(pieces)];
      if (iova + (BigInt(pages) << PAGE_SHIFT) > 1n << BigInt(addressBits)) return null;
      return this.#counter.count(page, pages, agreement(Number(iova >> PAGE_SHIFT), page)).total;
    }
    const segments =
      addresses !== "dma" || isIdentity
        ? pieces.map(({ physical, length }) => ({ address: dmaAddress(physical), length }))
        : dmaSegments(pieces, iova, { granule: PAGE, ...(maxSegment === null ? {} : { maxSegment }) });
    return orNull(() => this.#importer.plan({ va: addresses === "physical" ? iova : va, segments }))?.total ?? null;
  }

  /** The best in any hole of the domain; null where there is none that the importer takes. */
  #attainable(each: ValidationCase, live: readonly PageRange[], { last }: Window) {
    const { va, pieces, maxSegment } = each;
    const joined = maxSegment === null ? {} : { maxSegment };
    let best: { readonly total: number; readonly iova: bigint | null } | null = null;
    for (const hole of this.#holes(live, last)) {
      const virtual = this.#importer.addresses === "physical" ? hole.first : va;
      const domain = { granule: PAGE, ...hole, ...joined };
      const found = orNull(() => attainable(this.#importer, { va: virtual, pieces }, domain));
      if (found !== null && (best === null || found.total < best.total)) best = found;
    }
    return best;
  }

  #holes(live: readonly PageRange[], last: bigint): { readonly first: bigint; readonly last: bigint }[] {
    const taken = live.map(({ first, pages }) => ({
      first: BigInt(first) << PAGE_SHIFT,
      end: BigInt(first + pages) << PAGE_SHIFT,
    }));
    if (this.#options.reservesInterruptRange) {
      taken.push({ first: INTERRUPT_RANGE.first, end: INTERRUPT_RANGE.last + 1n });
    }
    taken.sort((a, b) => (a.first < b.first ? -1 : 1));
    const holes: { first: bigint; last: bigint }[] = [];
    let at = PAGE;
    for (const { first, end } of [...taken, { first: last + 1n, end: last + 1n }]) {
      const holeEnd = first < last + 1n ? first : last + 1n;
      if (holeEnd > at) holes.push({ first: at, last: holeEnd - 1n });
      if (end > at) at = end;
    }
    return holes;
  }
}

const NOTHING = { entries: null, attainable: null, iova: null, betterIova: null };

function pagesOf(pieces: ValidationCase["pieces"]): number {
  return pieces.reduce((sum, { length }) => sum + Number(length >> PAGE_SHIFT), 0);
}

function entries(count: number): string {
  return count === 1 ? "1 entry" : `${count} entries`;
}

function place(iova: bigint | null): string {
  return iova === null ? "its own addresses" : hex(iova);
}

function orNull<T extends Plan | ReturnType<typeof attainable>>(compute: () => T): T | null {
  try {
    return compute();
  } catch (error) {
    if (error instanceof IommuError) return null;
    throw error;
  }
}
