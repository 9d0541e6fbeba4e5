import type { VectorUnit } from "./model.js";

/** Watches words of physical memory for what requests change in them. */
export class TableWords {
  private readonly start: ReadonlyMap<bigint, bigint | null>;
  private last: ReadonlyMap<bigint, bigint | null>;

  constructor(
    private readonly unit: VectorUnit,
    addresses: Iterable<bigint>,
  ) {
    this.start = new Map([...addresses].map((address) => [address, unit.readWord(address)]));
    this.last = this.start;
  }

  /** Words that changed since the last call, as they are now. */
  changes(): ReadonlyMap<bigint, bigint | null> {
    const now = new Map([...this.start.keys()].map((address) => [address, this.unit.readWord(address)]));
    const changed = changedWords(this.last, now);
    this.last = now;
    return changed;
  }

  /** Words that the last call of `changes` found to be other than at the start. */
  changesSinceStart(): ReadonlyMap<bigint, bigint | null> {
    return changedWords(this.start, this.last);
  }
}

function changedWords(
  before: ReadonlyMap<bigint, bigint | null>,
  after: ReadonlyMap<bigint, bigint | null>,
): ReadonlyMap<bigint, bigint | null> {
  return new Map([...after].filter(([address, word]) => before.get(address) !== word));
}
