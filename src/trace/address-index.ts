/** The live ranges of one domain. */
import { SMALL_PAGES, SmallRanges } from "./small-ranges.js";
import { SortedRanges } from "./sorted-ranges.js";

const SHORT_PAGES = SMALL_PAGES;

/**
 * Disjoint ranges [start, end) of page numbers, each with an id. Nearly all are short, and then cost a few bit operations
 * whatever the addresses are; the long ones are kept in order.
 */
export class AddressIndex {
  readonly #short = new SmallRanges();
  readonly #long = new SortedRanges();

  /** Id of the first range that overlaps [start, end), or −1. */
  firstOverlap(start: number, end: number): number {
    const short = this.#short.firstOverlap(start, end);
    if (this.#long.count === 0) return short;
    const long = this.#long.firstOverlap(start, end);
    if (short < 0 || long < 0) return Math.max(short, long);
    return this.#short.foundStart < this.#long.foundStart ? short : long;
  }

  /** Adds a range, which must not overlap another. */
  insert(start: number, end: number, id: number): void {
    if (end - start <= SHORT_PAGES) this.#short.insert(start, end, id);
    else this.#long.insert(start, end, id);
  }

  /** Removes a range that was added. */
  remove(start: number, end: number): void {
    if (end - start <= SHORT_PAGES) this.#short.remove(start, end);
    else this.#long.remove(start);
  }
}
