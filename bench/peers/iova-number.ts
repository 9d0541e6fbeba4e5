/**
 * An IOVA allocator in plain JavaScript without BigInt: granules as doubles, which hold them exactly. The same algorithm
 * as assembly/iova/ and bench/peers/iova.c: holes in a B+ tree by address, each entry knowing the longest hole below it.
 */

const FANOUT = 24;
const HALF = FANOUT / 2;
const NO_KEY = Number.MAX_SAFE_INTEGER;
export const NO_FIT = -1;

class Node {
  /** First granule of a hole; above the leaves the first key of the child. */
  readonly key = new Float64Array(FANOUT).fill(NO_KEY);
  /** Length of a hole; above the leaves the longest hole of the child. Unused ones are 0. */
  readonly value = new Float64Array(FANOUT);
  readonly child: (Node | null)[] = new Array<Node | null>(FANOUT).fill(null);
  count = 0;

  /** How many keys are at most `key`. */
  rank(key: number): number {
    let rank = 0;
    while (rank < this.count && this.key[rank] <= key) rank++;
    return rank;
  }

  longest(): number {
    let longest = 0;
    for (let i = 0; i < this.count; i++) if (this.value[i] > longest) longest = this.value[i];
    return longest;
  }

  set(i: number, key: number, value: number): void {
    this.key[i] = key;
    this.value[i] = value;
  }
}

export class NumberSpace {
  #root = new Node();
  #height = 1;
  readonly #live = new Map<number, number>();
  /** Where the last search ended, per level (0 = root). */
  readonly #pathNode: Node[] = new Array<Node>(16).fill(this.#root);
  readonly #pathIndex: number[] = new Array<number>(16).fill(0);
  holes = 0;
  #lowest = 0;
  #highest = 0;

  constructor(
    readonly first: number,
    readonly end: number,
  ) {
    this.#find(first);
    this.#insertAfterPath(first, end - first);
  }

  /** Highest end minus lowest start of what is live. */
  get span(): number {
    return this.#highest - this.#lowest;
  }

