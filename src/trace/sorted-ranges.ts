/** Long live ranges, by binary search. See address-index.ts. */

const RUN = 32;

class Run {
  count = 0;
  readonly starts = new Float64Array(RUN);
  readonly ends = new Float64Array(RUN);
  readonly ids = new Int32Array(RUN);

  /** How many of the run's ranges start at or before `page`. */
  rank(page: number): number {
    const { starts } = this;
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (starts[middle] <= page) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/**
 * Disjoint ranges [start, end) of page numbers, each with an id, of any length. Runs of at most 32 in order: every
 * operation is two binary searches and a short move.
 */
export class SortedRanges {
  /** First page of the range that `firstOverlap` found last. */
  foundStart = 0;
  count = 0;
  readonly #runs: Run[] = [new Run()];

  /** Id of the first range that overlaps [start, end), or −1. */
  firstOverlap(start: number, end: number): number {
    let at = this.#runOf(start);
    let run = this.#runs[at];
    let rank = run.rank(start);
    if (rank > 0 && run.ends[rank - 1] > start) {
      rank--;
    } else if (rank === run.count) {
      if (++at === this.#runs.length) return -1;
      run = this.#runs[at];
      rank = 0;
    }
    this.foundStart = run.starts[rank];
    return this.foundStart < end ? run.ids[rank] : -1;
  }

  /** Adds a range, which must not overlap another. */
  insert(start: number, end: number, id: number): void {
    this.count++;
    let at = this.#runOf(start);
    let run = this.#runs[at];
    if (run.count === RUN) {
      const upper = new Run();
      const half = RUN >> 1;
      upper.starts.set(run.starts.subarray(half));
      upper.ends.set(run.ends.subarray(half));
      upper.ids.set(run.ids.subarray(half));
      upper.count = half;
      run.count = half;
      this.#runs.splice(at + 1, 0, upper);
      if (start >= upper.starts[0]) {
        at++;
        run = upper;
      }
    }
    const { starts, ends, ids } = run;
    let slot = run.count++;
    for (; slot > 0 && starts[slot - 1] > start; slot--) {
      starts[slot] = starts[slot - 1];
      ends[slot] = ends[slot - 1];
      ids[slot] = ids[slot - 1];
    }
    starts[slot] = start;
    ends[slot] = end;
    ids[slot] = id;
  }

  /** Removes the range that starts at `start`, which must exist. */
  remove(start: number): void {
    this.count--;
    const at = this.#runOf(start);
    const run = this.#runs[at];
    const { starts, ends, ids } = run;
    const removed = run.rank(start) - 1;
    const count = --run.count;
    for (let slot = removed; slot < count; slot++) {
      starts[slot] = starts[slot + 1];
      ends[slot] = ends[slot + 1];
      ids[slot] = ids[slot + 1];
    }
    if (count === 0 && this.#runs.length > 1) this.#runs.splice(at, 1);
  }

  /** The last run whose first range starts at or before `page`, else the first. */
  #runOf(page: number): number {
    const runs = this.#runs;
    let low = 0;
    let high = runs.length;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      if (runs[middle].starts[0] <= page) low = middle;
      else high = middle;
    }
    return low;
  }
}