  #find(key: number): boolean {
    let node = this.#root;
    let depth = 0;
    for (; depth + 1 < this.#height; depth++) {
      const index = Math.max(node.rank(key) - 1, 0);
      this.#pathNode[depth] = node;
      this.#pathIndex[depth] = index;
      node = node.child[index] as Node;
    }
    const rank = node.rank(key);
    this.#pathNode[depth] = node;
    this.#pathIndex[depth] = rank - 1;
    return rank !== 0;
  }

  #refreshAbove(from: number): void {
    for (let depth = from; depth > 0; depth--) {
      const node = this.#pathNode[depth];
      const parent = this.#pathNode[depth - 1];
      const index = this.#pathIndex[depth - 1];
      const longest = node.longest();
      if (parent.key[index] === node.key[0] && parent.value[index] === longest) return;
      parent.set(index, node.key[0], longest);
    }
  }

  #replace(key: number, length: number): void {
    const depth = this.#height - 1;
    const node = this.#pathNode[depth];
    const index = this.#pathIndex[depth];
    const before = node.value[index];
    const sameKey = node.key[index] === key;
    node.set(index, key, length);
    if (depth === 0) return;
    const above = this.#pathNode[depth - 1].value[this.#pathIndex[depth - 1]];
    if ((sameKey || index !== 0) && length <= above && before < above) return;
    this.#refreshAbove(depth);
  }

  #split(node: Node): Node {
    const right = new Node();
    for (let i = HALF; i < FANOUT; i++) {
      right.set(i - HALF, node.key[i], node.value[i]);
      right.child[i - HALF] = node.child[i];
      node.set(i, NO_KEY, 0);
      node.child[i] = null;
    }
    node.count = HALF;
    right.count = FANOUT - HALF;
    return right;
  }

  #insertAfterPath(holeKey: number, length: number): void {
    let key = holeKey;
    let value = length;
    let child: Node | null = null;
    let depth = this.#height - 1;
    this.holes++;
    while (true) {
      const left = this.#pathNode[depth];
      let node = left;
      let right: Node | null = null;
      let index = this.#pathIndex[depth] + 1;
      if (node.count === FANOUT) {
        right = this.#split(node);
        if (index > node.count) {
          index -= node.count;
          node = right;
        }
      }
      for (let i = node.count; i > index; i--) {
        node.set(i, node.key[i - 1], node.value[i - 1]);
        node.child[i] = node.child[i - 1];
      }
      node.set(index, key, value);
      node.child[index] = child;
      node.count++;
      if (right === null) {
        if (depth === 0) return;
        const above = this.#pathNode[depth - 1].value[this.#pathIndex[depth - 1]];
        if (index !== 0 && child === null && value <= above) return;
        this.#refreshAbove(depth);
        return;
      }
      if (depth === 0) {
        const root = new Node();
        root.set(0, left.key[0], left.longest());
        root.set(1, right.key[0], right.longest());
        root.child[0] = left;
        root.child[1] = right;
        root.count = 2;
        this.#root = root;
        this.#height++;
        return;
      }
      this.#pathNode[depth - 1].set(this.#pathIndex[depth - 1], left.key[0], left.longest());
      key = right.key[0];
      value = right.longest();
      child = right;
      depth--;
    }
  }

  #remove(): void {
    this.holes--;
    for (let depth = this.#height - 1; ; depth--) {
      const node = this.#pathNode[depth];
      const last = node.count - 1;
      for (let i = this.#pathIndex[depth]; i < last; i++) {
        node.set(i, node.key[i + 1], node.value[i + 1]);
        node.child[i] = node.child[i + 1];
      }
      node.set(last, NO_KEY, 0);
      node.child[last] = null;
      node.count = last;
      if (last > 0 || depth === 0) {
        this.#refreshAbove(depth);
        break;
      }
    }
    while (this.#height > 1 && this.#root.count <= 1) {
      if (this.#root.count === 0) {
        this.#height = 1;
        return;
      }
      this.#root = this.#root.child[0] as Node;
      this.#height--;
    }
  }

  /** The highest start of a hole with at least `length` granules; the path then leads to it. */
  #searchDown(length: number): number {
    let node = this.#root;
    let depth = 0;
    let index = node.count;
    while (true) {
      index--;
      while (index >= 0 && node.value[index] < length) index--;
      if (index < 0) {
        if (depth === 0) return NO_FIT;
        depth--;
        node = this.#pathNode[depth];
        index = this.#pathIndex[depth];
        continue;
      }
      this.#pathNode[depth] = node;
      this.#pathIndex[depth] = index;
      if (depth + 1 === this.#height) return node.key[index] + node.value[index] - length;
      node = node.child[index] as Node;
      depth++;
      index = node.count;
    }
  }

  /** Allocates the highest range of this length; NO_FIT when there is none. */
  allocate(length: number): number {
    const start = this.#searchDown(length);
    if (start === NO_FIT) return NO_FIT;
    const depth = this.#height - 1;
    const first = this.#pathNode[depth].key[this.#pathIndex[depth]];
    // From the top down nothing is left above.
    if (start > first) this.#replace(first, start - first);
    else this.#remove();
    if (this.#live.size === 0 || start < this.#lowest) this.#lowest = start;
    if (this.#live.size === 0 || start + length > this.#highest) this.#highest = start + length;
    this.#live.set(start, length);
    return start;
  }

  /** Frees the live range that begins at `start`; its length, or 0 when none does. */
  free(start: number): number {
    const length = this.#live.get(start);
    if (length === undefined) return 0;
    this.#live.delete(start);
    const end = start + length;
    const found = this.#find(start);
    const depth = this.#height - 1;
    const node = this.#pathNode[depth];
    const index = this.#pathIndex[depth];
    const belowKey = found ? node.key[index] : 0;
    const belowLength = found ? node.value[index] : 0;
    const joinsBelow = found && belowKey + belowLength === start;
    const inNode = index + 1 < node.count;
    let aboveLength = 0;
    if (inNode) {
      if (node.key[index + 1] === end) aboveLength = node.value[index + 1];
    } else if (this.#find(end)) {
      const above = this.#pathNode[depth];
      const aboveIndex = this.#pathIndex[depth];
      if (above.key[aboveIndex] === end) aboveLength = above.value[aboveIndex];
      else this.#find(start);
    }
    if (aboveLength > 0) {
      if (inNode) this.#pathIndex[depth] = index + 1;
      if (joinsBelow) {
        this.#remove();
        this.#find(start);
        this.#replace(belowKey, belowLength + length + aboveLength);
      } else {
        this.#replace(start, length + aboveLength);
      }
    } else if (joinsBelow) {
      this.#replace(belowKey, belowLength + length);
    } else {
      this.#insertAfterPath(start, length);
    }
    if (this.#live.size > 0) {
      if (start === this.#lowest) this.#lowest = this.#lowestLive();
      if (end === this.#highest) this.#highest = this.#highestLive();
    }
    return length;
  }

  #lowestLive(): number {
    const depth = this.#height - 1;
    if (!this.#find(this.first)) return this.first;
    const node = this.#pathNode[depth];
    const index = this.#pathIndex[depth];
    return node.key[index] === this.first ? this.first + node.value[index] : this.first;
  }

  #highestLive(): number {
    const depth = this.#height - 1;
    if (!this.#find(this.end - 1)) return this.end;
    const node = this.#pathNode[depth];
    const index = this.#pathIndex[depth];
    return node.key[index] + node.value[index] === this.end ? node.key[index] : this.end;
  }
}
